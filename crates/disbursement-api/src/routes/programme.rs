//! Offers, cases, disbursements and reports, as officers read them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use ledger::id::{DisbursementId, EntryId, OfferId, PrincipalId};
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use programme::entity::{DisbursementState, OfferVersionState, PolicyState, ReportStatus, VersionedPolicy};
use programme::stage::Stage;
use programme::{Code, Key, effect_of};
use records::cases::Benefit;
use records::disbursements::Effect;
use records::governance::Band;
use records::scalar::Integer;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::dsse::Envelope;
use store::log;
use store::queries::{self, lists};
use utoipa::ToSchema;

use super::params::{Listed, Named, Nothing, Paging, Params};
use crate::app::App;
use crate::openapi::types::{
    Day, EntryName, Hash, Id, MoneyAmount, Number, ScreeningState, SignedEnvelope, Specified, StageName, Time,
};
use crate::problem::{INTERNAL, Problem};

#[derive(Serialize, ToSchema)]
#[schema(as = Offer)]
pub(super) struct OfferView {
    #[schema(value_type = Vec<Specified>)]
    benefits: Vec<Benefit>,
    #[schema(value_type = Id)]
    offer: OfferId,
    #[schema(value_type = Day)]
    valid_from: Date,
    #[schema(value_type = Number)]
    version: Integer,
}

pub(super) async fn offers(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<OfferView>>, Problem> {
    let client = app.databases().read().await?;
    let slice = paging.slice(app.limits())?;
    let page = lists::entities::<OfferVersionState>(&client, lists::Listed::OfferVersions, slice).await?;
    let view = |(name, state): (String, OfferVersionState)| {
        let (offer, version) = name.split_once('/')?;
        let (offer, version) = (offer.parse().ok()?, version.parse().ok()?);
        Some(OfferView { benefits: state.benefits, offer, valid_from: state.valid_from, version })
    };
    Ok(Json(page.try_map(|item| view(item).ok_or(Problem::from(INTERNAL)))?.into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Disbursement)]
pub(super) struct DisbursementView {
    #[schema(value_type = Vec<Id>)]
    approvals: Vec<PrincipalId>,
    #[schema(value_type = Id)]
    disbursement: DisbursementId,
    #[schema(value_type = Specified)]
    effect: Effect,
    in_kind: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EntryName>)]
    last_entry: Option<EntryId>,
    needs: Needs,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MoneyAmount>)]
    payable: Option<Money>,
    #[schema(value_type = Time)]
    requested_at: Timestamp,
    #[schema(value_type = StageName)]
    stage: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApprovalsNeeded)]
struct Needs {
    #[schema(value_type = Number)]
    approvers: Integer,
    #[schema(value_type = Number)]
    directors: Integer,
}

impl DisbursementView {
    fn of(disbursement: DisbursementId, state: DisbursementState, policy: &VersionedPolicy) -> Self {
        let effect = effect_of(&disbursement, &state, policy.version);
        let of_amount = |band: &&Band| state.amount.at_most(band.up_to) == Ok(true);
        // Under a policy without a band for it, nothing of this amount can be approved.
        let band = policy.policy.bands.iter().find(of_amount);
        let (approvers, directors) =
            band.map_or((Integer(0), Integer(0)), |band| (band.approvers, band.directors));
        let payable = match &state.stage {
            Stage::Due(owed) => Some(owed.payable),
            Stage::Released(sent) | Stage::Paid(sent) => Some(sent.owed.payable),
            Stage::Requested { .. } | Stage::Obligated { .. } | Stage::Ended(_) => None,
        };
        // While approvals are gathered, those under another policy no longer count.
        let gathering = matches!(state.stage, Stage::Requested { .. });
        let counting =
            state.stage.approvals().iter().filter(|one| !gathering || one.policy == policy.version);
        DisbursementView {
            approvals: counting.map(|one| one.approver.clone()).collect(),
            disbursement,
            effect,
            in_kind: state.in_kind,
            last_entry: state.undo.as_ref().map(|undo| undo.entry.id),
            needs: Needs { approvers, directors },
            payable,
            requested_at: state.requested_at,
            stage: state.stage.name(),
        }
    }
}

pub(super) const STAGES: [&str; 8] =
    ["requested", "obligated", "due", "released", "paid", "rejected", "cancelled", "lapsed"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DisbursementsParams {
    cursor: Option<String>,
    limit: Option<Integer>,
    stage: Option<String>,
}

pub(super) async fn disbursements(
    State(app): State<App>,
    Params(DisbursementsParams { cursor, limit, stage }): Params<DisbursementsParams>,
) -> Result<Json<Listed<DisbursementView>>, Problem> {
    let paging = Paging::new(cursor, limit);
    let stage = one_of("stage", stage.as_deref(), &STAGES)?;
    let mut client = app.databases().read().await?;
    let snapshot = queries::snapshot(&mut client).await?;
    let policy =
        lists::entity::<PolicyState>(&snapshot, &Key::Policy).await?.ok_or(Code::LedgerNotFounded)?;
    let policy = policy.at(app.now());
    let page = lists::disbursements(&snapshot, stage, paging.slice(app.limits())?).await?;
    Ok(Json(page.map(|(id, state)| DisbursementView::of(id, state, policy)).into()))
}

pub(super) async fn disbursement(
    State(app): State<App>,
    Named(id): Named<DisbursementId>,
    _: Params<Nothing>,
) -> Result<Json<DisbursementView>, Problem> {
    let mut client = app.databases().read().await?;
    let snapshot = queries::snapshot(&mut client).await?;
    let policy =
        lists::entity::<PolicyState>(&snapshot, &Key::Policy).await?.ok_or(Code::LedgerNotFounded)?;
    let state = lists::disbursement(&snapshot, &id).await?;
    let state = state.ok_or(Code::DisbursementUnknown)?;
    Ok(Json(DisbursementView::of(id, state, policy.at(app.now()))))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Report)]
pub(super) struct ReportView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EntryName>)]
    entry: Option<EntryId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SignedEnvelope>)]
    envelope: Option<Envelope>,
    kind: String,
    #[schema(value_type = Vec<Id>)]
    persons: Vec<PrincipalId>,
    #[schema(value_type = Number)]
    position: Integer,
    #[schema(value_type = Hash)]
    report: Digest,
    #[schema(pattern = "^(waiting|posted|reversed)$")]
    status: &'static str,
}

pub(super) async fn reports(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<ReportView>>, Problem> {
    let client = app.databases().read().await?;
    let page = lists::reports(&client, paging.slice_by_position(app.limits())?).await?;
    // Who countersigns has to see what was signed, not what we say of it.
    let mut envelopes = BTreeMap::new();
    for row in page.items.iter().filter(|row| matches!(row.state.status, ReportStatus::Waiting { .. })) {
        let record = log::record(&client, row.position).await?;
        envelopes.extend(record.map(|record| (row.report, record.envelope().clone())));
    }
    let view = |row: lists::ReportRow| {
        let envelope = envelopes.remove(&row.report);
        let (status, entry) = match row.state.status {
            ReportStatus::Waiting { .. } => ("waiting", None),
            ReportStatus::Posted(posted) => ("posted", posted.map(|entry| entry.id)),
            ReportStatus::Reversed => ("reversed", None),
        };
        let persons = row.state.persons.into_iter().map(|(person, _)| person).collect();
        let position = Integer(row.position);
        ReportView { entry, envelope, kind: row.kind, persons, position, report: row.report, status }
    };
    Ok(Json(page.map(view).into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Case)]
pub(super) struct CaseView {
    #[schema(value_type = Id)]
    agency: String,
    #[schema(value_type = Id)]
    case: String,
    #[schema(value_type = Day)]
    entered: String,
    offer: CaseOffer,
    #[schema(value_type = ScreeningState)]
    screening: String,
}

#[derive(Serialize, ToSchema)]
struct CaseOffer {
    #[schema(value_type = Id)]
    offer: String,
    #[schema(value_type = Number)]
    version: Integer,
}

pub(super) const SCREENINGS: [&str; 3] = ["open", "cleared", "refused"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CasesParams {
    cursor: Option<String>,
    limit: Option<Integer>,
    screening: Option<String>,
}

pub(super) async fn cases(
    State(app): State<App>,
    Params(CasesParams { cursor, limit, screening }): Params<CasesParams>,
) -> Result<Json<Listed<CaseView>>, Problem> {
    let paging = Paging::new(cursor, limit);
    let screening = one_of("screening", screening.as_deref(), &SCREENINGS)?;
    let client = app.databases().read().await?;
    let page = lists::cases(&client, screening, paging.slice(app.limits())?).await?;
    let view = |row: lists::CaseRow| CaseView {
        agency: row.agency,
        case: row.case.to_string(),
        entered: row.entered,
        offer: CaseOffer { offer: row.offer, version: Integer(row.offer_version) },
        screening: row.screening,
    };
    Ok(Json(page.map(view).into()))
}

/// A parameter that is one of few words.
fn one_of<'a>(name: &str, given: Option<&'a str>, words: &[&str]) -> Result<Option<&'a str>, Problem> {
    match given {
        Some(word) if !words.contains(&word) => {
            let detail = format!("{name} is one of {}", words.join(", "));
            Err(Problem::with(crate::problem::QUERY_INVALID, detail))
        }
        given => Ok(given),
    }
}
