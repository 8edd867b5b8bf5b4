//! What can be done to records without knowing the log: parsing, hashing and signatures, a chunk at a time and on all
//! cores.
//!
//! A key's id is the hash of the key, so a key needs no other proof than that an earlier record carries it: the founding
//! record the custodians' and the ledger's own, a proposal those that it would enrol, a group the ledger's new one. A chunk
//! therefore goes through three steps: parse all in parallel, collect keys in order, verify all in parallel. Whether a key may do what a record
//! says is for the rules.
//!
//! A chunk is small enough to stay near the processor, and a few of its signatures are verified together. Most are by few
//! keys: the ledger's own signs every second record. A key that has signed often is prepared for more
//! (`signing::prepared`), with the same verdicts.

use std::collections::HashMap;
use std::{io, mem, thread};

use programme::State;
use programme::entity::Entity;
use records::governance::{Act, Charter, KeyPossession};
use records::{Body, Payload, Record, Verified};
use signing::digest::Digest;
use signing::dsse::VerifyError;
use signing::keys::{KeyId, PublicKey};
use signing::prepared::PreparedKey;

/// The most records of a chunk.
const RECORDS_MAX: usize = 1024;

/// The most bytes of a chunk's lines, by which reading stops.
const BYTES_MAX: usize = 16 << 20;

/// How many signatures are verified together.
const TOGETHER: usize = 64;

/// From which signature on a key is prepared for more; that takes as long as some fifty verifications.
const PREPARED_FROM: u64 = 200;

/// How many keys are prepared at most: 40 MiB of them.
const PREPARED_MAX: usize = 64;

/// What is wrong with a record by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub code: &'static str,
    pub reason: String,
}

/// One line on its way through the steps.
pub(crate) struct Item {
    /// The line's number in the file.
    pub line: u64,
    bytes: Vec<u8>,
    leaf_hash: Digest,
    step: Step,
}

enum Step {
    Read,
    Parsed(Box<Record>, Vec<PublicKey>),
    Verified(Box<Verified>, usize),
    Wrong(Wrong),
}

/// A record whose bytes and signature hold.
pub(crate) struct Checked {
    pub record: Box<Verified>,
    pub leaf_hash: Digest,
    /// How many nested proofs of possession it carries. The rules verify them.
    pub possessions: usize,
}

/// Lines that are checked together.
#[derive(Default)]
pub(crate) struct Chunk {
    items: Vec<Item>,
    bytes: usize,
}

impl Chunk {
    /// Adds a line.
    pub fn push(&mut self, line: u64, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.items.push(Item { line, bytes, leaf_hash: translog::tree::EMPTY_ROOT, step: Step::Read });
    }

    /// Whether it holds no line.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it is to be checked before more is read.
    pub fn is_full(&self) -> bool {
        self.items.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Checks every record by itself; `keys` are those that earlier chunks carried, and gain this one's.
    pub fn check(mut self, keys: &mut Keys) -> io::Result<Vec<Item>> {
        on_all_cores(&mut self.items, |items| items.iter_mut().for_each(Item::parse))?;
        for item in &mut self.items {
            item.collect_keys(keys);
        }
        let keys = &*keys;
        on_all_cores(&mut self.items, |items| {
            items.chunks_mut(TOGETHER).for_each(|items| verify(items, keys))
        })?;
        Ok(self.items)
    }
}

/// The keys that the records so far carry.
#[derive(Default)]
pub(crate) struct Keys {
    known: HashMap<KeyId, Known>,
    prepared: usize,
}

struct Known {
    public: PublicKey,
    /// How many records it has signed so far.
    signed: u64,
    prepared: Option<PreparedKey>,
}

impl Keys {
    /// Those that the records carry of which this is the state: no proposal is ever forgotten.
    pub fn of(state: &State) -> Keys {
        let mut keys = Keys::default();
        for (_, entity) in state.entities() {
            match entity {
                Entity::Charter(known) => {
                    founding_keys(&known.charter).chain(known.record_keys()).for_each(|key| keys.add(key));
                }
                Entity::Proposal(known) => enrolled_keys(&known.act).iter().for_each(|key| keys.add(key)),
                _ => {}
            }
        }
        keys
    }

    /// Counts a record that a key has signed; whether the key is known.
    fn count(&mut self, key: &KeyId) -> bool {
        let Some(known) = self.known.get_mut(key) else { return false };
        known.signed += 1;
        if known.signed == PREPARED_FROM && self.prepared < PREPARED_MAX {
            self.prepared += 1;
            known.prepared = Some(PreparedKey::new(known.public.clone()));
        }
        true
    }

    fn add(&mut self, key: &PublicKey) {
        let known = || Known { public: key.clone(), signed: 0, prepared: None };
        self.known.entry(key.id()).or_insert_with(known);
    }
}

impl Item {
    /// The record, or what is wrong with it.
    pub fn outcome(self) -> Result<Checked, Wrong> {
        match self.step {
            Step::Verified(record, possessions) => {
                Ok(Checked { record, leaf_hash: self.leaf_hash, possessions })
            }
            Step::Wrong(wrong) => Err(wrong),
            // `Chunk::check` takes every item through every step, and fails where it cannot.
            Step::Read | Step::Parsed(..) => {
                Err(Wrong { code: "unchecked", reason: "the record was not checked".to_owned() })
            }
        }
    }

    fn parse(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        // A record's leaf is the only line from which it parses, so this is the hash of its leaf.
        self.leaf_hash = translog::tree::leaf_hash(&bytes);
        self.step = match Record::parse_leaf(&bytes) {
            Ok(record) => {
                let carried = carried_keys(record.payload());
                Step::Parsed(Box::new(record), carried)
            }
            Err(error) => Step::Wrong(Wrong { code: error.code(), reason: error.to_string() }),
        };
    }

    fn collect_keys(&mut self, keys: &mut Keys) {
        let Step::Parsed(record, carried) = &self.step else { return };
        let signs_itself = matches!(record.payload(), Payload::Founding(_) | Payload::Group(_));
        let signed = record.envelope().key_id;
        // Only these may be signed by a key that they carry themselves.
        if signs_itself {
            carried.iter().for_each(|key| keys.add(key));
        }
        let is_known = keys.count(&signed);
        carried.iter().for_each(|key| keys.add(key));
        if !is_known {
            let reason = format!("it is signed by key {signed}, which no earlier record carries");
            self.step = Step::Wrong(Wrong { code: "key_unknown", reason });
        }
    }

    /// Takes out the record and the keys that it carries, where it is to be verified.
    fn take_parsed(&mut self) -> Option<(Box<Record>, Vec<PublicKey>)> {
        match mem::replace(&mut self.step, Step::Read) {
            Step::Parsed(record, carried) => Some((record, carried)),
            step => {
                self.step = step;
                None
            }
        }
    }

    fn conclude(&mut self, possessions: usize, verdict: Result<Verified, VerifyError>) {
        self.step = match verdict {
            Ok(verified) => Step::Verified(Box::new(verified), possessions),
            Err(error) => Step::Wrong(Wrong { code: "bad_signature", reason: error.to_string() }),
        };
    }
}

/// Verifies the signatures of a few records, together those by keys that are prepared.
fn verify(items: &mut [Item], keys: &Keys) {
    let (mut waiting, mut claims) = (vec![], vec![]);
    for item in items {
        let Some((record, carried)) = item.take_parsed() else { continue };
        // `collect_keys` left only records whose key is there.
        let Some(key) = keys.known.get(&record.envelope().key_id) else { continue };
        let possessions = if record.kind() == records::Kind::Proposal { carried.len() } else { 0 };
        match &key.prepared {
            None => item.conclude(possessions, record.verify(&key.public)),
            Some(prepared) => {
                waiting.push((item, possessions));
                claims.push((*record, prepared));
            }
        }
    }
    for ((item, possessions), verdict) in waiting.into_iter().zip(Record::verify_all(claims)) {
        item.conclude(possessions, verdict);
    }
}

/// The keys that a record carries. What is no proof of possession carries none; the rules refuse it.
fn carried_keys(payload: &Payload) -> Vec<PublicKey> {
    match payload {
        Payload::Founding(founding) => founding_keys(&founding.body).cloned().collect(),
        Payload::Instruction(_, body) => match &**body {
            Body::Proposal(proposal) => enrolled_keys(&proposal.act),
            _ => vec![],
        },
        Payload::Group(group) => group.record_key.as_deref().into_iter().cloned().collect(),
        Payload::JournalEntry(_) | Payload::Lapse(_) | Payload::Pad(_) => vec![],
    }
}

fn founding_keys(charter: &Charter) -> impl Iterator<Item = &PublicKey> {
    let custodians = charter.custodians.iter().map(|custodian| &custodian.key);
    custodians.chain([&charter.record_key, &charter.checkpoint_key])
}

fn enrolled_keys(act: &Act) -> Vec<PublicKey> {
    act.new_keys()
        .filter(|envelope| envelope.payload_type == KeyPossession::PAYLOAD_TYPE)
        .filter_map(|envelope| signing::canonical::decode::<KeyPossession>(&envelope.payload).ok())
        .map(|possession| possession.key)
        .collect()
}

/// Does something to all items, shared out among the cores. Fails only where no thread can be started.
fn on_all_cores(items: &mut [Item], work: impl Fn(&mut [Item]) + Sync) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = items.len().div_ceil(cores).max(1);
    let work = &work;
    thread::scope(|scope| {
        for items in items.chunks_mut(share) {
            thread::Builder::new().spawn_scoped(scope, move || work(items))?;
        }
        Ok(())
    })
}
