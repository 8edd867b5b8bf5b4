//! The transparency log as mathematics: a Merkle tree, its proofs, its tiles and its checkpoints.
//!
//! | module | standard |
//! |---|---|
//! | [`tree`] | RFC 6962 section 2.1 hashes, and the frontier from which a log grows |
//! | [`proof`] | RFC 6962 section 2.1.1 inclusion and section 2.1.2 consistency proofs, by the crate `tlog_tiles` |
//! | [`tile`] | C2SP tlog-tiles: 256 hashes a tile |
//! | [`checkpoint`] | C2SP tlog-checkpoint in a C2SP signed-note |
//! | [`cosignature`] | C2SP tlog-cosignature, by witnesses |
//! | [`tlog_proof`] | C2SP tlog-proof: an inclusion proof with its checkpoint, as a text |
//! | [`witness`] | C2SP tlog-witness: what a log asks of a witness |
//!
//! What it is not: it stores and fetches nothing. Whoever makes proofs gives it a [`proof::HashSource`]. It does not know
//! what a leaf contains. Nothing here panics, whatever the input.

pub mod checkpoint;
pub mod cosignature;
pub mod proof;
pub mod tile;
pub mod tlog_proof;
pub mod tree;
pub mod witness;

#[cfg(test)]
mod tests;
