//! C2SP tlog-proof: its bytes, and what is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use signing::digest::Digest;

use crate::tlog_proof::TlogProof;

fn proof() -> TlogProof {
    let checkpoint = "log.example\n5\nAAAA\n\n\u{2014} log.example BBBB\n".to_owned();
    let hashes = vec![Digest::of("a"), Digest::of("b")];
    TlogProof { extra: Some(b"entry".to_vec()), index: 3, hashes, checkpoint }
}

#[test]
fn a_proof_byte_for_byte() {
    let [a, b] = ["a", "b"].map(|of| STANDARD.encode(Digest::of(of).as_bytes()));
    let note = "log.example\n5\nAAAA\n\n\u{2014} log.example BBBB\n";
    let text = format!("c2sp.org/tlog-proof@v1\nextra ZW50cnk=\nindex 3\n{a}\n{b}\n\n{note}");
    assert_eq!(proof().encode(), text);
    assert_eq!(TlogProof::parse(&text), Ok(proof()));
    // In a tree of one leaf there is nothing to hash.
    let bare = TlogProof { extra: None, index: 0, hashes: vec![], ..proof() };
    assert_eq!(bare.encode(), format!("c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"));
    assert_eq!(TlogProof::parse(&bare.encode()), Ok(bare));
}

#[test]
fn what_is_no_proof() {
    let good = proof().encode();
    for (from, to) in [
        ("@v1", "@v2"),
        ("extra ZW50cnk=", "extra ZW50cnk"),
        ("extra ", "other "),
        ("index 3", "index 03"),
        ("index 3", "index -3"),
        ("index 3\n", ""),
        ("\n\n", "\n"),
        ("=\n", "\n"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && TlogProof::parse(&bad).map(|read| read.encode()) != Ok(good.clone()), "{bad}");
    }
    assert!(TlogProof::parse("").is_err());
    let long = TlogProof { hashes: vec![Digest::of("x"); 64], ..proof() };
    assert!(TlogProof::parse(&long.encode()).is_err());
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_the_same(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Za-z=]{0,8}\n)?(index [0-9]{1,3}\n)?([A-Za-z0-9+/]{43}=\n){0,2}\n?[ -~\n]{0,40}") {
        if let Ok(read) = TlogProof::parse(&text) {
            prop_assert_eq!(read.encode(), text);
        }
    }
}
