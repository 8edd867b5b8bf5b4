//! The writer: one task that takes what has arrived and appends it, group by group. While one is written, the next is decided.

use std::sync::Arc;
use std::time::Duration;

use store::register::{Epoch, RegisterState};
use store::storage::Appender;
use store::writer::Lock;
use store::{Fault, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument;

use super::ahead::{Ahead, Closed};
use super::attempt::{Appended, Attempt, Decided, Opening, Warm, write};
use super::clock::Confirmed;
use super::writing::{Finished, Job, Last, Observed, Writing, answer, finished, published, refuse};
use super::{Outcome, Shared, Unavailable};
use crate::metrics::Stage;

/// Between two attempts to get the database back.
const PAUSE: Duration = Duration::from_millis(100);

/// A group that has this many instructions need not wait for more.
const ENOUGH: usize = 64;

/// The task.
pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedReceiver<Job>,
    stop: Arc<Notify>,
    /// Tells the publisher that nothing more will come.
    written: watch::Sender<bool>,
    connection: Option<Box<dyn Appender>>,
    /// The state after the last group, as far as it is known.
    warm: Option<Warm>,
    /// The group that is being written; the next one is decided meanwhile.
    writing: Option<Writing>,
    /// The one that was written last.
    last: Option<Last>,
    confirmed: Confirmed,
    /// Whether the register was there, so that its absence means something.
    saw_register: bool,
    /// Whether the last group found the database, so that the next one may wait for it.
    is_up: bool,
    /// Whether more has to lapse than the last group took.
    has_more: bool,
    /// Whether a group may still come whose connection was lost: only another head keeps it out, so the next group is
    /// written even if it accepts nothing.
    must_write: bool,
}

/// What the task does next.
enum Next {
    Job(Job),
    Written(Box<Finished>),
    Published,
    Tick,
}

/// Why an attempt to append a group ended.
pub(super) enum Failed {
    /// Nothing was written; the same may work on a new connection.
    Lost,
    /// Nothing was written, since the log has another head than the one that was to be followed.
    Moved,
    /// The connection was lost while the group was committed.
    Doubt(Doubt),
    /// A constraint refused what the rules allowed.
    Refused,
    /// Nothing was written, and trying again does not help.
    Stop(Unavailable),
}

/// A group that is in the log or not.
pub(super) struct Doubt {
    pub first: u64,
    /// Of all its records.
    pub signatures: Vec<Vec<u8>>,
    pub answers: Vec<Vec<Outcome>>,
    /// Where its connection had still to take the head's lock, it may come yet, as long as the log ends where it began.
    pub lock: Lock,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: mpsc::UnboundedReceiver<Job>,
        stop: Arc<Notify>,
        written: watch::Sender<bool>,
    ) -> Writer {
        let confirmed = Confirmed::new(shared.settings.confirm_clock, shared.now());
        Writer {
            shared,
            jobs,
            stop,
            written,
            connection: None,
            warm: None,
            writing: None,
            last: None,
            confirmed,
            saw_register: false,
            is_up: true,
            has_more: false,
            must_write: false,
        }
    }

    pub(super) async fn run(mut self) {
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&self.stop));
        let limit = shared.settings.group_limit;
        // While a group is being written: the next one, or what has to be decided under the lock, and what does not fit.
        let (mut ahead, mut waiting, mut kept): (Option<Ahead<'_>>, Vec<Job>, Option<Job>) =
            (None, vec![], None);
        let mut is_open = true;
        // What was queued comes out of the queue after it is closed, too.
        while is_open || self.writing.is_some() || kept.is_some() || ahead.is_some() {
            let size = ahead.as_ref().map_or(0, Ahead::instructions);
            let room = limit.saturating_sub(size);
            let takes = kept.is_none() && waiting.is_empty() && room > 0;
            let is_held = ahead.is_some() && self.writing.is_none();
            let pause = if self.has_more { Duration::ZERO } else { shared.settings.tick };
            let fits = |job: &mut Job| waiting.is_empty() && (ahead.is_none() || job.items.len() <= room);
            let next = match kept.take_if(fits) {
                Some(job) => Next::Job(job),
                None if is_held && size >= ENOUGH => Next::Published,
                None => tokio::select! {
                    biased;
                    () = stop.notified() => {
                        self.jobs.close();
                        continue;
                    }
                    written = finished(&mut self.writing), if self.writing.is_some() => Next::Written(Box::new(written)),
                    () = published(&shared, self.last.as_ref()), if is_held => Next::Published,
                    job = self.jobs.recv(), if is_open && takes => match job {
                        Some(job) => Next::Job(job),
                        None => {
                            is_open = false;
                            continue;
                        }
                    },
                    () = tokio::time::sleep(pause), if is_open && self.writing.is_none() && !is_held => Next::Tick,
                },
            };
            match next {
                Next::Tick => self.tick().await,
                Next::Job(job) if ahead.is_some() && job.items.len() > room => kept = Some(job),
                Next::Job(first) => {
                    let group = self.gather(first, room, &mut kept);
                    let begun = match ahead.take() {
                        Some(begun) => begun.extend(group).await,
                        None => self.begin_ahead(&shared, group).await,
                    };
                    match begun {
                        Ok(begun) => ahead = Some(begun),
                        Err(jobs) if self.writing.is_some() => waiting = jobs,
                        Err(jobs) => self.post(jobs).await,
                    }
                }
                Next::Written(written) => {
                    let is_written = self.settle_written(*written).await;
                    // What was decided on a group that failed, or could not be decided ahead, is decided under the lock.
                    let failed = ahead.take_if(|_| !is_written).map(|ahead| ahead.close().0);
                    let jobs = failed.unwrap_or_else(|| std::mem::take(&mut waiting));
                    if !jobs.is_empty() {
                        self.post(jobs).await;
                    }
                }
                Next::Published => match ahead.take().map(Ahead::close) {
                    Some((jobs, Some(closed))) => self.follow(jobs, closed).await,
                    Some((jobs, None)) => self.post(jobs).await,
                    None => {}
                },
            }
        }
        self.written.send_replace(true);
    }

    /// Begins to decide a group ahead: after one that is being written, or after the last. Where there is none, or that cannot
    /// be, its jobs are given back.
    async fn begin_ahead<'k>(&mut self, shared: &'k Shared, jobs: Vec<Job>) -> Result<Ahead<'k>, Vec<Job>> {
        if self.must_write {
            return Err(jobs);
        }
        let (before, epoch, warm) = match (&mut self.writing, &self.connection) {
            (Some(writing), _) => (Some(&writing.before), &writing.epoch, writing.warm.take()),
            (None, Some(connection)) => {
                (self.last.as_ref().map(|last| &last.before), connection.epoch(), self.warm.take())
            }
            (None, None) => return Err(jobs),
        };
        match warm {
            Some(warm) => Ahead::begin(shared, self.confirmed, (before, epoch), warm, jobs).await,
            None => Err(jobs),
        }
    }

    /// A group: a job, and what else has arrived, as long as there is room.
    fn gather(&mut self, first: Job, room: usize, kept: &mut Option<Job>) -> Vec<Job> {
        let mut size = first.items.len();
        let mut group = vec![first];
        while size < room {
            let Ok(job) = self.jobs.try_recv() else { break };
            size += job.items.len();
            if size > room {
                *kept = Some(job);
                break;
            }
            group.push(job);
        }
        for job in &group {
            self.shared.metrics.took(Stage::Queue, job.waits.since.elapsed());
        }
        group
    }

    /// Without any job: what has to lapse, and the day's group.
    async fn tick(&mut self) {
        let Err(failed) = self.attempt(&[]).await else { return };
        // What has to lapse waits for the next tick: tried again at once, it would fail again.
        self.has_more = false;
        if let Failed::Lost | Failed::Doubt(_) = failed {
            // The next group, or the next tick, finds what became of it.
            self.connection = None;
        }
    }

    /// Decides a group under the lock, and begins to write it. The first one, and one after a failure, is seen through before
    /// anything else is taken.
    async fn post(&mut self, jobs: Vec<Job>) {
        if self.warm.is_none() {
            return self.see_through(jobs, None).await;
        }
        let observed = Observed::begin(&jobs);
        let opened = self.open(&jobs).instrument(observed.span.clone()).await;
        match opened {
            Ok((connection, Opening::Decided(decided))) => {
                self.write(jobs, connection, *decided, (Lock::Held, 0), observed);
            }
            Ok((connection, Opening::Nothing(answers))) => {
                observed.end(&self.shared, Ok(false), connection.round_trips());
                answer(jobs, answers, connection.epoch());
                self.connection = Some(connection);
            }
            Err(failed) => {
                observed.end(&self.shared, Err(failed.reason()), 0);
                self.see_through(jobs, Some(failed)).await;
            }
        }
    }

    /// Begins to write a group that was decided while the one before it was written.
    async fn follow(&mut self, jobs: Vec<Job>, closed: Closed) {
        let is_free = self.shared.refuses().is_none();
        let is_connected = is_free && self.connect().await.is_ok();
        let connection =
            self.connection.take_if(|connection| is_connected && *connection.epoch() == closed.epoch);
        let Some(connection) = connection else {
            return self.post(jobs).await;
        };
        let observed = closed.observed;
        match closed.opening {
            Opening::Decided(decided) => {
                self.write(jobs, connection, *decided, (Lock::Taken, closed.trips), observed)
            }
            Opening::Nothing(answers) => {
                observed.end(&self.shared, Ok(false), closed.trips);
                answer(jobs, answers, connection.epoch());
                self.connection = Some(connection);
            }
        }
    }

    /// Begins to write a group: under the lock that the connection has, or taking it.
    fn write(
        &mut self,
        jobs: Vec<Job>,
        connection: Box<dyn Appender>,
        mut decided: Decided,
        (lock, trips): (Lock, u32),
        observed: Observed,
    ) {
        let shared = Arc::clone(&self.shared);
        let (before, size) = (decided.before.clone(), decided.after.size);
        let (warm, epoch) = (decided.warm.take(), connection.epoch().clone());
        let span = observed.span.clone();
        let task = async move {
            let result = write(&shared, &*connection, decided, lock).await;
            (connection, result)
        };
        let task = tokio::spawn(task.instrument(span));
        self.writing = Some(Writing { jobs, before, size, epoch, warm, trips, observed, task });
    }

    /// Answers the jobs of the group that was being written. Where that failed it is seen through, and `false`.
    async fn settle_written(&mut self, (writing, written): Finished) -> bool {
        let Writing { jobs, before, size, epoch, warm, trips, observed, .. } = writing;
        self.last = None;
        let Ok((connection, result)) = written else {
            tracing::error!("the task that writes a group failed");
            self.must_write = true;
            observed.end(&self.shared, Err(Unavailable::Unknown), trips);
            refuse(jobs, Unavailable::Unknown);
            return false;
        };
        let written = result.as_ref().map(|_| true).map_err(Failed::reason);
        observed.end(&self.shared, written, trips + connection.round_trips());
        self.put_back(connection, &result);
        match result {
            Ok(appended) => {
                self.warm = warm;
                self.is_up = true;
                self.must_write = false;
                self.has_more = appended.has_more;
                answer(jobs, appended.answers, &epoch);
                self.last = Some(Last { before, size, since: Instant::now() });
                true
            }
            Err(failed) => {
                self.see_through(jobs, Some(failed)).await;
                false
            }
        }
    }

    /// Appends a group, whatever it takes. It may have failed once.
    async fn see_through(&mut self, mut jobs: Vec<Job>, mut before: Option<Failed>) {
        while !jobs.is_empty() {
            match self.settle(&jobs, before.take()).await {
                Ok((answers, epoch)) => {
                    let rest = jobs.split_off(answers.len());
                    answer(std::mem::replace(&mut jobs, rest), answers, &epoch);
                }
                // One of them, alone, will be refused again; the others need not suffer for it.
                Err(Failed::Refused) if jobs.len() > 1 => {
                    for job in jobs.drain(..) {
                        let job = vec![job];
                        match self.settle(&job, None).await {
                            Ok((answers, epoch)) => answer(job, answers, &epoch),
                            Err(failed) => refuse(job, failed.reason()),
                        }
                    }
                }
                Err(failed) => refuse(std::mem::take(&mut jobs), failed.reason()),
            }
        }
    }

    /// Appends a group, however often the connection is lost, as long as patience allows. Answers the jobs of a beginning
    /// of the list: all of them, except where a founding record has to stand alone; and on which server they hold.
    async fn settle(
        &mut self,
        jobs: &[Job],
        before: Option<Failed>,
    ) -> Result<(Vec<Vec<Outcome>>, Epoch), Failed> {
        let patience = if self.is_up { self.shared.settings.patience } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        let mut attempt = match before {
            Some(failed) => Err(failed),
            None => self.attempt(jobs).await,
        };
        loop {
            let doubt = match attempt {
                Ok(answers) => {
                    self.is_up = true;
                    let connection = self.connection.as_ref().ok_or(Failed::Lost)?;
                    return Ok((answers, connection.epoch().clone()));
                }
                // Now with the lock, so that nobody is in between again.
                Err(Failed::Moved) => {
                    attempt = self.attempt(jobs).await;
                    continue;
                }
                Err(Failed::Lost) => None,
                Err(Failed::Doubt(open)) => Some(open),
                Err(failed) => return Err(failed),
            };
            self.must_write |= doubt.as_ref().is_some_and(|open| open.lock == Lock::Taken);
            self.connection = None;
            if Instant::now() >= deadline || self.shared.is_gone() {
                self.is_up = false;
                return Err(doubt.map_or(Failed::Lost, Failed::Doubt));
            }
            tokio::time::sleep(PAUSE).await;
            attempt = match doubt {
                None => self.attempt(jobs).await,
                Some(open) => match self.resolve(open).await {
                    Ok(Some(answers)) => Ok(answers),
                    Ok(None) => self.attempt(jobs).await,
                    Err(failed) => Err(failed),
                },
            };
        }
    }

    /// Reads the log to learn what became of a group.
    async fn resolve(&mut self, doubt: Doubt) -> Result<Option<Vec<Vec<Outcome>>>, Failed> {
        let logged = match self.connect().await {
            Ok(()) => match &self.connection {
                Some(connection) => {
                    connection.is_logged(doubt.first, &doubt.signatures).await.map_err(failed)
                }
                None => Err(Failed::Lost),
            },
            Err(failed) => Err(failed),
        };
        match logged {
            Ok(true) => {
                self.must_write = false;
                self.shared.grown.notify_one();
                Ok(Some(doubt.answers))
            }
            Ok(false) => Ok(None),
            // Whatever the reason, it stays open.
            Err(_) => Err(Failed::Doubt(doubt)),
        }
    }

    /// Makes sure that there is a connection, to no older a server and no shorter a log than the register has seen.
    async fn connect(&mut self) -> Result<(), Failed> {
        self.seen()?;
        let databases = &self.shared.databases;
        let is_usable =
            |connection: &dyn Appender| !connection.is_closed() && databases.admits(connection.epoch());
        if self.connection.as_deref().is_some_and(is_usable) {
            return Ok(());
        }
        self.connection = None;
        let connection = self.shared.storage.appender().await.map_err(failed)?;
        match self.seen()? {
            Some(state) => {
                fence(&state, connection.epoch()).map_err(Failed::Stop)?;
                // What would be appended to a shorter log would stand where something else was acknowledged.
                let head = connection.head().await.map_err(failed)?;
                if head.size < state.size {
                    tracing::error!(
                        head.size,
                        signed = state.size,
                        "the log is shorter than what was signed"
                    );
                    return Err(Failed::Stop(Unavailable::LogForked));
                }
            }
            None => {
                if connection.latest_checkpoint().await.map_err(failed)?.is_some() {
                    tracing::error!("the register is missing beside existing checkpoints");
                    return Err(Failed::Stop(Unavailable::RegisterMissing));
                }
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// What the register holds now; it is looked at for each group. Whoever publishes, here or in another process, may have
    /// found a newer server.
    fn seen(&mut self) -> Result<Option<RegisterState>, Failed> {
        match self.shared.storage.register() {
            Ok(Some(state)) => {
                self.saw_register = true;
                self.shared.databases.saw(&state.epoch);
                return Ok(Some(state));
            }
            Ok(None) if !self.saw_register && self.shared.checkpoint.borrow().is_none() => return Ok(None),
            Ok(None) => tracing::error!("the register is gone"),
            Err(error) => tracing::error!(%error, "the register cannot be used"),
        }
        self.connection = None;
        Err(Failed::Stop(Unavailable::RegisterMissing))
    }

    /// One attempt, to its end.
    async fn attempt(&mut self, jobs: &[Job]) -> Result<Vec<Vec<Outcome>>, Failed> {
        let observed = Observed::begin(jobs);
        let mut trips = 0;
        let result = self.append(jobs, &mut trips).instrument(observed.span.clone()).await;
        let written = result.as_ref().map(|appended| appended.is_written).map_err(Failed::reason);
        observed.end(&self.shared, written, trips);
        let appended = result?;
        self.must_write &= !appended.is_written;
        self.has_more = appended.has_more;
        self.warm = appended.warm;
        Ok(appended.answers)
    }

    async fn append(&mut self, jobs: &[Job], trips: &mut u32) -> Result<Appended, Failed> {
        let (connection, decided) = match self.open(jobs).await? {
            (connection, Opening::Decided(decided)) => (connection, decided),
            (connection, Opening::Nothing(answers)) => {
                *trips = connection.round_trips();
                self.connection = Some(connection);
                return Ok(Appended { answers, is_written: false, has_more: false, warm: None });
            }
        };
        let result = write(&self.shared, &*connection, *decided, Lock::Held).await;
        *trips = connection.round_trips();
        self.put_back(connection, &result);
        result
    }

    /// Locks the head and decides a group.
    async fn open(&mut self, jobs: &[Job]) -> Result<(Box<dyn Appender>, Opening), Failed> {
        self.last = None;
        if let Some(reason) = self.shared.refuses() {
            return Err(Failed::Stop(reason));
        }
        self.connect().await?;
        let Some(connection) = self.connection.take() else {
            return Err(Failed::Lost);
        };
        // A group that fails, or writes nothing, leaves none.
        let warm = self.warm.take();
        let attempt = Attempt::locked(&self.shared, &*connection, self.confirmed);
        let opened = attempt.open(&*connection, jobs, warm, self.must_write).await;
        match opened {
            Ok(opening) => Ok((connection, opening)),
            Err(failed) => {
                // It leaves a transaction behind, which is rolled back here or with the connection.
                let is_there = !matches!(failed, Failed::Lost | Failed::Doubt(_));
                if is_there && connection.roll_back().await.is_ok() {
                    self.connection = Some(connection);
                }
                Err(failed)
            }
        }
    }

    /// After a group was committed, or was not: either way no transaction is open.
    fn put_back(&mut self, connection: Box<dyn Appender>, result: &Result<Appended, Failed>) {
        match result {
            Ok(_) => self.confirmed.used(),
            Err(Failed::Lost | Failed::Doubt(_)) => return,
            Err(Failed::Moved | Failed::Refused | Failed::Stop(_)) => {}
        }
        self.connection = Some(connection);
    }
}

impl Failed {
    pub(super) fn reason(&self) -> Unavailable {
        match self {
            Failed::Lost | Failed::Moved => Unavailable::Database,
            Failed::Doubt(_) => Unavailable::Unknown,
            Failed::Refused => Unavailable::Internal,
            Failed::Stop(reason) => *reason,
        }
    }
}

/// What a failure of the database means to a group of which nothing was committed.
pub(super) fn failed(error: StoreError) -> Failed {
    let fault = error.fault();
    match fault {
        Fault::Lost => {
            tracing::warn!(%error, "the database was lost");
            Failed::Lost
        }
        Fault::Standby => {
            tracing::error!("the database is a standby");
            Failed::Stop(Unavailable::StaleServer)
        }
        Fault::Refused { constraint } => {
            tracing::error!(constraint, "the database refused what the rules allowed");
            Failed::Refused
        }
        Fault::Other => {
            tracing::error!(error = &error as &dyn std::error::Error, "the database failed");
            Failed::Stop(Unavailable::Internal)
        }
    }
}

/// Refuses a server that is older than the register has seen.
pub(crate) fn fence(register: &RegisterState, epoch: &Epoch) -> Result<(), Unavailable> {
    if *epoch >= register.epoch {
        return Ok(());
    }
    tracing::error!(?epoch, seen = ?register.epoch, "the database is not the primary that was seen last");
    Err(Unavailable::StaleServer)
}
