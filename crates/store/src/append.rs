//! The one statement that appends a group: a call of the database's function `append_group`, whose parameters are whole
//! columns of each table. However many records a group has, it is one message.

use std::io;

use programme::entity::DisbursementState;
use tokio_postgres::types::ToSql;

use crate::error::StoreError;
use crate::log::{Head, signed};
use crate::packed;
use crate::rows::{Report, Rows, Tables, amount, fund_kind, screening};

/// How many parameters `append_group` has.
const PARAMETERS: usize = 70;

type Column = Box<dyn ToSql + Send + Sync>;

/// One column of a list.
fn column<T, C>(rows: impl IntoIterator<Item = T>, cell: impl Fn(T) -> C) -> Vec<C> {
    rows.into_iter().map(cell).collect()
}

/// The call.
pub(crate) fn sql() -> String {
    let numbers: Vec<String> = (1..=PARAMETERS).map(|number| format!("${number}")).collect();
    format!("SELECT append_group({})", numbers.join(", "))
}

/// Its parameters, in order. With `tell`, other processes are notified of the new head.
pub(crate) fn parameters(
    rows: Rows,
    before: &Head,
    after: &Head,
    tell: bool,
) -> Result<[Column; PARAMETERS], StoreError> {
    let Rows { recorded_at, records, postings, entities, instructions, tables, changes, .. } = rows;
    let Tables { funds, cases, disbursements, statement_lines, reports, proposals } = tables;
    let payloads: Vec<Vec<u8>> =
        records.payloads.iter().map(|payload| packed::pack(payload)).collect::<Result<_, _>>()?;
    let (mut entity_keys, mut entity_values, mut entities_ended) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entities {
        match value {
            Some(value) => {
                entity_keys.push(key);
                entity_values.push(packed::pack(value.as_bytes())?);
            }
            None => entities_ended.push(key),
        }
    }
    // Once a day, what the rules no longer look at.
    let is_new_day = recorded_at.date() != before.recorded_at.date() && before.size > 0;
    let states = || disbursements.values();
    let packed_state =
        |state: &DisbursementState| packed::pack(&serde_json::to_vec(state).map_err(io::Error::from)?);
    let packed_states: Vec<Vec<u8>> = states().map(packed_state).collect::<Result<_, _>>()?;
    let lines = || statement_lines.iter();
    let (begun, changed): (Vec<_>, Vec<_>) =
        reports.iter().partition(|(_, report): &(_, &Report)| report.begins.is_some());
    let (report_positions, report_kinds): (Vec<i64>, Vec<&str>) =
        begun.iter().filter_map(|(_, report)| report.begins).unzip();
    Ok([
        Box::new(signed(before.size)),
        Box::new(before.root.as_bytes().to_vec()),
        Box::new(before.forked),
        Box::new(signed(after.size)),
        Box::new(after.root.as_bytes().to_vec()),
        Box::new(after.frontier.encode()),
        Box::new(after.recorded_at.unix()),
        // Records.
        Box::new(records.kinds),
        Box::new(records.keys),
        Box::new(payloads),
        Box::new(records.signatures),
        // Funds.
        Box::new(column(&funds, |(id, _)| id.to_string())),
        Box::new(column(&funds, |(_, fund)| fund.asset.to_string())),
        Box::new(column(&funds, |(_, fund)| fund.currency.to_string())),
        Box::new(column(&funds, |(_, fund)| fund_kind(fund.kind))),
        // Postings.
        Box::new(postings.entries),
        Box::new(postings.lines),
        Box::new(postings.actions),
        Box::new(postings.accounts),
        Box::new(postings.funds),
        Box::new(postings.currencies),
        Box::new(postings.amounts),
        Box::new(postings.holds),
        // Entities.
        Box::new(entity_keys),
        Box::new(entity_values),
        Box::new(!changes.entities),
        Box::new(entities_ended),
        // Instructions.
        Box::new(column(instructions.keys(), |(signer, _)| signer.clone())),
        Box::new(column(instructions.keys(), |(_, id)| id.clone())),
        Box::new(column(instructions.values(), |known| known.digest.as_bytes().to_vec())),
        Box::new(column(instructions.values(), |known| known.position)),
        Box::new(column(instructions.values(), |known| known.not_after)),
        Box::new(!changes.instructions),
        Box::new(is_new_day.then(|| recorded_at.unix())),
        // Cases.
        Box::new(column(cases.keys(), |case| case.to_string())),
        Box::new(column(cases.values(), |case| case.opening.agency.to_string())),
        Box::new(column(cases.values(), |case| case.opening.agency_ref.to_string())),
        Box::new(column(cases.values(), |case| case.opening.entered.to_string())),
        Box::new(column(cases.values(), |case| case.opening.offer.offer.to_string())),
        Box::new(column(cases.values(), |case| {
            i64::try_from(case.opening.offer.version.0).unwrap_or(i64::MAX)
        })),
        Box::new(column(cases.values(), |case| screening(case.screening))),
        // Disbursements.
        Box::new(column(disbursements.keys(), |id| id.to_string())),
        Box::new(column(states(), |state| state.opening.agency.to_string())),
        Box::new(column(states(), |state| state.opening.agency_ref.to_string())),
        Box::new(column(states(), |state| state.fund.to_string())),
        Box::new(column(states(), |state| state.benefit.to_string())),
        Box::new(column(states(), |state| state.stage.name())),
        Box::new(column(states(), |state| state.amount.currency().to_string())),
        Box::new(column(states(), |state| amount(state).amount().to_string())),
        Box::new(column(states(), |state| state.expires.unix())),
        Box::new(column(states(), |state| state.stage.can_lapse())),
        Box::new(packed_states),
        Box::new(!changes.disbursements),
        // Statement lines.
        Box::new(column(lines(), |line| line.state.opening.agency.to_string())),
        Box::new(column(lines(), |line| line.state.opening.agency_ref.to_string())),
        Box::new(column(lines(), |line| line.position)),
        Box::new(column(lines(), |line| line.disbursement.to_string())),
        Box::new(column(lines(), |line| line.state.stage.name())),
        Box::new(column(lines(), |line| line.state.benefit.to_string())),
        Box::new(column(lines(), |line| line.state.amount.currency().to_string())),
        Box::new(column(lines(), |line| amount(&line.state).amount().to_string())),
        // Reports.
        Box::new(column(&begun, |(digest, _)| digest.to_string())),
        Box::new(report_positions),
        Box::new(report_kinds),
        Box::new(column(&begun, |(_, report)| report.status)),
        Box::new(column(&changed, |(digest, _)| digest.to_string())),
        Box::new(column(&changed, |(_, report)| report.status)),
        // Proposals.
        Box::new(column(&proposals, |(digest, _)| digest.to_string())),
        Box::new(column(&proposals, |(_, position)| *position)),
        Box::new(tell),
    ])
}
