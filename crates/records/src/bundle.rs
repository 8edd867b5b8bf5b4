//! The lines of an audit bundle that are not records: its header and the balances that it claims.
//!
//! Nothing here is signed. The format is specified in `docs/spec/bundle.md`; `auditor` reads it, and whoever holds the
//! log writes it: the header's line, one line for each balance in the order of [`BalanceLine::in_order`], then each
//! record's leaf and a line feed.

use std::cmp::Ordering;

use ledger::account::Account;
use ledger::books::{Balance, BalanceKey};
use ledger::currency::Currency;
use ledger::id::FundId;
use ledger::money::Money;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signing::canonical;
use signing::digest::Digest;

use crate::scalar::Integer;

/// The format's name and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The only one so far.
    #[serde(rename = "safeconduct-bundle.v1")]
    V1,
}

/// The first line of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// How many balances are claimed.
    pub balances: Integer,
    /// The size of the log at which they were read: the end of a group.
    pub balances_at: Integer,
    /// The signed checkpoint that covers the records.
    pub checkpoint: String,
    /// The format.
    pub format: Format,
    /// The position of the first record that is in it, where that is not 0: the end of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Integer>,
    /// The ledger's id.
    pub ledger: Digest,
    /// How many records the log has: the checkpoint's size.
    pub records: Integer,
}

impl Header {
    /// The position of the first record that is in the bundle.
    pub fn first(&self) -> u64 {
        self.from.map_or(0, |Integer(from)| from)
    }

    /// How many lines follow the header; none where the counts say nothing sensible.
    pub fn lines(&self) -> Option<u64> {
        self.records.0.checked_sub(self.first())?.checked_add(self.balances.0)
    }
}

/// One balance that the bundle claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceLine {
    /// Of what.
    pub key: BalanceKey,
    /// How much, on the account's normal side, and how much of it is held; both in the key's currency.
    pub balance: Balance,
}

impl BalanceLine {
    /// The order of the lines: by the bytes of fund, account and currency, as they are written.
    pub fn in_order(&self, other: &BalanceLine) -> Ordering {
        let (a, b) = (&self.key, &other.key);
        (a.fund.as_str().cmp(b.fund.as_str()))
            .then_with(|| a.account.to_string().cmp(&b.account.to_string()))
            .then_with(|| a.currency.code().cmp(b.currency.code()))
    }
}

/// The wire form of a balance, its fields in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    account: Account,
    amount: String,
    currency: Currency,
    fund: FundId,
    held: String,
}

impl Serialize for BalanceLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            account: self.key.account.clone(),
            amount: self.balance.amount.digits(),
            currency: self.key.currency,
            fund: self.key.fund.clone(),
            held: self.balance.held.digits(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BalanceLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { account, amount, currency, fund, held } = Wire::deserialize(deserializer)?;
        let money = |text: &str| Money::parse(text, currency).map_err(serde::de::Error::custom);
        let balance = Balance { amount: money(&amount)?, held: money(&held)? };
        Ok(BalanceLine { key: BalanceKey { account, fund, currency }, balance })
    }
}

/// The header's line, with its line feed.
pub fn header_line(header: &Header) -> String {
    line(header)
}

/// A balance's line, with its line feed.
pub fn balance_line(balance: &BalanceLine) -> String {
    line(balance)
}

fn line(value: &impl Serialize) -> String {
    let mut bytes = canonical::encode(value);
    bytes.push(b'\n');
    // JSON is UTF-8, so nothing is lost.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_one_spelling() {
        let header = Header {
            balances: Integer(1),
            balances_at: Integer(7),
            checkpoint: "o\n7\nr\n\n\u{2014} o s\n".into(),
            format: Format::V1,
            from: None,
            ledger: Digest::from_bytes([7; 32]),
            records: Integer(7),
        };
        let text = header_line(&header);
        assert_eq!(
            text,
            format!(
                "{{\"balances\":\"1\",\"balances_at\":\"7\",\"checkpoint\":\"o\\n7\\nr\\n\\n\u{2014} o s\\n\",\
                 \"format\":\"safeconduct-bundle.v1\",\"ledger\":\"{}\",\"records\":\"7\"}}\n",
                header.ledger
            )
        );
        assert_eq!(canonical::decode::<Header>(text.trim_end().as_bytes()), Ok(header.clone()));
        assert_eq!((header.first(), header.lines()), (0, Some(8)));
        let part = Header { from: Some(Integer(5)), ..header.clone() };
        let named = "\"format\":\"safeconduct-bundle.v1\",\"from\":\"5\",\"ledger\"";
        assert!(header_line(&part).contains(named), "{}", header_line(&part));
        assert_eq!((part.first(), part.lines()), (5, Some(3)));
        assert_eq!(Header { from: Some(Integer(8)), ..header }.lines(), None);
        let json = r#"{"account":"2100/disbursement/d-1","amount":"100.00","currency":"USD","fund":"f1","held":"0.00"}"#;
        let balance = canonical::decode::<BalanceLine>(json.as_bytes()).unwrap();
        assert_eq!(balance_line(&balance), format!("{json}\n"));
        for (from, to) in [("100.00", "100"), ("\"USD\"", "\"US\""), ("2100", "2101"), ("\"held\"", "\"x\"")]
        {
            let bad = json.replacen(from, to, 1);
            assert!(canonical::decode::<BalanceLine>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
