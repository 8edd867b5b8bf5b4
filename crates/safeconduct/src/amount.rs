//! Amounts as people write them: `USD 100,000.00`, `USD 100000.00` or `100000.00 USD`.

use ledger::currency::Currency;
use ledger::money::{Money, MoneyError};
use records::assets::Share;

const FORM: &str = "write an amount with its currency, such as 'USD 100,000.00'";

/// An amount that is not negative, with its currency before or after it, its thousands grouped or not.
pub fn parse(text: &str) -> Result<Money, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [first, second] = words.as_slice() else {
        return Err(FORM.to_owned());
    };
    let (currency, digits) = match (first.parse::<Currency>(), second.parse::<Currency>()) {
        (Ok(currency), _) => (currency, second),
        (_, Ok(currency)) => (currency, first),
        _ => return Err(format!("{FORM}; the currency is a code of ISO 4217 in capitals")),
    };
    let plain =
        ungroup(digits).ok_or_else(|| format!("{FORM}; commas stand between groups of three digits"))?;
    Money::parse(&plain, currency).map_err(|error| match error {
        MoneyError::WrongDecimals { expected } | MoneyError::TooManyDecimals { expected } => {
            format!("{currency} is written with {expected} decimals")
        }
        other => format!("{other}; {FORM}"),
    })
}

/// The digits without commas, if those stand where they belong.
fn ungroup(digits: &str) -> Option<String> {
    let (major, minor) = digits.split_once('.').map_or((digits, None), |(major, minor)| (major, Some(minor)));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let groups: Vec<&str> = major.split(',').collect();
    let (first, others) = groups.split_first()?;
    let grouped = others.is_empty() || first.len() <= 3;
    if !grouped || !numeric(first) || !others.iter().all(|group| group.len() == 3 && numeric(group)) {
        return None;
    }
    match minor {
        None => Some(groups.concat()),
        Some(minor) if numeric(minor) => Some(format!("{}.{minor}", groups.concat())),
        Some(_) => None,
    }
}

/// `body=amount`: what goes to a body.
pub fn parse_share(text: &str) -> Result<Share, String> {
    let (body, amount) =
        text.split_once('=').ok_or("write to whom and how much, such as 'court=USD 1,000.00'")?;
    let body = body.trim().parse().map_err(|error| format!("'{body}' is no id: {error}"))?;
    Ok(Share { amount: parse(amount)?, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_spelling() {
        for (text, meant) in [
            ("USD 100,000.00", "USD 100,000.00"),
            ("USD 100000.00", "USD 100,000.00"),
            ("100000.00 USD", "USD 100,000.00"),
            ("1,234,567.89 EUR", "EUR 1,234,567.89"),
            (" EUR   0.05 ", "EUR 0.05"),
            ("JPY 1,000", "JPY 1,000"),
            ("KWD 12.345", "KWD 12.345"),
        ] {
            assert_eq!(parse(text).unwrap().grouped(), meant, "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for bad in [
            "",
            "100",
            "USD",
            "USD 100",
            "USD 100.0",
            "USD 100.000",
            "USD 1,00.00",
            "USD 1000,000.00",
            "USD ,100.00",
            "USD 100,.00",
            "USD 1.000,00",
            "USD -5.00",
            "USD +5.00",
            "usd 5.00",
            "USD 5.00 EUR",
            "USD EUR",
            "USD5.00",
            "USD 007.00",
            "USD 1e3",
            "JPY 1.00",
            "XAU 1.00",
            "USD 1000000000000000.00",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares() {
        let share = parse_share("court-1=USD 1,000.00").unwrap();
        assert_eq!((share.body.as_str(), share.amount.grouped().as_str()), ("court-1", "USD 1,000.00"));
        for bad in ["court-1", "=USD 1.00", "Court=USD 1.00", "court=1.00"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
