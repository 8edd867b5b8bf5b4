//! The whole ledger as one stream, or what came after a group of it: `docs/spec/bundle.md`.
//!
//! The balances are read in one snapshot, with the size of the log at that moment; the records after it, page by page,
//! since nothing that was appended ever changes. So no transaction stays open however slowly the bundle is read. One
//! that cannot be finished breaks off, which its reader sees, as the header says how long it is.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use programme::entity::CharterState;
use programme::{Code, Key};
use records::Kind;
use records::bundle::{Format, Header, balance_line, header_line};
use records::scalar::Integer;
use serde::Deserialize;
use store::log;
use store::queries::{funds, lists};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::params::Params;
use crate::app::App;
use crate::auth::Identity;
use crate::problem::{CHECKPOINT_LATE, PART_OUT_OF_RANGE, Problem, TOO_MANY_BUNDLES};

/// How many records one query reads.
const PAGE: u32 = 500;
/// About how many bytes of balances go out together.
const CHUNK_BYTES: usize = 64 * 1024;
const POLL: Duration = Duration::from_millis(100);

type Chunk = Result<Bytes, BrokenOff>;

#[derive(Debug, thiserror::Error)]
#[error("the bundle cannot be finished")]
struct BrokenOff;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleParams {
    from: Option<Integer>,
}

pub(super) async fn bundle(
    State(app): State<App>,
    Extension(Identity { principal }): Extension<Identity>,
    Params(BundleParams { from }): Params<BundleParams>,
) -> Result<Response, Problem> {
    let from = from.filter(|Integer(from)| *from > 0);
    let place = app.bundles().take_one(&principal).map_err(|_| TOO_MANY_BUNDLES)?;
    let (balances_at, balances) = funds::balances(&mut app.databases().read().await?).await?;
    let charter = lists::entity::<CharterState>(&app.databases().read().await?, &Key::Charter).await?;
    let ledger = charter.ok_or(Code::LedgerNotFounded)?.ledger;
    if let Some(Integer(from)) = from {
        check_part(&app, from, balances_at).await?;
    }
    let checkpoint = checkpoint_over(&app, balances_at).await?;
    let header = Header {
        balances: Integer(balances.len() as u64),
        balances_at: Integer(balances_at),
        checkpoint: checkpoint.note,
        format: Format::V1,
        from,
        ledger,
        records: Integer(checkpoint.size),
    };

    let (sender, receiver) = mpsc::channel::<Chunk>(2);
    tokio::spawn(async move {
        let _place = place;
        let out = Out { sender: &sender, limit: app.limits().bundle_timeout };
        let mut chunk = header_line(&header);
        for balance in &balances {
            chunk.push_str(&balance_line(balance));
            if chunk.len() >= CHUNK_BYTES && out.send(Ok(std::mem::take(&mut chunk).into())).await.is_err() {
                return;
            }
        }
        if out.send(Ok(chunk.into())).await.is_err() {
            return;
        }
        let mut from = header.first();
        while from < checkpoint.size {
            let page = page(&app, from, checkpoint.size).await;
            from += u64::from(PAGE);
            let broken = page.is_err();
            if out.send(page).await.is_err() || broken {
                return;
            }
        }
    });
    let chunks = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chunks)).into_response())
}

/// A part begins at the end of a group: the log's, or where a group record stands.
async fn check_part(app: &App, from: u64, size: u64) -> Result<(), Problem> {
    let client = app.databases().read().await?;
    let is_end = match log::record(&client, from).await? {
        Some(record) => record.kind() == Kind::Group,
        None => false,
    };
    if from == size || (from < size && is_end) { Ok(()) } else { Err(PART_OUT_OF_RANGE.into()) }
}

/// The latest checkpoint, once it covers the log of this size.
async fn checkpoint_over(app: &App, size: u64) -> Result<log::SignedHead, Problem> {
    let deadline = Instant::now() + app.limits().bundle_timeout;
    loop {
        let latest = log::latest_checkpoint(&*app.databases().read().await?).await?;
        match latest {
            Some(checkpoint) if checkpoint.size >= size => return Ok(checkpoint),
            _ if Instant::now() >= deadline => return Err(CHECKPOINT_LATE.into()),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// The lines of up to [`PAGE`] records.
async fn page(app: &App, from: u64, to: u64) -> Chunk {
    let client = app.databases().read().await.map_err(failed)?;
    let envelopes = log::envelopes(&client, from, to, PAGE).await.map_err(failed)?;
    let mut lines = Vec::new();
    for envelope in envelopes {
        lines.extend(envelope.encode());
        lines.push(b'\n');
    }
    Ok(lines.into())
}

/// The problem says in the log what went wrong; the reader sees only that the bundle ends.
fn failed(error: store::error::StoreError) -> BrokenOff {
    let _ = Problem::from(error);
    BrokenOff
}

struct Out<'a> {
    sender: &'a mpsc::Sender<Chunk>,
    limit: Duration,
}

impl Out<'_> {
    /// Fails where the reader has gone, or takes too long.
    async fn send(&self, chunk: Chunk) -> Result<(), ()> {
        let sent = tokio::time::timeout(self.limit, self.sender.send(chunk)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(()),
            Err(_) => {
                tracing::warn!("a bundle was broken off, as its reader takes too long");
                Err(())
            }
        }
    }
}
