//! Jobs, and a group of them that is being written.

use std::time::Duration;

use ledger::id::PrincipalId;
use store::log::Head;
use store::register::Epoch;
use store::storage::Appender;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::attempt::{Appended, Warm};
use super::incoming::Prepared;
use super::writer::Failed;
use super::{Mode, Outcome, Shared, Unavailable};
use crate::metrics::TRACE;
use crate::places::Taken;

/// The longest that a group waits for the publication of the one before it.
const HELD: Duration = Duration::from_millis(20);

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
    pub since: Instant,
    asked: Span,
}

impl Waits {
    pub(super) fn begin() -> Waits {
        Waits { since: Instant::now(), asked: Span::current() }
    }
}

/// A group that is being written.
pub(super) struct Writing {
    pub jobs: Vec<Job>,
    pub before: Head,
    /// The size of the log after it.
    pub size: u64,
    pub epoch: Epoch,
    /// The state after it, until the next group is decided on that.
    pub warm: Option<Warm>,
    /// The round trips that it took to decide it without a lock.
    pub trips: u32,
    pub observed: Observed,
    pub task: JoinHandle<(Box<dyn Appender>, Result<Appended, Failed>)>,
}

/// A group is written, or not.
pub(super) type Finished = (Writing, Result<(Box<dyn Appender>, Result<Appended, Failed>), JoinError>);

/// Waits for a group that is being written; for ever, where there is none.
pub(super) async fn finished(writing: &mut Option<Writing>) -> Finished {
    let Some(running) = writing else { return std::future::pending().await };
    let written = (&mut running.task).await;
    match writing.take() {
        Some(writing) => (writing, written),
        None => std::future::pending().await,
    }
}

/// A group that was written, and may still have to be published.
pub(super) struct Last {
    pub before: Head,
    /// The size of the log after it.
    pub size: u64,
    pub since: Instant,
}

/// Waits until the group that was written last is published, for a while. Until then those who sent it wait, and what
/// they send next would come too late for a group that is begun now: larger groups cost less.
pub(super) async fn published(shared: &Shared, last: Option<&Last>) {
    let Some(last) = last else { return };
    let mut checkpoints = shared.checkpoint.subscribe();
    let is_published =
        checkpoints.wait_for(|known| known.as_ref().is_some_and(|known| known.head.size >= last.size));
    let _ = tokio::time::timeout_at(last.since + HELD, is_published).await;
}

/// Whoever asked may have gone; the record stays.
pub(super) fn answer(jobs: Vec<Job>, answers: Vec<Vec<Outcome>>, epoch: &Epoch) {
    for (job, outcomes) in jobs.into_iter().zip(answers) {
        let _ = job.answer.send(Ok((outcomes, epoch.clone())));
    }
}

pub(super) fn refuse(jobs: Vec<Job>, reason: Unavailable) {
    for job in jobs {
        let _ = job.answer.send(Err(reason));
    }
}

/// A group's span, and what is counted of it.
pub(super) struct Observed {
    pub span: Span,
    instructions: usize,
}

impl Observed {
    pub(super) fn begin(jobs: &[Job]) -> Observed {
        let span =
            tracing::debug_span!(target: TRACE, "append_group", instructions = Empty, round_trips = Empty);
        let mut observed = Observed { span, instructions: 0 };
        observed.takes(jobs);
        observed
    }

    /// The group has these, too.
    pub(super) fn takes(&mut self, jobs: &[Job]) {
        for job in jobs {
            self.span.follows_from(&job.waits.asked);
            self.instructions += job.items.len();
        }
    }

    pub(super) fn end(&self, shared: &Shared, written: Result<bool, Unavailable>, round_trips: u32) {
        self.span.record("instructions", self.instructions);
        self.span.record("round_trips", round_trips);
        shared.metrics.group(written, self.instructions, round_trips);
    }
}
