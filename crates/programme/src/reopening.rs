//! The act by which a log goes on under a new origin: after a part of it was lost, or with new keys of the ledger's.
//!
//! It stands with its concurrences directly after the head that it continues, and takes effect with the quorum. With new keys
//! the group's own record carries the one for records and is signed by it: until the act is there that proves nothing, so
//! nothing but the act may stand there.

use records::governance::{Act, LedgersKeys, Proposal};
use records::journal::Group;
use records::scalar::{Integer, Token};
use records::{Basis, Body, Payload, Record};
use signing::digest::Digest;
use signing::keys::PublicKey;
use translog::checkpoint::Checkpoint;

use crate::decide::Context;
use crate::entity::{CharterState, HeadState, PolicyState, Reopening};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::Halt;

/// What the act says.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub checkpoint: &'a str,
    pub continued: &'a Basis,
    pub keys: Option<&'a LedgersKeys>,
    pub origin: &'a Token,
}

impl Wish<'_> {
    /// The entities that its guards ask for.
    pub fn needs(&self) -> Vec<Key> {
        let keys = self.keys.into_iter().flat_map(|keys| [&keys.record_key, &keys.checkpoint_key]);
        keys.map(|key| Key::PublicKey(key.id())).chain([Key::Head(self.continued.size.0)]).collect()
    }

    /// Refuses it where it breaks a rule and so many custodians stand behind it.
    pub fn check(&self, context: &Context<'_>, count: u64) -> Result<(), Halt> {
        if context.charter.origins().any(|used| used == self.origin) {
            return Err(invalid("the log has or had this origin; a new one is needed"));
        }
        // Directly after the group record that stands there, so that the old origin signs nothing of it.
        let left = context.view.find::<HeadState>(&Key::Head(self.continued.size.0))?;
        let is_alone = self.continued.size.0.checked_add(count) == Some(context.at.position);
        let Some(left) = left.filter(|left| is_alone && left.root == self.continued.root) else {
            return Err(invalid(
                "a reopening and what a quorum needs of concurrences stand alone at the beginning of the group that follows \
                 the head which they continue; the operator appends them: safeconduct reopen",
            ));
        };
        if left.record_key.as_deref() != self.keys.map(|keys| &keys.record_key) {
            return Err(invalid(
                "the group carries another key for records than the act gives the ledger, or one of them has none",
            ));
        }
        self.check_keys(context)?;
        let cited = self.cited(context)?;
        if cited.size > self.continued.size {
            return Ok(());
        }
        let known = context.view.find::<HeadState>(&Key::Head(cited.size.0))?;
        if known.is_none_or(|known| known.root != cited.root) {
            return Err(invalid("the checkpoint is not of the log that is continued"));
        }
        Ok(())
    }

    /// One of the two may stay as it is. The other, or both, are keys that nobody had before.
    fn check_keys(&self, context: &Context<'_>) -> Result<(), Halt> {
        let Some(LedgersKeys { checkpoint_key, record_key }) = self.keys else { return Ok(()) };
        let charter = context.charter;
        let stays = [(record_key, charter.record_key()), (checkpoint_key, charter.checkpoint_key())];
        let new: Vec<&PublicKey> =
            stays.into_iter().filter(|(key, before)| key != before).map(|(key, _)| key).collect();
        if new.is_empty() || record_key == checkpoint_key {
            return Err(invalid("give the ledger two different keys, at least one of them new"));
        }
        if new.iter().any(|key| charter.ledgers_keys().any(|had| had == *key)) {
            return Err(invalid("the ledger has or had one of the new keys before; make another"));
        }
        for key in new {
            context.view.must_be_absent(&Key::PublicKey(key.id()), Code::ActInvalid)?;
        }
        let policy = context.view.get::<PolicyState>(&Key::Policy, Code::LedgerNotFounded)?;
        let now = context.at.recorded_at;
        let waiting = policy.pending.as_ref().filter(|pending| pending.effective_at > now);
        let policies = [policy.at(now)].into_iter().chain(waiting.map(|pending| &pending.value));
        let mut witnessings = policies.filter_map(|known| known.policy.witnessing.as_ref());
        if witnessings.any(|known| known.problem([record_key, checkpoint_key]).is_some()) {
            return Err(invalid("one of the new keys is a witness's; make another"));
        }
        Ok(())
    }

    /// The head that is cited: it must have been signed under the origin that the log has so far. A note that a stolen key
    /// may have signed proves nothing by itself, so with new keys it has to be cosigned as policy demands.
    fn cited(&self, context: &Context<'_>) -> Result<Basis, Halt> {
        let (origin, key) = (context.charter.origin().as_str(), context.charter.checkpoint_key());
        let refused = |error: String| Halt::from(Refusal::with(Code::ActInvalid, error));
        let Checkpoint { root, size, .. } = Checkpoint::parse_and_verify(self.checkpoint, origin, key)
            .map_err(|error| refused(error.to_string()))?;
        if i64::try_from(size).is_err() {
            return Err(invalid("no log has the size that the checkpoint states"));
        }
        if let (Some(_), Some(witnessing)) = (self.keys, &context.policy.policy.witnessing) {
            let by = witnessing.cosigned_by(self.checkpoint).map_err(|error| refused(error.to_string()))?;
            if !witnessing.suffices(&by) {
                return Err(invalid(
                    "with new keys the cited head has to be cosigned by as many witnesses as policy demands; cite the newest \
                     that is",
                ));
            }
        }
        Ok(Basis { root, size: Integer(size) })
    }

    /// The charter once it is decided.
    pub fn bring_about(&self, context: &Context<'_>, proposal: Digest) -> Result<CharterState, Halt> {
        let mut charter = context.charter.clone();
        charter.reopened.push(Reopening {
            origin: self.origin.clone(),
            cited: self.cited(context)?,
            continued: *self.continued,
            keys: self.keys.cloned(),
            proposal,
        });
        Ok(charter)
    }
}

fn invalid(detail: &str) -> Halt {
    Refusal::with(Code::ActInvalid, detail).into()
}

/// A group that carries a key for records: it has to begin with the act that makes it the ledger's, complete and unbroken.
#[derive(Debug, Clone)]
pub struct Rekeying {
    key: PublicKey,
    proposal: Option<Digest>,
}

impl Rekeying {
    /// What a group that carries a key begins.
    pub fn of(group: &Group) -> Option<Rekeying> {
        let key = group.record_key.as_deref()?.clone();
        Some(Rekeying { key, proposal: None })
    }

    /// Whether a record may stand next: the proposal, or a concurrence with it. What each is worth is for the rules.
    pub fn takes(&mut self, record: &Record) -> bool {
        let Payload::Instruction(_, body) = record.payload() else { return false };
        match (&**body, self.proposal) {
            (Body::Proposal(Proposal { act: Act::Reopen { keys: Some(keys), .. } }), None) => {
                self.proposal = Some(record.digest());
                keys.record_key == self.key
            }
            (Body::Concurrence(concurrence), Some(proposal)) => concurrence.proposal == proposal,
            _ => false,
        }
    }

    /// Whether the act has its quorum.
    pub fn is_done(&self, charter: &CharterState) -> bool {
        let last = charter.reopened.last().map(|reopening| reopening.proposal);
        last.is_some() && last == self.proposal
    }
}
