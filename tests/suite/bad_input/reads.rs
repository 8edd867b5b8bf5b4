//! Signed reads that are not: no signature, another's, one for another request, one that was used, one of another time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::outsiders::world_with_outsiders;
use tests::people::Person;
use tests::world::{Answer, World, call, nonce};

use super::{assert_refusal, traceless};

/// A signature as it is put together by hand.
struct Parts {
    method: &'static str,
    target: String,
    covered: &'static str,
    parameters: String,
    key: Person,
}

impl Parts {
    fn new(world: &World, path: &str) -> Parts {
        let key = Person::new("boris");
        let (created, keyid) = (world.clock.now().unix(), key.key.public().id());
        let parameters =
            format!(";created={created};nonce=\"{}\";keyid=\"{keyid}\";alg=\"ed25519\"", nonce());
        let target = format!("{}{path}", world.service.url);
        Parts { method: "GET", target, covered: "\"@method\" \"@target-uri\"", parameters, key }
    }

    /// The values of `Signature-Input` and `Signature`.
    fn sign(&self) -> (String, String) {
        let Parts { method, target, covered, parameters, key } = self;
        let mut base = String::new();
        for component in covered.split(' ').filter(|component| !component.is_empty()) {
            let value = if component == "\"@method\"" { method } else { target.as_str() };
            base += &format!("{component}: {value}\n");
        }
        base += &format!("\"@signature-params\": ({covered}){parameters}");
        let signature = STANDARD.encode(key.key.sign(base.as_bytes()).as_bytes());
        (format!("sig1=({covered}){parameters}"), format!("sig1=:{signature}:"))
    }
}

fn send(world: &World, method: &str, path: &str, signed: &(String, String)) -> Answer {
    let url = format!("{}{path}", world.service.url);
    call(method, &url, &[("signature-input", &signed.0), ("signature", &signed.1)])
}

const PATH: &str = "/v1/funds";

#[test]
fn a_signed_read_is_answered_once() {
    let world = World::new();
    let signed = Parts::new(&world, PATH).sign();
    assert_eq!(send(&world, "GET", PATH, &signed).status, 200);
    for _ in 0..2 {
        assert_refusal(&send(&world, "GET", PATH, &signed), "http_nonce_used", "draw a new one", None);
    }
    // A nonce is used up for everything that this key asks, and for nobody else.
    let with_nonce = |path: &str, nonce: &str, key: &str| {
        let person = Person::new(key);
        let target = format!("{}{path}", world.service.url);
        let now = world.clock.now().unix();
        let signed = signing::http::sign("GET", &target, b"", &person.key, now, nonce).unwrap();
        send(&world, "GET", path, &(signed.signature_input, signed.signature))
    };
    let once = nonce();
    assert_eq!(with_nonce("/v1/policy", &once, "boris").status, 200);
    assert_refusal(&with_nonce("/v1/offers", &once, "boris"), "http_nonce_used", "sign again", None);
    assert_eq!(with_nonce("/v1/offers", &once, "anna").status, 200);
    // Whoever does not hold the key cannot use up its nonces.
    let mut forged = Parts::new(&world, PATH);
    let good = forged.sign();
    forged.key = Person::new("mallory");
    assert_refusal(&send(&world, "GET", PATH, &forged.sign()), "http_signature_invalid", "by this key", None);
    assert_eq!(send(&world, "GET", PATH, &good).status, 200);
    // Nor is one taken again when the window for it is nearly over.
    let late = Parts::new(&world, PATH).sign();
    assert_eq!(send(&world, "GET", PATH, &late).status, 200);
    world.clock.advance(50);
    assert_refusal(&send(&world, "GET", PATH, &late), "http_nonce_used", "draw a new one", None);
    world.clock.advance(15);
    assert_refusal(&send(&world, "GET", PATH, &late), "http_signature_created", "more than 60 s", None);
}

#[test]
fn a_signature_is_of_this_time() {
    let mut world = World::new();
    // Else the past of this test lies before the start of the service.
    world.clock.advance(1000);
    let created = |world: &World, ahead_s: i64| {
        let (target, now) = (format!("{}{PATH}", world.service.url), world.clock.now().unix());
        let signed =
            signing::http::sign("GET", &target, b"", &Person::new("boris").key, now + ahead_s, &nonce())
                .unwrap();
        send(world, "GET", PATH, &(signed.signature_input, signed.signature))
    };
    for ahead_s in [-55, 0, 55] {
        assert_eq!(created(&world, ahead_s).status, 200, "{ahead_s}");
    }
    for ahead_s in [-86_400, -65, 65, 86_400, -999_999_999] {
        assert_refusal(&created(&world, ahead_s), "http_signature_created", "check your clock", None);
    }
    let mut parts = Parts::new(&world, PATH);
    parts.parameters += &format!(";expires={}", world.clock.now().unix() - 1);
    assert_refusal(&send(&world, "GET", PATH, &parts.sign()), "http_signature_expired", "sign again", None);
    let mut parts = Parts::new(&world, PATH);
    parts.parameters += &format!(";expires={};tag=\"x\"", world.clock.now().unix() + 60);
    assert_eq!(send(&world, "GET", PATH, &parts.sign()).status, 200);
    // A service that was started anew remembers no nonces, so it takes no signature from before.
    world.restart();
    assert_refusal(&created(&world, -5), "http_signature_created", "before the service started", None);
    assert_eq!(created(&world, 1).status, 200);
}

#[test]
fn a_signature_is_for_one_request() {
    let world = World::new();
    let invalid = "http_signature_invalid";
    let url = world.service.url.clone();
    type Alter<'a> = &'a dyn Fn(&mut Parts);
    let cases: [(&str, &str, Alter<'_>, &str); 11] = [
        ("GET", PATH, &|parts| parts.method = "HEAD", invalid),
        ("GET", PATH, &|parts| parts.method = "POST", invalid),
        ("GET", PATH, &|parts| parts.method = "get", invalid),
        ("HEAD", PATH, &|_| {}, ""),
        ("GET", "/v1/policy", &|_| {}, invalid),
        ("GET", "/v1/funds?limit=1", &|_| {}, invalid),
        ("GET", PATH, &|parts| parts.target += "?", invalid),
        ("GET", PATH, &|parts| parts.target = format!("https{}", &parts.target[4..]), invalid),
        ("GET", PATH, &|parts| parts.target = PATH.to_owned(), invalid),
        ("GET", PATH, &|parts| parts.target = url.replace("127.0.0.1", "localhost") + PATH, invalid),
        ("GET", PATH, &|parts| parts.key = Person::new("anna"), invalid),
    ];
    for (method, path, alter, code) in cases {
        let mut parts = Parts::new(&world, PATH);
        alter(&mut parts);
        let answer = traceless(&world, || send(&world, method, path, &parts.sign()));
        if method == "HEAD" {
            // An answer to HEAD has no body that could say why.
            assert_eq!((answer.status, answer.text.as_str()), (401, ""));
        } else {
            assert_refusal(&answer, code, "check the target URI", None);
        }
    }
    let mut head = Parts::new(&world, PATH);
    head.method = "HEAD";
    assert_eq!(send(&world, "HEAD", PATH, &head.sign()).status, 200);
    let mut swapped = Parts::new(&world, PATH);
    swapped.covered = "\"@target-uri\" \"@method\"";
    assert_eq!(send(&world, "GET", PATH, &swapped.sign()).status, 200);
}

#[test]
fn a_signature_has_its_form() {
    let world = World::new();
    let (malformed, coverage) = ("http_signature_malformed", "http_signature_coverage");
    let replace = |from: &'static str, to: &'static str| {
        move |parts: &mut Parts| parts.parameters = super::with(&parts.parameters, from, to)
    };
    let with_nonce = |nonce: &str| {
        let to = format!("nonce=\"{nonce}\"");
        move |parts: &mut Parts| {
            let begin = parts.parameters.find("nonce=").unwrap();
            let end = begin + parts.parameters[begin..].find(';').unwrap();
            parts.parameters.replace_range(begin..end, &to);
        }
    };
    let boris = Person::new("boris").key.public().id().to_string();
    type Alter<'a> = &'a dyn Fn(&mut Parts);
    let cases: [(Alter<'_>, &str, &str); 16] = [
        (&|parts| parts.covered = "\"@method\"", coverage, "@target-uri"),
        (&|parts| parts.covered = "\"@target-uri\"", coverage, "@method"),
        (&|parts| parts.covered = "", coverage, "must cover"),
        (&|parts| parts.covered = "\"@method\" \"@target-uri\" \"@status\"", coverage, "computed again"),
        (&|parts| parts.covered = "\"@method\";req \"@target-uri\"", coverage, "computed again"),
        (&|parts| parts.covered = "\"@method\" \"@target-uri\" \"x-none\"", coverage, "x-none"),
        (&replace("alg=\"ed25519\"", "alg=\"hmac-sha256\""), malformed, "ed25519"),
        (&replace("created=", "created=\"x\";was="), malformed, "created"),
        (&replace(";created=", ";was="), malformed, "was"),
        (&replace("nonce=", "salt="), malformed, "salt"),
        (&with_nonce("short"), malformed, "16 to 64"),
        (&with_nonce(&"n".repeat(65)), malformed, "16 to 64"),
        (&with_nonce(&"n".repeat(129)), malformed, "nonce"),
        (&replace("alg=", "more=1;alg="), malformed, "more"),
        (&|parts| parts.parameters = parts.parameters.replace(&boris, "boris"), malformed, "keyid"),
        (
            &|parts| parts.parameters = parts.parameters.replace(&boris, &boris.to_uppercase()),
            malformed,
            "keyid",
        ),
    ];
    for (alter, code, says) in cases {
        let mut parts = Parts::new(&world, PATH);
        alter(&mut parts);
        assert_refusal(&send(&world, "GET", PATH, &parts.sign()), code, says, None);
    }
    let good = Parts::new(&world, PATH).sign();
    let missing = "http_signature_missing";
    let url = format!("{}{PATH}", world.service.url);
    // The first character: the last one carries padding bits, which RFC 8941 (section 4.2.7) lets a reader ignore.
    let first = "sig1=:".len();
    let mut flipped = good.1.clone();
    flipped.replace_range(first..=first, if good.1[first..].starts_with('A') { "B" } else { "A" });
    for (headers, code, says) in [
        (vec![], missing, "RFC 9421"),
        (vec![("signature-input", good.0.as_str())], missing, "enrolled key"),
        (vec![("signature", good.1.as_str())], missing, "enrolled key"),
        (vec![("signature-input", &good.0), ("signature", "sig2=:AAAA:")], missing, "label"),
        (vec![("signature-input", &good.0), ("signature", "sig1=:AAAA:")], malformed, "64 bytes"),
        (vec![("signature-input", &good.0), ("signature", "sig1=1")], malformed, "byte sequence"),
        (vec![("signature-input", "(("), ("signature", &good.1)], malformed, "Signature-Input"),
        (vec![("authorization", "Basic Ym9yaXM6Ym9yaXM=")], missing, "sign it after RFC 9421"),
        (
            vec![("signature-input", &good.0), ("signature", &flipped)],
            "http_signature_invalid",
            "by this key",
        ),
    ] {
        assert_refusal(&call("GET", &url, &headers), code, says, None);
    }
    let headers = [("signature-input", good.0.as_str()), ("signature", &good.1)];
    let answer = tests::http::get_with_body(&url, &headers, "{}");
    assert_refusal(&answer, "body_unexpected", "send none", None);
    assert_eq!(send(&world, "GET", PATH, &good).status, 200);
}

#[test]
fn a_key_reads_where_it_is_enrolled_and_valid() {
    let world = world_with_outsiders();
    for (who, code, says) in [
        ("mallory", "key_unknown", "have it enrolled"),
        ("gone", "key_revoked", "a key that is valid"),
        ("stopped", "key_revoked", "vetoed"),
        ("late", "key_not_yet_valid", "after the policy's delay"),
        ("past", "key_expired", "have another key enrolled"),
        ("waits", "key_spare", "its own activation"),
        ("north", "role_missing", "approver or auditor"),
    ] {
        assert_refusal(&traceless(&world, || world.get(who, PATH)), code, says, None);
    }
    assert_eq!(world.get("boris", PATH).status, 200);
}

#[test]
fn queries_and_paths_are_read_strictly() {
    let world = World::new();
    let size = world.basis().size.0;
    for (path, code, says) in [
        ("/v1/funds?limit=0", "query_invalid", "1 to 500"),
        ("/v1/funds?limit=501", "query_invalid", "1 to 500"),
        ("/v1/funds?limit=05", "query_invalid", "decimal"),
        ("/v1/funds?limit=-1", "query_invalid", "decimal"),
        ("/v1/funds?limit=1&limit=1", "query_invalid", "duplicate field"),
        ("/v1/funds?cursor=", "query_invalid", "the 'next' of an earlier page"),
        ("/v1/funds?cursor=a%27--", "query_invalid", "the 'next' of an earlier page"),
        ("/v1/funds?fund=f1", "query_invalid", "unknown field"),
        ("/v1/policy?x=1", "query_invalid", "unknown field"),
        ("/v1/disbursements?stage=lost", "query_invalid", "see the detail"),
        ("/v1/reports?cursor=x", "query_invalid", "the 'next' of an earlier page"),
        ("/v1/cases?screening=done", "query_invalid", "see the detail"),
        ("/v1/proofs/inclusion?position=0", "query_invalid", "missing field"),
        ("/v1/proofs/inclusion?position=0&size=1000000", "proof_out_of_range", "none exceeds"),
        (
            &format!("/v1/proofs/inclusion?position={size}&size={size}"),
            "proof_out_of_range",
            "below its size",
        ),
        ("/v1/proofs/consistency?from=0&to=1", "proof_out_of_range", "sizes rise"),
        ("/v1/proofs/consistency?from=2&to=1", "proof_out_of_range", "sizes rise"),
        ("/v1/records/00", "path_invalid", "correct it"),
        ("/v1/records/-1", "path_invalid", "correct it"),
        ("/v1/records/9223372036854775808", "path_invalid", "correct it"),
        ("/v1/records/9223372036854775807", "record_not_found", "no record at this position"),
        ("/v1/funds/F1/accounts", "path_invalid", "correct it"),
        ("/v1/funds/f%001/accounts", "path_invalid", "correct it"),
        ("/v1/funds/f9/accounts", "fund_unknown", "open it first"),
        ("/v1/disbursements/d9", "disbursement_unknown", "no such disbursement"),
        (&format!("/v1/disbursements/{}", "d".repeat(65)), "path_invalid", "correct it"),
    ] {
        assert_refusal(&traceless(&world, || world.get("ada", path)), code, says, None);
    }
}
