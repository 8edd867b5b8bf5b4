//! Facts: what courts and banks did, reported by as many persons as policy wants, and undone where it was a mistake.

use records::Body;
use records::assets::{
    AssetRegistration, BankFee, BankOpening, Countersignature, Custody, Forfeiture, FundKind, FundOpening,
    Restraint, Reversal, ReversalSubject, Share,
};
use records::governance::{Act, Policy, Role};
use records::scalar::Integer;
use signing::digest::Digest;
use tests::world::{World, evidence, id, policy, usd};

use super::{books, confirmation, furnish, prove, release, request, stage, sums, town};

/// The last report: kind, status and how many persons signed it.
fn last_report(world: &World) -> (String, String, usize) {
    let reports = world.get("rita", "/v1/reports");
    let last = reports.json["items"].as_array().unwrap().last().unwrap().clone();
    let text = |field: &str| last[field].as_str().unwrap().to_owned();
    (text("kind"), text("status"), last["persons"].as_array().unwrap().len())
}

#[test]
fn the_bank_s_word_takes_two_persons() {
    let world = World::with_policy(Policy { bank_report_persons: Integer(2), ..policy() });
    furnish(&world, "5000.00");
    world.decide(world.enrolment("rolf", "rolf", &[Role::Reconciler]));
    // Boris approves, and becomes a reconciler afterwards.
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    world.ok("boris", world.approval("d1"));
    world.decide(Act::Roles { principal: id("boris"), roles: vec![Role::Approver, Role::Reconciler] });
    world.ok("paul", release(&world, "d1"));
    let released = books(&world);

    let report = world.sign("rita", confirmation(&world, "d1"));
    world.accept(&world.post(&[report.envelope().clone()], "each"));
    assert_eq!(last_report(&world), ("bank-confirmation".to_owned(), "waiting".to_owned(), 1));
    assert_eq!((stage(&world, "d1"), books(&world)), ("released".to_owned(), released));
    let countersignature = |report: Digest| Body::Countersignature(Countersignature { report });
    world.refuse("rita", countersignature(report.digest()), "already_signed");
    world.refuse("paul", countersignature(report.digest()), "role_missing");
    world.refuse("boris", countersignature(report.digest()), "same_person");
    world.refuse("rolf", countersignature(Digest::of("no report")), "report_unknown");
    assert_eq!(stage(&world, "d1"), "released");
    world.ok("rolf", countersignature(report.digest()));
    assert_eq!(last_report(&world), ("bank-confirmation".to_owned(), "posted".to_owned(), 2));
    assert_eq!(stage(&world, "d1"), "paid");
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 0.00 0.00 5000.00");
    world.refuse("rolf", countersignature(report.digest()), "report_unknown");
    assert_eq!(books(&world), "free 0.00 obligated 0.00 accrued 0.00 paid 5000.00 cash 0.00");
    prove(&world);
}

#[test]
fn a_fee_beyond_what_is_free_is_a_fact_and_blocks_wishes() {
    let world = town("5000.00");
    world.case("c2", "north", true);
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let fee = Body::BankFee(BankFee {
        amount: usd("35.00"),
        bank: id("b1"),
        evidence: evidence(),
        fund: id("f1"),
        value_date: world.clock.now().date(),
    });
    let report = world.sign("rita", fee);
    world.accept(&world.post(&[report.envelope().clone()], "each"));
    // Nothing was free, so the whole fee is a shortfall; the hold stands.
    assert_eq!(
        books(&world),
        "free 5000.00 (held 5000.00) obligated 0.00 accrued 0.00 paid 35.00 cash 4965.00"
    );
    let wish = world.request("d2", "c2", "trip", "0.01");
    world.refuse("anna", Body::Request(wish.clone()), "fund_blocked");
    // What was approved cannot go out whole: there is less in the bank.
    world.ok("boris", world.approval("d1"));
    world.refuse("paul", release(&world, "d1"), "insufficient_funds");

    // The fee was a mistake.
    let reports = world.get("dora", "/v1/reports");
    let last = reports.json["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["report"], report.digest().to_string());
    let subject = ReversalSubject::Fact(report.digest());
    let reversal = Reversal { entry: id(last["entry"].as_str().unwrap()), reason: id("not ours"), subject };
    world.ok("dora", Body::Reversal(reversal.clone()));
    assert_eq!(last_report(&world), ("bank-fee".to_owned(), "reversed".to_owned(), 1));
    world.refuse("dora", Body::Reversal(reversal), "nothing_to_reverse");
    assert_eq!(books(&world), "free 0.00 obligated 0.00 accrued 5000.00 paid 0.00 cash 5000.00");
    world.refuse("anna", Body::Request(wish), "insufficient_funds");
    world.ok("paul", release(&world, "d1"));
    prove(&world);
}

#[test]
fn what_is_restrained_pays_nobody_and_what_is_forfeited_pays_its_net() {
    let world = World::new();
    let open = |fund: &str, kind| {
        Body::FundOpening(FundOpening { asset: id("a1"), currency: id("USD"), fund: id(fund), kind })
    };
    let registration =
        AssetRegistration { asset: id("a1"), description: id("a bank's bonds"), instrument: evidence() };
    world.ok("dora", Body::AssetRegistration(registration));
    world.ok("dora", open("h1", FundKind::Fiduciary));
    world.ok("dora", open("f1", FundKind::Spendable));
    world.ok("dora", Body::BankOpening(BankOpening { bank: id("b1"), currency: id("USD") }));
    world.offer();
    world.case("c1", "north", true);
    let cent = || Body::Request(world.request("d1", "c1", "trip", "0.01"));

    let restraint = Restraint { amount: usd("10000000.00"), fund: id("h1"), instrument: evidence() };
    world.ok("rita", Body::Restraint(restraint));
    world.refuse("anna", cent(), "insufficient_funds");
    let from_custody =
        records::disbursements::Request { fund: id("h1"), ..world.request("d1", "c1", "trip", "0.01") };
    world.refuse("anna", Body::Request(from_custody.clone()), "fund_wrong_kind");
    let custody = Custody {
        amount: usd("10000000.00"),
        bank: id("b1"),
        evidence: evidence(),
        fund: id("h1"),
        value_date: world.clock.now().date(),
    };
    world.ok("rita", Body::Custody(custody));
    world.refuse("anna", cent(), "insufficient_funds");
    world.refuse("anna", Body::Request(from_custody), "fund_wrong_kind");

    let share = |amount: &str, body: &str| Share { amount: usd(amount), body: id(body) };
    let forfeiture = Forfeiture {
        bank: id("b1"),
        claims: vec![share("800000.00", "lien-holder")],
        costs: vec![share("212500.00", "storage")],
        fund: id("h1"),
        gross: usd("10000000.00"),
        instrument: evidence(),
        to_bank: id("b1"),
        to_fund: id("f1"),
        value_date: world.clock.now().date(),
    };
    world.ok("rita", Body::Forfeiture(forfeiture));
    let net = "free 8987500.00 obligated 0.00 accrued 0.00 paid 0.00 cash 8987500.00";
    assert_eq!(books(&world), net);
    // Exactly the net: with all of it but a cent held, two cents are too much.
    let benefits = |amount: &str| {
        vec![records::cases::Benefit {
            benefit: id("estate"),
            kind: records::cases::BenefitKind::InKind { ceiling: usd(amount) },
        }]
    };
    let offer = records::cases::Offer {
        benefits: benefits("9000000.00"),
        offer: id("large"),
        valid_from: id("2026-01-01"),
        version: Integer(1),
    };
    world.ok("dora", Body::Offer(offer));
    let bands = vec![records::governance::Band {
        approvers: Integer(2),
        directors: Integer(1),
        up_to: usd("9000000.00"),
    }];
    world.decide(Act::Policy { policy: Policy { bands, ..policy() } });
    let version = records::cases::OfferVersion { offer: id("large"), version: Integer(1) };
    let opening = records::cases::CaseOpening {
        agency: id("north"),
        agency_ref: id("c9-ref"),
        case: id("c9"),
        entered: id("2026-03-01"),
        offer: version.clone(),
    };
    world.ok("anna", Body::CaseOpening(opening));
    let screening = records::cases::Screening {
        case: id("c9"),
        evidence: evidence(),
        outcome: records::cases::ScreeningOutcome::Cleared,
        person: Digest::of("c9"),
    };
    world.ok("sven", Body::Screening(screening));
    let large = |amount: &str| records::disbursements::Request {
        offer: version.clone(),
        ..world.request("d9", "c9", "estate", amount)
    };
    world.refuse("anna", Body::Request(large("8987500.01")), "insufficient_funds");
    request(&world, large("8987500.00"));
    world.refuse("anna", cent(), "insufficient_funds");
    prove(&world);
}
