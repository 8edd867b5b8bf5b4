//! What a log asks of a witness (C2SP tlog-witness, `add-checkpoint`), and how the witness judges it. The network, the
//! witness's key and what it remembers are left to whoever calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::digest::Digest;
use signing::keys::PublicKey;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::proof::verify_consistency;

/// The most hashes of the consistency proof (C2SP tlog-witness).
const PROOF_MAX: usize = 63;

/// The media type of the answer that names a size (C2SP tlog-witness).
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness cosigned last, as the log believes.
    pub old: u64,
    /// The consistency proof from there to the checkpoint.
    pub proof: Vec<Digest>,
    /// The checkpoint, a signed note.
    pub note: String,
}

/// A log of which a witness cosigns checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLog {
    /// Its origin.
    pub origin: String,
    /// The key that signs its checkpoints.
    pub key: PublicKey,
}

/// The checkpoint that a witness cosigned last of a log: nothing at first, of size 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Digest,
}

/// Why a witness does not cosign, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// The body is none that C2SP tlog-witness has, or the sizes fall.
    #[error("the request is not one: {0}")]
    Malformed(&'static str),
    /// The checkpoint is none.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// No log with the checkpoint's origin is known here.
    #[error("no log of this origin is known here")]
    UnknownLog,
    /// The checkpoint is not signed by the log's key.
    #[error("the checkpoint is not signed by the log's key")]
    Unsigned,
    /// The log is wrong about what was cosigned last, which is said.
    #[error("the checkpoint that was cosigned last has the size {0}")]
    OtherSize(u64),
    /// The log signed two roots of one size.
    #[error("another root was cosigned for this size, {0}: the log shows two histories")]
    TwoRoots(u64),
    /// The proof does not show that the checkpoint extends what was cosigned last.
    #[error("the proof does not show that the checkpoint extends the one of size {0}")]
    NotExtended(u64),
}

impl NotCosigned {
    /// The status of the answer (C2SP tlog-witness).
    pub fn status(&self) -> u16 {
        match self {
            NotCosigned::Malformed(_) | NotCosigned::Checkpoint(_) => 400,
            NotCosigned::Unsigned => 403,
            NotCosigned::UnknownLog => 404,
            NotCosigned::OtherSize(_) | NotCosigned::TwoRoots(_) => 409,
            NotCosigned::NotExtended(_) => 422,
        }
    }
}

impl AddCheckpoint {
    /// The body of the request.
    pub fn encode(&self) -> String {
        let hashes: String =
            self.proof.iter().map(|hash| format!("{}\n", STANDARD.encode(hash.as_bytes()))).collect();
        format!("old {}\n{hashes}\n{}", self.old, self.note)
    }

    /// What a body says; the checkpoint is not looked at.
    pub fn parse(body: &str) -> Result<AddCheckpoint, NotCosigned> {
        let malformed = NotCosigned::Malformed;
        let (head, note) =
            body.split_once("\n\n").ok_or(malformed("there is no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old
            .and_then(|text| text.parse().ok().filter(|size: &u64| size.to_string() == text))
            .ok_or(malformed("the first line is 'old' and a size"))?;
        let hash = |line: &str| {
            let bytes = STANDARD.decode(line).ok()?;
            Digest::try_from(bytes.as_slice()).ok()
        };
        let proof: Option<Vec<Digest>> = lines.map(hash).collect();
        let proof = proof.ok_or(malformed("a line of the proof is not a hash in base64"))?;
        if proof.len() > PROOF_MAX {
            return Err(malformed("a proof has 63 hashes at most"));
        }
        Ok(AddCheckpoint { old, proof, note: note.to_owned() })
    }

    /// The checkpoint, if it may be cosigned: it is signed by its log, and extends what was `cosigned` last of that. It has to
    /// be remembered, on disk, before the cosignature leaves.
    pub fn judge(
        &self,
        logs: &[KnownLog],
        cosigned: impl FnOnce(&str) -> Cosigned,
    ) -> Result<Checkpoint, NotCosigned> {
        let origin = self.note.split('\n').next().unwrap_or_default();
        let log = logs.iter().find(|log| log.origin == origin).ok_or(NotCosigned::UnknownLog)?;
        let checkpoint =
            Checkpoint::parse_and_verify(&self.note, origin, &log.key).map_err(|error| match error {
                CheckpointError::Unsigned | CheckpointError::BadSignature => NotCosigned::Unsigned,
                other => NotCosigned::Checkpoint(other),
            })?;
        if self.old > checkpoint.size {
            return Err(NotCosigned::Malformed("the old size is larger than the checkpoint's"));
        }
        let last = cosigned(origin);
        if self.old != last.size {
            return Err(NotCosigned::OtherSize(last.size));
        }
        if last.size == checkpoint.size && last.root != checkpoint.root {
            return Err(NotCosigned::TwoRoots(last.size));
        }
        verify_consistency(last.size, last.root, checkpoint.size, checkpoint.root, &self.proof)
            .map_err(|_| NotCosigned::NotExtended(last.size))?;
        Ok(checkpoint)
    }
}
