//! What happens, as lines: one function for each row of the table of postings, named for the row.
//!
//! A **wish** (request, approval, release, transfer) takes only what is free, and the books refuse it otherwise. A
//! **fact** (a line of the bank, a court's order, a fraud found) is never refused for want of money: the row takes
//! what is [`Free`] and splits. What is missing of available goes to shortfall, what is missing of cash to overdrawn,
//! and the next receipt repays overdrawn first. A line of nothing is left out, so what a row does not touch is absent.
//!
//! The rows keep the proofs of [`crate::proofs`], each by itself. The rows in a foreign currency are not here yet:
//! they come with the rates.

mod assets;
mod facts;
mod payments;

pub use assets::*;
pub use facts::*;
pub use payments::*;

use crate::account::Account;
use crate::books::{Balance, BalanceKey};
use crate::currency::Currency;
use crate::entry::{Action, Line};
use crate::id::{AllotmentId, AssetId, BankId, FundId, HoldId};
use crate::money::{Money, MoneyError};

/// Where a spendable fund keeps its cash and its authority to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The fund.
    pub fund: FundId,
    /// The bank account.
    pub bank: BankId,
    /// The allotment.
    pub allotment: AllotmentId,
}

/// Where a fiduciary fund keeps an asset's cash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The fiduciary fund.
    pub fund: FundId,
    /// The bank account.
    pub bank: BankId,
    /// The asset.
    pub asset: AssetId,
}

/// What a fact finds at a place: balances less holds, and what is overdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Of the allotment.
    pub available: Money,
    /// Of the fund's cash at the bank.
    pub cash: Money,
    /// What the fund has overdrawn at the bank.
    pub overdrawn: Money,
}

impl Free {
    /// Reads it from balances, with the same `get` as [`crate::books::post`].
    pub fn at(
        place: &Place,
        currency: Currency,
        get: impl Fn(&BalanceKey) -> Balance,
    ) -> Result<Self, MoneyError> {
        let free = |account| get(&BalanceKey { account, fund: place.fund.clone(), currency }).free();
        Ok(Self {
            available: free(Account::Available(place.allotment.clone()))?,
            cash: free(Account::Cash(place.bank.clone()))?,
            overdrawn: free(Account::Overdrawn(place.bank.clone()))?,
        })
    }
}

/// Whether what is corrected was booked in a year that is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Year {
    /// The year of the first booking is open.
    Open,
    /// It is closed, and its income, expense and paid are gone.
    Closed,
}

/// The lines of one fund, in the order in which they are written.
struct Rows<'a> {
    fund: &'a FundId,
    lines: Vec<Line>,
}

impl<'a> Rows<'a> {
    fn of(fund: &'a FundId) -> Self {
        Self { fund, lines: Vec::new() }
    }

    fn line(mut self, account: Account, money: Money, action: Action) -> Self {
        if !money.is_zero() {
            self.lines.push(Line { account, fund: self.fund.clone(), money, action });
        }
        self
    }

    fn dr(self, account: Account, money: Money) -> Self {
        self.line(account, money, Action::Debit)
    }

    fn cr(self, account: Account, money: Money) -> Self {
        self.line(account, money, Action::Credit)
    }

    /// `debit -> credit money` of the table.
    fn both(self, debit: Account, credit: Account, money: Money) -> Self {
        self.dr(debit, money).cr(credit, money)
    }

    fn hold(self, account: Account, hold: &HoldId, money: Money) -> Self {
        self.line(account, money, Action::Hold(hold.clone()))
    }

    fn post_hold(self, account: Account, hold: &HoldId, money: Money) -> Self {
        self.line(account, money, Action::PostHold(hold.clone()))
    }

    fn void_hold(self, account: Account, hold: &HoldId, money: Money) -> Self {
        self.line(account, money, Action::VoidHold(hold.clone()))
    }

    /// A receipt: repays what is overdrawn, the rest is cash.
    fn cash_in(self, bank: &BankId, overdrawn: Money, money: Money) -> Result<Self, MoneyError> {
        let (repaid, rest) = split(money, overdrawn)?;
        Ok(self.dr(Account::Overdrawn(bank.clone()), repaid).dr(Account::Cash(bank.clone()), rest))
    }

    /// A fact takes cash: what is free, the rest is overdrawn.
    fn cash_out(self, bank: &BankId, free: Money, money: Money) -> Result<Self, MoneyError> {
        let (taken, rest) = split(money, free)?;
        Ok(self.cr(Account::Cash(bank.clone()), taken).cr(Account::Overdrawn(bank.clone()), rest))
    }

    /// A fact takes from available, the rest is shortfall; all of it goes to `credit`.
    fn take(
        self,
        allotment: &AllotmentId,
        free: Money,
        credit: Account,
        money: Money,
    ) -> Result<Self, MoneyError> {
        let (taken, rest) = split(money, free)?;
        Ok(self
            .dr(Account::Available(allotment.clone()), taken)
            .dr(Account::Shortfall, rest)
            .cr(credit, money))
    }

    fn done(self) -> Vec<Line> {
        self.lines
    }
}

/// What `limit` covers of `money`, and the rest.
fn split(money: Money, limit: Money) -> Result<(Money, Money), MoneyError> {
    let covered = if limit.is_negative() { Money::zero(money.currency()) } else { money.min(limit)? };
    Ok((covered, money.checked_sub(covered)?))
}
