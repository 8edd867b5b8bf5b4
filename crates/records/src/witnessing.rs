//! Witnesses: who cosigns checkpoints (C2SP `tlog-cosignature`), and what a verifier demands of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use signing::keys::{KeyId, PublicKey};
use translog::cosignature::{CosignatureError, cosigned_at};

use crate::scalar::{Integer, Token};

/// The witnesses of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnessing {
    /// How many of the cosignatures must be by witnesses who replay the log.
    pub replays: Integer,
    /// How many cosignatures a checkpoint must have, at least one.
    pub threshold: Integer,
    /// The witnesses, sorted by name.
    pub witnesses: Vec<Witness>,
}

/// A witness: somebody who is independent of whoever runs the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The witness's key, which is for cosignatures and nothing else.
    pub key: PublicKey,
    /// The key's name, a URL without scheme (C2SP `tlog-cosignature`).
    pub name: Token,
    /// What its cosignature says.
    pub statement: Statement,
}

/// What a cosignature says, which is a property of the key (C2SP `tlog-cosignature`, "Additional statements").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// The log extends all that the witness knew of it.
    Consistent,
    /// That, and the witness has replayed the whole log up to there: every signature, decision, entry and balance holds.
    Replayed,
}

/// A witness's cosignature of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned<'a> {
    /// Whose.
    pub witness: &'a Witness,
    /// The time that it states, in seconds since 1970; the earliest, if there are several.
    pub time: u64,
}

impl Witnessing {
    /// What is wrong with it beside the ledger's keys, if anything is. An Ed25519 cosignature does not commit to a name, so
    /// a key stands for one witness only.
    pub fn problem<'a>(&self, ours: impl IntoIterator<Item = &'a PublicKey>) -> Option<&'static str> {
        let Witnessing { replays, threshold, witnesses } = self;
        if !witnesses.windows(2).all(|pair| pair[0].name.as_str() < pair[1].name.as_str()) {
            return Some("list each witness once, sorted by name");
        }
        let ours: BTreeSet<KeyId> = ours.into_iter().map(PublicKey::id).collect();
        let keys: BTreeSet<KeyId> =
            witnesses.iter().map(|witness| witness.key.id()).filter(|key| !ours.contains(key)).collect();
        if keys.len() != witnesses.len() {
            return Some("every witness needs a key of its own, not one of the ledger's");
        }
        if threshold.0 == 0 || threshold.0 > witnesses.len() as u64 {
            return Some(
                "the threshold of witnesses is at least 1 and not more than there are; leave witnessing out to demand none",
            );
        }
        let replaying = witnesses.iter().filter(|witness| witness.statement == Statement::Replayed).count();
        if replays.0 > replaying as u64 {
            return Some("more replays are demanded than there are witnesses who replay");
        }
        None
    }

    /// The witnesses who have cosigned a checkpoint, in the order of their names. Lines by others are left alone.
    pub fn cosigned_by(&self, note: &str) -> Result<Vec<Cosigned<'_>>, CosignatureError> {
        let mut found = Vec::new();
        for witness in &self.witnesses {
            let time = cosigned_at(note, witness.name.as_str(), &witness.key)?;
            found.extend(time.map(|time| Cosigned { witness, time }));
        }
        Ok(found)
    }

    /// Whether these are as many as a verifier demands.
    pub fn suffices(&self, cosigned: &[Cosigned<'_>]) -> bool {
        let replayed = cosigned.iter().filter(|by| by.witness.statement == Statement::Replayed).count();
        cosigned.len() as u64 >= self.threshold.0 && replayed as u64 >= self.replays.0
    }
}
