//! What an agency reads of its own cases.
//!
//! A case of another agency and one that does not exist are one answer: [`CASE_NOT_FOUND`], from the one place where
//! the query's empty answer is turned into it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use ledger::currency::Currency;
use ledger::id::AgencyRef;
use ledger::money::Money;
use ledger::time::Timestamp;
use serde::Serialize;
use store::queries::agency::{self, AgencyCase, AgencyDisbursement, CaseReport, StatementLine};
use utoipa::ToSchema;

use super::params::{Listed, Named, Nothing, Paging, Params};
use crate::app::App;
use crate::auth::Identity;
use crate::openapi::types::{Amount, CurrencyCode, Day, Id, ScreeningState, StageName, Time};
use crate::problem::{CASE_NOT_FOUND, Problem};

#[derive(Serialize, ToSchema)]
#[schema(as = AgencyCaseListed)]
pub(super) struct AgencyCaseView {
    #[schema(value_type = Id)]
    agency_ref: String,
    #[schema(value_type = Day)]
    entered: String,
    #[schema(value_type = ScreeningState)]
    screening: String,
}

pub(super) async fn cases(
    State(app): State<App>,
    Extension(Identity { principal }): Extension<Identity>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<AgencyCaseView>>, Problem> {
    let slice = paging.slice(app.limits())?;
    let page = agency::cases(&mut app.databases().agency().await?, &principal, slice).await?;
    let view = |case: AgencyCase| AgencyCaseView {
        agency_ref: case.agency_ref,
        entered: case.entered,
        screening: case.screening,
    };
    Ok(Json(page.map(view).into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = AgencyCase)]
pub(super) struct CaseView {
    #[schema(value_type = Id)]
    agency_ref: String,
    #[schema(value_type = Time)]
    as_of: Timestamp,
    balances: Vec<BalanceView>,
    disbursements: Vec<DisbursementView>,
    #[schema(value_type = Day)]
    entered: String,
    #[schema(value_type = ScreeningState)]
    screening: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AgencyBalance)]
struct BalanceView {
    #[schema(value_type = Amount)]
    approved: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Amount)]
    due: String,
    #[schema(value_type = Amount)]
    paid: String,
    #[schema(value_type = Amount)]
    released: String,
    #[schema(value_type = Amount)]
    requested: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AgencyDisbursement)]
struct DisbursementView {
    #[schema(value_type = Amount)]
    amount: String,
    #[schema(value_type = Id)]
    benefit: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Id)]
    disbursement: String,
    #[schema(value_type = StageName)]
    stage: String,
}

pub(super) async fn case(
    State(app): State<App>,
    Extension(Identity { principal }): Extension<Identity>,
    Named(agency_ref): Named<AgencyRef>,
    _: Params<Nothing>,
) -> Result<Json<CaseView>, Problem> {
    let report = agency::case(&mut app.databases().agency().await?, &principal, &agency_ref).await?;
    let CaseReport { case, as_of, sums, disbursements } = report.ok_or(CASE_NOT_FOUND)?;
    Ok(Json(CaseView {
        agency_ref: case.agency_ref,
        as_of,
        balances: balances(&sums),
        disbursements: disbursements.into_iter().map(disbursement_view).collect(),
        entered: case.entered,
        screening: case.screening,
    }))
}

/// One balance a currency, by the stages that are still on their way or have reached their end.
fn balances(sums: &BTreeMap<(Currency, String), Money>) -> Vec<BalanceView> {
    let mut currencies: Vec<Currency> = sums.keys().map(|(currency, _)| *currency).collect();
    currencies.dedup();
    let view = |currency: Currency| {
        let at = |stage: &str| {
            let sum = sums.get(&(currency, stage.to_owned())).copied();
            sum.unwrap_or(Money::zero(currency)).digits()
        };
        BalanceView {
            approved: at("obligated"),
            currency,
            due: at("due"),
            paid: at("paid"),
            released: at("released"),
            requested: at("requested"),
        }
    };
    currencies.into_iter().map(view).collect()
}

fn disbursement_view(row: AgencyDisbursement) -> DisbursementView {
    DisbursementView {
        amount: row.amount.digits(),
        benefit: row.benefit,
        currency: row.amount.currency(),
        disbursement: row.disbursement,
        stage: row.stage,
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = StatementLine)]
pub(super) struct LineView {
    #[schema(value_type = Amount)]
    amount: String,
    #[schema(value_type = Time)]
    at: Timestamp,
    #[schema(value_type = Id)]
    benefit: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Id)]
    disbursement: String,
    #[schema(value_type = StageName)]
    event: String,
}

pub(super) async fn statement(
    State(app): State<App>,
    Extension(Identity { principal }): Extension<Identity>,
    Named(agency_ref): Named<AgencyRef>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<LineView>>, Problem> {
    let slice = paging.slice_by_position(app.limits())?;
    let mut client = app.databases().agency().await?;
    let page = agency::statement(&mut client, &principal, &agency_ref, slice).await?;
    let view = |line: StatementLine| LineView {
        amount: line.amount.digits(),
        at: line.at,
        benefit: line.benefit,
        currency: line.amount.currency(),
        disbursement: line.disbursement,
        event: line.event,
    };
    Ok(Json(page.ok_or(CASE_NOT_FOUND)?.map(view).into()))
}
