//! What a stolen key signed, since the position that the custodians declare.

use auditor::{Against, Compromise, Hours, LISTED_MAX, Period, Report, audit, examine, verify};
use records::Body;
use records::governance::{Act, Concurrence, Proposal, Veto};
use records::scalar::Integer;
use signing::keys::KeyId;

use crate::continued::{kept, on, part, prefix};
use crate::ledger::{DAY_S, HOUR_S, Ledger, parse};
use crate::reopened::OLD;
use crate::story::Story;

fn revocation(key: KeyId, since: Option<u64>) -> Act {
    Act::Revoke { key, reason: parse("stolen"), since: since.map(Integer) }
}

fn reported(ledger: &Ledger) -> Report {
    let report = verify(&ledger.bundle().bytes()[..], ledger.id).unwrap();
    assert!(report.is_verified(), "{report}");
    report
}

/// The positions at which a key signed, read from the leaves.
fn signed_by(ledger: &Ledger, key: KeyId, since: u64) -> Vec<u64> {
    let is_by = |position: &u64| {
        records::Record::parse_leaf(&ledger.leaves[*position as usize]).unwrap().envelope().key_id == key
    };
    (since..ledger.size()).filter(is_by).collect()
}

fn positions(compromise: &Compromise) -> Vec<u64> {
    compromise.records.iter().map(|record| record.position).collect()
}

#[test]
fn what_a_stolen_key_signed_is_listed_from_the_position_on() {
    let mut story = Story::whole();
    let (director, anna) = (story.staff.director.key.public().id(), story.staff.anna.key.public().id());
    let all = signed_by(&story.ledger, director, 0);
    let since = all[2];
    story.ledger.begin_group(60);
    let Story { ledger, staff } = &mut story;
    ledger.enact([&staff.anna, &staff.boris], revocation(director, Some(since)));
    let report = reported(ledger);
    let [compromise] = &report.checked.to_review[..] else { panic!("{report}") };
    assert_eq!((compromise.key, compromise.since), (director, since));
    assert_eq!(compromise.principal, staff.director.principal);
    assert_eq!(positions(compromise), all[2..]);
    assert_eq!(compromise.count, all.len() as u64 - 2);
    assert_eq!(compromise.kinds.values().sum::<u64>(), compromise.count);
    let headline = format!("TO BE REVIEWED {} records that key {director}", compromise.count);
    assert!(report.to_string().contains(&headline), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    let shown = &json["checked"]["to_review"][0];
    assert_eq!(
        (&shown["since"], &shown["records"][0]["position"]),
        (&since.to_string().into(), &since.to_string().into())
    );

    // Until it takes effect it signs on, and that is listed too.
    ledger.begin_group(60);
    let record = ledger.take(&staff.director, {
        let bank = records::assets::BankOpening { bank: parse("b9"), currency: parse("USD") };
        Body::BankOpening(bank)
    });
    let report = reported(ledger);
    let last = report.checked.to_review[0].records.last().unwrap();
    let leaf = records::Record::parse_leaf(&ledger.leaves[last.position as usize]).unwrap();
    assert_eq!((leaf.digest(), last.kind), (record, "bank-opening"));

    // The report for auditors says the same. A custodian's key, since the founding, which it signed.
    ledger.begin_group(2 * HOUR_S);
    ledger.enact([&staff.anna, &staff.boris], revocation(anna, Some(0)));
    let bundle = ledger.bundle().bytes();
    let examined = examine(&bundle[..], ledger.id, &[], Period::default(), Hours::default()).unwrap();
    let [first, second] = &examined.verification.checked.to_review[..] else { panic!() };
    assert_eq!((first.key, second.key), (anna, director));
    assert_eq!(positions(first), signed_by(ledger, anna, 0));
    assert_eq!((first.records[0].position, first.records[0].kind), (0, "founding"));
    let page = examined.page();
    for text in [page.to_string(), page.html()] {
        assert_eq!(text.matches("To be reviewed: ").count(), 2, "{text}");
    }
}

#[test]
fn what_was_not_declared_or_not_decided_marks_nothing() {
    let mut story = Story::whole();
    let (director, payer) = (story.staff.director.key.public().id(), story.staff.payer.key.public().id());
    story.ledger.begin_group(60);
    let Story { ledger, staff } = &mut story;
    // Lost, and not stolen.
    ledger.enact([&staff.anna, &staff.boris], revocation(director, None));
    // Proposed, and no quorum yet; then vetoed.
    let act = revocation(payer, Some(0));
    let proposal = ledger.take(&staff.anna, Body::Proposal(Proposal { act }));
    assert_eq!(reported(ledger).checked.to_review, []);
    ledger.take(&staff.boris, Body::Concurrence(Concurrence { proposal }));
    assert_eq!(reported(ledger).checked.to_review.len(), 1);
    ledger.take(&staff.boris, Body::Veto(Veto { proposal, reason: parse("it was found") }));
    assert_eq!(reported(ledger).checked.to_review, []);
}

#[test]
fn all_are_counted_and_the_first_are_listed() {
    let mut story = Story::founded("safeconduct.test/log");
    story.ledger.begin_group(DAY_S);
    let Story { ledger, staff } = &mut story;
    let since = ledger.size();
    for bank in 0..LISTED_MAX + 5 {
        let bank = records::assets::BankOpening { bank: parse(&format!("b{bank}")), currency: parse("USD") };
        ledger.take(&staff.director, Body::BankOpening(bank));
    }
    let director = staff.director.key.public().id();
    ledger.enact([&staff.anna, &staff.boris], revocation(director, Some(since)));
    let report = reported(ledger);
    let compromise = &report.checked.to_review[0];
    assert_eq!((compromise.count, compromise.records.len()), (LISTED_MAX as u64 + 5, LISTED_MAX));
    assert!(report.to_string().contains("and 5 later ones"), "{report}");
}

/// An audit of a part cannot list what the key signed before it, and says so.
#[test]
fn a_part_says_what_it_does_not_list() {
    let mut story = Story::whole();
    let director = story.staff.director.key.public().id();
    let all = signed_by(&story.ledger, director, 0);
    story.ledger.begin_group(60);
    let Story { ledger, staff } = &mut story;
    ledger.enact([&staff.anna, &staff.boris], revocation(director, Some(all[2])));
    let whole = reported(ledger);
    assert!(
        whole.checked.to_review[0].part_from.is_none() && !whole.to_string().contains("not in this part")
    );

    let from =
        ledger.positions(records::Kind::Group).into_iter().rfind(|group| *group < *all.last().unwrap());
    for from in [from.unwrap(), ledger.size()] {
        let (state, _) = kept(audit(&prefix(ledger, from, OLD).bytes()[..], ledger.id, Against::default()));
        let report = on(&state, &part(&ledger.bundle(), from).bytes(), ledger.id).unwrap().report;
        assert!(report.is_verified(), "{report}");
        let compromise = &report.checked.to_review[0];
        assert_eq!(positions(compromise), signed_by(ledger, director, from));
        assert_eq!((compromise.since, compromise.part_from), (all[2], Some(from)));
        let says = format!(
            "records before position {from} are not in this part; what the key signed from position {} up to there, an \
             audit of a whole bundle lists",
            all[2]
        );
        assert!(report.to_string().contains(&says), "{report}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checked"]["to_review"][0]["part_from"], from.to_string());
    }
    // Where the part has all of it, nothing is missing.
    let since = *ledger.positions(records::Kind::Group).last().unwrap();
    ledger.begin_group(60);
    let (last, payer) = (ledger.size() - 1, staff.payer.key.public().id());
    ledger.enact([&staff.anna, &staff.boris], revocation(payer, Some(last)));
    let (state, _) = kept(audit(&prefix(ledger, since, OLD).bytes()[..], ledger.id, Against::default()));
    let audited = on(&state, &part(&ledger.bundle(), since).bytes(), ledger.id).unwrap();
    let of_payer = audited.report.checked.to_review.iter().find(|one| one.key == payer);
    assert_eq!(of_payer.map(|one| one.part_from), Some(None));
}
