//! The proof that the log holds a record: envelope, position, inclusion proof and signed checkpoint.
//!
//! Whoever knows the ledger's origin and checkpoint key verifies it offline. It does not say that the record took any
//! effect; that follows from the log by replay.

use records::scalar::Integer;
use records::{Record, RecordError};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::PublicKey;
use translog::checkpoint::{Checkpoint, CheckpointError};
use translog::cosignature::CosignatureError;
use translog::proof::{ProofError, verify_inclusion};
use translog::tlog_proof::{TlogProof, TlogProofError};
use translog::tree::leaf_hash;

use crate::error::Error;
use crate::home::{Home, RECEIPTS};

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The ledger's signed note.
    pub checkpoint: String,
    /// The record.
    pub envelope: Envelope,
    /// The inclusion proof (RFC 6962 section 2.1.1).
    pub hashes: Vec<Digest>,
    /// Where in the log it stands.
    pub position: Integer,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The checkpoint is not the ledger's.
    #[error("the receipt's checkpoint does not hold: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A cosignature by a witness does not hold.
    #[error("the receipt's cosignatures do not hold: {0}")]
    Cosignature(#[from] CosignatureError),
    /// The proof does not lead to the checkpoint's root.
    #[error("the receipt's record is not in the log at that position: {0}")]
    Inclusion(#[from] ProofError),
    /// The text is no C2SP tlog-proof.
    #[error(transparent)]
    TlogProof(#[from] TlogProofError),
    /// A C2SP tlog-proof without the record in its extra data.
    #[error("the proof does not have the record's envelope as its extra data")]
    NoEnvelope,
    /// The envelope is no record.
    #[error("the receipt's envelope is no record: {0}")]
    Record(#[from] RecordError),
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The record, whose signer's own signature is not checked here.
    pub record: Record,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

impl Receipt {
    /// Checks the receipt against the ledger's origin and checkpoint key.
    pub fn verify(&self, origin: &str, checkpoint_key: &PublicKey) -> Result<Proven, ReceiptError> {
        let checkpoint = Checkpoint::parse_and_verify(&self.checkpoint, origin, checkpoint_key)?;
        self.is_in(checkpoint.size, checkpoint.root)?;
        Ok(Proven { record: Record::parse(self.envelope.clone())?, checkpoint })
    }

    /// The same as a C2SP tlog-proof, which programs of others verify; the record's envelope, whose bytes are the leaf, is its
    /// extra data.
    pub fn to_tlog_proof(&self) -> String {
        let (checkpoint, hashes) = (self.checkpoint.clone(), self.hashes.clone());
        TlogProof { extra: Some(self.envelope.encode()), index: self.position.0, hashes, checkpoint }.encode()
    }

    /// The receipt in such a text.
    pub fn of_tlog_proof(text: &str) -> Result<Receipt, ReceiptError> {
        let TlogProof { extra, index, hashes, checkpoint } = TlogProof::parse(text)?;
        let envelope = Envelope::parse(&extra.ok_or(ReceiptError::NoEnvelope)?);
        let envelope = envelope.map_err(|_| ReceiptError::NoEnvelope)?;
        Ok(Receipt { checkpoint, envelope, hashes, position: Integer(index) })
    }

    /// Checks that a log of this size and root has the record at the position.
    pub fn is_in(&self, size: u64, root: Digest) -> Result<(), ProofError> {
        let leaf = leaf_hash(&self.envelope.encode());
        verify_inclusion(leaf, self.position.0, size, &self.hashes, root)
    }
}

/// All that a home has, by position.
pub fn list(home: &Home) -> Result<Vec<Receipt>, Error> {
    let mut all: Vec<Receipt> = Vec::new();
    for file in home.list(RECEIPTS)? {
        all.extend(home.read_json::<Receipt>(&format!("{RECEIPTS}/{file}"))?);
    }
    all.sort_by_key(|receipt| receipt.position);
    Ok(all)
}
