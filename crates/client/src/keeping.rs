//! The rules by which a checkpoint follows the one that was kept. A service that breaks them is caught.
//!
//! A checkpoint must be signed by the ledger's checkpoint key under the ledger's origin; it is never smaller than the
//! kept one; of the same size it has the same root; a larger one extends the kept one, by a consistency proof. Before
//! the first, the founding record stands for a checkpoint of size 1, so that nobody can be shown another log's middle.

use std::fmt;
use std::path::PathBuf;

use records::Basis;
use records::scalar::Integer;
use signing::digest::Digest;
use translog::checkpoint::{Checkpoint, CheckpointError};
use translog::proof::verify_consistency;

use crate::error::Error;

/// A verified checkpoint, which this machine keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Size and root.
    pub checkpoint: Checkpoint,
    /// The signed note; none where the founding record stands for it.
    pub note: Option<String>,
}

impl Kept {
    /// The basis of instructions that are signed now.
    pub fn basis(&self) -> Basis {
        Basis { root: self.checkpoint.root, size: Integer(self.checkpoint.size) }
    }
}

/// How a checkpoint relates to the kept one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// It is the same.
    Same,
    /// It extends the kept one.
    Newer,
}

/// What a service did that an honest one never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// The note is not one by the ledger's checkpoint key.
    NotTheLedgers(CheckpointError),
    /// The note is one by the ledger's checkpoint key, under an origin that this machine has not accepted.
    OtherOrigin(String),
    /// The log became smaller.
    Rollback,
    /// Two logs of the same size.
    Fork,
    /// The larger log does not begin with the smaller one.
    Inconsistent,
    /// A record that was called accepted is not in the log at the position that was named.
    NotIncluded {
        /// The record.
        digest: Digest,
        /// The position that was named.
        position: u64,
    },
}

/// A suspicion with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What was done.
    pub suspicion: Suspicion,
    /// The size and root that this machine had verified.
    pub kept: (u64, Digest),
    /// The size and root that were shown, if the note could be read.
    pub shown: Option<(u64, Digest)>,
    /// Where both notes are kept.
    pub evidence: Vec<PathBuf>,
    /// Why not all of it is kept.
    pub not_kept: Option<String>,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ALARM: do not sign anything until this is explained. ")?;
        match &self.suspicion {
            Suspicion::NotTheLedgers(error) => {
                write!(f, "The service showed a checkpoint that is not this ledger's: {error}.")?;
                if *error == CheckpointError::Origin {
                    f.write_str(
                        " If the custodians gave the ledger new keys, they have a file that proves it: verify and accept it with \
                         `safeconduct reopening accept FILE`.",
                    )?;
                }
            }
            Suspicion::OtherOrigin(origin) => {
                write!(
                    f,
                    "The service showed a checkpoint under another origin, {origin}, signed by the ledger's own key. If the \
                     custodians reopened the log after a loss, they have a file that proves it: verify and accept it with \
                     `safeconduct reopening accept FILE`. Without that file, this is a second log."
                )?;
            }
            Suspicion::Rollback => {
                f.write_str("The service showed a log that is smaller than before: records are missing.")?
            }
            Suspicion::Fork => {
                f.write_str("The service showed another log of the same size: the ledger was forked.")?
            }
            Suspicion::Inconsistent => {
                f.write_str("The service showed a log that does not continue the one it showed before: the ledger was forked.")?;
            }
            Suspicion::NotIncluded { digest, position } => {
                write!(
                    f,
                    "The service said that record {digest} was accepted at position {position}, and cannot prove it."
                )?;
            }
        }
        write!(f, " Verified before: size {}, root {}.", self.kept.0, self.kept.1)?;
        if let Some((size, root)) = self.shown {
            write!(f, " Shown now: size {size}, root {root}.")?;
        }
        if !self.evidence.is_empty() {
            let files: Vec<_> = self.evidence.iter().map(|path| path.display().to_string()).collect();
            write!(f, " Give these files to the auditors: {}", files.join(", "))?;
        }
        if let Some(reason) = &self.not_kept {
            write!(f, " Not all of it could be kept ({reason}): copy this message.")?;
        }
        Ok(())
    }
}

/// How `shown` follows `kept`, or what is wrong. The proof is fetched only where one is needed.
pub fn judge(
    kept: &Checkpoint,
    shown: &Checkpoint,
    proof: impl FnOnce() -> Result<Vec<Digest>, Error>,
) -> Result<Result<Follows, Suspicion>, Error> {
    if shown.size < kept.size {
        return Ok(Err(Suspicion::Rollback));
    }
    if shown.size == kept.size {
        return Ok(if shown.root == kept.root { Ok(Follows::Same) } else { Err(Suspicion::Fork) });
    }
    let proof = proof()?;
    Ok(match verify_consistency(kept.size, kept.root, shown.size, shown.root, &proof) {
        Ok(()) => Ok(Follows::Newer),
        Err(_) => Err(Suspicion::Inconsistent),
    })
}
