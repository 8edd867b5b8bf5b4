//! What is public of the log: a checkpoint a period and its hash tiles, on the paths of C2SP tlog-tiles, for whoever asks;
//! and the entry bundles beside them, which are for auditors. Beyond the public size there is nothing here for anybody.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use store::{hashes, log};
use translog::tile::{self, TILE_WIDTH, TileId};

use super::params::{Named, Nothing, Params};
use crate::app::App;
use crate::problem::{INTERNAL, NOT_PUBLIC, Problem};

pub(super) async fn checkpoint(State(app): State<App>, _: Params<Nothing>) -> Result<Response, Problem> {
    let client = app.databases().read().await?;
    let public = log::public_checkpoint(&client, app.now()).await?.ok_or(NOT_PUBLIC)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], public.note).into_response())
}

pub(super) async fn tile(
    State(app): State<App>,
    Named(path): Named<String>,
    _: Params<Nothing>,
) -> Result<Response, Problem> {
    let (id, width) = tile::parse(&format!("tile/{path}")).ok_or(NOT_PUBLIC)?;
    check(&app, id, width).await?;
    let client = app.databases().read().await?;
    let hashes = hashes::tile_hashes(&client, id, width).await?;
    Ok(bytes(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()))
}

pub(super) async fn entries(
    State(app): State<App>,
    Named(path): Named<String>,
    _: Params<Nothing>,
) -> Result<Response, Problem> {
    // An entry bundle has the index and the width of the tile of level 0 that hashes its entries.
    let (id, width) = tile::parse(&format!("tile/0/{path}")).ok_or(NOT_PUBLIC)?;
    check(&app, id, width).await?;
    let client = app.databases().read().await?;
    let first = id.index.saturating_mul(u64::from(TILE_WIDTH));
    let end = first.saturating_add(u64::from(width));
    let leaves = log::envelopes(&client, first, end, u32::from(width)).await?;
    let mut bundle = Vec::new();
    for leaf in leaves.iter().map(|envelope| envelope.encode()) {
        tile::push_entry(&mut bundle, &leaf).ok_or(INTERNAL)?;
    }
    Ok(bytes(bundle))
}

/// Refuses a tile that the public tree does not have, or has with another width.
async fn check(app: &App, id: TileId, width: u16) -> Result<(), Problem> {
    let client = app.databases().read().await?;
    let public = log::public_checkpoint(&client, app.now()).await?.ok_or(NOT_PUBLIC)?;
    if tile::width(id, public.size) == width { Ok(()) } else { Err(NOT_PUBLIC.into()) }
}

fn bytes(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}
