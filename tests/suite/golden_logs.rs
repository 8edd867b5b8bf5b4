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

/// Statements are added up from entries alone, so those of any log that holds tie to it, in whatever period.
#[test]
fn the_statements_of_every_log_tie() {
    for (name, ledger) in LOGS {
        let bundle = std::fs::read(root().join("tests/vectors/logs").join(name)).expect("a log");
        let ledger = ledger.parse().expect("an id");
        let whole = auditor::verify(&bundle[..], ledger).expect("a readable log");
        let first = whole.checked.first_group_at.expect("a group");
        for from in [None, Some(first.date()), whole.checked.last_group_at.map(|last| last.date())] {
            for to in [None, Some(first.date())] {
                let period = auditor::Period { from, to };
                let hours = auditor::Hours::default();
                let report =
                    auditor::examine(&bundle[..], ledger, &[], period, hours).expect("a readable log");
                assert!(report.holds(), "{name}: {}", report.page());
                let statements = report.statements.expect("statements");
                assert!(statements.ties().count() > 10 && !statements.banks.is_empty(), "{name}");
            }
        }
    }
}
