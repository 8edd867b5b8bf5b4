//! A ledger for tests: posts lines as entries, keeps them, and demands the proofs of every fund after each.

use ledger::account::{Account, Side};
use ledger::books::{BalanceKey, Books, PostError};
use ledger::currency::Currency;
use ledger::entry::{Entry, Line};
use ledger::id::{EntryId, FundId};
use ledger::journal::{Free, Place};
use ledger::proofs::{FundKind, prove_fund};

pub const USD: Currency = Currency::USD;

/// Parses any id of the crate.
pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn place(fund: &str) -> Place {
    Place { fund: id(fund), bank: id("usd-main"), allotment: id("main") }
}

/// By convention of these tests: `h…` is fiduciary, `unallocated` says it.
fn kind(fund: &FundId) -> FundKind {
    match fund.as_str() {
        "unallocated" => FundKind::Unallocated,
        name if name.starts_with('h') => FundKind::Fiduciary,
        _ => FundKind::Spendable,
    }
}

#[derive(Clone, Default)]
pub struct Ledger {
    pub books: Books,
    pub entries: Vec<Entry>,
}

impl Ledger {
    pub fn entry(&self, lines: Vec<Line>) -> Entry {
        let index = u32::try_from(self.entries.len()).unwrap();
        Entry {
            id: EntryId { digest: [7; 32], index },
            effective: "2030-01-02".parse().unwrap(),
            lines,
            reverses: None,
        }
    }

    pub fn post(&mut self, lines: Vec<Line>) -> Result<(), PostError> {
        self.post_entry(self.entry(lines))
    }

    pub fn post_entry(&mut self, entry: Entry) -> Result<(), PostError> {
        let posted = self.books.check(&entry)?;
        let alone = ledger::books::post(&entry, |key| self.books.balance(key)).unwrap();
        assert_eq!(alone, posted.balances());
        let mut other_order = entry.clone();
        other_order.lines.reverse();
        assert_eq!(ledger::books::post(&other_order, |key| self.books.balance(key)).unwrap(), alone);
        self.books.apply(posted);
        self.entries.push(entry);
        self.assert_proven();
        Ok(())
    }

    pub fn assert_proven(&self) {
        let mut funds: Vec<_> = self.books.balances().map(|(key, _)| &key.fund).collect();
        funds.sort();
        funds.dedup();
        for fund in funds {
            let proof = prove_fund(
                fund,
                kind(fund),
                USD,
                self.books.balances().map(|(key, b)| (key, b.amount.into())),
            );
            assert!(proof.holds(), "{fund} after {:#?}: {proof:#?}", self.entries.last());
            assert!(proof.equations().iter().all(|(_, e)| e.difference().is_zero()));
        }
        // Per bank: what all funds have there, less overdrawn, is the statement's balance; here only that it is the
        // proprietary plane's other side, since the whole plane is nothing.
        let signed = |(key, balance): (&BalanceKey, &ledger::books::Balance)| match key.account.normal_side()
        {
            Side::Debit => balance.amount.minor(),
            Side::Credit => -balance.amount.minor(),
        };
        assert_eq!(self.books.balances().map(signed).sum::<i64>(), 0);
    }

    pub fn amount(&self, fund: &str, account: &str) -> i64 {
        self.books.balance(&self.key(fund, account)).amount.minor()
    }

    pub fn key(&self, fund: &str, account: &str) -> BalanceKey {
        BalanceKey { account: account.parse::<Account>().unwrap(), fund: id(fund), currency: USD }
    }

    /// Sum over accounts whose code lies in the range.
    pub fn sum(&self, fund: &str, codes: std::ops::RangeInclusive<u16>) -> i64 {
        let of = |key: &BalanceKey| key.fund.as_str() == fund && codes.contains(&key.account.code());
        self.books.balances().filter(|(key, _)| of(key)).map(|(_, balance)| balance.amount.minor()).sum()
    }

    pub fn free(&self, place: &Place) -> Free {
        Free::at(place, USD, |key| self.books.balance(key)).unwrap()
    }
}
