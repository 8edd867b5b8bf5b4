//! The posting pipeline: the one way in which the log grows.
//!
//! Whoever calls [`Pipeline::submit`] has its envelopes parsed and their signatures verified on all cores, outside any
//! transaction, and then waits. One task, the writer, takes what has arrived as a *group*, up to a limit, loads entities,
//! decides and applies in memory, signs entries, and writes everything by one statement. The publisher
//! (`crate::publisher`) signs the head afterwards; a caller is answered when a stored checkpoint
//! covers its records, or after [`Settings::receipt_wait`] without one.
//!
//! **Ahead.** A group is decided on the state after the last one, which the writer keeps, or after the one that is being written;
//! it is appended on condition that the log still ends there (`docs/decisions/0019-deciding-ahead.md`). Where that cannot be,
//! or fails, it is decided again while the head row is locked.
//!
//! **Round trips.** A group takes two: what has to lapse and the keys that its records are known to need; then the statement
//! that writes it. Under the lock, `BEGIN` and the lock go with the first, and `COMMIT` with the second. Where a guard asks
//! for more (balances, whose accounts depend on what was loaded; the principals behind earlier approvals), the missing keys of *all* remaining records are loaded in one more
//! round trip, and no record waits for more than three loads. A lapse, and a record that needs what an earlier one of its
//! own group brings about, can add a round. A group in which nothing was accepted writes nothing.
//!
//! **What is kept.** After a commit the writer keeps the state as far as it knows it, and the next group loads only what that
//! lacks. It is used only where the head is the very head of that commit: then nobody has appended since, and what
//! was loaded or applied still holds. A group that fails, is in doubt or writes nothing leaves nothing.
//!
//! **Limits.** At most [`Settings::queue_limit`] instructions wait or are being written; what comes above is refused at once
//! ([`Unavailable::QueueFull`]). One principal has at most [`Settings::queue_share`] of these, and at most
//! [`Settings::open_share`] submissions, checks and reads open ([`Unavailable::TooManyOpen`]): a flood fills its own share,
//! and others wait behind no more than that. Who signed is known once a signature is verified; before, one of a principal
//! whose share is used up already is refused by the key that it names, unverified, and charged to nobody. A list is verified
//! on the threads for blocking work, two at a time; single instructions do not wait for that. A group takes submissions as long as together they have at most
//! [`Settings::group_limit`] instructions; a submission is never split, and one alone may have up to the queue's limit. So
//! a group is bounded.
//!
//! **No deadlock.** A transaction's first lock is the head row, always, and it is kept until the end; within a process there
//! is one writer. No two writers ever hold anything else at once.
//!
//! **Uncertainty.** A connection that is lost before a group was sent changes nothing: it is decided again on a new
//! one. One that is lost afterwards leaves it open whether the group is in the log; the head is locked and read on a new
//! connection, which waits for the server to be done with the old one, and all of the group's records are looked up. What a
//! caller sends again is answered with its first position, so both are safe to repeat. A wait for a standby that was cancelled
//! is the same: the group is in the log of the primary, and whether it survives the primary is open until a later commit of
//! ours has been waited for (`docs/decisions/0010-failover.md`).
//!
//! **Failover.** A server that takes over may lack a group that the old one committed and nobody signed. Then a later
//! checkpoint has its positions and not its records, so a checkpoint is a receipt only for what was written on the server
//! that it was read from; what was written on an older one has to be sent again.
//!
//! What is *allowed* is not decided here: that is `programme`.

mod ahead;
mod attempt;
mod check;
mod clock;
mod draft;
mod incoming;
mod outcome;
mod writer;
mod writing;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{Entity, KeyState, Stored};
use records::scalar::Token;
use signing::dsse::{Envelope, EnvelopeError};
use signing::keys::{KeyId, SecretKey};
use signing::token::Signer;
use store::Databases;
use store::log::SignedHead;
use store::register::Epoch;
use store::storage::{self, Storage};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use outcome::{Checked, Mode, Outcome, Submitted, Unavailable};

pub use attempt::reopen::{ReopenError, Reopened, Reopening, complete_tiles};

use crate::known::KnownKey;
use crate::limits::Limits;
use crate::metrics::{Metrics, Stage};
use crate::places::{Places, Taken};
use crate::publisher::Publisher;
pub(crate) use draft::has_keys_of;
use incoming::{Incoming, Prepared};
use writer::Writer;
pub(crate) use writer::fence;
use writing::{Job, Waits};

/// How often a group's keys are loaded before a record is taken to ask for ever: no guard has more than three steps.
const LOADS_MAX: u32 = 3;
/// How many lists are verified at once, each on all cores: while one ends, the next begins.
const VERIFIED_AT_ONCE: usize = 2;

/// What the ledger signs with.
#[derive(Debug)]
pub struct LedgerKeys {
    /// Signs groups, entries and lapses.
    pub record: SecretKey,
    /// Signs checkpoints, and may fail.
    pub checkpoint: Box<dyn Signer>,
    /// The log's origin, the first line of its checkpoints.
    pub origin: Token,
}

/// How much the pipeline takes, and how long it waits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most instructions of a group, unless one submission has more.
    pub group_limit: usize,
    /// The most instructions that wait or are being written.
    pub queue_limit: usize,
    /// Of these, the most of one principal.
    pub queue_share: usize,
    /// The most submissions, checks and reads that one principal has open.
    pub open_share: usize,
    /// The most lapses that a group takes while none is overdue by more than policy's grace.
    pub lapse_limit: u32,
    /// How long a submission waits for the checkpoint that covers it.
    pub receipt_wait: Duration,
    /// How often a quiet pipeline looks whether something has to lapse or the day's group is due.
    pub tick: Duration,
    /// How often the publisher, or whoever waits to become it, looks for what other processes did.
    pub poll: Duration,
    /// How long the writer tries to get the database back before it gives a group up.
    pub patience: Duration,
    /// The time, as an operator confirmed it when this process was started: its clock is then taken to be right
    /// although the last group's time is far from it. Void where the clock itself is far from this.
    pub confirm_clock: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::from(&Limits::default())
    }
}

impl From<&Limits> for Settings {
    fn from(limits: &Limits) -> Settings {
        Settings {
            group_limit: limits.queue.group_instructions,
            queue_limit: limits.queue.instructions,
            queue_share: limits.queue.instructions_per_principal,
            open_share: limits.http.requests_per_principal,
            lapse_limit: limits.queue.group_lapses,
            receipt_wait: limits.queue.receipt_timeout,
            tick: Duration::from_secs(20),
            poll: Duration::from_millis(200),
            patience: limits.queue.database_timeout,
            confirm_clock: None,
        }
    }
}

/// What the tasks of one process share.
pub(crate) struct Shared {
    pub databases: Databases,
    pub storage: Arc<dyn Storage>,
    pub keys: Arc<LedgerKeys>,
    pub clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    pub settings: Settings,
    /// Why nothing may be written, as the publisher sees it.
    pub halted: watch::Sender<Option<Unavailable>>,
    /// Whether the database will not be back as long as this process runs.
    pub is_gone: watch::Sender<bool>,
    /// The latest checkpoint that is known to be stored.
    pub checkpoint: watch::Sender<Option<Published>>,
    /// Wakes the publisher of this process.
    pub grown: Notify,
    /// Whether this process is the publisher, so that it need not be told through the database.
    pub publishes: watch::Sender<bool>,
    /// Enrolled keys by id, as many as the custodians enrolled. Whether one is valid is for the rules, under the head's
    /// lock.
    known_keys: RwLock<HashMap<KeyId, Arc<KnownKey>>>,
    /// Lists that are being verified.
    verifying: Semaphore,
    pub metrics: Metrics,
}

impl Shared {
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Why nothing may be written.
    pub fn refuses(&self) -> Option<Unavailable> {
        if self.is_gone() { Some(Unavailable::Database) } else { *self.halted.borrow() }
    }

    pub fn is_gone(&self) -> bool {
        *self.is_gone.borrow()
    }

    pub fn known_key(&self, id: &KeyId) -> Option<Arc<KnownKey>> {
        self.known_keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub fn remember_key(&self, state: &KeyState) -> Arc<KnownKey> {
        let mut keys = self.known_keys.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(KnownKey::new(state.public.clone(), state.principal.clone()));
        Arc::clone(keys.entry(state.public.id()).or_insert_with(new))
    }

    /// How many of these keys are each principal's. Those that are not known, such as a founder's, are nobody's.
    fn holders(&self, ids: impl Iterator<Item = KeyId>) -> HashMap<PrincipalId, usize> {
        let known = self.known_keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut holders = HashMap::new();
        for key in ids.filter_map(|id| known.get(&id)) {
            match holders.get_mut(&key.principal) {
                Some(count) => *count += 1,
                None => {
                    holders.insert(key.principal.clone(), 1);
                }
            }
        }
        holders
    }
}

/// A stored checkpoint, and the server from which it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub head: SignedHead,
    pub epoch: Epoch,
}

/// The pipeline. Clones are the same pipeline; when the last is dropped, what is queued is finished.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    /// Requests of principals that are open.
    open: Arc<Places<PrincipalId>>,
    /// Instructions that wait or are being written.
    room: Arc<Places<PrincipalId>>,
    queue: mpsc::UnboundedSender<Job>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    stop: Arc<Notify>,
}

impl Pipeline {
    /// Starts the writer and the publisher. The publisher waits its turn where another process holds the register.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(
        databases: Databases,
        keys: Arc<LedgerKeys>,
        register: PathBuf,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        settings: Settings,
    ) -> Pipeline {
        let storage = Arc::new(storage::Stored::new(databases.clone(), register));
        Pipeline::start_on(storage, databases, keys, clock, settings)
    }

    /// The same on any storage. `databases` are there for [`check`](Pipeline::check), and for what is known of newer servers.
    pub fn start_on(
        storage: Arc<dyn Storage>,
        databases: Databases,
        keys: Arc<LedgerKeys>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        settings: Settings,
    ) -> Pipeline {
        // How many are open in all is for the interface to bound.
        let open = Places::new(usize::MAX, settings.open_share);
        let room = Places::new(settings.queue_limit, settings.queue_share);
        let shared = Arc::new(Shared {
            databases,
            storage,
            keys,
            clock: Box::new(clock),
            settings,
            halted: watch::Sender::new(None),
            is_gone: watch::Sender::new(false),
            checkpoint: watch::Sender::new(None),
            grown: Notify::new(),
            publishes: watch::Sender::new(false),
            known_keys: RwLock::default(),
            verifying: Semaphore::new(VERIFIED_AT_ONCE),
            metrics: Metrics::new(),
        });
        let (queue, jobs) = mpsc::unbounded_channel();
        let stop = Arc::new(Notify::new());
        let (written, finished) = watch::channel(false);
        let writer = Writer::new(Arc::clone(&shared), jobs, Arc::clone(&stop), written);
        let publisher = Publisher::new(Arc::clone(&shared), finished);
        let tasks = vec![tokio::spawn(writer.run()), tokio::spawn(publisher.run())];
        Pipeline { shared, open, room, queue, tasks: Arc::new(Mutex::new(tasks)), stop }
    }

    /// Submits envelopes, in their order. With [`Mode::All`], either every one is accepted or none is stored.
    ///
    /// Dropping the future withdraws nothing: what was queued is written all the same.
    pub async fn submit(
        &self,
        envelopes: Vec<Result<Envelope, EnvelopeError>>,
        mode: Mode,
    ) -> Result<Submitted, Unavailable> {
        if let Some(reason) = self.shared.refuses() {
            return Err(reason);
        }
        let named = self.named(&envelopes);
        self.room.would_take(envelopes.len(), &named)?;
        let verified = self.verify(envelopes, named);
        let (incoming, _open) = self.shared.metrics.timed(Stage::Verify, verified).await?;
        let mut outcomes = vec![Outcome::NotTried; incoming.len()];
        let mut places = Vec::new();
        let mut items: Vec<Prepared> = Vec::new();
        let mut is_whole = true;
        for (index, one) in incoming.into_iter().enumerate() {
            match one {
                Incoming::Ready(item) => {
                    places.push(index);
                    items.push(*item);
                }
                Incoming::Settled(settled) => {
                    is_whole = false;
                    outcomes[index] = settled.into();
                }
            }
        }
        if items.is_empty() || (mode == Mode::All && !is_whole) {
            return Ok(Submitted { outcomes, checkpoint: None });
        }
        let holders = self.shared.holders(items.iter().map(|item| item.record.envelope().key_id));
        let room = self.room.take(items.len(), holders)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { items, mode, answer, _room: room, waits: Waits::begin() };
        self.queue.send(job).map_err(|_| Unavailable::ShuttingDown)?;
        // Without an answer the writer is gone, and what became of the job is not known.
        let (answers, epoch) = answered.await.map_err(|_| Unavailable::Unknown)??;
        for (index, outcome) in places.into_iter().zip(answers) {
            outcomes[index] = outcome;
        }
        let receipt = self.receipt(&outcomes, &epoch);
        let checkpoint = self.shared.metrics.timed(Stage::Receipt, receipt).await?;
        Ok(Submitted { outcomes, checkpoint })
    }

    /// How many of the envelopes name a key of each principal, rightly or not.
    fn named(&self, envelopes: &[Result<Envelope, EnvelopeError>]) -> HashMap<PrincipalId, usize> {
        self.shared.holders(envelopes.iter().flatten().map(|envelope| envelope.key_id))
    }

    /// Verifies the envelopes of one request, and opens it on the account of everybody who signed one.
    async fn verify(
        &self,
        envelopes: Vec<Result<Envelope, EnvelopeError>>,
        named: HashMap<PrincipalId, usize>,
    ) -> Result<(Vec<Incoming>, Taken<PrincipalId>), Unavailable> {
        let once =
            |holders: HashMap<PrincipalId, usize>| holders.into_keys().map(|holder| (holder, 1)).collect();
        self.open.would_take(1, &once(named))?;
        let incoming = incoming::prepare(&self.shared, envelopes).await?;
        let signed = incoming.iter().filter_map(Incoming::ready);
        let holders = self.shared.holders(signed.map(|item| item.record.envelope().key_id));
        let open = self.open.take(1, once(holders))?;
        Ok((incoming, open))
    }

    /// Opens a request on a principal's account, until what is returned is dropped.
    pub(crate) fn open(&self, principal: &PrincipalId) -> Result<Taken<PrincipalId>, Unavailable> {
        Ok(self.open.take_one(principal)?)
    }

    /// The stored checkpoint that covers every accepted record, if there is one in time. They were written on, or found
    /// on, the server of an epoch.
    async fn receipt(&self, outcomes: &[Outcome], epoch: &Epoch) -> Result<Option<String>, Unavailable> {
        let positions = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Accepted { position, .. } => Some(*position),
            _ => None,
        });
        let Some(last) = positions.max() else { return Ok(None) };
        let mut checkpoints = self.shared.checkpoint.subscribe();
        let covers = |known: &Option<Published>| {
            let is_older = |known: &Published| known.epoch.partial_cmp(epoch) == Some(Ordering::Less);
            known.as_ref().is_some_and(|known| known.head.size > last && !is_older(known))
        };
        let mut is_gone = self.shared.is_gone.subscribe();
        let covered = tokio::time::timeout(self.shared.settings.receipt_wait, checkpoints.wait_for(covers));
        let waited = tokio::select! {
            biased;
            covered = covered => covered.ok().and_then(Result::ok),
            // None will come any more.
            _ = is_gone.wait_for(|is_gone| *is_gone) => None,
        };
        match waited.as_deref() {
            Some(Some(known)) if known.epoch == *epoch => Ok(Some(known.head.note.clone())),
            // Another server took over, which may have something else at these positions.
            Some(Some(_)) => Err(Unavailable::Unknown),
            _ => Ok(None),
        }
    }

    /// Decides without storing: each envelope on its own, against the present state.
    pub async fn check(
        &self,
        envelopes: Vec<Result<Envelope, EnvelopeError>>,
    ) -> Result<Vec<Checked>, Unavailable> {
        let named = self.named(&envelopes);
        let (incoming, _open) = self.verify(envelopes, named).await?;
        check::check(&self.shared, incoming).await
    }

    /// An enrolled key's bytes and principal, without a query where this process has met it before.
    pub(crate) async fn known_key(&self, id: &KeyId) -> Result<Option<Arc<KnownKey>>, Unavailable> {
        if let Some(known) = self.shared.known_key(id) {
            return Ok(Some(known));
        }
        let key = Key::PublicKey(*id);
        let entities = self.entities(vec![key.clone()]).await?;
        let state = entities.get(&key).and_then(KeyState::of);
        Ok(state.map(|state| self.shared.remember_key(state)))
    }

    /// Entities as they are now; a key without one is left out.
    pub(crate) async fn entities(&self, keys: Vec<Key>) -> Result<HashMap<Key, Entity>, Unavailable> {
        let loaded = self.shared.storage.load(keys).await.map_err(Unavailable::of_read)?;
        Ok(loaded.into_iter().filter_map(|(key, entity)| Some((key, entity?))).collect())
    }

    /// The latest stored checkpoint that this process knows of.
    pub fn checkpoint(&self) -> Option<SignedHead> {
        self.shared.checkpoint.borrow().as_ref().map(|known| known.head.clone())
    }

    /// Waits for a stored checkpoint of more records than this; `None` where none will come any more.
    pub(crate) async fn newer_checkpoint(&self, size: u64) -> Option<SignedHead> {
        let mut checkpoints = self.shared.checkpoint.subscribe();
        let is_newer = |known: &Option<Published>| known.as_ref().is_some_and(|known| known.head.size > size);
        let newer = checkpoints.wait_for(is_newer).await.ok()?;
        newer.as_ref().map(|known| known.head.clone())
    }

    /// The service's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Why nothing is written at present, where there is a reason.
    pub fn halted(&self) -> Option<Unavailable> {
        self.shared.refuses()
    }

    /// Waits for the database no longer: it will not be back as long as this process runs.
    pub fn give_up(&self) {
        self.shared.is_gone.send_replace(true);
    }

    /// How many instructions wait or are being written.
    pub fn waiting(&self) -> usize {
        self.room.held()
    }

    /// Whether this process is the one that signs heads.
    pub(crate) fn is_publisher(&self) -> bool {
        *self.shared.publishes.borrow()
    }

    /// What was counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Takes no more submissions, finishes what is queued, publishes the last head, and returns when that is done.
    pub async fn shutdown(&self) {
        self.room.close();
        self.stop.notify_one();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the pipeline failed");
            }
        }
    }
}
