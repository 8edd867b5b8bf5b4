//! Movements of accounts, by fund, currency and class of account: what statements are added up from.
//!
//! A class is an account of the chart, or all accounts of one kind of creditor or debtor: payables are as many as
//! disbursements, and their classes are few.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ledger::account::{Account, Advance, Payable, Receivable, Side};
use ledger::books::Balance;
use ledger::currency::Currency;
use ledger::entry::{Action, Line};
use ledger::id::FundId;
use programme::State;

use super::Phase;

/// What changed before a period, within it and after it, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub before: i128,
    pub period: i128,
    pub after: i128,
}

impl Change {
    /// At the period's end.
    pub fn end(self) -> i128 {
        self.before + self.period
    }

    /// At the log's end.
    pub fn whole(self) -> i128 {
        self.before + self.period + self.after
    }

    pub fn plus(self, other: Change) -> Change {
        Change {
            before: self.before + other.before,
            period: self.period + other.period,
            after: self.after + other.after,
        }
    }

    pub fn less(self, other: Change) -> Change {
        let Change { before, period, after } = other;
        self.plus(Change { before: -before, period: -period, after: -after })
    }

    fn add(&mut self, phase: Phase, minor: i128) {
        match phase {
            Phase::Before => self.before += minor,
            Phase::Within => self.period += minor,
            Phase::After => self.after += minor,
        }
    }
}

/// The movements of a class of accounts.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub code: u16,
    pub name: String,
    side: Side,
    pub debits: Change,
    pub credits: Change,
    pub held: Change,
}

impl Class {
    /// On the normal side.
    pub fn net(&self) -> Change {
        match self.side {
            Side::Debit => self.debits.less(self.credits),
            Side::Credit => self.credits.less(self.debits),
        }
    }
}

type Key = (FundId, Currency);

/// The movements of all classes.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<Key, BTreeMap<String, Class>>);

impl Accounts {
    pub fn post(&mut self, line: &Line, phase: Phase) {
        let (class, account) = (class_of(&line.account), &line.account);
        let classes = self.0.entry((line.fund.clone(), line.money.currency())).or_default();
        let class = classes.entry(class).or_insert_with(|| Class {
            code: account.code(),
            name: name_of(account),
            side: account.normal_side(),
            debits: Change::default(),
            credits: Change::default(),
            held: Change::default(),
        });
        let minor = i128::from(line.money.minor());
        match line.action {
            Action::Debit => class.debits.add(phase, minor),
            Action::Credit => class.credits.add(phase, minor),
            Action::Hold(_) => class.held.add(phase, minor),
            Action::PostHold(_) | Action::VoidHold(_) => class.held.add(phase, -minor),
        }
    }

    /// One fund's.
    pub fn of(&self, fund: &FundId, currency: Currency) -> FundAccounts<'_> {
        FundAccounts { fund: self.0.get_key_value(&(fund.clone(), currency)) }
    }

    /// Every class of every fund.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &String, &Class)> {
        self.0.iter().flat_map(|(key, classes)| classes.iter().map(move |(class, moved)| (key, class, moved)))
    }
}

/// The movements of one fund's classes; of none where nothing was posted.
#[derive(Debug, Clone, Copy)]
pub(super) struct FundAccounts<'a> {
    fund: Option<(&'a Key, &'a BTreeMap<String, Class>)>,
}

impl<'a> FundAccounts<'a> {
    fn iter(self) -> impl Iterator<Item = (&'a String, &'a Class)> {
        self.fund.into_iter().flat_map(|(_, classes)| classes)
    }

    /// What moved on the classes of these codes, each on its normal side, with its name.
    pub fn classes(self, codes: RangeInclusive<u16>) -> Vec<(String, String, Change)> {
        let of = self.iter().filter(|(_, class)| codes.contains(&class.code));
        of.map(|(text, class)| (text.clone(), class.name.clone(), class.net())).collect()
    }

    /// The sum of these codes, each on its normal side.
    pub fn sum(self, codes: RangeInclusive<u16>) -> Change {
        let of = self.iter().filter(|(_, class)| codes.contains(&class.code));
        of.fold(Change::default(), |sum, (_, class)| sum.plus(class.net()))
    }

    /// What is held of a code.
    pub fn held(self, code: u16) -> Change {
        let of = self.iter().filter(|(_, class)| class.code == code);
        of.fold(Change::default(), |sum, (_, class)| sum.plus(class.held))
    }

    /// All that the movements come to at the log's end, and by how much the balances that replay came to differ from it,
    /// class by class, both without signs.
    pub fn against(self, balances: &Balances) -> (i128, i128) {
        let Some((key, classes)) = self.fund else { return (0, 0) };
        let none = BTreeMap::new();
        let real = balances.0.get(key).unwrap_or(&none);
        let (mut moved, mut differing) = (0, 0);
        for (text, class) in classes {
            let (amount, held) = real.get(text).copied().unwrap_or_default();
            moved += class.net().whole().abs();
            differing += (class.net().whole() - amount).abs() + (class.held.whole() - held).abs();
        }
        let unmoved = real.iter().filter(|(text, _)| !classes.contains_key(*text));
        (moved, differing + unmoved.map(|(_, (amount, held))| amount.abs() + held.abs()).sum::<i128>())
    }
}

/// The balances of a state by class: the amount on the normal side and what is held of it, in minor units.
#[derive(Debug, Default)]
pub(super) struct Balances(BTreeMap<Key, BTreeMap<String, (i128, i128)>>);

impl Balances {
    pub fn of(state: &State) -> Balances {
        let mut balances = Balances::default();
        for (key, Balance { amount, held }) in state.balances() {
            let classes = balances.0.entry((key.fund.clone(), key.currency)).or_default();
            let sums = classes.entry(class_of(&key.account)).or_default();
            sums.0 += i128::from(amount.minor());
            sums.1 += i128::from(held.minor());
        }
        balances
    }

    /// The amount of a class.
    pub fn amount(&self, key: &Key, class: &str) -> i128 {
        self.0.get(key).and_then(|classes| classes.get(class)).map_or(0, |(amount, _)| *amount)
    }
}

/// The text of an account's class. It begins with the code, so that classes sort by it.
fn class_of(account: &Account) -> String {
    match account {
        Account::Payable(_) | Account::Receivable(_) | Account::Advance(_) => {
            let text = account.to_string();
            text.rsplit_once('/').map_or(text.clone(), |(class, _)| class.to_owned())
        }
        Account::OwnerClaim(_) | Account::Available(_) => account.code().to_string(),
        Account::Restrained(_) | Account::Retained(_) => account.code().to_string(),
        _ => account.to_string(),
    }
}

fn name_of(account: &Account) -> String {
    let name = match account {
        Account::Payable(Payable::Disbursement(_)) => "payables on disbursements",
        Account::Payable(Payable::Vendor(_)) => "payables to vendors",
        Account::Payable(Payable::Owner(_)) => "payables to owners",
        Account::Payable(Payable::Claimant(_)) => "payables to claimants",
        Account::Payable(Payable::Cost(_)) => "payables for costs",
        Account::Payable(Payable::OtherBody(_)) => "payables to other bodies",
        Account::Receivable(Receivable::Disbursement(_)) => "receivables on disbursements",
        Account::Receivable(Receivable::Vendor(_)) => "receivables from vendors",
        Account::Receivable(Receivable::Depository(_)) => "receivables from depositories",
        Account::Receivable(Receivable::AssetCosts(_)) => "receivables for costs of assets",
        Account::Advance(Advance::Agent(_)) => "floats of agents",
        Account::Advance(Advance::Vendor(_)) => "prepayments to vendors",
        Account::Advance(Advance::Imprest(_)) => "imprests",
        Account::OwnerClaim(_) => "owners' claims in custody",
        Account::Available(_) => "available",
        Account::Obligated => "obligated: approved, not yet due",
        Account::Accrued => "accrued: due, not yet settled",
        Account::Restrained(_) => "restrained at others",
        Account::Retained(_) => "retained by others",
        _ => return account.name(),
    };
    name.to_owned()
}
