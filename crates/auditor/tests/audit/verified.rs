//! What holds is verified, and the report says what was checked.

use auditor::{CheckedBalances, CouldNotRun, Report, Verdict, verify};
use records::Kind;
use records::bundle::BalanceLine;
use records::scalar::Integer;
use signing::digest::Digest;

use crate::ledger::{Ledger, parse, usd};
use crate::staff::Staff;
use crate::story::Story;

/// Verifies, and panics with the page where it does not hold.
pub fn verified(bytes: &[u8], ledger: Digest) -> Report {
    let report = verify(bytes, ledger).unwrap();
    assert!(report.is_verified(), "{report}");
    report
}

#[test]
fn a_whole_ledger() {
    let Story { ledger, .. } = Story::whole();
    let bundle = ledger.bundle();
    let Report { checked, verdict, .. } = verified(&bundle.bytes(), ledger.id);
    assert_eq!(verdict, Verdict::Verified);
    let count = |kind| ledger.positions(kind).len() as u64;
    assert_eq!(checked.records, ledger.size());
    assert_eq!(checked.records_by_kind.values().sum::<u64>(), ledger.size());
    assert_eq!(checked.records_by_kind.get("group"), Some(&count(Kind::Group)));
    assert_eq!((checked.groups, checked.entries), (count(Kind::Group), count(Kind::JournalEntry)));
    assert_eq!((checked.approvals, checked.entries), (4, 18));
    let own = 1 + count(Kind::Group) + count(Kind::JournalEntry) + count(Kind::Lapse);
    assert_eq!(checked.instructions, ledger.size() - own);
    let signatures = &checked.signatures;
    assert_eq!((signatures.records, signatures.possessions), (ledger.size(), 8));
    let claimed = bundle.balances.len() as u64;
    assert_eq!(checked.balances, Some(CheckedBalances { at: ledger.size(), claimed }));
    let checkpoint = checked.checkpoint.unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (ledger.size(), bundle.checkpoint("").root));
    assert_eq!(checked.first_group_at, Some(parse("2030-01-01T08:01:00Z")));
    assert_eq!(checked.last_group_at, Some(ledger.now));
    let funds: Vec<_> = checked.funds.iter().map(|fund| fund.fund.as_str()).collect();
    assert_eq!(funds, ["f1", "h1"]);
}

#[test]
fn the_funds_and_their_proofs() {
    let Story { ledger, .. } = Story::whole();
    let report = verified(&ledger.bundle().bytes(), ledger.id);
    let fund = report.checked.funds.iter().find(|fund| fund.fund.as_str() == "f1").unwrap();
    let total = |code| fund.totals.iter().find(|total| total.code == code).map(|total| total.amount);
    // 9,000,000.00 less the fee of 35.00 and the 25.00 that the bank kept; 5,412.30 is on its way.
    assert_eq!(total(1100), Some(usd("8999940.00").into()));
    assert_eq!(total(2100), Some(usd("100000.00").into()));
    assert_eq!(total(2200), Some(usd("5412.30").into()));
    assert_eq!(total(7210), Some(usd("8894527.70").into()));
    let held: Vec<_> = fund.totals.iter().filter(|total| !total.held.is_zero()).collect();
    let held: Vec<_> = held.iter().map(|total| (total.code, total.held)).collect();
    assert_eq!(held, [(1100, usd("5412.30").into()), (7210, usd("5000.00").into())]);
    let names: Vec<_> = fund.proofs.iter().map(|proof| proof.name).collect();
    assert_eq!(names, ["P1", "P2", "P3", "P4"]);
    assert!(fund.proofs.iter().all(|proof| proof.difference.is_zero() && proof.left == proof.right));
}

#[test]
fn the_report_reads_as_text_and_as_json() {
    let Story { ledger, .. } = Story::whole();
    let report = verified(&ledger.bundle().bytes(), ledger.id);
    let text = report.to_string();
    assert!(text.starts_with("VERIFIED\n"), "{text}");
    for line in [
        "fund f1, spendable, USD, from asset a1",
        "USD 8,999,940.00   of which held USD 5,412.30",
        "P2: accrued = payables + outstanding",
        "USD 105,412.30 = USD 105,412.30, difference USD 0.00",
        "not checked",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"]["outcome"], "verified");
    assert_eq!(json["checked"]["records"], ledger.size().to_string());
    assert_eq!(json["checked"]["funds"][0]["proofs"][0]["difference"], "0.00");

    let bytes = [ledger.bundle().bytes(), b"x".to_vec()].concat();
    let report = verify(bytes.as_slice(), ledger.id).unwrap();
    assert!(report.to_string().starts_with("REFUTED at line "), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"]["outcome"], "refuted");
    assert_eq!(json["verdict"]["code"], "trailing_data");
}

#[test]
fn a_ledger_that_is_only_founded() {
    let staff = Staff::new();
    let ledger = Ledger::found("safeconduct.test/log", [&staff.anna, &staff.boris]);
    let report = verified(&ledger.bundle().bytes(), ledger.id);
    assert_eq!((report.checked.records, report.checked.groups), (1, 0));
}

#[test]
fn balances_that_were_read_earlier() {
    let mut story = Story::funded("safeconduct.test/log");
    let (balances, at) = (story.ledger.bundle().balances, story.ledger.size());
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", 600);
    let mut bundle = story.ledger.bundle();
    bundle.balances = balances;
    bundle.seal(&story.ledger);
    bundle.header.balances_at = Integer(at);
    let report = verified(&bundle.bytes(), story.ledger.id);
    assert_eq!(report.checked.balances.map(|balances| balances.at), Some(at));
}

#[test]
fn a_balance_of_nothing_may_be_claimed_or_left_out() {
    let Story { ledger, .. } = Story::whole();
    let mut bundle = ledger.bundle();
    let zero = |account: &str| {
        let mut line = bundle.balances[0].clone();
        line.key.account = parse(account);
        (line.balance.amount, line.balance.held) = (usd("0.00"), usd("0.00"));
        line
    };
    // One that was touched and is empty again, and one that never was.
    let empty = [zero("7300"), zero("7900")];
    bundle.balances.extend(empty);
    bundle.balances.sort_by(BalanceLine::in_order);
    bundle.seal(&ledger);
    verified(&bundle.bytes(), ledger.id);
}

#[test]
fn more_records_than_are_checked_at_once() {
    let mut story = Story::founded("safeconduct.test/log");
    while story.ledger.size() < 4200 {
        story.ledger.begin_group(60);
    }
    let bytes = story.ledger.bundle().bytes();
    assert_eq!(verified(&bytes, story.ledger.id).checked.records, 4200);
}

#[test]
fn a_file_that_cannot_be_read_is_not_refuted() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let result = verify(std::io::BufReader::new(Broken), Digest::of("x"));
    assert!(matches!(result, Err(CouldNotRun::Io(_))));
}
