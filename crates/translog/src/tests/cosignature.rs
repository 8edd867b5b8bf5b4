//! Cosignatures and the witness protocol: the bytes of C2SP, and everything that makes one bad.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use signing::digest::Digest;
use signing::keys::SecretKey;

use crate::checkpoint::Checkpoint;
use crate::cosignature::{CosignatureError, cosign, cosigned_at, verifier_key, with_answer};
use crate::proof::{MemoryHashes, consistency, root};
use crate::tree::EMPTY_ROOT;
use crate::witness::{AddCheckpoint, Cosigned, KnownLog, NotCosigned};

const ORIGIN: &str = "ledger.example/safeconduct";
const NAME: &str = "witness.example/ada";

fn log() -> SecretKey {
    SecretKey::from_seed([5; 32])
}

fn witness() -> SecretKey {
    SecretKey::from_seed([6; 32])
}

fn note(size: u64) -> String {
    Checkpoint { origin: ORIGIN.to_owned(), size, root: Digest::of("root") }.sign(&log())
}

/// Put together by hand, after the page.
#[test]
fn a_cosignature_byte_for_byte() {
    let (note, time) = (note(42), 1_679_315_147_u64);
    let body = note.split("\n\n").next().unwrap();
    let message = format!("cosignature/v1\ntime 1679315147\n{body}\n");
    let id = Sha256::digest([NAME.as_bytes(), b"\n\x04", &witness().public().raw()].concat());
    let signature = witness().sign(message.as_bytes());
    let bytes = [&id[..4], &time.to_be_bytes(), signature.as_bytes()].concat();
    assert_eq!(bytes.len(), 76);
    let line = cosign(&note, NAME, &witness(), time).unwrap();
    assert_eq!(line, format!("\u{2014} {NAME} {}\n", STANDARD.encode(bytes)));
    let cosigned = format!("{note}{line}");
    assert_eq!(cosigned_at(&cosigned, NAME, witness().public()), Ok(Some(time)));
    // The log's own signature still holds.
    assert!(Checkpoint::parse_and_verify(&cosigned, ORIGIN, log().public()).is_ok());
    let key = [&[4], witness().public().raw().as_slice()].concat();
    let hash: String = id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(verifier_key(NAME, witness().public()), format!("{NAME}+{hash}+{}", STANDARD.encode(key)));
}

#[test]
fn a_cosignature_is_by_one_witness_of_one_checkpoint() {
    let line = cosign(&note(42), NAME, &witness(), 7).unwrap();
    let cosigned = format!("{}{line}", note(42));
    let at = |note: &str| cosigned_at(note, NAME, witness().public());
    assert_eq!(at(&note(42)), Ok(None));
    assert_eq!(cosigned_at(&cosigned, "witness.example/eve", witness().public()), Ok(None));
    assert_eq!(cosigned_at(&cosigned, NAME, log().public()), Ok(None));
    assert_eq!(at(&format!("{}{line}", note(43))), Err(CosignatureError::BadSignature));
    // Of several, every one must hold, and the first counts.
    let earlier = cosign(&note(42), NAME, &witness(), 5).unwrap();
    assert_eq!(at(&format!("{cosigned}{earlier}")), Ok(Some(5)));
    let of_another = cosign(&note(43), NAME, &witness(), 5).unwrap();
    assert_eq!(at(&format!("{cosigned}{of_another}")), Err(CosignatureError::BadSignature));
    assert_eq!(cosign(&note(42), NAME, &witness(), 1 << 63), Err(CosignatureError::Time));
    assert_eq!(cosign(&note(42), "a b", &witness(), 1), Err(CosignatureError::Name));
    assert!(matches!(cosign("x", NAME, &witness(), 1), Err(CosignatureError::Checkpoint(_))));
}

#[test]
fn an_answer_is_taken_for_what_the_witness_signed() {
    let line = cosign(&note(42), NAME, &witness(), 7).unwrap();
    let other = cosign(&note(42), "witness.example/eve", &log(), 7).unwrap();
    let take = |answer: &str| with_answer(&note(42), answer, NAME, witness().public());
    let expected = format!("{}{line}", note(42));
    assert_eq!(take(&line), Ok(expected.clone()));
    // Lines of keys that are not the witness's do not come in.
    assert_eq!(take(&format!("{other}{line}")), Ok(expected));
    assert_eq!(take(&other), Err(CosignatureError::Answer));
    assert_eq!(take(line.trim_end()), Err(CosignatureError::Answer));
    assert_eq!(take(&line.repeat(17)), Err(CosignatureError::Answer));
    assert!(take("").is_err() && take("\n").is_err() && take("x\n").is_err());
    let wrong = cosign(&note(43), NAME, &witness(), 7).unwrap();
    assert_eq!(take(&wrong), Err(CosignatureError::BadSignature));
}

fn tree(leaves: u64, branch: &str) -> MemoryHashes {
    let mut tree = MemoryHashes::new();
    (0..leaves).for_each(|n| tree.append(Digest::of(format!("{branch} {n}"))));
    tree
}

fn request(tree: &MemoryHashes, old: u64, size: u64) -> AddCheckpoint {
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: root(size, tree).unwrap() };
    AddCheckpoint { old, proof: consistency(old, size, tree).unwrap(), note: checkpoint.sign(&log()) }
}

fn judge(request: &AddCheckpoint, last: Cosigned) -> Result<u64, NotCosigned> {
    let logs = [KnownLog { origin: ORIGIN.to_owned(), key: log().public().clone() }];
    request.judge(&logs, |_| last).map(|checkpoint| checkpoint.size)
}

#[test]
fn a_witness_follows_one_history() {
    let (one, two) = (tree(20, "a"), tree(20, "b"));
    let nothing = Cosigned { size: 0, root: EMPTY_ROOT };
    let at = |tree: &MemoryHashes, size| Cosigned { size, root: root(size, tree).unwrap() };
    assert_eq!(judge(&request(&one, 0, 7), nothing), Ok(7));
    assert_eq!(judge(&request(&one, 7, 7), at(&one, 7)), Ok(7));
    assert_eq!(judge(&request(&one, 7, 20), at(&one, 7)), Ok(20));
    assert_eq!(judge(&request(&one, 0, 20), at(&one, 7)), Err(NotCosigned::OtherSize(7)));
    assert_eq!(judge(&request(&two, 7, 7), at(&one, 7)), Err(NotCosigned::TwoRoots(7)));
    assert_eq!(judge(&request(&two, 7, 20), at(&one, 7)), Err(NotCosigned::NotExtended(7)));
    let shrunk = AddCheckpoint { old: 9, ..request(&one, 5, 7) };
    assert_eq!(judge(&shrunk, at(&one, 9)).unwrap_err().status(), 400);
    let with_proof = AddCheckpoint { proof: vec![Digest::of("x")], ..request(&one, 0, 7) };
    assert_eq!(judge(&with_proof, nothing), Err(NotCosigned::NotExtended(0)));
    let other_key = AddCheckpoint {
        note: Checkpoint { origin: ORIGIN.to_owned(), size: 7, root: root(7, &one).unwrap() }
            .sign(&witness()),
        ..request(&one, 0, 7)
    };
    assert_eq!(judge(&other_key, nothing), Err(NotCosigned::Unsigned));
    let mut of_other = request(&one, 0, 7);
    of_other.note = of_other.note.replace(ORIGIN, "other.example");
    assert_eq!(judge(&of_other, nothing), Err(NotCosigned::UnknownLog));
}

#[test]
fn a_request_byte_for_byte() {
    let tree = tree(5, "a");
    let hash = STANDARD.encode(consistency(4, 5, &tree).unwrap()[0].as_bytes());
    let asked = request(&tree, 4, 5);
    assert_eq!(asked.encode(), format!("old 4\n{hash}\n\n{}", asked.note));
    assert_eq!(AddCheckpoint::parse(&asked.encode()), Ok(asked));
    for bad in ["", "old 4\n", "old 04\n\nx", "old -4\n\nx", "old 4\nabc\n\nx", "new 4\n\nx", "old 4\n\n"] {
        let judged = AddCheckpoint::parse(bad)
            .and_then(|request| judge(&request, Cosigned { size: 0, root: EMPTY_ROOT }).map(|_| ()));
        assert!(judged.is_err(), "{bad}");
    }
    let hashes = format!("{}\n", STANDARD.encode([0; 32])).repeat(64);
    assert!(AddCheckpoint::parse(&format!("old 4\n{hashes}\nx")).is_err());
}

proptest! {
    /// Whatever a log sends, in whatever order, all that one witness cosigned is one history.
    #[test]
    fn what_is_cosigned_is_one_history(asked in prop::collection::vec((0..2_usize, 0..30_u64, 0..30_u64), 1..40)) {
        let trees = [tree(30, "a"), {
            let mut forked = tree(10, "a");
            (10..30).for_each(|n| forked.append(Digest::of(format!("b {n}"))));
            forked
        }];
        let mut last = Cosigned { size: 0, root: EMPTY_ROOT };
        let mut cosigned = vec![];
        for (which, old, size) in asked {
            let (old, size) = (old.min(size), size);
            let request = request(&trees[which], old, size);
            if judge(&request, last).is_ok() {
                prop_assert!(size >= last.size);
                last = Cosigned { size, root: root(size, &trees[which]).unwrap() };
                cosigned.push(last);
            }
        }
        let all_in = |tree: &MemoryHashes| {
            cosigned.iter().all(|by| root(by.size, tree).unwrap() == by.root)
        };
        prop_assert!(all_in(&trees[0]) || all_in(&trees[1]));
    }
}
