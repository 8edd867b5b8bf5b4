//! Checkpoints: against the crate `signed_note`, and everything that makes one bad.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use signing::digest::Digest;
use signing::keys::{PublicKey, SecretKey};

use crate::checkpoint::{Checkpoint, CheckpointError, MAX_NOTE_BYTES, is_origin, key_hash, verifier_key};

const ORIGIN: &str = "ledger.example/safeconduct";

fn key() -> SecretKey {
    SecretKey::from_seed([5; 32])
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size: 20_852_163, root: Digest::of("root") }
}

fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::parse_and_verify(text, ORIGIN, key().public())
}

/// A note over any body, signed by the right key.
fn note(body: &str) -> String {
    let signature = [key_hash(ORIGIN, key().public()).as_slice(), &key().sign(body.as_bytes()).0].concat();
    format!("{body}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(signature))
}

#[test]
fn a_checkpoint_byte_for_byte() {
    let body = "ledger.example/safeconduct\n20852163\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n";
    assert_eq!(checkpoint().body(), body);
    let signed = checkpoint().sign(&key());
    assert_eq!(signed, note(&checkpoint().body()));
    assert_eq!(parse(&signed), Ok(checkpoint()));
    for size in [0, 1, u64::MAX] {
        let checkpoint = Checkpoint { size, ..checkpoint() };
        assert_eq!(parse(&checkpoint.sign(&key())), Ok(checkpoint));
    }
}

#[test]
fn what_a_note_says_is_read_whoever_signed_it() {
    let signed = checkpoint().sign(&SecretKey::from_seed([6; 32]));
    assert_eq!(parse(&signed), Err(CheckpointError::Unsigned));
    assert_eq!(Checkpoint::parse_unverified(&signed), Ok(checkpoint()));
    // It is a note all the same, and a checkpoint.
    for bad in [signed.replace("\u{2014} ", ""), signed.replace("20852163", "020852163"), checkpoint().body()]
    {
        assert!(Checkpoint::parse_unverified(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_note_is_this_checkpoint_signed_once_or_it_is_not() {
    let (checkpoint, public) = (checkpoint(), key().public().clone());
    let signed = checkpoint.try_sign(&key()).unwrap();
    assert_eq!(signed, checkpoint.sign(&key()));
    assert!(checkpoint.is_signed_in(&signed, &public));
    let others = [
        Checkpoint { size: checkpoint.size + 1, ..checkpoint.clone() },
        Checkpoint { root: Digest::of("another"), ..checkpoint.clone() },
        Checkpoint { origin: "ledger.example/other".to_owned(), ..checkpoint.clone() },
        // Its text begins with the same bytes.
        Checkpoint { size: checkpoint.size / 10, ..checkpoint.clone() },
    ];
    for other in others {
        assert!(!other.is_signed_in(&signed, &public), "{other:?}");
        assert!(!checkpoint.is_signed_in(&other.sign(&key()), &public), "{other:?}");
    }
    let stranger = SecretKey::from_seed([6; 32]);
    assert!(!checkpoint.is_signed_in(&signed, stranger.public()));
    assert!(!checkpoint.is_signed_in(&checkpoint.sign(&stranger), &public));
    let cosigned = format!("{signed}\u{2014} somebody {}\n", STANDARD.encode([0; 76]));
    assert_eq!(parse(&cosigned), Ok(checkpoint.clone()));
    assert!(!checkpoint.is_signed_in(&cosigned, &public));
    for text in ["", &checkpoint.body(), &signed[..signed.len() - 1], &format!("{signed}\n")] {
        assert!(!checkpoint.is_signed_in(text, &public), "{text}");
    }
}

/// The example of the Go package sumdb/note, whose format C2SP signed-note took over.
#[test]
fn a_verifier_key_byte_for_byte() {
    let raw = STANDARD.decode("GlzZBxQ8OExB6DDFvOEqqIF+xWSaqr8sMTiLNbLXRNY=").unwrap();
    let key = PublicKey::from_raw(raw.try_into().unwrap()).unwrap();
    let expected = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(STANDARD.decode(&expected[22..]).unwrap()[1..], key.raw());
    assert_eq!(verifier_key("PeterNeumann", &key), expected);
}

#[test]
fn signed_note_verifies_ours() {
    let verifier = StandardVerifier::new(&verifier_key(ORIGIN, key().public())).unwrap();
    let note = Note::from_bytes(checkpoint().sign(&key()).as_bytes()).unwrap();
    let (verified, unverified) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    assert_eq!(note.text(), checkpoint().body().as_bytes());
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((theirs.origin(), theirs.size()), (ORIGIN, 20_852_163));
    assert_eq!(&theirs.hash().0, Digest::of("root").as_bytes());
}

#[test]
fn cosignatures_are_left_alone() {
    let signed = checkpoint().sign(&key());
    let other = SecretKey::from_seed([6; 32]);
    let cosignature = format!("\u{2014} witness.example {}\n", STANDARD.encode([4; 76]));
    let (body, ours) = signed.split_once("\n\n").unwrap();
    for signatures in [
        format!("{ours}{cosignature}"),
        format!("{cosignature}{ours}"),
        format!("{cosignature}{ours}{cosignature}{ours}"),
    ] {
        let note = format!("{body}\n\n{signatures}");
        assert_eq!(parse(&note), Ok(checkpoint()), "{signatures}");
        assert_eq!(Checkpoint::own_note(&note, key().public()), Ok(signed.clone()), "{signatures}");
    }
    let unsigned = format!("{body}\n\n{cosignature}");
    assert_eq!(parse(&unsigned), Err(CheckpointError::Unsigned));
    assert_eq!(Checkpoint::own_note(&unsigned, key().public()), Err(CheckpointError::Unsigned));
    assert_eq!(parse(&checkpoint().sign(&other)), Err(CheckpointError::Unsigned));
    // Our name and key hash with another's signature is a forgery, beside ours too.
    let mut forged = key_hash(ORIGIN, key().public()).to_vec();
    forged.extend(other.sign(checkpoint().body().as_bytes()).0);
    let forged = format!("\u{2014} {ORIGIN} {}\n", STANDARD.encode(&forged));
    assert_eq!(parse(&format!("{body}\n\n{forged}")), Err(CheckpointError::BadSignature));
    assert_eq!(parse(&format!("{body}\n\n{ours}{forged}")), Err(CheckpointError::BadSignature));
    let short = format!(
        "\u{2014} {ORIGIN} {}\n",
        STANDARD.encode([key_hash(ORIGIN, key().public()), [0; 4]].concat())
    );
    assert_eq!(parse(&format!("{body}\n\n{short}")), Err(CheckpointError::BadSignature));
}

#[test]
fn bad_bodies_although_signed() {
    let good = checkpoint().body();
    assert_eq!(parse(&note(&good)), Ok(checkpoint()));
    for (from, to) in [
        ("20852163", "020852163"),
        ("20852163", "+20852163"),
        ("20852163", "-1"),
        ("20852163", ""),
        ("20852163", "20852163 "),
        ("20852163", "18446744073709551616"),
        ("20852163", "\u{0662}"),
        ("20852163\n", ""),
        ("=\n", "\n"),
        ("=\n", "=\nextension\n"),
        ("\n20852163", "\n\n20852163"),
        ("ledger.example/", "ledger example/"),
        ("ledger.example/", "ledger+example/"),
        ("ledger.example/safeconduct", ""),
    ] {
        let bad = note(&good.replacen(from, to, 1));
        assert!(
            matches!(parse(&bad), Err(CheckpointError::Body(_))),
            "{from:?} -> {to:?}: {:?}",
            parse(&bad)
        );
    }
    let short_root = good.replace(&STANDARD.encode(Digest::of("root").as_bytes()), "AAAA");
    assert!(matches!(parse(&note(&short_root)), Err(CheckpointError::Body(_))));
    let other = Checkpoint { origin: "other.example".to_owned(), ..checkpoint() };
    assert_eq!(parse(&other.sign(&key())), Err(CheckpointError::Origin));
}

#[test]
fn bad_notes() {
    let good = checkpoint().sign(&key());
    for (from, to) in [
        ("\n\n", "\n"),
        ("\u{2014}", "-"),
        ("\u{2014} ", "\u{2014}"),
        ("\n\n\u{2014} ledger", "\n\n\u{2014} led\u{a0}ger"),
        ("\n\n\u{2014} ledger", "\n\n\u{2014} led+ger"),
        ("ledger", "led\tger"),
        ("\n20852163", "\r\n20852163"),
        ("Ao=\n", "Ao\n"),
        ("Ao=\n", "Ao="),
        ("Ao=\n", "Ao=\n\n"),
        ("Ao=\n", "Ao=\nmore\n"),
        ("Ao=\n", "Ao= \n"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from:?} -> {to:?}");
        assert!(
            matches!(parse(&bad), Err(CheckpointError::Note(_))),
            "{from:?} -> {to:?}: {:?}",
            parse(&bad)
        );
    }
    let tampered = good.replacen("20852163", "20852164", 1);
    assert_eq!(parse(&tampered), Err(CheckpointError::BadSignature));
    assert_eq!(parse(&"\n".repeat(MAX_NOTE_BYTES + 1)), Err(CheckpointError::TooLarge));
}

#[test]
fn origins() {
    assert!(is_origin(ORIGIN) && is_origin("\u{e9}"));
    for bad in ["", " ", "a b", "a\nb", "a+b", "\u{2003}", "a\0", "\u{7f}"] {
        assert!(!is_origin(bad), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn round_trip(size: u64, root: [u8; 32], origin in "[^\\s+\\p{C}]{1,40}") {
        prop_assume!(is_origin(&origin));
        let checkpoint = Checkpoint { origin, size, root: Digest::from_bytes(root) };
        let signed = checkpoint.sign(&key());
        let parsed = Checkpoint::parse_and_verify(&signed, &checkpoint.origin, key().public());
        prop_assert_eq!(parsed, Ok(checkpoint));
    }

    #[test]
    fn one_changed_byte_never_gives_another_checkpoint(at: prop::sample::Index, byte in 0_u8..128) {
        let mut changed = checkpoint().sign(&key()).into_bytes();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(parsed) = String::from_utf8(changed).map_err(|_| ()).and_then(|text| parse(&text).map_err(|_| ())) {
            prop_assert_eq!(parsed, checkpoint());
        }
    }

    #[test]
    fn random_text_does_not_panic(text: String, lines in "[a+0-9\n \u{2014}=]{0,80}") {
        let _ = parse(&text);
        let _ = parse(&lines);
        let _ = parse(&note(&lines));
    }
}
