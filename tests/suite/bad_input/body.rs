//! What is wrong around the envelopes: the body, its size, its arrival, the method and the path.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use disbursement_api::app;
use disbursement_api::pipeline::Settings;
use serde_json::Value;
use tests::service::Service;
use tests::world::{World, call, post_raw};

use super::{assert_problem, assert_refusal, bank, body_of, listed, text_of, traceless};

const LIMIT: usize = 8 * 1024 * 1024;

#[test]
fn a_body_is_read_strictly() {
    let world = World::new();
    let good = text_of(world.sign("dora", bank("b9")).envelope());
    let item = format!(r#"{{"attachments":[],"envelope":{good}}}"#);
    let list = |items: &str| format!(r#"{{"instructions":[{items}],"mode":"each"}}"#);
    let twice_mode = format!(r#"{{"instructions":[{item}],"mode":"each","mode":"all"}}"#);
    let attached = |what: &str| list(&format!(r#"{item},{{"attachments":{what},"envelope":{good}}}"#));
    for (body, code, says, index) in [
        (String::new(), "body_not_json", "EOF", None),
        ("hello".to_owned(), "body_not_json", "expected", None),
        (list(&item)[..99].to_owned(), "body_not_json", "EOF", None),
        (list(&item) + "}", "body_not_json", "trailing", None),
        ("{".repeat(100_000), "body_not_json", "JSON", None),
        (format!("\u{feff}{}", list(&item)), "body_not_json", "JSON", None),
        ("null".to_owned(), "body_invalid", "docs/api.md", None),
        (format!("[{item}]"), "body_invalid", "docs/api.md", None),
        (good.clone(), "body_invalid", "unknown field", None),
        (r#"{"mode":"each"}"#.to_owned(), "body_invalid", "missing field `instructions`", None),
        (format!(r#"{{"instructions":[{item}]}}"#), "body_invalid", "missing field `mode`", None),
        (list(""), "body_invalid", "must not be empty", None),
        (list(&item).replace("each", "some"), "body_invalid", "another mode", None),
        (list(&item).replace("each", "Each"), "body_invalid", "mode is all or each", None),
        (list(&item).replace("\"each\"", "1"), "body_invalid", "another mode", None),
        (twice_mode, "body_invalid", "duplicate field `mode`", None),
        (
            list(&item).replace("\"mode\"", "\"more\":1,\"mode\""),
            "body_invalid",
            "unknown field `more`",
            None,
        ),
        (list(&format!("{item},{good}")), "body_invalid", "unknown field `payload`", Some(1)),
        (
            list(&format!(r#"{item},{{"envelope":{good}}}"#)),
            "body_invalid",
            "missing field `attachments`",
            Some(1),
        ),
        (
            list(&format!(r#"{item},{{"attachments":[]}}"#)),
            "body_invalid",
            "missing field `envelope`",
            Some(1),
        ),
        (list(&format!("{item},7")), "body_invalid", "docs/api.md", Some(1)),
        (attached("{}"), "body_invalid", "docs/api.md", Some(1)),
        (attached(r#"["aGVsbG8="]"#), "attachment_unexpected", "leave the list empty", Some(1)),
    ] {
        for path in ["/v1/instructions", "/v1/instructions/check"] {
            let url = format!("{}{path}", world.service.url);
            let answer = traceless(&world, || post_raw(&url, &body));
            assert_refusal(&answer, code, says, index);
        }
    }
    let (status, problem) = raw(&world.service.url, b"{\"mode\":\"\xff\"}", 12).unwrap();
    assert_eq!(status, 400);
    assert_problem(&problem, "body_not_json", "UTF-8", None);
    world.accept(&post_raw(&format!("{}/v1/instructions", world.service.url), &list(&item)));
}

#[test]
fn a_body_has_a_limit() {
    let world = World::new();
    let url = format!("{}/v1/instructions", world.service.url);
    let good = body_of(&[&text_of(world.sign("dora", bank("b9")).envelope())], "each");
    let padded = |bytes: usize| " ".repeat(bytes - good.len()) + &good;
    let answer = traceless(&world, || post_raw(&url, &padded(LIMIT + 1)));
    assert_refusal(&answer, "body_too_large", "in several requests", None);
    // Chunks say no length beforehand.
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000)).repeat(9) + "0\r\n\r\n";
    let head = head("transfer-encoding: chunked");
    let (status, problem) =
        traceless(&world, || talk(&world.service.url, &[head.as_bytes(), chunk.as_bytes()]).unwrap());
    assert_eq!(status, 413);
    assert_problem(&problem, "body_too_large", "in several requests", None);
    // One that says that it is far too large is not read at all.
    let (status, problem) = raw(&world.service.url, b"{", 1 << 30).unwrap();
    assert_eq!(status, 413);
    assert_problem(&problem, "body_too_large", "8388608 bytes at most", None);
    world.accept(&post_raw(&url, &padded(LIMIT)));
}

fn head(field: &str) -> String {
    format!("POST /v1/instructions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{field}\r\n\r\n")
}

/// Sends bytes as they are and reads the answer: its status and problem, none where there is no answer.
fn talk(url: &str, parts: &[&[u8]]) -> Option<(u16, Value)> {
    let mut stream = connect(url);
    for part in parts {
        stream.write_all(part).unwrap();
    }
    answer_on(stream)
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn answer_on(mut stream: TcpStream) -> Option<(u16, Value)> {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// Sends a body that says that it has some length.
fn raw(url: &str, body: &[u8], length: usize) -> Option<(u16, Value)> {
    talk(url, &[head(&format!("content-length: {length}")).as_bytes(), body])
}

#[test]
fn a_body_that_does_not_arrive_is_not_waited_for() {
    let world = World::new();
    let impatient = |settings: &mut app::Settings| {
        assert_eq!(settings.limits.body_timeout, Duration::from_secs(10));
        settings.limits.body_timeout = Duration::from_secs(1);
    };
    let service =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), impatient);
    let good = body_of(&[&text_of(world.sign("dora", bank("b9")).envelope())], "each");
    let length = format!("content-length: {}", good.len());
    let (first, last) = good.split_at(good.len() - 1);
    traceless(&world, || {
        // It stops before its last byte, and is not finished in time by one byte after the other either.
        for patience in [Duration::ZERO, Duration::from_millis(40)] {
            let began = Instant::now();
            let mut stream = connect(&service.url);
            stream.write_all(head(&length).as_bytes()).unwrap();
            for byte in first.as_bytes().chunks(if patience.is_zero() { first.len() } else { 1 }).take(60) {
                // When the answer is there, nobody reads on.
                let _ = stream.write_all(byte);
                std::thread::sleep(patience);
            }
            let (status, problem) = answer_on(stream).expect("an answer");
            assert_eq!(status, listed("body_timeout").0);
            assert_problem(&problem, "body_timeout", "send it again", None);
            assert!(began.elapsed() < Duration::from_secs(5));
        }
        // It is cut off: by the client, who still listens, and by chunks that are none.
        let mut stream = connect(&service.url);
        stream.write_all(head(&length).as_bytes()).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let cut = answer_on(stream);
        let chunked = head("transfer-encoding: chunked");
        let garbled = talk(&service.url, &[chunked.as_bytes(), b"5\r\n{\"mod\r\nzz\r\n"]);
        for answer in [cut, garbled] {
            let (status, problem) = answer.expect("an answer");
            assert_eq!(status, 400);
            assert_problem(&problem, "body_incomplete", "send it again", None);
        }
        // A client that is gone gets no answer, and leaves nothing either.
        let mut stream = connect(&service.url);
        stream.write_all(head(&length).as_bytes()).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        drop(stream);
        std::thread::sleep(Duration::from_millis(1200));
    });
    let whole = talk(&world.service.url, &[head(&length).as_bytes(), first.as_bytes(), last.as_bytes()]);
    let (status, answer) = whole.expect("an answer");
    assert_eq!((status, &answer["results"][0]["status"]), (200, &Value::from("accepted")));
}

#[test]
fn methods_and_paths_are_those_that_are_listed() {
    let world = World::new();
    let ask = |method: &str, path: &str| {
        let url = format!("{}{path}", world.service.url);
        traceless(&world, || call(method, &url, &[]))
    };
    for (method, path, allow) in [
        ("GET", "/v1/instructions", "POST"),
        ("PUT", "/v1/instructions", "POST"),
        ("DELETE", "/v1/instructions/check", "POST"),
        ("POST", "/v1/funds", "GET,HEAD"),
        ("DELETE", "/v1/records/0", "GET,HEAD"),
        ("PATCH", "/healthz", "GET,HEAD"),
        ("OPTIONS", "/v1/bundle", "GET,HEAD"),
    ] {
        let answer = ask(method, path);
        assert_refusal(&answer, "method_not_allowed", "the header Allow names", None);
        assert_eq!(answer.headers["allow"], allow, "{method} {path}");
    }
    for path in [
        "/",
        "/v1",
        "/v2/funds",
        "/v1/fund",
        "/v1/funds/",
        "//v1/funds",
        "/v1/funds/f1",
        "/V1/funds",
        "/healthz/",
    ] {
        assert_refusal(&ask("GET", path), "route_unknown", "docs/api.md", None);
    }
    let url = format!("{}/v1/instructions?mode=all", world.service.url);
    let answer = traceless(&world, || post_raw(&url, &body_of(&["{}"], "each")));
    assert_refusal(&answer, "query_invalid", "unknown field `mode`", None);
    let headers = ask("GET", "/v1/funds").headers;
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["www-authenticate"], "Signature");
}
