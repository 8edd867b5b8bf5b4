//! Amounts that are none, or not possible here.

use ledger::time::Timestamp;
use records::assets::{Custody, Forfeiture, Share};
use records::disbursements::Request;
use records::{Body, Kind};
use tests::people::Person;
use tests::world::{World, evidence, id, usd};

use super::{accepted, payload_of, refused, refuses, signed, traceless, with};

const DAY_S: i64 = 24 * 3600;

fn custody(world: &World, amount: &str) -> Body {
    Body::Custody(Custody {
        amount: usd(amount),
        bank: id("b1"),
        evidence: evidence(),
        fund: id("h1"),
        value_date: world.clock.now().date(),
    })
}

#[test]
fn an_amount_is_exact_positive_and_held_here() {
    let world = World::new();
    world.fund("100.00");
    let rita = Person::new("rita");
    let good = payload_of(world.header(&rita), custody(&world, "7.00"));
    let invalid = "payload_invalid";
    for (amount, currency, code, says) in [
        ("0.00", "USD", "amount_not_positive", "above zero"),
        ("-7.00", "USD", "amount_not_positive", "above zero"),
        ("-0.00", "USD", invalid, "number"),
        ("7", "USD", invalid, "2 decimals"),
        ("7.0", "USD", invalid, "2 decimals"),
        ("7.000", "USD", invalid, "no more than 2 decimals"),
        ("1.5", "JPY", invalid, "no more than 0 decimals"),
        ("1.0", "JPY", invalid, "no more than 0 decimals"),
        ("07.00", "USD", invalid, "number"),
        ("+7.00", "USD", invalid, "number"),
        ("7,00", "USD", invalid, "number"),
        ("1,000.00", "USD", invalid, "number"),
        ("7.0e1", "USD", invalid, "number"),
        (".50", "USD", invalid, "number"),
        ("7.", "USD", invalid, "number"),
        (" 7.00", "USD", invalid, "number"),
        ("", "USD", invalid, "number"),
        ("NaN", "USD", invalid, "number"),
        ("\u{0667}.00", "USD", invalid, "number"),
        ("1000000000000000.00", "USD", invalid, "too large"),
        ("99999999999999999999999999999.00", "USD", invalid, "too large"),
        ("7.00", "ZZZ", invalid, "currency"),
        ("7.00", "us", invalid, "currency"),
        // Known, and not held by this ledger; held, and not by this fund.
        ("7.00", "CHF", "currency_mismatch", "the ledger does not hold it"),
        ("7.00", "EUR", "currency_mismatch", "not that of the fund"),
    ] {
        let to = format!(r#"{{"amount":"{amount}","currency":"{currency}"}}"#);
        let payload = with(&good, r#"{"amount":"7.00","currency":"USD"}"#, &to);
        refused(&world, &signed(&rita, Kind::Custody.payload_type(), payload), code, says);
    }
    accepted(&world, &signed(&rita, Kind::Custody.payload_type(), good));
    // What the ledger already holds and this are too much together.
    refuses(&world, "rita", custody(&world, "999999999999999.99"), "amount_too_large", "can hold");
}

#[test]
fn a_request_is_for_what_is_offered() {
    let world = World::new();
    world.fund("200000.00");
    world.offer();
    world.case("c1", "north", true);
    let request = |benefit: &str, amount: &str| Body::Request(world.request("d1", "c1", benefit, amount));
    for (benefit, amount, code, says) in [
        ("grant", "0.00", "amount_not_positive", "above zero"),
        ("grant", "-5000.00", "amount_not_positive", "above zero"),
        ("grant", "4999.99", "amount_not_offered", "5,000.00"),
        ("grant", "5000.01", "amount_not_offered", "exactly a cash benefit's amount"),
        ("trip", "6000.01", "amount_not_offered", "at most an in-kind"),
        ("prize", "5000.00", "benefit_unknown", "no such benefit"),
    ] {
        refuses(&world, "anna", request(benefit, amount), code, says);
    }
    let now = world.clock.now();
    let until = |ahead_s: i64| Request {
        expires: Timestamp::from_unix(now.unix() + ahead_s).unwrap(),
        ..world.request("d1", "c1", "grant", "5000.00")
    };
    for ahead_s in [-1, 90 * DAY_S + 60, 3650 * DAY_S] {
        refuses(&world, "anna", Body::Request(until(ahead_s)), "expiry_invalid", "within the policy's limit");
    }
    let Body::Custody(mut custody) = custody(&world, "1.00") else { panic!("it is custody") };
    custody.value_date = Timestamp::from_unix(now.unix() + 33 * DAY_S).unwrap().date();
    refuses(&world, "rita", Body::Custody(custody), "value_date_invalid", "more than 31 days ahead");
    let split = |cost: &str| {
        let costs = vec![Share { amount: usd(cost), body: id("court") }];
        Body::Forfeiture(Forfeiture {
            bank: id("b1"),
            claims: vec![],
            costs,
            fund: id("h1"),
            gross: usd("50.00"),
            instrument: evidence(),
            to_bank: id("b1"),
            to_fund: id("f1"),
            value_date: world.clock.now().date(),
        })
    };
    refuses(&world, "rita", split("50.01"), "amounts_do_not_add_up", "parts exceed the whole");
    refuses(&world, "rita", split("-1.00"), "amount_not_positive", "above zero");
    traceless(&world, || world.refuse("rita", split("0.00"), "amount_not_positive"));
    world.ok("anna", request("grant", "5000.00"));
}
