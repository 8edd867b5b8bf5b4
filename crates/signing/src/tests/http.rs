//! Signed requests: round trips, other implementations' liberties, and tampering.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::http::{HttpSignatureError, Request, SignedHeaders, Unsigned, content_digest, parse, sign};
use crate::keys::SecretKey;

const URI: &str = "https://ledger.example/v1/instructions?dry=1";
const BODY: &[u8] = br#"{"instructions":[]}"#;

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

/// A request as it arrives.
#[derive(Clone)]
struct Arrived {
    method: &'static str,
    uri: &'static str,
    headers: BTreeMap<String, String>,
    body: &'static [u8],
}

impl Arrived {
    fn new(signed: SignedHeaders, body: &'static [u8]) -> Self {
        let mut headers = BTreeMap::from([
            ("signature-input".to_owned(), signed.signature_input),
            ("signature".to_owned(), signed.signature),
        ]);
        headers.extend(signed.content_digest.map(|value| ("content-digest".to_owned(), value)));
        Self { method: "POST", uri: URI, headers, body }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// The code of the refusal by `parse` or `verify`.
    fn check(&self) -> Result<(), &'static str> {
        let headers = |name: &str| self.headers.get(name).cloned();
        let request =
            Request { method: self.method, target_uri: self.uri, headers: &headers, body: self.body };
        let unverified = parse(&request).map_err(|e| e.code())?;
        assert_eq!(unverified.key_id, key().public().id());
        unverified.verify(key().public()).map_err(|e| e.code())
    }
}

fn signed() -> Arrived {
    Arrived::new(sign("POST", URI, BODY, &key(), 1_700_000_000, "n-1").expect("can be signed"), BODY)
}

/// A request with a `Signature-Input` of another implementation, whose base is written here by hand.
fn foreign(components: &[(&str, &str)], parameters: &str, body: &'static [u8]) -> Arrived {
    let names: Vec<_> = components.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let parameters = parameters.replace("KEYID", &key().public().id().to_string());
    let input = format!("({}){parameters}", names.join(" "));
    let mut base = String::new();
    for (name, value) in components {
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str(&format!("\"@signature-params\": {input}"));
    let signature = key().sign(base.as_bytes());
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature.0);
    let headers = SignedHeaders {
        signature_input: format!("x={input}"),
        signature: format!("x=:{signature}:"),
        content_digest: (!body.is_empty()).then(|| content_digest(body)),
    };
    Arrived::new(headers, body)
}

const METHOD: (&str, &str) = ("@method", "POST");
const TARGET: (&str, &str) = ("@target-uri", URI);
const GOOD: &str = ";created=1;keyid=\"KEYID\";nonce=\"n\"";

#[test]
fn what_is_sent() {
    let headers = sign("POST", URI, BODY, &key(), 1_700_000_000, "n-1").unwrap();
    let id = key().public().id();
    assert_eq!(
        headers.signature_input,
        format!(
            r#"sig1=("@method" "@target-uri" "content-digest");created=1700000000;nonce="n-1";keyid="{id}";alg="ed25519""#
        )
    );
    assert_eq!(headers.content_digest, Some(content_digest(BODY)));
    assert_eq!(sign("GET", URI, b"", &key(), 0, "n").unwrap().content_digest, None);
    for (created, nonce) in [(i64::MAX, "n"), (0, ""), (0, "\u{e9}"), (0, "\n"), (0, &"n".repeat(129))] {
        let unsigned = sign("GET", URI, b"", &key(), created, nonce).unwrap_err();
        assert!(matches!(unsigned, Unsigned::Form(HttpSignatureError::Malformed(_))), "{unsigned:?}");
    }
}

/// RFC 9530 appendix D: the digest of `{"hello": "world"}` and a line feed.
#[test]
fn digest_of_rfc_9530() {
    let value = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    assert_eq!(content_digest(b"{\"hello\": \"world\"}\n"), value);
}

#[test]
fn round_trip() {
    let arrived = signed();
    assert_eq!(arrived.check(), Ok(()));
    let headers = |name: &str| arrived.headers.get(name).cloned();
    let request = Request { method: "POST", target_uri: URI, headers: &headers, body: BODY };
    let unverified = parse(&request).unwrap();
    assert_eq!((unverified.created, unverified.expires), (1_700_000_000, None));
    assert_eq!(unverified.nonce, "n-1");
    let other = SecretKey::from_seed([4; 32]);
    assert_eq!(unverified.verify(other.public()), Err(HttpSignatureError::Invalid));
    let empty = Arrived::new(sign("POST", URI, b"", &key(), 1, "n").unwrap(), b"");
    assert_eq!(empty.check(), Ok(()));
}

#[test]
fn other_implementations_liberties() {
    let digest = content_digest(BODY);
    let digest = ("content-digest", digest.as_str());
    // Any order of components and of parameters, more components, more signatures.
    for parameters in [
        ";created=1;keyid=\"KEYID\";nonce=\"n\"",
        ";nonce=\"n\";keyid=\"KEYID\";created=1",
        ";keyid=\"KEYID\";alg=\"ed25519\";expires=2;created=1;tag=\"t\";nonce=\"n\"",
        ";expires=9;nonce=\"a\\\"b\\\\\";created=-5;keyid=\"KEYID\"",
    ] {
        for components in [[METHOD, TARGET, digest], [digest, TARGET, METHOD], [TARGET, digest, METHOD]] {
            assert_eq!(foreign(&components, parameters, BODY).check(), Ok(()), "{parameters}");
        }
    }
    let extra = foreign(&[("x-extra", "a, b"), METHOD, ("@path", "/v1/instructions"), TARGET], GOOD, b"");
    assert_eq!(extra.clone().with("x-extra", " a, b\t").check(), Ok(()));
    assert_eq!(extra.clone().with("x-extra", "a,b").check(), Err("http_signature_invalid"));
    assert_eq!(extra.check(), Err("http_signature_coverage"));

    let several = foreign(&[METHOD, TARGET], GOOD, b"");
    let (input, signature) = (&several.headers["signature-input"], &several.headers["signature"]);
    let before = several.clone().with("signature-input", &format!("proxy=(\"via\");created=1, {input}"));
    assert_eq!(before.check(), Ok(()), "a label without a signature is passed over");
    let both = before.with("signature", &format!("{signature}, proxy=:AAAA:"));
    assert_eq!(
        both.check(),
        Err("http_signature_malformed"),
        "the first label in both is the one considered"
    );
    let after = several.clone().with("signature-input", &format!("{input}, proxy=(\"via\");created=1"));
    assert_eq!(after.with("signature", &format!("proxy=:AAAA:, {signature}")).check(), Ok(()));

    let two_digests = signed();
    let value = format!("sha-512=:AAAA:, {}", content_digest(BODY));
    let components = [METHOD, TARGET, ("content-digest", value.as_str())];
    assert_eq!(foreign(&components, GOOD, BODY).with("content-digest", &value).check(), Ok(()));
    assert_eq!(two_digests.with("content-digest", &value).check(), Err("http_signature_invalid"));
}

#[test]
fn tampering() {
    let good = signed();
    let refused = |change: fn(&mut Arrived)| {
        let mut arrived = good.clone();
        change(&mut arrived);
        arrived.check().unwrap_err()
    };
    assert_eq!(refused(|r| r.method = "PUT"), "http_signature_invalid");
    assert_eq!(refused(|r| r.method = "post"), "http_signature_invalid");
    assert_eq!(refused(|r| r.uri = "https://ledger.example/v1/instructions?dry=0"), "http_signature_invalid");
    assert_eq!(refused(|r| r.uri = "https://other.example/v1/instructions?dry=1"), "http_signature_invalid");
    assert_eq!(refused(|r| r.body = b"{}"), "http_signature_digest");
    assert_eq!(refused(|r| r.body = b""), "http_signature_digest");
    let replaced = good.clone().with("content-digest", &content_digest(b"{}"));
    assert_eq!(Arrived { body: b"{}", ..replaced }.check(), Err("http_signature_invalid"));
    let input = &good.headers["signature-input"];
    for (from, to) in [("1700000000", "1700000001"), ("n-1", "n-2"), (";alg=\"ed25519\"", "")] {
        assert_eq!(
            good.clone().with("signature-input", &input.replace(from, to)).check(),
            Err("http_signature_invalid")
        );
    }
    for name in ["signature", "signature-input", "content-digest"] {
        assert_eq!(good.clone().without(name).check(), Err("http_signature_missing"), "{name}");
    }
    let other_label = input.replace("sig1", "sig2");
    assert_eq!(good.clone().with("signature-input", &other_label).check(), Err("http_signature_missing"));
}

#[test]
fn malformed_parameters() {
    for parameters in [
        "",
        ";created=1;nonce=\"n\"",
        ";created=1;keyid=\"KEYID\"",
        ";nonce=\"n\";keyid=\"KEYID\"",
        ";created=1;keyid=\"KEYID\";nonce=\"\"",
        ";created=1;keyid=\"KEYID\";nonce=n",
        ";created=1.5;keyid=\"KEYID\";nonce=\"n\"",
        ";created=\"1\";keyid=\"KEYID\";nonce=\"n\"",
        ";created=1;keyid=\"test-key\";nonce=\"n\"",
        ";created=1;keyid=KEYID;nonce=\"n\"",
        ";created=1;keyid=\"KEYID\";nonce=\"n\";alg=\"rsa-pss-sha512\"",
        ";created=1;keyid=\"KEYID\";nonce=\"n\";alg=ed25519",
        ";created=1;keyid=\"KEYID\";nonce=\"n\";expires=\"1\"",
        ";created=1;keyid=\"KEYID\";nonce=\"n\";tag=1",
        ";created=1;keyid=\"KEYID\";nonce=\"n\";other=1",
    ] {
        let arrived = foreign(&[METHOD, TARGET], parameters, b"");
        assert_eq!(arrived.check(), Err("http_signature_malformed"), "{parameters}");
    }
    let good = foreign(&[METHOD, TARGET], GOOD, b"");
    assert_eq!(good.check(), Ok(()));
    for (name, value) in [
        ("signature", "x=1"),
        ("signature", "x=:AAAA:"),
        ("signature", "x=(:AAAA:)"),
        ("signature", "x=:"),
        ("signature-input", "x=1;created=1"),
        ("signature-input", "x=(1 2);created=1"),
        ("signature-input", "x=("),
    ] {
        let code = good.clone().with(name, value).check();
        assert_eq!(code, Err("http_signature_malformed"), "{name}: {value}");
    }
}

#[test]
fn coverage() {
    let digest = content_digest(BODY);
    let digest = ("content-digest", digest.as_str());
    for (components, body) in [
        (vec![], b"".as_slice()),
        (vec![METHOD], b""),
        (vec![TARGET], b""),
        (vec![METHOD, TARGET], BODY),
        (vec![METHOD, digest], BODY),
        (vec![METHOD, TARGET, ("@status", "200")], b""),
        (vec![METHOD, TARGET, ("@query-param", "1")], b""),
        (vec![METHOD, TARGET, ("x-missing", "")], b""),
    ] {
        let code = foreign(&components, GOOD, body).check();
        assert_eq!(code, Err("http_signature_coverage"), "{components:?}");
    }
    for components in [vec![METHOD, TARGET, METHOD], vec![METHOD, TARGET, ("X-Upper", "")]] {
        assert_eq!(foreign(&components, GOOD, b"").check(), Err("http_signature_malformed"));
    }
    let with_parameter = foreign(&[METHOD, TARGET], GOOD, b"");
    let input = with_parameter.headers["signature-input"].replace("\"@method\"", "\"@method\";req");
    assert_eq!(with_parameter.with("signature-input", &input).check(), Err("http_signature_coverage"));
    let weak_digest = foreign(&[METHOD, TARGET, ("content-digest", "md5=:AAAA:")], GOOD, BODY);
    assert_eq!(weak_digest.with("content-digest", "md5=:AAAA:").check(), Err("http_signature_coverage"));
}

/// A line break in a covered value would let one request's base read as another's.
#[test]
fn no_value_forges_a_line_of_the_base() {
    let forged = foreign(&[METHOD, TARGET, ("x-a", "1\n\"x-b\": 2")], GOOD, b"").with("x-a", "1\n\"x-b\": 2");
    assert_eq!(forged.check(), Err("http_signature_malformed"));
    let method = Arrived { method: "POST\n\"@target-uri\": https://x", ..signed() };
    assert_eq!(method.check(), Err("http_signature_malformed"));
}

proptest! {
    #[test]
    fn any_request_that_is_signed_verifies(
        method in "[A-Z]{1,8}", path in "[!-~]{0,40}", body: Vec<u8>, created in 0_i64..1_000_000_000_000, nonce in "[ -~]{1,128}",
    ) {
        let uri = format!("https://ledger.example/{path}");
        let signed = sign(&method, &uri, &body, &key(), created, &nonce).unwrap();
        let headers = |name: &str| match name {
            "signature" => Some(signed.signature.clone()),
            "signature-input" => Some(signed.signature_input.clone()),
            "content-digest" => signed.content_digest.clone(),
            _ => None,
        };
        let unverified = parse(&Request { method: &method, target_uri: &uri, headers: &headers, body: &body }).unwrap();
        prop_assert_eq!(unverified.verify(key().public()), Ok(()));
        prop_assert_eq!((unverified.created, unverified.nonce), (created, nonce));
    }

    #[test]
    fn random_headers_do_not_panic(
        method: String, target_uri: String, input: String, signature: String, digest: String, body: Vec<u8>,
        components in "[\" @a-z:;=()-]{0,40}",
    ) {
        let input = if components.len() > 9 { format!("x=({components});created=1") } else { input };
        let headers = |name: &str| match name {
            "signature" => Some(signature.clone()),
            "signature-input" => Some(input.clone()),
            "content-digest" => Some(digest.clone()),
            _ => None,
        };
        let _ = parse(&Request { method: &method, target_uri: &target_uri, headers: &headers, body: &body });
        let _ = sign(&method, &target_uri, &body, &key(), 1, &input);
    }
}
