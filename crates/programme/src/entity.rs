//! The entities that the state holds. They are a function of the log; the store keeps them as JSON, which is internal
//! and can be rebuilt from the log at any time.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::books::Balance;
use ledger::currency::Currency;
use ledger::entry::Line;
use ledger::id::{AssetId, BenefitId, CaseRef, DisbursementId, EntryId, FundId, PrincipalId};
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use records::Basis;
use records::assets::FundKind;
use records::cases::{Benefit, CaseOpening, ScreeningOutcome};
use records::disbursements::Channel;
use records::governance::{Act, Charter, LedgersKeys, Policy, Role};
use records::scalar::Token;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::keys::{KeyId, PublicKey};
use translog::checkpoint::{Checkpoint, CheckpointError};

use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::stage::Stage;

/// The founding and who has accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharterState {
    /// The ledger's id: the digest of the founding record.
    pub ledger: Digest,
    /// What the founding record fixed.
    pub charter: Box<Charter>,
    /// The custodians who have accepted; the founding's signer has by signing.
    pub accepted: BTreeSet<PrincipalId>,
    /// How the log was reopened, in order.
    #[serde(default)]
    pub reopened: Vec<Reopening>,
}

/// A reopening of the log by a quorum, after a part of it was lost or with new keys of the ledger's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopening {
    /// The origin from then on.
    pub origin: Token,
    /// The newest head that was known to have been signed before.
    pub cited: Basis,
    /// The head of the log that was left.
    pub continued: Basis,
    /// The ledger's keys from then on, where they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<LedgersKeys>,
    /// The proposal of it.
    pub proposal: Digest,
}

impl CharterState {
    /// Whether every custodian has accepted.
    pub fn is_complete(&self) -> bool {
        self.charter.custodians.iter().all(|custodian| self.accepted.contains(&custodian.principal))
    }

    /// The log's origin now: the founding's until the log is reopened.
    pub fn origin(&self) -> &Token {
        self.reopened.last().map_or(&self.charter.origin, |reopening| &reopening.origin)
    }

    /// Every origin that the log has had, the founding's first.
    pub fn origins(&self) -> impl Iterator<Item = &Token> {
        [&self.charter.origin].into_iter().chain(self.reopened.iter().map(|reopening| &reopening.origin))
    }

    /// The ledger's key for records now: the founding's until a reopening replaces it.
    pub fn record_key(&self) -> &PublicKey {
        let replaced = self.reopened.iter().rev().find_map(|reopening| reopening.keys.as_ref());
        replaced.map_or(&self.charter.record_key, |keys| &keys.record_key)
    }

    /// The ledger's key for checkpoints now.
    pub fn checkpoint_key(&self) -> &PublicKey {
        checkpoint_key_after(&self.charter, &self.reopened)
    }

    /// Every key for records that the ledger has had, the founding's first. One that was kept by a reopening stands twice.
    pub fn record_keys(&self) -> impl Iterator<Item = &PublicKey> {
        let replaced = self.reopened.iter().filter_map(|reopening| reopening.keys.as_ref());
        [&self.charter.record_key].into_iter().chain(replaced.map(|keys| &keys.record_key))
    }

    /// The same of both keys.
    pub fn ledgers_keys(&self) -> impl Iterator<Item = &PublicKey> {
        let replaced = self.reopened.iter().filter_map(|reopening| reopening.keys.as_ref());
        self.record_keys()
            .chain([&self.charter.checkpoint_key])
            .chain(replaced.map(|keys| &keys.checkpoint_key))
    }

    /// The key for checkpoints under an origin that the log has or had.
    pub fn checkpoint_key_of(&self, origin: &str) -> Option<&PublicKey> {
        let index = self.origins().position(|known| known.as_str() == origin)?;
        Some(checkpoint_key_after(&self.charter, self.reopened.get(..index)?))
    }

    /// The checkpoint in a note, signed by the key of its origin; under an origin that the log never had, by the key of now.
    pub fn read_note(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let origin = note.split('\n').next().unwrap_or_default();
        let key = self.checkpoint_key_of(origin).unwrap_or_else(|| self.checkpoint_key());
        Checkpoint::parse_and_verify(note, origin, key)
    }
}

/// The key for checkpoints after these reopenings.
fn checkpoint_key_after<'a>(charter: &'a Charter, reopened: &'a [Reopening]) -> &'a PublicKey {
    let replaced = reopened.iter().rev().find_map(|reopening| reopening.keys.as_ref());
    replaced.map_or(&charter.checkpoint_key, |keys| &keys.checkpoint_key)
}

/// Something that custodians set for a time on: what is in force, and what waits for the policy's delay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dated<T> {
    /// In force until the one that waits takes effect.
    pub current: T,
    /// What waits, with the proposal and the time from which it is in force.
    pub pending: Option<Pending<T>>,
}

/// What waits for the policy's delay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending<T> {
    /// What will be in force.
    pub value: T,
    /// The proposal that set it.
    pub proposal: Digest,
    /// From when on.
    pub effective_at: Timestamp,
}

impl<T> Dated<T> {
    /// In force from the beginning.
    pub fn new(current: T) -> Self {
        Dated { current, pending: None }
    }

    /// What is in force at a time.
    pub fn at(&self, time: Timestamp) -> &T {
        match &self.pending {
            Some(pending) if pending.effective_at <= time => &pending.value,
            _ => &self.current,
        }
    }

    /// Whether something waits at a time.
    pub fn is_pending(&self, time: Timestamp) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.effective_at > time)
    }
}

impl<T: Clone> Dated<T> {
    /// The same with another value that waits; what has taken effect by `time` becomes current.
    pub fn then(&self, time: Timestamp, pending: Pending<T>) -> Self {
        Dated { current: self.at(time).clone(), pending: Some(pending) }
    }

    /// The same without what waits at `time`.
    pub fn settled(&self, time: Timestamp) -> Self {
        Dated { current: self.at(time).clone(), pending: None }
    }
}

/// A policy and its version: 1 is the founding's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionedPolicy {
    /// The version.
    pub version: u64,
    /// The policy.
    pub policy: Policy,
}

/// The policy in force and the one that waits.
pub type PolicyState = Dated<VersionedPolicy>;

/// A principal's roles in force and those that wait.
pub type PrincipalState = Dated<Vec<Role>>;

/// An enrolled key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// Whose it is.
    pub principal: PrincipalId,
    /// The key.
    pub public: PublicKey,
    /// The proposal that enrolled it; none for a founding custodian's.
    pub proposal: Option<Digest>,
    /// From when on it is valid.
    pub from: Timestamp,
    /// From when on it has expired, where its enrolment says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What became of it as a spare, where it was enrolled as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare: Option<Spare>,
    /// Its end, where somebody brought that about.
    pub until: Option<Ending>,
    /// Whether its enrolment was vetoed.
    pub vetoed: bool,
}

/// How far a key that was enrolled as a spare has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spare {
    /// It signs nothing but its activation.
    Waiting,
    /// It signs as any other key.
    Activated {
        /// When.
        at: Timestamp,
        /// Where the activation stands.
        position: u64,
        /// The key that it ended.
        replaced: Option<KeyId>,
    },
}

/// The end of a key: by a quorum, or by a spare of the same principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// From when on it is no longer valid.
    pub at: Timestamp,
    /// The proposal or the activation.
    pub by: Digest,
    /// From which position on somebody else may have had it, where that was declared.
    pub since: Option<u64>,
}

impl KeyState {
    /// Why it is not valid at a time, where it is not. Nothing else judges that, for records and for reads.
    pub fn check(&self, time: Timestamp) -> Result<(), Refusal> {
        // What was vetoed never becomes valid, so it must not look as if waiting helped.
        if self.from > time && !self.vetoed {
            return Err(Refusal::with(Code::KeyNotYetValid, format!("valid from {}", self.from)));
        }
        if self.vetoed || self.until.is_some_and(|end| end.at <= time) {
            return Err(Code::KeyRevoked.into());
        }
        if let Some(expires) = self.expires.filter(|expires| *expires <= time) {
            return Err(Refusal::with(Code::KeyExpired, format!("it was valid until {expires}")));
        }
        if self.spare == Some(Spare::Waiting) {
            return Err(Code::KeySpare.into());
        }
        Ok(())
    }

    /// Whether it is valid at a time.
    pub fn is_valid(&self, time: Timestamp) -> bool {
        self.check(time).is_ok()
    }
}

/// How far a custodians' proposal has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalStatus {
    /// Gathers custodians.
    Open,
    /// Has its quorum, and takes or took effect at this time.
    Decided {
        /// The time.
        effective_at: Timestamp,
    },
    /// Was vetoed before it took effect.
    Vetoed,
}

/// A custodians' proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalState {
    /// What is proposed.
    pub act: Act,
    /// The custodians who count for it, with the keys that they signed with.
    pub custodians: Vec<(PrincipalId, KeyId)>,
    /// How far it has come.
    pub status: ProposalStatus,
    /// Until when it gathers: the proposal's own `not_after`.
    pub not_after: Timestamp,
}

/// An asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetState {
    /// Its fiduciary fund, once opened.
    pub fiduciary: Option<FundId>,
}

/// A fund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundState {
    /// The asset from which its money comes.
    pub asset: AssetId,
    /// Its currency.
    pub currency: Currency,
    /// Fiduciary or spendable.
    pub kind: FundKind,
}

/// A bank account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankState {
    /// Its currency.
    pub currency: Currency,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferState {
    /// Its latest version.
    pub latest: u64,
}

/// One version of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferVersionState {
    /// Its benefits.
    pub benefits: Vec<Benefit>,
    /// Cases that entered on this day or later may claim it.
    pub valid_from: Date,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseState {
    /// What its opening said.
    pub opening: Arc<CaseOpening>,
    /// How screening ended, once it has.
    pub screening: Option<ScreeningOutcome>,
}

/// An agency's reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyRefState {
    /// The case that it stands for.
    pub case: CaseRef,
    /// Whose it is.
    pub agency: PrincipalId,
}

/// An obligation that is open or was paid. Where there is none, the benefit can be requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationState {
    /// The disbursement that fulfils it.
    pub disbursement: DisbursementId,
}

/// A disbursement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisbursementState {
    /// To which case: what its opening said, shared with the case.
    pub opening: Arc<CaseOpening>,
    /// Under which benefit of the case's offer.
    pub benefit: BenefitId,
    /// Whether it is in kind: due when delivered.
    pub in_kind: bool,
    /// The requested amount.
    pub amount: Money,
    /// From which fund.
    pub fund: FundId,
    /// How it goes out.
    pub channel: Channel,
    /// When it lapses, unless it was released before.
    pub expires: Timestamp,
    /// Which occurrence.
    pub occurrence: u32,
    /// Who prepared the request.
    pub preparer: PrincipalId,
    /// The request's digest.
    pub request: Digest,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// The salted commitment to the case.
    pub commitment: Digest,
    /// How far it has come.
    pub stage: Stage,
    /// The last step, where it can be reversed.
    pub undo: Option<Box<Undo>>,
}

/// What a reversal of the last step goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The step's entry.
    pub entry: PostedEntry,
    /// The stage before it.
    pub before: Stage,
}

/// What is kept of an entry so that it can be reversed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedEntry {
    /// The entry's id.
    pub id: EntryId,
    /// Its postings.
    pub lines: Box<[Line]>,
}

/// A report of a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportState {
    /// Who has signed it, in order, with which key.
    pub persons: Vec<(PrincipalId, KeyId)>,
    /// How far it has come.
    pub status: ReportStatus,
}

/// How far a report has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportStatus {
    /// Waits for further persons; the payload is kept until then.
    Waiting {
        /// The payload type.
        payload_type: String,
        /// The payload's canonical JSON.
        payload: String,
        /// Until when further persons may sign: the report's own `not_after`.
        not_after: Timestamp,
    },
    /// Was posted. A disbursement's step is reversed through the disbursement and keeps nothing here.
    Posted(Option<PostedEntry>),
    /// Was posted and reversed.
    Reversed,
}

/// An instruction that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstructionState {
    /// Its digest.
    pub digest: Digest,
    /// Its position.
    pub position: u64,
    /// After this time it is void, and this entity no longer needed.
    pub not_after: Timestamp,
}

/// The group that begins at a size of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadState {
    /// The root of the tree of that size.
    pub root: Digest,
    /// The group's time.
    pub recorded_at: Timestamp,
    /// The key for records that the group carries; of no use after the group, so the store forgets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_key: Option<Box<PublicKey>>,
}

macro_rules! entities {
    ($($variant:ident($type:ty) <= $pattern:pat),* $(,)?) => {
        /// Any entity. Each in a box of its own size: a state has millions of small ones, and some that are ten times as large.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Entity { $(#[doc = stringify!($type)] $variant(Box<$type>),)* }

        impl Entity {
            /// The entity's JSON in the store.
            pub fn to_json(&self) -> String {
                let json = match self { $(Entity::$variant(value) => serde_json::to_string(value),)* };
                // Every entity is made of strings, numbers, lists and maps with string keys.
                json.unwrap_or_default()
            }

            /// The entity that a key names, from its JSON.
            pub fn from_json(key: &Key, json: &str) -> Result<Entity, serde_json::Error> {
                match key { $($pattern => serde_json::from_str(json).map(Entity::$variant),)* }
            }
        }

        $(impl Stored for $type {
            fn of(entity: &Entity) -> Option<&Self> {
                match entity { Entity::$variant(value) => Some(value), _ => None }
            }

            fn into_entity(self) -> Entity {
                Entity::$variant(Box::new(self))
            }
        })*
    };
}

/// A type that an entity can be.
pub trait Stored: Sized {
    /// The value, where the entity is of this type.
    fn of(entity: &Entity) -> Option<&Self>;
    /// The entity.
    fn into_entity(self) -> Entity;
}

entities! {
    Charter(CharterState) <= Key::Charter,
    Policy(PolicyState) <= Key::Policy,
    Principal(PrincipalState) <= Key::Principal(_),
    PublicKey(KeyState) <= Key::PublicKey(_),
    Proposal(ProposalState) <= Key::Proposal(_),
    Asset(AssetState) <= Key::Asset(_),
    Fund(FundState) <= Key::Fund(_),
    Bank(BankState) <= Key::Bank(_),
    Offer(OfferState) <= Key::Offer(_),
    OfferVersion(OfferVersionState) <= Key::OfferVersion(..),
    Case(CaseState) <= Key::Case(_),
    AgencyRef(AgencyRefState) <= Key::AgencyRef(_),
    Obligation(ObligationState) <= Key::Obligation(..),
    Disbursement(DisbursementState) <= Key::Disbursement(_),
    Report(ReportState) <= Key::Report(_),
    Instruction(InstructionState) <= Key::Instruction(..),
    Head(HeadState) <= Key::Head(_),
    Balance(Balance) <= Key::Balance(_),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state has millions of these, and an auditor's machine has to hold them: whoever needs more for one says why here.
    #[test]
    fn what_there_are_millions_of_is_small() {
        assert_eq!(size_of::<DisbursementState>(), 192);
        assert_eq!(size_of::<ObligationState>(), 16);
        assert_eq!(size_of::<(Key, Option<Entity>)>(), 56);
    }

    #[test]
    fn what_is_dated_changes_at_its_time() {
        let time = |s: i64| Timestamp::from_unix(s).unwrap();
        let dated = Dated::new(1)
            .then(time(0), Pending { value: 2, proposal: Digest::of(b"p"), effective_at: time(10) });
        assert_eq!((*dated.at(time(9)), *dated.at(time(10))), (1, 2));
        assert!(dated.is_pending(time(9)) && !dated.is_pending(time(10)));
        assert_eq!(dated.settled(time(9)), Dated::new(1));
        assert_eq!(dated.settled(time(10)), Dated::new(2));
    }
}
