//! What custodians set: policy, proposals, principals and their keys.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::entity::{KeyState, PolicyState, PrincipalState, ProposalState, ProposalStatus, Spare};
use programme::{Code, Key};
use records::governance::{Act, Policy, Role};
use records::scalar::Integer;
use serde::Serialize;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::KeyId;
use store::log;
use store::queries::{self, lists};
use utoipa::ToSchema;

use super::params::{Listed, Nothing, Paging, Params};
use crate::app::App;
use crate::openapi::types::{Hash, Id, Number, RoleName, SignedEnvelope, Specified, Time};
use crate::problem::{INTERNAL, Problem};

#[derive(Serialize, ToSchema)]
#[schema(as = PolicyInForce)]
pub(super) struct PolicyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PendingPolicy>)]
    pending: Option<PendingPolicy>,
    #[schema(value_type = Specified)]
    policy: Policy,
    #[schema(value_type = Number)]
    version: Integer,
}

#[derive(Serialize, ToSchema)]
struct PendingPolicy {
    #[schema(value_type = Time)]
    effective_at: Timestamp,
    #[schema(value_type = Specified)]
    policy: Policy,
    #[schema(value_type = Number)]
    version: Integer,
}

pub(super) async fn policy(State(app): State<App>, _: Params<Nothing>) -> Result<Json<PolicyView>, Problem> {
    let client = app.databases().read().await?;
    let state = lists::entity::<PolicyState>(&client, &Key::Policy).await?.ok_or(Code::LedgerNotFounded)?;
    let now = app.now();
    let current = state.at(now).clone();
    let pending = state.pending.filter(|pending| pending.effective_at > now).map(|pending| PendingPolicy {
        effective_at: pending.effective_at,
        policy: pending.value.policy,
        version: Integer(pending.value.version),
    });
    Ok(Json(PolicyView { pending, policy: current.policy, version: Integer(current.version) }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Proposal)]
pub(super) struct ProposalView {
    #[schema(value_type = Specified)]
    act: Act,
    #[schema(value_type = Vec<Id>)]
    custodians: Vec<PrincipalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Time>)]
    effective_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SignedEnvelope>)]
    envelope: Option<Envelope>,
    #[schema(value_type = Time)]
    not_after: Timestamp,
    #[schema(value_type = Hash)]
    proposal: Digest,
    #[schema(pattern = "^(open|decided|vetoed)$")]
    status: &'static str,
}

pub(super) async fn proposals(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<ProposalView>>, Problem> {
    let client = app.databases().read().await?;
    let page =
        lists::entities::<ProposalState>(&client, lists::Listed::Proposals, paging.slice(app.limits())?)
            .await?;
    let page = page.try_map(|(name, state)| {
        name.parse::<Digest>().map(|proposal| (proposal, state)).map_err(|_| Problem::from(INTERNAL))
    })?;
    // Who concurs has to see what was signed, not what we say of it.
    let open = page.items.iter().filter(|(_, state)| state.status == ProposalStatus::Open);
    let digests: Vec<Digest> = open.map(|(proposal, _)| *proposal).collect();
    let mut envelopes = BTreeMap::new();
    for (proposal, position) in lists::positions(&client, &digests).await? {
        let record = log::record(&client, position).await?;
        envelopes.extend(record.map(|record| (proposal, record.envelope().clone())));
    }
    let view = |(proposal, state): (Digest, ProposalState)| {
        let (status, effective_at) = match state.status {
            ProposalStatus::Open => ("open", None),
            ProposalStatus::Decided { effective_at } => ("decided", Some(effective_at)),
            ProposalStatus::Vetoed => ("vetoed", None),
        };
        let custodians = state.custodians.into_iter().map(|(custodian, _)| custodian).collect();
        let envelope = envelopes.remove(&proposal);
        let ProposalState { act, not_after, .. } = state;
        ProposalView { act, custodians, effective_at, envelope, not_after, proposal, status }
    };
    Ok(Json(page.map(view).into()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Principal)]
pub(super) struct PrincipalView {
    keys: Vec<KeyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RoleName>>)]
    pending_roles: Option<Vec<Role>>,
    #[schema(value_type = Id)]
    principal: PrincipalId,
    #[schema(value_type = Vec<RoleName>)]
    roles: Vec<Role>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PrincipalKey)]
struct KeyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Time>)]
    activated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Time>)]
    expires: Option<Timestamp>,
    #[schema(value_type = Time)]
    from: Timestamp,
    #[schema(value_type = Hash)]
    key: KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Hash>)]
    replaced: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(waiting|activated)$")]
    spare: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Time>)]
    until: Option<Timestamp>,
}

impl KeyView {
    fn of(key: KeyId, state: &KeyState) -> KeyView {
        let KeyState { from, expires, spare, until, .. } = *state;
        let (spare, activated_at, replaced) = match spare {
            None => (None, None, None),
            Some(Spare::Waiting) => (Some("waiting"), None, None),
            Some(Spare::Activated { at, replaced, .. }) => (Some("activated"), Some(at), replaced),
        };
        let until = until.map(|end| end.at);
        KeyView { activated_at, expires, from, key, replaced, spare, until }
    }
}

pub(super) async fn principals(
    State(app): State<App>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listed<PrincipalView>>, Problem> {
    let slice = paging.slice(app.limits())?;
    let mut client = app.databases().read().await?;
    let snapshot = queries::snapshot(&mut client).await?;
    let page = lists::entities::<PrincipalState>(&snapshot, lists::Listed::Principals, slice).await?;
    let page = page.try_map(|(name, state)| {
        name.parse::<PrincipalId>().map(|principal| (principal, state)).map_err(|_| Problem::from(INTERNAL))
    })?;
    let names: Vec<PrincipalId> = page.items.iter().map(|(principal, _)| principal.clone()).collect();
    let mut keys = BTreeMap::<PrincipalId, Vec<KeyView>>::new();
    for (key, state) in lists::keys_of(&snapshot, &names).await? {
        // A key whose enrolment was vetoed was never one of the principal's.
        if !state.vetoed {
            keys.entry(state.principal.clone()).or_default().push(KeyView::of(key, &state));
        }
    }
    let now = app.now();
    let view = |(principal, state): (PrincipalId, PrincipalState)| {
        let roles = state.at(now).clone();
        let pending_roles = state.pending.filter(|pending| pending.effective_at > now).map(|p| p.value);
        let keys = keys.remove(&principal).unwrap_or_default();
        PrincipalView { keys, pending_roles, principal, roles }
    };
    Ok(Json(page.map(view).into()))
}
