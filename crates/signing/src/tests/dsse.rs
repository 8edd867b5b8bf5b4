//! Envelopes: DSSE's own vector, and everything that makes one bad.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::digest::Digest;
use crate::dsse::{Envelope, EnvelopeError, MAX_ENVELOPE_BYTES, VerifyError, pae};
use crate::keys::{BadSignature, SecretKey};
use crate::prepared::PreparedKey;

const TYPE: &str = "application/vnd.safeconduct.test.v1+json";

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn envelope() -> Envelope {
    Envelope::sign(&key(), TYPE, b"{}".to_vec())
}

fn text(envelope: &Envelope) -> String {
    String::from_utf8(envelope.encode()).expect("JSON is UTF-8")
}

/// The test vector of DSSE's protocol.md.
#[test]
fn pae_of_dsse() {
    let hello = pae("http://example.com/HelloWorld", b"hello world");
    assert_eq!(hello, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    // Lengths are in bytes, and the payload is not looked into.
    assert_eq!(pae("\u{e9}", &[0xff, b' ']), b"DSSEv1 2 \xc3\xa9 2 \xff ");
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
}

#[test]
fn an_envelope_byte_for_byte() {
    let envelope = Envelope::sign(&key(), "http://example.com/HelloWorld", b"hello world".to_vec());
    let expected = concat!(
        r#"{"payload":"aGVsbG8gd29ybGQ=","payloadType":"http://example.com/HelloWorld","signatures":["#,
        r#"{"keyid":"KEYID","sig":"SIG"}]}"#
    );
    let key_id = key().public().id().to_string();
    let sig = text(&envelope).split(r#""sig":""#).nth(1).unwrap()[..88].to_owned();
    assert_eq!(text(&envelope), expected.replace("KEYID", &key_id).replace("SIG", &sig));
    assert_eq!(Envelope::parse(&envelope.encode()), Ok(envelope.clone()));
    assert_eq!(envelope.digest(), Digest::of(envelope.pae()));
    assert_eq!(envelope.digest(), Digest::of("DSSEv1 29 http://example.com/HelloWorld 11 hello world"));
}

#[test]
fn verification() {
    let good = envelope();
    assert_eq!(good.verify(key().public()), Ok(()));
    let other = SecretKey::from_seed([2; 32]);
    assert_eq!(good.verify(other.public()), Err(VerifyError::KeyMismatch));
    let bad = Err(VerifyError::BadSignature(BadSignature));
    assert_eq!(Envelope { key_id: other.public().id(), ..good.clone() }.verify(other.public()), bad);
    assert_eq!(Envelope { payload: b"{} ".to_vec(), ..good.clone() }.verify(key().public()), bad);
    assert_eq!(Envelope { payload_type: "x/y".to_owned(), ..good.clone() }.verify(key().public()), bad);
    // The same bytes signed without the pre-authentication encoding.
    assert_eq!(Envelope { signature: key().sign(&good.payload), ..good }.verify(key().public()), bad);
}

#[test]
fn only_the_canonical_encoding_is_parsed() {
    let good = envelope();
    let canonical = text(&good);
    let spaced = canonical.replace(':', " :\n").replace("application/vnd", "\\u0061pplication\\/vnd");
    let (payload, rest) = canonical[1..].split_once(',').unwrap();
    let reordered = format!("{{{},{payload}}}", &rest[..rest.len() - 1]);
    for other in [spaced, reordered, format!("{canonical}\n")] {
        assert_eq!(Envelope::from_json(&other), Ok(good.clone()), "{other}");
        let refusal = Envelope::parse(other.as_bytes()).unwrap_err();
        assert_eq!(refusal.code(), "envelope_not_canonical", "{other}");
    }
    assert_eq!(serde_json::from_str::<Envelope>(&canonical).unwrap(), good);
    assert_eq!(crate::canonical::decode::<Envelope>(canonical.as_bytes()), Ok(good));
}

/// Each line: a replacement in the good envelope's text, and the refusal's code. `*` replaces the whole text.
const BAD: &str = r#"
*                        |                                | envelope_not_json
*                        | {                              | envelope_not_json
*                        | []                             | envelope_not_json
*                        | "e30="                         | envelope_not_json
*                        | {} {}                          | envelope_not_json
*                        | [[[[[[[[[                      | envelope_not_json
"payload":"e30="         | "payload":1                    | envelope_not_json
"payload":"e30="         | "payload":null                 | envelope_not_json
"payload":"e30="         | "payload":"e30=","payload":"e30=" | envelope_not_json
"keyid":                 | "sig":"e30=","keyid":          | envelope_not_json
"signatures":[           | "signatures":["x"],"x":[       | envelope_field_unknown
"signatures":[{          | "signatures":["x"],"y":[{      | envelope_field_unknown
{"payload":              | {"a":"b","payload":            | envelope_field_unknown
{"keyid":                | {"alg":"ed25519","keyid":      | envelope_field_unknown
"payload":               | "Payload":                     | envelope_field_unknown
*                        | {}                             | envelope_field_missing
"payload":"e30=",        |                                | envelope_field_missing
*                        | {"payload":"","payloadType":"x","signatures":[{}]} | envelope_field_missing
*                        | {"payload":"","payloadType":"x","signatures":[]}   | envelope_signature_count
*                        | {"payload":"","payloadType":"x","signatures":{}}   | envelope_signature_count
*                        | {"payload":"","payloadType":"x","signatures":"x"}  | envelope_signature_count
*                        | {"payload":"","payloadType":"x","signatures":[{},{}]} | envelope_signature_count
*                        | {"payload":"","payloadType":"x","signatures":["x"]} | envelope_not_json
"keyid":"                | "keyid":"0                     | envelope_keyid
"keyid":"f               | "keyid":"                      | envelope_keyid
"keyid":"f               | "keyid":"A                     | envelope_keyid
"keyid":"                | "keyid":[],"sig":"             | envelope_not_json
"payload":"e30="         | "payload":"e30"                | envelope_base64
"payload":"e30="         | "payload":"e31="               | envelope_base64
"payload":"e30="         | "payload":"e30=="              | envelope_base64
"payload":"e30="         | "payload":"e3 0="              | envelope_base64
"payload":"e30="         | "payload":"e30=\n"             | envelope_base64
"payload":"e30="         | "payload":"-_-_"               | envelope_base64
"payload":"e30="         | "payload":"="                  | envelope_base64
"payload":"e30="         | "payload":true                 | envelope_base64
"payload":"e30="         | "payload":["e30="]             | envelope_base64
"sig":"                  | "sig":"*                       | envelope_base64
"sig":"                  | "sig":"AAAA                    | envelope_signature_length
"payloadType":"app       | "payloadType":"\u0000app       | envelope_payload_type
"payloadType":"app       | "payloadType":" app            | envelope_payload_type
"payloadType":"app       | "payloadType":"é               | envelope_payload_type
"payloadType":"app       | "payloadType":"\"              | envelope_payload_type
"payloadType":"          | "payloadType":true,"x":"       | envelope_field_unknown
"#;

#[test]
fn bad_envelopes() {
    let good = text(&envelope());
    for line in BAD.lines().filter(|line| !line.is_empty()) {
        let [from, to, code] = line.split(" | ").map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let bad = if from == "*" { to.to_owned() } else { good.replacen(from, to, 1) };
        assert_ne!(bad, good, "{line}");
        for refusal in [Envelope::from_json(&bad), Envelope::parse(bad.as_bytes())] {
            let refusal = refusal.expect_err(line);
            assert_eq!(refusal.code(), code, "{line}: {refusal}");
        }
        assert!(serde_json::from_str::<Envelope>(&bad).is_err(), "{line}");
    }
    assert_eq!(Envelope::parse(b"{\"payload\":\"\xff\"}").unwrap_err().code(), "envelope_not_json");
}

#[test]
fn payload_types() {
    let parsed = |payload_type: &str| Envelope::parse(&Envelope::sign(&key(), payload_type, vec![]).encode());
    assert!(parsed(&"x".repeat(255)).is_ok());
    for bad in ["", &"x".repeat(256), "a b", "\"", "\\", "\u{7f}"] {
        assert_eq!(parsed(bad), Err(EnvelopeError::PayloadType), "{bad}");
    }
}

#[test]
fn the_largest_envelope() {
    let overhead = Envelope::sign(&key(), TYPE, vec![]).encode().len();
    let fits = (MAX_ENVELOPE_BYTES - overhead) / 4 * 3;
    let largest = Envelope::sign(&key(), TYPE, vec![b'x'; fits]);
    assert_eq!(Envelope::parse(&largest.encode()), Ok(largest));
    let larger = Envelope::sign(&key(), TYPE, vec![b'x'; fits + 1]).encode();
    assert_eq!(Envelope::parse(&larger), Err(EnvelopeError::TooLarge { bytes: larger.len() }));
    assert_eq!(Envelope::parse(&vec![b'['; 10_000_000]).unwrap_err().code(), "envelope_too_large");
}

proptest! {
    #[test]
    fn round_trip(payload: Vec<u8>, payload_type in "[!#-\\[\\]-~]{1,255}") {
        let envelope = Envelope::sign(&key(), &payload_type, payload);
        prop_assert_eq!(envelope.verify(key().public()), Ok(()));
        prop_assert_eq!(Envelope::parse(&envelope.encode()), Ok(envelope));
    }

    /// There is one encoding, and nothing is cut out of a text that the parser would not find in it.
    #[test]
    fn what_is_cut_out_is_what_is_parsed(payload: Vec<u8>, at: prop::sample::Index, byte: u8, cut in 0_usize..3) {
        let envelope = Envelope::sign(&key(), TYPE, payload);
        let mut bytes = envelope.encode();
        prop_assert_eq!(&bytes, &crate::canonical::encode(&envelope));
        let at = at.index(bytes.len());
        bytes.splice(at..bytes.len().min(at + cut), [byte]);
        let parsed = Envelope::parse(&bytes);
        let by_parser = crate::canonical::decode::<Envelope>(&bytes);
        prop_assert_eq!(parsed.ok(), by_parser.ok());
    }

    #[test]
    fn together_each_has_its_own_verdict(choices in prop::collection::vec(0_u8..4, 0..70)) {
        static KEYS: LazyLock<[PreparedKey; 2]> =
            LazyLock::new(|| [1, 2].map(|seed| PreparedKey::new(SecretKey::from_seed([seed; 32]).public().clone())));
        let [ours, theirs] = &*KEYS;
        let other = SecretKey::from_seed([2; 32]).public().id();
        let envelopes: Vec<_> = choices
            .iter()
            .map(|choice| match choice {
                0 => (envelope(), ours),
                1 => (Envelope { payload: b"{} ".to_vec(), ..envelope() }, ours),
                2 => (envelope(), theirs),
                _ => (Envelope { key_id: other, ..envelope() }, theirs),
            })
            .collect();
        let each = envelopes.iter().map(|(envelope, key)| envelope.verify(key.public()));
        let claims: Vec<_> = envelopes.iter().map(|(envelope, key)| (envelope, *key)).collect();
        prop_assert_eq!(Envelope::verify_all(&claims), each.collect::<Vec<_>>());
    }

    #[test]
    fn different_contents_have_different_digests(a: Vec<u8>, b: Vec<u8>, t in "[ 0-9a-z]{0,9}", u in "[ 0-9a-z]{0,9}") {
        prop_assert_eq!(pae(&t, &a) == pae(&u, &b), (t, a) == (u, b));
    }

    #[test]
    fn one_changed_byte_never_verifies(at: prop::sample::Index, byte: u8) {
        let good = envelope().encode();
        let mut changed = good.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(envelope) = Envelope::parse(&changed) {
            prop_assert_eq!(envelope.verify(key().public()).is_ok(), changed == good);
        }
    }

    #[test]
    fn random_text_does_not_panic(bytes: Vec<u8>, any: String, json in "[\\[\\]{}\":,a-z0-9= ]{0,80}") {
        let _ = Envelope::parse(&bytes);
        let _ = Envelope::from_json(&any);
        let _ = Envelope::from_json(&json);
    }
}
