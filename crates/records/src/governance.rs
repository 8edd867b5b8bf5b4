//! Founding, custodians' acts, principals, keys, roles and policy.

use ledger::currency::Currency;
use ledger::id::PrincipalId;
use ledger::money::Money;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey};

use crate::record::Basis;
use crate::scalar::{InstructionId, Integer, Text, Token};
use crate::witnessing::Witnessing;
use ledger::time::Timestamp;

/// What a principal may do. A principal may hold several roles; the rules keep the persons of one payment apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads the cases that were opened for it, and nothing else.
    Agency,
    /// Approves or rejects requests.
    Approver,
    /// Reads everything and may veto a custodians' act during its delay.
    Auditor,
    /// Acts in quorum: enrolment, revocation, policy.
    Custodian,
    /// Approves upper bands; opens assets, funds, bank accounts and offers; orders reversals.
    Director,
    /// Releases approved payments.
    Payer,
    /// Opens cases, prepares requests, reports deliveries.
    Preparer,
    /// Reports what courts and banks did.
    Reconciler,
    /// Gives the word that a person is cleared and was not seen before.
    Screener,
    /// A machine that only reads.
    Service,
}

impl Role {
    /// Every role, in the order of their names.
    pub const ALL: [Role; 10] = [
        Role::Agency,
        Role::Approver,
        Role::Auditor,
        Role::Custodian,
        Role::Director,
        Role::Payer,
        Role::Preparer,
        Role::Reconciler,
        Role::Screener,
        Role::Service,
    ];

    /// The role's name, as it is written in payloads.
    pub fn name(self) -> &'static str {
        match self {
            Role::Agency => "agency",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
            Role::Custodian => "custodian",
            Role::Director => "director",
            Role::Payer => "payer",
            Role::Preparer => "preparer",
            Role::Reconciler => "reconciler",
            Role::Screener => "screener",
            Role::Service => "service",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// A role that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no role '{0}'; the roles are agency, approver, auditor, custodian, director, payer, preparer, reconciler, screener and service"
)]
pub struct UnknownRole(pub String);

/// The record at position 0. Signed by one of the custodians that it names; its digest is the ledger's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// What is founded.
    pub body: Charter,
    /// The signer's own id for this record.
    pub id: InstructionId,
    /// The first time of the ledger.
    pub issued_at: Timestamp,
    /// The signer's key, one of the charter's.
    pub key: KeyId,
    /// The signer, one of the charter's custodians.
    pub signer: PrincipalId,
}

/// What a founding record fixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The ledger's key for checkpoints.
    pub checkpoint_key: PublicKey,
    /// The currencies that funds may have, sorted.
    pub currencies: Vec<Currency>,
    /// The custodians, sorted by principal.
    pub custodians: Vec<FoundingCustodian>,
    /// The log's origin, the first line of its checkpoints.
    pub origin: Token,
    /// The first policy.
    pub policy: Policy,
    /// How many custodians an act takes: at least 2 and more than half.
    pub quorum: Integer,
    /// The ledger's key for the records that it signs itself.
    pub record_key: PublicKey,
}

/// The public halves of the ledger's two keys, where a reopening replaces them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgersKeys {
    /// The key for checkpoints.
    pub checkpoint_key: PublicKey,
    /// The key for the records that the ledger signs itself.
    pub record_key: PublicKey,
}

/// A custodian whom the founding record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundingCustodian {
    /// The custodian's key.
    pub key: PublicKey,
    /// The custodian.
    pub principal: PrincipalId,
}

/// The rules that custodians may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Approval bands, by currency and rising; an amount above the highest band of its currency cannot be requested.
    pub bands: Vec<Band>,
    /// How many different persons a report of the bank takes, the first included.
    pub bank_report_persons: Integer,
    /// The oldest basis that an instruction may have, in seconds.
    pub basis_age_s: Integer,
    /// The channels by which a payment may go out.
    pub channels: Vec<ChannelKind>,
    /// The longest time from request to expiry, in seconds.
    pub expiry_max_s: Integer,
    /// By how much the writer's clock may be ahead of the last group, in seconds.
    pub gap_s: Integer,
    /// How long after its due time a lapse may be missing from the log, in seconds.
    pub lapse_grace_s: Integer,
    /// What of the log is public, and when; nothing is, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<Publication>,
    /// How long an act of the custodians waits between quorum and effect, in seconds.
    pub quorum_delay_s: Integer,
    /// How many different persons a report of a receipt or a legal fact takes, the first included.
    pub receipt_persons: Integer,
    /// By how much clocks may differ, in seconds.
    pub skew_s: Integer,
    /// Who cosigns checkpoints, and how many of them a verifier demands; nobody yet is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessing: Option<Witnessing>,
}

/// The schedule of what is public of the log: `docs/spec/log.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// How long a period is, in seconds: one public head each.
    pub every_s: Integer,
    /// The size of a public head is a multiple of this.
    pub multiple: Integer,
}

/// One approval band.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// How many different approvers, directors included.
    pub approvers: Integer,
    /// How many of them must be directors.
    pub directors: Integer,
    /// The highest amount in this band; its currency is the band's.
    pub up_to: Money,
}

/// The kinds of channel that a policy can allow. The first release knows one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelKind {
    /// An office that pays by hand.
    Manual,
}

/// A custodian's word that he holds the key which the founding record names for him. Basis: size 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {}

/// One custodian's proposal of an act; it counts as the first approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// What is proposed.
    pub act: Act,
}

/// What takes a quorum of custodians.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// A new principal, or further keys for one that exists.
    Enrol {
        /// From when on these keys, the spares too, are no longer valid; without it they do not expire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
        /// One envelope of kind `key-possession` for each new key, signed by it.
        possessions: Vec<Envelope>,
        /// Whose keys they are.
        principal: PrincipalId,
        /// The principal's roles from then on, sorted.
        roles: Vec<Role>,
        /// The same as `possessions` for each spare: a key that signs nothing before its own [`Activation`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spares: Option<Vec<Envelope>>,
    },
    /// A new policy.
    Policy {
        /// The whole of it.
        policy: Policy,
    },
    /// The log goes on under a new origin: after a part of it was lost (`docs/operating/backup.md`), or with new keys of the
    /// ledger's (`docs/operating/rekey.md`), or both.
    Reopen {
        /// The newest head that is known to have been signed under the old origin, as its signed note.
        checkpoint: String,
        /// The head of the log that is left, which is continued.
        continued: Basis,
        /// The ledger's keys from then on, where they change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<Box<LedgersKeys>>,
        /// The origin from then on.
        origin: Token,
    },
    /// The end of a key.
    Revoke {
        /// The key.
        key: KeyId,
        /// Why.
        reason: Text,
        /// Where somebody else may have had it: what it signed from this position on must be reviewed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Integer>,
    },
    /// Other roles for a principal; an empty list ends what he may do.
    Roles {
        /// Whose.
        principal: PrincipalId,
        /// All of them from then on, sorted.
        roles: Vec<Role>,
    },
}

impl Act {
    /// The possessions of the keys that it would enrol: the daily ones, then the spares.
    pub fn new_keys(&self) -> impl Iterator<Item = &Envelope> {
        let (daily, spares) = match self {
            Act::Enrol { possessions, spares, .. } => (possessions.as_slice(), spares.as_deref()),
            _ => (&[][..], None),
        };
        daily.iter().chain(spares.unwrap_or_default())
    }
}

/// A spare's own word that it is needed. Signed by the spare, which from then on signs as any other key of its principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Why.
    pub reason: Text,
    /// Another key of the same principal, which ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
    /// Where somebody else may have had that key: what it signed from this position on must be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Integer>,
}

/// A further custodian's approval of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concurrence {
    /// The digest of the proposal.
    pub proposal: Digest,
}

/// A custodian's or auditor's veto of an act that has not taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// The digest of the proposal.
    pub proposal: Digest,
    /// Why.
    pub reason: Text,
}

/// The proof, nested in an enrolment, that a principal holds a new key. Signed by that key; never a record by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPossession {
    /// The new key.
    pub key: PublicKey,
    /// The ledger at which it is to be enrolled.
    pub ledger: Digest,
    /// Whose key it is.
    pub principal: PrincipalId,
}

impl KeyPossession {
    /// The payload type of this nested envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.safeconduct.key-possession.v1+json";
}
