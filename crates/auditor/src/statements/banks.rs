//! Cash by bank account, over all funds: what a bank's own statement is compared with.

use std::collections::BTreeMap;

use ledger::account::{Account, Side, Via};
use ledger::currency::Currency;
use ledger::id::{BankId, FundId};
use ledger::sum::Sum;
use serde::Serialize;

use super::Tie;
use super::books::{Accounts, Balances, Change};
use crate::report::digits;

/// The cash of a bank account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BankStatement {
    /// The account.
    pub bank: BankId,
    /// Its currency.
    pub currency: Currency,
    /// Each fund's part.
    pub lines: Vec<BankLine>,
    /// To the balances that replay came to.
    pub tie: Tie,
    /// All parts together.
    pub total: BankLine,
}

/// A fund's cash at a bank. Cash is 1100 and 1150 less what is overdrawn, 2600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BankLine {
    /// At the period's beginning.
    #[serde(serialize_with = "digits")]
    pub before: Sum,
    /// At the period's end.
    #[serde(serialize_with = "digits")]
    pub end: Sum,
    /// Whose; none for all funds together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund: Option<FundId>,
    /// What went out in the period, with what was booked back by reversals of receipts.
    #[serde(serialize_with = "digits")]
    pub payments: Sum,
    /// What came in in the period, with what was booked back by reversals of payments.
    #[serde(serialize_with = "digits")]
    pub receipts: Sum,
    /// Released and not booked by the bank at the period's end: it is still part of `end`.
    #[serde(serialize_with = "digits")]
    pub underway: Sum,
}

/// What moved, in minor units.
#[derive(Debug, Default)]
struct Moved {
    debits: Change,
    credits: Change,
    underway: Change,
    real: i128,
}

pub(super) fn statements(accounts: &Accounts, balances: &Balances) -> Vec<BankStatement> {
    let mut banks: BTreeMap<(BankId, Currency), BTreeMap<FundId, Moved>> = BTreeMap::new();
    for (key, text, class) in accounts.all() {
        // The classes that are asked for here are single accounts.
        let Ok(account) = text.parse::<Account>() else { continue };
        let bank = match &account {
            Account::Cash(bank) | Account::CustodyCash(bank) | Account::Overdrawn(bank) => bank,
            Account::Outstanding(Via::Bank(bank)) => bank,
            _ => continue,
        };
        let funds = banks.entry((bank.clone(), key.1)).or_default();
        let moved = funds.entry(key.0.clone()).or_default();
        if matches!(account, Account::Outstanding(_)) {
            moved.underway = moved.underway.plus(class.net());
            continue;
        }
        moved.debits = moved.debits.plus(class.debits);
        moved.credits = moved.credits.plus(class.credits);
        let real = balances.amount(key, text);
        moved.real += if account.normal_side() == Side::Debit { real } else { -real };
    }
    banks.into_iter().map(|((bank, currency), funds)| statement(bank, currency, funds)).collect()
}

fn statement(bank: BankId, currency: Currency, funds: BTreeMap<FundId, Moved>) -> BankStatement {
    let sum = |minor| Sum::of_minor(minor, currency);
    let line = |fund: Option<FundId>, moved: &Moved| {
        let net = moved.debits.less(moved.credits);
        BankLine {
            before: sum(net.before),
            end: sum(net.end()),
            fund,
            payments: sum(moved.credits.period),
            receipts: sum(moved.debits.period),
            underway: sum(moved.underway.end()),
        }
    };
    let all = funds.values().fold(Moved::default(), |all, moved| Moved {
        debits: all.debits.plus(moved.debits),
        credits: all.credits.plus(moved.credits),
        underway: all.underway.plus(moved.underway),
        real: all.real + moved.real,
    });
    let whole = all.debits.less(all.credits).whole();
    let states = "receipts less payments to the log's end = cash less overdrawn that replay came to";
    BankStatement {
        bank,
        currency,
        tie: Tie::new(states, currency, whole, all.real),
        total: line(None, &all),
        lines: funds.into_iter().map(|(fund, moved)| line(Some(fund), &moved)).collect(),
    }
}
