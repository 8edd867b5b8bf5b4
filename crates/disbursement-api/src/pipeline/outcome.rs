//! What a submission comes to.

use programme::Refusal;
use records::RecordError;
use records::journal::JournalEntry;
use signing::digest::Digest;
use store::{Fault, StoreError};

use crate::places::Full;

/// Whether the envelopes of a submission stand alone or stand and fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each stands alone.
    Each,
    /// All or none.
    All,
}

/// What became of one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log, now or since it was sent before.
    Accepted {
        /// The record's digest.
        digest: Digest,
        /// Its position.
        position: u64,
    },
    /// It is no record.
    Malformed(RecordError),
    /// The rules refuse it.
    Refused {
        /// The record's digest.
        digest: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// The signature is not one by the key that it names.
    BadSignature {
        /// The record's digest.
        digest: Digest,
    },
    /// It was not stored because another one of a [`Mode::All`] submission was refused.
    NotTried,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// One for each envelope, in order.
    pub outcomes: Vec<Outcome>,
    /// A stored checkpoint that covers every accepted one, if there was one in time.
    pub checkpoint: Option<String>,
}

/// What would become of one envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It would be accepted, or was before.
    WouldAccept {
        /// The record's digest.
        digest: Digest,
        /// The entry that it would cause, where it would cause one now.
        entry: Option<Box<JournalEntry>>,
    },
    /// It is no record.
    Malformed(RecordError),
    /// The rules refuse it.
    Refused {
        /// The record's digest.
        digest: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// The signature is not one by the key that it names.
    BadSignature {
        /// The record's digest.
        digest: Digest,
    },
}

/// Why nothing was decided. Each is a 503, or a 429 where there is too much; sending the same again later is always safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The clock does not agree with the ledger's time.
    #[error("the service's clock does not agree with the ledger's time")]
    ClockSuspect,
    /// The register is missing beside existing checkpoints, damaged, or another ledger's.
    #[error("the publisher's register is missing or unusable")]
    RegisterMissing,
    /// The committed log does not extend what was signed before.
    #[error("the committed log does not extend what was signed before")]
    LogForked,
    /// The key for checkpoints does not sign.
    #[error("the ledger's key for checkpoints does not sign")]
    CheckpointKey,
    /// The server is an older primary than one seen before, or of another cluster, or a standby.
    #[error("the database is not the primary that was seen last")]
    StaleServer,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Database,
    /// More instructions wait than can be taken.
    #[error("more instructions wait than can be taken")]
    QueueFull,
    /// One who signed these has as many requests open, or instructions waiting, as one principal may.
    #[error("as many are open as one principal may have")]
    TooManyOpen,
    /// The service is stopping.
    #[error("the service is stopping")]
    ShuttingDown,
    /// The connection broke while the group was committed, and the database stayed away; or another server took over
    /// before the head was signed.
    #[error("whether it was written is not known")]
    Unknown,
    /// A fault of the service; its log says more.
    #[error("the service failed")]
    Internal,
}

impl From<Full> for Unavailable {
    fn from(full: Full) -> Unavailable {
        match full {
            Full::All => Unavailable::QueueFull,
            Full::Share => Unavailable::TooManyOpen,
            Full::Closed => Unavailable::ShuttingDown,
        }
    }
}

impl Unavailable {
    /// The stable code, as in `docs/errors.md`.
    pub fn code(self) -> &'static str {
        match self {
            Unavailable::ClockSuspect => "clock_suspect",
            Unavailable::RegisterMissing => "register_missing",
            Unavailable::LogForked => "log_forked",
            Unavailable::CheckpointKey => "checkpoint_key_unavailable",
            Unavailable::StaleServer => "stale_server",
            Unavailable::Database => "database_unavailable",
            Unavailable::QueueFull => "queue_full",
            Unavailable::TooManyOpen => "too_many_open",
            Unavailable::ShuttingDown => "shutting_down",
            Unavailable::Unknown => "outcome_unknown",
            Unavailable::Internal => "internal",
        }
    }

    /// What the failure of a read means to whoever asked.
    pub(crate) fn of_read(error: StoreError) -> Unavailable {
        let fault = error.fault();
        tracing::error!(?fault, "a look-up failed");
        match fault {
            Fault::Lost => Unavailable::Database,
            Fault::Standby => Unavailable::StaleServer,
            Fault::Refused { .. } | Fault::Other => Unavailable::Internal,
        }
    }
}
