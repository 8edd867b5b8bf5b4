//! Statements of a whole ledger: what they say, that they tie, and that nothing is said of a log that does not hold.

use auditor::{
    DocumentFile, Documents, Examination, FundStatements, Hours, Period, examine, verify_observed,
};
use ledger::sum::Sum;
use records::Kind;
use signing::digest::Digest;

use crate::ledger::{parse, usd};
use crate::story::Story;

fn examined(story: &Story, from: Option<&str>, to: Option<&str>) -> Examination {
    let period = Period { from: from.map(parse), to: to.map(parse) };
    let bundle = story.ledger.bundle().bytes();
    let examination = examine(&bundle[..], story.ledger.id, &[], period, Hours::default()).unwrap();
    assert!(examination.holds(), "{}", examination.page());
    examination
}

/// A line of a fund's statements: before the period, in it, at its end.
#[track_caller]
fn line(examination: &Examination, fund: &str, name: &str) -> [String; 3] {
    let funds = &examination.statements.as_ref().unwrap().funds;
    let fund: &FundStatements = funds.iter().find(|one| one.fund.as_str() == fund).unwrap();
    let lines = fund.statements.iter().flat_map(|statement| &statement.lines);
    let line = lines.clone().find(|line| line.name == name).unwrap_or_else(|| panic!("{fund:?}"));
    [line.before, line.period, line.end].map(Sum::digits)
}

/// The story pays 100,000.00 and gets it back less 25.00, has a fee of 35.00, and sends 5,412.30 to a vendor.
#[test]
fn the_statements_of_a_story() {
    let story = Story::whole();
    let whole = examined(&story, None, None);
    let end = |name| line(&whole, "f1", name)[2].clone();
    assert_eq!(end("cash at b1"), "8999940.00");
    assert_eq!(end("assets"), "8999940.00");
    assert_eq!(end("payables on disbursements"), "100000.00");
    assert_eq!(end("outstanding at bank b1"), "5412.30");
    assert_eq!(end("liabilities"), "105412.30");
    assert_eq!(end("net assets"), "8894527.70");
    assert_eq!(end("revenue"), "9000000.00");
    assert_eq!(end("expenses"), "105472.30");
    assert_eq!(end("surplus"), "8894527.70");
    assert_eq!(end("budget"), "9000000.00");
    assert_eq!(end("actual: paid, and due"), "105472.30");
    assert_eq!(end("commitments: requested, held until approved"), "5000.00");
    assert_eq!(line(&whole, "h1", "payables to claimants")[2], "800000.00");
    assert_eq!(line(&whole, "h1", "custody cash at b1")[2], "1000000.00");
    let statements = whole.statements.as_ref().unwrap();
    let bank = &statements.banks[0];
    assert_eq!((bank.bank.as_str(), bank.total.end.digits().as_str()), ("b1", "9999940.00"));
    assert_eq!(bank.total.underway.digits(), "5412.30");
    // The one case could still ask for nothing: three benefits are paid, due or requested.
    assert!(statements.claimable.is_empty());
    let funded = Story::funded("safeconduct.test/log");
    let claimable = examined(&funded, None, None).statements.unwrap().claimable;
    assert_eq!((claimable[0].benefits, claimable[0].amount), (3, usd("111000.00").into()));
}

/// Whatever the period, the statements tie, and one period goes on where the one before it ended.
#[test]
fn every_period_ties() {
    let story = Story::whole();
    for (from, to) in [
        ("2029-12-31", "2029-12-31"),
        ("2030-01-01", "2030-01-01"),
        ("2030-01-02", "2030-01-02"),
        ("2030-01-03", "2030-01-31"),
        ("2031-01-01", "2031-12-31"),
    ] {
        examined(&story, Some(from), Some(to));
    }
    let first = examined(&story, None, Some("2030-01-01"));
    let second = examined(&story, Some("2030-01-02"), None);
    for name in ["assets", "net assets", "expenses", "budget less actual"] {
        assert_eq!(line(&first, "f1", name)[2], line(&second, "f1", name)[0], "{name}");
    }
    // The payment is of the first day, by its value date, though the log took it with the fee; it came back on the second.
    assert_eq!(line(&first, "f1", "cash at b1")[2], "8899965.00");
    assert_eq!(line(&second, "f1", "cash at b1"), ["8899965.00", "99975.00", "8999940.00"]);
}

#[test]
fn nothing_is_claimed_of_a_log_that_does_not_hold() {
    let story = Story::whole();
    let bytes = [story.ledger.bundle().bytes(), b"<x>".to_vec()].concat();
    let period = Period::default();
    let examination = examine(&bytes[..], story.ledger.id, &[], period, Hours::default()).unwrap();
    assert!(!examination.holds() && examination.statements.is_none() && examination.exceptions.is_none());
    let text = examination.page().to_string();
    assert!(text.contains("REFUTED at line ") && text.contains("[trailing_data]"), "{text}");
    assert!(!text.contains("TIE") && !text.contains("Fund "), "{text}");

    // What a line that is no record holds is not repeated, whoever may be named in it.
    let mut bundle = story.ledger.bundle();
    let position = story.ledger.positions(Kind::Request)[0];
    bundle.leaves[position as usize] = br#"{"c-1":"x"}"#.to_vec();
    bundle.seal(&story.ledger);
    let examination = examine(&bundle.bytes()[..], story.ledger.id, &[], period, Hours::default()).unwrap();
    let shown = [examination.page().to_string(), serde_json::to_string(&examination).unwrap()].concat();
    assert!(shown.contains("envelope_") && !shown.contains("c-1"), "{shown}");

    // Nor of a log that does not account for a checkpoint that somebody kept.
    let kept = ["no checkpoint".to_owned()];
    let bundle = story.ledger.bundle().bytes();
    let examination = examine(&bundle[..], story.ledger.id, &kept, period, Hours::default()).unwrap();
    assert!(!examination.holds() && examination.statements.is_none());
    assert!(examination.page().to_string().contains("NOT ACCOUNT"), "{}", examination.page());
}

#[test]
fn documents_that_were_seen_and_not() {
    let story = Story::whole();
    let bundle = story.ledger.bundle().bytes();
    let gathered = || {
        let mut documents = Documents::default();
        let report = verify_observed(&bundle[..], story.ledger.id, &[], &mut documents).unwrap();
        assert!(report.is_verified());
        documents
    };
    let file =
        |file: &str, content: &str| DocumentFile { file: file.to_owned(), sha256: Digest::of(content) };
    let compared = gathered().compare(&[
        file("letter", "a document"),
        file("copy", "a document"),
        file("list", "other"),
    ]);
    assert_eq!((compared.seen.len(), compared.not_seen.len(), compared.unnamed.len()), (1, 0, 1));
    assert_eq!(compared.seen[0].files, ["letter", "copy"]);
    let named = [
        Kind::AssetRegistration,
        Kind::Restraint,
        Kind::Custody,
        Kind::Forfeiture,
        Kind::BankFee,
        Kind::Screening,
        Kind::Delivery,
        Kind::BankConfirmation,
        Kind::BankReturn,
    ];
    let mut positions: Vec<u64> = named.iter().flat_map(|kind| story.ledger.positions(*kind)).collect();
    positions.sort_unstable();
    assert_eq!(compared.seen[0].positions, positions);

    let compared = gathered().compare(&[]);
    let page = compared.page().to_string();
    assert_eq!((compared.seen.len(), compared.not_seen.len()), (0, 1));
    assert!(page.contains("1 NOT SEEN") && page.contains("does not refute the log"), "{page}");
    assert!(page.contains("dora"), "whom to ask: {page}");
}
