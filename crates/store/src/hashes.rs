//! Proofs over the stored log. The mathematics is [`translog::proof`]'s; this module brings it the hashes that it asks
//! for: complete tiles as they are stored, the hashes of an incomplete tile of level 0 from the records, those of an
//! incomplete tile above from the roots of the tiles below.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use signing::digest::Digest;
use tokio_postgres::Client;
use translog::proof::{self, HashSource, HashSourceError, ProofError};
use translog::tile::{self, TILE_WIDTH, TileId};

use crate::error::StoreError;
use crate::log;

/// Why a proof was not made.
#[derive(Debug, thiserror::Error)]
pub enum HashesError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The position or size lies outside the tree, or the stored hashes do not suffice.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// The proof that the record at `position` is in the tree of `size` records, which must be published.
pub async fn inclusion_proof(client: &Client, position: u64, size: u64) -> Result<Vec<Digest>, HashesError> {
    prove(client, size, |source| proof::inclusion(position, size, source)).await
}

/// The proof that the tree of `from` records begins that of `to` records, which must be published.
pub async fn consistency_proof(client: &Client, from: u64, to: u64) -> Result<Vec<Digest>, HashesError> {
    prove(client, to, |source| proof::consistency(from, to, source)).await
}

/// The root of the first `size` records, which must be published, computed from the stored hashes.
pub async fn root(client: &Client, size: u64) -> Result<Digest, HashesError> {
    let mut root = translog::tree::EMPTY_ROOT;
    prove(client, size, |source| {
        root = proof::root(size, source)?;
        Ok(Vec::new())
    })
    .await?;
    Ok(root)
}

/// Makes a proof twice: first to learn which nodes it is made of, then of these.
async fn prove(
    client: &Client,
    size: u64,
    mut make: impl FnMut(&Nodes) -> Result<Vec<Digest>, ProofError>,
) -> Result<Vec<Digest>, HashesError> {
    let wanted = Nodes::default();
    make(&wanted)?;
    let mut tiles: BTreeMap<TileId, Vec<Digest>> = BTreeMap::new();
    for (level, index) in wanted.asked.take() {
        let id = tile::of_node(level, index);
        let hashes = match tiles.remove(&id) {
            Some(hashes) => hashes,
            None => tile_hashes(client, id, tile::width(id, size)).await?,
        };
        let hash = tile::node(&hashes, level, index);
        let hash = hash.ok_or(ProofError::Source(HashSourceError::Missing { level, index }))?;
        wanted.known.borrow_mut().insert((level, index), hash);
        tiles.insert(id, hashes);
    }
    Ok(make(&Nodes { is_complete: true, ..wanted })?)
}

/// The first `width` hashes of a tile, which must be published.
pub async fn tile_hashes(client: &Client, id: TileId, width: u16) -> Result<Vec<Digest>, StoreError> {
    if width == TILE_WIDTH {
        return log::tile(client, id).await;
    }
    let first = id.index * u64::from(TILE_WIDTH);
    let end = first + u64::from(width);
    match id.level.checked_sub(1) {
        None => {
            let leaves = log::leaves(client, first, end, u32::from(width)).await?;
            Ok(leaves.into_iter().map(|leaf| leaf.hash).collect())
        }
        Some(below) => log::tile_roots(client, below, first, end).await,
    }
}

/// The nodes of a tree that are known; while recording, every other one is noted and answered with zeros.
#[derive(Default)]
struct Nodes {
    is_complete: bool,
    known: RefCell<BTreeMap<(u8, u64), Digest>>,
    asked: RefCell<BTreeSet<(u8, u64)>>,
}

impl HashSource for Nodes {
    fn read(&self, nodes: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError> {
        let known = self.known.borrow();
        let hash = |node: &(u8, u64)| match known.get(node) {
            Some(hash) => Ok(*hash),
            None if self.is_complete => Err(HashSourceError::Missing { level: node.0, index: node.1 }),
            None => {
                self.asked.borrow_mut().insert(*node);
                Ok(Digest::from_bytes([0; 32]))
            }
        };
        nodes.iter().map(hash).collect()
    }
}
