//! The commands of the README, as a newcomer would paste them.

use std::path::Path;
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

/// Runs the commands of pages and what follows them, in one shell, as somebody would paste them. What was printed, and the
/// errors; all must succeed.
pub fn run(pages: &[&str], further: &str, w: &Path, port: &str) -> (String, String) {
    safeconduct();
    let pages: String = pages.iter().map(|page| commands_of(page)).collect();
    let output = Command::new("bash")
        .args(["-c", &format!("set -eu -o pipefail\n{pages}{further}")])
        .current_dir(root())
        .env("W", w)
        .env("PORT", port)
        .output()
        .expect("bash runs");
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{said}\n{errors}");
    (said, errors)
}

#[test]
fn the_first_disbursement_works_as_written() {
    assert!(commands_of("README.md").lines().count() > 40, "the README has lost its commands");
    let (said, _) = run(&["README.md"], "", &scratch("readme"), "0");
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
