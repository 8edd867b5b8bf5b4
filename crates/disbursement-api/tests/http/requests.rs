//! Requests that are wrong around the envelopes, and envelopes that are wrong within a good request.

use std::time::Duration;

use records::Body;
use records::governance::Acceptance;
use tokio::io::AsyncWriteExt as _;

use crate::service::{Service, body, secret, submission};
use serde_json::json;

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/instructions HTTP/1.0\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let service = Service::start("bodies").await;
    for (body, expected) in [
        ("", "400 body_not_json"),
        ("{}", "400 body_invalid"),
        (r#"{"instructions":[],"mode":"each"}"#, "400 body_invalid"),
        (r#"{"instructions":[{"attachments":[],"envelope":{}}],"mode":"none"}"#, "400 body_invalid"),
        (
            r#"{"instructions":[{"attachments":[1],"envelope":{}}],"mode":"each"}"#,
            "400 attachment_unexpected",
        ),
        (r#"{"instructions":[{"attachments":[],"envelope":{}}],"mode":"all"}"#, "422 envelope_field_missing"),
    ] {
        for path in ["/v1/instructions", "/v1/instructions/check"] {
            let answer = service.post(path, body).await;
            let checked = path.ends_with("check") && expected.starts_with("422");
            assert_eq!(answer.outcome(), if checked { "200" } else { expected }, "{path} {body}");
        }
    }
    let query = "POST /v1/instructions?dry=1 HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(service.raw(query.as_bytes()).await.outcome(), "400 query_invalid");

    let large = "x".repeat(8 * 1024 * 1024 + 1);
    assert_eq!(service.post("/v1/instructions", &large).await.outcome(), "413 body_too_large");
    assert_eq!(service.post("/v1/instructions", &large[1..]).await.outcome(), "400 body_not_json");
    let claims = post("Content-Length: 99999999999\r\n", "");
    assert_eq!(service.raw(&claims).await.outcome(), "413 body_too_large");
    let without_length = [
        b"POST /v1/instructions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
        format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes(),
    ]
    .concat();
    assert_eq!(service.raw(&without_length).await.outcome(), "413 body_too_large");

    // One that stops in the middle, and one that goes away.
    let stops = post("Content-Length: 100\r\n", "{\"instructions\":");
    let answer = tokio::time::timeout(Duration::from_secs(5), service.raw(&stops)).await.unwrap();
    assert_eq!(answer.outcome(), "408 body_timeout");
    let mut gone = service.connect().await;
    gone.write_all(&stops).await.unwrap();
    drop(gone);
    assert_eq!(service.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await.outcome(), "200");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes() {
    let service = Service::staffed("envelopes").await;
    let good = |version: u64| {
        let offer = json!({
            "benefits": [{"benefit": "b", "kind": {"cash": {"amount": {"amount": "1.00", "currency": "USD"}}}}],
            "offer": "o", "valid_from": "2026-01-01", "version": version.to_string(),
        });
        Body::Offer(body(offer))
    };
    let first = service.instruction("director", good(1)).await;
    let refused = service.instruction("preparer", good(1)).await;
    let mut forged = service.instruction("director", good(2)).await;
    forged.signature = secret("preparer").sign(&forged.pae());
    let mut odd = first.clone();
    odd.payload.push(b' ');

    // What would happen, with nothing stored.
    let sent = submission(&[&first, &refused, &forged, &odd], "each");
    let codes = |answer: serde_json::Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap().clone();
        let word = |result: &serde_json::Value| match &result["problem"] {
            serde_json::Value::Null => result["status"].as_str().unwrap().to_owned(),
            problem => format!(
                "{} {} {}",
                problem["index"].as_str().unwrap(),
                problem["status"],
                problem["code"].as_str().unwrap()
            ),
        };
        results.iter().map(word).collect()
    };
    let rest = ["1 403 role_missing", "2 401 signature_invalid", "3 422 payload_not_canonical"];
    let checked = service.post("/v1/instructions/check", &sent).await;
    assert_eq!(codes(checked.json()), [&["would_accept"], rest.as_slice()].concat());
    // All or none: the first that is refused is the answer.
    let all = service.post("/v1/instructions", &submission(&[&first, &refused, &forged], "all")).await;
    assert_eq!((all.outcome().as_str(), &all.json()["index"]), ("401 signature_invalid", &json!("2")));
    let all = service.post("/v1/instructions", &submission(&[&first, &refused], "all")).await;
    assert_eq!(all.outcome(), "403 role_missing");
    assert_eq!(all.json()["index"], "1");
    assert_eq!(all.json()["type"], "urn:safeconduct:problem:role_missing");
    assert_eq!(service.read("auditor", "/v1/offers").await.json()["items"], json!([]));
    // Each alone; and again, with the first position.
    let each = service.post("/v1/instructions", &sent).await.json();
    assert_eq!(codes(each.clone()), [&["accepted"], rest.as_slice()].concat());
    assert_eq!(each["results"][0]["digest"], first.digest().to_string());
    let again = service.post("/v1/instructions", &submission(&[&first], "all")).await.json();
    assert_eq!(again["results"], json!([each["results"][0]]));

    let twice = service.instruction("c2", Body::Acceptance(Acceptance {})).await;
    let twice = service.post("/v1/instructions", &submission(&[&twice], "all")).await;
    assert_eq!(twice.status, 409, "{twice:?}");
    assert_eq!(twice.json()["transient"], false);
    service.stop().await;
}
