//! What would happen: a check answers for each envelope as the submission of it alone would, and stores nothing.

use records::Body;
use records::governance::Acceptance;
use serde_json::{Value, json};
use tests::people::Person;
use tests::world::{World, post_raw};

use super::happen;

/// For each result its status, or the index, the status and the code of its problem.
fn words(answer: &Value) -> Vec<String> {
    let word = |result: &Value| match &result["problem"] {
        Value::Null => result["status"].as_str().unwrap().to_owned(),
        problem => {
            let [index, code] = ["index", "code"].map(|field| problem[field].as_str().unwrap());
            format!("{index} {} {code}", problem["status"])
        }
    };
    answer["results"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(word).collect()
}

#[test]
fn a_check_says_what_would_happen_to_each() {
    let world = World::new();
    happen(&world);
    let good = world.sign("boris", world.approval("d-1")).envelope().clone();
    let refused = world.sign("paul", world.approval("d-1")).envelope().clone();
    let mut forged = world.sign("dora", world.approval("d-1")).envelope().clone();
    forged.signature = Person::new("paul").key.sign(&forged.pae());
    let mut odd = good.clone();
    odd.payload.push(b' ');
    let items: Vec<Value> = [&good, &refused, &forged, &odd]
        .map(|envelope| json!({"attachments": [], "envelope": envelope}))
        .into();
    let sent = |mode: &str| json!({"instructions": items, "mode": mode}).to_string();
    let rest = ["1 403 role_missing", "2 401 signature_invalid", "3 422 payload_not_canonical"];

    let before = world.trace();
    for mode in ["each", "all"] {
        let checked = post_raw(&format!("{}/v1/instructions/check", world.url), &sent(mode));
        assert_eq!(words(&checked.json), [&["would_accept"], rest.as_slice()].concat());
        assert_eq!(checked.json["results"][0]["digest"], good.digest().to_string());
        assert!(checked.json.get("checkpoint").is_none());
    }
    assert_eq!(world.trace(), before);
    let each = post_raw(&format!("{}/v1/instructions", world.url), &sent("each"));
    assert_eq!(words(&each.json), [&["accepted"], rest.as_slice()].concat());
    // What is there already would be accepted again, and causes nothing more.
    let again = post_raw(&format!("{}/v1/instructions/check", world.url), &sent("each"));
    assert_eq!(words(&again.json)[0], "would_accept");
    assert!(again.json["results"][0].get("entry").is_none());
}

#[test]
fn a_check_shows_the_entry_that_would_be_posted() {
    let world = World::new();
    happen(&world);
    world.ok("boris", world.approval("d-1"));
    let last = world.sign("dora", world.approval("d-1")).envelope().clone();
    let body = json!({"instructions": [{"attachments": [], "envelope": last}], "mode": "each"}).to_string();
    let checked = post_raw(&format!("{}/v1/instructions/check", world.url), &body);
    let would = checked.json["results"][0]["entry"].clone();
    assert!(would.is_object(), "{}", checked.text);
    let answer = post_raw(&format!("{}/v1/instructions", world.url), &body);
    world.accept(&answer);
    let posted = world.get("ada", &format!("/v1/records/{}", answer.position() + 1));
    let envelope = signing::dsse::Envelope::from_json(&posted.text).unwrap();
    let posted: Value = serde_json::from_slice(&envelope.payload).unwrap();
    assert!(posted.to_string().contains(&would["lines"].to_string()), "{would} is not in {posted}");
}

/// A refusal says whether the same can be sent again, with success, later.
#[test]
fn a_problem_says_whether_it_passes() {
    let world = World::new();
    happen(&world);
    let lasting = world.send("kira", Body::Acceptance(Acceptance {}));
    assert_eq!(
        (lasting.code(), &lasting.json["results"][0]["problem"]["transient"]),
        ("already_accepted", &json!(false))
    );
    let passing = world.send("anna", Body::Request(world.request("d-2", "case-2", "grant", "5000.00")));
    assert_eq!(
        (passing.code(), &passing.json["results"][0]["problem"]["transient"]),
        ("screening_open", &json!(true))
    );
}
