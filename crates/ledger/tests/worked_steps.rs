//! The worked steps 01 to 12 and 27 to 32: every cell of their tables, what is refused on the way, and the proofs after
//! every entry.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Ledger, id, place};
use ledger::account::{Account, Payable, Via};
use ledger::books::PostError;
use ledger::entry::{EntryError, Line};
use ledger::journal::{self, Custody, Forfeiture, ReturnOrder, Year};
use ledger::money::Money;

/// Amounts on each account's normal side; `free` is available less held.
const F1: &str = "
| F1 | resources | free | held | obligated | accrued | paid | cash | payable | outstanding | income | expense |
|03|9,000,000|9,000,000|0|0|0|0|9,000,000|0|0|9,000,000|0|
|05|9,000,000|8,900,000|100,000|0|0|0|9,000,000|0|0|9,000,000|0|
|06|9,000,000|8,900,000|0|0|100,000|0|9,000,000|100,000|0|9,000,000|100,000|
|07|9,000,000|8,900,000|0|0|100,000|0|9,000,000|0|100,000|9,000,000|100,000|
|08|9,000,000|8,899,965|0|0|0|100,035|8,899,965|0|0|9,000,000|100,035|
|09|9,000,000|8,899,940|0|0|100,000|60|8,999,940|100,000|0|9,000,000|100,060|
|10|9,000,000|8,899,940|0|0|0|100,060|8,899,940|0|0|9,000,000|100,060|
|11|9,000,000|8,893,940|0|6,000|0|100,060|8,899,940|0|0|9,000,000|100,060|
|12|9,000,000|8,894,527.70|0|0|0|105,472.30|8,894,527.70|0|0|9,000,000|105,472.30|";

const H1: &str = "
| H1 | memo restrained | custody-cash | owner-claim | payables |
|01|10,000,000|0|0|0|
|02|0|10,012,500|10,012,500|0|
|03|0|1,012,500|0|1,012,500|
|04|0|0|0|0|";

const F3: &str = "
| F3 | resources | free | held | obligated | accrued | paid | shortfall | cash | payable | income | expense | net assets |
|27|1,000,000|250,000|50,000|100,000|0|600,000|0|400,000|0|1,000,000|600,000|0|
|28|1,000,000|0|0|100,000|1,020,000|600,000|720,000|400,000|1,020,000|1,000,000|1,620,000|0|
|29|1,000,000|0|0|100,000|720,000|900,000|720,000|100,000|720,000|1,000,000|1,620,000|0|
|30|1,720,000|0|0|100,000|720,000|900,000|0|820,000|720,000|1,720,000|1,620,000|0|
|31|1,720,000|0|0|100,000|0|1,620,000|0|100,000|0|1,720,000|1,620,000|0|
|32|100,000|0|0|100,000|0|0|0|100,000|0|0|0|100,000|";

/// What each of these accounts has, to be compared cell by cell. Accounts that a table does not show are listed too:
/// they must be zero where the table has no column for them.
fn cell(ledger: &Ledger, fund: &str, column: &str) -> i64 {
    match column {
        "resources" => ledger.sum(fund, 7100..=7100),
        "free" => ledger.sum(fund, 7210..=7210) - held(ledger, fund),
        "held" => held(ledger, fund),
        "obligated" => ledger.sum(fund, 7300..=7300),
        "accrued" => ledger.sum(fund, 7400..=7400),
        "paid" => ledger.sum(fund, 7500..=7500),
        "shortfall" => ledger.sum(fund, 7900..=7900),
        "cash" => ledger.sum(fund, 1100..=1100),
        "payable" | "payables" => ledger.sum(fund, 2100..=2100),
        "outstanding" => ledger.sum(fund, 2200..=2200),
        "income" => ledger.sum(fund, 4100..=4199),
        "expense" => ledger.sum(fund, 5100..=5199),
        "net assets" => ledger.sum(fund, 3100..=3100),
        "memo restrained" => ledger.sum(fund, 8100..=8100),
        "custody-cash" => ledger.sum(fund, 1150..=1150),
        "owner-claim" => ledger.sum(fund, 2300..=2300),
        other => panic!("no column {other}"),
    }
}

/// What is held of the fund's allotments.
fn held(ledger: &Ledger, fund: &str) -> i64 {
    let available = |account: &Account| matches!(account, Account::Available(_));
    let of_fund = ledger.books.balances().filter(|(key, _)| key.fund.as_str() == fund);
    of_fund.filter(|(key, _)| available(&key.account)).map(|(_, balance)| balance.held.minor()).sum()
}

/// Columns that a spendable fund's table may leave out when they are zero.
const SPENDABLE: [&str; 13] = [
    "resources",
    "free",
    "held",
    "obligated",
    "accrued",
    "paid",
    "shortfall",
    "cash",
    "payable",
    "outstanding",
    "income",
    "expense",
    "net assets",
];

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

fn check_tables(ledger: &Ledger, step: &str) -> usize {
    let mut checked = 0;
    for (table, fund) in [(F1, "f1"), (H1, "h1"), (F3, "f3")] {
        let mut rows = table.trim().lines().map(cells);
        let head = rows.next().unwrap();
        let Some(row) = rows.find(|row| row[0] == step) else { continue };
        assert_eq!(row.len(), head.len(), "{fund} {step}");
        for (column, text) in head.iter().zip(&row).skip(1) {
            let got = cell(ledger, fund, column);
            assert_eq!(got, usd(text).minor(), "{fund} {column} after step {step}");
            checked += 1;
        }
        if fund.starts_with('f') {
            for column in SPENDABLE.iter().filter(|column| !head.contains(column)) {
                assert_eq!(cell(ledger, fund, column), 0, "{fund} {column} after step {step}");
            }
        }
    }
    checked
}

/// An amount as the tables write it.
fn usd(text: &str) -> Money {
    let plain = text.replace(',', "");
    let plain = if plain.contains('.') { plain } else { plain + ".00" };
    Money::parse(&plain, common::USD).unwrap()
}

fn custody(fund: &str, asset: &str) -> Custody {
    Custody { fund: id(fund), bank: id("usd-custody"), asset: id(asset) }
}

fn payable(disbursement: &str) -> Payable {
    Payable::Disbursement(id(disbursement))
}

fn via() -> Via {
    Via::Bank(id("usd-main"))
}

fn request(fund: &str, hold: &str, amount: &str) -> Vec<Line> {
    journal::request(&id(fund), &id("main"), &id(hold), usd(amount))
}

/// A request, its approval and, for what is due, everything up to the bank's confirmation.
fn settle(ledger: &mut Ledger, fund: &str, payable: &Payable, hold: &str, amount: &str) {
    ledger.post(journal::released(&id(fund), payable, &via(), &id(hold), usd(amount))).unwrap();
    ledger.post(journal::bank_confirms(&id(fund), &via(), &id(hold), usd(amount))).unwrap();
}

fn forfeit(ledger: &mut Ledger, h: &Custody, f: &str, costs: &str, lien: &str, net: &str) {
    let (costs, claims) = ([(id("treasury"), usd(costs))], [(id("lender"), usd(lien))]);
    let shares = Forfeiture { costs: &costs, claims: &claims, net: usd(net) };
    let place = place(f);
    let free = ledger.free(&place);
    ledger.post(journal::final_forfeiture(h, &place, &free, shares).unwrap()).unwrap();
}

fn step(ledger: &mut Ledger, step: &str) {
    let (h1, h3) = (custody("h1", "a1"), custody("h3", "a3"));
    let (f1, f3) = (place("f1"), place("f3"));
    let main = id("main");
    let d1 = payable("d1");
    match step {
        "01" => ledger.post(journal::restrained(&h1.fund, &h1.asset, usd("10,000,000"))).unwrap(),
        "02" => {
            let amount = usd("10,000,000");
            ledger.post(journal::taken_into_custody(&h1, amount, amount)).unwrap();
            ledger.post(journal::custody_interest(&h1, usd("12,500"))).unwrap();
        }
        "03" => forfeit(ledger, &h1, "f1", "212,500", "800,000", "9,000,000"),
        "04" => {
            ledger.post(journal::claim_paid(&h1, &Payable::Cost(id("treasury")), usd("212,500"))).unwrap();
            ledger.post(journal::claim_paid(&h1, &Payable::Claimant(id("lender")), usd("800,000"))).unwrap();
        }
        "05" => ledger.post(request("f1", "d1.fund", "100,000")).unwrap(),
        "06" => {
            let amount = usd("100,000");
            let hold = id("d1.fund");
            ledger.post(journal::approved_and_due(&f1.fund, &main, &hold, &d1, amount, amount)).unwrap();
        }
        "07" => {
            let lines = journal::released(&f1.fund, &d1, &via(), &id("d1.cash"), usd("100,000"));
            ledger.post(lines).unwrap();
        }
        "08" => {
            ledger.post(journal::bank_confirms(&f1.fund, &via(), &id("d1.cash"), usd("100,000"))).unwrap();
            let free = ledger.free(&f1);
            ledger.post(journal::bank_fee(&f1, &free, usd("35")).unwrap()).unwrap();
        }
        "09" => {
            let free = ledger.free(&f1);
            let (received, kept) = (usd("99,975"), usd("25"));
            let lines = journal::returned_after_booking(&f1, &free, &d1, received, kept, Year::Open);
            ledger.post(lines.unwrap()).unwrap();
        }
        "10" => settle(ledger, "f1", &d1, "d1.cash-2", "100,000"),
        "11" => {
            let ceiling = usd("6,000");
            ledger.post(request("f1", "d2.fund", "6,000")).unwrap();
            ledger.post(journal::approved(&f1.fund, &main, &id("d2.fund"), ceiling, ceiling)).unwrap();
        }
        "12" => {
            let d2 = payable("d2");
            ledger.post(journal::due(&f1.fund, &main, &d2, usd("5,412.30"), usd("587.70"))).unwrap();
            settle(ledger, "f1", &d2, "d2.cash", "5,412.30");
        }
        "27" => {
            ledger.post(journal::taken_into_custody(&h3, usd("1,000,000"), usd("0"))).unwrap();
            forfeit(ledger, &h3, "f3", "0", "0", "1,000,000");
            let (d7, all) = (payable("d7"), usd("700,000"));
            ledger.post(request("f3", "d7.fund", "700,000")).unwrap();
            ledger.post(journal::approved(&f3.fund, &main, &id("d7.fund"), all, all)).unwrap();
            ledger.post(journal::due(&f3.fund, &main, &d7, usd("600,000"), usd("0"))).unwrap();
            settle(ledger, "f3", &d7, "d7.cash", "600,000");
            ledger.post(request("f3", "d8.fund", "50,000")).unwrap();
        }
        "28" => {
            let requested = [(main.clone(), id("d8.fund"), usd("50,000"))];
            let order = ReturnOrder {
                asset: &h3.asset,
                principal: usd("1,000,000"),
                interest: usd("20,000"),
                requested: &requested,
                free: &[(main, ledger.free(&f3).available)],
            };
            ledger.post(journal::court_orders_return(&f3.fund, order).unwrap()).unwrap();
        }
        "29" => settle(ledger, "f3", &Payable::Owner(h3.asset), "a3.cash", "300,000"),
        "30" => {
            let free = ledger.free(&f3);
            let lines = journal::replaced_by_another_fund(&f1, &f3, &free, usd("720,000"));
            ledger.post(lines.unwrap()).unwrap();
        }
        "31" => settle(ledger, "f3", &Payable::Owner(h3.asset), "a3.cash-2", "720,000"),
        "32" => {
            for fund in [&f1.fund, &f3.fund] {
                let lines = journal::year_close(fund, common::USD, ledger.books.balances()).unwrap();
                ledger.post(lines).unwrap();
            }
        }
        other => panic!("no step {other}"),
    }
}

const STEPS: [&str; 18] = [
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "27", "28", "29", "30", "31",
    "32",
];

/// The ledger after a step.
fn after(last: &str) -> Ledger {
    let mut ledger = Ledger::default();
    for name in STEPS {
        step(&mut ledger, name);
        if name == last {
            break;
        }
    }
    ledger
}

/// The refusal of a request for more than is free.
fn refused(ledger: &mut Ledger, fund: &str, amount: &str, free: &str) {
    let before = ledger.books.clone();
    let key = ledger.key(fund, "7210/main");
    let error = ledger.post(request(fund, "too-much", amount)).unwrap_err();
    assert_eq!(error, PostError::LimitBroken { key, free: usd(free), needed: usd(amount) });
    assert_eq!(ledger.books, before);
}

#[test]
fn every_cell_of_the_tables() {
    let mut ledger = Ledger::default();
    let mut checked = 0;
    for name in STEPS {
        step(&mut ledger, name);
        checked += check_tables(&ledger, name);
    }
    assert_eq!(checked, 9 * 11 + 4 * 4 + 6 * 12);

    let mut replayed = ledger::books::Books::new();
    for entry in &ledger.entries {
        let posted = replayed.check(entry).unwrap();
        replayed.apply(posted);
    }
    assert_eq!(replayed, ledger.books);
    assert_eq!(ledger.books.open_holds().count(), 0);
}

#[test]
fn nothing_can_be_requested_of_what_is_not_forfeited() {
    refused(&mut after("01"), "f1", "0.01", "0");
    refused(&mut after("02"), "f1", "0.01", "0");
}

#[test]
fn nothing_can_be_requested_beyond_what_is_free() {
    let mut ledger = after("05");
    refused(&mut ledger, "f1", "8,900,000.01", "8,900,000");
    ledger.post(request("f1", "all", "8,900,000")).unwrap();
}

#[test]
fn nothing_is_released_twice() {
    let mut ledger = after("07");
    let (d1, amount) = (payable("d1"), usd("100,000"));
    let again = |hold| journal::released(&id("f1"), &d1, &via(), &id(hold), amount);
    assert_eq!(ledger.post(again("d1.cash")), Err(PostError::HoldReused(id("d1.cash"))));
    let key = ledger.key("f1", "2100/disbursement/d1");
    let error = PostError::LimitBroken { key, free: usd("0"), needed: amount };
    assert_eq!(ledger.post(again("d1.cash-2")), Err(error));
}

#[test]
fn a_fund_under_a_court_order_takes_no_request() {
    for name in ["28", "29"] {
        refused(&mut after(name), "f3", "0.01", "0");
    }
}

#[test]
fn a_year_is_closed_once() {
    let mut ledger = after("32");
    for fund in ["f1", "f3"] {
        let lines = journal::year_close(&id(fund), common::USD, ledger.books.balances()).unwrap();
        assert_eq!(ledger.post(lines), Err(PostError::Invalid(EntryError::Empty)));
    }
}

#[test]
fn a_fee_is_a_fact_when_nothing_is_free() {
    let mut ledger = after("28");
    let f3 = place("f3");
    let free = ledger.free(&f3);
    assert!(free.available.is_zero());
    ledger.post(journal::bank_fee(&f3, &free, usd("35")).unwrap()).unwrap();
    assert_eq!(cell(&ledger, "f3", "shortfall"), usd("720,035").minor());
    assert_eq!(cell(&ledger, "f3", "paid"), usd("600,035").minor());
    refused(&mut ledger, "f3", "0.01", "0");
}

#[test]
fn a_fee_without_cash_overdraws_and_the_next_receipt_repays() {
    let mut ledger = Ledger::default();
    let f3 = place("f3");
    let free = ledger.free(&f3);
    ledger.post(journal::bank_fee(&f3, &free, usd("35")).unwrap()).unwrap();
    assert_eq!(ledger.amount("f3", "7900"), 3500);
    assert_eq!(ledger.amount("f3", "2600/usd-main"), 3500);
    let free = ledger.free(&f3);
    ledger.post(journal::windfall_income(&f3, &free, usd("100")).unwrap()).unwrap();
    assert_eq!(ledger.amount("f3", "2600/usd-main"), 0);
    assert_eq!(ledger.amount("f3", "1100/usd-main"), 6500);
}

#[test]
fn a_receipt_that_nobody_can_place_changes_no_fund() {
    let mut ledger = after("12");
    let before = ledger.books.clone();
    let lines = journal::unidentified_receipt(&id("unallocated"), &id("usd-main"), usd("0"), usd("77"));
    ledger.post(lines.unwrap()).unwrap();
    assert_eq!(ledger.amount("unallocated", "2500/usd-main"), 7700);
    let others = ledger.books.balances().filter(|(key, _)| key.fund.as_str() != "unallocated");
    assert!(others.eq(before.balances()));
}

#[test]
fn a_receipt_that_is_identified_leaves_suspense() {
    let mut ledger = after("12");
    let (unallocated, bank, f1) = (id("unallocated"), id("usd-main"), place("f1"));
    let receipt = journal::unidentified_receipt(&unallocated, &bank, usd("0"), usd("77")).unwrap();
    ledger.post(receipt).unwrap();
    let mut lines = journal::identified(&unallocated, &bank, usd("77"), usd("77")).unwrap();
    lines.extend(journal::windfall_income(&f1, &ledger.free(&f1), usd("77")).unwrap());
    ledger.post(lines).unwrap();
    assert_eq!(ledger.amount("unallocated", "2500/usd-main"), 0);
    assert_eq!(ledger.amount("f1", "4102"), 7700);
}

#[test]
fn what_was_paid_without_resources_is_not_closed() {
    let mut ledger = Ledger::default();
    let f3 = place("f3");
    let free = ledger.free(&f3);
    ledger.post(journal::bank_fee(&f3, &free, usd("35")).unwrap()).unwrap();
    let lines = journal::year_close(&f3.fund, common::USD, ledger.books.balances()).unwrap();
    ledger.post(lines).unwrap();
    assert_eq!(cell(&ledger, "f3", "net assets"), -3500);
    assert_eq!(cell(&ledger, "f3", "paid"), 3500);
    assert_eq!(cell(&ledger, "f3", "shortfall"), 3500);
}
