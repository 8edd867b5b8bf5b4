//! The same thing twice, and two things that do not both fit, one after the other and at the same moment.

use std::sync::Barrier;

use records::disbursements::Cancellation;
use records::{Body, Verified};
use serde_json::{Value, json};
use tests::people::Person;
use tests::world::{Answer, World, id, new_id, usd};

use super::{assert_problem, bank, refused, refuses, text_of, traceless};

#[test]
fn the_same_twice_is_answered_with_the_first_position() {
    let world = World::new();
    let record = world.sign("dora", bank("b9"));
    let first = world.post(&[record.envelope().clone()], "each");
    world.accept(&first);
    traceless(&world, || {
        let again = world.post(&[record.envelope().clone(), record.envelope().clone()], "each");
        world.accept(&again);
        let results = again.json["results"].as_array().unwrap();
        assert_eq!(results.as_slice(), [first.json["results"][0].clone(), first.json["results"][0].clone()]);
        assert_eq!(again.json["checkpoint"], first.json["checkpoint"]);
    });
    // Also later, when the receipt is another, and when it would be refused if it were new.
    world.ok("dora", bank("b8"));
    let later = traceless(&world, || world.post(&[record.envelope().clone()], "each"));
    assert_eq!(later.json["results"], first.json["results"]);
    assert_ne!(later.json["checkpoint"], first.json["checkpoint"]);
}

#[test]
fn twice_in_one_list_is_once_in_the_log() {
    let world = World::new();
    let size = world.basis().size.0;
    let record = world.sign("dora", bank("b9"));
    let answer = world.post(&[record.envelope().clone(), record.envelope().clone()], "each");
    world.accept(&answer);
    assert_eq!(answer.json["results"][0], answer.json["results"][1]);
    // The group's record and the instruction.
    assert_eq!(world.basis().size.0, size + 2);
}

#[test]
fn an_id_of_ones_own_names_one_instruction() {
    let world = World::new();
    let taken = new_id();
    let with_id =
        |who: &str, name: &str| world.sign_with(&Person::new(who), bank(name), |header| header.id = taken);
    let first = with_id("dora", "b1");
    let answer = world.post(&[first.envelope().clone()], "each");
    world.accept(&answer);
    let other = text_of(with_id("dora", "b2").envelope());
    refused(&world, &other, "instruction_id_reused", "give the new one an id of its own");
    refused(&world, &other, "instruction_id_reused", &first.digest().to_string());
    refused(&world, &other, "instruction_id_reused", &format!("at position {}", answer.position()));
    // The same word signed anew is another instruction, too: it has another time.
    world.clock.advance(1);
    refused(&world, &text_of(with_id("dora", "b1").envelope()), "instruction_id_reused", "an id of its own");
    // Another signer's ids are that signer's: no conflict, and both stand.
    world.decide(world.enrolment("dirk", "dirk", &[records::governance::Role::Director]));
    let foreign = with_id("dirk", "b3");
    world.accept(&world.post(&[foreign.envelope().clone()], "each"));
    let both = world.post(&[first.envelope().clone(), foreign.envelope().clone()], "each");
    world.accept(&both);
    assert_ne!(both.json["results"][0]["position"], both.json["results"][1]["position"]);
}

fn world_with_cases(funded: &str) -> World {
    let world = World::new();
    world.fund(funded);
    world.offer();
    world.case("c1", "north", true);
    world.case("c2", "south", true);
    world
}

fn request(world: &World, disbursement: &str, case: &str) -> Verified {
    world.sign("anna", Body::Request(world.request(disbursement, case, "grant", "5000.00")))
}

fn cancel(world: &World, request: &Verified, disbursement: &str) {
    let digest = request.digest();
    let reason = id("another time");
    let disbursement = id(disbursement);
    world.ok("anna", Body::Cancellation(Cancellation { disbursement, reason, request: digest }));
}

/// What the fund has free, after what is held.
fn free(world: &World) -> String {
    let accounts = world.get("ada", "/v1/funds/f1/accounts");
    let items = accounts.json["items"].as_array().unwrap();
    let main = items.iter().find(|item| item["account"] == "7210/main").unwrap();
    format!("{} {}", main["amount"].as_str().unwrap(), main["held"].as_str().unwrap())
}

#[test]
fn a_benefit_and_an_id_are_taken_once() {
    let world = world_with_cases("20000.00");
    world.ok("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    let again = Body::Request(world.request("d2", "c1", "grant", "5000.00"));
    refuses(&world, "anna", again, "obligation_exists", "by disbursement d1");
    let taken = Body::Request(world.request("d1", "c2", "grant", "5000.00"));
    refuses(&world, "anna", taken, "disbursement_exists", "draw a new one");
    let second = records::disbursements::Request {
        occurrence: records::scalar::Integer(2),
        ..world.request("d3", "c1", "grant", "5000.00")
    };
    refuses(&world, "anna", Body::Request(second), "benefit_unknown", "occurrence");
    assert_eq!(free(&world), "20000.00 5000.00");
}

#[test]
fn no_more_than_is_free() {
    let world = world_with_cases("9999.99");
    world.ok("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    let second = request(&world, "d2", "c2");
    refused(
        &world,
        &text_of(second.envelope()),
        "insufficient_funds",
        "USD 4,999.99 free, and USD 5,000.00 is needed",
    );
    // It is transient: when there is more, the very same bytes are accepted.
    let custody = records::assets::Custody {
        amount: usd("0.01"),
        bank: id("b1"),
        evidence: tests::world::evidence(),
        fund: id("h1"),
        value_date: world.clock.now().date(),
    };
    world.ok("rita", Body::Custody(custody));
    let forfeiture = records::assets::Forfeiture {
        bank: id("b1"),
        claims: vec![],
        costs: vec![],
        fund: id("h1"),
        gross: usd("0.01"),
        instrument: tests::world::evidence(),
        to_bank: id("b1"),
        to_fund: id("f1"),
        value_date: world.clock.now().date(),
    };
    world.ok("rita", Body::Forfeiture(forfeiture));
    world.accept(&world.post(&[second.envelope().clone()], "each"));
    assert_eq!(free(&world), "10000.00 10000.00");
}

/// Two are sent at the same moment, each by its own connection.
fn together(world: &World, pair: [&Verified; 2]) -> [Answer; 2] {
    let barrier = Barrier::new(2);
    let send = |record: &Verified| {
        barrier.wait();
        world.post(&[record.envelope().clone()], "each")
    };
    std::thread::scope(|scope| {
        pair.map(|record| scope.spawn(move || send(record))).map(|thread| thread.join().unwrap())
    })
}

#[test]
fn of_two_at_the_same_moment_one_fits() {
    let world = world_with_cases("5000.00");
    for round in 0..4 {
        let names = [format!("x{round}"), format!("y{round}")];
        // For the one case, one benefit; for two cases, one fund.
        let (cases, code, says) = if round % 2 == 0 {
            (["c1", "c2"], "insufficient_funds", "USD 0.00 free")
        } else {
            (["c1", "c1"], "obligation_exists", "by disbursement ")
        };
        let [left, right] = [0, 1].map(|i| request(&world, &names[i], cases[i]));
        let answers = together(&world, [&left, &right]);
        let accepted = |answer: &Answer| answer.json["results"][0]["status"] == "accepted";
        let winner = answers.iter().position(accepted).unwrap_or_else(|| panic!("{answers:?}"));
        let loser = &answers[1 - winner].json["results"][0];
        assert_eq!(loser["status"], "refused");
        assert_problem(&loser["problem"], code, says, Some(0));
        assert_eq!(free(&world), "5000.00 5000.00");
        let listed = world.get("ada", "/v1/disbursements?stage=requested");
        let listed: Vec<&Value> =
            listed.json["items"].as_array().unwrap().iter().map(|item| &item["disbursement"]).collect();
        assert_eq!(listed, [&json!(names[winner])]);
        cancel(&world, [&left, &right][winner], &names[winner]);
    }
    assert_eq!(free(&world), "5000.00 0.00");
}
