//! Sums of amounts. An amount is bounded; a sum of many balances must not fail for that, or a ledger whose every entry is
//! right could not be audited.

use crate::currency::Currency;
use crate::money::Money;

/// An exact sum of amounts of one currency, without the bound of a single amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sum {
    minor: i128,
    currency: Currency,
}

impl Sum {
    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The sum with these minor units.
    pub fn of_minor(minor: i128, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// In minor units. It takes 2^64 balances to leave 128 bits.
    pub fn minor(self) -> i128 {
        self.minor
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// With another sum of the same currency; of another currency nothing is added.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        (self.currency == other.currency)
            .then(|| Self { minor: self.minor.saturating_add(other.minor), currency: self.currency })
    }

    /// Less another sum of the same currency.
    #[must_use]
    pub fn less(self, other: Self) -> Option<Self> {
        self.plus(Self { minor: other.minor.saturating_neg(), currency: other.currency })
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// The amount alone: `-100000.00`.
    pub fn digits(self) -> String {
        self.spell("")
    }

    /// For people to read: `USD 100,000.00`.
    pub fn grouped(self) -> String {
        format!("{} {}", self.currency, self.spell(","))
    }

    fn spell(self, separator: &str) -> String {
        let decimals = self.currency.minor_units() as usize;
        let digits = format!("{:0width$}", self.minor.unsigned_abs(), width = decimals + 1);
        let (major, minor) = digits.split_at(digits.len() - decimals);
        let mut text = String::from(if self.minor < 0 { "-" } else { "" });
        for (i, digit) in major.chars().enumerate() {
            if i > 0 && (major.len() - i).is_multiple_of(3) {
                text.push_str(separator);
            }
            text.push(digit);
        }
        if decimals > 0 {
            text.push('.');
            text.push_str(minor);
        }
        text
    }
}

impl From<Money> for Sum {
    fn from(money: Money) -> Self {
        Self { minor: money.minor().into(), currency: money.currency() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_goes_beyond_an_amount() {
        let most = Money::parse("999999999999999.99", Currency::USD).unwrap();
        let sum = Sum::from(most).plus(most.into()).unwrap();
        assert_eq!(sum.grouped(), "USD 1,999,999,999,999,999.98");
        assert_eq!(sum.less(most.into()), Some(most.into()));
        assert_eq!(sum.plus(Sum::zero(Currency::EUR)), None);
    }
}
