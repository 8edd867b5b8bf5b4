//! The service and its log: keys, checkpoints, proofs, records.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use programme::Key;
use programme::entity::CharterState;
use records::scalar::{Integer, Token};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::keys::PublicKey;
use store::{hashes, log, queries};
use utoipa::ToSchema;

use super::params::{Named, Nothing, Params};
use crate::app::App;
use crate::openapi::types::{EnrolledKey, Hash, Number};
use crate::problem::{NO_CHECKPOINT, NOT_COSIGNED, PROOF_OUT_OF_RANGE, Problem, RECORD_NOT_FOUND};

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// Whether the database answers.
pub(super) async fn healthz(State(app): State<App>, _: Params<Nothing>) -> Result<Json<Health>, Problem> {
    queries::ping(&app.databases().read().await?).await?;
    Ok(Json(Health { status: "ok" }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Service {
    #[schema(value_type = EnrolledKey)]
    checkpoint_key: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Hash>)]
    ledger: Option<Digest>,
    #[schema(value_type = String)]
    origin: Token,
    #[schema(value_type = EnrolledKey)]
    record_key: PublicKey,
}

pub(super) async fn service(State(app): State<App>, _: Params<Nothing>) -> Result<Json<Service>, Problem> {
    let client = app.databases().read().await?;
    let charter = queries::lists::entity::<CharterState>(&client, &Key::Charter).await?;
    let names = app.names();
    Ok(Json(Service {
        checkpoint_key: names.checkpoint_key.clone(),
        ledger: charter.map(|charter| charter.ledger),
        origin: names.origin.clone(),
        record_key: names.record_key.clone(),
    }))
}

/// The description of this interface.
pub(super) async fn openapi(State(app): State<App>, _: Params<Nothing>) -> Json<serde_json::Value> {
    Json(crate::openapi::openapi(app.limits()))
}

pub(super) async fn founding(State(app): State<App>, _: Params<Nothing>) -> Result<Response, Problem> {
    envelope_at(&app, 0).await
}

pub(super) async fn record(
    State(app): State<App>,
    Named(position): Named<Integer>,
    _: Params<Nothing>,
) -> Result<Response, Problem> {
    envelope_at(&app, position.0).await
}

async fn envelope_at(app: &App, position: u64) -> Result<Response, Problem> {
    let client = app.databases().read().await?;
    let record = log::record(&client, position).await?.ok_or(RECORD_NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], record.leaf()).into_response())
}

pub(super) async fn checkpoint(State(app): State<App>, _: Params<Nothing>) -> Result<Response, Problem> {
    let client = app.databases().read().await?;
    let checkpoint = log::latest_checkpoint(&client).await?.ok_or(NO_CHECKPOINT)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], checkpoint.note).into_response())
}

pub(super) async fn cosigned(State(app): State<App>, _: Params<Nothing>) -> Result<Response, Problem> {
    let client = app.databases().read().await?;
    let note = log::latest_cosigned(&client).await?.ok_or(NOT_COSIGNED)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InclusionParams {
    position: Integer,
    size: Integer,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Inclusion {
    #[schema(value_type = Vec<Hash>)]
    hashes: Vec<Digest>,
    #[schema(value_type = Hash)]
    leaf_hash: Digest,
    #[schema(value_type = Number)]
    position: Integer,
    #[schema(value_type = Number)]
    size: Integer,
}

pub(super) async fn inclusion(
    State(app): State<App>,
    Params(InclusionParams { position, size }): Params<InclusionParams>,
) -> Result<Json<Inclusion>, Problem> {
    let client = app.databases().read().await?;
    let signed = log::latest_checkpoint(&client).await?.ok_or(NO_CHECKPOINT)?.size;
    if position >= size || size.0 > signed {
        return Err(PROOF_OUT_OF_RANGE.into());
    }
    let record = log::record(&client, position.0).await?.ok_or(RECORD_NOT_FOUND)?;
    let hashes = hashes::inclusion_proof(&client, position.0, size.0).await?;
    Ok(Json(Inclusion { hashes, leaf_hash: record.leaf_hash(), position, size }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistencyParams {
    from: Integer,
    to: Integer,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Consistency {
    #[schema(value_type = Number)]
    from: Integer,
    #[schema(value_type = Vec<Hash>)]
    hashes: Vec<Digest>,
    #[schema(value_type = Number)]
    to: Integer,
}

pub(super) async fn consistency(
    State(app): State<App>,
    Params(ConsistencyParams { from, to }): Params<ConsistencyParams>,
) -> Result<Json<Consistency>, Problem> {
    let client = app.databases().read().await?;
    let signed = log::latest_checkpoint(&client).await?.ok_or(NO_CHECKPOINT)?.size;
    if from.0 == 0 || from > to || to.0 > signed {
        return Err(PROOF_OUT_OF_RANGE.into());
    }
    let hashes = hashes::consistency_proof(&client, from.0, to.0).await?;
    Ok(Json(Consistency { from, hashes, to }))
}
