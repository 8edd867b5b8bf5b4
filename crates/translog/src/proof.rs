//! Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2), made and checked by the crate `tlog_tiles`.
//!
//! This module names nodes by level and index, turns that crate's preconditions (which it asserts) into errors, and
//! settles the two cases that RFC 6962 leaves open: every tree extends the empty one and itself, with an empty proof.

use std::cell::RefCell;

use signing::digest::Digest;
use tlog_tiles::{Error as TlogError, Hash, HashReader};

use crate::tree::{EMPTY_ROOT, MAX_SIZE, node_hash};

/// The most hashes of a proof in a tree of at most [`MAX_SIZE`] leaves.
const MAX_PROOF_HASHES: usize = 64;

/// Where the hashes of complete subtrees are.
pub trait HashSource {
    /// The hashes of these nodes, in this order. The node `(level, index)` is the root of the perfect subtree over the
    /// 2^level leaves that begin at leaf index * 2^level. Each proof or root takes one call.
    fn read(&self, nodes: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError>;
}

/// Why a [`HashSource`] did not give the hashes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashSourceError {
    /// The source does not have this node.
    #[error("the hash of the node at level {level}, index {index} is missing")]
    Missing {
        /// The node's level.
        level: u8,
        /// The node's index within the level.
        index: u64,
    },
    /// The source gave another number of hashes than it was asked for.
    #[error("{given} hashes were given where {asked} were asked for")]
    Count {
        /// How many were asked for.
        asked: usize,
        /// How many were given.
        given: usize,
    },
    /// The source failed.
    #[error("the hashes could not be read: {0}")]
    Failed(String),
}

/// Why a proof was not made or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or the old size lies outside the tree, or the tree is larger than [`MAX_SIZE`].
    #[error("the position lies outside the tree")]
    OutOfRange,
    /// The proof does not lead to the root.
    #[error("the proof does not lead to the root")]
    Invalid,
    /// The hashes that a proof is made of could not be read.
    #[error(transparent)]
    Source(#[from] HashSourceError),
}

/// The root of the first `size` leaves.
pub fn root(size: u64, source: &impl HashSource) -> Result<Digest, ProofError> {
    if size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    let reader = Reader::new(source);
    let root = tlog_tiles::tree_hash(size, &reader);
    reader.finish(root).map(|hash| Digest::from_bytes(hash.0))
}

/// The proof that the leaf at `index` is in the tree of the first `size` leaves (RFC 6962 section 2.1.1).
pub fn inclusion(index: u64, size: u64, source: &impl HashSource) -> Result<Vec<Digest>, ProofError> {
    if index >= size || size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    let reader = Reader::new(source);
    let proof = tlog_tiles::prove_record(size, index, &reader);
    reader.finish(proof).map(digests)
}

/// The proof that the tree of the first `old` leaves begins that of the first `new` ones (RFC 6962 section 2.1.2).
pub fn consistency(old: u64, new: u64, source: &impl HashSource) -> Result<Vec<Digest>, ProofError> {
    if old > new || new > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let reader = Reader::new(source);
    let proof = tlog_tiles::prove_tree(new, old, &reader);
    reader.finish(proof).map(digests)
}

/// Checks that the leaf with hash `leaf` is at `index` in the tree of `size` leaves with this root.
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: Digest,
) -> Result<(), ProofError> {
    if index >= size || size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    if proof.len() > MAX_PROOF_HASHES {
        return Err(ProofError::Invalid);
    }
    tlog_tiles::check_record(&hashes(proof), size, hash(root), index, hash(leaf))
        .map_err(|_| ProofError::Invalid)
}

/// Checks that the tree of `old_size` leaves with `old_root` begins the tree of `new_size` leaves with `new_root`.
pub fn verify_consistency(
    old_size: u64,
    old_root: Digest,
    new_size: u64,
    new_root: Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size || new_size > MAX_SIZE {
        return Err(ProofError::OutOfRange);
    }
    // The root of the empty tree is known, whichever of the two it is.
    let empty = |size, root| size == 0 && root != EMPTY_ROOT;
    if proof.len() > MAX_PROOF_HASHES || empty(old_size, old_root) || empty(new_size, new_root) {
        return Err(ProofError::Invalid);
    }
    if old_size == 0 {
        return if proof.is_empty() { Ok(()) } else { Err(ProofError::Invalid) };
    }
    tlog_tiles::check_tree(&hashes(proof), new_size, hash(new_root), old_size, hash(old_root))
        .map_err(|_| ProofError::Invalid)
}

fn hash(digest: Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn hashes(digests: &[Digest]) -> Vec<Hash> {
    digests.iter().copied().map(hash).collect()
}

fn digests(hashes: Vec<Hash>) -> Vec<Digest> {
    hashes.into_iter().map(|hash| Digest::from_bytes(hash.0)).collect()
}

/// A [`HashSource`] as `tlog_tiles` reads it, keeping the source's own error, for which that crate has no place.
struct Reader<'a, S> {
    source: &'a S,
    error: RefCell<Option<HashSourceError>>,
}

impl<'a, S: HashSource> Reader<'a, S> {
    fn new(source: &'a S) -> Self {
        Self { source, error: RefCell::new(None) }
    }

    fn finish<T>(self, result: Result<T, TlogError>) -> Result<T, ProofError> {
        result.map_err(|other| match self.error.into_inner() {
            Some(error) => ProofError::Source(error),
            None => ProofError::Source(HashSourceError::Failed(other.to_string())),
        })
    }

    fn read(&self, indexes: &[u64]) -> Result<Vec<Digest>, HashSourceError> {
        let nodes: Vec<_> = indexes.iter().map(|index| tlog_tiles::split_stored_hash_index(*index)).collect();
        let hashes = self.source.read(&nodes)?;
        if hashes.len() == nodes.len() {
            Ok(hashes)
        } else {
            Err(HashSourceError::Count { asked: nodes.len(), given: hashes.len() })
        }
    }
}

impl<S: HashSource> HashReader for Reader<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TlogError> {
        self.read(indexes).map(|digests| hashes(&digests)).map_err(|error| {
            let text = error.to_string();
            *self.error.borrow_mut() = Some(error);
            TlogError::InvalidInput(text)
        })
    }
}

/// All hashes of a log, in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryHashes {
    /// The hashes of the complete subtrees, by level.
    levels: Vec<Vec<Digest>>,
}

impl MemoryHashes {
    /// No leaves yet.
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Appends a leaf, given its [`leaf_hash`](crate::tree::leaf_hash).
    pub fn append(&mut self, leaf: Digest) {
        let mut completed = leaf;
        for row in &mut self.levels {
            row.push(completed);
            match row.last_chunk() {
                Some([left, right]) if row.len().is_multiple_of(2) => completed = node_hash(*left, *right),
                _ => return,
            }
        }
        self.levels.push(vec![completed]);
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }
}

impl HashSource for MemoryHashes {
    fn read(&self, nodes: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError> {
        let get = |&(level, index): &(u8, u64)| {
            let hash = self.levels.get(usize::from(level))?.get(usize::try_from(index).ok()?)?;
            Some(*hash)
        };
        nodes
            .iter()
            .map(|node| get(node).ok_or(HashSourceError::Missing { level: node.0, index: node.1 }))
            .collect()
    }
}
