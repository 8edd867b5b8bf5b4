//! What the ledger signs itself: groups, entries, lapses and pads. They give no authority.

use ledger::entry::{Entry, Line};
use ledger::id::{BenefitId, DisbursementId, EntryId};
use ledger::time::{Date, Timestamp};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::keys::PublicKey;

use crate::scalar::{Integer, Token};

/// The first record of what is committed together. It gives the group its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The writer's epoch: the PostgreSQL cluster's system identifier and timeline.
    pub epoch: Token,
    /// The position of this record.
    pub first: Integer,
    /// The ledger.
    pub ledger: Digest,
    /// Where the group begins with a reopening that replaces the ledger's keys: the new one for records, which signs this
    /// record already. That it is the ledger's follows from the act alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_key: Option<Box<PublicKey>>,
    /// The time of the group.
    pub recorded_at: Timestamp,
    /// The RFC 6962 root of the tree of all records before this one.
    pub root: Digest,
    /// The version of the rules that decided.
    pub rules: Integer,
}

/// A balanced journal entry: a function of the log before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// The digests of the records that authorise it, the one that causes it last.
    pub authority: Vec<Digest>,
    /// Under which benefit, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benefit: Option<BenefitId>,
    /// The salted commitment to the case, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case_commitment: Option<Digest>,
    /// Which disbursement, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disbursement: Option<DisbursementId>,
    /// The day for which it counts.
    pub effective: Date,
    /// `<digest of the record that causes it>-<n>`.
    pub id: EntryId,
    /// The ledger.
    pub ledger: Digest,
    /// Its postings and holds.
    pub lines: Vec<Line>,
    /// The entry that it reverses, where it is a reversal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<EntryId>,
}

impl JournalEntry {
    /// The double-entry part.
    pub fn entry(&self) -> Entry {
        Entry { id: self.id, effective: self.effective, lines: self.lines.clone(), reverses: self.reverses }
    }
}

/// A request, or an approved payment that nobody released, ran out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lapse {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// When it ran out.
    pub expired: Timestamp,
    /// The ledger.
    pub ledger: Digest,
    /// The request's digest.
    pub request: Digest,
}

/// Fills a group up to a size that may be public. It changes nothing, and ends the group.
///
/// Its signature makes a leaf of it that nobody can tell from another record's without the record key's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// The ledger.
    pub ledger: Digest,
    /// The position of this record, so that no two pads are equal.
    pub position: Integer,
    /// From when on the head is public that this group ends with.
    pub public_from: Timestamp,
}
