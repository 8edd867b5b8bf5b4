//! The writer: one task that takes what has arrived and appends it, group by group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ledger::id::PrincipalId;
use store::register::{Epoch, RegisterState};
use store::storage::Appender;
use store::{Fault, StoreError};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::attempt::{Appended, Attempt, Warm};
use super::clock::Confirmed;
use super::incoming::Prepared;
use super::{Mode, Outcome, Shared, Unavailable};
use crate::metrics::{Stage, TRACE};
use crate::places::Taken;

/// Between two attempts to get the database back.
const PAUSE: Duration = Duration::from_millis(100);

/// A submission, verified, and where its answer goes.
pub(super) struct Job {
    pub items: Vec<Prepared>,
    pub mode: Mode,
    pub answer: oneshot::Sender<Result<(Vec<Outcome>, Epoch), Unavailable>>,
    /// Its place in the queue, free again when it is answered.
    pub _room: Taken<PrincipalId>,
    pub waits: Waits,
}

/// Since when a job waits, and in whose trace.
pub(super) struct Waits {
    since: Instant,
    asked: Span,
}

impl Waits {
    pub(super) fn begin() -> Waits {
        Waits { since: Instant::now(), asked: Span::current() }
    }
}

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
    confirmed: Confirmed,
    /// Whether the register was there, so that its absence means something.
    saw_register: bool,
    /// Whether the last group found the database, so that the next one may wait for it.
    is_up: bool,
    /// Whether more has to lapse than the last group took.
    has_more: bool,
    /// What the last attempt took.
    round_trips: u32,
}

/// Why an attempt to append a group ended.
pub(super) enum Failed {
    /// Nothing was written; the same may work on a new connection.
    Lost,
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
            confirmed,
            saw_register: false,
            is_up: true,
            has_more: false,
            round_trips: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut kept: Option<Job> = None;
        let stop = Arc::clone(&self.stop);
        loop {
            let pause = if self.has_more { Duration::ZERO } else { self.shared.settings.tick };
            let first = match kept.take() {
                Some(job) => Some(job),
                None => tokio::select! {
                    biased;
                    () = stop.notified() => {
                        // What is queued already still comes out of the queue.
                        self.jobs.close();
                        continue;
                    }
                    job = self.jobs.recv() => match job {
                        Some(job) => Some(job),
                        None => break,
                    },
                    () = tokio::time::sleep(pause) => None,
                },
            };
            let mut size = first.as_ref().map_or(0, |job| job.items.len());
            let mut group: VecDeque<Job> = first.into_iter().collect();
            while !group.is_empty() && size < self.shared.settings.group_limit {
                let Ok(job) = self.jobs.try_recv() else { break };
                size += job.items.len();
                if size > self.shared.settings.group_limit {
                    kept = Some(job);
                    break;
                }
                group.push_back(job);
            }
            for job in &group {
                self.shared.metrics.took(Stage::Queue, job.waits.since.elapsed());
            }
            if group.is_empty() {
                self.tick().await;
            } else {
                self.post(group).await;
            }
        }
        self.written.send_replace(true);
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

    async fn post(&mut self, mut group: VecDeque<Job>) {
        while !group.is_empty() {
            match self.settle(group.make_contiguous()).await {
                Ok((answers, epoch)) => {
                    for (job, outcomes) in group.drain(..answers.len()).zip(answers) {
                        // Whoever asked may have gone; the record stays.
                        let _ = job.answer.send(Ok((outcomes, epoch.clone())));
                    }
                }
                // One of them, alone, will be refused again; the others need not suffer for it.
                Err(Failed::Refused) if group.len() > 1 => {
                    for job in group.drain(..) {
                        let alone = self.settle(std::slice::from_ref(&job)).await;
                        let answer = match alone {
                            Ok((mut answers, epoch)) => {
                                answers.pop().map(|outcomes| (outcomes, epoch)).ok_or(Unavailable::Internal)
                            }
                            Err(failed) => Err(failed.reason()),
                        };
                        let _ = job.answer.send(answer);
                    }
                }
                Err(failed) => {
                    for job in group.drain(..) {
                        let _ = job.answer.send(Err(failed.reason()));
                    }
                }
            }
        }
    }

    /// Appends a group, however often the connection is lost, as long as patience allows. Answers the jobs of a beginning
    /// of the list: all of them, except where a founding record has to stand alone; and on which server they hold.
    async fn settle(&mut self, jobs: &[Job]) -> Result<(Vec<Vec<Outcome>>, Epoch), Failed> {
        let patience = if self.is_up { self.shared.settings.patience } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        let mut doubt: Option<Doubt> = None;
        loop {
            let attempt = match doubt.take() {
                None => self.attempt(jobs).await,
                Some(open) => match self.resolve(open).await {
                    Ok(Some(answers)) => Ok(answers),
                    Ok(None) => self.attempt(jobs).await,
                    Err(failed) => Err(failed),
                },
            };
            match attempt {
                Ok(answers) => {
                    self.is_up = true;
                    let connection = self.connection.as_ref().ok_or(Failed::Lost)?;
                    return Ok((answers, connection.epoch().clone()));
                }
                Err(Failed::Lost) => {}
                Err(Failed::Doubt(open)) => doubt = Some(open),
                Err(failed) => return Err(failed),
            }
            self.connection = None;
            if Instant::now() >= deadline {
                self.is_up = false;
                return Err(doubt.map_or(Failed::Lost, Failed::Doubt));
            }
            tokio::time::sleep(PAUSE).await;
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

    /// One attempt, observed.
    async fn attempt(&mut self, jobs: &[Job]) -> Result<Vec<Vec<Outcome>>, Failed> {
        let instructions = jobs.iter().map(|job| job.items.len()).sum();
        let span = tracing::debug_span!(target: TRACE, "append_group", instructions, round_trips = Empty);
        for job in jobs {
            span.follows_from(&job.waits.asked);
        }
        self.round_trips = 0;
        let result = self.append(jobs).instrument(span.clone()).await;
        span.record("round_trips", self.round_trips);
        let written = result.as_ref().map(|appended| appended.is_written).map_err(Failed::reason);
        self.shared.metrics.group(written, instructions, self.round_trips);
        Ok(result?.answers)
    }

    async fn append(&mut self, jobs: &[Job]) -> Result<Appended, Failed> {
        if let Some(reason) = *self.shared.halted.borrow() {
            return Err(Failed::Stop(reason));
        }
        self.connect().await?;
        let Some(connection) = self.connection.take() else {
            return Err(Failed::Lost);
        };
        let group = Attempt { shared: &self.shared, connection: &*connection, confirmed: self.confirmed };
        // A group that fails, or writes nothing, leaves none.
        let result = group.append(jobs, self.warm.take()).await;
        // A failed attempt leaves a transaction behind, which is rolled back here or with the connection.
        let is_clean = match &result {
            Ok(_) => true,
            Err(Failed::Lost | Failed::Doubt(_)) => false,
            Err(Failed::Refused | Failed::Stop(_)) => connection.roll_back().await.is_ok(),
        };
        self.round_trips = connection.round_trips();
        if is_clean {
            self.connection = Some(connection);
        }
        let mut appended = result?;
        self.has_more = appended.has_more;
        self.warm = appended.warm.take();
        if appended.is_written {
            self.confirmed.used();
            self.shared.grown.notify_one();
        }
        Ok(appended)
    }
}

impl Failed {
    pub(super) fn reason(&self) -> Unavailable {
        match self {
            Failed::Lost => Unavailable::Database,
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
