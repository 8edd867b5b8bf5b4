//! Logs that were once written replay for ever. Until release 1.0 the first version of the rules may change in place;
//! then the log is made anew, by the README's commands, and its id is changed here.

use tests::binary::root;

const LOGS: [(&str, &str); 1] =
    [("first-disbursement.ndjson", "ef584a4ff997fc23b52fb2a6e9e929a42ba9dd548225e2934f7be40d8e50f248")];

#[test]
fn every_log_replays() {
    let dir = root().join("tests/vectors/logs");
    let files = std::fs::read_dir(&dir).expect("the logs are there").count();
    assert_eq!(files, LOGS.len(), "every log is named here");
    for (name, ledger) in LOGS {
        let bundle = std::fs::read(dir.join(name)).expect("a log");
        let report = auditor::verify(&bundle[..], ledger.parse().expect("an id")).expect("a readable log");
        assert!(report.is_verified(), "{name}: {report}");
    }
}
