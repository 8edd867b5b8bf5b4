//! A server of the model: its log, what the rules make of it, and what a standby has of it.

use std::collections::BTreeMap;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::entity::Entity;
use programme::{At, Key, Lookup, State, apply, begin_group, decide};
use records::{Payload, Record, Verified};
use signing::digest::Digest;
use signing::dsse::Envelope;
use store::load::Loaded;
use store::log::Head;
use store::register::Epoch;
use store::writer::Opened;
use tokio::time::Instant;
use translog::tree::Frontier;

use super::plan::plan;

#[derive(Clone)]
pub struct Server {
    pub epoch: Epoch,
    pub log: Vec<Verified>,
    pub state: State,
    pub head: Head,
    pub checkpoints: BTreeMap<u64, String>,
    /// How much of the log a standby is known to have. More than that may be lost, also what was committed without any
    /// complaint: the real servers promise more, but nothing here may rely on it.
    pub kept: u64,
    pub is_up: bool,
    /// Another has taken over.
    pub is_replaced: bool,
    /// Who is replaced waits for ever for a standby, until somebody lets it write by itself.
    pub is_alone: bool,
    /// From this size on it only reads, with its connections left open.
    pub only_reads_from: Option<u64>,
    pub lock: Option<Lock>,
    /// Groups sent whole on a connection that broke: when they arrive, and the root that they follow.
    pub late: Vec<(Instant, Digest, Vec<Verified>)>,
}

/// The head's lock.
#[derive(Clone)]
pub struct Lock {
    pub connection: u64,
    pub process: u64,
    /// When the server notices that the connection is gone, and what it still commits then.
    pub ends: Option<(Instant, Vec<Verified>)>,
}

impl Server {
    pub fn first() -> Server {
        let base = plan();
        let head = Head {
            size: base.frontier.size(),
            root: base.frontier.root(),
            frontier: base.frontier.clone(),
            recorded_at: base.now,
            forked: false,
        };
        Server {
            epoch: Epoch { system: "7000000000000000001".to_owned(), timeline: 1 },
            log: base.records.clone(),
            state: base.state.clone(),
            kept: head.size,
            head,
            checkpoints: BTreeMap::new(),
            is_up: true,
            is_replaced: false,
            is_alone: false,
            only_reads_from: None,
            lock: None,
            late: vec![],
        }
    }

    /// Whether what is committed here waits for a standby that follows another.
    pub fn waits(&self) -> bool {
        self.is_replaced && !self.is_alone
    }

    pub fn only_reads(&self) -> bool {
        self.only_reads_from.is_some_and(|size| size <= self.head.size)
    }

    /// What is due by now has happened.
    pub fn settle(&mut self, now: Instant) {
        let is_over =
            self.lock.as_ref().and_then(|lock| lock.ends.as_ref()).is_some_and(|(at, _)| *at <= now);
        if is_over && let Some((_, records)) = self.lock.take().and_then(|lock| lock.ends) {
            self.append(records);
        }
        if self.lock.is_none() && !self.waits() {
            for (_, root, records) in self.late.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                if self.head.root == root {
                    self.append(records);
                }
            }
        }
    }

    pub fn append(&mut self, records: Vec<Verified>) {
        for record in records {
            let at = At { position: self.head.size, recorded_at: self.head.recorded_at };
            match record.payload() {
                Payload::Group(group) => {
                    self.head.recorded_at = group.recorded_at;
                    begin_group(&mut self.state, group);
                }
                Payload::JournalEntry(_) | Payload::Pad(_) => {}
                _ => {
                    let decision = decide(&self.state, at, &record).expect("what is committed was decided");
                    apply(&mut self.state, &decision);
                }
            }
            self.head.frontier.append(record.leaf_hash());
            self.head.size += 1;
            self.log.push(record);
        }
        self.head.root = self.head.frontier.root();
    }

    /// How much a standby may have: all that is known, and as many groups more as one likes.
    pub fn ends(&self) -> Vec<u64> {
        let begins = self.log.iter().zip(0..).skip(usize::try_from(self.kept).expect("a size"));
        let begins = begins.filter(|(record, _)| matches!(record.payload(), Payload::Group(_)));
        begins.map(|(_, position)| position).chain([self.head.size]).collect()
    }

    /// A standby that has this much of the log, promoted. It may lack checkpoints: nobody waits for those.
    pub fn promoted(&self, size: u64, timeline: u32, checkpoints: usize) -> Server {
        let mut server = Server::first();
        let (begin, end) = (server.log.len(), usize::try_from(size).expect("a size"));
        server.append(self.log[begin..end].to_vec());
        let stored = self.checkpoints.range(..=size).take(checkpoints);
        Server {
            epoch: Epoch { timeline, ..self.epoch.clone() },
            checkpoints: stored.map(|(n, note)| (*n, note.clone())).collect(),
            // Its own standbys may be as far behind.
            kept: self.kept,
            ..server
        }
    }
}

/// What ran out before a time.
pub fn due(server: &Server, before: Timestamp) -> Vec<(DisbursementId, Timestamp)> {
    let due = |(key, entity): (&Key, &Entity)| match (key, entity) {
        (Key::Disbursement(id), Entity::Disbursement(state))
            if state.stage.can_lapse() && state.expires < before =>
        {
            Some((id.clone(), state.expires))
        }
        _ => None,
    };
    let mut due: Vec<_> = server.state.entities().filter_map(due).collect();
    due.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    due
}

/// What a group begins with.
pub fn opened(server: &Server, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Opened {
    let head = server.head.clone();
    let mut due = due(server, now.max(head.recorded_at));
    due.truncate(usize::try_from(due_limit).unwrap_or(usize::MAX));
    Opened { head, due, loaded: loaded(&server.state, keys) }
}

pub fn loaded(state: &State, keys: Vec<Key>) -> Loaded {
    let entity = |key: &Key| match state.lookup(key) {
        Lookup::Present(entity) => Some(entity.clone()),
        Lookup::Absent | Lookup::NotLoaded => None,
    };
    keys.into_iter().map(|key| (key.clone(), entity(&key))).collect()
}

pub fn verified(envelope: Envelope) -> Verified {
    let key = &plan().people[&envelope.key_id];
    Record::parse(envelope).expect("a record").verify(key).expect("a signature")
}

/// The root of each beginning of a log.
pub fn roots(log: &[Verified]) -> Vec<Digest> {
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root()];
    for record in log {
        frontier.append(record.leaf_hash());
        roots.push(frontier.root());
    }
    roots
}
