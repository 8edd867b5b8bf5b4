//! Joining, and the rules by which a checkpoint follows the kept one.

use super::fake::*;
use crate::home::{CHECKPOINT, EVIDENCE, LEDGER};
use crate::keeping::Suspicion;
use crate::{Error, Home, membership};

fn suspicion(result: Result<crate::keeping::Kept, Error>) -> Suspicion {
    match result {
        Err(Error::Alarm(alarm)) => {
            assert!(alarm.to_string().contains("ALARM"), "{alarm}");
            alarm.suspicion
        }
        other => panic!("no alarm but {other:?}"),
    }
}

#[test]
fn a_home_is_for_its_owner_only_and_joins_by_the_ledgers_id() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    assert_eq!(client.ledger().origin.as_str(), ORIGIN);
    client.refresh().unwrap();
    assert_eq!(place.mode(""), 0o700);
    for file in [LEDGER, CHECKPOINT, "identity.json", "founding.json", "key.pem"] {
        assert_eq!(place.mode(file), 0o600, "{file}");
    }
    assert!(matches!(Home::create(&place.0), Err(Error::HomeTaken(_))));
}

#[test]
fn another_founding_record_is_not_joined() {
    let (fake, place) = (service(), Place::new());
    let home = home(&place);
    let other = signing::digest::Digest::of("another");
    let result = membership::join(&home, &connect(&fake), &key(1), other);
    assert!(matches!(result, Err(Error::Founding { .. })), "{result:?}");
    assert!(!home.path(LEDGER).exists());
    assert!(matches!(membership::Ledger::read(&home), Err(Error::NotJoined)));
}

#[test]
fn a_checkpoint_that_extends_the_kept_one_is_kept() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    assert_eq!(client.kept().unwrap().checkpoint.size, 1);
    fake.with(|log| log.grow(6));
    assert_eq!(client.peek().unwrap().checkpoint.size, 7);
    assert!(!client.home().path(CHECKPOINT).exists());
    assert_eq!(client.refresh().unwrap().checkpoint.size, 7);
    assert_eq!(client.refresh().unwrap().checkpoint.size, 7);
    fake.with(|log| log.grow(1));
    client.refresh().unwrap();
    assert_eq!(again(&fake, &place).kept().unwrap().checkpoint.size, 8);
    assert_eq!(place.files(EVIDENCE), 0);
}

#[test]
fn a_smaller_log_is_an_alarm() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.grow(6));
    let kept = client.refresh().unwrap();
    fake.with(|log| log.shown = Some(log.note_at(5)));
    assert_eq!(suspicion(client.refresh()), Suspicion::Rollback);
    assert_eq!(client.kept().unwrap(), kept);
    assert_eq!(place.files(EVIDENCE), 2);
}

#[test]
fn another_log_of_the_same_size_is_an_alarm() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.grow(6));
    let kept = client.refresh().unwrap();
    fake.with(|log| log.fork(7));
    assert_eq!(suspicion(client.refresh()), Suspicion::Fork);
    assert_eq!(client.kept().unwrap(), kept);
    let evidence = std::fs::read_dir(place.0.join(EVIDENCE)).unwrap();
    let texts: Vec<String> =
        evidence.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(texts.contains(&kept.note.unwrap()) && texts.contains(&fake.with(|log| log.note())));
    // Another one in the same second has files of its own, and none has them twice.
    for _ in 0..2 {
        fake.with(|log| log.shown = Some(log.note_at(5)));
        assert_eq!(suspicion(client.refresh()), Suspicion::Rollback);
        assert_eq!(place.files(EVIDENCE), 4);
    }
    // What cannot be kept is said.
    std::fs::remove_dir_all(place.0.join(EVIDENCE)).unwrap();
    std::fs::write(place.0.join(EVIDENCE), "").unwrap();
    let said = client.refresh().unwrap_err().to_string();
    assert!(said.contains("ALARM") && said.contains("copy this message"), "{said}");
}

#[test]
fn a_larger_log_that_does_not_extend_the_kept_one_is_an_alarm() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| log.grow(6));
    client.refresh().unwrap();
    fake.with(|log| log.fork(12));
    assert_eq!(suspicion(client.refresh()), Suspicion::Inconsistent);
    assert_eq!(place.files(EVIDENCE), 3);
}

#[test]
fn the_first_checkpoint_must_extend_the_founding_record() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| {
        log.hashes = translog::proof::MemoryHashes::new();
        log.grow(5);
    });
    assert_eq!(suspicion(client.refresh()), Suspicion::Inconsistent);
    fake.with(|log| log.shown = Some(log.note_at(1)));
    assert_eq!(suspicion(client.refresh()), Suspicion::Fork);
}

#[test]
fn a_note_by_another_key_is_an_alarm() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    fake.with(|log| {
        log.grow(3);
        let checkpoint = translog::checkpoint::Checkpoint {
            origin: ORIGIN.into(),
            size: 4,
            root: translog::proof::root(4, &log.hashes).unwrap(),
        };
        log.shown = Some(checkpoint.sign(&key(9)));
    });
    assert!(matches!(suspicion(client.refresh()), Suspicion::NotTheLedgers(_)));
}

#[test]
fn a_damaged_file_is_named() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    client.home().write(CHECKPOINT, b"nonsense").unwrap();
    assert!(matches!(client.refresh(), Err(Error::Damaged { .. })));
}
