//! Folds the rules over a whole log and refutes the first record that they do not account for.
//!
//! Whoever feeds it has checked signatures (a [`Verified`] record says so) and keeps the Merkle tree; replay checks
//! everything else: the order, the groups' times and roots, that each instruction was authorised where it stands, that
//! each entry is exactly what the rules make of it and was signed by the ledger, and that no lapse is missing.

use std::collections::BTreeSet;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use records::journal::{Group, JournalEntry, Pad};
use records::{Payload, Verified};
use signing::digest::Digest;
use signing::keys::{KeyId, PublicKey};

use crate::RULES_VERSION;
use crate::decide::{At, Decision, apply_owned, begin_group, decide};
use crate::entity::{CharterState, DisbursementState, Entity, PolicyState};
use crate::key::Key;
use crate::lapses::Lapses;
use crate::publication::{Padding, padding};
use crate::refusal::{Code, Refusal};
use crate::reopening::Rekeying;
use crate::state::{Halt, Lookup, State};

/// Why a log is refuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Position 0 does not hold the founding record of the ledger that was asked for.
    #[error("the log does not begin with the founding record of ledger {expected}")]
    OtherLedger {
        /// The ledger's id.
        expected: Digest,
    },
    /// A record stands before the first group record.
    #[error("a record stands outside a group")]
    OutsideGroup,
    /// What only the ledger may sign was signed by another key.
    #[error("signed by key {signed} instead of the ledger's record key")]
    NotTheLedgersKey {
        /// The key that signed.
        signed: KeyId,
    },
    /// A group names another position than it stands at.
    #[error("the group names position {named}")]
    GroupPosition {
        /// The position that it names.
        named: u64,
    },
    /// A group names another ledger.
    #[error("the group names another ledger")]
    GroupLedger,
    /// A group's root is not the tree's.
    #[error("the group's root {named} is not the root {real} of the records before it")]
    GroupRoot {
        /// The root that it names.
        named: Digest,
        /// The root of the records.
        real: Digest,
    },
    /// A group's time lies before that of the group before.
    #[error("the group's time {named} lies before {last}")]
    GroupTime {
        /// The time that it names.
        named: Timestamp,
        /// The time of the group before.
        last: Timestamp,
    },
    /// A group names rules that this verifier does not know.
    #[error("the group was decided by rules of version {named}, which this verifier does not know")]
    GroupRules {
        /// The version.
        named: u64,
    },
    /// The rules refuse the record where it stands.
    #[error("the rules refuse it: {0}")]
    Refused(Refusal),
    /// The same instruction stands in the log twice.
    #[error("the instruction stands at position {first} already")]
    Repeated {
        /// Where it stands first.
        first: u64,
    },
    /// An entry that no record causes.
    #[error("no record causes this entry")]
    EntryUnexpected,
    /// The record before causes an entry that does not follow.
    #[error("the entry {expected} should stand here")]
    EntryMissing {
        /// The id of the entry that is missing.
        expected: Box<ledger::id::EntryId>,
    },
    /// An entry other than the rules make it.
    #[error("the entry is not the one that the rules make; it should be {expected}")]
    EntryAltered {
        /// The payload that the rules make.
        expected: String,
    },
    /// A disbursement ran out and its lapse is not in the log.
    #[error("disbursement {disbursement} ran out at {expired}, and its lapse is missing")]
    LapseMissing {
        /// The disbursement.
        disbursement: DisbursementId,
        /// When it ran out.
        expired: Timestamp,
    },
    /// A pad that is not called for: there, that many, or saying that.
    #[error("no pad that says this is called for here")]
    PadUnexpected,
    /// The group ends with a size that may not be public, and its time calls for one that may.
    #[error("the group must end with a pad, at a multiple of {multiple} records")]
    PadMissing {
        /// Of how many records.
        multiple: u64,
    },
    /// A group carries a key for records, and does not begin with the act of a quorum that makes it the ledger's.
    #[error(
        "the group carries a key for records, and does not begin with the act of a quorum that makes it the ledger's"
    )]
    RekeyIncomplete,
    /// The log ends before the entry that its last record causes.
    #[error("the log ends before the entry that its last record causes")]
    CutOff,
}

impl Reason {
    /// The reason's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::OtherLedger { .. } => "other_ledger",
            Reason::OutsideGroup => "outside_group",
            Reason::NotTheLedgersKey { .. } => "not_the_ledgers_key",
            Reason::GroupPosition { .. } => "group_position",
            Reason::GroupLedger => "group_ledger",
            Reason::GroupRoot { .. } => "group_root",
            Reason::GroupTime { .. } => "group_time",
            Reason::GroupRules { .. } => "group_rules",
            Reason::Refused(_) => "refused",
            Reason::Repeated { .. } => "repeated",
            Reason::EntryUnexpected => "entry_unexpected",
            Reason::EntryMissing { .. } => "entry_missing",
            Reason::EntryAltered { .. } => "entry_altered",
            Reason::LapseMissing { .. } => "lapse_missing",
            Reason::PadUnexpected => "pad_unexpected",
            Reason::PadMissing { .. } => "pad_missing",
            Reason::RekeyIncomplete => "rekey_incomplete",
            Reason::CutOff => "cut_off",
        }
    }
}

/// A log that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("position {position}: {reason}")]
pub struct Refuted {
    /// The position of the first record that is wrong.
    pub position: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// The fold.
#[derive(Debug)]
pub struct Replay {
    ledger: Digest,
    state: State,
    position: u64,
    time: Option<Timestamp>,
    in_group: bool,
    /// The pads that the present group owes.
    padding: Option<Padding>,
    /// The act with which the present group has to begin, until it is there.
    rekeying: Option<Rekeying>,
    expected: Option<JournalEntry>,
    lapses: Lapses,
    expiring: BTreeSet<(Timestamp, Key)>,
}

impl Replay {
    /// An empty log of the ledger with this id.
    pub fn new(ledger: Digest) -> Replay {
        Replay {
            ledger,
            state: State::complete(),
            position: 0,
            time: None,
            in_group: false,
            padding: None,
            rekeying: None,
            expected: None,
            lapses: Lapses::default(),
            expiring: BTreeSet::new(),
        }
    }

    /// A log that ended with a group and goes on: `state` is its state, complete, after `position` records, and `time`
    /// that of its last group (or of the founding). What follows has to begin with a group.
    pub fn resume(ledger: Digest, state: State, position: u64, time: Timestamp) -> Replay {
        let mut replay = Replay { position, time: Some(time), ..Replay::new(ledger) };
        for (key, entity) in state.entities() {
            match (key, entity) {
                (Key::Disbursement(id), Entity::Disbursement(known)) => {
                    replay.lapses.follow(id, None, known);
                }
                (Key::Instruction(..), Entity::Instruction(known)) => {
                    replay.expiring.insert((known.not_after, key.clone()));
                }
                _ => {}
            }
        }
        replay.state = state;
        replay
    }

    /// The state after what was pushed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The position of the next record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The time of the last group.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Whether the records pushed so far end with all that they cause, as they do at the end of every group.
    pub fn is_settled(&self) -> bool {
        self.expected.is_none()
    }

    /// Takes the next record. `root` is the RFC 6962 root of the records before it, asked for at groups only.
    pub fn push(&mut self, record: &Verified, root: impl FnOnce() -> Digest) -> Result<(), Refuted> {
        self.take(record, root).map_err(|reason| Refuted { position: self.position, reason })?;
        self.position += 1;
        Ok(())
    }

    /// Ends the log: nothing may be owing.
    pub fn finish(mut self) -> Result<State, Refuted> {
        let position = self.position;
        let refuted = |reason| Refuted { position, reason };
        if position == 0 {
            return Err(refuted(Reason::OtherLedger { expected: self.ledger }));
        }
        if self.expected.is_some() {
            return Err(refuted(Reason::CutOff));
        }
        if self.rekeying.is_some() {
            return Err(refuted(Reason::RekeyIncomplete));
        }
        self.check_padding().map_err(refuted)?;
        self.check_lapses().map_err(refuted)?;
        Ok(self.state)
    }

    fn take(&mut self, record: &Verified, root: impl FnOnce() -> Digest) -> Result<(), Reason> {
        if let Some(expected) = self.expected.take() {
            return self.take_entry(expected, record);
        }
        if self.rekeying.as_mut().is_some_and(|rekeying| !rekeying.takes(record)) {
            return Err(Reason::RekeyIncomplete);
        }
        match record.payload() {
            Payload::Founding(founding) if self.position == 0 => {
                if record.digest() != self.ledger {
                    return Err(Reason::OtherLedger { expected: self.ledger });
                }
                self.time = Some(founding.issued_at);
                self.take_decision(record)
            }
            _ if self.position == 0 => Err(Reason::OtherLedger { expected: self.ledger }),
            Payload::Group(group) => {
                match &group.record_key {
                    None => self.check_ledgers_key(record)?,
                    Some(carried) => check_signed_by(carried, record)?,
                }
                self.take_group(group, root)
            }
            Payload::Pad(pad) => {
                self.check_ledgers_key(record)?;
                self.take_pad(pad)
            }
            _ if !self.in_group => Err(Reason::OutsideGroup),
            Payload::Founding(_) => Err(Reason::Refused(Code::LedgerFounded.into())),
            Payload::JournalEntry(_) => Err(Reason::EntryUnexpected),
            Payload::Lapse(_) => {
                self.check_ledgers_key(record)?;
                self.take_decision(record)
            }
            Payload::Instruction(..) => self.take_decision(record),
        }
    }

    fn take_group(&mut self, group: &Group, root: impl FnOnce() -> Digest) -> Result<(), Reason> {
        self.check_padding()?;
        self.check_lapses()?;
        if group.first.0 != self.position {
            return Err(Reason::GroupPosition { named: group.first.0 });
        }
        if group.ledger != self.ledger {
            return Err(Reason::GroupLedger);
        }
        if group.rules.0 != RULES_VERSION {
            return Err(Reason::GroupRules { named: group.rules.0 });
        }
        if let Some(last) = self.time.filter(|last| group.recorded_at < *last) {
            return Err(Reason::GroupTime { named: group.recorded_at, last });
        }
        let real = root();
        if group.root != real {
            return Err(Reason::GroupRoot { named: group.root, real });
        }
        begin_group(&mut self.state, group);
        self.rekeying = Rekeying::of(group);
        self.padding = self.time.and_then(|last| padding(&self.state, last, group.recorded_at));
        self.time = Some(group.recorded_at);
        self.in_group = true;
        while self.expiring.first().is_some_and(|(not_after, _)| *not_after < group.recorded_at) {
            if let Some((_, key)) = self.expiring.pop_first() {
                self.state.set(key, None);
            }
        }
        Ok(())
    }

    fn take_decision(&mut self, record: &Verified) -> Result<(), Reason> {
        let recorded_at = self.time.ok_or(Reason::OutsideGroup)?;
        let at = At { position: self.position, recorded_at };
        let decision = decide(&self.state, at, record).map_err(|halt| match halt {
            Halt::Refused(refusal) => Reason::Refused(refusal),
            Halt::Known { position } => Reason::Repeated { first: position },
            // A complete state knows every key.
            Halt::Missing(_) => Reason::Refused(Code::BasisUnknown.into()),
        })?;
        self.follow(&decision);
        self.expected = apply_owned(&mut self.state, decision);
        let charter = self.state.get::<CharterState>(&Key::Charter);
        self.rekeying.take_if(|rekeying| charter.is_some_and(|charter| rekeying.is_done(charter)));
        Ok(())
    }

    /// Keeps the two indexes by time: what lapses next, and which instruction ids are forgotten next.
    fn follow(&mut self, decision: &Decision) {
        for (key, entity) in decision.changes() {
            match (key, entity) {
                (Key::Disbursement(id), Some(Entity::Disbursement(state))) => {
                    self.lapses.follow(id, self.state.get::<DisbursementState>(key), state);
                }
                (Key::Instruction(..), Some(Entity::Instruction(known))) => {
                    // An id that is used again after its time gets a later one; the earlier place is then void.
                    if let Lookup::Present(Entity::Instruction(before)) = self.state.lookup(key) {
                        self.expiring.remove(&(before.not_after, key.clone()));
                    }
                    self.expiring.insert((known.not_after, key.clone()));
                }
                _ => {}
            }
        }
    }

    /// A pad ends its group: nothing but pads follow it there.
    fn take_pad(&mut self, pad: &Pad) -> Result<(), Reason> {
        let owed = self.padding.filter(|padding| padding.pad(self.ledger, self.position) == *pad);
        let padding = owed.ok_or(Reason::PadUnexpected)?;
        self.padding = Some(padding).filter(|padding| !padding.is_met(self.position + 1));
        self.in_group = false;
        Ok(())
    }

    fn take_entry(&self, expected: JournalEntry, record: &Verified) -> Result<(), Reason> {
        let Payload::JournalEntry(entry) = record.payload() else {
            return Err(Reason::EntryMissing { expected: Box::new(expected.id) });
        };
        self.check_ledgers_key(record)?;
        if entry.id != expected.id {
            return Err(Reason::EntryMissing { expected: Box::new(expected.id) });
        }
        // The payload is canonical, so equal values are equal bytes.
        if **entry != expected {
            let payload = Payload::JournalEntry(Box::new(expected)).encode();
            return Err(Reason::EntryAltered { expected: String::from_utf8_lossy(&payload).into_owned() });
        }
        Ok(())
    }

    /// What only the ledger signs is signed by its record key.
    pub fn check_ledgers_key(&self, record: &Verified) -> Result<(), Reason> {
        let signed = record.envelope().key_id;
        let charter = self.state.get::<CharterState>(&Key::Charter);
        let charter = charter.ok_or(Reason::NotTheLedgersKey { signed })?;
        check_signed_by(charter.record_key(), record)
    }

    /// At the end of a group no pad may be owed.
    fn check_padding(&self) -> Result<(), Reason> {
        self.padding.map_or(Ok(()), |Padding { multiple, .. }| Err(Reason::PadMissing { multiple }))
    }

    /// At the end of a group nothing may have run out longer ago than policy's grace.
    fn check_lapses(&mut self) -> Result<(), Reason> {
        let Some(now) = self.time else { return Ok(()) };
        let Some((expired, disbursement)) = self.lapses.first(now, &self.state) else { return Ok(()) };
        let grace_s = self
            .state
            .get::<PolicyState>(&Key::Policy)
            .map_or(0, |policy| policy.at(now).policy.lapse_grace_s.0);
        if now.since(*expired).is_some_and(|over_s| over_s > grace_s) {
            return Err(Reason::LapseMissing { disbursement: disbursement.clone(), expired: *expired });
        }
        Ok(())
    }
}

fn check_signed_by(key: &PublicKey, record: &Verified) -> Result<(), Reason> {
    let signed = record.envelope().key_id;
    if key.id() == signed { Ok(()) } else { Err(Reason::NotTheLedgersKey { signed }) }
}
