//! The proofs that the planes give each other: per fund, in the fund's currency, from the sums per account code. A bug
//! or an attack in one plane is a difference here.
//!
//! Foreign currency is not part of this yet: a fund's balances in other currencies are left out of its sums.

use std::collections::BTreeMap;

use crate::books::BalanceKey;
use crate::currency::Currency;
use crate::id::FundId;
use crate::sum::Sum;

/// What a fund is for, which decides what its books must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FundKind {
    /// Money that may be spent: proves P1 to P4.
    Spendable,
    /// What is kept for whoever will turn out to own it: custody cash is what is owed.
    Fiduciary,
    /// Receipts that nobody can place: cash less overdrawn is suspense.
    Unallocated,
}

/// Two sums that must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equation {
    /// One plane's word for it.
    pub left: Sum,
    /// The other's.
    pub right: Sum,
}

impl Equation {
    /// Left less right.
    pub fn difference(&self) -> Sum {
        Sum::of_minor(self.left.minor().saturating_sub(self.right.minor()), self.left.currency())
    }

    /// Whether there is no difference.
    pub fn holds(&self) -> bool {
        self.left == self.right
    }
}

/// What a fund's books say for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundProof {
    /// Of a spendable fund.
    Spendable {
        /// resources + shortfall = unallotted + available + obligated + accrued + paid
        p1: Equation,
        /// accrued = payables + outstanding
        p2: Equation,
        /// cash + advances - overdrawn = unallotted + available + obligated + accrued - shortfall
        p3: Equation,
        /// net assets + income - expense = unallotted + available + obligated + receivables - shortfall
        p4: Equation,
    },
    /// Of a fiduciary fund.
    Fiduciary {
        /// custody cash = owner's claims + payables
        custody: Equation,
    },
    /// Of the fund of unplaced receipts.
    Unallocated {
        /// cash - overdrawn = suspense
        suspense: Equation,
    },
}

impl FundProof {
    /// Each equation with its name.
    pub fn equations(&self) -> Vec<(&'static str, Equation)> {
        match *self {
            Self::Spendable { p1, p2, p3, p4 } => vec![("P1", p1), ("P2", p2), ("P3", p3), ("P4", p4)],
            Self::Fiduciary { custody } => vec![("custody", custody)],
            Self::Unallocated { suspense } => vec![("suspense", suspense)],
        }
    }

    /// Whether all equations hold.
    pub fn holds(&self) -> bool {
        self.equations().iter().all(|(_, equation)| equation.holds())
    }
}

/// Sums the fund's balances in its currency and sets up what they must prove. Balances of other funds are skipped, so
/// the whole ledger may be passed. What is passed may also be the changes of an entry.
pub fn prove_fund<'a>(
    fund: &FundId,
    kind: FundKind,
    currency: Currency,
    balances: impl Iterator<Item = (&'a BalanceKey, Sum)>,
) -> FundProof {
    let mut sums: BTreeMap<u16, i128> = BTreeMap::new();
    for (key, amount) in balances {
        if key.fund == *fund && key.currency == currency && amount.currency() == currency {
            *sums.entry(key.account.code()).or_default() += amount.minor();
        }
    }
    let of = |codes: std::ops::RangeInclusive<u16>| sums.range(codes).map(|(_, sum)| sum).sum::<i128>();
    let one = |code: u16| of(code..=code);
    let equation = |left: i128, right: i128| Equation {
        left: Sum::of_minor(left, currency),
        right: Sum::of_minor(right, currency),
    };
    match kind {
        FundKind::Spendable => {
            let (accrued, shortfall, settled) = (one(7400), one(7900), one(7500));
            let unspent = one(7200) + one(7210) + one(7300);
            FundProof::Spendable {
                p1: equation(one(7100) + shortfall, unspent + accrued + settled),
                p2: equation(accrued, one(2100) + one(2200)),
                p3: equation(one(1100) + one(1300) - one(2600), unspent + accrued - shortfall),
                p4: equation(one(3100) + of(4100..=4199) - of(5100..=5199), unspent + one(1200) - shortfall),
            }
        }
        FundKind::Fiduciary => FundProof::Fiduciary { custody: equation(one(1150), one(2300) + one(2100)) },
        FundKind::Unallocated => {
            FundProof::Unallocated { suspense: equation(one(1100) - one(2600), one(2500)) }
        }
    }
}
