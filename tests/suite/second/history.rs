//! A ledger in whose history everything happens once.

use std::collections::HashMap;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Body;
use records::assets::{
    BankFee, ClaimKind, ClaimPayment, Countersignature, Custody, CustodyInterest, Forfeiture, Restraint,
    Reversal, ReversalSubject, Share, WindfallIncome,
};
use records::disbursements::{BankRejection, BankReturn, Cancellation, Delivery, Request};
use records::governance::{Act, Activation, Policy, Proposal, Publication, Role, Veto};
use records::scalar::Integer;
use records::witnessing::{Statement, Witness, Witnessing};
use signing::digest::Digest;
use signing::keys::SecretKey;
use tests::people::{Person, key};
use tests::world::{STAFF, World, evidence, id, policy, usd};

use crate::life::{confirmation, furnish, rejection, release, request, shown, stage, wait_for};

/// The keys of everybody, by their ids.
pub fn keys() -> HashMap<String, SecretKey> {
    let seeds = STAFF.iter().map(|(name, _)| *name).chain([
        "karl",
        "kira",
        "rolf",
        "rolf's second",
        "rolf's spare",
        "dora's second",
        "the ledger's records",
    ]);
    seeds.map(key).map(|key| (key.public().id().to_string(), key)).collect()
}

/// Signs and posts what has to be named afterwards.
fn named(world: &World, who: &str, body: Body) -> Digest {
    let record = world.sign(who, body);
    world.accept(&world.post(&[record.envelope().clone()], "each"));
    record.digest()
}

fn countersignature(report: Digest) -> Body {
    Body::Countersignature(Countersignature { report })
}

/// The reversal of a disbursement's last step.
fn undone(world: &World, disbursement: &str) -> Body {
    let entry = id(shown(world, disbursement).json["last_entry"].as_str().unwrap());
    let subject = ReversalSubject::Disbursement(id(disbursement));
    Body::Reversal(Reversal { entry, reason: id("a mistake"), subject })
}

fn fee(world: &World, amount: &str) -> Body {
    let value_date = world.clock.now().date();
    Body::BankFee(BankFee {
        amount: usd(amount),
        bank: id("b1"),
        evidence: evidence(),
        fund: id("f1"),
        value_date,
    })
}

/// The sizes that may be public are multiples of this.
pub const MULTIPLE: u64 = 16;

/// A policy that has something of the log public so often.
fn published(every_s: u64) -> Policy {
    let publication = Some(Publication { every_s: Integer(every_s), multiple: Integer(MULTIPLE) });
    Policy { publication, ..policy() }
}

/// Writes it.
pub fn written() -> World {
    let settings = Settings { tick: Duration::from_millis(200), ..Settings::default() };
    let mut world = World::empty_with(settings);
    // Whenever it is written, what is written falls into the same periods: it begins with one.
    world.clock.advance(605 - world.clock.now().unix() % 600);
    world.found(published(600));
    furnish(&world, "300000.00");
    world.case("c2", "south", true);
    world.case("c3", "north", true);
    world.clock.advance(600);
    receipts(&world);
    payments(&world);
    changes(&world);
    lapses(&world);
    spares(&world);
    world
}

/// What courts and banks did.
fn receipts(world: &World) {
    let (value_date, share) =
        (world.clock.now().date(), |amount: &str, body: &str| Share { amount: usd(amount), body: id(body) });
    let restraint = Restraint { amount: usd("50000.00"), fund: id("h1"), instrument: evidence() };
    world.ok("rita", Body::Restraint(restraint));
    let (amount, interest) = (usd("20000.00"), usd("12.50"));
    let (bank, fund) = (|| id("b1"), || id("h1"));
    let custody = Custody { amount, bank: bank(), evidence: evidence(), fund: fund(), value_date };
    world.ok("rita", Body::Custody(custody));
    let interest =
        CustodyInterest { amount: interest, bank: bank(), evidence: evidence(), fund: fund(), value_date };
    world.ok("rita", Body::CustodyInterest(interest));
    let forfeiture = Forfeiture {
        bank: id("b1"),
        claims: vec![share("1000.00", "lender"), share("500.00", "crew")],
        costs: vec![share("250.25", "harbour")],
        fund: id("h1"),
        gross: usd("15000.00"),
        instrument: evidence(),
        to_bank: id("b1"),
        to_fund: id("f1"),
        value_date,
    };
    world.ok("rita", Body::Forfeiture(forfeiture));
    let claim = ClaimPayment {
        amount: usd("999.99"),
        bank: id("b1"),
        body: id("lender"),
        evidence: evidence(),
        fund: id("h1"),
        kind: ClaimKind::Claimant,
        value_date,
    };
    world.ok("rita", Body::ClaimPayment(claim));
    let income = WindfallIncome {
        bank: id("b1"),
        evidence: evidence(),
        fund: id("f1"),
        own: usd("3000.00"),
        retained: usd("70.00"),
        shares: vec![share("30.00", "treasury")],
        shares_fund: id("h1"),
        value_date,
    };
    world.ok("rita", Body::WindfallIncome(income));
    world.ok("rita", fee(world, "35.00"));
}

/// A bonus that goes out, comes back and goes out again, and a trip whose delivery was reported wrongly at first.
fn payments(world: &World) {
    request(world, world.request("d1", "c1", "bonus", "100000.00"));
    world.ok("boris", world.approval("d1"));
    world.ok("dora", world.approval("d1"));
    world.ok("paul", release(world, "d1"));
    world.ok("rita", Body::BankRejection(BankRejection { disbursement: id("d1"), evidence: evidence() }));
    world.ok("paul", release(world, "d1"));
    world.ok("rita", confirmation(world, "d1"));
    world.ok("dora", undone(world, "d1"));
    world.ok("rita", confirmation(world, "d1"));
    let value_date = world.clock.now().date();
    let returned =
        BankReturn { disbursement: id("d1"), evidence: evidence(), kept: usd("25.00"), value_date };
    world.ok("rita", Body::BankReturn(returned));

    request(world, world.request("d2", "c2", "trip", "6000.00"));
    world.ok("boris", world.approval("d2"));
    let delivered = |invoiced: &str| {
        Body::Delivery(Delivery {
            delivered: world.clock.now().date(),
            disbursement: id("d2"),
            evidence: evidence(),
            invoiced: usd(invoiced),
            vendor: id("travel"),
        })
    };
    world.ok("anna", delivered("5412.30"));
    world.ok("dora", undone(world, "d2"));
    world.ok("anna", delivered("6000.00"));
    world.ok("paul", release(world, "d2"));
    world.ok("dora", undone(world, "d2"));

    request(world, world.request("d3", "c3", "grant", "5000.00"));
    world.ok("boris", rejection(world, "d3"));
    request(world, world.request("d4", "c3", "grant", "5000.00"));
    let request = world.effect("d4").request;
    let cancellation = Cancellation { disbursement: id("d4"), reason: id("moved away"), request };
    world.ok("dora", Body::Cancellation(cancellation));
}

/// Two persons for the bank's word, under a new policy that takes effect later; a veto; a new key for an old one.
fn changes(world: &World) {
    request(world, world.request("d5", "c3", "grant", "5000.00"));
    let witness = |name: &str, statement| Witness {
        key: Person::new(name).key.public().clone(),
        name: id(&format!("witness.example/{name}")),
        statement,
    };
    let witnessing = Some(Witnessing {
        replays: Integer(1),
        threshold: Integer(2),
        witnesses: vec![witness("a", Statement::Consistent), witness("b", Statement::Replayed)],
    });
    let (bank_report_persons, quorum_delay_s) = (Integer(2), Integer(100));
    let two = Policy { bank_report_persons, quorum_delay_s, witnessing, ..published(300) };
    world.decide(world.enrolment("rolf", "rolf", &[Role::Reconciler]));
    world.decide(world.enrolment("dora", "dora's second", &[Role::Approver, Role::Director]));
    world.decide(Act::Policy { policy: two });
    world.ok("boris", world.approval("d5"));

    let power = Act::Roles { principal: id("paul"), roles: vec![Role::Director, Role::Payer] };
    let proposal = world.sign("karl", Body::Proposal(Proposal { act: power }));
    world.accept(&world.post(&[proposal.envelope().clone()], "each"));
    let concurrence = records::governance::Concurrence { proposal: proposal.digest() };
    world.ok("kira", Body::Concurrence(concurrence));
    let veto = Veto { proposal: proposal.digest(), reason: id("two hands") };
    world.ok("ada", Body::Veto(veto));
    let key = Person::new("dora").key.public().id();
    let since = Some(Integer(world.basis().size.0 - 10));
    world.decide(Act::Revoke { key, reason: id("lost"), since });

    world.ok("paul", release(world, "d5"));
    let confirmed = named(world, "rita", confirmation(world, "d5"));
    world.ok("rolf", countersignature(confirmed));
    let charged = named(world, "rolf", fee(world, "12.00"));
    let signed = named(world, "rita", countersignature(charged));
    let subject = ReversalSubject::Fact(charged);
    let reversal = Reversal { entry: id(&format!("{signed}-0")), reason: id("another's"), subject };
    world.ok("dora", Body::Reversal(reversal));
    world.clock.advance(200);
    let second = Person::with_key("dora", "dora's second");
    request(world, world.request("d6", "c3", "bonus", "100000.00"));
    let approval = world.sign_with(&second, world.approval("d6"), |_| {});
    world.accept(&world.post(&[approval.envelope().clone()], "each"));
}

/// What ran out, at two stages.
fn lapses(world: &World) {
    let expires = world.clock.now().plus(600).unwrap();
    request(world, Request { expires, ..world.request("d7", "c1", "grant", "5000.00") });
    request(world, Request { expires, ..world.request("d8", "c3", "trip", "100.00") });
    world.ok("boris", world.approval("d8"));
    world.clock.advance(700);
    wait_for("the lapses", || stage(world, "d7") == "lapsed" && stage(world, "d8") == "lapsed");
    request(world, world.request("d9", "c1", "grant", "5000.00"));
}

/// A key for a time, and its spare, which is activated in its place and signs.
fn spares(world: &World) {
    let seeds = ("rolf's second", "rolf's spare");
    world.decide(world.enrolment_with("rolf", seeds.0, seeds.1, 30 * 24 * 3600, &[Role::Reconciler]));
    world.clock.advance(200);
    let replaces = Some(key(seeds.0).public().id());
    let since = Some(Integer(world.basis().size.0 - 10));
    let spare = Person::with_key("rolf", seeds.1);
    let activation = Activation { reason: id("the machine was stolen"), replaces, since };
    for body in [Body::Activation(activation), fee(world, "3.00")] {
        let record = world.sign_with(&spare, body, |_| {});
        world.accept(&world.post(&[record.envelope().clone()], "each"));
    }
}
