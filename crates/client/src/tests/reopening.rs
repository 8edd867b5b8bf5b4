//! A log that goes on under a new origin, and what a machine must see before it follows.

use records::governance::{Act, Concurrence, KeyPossession, Proposal, Role};
use records::scalar::Integer;
use records::{Basis, Body, Header, Payload, Record, Verified};
use signing::canonical;
use signing::dsse::Envelope;
use translog::proof::{inclusion, root};

use super::fake::*;
use crate::home::CHECKPOINT;
use crate::keeping::Suspicion;
use crate::receipt::Receipt;
use crate::{Client, Error, Ledger};

pub const NEW: &str = "ledger.example/log-2";

/// A record of a custodian's.
pub fn signed(seed: u8, body: Body) -> Verified {
    let signer = if seed == 1 { "anna" } else { "boris" };
    let header = Header {
        basis: Basis { root: founding().leaf_hash(), size: Integer(1) },
        id: crate::draw::instruction_id(now()).unwrap(),
        issued_at: now(),
        key: key(seed).public().id(),
        ledger: founding().digest(),
        not_after: now().plus(3600).unwrap(),
        signer: signer.parse().unwrap(),
    };
    Record::sign(Payload::Instruction(Box::new(header), Box::new(body)), &key(seed)).unwrap()
}

/// An act that both custodians stand behind.
pub fn act(act: Act) -> [Verified; 2] {
    let proposal = signed(1, Body::Proposal(Proposal { act }));
    let concurrence = signed(4, Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    [proposal, concurrence]
}

/// Both custodians leave the log at this size and cite a head.
pub fn acts(log: &Log, left: u64, cited: &str) -> [Verified; 2] {
    let continued = Basis { root: root(left, &log.hashes).unwrap(), size: Integer(left) };
    let (checkpoint, origin) = (cited.to_owned(), NEW.parse().unwrap());
    act(Act::Reopen { checkpoint, continued, keys: None, origin })
}

/// The log goes on under the new origin with the acts, after a record of their group.
pub fn reopen(log: &mut Log, acts: &[Verified; 2]) -> Vec<Receipt> {
    log.grow(1);
    let first = log.hashes.size();
    acts.iter().for_each(|act| log.hashes.append(act.leaf_hash()));
    log.origin = NEW.to_owned();
    acts.iter().zip(first..).map(|(act, position)| receipt(log, act, position)).collect()
}

pub fn receipt(log: &Log, record: &Verified, position: u64) -> Receipt {
    Receipt {
        checkpoint: log.note(),
        envelope: Envelope::clone(record.envelope()),
        hashes: inclusion(position, log.hashes.size(), &log.hashes).unwrap(),
        position: Integer(position),
    }
}

fn refused(result: Result<crate::reopening::Followed, Error>) -> String {
    match result {
        Err(Error::Reopening(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// A home that verified 10 records, of which 8 are left.
fn lost(fake: &Fake, place: &Place) -> (Client, String, [Verified; 2]) {
    let client = joined(fake, place);
    let (cited, acts) = fake.with(|log| {
        log.grow(9);
        (log.note(), acts(log, 8, &log.note()))
    });
    client.refresh().unwrap();
    fake.with(|log| log.lose(8));
    (client, cited, acts)
}

#[test]
fn a_reopening_is_followed_to_the_head_that_was_verified() {
    let (fake, place) = (service(), Place::new());
    let (client, cited, acts) = lost(&fake, &place);
    let receipts = fake.with(|log| reopen(log, &acts));
    let followed = client.follow_reopening(&receipts, &[]).unwrap();
    assert_eq!((followed.kept, followed.reopening.continued.size.0), (10, 8));
    let client = again(&fake, &place);
    let kept = client.kept().unwrap();
    assert_eq!((kept.checkpoint.size, kept.checkpoint.origin.as_str()), (11, NEW));
    assert_eq!(kept.note, Some(fake.with(|log| log.note())));

    // Cut short before the head was written, it is known all the same.
    client.home().write(CHECKPOINT, cited.as_bytes()).unwrap();
    let client = again(&fake, &place);
    assert_eq!(client.kept().unwrap().checkpoint, kept.checkpoint);
    client.home().remove(CHECKPOINT).unwrap();
    assert_eq!(client.kept().unwrap().checkpoint, kept.checkpoint);
    // Joined again at another address, it knows its origins still.
    let (known, url) = (client.ledger().clone(), "https://elsewhere.example");
    let founding = founding();
    let (moved, _) = Ledger::of_founding(founding.envelope(), known.ledger, url).unwrap();
    moved.keep(client.home(), founding.envelope()).unwrap();
    assert_eq!(Ledger::read(client.home()).unwrap(), Ledger { url: url.to_owned(), ..known });
    fake.with(|log| log.fork(12));
    match client.refresh() {
        Err(Error::Alarm(alarm)) => assert_eq!(alarm.suspicion, Suspicion::Inconsistent),
        other => panic!("{other:?}"),
    }
}

/// Each receipt holds under its checkpoint, and only one of these is compared with what the machine verified.
#[test]
fn receipts_under_two_checkpoints_are_no_reopening() {
    let (fake, place) = (service(), Place::new());
    let (client, _, acts) = lost(&fake, &place);
    let mixed = fake.with(|log| {
        let receipts = reopen(log, &acts);
        let shown = log.hashes.clone();
        log.fork(8);
        let kept = reopen(log, &acts);
        log.hashes = shown;
        [kept[0].clone(), receipts[1].clone()]
    });
    let said = refused(client.follow_reopening(&mixed, &[]));
    assert!(said.contains("under one checkpoint"), "{said}");
    assert_eq!(client.kept().unwrap().checkpoint.size, 10);
}

/// What the machine verified is lost, so nothing of it is compared with the new log; what the custodians left is.
#[test]
fn the_new_log_begins_with_what_the_custodians_left() {
    let (fake, place) = (service(), Place::new());
    let (client, _, acts) = lost(&fake, &place);
    let receipts = fake.with(|log| {
        log.fork(8);
        reopen(log, &acts)
    });
    let said = refused(client.follow_reopening(&receipts, &[]));
    assert!(said.contains("forked"), "{said}");
    assert_eq!(client.ledger().origin.as_str(), ORIGIN);
}

#[test]
fn what_is_public_is_exported_under_the_origin_that_it_has() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    let [good, gone] = ["public", "lost"].map(|name| place.0.join(name));
    let acts = fake.with(|log| {
        log.grow(9);
        log.public = Some(log.note_at(6));
        acts(log, 8, &log.note())
    });
    assert_eq!(client.export(&good, false).unwrap().size, 6);
    fake.with(|log| log.public = Some(log.note()));
    assert_eq!(client.export(&gone, false).unwrap().size, 10);
    let receipts = fake.with(|log| {
        log.lose(8);
        log.public = Some(log.note_at(6));
        reopen(log, &acts)
    });
    client.follow_reopening(&receipts, &[]).unwrap();
    let client = again(&fake, &place);
    // What is public is still under the origin of before, and then under the new one.
    assert_eq!(client.export(&good, false).unwrap().size, 6);
    fake.with(|log| log.public = Some(log.note()));
    assert_eq!(client.export(&good, false).unwrap().size, 11);
    let lost = client.export(&gone, false).unwrap_err().to_string();
    assert!(lost.contains("covers records that are lost"), "{lost}");
    // Under an origin that nobody accepted it is an alarm.
    fake.with(|log| {
        log.origin = "ledger.example/log-3".to_owned();
        log.public = Some(log.note());
    });
    let unknown = client.export(&good, false).unwrap_err().to_string();
    assert!(unknown.contains("ALARM") && unknown.contains("another origin"), "{unknown}");
}

/// The act by which a custodian's key is enrolled.
pub fn enrolment(principal: &str, seed: u8) -> Act {
    let possession = KeyPossession {
        key: key(seed).public().clone(),
        ledger: founding().digest(),
        principal: principal.parse().unwrap(),
    };
    let payload = canonical::encode(&possession);
    Act::Enrol {
        expires: None,
        possessions: vec![Envelope::sign(&key(seed), KeyPossession::PAYLOAD_TYPE, payload)],
        principal: principal.parse().unwrap(),
        roles: vec![Role::Custodian],
        spares: None,
    }
}

/// Boris signs with a key that a quorum enrolled since the founding, where the file shows that.
#[test]
fn who_was_enrolled_since_counts_where_that_is_shown() {
    let [proposal, concurrence] = act(enrolment("boris", 5));
    // What a home sees: the records before the reopening, and whether they stand in the log that was left.
    let follow = |shown: &[&Verified], is_left: bool| {
        let (fake, place) = (service(), Place::new());
        let client = joined(&fake, &place);
        let receipts = fake.with(|log| {
            let first = log.hashes.size();
            shown.iter().for_each(|record| log.hashes.append(record.leaf_hash()));
            let left = if is_left { log.hashes.size() } else { first };
            let continued = Basis { root: root(left, &log.hashes).unwrap(), size: Integer(left) };
            let act =
                Act::Reopen { checkpoint: log.note(), continued, keys: None, origin: NEW.parse().unwrap() };
            let proposal = signed(1, Body::Proposal(Proposal { act }));
            let by = Body::Concurrence(Concurrence { proposal: proposal.digest() });
            let reopened = reopen(log, &[proposal, signed(5, by)]);
            let shown = shown.iter().zip(first..).map(|(record, position)| receipt(log, record, position));
            shown.chain(reopened).collect::<Vec<_>>()
        });
        client.follow_reopening(&receipts, &[])
    };
    let followed = follow(&[&proposal, &concurrence], true).unwrap();
    assert_eq!(followed.reopening.custodians.len(), 2);
    let said = refused(follow(&[], true));
    assert!(said.contains("by 1 of the custodians"), "{said}");
    // Without its quorum it enrols nobody, whoever signs it twice.
    assert!(refused(follow(&[&proposal], true)).contains("by 1 of the custodians"));
    let again = signed(1, Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    assert!(refused(follow(&[&proposal, &again], true)).contains("by 1 of the custodians"));
    let by_itself = signed(5, Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    assert!(refused(follow(&[&proposal, &by_itself], true)).contains("by 1 of the custodians"));
    assert!(refused(follow(&[&concurrence, &proposal], true)).contains("no enrolment"));
    let [officer, by] = act(match enrolment("boris", 5) {
        Act::Enrol { possessions, principal, .. } => {
            Act::Enrol { expires: None, possessions, principal, roles: vec![Role::Preparer], spares: None }
        }
        other => other,
    });
    assert!(refused(follow(&[&officer, &by], true)).contains("enrols no custodian"));
    assert!(refused(follow(&[&proposal, &concurrence], false)).contains("not of the log that was left"));
    // Enrolled for anna, a key does not count for boris.
    let [of_anna, by] = act(enrolment("anna", 5));
    assert!(refused(follow(&[&of_anna, &by], true)).contains("by 1 of the custodians"));
}
