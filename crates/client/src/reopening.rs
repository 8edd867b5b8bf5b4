//! A log that goes on under a new origin because a part of it was lost, or with new keys of the ledger's: what this machine must
//! see before it follows.
//!
//! The file is what `safeconduct reopen` writes: receipts of the acts that enrolled custodians since the founding, and of
//! the custodians' proposal and concurrences. It is verified with the founding record alone. The
//! head that this machine kept must begin the new log, or be no newer than the one that the custodians cite.

use std::collections::BTreeSet;

use ledger::id::PrincipalId;
use records::governance::{Act, Founding, LedgersKeys, Proposal};
use records::scalar::Integer;
use records::{Basis, Body, Header, Record};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::dsse::Envelope;
use translog::checkpoint::Checkpoint;
use translog::proof::verify_consistency;

use crate::client::Client;
use crate::custodians::{Custodians, instruction};
use crate::error::Error;
use crate::home::{CHECKPOINT, EVIDENCE, FOUNDING, Home, LEDGER, RECEIPTS};
use crate::membership::{Earlier, Ledger};
use crate::receipt::Receipt;

/// A reopening that a quorum of the founding's custodians signed and the new log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reopening {
    /// The newest head that is known to have been signed before.
    pub cited: Checkpoint,
    /// The head of the log that was left.
    pub continued: Basis,
    /// A head under the new origin.
    pub head: Checkpoint,
    /// The ledger's keys from then on, where they change.
    pub keys: Option<LedgersKeys>,
    /// Who stands behind it.
    pub custodians: BTreeSet<PrincipalId>,
    note: String,
}

/// What following it means for this home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The reopening.
    pub reopening: Reopening,
    /// The size of the head that was kept.
    pub kept: u64,
    /// What this home has receipts for and the log no longer holds.
    pub lost: Vec<Lost>,
}

/// A record that was accepted once and is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The record.
    pub digest: Digest,
    /// Its kind.
    pub kind: String,
    /// Where it stood.
    pub position: u64,
}

impl Reopening {
    /// Verifies a reopening of this ledger.
    pub fn verify(receipts: &[Receipt], ledger: &Ledger, founding: &Founding) -> Result<Reopening, Error> {
        let wrong = |reason: &str| Error::Reopening(reason.to_owned());
        let parse = |receipt: &Receipt| {
            Record::parse(receipt.envelope.clone()).map_err(|error| wrong(&error.to_string()))
        };
        let records = receipts.iter().map(parse).collect::<Result<Vec<Record>, Error>>()?;
        let begins = |record: &Record| matches!(proposed(record), Some((_, Act::Reopen { .. })));
        let enrolments = records.iter().take_while(|record| !begins(record)).count();
        let (first, proposal) = receipts
            .get(enrolments)
            .zip(records.get(enrolments))
            .ok_or_else(|| wrong("it holds no proposal to reopen the log"))?;
        let Some((_, Act::Reopen { checkpoint, continued, keys, origin })) = proposed(proposal) else {
            return Err(wrong("it holds no proposal to reopen the log"));
        };
        if ledger.origin == *origin || ledger.earlier.iter().any(|earlier| earlier.origin == *origin) {
            return Err(wrong("this home knows the origin already"));
        }
        let cited = Checkpoint::parse_and_verify(checkpoint, ledger.origin.as_str(), &ledger.checkpoint_key)
            .map_err(|error| {
                wrong(&format!("the head that it cites was not signed by this ledger: {error}"))
            })?;
        // What follows is signed by the new key, which only the custodians' signatures make the ledger's.
        let key = keys.as_ref().map_or(&ledger.checkpoint_key, |keys| &keys.checkpoint_key);
        let head = first.verify(origin.as_str(), key).map_err(|error| wrong(&error.to_string()))?.checkpoint;
        for receipt in receipts {
            if receipt.checkpoint != first.checkpoint {
                return Err(wrong(
                    "its records are not under one checkpoint; ask for the file that `reopen` wrote",
                ));
            }
            receipt.is_in(head.size, head.root).map_err(|error| wrong(&error.to_string()))?;
        }
        let (enrolled, reopened) = receipts.split_at(enrolments);
        if enrolled.iter().any(|receipt| receipt.position >= continued.size) {
            return Err(wrong("an enrolment in it is not of the log that was left"));
        }
        let known = Custodians::of_founding(founding, ledger.ledger);
        let known = known.and_enrolled(&records[..enrolments]).map_err(|reason| wrong(&reason))?;
        let positions = continued.size.0.saturating_add(1)..;
        if reopened.iter().zip(positions).any(|(receipt, position)| receipt.position.0 != position) {
            return Err(wrong("its records do not stand where a reopening stands"));
        }
        let custodians = known.behind(&records[enrolments..]).map_err(|reason| {
            wrong(&format!("{reason}; an audit of a bundle of the new log tells whether it holds"))
        })?;
        let custodians = custodians.into_keys().collect();
        let (keys, note) = (keys.as_deref().cloned(), first.checkpoint.clone());
        Ok(Reopening { cited, continued: *continued, head, keys, custodians, note })
    }

    /// The ledger as it goes on after it.
    pub fn after(&self, ledger: &Ledger) -> Result<Ledger, Error> {
        let Checkpoint { origin, root, size } = &self.head;
        let origin = origin.parse().map_err(|_| Error::Reopening("the new origin is none".to_owned()))?;
        let begins = Some(Basis { root: *root, size: Integer(*size) });
        let mut next = Ledger { begins, origin, ..ledger.clone() };
        next.earlier.push(Earlier {
            checkpoint_key: ledger.checkpoint_key.clone(),
            origin: ledger.origin.clone(),
            size: self.continued.size,
        });
        if let Some(LedgersKeys { checkpoint_key, record_key }) = self.keys.clone() {
            next = Ledger { checkpoint_key, record_key, ..next };
        }
        Ok(next)
    }
}

/// What a proposal proposes.
pub fn proposed(record: &Record) -> Option<(&Header, &Act)> {
    match instruction(record)? {
        (header, Body::Proposal(Proposal { act })) => Some((header, act)),
        _ => None,
    }
}

/// The founding record that a home keeps.
pub fn founding(home: &Home, ledger: &Ledger) -> Result<Founding, Error> {
    let envelope: Envelope = home.read_json(FOUNDING)?.ok_or(Error::NotJoined)?;
    Ok(Ledger::of_founding(&envelope, ledger.ledger, &ledger.url)?.1)
}

impl Client {
    /// Follows a reopening from now on, if it accounts for the head that this machine kept, and for further heads of the
    /// present origin that are known here.
    pub fn follow_reopening(&self, receipts: &[Receipt], further: &[Checkpoint]) -> Result<Followed, Error> {
        let _lock = self.home().lock()?;
        let ledger = self.ledger();
        let reopening = Reopening::verify(receipts, ledger, &founding(self.home(), ledger)?)?;
        let kept = self.kept()?;
        let held = &kept.checkpoint;
        // What this machine verified may be lost; what the custodians left is in the new log, whatever that is.
        let Basis { root, size } = reopening.continued;
        let left = Checkpoint { origin: ledger.origin.to_string(), size: size.0, root };
        for head in [&left, held].into_iter().chain(further) {
            self.account_for(head, &reopening)?;
        }
        let lost = lost(self.home(), ledger, reopening.continued.size.0)?;
        if let Some(note) = &kept.note {
            let name = format!("{EVIDENCE}/before-{}.txt", reopening.head.size);
            self.home().write(&name, note.as_bytes())?;
        }
        self.home().write_json(LEDGER, &reopening.after(ledger)?)?;
        self.home().write(CHECKPOINT, reopening.note.as_bytes())?;
        Ok(Followed { kept: held.size, reopening, lost })
    }

    /// Refuses a reopening under which a head neither begins the new log nor is one that the custodians know of.
    fn account_for(&self, held: &Checkpoint, reopening: &Reopening) -> Result<(), Error> {
        let (cited, unaccounted) =
            (&reopening.cited, |reason: &str| Err(Error::Reopening(reason.to_owned())));
        if held.size <= reopening.continued.size.0 {
            let (size, head) = (held.size, &reopening.head);
            let proof = self.consistency(size, head.size)?;
            if verify_consistency(size, held.root, head.size, head.root, &proof).is_err() {
                return unaccounted(
                    "the new log does not begin with what this machine verified, or with what the custodians left: the ledger was \
                     forked. Do not sign anything, and tell the auditors",
                );
            }
        } else if held.size > cited.size || (held.size == cited.size && held.root != cited.root) {
            return unaccounted(&format!(
                "this machine keeps a head of size {}, which is newer than, or another than, the one of size {} that the \
                 custodians cite: give them {}, or what a witness here cosigned, so that they know of it, and do not sign \
                 anything",
                held.size,
                cited.size,
                self.home().path(CHECKPOINT).display()
            ));
        }
        Ok(())
    }
}

/// The home's receipts of what stood beyond this size of the log.
fn lost(home: &Home, ledger: &Ledger, size: u64) -> Result<Vec<Lost>, Error> {
    let mut lost = Vec::new();
    for name in home.list(RECEIPTS)? {
        let Some(receipt) = home.read_json::<Receipt>(&format!("{RECEIPTS}/{name}"))? else { continue };
        let proven = receipt.verify(ledger.origin.as_str(), &ledger.checkpoint_key);
        if let Ok(proven) = proven
            && receipt.position.0 >= size
        {
            let kind = proven.record.kind().name().to_owned();
            lost.push(Lost { digest: proven.record.digest(), kind, position: receipt.position.0 });
        }
    }
    lost.sort_by_key(|record| record.position);
    Ok(lost)
}
