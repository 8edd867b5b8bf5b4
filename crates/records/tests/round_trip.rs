//! Every payload has one encoding, it is RFC 8785's, and it comes back as it went.

use proptest::prelude::*;
use records::{BuildError, Kind, Payload, Record, RecordError};
use signing::dsse::Envelope;

use crate::samples::{Draw, secret};

/// What must hold of any payload.
fn check(payload: Payload, kind: Kind, key: &signing::keys::SecretKey) {
    let bytes = payload.encode();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let rfc8785 = serde_json_canonicalizer::to_vec(&value).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&rfc8785), "{}", kind.name());

    let record = Record::sign(payload.clone(), key).unwrap();
    let read = Record::parse_leaf(&record.leaf()).unwrap();
    assert_eq!((read.kind(), payload.kind()), (kind, kind));
    assert_eq!(read.payload(), &payload);
    assert_eq!(read.payload().encode(), bytes);
    assert_eq!((read.digest(), read.leaf_hash()), (record.digest(), record.leaf_hash()));
    assert_eq!(read.leaf(), record.leaf());
    assert_eq!(read.clone().verify(key.public()).unwrap(), record);
    assert!(read.verify(secret("somebody else").public()).is_err());
}

#[test]
fn a_plain_payload_of_every_kind() {
    for kind in Kind::ALL {
        let (payload, key) = Draw::Plain.payload(*kind);
        check(payload, *kind, &key);
        assert_eq!(Kind::of_payload_type(kind.payload_type()), Some(*kind));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_payload_of_any_kind(kind in prop::sample::select(Kind::ALL), seed in any::<u64>()) {
        let (payload, key) = Draw::Random(seed).payload(kind);
        check(payload, kind, &key);
    }

    /// One changed byte of a leaf is another record, or none; its signature does not hold.
    #[test]
    fn a_changed_byte_is_noticed(kind in prop::sample::select(Kind::ALL), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (payload, key) = Draw::Plain.payload(kind);
        let mut leaf = Record::sign(payload, &key).unwrap().leaf();
        let index = at.index(leaf.len());
        prop_assume!(leaf[index] != to);
        leaf[index] = to;
        let still_holds = Record::parse_leaf(&leaf).is_ok_and(|record| record.verify(key.public()).is_ok());
        prop_assert!(!still_holds);
    }
}

/// A payload is of the type that its envelope says, and of no other.
#[test]
fn no_payload_is_of_another_type() {
    for kind in Kind::ALL {
        let (payload, key) = Draw::Plain.payload(*kind);
        for other in Kind::ALL.iter().filter(|other| *other != kind) {
            let envelope = Envelope::sign(&key, other.payload_type(), payload.encode());
            let same_form = [
                [Kind::Custody, Kind::CustodyInterest],
                [Kind::CustodyInterest, Kind::BankFee],
                [Kind::Custody, Kind::BankFee],
                [Kind::Rejection, Kind::Cancellation],
            ];
            match Record::parse(envelope) {
                Err(error) => {
                    assert_eq!(error.code(), "payload_invalid", "{} as {}", kind.name(), other.name())
                }
                Ok(record) => {
                    // The type is signed too, so that the same bytes are another record.
                    assert_ne!(
                        record.digest(),
                        Envelope::sign(&key, kind.payload_type(), payload.encode()).digest()
                    );
                    assert!(
                        same_form.iter().any(|pair| pair.contains(kind) && pair.contains(other)),
                        "{} as {}",
                        kind.name(),
                        other.name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_record_names_the_key_that_signs_it() {
    let (payload, _) = Draw::Plain.payload(Kind::Request);
    let other = secret("somebody else");
    assert_eq!(Record::sign(payload.clone(), &other).unwrap_err(), BuildError::KeyMismatch);
    let envelope = Envelope::sign(&other, payload.kind().payload_type(), payload.encode());
    assert_eq!(Record::parse(envelope).unwrap_err(), RecordError::KeyMismatch);
}

#[test]
fn a_record_is_not_larger_than_a_leaf_may_be() {
    let (payload, key) = Draw::Plain.payload(Kind::JournalEntry);
    let Payload::JournalEntry(mut entry) = payload else { panic!("not an entry") };
    let line = entry.lines[0].clone();
    entry.lines.resize(480, line.clone());
    assert!(Record::sign(Payload::JournalEntry(entry.clone()), &key).unwrap().leaf().len() <= 65_000);
    entry.lines.resize(600, line);
    let error = Record::sign(Payload::JournalEntry(entry), &key).unwrap_err();
    assert!(matches!(error, BuildError::TooLarge(size) if size > 65_000));
}
