//! Spare keys and keys that expire: what an audit says of them, and what it refutes.

use std::io::Cursor;

use auditor::pack::{self, Scope};
use auditor::{EXPIRING_WINDOW_S, Hours, Looked, Period, Report, Verdict, examine, verify};
use records::Body;
use records::governance::{Act, Activation, Role};
use records::scalar::Integer;
use signing::keys::KeyId;

use crate::ledger::{DAY_S, HOUR_S, Ledger, parse};
use crate::staff::{Person, key};
use crate::story::Story;

/// The approver's spare and his second key, which expires with it so long after the act.
fn with_spare(expires_s: u64) -> (Story, Person, Person) {
    let mut story = Story::funded("safeconduct.test/log");
    let holder = |seed: &str| Person { principal: story.staff.approver.principal.clone(), key: key(seed) };
    let (second, spare) = (holder("abel's second"), holder("abel's spare"));
    story.ledger.begin_group(60);
    let Act::Enrol { possessions, principal, roles, .. } =
        second.enrolment(story.ledger.id, &[Role::Approver])
    else {
        unreachable!("an enrolment");
    };
    let spares = spare.enrolment(story.ledger.id, &[]).new_keys().cloned().collect();
    let expires = story.ledger.now.plus(expires_s);
    let act = Act::Enrol { expires, possessions, principal, roles, spares: Some(spares) };
    let Story { ledger, staff } = &mut story;
    ledger.enact([&staff.anna, &staff.boris], act);
    ledger.begin_group(2 * HOUR_S);
    (story, second, spare)
}

fn activation(replaces: Option<KeyId>, since: Option<u64>) -> Body {
    Body::Activation(Activation { reason: parse("stolen"), replaces, since: since.map(Integer) })
}

fn reported(ledger: &Ledger) -> Report {
    let report = verify(&ledger.bundle().bytes()[..], ledger.id).unwrap();
    assert!(report.is_verified(), "{report}");
    report
}

#[track_caller]
fn refuted(ledger: &Ledger, position: u64, code: &str) {
    let mut bundle = ledger.bundle();
    bundle.balances.clear();
    bundle.seal(ledger);
    match verify(&bundle.bytes()[..], ledger.id).unwrap().verdict {
        Verdict::Refuted(found) => assert_eq!((found.position, found.code.as_str()), (Some(position), code)),
        Verdict::Verified => panic!("verified"),
    }
}

#[test]
fn an_activation_is_listed_and_marks_what_the_replaced_key_signed() {
    let (mut story, second, spare) = with_spare(365 * DAY_S);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let since = story.ledger.size();
    let approval = story.approval("d-1");
    story.ledger.take(&second, approval);
    assert_eq!(reported(&story.ledger).checked.activated, []);

    story.ledger.begin_group(60);
    let replaced = second.key.public().id();
    let position = story.ledger.size();
    let digest = story.ledger.take(&spare, activation(Some(replaced), Some(since)));
    let report = reported(&story.ledger);
    let [activated] = &report.checked.activated[..] else { panic!("{report}") };
    assert_eq!((activated.key, activated.replaced), (spare.key.public().id(), Some(replaced)));
    assert_eq!((activated.at, activated.position), (story.ledger.now, position));
    assert_eq!(activated.principal, spare.principal);
    let [compromise] = &report.checked.to_review[..] else { panic!("{report}") };
    assert_eq!(
        (compromise.key, compromise.by, compromise.since, compromise.count),
        (replaced, digest, since, 1)
    );
    assert!(report.to_string().contains("ACTIVATED spare key"), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checked"]["activated"][0]["position"], position.to_string());

    let bytes = story.ledger.bundle().bytes();
    let examined = examine(&bytes[..], story.ledger.id, &[], Period::default(), Hours::default()).unwrap();
    for text in [examined.page().to_string(), examined.page().html()] {
        assert!(text.contains("Spare keys that were activated") && text.contains("To be reviewed: 1 record"));
    }
}

#[test]
fn keys_are_listed_that_have_expired_or_soon_will() {
    let listed = |later_s: u64| {
        let (mut story, second, spare) = with_spare(EXPIRING_WINDOW_S + 10 * DAY_S);
        story.ledger.begin_group(later_s - 2 * HOUR_S);
        let report = reported(&story.ledger);
        let keys: Vec<KeyId> = report.checked.expiring.iter().map(|one| one.key).collect();
        let mut both = vec![second.key.public().id(), spare.key.public().id()];
        both.sort();
        assert!(keys.is_empty() || keys == both);
        let bytes = story.ledger.bundle().bytes();
        let page =
            examine(&bytes[..], story.ledger.id, &[], Period::default(), Hours::default()).unwrap().page();
        let heading = "Keys that have expired, or do within 30 days of the log's time";
        assert_eq!(page.to_string().contains(heading), !keys.is_empty());
        report.checked.expiring.first().map(|one| one.has_expired)
    };
    assert_eq!(listed(10 * DAY_S - 1), None);
    assert_eq!(listed(10 * DAY_S), Some(false));
    assert_eq!(listed(EXPIRING_WINDOW_S + 10 * DAY_S - 1), Some(false));
    assert_eq!(listed(EXPIRING_WINDOW_S + 10 * DAY_S), Some(true));

    // What somebody ended is no concern any more.
    let (mut story, second, spare) = with_spare(DAY_S);
    story.ledger.take(&spare, activation(Some(second.key.public().id()), None));
    let keys: Vec<KeyId> = reported(&story.ledger).checked.expiring.iter().map(|one| one.key).collect();
    assert_eq!(keys, [spare.key.public().id()]);
}

#[test]
fn a_spare_without_its_activation_and_a_key_after_its_time() {
    let (mut story, second, spare) = with_spare(DAY_S);
    story.request("d-1", "trip", "6000.00", 2 * DAY_S);
    let size = story.ledger.size();
    let approval = story.approval("d-1");
    let early = story.ledger.sign(&spare, approval.clone());
    let position = story.ledger.force(&early);
    refuted(&story.ledger, position, "key_spare");
    story.ledger.rewind(size);

    // At the second of its expiry it signs no more, and the spare is no better.
    let gone_s = DAY_S - 2 * HOUR_S;
    story.ledger.begin_group(gone_s - 1);
    let last = story.ledger.sign(&second, approval.clone());
    let at = programme::At { position: story.ledger.size(), recorded_at: story.ledger.now };
    assert!(programme::decide(&story.ledger.state, at, &last).is_ok());
    story.ledger.begin_group(1);
    for (person, body) in [(&second, approval), (&spare, activation(None, None))] {
        let size = story.ledger.size();
        let late = story.ledger.sign(person, body);
        let position = story.ledger.force(&late);
        refuted(&story.ledger, position, "key_expired");
        story.ledger.rewind(size);
    }
}

#[test]
fn an_activation_that_nobody_with_the_spare_signed() {
    let (mut story, second, spare) = with_spare(DAY_S);
    let own = |seed: &str| Person { principal: spare.principal.clone(), key: key(seed) };
    let custodian = story.staff.anna.key.public().id();
    let unknown = key("nobody").public().id();
    for (person, body, code) in [
        // The ledger's own keys are nobody's, and the daily key is no spare.
        (own("record"), activation(None, None), "key_unknown"),
        (own("abel's second"), activation(None, None), "key_not_spare"),
        (
            Person { principal: parse("anna"), key: key("abel's spare") },
            activation(None, None),
            "key_not_signers",
        ),
        // It ends keys of its own principal.
        (own("abel's spare"), activation(Some(custodian), None), "act_invalid"),
        (own("abel's spare"), activation(Some(unknown), None), "key_unknown"),
        (own("abel's spare"), activation(None, Some(1)), "act_invalid"),
        (own("abel's spare"), activation(Some(second.key.public().id()), Some(100_000)), "act_invalid"),
    ] {
        let size = story.ledger.size();
        let record = story.ledger.sign(&person, body);
        let position = story.ledger.force(&record);
        refuted(&story.ledger, position, code);
        story.ledger.rewind(size);
    }
    // Taken once, it is refuted the second time.
    story.ledger.take(&spare, activation(None, None));
    let again = story.ledger.sign(&spare, activation(None, None));
    let position = story.ledger.force(&again);
    refuted(&story.ledger, position, "key_not_spare");
}

/// A payment that an activated spare approved: the change is an exception, and a pack has the activation or is refuted.
#[test]
fn a_payment_that_a_spare_approved() {
    let (mut story, _, spare) = with_spare(365 * DAY_S);
    let request = story.request("d-1", "arrival", "5000.00", 2 * DAY_S);
    story.ledger.take(&spare, activation(Some(key("abel").public().id()), None));
    let approval = story.approval("d-1");
    story.ledger.take(&spare, approval);
    story.ledger.begin_group(HOUR_S);
    let release = story.release("d-1", request);
    story.ledger.take(&story.staff.payer, release);
    let (id, bytes) = (story.ledger.id, story.ledger.bundle().bytes());

    let examined = examine(&bytes[..], id, &[], Period::default(), Hours::default()).unwrap();
    let found = examined.exceptions.unwrap().found;
    let is_of_it = |what: &str| what.starts_with("a spare key of abel was activated at position");
    assert!(
        found.iter().any(|one| one.looked == Looked::ChangeBeforePayment && is_of_it(&one.what)),
        "{found:?}"
    );

    let mut out = vec![];
    pack::cut(Cursor::new(&bytes), id, &Scope::Case(parse("c-1")), &[], &mut out).unwrap();
    let report = pack::verify(&out[..], id, &[]).unwrap();
    assert_eq!(report.verdict, Verdict::Verified);
    assert_eq!(report.shown.records_by_kind["activation"], Integer(1));

    // Somebody leaves it out, and counts one record less.
    let pack = String::from_utf8(out).unwrap();
    let is_activation = |line: &&str| line.contains("vnd.safeconduct.activation.v1");
    let records = pack.lines().count() as u64 - 1;
    let without: String =
        pack.lines().filter(|line| !is_activation(line)).map(|line| format!("{line}\n")).collect();
    let without = without.replacen(
        &format!("\"records\":\"{records}\""),
        &format!("\"records\":\"{}\"", records - 1),
        1,
    );
    match pack::verify(without.as_bytes(), id, &[]).unwrap().verdict {
        Verdict::Refuted(found) => assert_eq!(found.code, "key_spare", "{found}"),
        Verdict::Verified => panic!("verified without the activation"),
    }
}
