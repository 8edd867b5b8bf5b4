//! Financial statements, added up from the entries and held against the balances that replay came to.
//!
//! Nothing here is typed in: a statement is the movements of the accounts of a class of the chart (`docs/chart.md`), by
//! fund and currency, over the entries that are effective before a period and within it. What must be equal between them
//! and to the books is a [`Tie`], with both sides and their difference.
//!
//! | statement | after |
//! |---|---|
//! | position, performance | IPSAS 1 |
//! | cash by bank account | IPSAS 2, by the direct method |
//! | budget and actual amounts | IPSAS 24 |
//! | commitments, contingent assets and liabilities | IPSAS 19 |

mod banks;
mod books;
mod page;

use std::collections::BTreeMap;

use ledger::currency::Currency;
use ledger::id::{AssetId, FundId};
use ledger::sum::Sum;
use ledger::time::Date;
use programme::Key;
use programme::State;
use programme::entity::{Entity, FundState};
use programme::stage::Stage;
use records::Payload;
use records::assets::FundKind;
use records::cases::ScreeningOutcome;
use serde::Serialize;

pub use banks::{BankLine, BankStatement};
use books::{Accounts, Change};

use crate::observe::{Observer, Replayed};
use crate::report::{decimal, digits};

/// The days of a report, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first day; from the log's beginning where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// The last day; to the log's end where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Date>,
}

impl Period {
    /// Whether a day is before it, within it, or after it.
    fn phase(self, day: Date) -> Phase {
        if self.from.is_some_and(|from| day < from) {
            Phase::Before
        } else if self.to.is_some_and(|to| day > to) {
            Phase::After
        } else {
            Phase::Within
        }
    }

    /// Whether a day is within it.
    pub fn holds(self, day: Date) -> bool {
        self.phase(day) == Phase::Within
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Within,
    After,
}

/// All statements of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statements {
    /// Cash, by bank account.
    pub banks: Vec<BankStatement>,
    /// Benefits that cleared cases could still request, at the log's end: a contingent liability of the programme.
    pub claimable: Vec<Claimable>,
    /// Every fund, by id.
    pub funds: Vec<FundStatements>,
}

impl Statements {
    /// Every tie of every statement.
    pub fn ties(&self) -> impl Iterator<Item = &Tie> {
        let funds = self.funds.iter().flat_map(|fund| &fund.ties);
        funds.chain(self.banks.iter().map(|bank| &bank.tie))
    }

    /// Whether every tie holds.
    pub fn tie(&self) -> bool {
        self.ties().all(|tie| tie.difference.is_zero())
    }
}

/// The statements of a fund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FundStatements {
    /// The asset from which the fund's money comes.
    pub asset: AssetId,
    /// The currency.
    pub currency: Currency,
    /// The fund.
    pub fund: FundId,
    /// Fiduciary or spendable.
    pub kind: FundKind,
    /// Position, performance, budget, commitments; one that has nothing to say is left out.
    pub statements: Vec<Statement>,
    /// What must be equal.
    pub ties: Vec<Tie>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Its lines, in order.
    pub lines: Vec<StatementLine>,
    /// What it is.
    pub title: &'static str,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementLine {
    /// The account, or the class of accounts; a sum of others has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Up to the period's beginning.
    #[serde(serialize_with = "digits")]
    pub before: Sum,
    /// At the period's end.
    #[serde(serialize_with = "digits")]
    pub end: Sum,
    /// What it is.
    pub name: String,
    /// In the period.
    #[serde(serialize_with = "digits")]
    pub period: Sum,
}

/// Two ways to one amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tie {
    /// Left less right: zero, or something is wrong.
    #[serde(serialize_with = "digits")]
    pub difference: Sum,
    /// The left side.
    #[serde(serialize_with = "digits")]
    pub left: Sum,
    /// The right side.
    #[serde(serialize_with = "digits")]
    pub right: Sum,
    /// What must be equal.
    pub states: &'static str,
}

impl Tie {
    fn new(states: &'static str, currency: Currency, left: i128, right: i128) -> Tie {
        let sum = |minor| Sum::of_minor(minor, currency);
        Tie { difference: sum(left - right), left: sum(left), right: sum(right), states }
    }
}

/// What cleared cases could still request in a currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claimable {
    /// The amounts and ceilings of their offers.
    #[serde(serialize_with = "digits")]
    pub amount: Sum,
    /// How many benefits.
    #[serde(serialize_with = "decimal")]
    pub benefits: u64,
    /// The currency.
    pub currency: Currency,
}

/// Gathers the movements of a log.
#[derive(Debug)]
pub(crate) struct Ledgers {
    period: Period,
    accounts: Accounts,
    found: Option<Statements>,
}

impl Ledgers {
    /// Of the entries that are effective before a period and within it.
    pub fn new(period: Period) -> Ledgers {
        Ledgers { period, accounts: Accounts::default(), found: None }
    }

    /// The statements, once the log's end was seen.
    pub fn statements(self) -> Option<Statements> {
        self.found
    }
}

impl Observer for Ledgers {
    fn record(&mut self, replayed: &Replayed<'_>) {
        if let Payload::JournalEntry(entry) = replayed.record.payload() {
            let phase = self.period.phase(entry.effective);
            entry.lines.iter().for_each(|line| self.accounts.post(line, phase));
        }
    }

    fn end(&mut self, state: &State) {
        let balances = books::Balances::of(state);
        let open = open_amounts(state);
        let mut funds = BTreeMap::new();
        for (key, entity) in state.entities() {
            if let (Key::Fund(id), Entity::Fund(fund)) = (key, entity) {
                let open = open.get(id).copied().unwrap_or_default();
                funds.insert(id, statements_of(id, fund, &self.accounts, &balances, open));
            }
        }
        self.found = Some(Statements {
            banks: banks::statements(&self.accounts, &balances),
            claimable: claimable(state),
            funds: funds.into_values().collect(),
        });
    }
}

/// What the disbursements of a fund come to at the log's end, by stage.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    requested: i128,
    obligated: i128,
    due: i128,
    released: i128,
}

fn open_amounts(state: &State) -> BTreeMap<FundId, Open> {
    let mut funds: BTreeMap<FundId, Open> = BTreeMap::new();
    for (_, entity) in state.entities() {
        let Entity::Disbursement(disbursement) = entity else { continue };
        let open = funds.entry(disbursement.fund.clone()).or_default();
        let asked = i128::from(disbursement.amount.minor());
        match &disbursement.stage {
            Stage::Requested { .. } => open.requested += asked,
            Stage::Obligated { .. } => open.obligated += asked,
            Stage::Due(owed) => open.due += i128::from(owed.payable.minor()),
            Stage::Released(sent) => open.released += i128::from(sent.owed.payable.minor()),
            Stage::Paid(_) | Stage::Ended(_) => {}
        }
    }
    funds
}

/// What cleared cases could still request. Of a case only this sum is told.
fn claimable(state: &State) -> Vec<Claimable> {
    let mut sums: BTreeMap<Currency, (u64, i128)> = BTreeMap::new();
    for (key, entity) in state.entities() {
        let (Key::Case(id), Entity::Case(case)) = (key, entity) else { continue };
        if case.screening != Some(ScreeningOutcome::Cleared) {
            continue;
        }
        let offer = Key::OfferVersion(case.opening.offer.offer.clone(), case.opening.offer.version.0);
        let Some(offer) = state.get::<programme::entity::OfferVersionState>(&offer) else { continue };
        for benefit in &offer.benefits {
            let obligation = Key::Obligation(id.clone(), benefit.benefit.clone(), 1);
            if state.get::<programme::entity::ObligationState>(&obligation).is_none() {
                let most = benefit.kind.money();
                let (count, sum) = sums.entry(most.currency()).or_default();
                *count += 1;
                *sum += i128::from(most.minor());
            }
        }
    }
    let of = |(currency, (benefits, minor))| Claimable {
        amount: Sum::of_minor(minor, currency),
        benefits,
        currency,
    };
    sums.into_iter().map(of).collect()
}

/// A statement while it is made.
struct Draft<'a> {
    fund: books::FundAccounts<'a>,
    currency: Currency,
    lines: Vec<StatementLine>,
}

impl Draft<'_> {
    fn push(&mut self, account: Option<String>, name: impl Into<String>, change: Change) {
        let sum = |minor| Sum::of_minor(minor, self.currency);
        self.lines.push(StatementLine {
            account,
            before: sum(change.before),
            end: sum(change.end()),
            name: name.into(),
            period: sum(change.period),
        });
    }

    /// A line for each account or class of these codes that moved, and their sum.
    fn accounts(&mut self, codes: std::ops::RangeInclusive<u16>) -> Change {
        for (class, name, change) in self.fund.classes(codes.clone()) {
            self.push(Some(class), name, change);
        }
        self.fund.sum(codes)
    }

    fn take(&mut self, title: &'static str) -> Statement {
        Statement { lines: std::mem::take(&mut self.lines), title }
    }
}

fn statements_of(
    id: &FundId,
    state: &FundState,
    accounts: &Accounts,
    balances: &books::Balances,
    open: Open,
) -> FundStatements {
    let currency = state.currency;
    let fund = accounts.of(id, currency);
    let is_spendable = state.kind == FundKind::Spendable;
    let mut draft = Draft { fund, currency, lines: vec![] };
    let one = |code: u16| fund.sum(code..=code);

    let assets = draft.accounts(1100..=1399);
    draft.push(None, "assets", assets);
    let liabilities = draft.accounts(2100..=2699);
    draft.push(None, "liabilities", liabilities);
    let brought = draft.accounts(3100..=3199);
    let surplus = fund.sum(4100..=4199).less(fund.sum(5100..=5199)).less(one(6100));
    draft.push(None, "surplus of all periods", surplus);
    let net = brought.plus(surplus);
    draft.push(None, "net assets", net);
    draft.push(None, "liabilities and net assets", liabilities.plus(net));
    let mut statements = vec![draft.take("Statement of financial position")];

    if is_spendable {
        let revenue = draft.accounts(4100..=4199);
        draft.push(None, "revenue", revenue);
        let expenses = draft.accounts(5100..=5199);
        draft.push(None, "expenses", expenses);
        draft.push(None, "surplus", revenue.less(expenses));
        statements.push(draft.take("Statement of financial performance"));

        let given = draft.accounts(7100..=7199).plus(draft.accounts(7900..=7900));
        draft.push(None, "budget", given);
        let used = draft.accounts(7500..=7500).plus(draft.accounts(7400..=7400));
        draft.push(None, "actual: paid, and due", used);
        draft.push(None, "budget less actual", given.less(used));
        draft.accounts(7200..=7300);
        statements.push(draft.take("Comparison of budget and actual amounts"));
    }
    let requested = fund.held(7210);
    if is_spendable {
        draft.push(Some("7210".to_owned()), "commitments: requested, held until approved", requested);
        draft.push(Some("7300".to_owned()), "commitments: approved, not delivered", one(7300));
    }
    let contingent = draft.accounts(8100..=8299);
    draft.push(None, "contingent assets: frozen or retained by others", contingent);
    statements.push(draft.take("Commitments and contingent assets"));

    let tie = |states, left: i128, right: i128| Tie::new(states, currency, left, right);
    let end = |code: u16| one(code).end();
    let (moved, differing) = fund.against(balances);
    let mut ties = vec![
        tie("assets = liabilities + net assets", assets.end(), liabilities.plus(net).end()),
        tie(
            "net assets before the period + surplus of the period = assets less liabilities at its end",
            assets.less(liabilities).before + net.period,
            assets.less(liabilities).end(),
        ),
        tie("what is frozen or retained by others = the memo's other side", contingent.end(), end(8900)),
        tie(
            "movements of all accounts to the log's end = the balances that replay came to",
            moved,
            moved - differing,
        ),
    ];
    if is_spendable {
        let used = end(7400) + end(7500);
        ties.extend([
            tie(
                "resources + shortfall = unallotted + available + obligated + accrued + paid (P1)",
                end(7100) + end(7900),
                fund.sum(7200..=7210).end() + end(7300) + used,
            ),
            tie("accrued in the budget = payables + outstanding in the position (P2)", end(7400), {
                end(2100) + end(2200)
            }),
            tie(
                "accrued + paid in the budget = expenses + resources that are not revenue + receivables (IPSAS 24)",
                used,
                fund.sum(5100..=5199).end() + end(7100) - fund.sum(4100..=4199).end() - end(3100) + end(1200),
            ),
            tie(
                "held of available at the log's end = disbursements that are requested",
                fund.held(7210).whole(),
                open.requested,
            ),
            tie(
                "obligated at the log's end = disbursements that are approved and not delivered",
                one(7300).whole(),
                open.obligated,
            ),
            tie("payables at the log's end = disbursements that are due", one(2100).whole(), open.due),
            tie(
                "outstanding at the log's end = disbursements that are released",
                one(2200).whole(),
                open.released,
            ),
        ]);
    }
    FundStatements {
        asset: state.asset.clone(),
        currency,
        fund: id.clone(),
        kind: state.kind,
        statements,
        ties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::books::{Balance, BalanceKey};
    use ledger::entry::{Action, Line};
    use ledger::money::Money;
    use programme::entity::Stored as _;

    fn usd(minor: i64) -> Money {
        Money::from_minor(minor, Currency::USD).unwrap()
    }

    /// A fund `f` to which these lines were posted, and a state in which its accounts have these balances.
    fn stated(lines: &[(&str, Action, i64)], balances: &[(&str, i64)]) -> Statements {
        let mut ledgers = Ledgers::new(Period::default());
        for (account, action, minor) in lines {
            let (account, fund) = (account.parse().unwrap(), "f".parse().unwrap());
            let line = Line { account, fund, money: usd(*minor), action: action.clone() };
            ledgers.accounts.post(&line, Phase::Within);
        }
        let mut state = State::complete();
        let fund =
            FundState { asset: "a".parse().unwrap(), currency: Currency::USD, kind: FundKind::Spendable };
        state.load(Key::Fund("f".parse().unwrap()), Some(fund.into_entity()));
        for (account, minor) in balances {
            let (account, fund) = (account.parse().unwrap(), "f".parse().unwrap());
            let key = BalanceKey { account, fund, currency: Currency::USD };
            let balance = Balance { amount: usd(*minor), held: usd(0) };
            state.load(Key::from(key), Some(balance.into_entity()));
        }
        ledgers.end(&state);
        ledgers.statements().unwrap()
    }

    const RECEIVED: [(&str, Action, i64); 4] = [
        ("1100/b", Action::Debit, 100),
        ("4101", Action::Credit, 100),
        ("7100", Action::Debit, 100),
        ("7210/m", Action::Credit, 100),
    ];
    const BALANCES: [(&str, i64); 4] = [("1100/b", 100), ("4101", 100), ("7100", 100), ("7210/m", 100)];

    #[track_caller]
    fn does_not_tie(statements: &Statements, which: &str) {
        let failing: Vec<&Tie> = statements.ties().filter(|tie| !tie.difference.is_zero()).collect();
        assert!(failing.iter().any(|tie| tie.states.contains(which)), "{failing:?}");
        assert!(!statements.tie());
        let mut page = crate::page::Page::new("");
        statements.write(&mut page, Period::default());
        assert!(page.to_string().contains("DOES NOT TIE"), "{page}");
    }

    #[test]
    fn what_does_not_tie_is_said() {
        assert!(stated(&RECEIVED, &BALANCES).tie());
        // A balance that no entry made, one that is another, one that is missing.
        let more = [&BALANCES[..], &[("2200/bank/b", 5)]].concat();
        does_not_tie(&stated(&RECEIVED, &more), "balances that replay came to");
        let other = [&[("1100/b", 99)], &BALANCES[1..]].concat();
        does_not_tie(&stated(&RECEIVED, &other), "balances that replay came to");
        does_not_tie(&stated(&RECEIVED, &other), "cash less overdrawn");
        does_not_tie(&stated(&RECEIVED, &BALANCES[1..]), "balances that replay came to");
        // Lines that no entry may have.
        let spent =
            |account| [&RECEIVED[..], &[(account, Action::Debit, 1), ("1100/b", Action::Credit, 1)]].concat();
        does_not_tie(&stated(&spent("7500"), &[]), "assets = liabilities + net assets");
        does_not_tie(&stated(&spent("5101"), &[]), "IPSAS 24");
        does_not_tie(
            &stated(&[("7210/m", Action::Hold("h".parse().unwrap()), 1)], &[]),
            "that are requested",
        );
        does_not_tie(&stated(&[("2200/bank/b", Action::Credit, 1)], &[]), "that are released");
    }
}
