//! Journal entries: lines that balance per plane, per fund and per currency, with the holds that they place and
//! resolve. An entry is checked here for what it says by itself; whether the balances bear it is for the books.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::account::{Account, Plane, Side};
use crate::currency::Currency;
use crate::id::{EntryId, FundId, HoldId, IdError};
use crate::money::Money;
use crate::time::Date;

/// The most lines that one entry may have.
pub const MAX_LINES: usize = 4096;

/// What a line does with its money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Posts on the left side.
    Debit,
    /// Posts on the right side.
    Credit,
    /// Reserves the money.
    Hold(HoldId),
    /// Ends a reservation of exactly this money, because the same entry takes it, or a part of it, from the account;
    /// the rest is free again.
    PostHold(HoldId),
    /// Ends a reservation of exactly this money, which is free again.
    VoidHold(HoldId),
}

impl Action {
    /// The hold that the action places or resolves.
    pub fn hold(&self) -> Option<&HoldId> {
        match self {
            Self::Debit | Self::Credit => None,
            Self::Hold(hold) | Self::PostHold(hold) | Self::VoidHold(hold) => Some(hold),
        }
    }
}

/// One line of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Where.
    pub account: Account,
    /// Whose money.
    pub fund: FundId,
    /// How much; more than nothing.
    pub money: Money,
    /// What is done.
    pub action: Action,
}

impl Line {
    /// What the line adds to the account's balance on its normal side, in minor units.
    pub(crate) fn change(&self) -> i128 {
        let minor = i128::from(self.money.minor());
        match (&self.action, self.account.normal_side()) {
            (Action::Debit, Side::Debit) | (Action::Credit, Side::Credit) => minor,
            (Action::Debit, Side::Credit) | (Action::Credit, Side::Debit) => -minor,
            (Action::Hold(_) | Action::PostHold(_) | Action::VoidHold(_), _) => 0,
        }
    }

    /// What the line adds to what is held of the account, in minor units.
    pub(crate) fn held_change(&self) -> i128 {
        let minor = i128::from(self.money.minor());
        match self.action {
            Action::Debit | Action::Credit => 0,
            Action::Hold(_) => minor,
            Action::PostHold(_) | Action::VoidHold(_) => -minor,
        }
    }
}

/// A journal entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id, derived from what causes it.
    pub id: EntryId,
    /// The day to which it belongs.
    pub effective: Date,
    /// What it posts.
    pub lines: Vec<Line>,
    /// The entry that it undoes.
    pub reverses: Option<EntryId>,
}

/// Why an entry is not one, in the order in which it is checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It has no lines.
    #[error("an entry has at least one line")]
    Empty,
    /// It has too many.
    #[error("an entry has at most {MAX_LINES} lines")]
    TooManyLines,
    /// It says that it undoes itself.
    #[error("an entry cannot reverse itself")]
    ReversesItself,
    /// A line's money is not positive.
    #[error("line {line}: the amount is not positive")]
    NotPositive {
        /// Index of the line.
        line: usize,
    },
    /// A line holds money where none can be held.
    #[error("line {line}: nothing can be held on this account")]
    NoHoldsHere {
        /// Index of the line.
        line: usize,
    },
    /// A hold stands in two lines.
    #[error("line {line}: the hold stands in this entry twice")]
    HoldTwice {
        /// Index of the second line.
        line: usize,
    },
    /// The two sides differ.
    #[error("debits and credits differ in the {plane:?} plane of fund {fund} in {currency}")]
    Unbalanced {
        /// In this plane,
        plane: Plane,
        /// this fund,
        fund: FundId,
        /// and this currency.
        currency: Currency,
    },
    /// A hold is posted, and the account does not decrease, or by more than was held.
    #[error("{account} of fund {fund}: what is posted is not within what was held")]
    PostedBeyondHold {
        /// The account,
        account: Account,
        /// and the fund.
        fund: FundId,
    },
}

/// Why an entry cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReversalError {
    /// There is no room to derive the id of a new hold.
    #[error("no hold id can be derived: {0}")]
    HoldId(#[from] IdError),
}

impl Entry {
    /// Whether the entry is well formed, whatever the balances.
    pub fn validate(&self) -> Result<(), EntryError> {
        if self.lines.is_empty() {
            return Err(EntryError::Empty);
        }
        if self.lines.len() > MAX_LINES {
            return Err(EntryError::TooManyLines);
        }
        if self.reverses == Some(self.id) {
            return Err(EntryError::ReversesItself);
        }
        self.check_lines()?;
        self.check_balance()?;
        self.check_posted_holds()
    }

    fn check_lines(&self) -> Result<(), EntryError> {
        let mut holds = BTreeSet::new();
        for (line, Line { account, money, action, .. }) in self.lines.iter().enumerate() {
            if !money.is_positive() {
                return Err(EntryError::NotPositive { line });
            }
            if let Some(hold) = action.hold() {
                if !account.may_hold() {
                    return Err(EntryError::NoHoldsHere { line });
                }
                if !holds.insert(hold) {
                    return Err(EntryError::HoldTwice { line });
                }
            }
        }
        Ok(())
    }

    fn check_balance(&self) -> Result<(), EntryError> {
        // i128 holds the sum of 4096 amounts of 64 bits with room to spare.
        let mut sums: BTreeMap<(Plane, &FundId, Currency), i128> = BTreeMap::new();
        for line in &self.lines {
            let minor = i128::from(line.money.minor());
            let signed = match line.action {
                Action::Debit => minor,
                Action::Credit => -minor,
                Action::Hold(_) | Action::PostHold(_) | Action::VoidHold(_) => continue,
            };
            *sums.entry((line.account.plane(), &line.fund, line.money.currency())).or_default() += signed;
        }
        match sums.into_iter().find(|(_, sum)| *sum != 0) {
            None => Ok(()),
            Some(((plane, fund, currency), _)) => {
                Err(EntryError::Unbalanced { plane, fund: fund.clone(), currency })
            }
        }
    }

    fn check_posted_holds(&self) -> Result<(), EntryError> {
        let mut posted: BTreeMap<(&Account, &FundId, Currency), i128> = BTreeMap::new();
        for line in &self.lines {
            if matches!(line.action, Action::PostHold(_)) {
                let key = (&line.account, &line.fund, line.money.currency());
                *posted.entry(key).or_default() += i128::from(line.money.minor());
            }
        }
        if posted.is_empty() {
            return Ok(());
        }
        let mut decreases: BTreeMap<(&Account, &FundId, Currency), i128> = BTreeMap::new();
        for line in &self.lines {
            let key = (&line.account, &line.fund, line.money.currency());
            if posted.contains_key(&key) {
                *decreases.entry(key).or_default() -= line.change();
            }
        }
        for (key @ (account, fund, _), held) in posted {
            let decrease = decreases.get(&key).copied().unwrap_or_default();
            if decrease <= 0 || decrease > held {
                return Err(EntryError::PostedBeyondHold { account: account.clone(), fund: fund.clone() });
            }
        }
        Ok(())
    }

    /// The entry that undoes this one: every side swapped, in all planes.
    ///
    /// A hold that this entry placed is voided. One that it posted or voided cannot be opened again, since a hold is
    /// resolved once; its money is held anew under the old id with `.r` appended. That id is free: only the entry that
    /// resolved the old hold yields it, and an entry is reversed once.
    pub fn reversal(&self, id: EntryId, effective: Date) -> Result<Entry, ReversalError> {
        let undo = |line: &Line| {
            let action = match &line.action {
                Action::Debit => Action::Credit,
                Action::Credit => Action::Debit,
                Action::Hold(hold) => Action::VoidHold(hold.clone()),
                Action::PostHold(hold) | Action::VoidHold(hold) => Action::Hold(format!("{hold}.r").parse()?),
            };
            Ok(Line { action, ..line.clone() })
        };
        let lines = self.lines.iter().map(undo).collect::<Result<_, ReversalError>>()?;
        Ok(Entry { id, effective, lines, reverses: Some(self.id) })
    }
}

/// The wire form of a line, its fields in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    account: Account,
    action: Word,
    amount: String,
    currency: Currency,
    fund: FundId,
    #[serde(default, deserialize_with = "never_null", skip_serializing_if = "Option::is_none")]
    hold: Option<HoldId>,
}

/// Absent is one thing, `null` is refused: the records know no null.
fn never_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HoldId>, D::Error> {
    HoldId::deserialize(deserializer).map(Some)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Debit,
    Credit,
    Hold,
    PostHold,
    VoidHold,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let action = match self.action {
            Action::Debit => Word::Debit,
            Action::Credit => Word::Credit,
            Action::Hold(_) => Word::Hold,
            Action::PostHold(_) => Word::PostHold,
            Action::VoidHold(_) => Word::VoidHold,
        };
        Wire {
            account: self.account.clone(),
            action,
            amount: self.money.digits(),
            currency: self.money.currency(),
            fund: self.fund.clone(),
            hold: self.action.hold().cloned(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let wire = Wire::deserialize(deserializer)?;
        let money = Money::parse(&wire.amount, wire.currency).map_err(D::Error::custom)?;
        let action = match (wire.action, wire.hold) {
            (Word::Debit, None) => Action::Debit,
            (Word::Credit, None) => Action::Credit,
            (Word::Hold, Some(hold)) => Action::Hold(hold),
            (Word::PostHold, Some(hold)) => Action::PostHold(hold),
            (Word::VoidHold, Some(hold)) => Action::VoidHold(hold),
            (Word::Debit | Word::Credit, Some(_)) => return Err(D::Error::custom("a posting names no hold")),
            (_, None) => return Err(D::Error::missing_field("hold")),
        };
        Ok(Line { account: wire.account, fund: wire.fund, money, action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EntryId = EntryId { digest: [0; 32], index: 0 };
    const OTHER: EntryId = EntryId { digest: [0; 32], index: 1 };

    fn day() -> Date {
        "2030-01-02".parse().unwrap()
    }

    /// `account action amount[ currency][ @fund]`, one line each; the action of a hold is followed by its id.
    fn entry(text: &str) -> Entry {
        let line = |row: &str| {
            let (row, fund) = row.split_once(" @").unwrap_or((row, "f1"));
            let words: Vec<_> = row.split_whitespace().collect();
            let hold = |i: usize| words[i].parse().unwrap();
            let (action, rest) = match words[1] {
                "dr" => (Action::Debit, &words[2..]),
                "cr" => (Action::Credit, &words[2..]),
                "hold" => (Action::Hold(hold(2)), &words[3..]),
                "post" => (Action::PostHold(hold(2)), &words[3..]),
                "void" => (Action::VoidHold(hold(2)), &words[3..]),
                other => panic!("{other}"),
            };
            let currency = rest.get(1).map_or(Currency::USD, |code| code.parse().unwrap());
            Line {
                account: words[0].parse().unwrap(),
                fund: fund.parse().unwrap(),
                money: Money::from_minor(rest[0].parse().unwrap(), currency).unwrap(),
                action,
            }
        };
        let lines = text.lines().map(str::trim).filter(|row| !row.is_empty()).map(line).collect();
        Entry { id: ID, effective: day(), lines, reverses: None }
    }

    fn unbalanced(plane: Plane, fund: &str, currency: Currency) -> EntryError {
        EntryError::Unbalanced { plane, fund: fund.parse().unwrap(), currency }
    }

    #[test]
    fn what_is_well_formed() {
        for text in [
            "5101 dr 5 \n 1100/b cr 5",
            "5101 dr 5 \n 1100/b cr 2 \n 2600/b cr 3",
            "5101 dr 5 \n 1100/b cr 5 \n 7210/m dr 5 \n 7500 cr 5",
            "1100/b dr 5 @f1 \n 4106 cr 5 @f1 \n 1100/b cr 7 JPY @f2 \n 5107 dr 7 JPY @f2",
            "7210/m hold h 5",
            "7210/m void h 5",
            "7210/m post h 5 \n 7210/m dr 5 \n 7300 cr 5",
            "7210/m post h 5 \n 7210/m dr 1 \n 7300 cr 1",
            "7210/m post h 5 \n 7210/m post i 5 \n 7210/m dr 10 \n 7300 cr 10",
            "1300/agent/v post h 5 \n 1300/agent/v cr 5 \n 2200/agent/v dr 5",
        ] {
            assert_eq!(entry(text).validate(), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not() {
        let beyond = || EntryError::PostedBeyondHold {
            account: "7210/m".parse().unwrap(),
            fund: "f1".parse().unwrap(),
        };
        for (text, error) in [
            ("", EntryError::Empty),
            ("5101 dr 0 \n 1100/b cr 0", EntryError::NotPositive { line: 0 }),
            ("5101 dr 5 \n 1100/b cr -5", EntryError::NotPositive { line: 1 }),
            ("7300 hold h 5", EntryError::NoHoldsHere { line: 0 }),
            ("7210/m hold h 5 \n 7210/m void h 5", EntryError::HoldTwice { line: 1 }),
            ("5101 dr 5", unbalanced(Plane::Proprietary, "f1", Currency::USD)),
            ("5101 dr 5 \n 1100/b cr 4", unbalanced(Plane::Proprietary, "f1", Currency::USD)),
            ("5101 dr 5 \n 7500 cr 5", unbalanced(Plane::Proprietary, "f1", Currency::USD)),
            ("8100/a dr 5 \n 7500 cr 5", unbalanced(Plane::Budget, "f1", Currency::USD)),
            ("8100/a dr 5", unbalanced(Plane::Memo, "f1", Currency::USD)),
            ("5101 dr 5 \n 1100/b cr 5 @f2", unbalanced(Plane::Proprietary, "f1", Currency::USD)),
            ("5101 dr 5 JPY \n 1100/b cr 5", unbalanced(Plane::Proprietary, "f1", Currency::JPY)),
            ("7210/m post h 5", beyond()),
            ("7210/m post h 5 \n 7210/m dr 6 \n 7300 cr 6", beyond()),
            ("7210/m post h 5 \n 7210/m cr 5 \n 7300 dr 5", beyond()),
            ("7210/m post h 5 \n 7210/n dr 5 \n 7300 cr 5", beyond()),
            ("7210/m post h 5 \n 7210/m dr 5 @f2 \n 7300 cr 5 @f2", beyond()),
            ("7210/m post h 5 \n 7210/m dr 5 \n 7210/m cr 5", beyond()),
        ] {
            assert_eq!(entry(text).validate(), Err(error), "{text}");
        }
        let itself = Entry { reverses: Some(ID), ..entry("7210/m hold h 5") };
        assert_eq!(itself.validate(), Err(EntryError::ReversesItself));
        let long = |n: usize| entry(&"5101 dr 5 \n 1100/b cr 5 \n".repeat(n / 2));
        assert_eq!(long(MAX_LINES).validate(), Ok(()));
        assert_eq!(long(MAX_LINES + 2).validate(), Err(EntryError::TooManyLines));
    }

    #[test]
    fn a_reversal_swaps_sides_and_holds() {
        for (text, undone) in [
            ("5101 dr 5 \n 1100/b cr 5", "5101 cr 5 \n 1100/b dr 5"),
            ("7210/m hold h 5", "7210/m void h 5"),
            ("7210/m void h 5", "7210/m hold h.r 5"),
            ("7210/m post h 5 \n 7210/m dr 4 \n 7300 cr 4", "7210/m hold h.r 5 \n 7210/m cr 4 \n 7300 dr 4"),
        ] {
            let reversal = entry(text).reversal(OTHER, day()).unwrap();
            let expected = Entry { id: OTHER, reverses: Some(ID), ..entry(undone) };
            assert_eq!(reversal, expected);
            assert_eq!(reversal.validate(), Ok(()));
        }
        let full = entry(&format!("7210/m void {} 5", "h".repeat(95)));
        let error = ReversalError::HoldId(IdError::TooLong { max: 96 });
        assert_eq!(full.reversal(OTHER, day()), Err(error));
    }

    #[test]
    fn lines_have_one_spelling() {
        for (text, json) in [
            (
                "7210/main dr 100",
                r#"{"account":"7210/main","action":"debit","amount":"1.00","currency":"USD","fund":"f1"}"#,
            ),
            (
                "6100 cr 100 JPY",
                r#"{"account":"6100","action":"credit","amount":"100","currency":"JPY","fund":"f1"}"#,
            ),
            (
                "7210/m hold h.1 1",
                r#"{"account":"7210/m","action":"hold","amount":"0.01","currency":"USD","fund":"f1","hold":"h.1"}"#,
            ),
            (
                "7210/m post h.1 1",
                r#"{"account":"7210/m","action":"post-hold","amount":"0.01","currency":"USD","fund":"f1","hold":"h.1"}"#,
            ),
            (
                "7210/m void h.1 1",
                r#"{"account":"7210/m","action":"void-hold","amount":"0.01","currency":"USD","fund":"f1","hold":"h.1"}"#,
            ),
        ] {
            let line = entry(text).lines.remove(0);
            assert_eq!(serde_json::to_string(&line).unwrap(), json);
            assert_eq!(serde_json::from_str::<Line>(json).unwrap(), line);
        }
        let good =
            r#"{"account":"7210/m","action":"hold","amount":"0.01","currency":"USD","fund":"f1","hold":"h"}"#;
        assert!(serde_json::from_str::<Line>(good).is_ok());
        for (from, to) in [
            (r#","hold":"h""#, ""),
            (r#""h"}"#, "null}"),
            (r#""hold","amount""#, r#""debit","amount""#),
            (r#""hold","amount""#, r#""Hold","amount""#),
            ("0.01", "0.010"),
            (r#""fund""#, r#""x":"y","fund""#),
            ("7210/m", "7210"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(serde_json::from_str::<Line>(&bad).is_err(), "{bad}");
        }
    }
}
