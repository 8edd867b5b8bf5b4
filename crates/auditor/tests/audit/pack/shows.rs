//! What a pack shows, and to which checkpoints it can be compared.

use auditor::pack::{PackStanding, Scope, ShownDisbursement, verify};
use auditor::{Verdict, verify as verify_bundle};
use records::governance::{Act, Concurrence, Proposal, Role};
use records::{Body, Kind};
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, leaf_hash};

use super::town::{DISBURSEMENTS, town};
use super::{CutError, Lines, cut, cut_of, cuts, holds};
use crate::ledger::{HOUR_S, parse, usd};
use crate::staff::{Person, key};
use crate::story::Story;

/// The town itself holds, so what its packs are measured by does.
#[test]
fn the_town_is_verified() {
    let ledger = town();
    let report = verify_bundle(&ledger.bundle().bytes()[..], ledger.id).unwrap();
    assert!(report.is_verified(), "{report}");
}

#[test]
fn every_pack_holds_and_is_sorted() {
    let ledger = town();
    for (scope, bytes) in cuts() {
        let report = holds(bytes, ledger.id);
        assert_eq!(report.scope.as_ref(), Some(scope));
        let positions = Lines::of(bytes).positions();
        assert!(positions.is_sorted() && positions[0] == 0, "{scope}");
        assert_eq!(report.shown.records.0, positions.len() as u64);
        let counts = report.shown.records_by_kind.values();
        assert_eq!(counts.map(|count| count.0).sum::<u64>(), report.shown.records.0);
        assert!((positions.len() as u64) < ledger.size(), "{scope}: the whole ledger");
    }
    assert!(cuts().len() >= 20);
    // Cut again, it is the same.
    let (scope, bytes) = &cuts()[0];
    assert_eq!(&cut(ledger, scope), bytes);
}

fn shown<'a>(report: &'a auditor::pack::PackReport, disbursement: &str) -> &'a ShownDisbursement {
    let found = report.shown.disbursements.iter().find(|shown| shown.disbursement.as_str() == disbursement);
    found.unwrap_or_else(|| panic!("{disbursement}: {report}"))
}

fn kinds(shown: &ShownDisbursement) -> Vec<&'static str> {
    shown.steps.iter().map(|step| step.kind).collect()
}

#[test]
fn a_case_is_shown_from_its_opening_to_its_last_payment() {
    let ledger = town();
    let report = holds(&cut(ledger, &Scope::Case(parse("aurora-5d1f"))), ledger.id);
    let ids: Vec<&str> = report.shown.disbursements.iter().map(|shown| shown.disbursement.as_str()).collect();
    assert_eq!(ids, ["aurora-bonus", "aurora-lapsed", "aurora-trip"]);
    let others: Vec<&str> = report.shown.others.iter().map(|step| step.kind).collect();
    assert_eq!(others, ["offer", "case-opening", "screening"]);
    let bonus = shown(&report, "aurora-bonus");
    let steps = [
        "request",
        "approval",
        "approval",
        "release",
        "bank-rejection",
        "release",
        "bank-confirmation",
        "bank-return",
    ];
    assert_eq!(kinds(bonus), steps);
    assert_eq!((bonus.amount, bonus.case.as_ref()), (Some(usd("100000.00")), Some(&parse("aurora-5d1f"))));
    let by: Vec<&str> = bonus.steps.iter().map(|step| step.by.as_ref().unwrap().as_str()).collect();
    assert_eq!(by, ["pia", "abel", "dora", "paul", "rita", "paul", "rita", "rita"]);
    assert_eq!(
        kinds(shown(&report, "aurora-trip")),
        ["request", "approval", "delivery", "reversal", "delivery"]
    );
    assert_eq!(kinds(shown(&report, "aurora-lapsed")), ["request", "lapse"]);
    // Its own group and the next one are there, so each step lies between two times.
    for step in &bonus.steps {
        assert!(step.not_before.unwrap() < step.not_after.unwrap(), "{step}");
    }
    let page = report.to_string();
    for words in ["HOLDS", "case aurora-5d1f", "USD 100,000.00", "approval             by abel (approver)"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["shown"]["disbursements"][0]["amount"]["amount"], "100000.00");
    assert_eq!(json["verdict"]["outcome"], "verified");
    assert!(!json.to_string().contains("null"));
}

#[test]
fn a_fund_is_shown_without_its_cases() {
    let ledger = town();
    let report = holds(&cut(ledger, &Scope::Fund(parse("f2"))), ledger.id);
    let trip = shown(&report, "aurora-trip");
    assert_eq!(kinds(trip), ["approval", "delivery", "reversal", "delivery"]);
    assert_eq!((trip.amount, trip.case.as_ref()), (Some(usd("6000.00")), None));
    assert_eq!(trip.preparer.as_ref().unwrap().as_str(), "pia");
    let others: Vec<&str> = report.shown.others.iter().map(|step| step.kind).collect();
    let facts = ["offer", "fund-opening", "forfeiture", "countersignature", "bank-fee", "reversal"];
    assert_eq!(others, facts);
    assert_eq!(report.shown.disbursements.len(), 2);

    let asset = holds(&cut(ledger, &Scope::Asset(parse("a2"))), ledger.id);
    assert!(asset.shown.records.0 > report.shown.records.0);
    assert_eq!(asset.shown.records_by_kind["fund-opening"].0, 2);
}

#[test]
fn without_cases_everything_else_is_shown() {
    let ledger = town();
    let report = holds(&cut(ledger, &Scope::NoCases {}), ledger.id);
    let hidden = [Kind::CaseOpening, Kind::Screening, Kind::Request];
    for kind in Kind::ALL {
        let count = if hidden.contains(kind) { 0 } else { ledger.positions(*kind).len() as u64 };
        let shown = report.shown.records_by_kind.get(kind.name()).map_or(0, |count| count.0);
        assert_eq!(shown, count, "{}", kind.name());
    }
    let ids: Vec<&str> = report.shown.disbursements.iter().map(|shown| shown.disbursement.as_str()).collect();
    let mut all = DISBURSEMENTS;
    all.sort_unstable();
    assert_eq!(ids, all);
    assert_eq!(
        kinds(shown(&report, "first-waiting")),
        ["approval", "release", "bank-confirmation", "countersignature"]
    );
}

#[test]
fn what_is_not_there_or_does_not_hold_is_not_cut() {
    let ledger = town();
    let bundle = ledger.bundle();
    for scope in [
        Scope::Case(parse("c-9")),
        Scope::Fund(parse("f9")),
        Scope::Disbursement(parse("d-9")),
        Scope::Asset(parse("a9")),
        Scope::Period { from: parse("2029-01-01"), to: parse("2029-12-31") },
    ] {
        let cut = cut_of(&bundle.bytes(), ledger.id, &scope, &[]);
        assert!(matches!(cut, Err(CutError::NothingConcerned(of)) if of == scope));
    }
    let mut tampered = bundle.clone();
    tampered.leaves.swap(3, 4);
    let cut = cut_of(&tampered.bytes(), ledger.id, &Scope::NoCases {}, &[]);
    let Err(CutError::Refuted(report)) = cut else { panic!("it was cut") };
    assert!(matches!(report.verdict, Verdict::Refuted(_)));
    let other = cut_of(&bundle.bytes(), Digest::of("another ledger"), &Scope::NoCases {}, &[]);
    assert!(matches!(other, Err(CutError::Refuted(_))));
    // A checkpoint that the receiver kept, of another history.
    let forged = Checkpoint { origin: ledger.origin.clone(), size: 9, root: Digest::of("another") };
    let note = forged.sign(&ledger.checkpoint_key);
    let cut = cut_of(&bundle.bytes(), ledger.id, &Scope::NoCases {}, &[note]);
    assert!(matches!(cut, Err(CutError::Refuted(_))));
}

#[test]
fn a_checkpoint_that_was_kept_is_proved_where_the_pack_was_cut_for_it() {
    let ledger = town();
    let head = |size: u64| {
        let mut frontier = Frontier::new();
        ledger.leaves[..size as usize].iter().for_each(|leaf| frontier.append(leaf_hash(leaf)));
        Checkpoint { origin: ledger.origin.clone(), size, root: frontier.root() }
    };
    let groups = ledger.positions(Kind::Group);
    let (early, late, whole) = (head(groups[4]), head(groups[9]), head(ledger.size()));
    let sign = |head: &Checkpoint| head.sign(&ledger.checkpoint_key);
    let scope = Scope::Fund(parse("f1"));
    let kept = [sign(&late), sign(&early), sign(&late), sign(&whole)];
    let bytes = cut_of(&ledger.bundle().bytes(), ledger.id, &scope, &kept).unwrap();
    assert_eq!(Lines::of(&bytes).header.earlier.len(), 2);

    let other = |head: &Checkpoint| Checkpoint { root: Digest::of("another"), ..head.clone() };
    let newer = Checkpoint { size: ledger.size() + 1, ..whole.clone() };
    let elsewhere = Checkpoint { origin: "elsewhere.test/log".to_owned(), ..early.clone() };
    for (note, standing) in [
        (sign(&early), "Holds"),
        (sign(&late), "Holds"),
        (sign(&whole), "Holds"),
        (sign(&other(&early)), "Contradicts"),
        (sign(&other(&whole)), "Contradicts"),
        (sign(&elsewhere), "NotShown"),
        (early.sign(&key("record")), "Contradicts"),
        (sign(&head(groups[5])), "NotShown"),
        (sign(&newer), "NotShown"),
    ] {
        let report = verify(&bytes[..], ledger.id, &[note]).unwrap();
        assert_eq!(report.verdict, Verdict::Verified);
        let said = format!("{:?}", report.kept[0].standing);
        assert!(said.starts_with(standing), "{standing}: {said}");
        assert_eq!(report.holds(), report.kept[0].standing == PackStanding::Holds);
    }
    // The proof in the header is one of that head and no other.
    let mut altered = Lines::of(&bytes);
    altered.header.earlier[0].root = Digest::of("another");
    assert_eq!(super::refuted(&altered.bytes(), ledger.id).code, "earlier_wrong");
    let mut altered = Lines::of(&bytes);
    altered.header.earlier.swap(0, 1);
    assert_eq!(super::refuted(&altered.bytes(), ledger.id).code, "header_malformed");
}

/// The origin is the one that the reopening gave, which every pack therefore has.
#[test]
fn a_pack_of_a_log_that_was_reopened() {
    let (story, continued, _) = crate::reopened::reopened();
    let ledger = &story.ledger;
    let bytes = cut(ledger, &Scope::Case(parse("c-1")));
    let report = holds(&bytes, ledger.id);
    assert_eq!(report.shown.checkpoint.unwrap().origin, ledger.origin);
    let mut without = Lines::of(&bytes);
    // The group, the proposal and the concurrence of the reopening.
    without.records.retain(|line| line.position.0 < continued.size.0);
    assert_eq!(super::refuted(&without.sealed(), ledger.id).code, "checkpoint_origin");
}

/// A key that one custodian proposed for somebody else too, after which a quorum enrolled it for whom it was meant.
#[test]
fn a_revocation_is_about_whose_key_it_was() {
    let mut story = Story::funded("safeconduct.test/log");
    let Story { ledger, staff } = &mut story;
    ledger.begin_group(HOUR_S);
    let zoe = Person::new("zoe");
    let act = zoe.enrolment(ledger.id, &[Role::Payer]);
    let proposal = ledger.take(&staff.anna, Body::Proposal(Proposal { act }));
    let other = Person { principal: staff.preparer.principal.clone(), key: key("zoe") };
    let act = other.enrolment(ledger.id, &[Role::Approver, Role::Preparer]);
    ledger.take(&staff.boris, Body::Proposal(Proposal { act }));
    ledger.take(&staff.boris, Body::Concurrence(Concurrence { proposal }));
    ledger.begin_group(2 * HOUR_S);
    let act = Act::Revoke { key: zoe.key.public().id(), reason: parse("lost"), since: None };
    ledger.enact([&staff.anna, &staff.boris], act);
    holds(&cut(ledger, &Scope::Case(parse("c-1"))), ledger.id);
}

#[test]
fn a_full_disk_is_not_the_bundles_fault() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let bundle = std::io::Cursor::new(town().bundle().bytes());
    let error = auditor::pack::cut(bundle, town().id, &Scope::NoCases {}, &[], &mut Full).unwrap_err();
    assert!(error.to_string().starts_with("the pack could not be written"), "{error}");
}
