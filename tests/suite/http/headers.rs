//! The headers that every answer has, whatever it answers.

use disbursement_api::pipeline::Settings;
use disbursement_api::routes::ROUTES;
use tests::people::Person;
use tests::service::Service;
use tests::world::{Answer, World, call, nonce, post_raw};

use super::happen;

const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

#[track_caller]
fn assert_safe(answer: &Answer, is_tls: bool) {
    for (name, value) in HEADERS {
        assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{name}: {}", answer.text);
    }
    let strict = answer.headers.get("strict-transport-security").map(String::as_str);
    assert_eq!(strict, is_tls.then_some("max-age=31536000"));
    // It says what it is, and so a browser cannot take it for anything else.
    assert!(answer.status == 200 && answer.text.is_empty() || answer.headers.contains_key("content-type"));
}

/// A signed request of the one who may, to a service under its public URL.
fn ask(world: &World, service: &str, public: &str, method: &str, path: &str) -> Answer {
    let who = if path.starts_with("/v1/agency") { "north" } else { "ada" };
    let (key, now) = (Person::new(who).key, world.clock.now().unix());
    let target = format!("{public}{path}");
    let signed = signing::http::sign(method, &target, b"", &key, now, &nonce()).unwrap();
    let headers = [("signature-input", signed.signature_input), ("signature", signed.signature)];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    call(method, &format!("{service}{path}"), &headers)
}

#[test]
fn every_answer_has_the_headers_that_keep_it_safe() {
    let world = World::new();
    happen(&world);
    world.cosign();
    let size = world.basis().size;
    let public = "https://ledger.example";
    let behind_tls =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), |interface| {
            interface.public_url = public.to_owned();
        });
    for (url, public, is_tls) in
        [(world.url.as_str(), world.url.as_str(), false), (behind_tls.url.as_str(), public, true)]
    {
        let mut seen = std::collections::BTreeSet::new();
        let mut safe = |answer: Answer| {
            assert_safe(&answer, is_tls);
            seen.insert(answer.status);
            answer.status
        };
        for route in ROUTES {
            let path = route.path.replace("{fund}", "f1").replace("{disbursement}", "d-1");
            let path = path.replace("{position}", "1").replace("{agency_ref}", "case-1-ref");
            let path = path.replace("{*tile}", "0/000").replace("{*entries}", "000");
            // Nothing is public here.
            let due = if path == "/checkpoint" || path.starts_with("/tile/") { 404 } else { 200 };
            let query = match route.path {
                "/v1/proofs/inclusion" => format!("?position=0&size={size}"),
                "/v1/proofs/consistency" => format!("?from=1&to={size}"),
                _ => String::new(),
            };
            let path = format!("{path}{query}");
            if route.method == "GET" {
                for method in ["GET", "HEAD"] {
                    assert_eq!(safe(ask(&world, url, public, method, &path)), due, "{method} {path}");
                }
            } else {
                for body in ["", "{}", r#"{"instructions":[{"attachments":[],"envelope":{}}],"mode":"all"}"#]
                {
                    safe(post_raw(&format!("{url}{path}"), body));
                }
            }
            // Unsigned, with a query that there is not, by another method, and where there is nothing.
            let other = if path.contains('?') { format!("{path}&x=1") } else { format!("{path}?x=1") };
            safe(call("GET", &format!("{url}{path}"), &[]));
            safe(ask(&world, url, public, "GET", &other));
            assert_eq!(safe(call("DELETE", &format!("{url}{path}"), &[])), 405);
            // Whatever follows `/tile/entries/` is that route's, which asks first who is asking.
            let nowhere = if route.path.contains('*') { "/nowhere" } else { route.path };
            assert_eq!(safe(call("GET", &format!("{url}{nowhere}/x/y"), &[])), 404);
        }
        safe(ask(&world, url, public, "GET", "/v1/records/999999"));
        safe(post_raw(&format!("{url}/v1/instructions"), &" ".repeat(8 * 1024 * 1024 + 1)));
        for status in [200, 400, 401, 404, 405, 413, 422] {
            assert!(seen.contains(&status), "{status} is not among {seen:?}");
        }
    }
}

#[test]
fn an_answer_that_there_is_no_time_or_room_for_has_them_too() {
    let world = World::new();
    let service =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), |interface| {
            interface.limits.answer_timeout = std::time::Duration::from_millis(300);
            interface.limits.requests = 1;
        });
    let mut held = world.database.superuser();
    let mut lock = held.transaction().unwrap();
    lock.batch_execute("LOCK TABLE entities IN ACCESS EXCLUSIVE MODE").unwrap();
    let url = format!("{}/v1/service", service.url);
    let codes = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let ask = || {
        let answer = call("GET", &url, &[]);
        assert_safe(&answer, false);
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "1"), "{}", answer.text);
        codes.lock().unwrap().insert(answer.code().to_owned());
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while codes.lock().unwrap().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "{codes:?}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(ask);
            }
        });
    }
    lock.rollback().unwrap();
    let codes = codes.into_inner().unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(codes, ["overloaded", "request_timeout"]);
}
