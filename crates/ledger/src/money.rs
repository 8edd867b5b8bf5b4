//! Amounts of money: exact, signed, always with their currency, and without operators, so that no sum is unchecked.
//!
//! An amount is a whole number of minor units. That it is one is what makes equality, order and text unambiguous.

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::currency::Currency;
use crate::sum::Sum;

/// Every amount is less than 10^15 major units, whatever its sign.
const MAJOR_BOUND: i128 = 1_000_000_000_000_000;

/// Why there is no such amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("not a plain decimal number")]
    NotANumber,
    /// More decimals than the currency has.
    #[error("the currency has no more than {expected} decimals")]
    TooManyDecimals {
        /// How many the currency has.
        expected: u32,
    },
    /// Fewer decimals than the currency has.
    #[error("an amount in this currency is written with {expected} decimals")]
    WrongDecimals {
        /// How many the currency has.
        expected: u32,
    },
    /// Out of bounds.
    #[error("the amount is too large")]
    TooLarge,
    /// Two amounts in different currencies do not add or compare.
    #[error("{left} and {right} do not mix")]
    CurrencyMismatch {
        /// The first amount's currency.
        left: Currency,
        /// The second amount's currency.
        right: Currency,
    },
}

/// A signed amount in one currency.
///
/// There is no `PartialOrd` on purpose: comparing two currencies with `<` would quietly be false, and a guard written
/// with it would fail open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// From a whole number of minor units.
    pub fn from_minor(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        Self::from_wide(minor.into(), currency)
    }

    /// From a sum that was kept wider than an amount.
    pub(crate) fn from_wide(minor: i128, currency: Currency) -> Result<Self, MoneyError> {
        let bound = MAJOR_BOUND * 10i128.pow(currency.minor_units());
        // With four decimals 10^15 does not fit 64 bits, so both bounds matter; the lower one is not i64::MIN.
        match i64::try_from(minor) {
            Ok(fits) if minor.abs() < bound && fits != i64::MIN => Ok(Self { minor: fits, currency }),
            _ => Err(MoneyError::TooLarge),
        }
    }

    /// From the parts of an amount that was one before.
    pub(crate) fn of_parts(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// From the one spelling of an amount: an optional `-`, no leading zeros, exactly the currency's decimals.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let expected = currency.minor_units();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (major, decimals) = match digits.split_once('.') {
            Some((major, decimals)) if !decimals.is_empty() => (major, decimals),
            Some(_) => return Err(MoneyError::NotANumber),
            None => (digits, ""),
        };
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = major.len() > 1 && major.starts_with('0');
        if major.is_empty() || leading_zero || !plain(major) || !plain(decimals) {
            return Err(MoneyError::NotANumber);
        }
        match decimals.len().cmp(&(expected as usize)) {
            Ordering::Greater => return Err(MoneyError::TooManyDecimals { expected }),
            Ordering::Less => return Err(MoneyError::WrongDecimals { expected }),
            Ordering::Equal => {}
        }
        let minor = major
            .bytes()
            .chain(decimals.bytes())
            .try_fold(0i64, |n, digit| n.checked_mul(10)?.checked_add((digit - b'0').into()))
            .ok_or(MoneyError::TooLarge)?;
        if negative && minor == 0 {
            // Zero has one spelling too.
            return Err(MoneyError::NotANumber);
        }
        Self::from_minor(if negative { -minor } else { minor }, currency)
    }

    /// From a decimal that has no more decimals than the currency, trailing zeros aside.
    pub fn from_decimal(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let expected = currency.minor_units();
        let amount = amount.normalize();
        let missing = expected.checked_sub(amount.scale()).ok_or(MoneyError::TooManyDecimals { expected })?;
        let minor = amount.mantissa().checked_mul(10i128.pow(missing)).ok_or(MoneyError::TooLarge)?;
        Self::from_wide(minor, currency)
    }

    /// The amount in major units, with exactly the currency's decimals.
    pub fn amount(self) -> Decimal {
        Decimal::new(self.minor, self.currency.minor_units())
    }

    /// The amount in minor units.
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::from_minor(self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?, self.currency)
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::from_minor(self.minor.checked_sub(other.minor).ok_or(MoneyError::TooLarge)?, self.currency)
    }

    /// The same amount with the other sign.
    #[allow(clippy::should_implement_trait, reason = "money has checked methods and no operators")]
    pub fn neg(self) -> Result<Self, MoneyError> {
        Self::from_minor(self.minor.checked_neg().ok_or(MoneyError::TooLarge)?, self.currency)
    }

    /// Which is larger, if both are in one currency.
    pub fn checked_cmp(self, other: Self) -> Result<Ordering, MoneyError> {
        self.same_currency(other)?;
        Ok(self.minor.cmp(&other.minor))
    }

    /// Whether this is no more than `other`.
    pub fn at_most(self, other: Self) -> Result<bool, MoneyError> {
        self.checked_cmp(other).map(Ordering::is_le)
    }

    /// The smaller of two.
    pub fn min(self, other: Self) -> Result<Self, MoneyError> {
        Ok(if self.at_most(other)? { self } else { other })
    }

    /// Exactly nothing.
    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// More than nothing.
    pub fn is_positive(self) -> bool {
        self.minor > 0
    }

    /// Less than nothing.
    pub fn is_negative(self) -> bool {
        self.minor < 0
    }

    /// The amount alone, as `parse` takes it: `-100000.00`.
    pub fn digits(self) -> String {
        Sum::from(self).digits()
    }

    /// For people to read: `USD 100,000.00`.
    pub fn grouped(self) -> String {
        Sum::from(self).grouped()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.digits(), self.currency)
    }
}

/// The wire form, its fields in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    amount: String,
    currency: Currency,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire { amount: self.digits(), currency: self.currency }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Self::parse(&wire.amount, wire.currency).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Currency::{CLF, JPY, KWD, USD};

    #[test]
    fn amounts_have_one_spelling() {
        for (text, currency, minor, grouped) in [
            ("0.00", USD, 0, "USD 0.00"),
            ("0.01", USD, 1, "USD 0.01"),
            ("-0.01", USD, -1, "USD -0.01"),
            ("100000.00", USD, 10_000_000, "USD 100,000.00"),
            ("-1234567.89", USD, -123_456_789, "USD -1,234,567.89"),
            ("123.45", USD, 12_345, "USD 123.45"),
            ("999999999999999.99", USD, 99_999_999_999_999_999, "USD 999,999,999,999,999.99"),
            ("0", JPY, 0, "JPY 0"),
            ("1234", JPY, 1234, "JPY 1,234"),
            ("0.001", KWD, 1, "KWD 0.001"),
            ("12.3456", CLF, 123_456, "CLF 12.3456"),
        ] {
            let money = Money::parse(text, currency).unwrap();
            assert_eq!((money.minor(), money.digits().as_str()), (minor, text));
            assert_eq!(money.grouped(), grouped);
            assert_eq!(money.to_string(), format!("{text} {currency}"));
            assert_eq!(
                (money.amount().to_string().as_str(), money.amount().scale()),
                (text, currency.minor_units())
            );
            assert_eq!(Money::from_decimal(money.amount(), currency), Ok(money));
            let json = serde_json::to_string(&money).unwrap();
            assert_eq!(json, format!(r#"{{"amount":"{text}","currency":"{currency}"}}"#));
            assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        use MoneyError::*;
        for (text, currency, error) in [
            ("", USD, NotANumber),
            ("-", USD, NotANumber),
            ("+1.00", USD, NotANumber),
            ("01.00", USD, NotANumber),
            ("00.00", USD, NotANumber),
            (".50", USD, NotANumber),
            ("1.", USD, NotANumber),
            ("1.0e1", USD, NotANumber),
            ("1,000.00", USD, NotANumber),
            ("1.00 ", USD, NotANumber),
            ("--1.00", USD, NotANumber),
            ("-0.00", USD, NotANumber),
            ("1.0.0", USD, NotANumber),
            ("١.00", USD, NotANumber),
            ("NaN", USD, NotANumber),
            ("1", USD, WrongDecimals { expected: 2 }),
            ("1.0", USD, WrongDecimals { expected: 2 }),
            ("1.000", USD, TooManyDecimals { expected: 2 }),
            ("1.0", JPY, TooManyDecimals { expected: 0 }),
            ("1.00", KWD, WrongDecimals { expected: 3 }),
            ("1000000000000000.00", USD, TooLarge),
            ("-1000000000000000.00", USD, TooLarge),
            ("99999999999999999999999999.00", USD, TooLarge),
            ("999999999999999.0000", CLF, TooLarge),
        ] {
            assert_eq!(Money::parse(text, currency), Err(error), "{text}");
        }
        for bad in [
            r#"{"amount":"1.00","currency":"USD","x":"1"}"#,
            r#"{"amount":1,"currency":"USD"}"#,
            r#"{"amount":"1.00","currency":"XAU"}"#,
            r#"{"amount":"1.00"}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_is_checked() {
        let usd = |n| Money::from_minor(n, USD).unwrap();
        let most = usd(99_999_999_999_999_999);
        assert_eq!(usd(1).checked_add(usd(2)), Ok(usd(3)));
        assert_eq!(usd(1).checked_sub(usd(2)), Ok(usd(-1)));
        assert_eq!(usd(1).neg(), Ok(usd(-1)));
        assert_eq!(most.checked_add(usd(1)), Err(MoneyError::TooLarge));
        assert_eq!(most.neg().unwrap().checked_sub(usd(1)), Err(MoneyError::TooLarge));
        for extreme in [i64::MIN, i64::MAX] {
            assert_eq!(Money::from_minor(extreme, USD), Err(MoneyError::TooLarge));
        }
        assert_eq!(Money::from_minor(i64::MIN, CLF), Err(MoneyError::TooLarge));
        let clf = Money::from_minor(i64::MAX, CLF).unwrap();
        assert_eq!(clf.checked_add(clf), Err(MoneyError::TooLarge));
        let mismatch = MoneyError::CurrencyMismatch { left: USD, right: JPY };
        let yen = Money::zero(JPY);
        assert_eq!(usd(1).checked_add(yen), Err(mismatch));
        assert_eq!(usd(1).checked_sub(yen), Err(mismatch));
        assert_eq!(usd(1).checked_cmp(yen), Err(mismatch));
        assert_eq!(usd(1).min(yen), Err(mismatch));
        assert_eq!(usd(1).min(usd(-2)), Ok(usd(-2)));
        assert_eq!(usd(1).at_most(usd(1)), Ok(true));
        assert!(usd(0).is_zero() && usd(1).is_positive() && usd(-1).is_negative());
        assert_eq!(
            Money::from_decimal(Decimal::new(1001, 3), USD),
            Err(MoneyError::TooManyDecimals { expected: 2 })
        );
        assert_eq!(Money::from_decimal(Decimal::new(1000, 3), USD), Ok(usd(100)));
        assert_eq!(Money::from_decimal(Decimal::MAX, USD), Err(MoneyError::TooLarge));
    }
}
