//! The commands of the README, as a newcomer would paste them.

use std::process::Command;

use tests::binary::{root, safeconduct};
use tests::cluster::scratch;

/// What stands in a page's `sh` blocks, in order.
pub fn commands_of(page: &str) -> String {
    let page = std::fs::read_to_string(root().join(page)).expect("the page is there");
    let mut script = String::new();
    let mut is_inside = false;
    for line in page.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            // The program is built already, by the test run's own cargo.
            "make build" if is_inside => {}
            line if is_inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    script
}

#[test]
fn the_first_disbursement_works_as_written() {
    safeconduct();
    let script = format!("set -eu -o pipefail\n{}", commands_of("README.md"));
    assert!(script.lines().count() > 40, "the README has lost its commands");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(root())
        .env("W", scratch("readme"))
        .env("PORT", "0")
        .output()
        .expect("bash runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("VERIFIED"), "{said}");
    let balance = "USD 148,750.00";
    assert!(said.contains(balance), "250,000.00 less 1,250.00 and 100,000.00 is not shown:\n{said}");
}

#[test]
fn the_demo_holds() {
    let output = Command::new(safeconduct())
        .args(["demo", "--dir"])
        .arg(scratch("demo"))
        .current_dir(root())
        .output()
        .expect("the demo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("All of it held"), "{said}");
}
