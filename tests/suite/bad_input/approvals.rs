//! Approvals that do not count: of another effect, of one's own request, or of one person twice.

use records::Body;
use records::disbursements::{Approval, Effect};
use records::governance::Role;
use records::scalar::Integer;
use serde_json::{Value, json};
use signing::digest::Digest;
use tests::outsiders::world_with_outsiders;
use tests::people::Person;
use tests::world::{World, id, usd};

use super::{accepted, refused, refuses, text_of};

fn world_with_request(world: World, benefit: &str, amount: &str) -> World {
    world.fund("200000.00");
    world.offer();
    world.case("c1", "north", true);
    world.ok("anna", Body::Request(world.request("d1", "c1", benefit, amount)));
    world
}

#[test]
fn an_approval_repeats_the_whole_effect() {
    let world = world_with_request(World::new(), "grant", "5000.00");
    let real = world.effect("d1");
    type Alter<'a> = &'a dyn Fn(&mut Effect);
    let offered = |offer: &str, version: u64| records::cases::OfferVersion {
        offer: id(offer),
        version: Integer(version),
    };
    let cases: [(&str, Alter<'_>, &str); 13] = [
        ("amount", &|effect| effect.amount = usd("5000.01"), "effect_differs"),
        (
            "amount",
            &|effect| effect.amount = ledger::money::Money::parse("5000.00", id("EUR")).unwrap(),
            "effect_differs",
        ),
        ("benefit", &|effect| effect.benefit = id("bonus"), "effect_differs"),
        ("expires", &|effect| effect.expires = effect.expires.plus(1).unwrap(), "effect_differs"),
        ("fund", &|effect| effect.fund = id("f2"), "effect_differs"),
        ("most", &|effect| effect.most = usd("5000.01"), "effect_differs"),
        ("most", &|effect| effect.most = usd("4999.99"), "effect_differs"),
        ("offer", &|effect| effect.offer = offered("new-life", 2), "effect_differs"),
        ("offer", &|effect| effect.offer = offered("old-life", 1), "effect_differs"),
        ("preparer", &|effect| effect.preparer = id("paul"), "effect_differs"),
        ("request", &|effect| effect.request = Digest::of("another"), "effect_differs"),
        ("policy", &|effect| effect.policy = Integer(2), "policy_changed"),
        ("disbursement", &|effect| effect.disbursement = id("d2"), "disbursement_unknown"),
    ];
    for (field, alter, code) in cases {
        let mut effect = real.clone();
        alter(&mut effect);
        let says = match code {
            "effect_differs" => format!("the field '{field}' differs"),
            "policy_changed" => "the policy in force is version 1".to_owned(),
            _ => "no such disbursement".to_owned(),
        };
        refuses(&world, "boris", Body::Approval(Approval { effect }), code, &says);
    }
    // Every field of an effect was altered, but for the channel, of which there is one.
    let Value::Object(fields) = json!(real) else { panic!("an effect is an object") };
    let untouched = fields.keys().filter(|name| cases.iter().all(|(field, ..)| field != name));
    assert_eq!(untouched.collect::<Vec<_>>(), ["channel"]);
    // Another channel is none that this release knows.
    let boris = Person::new("boris");
    let payload = super::payload_of(world.header(&boris), world.approval("d1"));
    let payload = super::with(&payload, r#"{"manual":{}}"#, r#"{"bank":{}}"#);
    let envelope = super::signed(&boris, records::Kind::Approval.payload_type(), payload);
    refused(&world, &envelope, "payload_invalid", "unknown variant `bank`");
    world.ok("boris", Body::Approval(Approval { effect: real }));
}

#[test]
fn a_person_approves_once_and_never_an_own_request() {
    let world = world_with_request(World::new(), "bonus", "100000.00");
    world.decide(world.enrolment("boris", "boris's second", &[Role::Approver]));
    let approval = || Body::Approval(Approval { effect: world.effect("d1") });
    refuses(&world, "anna", approval(), "own_request", "another person has to approve it");
    world.ok("boris", approval());
    refuses(&world, "boris", approval(), "already_approved", "another person has to");
    let second = Person::with_key("boris", "boris's second");
    let by_second = world.sign_with(&second, approval(), |_| {});
    refused(&world, &text_of(by_second.envelope()), "already_approved", "by this or another key");
    refuses(&world, "paul", approval(), "role_missing", "approver or director");
    let shown = world.get("ada", "/v1/disbursements/d1");
    assert_eq!((&shown.json["stage"], &shown.json["approvals"]), (&json!("requested"), &json!(["boris"])));
    world.ok("dora", approval());
    let shown = world.get("ada", "/v1/disbursements/d1");
    assert_eq!((&shown.json["stage"], &shown.json["approvals"]), (&json!("due"), &json!(["boris", "dora"])));
}

#[test]
fn keys_that_do_not_count_approve_nothing() {
    let world = world_with_request(world_with_outsiders(), "bonus", "100000.00");
    let approval = || Body::Approval(Approval { effect: world.effect("d1") });
    for (who, code, says) in [
        ("mallory", "key_unknown", "enrolled"),
        ("gone", "key_revoked", "a key that is valid"),
        ("stopped", "key_revoked", "vetoed"),
        ("late", "key_not_yet_valid", "after the policy's delay"),
        ("past", "key_expired", "have another key enrolled"),
        ("waits", "key_spare", "its own activation"),
    ] {
        refuses(&world, who, approval(), code, says);
    }
    let late = world.sign_with(&Person::new("late"), approval(), |_| {});
    refused(&world, &text_of(late.envelope()), "key_not_yet_valid", "send this again");
    // What is transient passes: the very same bytes are accepted when the delay is over.
    tests::outsiders::wait(&world);
    accepted(&world, &text_of(late.envelope()));
    world.ok("boris", approval());
    assert_eq!(world.get("ada", "/v1/disbursements/d1").json["approvals"], json!(["late", "boris"]));
}
