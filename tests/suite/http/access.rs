//! What every answer has, whoever asks and whatever for; the limits of a nonce; and what URL it is that is signed.

use disbursement_api::pipeline::Settings;
use disbursement_api::routes::{ROUTES, Who};
use tests::people::Person;
use tests::service::{Service, ledger_keys};
use tests::world::{Answer, STAFF, World, call, nonce, post_raw};

/// A path that the route takes, whatever it answers.
fn example(path: &str) -> String {
    let path = path.replace("{fund}", "f-none").replace("{disbursement}", "d-none");
    let path = path.replace("{position}", "0").replace("{agency_ref}", "r-none");
    let path = path.replace("{*tile}", "0/000").replace("{*entries}", "000");
    match path.as_str() {
        "/v1/proofs/inclusion" => format!("{path}?position=0&size=1"),
        "/v1/proofs/consistency" => format!("{path}?from=1&to=1"),
        _ => path,
    }
}

/// Whether a route shows what is public, which is nothing here.
fn is_public(path: &str) -> bool {
    path == "/checkpoint" || path.starts_with("/tile/")
}

/// It is this answer, and it has the headers of all of them.
#[track_caller]
fn assert_answer(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{answer:?}");
    }
    if status != 200 {
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}

#[test]
fn every_answer_has_its_headers_also_before_there_is_a_ledger() {
    let world = World::empty();
    let ask = |method: &str, path: &str| call(method, &format!("{}{path}", world.url), &[]);
    for route in ROUTES {
        let path = example(route.path);
        let answer = match route.method {
            "GET" => ask("GET", &path),
            _ => post_raw(&format!("{}{path}", world.url), ""),
        };
        let (status, code) = match route.who {
            Who::Anybody if is_public(route.path) => (404, "not_public"),
            Who::Anybody => (200, "ok"),
            Who::Signers => (400, "body_not_json"),
            Who::Roles(_) => (401, "http_signature_missing"),
        };
        assert_answer(&answer, status, code);
        let wrong = ask("DELETE", &path);
        assert_answer(&wrong, 405, "method_not_allowed");
        assert!(wrong.headers.contains_key("allow"), "{path}");
    }
    for path in ["/", "/v1/", "/v1/cases/c-1", "/v1/%2e%2e/healthz", "/metrics"] {
        assert_answer(&ask("GET", path), 404, "route_unknown");
    }
    // Before the founding nobody has a key.
    assert_answer(&world.get("karl", "/v1/checkpoint"), 403, "key_unknown");
    let service = ask("GET", "/v1/service").json;
    assert_eq!(service["origin"], ledger_keys().origin.as_str());
    assert!(service.get("ledger").is_none(), "{service}");
}

#[test]
fn every_answer_to_a_reader_has_its_headers() {
    let world = World::new();
    world.cosign();
    for route in ROUTES {
        let Who::Roles(roles) = route.who else { continue };
        let (reader, _) =
            STAFF.iter().find(|(_, held)| held.iter().any(|role| roles.contains(role))).unwrap();
        let (status, code) = match route.path {
            "/v1/funds/{fund}/accounts" => (404, "fund_unknown"),
            "/v1/disbursements/{disbursement}" => (404, "disbursement_unknown"),
            path if path.contains("{agency_ref}") => (404, "case_not_found"),
            path if is_public(path) => (404, "not_public"),
            _ => (200, "ok"),
        };
        assert_answer(&world.get(reader, &example(route.path)), status, code);
    }
    assert_answer(&world.get("north", "/v1/funds"), 403, "role_missing");
}

#[test]
fn a_nonce_has_16_to_64_characters() {
    let world = World::new();
    let read = |nonce: &str, later_s: i64| {
        let target = format!("{}/v1/checkpoint", world.url);
        let (key, created) = (Person::new("boris").key, world.clock.now().unix() + later_s);
        let signed = signing::http::sign("GET", &target, b"", &key, created, nonce).unwrap();
        let headers = [("signature-input", signed.signature_input), ("signature", signed.signature)];
        call("GET", &target, &headers.each_ref().map(|(name, value)| (*name, value.as_str())))
    };
    for (length, status, code) in [
        (15, 401, "http_signature_malformed"),
        (16, 200, "ok"),
        (64, 200, "ok"),
        (65, 401, "http_signature_malformed"),
    ] {
        assert_answer(&read(&"n".repeat(length), 0), status, code);
    }
    // It is used up, also for a signature of another time.
    assert_answer(&read(&"n".repeat(16), 1), 401, "http_nonce_used");
}

/// The service may stand behind another that takes its requests: what counts is the URL that clients know.
#[test]
fn what_is_signed_is_the_public_url() {
    const PATH: &str = "/v1/policy";
    let world = World::new();
    let public = "https://ledger.example/sub";
    let service =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), |interface| {
            interface.public_url = public.to_owned()
        });
    let read = |url: &str| {
        let (key, now) = (Person::new("boris").key, world.clock.now().unix());
        let signed = signing::http::sign("GET", &format!("{url}{PATH}"), b"", &key, now, &nonce()).unwrap();
        let headers = [("signature-input", signed.signature_input), ("signature", signed.signature)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        call("GET", &format!("{}{PATH}", service.url), &headers)
    };
    assert_answer(&read(public), 200, "ok");
    for other in
        [&service.url, "https://ledger.example", "http://ledger.example/sub", "https://ledger.example/sub/"]
    {
        assert_answer(&read(other), 401, "http_signature_invalid");
    }
}
