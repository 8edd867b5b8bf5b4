//! Balances, and whether they bear an entry. `post` is the rule, without any state; `Books` keeps balances, holds and
//! reversals in memory for whoever replays a whole ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::account::{Account, Limit};
use crate::currency::Currency;
use crate::entry::{Action, Entry, EntryError};
use crate::id::{EntryId, FundId, HoldId};
use crate::money::{Money, MoneyError};

/// What has a balance: an account of a fund in a currency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BalanceKey {
    /// The account.
    pub account: Account,
    /// The fund.
    pub fund: FundId,
    /// The currency.
    pub currency: Currency,
}

/// How much is on an account, and how much of it is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Balance {
    /// On the account's normal side.
    pub amount: Money,
    /// Reserved by open holds.
    pub held: Money,
}

impl Balance {
    /// Nothing, of which nothing is held.
    pub fn zero(currency: Currency) -> Self {
        Self { amount: Money::zero(currency), held: Money::zero(currency) }
    }

    /// Whether there is nothing on it, and nothing held.
    pub fn is_zero(&self) -> bool {
        self.amount.is_zero() && self.held.is_zero()
    }

    /// What is not reserved.
    pub fn free(&self) -> Result<Money, MoneyError> {
        self.amount.checked_sub(self.held)
    }
}

/// Why an entry is not posted, in the order in which it is checked; from `WrongCurrency` on, key by key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The entry is not well formed.
    #[error(transparent)]
    Invalid(#[from] EntryError),
    /// The entry that it undoes has been undone.
    #[error("entry {0} has been reversed already")]
    ReversedBefore(EntryId),
    /// It places a hold under an id that was used before.
    #[error("hold {0} was placed before")]
    HoldReused(HoldId),
    /// It resolves a hold that is not open.
    #[error("hold {0} is not open")]
    HoldNotOpen(HoldId),
    /// It resolves a hold that is on another account, or of another amount.
    #[error("hold {0} is not of this account and amount")]
    HoldDiffers(HoldId),
    /// A balance was given in another currency than its key's.
    #[error("{} of fund {} was given in another currency", .0.account, .0.fund)]
    WrongCurrency(BalanceKey),
    /// It resolves more than is held of the account.
    #[error("{} of fund {}: less is held than is resolved", .0.account, .0.fund)]
    NotHeld(BalanceKey),
    /// It takes more than is free.
    #[error("{} of fund {}: {} is free and {} is needed", key.account, key.fund, free.grouped(), needed.grouped())]
    LimitBroken {
        /// Of this,
        key: BalanceKey,
        /// this much was free,
        free: Money,
        /// and this much would be taken or held.
        needed: Money,
    },
    /// A balance would leave the bounds of money.
    #[error("a balance would leave the bounds of money")]
    Overflow,
}

/// The balances after the entry, sorted by key, one row for each key that it touches; or the first thing, in that
/// order, that they do not bear. `get` returns the present balance, zero if there is none.
///
/// Only the net effect on a key is judged, so the order of lines within the entry does not matter.
pub fn post(
    entry: &Entry,
    get: impl Fn(&BalanceKey) -> Balance,
) -> Result<Vec<(BalanceKey, Balance)>, PostError> {
    entry.validate()?;
    let mut changes: BTreeMap<BalanceKey, (i128, i128)> = BTreeMap::new();
    for line in &entry.lines {
        let key = BalanceKey {
            account: line.account.clone(),
            fund: line.fund.clone(),
            currency: line.money.currency(),
        };
        // 4096 amounts of 64 bits cannot overflow 128.
        let (amount, held) = changes.entry(key).or_default();
        *amount += line.change();
        *held += line.held_change();
    }
    changes
        .into_iter()
        .map(|(key, change)| {
            let balance = changed(&key, get(&key), change)?;
            Ok((key, balance))
        })
        .collect()
}

fn changed(key: &BalanceKey, present: Balance, (amount, held): (i128, i128)) -> Result<Balance, PostError> {
    let currency = key.currency;
    if present.amount.currency() != currency || present.held.currency() != currency {
        return Err(PostError::WrongCurrency(key.clone()));
    }
    let money = |minor| Money::from_wide(minor, currency).map_err(|_| PostError::Overflow);
    let (old_amount, old_held) = (i128::from(present.amount.minor()), i128::from(present.held.minor()));
    let (new_amount, new_held) = (old_amount + amount, old_held + held);
    if new_held < 0 {
        return Err(PostError::NotHeld(key.clone()));
    }
    if key.account.limit() == Limit::NotBelowHeld && new_amount < new_held {
        return Err(PostError::LimitBroken {
            key: key.clone(),
            free: money(old_amount - old_held)?,
            needed: money(held - amount)?,
        });
    }
    Ok(Balance { amount: money(new_amount)?, held: money(new_held)? })
}

/// What an accepted entry changes. Only [`Books::check`] makes one, and it is meant for the books that made it, with
/// nothing applied in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    balances: Vec<(BalanceKey, Balance)>,
    placed: Vec<(HoldId, OpenHold)>,
    resolved: Vec<HoldId>,
    reverses: Option<EntryId>,
}

impl Posted {
    /// The new balances, sorted by key.
    pub fn balances(&self) -> &[(BalanceKey, Balance)] {
        &self.balances
    }
}

/// A hold that is not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// Shared with the balance, of which it is a part.
    key: Arc<BalanceKey>,
    minor: i64,
}

impl OpenHold {
    /// Of this money on an account of a fund.
    pub fn new(account: Account, fund: FundId, money: Money) -> Self {
        let key = Arc::new(BalanceKey { account, fund, currency: money.currency() });
        Self { key, minor: money.minor() }
    }

    /// On what.
    pub fn key(&self) -> &BalanceKey {
        &self.key
    }

    /// How much.
    pub fn money(&self) -> Money {
        Money::of_parts(self.minor, self.key.currency)
    }
}

/// All balances, holds and reversals of a ledger, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    balances: BTreeMap<Arc<BalanceKey>, Balance>,
    holds: BTreeMap<HoldId, OpenHold>,
    /// Ids of holds that are no longer open, so that none is used again.
    resolved: BTreeSet<HoldId>,
    reversed: BTreeSet<EntryId>,
}

impl Books {
    /// Books without any entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The present balance, zero if there is none.
    pub fn balance(&self, key: &BalanceKey) -> Balance {
        self.balances.get(key).copied().unwrap_or(Balance::zero(key.currency))
    }

    /// All balances that are not zero, sorted by key.
    pub fn balances(&self) -> impl Iterator<Item = (&BalanceKey, &Balance)> {
        self.balances.iter().map(|(key, balance)| (&**key, balance))
    }

    /// The hold, if it is open.
    pub fn open_hold(&self, hold: &HoldId) -> Option<&OpenHold> {
        self.holds.get(hold)
    }

    /// All open holds, sorted by id.
    pub fn open_holds(&self) -> impl Iterator<Item = (&HoldId, &OpenHold)> {
        self.holds.iter()
    }

    /// The ids of all holds that were resolved, sorted.
    pub fn resolved(&self) -> impl Iterator<Item = &HoldId> {
        self.resolved.iter()
    }

    /// All entries that were reversed, sorted by id.
    pub fn reversed(&self) -> impl Iterator<Item = &EntryId> {
        self.reversed.iter()
    }

    /// Books that go on where others ended, of which this is everything.
    pub fn brought_forward(
        balances: impl IntoIterator<Item = (BalanceKey, Balance)>,
        open: impl IntoIterator<Item = (HoldId, OpenHold)>,
        resolved: impl IntoIterator<Item = HoldId>,
        reversed: impl IntoIterator<Item = EntryId>,
    ) -> Self {
        let (resolved, reversed) = (resolved.into_iter().collect(), reversed.into_iter().collect());
        let mut books = Self { resolved, reversed, ..Self::default() };
        balances.into_iter().for_each(|(key, balance)| books.set(key, balance));
        open.into_iter().for_each(|(id, hold)| books.open(id, hold));
        books
    }

    /// What the entry would change, or why it is refused. Changes nothing.
    pub fn check(&self, entry: &Entry) -> Result<Posted, PostError> {
        entry.validate()?;
        if let Some(reversed) = entry.reverses.filter(|id| self.reversed.contains(id)) {
            return Err(PostError::ReversedBefore(reversed));
        }
        let (mut placed, mut resolved) = (Vec::new(), Vec::new());
        for line in &entry.lines {
            let Some(hold) = line.action.hold() else { continue };
            let this = OpenHold::new(line.account.clone(), line.fund.clone(), line.money);
            if matches!(line.action, Action::Hold(_)) {
                if self.holds.contains_key(hold) || self.resolved.contains(hold) {
                    return Err(PostError::HoldReused(hold.clone()));
                }
                placed.push((hold.clone(), this));
            } else {
                match self.open_hold(hold) {
                    None => return Err(PostError::HoldNotOpen(hold.clone())),
                    Some(open) if *open != this => return Err(PostError::HoldDiffers(hold.clone())),
                    Some(_) => resolved.push(hold.clone()),
                }
            }
        }
        let balances = post(entry, |key| self.balance(key))?;
        Ok(Posted { balances, placed, resolved, reverses: entry.reverses })
    }

    /// Makes the changes. Cannot fail.
    pub fn apply(&mut self, posted: Posted) {
        posted.balances.into_iter().for_each(|(key, balance)| self.set(key, balance));
        posted.placed.into_iter().for_each(|(id, hold)| self.open(id, hold));
        for id in posted.resolved {
            self.holds.remove(&id);
            self.resolved.insert(id);
        }
        self.reversed.extend(posted.reverses);
    }

    fn set(&mut self, key: BalanceKey, balance: Balance) {
        if balance.is_zero() {
            self.balances.remove(&key);
        } else if let Some(present) = self.balances.get_mut(&key) {
            *present = balance;
        } else {
            self.balances.insert(Arc::new(key), balance);
        }
    }

    /// A balance of which something is held is not zero, so it is there.
    fn open(&mut self, id: HoldId, mut hold: OpenHold) {
        if let Some((key, _)) = self.balances.get_key_value(&hold.key) {
            hold.key = Arc::clone(key);
        }
        self.holds.insert(id, hold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Line;
    use Currency::USD;

    fn usd(minor: i64) -> Money {
        Money::from_minor(minor, USD).unwrap()
    }

    fn key(account: &str) -> BalanceKey {
        BalanceKey { account: account.parse().unwrap(), fund: "f".parse().unwrap(), currency: USD }
    }

    fn entry(index: u32, lines: &[(&str, Action, i64)]) -> Entry {
        let line = |(account, action, minor): &(&str, Action, i64)| Line {
            account: account.parse().unwrap(),
            fund: "f".parse().unwrap(),
            money: usd(*minor),
            action: action.clone(),
        };
        Entry {
            id: EntryId { digest: [1; 32], index },
            effective: "2030-01-02".parse().unwrap(),
            lines: lines.iter().map(line).collect(),
            reverses: None,
        }
    }

    fn hold(name: &str) -> HoldId {
        name.parse().unwrap()
    }

    /// 100 resources, all available.
    fn funded() -> Books {
        let mut books = Books::new();
        let lines = [("7100", Action::Debit, 100), ("7210/m", Action::Credit, 100)];
        books.apply(books.check(&entry(0, &lines)).unwrap());
        books
    }

    #[test]
    fn a_hold_is_placed_once_and_resolved_once_as_it_is() {
        let mut books = funded();
        let place = |name, minor| entry(1, &[("7210/m", Action::Hold(hold(name)), minor)]);
        let void = |name, account, minor| entry(2, &[(account, Action::VoidHold(hold(name)), minor)]);
        books.apply(books.check(&place("h", 60)).unwrap());
        assert_eq!(books.balance(&key("7210/m")), Balance { amount: usd(100), held: usd(60) });
        assert_eq!(books.balance(&key("7210/m")).free(), Ok(usd(40)));
        assert_eq!(books.open_hold(&hold("h")).unwrap().money(), usd(60));
        assert_eq!(books.check(&place("h", 1)), Err(PostError::HoldReused(hold("h"))));
        let beyond = PostError::LimitBroken { key: key("7210/m"), free: usd(40), needed: usd(41) };
        assert_eq!(books.check(&place("i", 41)), Err(beyond));
        assert_eq!(books.check(&void("i", "7210/m", 60)), Err(PostError::HoldNotOpen(hold("i"))));
        assert_eq!(books.check(&void("h", "7210/m", 59)), Err(PostError::HoldDiffers(hold("h"))));
        assert_eq!(books.check(&void("h", "7210/n", 60)), Err(PostError::HoldDiffers(hold("h"))));
        books.apply(books.check(&void("h", "7210/m", 60)).unwrap());
        assert_eq!(books.check(&void("h", "7210/m", 60)), Err(PostError::HoldNotOpen(hold("h"))));
        assert_eq!(books.check(&place("h", 60)), Err(PostError::HoldReused(hold("h"))));
        assert_eq!(books.open_holds().count(), 0);
    }

    #[test]
    fn an_entry_is_reversed_once() {
        let mut books = funded();
        let posted = entry(1, &[("7210/m", Action::Debit, 60), ("7300", Action::Credit, 60)]);
        let undone = |index| {
            let id = EntryId { digest: [1; 32], index };
            posted.reversal(id, posted.effective).unwrap()
        };
        books.apply(books.check(&posted).unwrap());
        books.apply(books.check(&undone(2)).unwrap());
        assert_eq!(books.balance(&key("7210/m")).amount, usd(100));
        assert_eq!(books.check(&undone(3)), Err(PostError::ReversedBefore(posted.id)));
    }

    #[test]
    fn books_go_on_where_others_ended() {
        let mut books = funded();
        let place = |index, name| entry(index, &[("7210/m", Action::Hold(hold(name)), 10)]);
        let spent = entry(1, &[("7210/m", Action::Debit, 60), ("7300", Action::Credit, 60)]);
        let undone = |index| spent.reversal(EntryId { digest: [1; 32], index }, spent.effective).unwrap();
        let void = entry(4, &[("7210/m", Action::VoidHold(hold("h")), 10)]);
        for entry in [&spent, &undone(2), &place(3, "h"), &void, &place(5, "i")] {
            books.apply(books.check(entry).unwrap());
        }
        let balances = books.balances().map(|(key, balance)| (key.clone(), *balance));
        let open = books.open_holds().map(|(id, hold)| (id.clone(), hold.clone()));
        let (resolved, reversed) = (books.resolved().cloned(), books.reversed().copied());
        let forward = Books::brought_forward(balances, open, resolved, reversed);
        assert_eq!(forward, books);
        assert_eq!(forward.check(&undone(6)), Err(PostError::ReversedBefore(spent.id)));
        assert_eq!(forward.check(&place(6, "h")), Err(PostError::HoldReused(hold("h"))));
        assert_eq!(forward.open_hold(&hold("i")).unwrap().money(), usd(10));
    }

    #[test]
    fn only_the_net_effect_counts() {
        let books = funded();
        let lines = [
            ("7210/m", Action::Debit, 150),
            ("7300", Action::Credit, 150),
            ("7300", Action::Debit, 60),
            ("7210/m", Action::Credit, 60),
        ];
        let mut rows = books.check(&entry(1, &lines)).unwrap().balances().to_vec();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.remove(0), (key("7210/m"), Balance { amount: usd(10), held: usd(0) }));
        assert_eq!(rows.remove(0), (key("7300"), Balance { amount: usd(90), held: usd(0) }));
    }

    #[test]
    fn balances_from_outside_are_not_trusted() {
        let of = |balance: Balance, action, minor| {
            post(&entry(1, &[("7210/m", action, minor)]), |_| balance).unwrap_err()
        };
        let yen = Money::zero(Currency::JPY);
        let zero = Balance::zero(USD);
        let place = || Action::Hold(hold("h"));
        assert_eq!(of(Balance { held: yen, ..zero }, place(), 1), PostError::WrongCurrency(key("7210/m")));
        assert_eq!(of(zero, Action::VoidHold(hold("h")), 1), PostError::NotHeld(key("7210/m")));
        let most = 99_999_999_999_999_999;
        let full = |_: &BalanceKey| Balance { amount: usd(most), held: usd(0) };
        let more = entry(1, &[("7100", Action::Debit, 1), ("7210/m", Action::Credit, 1)]);
        assert_eq!(post(&more, full), Err(PostError::Overflow));
    }
}
