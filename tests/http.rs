//! How the tests speak to a service: plain HTTP, one request a connection, and reads that are signed.

use std::collections::BTreeMap;

use ledger::time::Timestamp;
use serde_json::{Value, json};
use signing::dsse::Envelope;

use crate::people::Person;

/// What the service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, as it came.
    pub bytes: Vec<u8>,
    /// The body as text.
    pub text: String,
    /// The body as JSON, null where it is none.
    pub json: Value,
}

impl Answer {
    /// The code of the problem that the answer is, or of its first refused result; "ok" where there is none.
    pub fn code(&self) -> &str {
        let problem = self.json["code"].as_str();
        let first = || {
            let results = self.json["results"].as_array()?;
            results.iter().find_map(|result| result["problem"]["code"].as_str())
        };
        problem.or_else(first).unwrap_or("ok")
    }

    /// The position of the first result.
    pub fn position(&self) -> u64 {
        let position = self.json["results"][0]["position"].as_str();
        position.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no position in {}", self.text))
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(std::time::Duration::from_secs(60)))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    try_answer(response).expect("the service answers")
}

fn try_answer(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, ureq::Error> {
    let mut response = response?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    let status = response.status().as_u16();
    let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, bytes, text, json })
}

/// Posts a body as it is.
pub fn post_raw(url: &str, body: &str) -> Answer {
    answer(agent().post(url).header("content-type", "application/json").send(body))
}

/// Posts a text, unless the service does not answer: the status and the body.
pub fn try_post_text(url: &str, body: String) -> Option<(u16, String)> {
    let answer = try_answer(agent().post(url).header("content-type", "text/plain").send(body)).ok()?;
    Some((answer.status, answer.text))
}

/// The body of a submission.
pub fn submission(envelopes: &[Envelope], mode: &str) -> String {
    let instructions: Vec<Value> =
        envelopes.iter().map(|envelope| json!({"attachments": [], "envelope": envelope})).collect();
    json!({"instructions": instructions, "mode": mode}).to_string()
}

/// Posts envelopes to a service.
pub fn post_to(url: &str, envelopes: &[Envelope], mode: &str) -> Answer {
    post_raw(&format!("{url}/v1/instructions"), &submission(envelopes, mode))
}

/// Posts envelopes to a service that may be down, or go down meanwhile: then there is no answer.
pub fn try_post_to(url: &str, envelopes: &[Envelope], mode: &str) -> Option<Answer> {
    let request = agent().post(format!("{url}/v1/instructions")).header("content-type", "application/json");
    try_answer(request.send(submission(envelopes, mode))).ok()
}

/// Reads unsigned.
pub fn get_unsigned(url: &str, path: &str) -> Answer {
    answer(agent().get(format!("{url}{path}")).call())
}

/// Reads, signed by somebody.
pub fn get_from(url: &str, person: &Person, path: &str, at: Timestamp) -> Answer {
    try_get_from(url, person, path, at).expect("the service answers")
}

/// Reads from a service that may be down, or go down meanwhile.
pub fn try_get_from(url: &str, person: &Person, path: &str, at: Timestamp) -> Result<Answer, ureq::Error> {
    let target = format!("{url}{path}");
    let signed =
        signing::http::sign("GET", &target, b"", &person.key, at.unix(), &nonce()).expect("a signature");
    let request = agent()
        .get(&target)
        .header("signature-input", signed.signature_input)
        .header("signature", signed.signature);
    try_answer(request.call())
}

/// A fresh nonce.
pub fn nonce() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Any request without a body.
pub fn call(method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(agent().run(request.body(()).expect("a request")))
}

/// A read that has a body all the same.
pub fn get_with_body(url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let request = agent().get(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    answer(request.force_send_body().send(body))
}
