//! Funds, what they hold per account code, and what their books prove.

use std::collections::BTreeMap;

use deadpool_postgres::{Client, GenericClient};
use ledger::books::{Balance, BalanceKey};
use ledger::currency::Currency;
use ledger::id::FundId;
use ledger::money::Money;
use records::bundle::BalanceLine;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Page, Slice, corrupt, money, parsed, row, rows, snapshot};
use crate::error::StoreError;
use crate::load::unsigned;

/// A fund with its totals and proofs, all in the fund's own currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FundReport {
    /// The fund.
    pub fund: FundId,
    /// The asset that its money comes from.
    pub asset: String,
    /// Its currency.
    pub currency: Currency,
    /// `fiduciary` or `spendable`.
    pub kind: String,
    /// Per account code, in order.
    pub totals: Vec<CodeTotal>,
    /// P1 to P4, or the custody proof.
    pub proofs: Vec<Proof>,
}

/// What all accounts of one code come to, on their normal side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeTotal {
    /// The account code.
    pub code: u16,
    /// The sum.
    pub amount: Money,
    /// What is held of it.
    pub held: Money,
}

/// Two sums that must be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// `P1` to `P4`, or `custody`.
    pub name: String,
    /// One plane's word.
    pub left: Money,
    /// The other's.
    pub right: Money,
    /// Left less right.
    pub difference: Money,
}

/// A page of funds. Three statements: run it in a snapshot.
pub async fn funds(client: &impl GenericClient, slice: Slice<'_>) -> Result<Page<FundReport>, StoreError> {
    let sql = "SELECT fund, asset, currency, kind FROM funds WHERE fund > $1 ORDER BY fund LIMIT $2";
    let found = rows(client, sql, &[&slice.after_text(), &slice.fetch()]).await?;
    let items = found.iter().map(|row| {
        let fund: String = row.get(0);
        let report = FundReport {
            fund: parsed(&fund, "a fund")?,
            asset: row.get(1),
            currency: parsed(row.get(2), "a currency")?,
            kind: row.get(3),
            totals: Vec::new(),
            proofs: Vec::new(),
        };
        Ok((fund, report))
    });
    let mut page = Page::of(items.collect::<Result<_, StoreError>>()?, slice);
    let mut by_name: BTreeMap<String, &mut FundReport> =
        page.items.iter_mut().map(|report| (report.fund.to_string(), report)).collect();
    let names: Vec<String> = by_name.keys().cloned().collect();

    let sql = "SELECT b.fund, b.code, sum(b.amount)::text, sum(b.held)::text FROM balances b \
        JOIN funds f ON f.fund = b.fund AND f.currency = b.currency WHERE b.fund = ANY ($1) \
        GROUP BY b.fund, b.code ORDER BY b.code";
    for row in rows(client, sql, &[&names]).await? {
        if let Some(report) = by_name.get_mut(row.get::<_, &str>(0)) {
            let code = u16::try_from(row.get::<_, i16>(1)).map_err(|_| corrupt("a code"))?;
            let (amount, held) = (money(row.get(2), report.currency)?, money(row.get(3), report.currency)?);
            report.totals.push(CodeTotal { code, amount, held });
        }
    }

    let sql = "SELECT fund, proof, left_side::text, right_side::text, difference::text FROM fund_proofs \
        WHERE fund = ANY ($1) ORDER BY proof";
    for row in rows(client, sql, &[&names]).await? {
        if let Some(report) = by_name.get_mut(row.get::<_, &str>(0)) {
            let currency = report.currency;
            report.proofs.push(Proof {
                name: row.get(1),
                left: money(row.get(2), currency)?,
                right: money(row.get(3), currency)?,
                difference: money(row.get(4), currency)?,
            });
        }
    }
    Ok(page)
}

/// Every balance that is not zero, in the order of a bundle, with the size of the log at which all of them were read.
pub async fn balances(client: &mut Client) -> Result<(u64, Vec<BalanceLine>), StoreError> {
    let snapshot = snapshot(client).await?;
    let head = row(&snapshot, "SELECT size FROM head", &[]).await?.ok_or(corrupt("no head"))?;
    let sql = "SELECT account, fund, currency, amount::text, held::text FROM balances \
        WHERE amount <> 0 OR held <> 0";
    let found = rows(&snapshot, sql, &[]).await?;
    snapshot.commit().await?;
    let mut lines = found.iter().map(balance_line).collect::<Result<Vec<_>, _>>()?;
    lines.sort_by(BalanceLine::in_order);
    Ok((unsigned("head", head.get(0))?, lines))
}

fn balance_line(row: &Row) -> Result<BalanceLine, StoreError> {
    let currency = parsed(row.get(2), "a currency")?;
    let account = parsed(row.get(0), "an account")?;
    let fund = parsed(row.get(1), "a fund")?;
    let balance = Balance { amount: money(row.get(3), currency)?, held: money(row.get(4), currency)? };
    Ok(BalanceLine { key: BalanceKey { account, fund, currency }, balance })
}

/// A page of a fund's accounts in every currency; `None` where there is no such fund.
pub async fn accounts(
    client: &impl GenericClient,
    fund: &FundId,
    slice: Slice<'_>,
) -> Result<Option<Page<BalanceLine>>, StoreError> {
    // No account or currency has a '~'.
    let (account, currency) = slice.after_text().split_once('~').unwrap_or_default();
    let sql = "SELECT account, fund, currency, amount::text, held::text FROM balances \
        WHERE fund = $1 AND (account, currency) > ($2, $3) ORDER BY account, currency LIMIT $4";
    let (name, fetch) = (fund.as_str(), slice.fetch());
    let parameters: [&(dyn ToSql + Sync); 4] = [&name, &account, &currency, &fetch];
    let (known, found) = tokio::try_join!(
        row(client, "SELECT FROM funds WHERE fund = $1", &parameters[..1]),
        rows(client, sql, &parameters),
    )?;
    if known.is_none() {
        return Ok(None);
    }
    let items = found.iter().map(|row| {
        let line = balance_line(row)?;
        Ok((format!("{}~{}", line.key.account, line.key.currency), line))
    });
    Ok(Some(Page::of(items.collect::<Result<_, StoreError>>()?, slice)))
}
