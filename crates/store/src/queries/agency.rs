//! What an agency reads, on the pool whose role sees the rows of one agency only.
//!
//! A read is written down on the primary first ([`record_read`]), and then answered in one transaction that names the agency,
//! on a standby where there is one. A case of another agency and a case that does not exist go through the same statements and
//! come out of the same branch: row-level security and the statement's own condition make both an empty answer.

use std::collections::BTreeMap;

use deadpool_postgres::{Client, Transaction};
use ledger::currency::Currency;
use ledger::id::{AgencyRef, PrincipalId};
use ledger::money::Money;
use ledger::time::Timestamp;
use tokio_postgres::Row;

use super::{Page, Slice, corrupt, money, parsed, row, rows, snapshot};
use crate::error::StoreError;
use crate::load::{time, unsigned};

/// The most disbursements that one answer about a case lists.
pub const CASE_DISBURSEMENTS_MAX: u32 = 500;

/// A case, as its agency sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyCase {
    /// The agency's reference.
    pub agency_ref: String,
    /// The day on which the person entered.
    pub entered: String,
    /// `open`, `cleared` or `refused`.
    pub screening: String,
}

/// A disbursement, as its case's agency sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyDisbursement {
    /// The disbursement.
    pub disbursement: String,
    /// Its benefit.
    pub benefit: String,
    /// Its stage.
    pub stage: String,
    /// Its amount.
    pub amount: Money,
}

/// An answer, and the time of the last group that it takes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// When the state was recorded that it is made of.
    pub as_of: Timestamp,
}

/// A case's balances and disbursements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// The case.
    pub case: AgencyCase,
    /// Per currency and stage, what its disbursements come to.
    pub sums: BTreeMap<(Currency, String), Money>,
    /// The first [`CASE_DISBURSEMENTS_MAX`] of them.
    pub disbursements: Vec<AgencyDisbursement>,
}

/// A line of a case's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLine {
    /// When.
    pub at: Timestamp,
    /// Which stage was entered.
    pub event: String,
    /// Of which disbursement.
    pub disbursement: String,
    /// Under which benefit.
    pub benefit: String,
    /// Of what amount.
    pub amount: Money,
}

/// Writes down that an agency reads something, for good when this returns, and answers the time of the ledger's last group.
/// `client` is the service's: a standby takes no writes, and an agency's own role writes nothing.
pub async fn record_read(
    client: &Client,
    agency: &PrincipalId,
    resource: &str,
    agency_ref: Option<&AgencyRef>,
) -> Result<Timestamp, StoreError> {
    let sql = "INSERT INTO reads (agency, resource, agency_ref) VALUES ($1, $2, $3) \
        RETURNING (SELECT recorded_at FROM head)";
    let params = (agency.as_str(), resource, agency_ref.map(AgencyRef::as_str));
    let head = row(client, sql, &[&params.0, &params.1, &params.2]).await?.ok_or(corrupt("no head"))?;
    time("head", head.get(0))
}

/// A page of the agency's cases.
pub async fn cases(
    client: &mut Client,
    agency: &PrincipalId,
    slice: Slice<'_>,
) -> Result<Answered<Page<AgencyCase>>, StoreError> {
    let transaction = begin(client, agency).await?;
    let sql = "SELECT agency_ref, entered, screening FROM cases \
        WHERE agency = $1 AND agency_ref > $2 ORDER BY agency_ref LIMIT $3";
    let found = rows(&transaction, sql, &[&agency.as_str(), &slice.after_text(), &slice.fetch()]).await?;
    let as_of = end(transaction).await?;
    let answer = Page::of(found.iter().map(|row| (row.get(0), agency_case(row))).collect(), slice);
    Ok(Answered { answer, as_of })
}

/// What there is about a case; `None` where it does not exist or is another agency's.
pub async fn case(
    client: &mut Client,
    agency: &PrincipalId,
    agency_ref: &AgencyRef,
) -> Result<Answered<Option<CaseReport>>, StoreError> {
    let transaction = begin(client, agency).await?;
    let found = find(&transaction, agency, agency_ref).await?;
    let sql = "SELECT currency, stage, sum(amount)::text FROM disbursements \
        WHERE agency = $1 AND agency_ref = $2 GROUP BY currency, stage";
    let sums = rows(&transaction, sql, &[&agency.as_str(), &agency_ref.as_str()]).await?;
    let sql = "SELECT disbursement, benefit, stage, currency, amount::text FROM disbursements \
        WHERE agency = $1 AND agency_ref = $2 ORDER BY disbursement LIMIT $3";
    let limit = i64::from(CASE_DISBURSEMENTS_MAX);
    let listed = rows(&transaction, sql, &[&agency.as_str(), &agency_ref.as_str(), &limit]).await?;
    let as_of = end(transaction).await?;

    let sum = |row: &Row| {
        let currency = parsed(row.get(0), "a currency")?;
        Ok(((currency, row.get(1)), money(row.get(2), currency)?))
    };
    let disbursement = |row: &Row| {
        let amount = money(row.get(4), parsed(row.get(3), "a currency")?)?;
        Ok(AgencyDisbursement { disbursement: row.get(0), benefit: row.get(1), stage: row.get(2), amount })
    };
    let sums = sums.iter().map(sum).collect::<Result<_, StoreError>>()?;
    let disbursements = listed.iter().map(disbursement).collect::<Result<_, StoreError>>()?;
    Ok(Answered { answer: found.map(|case| CaseReport { case, sums, disbursements }), as_of })
}

/// A page of a case's statement; `None` where the case does not exist or is another agency's.
pub async fn statement(
    client: &mut Client,
    agency: &PrincipalId,
    agency_ref: &AgencyRef,
    slice: Slice<'_>,
) -> Result<Answered<Option<Page<StatementLine>>>, StoreError> {
    let transaction = begin(client, agency).await?;
    let found = find(&transaction, agency, agency_ref).await?;
    let sql = "SELECT position, at, event, disbursement, benefit, currency, amount::text FROM statement_lines \
        WHERE agency = $1 AND agency_ref = $2 AND position > $3 ORDER BY position LIMIT $4";
    let params = (agency.as_str(), agency_ref.as_str(), slice.after_position(), slice.fetch());
    let lines = rows(&transaction, sql, &[&params.0, &params.1, &params.2, &params.3]).await?;
    let as_of = end(transaction).await?;

    let line = |row: &Row| {
        let at = time("statement_lines", row.get(1))?;
        let line = StatementLine {
            at,
            event: row.get(2),
            disbursement: row.get(3),
            benefit: row.get(4),
            amount: money(row.get(6), parsed(row.get(5), "a currency")?)?,
        };
        Ok((unsigned("statement_lines", row.get(0))?.to_string(), line))
    };
    let page = Page::of(lines.iter().map(line).collect::<Result<_, StoreError>>()?, slice);
    Ok(Answered { answer: found.map(|_| page), as_of })
}

/// Begins a transaction of one agency.
async fn begin<'a>(client: &'a mut Client, agency: &PrincipalId) -> Result<Transaction<'a>, StoreError> {
    let transaction = snapshot(client).await?;
    let sql = "SELECT set_config('safeconduct.agency', $1, true)";
    rows(&transaction, sql, &[&agency.as_str()]).await?;
    Ok(transaction)
}

/// Ends it, and answers the time of the last group that it saw.
async fn end(transaction: Transaction<'_>) -> Result<Timestamp, StoreError> {
    let head = row(&transaction, "SELECT recorded_at FROM head", &[]).await?.ok_or(corrupt("no head"))?;
    transaction.commit().await?;
    time("head", head.get(0))
}

async fn find(
    transaction: &Transaction<'_>,
    agency: &PrincipalId,
    agency_ref: &AgencyRef,
) -> Result<Option<AgencyCase>, StoreError> {
    let sql = "SELECT agency_ref, entered, screening FROM cases WHERE agency = $1 AND agency_ref = $2";
    let found = rows(transaction, sql, &[&agency.as_str(), &agency_ref.as_str()]).await?;
    Ok(found.first().map(agency_case))
}

fn agency_case(row: &Row) -> AgencyCase {
    AgencyCase { agency_ref: row.get(0), entered: row.get(1), screening: row.get(2) }
}
