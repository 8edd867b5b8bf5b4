//! A model of the world outside: servers that fail over, connections that break anywhere, a register, processes that are
//! killed, and a clock that jumps. All of it happens in one thread, on tokio's paused time, by the choices of one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ledger::time::Timestamp;
use programme::Key;
use records::Verified;
use signing::digest::Digest;
use signing::dsse::Envelope;
use store::load::Loaded;
use store::log::SignedHead;
use store::register::{Epoch, RegisterState};
use store::writer::CommitError;
use store::{Databases, StoreError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use translog::checkpoint::Checkpoint;

use super::plan::plan;
use super::server::{Lock, Server, loaded, verified};
use crate::choices::Choices;

/// How long a server lets anybody wait for the head's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that happens outside of the processes.
#[derive(Clone)]
pub struct Outside(Arc<Mutex<Inner>>);

pub struct Inner {
    pub choices: Choices,
    /// Each took over from the one before it.
    pub servers: Vec<Server>,
    /// Processes that do not reach the newest.
    pub cut_off: BTreeSet<u64>,
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
    /// Besides what the runtime's clock says.
    pub passed_s: i64,
    began: Instant,
    connections: u64,
    /// How often a writer asked for one.
    pub asked: u64,
    /// What went by, for a seed that fails.
    pub told: Vec<String>,
}

impl Inner {
    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_secs()).expect("a short time");
        Timestamp::from_unix(plan().now.unix() + passed + self.passed_s + self.jump_s).expect("a time")
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

    /// Whether something is committed that the register has not.
    pub fn has_unsigned(&mut self) -> bool {
        let signed = self.register.as_ref().map_or(0, |state| state.size);
        self.primary().head.size > signed
    }

    /// Whether the register has the newest server's epoch.
    pub fn knows_newest(&mut self) -> bool {
        let epoch = self.primary().epoch.clone();
        self.register.as_ref().is_some_and(|state| state.epoch == epoch)
    }

    /// A standby takes over, with as much as it may have.
    pub fn fail_over(&mut self) {
        let ends = self.primary().ends();
        let kept = ends[self.choices.index(ends.len())];
        let (checkpoints, stays_up) = (self.choices.index(100), self.choices.below(2) == 0);
        let has_more = self.choices.below(2) == 0;
        self.take_over(kept, checkpoints, stays_up);
        // What the old one is still about to commit may be there already.
        let old = &self.servers[self.servers.len() - 2];
        let (size, later) = (old.head.size, old.lock.as_ref().and_then(|lock| lock.ends.clone()));
        if let Some((_, records)) = later
            && kept == size
            && has_more
        {
            self.primary().append(records);
        }
    }

    /// The same with this much of the log, and so many checkpoints.
    pub fn take_over(&mut self, kept: u64, checkpoints: usize, stays_up: bool) {
        let old = self.primary();
        let promoted = old.promoted(kept, old.epoch.timeline + 1, checkpoints);
        let size = old.head.size;
        (old.is_replaced, old.is_up) = (true, stays_up);
        self.servers.push(promoted);
        self.tell(format_args!("fails over with {kept} of {size}; the old one is up: {stays_up}"));
    }

    /// The old primaries are there again, or gone. Once the register knows of a newer one, they commit as well.
    pub fn set_alone(&mut self, is_alone: bool) {
        let (is_known, newest) = (self.knows_newest(), self.servers.len() - 1);
        self.tell(format_args!("old primaries are up: {is_alone}"));
        for server in &mut self.servers[..newest] {
            (server.is_up, server.is_alone) = (is_alone, is_alone && is_known);
        }
    }
}

impl Outside {
    pub fn new(seed: u64) -> Outside {
        Outside(Arc::new(Mutex::new(Inner {
            choices: Choices::of(seed),
            servers: vec![Server::first()],
            cut_off: BTreeSet::new(),
            register: None,
            holder: None,
            faults: 0,
            signed: BTreeMap::new(),
            killed: vec![],
            live: [0, 1],
            listeners: vec![],
            jump_s: 0,
            passed_s: 0,
            began: Instant::now(),
            connections: 0,
            asked: 0,
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
    pub fn of(&self, process: u64, databases: Databases) -> Seen {
        Seen { outside: self.clone(), process, databases }
    }
}

/// A process's way to the outside.
#[derive(Clone)]
pub struct Seen {
    pub outside: Outside,
    pub process: u64,
    databases: Databases,
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

    /// To the newest of those that answer, unless this process has seen a newer one.
    pub fn connect(&self) -> Result<Connection, StoreError> {
        let connection = self.reach()?;
        self.databases.saw(&connection.epoch);
        Ok(connection)
    }

    /// The same without taking note of it, as connections of a pool do.
    pub fn reach(&self) -> Result<Connection, StoreError> {
        let inner = &mut *self.outside.lock();
        let newest = inner.servers.len() - 1;
        let is_cut_off = inner.cut_off.contains(&self.process);
        let mut reached = inner.servers.iter().enumerate().rev();
        let reached = reached.find(|(n, server)| server.is_up && !(is_cut_off && *n == newest));
        let Some((server, Server { epoch, .. })) = reached else { return Err(StoreError::Gone) };
        if !self.databases.admits(epoch) {
            return Err(StoreError::Overtaken);
        }
        let epoch = epoch.clone();
        inner.connections += 1;
        Ok(Connection {
            seen: self.clone(),
            id: inner.connections,
            server,
            epoch,
            heard: Arc::new(Notify::new()),
            is_broken: Mutex::new(false),
            has_begun: Mutex::new(false),
        })
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
    has_begun: Mutex<bool>,
}

impl Connection {
    pub fn is_closed(&self) -> bool {
        *self.is_broken.lock().expect("one thread")
    }

    fn answers(&self) -> bool {
        let inner = &*self.seen.outside.lock();
        let is_newest = self.server + 1 == inner.servers.len();
        inner.servers[self.server].is_up && !(is_newest && inner.cut_off.contains(&self.seen.process))
    }

    /// One round trip.
    pub async fn trip(&self) -> Result<(), StoreError> {
        let result =
            if self.is_closed() || !self.answers() { Err(StoreError::Gone) } else { self.seen.step().await };
        if result.is_err() {
            self.break_off();
        }
        result
    }

    /// Whoever begins a group has just looked at the register; where the connection was open before, without a step in between.
    pub fn begins(&self) {
        let is_first = !std::mem::replace(&mut *self.has_begun.lock().expect("one thread"), true);
        let inner = &*self.seen.outside.lock();
        let is_older = inner.register.as_ref().is_some_and(|state| self.epoch < state.epoch);
        assert!(is_first || !is_older, "a group begins on a server that the register knows to be replaced");
    }

    /// Waits for a standby that has all there is now.
    pub async fn replicated(&self) -> Result<(), StoreError> {
        self.trip().await?;
        if self.with(|server| server.waits()) {
            let (ends, later) = {
                let choices = &mut self.seen.outside.lock().choices;
                (choices.below(2) == 0, choices.below(10_000))
            };
            if !ends {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(later)).await;
            self.break_off();
            return Err(StoreError::NotReplicated);
        }
        self.with(|server| server.kept = server.head.size);
        self.trip().await
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
        let since = Instant::now();
        while since.elapsed() < LOCK_TIMEOUT {
            self.trip().await?;
            if self.with(|server| server.only_reads()) {
                return Err(StoreError::Overtaken);
            }
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
        self.break_off();
        Err(StoreError::Silent)
    }

    pub fn give_lock(&self) {
        let id = self.id;
        self.with(|server| server.lock.take_if(|lock| lock.connection == id));
    }

    pub fn loaded(&self, keys: Vec<Key>) -> Loaded {
        self.with(|server| loaded(&server.state, keys))
    }

    /// A commit succeeds; or the connection breaks, and the server never hears of it, has done it, or does it later. Where a
    /// server waits for a standby that has gone, that lasts until somebody ends it, and it is committed or not.
    pub async fn commit(&self, envelopes: Vec<Envelope>, tell: bool) -> Result<(), CommitError> {
        let records: Vec<Verified> = envelopes.into_iter().map(verified).collect();
        let is_lost = self.trip().await.is_err();
        let waits = self.with(|server| server.waits());
        if is_lost || waits {
            let pause = {
                let inner = &mut *self.seen.outside.lock();
                let limit = if waits { 40_000 } else { 3000 };
                let (fate, later) =
                    (inner.choices.below(3), Duration::from_millis(inner.choices.below(limit)));
                let process = self.seen.process;
                inner.tell(format_args!("a commit of {process} breaks, or waits for nobody: {fate}"));
                let (later, records) = match fate {
                    0 => (later, vec![]),
                    1 => (Duration::ZERO, records),
                    _ => (later, records),
                };
                let lock = inner.servers[self.server].lock.as_mut();
                let lock = lock.filter(|lock| lock.connection == self.id).expect("it has the head's lock");
                lock.ends = Some((Instant::now() + later, records));
                if is_lost { Duration::ZERO } else { later }
            };
            sleep(pause).await;
            self.break_off();
            return Err(CommitError::Unknown(StoreError::NotReplicated));
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
