//! The whole life of disbursements over HTTP, as officers, the bank and the agency see it at each step.

mod clock;
mod custodians;
mod facts;
mod rules;

use disbursement_api::pipeline::Settings;
use records::Body;
use records::assets::{Reversal, ReversalSubject};
use records::disbursements::{
    BankConfirmation, BankRejection, BankReturn, Delivery, Rejection, Release, Request,
};
use std::time::{Duration, Instant};
use tests::world::{Answer, World, evidence, id, policy, usd};

use crate::evidence::verified;

/// A funded ledger with an offer and a cleared case `c1` of north's.
pub fn town(amount: &str) -> World {
    let world = World::new();
    furnish(&world, amount);
    world
}

pub fn furnish(world: &World, amount: &str) {
    world.fund(amount);
    world.offer();
    world.case("c1", "north", true);
}

/// A world in which what is due by time comes at once.
pub fn quick() -> Settings {
    Settings { tick: Duration::from_millis(200), ..Settings::default() }
}

/// What fund f1 has: balance and, where something is held, the hold. Every fund's books prove themselves.
#[track_caller]
pub fn books(world: &World) -> String {
    let funds = world.get("ada", "/v1/funds");
    let mut shown = String::new();
    for fund in funds.json["items"].as_array().unwrap() {
        assert_eq!(fund["holds"], true, "{}", funds.text);
        let proofs = fund["proofs"].as_array().unwrap();
        assert!(
            !proofs.is_empty() && proofs.iter().all(|proof| proof["difference"] == "0.00"),
            "{}",
            funds.text
        );
        if fund["fund"] != "f1" {
            continue;
        }
        for (code, name) in
            [("7210", "free"), ("7300", "obligated"), ("7400", "accrued"), ("7500", "paid"), ("1100", "cash")]
        {
            let total = fund["totals"].as_array().unwrap().iter().find(|total| total["code"] == code);
            let of = |field: &str| total.map_or("0.00", |total| total[field].as_str().unwrap()).to_owned();
            let (amount, held) = (of("amount"), of("held"));
            let held = if held == "0.00" { String::new() } else { format!(" (held {held})") };
            shown += &format!("{name} {amount}{held} ");
        }
    }
    shown.trim_end().to_owned()
}

/// The agency's sums of a case: requested, approved, due, released, paid.
#[track_caller]
pub fn sums(world: &World, agency: &str, case: &str) -> String {
    let shown = world.get(agency, &format!("/v1/agency/cases/{case}-ref"));
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(!shown.text.contains(&format!("\"{case}\"")), "the case's own reference is shown");
    let Some(balance) = shown.json["balances"].as_array().unwrap().first() else { return "none".to_owned() };
    ["requested", "approved", "due", "released", "paid"]
        .map(|stage| balance[stage].as_str().unwrap())
        .join(" ")
}

/// The agency's statement of a case.
#[track_caller]
pub fn statement(world: &World, agency: &str, case: &str) -> Vec<String> {
    let shown = world.get(agency, &format!("/v1/agency/cases/{case}-ref/statement"));
    assert_eq!(shown.status, 200, "{}", shown.text);
    let line = |line: &serde_json::Value| {
        ["disbursement", "event", "amount"].map(|field| line[field].as_str().unwrap()).join(" ")
    };
    shown.json["items"].as_array().unwrap().iter().map(line).collect()
}

pub fn shown(world: &World, disbursement: &str) -> Answer {
    world.get("boris", &format!("/v1/disbursements/{disbursement}"))
}

#[track_caller]
pub fn stage(world: &World, disbursement: &str) -> String {
    let shown = shown(world, disbursement);
    shown.json["stage"].as_str().unwrap_or_else(|| panic!("{}", shown.text)).to_owned()
}

/// Waits for what comes by itself.
#[track_caller]
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} does not come by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn prove(world: &World) {
    verified(&world.bundle(), world.ledger);
}

pub fn request(world: &World, request: Request) {
    world.ok("anna", Body::Request(request));
}

pub fn release(world: &World, disbursement: &str) -> Body {
    let request = world.effect(disbursement).request;
    Body::Release(Release { bank: id("b1"), disbursement: id(disbursement), request })
}

pub fn rejection(world: &World, disbursement: &str) -> Body {
    let request = world.effect(disbursement).request;
    Body::Rejection(Rejection { disbursement: id(disbursement), reason: id("not yet"), request })
}

pub fn confirmation(world: &World, disbursement: &str) -> Body {
    let value_date = world.clock.now().date();
    Body::BankConfirmation(BankConfirmation {
        disbursement: id(disbursement),
        evidence: evidence(),
        value_date,
    })
}

fn returned(world: &World, disbursement: &str, kept: &str) -> Body {
    Body::BankReturn(BankReturn {
        disbursement: id(disbursement),
        evidence: evidence(),
        kept: usd(kept),
        value_date: world.clock.now().date(),
    })
}

/// The reversal of a disbursement's last step.
fn reversal(world: &World, disbursement: &str) -> Body {
    let shown = shown(world, disbursement);
    let entry = shown.json["last_entry"].as_str().unwrap_or_else(|| panic!("{}", shown.text));
    let subject = ReversalSubject::Disbursement(id(disbursement));
    Body::Reversal(Reversal { entry: id(entry), reason: id("a mistake"), subject })
}

#[test]
fn cash_goes_out_comes_back_and_goes_out_again() {
    let world = town("300000.00");
    assert_eq!(books(&world), "free 300000.00 obligated 0.00 accrued 0.00 paid 0.00 cash 300000.00");
    assert_eq!((sums(&world, "north", "c1"), statement(&world, "north", "c1").len()), ("none".to_owned(), 0));

    let mut events: Vec<String> = Vec::new();
    let mut is = |step: &str, agency: &str, fund: &str| {
        assert_eq!(stage(&world, "d1"), step);
        assert_eq!(sums(&world, "north", "c1"), agency);
        assert_eq!(books(&world), fund);
        if events.last().is_none_or(|last| !last.contains(step)) {
            events.push(format!("d1 {step} 100000.00"));
        }
        assert_eq!(statement(&world, "north", "c1"), events);
    };
    request(&world, world.request("d1", "c1", "bonus", "100000.00"));
    let requested = "free 300000.00 (held 100000.00) obligated 0.00 accrued 0.00 paid 0.00 cash 300000.00";
    is("requested", "100000.00 0.00 0.00 0.00 0.00", requested);
    world.ok("boris", world.approval("d1"));
    is("requested", "100000.00 0.00 0.00 0.00 0.00", requested);
    world.refuse("paul", release(&world, "d1"), "wrong_stage");
    world.ok("dora", world.approval("d1"));
    let due = "free 200000.00 obligated 0.00 accrued 100000.00 paid 0.00 cash 300000.00";
    is("due", "0.00 0.00 100000.00 0.00 0.00", due);
    world.ok("paul", release(&world, "d1"));
    let released =
        "free 200000.00 obligated 0.00 accrued 100000.00 paid 0.00 cash 300000.00 (held 100000.00)";
    is("released", "0.00 0.00 0.00 100000.00 0.00", released);
    world.refuse("paul", release(&world, "d1"), "wrong_stage");

    // The bank refuses it; it is sent again.
    world.ok("rita", Body::BankRejection(BankRejection { disbursement: id("d1"), evidence: evidence() }));
    is("due", "0.00 0.00 100000.00 0.00 0.00", due);
    world.ok("paul", release(&world, "d1"));
    is("released", "0.00 0.00 0.00 100000.00 0.00", released);
    world.ok("rita", confirmation(&world, "d1"));
    is(
        "paid",
        "0.00 0.00 0.00 0.00 100000.00",
        "free 200000.00 obligated 0.00 accrued 0.00 paid 100000.00 cash 200000.00",
    );

    // It comes back, less what the bank kept, and is owed in full.
    world.refuse("rita", returned(&world, "d1", "100000.01"), "amounts_do_not_add_up");
    world.ok("rita", returned(&world, "d1", "25.00"));
    is(
        "due",
        "0.00 0.00 100000.00 0.00 0.00",
        "free 199975.00 obligated 0.00 accrued 100000.00 paid 25.00 cash 299975.00",
    );
    world.ok("paul", release(&world, "d1"));
    is(
        "released",
        "0.00 0.00 0.00 100000.00 0.00",
        "free 199975.00 obligated 0.00 accrued 100000.00 paid 25.00 cash 299975.00 (held 100000.00)",
    );
    world.ok("rita", confirmation(&world, "d1"));
    is(
        "paid",
        "0.00 0.00 0.00 0.00 100000.00",
        "free 199975.00 obligated 0.00 accrued 0.00 paid 100025.00 cash 199975.00",
    );
    // Once and for ever.
    let again = world.request("d2", "c1", "bonus", "100000.00");
    world.refuse("anna", Body::Request(again), "obligation_exists");
    prove(&world);
}

#[test]
fn a_trip_costs_what_was_invoiced() {
    let world = town("10000.00");
    request(&world, world.request("d1", "c1", "trip", "6000.00"));
    world.ok("boris", world.approval("d1"));
    assert_eq!(stage(&world, "d1"), "obligated");
    assert_eq!(sums(&world, "north", "c1"), "0.00 6000.00 0.00 0.00 0.00");
    assert_eq!(books(&world), "free 4000.00 obligated 6000.00 accrued 0.00 paid 0.00 cash 10000.00");
    let delivery = |invoiced: &str| {
        Body::Delivery(Delivery {
            delivered: world.clock.now().date(),
            disbursement: id("d1"),
            evidence: evidence(),
            invoiced: usd(invoiced),
            vendor: id("travel"),
        })
    };
    world.refuse("paul", release(&world, "d1"), "wrong_stage");
    world.refuse("anna", delivery("6000.01"), "invoice_too_high");
    world.ok("anna", delivery("5412.30"));
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 5412.30 0.00 0.00");
    assert_eq!(books(&world), "free 4587.70 obligated 0.00 accrued 5412.30 paid 0.00 cash 10000.00");

    // Delivered to another case: the report is undone, and made again.
    world.ok("dora", reversal(&world, "d1"));
    assert_eq!(stage(&world, "d1"), "obligated");
    assert_eq!(books(&world), "free 4000.00 obligated 6000.00 accrued 0.00 paid 0.00 cash 10000.00");
    world.ok("anna", delivery("5412.30"));
    world.ok("paul", release(&world, "d1"));
    world.ok("rita", confirmation(&world, "d1"));
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 0.00 0.00 5412.30");
    assert_eq!(books(&world), "free 4587.70 obligated 0.00 accrued 0.00 paid 5412.30 cash 4587.70");
    let events = [
        "d1 requested 6000.00",
        "d1 obligated 6000.00",
        "d1 due 5412.30",
        "d1 obligated 6000.00",
        "d1 due 5412.30",
        "d1 released 5412.30",
        "d1 paid 5412.30",
    ];
    assert_eq!(statement(&world, "north", "c1"), events);
    let accounts = world.get("ada", "/v1/funds/f1/accounts");
    assert!(accounts.text.contains("2100/vendor/travel"), "{}", accounts.text);
    prove(&world);
}

#[test]
fn what_is_rejected_is_free_again() {
    let world = town("5000.00");
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    let full = books(&world);
    assert_eq!(full, "free 5000.00 (held 5000.00) obligated 0.00 accrued 0.00 paid 0.00 cash 5000.00");
    world.refuse("paul", rejection(&world, "d1"), "role_missing");
    world.ok("boris", rejection(&world, "d1"));
    assert_eq!(stage(&world, "d1"), "rejected");
    assert_eq!(books(&world), "free 5000.00 obligated 0.00 accrued 0.00 paid 0.00 cash 5000.00");
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 0.00 0.00 0.00");
    world.refuse("boris", world.approval("d1"), "wrong_stage");
    world.refuse("paul", release(&world, "d1"), "wrong_stage");
    // So is the obligation.
    request(&world, world.request("d2", "c1", "grant", "5000.00"));
    assert_eq!(
        statement(&world, "north", "c1"),
        ["d1 requested 5000.00", "d1 rejected 5000.00", "d2 requested 5000.00"]
    );
    prove(&world);
}

#[test]
fn mistakes_of_the_bank_s_reports_are_reversed_step_by_step() {
    let world = town("5000.00");
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    world.ok("boris", world.approval("d1"));
    let due = books(&world);
    world.ok("paul", release(&world, "d1"));
    let released = books(&world);
    world.ok("rita", confirmation(&world, "d1"));
    let paid = books(&world);
    world.refuse("rita", reversal(&world, "d1"), "role_missing");

    let undone = reversal(&world, "d1");
    world.ok("dora", undone.clone());
    assert_eq!((stage(&world, "d1"), books(&world)), ("released".to_owned(), released.clone()));
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 0.00 5000.00 0.00");
    world.refuse("dora", undone, "nothing_to_reverse");
    // It was on its way after all.
    world.ok("rita", confirmation(&world, "d1"));
    assert_eq!((stage(&world, "d1"), books(&world)), ("paid".to_owned(), paid));
    world.ok("rita", returned(&world, "d1", "0.00"));
    assert_eq!(books(&world), due);
    world.ok("paul", release(&world, "d1"));
    world.ok("dora", reversal(&world, "d1"));
    assert_eq!((stage(&world, "d1"), books(&world)), ("due".to_owned(), due));
    world.ok("paul", release(&world, "d1"));
    assert_eq!(books(&world), released);
    prove(&world);
}

#[test]
fn what_nobody_acts_on_lapses_by_itself() {
    let world = World::with(policy(), quick());
    furnish(&world, "20000.00");
    world.case("c2", "north", true);
    let expiring = |disbursement: &str, case: &str, in_s: u64| {
        let expires = world.clock.now().plus(in_s).unwrap();
        request(&world, Request { expires, ..world.request(disbursement, case, "grant", "5000.00") });
    };
    expiring("d1", "c1", 3600);
    expiring("d2", "c2", 3600);
    world.ok("boris", world.approval("d2"));
    assert_eq!(
        books(&world),
        "free 15000.00 (held 5000.00) obligated 0.00 accrued 5000.00 paid 0.00 cash 20000.00"
    );
    let approval = world.approval("d1");
    world.clock.advance(3590);
    assert_eq!((stage(&world, "d1"), stage(&world, "d2")), ("requested".to_owned(), "due".to_owned()));

    world.clock.advance(60);
    wait_for("the lapse", || stage(&world, "d1") == "lapsed" && stage(&world, "d2") == "lapsed");
    assert_eq!(books(&world), "free 20000.00 obligated 0.00 accrued 0.00 paid 0.00 cash 20000.00");
    assert_eq!(sums(&world, "north", "c1"), "0.00 0.00 0.00 0.00 0.00");
    assert_eq!(statement(&world, "north", "c1"), ["d1 requested 5000.00", "d1 lapsed 5000.00"]);
    assert_eq!(
        statement(&world, "north", "c2"),
        ["d2 requested 5000.00", "d2 due 5000.00", "d2 lapsed 5000.00"]
    );
    world.refuse("boris", approval, "wrong_stage");
    // The benefit can be asked for again.
    expiring("d3", "c1", 3600);
    prove(&world);
}

#[test]
fn whoever_acts_too_late_finds_the_lapse_logged() {
    // Here nothing comes by itself for an hour.
    let world = World::with(policy(), Settings { tick: Duration::from_secs(3600), ..Settings::default() });
    furnish(&world, "5000.00");
    let expires = world.clock.now().plus(600).unwrap();
    request(&world, Request { expires, ..world.request("d1", "c1", "grant", "5000.00") });
    let approval = world.approval("d1");
    world.clock.advance(700);
    assert_eq!(stage(&world, "d1"), "requested");
    world.refuse("boris", approval, "wrong_stage");
    assert_eq!(stage(&world, "d1"), "lapsed");
    assert_eq!(books(&world), "free 5000.00 obligated 0.00 accrued 0.00 paid 0.00 cash 5000.00");
    prove(&world);
}
