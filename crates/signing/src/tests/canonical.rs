//! Digests and canonical JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::canonical::{CanonicalError, check_plain, decode, encode};
use crate::digest::Digest;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_digest_has_one_spelling() {
    assert_eq!(Digest::of("").to_string(), EMPTY);
    assert_eq!(EMPTY.parse(), Ok(Digest::of("")));
    let long = vec![7; 200_000];
    assert_eq!(Digest::of_reader(&long[..]).ok(), Some(Digest::of(&long)));
    assert_eq!(encode(&Digest::of("")), format!("\"{EMPTY}\"").into_bytes());
    for bad in ["", "e3", &EMPTY.to_uppercase(), &EMPTY[1..], &format!("{EMPTY}00"), &EMPTY.replace('e', "g")]
    {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
        assert!(serde_json::from_str::<Digest>(&format!("\"{bad}\"")).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Digest>("7").is_err());
    assert!(Digest::try_from([0; 31].as_slice()).is_err());
    assert!(Digest::from_bytes([1; 32]) < Digest::from_bytes([2; 32]));
}

/// JSON without numbers and null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Bool(bool),
    Text(String),
    List(Vec<Plain>),
    Map(BTreeMap<String, Plain>),
}

fn plain() -> impl Strategy<Value = Plain> {
    let text = prop_oneof![any::<String>(), "[\\x00-\\x7f\u{80}\u{2028}\u{fb33}\u{1f600}\u{ffff}]{0,12}"];
    let leaf = prop_oneof![any::<bool>().prop_map(Plain::Bool), text.prop_map(Plain::Text)];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Plain::List),
            prop::collection::btree_map("[ -~]{0,8}", inner, 0..6).prop_map(Plain::Map),
        ]
    })
}

proptest! {
    #[test]
    fn encodes_as_a_general_canonicaliser_does(value in plain()) {
        let bytes = encode(&value);
        prop_assert_eq!(&bytes, &serde_json_canonicalizer::to_vec(&value).unwrap());
        prop_assert_eq!(decode::<Plain>(&bytes), Ok(value));
    }

    #[test]
    fn one_changed_byte_never_gives_the_same_value(value in plain(), at: prop::sample::Index, byte: u8) {
        let bytes = encode(&value);
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        if let Ok(other) = decode::<Plain>(&changed) {
            prop_assert_eq!(other == value, changed == bytes);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>, text in "[\\[\\]{}\":,ntfa\\\\u0-9 -]{0,60}") {
        let _ = decode::<Plain>(&bytes);
        let _ = decode::<Plain>(text.as_bytes());
        let _ = decode::<serde_json::Value>(text.as_bytes());
    }
}

/// RFC 8785 section 3.2.2.2 and the sample of section 3.2.2, and the escapes of every control character.
#[test]
fn strings_of_rfc_8785() {
    let arrived = r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#;
    let text: String = serde_json::from_str(arrived).unwrap();
    assert_eq!(String::from_utf8(encode(&text)).unwrap(), "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");

    let short = ["\\b", "\\t", "\\n", "\\f", "\\r"];
    for code in 0..0x20_u8 {
        let expected = match code {
            0x08 => short[0].to_owned(),
            0x09 => short[1].to_owned(),
            0x0a => short[2].to_owned(),
            0x0c => short[3].to_owned(),
            0x0d => short[4].to_owned(),
            _ => format!("\\u{code:04x}"),
        };
        let text = char::from(code).to_string();
        assert_eq!(String::from_utf8(encode(&text)).unwrap(), format!("\"{expected}\""));
    }
    for verbatim in ["\u{7f}", "\u{80}", "/", "<>&'", "\u{2028}\u{2029}", "A\u{30a}", "😂", "\u{ffff}"] {
        assert_eq!(encode(verbatim), format!("\"{verbatim}\"").into_bytes());
    }
}

/// RFC 8785 section 3.2.3: a type that declares its fields in the order of UTF-16 code units encodes in that order.
#[test]
fn sort_order_of_rfc_8785() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "\r")]
        carriage_return: String,
        #[serde(rename = "1")]
        one: String,
        #[serde(rename = "\u{80}")]
        control: String,
        #[serde(rename = "\u{f6}")]
        o_umlaut: String,
        #[serde(rename = "\u{20ac}")]
        euro: String,
        #[serde(rename = "\u{1f600}")]
        emoji: String,
        #[serde(rename = "\u{fb33}")]
        dalet: String,
    }
    let arrived = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let sample: Sample = serde_json::from_str(arrived).unwrap();
    let canonical = encode(&sample);
    assert_eq!(canonical, serde_json_canonicalizer::to_vec(&sample).unwrap());
    assert_eq!(decode(&canonical), Ok(sample));
    assert_eq!(decode::<Sample>(arrived.as_bytes()), Err(CanonicalError::NotCanonical { offset: 3 }));
}

#[test]
fn refusals() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        a: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        b: Option<bool>,
    }
    let refusal = |text: &str| decode::<Pair>(text.as_bytes()).unwrap_err();
    assert!(decode::<Pair>(br#"{"a":"x","b":true}"#).is_ok());
    assert!(decode::<Pair>(br#"{"a":"n1-null"}"#).is_ok());

    assert_eq!(refusal(r#"{"a":1}"#), CanonicalError::Number { offset: 5 });
    assert_eq!(refusal(r#"{"a":-1}"#), CanonicalError::Number { offset: 5 });
    assert_eq!(refusal(r#"{"a":"x","b":null}"#), CanonicalError::Null { offset: 13 });
    assert_eq!(refusal(r#"{"a": "x"}"#), CanonicalError::NotCanonical { offset: 5 });
    assert_eq!(refusal(r#"{"b":true,"a":"x"}"#), CanonicalError::NotCanonical { offset: 2 });
    assert_eq!(refusal(r#"{"a":"\u0041"}"#), CanonicalError::NotCanonical { offset: 6 });
    assert_eq!(refusal("{\"a\":\"x\"}\n"), CanonicalError::NotCanonical { offset: 9 });
    assert_eq!(refusal("[[[[[[[[[["), CanonicalError::TooDeep);
    assert_eq!(refusal(&"[".repeat(1_000_000)), CanonicalError::TooDeep);
    for syntax in [
        "",
        "{",
        r#"{"a":"x"#,
        r#"{"a":"x","a":"y"}"#,
        r#"{"a":"x","c":"y"}"#,
        r#"{"b":true}"#,
        "\"\\",
        "[]{}",
    ] {
        assert!(matches!(refusal(syntax), CanonicalError::Syntax(_)), "{syntax}: {:?}", refusal(syntax));
    }
    assert!(matches!(decode::<Pair>(b"{\"a\":\"\xff\"}"), Err(CanonicalError::Syntax(_))));
    for lone in [r#"{"a":"\ud800"}"#, r#"{"a":"\udc00\ud800"}"#] {
        assert!(matches!(refusal(lone), CanonicalError::Syntax(_)), "{lone}");
    }
}

#[test]
fn depth_counts_nesting_and_not_brackets() {
    assert_eq!(check_plain(&[b"[".repeat(9), b"]".repeat(9)].concat()), Ok(()));
    assert_eq!(check_plain(&[b"[".repeat(10), b"]".repeat(10)].concat()), Err(CanonicalError::TooDeep));
    assert_eq!(check_plain(&b"[],".repeat(100)), Ok(()));
    assert_eq!(check_plain(br#"["[[[[[[[[[[", "\"[[[[[[[[[["]"#), Ok(()));
}

#[test]
fn what_cannot_be_written_gives_no_bytes() {
    let keyed_by_lists = BTreeMap::from([(vec!["a"], "b")]);
    assert_eq!(encode(&keyed_by_lists), b"");
    assert!(decode::<Plain>(b"").is_err());
}
