//! Who may call what: with no identity, with each role, and with signatures that are not good.

use std::fmt::Write as _;

use disbursement_api::routes::{ROUTES, Who};
use records::governance::Role;

use crate::service::{Answer, PEOPLE, Service, now};

/// A path that the route takes, whatever it answers.
fn example(path: &str) -> String {
    let path = path.replace("{fund}", "f-none").replace("{disbursement}", "d-none");
    let path = path.replace("{position}", "0").replace("{agency_ref}", "r-none");
    match path.as_str() {
        "/v1/proofs/inclusion" => format!("{path}?position=0&size=1"),
        "/v1/proofs/consistency" => format!("{path}?from=1&to=1"),
        _ => path,
    }
}

fn check_headers(answer: &Answer) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
}

/// The list of routes is a file, so that a change of who may call what is seen in review.
#[test]
fn the_routes_are_those_of_the_file() {
    let mut listed = String::new();
    for route in ROUTES {
        let who = match route.who {
            Who::Anybody => "anybody".to_owned(),
            Who::Signers => "signers of the envelopes".to_owned(),
            Who::Roles(roles) if roles == Role::ALL.as_slice() => "any role".to_owned(),
            Who::Roles(roles) => roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" "),
        };
        writeln!(listed, "{:<4} {:<46} {who}", route.method, route.path).unwrap();
    }
    assert_eq!(listed, include_str!("routes.txt"));
}

/// The page for people has the same routes, with their queries.
#[test]
fn the_page_has_the_same_routes() {
    let page = include_str!("../../../../docs/api.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let shown: Vec<String> =
        rows.map(|(route, _)| route.split_once('?').map_or(route, |(route, _)| route).to_owned()).collect();
    let listed: Vec<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(shown, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_without_identity() {
    let service = Service::start("anonymous").await;
    for route in ROUTES {
        let path = example(route.path);
        let answer = match route.method {
            "GET" => service.raw(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await,
            _ => service.post(&path, "").await,
        };
        let expected = match route.who {
            Who::Anybody => "200",
            Who::Signers => "400 body_not_json",
            Who::Roles(_) => "401 http_signature_missing",
        };
        assert_eq!(answer.outcome(), expected, "{} {path}", route.method);
        check_headers(&answer);

        let wrong = service.raw(format!("DELETE {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!(wrong.outcome(), "405 method_not_allowed", "{path}");
        assert!(wrong.header("allow").is_some(), "{path}");
        check_headers(&wrong);
    }
    for path in
        ["/", "/v1", "/v1/", "/v1/funds/", "/v1/cases/c-1", "/v2/funds", "/v1/%2e%2e/healthz", "/metrics"]
    {
        let answer = service.raw(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.outcome(), "404 route_unknown", "{path}");
        check_headers(&answer);
    }
    // Before the founding nobody has a key.
    assert_eq!(service.read("c1", "/v1/checkpoint").await.outcome(), "403 key_unknown");
    let unfounded = service.raw(b"GET /v1/service HTTP/1.0\r\n\r\n").await.json();
    assert_eq!(unfounded["origin"], "test.example/log");
    assert!(unfounded.get("ledger").is_none());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_with_every_role() {
    let service = Service::staffed("roles").await;
    let everybody = PEOPLE.iter().copied().chain([("c1", "custodian")]);
    for (person, role) in everybody {
        let role: Role = role.parse().unwrap();
        for route in ROUTES {
            let Who::Roles(roles) = route.who else { continue };
            let answer = service.read(person, &example(route.path)).await;
            let expected = match (roles.contains(&role), route.path) {
                (false, _) => "403 role_missing",
                (true, "/v1/funds/{fund}/accounts") => "404 fund_unknown",
                (true, "/v1/disbursements/{disbursement}") => "404 disbursement_unknown",
                (true, "/v1/agency/cases/{agency_ref}" | "/v1/agency/cases/{agency_ref}/statement") => {
                    "404 case_not_found"
                }
                (true, _) => "200",
            };
            assert_eq!(answer.outcome(), expected, "{role:?} {}", route.path);
            check_headers(&answer);
        }
    }

    let (path, second) = ("/v1/checkpoint", now().unix());
    let get = async |headers: String| {
        service.raw(format!("GET {path} HTTP/1.0\r\n{headers}\r\n").as_bytes()).await.outcome()
    };
    let sign = |created: i64, nonce: &str| service.sign("GET", "auditor", path, created, nonce);
    assert_eq!(get(sign(second, "0123456789abcdef")).await, "200");
    assert_eq!(get(sign(second, "0123456789abcdef")).await, "401 http_nonce_used");
    assert_eq!(get(sign(second + 1, "0123456789abcdef")).await, "401 http_nonce_used");
    assert_eq!(get(sign(second, "0123456789abcde")).await, "401 http_signature_malformed");
    assert_eq!(get(sign(second, &"n".repeat(64))).await, "200");
    assert_eq!(get(sign(second, &"n".repeat(65))).await, "401 http_signature_malformed");
    assert_eq!(get(sign(second - 90, "an-old-signature-")).await, "401 http_signature_created");
    assert_eq!(get(sign(second + 90, "an-early-signature")).await, "401 http_signature_created");
    // Of this request only, and with this key only.
    let other_path = service.sign("GET", "auditor", "/v1/founding", second, "another-path-0001");
    assert_eq!(get(other_path).await, "401 http_signature_invalid");
    let other_method = service.sign("POST", "auditor", path, second, "another-method-01");
    assert_eq!(get(other_method).await, "401 http_signature_invalid");
    let broken = sign(second, "a-broken-signature").replace("sig1=:", "sig1=:AAAA");
    assert_eq!(get(broken).await, "401 http_signature_malformed");
    assert_eq!(
        get(service.sign("GET", "stranger", path, second, "a-stranger-000001")).await,
        "403 key_unknown"
    );
    // A nonce that a failed signature used is still free.
    assert_eq!(get(sign(second, "another-path-0001")).await, "200");
    let with_body =
        format!("GET {path} HTTP/1.0\r\nContent-Length: 2\r\n{}\r\n{{}}", sign(second, "with-a-body-00001"));
    assert_eq!(service.raw(with_body.as_bytes()).await.outcome(), "400 body_unexpected");
    let head = format!(
        "HEAD {path} HTTP/1.0\r\n{}\r\n",
        service.sign("HEAD", "auditor", path, second, "a-head-request-01")
    );
    assert_eq!(service.raw(head.as_bytes()).await.status, 200);
    service.stop().await;
}
