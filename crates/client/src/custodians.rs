//! Whose signatures count for an act of the custodians, as far as a home can tell without a replay.
//!
//! The founding record names the first keys. Further ones count where the acts that enrolled them are given as well, each signed by a
//! quorum of those who counted before it. That a key was revoked since, or its enrolment vetoed, only a replay
//! tells.

use std::collections::{BTreeMap, BTreeSet};

use ledger::id::PrincipalId;
use records::governance::{Act, Founding, KeyPossession, Role};
use records::{Body, Header, Payload, Record};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey};

use crate::reopening::proposed;

/// Custodians with their keys.
#[derive(Debug, Clone)]
pub(crate) struct Custodians {
    ledger: Digest,
    keys: BTreeMap<KeyId, (PrincipalId, PublicKey)>,
    quorum: u64,
}

/// An act that gathers its quorum.
struct Enrolment<'a> {
    proposal: Digest,
    principal: &'a PrincipalId,
    keys: Vec<&'a Envelope>,
    by: BTreeSet<PrincipalId>,
}

impl Custodians {
    /// Those that the founding record of this ledger names.
    pub fn of_founding(founding: &Founding, ledger: Digest) -> Custodians {
        let key = |(principal, key): (&PrincipalId, &PublicKey)| (key.id(), (principal.clone(), key.clone()));
        let named = founding.body.custodians.iter().map(|one| (&one.principal, &one.key));
        Custodians { ledger, keys: named.map(key).collect(), quorum: founding.body.quorum.0 }
    }

    /// The same, and those whom acts enrolled since: proposals and their concurrences, in the order of the log.
    pub fn and_enrolled(mut self, acts: &[Record]) -> Result<Custodians, String> {
        let mut open: Vec<Enrolment<'_>> = Vec::new();
        for record in acts {
            let (header, body) = instruction(record).ok_or("a record in it is no instruction")?;
            if header.ledger != self.ledger {
                return Err("a record in it is of another ledger".to_owned());
            }
            let proposal = match (body, proposed(record)) {
                (_, Some((_, act @ Act::Enrol { principal, roles, .. })))
                    if roles.contains(&Role::Custodian) =>
                {
                    let (proposal, keys) = (record.digest(), act.new_keys().collect());
                    open.push(Enrolment { proposal, principal, keys, by: BTreeSet::new() });
                    proposal
                }
                (Body::Concurrence(concurrence), _) => concurrence.proposal,
                _ => return Err("a record in it enrols no custodian".to_owned()),
            };
            let place = open.iter().position(|one| one.proposal == proposal);
            let place = place.ok_or("a concurrence in it is with no enrolment of a custodian")?;
            if self.has_signed(header, record.envelope()) {
                open[place].by.insert(header.signer.clone());
            }
            if open[place].by.len() as u64 >= self.quorum {
                // What follows on a quorum changes nothing, so it stays in the list.
                let (principal, keys) =
                    (open[place].principal.clone(), std::mem::take(&mut open[place].keys));
                for possession in keys {
                    let key = self.possessed(possession, &principal);
                    let key = key.ok_or("a key in it is enrolled without the proof of its possession")?;
                    self.keys.insert(key.id(), (principal.clone(), key));
                }
            }
        }
        Ok(self)
    }

    /// The key of a principal's that an envelope carries and proves the possession of.
    fn possessed(&self, envelope: &Envelope, principal: &PrincipalId) -> Option<PublicKey> {
        let possession = canonical::decode::<KeyPossession>(&envelope.payload).ok()?;
        let is_right = envelope.payload_type == KeyPossession::PAYLOAD_TYPE
            && (possession.ledger, &possession.principal) == (self.ledger, principal)
            && envelope.verify(&possession.key).is_ok();
        is_right.then_some(possession.key)
    }

    /// The quorum that stands behind an act, and at which of these records each joined it: first the proposal, then its
    /// concurrences.
    pub fn behind(&self, act: &[Record]) -> Result<BTreeMap<PrincipalId, usize>, String> {
        let proposal = act.first().map(Record::digest);
        let mut by = BTreeMap::new();
        for (place, record) in act.iter().enumerate() {
            let (header, body) = instruction(record).ok_or("a record in it is no instruction")?;
            let is_for_it = match body {
                Body::Proposal(_) => place == 0,
                Body::Concurrence(concurrence) => Some(concurrence.proposal) == proposal,
                _ => false,
            };
            if header.ledger != self.ledger || !is_for_it {
                return Err("it takes the proposal, then its concurrences, and nothing else".to_owned());
            }
            if (by.len() as u64) < self.quorum && self.has_signed(header, record.envelope()) {
                by.entry(header.signer.clone()).or_insert(place);
            }
        }
        if (by.len() as u64) < self.quorum {
            return Err(format!(
                "it is signed by {} of the custodians whose keys are known here, from the founding record or an enrolment that comes with \
                 it, and takes {}",
                by.len(),
                self.quorum
            ));
        }
        Ok(by)
    }

    /// Whether one of them signed this, with a key that counts for him.
    fn has_signed(&self, header: &Header, envelope: &Envelope) -> bool {
        let known = self.keys.get(&header.key).filter(|(principal, _)| *principal == header.signer);
        known.is_some_and(|(_, key)| envelope.verify(key).is_ok())
    }
}

/// What an instruction says, and who says it.
pub(crate) fn instruction(record: &Record) -> Option<(&Header, &Body)> {
    match record.payload() {
        Payload::Instruction(header, body) => Some((header, body)),
        _ => None,
    }
}
