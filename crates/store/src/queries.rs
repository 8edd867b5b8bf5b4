//! What readers ask of the database, beside the log itself ([`crate::log`]). Every statement is bounded: a list is read a page at a time, by a cursor that is
//! the last item's key, so that no page costs more than the one before it. Where an answer takes several statements,
//! they run in one [`snapshot`].
//!
//! Text is compared by bytes: the database has the locale `C`, see [`crate::migrate::ensure_database`].

pub mod agency;
pub mod funds;
pub mod lists;

use std::time::Duration;

use deadpool_postgres::{Client, GenericClient, Transaction};
use ledger::currency::Currency;
use ledger::money::Money;
use rust_decimal::Decimal;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

use crate::error::StoreError;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The cursor of the last item that was seen; none for the first page.
    pub after: Option<&'a str>,
    /// The most items of the page.
    pub limit: u32,
}

impl Slice<'_> {
    fn after_text(&self) -> &str {
        self.after.unwrap_or_default()
    }

    /// The cursor of a list that is in order of position: the last position that was seen, or one before all.
    fn after_position(&self) -> i64 {
        self.after.and_then(|text| text.parse().ok()).unwrap_or(-1)
    }

    /// One more than the page, to know whether more follow.
    fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor for the next page, where more follow.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page of up to `limit + 1` items with their cursors.
    fn of(rows: Vec<(String, T)>, slice: Slice<'_>) -> Page<T> {
        let limit = slice.limit as usize;
        let more = rows.len() > limit;
        let next = rows.get(limit.saturating_sub(1)).filter(|_| more).map(|(cursor, _)| cursor.clone());
        Page { items: rows.into_iter().take(limit).map(|(_, item)| item).collect(), next }
    }

    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }

    /// The same page of other items, or the first error.
    pub fn try_map<U, E>(self, f: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page { items: self.items.into_iter().map(f).collect::<Result<_, E>>()?, next: self.next })
    }
}

/// A transaction that sees one state of the database and changes nothing.
pub async fn snapshot(client: &mut Client) -> Result<Transaction<'_>, StoreError> {
    let isolation = IsolationLevel::RepeatableRead;
    Ok(client.build_transaction().isolation_level(isolation).read_only(true).start().await?)
}

/// Whether the database answers at all.
pub async fn ping(client: &impl GenericClient) -> Result<(), StoreError> {
    rows(client, "SELECT 1", &[]).await.map(drop)
}

/// Whether the database orders text by bytes, as every list here relies on.
pub async fn orders_by_bytes(client: &impl GenericClient) -> Result<bool, StoreError> {
    let sql = "SELECT 'Z' < 'a' AND 'a/b' < 'a0' AND 'a-b' < 'a0' AND 'a_' < 'aa'";
    let found = row(client, sql, &[]).await?;
    Ok(found.is_some_and(|row| row.get(0)))
}

async fn rows(
    client: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

/// Asks on one connection, and waits no longer than this for the answer. One that does not answer is not asked again: it is
/// closed.
pub async fn within<T>(
    client: Client,
    limit: Duration,
    ask: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, ask(&client)).await {
        Ok(answer) => answer,
        Err(_) => {
            drop(Client::take(client));
            Err(StoreError::Silent)
        }
    }
}

async fn row(
    client: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>, StoreError> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query_opt(&statement, params).await?)
}

/// An amount, which the statements select as text: a sum may have more digits than a `Decimal` reads from the wire.
fn money(text: &str, currency: Currency) -> Result<Money, StoreError> {
    let decimal: Decimal = text.parse().map_err(|_| corrupt("an amount"))?;
    Money::from_decimal(decimal, currency).map_err(|_| corrupt("an amount"))
}

fn parsed<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| corrupt(what))
}

/// Says what does not parse, and not its value, which may be a case's.
fn corrupt(what: &'static str) -> StoreError {
    StoreError::corrupt("queried", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_last_item_where_more_follow() {
        let rows = |n: u32| (1..=n).map(|i| (i.to_string(), i)).collect::<Vec<_>>();
        let slice = Slice { after: None, limit: 2 };
        assert_eq!(Page::of(rows(0), slice), Page { items: vec![], next: None });
        assert_eq!(Page::of(rows(2), slice), Page { items: vec![1, 2], next: None });
        assert_eq!(Page::of(rows(3), slice), Page { items: vec![1, 2], next: Some("2".to_owned()) });
    }
}
