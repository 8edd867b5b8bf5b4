//! What the service counts and times: every name, and the one call for each place that is observed.
//!
//! Each service has a registry of its own, so that several in one process do not mix. Labels have closed sets of
//! values (a route's pattern, a status, a refusal's code, a stage, a witness of the policy): no amount, no id of a case, a fund, a disbursement
//! or a principal is ever one, and no metric tells what a fund has. `docs/operating/monitoring.md` lists all of them.
//!
//! The stages of a payment are timed here and are spans of a trace at the same time (`Metrics::timed`); where no
//! exporter listens, a span costs a comparison. The spans' target is [`TRACE`]; they have the same closed values.

mod process;
mod scrape;

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::pipeline::Unavailable;
pub use scrape::router;

/// The target of every span that may leave the process, and of nothing else.
pub const TRACE: &str = "safeconduct::trace";

/// From 100 µs to 30 s.
const SECONDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
const INSTRUCTIONS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 10_000.0];
const READS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const ROUND_TRIPS: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0];

/// How many unsigned heads are remembered apart.
const UNSIGNED_MAX: usize = 1_024;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A stage of a submission's way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Stage {
            $($(#[$doc])* $name,)*
        }

        impl Stage {
            #[cfg(test)]
            const ALL: &[Stage] = &[$(Stage::$name),*];

            /// The stage's name, in metrics and in traces.
            const fn name(self) -> &'static str {
                match self { $(Stage::$name => $text,)* }
            }

            fn span(self) -> Span {
                match self { $(Stage::$name => tracing::debug_span!(target: TRACE, $text),)* }
            }
        }
    };
}

stages! {
    /// Envelopes are parsed and their signatures verified.
    Verify = "verify";
    /// A verified submission waits for the writer.
    Queue = "queue";
    /// A group reads from the database what the rules ask for, the head's lock included.
    Load = "load";
    /// The rules decide, and entries are signed.
    Decide = "decide";
    /// A group is written and committed.
    Commit = "commit";
    /// A committed head is checked, signed, and its checkpoint stored.
    Publish = "publish_head";
    /// A submission that is in the log waits for a checkpoint that covers it.
    Receipt = "receipt";
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    method: &'static str,
    route: &'static str,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWitness {
    witness: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

/// What one service has counted since it started.
pub struct Metrics {
    registry: Registry,
    requests: Family<OfRequest, Counter>,
    request_seconds: Family<OfRoute, Histogram>,
    refusals: Family<OfCode, Counter>,
    stages: Family<OfStage, Histogram>,
    groups: Family<OfOutcome, Counter>,
    instructions: Histogram,
    round_trips: Histogram,
    agency_reads: Histogram,
    committed: Gauge,
    cosigned: Gauge,
    cosigned_by: Family<OfWitness, Gauge>,
    /// Why the last attempt to append a group failed, where it did.
    stopped: Mutex<Option<Unavailable>>,
    /// The sizes that no known checkpoint covers yet, and since when.
    unsigned: Mutex<VecDeque<(u64, Instant)>>,
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("safeconduct"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            refusals: Family::default(),
            stages: Family::new_with_constructor(seconds),
            groups: Family::default(),
            instructions: Histogram::new(INSTRUCTIONS),
            round_trips: Histogram::new(ROUND_TRIPS),
            agency_reads: Histogram::new(READS),
            committed: Gauge::default(),
            cosigned: Gauge::default(),
            cosigned_by: Family::default(),
            stopped: Mutex::default(),
            unsigned: Mutex::default(),
        };
        let registry = &mut metrics.registry;
        let in_seconds = Unit::Seconds;
        registry.register("http_requests", "Answered requests", metrics.requests.clone());
        let help = "Time from a request's head to the beginning of its answer";
        registry.register_with_unit(
            "http_request_duration",
            help,
            in_seconds.clone(),
            metrics.request_seconds.clone(),
        );
        registry.register(
            "refusals",
            "Requests and instructions that were refused",
            metrics.refusals.clone(),
        );
        registry.register_with_unit("stage_duration", "Time by stage", in_seconds, metrics.stages.clone());
        registry.register("groups", "Attempts to append a group", metrics.groups.clone());
        registry.register("group_instructions", "Instructions in a group", metrics.instructions.clone());
        let help = "Database round trips of an attempt to append a group";
        registry.register("group_round_trips", help, metrics.round_trips.clone());
        let help = "Agencies' reads that were written down together";
        registry.register("group_agency_reads", help, metrics.agency_reads.clone());
        let help = "Records in the log, as this process knows it";
        registry.register("log_records", help, metrics.committed.clone());
        let help = "Records that as many witnesses cosigned as policy demands, as this process asked them";
        registry.register("log_cosigned_records", help, metrics.cosigned.clone());
        let help = "Records that a witness cosigned, as this process asked it";
        registry.register("witness_records", help, metrics.cosigned_by.clone());
        metrics
    }

    /// Runs a stage: observes its time, and makes it a span of the trace.
    pub(crate) async fn timed<F: Future>(&self, stage: Stage, work: F) -> F::Output {
        let began = Instant::now();
        let output = work.instrument(stage.span()).await;
        self.took(stage, began.elapsed());
        output
    }

    /// The same for what does not wait.
    pub(crate) fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let output = stage.span().in_scope(work);
        self.took(stage, began.elapsed());
        output
    }

    /// A stage took this long.
    pub(crate) fn took(&self, stage: Stage, time: Duration) {
        self.stages.get_or_create(&OfStage { stage: stage.name() }).observe(time.as_secs_f64());
    }

    /// An attempt to append a group ended: whether anything was written, or why it failed.
    pub(crate) fn group(&self, written: Result<bool, Unavailable>, instructions: usize, round_trips: u32) {
        let outcome = match written {
            Ok(true) => "written",
            Ok(false) => "nothing",
            Err(reason) => reason.code(),
        };
        self.groups.get_or_create(&OfOutcome { outcome }).inc();
        self.round_trips.observe(f64::from(round_trips));
        if instructions > 0 {
            self.instructions.observe(instructions as f64);
        }
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = written.err();
    }

    /// So many reads of agencies are taken as one group.
    pub(crate) fn agency_reads(&self, reads: usize) {
        self.agency_reads.observe(reads as f64);
    }

    /// The log was seen to have this many records.
    pub(crate) fn committed(&self, size: u64) {
        let mut unsigned = self.unsigned.lock().unwrap_or_else(PoisonError::into_inner);
        if size <= self.log_records() {
            return;
        }
        self.committed.set(i64::try_from(size).unwrap_or(i64::MAX));
        let is_full = unsigned.len() >= UNSIGNED_MAX;
        match unsigned.back_mut() {
            Some(last) if is_full => last.0 = size,
            _ => unsigned.push_back((size, Instant::now())),
        }
    }

    /// A stored checkpoint covers this many records.
    pub(crate) fn published(&self, size: u64) {
        self.committed(size);
        let mut unsigned = self.unsigned.lock().unwrap_or_else(PoisonError::into_inner);
        while unsigned.front().is_some_and(|(oldest, _)| *oldest <= size) {
            unsigned.pop_front();
        }
    }

    /// As many witnesses as policy demands cosigned a checkpoint of this many records.
    pub(crate) fn cosigned(&self, size: u64) {
        self.cosigned.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// A witness cosigned a checkpoint of this many records.
    pub(crate) fn cosigned_by(&self, witness: &str, size: u64) {
        let of = OfWitness { witness: witness.to_owned() };
        self.cosigned_by.get_or_create(&of).set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Something was refused with a stable code.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&OfCode { code }).inc();
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &'static str, route: &'static str, status: u16, time: Duration) {
        self.requests.get_or_create(&OfRequest { method, route, status: status.into() }).inc();
        self.request_seconds.get_or_create(&OfRoute { method, route }).observe(time.as_secs_f64());
    }

    fn stopped(&self) -> Option<Unavailable> {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_records(&self) -> u64 {
        u64::try_from(self.committed.get()).unwrap_or(0)
    }

    /// How long the oldest unsigned head has waited.
    fn unsigned_since(&self) -> Duration {
        let unsigned = self.unsigned.lock().unwrap_or_else(PoisonError::into_inner);
        unsigned.front().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_that_of_the_oldest_unsigned_head() {
        let metrics = Metrics::new();
        let after = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        metrics.committed(2);
        after(3).await;
        metrics.committed(5);
        // What is known already is not new.
        metrics.committed(5);
        metrics.committed(4);
        after(4).await;
        assert_eq!((metrics.log_records(), metrics.unsigned_since().as_secs()), (5, 7));
        metrics.published(2);
        assert_eq!(metrics.unsigned_since().as_secs(), 4);
        metrics.published(4);
        assert_eq!(metrics.unsigned_since().as_secs(), 4);
        metrics.published(5);
        assert_eq!(metrics.unsigned_since(), Duration::ZERO);
        // A checkpoint of another process may be the first word of a head.
        metrics.published(9);
        assert_eq!((metrics.log_records(), metrics.unsigned_since()), (9, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn unsigned_heads_take_a_bounded_place() {
        let metrics = Metrics::new();
        (1..=5_000).for_each(|size| metrics.committed(size));
        assert_eq!(metrics.unsigned.lock().unwrap().len(), UNSIGNED_MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        metrics.published(4_999);
        assert_eq!(metrics.unsigned_since().as_secs(), 1);
        metrics.published(5_000);
        assert_eq!(metrics.unsigned_since(), Duration::ZERO);
    }

    #[test]
    fn each_stage_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Stage::ALL.len());
    }
}
