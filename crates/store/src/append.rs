//! The statements that append a group, each with its columns. A statement takes whole columns, so that a group is a
//! fixed number of statements however many records it has; one that would write nothing is left out.
//!
//! The order is that of the constraints: funds before the postings whose proofs are made of them, the head last.

use std::collections::BTreeMap;
use std::io;

use signing::digest::Digest;
use tokio_postgres::types::ToSql;

use crate::error::StoreError;
use crate::log::{Head, signed};
use crate::packed;
use crate::rows::{Report, Rows, Tables, amount, fund_kind, screening};

const RECORDS: &str = "INSERT INTO records (position, kind, keyid, payload, signature) \
    SELECT $1::bigint + n - 1, kind, keyid, payload, signature \
    FROM unnest($2::smallint[], $3::bytea[], $4::bytea[], $5::bytea[]) WITH ORDINALITY \
        AS r (kind, keyid, payload, signature, n)";
const FUNDS: &str = "INSERT INTO funds (fund, asset, currency, kind) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])";
const POSTINGS: &str = "INSERT INTO postings (entry, line, action, account, fund, currency, amount, hold) \
    SELECT entry, line, action, account, fund, currency, amount::numeric, hold \
    FROM unnest($1::bigint[], $2::smallint[], $3::\"char\"[], $4::text[], $5::text[], $6::text[], $7::text[], \
        $8::text[]) AS p (entry, line, action, account, fund, currency, amount, hold)";
const ENTITIES: &str = "INSERT INTO entities (key, value) SELECT * FROM unnest($1::text[], $2::bytea[]) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const ENTITIES_ENDED: &str = "DELETE FROM entities WHERE key = ANY($1::text[])";
const INSTRUCTIONS: &str = "INSERT INTO instructions (signer, id, digest, position, not_after) \
    SELECT signer, id::uuid, digest, position, not_after \
    FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[]) \
        AS i (signer, id, digest, position, not_after) \
    ON CONFLICT (signer, id) DO UPDATE \
    SET digest = excluded.digest, position = excluded.position, not_after = excluded.not_after";
const INSTRUCTIONS_EXPIRED: &str = "DELETE FROM instructions WHERE not_after < $1";
const CASES: &str = "INSERT INTO cases (case_ref, agency, agency_ref, entered, offer, offer_version, screening) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[]) \
    ON CONFLICT (case_ref) DO UPDATE \
    SET agency = excluded.agency, agency_ref = excluded.agency_ref, entered = excluded.entered, \
        offer = excluded.offer, offer_version = excluded.offer_version, screening = excluded.screening";
const DISBURSEMENTS: &str = "INSERT INTO disbursements \
        (disbursement, agency, agency_ref, fund, benefit, stage, currency, amount, expires, can_lapse, state) \
    SELECT disbursement, agency, agency_ref, fund, benefit, stage, currency, amount::numeric, expires, can_lapse, state \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
        $9::bigint[], $10::boolean[], $11::bytea[]) \
        AS d (disbursement, agency, agency_ref, fund, benefit, stage, currency, amount, expires, can_lapse, state) \
    ON CONFLICT (disbursement) DO UPDATE \
    SET agency = excluded.agency, agency_ref = excluded.agency_ref, fund = excluded.fund, \
        benefit = excluded.benefit, stage = excluded.stage, currency = excluded.currency, \
        amount = excluded.amount, expires = excluded.expires, can_lapse = excluded.can_lapse, \
        state = excluded.state";
const STATEMENT_LINES: &str = "INSERT INTO statement_lines \
        (agency, agency_ref, position, disbursement, at, event, benefit, currency, amount) \
    SELECT agency, agency_ref, position, disbursement, at, event, benefit, currency, amount::numeric \
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], \
        $9::text[]) AS s (agency, agency_ref, position, disbursement, at, event, benefit, currency, amount)";
const REPORTS: &str = "INSERT INTO reports (report, position, kind, status) \
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])";
const REPORTS_CHANGED: &str = "UPDATE reports SET status = c.status \
    FROM unnest($1::text[], $2::text[]) AS c (report, status) WHERE reports.report = c.report";
const HEAD: &str = "UPDATE head SET size = $1, root = $2, frontier = $3, recorded_at = $4";
const TELL: &str = "SELECT pg_notify('safeconduct_head', '')";

/// Every statement that a group may take.
pub(crate) const ALL: [&str; 14] = [
    RECORDS,
    FUNDS,
    POSTINGS,
    ENTITIES,
    ENTITIES_ENDED,
    INSTRUCTIONS,
    INSTRUCTIONS_EXPIRED,
    CASES,
    DISBURSEMENTS,
    STATEMENT_LINES,
    REPORTS,
    REPORTS_CHANGED,
    HEAD,
    TELL,
];

type Column = Box<dyn ToSql + Send + Sync>;

/// A statement and its columns.
pub(crate) struct Statement {
    pub sql: &'static str,
    pub columns: Vec<Column>,
}

impl Statement {
    fn of(sql: &'static str, columns: Vec<Column>) -> Statement {
        Statement { sql, columns }
    }
}

macro_rules! columns {
    ($($column:expr),* $(,)?) => { vec![$(Box::new($column) as Column),*] };
}

/// One column of a list.
fn column<T, C>(rows: impl IntoIterator<Item = T>, cell: impl Fn(T) -> C) -> Vec<C> {
    rows.into_iter().map(cell).collect()
}

/// The statements that write a group, in order. With `tell`, other processes are notified of the new head.
pub(crate) fn statements(
    rows: Rows,
    before: &Head,
    after: &Head,
    tell: bool,
) -> Result<Vec<Statement>, StoreError> {
    let Rows { first, recorded_at, records, postings, entities, instructions, tables, .. } = rows;
    let Tables { funds, cases, disbursements, statement_lines, reports } = tables;
    let payloads: Vec<Vec<u8>> =
        records.payloads.iter().map(|payload| packed::pack(payload)).collect::<Result<_, _>>()?;
    let mut all = vec![Statement::of(
        RECORDS,
        columns![signed(first), records.kinds, records.keys, payloads, records.signatures],
    )];
    if !funds.is_empty() {
        let list = columns![
            column(&funds, |(id, _)| id.to_string()),
            column(&funds, |(_, fund)| fund.asset.to_string()),
            column(&funds, |(_, fund)| fund.currency.to_string()),
            column(&funds, |(_, fund)| fund_kind(fund.kind)),
        ];
        all.push(Statement::of(FUNDS, list));
    }
    if !postings.entries.is_empty() {
        let list = columns![
            postings.entries,
            postings.lines,
            postings.actions,
            postings.accounts,
            postings.funds,
            postings.currencies,
            postings.amounts,
            postings.holds,
        ];
        all.push(Statement::of(POSTINGS, list));
    }
    let (mut keys, mut values, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entities {
        match value {
            Some(value) => {
                keys.push(key);
                values.push(packed::pack(value.as_bytes())?);
            }
            None => ended.push(key),
        }
    }
    if !keys.is_empty() {
        all.push(Statement::of(ENTITIES, columns![keys, values]));
    }
    if !ended.is_empty() {
        all.push(Statement::of(ENTITIES_ENDED, columns![ended]));
    }
    // Once a day, what the rules no longer look at.
    if recorded_at.date() != before.recorded_at.date() && before.size > 0 {
        all.push(Statement::of(INSTRUCTIONS_EXPIRED, columns![recorded_at.unix()]));
    }
    if !instructions.is_empty() {
        let list = columns![
            column(instructions.keys(), |(signer, _)| signer.clone()),
            column(instructions.keys(), |(_, id)| id.clone()),
            column(instructions.values(), |known| known.digest.as_bytes().to_vec()),
            column(instructions.values(), |known| known.position),
            column(instructions.values(), |known| known.not_after),
        ];
        all.push(Statement::of(INSTRUCTIONS, list));
    }
    if !cases.is_empty() {
        let list = columns![
            column(cases.keys(), |case| case.to_string()),
            column(cases.values(), |case| case.agency.to_string()),
            column(cases.values(), |case| case.agency_ref.to_string()),
            column(cases.values(), |case| case.entered.to_string()),
            column(cases.values(), |case| case.offer.offer.to_string()),
            column(cases.values(), |case| i64::try_from(case.offer.version.0).unwrap_or(i64::MAX)),
            column(cases.values(), |case| screening(case.screening)),
        ];
        all.push(Statement::of(CASES, list));
    }
    if !disbursements.is_empty() {
        let states = || disbursements.values();
        let packed = |state| packed::pack(&serde_json::to_vec(state).map_err(io::Error::from)?);
        let packed: Vec<Vec<u8>> = states().map(packed).collect::<Result<_, _>>()?;
        let list = columns![
            column(disbursements.keys(), |id| id.to_string()),
            column(states(), |state| state.agency.to_string()),
            column(states(), |state| state.agency_ref.to_string()),
            column(states(), |state| state.fund.to_string()),
            column(states(), |state| state.benefit.to_string()),
            column(states(), |state| state.stage.name()),
            column(states(), |state| state.amount.currency().to_string()),
            column(states(), |state| amount(state).amount().to_string()),
            column(states(), |state| state.expires.unix()),
            column(states(), |state| state.stage.can_lapse()),
            packed,
        ];
        all.push(Statement::of(DISBURSEMENTS, list));
    }
    if !statement_lines.is_empty() {
        let lines = || statement_lines.iter();
        let list = columns![
            column(lines(), |line| line.state.agency.to_string()),
            column(lines(), |line| line.state.agency_ref.to_string()),
            column(lines(), |line| line.position),
            column(lines(), |line| line.disbursement.to_string()),
            column(lines(), |_| recorded_at.unix()),
            column(lines(), |line| line.state.stage.name()),
            column(lines(), |line| line.state.benefit.to_string()),
            column(lines(), |line| line.state.amount.currency().to_string()),
            column(lines(), |line| amount(&line.state).amount().to_string()),
        ];
        all.push(Statement::of(STATEMENT_LINES, list));
    }
    all.extend(of_reports(&reports));
    let head = columns![
        signed(after.size),
        after.root.as_bytes().to_vec(),
        after.frontier.encode(),
        after.recorded_at.unix(),
    ];
    all.push(Statement::of(HEAD, head));
    if tell {
        all.push(Statement::of(TELL, vec![]));
    }
    Ok(all)
}

fn of_reports(reports: &BTreeMap<Digest, Report>) -> Vec<Statement> {
    let (begun, changed): (Vec<_>, Vec<_>) = reports.iter().partition(|(_, report)| report.begins.is_some());
    let mut all = Vec::new();
    if !begun.is_empty() {
        let (positions, kinds): (Vec<i64>, Vec<&str>) =
            begun.iter().filter_map(|(_, report)| report.begins).unzip();
        let list = columns![
            column(&begun, |(digest, _)| digest.to_string()),
            positions,
            kinds,
            column(&begun, |(_, report)| report.status),
        ];
        all.push(Statement::of(REPORTS, list));
    }
    if !changed.is_empty() {
        let list = columns![
            column(&changed, |(digest, _)| digest.to_string()),
            column(&changed, |(_, report)| report.status),
        ];
        all.push(Statement::of(REPORTS_CHANGED, list));
    }
    all
}
