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

use super::params::{Named, Nothing, Params};
use crate::app::App;
use crate::problem::{NO_CHECKPOINT, PROOF_OUT_OF_RANGE, Problem, RECORD_NOT_FOUND};

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
}

/// Whether the database answers.
pub(super) async fn healthz(State(app): State<App>, _: Params<Nothing>) -> Result<Json<Health>, Problem> {
    queries::ping(&app.databases().read().await?).await?;
    Ok(Json(Health { status: "ok" }))
}

#[derive(Serialize)]
pub(super) struct Service {
    checkpoint_key: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Digest>,
    origin: Token,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InclusionParams {
    position: Integer,
    size: Integer,
}

#[derive(Serialize)]
pub(super) struct Inclusion {
    hashes: Vec<Digest>,
    leaf_hash: Digest,
    position: Integer,
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

#[derive(Serialize)]
pub(super) struct Consistency {
    from: Integer,
    hashes: Vec<Digest>,
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
