//! A second founding, quorums that are none, and keys that are enrolled wrongly.

use records::Body;
use records::governance::{
    Acceptance, Act, Charter, Concurrence, FoundingCustodian, KeyPossession, Proposal, Role,
};
use records::scalar::Integer;
use records::witnessing::{Statement, Witness, Witnessing};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::PublicKey;
use tests::outsiders::revocation;
use tests::people::Person;
use tests::service::ledger_keys;
use tests::world::{World, id, policy};

use super::{accepted, assert_problem, bank, refused, refuses, text_of, traceless};

#[test]
fn a_ledger_is_founded_once() {
    let world = World::new();
    let again = world.founding(policy());
    refused(&world, &text_of(again.envelope()), "ledger_founded", "never accepted");
    let in_a_list = traceless(&world, || {
        let other = world.sign("dora", bank("b9"));
        world.post(&[again.envelope().clone(), other.envelope().clone()], "all")
    });
    super::assert_refusal(&in_a_list, "founding_invalid", "send the founding record alone", Some(0));
    // The one that founded it is answered like the first time.
    let founding = world.get("ada", "/v1/founding");
    assert_eq!(founding.status, 200);
    traceless(&world, || accepted(&world, &founding.text));
}

#[test]
fn a_founding_wants_more_than_one_person() {
    let world = World::empty();
    let custodian = |name: &str| {
        let person = Person::new(name);
        FoundingCustodian { key: person.key.public().clone(), principal: person.principal }
    };
    let charter = || Charter {
        checkpoint_key: ledger_keys().checkpoint.public().clone(),
        currencies: vec![id("JPY"), id("USD")],
        custodians: vec![custodian("karl"), custodian("kira"), custodian("kurt")],
        origin: ledger_keys().origin.clone(),
        policy: policy(),
        quorum: Integer(2),
        record_key: ledger_keys().record.public().clone(),
    };
    let quorum_says = "the quorum must be at least 2, more than half of the custodians";
    let shared = FoundingCustodian { key: custodian("karl").key, principal: id("kira") };
    let witnessed = |charter: &mut Charter, threshold: u64, replays: u64, witnesses: &[Witness]| {
        let (replays, threshold) = (Integer(replays), Integer(threshold));
        charter.policy.witnessing = Some(Witnessing { replays, threshold, witnesses: witnesses.to_vec() });
    };
    let witness = |name: &str, key: &PublicKey| Witness {
        key: key.clone(),
        name: id(name),
        statement: Statement::Consistent,
    };
    let (ada, eve) = (Person::new("ada").key.public().clone(), Person::new("eve").key.public().clone());
    type Alter<'a> = &'a dyn Fn(&mut Charter);
    let cases: [(Alter<'_>, &str); 18] = [
        (&|charter| charter.quorum = Integer(1), quorum_says),
        (&|charter| charter.quorum = Integer(0), quorum_says),
        (&|charter| charter.quorum = Integer(4), quorum_says),
        (&|charter| charter.custodians.push(custodian("kuwe")), quorum_says),
        (
            &|charter| {
                charter.custodians.truncate(1);
                charter.quorum = Integer(1);
            },
            quorum_says,
        ),
        (&|charter| charter.custodians.truncate(1), quorum_says),
        (&|charter| charter.custodians.insert(0, custodian("karl")), "each custodian once"),
        (&|charter| charter.custodians[1] = shared.clone(), "a key of their own"),
        (&|charter| witnessed(charter, 1, 0, &[]), "at least 1 and not more than there are"),
        (&|charter| witnessed(charter, 0, 0, &[witness("w/a", &ada)]), "at least 1"),
        (&|charter| witnessed(charter, 1, 1, &[witness("w/a", &ada)]), "witnesses who replay"),
        (
            &|charter| witnessed(charter, 1, 0, &[witness("w/b", &ada), witness("w/a", &eve)]),
            "each witness once, sorted",
        ),
        (
            &|charter| witnessed(charter, 1, 0, &[witness("w/a", &ada), witness("w/b", &ada)]),
            "every witness needs a key of its own",
        ),
        (
            &|charter| {
                let key = charter.record_key.clone();
                witnessed(charter, 1, 0, &[witness("w/a", &key)]);
            },
            "every witness needs a key of its own",
        ),
        (&|charter| charter.custodians[0] = custodian("kaja"), "no custodian has the key that signed"),
        (&|charter| charter.currencies.clear(), "at least one currency"),
        (&|charter| charter.policy.receipt_persons = Integer(0), "at least one person"),
        (&|charter| charter.policy.bands[0].approvers = Integer(0), "at least one approver"),
    ];
    for (alter, says) in cases {
        let mut spoilt = charter();
        alter(&mut spoilt);
        refused(&world, &text_of(world.sign_charter(spoilt).envelope()), "founding_invalid", says);
    }
    accepted(&world, &text_of(world.sign_charter(charter()).envelope()));
}

#[test]
fn a_quorum_is_of_different_custodians() {
    let world = World::new();
    world.decide(world.enrolment("karl", "karl's second", &[Role::Custodian]));
    let second = Person::with_key("karl", "karl's second");
    let act = world.enrolment("eve", "eve", &[Role::Approver]);
    let proposal = world.sign("karl", Body::Proposal(Proposal { act }));
    accepted(&world, &text_of(proposal.envelope()));
    let concurrence = |digest: Digest| Body::Concurrence(Concurrence { proposal: digest });
    let says = "another custodian has to concur";
    refuses(&world, "karl", concurrence(proposal.digest()), "already_concurred", says);
    let by_second = world.sign_with(&second, concurrence(proposal.digest()), |_| {});
    refused(&world, &text_of(by_second.envelope()), "already_concurred", says);
    refuses(&world, "dora", concurrence(proposal.digest()), "role_missing", "custodian");
    refuses(&world, "kira", concurrence(Digest::of("none")), "proposal_unknown", "no proposal");
    refuses(&world, "karl", Body::Acceptance(Acceptance {}), "already_accepted", "accepted already");
    let by_eve = world.sign("eve", bank("b9"));
    refused(&world, &text_of(by_eve.envelope()), "key_unknown", "enrolled by the custodians");
    world.ok("kira", concurrence(proposal.digest()));
    refuses(&world, "kira", concurrence(proposal.digest()), "proposal_closed", "has its quorum");
}

#[test]
fn a_key_is_enrolled_by_whoever_holds_it_once() {
    let world = World::new();
    let possession = |signer: &str, carried: &str, ledger: Digest, principal: &str| {
        let key = Person::new(carried).key.public().clone();
        let possession = KeyPossession { key, ledger, principal: id(principal) };
        let payload = signing::canonical::encode(&possession);
        Envelope::sign(&Person::new(signer).key, KeyPossession::PAYLOAD_TYPE, payload)
    };
    let enrol = |possessions: Vec<Envelope>, roles: &[Role]| Act::Enrol {
        expires: None,
        possessions,
        principal: id("eve"),
        roles: roles.to_vec(),
        spares: None,
    };
    let own = possession("eve", "eve", world.ledger, "eve");
    let other = Digest::of("another ledger");
    let approver = &[Role::Approver][..];
    for (act, code, says) in [
        (
            enrol(vec![possession("eve", "eve", other, "eve")], approver),
            "possession_invalid",
            "another ledger",
        ),
        (
            enrol(vec![possession("eve", "eve", world.ledger, "bob")], approver),
            "possession_invalid",
            "another principal",
        ),
        (
            enrol(vec![possession("mallory", "eve", world.ledger, "eve")], approver),
            "possession_invalid",
            "not signed by",
        ),
        (
            enrol(vec![possession("anna", "anna", world.ledger, "eve")], approver),
            "key_enrolled",
            "make a new one",
        ),
        (enrol(vec![], approver), "act_invalid", "at least one key"),
        (enrol(vec![own.clone(), own.clone()], approver), "act_invalid", "named twice"),
        (enrol(vec![own.clone()], &[Role::Payer, Role::Approver]), "act_invalid", "sorted"),
        (enrol(vec![own.clone()], &[Role::Agency, Role::Approver]), "act_invalid", "no other role"),
        (enrol(vec![own.clone()], &[Role::Custodian]), "custodians_fixed", "founding record"),
        (revocation("mallory"), "key_unknown", "not enrolled"),
    ] {
        refuses(&world, "karl", Body::Proposal(Proposal { act }), code, says);
    }
    let proposal = Body::Proposal(Proposal { act: enrol(vec![own], approver) });
    refuses(&world, "anna", proposal.clone(), "role_missing", "custodian");
    world.ok("karl", proposal);
}

/// The rules would take it, at the beginning of a group: but the service would sign that group under the old origin.
#[test]
fn no_service_takes_a_reopening() {
    let world = World::new();
    let checkpoint = world.get("karl", "/v1/checkpoint").text;
    let continued = world.basis();
    let act = Act::Reopen { checkpoint, continued, keys: None, origin: id("tests.example/log/2") };
    refuses(&world, "karl", Body::Proposal(Proposal { act }), "act_invalid", "the operator reopens a log");
}

#[test]
fn a_founding_record_stands_alone() {
    let world = World::empty();
    let founding = world.founding(policy());
    let answer =
        traceless(&world, || world.post(&[founding.envelope().clone(), founding.envelope().clone()], "each"));
    for (index, result) in answer.json["results"].as_array().unwrap().iter().enumerate() {
        assert_problem(&result["problem"], "founding_invalid", "alone", Some(index));
    }
    assert_eq!(answer.json["results"].as_array().unwrap().len(), 2);
}
