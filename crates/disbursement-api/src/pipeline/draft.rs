//! A group in memory, while the head is locked: decides each record in order, applies what is accepted, signs entries, and
//! keeps what has to be written.

use std::collections::HashSet;

use ledger::time::Timestamp;
use programme::entity::{CharterState, PolicyState};
use programme::publication::{Padding, padding};
use programme::{At, Before, Code, Halt, Key, RULES_VERSION, Refusal, State, apply, begin_group, decide};
use records::governance::Founding;
use records::journal::{Group, JournalEntry};
use records::scalar::{Integer, Token};
use records::{BuildError, Payload, Record, Verified};
use signing::digest::Digest;
use signing::keys::PublicKey;
use store::load::Loaded;
use store::log::Head;
use store::rows::Rows;
use translog::tree::Frontier;

use super::clock::agrees;
use super::incoming::Prepared;
use super::{LedgerKeys, Mode, Outcome};

const DAY_S: u64 = 86_400;

/// What stands or falls together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit<'a> {
    pub items: &'a [Prepared],
    pub mode: Mode,
}

/// A group that is being put together.
pub(super) struct Draft<'k> {
    keys: &'k LedgerKeys,
    state: State,
    rows: Rows,
    frontier: Frontier,
    /// The time of the group before.
    last: Timestamp,
    recorded_at: Timestamp,
    /// The ledger's id and how the group must end, where the log's size may be public after it.
    padding: Option<(Digest, Padding)>,
    /// While a unit can still fall as a whole: what it began with.
    unit: Option<UnitBefore>,
}

/// What an all-or-none unit of several began with.
struct UnitBefore {
    rows: Rows,
    frontier: Frontier,
    /// Of each decision that was applied since.
    state: Vec<Before>,
}

/// How far a [`Draft`] has come with a list of units.
#[derive(Default)]
pub(super) struct Progress {
    unit: usize,
    item: usize,
    /// The outcomes of each unit so far.
    pub outcomes: Vec<Vec<Outcome>>,
}

impl Progress {
    /// Where it stands, to tell whether a load has helped.
    pub fn place(&self) -> (usize, usize) {
        (self.unit, self.item)
    }
}

impl<'k> Draft<'k> {
    /// An empty group after `head`, with what was loaded of the state.
    pub fn new(keys: &'k LedgerKeys, state: State, head: &Head, recorded_at: Timestamp) -> Draft<'k> {
        let rows = Rows::new(head.size, recorded_at);
        let (frontier, last) = (head.frontier.clone(), head.recorded_at);
        Draft { keys, state, rows, frontier, last, recorded_at, padding: None, unit: None }
    }

    /// Adds what was loaded since.
    pub fn load(&mut self, loaded: Loaded) {
        for (key, entity) in loaded {
            self.state.load(key, entity);
        }
    }

    /// Appends the group's own record, which carries the ledger's key for records where that is new.
    pub fn begin(
        &mut self,
        ledger: Digest,
        epoch: Token,
        record_key: Option<PublicKey>,
    ) -> Result<Verified, BuildError> {
        let group = Group {
            epoch,
            first: Integer(self.frontier.size()),
            ledger,
            record_key: record_key.map(Box::new),
            recorded_at: self.recorded_at,
            root: self.frontier.root(),
            rules: Integer(RULES_VERSION),
        };
        begin_group(&mut self.state, &group);
        let padding = padding(&self.state, self.last, self.recorded_at);
        self.padding = padding.map(|padding| (ledger, padding));
        let record = Record::sign(Payload::Group(group), &self.keys.record)?;
        self.rows.record(&record);
        self.frontier.append(record.leaf_hash());
        Ok(record)
    }

    /// The time of the group.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// The state, as far as it is known, to be told more.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Whether it has nothing but its own record. A quiet ledger commits one such a day, and more often where policy's gap is
    /// shorter, or what is public has a schedule.
    pub fn is_worthless(&self) -> bool {
        let gap_s = self
            .state
            .get::<PolicyState>(&Key::Policy)
            .map_or(u64::MAX, |policy| policy.at(self.last).policy.gap_s.0);
        let quiet_s = self.recorded_at.since(self.last).unwrap_or(0);
        self.rows.len() == 1 && self.padding.is_none() && quiet_s < DAY_S.min(gap_s / 2)
    }

    /// Whether the log has, by now, the keys and the origin that a service has.
    pub fn is_of(&self, keys: &LedgerKeys) -> bool {
        self.state.get::<CharterState>(&Key::Charter).is_some_and(|charter| has_keys_of(keys, charter))
    }

    /// Ends the group with the pads that it owes. Answers what has to be written, and the head and the state after it.
    pub fn finish(mut self) -> Result<(Rows, Head, State), BuildError> {
        if let Some((ledger, padding)) = self.padding {
            let size = self.frontier.size();
            for position in size..size.saturating_add(padding.count(size)) {
                let pad = Payload::Pad(padding.pad(ledger, position));
                let record = Record::sign(pad, &self.keys.record)?;
                self.rows.record(&record);
                self.frontier.append(record.leaf_hash());
            }
        }
        let Draft { rows, frontier, recorded_at, state, .. } = self;
        let head =
            Head { size: frontier.size(), root: frontier.root(), frontier, recorded_at, forked: false };
        Ok((rows, head, state))
    }

    /// Goes on with the units until all are decided, or until keys are missing: then of all records that remain.
    pub fn advance(&mut self, units: &[Unit<'_>], progress: &mut Progress) -> Vec<Key> {
        while let Some(unit) = units.get(progress.unit) {
            if progress.item == 0 && progress.outcomes.len() == progress.unit {
                progress.outcomes.push(Vec::with_capacity(unit.items.len()));
                let can_fall = unit.mode == Mode::All && unit.items.len() > 1;
                let (rows, frontier) = (&self.rows, &self.frontier);
                self.unit = can_fall.then(|| UnitBefore {
                    rows: rows.clone(),
                    frontier: frontier.clone(),
                    state: Vec::new(),
                });
            }
            while let Some(item) = unit.items.get(progress.item) {
                let digest = item.record.digest();
                let outcome = match self.take(item) {
                    Ok(position) | Err(Halt::Known { position }) => Outcome::Accepted { digest, position },
                    Err(Halt::Missing(keys)) => return self.missing(keys, units, progress),
                    Err(Halt::Refused(refusal)) => Outcome::Refused { digest, refusal },
                };
                let is_refused = matches!(outcome, Outcome::Refused { .. });
                let outcomes = &mut progress.outcomes[progress.unit];
                if is_refused && let Some(before) = self.unit.take() {
                    self.rows = before.rows;
                    self.frontier = before.frontier;
                    before.state.into_iter().rev().for_each(|before| self.state.take_back(before));
                    *outcomes = vec![Outcome::NotTried; unit.items.len()];
                    outcomes[progress.item] = outcome;
                    break;
                }
                outcomes.push(outcome);
                progress.item += 1;
            }
            progress.unit += 1;
            progress.item = 0;
            self.unit = None;
        }
        Vec::new()
    }

    /// Appends a record and the entry that it causes, if the rules accept it.
    fn take(&mut self, item: &Prepared) -> Result<u64, Halt> {
        let position = self.frontier.size();
        let decision = decide(&self.state, At { position, recorded_at: self.recorded_at }, &item.record)?;
        let entry = decision.entry().map(|entry| self.sign(entry)).transpose()?;
        self.rows.record(&item.record);
        self.rows.decision(&item.record, &decision, &self.state);
        self.frontier.append(item.leaf);
        if let (Some(record), Some(entry)) = (entry, decision.entry()) {
            self.rows.entry(&record, entry);
            self.frontier.append(record.leaf_hash());
        }
        if let Some(unit) = &mut self.unit {
            unit.state.push(self.state.before(&decision));
        }
        apply(&mut self.state, &decision);
        Ok(position)
    }

    fn sign(&self, entry: &JournalEntry) -> Result<Verified, Refusal> {
        Record::sign(Payload::JournalEntry(Box::new(entry.clone())), &self.keys.record).map_err(|_| {
            // An entry names no key, so the only reason is its size.
            let detail = "its entry would be larger than a record may be; report the parts one by one";
            Refusal::with(Code::AmountsDoNotAddUp, detail)
        })
    }

    /// These keys, and all others that the records after the present one lack.
    fn missing(&self, first: Vec<Key>, units: &[Unit<'_>], progress: &Progress) -> Vec<Key> {
        let mut missing: HashSet<Key> = first.into_iter().collect();
        let at = At { position: self.frontier.size(), recorded_at: self.recorded_at };
        let here = units[progress.unit].items.iter().skip(progress.item + 1);
        let later = units.iter().skip(progress.unit + 1).flat_map(|unit| unit.items);
        for item in here.chain(later) {
            if let Err(Halt::Missing(keys)) = decide(&self.state, at, &item.record) {
                missing.extend(keys);
            }
        }
        missing.into_iter().collect()
    }

    /// Appends the founding record, which must name this service's keys and origin, and agree with its clock.
    pub fn found(&mut self, item: &Prepared, founding: &Founding, clock: Timestamp) -> Result<u64, Refusal> {
        if let Some(problem) = founding_problem(self.keys, founding, clock) {
            return Err(problem);
        }
        self.take(item).map_err(|halt| match halt {
            Halt::Refused(refusal) => refusal,
            // All that a founding needs is that there is no charter, which was loaded.
            Halt::Known { .. } | Halt::Missing(_) => Code::LedgerFounded.into(),
        })
    }
}

/// Whether the ledger has the keys that this service has, by now, and the log its origin.
pub(crate) fn has_keys_of(keys: &LedgerKeys, state: &CharterState) -> bool {
    *state.record_key() == *keys.record.public()
        && *state.checkpoint_key() == *keys.checkpoint.public()
        && *state.origin() == keys.origin
}

/// Why this service does not take a founding record, whatever the rules say of it.
pub(super) fn founding_problem(keys: &LedgerKeys, founding: &Founding, clock: Timestamp) -> Option<Refusal> {
    let charter = &founding.body;
    let detail = if charter.record_key != *keys.record.public() {
        "the record key is not this service's"
    } else if charter.checkpoint_key != *keys.checkpoint.public() {
        "the checkpoint key is not this service's"
    } else if charter.origin != keys.origin {
        "the log's origin is not this service's"
    } else if !agrees(clock, founding.issued_at, &charter.policy) {
        "issued_at is further from this service's time than the policy's skew"
    } else {
        return None;
    };
    Some(Refusal::with(Code::FoundingInvalid, detail))
}
