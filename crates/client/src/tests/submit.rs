//! Signing, sending, receipts, and what is left in the outbox.

use super::fake::*;
use crate::home::{EVIDENCE, OUTBOX, RECEIPTS};
use crate::keeping::Suspicion;
use crate::receipt::Receipt;
use crate::{Client, Error, Mode, Outcome, Submission, outbox, tags};

const DAY_S: u64 = 86_400;

fn submit(client: &Client, count: usize, mode: Mode) -> Submission {
    let basis = client.refresh().unwrap().basis();
    let records = client.sign(basis, banks(count), DAY_S).unwrap();
    client.submit(&records, mode).unwrap()
}

fn receipts(place: &Place) -> Vec<Receipt> {
    let files = std::fs::read_dir(place.0.join(RECEIPTS)).unwrap();
    files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

#[test]
fn what_is_accepted_is_proven_and_its_receipt_kept() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    let submission = submit(&client, 3, Mode::Each);
    let expected: Vec<Outcome> = [2, 4, 6].map(|position| Outcome::Accepted { position }).into();
    assert_eq!((submission.outcomes, submission.trouble.is_none()), (expected, true));
    assert_eq!((place.files(OUTBOX), place.files(RECEIPTS)), (0, 3));
    let ledger = client.ledger();
    for receipt in receipts(&place) {
        let proven = receipt.verify(ORIGIN, &ledger.checkpoint_key).unwrap();
        assert_eq!(proven.checkpoint.size, 7);
        let mut moved = receipt.clone();
        moved.position.0 += 1;
        assert!(moved.verify(ORIGIN, &ledger.checkpoint_key).is_err());
        let mut short = receipt.clone();
        short.hashes.pop();
        assert!(short.verify(ORIGIN, &ledger.checkpoint_key).is_err());
        let mut resigned = receipt.clone();
        resigned.envelope.signature.0[0] ^= 1;
        assert!(resigned.verify(ORIGIN, &ledger.checkpoint_key).is_err());
        assert!(receipt.verify("other/log", &ledger.checkpoint_key).is_err());
        assert!(receipt.verify(ORIGIN, &ledger.record_key).is_err());
    }
}

#[test]
fn many_are_sent_in_batches() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    let submission = submit(&client, 450, Mode::Each);
    assert!(submission.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted { .. })));
    assert_eq!((fake.with(|log| log.posts), place.files(RECEIPTS)), (3, 450));
    let records = client.sign(client.kept().unwrap().basis(), banks(1001), DAY_S).unwrap();
    assert!(matches!(client.submit(&records, Mode::All), Err(Error::Build(_))));
    assert_eq!(place.files(OUTBOX), 0);
}

#[test]
fn a_broken_connection_is_unknown_and_resending_is_safe() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::BreakAfterTaking);
    let submission = submit(&client, 2, Mode::Each);
    assert_eq!(submission.outcomes, [Outcome::Unknown, Outcome::Unknown]);
    let trouble = submission.trouble.unwrap();
    assert!(trouble.to_string().contains("safeconduct outbox resend"), "{trouble}");
    assert_eq!(place.files(OUTBOX), 2);
    let size = fake.with(|log| log.hashes.size());
    let (_, submission) = again(&fake, &place).resend(|_| true).unwrap();
    assert!(submission.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted { .. })));
    assert_eq!(fake.with(|log| log.hashes.size()), size);
    assert_eq!((place.files(OUTBOX), place.files(RECEIPTS)), (0, 2));
}

#[test]
fn what_never_left_is_not_kept_for_later() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::Away);
    let submission = submit(&client, 2, Mode::Each);
    assert_eq!(submission.outcomes, [Outcome::NotSent, Outcome::NotSent]);
    assert!(matches!(submission.trouble, Some(Error::Unreachable { .. })));
    assert_eq!(place.files(OUTBOX), 0);
}

#[test]
fn a_pending_receipt_is_fetched_by_sending_again() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::Pending(2));
    let submission = submit(&client, 2, Mode::All);
    assert_eq!(submission.outcomes, [2, 4].map(|position| Outcome::Accepted { position }));
    assert_eq!((fake.with(|log| log.posts), place.files(RECEIPTS)), (3, 2));
}

#[test]
fn what_was_refused_stays_in_the_outbox_with_its_reason() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::Refuse);
    let submission = submit(&client, 1, Mode::Each);
    let [Outcome::Refused(problem)] = submission.outcomes.as_slice() else {
        panic!("{submission:?}");
    };
    assert!(problem.to_string().contains("send this again when more is free"), "{problem}");
    let sent = outbox::list(client.home()).unwrap();
    assert_eq!(sent[0].refused.as_ref().unwrap().code, "insufficient_funds");
    let (envelopes, _) = client.resend(|sent| sent.refused.is_none()).unwrap();
    assert!(envelopes.is_empty());
    fake.with(|log| log.trick = Trick::None);
    client.resend(|_| true).unwrap();
    assert_eq!((place.files(OUTBOX), place.files(RECEIPTS)), (0, 1));
}

#[test]
fn all_or_none_names_the_one() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::RefuseAll(1));
    let outcomes = submit(&client, 3, Mode::All).outcomes;
    assert!(matches!(
        outcomes.as_slice(),
        [Outcome::NoneAccepted, Outcome::Refused(_), Outcome::NoneAccepted]
    ));
}

#[test]
fn an_acceptance_without_proof_is_an_alarm() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::ProveAnother);
    let submission = submit(&client, 1, Mode::Each);
    let Some(Error::Alarm(alarm)) = submission.trouble else {
        panic!("{submission:?}");
    };
    assert!(matches!(alarm.suspicion, Suspicion::NotIncluded { position: 2, .. }));
    assert_eq!(submission.outcomes, [Outcome::Pending { position: 2 }]);
    assert_eq!((place.files(OUTBOX), place.files(RECEIPTS)), (1, 0));
    assert!(place.files(EVIDENCE) > 0);
}

#[test]
fn a_larger_checkpoint_that_another_command_kept_serves_too() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    submit(&client, 1, Mode::Each);
    fake.with(|log| log.trick = Trick::BreakAfterTaking);
    submit(&client, 1, Mode::Each);
    let before = fake.with(|log| log.hashes.size());
    fake.with(|log| log.grow(3));
    client.refresh().unwrap();
    fake.with(|log| log.trick = Trick::AnswerAt(before));
    let (_, submission) = client.resend(|_| true).unwrap();
    assert!(submission.trouble.is_none(), "{submission:?}");
    assert_eq!(place.files(RECEIPTS), 2);
    assert_eq!(client.kept().unwrap().checkpoint.size, before + 3);
}

#[test]
fn what_is_busy_is_tried_again_and_lists_are_read_to_their_end() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.trick = Trick::Busy(1));
    assert_eq!(client.list::<String>("/v1/numbers?of=x").unwrap(), ["1", "2", "3"]);
    // Its two pages have 32 and 15 bytes.
    let within = |bytes| connect(&fake).list_within::<String>(bytes, "/v1/numbers?of=x", &key(1));
    assert!(within(47).is_ok() && matches!(within(46), Err(Error::Answer(_))));
    assert!(matches!(client.get::<String>("/v1/nothing"), Err(Error::Problem(_))));
}

#[test]
fn a_screener_notices_a_person_without_keeping_the_tag() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    let case = |name: &str| name.parse().unwrap();
    let salt = crate::draw::salt().unwrap();
    let screened = tags::Screened { case: case("c-1"), person: tags::commit(&salt, "iris-7"), salt };
    tags::keep(client.home(), &screened).unwrap();
    assert_eq!(tags::seen_before(client.home(), &case("c-2"), "iris-7").unwrap(), Some(case("c-1")));
    assert_eq!(tags::seen_before(client.home(), &case("c-2"), "iris-8").unwrap(), None);
    assert_eq!(tags::seen_before(client.home(), &case("c-1"), "iris-7").unwrap(), None);
    let kept = std::fs::read_to_string(place.0.join("screening/c-1.json")).unwrap();
    assert!(!kept.contains("iris"));
}
