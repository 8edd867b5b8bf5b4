//! What an agency reads of its own cases.
//!
//! A case of another agency and one that does not exist are one answer: [`CASE_NOT_FOUND`], from the one place where
//! the query's empty answer is turned into it.
//!
//! A read is written down on the primary before it is answered, and answered from a standby where there is one: each answer
//! says of when it is, and how far that is behind the ledger. Reads that wait are written down and answered together
//! ([`crate::reads`]).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderName;
use axum::response::AppendHeaders;
use axum::{Extension, Json};
use ledger::currency::Currency;
use ledger::id::AgencyRef;
use ledger::money::Money;
use ledger::time::Timestamp;
use serde::Serialize;
use store::queries::Slice;
use store::queries::agency::{AgencyCase, AgencyDisbursement, Asked, CaseReport, Part, StatementLine, Told};
use utoipa::ToSchema;

use super::params::{Listed, Named, Nothing, Paging, Params};
use crate::app::App;
use crate::auth::Signer;
use crate::openapi::types::{Amount, CurrencyCode, Day, Id, Number, ScreeningState, StageName, Time};
use crate::openapi::{Header, reference};
use crate::problem::{CASE_NOT_FOUND, INTERNAL, Problem};
use crate::reads::{Answer, Read};

const AS_OF: &str = "safeconduct-as-of";
const BEHIND: &str = "safeconduct-behind-s";

/// The headers of every answer here.
pub(super) const FRESHNESS: &[Header] = &[
    Header {
        name: AS_OF,
        description: "When the state was recorded that the answer is made of.",
        schema: reference::<Time>,
    },
    Header {
        name: BEHIND,
        description: "By how many seconds that is older than the ledger's last group, when the agency asked.",
        schema: reference::<Number>,
    },
];

type Freshness = AppendHeaders<[(HeaderName, String); 2]>;

/// What an agency asks for, and how fresh it is; `None` where the answer is to something else, which it never is.
async fn read<T>(
    app: &App,
    signer: Signer,
    asked: Asked,
    of: impl Fn(Told) -> Option<T>,
) -> Result<(Freshness, Timestamp, T), Problem> {
    let Answer { told, as_of, latest } = app.reads().read(Read { signer, asked }).await?;
    // `latest` was asked for beside the answer, which may be newer.
    let behind_s = latest.since(as_of).unwrap_or(0);
    let freshness = AppendHeaders(
        [(AS_OF, as_of.to_string()), (BEHIND, behind_s.to_string())]
            .map(|(name, value)| (HeaderName::from_static(name), value)),
    );
    Ok((freshness, as_of, of(told).ok_or(INTERNAL)?))
}

fn part(slice: Slice<'_>) -> Part {
    Part { after: slice.after.map(str::to_owned), limit: slice.limit }
}

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
    Extension(signer): Extension<Signer>,
    Params(paging): Params<Paging>,
) -> Result<(Freshness, Json<Listed<AgencyCaseView>>), Problem> {
    let asked = Asked::Cases(part(paging.slice(app.limits())?));
    let cases = |told| if let Told::Cases(page) = told { Some(page) } else { None };
    let (freshness, _, page) = read(&app, signer, asked, cases).await?;
    let view = |case: AgencyCase| AgencyCaseView {
        agency_ref: case.agency_ref,
        entered: case.entered,
        screening: case.screening,
    };
    Ok((freshness, Json(page.map(view).into())))
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
    Extension(signer): Extension<Signer>,
    Named(agency_ref): Named<AgencyRef>,
    _: Params<Nothing>,
) -> Result<(Freshness, Json<CaseView>), Problem> {
    let case = |told| if let Told::Case(report) = told { Some(report) } else { None };
    let (freshness, as_of, report) = read(&app, signer, Asked::Case(agency_ref), case).await?;
    let CaseReport { case, sums, disbursements } = report.ok_or(CASE_NOT_FOUND)?;
    let view = CaseView {
        agency_ref: case.agency_ref,
        as_of,
        balances: balances(&sums),
        disbursements: disbursements.into_iter().map(disbursement_view).collect(),
        entered: case.entered,
        screening: case.screening,
    };
    Ok((freshness, Json(view)))
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
    Extension(signer): Extension<Signer>,
    Named(agency_ref): Named<AgencyRef>,
    Params(paging): Params<Paging>,
) -> Result<(Freshness, Json<Listed<LineView>>), Problem> {
    let asked = Asked::Statement(agency_ref, part(paging.slice_by_position(app.limits())?));
    let statement = |told| if let Told::Statement(page) = told { Some(page) } else { None };
    let (freshness, _, page) = read(&app, signer, asked, statement).await?;
    let view = |line: StatementLine| LineView {
        amount: line.amount.digits(),
        at: line.at,
        benefit: line.benefit,
        currency: line.amount.currency(),
        disbursement: line.disbursement,
        event: line.event,
    };
    let page = page.ok_or(CASE_NOT_FOUND)?.map(view);
    Ok((freshness, Json(page.into())))
}
