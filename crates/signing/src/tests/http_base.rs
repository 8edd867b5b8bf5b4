//! The signature base against RFC 9421's own Ed25519 example, appendix B.2.6.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::{Dictionary, InnerList, ListEntry, Parser};

use crate::http::{Request, signature_base};
use crate::keys::{PublicKey, SecretKey, Signature};

const INPUT: &str = concat!(
    r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")"#,
    r#";created=1618884473;keyid="test-key-ed25519""#
);

const BASE: &str = concat!(
    "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n",
    "\"@method\": POST\n",
    "\"@path\": /foo\n",
    "\"@authority\": example.com\n",
    "\"content-type\": application/json\n",
    "\"content-length\": 18\n",
    "\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")",
    ";created=1618884473;keyid=\"test-key-ed25519\""
);

const SIGNATURE: &str =
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";

/// Appendix B.1.4.
const PUBLIC: &str = "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";
const SEED: &str = "n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=";

fn decode<const N: usize>(text: &str) -> [u8; N] {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).expect("base64")
}

fn covered(input: &str) -> InnerList {
    let dictionary: Dictionary = Parser::new(input).parse().expect("a dictionary");
    match dictionary.into_iter().next() {
        Some((_, ListEntry::InnerList(list))) => list,
        other => panic!("{other:?}"),
    }
}

/// The request "test-request" of appendix B.2.
fn header(name: &str) -> Option<String> {
    let value = match name {
        "host" => "example.com",
        "date" => "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type" => "application/json",
        "content-length" => "18",
        _ => return None,
    };
    Some(value.to_owned())
}

fn base(input: &str, target_uri: &str) -> String {
    let request = Request { method: "POST", target_uri, headers: &header, body: br#"{"hello": "world"}"# };
    signature_base(&covered(input), &request).expect("every component is there")
}

#[test]
fn the_base_is_the_rfcs_and_its_signature_verifies() {
    let uri = "https://example.com/foo?param=Value&Pet=dog";
    assert_eq!(base(INPUT, uri), BASE);
    let key = SecretKey::from_seed(decode(SEED));
    assert_eq!(key.public(), &PublicKey::from_raw(decode(PUBLIC)).unwrap());
    let signature = Signature::from_bytes(decode(SIGNATURE));
    assert_eq!(key.public().verify(BASE.as_bytes(), &signature), Ok(()));
    assert_eq!(key.sign(BASE.as_bytes()), signature);
}

/// The member's value is written again from what was parsed: white space goes, order and types stay.
#[test]
fn parameters_keep_the_order_in_which_they_arrived() {
    let input = r#"a=(  "@method"   "date" ); keyid="k";  tag="t";created=5;expires=9;flag"#;
    let last = base(input, "https://example.com/").lines().last().unwrap().to_owned();
    assert_eq!(last, r#""@signature-params": ("@method" "date");keyid="k";tag="t";created=5;expires=9;flag"#);
}

/// RFC 9421 sections 2.2.2 to 2.2.7.
#[test]
fn components_of_the_target_uri() {
    let input = r#"a=("@target-uri" "@scheme" "@authority" "@path" "@query")"#;
    let values = |uri: &str| {
        let base = base(input, uri);
        base.lines().take(5).map(|line| line.split_once(": ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    for (uri, scheme, authority, path, query) in [
        ("https://www.example.com/path?param=value", "https", "www.example.com", "/path", "?param=value"),
        ("HTTPS://WWW.Example.com:443/Path", "https", "www.example.com", "/Path", "?"),
        ("http://example.com:80", "http", "example.com", "/", "?"),
        ("http://example.com:443?a?b", "http", "example.com:443", "/", "?a?b"),
        ("https://[::1]:8443/a%20b?", "https", "[::1]:8443", "/a%20b", "?"),
    ] {
        assert_eq!(values(uri), [uri, scheme, authority, path, query]);
    }
}
