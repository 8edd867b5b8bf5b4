//! Tests against the crates `ct-merkle` and `signed_note`, known roots, and random input.

mod checkpoint;
mod cosignature;
mod proof;
mod tile;
mod tlog_proof;
mod tree;

use signing::digest::Digest;

use crate::proof::MemoryHashes;
use crate::tree::leaf_hash;

/// The leaves of the tests: all different, of different lengths.
fn leaf(index: u64) -> Vec<u8> {
    vec![b'x'; usize::try_from(index % 7).unwrap_or_default()]
        .into_iter()
        .chain(index.to_be_bytes())
        .collect()
}

fn hash(index: u64) -> Digest {
    leaf_hash(&leaf(index))
}

fn log(size: u64) -> MemoryHashes {
    let mut log = MemoryHashes::new();
    (0..size).for_each(|index| log.append(hash(index)));
    log
}
