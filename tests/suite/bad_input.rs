//! Whatever is wrong with what is sent has one stable code, is told what to do, and leaves nothing behind.

mod agency;
mod amounts;
mod approvals;
mod body;
mod conflicts;
mod envelopes;
mod frames;
mod governance;
mod lists;
mod payloads;
mod reads;

use disbursement_api::problem::{CODES, status_of};
use programme::Code;
use records::{Body, Header};
use serde_json::{Value, json};
use signing::dsse::Envelope;
use tests::people::Person;
use tests::world::{Answer, World, id, post_raw};

/// The status and the title of a code, as `docs/errors.md` lists them.
fn listed(code: &str) -> (u16, &'static str) {
    let rule = Code::ALL.iter().find(|one| one.as_str() == code).map(|one| (status_of(*one), one.advice()));
    let other = || CODES.iter().find(|one| one.code == code).map(|one| (one.status, one.title));
    rule.or_else(other).unwrap_or_else(|| panic!("no code {code}"))
}

/// It is the problem of this code, and what it says has these words in it.
fn assert_problem(problem: &Value, code: &str, says: &str, index: Option<usize>) {
    assert_eq!(problem["code"], code, "expected {code} ({says}): {problem}");
    let (status, title) = listed(code);
    let index = index.map_or(Value::Null, |index| json!(index.to_string()));
    assert_eq!((&problem["status"], &problem["title"]), (&json!(status), &json!(title)));
    assert_eq!(
        (&problem["type"], &problem["index"]),
        (&json!(format!("urn:safeconduct:problem:{code}")), &index)
    );
    let told = format!("{title} {}", problem["detail"].as_str().unwrap_or_default());
    assert!(!says.is_empty() && told.contains(says), "'{says}' is not in: {told}");
}

/// The whole request is refused with this code.
fn assert_refusal(answer: &Answer, code: &str, says: &str, index: Option<usize>) {
    assert_problem(&answer.json, code, says, index);
    assert_eq!(answer.status, listed(code).0, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
}

/// A body of instructions around envelopes that may be anything.
fn body_of(envelopes: &[&str], mode: &str) -> String {
    let item = |envelope: &&str| format!(r#"{{"attachments":[],"envelope":{envelope}}}"#);
    let items: Vec<String> = envelopes.iter().map(item).collect();
    format!(r#"{{"instructions":[{}],"mode":"{mode}"}}"#, items.join(","))
}

fn post_text(world: &World, envelope: &str) -> Answer {
    post_raw(&format!("{}/v1/instructions", world.service.url), &body_of(&[envelope], "each"))
}

/// Something is done, and nothing is left of it.
fn traceless<T>(world: &World, act: impl FnOnce() -> T) -> T {
    let before = world.trace();
    let done = act();
    assert_eq!(before, world.trace(), "something is left");
    done
}

/// An envelope in JSON is refused with this code, also by a check, and leaves nothing behind.
fn refused(world: &World, envelope: &str, code: &str, says: &str) {
    traceless(world, || {
        for path in ["/v1/instructions", "/v1/instructions/check"] {
            let answer = post_raw(&format!("{}{path}", world.service.url), &body_of(&[envelope], "each"));
            let [result] = answer.json["results"].as_array().map(Vec::as_slice).unwrap_or_default() else {
                panic!("{code}: {}", answer.text);
            };
            assert_eq!(
                (answer.status, &result["status"]),
                (200, &json!("refused")),
                "{code}: {}",
                answer.text
            );
            assert_problem(&result["problem"], code, says, Some(0));
            assert_eq!(answer.json["checkpoint"], Value::Null);
        }
    });
}

/// Somebody signs a body, and it is refused.
fn refuses(world: &World, who: &str, body: Body, code: &str, says: &str) {
    refused(world, &text_of(world.sign(who, body).envelope()), code, says);
}

/// An envelope that was only spoilt by what a test did to it, undone.
fn accepted(world: &World, envelope: &str) {
    let answer = post_text(world, envelope);
    assert_eq!(answer.status, 200);
    world.accept(&answer);
}

fn text_of(envelope: &Envelope) -> String {
    String::from_utf8(envelope.encode()).unwrap()
}

/// A header and a body as the payload's text, for a test to spoil.
fn payload_of(header: Header, body: Body) -> String {
    String::from_utf8(body.encode(header)).unwrap()
}

/// A payload's text, signed by somebody as it is.
fn signed(person: &Person, payload_type: &str, payload: impl Into<Vec<u8>>) -> String {
    text_of(&Envelope::sign(&person.key, payload_type, payload.into()))
}

/// A text with a part replaced, which must be in it.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from} in {text}");
    text.replacen(from, to, 1)
}

/// The opening of a bank account in dollars: valid, and of no consequence to anything else.
pub(crate) fn bank(name: &str) -> Body {
    Body::BankOpening(records::assets::BankOpening { bank: id(name), currency: id("USD") })
}
