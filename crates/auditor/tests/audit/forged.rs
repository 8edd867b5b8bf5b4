//! A log that somebody wrote with the database and both of the ledger's keys in hand: every signature of the ledger, every
//! root and the checkpoint are right, and what people did not sign is still refuted.

use programme::entity::PolicyState;
use programme::{At, Key, decide};
use records::governance::{Act, Proposal};
use records::journal::{Group, JournalEntry};
use records::scalar::Integer;
use records::{Body, Kind, Payload, Record, Verified};
use signing::digest::Digest;

use crate::ledger::{DAY_S, HOUR_S, Ledger, parse, usd};
use crate::staff::Person;
use crate::story::Story;
use crate::tampered::{refuted, refuted_at};
use crate::verified::verified;

fn funded() -> Story {
    Story::funded("safeconduct.test/log")
}

/// The bundle of a forged log is refuted at this record. Balances are left out: no state of the forger's counts.
#[track_caller]
fn forgery_refuted_at(ledger: &Ledger, position: u64, code: &str) {
    let mut bundle = ledger.bundle();
    bundle.balances.clear();
    bundle.seal(ledger);
    refuted_at(&bundle, ledger.id, position, code);
}

/// The entry that a record would cause where it stands.
fn entry_of(ledger: &Ledger, record: &Verified) -> JournalEntry {
    let at = At { position: ledger.size(), recorded_at: ledger.now };
    decide(&ledger.state, at, record).unwrap().entry().unwrap().clone()
}

fn force_entry(ledger: &mut Ledger, entry: JournalEntry) -> u64 {
    let record = ledger.sign_as_ledger(Payload::JournalEntry(Box::new(entry)));
    ledger.force(&record)
}

#[test]
fn an_entry_without_a_cause() {
    let mut story = funded();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    // The real entry of an approval that is not in the log.
    let approval = story.approval("d-1");
    let record = story.ledger.sign(&story.staff.approver, approval);
    let entry = entry_of(&story.ledger, &record);
    let position = force_entry(&mut story.ledger, entry);
    forgery_refuted_at(&story.ledger, position, "entry_unexpected");
}

#[test]
fn an_entry_with_another_amount() {
    let mut story = funded();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let approval = story.approval("d-1");
    let record = story.ledger.sign(&story.staff.approver, approval);
    let mut entry = entry_of(&story.ledger, &record);
    entry.lines.iter_mut().for_each(|line| line.money = usd("9000.00"));
    story.ledger.force(&record);
    let position = force_entry(&mut story.ledger, entry);
    forgery_refuted_at(&story.ledger, position, "entry_altered");
}

#[test]
fn an_entry_by_another_key() {
    let mut story = funded();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let approval = story.approval("d-1");
    let record = story.ledger.sign(&story.staff.approver, approval);
    let entry = entry_of(&story.ledger, &record);
    story.ledger.force(&record);
    let payload = Payload::JournalEntry(Box::new(entry));
    let signed = Record::sign(payload, &story.ledger.checkpoint_key).unwrap();
    let position = story.ledger.force(&signed);
    forgery_refuted_at(&story.ledger, position, "not_the_ledgers_key");
}

#[test]
fn an_entry_left_out() {
    let mut story = funded();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let approval = story.approval("d-1");
    let record = story.ledger.sign(&story.staff.approver, approval);
    let position = story.ledger.force(&record);
    story.ledger.begin_group(60);
    forgery_refuted_at(&story.ledger, position + 1, "entry_missing");
}

#[test]
fn an_approval_stripped() {
    let mut story = funded();
    story.ledger.begin_group(60);
    let request = story.request("d-1", "aircraft", "100000.00", DAY_S);
    story.approve(|staff| &staff.approver, "d-1");
    story.ledger.begin_group(60);
    // The director's approval never happened; the payer releases all the same.
    let release = story.release("d-1", request);
    let record = story.ledger.sign(&story.staff.payer, release);
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "wrong_stage");
}

#[test]
fn approvals_that_do_not_count() {
    let approve = |who: fn(&Story) -> &Person, first: Option<fn(&Story) -> &Person>| {
        let mut story = funded();
        story.ledger.begin_group(60);
        story.request("d-1", "aircraft", "100000.00", DAY_S);
        let body = story.approval("d-1");
        if let Some(first) = first {
            let key = Person::new(first(&story).principal.as_str());
            story.ledger.take(&key, body.clone());
        }
        let person = Person::new(who(&story).principal.as_str());
        let record = story.ledger.sign(&person, body);
        let position = story.ledger.force(&record);
        (story, position)
    };
    let (story, position) = approve(|story| &story.staff.preparer, None);
    forgery_refuted_at(&story.ledger, position, "own_request");
    let (story, position) = approve(|story| &story.staff.approver, Some(|story| &story.staff.approver));
    forgery_refuted_at(&story.ledger, position, "already_approved");
    let (story, position) = approve(|story| &story.staff.payer, None);
    forgery_refuted_at(&story.ledger, position, "role_missing");
}

#[test]
fn an_approval_of_something_else() {
    let mut story = funded();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "5000.00", DAY_S);
    let Body::Approval(mut approval) = story.approval("d-1") else { panic!("an approval") };
    approval.effect.amount = usd("6000.00");
    let record = story.ledger.sign(&story.staff.approver, Body::Approval(approval));
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "effect_differs");
}

#[test]
fn an_approval_under_the_policy_of_another_time() {
    let mut story = Story::whole();
    let Body::Approval(mut approval) = story.approval("d-4") else { panic!("an approval") };
    let policy = story.ledger.state.get::<PolicyState>(&Key::Policy).unwrap();
    assert_eq!(policy.at(story.ledger.now).version, 2);
    approval.effect.policy = Integer(1);
    let record = story.ledger.sign(&story.staff.director, Body::Approval(approval));
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "policy_changed");
}

#[test]
fn groups() {
    let forge = |change: &dyn Fn(&mut Group)| {
        let mut story = funded();
        story.ledger.now = story.ledger.now.plus(60).unwrap();
        let mut group = story.ledger.next_group();
        change(&mut group);
        let record = story.ledger.sign_as_ledger(Payload::Group(group));
        let position = story.ledger.force(&record);
        (story.ledger, position)
    };
    let (ledger, _) = forge(&|_| {});
    verified(&ledger.bundle().bytes(), ledger.id);
    let refuted_with = |change: &dyn Fn(&mut Group), code: &str| {
        let (ledger, position) = forge(change);
        forgery_refuted_at(&ledger, position, code);
    };
    refuted_with(&|group| group.recorded_at = parse("2030-01-01T08:30:00Z"), "group_time");
    refuted_with(&|group| group.root = Digest::of("x"), "group_root");
    refuted_with(&|group| group.first.0 += 1, "group_position");
    refuted_with(&|group| group.rules = Integer(2), "group_rules");
    refuted_with(&|group| group.ledger = Digest::of("x"), "group_ledger");

    let mut story = funded();
    let group = Payload::Group(story.ledger.next_group());
    let record = Record::sign(group, &story.staff.anna.key).unwrap();
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "not_the_ledgers_key");
}

#[test]
fn lapses() {
    let requested = || {
        let mut story = funded();
        story.ledger.begin_group(60);
        let request = story.request("d-1", "trip", "6000.00", DAY_S);
        let expires = story.expires("d-1");
        (story, request, expires)
    };

    // Too early: it runs out at that very second.
    let (mut story, request, expires) = requested();
    story.ledger.begin_group(DAY_S);
    let lapse = story.ledger.lapse("d-1", request, expires);
    let position = story.ledger.force(&lapse);
    forgery_refuted_at(&story.ledger, position, "lapse_not_due");

    // Within the grace the log may do without; beyond it, the next group is one too many, and so is the end.
    let (mut story, ..) = requested();
    story.ledger.begin_group(DAY_S + HOUR_S);
    verified(&story.ledger.bundle().bytes(), story.ledger.id);
    story.ledger.begin_group(1);
    let end = story.ledger.size();
    let finding = refuted(&story.ledger.bundle().bytes(), story.ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (Some(end), "lapse_missing"));
    story.ledger.begin_group(60);
    forgery_refuted_at(&story.ledger, end, "lapse_missing");

    // By another key, of another request, and without what it causes.
    let (mut story, request, expires) = requested();
    story.ledger.begin_group(DAY_S + 1);
    let lapse = story.ledger.lapse("d-1", request, expires);
    let by_director = Record::sign(lapse.payload().clone(), &story.staff.director.key).unwrap();
    let position = story.ledger.force(&by_director);
    forgery_refuted_at(&story.ledger, position, "not_the_ledgers_key");

    let (mut story, _, expires) = requested();
    story.ledger.begin_group(DAY_S + 1);
    let lapse = story.ledger.lapse("d-1", Digest::of("x"), expires);
    let position = story.ledger.force(&lapse);
    forgery_refuted_at(&story.ledger, position, "lapse_not_due");

    let (mut story, request, expires) = requested();
    story.ledger.begin_group(DAY_S + 1);
    let lapse = story.ledger.lapse("d-1", request, expires);
    let position = story.ledger.force(&lapse);
    let finding = refuted(&story.ledger.bundle().bytes(), story.ledger.id);
    assert_eq!((finding.position, finding.code.as_str()), (Some(position + 1), "cut_off"));
}

#[test]
fn a_revoked_key() {
    let mut story = funded();
    let approver = story.staff.approver.key.public().id();
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let act = Act::Revoke { key: approver, reason: parse("lost"), since: None };
    let Story { ledger, staff } = &mut story;
    ledger.enact([&staff.anna, &staff.boris], act);
    // The revocation takes effect after the policy's delay.
    story.ledger.begin_group(HOUR_S - 1);
    let approval = story.approval("d-1");
    let early = story.ledger.sign(&story.staff.approver, approval.clone());
    let at = At { position: story.ledger.size(), recorded_at: story.ledger.now };
    assert!(decide(&story.ledger.state, at, &early).is_ok());
    story.ledger.begin_group(1);
    let late = story.ledger.sign(&story.staff.approver, approval);
    let position = story.ledger.force(&late);
    forgery_refuted_at(&story.ledger, position, "key_revoked");
}

#[test]
fn a_key_that_nobody_enrolled() {
    let mut story = funded();
    story.ledger.begin_group(60);
    let stranger = Person::new("stranger");
    let body = || Body::Acceptance(records::governance::Acceptance {});
    // No record carries the key, so there is nothing to verify with.
    let record = story.ledger.sign(&stranger, body());
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "key_unknown");

    // A proposal carries the key, and no second custodian concurred.
    let mut story = funded();
    story.ledger.begin_group(60);
    let act = stranger.enrolment(story.ledger.id, &[]);
    story.ledger.take(&story.staff.anna, Body::Proposal(Proposal { act }));
    let record = story.ledger.sign(&stranger, body());
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "key_unknown");

    // The ledger's own key is no person's.
    let mut story = funded();
    story.ledger.begin_group(60);
    let ledger_itself = Person { principal: parse("anna"), key: crate::staff::key("record") };
    let record = story.ledger.sign(&ledger_itself, body());
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "key_unknown");
}

#[test]
fn a_key_used_before_its_enrolment_takes_effect() {
    let mut story = funded();
    story.ledger.begin_group(60);
    let newcomer = Person::new("newcomer");
    let act = newcomer.enrolment(story.ledger.id, &[records::governance::Role::Approver]);
    let Story { ledger, staff } = &mut story;
    ledger.enact([&staff.anna, &staff.boris], act);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let approval = story.approval("d-1");
    let record = story.ledger.sign(&newcomer, approval);
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "key_not_yet_valid");
}

#[test]
fn an_instruction_of_a_fork() {
    // The same ledger, continued in two ways; an approver was shown the other one.
    let mut shown = funded();
    shown.ledger.begin_group(30);
    shown.ledger.begin_group(30);
    let mut story = funded();
    story.ledger.begin_group(60);
    story.ledger.begin_group(60);
    story.request("d-1", "trip", "6000.00", DAY_S);
    let approval = story.approval("d-1");
    shown.ledger.begin_group(60);
    let record = shown.ledger.sign(&story.staff.approver, approval);
    let position = story.ledger.force(&record);
    forgery_refuted_at(&story.ledger, position, "basis_unknown");
}

#[test]
fn a_second_founding() {
    let mut story = funded();
    story.ledger.begin_group(60);
    let founding = Record::parse_leaf(&story.ledger.leaves[0]).unwrap();
    let founding = founding.verify(story.staff.anna.key.public()).unwrap();
    let position = story.ledger.force(&founding);
    forgery_refuted_at(&story.ledger, position, "ledger_founded");
}

#[test]
fn a_past_without_the_screening() {
    // The log is written anew without its last record, a screening; the request that relied on it is real.
    let mut honest = funded();
    let mut forged = funded().ledger;
    let screening = forged.positions(Kind::Screening)[0];
    assert_eq!(screening + 1, forged.size());
    forged.rewind(screening);
    forged.begin_group(60);
    honest.ledger.begin_group(60);
    honest.request("d-1", "trip", "6000.00", DAY_S);
    let [.., request, _entry] = honest.ledger.leaves.as_slice() else { panic!("a request and its entry") };
    let request = Record::parse_leaf(request).unwrap().verify(honest.staff.preparer.key.public()).unwrap();
    let position = forged.force(&request);
    forgery_refuted_at(&forged, position, "screening_open");
}
