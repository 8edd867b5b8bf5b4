//! A model of the world outside: servers that fail over, connections that break anywhere, a register, processes that are
//! killed, and a clock that jumps. All of it happens in one thread, on tokio's paused time, by the choices of one seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ledger::time::Timestamp;
use programme::{At, Key, Lookup, State, apply, begin_group, decide};
use records::{Payload, Record, Verified};
use signing::digest::Digest;
use signing::dsse::Envelope;
use store::StoreError;
use store::load::Loaded;
use store::log::{Head, SignedHead};
use store::register::{Epoch, RegisterState};
use store::writer::CommitError;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use translog::checkpoint::Checkpoint;
use translog::tree::Frontier;

use super::plan::plan;
use crate::choices::Choices;

/// Everything that happens outside of the processes.
#[derive(Clone)]
pub struct Outside(Arc<Mutex<Inner>>);

pub struct Inner {
    pub choices: Choices,
    pub servers: Vec<Server>,
    /// Where new connections lead.
    pub reached: usize,
    pub register: Option<RegisterState>,
    pub holder: Option<u64>,
    /// Of a thousand steps, so many fail.
    pub faults: u64,
    /// Every head that was signed and seen outside the process that signed it.
    pub signed: BTreeMap<u64, Digest>,
    /// Processes that were killed: nothing of theirs happens any more.
    pub killed: Vec<u64>,
    /// The two that run, or will again.
    pub live: [u64; 2],
    pub listeners: Vec<(usize, Arc<Notify>)>,
    pub jump_s: i64,
    began: Instant,
    connections: u64,
    /// What went by, for a seed that fails.
    pub told: Vec<String>,
}

/// A server: its log, and what the rules make of it.
#[derive(Clone)]
pub struct Server {
    pub epoch: Epoch,
    pub log: Vec<Verified>,
    pub state: State,
    pub head: Head,
    pub checkpoints: BTreeMap<u64, String>,
    /// An old primary waits for ever for its standby, until somebody makes it writable again.
    pub commits: bool,
    /// One that had more than its standby is not heard of meanwhile, or that would be signed still.
    pub answers: bool,
    lock: Option<Lock>,
}

#[derive(Clone)]
struct Lock {
    connection: u64,
    process: u64,
    /// When the server notices that the connection is gone, and what it still commits then.
    ends: Option<(Instant, Vec<Verified>)>,
}

impl Server {
    /// What is due by now has happened.
    fn settle(&mut self, now: Instant) {
        let is_over =
            self.lock.as_ref().and_then(|lock| lock.ends.as_ref()).is_some_and(|(at, _)| *at <= now);
        if is_over
            && let Some((_, records)) = self.lock.take().and_then(|lock| lock.ends)
            && self.commits
        {
            self.append(records);
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
                Payload::JournalEntry(_) => {}
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

    /// A standby that has this much of the log, promoted.
    fn promoted(&self, size: u64) -> Server {
        let base = plan();
        let mut server = Server::first();
        let (begin, end) = (base.records.len(), usize::try_from(size).expect("a size"));
        server.append(self.log[begin..end].to_vec());
        server.epoch = Epoch { timeline: self.epoch.timeline + 1, ..self.epoch.clone() };
        server.checkpoints = self.checkpoints.range(..=size).map(|(n, note)| (*n, note.clone())).collect();
        server
    }

    fn first() -> Server {
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
            head,
            checkpoints: BTreeMap::new(),
            commits: true,
            answers: true,
            lock: None,
        }
    }
}

impl Inner {
    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_secs()).expect("a short time");
        Timestamp::from_unix(plan().now.unix() + passed + self.jump_s).expect("a time")
    }

    pub fn tell(&mut self, what: impl std::fmt::Display) {
        let line = format!("{:?} {what}", self.began.elapsed());
        self.told.push(line);
    }

    /// What went by, the last of it where it is long, and how things stand.
    pub fn story(&self) -> String {
        let mut lines = self.told.iter().take(150).cloned().collect::<Vec<_>>();
        lines.extend(self.servers.iter().map(|server| {
            format!("{:?}: size {}, forked: {}", server.epoch, server.head.size, server.head.forked)
        }));
        let register = self.register.as_ref().map(|state| (state.size, &state.epoch));
        lines.push(format!("register: {register:?}, held by {:?}; {:?} live", self.holder, self.live));
        lines.join("\n")
    }

    /// A signed head left its process.
    pub fn see(&mut self, note: &str) {
        let keys = &plan().keys;
        let signed = Checkpoint::parse_and_verify(note, keys.origin.as_str(), keys.checkpoint.public());
        let Checkpoint { size, root, .. } = signed.expect("a signed note");
        let known = *self.signed.entry(size).or_insert(root);
        assert_eq!(known, root, "two heads of size {size} were signed");
    }

    /// Nothing of a process happens any more, and its connections end.
    pub fn kill(&mut self, process: u64) {
        self.tell(format_args!("process {process} is killed"));
        self.killed.push(process);
        self.holder.take_if(|holder| *holder == process);
        let later = Instant::now() + Duration::from_millis(self.choices.below(500));
        for lock in self.servers.iter_mut().filter_map(|server| server.lock.as_mut()) {
            if lock.process == process && lock.ends.is_none() {
                lock.ends = Some((later, vec![]));
            }
        }
    }

    /// The newest server.
    pub fn primary(&mut self) -> &mut Server {
        let now = Instant::now();
        let server = self.servers.last_mut().expect("there is always one");
        server.settle(now);
        server
    }

    /// A standby takes over. Whatever was signed, it has; what was not may be lost.
    pub fn fail_over(&mut self) {
        let signed = self.register.as_ref().map_or(0, |state| state.size);
        let begin = plan().frontier.size().max(signed);
        let primary = self.primary();
        let size = primary.head.size;
        // Groups are whole: a standby has replayed up to a commit.
        let mut ends: Vec<u64> = vec![size];
        for (record, position) in primary.log.iter().zip(0..) {
            if position >= begin && matches!(record.payload(), Payload::Group(_)) {
                ends.push(position);
            }
        }
        let index = self.choices.index(ends.len());
        let promoted = self.primary().promoted(ends[index]);
        self.tell(format_args!("fails over with {} of {size}; {signed} are signed", ends[index]));
        let old = self.primary();
        old.commits = false;
        old.answers = ends[index] == size;
        self.servers.push(promoted);
        self.reached = self.servers.len() - 1;
    }
}

impl Outside {
    pub fn new(seed: u64) -> Outside {
        Outside(Arc::new(Mutex::new(Inner {
            choices: Choices::of(seed),
            servers: vec![Server::first()],
            reached: 0,
            register: None,
            holder: None,
            faults: 0,
            signed: BTreeMap::new(),
            killed: vec![],
            live: [0, 1],
            listeners: vec![],
            jump_s: 0,
            began: Instant::now(),
            connections: 0,
            told: vec![],
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How long it is until a millisecond whose number leaves this remainder.
    pub fn until(&self, remainder: u64, of: u64) -> Duration {
        let now = u64::try_from(self.lock().began.elapsed().as_millis()).expect("a short time");
        Duration::from_millis((remainder + of - now % of) % of + of)
    }

    /// What one process sees of it.
    pub fn of(&self, process: u64) -> Seen {
        Seen { outside: self.clone(), process }
    }
}

/// A process's way to the outside.
#[derive(Clone)]
pub struct Seen {
    pub outside: Outside,
    pub process: u64,
}

impl Seen {
    /// A step takes its time, fails now and then, and never ends for who was killed.
    pub async fn step(&self) -> Result<(), StoreError> {
        let (pause, fails) = {
            let inner = &mut *self.outside.lock();
            let pause = [0, 0, 1, 3][inner.choices.index(4)];
            (pause, inner.choices.below(1000) < inner.faults)
        };
        sleep(Duration::from_millis(pause)).await;
        if self.is_killed() {
            std::future::pending::<()>().await;
        }
        if fails { Err(StoreError::Gone) } else { Ok(()) }
    }

    pub fn is_killed(&self) -> bool {
        self.outside.lock().killed.contains(&self.process)
    }

    pub fn connect(&self) -> Connection {
        let inner = &mut *self.outside.lock();
        inner.connections += 1;
        let server = inner.reached;
        let heard = Arc::new(Notify::new());
        let epoch = inner.servers[server].epoch.clone();
        Connection {
            seen: self.clone(),
            id: inner.connections,
            server,
            epoch,
            heard,
            is_broken: Mutex::new(false),
        }
    }
}

/// A connection to one server.
pub struct Connection {
    pub seen: Seen,
    pub id: u64,
    pub server: usize,
    pub epoch: Epoch,
    pub heard: Arc<Notify>,
    is_broken: Mutex<bool>,
}

impl Connection {
    pub fn is_closed(&self) -> bool {
        *self.is_broken.lock().expect("one thread")
    }

    /// One round trip.
    pub async fn trip(&self) -> Result<(), StoreError> {
        let answers = self.with(|server| server.answers);
        let result =
            if self.is_closed() || !answers { Err(StoreError::Gone) } else { self.seen.step().await };
        if result.is_err() {
            self.break_off();
        }
        result
    }

    pub fn break_off(&self) {
        *self.is_broken.lock().expect("one thread") = true;
        self.heard.notify_one();
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut Server) -> T) -> T {
        let now = Instant::now();
        let inner = &mut *self.seen.outside.lock();
        let server = &mut inner.servers[self.server];
        server.settle(now);
        f(server)
    }

    /// Waits for the head's lock.
    pub async fn take_lock(&self) -> Result<(), StoreError> {
        loop {
            self.trip().await?;
            let (id, process) = (self.id, self.seen.process);
            let is_mine = self.with(|server| {
                let lock = server.lock.get_or_insert(Lock { connection: id, process, ends: None });
                lock.connection == id && lock.ends.is_none()
            });
            if is_mine {
                return Ok(());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn give_lock(&self) {
        let id = self.id;
        self.with(|server| server.lock.take_if(|lock| lock.connection == id));
    }

    pub fn loaded(&self, keys: Vec<Key>) -> Loaded {
        self.with(|server| loaded(&server.state, keys))
    }

    /// A commit succeeds; or the connection breaks, and the server never hears of it, has done it, or does it later.
    pub async fn commit(&self, envelopes: Vec<Envelope>, tell: bool) -> Result<(), CommitError> {
        let records: Vec<Verified> = envelopes.into_iter().map(verified).collect();
        let is_lost = self.trip().await.is_err();
        if !self.with(|server| server.commits) {
            self.break_off();
            return Err(CommitError::Unknown(StoreError::Gone));
        }
        if is_lost {
            let inner = &mut *self.seen.outside.lock();
            let (fate, later) = (inner.choices.below(3), inner.choices.below(3000));
            inner.tell(format_args!("a commit of {} breaks: {fate}", self.seen.process));
            let ends = match fate {
                0 => (Instant::now() + Duration::from_millis(later), vec![]),
                1 => (Instant::now(), records),
                _ => (Instant::now() + Duration::from_millis(later), records),
            };
            inner.servers[self.server].lock =
                Some(Lock { connection: self.id, process: self.seen.process, ends: Some(ends) });
            return Err(CommitError::Unknown(StoreError::Gone));
        }
        self.with(|server| server.append(records));
        self.give_lock();
        if tell {
            self.notify();
        }
        // The answer may be lost as well.
        self.trip().await.map_err(CommitError::Unknown)
    }

    /// Tells who listens to this server, unless it is lost on the way.
    pub fn notify(&self) {
        let inner = &mut *self.seen.outside.lock();
        let is_lost = inner.choices.below(5) == 0;
        for (server, listener) in &inner.listeners {
            if *server == self.server && !is_lost {
                listener.notify_one();
            }
        }
    }

    pub fn store_checkpoint(&self, head: &SignedHead) {
        self.seen.outside.lock().see(&head.note);
        self.with(|server| {
            server.checkpoints.entry(head.size).or_insert_with(|| head.note.clone());
        });
        self.notify();
    }
}

/// The server notices it after a while.
impl Drop for Connection {
    fn drop(&mut self) {
        let inner = &mut *self.seen.outside.lock();
        let later = Duration::from_millis(inner.choices.below(500));
        if let Some(lock) = &mut inner.servers[self.server].lock
            && lock.connection == self.id
            && lock.ends.is_none()
        {
            lock.ends = Some((Instant::now() + later, vec![]));
        }
    }
}

pub fn loaded(state: &State, keys: Vec<Key>) -> Loaded {
    let entity = |key: &Key| match state.lookup(key) {
        Lookup::Present(entity) => Some(entity.clone()),
        Lookup::Absent | Lookup::NotLoaded => None,
    };
    keys.into_iter().map(|key| (key.clone(), entity(&key))).collect()
}

fn verified(envelope: Envelope) -> Verified {
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
