//! The second verifier, written in Python from `docs/spec` alone, agrees with ours on a log and on forgeries of it.

use std::path::Path;
use std::process::Command;

use tests::binary::root;
use tests::cluster::scratch;

/// What the second verifier says of a bundle, by its exit code.
fn second(bundle: &Path, ledger: &str) -> Option<i32> {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "run `make python` first");
    let run = Command::new(python)
        .arg(root().join("tests/second/audit.py"))
        .arg(bundle)
        .args(["--ledger", ledger])
        .output()
        .expect("python runs");
    run.status.code()
}

#[test]
fn both_verify_the_log_and_refute_its_forgeries() {
    let path = root().join("tests/vectors/logs/first-disbursement.ndjson");
    let text = std::fs::read_to_string(&path).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    let ledger = lines[0].split_once("\"ledger\":\"").expect("a ledger").1[..64].to_owned();
    assert_eq!(second(&path, &ledger), Some(0));
    let dir = scratch("second");
    let forged = dir.join("forged.ndjson");
    let mut forgeries: Vec<Vec<String>> = Vec::new();
    let whole = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    for at in (1..lines.len()).step_by(3) {
        let mut dropped = whole();
        dropped.remove(at);
        forgeries.push(dropped);
        let mut doubled = whole();
        doubled.insert(at, lines[at].to_owned());
        forgeries.push(doubled);
        let mut altered = whole();
        let middle = altered[at].len() / 2;
        let other = if &altered[at][middle..=middle] == "A" { "B" } else { "A" };
        altered[at].replace_range(middle..=middle, other);
        forgeries.push(altered);
    }
    for forgery in forgeries {
        let text = forgery.join("\n") + "\n";
        std::fs::write(&forged, &text).expect("a file");
        let report =
            auditor::verify(text.as_bytes(), ledger.parse().expect("an id")).expect("a readable file");
        assert!(!report.is_verified());
        assert_eq!(second(&forged, &ledger), Some(1), "ours says {report}");
    }
}
