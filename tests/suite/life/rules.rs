//! Rules that a programme is asked about first: screening, who may approve what, and one instruction sent twice.

use ledger::time::Date;
use records::cases::{CaseOpening, Screening, ScreeningOutcome};
use records::governance::{Act, Role};
use records::{Body, Record};
use signing::digest::Digest;
use tests::people::Person;
use tests::world::{Answer, World, evidence, id, new_life};

use super::{books, confirmation, prove, release, request, stage, town};

#[test]
fn nobody_is_paid_before_screening_has_ended() {
    let world = town("20000.00");
    // Another payment's reserve, which nothing here may move.
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let sixty_days_ago = world.clock.now().unix() - 60 * 24 * 3600;
    let entered: Date = ledger::time::Timestamp::from_unix(sixty_days_ago).unwrap().date();
    let opening = CaseOpening {
        agency: id("north"),
        agency_ref: id("c2-ref"),
        case: id("c2"),
        entered,
        offer: new_life(),
    };
    world.ok("anna", Body::CaseOpening(opening));
    let early = world.sign("anna", Body::Request(world.request("d2", "c2", "grant", "5000.00")));
    let refused = world.post(&[early.envelope().clone()], "each");
    assert_eq!(refused.code(), "screening_open", "{}", refused.text);
    assert_eq!(refused.json["results"][0]["problem"]["transient"], true);
    let reserved = "free 20000.00 (held 5000.00) obligated 0.00 accrued 0.00 paid 0.00 cash 20000.00";
    assert_eq!((books(&world).as_str(), stage(&world, "d1").as_str()), (reserved, "requested"));

    let screening = |case: &str, outcome| {
        Body::Screening(Screening { case: id(case), evidence: evidence(), outcome, person: Digest::of(case) })
    };
    world.refuse("anna", screening("c2", ScreeningOutcome::Cleared), "role_missing");
    world.ok("sven", screening("c2", ScreeningOutcome::Cleared));
    world.refuse("sven", screening("c2", ScreeningOutcome::Refused), "screening_closed");
    // The same bytes are taken now.
    world.accept(&world.post(&[early.envelope().clone()], "each"));
    assert_eq!(stage(&world, "d2"), "requested");

    world.case("c3", "north", false);
    world.ok("sven", screening("c3", ScreeningOutcome::Refused));
    let never = Body::Request(world.request("d3", "c3", "grant", "5000.00"));
    world.refuse("anna", never, "screening_refused");
    prove(&world);
}

#[test]
fn the_band_says_who_has_to_approve_and_nobody_counts_twice() {
    let world = town("1000000.00");
    // One up to 10,000, two up to 100,000, and the preparer is none of them, although she may approve.
    request(&world, world.request("small", "c1", "grant", "5000.00"));
    world.refuse("anna", world.approval("small"), "own_request");
    world.refuse("paul", world.approval("small"), "role_missing");
    world.ok("boris", world.approval("small"));
    assert_eq!(stage(&world, "small"), "due");
    world.refuse("dora", world.approval("small"), "wrong_stage");

    request(&world, world.request("large", "c1", "bonus", "100000.00"));
    world.ok("boris", world.approval("large"));
    world.refuse("boris", world.approval("large"), "already_approved");
    // Nor by another key of his.
    world.decide(world.enrolment("boris", "boris's second", &[Role::Approver]));
    let second = Person::with_key("boris", "boris's second");
    let again = world.sign_with(&second, world.approval("large"), |_| {});
    assert_eq!(world.post(&[again.envelope().clone()], "each").code(), "already_approved");
    // An altered effect is not what was asked.
    let mut effect = world.effect("large");
    effect.amount = tests::world::usd("99999.99");
    let altered = Body::Approval(records::disbursements::Approval { effect });
    world.refuse("dora", altered, "effect_differs");
    assert_eq!(stage(&world, "large"), "requested");
    world.ok("dora", world.approval("large"));
    assert_eq!(stage(&world, "large"), "due");

    // Whoever approved or prepared neither pays nor reports what the bank did.
    let roles = |name: &str, roles: &[Role]| {
        world.decide(Act::Roles { principal: id(name), roles: roles.to_vec() });
    };
    roles("boris", &[Role::Approver, Role::Payer, Role::Reconciler]);
    roles("anna", &[Role::Approver, Role::Payer, Role::Preparer]);
    roles("paul", &[Role::Payer, Role::Reconciler]);
    world.refuse("boris", release(&world, "large"), "same_person");
    world.refuse("anna", release(&world, "large"), "same_person");
    world.ok("paul", release(&world, "large"));
    world.refuse("boris", confirmation(&world, "large"), "same_person");
    world.refuse("paul", confirmation(&world, "large"), "same_person");
    world.ok("rita", confirmation(&world, "large"));
    assert_eq!(stage(&world, "large"), "paid");
    prove(&world);
}

#[test]
fn above_the_second_band_one_of_three_is_a_director() {
    let world = town("1000000.00");
    world.decide(world.enrolment("bella", "bella", &[Role::Approver]));
    world.decide(world.enrolment("bruno", "bruno", &[Role::Approver]));
    let benefit = records::cases::Benefit {
        benefit: id("house"),
        kind: records::cases::BenefitKind::Cash { amount: tests::world::usd("100000.01") },
    };
    let offer = records::cases::Offer {
        benefits: vec![benefit],
        offer: id("new-life"),
        valid_from: id("2026-01-01"),
        version: records::scalar::Integer(2),
    };
    world.ok("dora", Body::Offer(offer));
    let version =
        records::cases::OfferVersion { offer: id("new-life"), version: records::scalar::Integer(2) };
    let opening = CaseOpening {
        agency: id("north"),
        agency_ref: id("c2-ref"),
        case: id("c2"),
        entered: id("2026-03-01"),
        offer: version.clone(),
    };
    world.ok("anna", Body::CaseOpening(opening));
    let screening = Screening {
        case: id("c2"),
        evidence: evidence(),
        outcome: ScreeningOutcome::Cleared,
        person: Digest::of("c2"),
    };
    world.ok("sven", Body::Screening(screening));
    let house = world.request("d1", "c2", "house", "100000.01");
    request(&world, records::disbursements::Request { offer: version, ..house });
    for (approver, after) in
        [("boris", "requested"), ("bella", "requested"), ("bruno", "requested"), ("dora", "due")]
    {
        world.ok(approver, world.approval("d1"));
        assert_eq!(stage(&world, "d1"), after, "{approver}");
    }
    prove(&world);
}

#[test]
fn the_same_instruction_twice_is_one_and_the_same_id_twice_is_a_conflict() {
    let world = town("20000.00");
    let first = world.sign("anna", Body::Request(world.request("d1", "c1", "grant", "5000.00")));
    let post = |record: &Record| world.post(&[record.envelope().clone()], "each");
    let receipt = post(&first);
    world.accept(&receipt);
    let after = world.trace();
    let same = |answer: &Answer| answer.json["results"][0].clone();
    assert_eq!(same(&post(&first)), same(&receipt));
    // Also beside another one, and twice in one request.
    let both = world.post(&[first.envelope().clone(), first.envelope().clone()], "all");
    for result in both.json["results"].as_array().unwrap() {
        assert_eq!(*result, same(&receipt));
    }
    assert_eq!(world.trace(), after);

    let records::Payload::Instruction(header, _) = first.payload() else { panic!("an instruction") };
    let conflict = |world: &World, who: &str| {
        let other = Body::Request(world.request("d2", "c1", "trip", "100.00"));
        world.sign_with(&Person::new(who), other, |frame| frame.id = header.id)
    };
    let refused = post(&conflict(&world, "anna"));
    assert_eq!(refused.code(), "instruction_id_reused", "{}", refused.text);
    let detail = refused.json["results"][0]["problem"]["detail"].as_str().unwrap();
    assert!(detail.contains(&first.digest().to_string()), "{detail}");
    assert!(detail.contains(&receipt.position().to_string()), "{detail}");
    assert_eq!(world.trace(), after);
    // An id is its signer's own.
    world.decide(world.enrolment("pia", "pia", &[Role::Preparer]));
    world.accept(&post(&conflict(&world, "pia")));
    prove(&world);
}
