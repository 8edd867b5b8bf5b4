//! Golden vectors in `tests/vectors/records/`: one canonical envelope for each kind, one each of the acts to enrol for a time and
//! with a spare, to reopen a log, to do so with new keys and to revoke a key that was stolen, one of a group that carries a new key, and the
//! digests of each.
//!
//! They change only with the format. `UPDATE_VECTORS=1 cargo test -p records` writes them again.

use std::fs;
use std::path::PathBuf;

use records::{Kind, Payload, Record};
use signing::keys::SecretKey;

use crate::samples::Draw;

/// The file's path.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/records").join(name)
}

/// The file's text; first written, where that is asked for.
pub fn golden(name: &str, made: &str) -> String {
    let path = path(name);
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What each vector is made of.
fn made() -> impl Iterator<Item = (&'static str, Payload, SecretKey)> {
    let plain = Kind::ALL.iter().map(|kind| (kind.name(), Draw::Plain.payload(*kind)));
    let all = plain.chain([
        ("proposal-enrol-spare", Draw::Plain.enrolment()),
        ("group-rekey", Draw::Plain.rekeyed_group()),
        ("proposal-rekey", Draw::Plain.rekeying()),
        ("proposal-reopen", Draw::Plain.reopening()),
        ("proposal-revoke", Draw::Plain.compromise()),
    ]);
    all.map(|(name, (payload, key))| (name, payload, key))
}

#[test]
fn golden_records_are_read_verified_and_written_again() {
    let mut digests = String::from("# name, digest, leaf hash, key id of each record in this folder\n");
    for (name, payload, key) in made() {
        let kind = payload.kind();
        let made = Record::sign(payload, &key).unwrap();
        let leaf = golden(&format!("{name}.json"), &String::from_utf8(made.leaf()).unwrap());

        let record = Record::parse_leaf(leaf.as_bytes()).unwrap().verify(key.public()).unwrap();
        assert_eq!(record.kind(), kind);
        assert_eq!(record.leaf(), leaf.as_bytes());
        assert_eq!(record.payload().encode(), record.envelope().payload);
        // Signatures are deterministic, so what is made today is what was made then.
        assert_eq!(record, made, "{name} is not made as it was");
        let (digest, leaf_hash) = (record.digest(), record.leaf_hash());
        digests += &format!("{name} {digest} {leaf_hash} {}\n", record.envelope().key_id);
    }
    assert_eq!(golden("digests.txt", &digests), digests);
}

#[test]
fn every_vector_is_made_here() {
    let known: Vec<String> = made().map(|(name, ..)| format!("{name}.json")).collect();
    for entry in fs::read_dir(path("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_other = ["digests.txt", "bad.ndjson"].contains(&name.as_str());
        assert!(is_other || known.contains(&name), "{name}");
    }
}
