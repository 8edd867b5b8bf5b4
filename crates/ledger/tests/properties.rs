//! Random sequences of the journal's rows: the proofs hold after each, facts are never refused, wishes are refused
//! only by a limit, a hold is resolved once, and replay from nothing gives the same books.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Ledger, USD, id, place};
use ledger::account::{Account, Advance, Payable, Receivable, Via};
use ledger::books::{Balance, BalanceKey, Books, OpenHold, PostError};
use ledger::entry::{Action, Entry, Line};
use ledger::id::{EntryId, HoldId};
use ledger::journal::{self, Custody, Forfeiture, Free, Place, ReturnOrder, Year};
use ledger::money::Money;
use proptest::prelude::*;

/// One row to try: which, in which fund, on which of the things that fit, and for how much.
#[derive(Clone, Copy, Debug)]
struct Op {
    row: u8,
    first_fund: bool,
    pick: u16,
    amount: i64,
}

/// Payments come more often than the rest, and small amounts as often as large, so that a payment gets to its end.
fn op() -> impl Strategy<Value = Op> {
    let row = prop_oneof![2 => 14..30u8, 1 => 0..ROWS];
    let amount = prop_oneof![1..2_000i64, 1..100_000i64];
    (row, any::<bool>(), any::<u16>(), amount).prop_map(|(row, first_fund, pick, amount)| Op {
        row,
        first_fund,
        pick,
        amount,
    })
}

const ROWS: u8 = 42;

/// May limits refuse it?
enum Row {
    Wish(Vec<Line>),
    Fact(Vec<Line>),
    /// Nothing fits, so there is nothing to try.
    Nothing,
}
use Row::{Fact, Nothing, Wish};

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, USD).unwrap()
}

struct Random {
    ledger: Ledger,
    holds: u32,
}

impl Random {
    fn new_hold(&mut self) -> HoldId {
        self.holds += 1;
        id(&format!("h.{}", self.holds))
    }

    /// The accounts of a fund that have something free, and how much.
    fn having<T>(&self, fund: &str, only: impl Fn(&Account) -> Option<T>) -> Vec<(T, i64)> {
        let of = |(key, balance): (&BalanceKey, &Balance)| {
            let free = balance.free().unwrap().minor();
            let fits = key.fund.as_str() == fund && free > 0;
            fits.then(|| only(&key.account)).flatten().map(|what| (what, free))
        };
        self.ledger.books.balances().filter_map(of).collect()
    }

    fn payables(&self, fund: &str) -> Vec<(Payable, i64)> {
        self.having(fund, |account| match account {
            Account::Payable(payable) => Some(payable.clone()),
            _ => None,
        })
    }

    fn receivables(&self, fund: &str) -> Vec<(Receivable, i64)> {
        self.having(fund, |account| match account {
            Account::Receivable(receivable) => Some(receivable.clone()),
            _ => None,
        })
    }

    fn open_holds(&self, fund: &str, code: u16) -> Vec<(HoldId, OpenHold)> {
        let fits = |hold: &OpenHold| hold.key().fund.as_str() == fund && hold.key().account.code() == code;
        let holds = self.ledger.books.open_holds().filter(|(_, hold)| fits(hold));
        holds.map(|(id, hold)| (id.clone(), hold.clone())).collect()
    }

    fn row(&mut self, op: Op) -> Row {
        let (f, h, other) = if op.first_fund { ("f1", "h1", "f2") } else { ("f2", "h2", "f1") };
        let here = place(f);
        let free = self.ledger.free(&here);
        if op.row < 14 {
            self.asset_row(op, h, &here, &free).unwrap_or(Nothing)
        } else if op.row < 30 {
            self.payment_row(op, &here, &free).unwrap_or(Nothing)
        } else {
            self.other_row(op, &here, &free, other).unwrap_or(Nothing)
        }
    }

    fn asset_row(&mut self, op: Op, h: &str, here: &Place, free: &Free) -> Option<Row> {
        let custody = Custody { fund: id(h), bank: id("usd-custody"), asset: id(&format!("a-{h}")) };
        let amount = usd(op.amount);
        let body = id(&format!("b{}", op.pick % 2));
        let up_to = |most: i64| usd(op.amount.min(most));
        let memo = |account: &str| self.ledger.amount(h, &format!("{account}/a-{h}"));
        Some(match op.row {
            0 => Fact(journal::restrained(&custody.fund, &custody.asset, amount)),
            1 => Fact(journal::taken_into_custody(&custody, amount, up_to(memo("8100")))),
            2 => Fact(journal::custody_interest(&custody, amount)),
            3 => Fact(journal::sold_before_forfeiture(&custody, amount)),
            4 | 5 => {
                let claim = self.ledger.amount(h, &format!("2300/a-{h}"));
                let cost = claim / i64::from(op.pick % 5 + 2);
                let costs = [(body, usd(cost))];
                let claims = [(id("c"), usd(cost / 3))];
                let shares = Forfeiture { costs: &costs, claims: &claims, net: usd(claim - cost - cost / 3) };
                Fact(journal::final_forfeiture(&custody, here, free, shares).unwrap())
            }
            6 => {
                let (payable, owed) = pick(op, self.payables(h))?;
                Fact(journal::claim_paid(&custody, &payable, up_to(owed)))
            }
            7 => Fact(journal::windfall_income(here, free, amount).unwrap()),
            8 => Fact(journal::windfall_of_other_body(&custody, &body, amount)),
            9 => Fact(journal::windfall_retained(&custody.fund, &custody.asset, amount)),
            10 => {
                Fact(journal::windfall_no_longer_retained(&custody.fund, &custody.asset, up_to(memo("8200"))))
            }
            11 => Fact(journal::interest_income(here, free, amount).unwrap()),
            12 => Fact(journal::custody_cost(here, free, &custody.asset, &id("v1"), amount).unwrap()),
            13 => {
                let costs = self.ledger.amount(here.fund.as_str(), &format!("1200/asset-costs/a-{h}"));
                if op.pick.is_multiple_of(2) {
                    let repaid = up_to(costs);
                    Fact(journal::custody_cost_repaid(here, free, &custody.asset, repaid).unwrap())
                } else {
                    Fact(journal::custody_cost_borne(&here.fund, &custody.asset, up_to(costs)))
                }
            }
            other => panic!("no row {other}"),
        })
    }

    fn payment_row(&mut self, op: Op, here: &Place, free: &Free) -> Option<Row> {
        let Place { fund, bank, allotment } = here;
        let f = fund.as_str();
        let amount = usd(op.amount);
        let up_to = |most: i64| usd(op.amount.min(most));
        let of = |code: u16| self.ledger.sum(f, code..=code);
        let payee = Payable::Disbursement(id(&format!("d{}", op.pick % 7)));
        let via = if op.pick.is_multiple_of(3) { Via::Agent(id("v1")) } else { Via::Bank(bank.clone()) };
        let year = if op.pick.is_multiple_of(5) { Year::Closed } else { Year::Open };
        Some(match op.row {
            14 | 15 => Wish(journal::request(fund, allotment, &self.new_hold(), amount)),
            16 => {
                let (hold, open) = pick(op, self.open_holds(f, 7210))?;
                Fact(journal::hold_voided(fund, allotment, &hold, open.money()))
            }
            17 => {
                let (hold, open) = pick(op, self.open_holds(f, 7210))?;
                Fact(journal::approved(fund, allotment, &hold, open.money(), up_to(open.money().minor())))
            }
            18 => {
                let (hold, open) = pick(op, self.open_holds(f, 7210))?;
                let due = up_to(open.money().minor());
                Fact(journal::approved_and_due(fund, allotment, &hold, &payee, open.money(), due))
            }
            19 => {
                let used = up_to(of(7300));
                let unused = usd((of(7300) - used.minor()) / i64::from(op.pick % 3 + 1));
                Fact(journal::due(fund, allotment, &payee, used, unused))
            }
            20 | 21 => {
                let (payable, owed) = pick(op, self.payables(f))?;
                Wish(journal::released(fund, &payable, &via, &self.new_hold(), up_to(owed)))
            }
            22 | 23 => {
                let (hold, open, via) = self.sent(op, f)?;
                Fact(if op.row == 22 || op.pick.is_multiple_of(2) {
                    journal::bank_confirms(fund, &via, &hold, open.money())
                } else {
                    journal::rejected_before_booking(fund, &payee, &via, &hold, open.money())
                })
            }
            24 => {
                let whole = if year == Year::Closed { op.amount } else { op.amount.min(of(7500)) };
                let kept = whole / 10;
                let (received, kept) = (usd(whole - kept), usd(kept));
                Fact(journal::returned_after_booking(here, free, &payee, received, kept, year).unwrap())
            }
            25 => Fact(journal::obligation_ended(fund, allotment, up_to(of(7300)))),
            26 => {
                let (payable, owed) = pick(op, self.payables(f))?;
                Fact(journal::accrued_obligation_ended(fund, allotment, &payable, up_to(owed), year))
            }
            27 => {
                let advance = if op.pick.is_multiple_of(2) {
                    Advance::Agent(id("v1"))
                } else {
                    Advance::Vendor(id("v2"))
                };
                Wish(journal::prepayment(fund, bank, &advance, amount))
            }
            28 => {
                let advance = Advance::Vendor(id("v2"));
                let prepaid = self.ledger.amount(f, "1300/vendor/v2").min(of(7300));
                Fact(if op.pick.is_multiple_of(2) {
                    journal::prepaid_delivery(fund, &advance, up_to(prepaid))
                } else {
                    journal::prepayment_refunded(here, free, &advance, up_to(prepaid)).unwrap()
                })
            }
            29 => {
                let agents = |account: &Account| match account {
                    Account::Advance(Advance::Agent(agent)) => Some(agent.clone()),
                    _ => None,
                };
                let (agent, float) = pick(op, self.having(f, agents))?;
                Fact(journal::float_returned(here, free, &agent, up_to(float)).unwrap())
            }
            other => panic!("no row {other}"),
        })
    }

    /// A release that is on its way, and which way.
    fn sent(&self, op: Op, fund: &str) -> Option<(HoldId, OpenHold, Via)> {
        let mut sent = self.open_holds(fund, 1100);
        sent.extend(self.open_holds(fund, 1300));
        let (hold, open) = pick(op, sent)?;
        let via = match &open.key().account {
            Account::Cash(bank) => Via::Bank(bank.clone()),
            Account::Advance(Advance::Agent(agent)) => Via::Agent(agent.clone()),
            other => panic!("a release holds no money on {other}"),
        };
        // A reversal can put a hold back whose money is no longer on its way.
        let key = self.ledger.key(fund, &Account::Outstanding(via.clone()).to_string());
        let on_its_way = self.ledger.books.balance(&key).amount.minor() >= open.money().minor();
        on_its_way.then_some((hold, open, via))
    }

    fn other_row(&mut self, op: Op, here: &Place, free: &Free, other: &str) -> Option<Row> {
        let (fund, allotment) = (&here.fund, &here.allotment);
        let f = fund.as_str();
        let amount = usd(op.amount);
        let up_to = |most: i64| usd(op.amount.min(most));
        let there = place(other);
        let there_free = self.ledger.free(&there);
        let unallocated = place("unallocated");
        let unplaced = self.ledger.free(&unallocated);
        Some(match op.row {
            30 => Fact(journal::bank_fee(here, free, amount).unwrap()),
            31 => Fact(journal::goods_from_donated_stock(fund, amount)),
            32 => {
                let (payable, owed) = pick(op, self.payables(f))?;
                let obligated = up_to(self.ledger.amount(f, "7300"));
                Fact(journal::fraud_found_unsettled(fund, allotment, &payable, up_to(owed), obligated))
            }
            33 => {
                let receivable = Receivable::Disbursement(id(&format!("d{}", op.pick % 7)));
                Fact(journal::fraud_found_settled(fund, &receivable, amount))
            }
            34 => {
                let (receivable, owed) = pick(op, self.receivables(f))?;
                Fact(if op.pick.is_multiple_of(2) {
                    journal::recovered_in_cash(here, free, &receivable, up_to(owed)).unwrap()
                } else {
                    journal::written_off(fund, &receivable, up_to(owed))
                })
            }
            35 => {
                let (payable, owing) = pick(op, self.payables(f))?;
                let (receivable, owed) = pick(op, self.receivables(f))?;
                Fact(journal::recouped(fund, allotment, &payable, &receivable, up_to(owing.min(owed))))
            }
            36 => {
                let (payable, owing) = pick(op, self.payables(f))?;
                let (receivable, owed) = pick(op, self.receivables(other))?;
                let kept = up_to(owing.min(owed));
                Wish(
                    journal::recouped_between_funds(here, &payable, &there, &there_free, &receivable, kept)
                        .unwrap(),
                )
            }
            37 => {
                let holds = self.open_holds(f, 7210);
                let requested: Vec<_> =
                    holds.into_iter().map(|(hold, open)| (allotment.clone(), hold, open.money())).collect();
                let order = ReturnOrder {
                    asset: &id("a-returned"),
                    principal: amount,
                    interest: usd(op.amount / 50),
                    requested: &requested,
                    free: &[(allotment.clone(), free.available)],
                };
                Fact(journal::court_orders_return(fund, order).unwrap())
            }
            38 => {
                let replaced = up_to(self.ledger.amount(other, "7900"));
                Wish(journal::replaced_by_another_fund(here, &there, &there_free, replaced).unwrap())
            }
            39 => {
                let Place { fund, bank, .. } = &unallocated;
                Fact(match op.pick % 3 {
                    0 => journal::unidentified_receipt(fund, bank, unplaced.overdrawn, amount).unwrap(),
                    1 => journal::unidentified_debit(fund, bank, unplaced.cash, amount).unwrap(),
                    _ => {
                        let mut lines = journal::identified(fund, bank, unplaced.cash, amount).unwrap();
                        lines.extend(journal::windfall_income(here, free, amount).unwrap());
                        lines
                    }
                })
            }
            40 => Fact(journal::year_close(fund, USD, self.ledger.books.balances()).unwrap()),
            41 => {
                let held = self.new_hold();
                let via = Via::Bank(here.bank.clone());
                self.ledger.post(journal::release_held(fund, &via, &held, amount)).ok()?;
                let (payable, owed) = pick(op, self.payables(f)).unwrap_or((Payable::Vendor(id("v")), 0));
                if owed >= op.amount {
                    Fact(journal::release_sent(fund, &payable, &via, amount))
                } else {
                    Fact(journal::release_withdrawn(fund, &via, &held, amount))
                }
            }
            other => panic!("no row {other}"),
        })
    }

    fn try_row(&mut self, op: Op) {
        match self.row(op) {
            Nothing => {}
            Fact(lines) if lines.is_empty() => {}
            Fact(lines) => {
                let entry = self.ledger.entry(lines);
                self.ledger.post_entry(entry.clone()).unwrap_or_else(|e| panic!("{op:?}: {e}: {entry:#?}"));
            }
            Wish(lines) if lines.is_empty() => {}
            Wish(lines) => {
                let before = self.ledger.books.clone();
                match self.ledger.post(lines) {
                    Ok(()) => {}
                    Err(PostError::LimitBroken { free, needed, .. }) => {
                        assert!(!needed.at_most(free).unwrap());
                        assert_eq!(self.ledger.books, before);
                    }
                    Err(error) => panic!("{op:?}: {error}"),
                }
            }
        }
    }

    /// Undoes an entry, if nothing that came after stands in the way.
    fn try_reversal(&mut self, op: Op) {
        let Some(original) = pick(op, self.ledger.entries.clone()) else { return };
        let Entry { id, effective, .. } = self.ledger.entry(Vec::new());
        let reversal = original.reversal(id, effective).unwrap();
        reversal.validate().unwrap();
        if self.ledger.post_entry(reversal).is_ok() {
            let again = EntryId { digest: [9; 32], ..id };
            let again = original.reversal(again, effective).unwrap();
            assert_eq!(self.ledger.books.check(&again), Err(PostError::ReversedBefore(original.id)));
        }
    }
}

fn pick<T>(op: Op, mut from: Vec<T>) -> Option<T> {
    let count = from.len();
    (count > 0).then(|| from.swap_remove(usize::from(op.pick) % count))
}

fn assert_within_limits(books: &Books) {
    use ledger::account::Limit;
    for (key, balance) in books.balances() {
        assert!(!balance.held.is_negative());
        if key.account.limit() == Limit::NotBelowHeld {
            assert!(!balance.free().unwrap().is_negative(), "{key:?} {balance:?}");
        }
        let of_key = books.open_holds().filter(|(_, hold)| hold.key() == key);
        assert_eq!(balance.held.minor(), of_key.map(|(_, hold)| hold.money().minor()).sum::<i64>());
    }
}

fn assert_replays(ledger: &Ledger) {
    let mut books = Books::new();
    for entry in &ledger.entries {
        let posted = books.check(entry).unwrap();
        books.apply(posted);
    }
    assert_eq!(books, ledger.books);
}

fn assert_resolved_once(ledger: &Ledger) {
    for line in ledger.entries.iter().flat_map(|entry| &entry.lines) {
        if let Action::PostHold(hold) | Action::VoidHold(hold) = &line.action {
            let again = Line { action: Action::VoidHold(hold.clone()), ..line.clone() };
            let entry = ledger.entry(vec![again]);
            assert_eq!(ledger.books.check(&entry), Err(PostError::HoldNotOpen(hold.clone())));
        }
    }
}

fn run(ops: &[Op], reversals: bool) {
    let mut random = Random { ledger: Ledger::default(), holds: 0 };
    for first_fund in [true, false] {
        random.try_row(Op { row: 7, first_fund, pick: 0, amount: ops[0].amount * 10 });
    }
    for (i, &op) in ops.iter().enumerate() {
        if reversals && i % 6 == 5 {
            random.try_reversal(op)
        } else {
            random.try_row(op)
        }
        assert_within_limits(&random.ledger.books);
    }
    assert_replays(&random.ledger);
    assert_resolved_once(&random.ledger);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn rows_in_any_order(ops in proptest::collection::vec(op(), 1..160)) {
        run(&ops, false);
    }

    #[test]
    fn rows_and_reversals_in_any_order(ops in proptest::collection::vec(op(), 1..160)) {
        run(&ops, true);
    }

    #[test]
    fn text_never_panics_and_has_one_spelling(text in "[-0-9a-zT:Z/._]{0,30}|.{0,40}") {
        fn one<T: std::str::FromStr + std::fmt::Display>(text: &str) {
            if let Ok(value) = text.parse::<T>() {
                assert_eq!(value.to_string(), text);
            }
        }
        one::<Account>(&text);
        one::<HoldId>(&text);
        one::<EntryId>(&text);
        one::<ledger::time::Timestamp>(&text);
        one::<ledger::time::Date>(&text);
        one::<ledger::currency::Currency>(&text);
        for &currency in ledger::currency::Currency::EVERY {
            if let Ok(money) = Money::parse(&text, currency) {
                assert_eq!(money.digits(), text);
            }
        }
        let _ = serde_json::from_str::<Line>(&text);
    }

    #[test]
    fn amounts_survive_text_and_decimal(minor in any::<i64>(), pick in any::<prop::sample::Index>()) {
        let currency = *pick.get(ledger::currency::Currency::EVERY);
        if let Ok(money) = Money::from_minor(minor, currency) {
            prop_assert_eq!(Money::parse(&money.digits(), currency), Ok(money));
            prop_assert_eq!(Money::from_decimal(money.amount(), currency), Ok(money));
            prop_assert_eq!(money.neg().and_then(Money::neg), Ok(money));
        }
    }

    #[test]
    fn timestamps_survive_text(seconds in -62_135_596_800i64..=253_402_300_799) {
        let at = ledger::time::Timestamp::from_unix(seconds).unwrap();
        prop_assert_eq!(at.to_string().parse(), Ok(at));
        prop_assert!(at.date().start() <= at);
    }
}
