//! Lists of instructions: `each` answers line by line, `all` stands or falls together, and a receipt may come later.

use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Verified;
use serde_json::{Value, json};
use signing::dsse::Envelope;
use store::register::Register;
use tests::cluster::scratch;
use tests::people::Person;
use tests::world::{World, post_raw};

use super::{assert_problem, assert_refusal, bank, body_of, text_of, traceless};

/// Two that are good, one that the rules refuse, one with a broken signature and one that is no envelope.
struct Lines {
    good: [Verified; 2],
    unknown: Verified,
    unsigned: Envelope,
}

fn lines(world: &World) -> Lines {
    let mut unsigned = world.sign("dora", bank("b7")).envelope().clone();
    unsigned.signature.0[0] ^= 1;
    Lines {
        good: [world.sign("dora", bank("b1")), world.sign("dora", bank("b2"))],
        unknown: world.sign("mallory", bank("b9")),
        unsigned,
    }
}

fn post(world: &World, envelopes: &[&str], mode: &str) -> tests::world::Answer {
    post_raw(&format!("{}/v1/instructions", world.service.url), &body_of(envelopes, mode))
}

#[test]
fn each_is_answered_line_by_line() {
    let world = World::new();
    let Lines { good, unknown, unsigned } = lines(&world);
    let [first, second] = [&good[0], &good[1]].map(|record| text_of(record.envelope()));
    let (unknown, unsigned) = (text_of(unknown.envelope()), text_of(&unsigned));
    let taken = text_of(world.sign("dora", bank("b1")).envelope());
    let answer = post(&world, &[&unknown, &first, "7", &unsigned, &taken, &second], "each");
    assert_eq!(answer.status, 200);
    let results = answer.json["results"].as_array().unwrap();
    let statuses: Vec<&Value> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(json!(statuses), json!(["refused", "accepted", "refused", "refused", "refused", "accepted"]));
    for (index, code, says) in [
        (0, "key_unknown", "enrolled"),
        (2, "envelope_not_json", "DSSE envelope"),
        (3, "signature_invalid", "sign again"),
        (4, "bank_exists", "choose another"),
    ] {
        assert_problem(&results[index]["problem"], code, says, Some(index));
    }
    for (index, record) in [(1, &good[0]), (5, &good[1])] {
        assert_eq!(results[index]["digest"], json!(record.digest()));
    }
    let position = |index: usize| results[index]["position"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(position(5), position(1) + 1);
    let size: u64 = answer.json["checkpoint"].as_str().unwrap().lines().nth(1).unwrap().parse().unwrap();
    assert!(size > position(5));
}

#[test]
fn all_stands_or_falls_together() {
    let world = World::new();
    let Lines { good, unknown, unsigned } = lines(&world);
    let [first, second] = [&good[0], &good[1]].map(|record| text_of(record.envelope()));
    let (unknown, unsigned) = (text_of(unknown.envelope()), text_of(&unsigned));
    let role = text_of(world.sign("boris", bank("b9")).envelope());
    let other = signing::digest::Digest::of("another ledger");
    let foreign = world.sign_with(&Person::new("dora"), bank("b8"), |header| header.ledger = other);
    let foreign = text_of(foreign.envelope());
    let taken = text_of(world.sign("dora", bank("b1")).envelope());
    for (list, index, code, says) in [
        (vec![&first, &unknown, &second], 1, "key_unknown", "enrolled"),
        (vec![&first, &second, &unsigned], 2, "signature_invalid", "sign again"),
        (vec![&first, &second, &role], 2, "role_missing", "director"),
        // What one before it in the list brings about counts.
        (vec![&first, &taken, &second], 1, "bank_exists", "choose another"),
        // Bytes and signatures come before the rules, and then the order of the list.
        (vec![&role, &first, &unsigned], 2, "signature_invalid", "sign again"),
        (vec![&role, &foreign], 0, "role_missing", "director"),
        (vec![&foreign, &role], 0, "wrong_ledger", "this ledger's id"),
    ] {
        let list: Vec<&str> = list.into_iter().map(String::as_str).collect();
        let answer = traceless(&world, || post(&world, &list, "all"));
        assert_refusal(&answer, code, says, Some(index));
    }
    let answer = traceless(&world, || post(&world, &[&first, "{}"], "all"));
    assert_refusal(&answer, "envelope_field_missing", "payload", Some(1));
    let answer = post(&world, &[&first, &second], "all");
    world.accept(&answer);
    // One that is in the log already is no reason to refuse the others.
    let third = text_of(world.sign("dora", bank("b3")).envelope());
    world.accept(&post(&world, &[&first, &third], "all"));
}

#[test]
fn a_receipt_may_come_later() {
    let mut world = World::new();
    // Nobody publishes: a test holds the register from which the new service would.
    let held = scratch("register").join("register.json");
    let lock = Register::open(&held).unwrap();
    let settings = Settings { receipt_wait: Duration::from_millis(50), ..Settings::default() };
    world.restart_with(&held, settings);
    std::fs::copy(&world.register, &held).unwrap();

    let record = world.sign("dora", bank("b9"));
    let unknown = world.sign("mallory", bank("b8"));
    let envelopes = [record.envelope().clone(), unknown.envelope().clone()];
    let pending = world.post(&envelopes, "each");
    assert_eq!(pending.status, 200);
    assert_eq!(pending.json["results"][0]["status"], "receipt_pending");
    assert_eq!(pending.json["results"][0]["digest"], json!(record.digest()));
    assert_problem(&pending.json["results"][1]["problem"], "key_unknown", "enrolled", Some(1));
    // It is in the log; no checkpoint covers it, so none is shown.
    assert_eq!(pending.json["checkpoint"], Value::Null);
    assert!(world.basis().size.0 <= pending.position());
    let again = traceless(&world, || world.post(&envelopes[..1], "all"));
    assert_eq!(again.json["results"][0], pending.json["results"][0]);
    let bundle = world.get("ada", &format!("/v1/records/{}", pending.position()));
    assert_eq!(bundle.text, text_of(record.envelope()));

    drop(lock);
    let receipt = (0..200).map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        world.post(&envelopes[..1], "each")
    });
    let receipt = receipt.into_iter().find(|answer| answer.json["results"][0]["status"] == "accepted");
    let receipt = receipt.expect("a receipt within ten seconds");
    assert_eq!(receipt.json["results"][0]["position"], pending.json["results"][0]["position"]);
    assert!(world.basis().size.0 > pending.position());
}

#[test]
fn a_list_has_a_thousand_instructions_at_most() {
    let world = World::new();
    let refused = traceless(&world, || post(&world, &vec!["{}"; 1001], "each"));
    assert_refusal(&refused, "too_many_instructions", "several requests", None);
    let answer = traceless(&world, || post(&world, &vec!["{}"; 1000], "each"));
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!((answer.status, results.len()), (200, 1000));
    assert_problem(&results[999]["problem"], "envelope_field_missing", "payload", Some(999));
}
