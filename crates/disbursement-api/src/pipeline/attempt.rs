//! One attempt to append one group: what is read for it, its decisions, and its commit.
//!
//! A group is decided either under the head's lock, or *ahead*: on the state that there will be after the group that is being
//! written, or that there is after the last one. What such a group needs besides is read from snapshots without a lock. A
//! snapshot is good if its head is the one before or the one after that group, since what that group
//! changes is known here and anything else is the same in both. A group that was decided ahead is appended only if the log ends
//! with the head that it follows when the lock is had, which the database checks.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::entity::{CharterState, DisbursementState, PolicyState};
use programme::{Key, Lookup, State};
use records::governance::Policy;
use records::journal::Lapse;
use records::scalar::Token;
use records::{BuildError, Payload, Record};
use signing::digest::Digest;
use store::load::Loaded;
use store::log::Head;
use store::register::Epoch;
use store::rows::Rows;
use store::storage::{Appender, Storage};
use store::writer::{CommitError, Lock, Opened};

use super::clock::{Confirmed, group_time};
use super::draft::{Draft, Progress, Unit, has_keys_of};
use super::incoming::Prepared;
use super::writer::{Doubt, Failed, failed};
use super::writing::Job;
use super::{LOADS_MAX, Mode, Outcome, Shared, Unavailable};
use crate::metrics::Stage;

pub(super) mod reopen;

/// The most keys that are kept from one group to the next; above that, all are loaded anew.
const WARM_MAX: usize = 60_000;

/// What is known of the state after a group. It holds as long as nobody else has appended, which the head tells.
pub(super) struct Warm {
    pub head: Head,
    pub state: State,
}

/// What an attempt came to.
pub(super) struct Appended {
    /// The outcomes of the first jobs: of all, except where a founding record had to stand alone.
    pub answers: Vec<Vec<Outcome>>,
    /// Whether anything was written.
    pub is_written: bool,
    /// Whether more has to lapse.
    pub has_more: bool,
    /// What the next group may begin with.
    pub warm: Option<Warm>,
}

/// A group that is decided and waits to be written.
pub(super) struct Decided {
    pub rows: Rows,
    pub before: Head,
    pub after: Head,
    pub answers: Vec<Vec<Outcome>>,
    pub has_more: bool,
    pub warm: Option<Warm>,
}

/// What a group's decisions come to.
pub(super) enum Opening {
    /// It has to be written.
    Decided(Box<Decided>),
    /// There is nothing to write.
    Nothing(Vec<Vec<Outcome>>),
}

/// Where the keys of a group come from.
pub(super) enum Source<'a> {
    /// The connection that holds the head's lock.
    Locked(&'a dyn Appender),
    /// Snapshots of the log as it ends with one of two heads. Each is a round trip, and counted.
    Snapshots { storage: &'a dyn Storage, heads: &'a [Head; 2], trips: &'a AtomicU32 },
}

/// One attempt.
pub(super) struct Attempt<'a, 'k> {
    pub shared: &'k Shared,
    pub source: Source<'a>,
    pub epoch: &'a Epoch,
    pub confirmed: Confirmed,
}

impl Source<'_> {
    async fn load(&self, now: Timestamp, keys: Vec<Key>) -> Result<Loaded, Failed> {
        match self {
            Source::Locked(connection) => connection.load(keys).await.map_err(failed),
            Source::Snapshots { .. } => Ok(self.peek(now, 0, keys).await?.loaded),
        }
    }

    /// What a group that is decided ahead may begin with. [`Failed::Moved`] where it has to be decided under the lock.
    async fn peek(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Result<Opened, Failed> {
        let Source::Snapshots { storage, heads, trips } = self else { return Err(Failed::Moved) };
        trips.fetch_add(1, Ordering::Relaxed);
        let opened = storage.peek(now, due_limit, keys).await.map_err(failed)?;
        if heads.contains(&opened.head) { Ok(opened) } else { Err(Failed::Moved) }
    }
}

impl<'a, 'k> Attempt<'a, 'k> {
    /// Under the head's lock of a connection.
    pub(super) fn locked(
        shared: &'k Shared,
        connection: &'a dyn Appender,
        confirmed: Confirmed,
    ) -> Attempt<'a, 'k> {
        Attempt { shared, source: Source::Locked(connection), epoch: connection.epoch(), confirmed }
    }

    /// Locks the head and decides the jobs. With `must_write`, there is a group even if nothing is accepted. After an error, the transaction is still open where the connection is; it is over
    /// where there is nothing to write.
    pub(super) async fn open(
        &self,
        connection: &dyn Appender,
        jobs: &[Job],
        warm: Option<Warm>,
        must_write: bool,
    ) -> Result<Opening, Failed> {
        let first = first_keys(jobs);
        let clock = self.shared.now();
        let limit = self.shared.settings.lapse_limit;
        let keys = warm.as_ref().map_or_else(|| first.clone(), |warm| lacks(&warm.state, &first));
        let begun = connection.begin(clock, limit, keys);
        let opened = self.shared.metrics.timed(Stage::Load, begun).await.map_err(failed)?;
        let Opened { head, due, loaded } = opened;
        if head.forked {
            return Err(Failed::Stop(Unavailable::LogForked));
        }
        let is_cold = warm.is_none();
        let known = warm.filter(|warm| warm.head == head);
        let (mut state, loaded) = match known {
            Some(warm) => (warm.state, loaded),
            None if is_cold => (State::partial(), loaded),
            // Somebody else has appended since: what was kept is worth nothing.
            None => (State::partial(), connection.load(first).await.map_err(failed)?),
        };
        take(&mut state, loaded);
        let opening = if head.size == 0 {
            self.found(state, &head, clock, jobs).await?
        } else {
            let (mut draft, has_more) = self.begin(state, &head, due, clock).await?;
            let answers = self.decide_jobs(&mut draft, jobs).await?;
            if must_write {
                Opening::decided(draft, head, answers, has_more)?
            } else {
                close(draft, head, answers, has_more)?
            }
        };
        if let Opening::Nothing(_) = opening {
            connection.roll_back().await.map_err(failed)?;
        }
        Ok(opening)
    }

    /// Reads without a lock what the jobs are known to need and the state lacks. Answers what is due.
    pub(super) async fn read(
        &self,
        clock: Timestamp,
        state: &mut State,
        jobs: &[Job],
    ) -> Result<Vec<(DisbursementId, Timestamp)>, Failed> {
        let keys = lacks(state, &first_keys(jobs));
        let peeked = self.source.peek(clock, self.shared.settings.lapse_limit, keys);
        let Opened { due, loaded, .. } = self.shared.metrics.timed(Stage::Load, peeked).await?;
        take(state, loaded);
        Ok(due)
    }

    /// A group after a head, with the lapses that are due, and whether there are more of them.
    pub(super) async fn begin(
        &self,
        mut state: State,
        head: &Head,
        due: Vec<(DisbursementId, Timestamp)>,
        clock: Timestamp,
    ) -> Result<(Draft<'k>, bool), Failed> {
        let (ledger, policy) = self.governing(&state, head.recorded_at)?;
        let recorded_at =
            group_time(clock, head.recorded_at, &policy, self.confirmed).map_err(Failed::Stop)?;
        // A snapshot may lack what the group before makes: of that, nothing may be overdue by more than the grace.
        let is_ahead = matches!(self.source, Source::Snapshots { .. });
        if is_ahead && recorded_at.since(head.recorded_at).is_some_and(|s| s > policy.lapse_grace_s.0) {
            return Err(Failed::Moved);
        }
        let limit = usize::try_from(self.shared.settings.lapse_limit).unwrap_or(usize::MAX);
        let has_more = due.len() >= limit;
        let due = if has_more { self.all_overdue(due, recorded_at, &policy).await? } else { due };
        let lapses = self.lapses(&mut state, ledger, due).await?;
        let mut draft = Draft::new(&self.shared.keys, state, head, recorded_at);
        draft.begin(ledger, self.epoch_token()?, None).map_err(not_built)?;
        let units = [Unit { items: &lapses, mode: Mode::Each }];
        for outcome in self.decide(&mut draft, &units).await?.into_iter().flatten() {
            if let Outcome::Refused { refusal, .. } = outcome {
                // The table and the entities disagree; both can be rebuilt from the log.
                tracing::error!(%refusal, "a lapse that is due was refused");
            }
        }
        Ok((draft, has_more))
    }

    /// Decides jobs, each as a unit.
    pub(super) async fn decide_jobs(
        &self,
        draft: &mut Draft<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Vec<Outcome>>, Failed> {
        let units: Vec<_> = jobs.iter().map(|job| Unit { items: &job.items, mode: job.mode }).collect();
        self.decide(draft, &units).await
    }

    /// The ledger's id and the policy at a time, where the ledger's keys are this service's.
    fn governing(&self, state: &State, at: Timestamp) -> Result<(Digest, Policy), Failed> {
        let charter = state.get::<CharterState>(&Key::Charter);
        let policy = state.get::<PolicyState>(&Key::Policy);
        let (Some(charter), Some(policy)) = (charter, policy) else {
            tracing::error!("the log has records, and there is no charter or no policy");
            return Err(Failed::Stop(Unavailable::Internal));
        };
        if !has_keys_of(&self.shared.keys, charter) {
            tracing::error!("the ledger has other keys or another origin than this service");
            return Err(Failed::Stop(Unavailable::Internal));
        }
        Ok((charter.ledger, policy.at(at).policy.clone()))
    }

    fn epoch_token(&self) -> Result<Token, Failed> {
        format!("{}/{}", self.epoch.system, self.epoch.timeline).parse().map_err(|error| {
            tracing::error!(%error, "the server's epoch is no token");
            Failed::Stop(Unavailable::Internal)
        })
    }

    /// The limit does not count for what is overdue by more than policy's grace: replay refutes a group without it.
    async fn all_overdue(
        &self,
        due: Vec<(DisbursementId, Timestamp)>,
        recorded_at: Timestamp,
        policy: &Policy,
    ) -> Result<Vec<(DisbursementId, Timestamp)>, Failed> {
        let grace_s = i64::try_from(policy.lapse_grace_s.0).unwrap_or(i64::MAX);
        let overdue = Timestamp::from_unix(recorded_at.unix().saturating_sub(grace_s));
        match (overdue, due.last()) {
            (Some(overdue), Some((_, last))) if *last < overdue => match self.source {
                Source::Locked(connection) => connection.all_due(overdue).await.map_err(failed),
                // They are many: not without the lock.
                Source::Snapshots { .. } => Err(Failed::Moved),
            },
            _ => Ok(due),
        }
    }

    /// The lapses of what is due, signed.
    async fn lapses(
        &self,
        state: &mut State,
        ledger: Digest,
        due: Vec<(DisbursementId, Timestamp)>,
    ) -> Result<Vec<Prepared>, Failed> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = due.iter().map(|(id, _)| Key::Disbursement(id.clone())).collect();
        let lacking = lacks(state, &keys);
        if !lacking.is_empty() {
            take(state, self.source.load(self.shared.now(), lacking).await?);
        }
        let mut lapses = Vec::with_capacity(due.len());
        for (key, (id, expired)) in keys.iter().zip(due) {
            // What is due may have been read before the last group was written.
            let disbursement = state.get::<DisbursementState>(key);
            let is_due = |one: &&DisbursementState| one.stage.can_lapse() && one.expires == expired;
            if let Some(disbursement) = disbursement.filter(is_due) {
                let lapse = Lapse { disbursement: id, expired, ledger, request: disbursement.request };
                let record =
                    Record::sign(Payload::Lapse(lapse), &self.shared.keys.record).map_err(not_built)?;
                lapses.push(Prepared::of(record, expired));
            }
        }
        Ok(lapses)
    }

    /// Decides every unit, loading what is missing.
    async fn decide(&self, draft: &mut Draft<'_>, units: &[Unit<'_>]) -> Result<Vec<Vec<Outcome>>, Failed> {
        let mut progress = Progress::default();
        let (mut place, mut loads) = (progress.place(), 0);
        loop {
            let missing = self.shared.metrics.time(Stage::Decide, || draft.advance(units, &mut progress));
            if missing.is_empty() {
                return Ok(progress.outcomes);
            }
            loads = if progress.place() == place { loads + 1 } else { 1 };
            place = progress.place();
            if loads > LOADS_MAX {
                tracing::error!(?missing, "a guard still lacks keys after every load");
                return Err(Failed::Stop(Unavailable::Internal));
            }
            let loaded = self.shared.metrics.timed(Stage::Load, self.source.load(self.shared.now(), missing));
            draft.load(loaded.await?);
        }
    }

    /// The first group of all is the founding record alone; nothing else is taken before it.
    async fn found(
        &self,
        state: State,
        head: &Head,
        clock: Timestamp,
        jobs: &[Job],
    ) -> Result<Opening, Failed> {
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let founding = match &job.items[..] {
                [item] => match item.record.payload() {
                    Payload::Founding(founding) => Some((item, founding)),
                    _ => None,
                },
                _ => None,
            };
            let Some((item, founding)) = founding else {
                let mut nothing = Draft::new(&self.shared.keys, state.clone(), head, clock);
                answers.extend(self.decide_jobs(&mut nothing, std::slice::from_ref(job)).await?);
                continue;
            };
            let digest = item.record.digest();
            let mut draft = Draft::new(&self.shared.keys, state.clone(), head, founding.issued_at);
            match draft.found(item, founding, clock) {
                Ok(position) => {
                    answers.push(vec![Outcome::Accepted { digest, position }]);
                    return Opening::decided(draft, head.clone(), answers, false);
                }
                Err(refusal) => answers.push(vec![Outcome::Refused { digest, refusal }]),
            }
        }
        Ok(Opening::Nothing(answers))
    }
}

impl Opening {
    fn decided(
        draft: Draft<'_>,
        before: Head,
        answers: Vec<Vec<Outcome>>,
        has_more: bool,
    ) -> Result<Opening, Failed> {
        let (rows, after, state) = draft.finish().map_err(not_built)?;
        let warm = (state.len() <= WARM_MAX).then(|| Warm { head: after.clone(), state });
        Ok(Opening::Decided(Box::new(Decided { rows, before, after, answers, has_more, warm })))
    }
}

/// Ends a group's decisions. A quiet log does not grow by groups without records, but for one a day.
pub(super) fn close(
    draft: Draft<'_>,
    before: Head,
    answers: Vec<Vec<Outcome>>,
    has_more: bool,
) -> Result<Opening, Failed> {
    if draft.is_worthless() {
        return Ok(Opening::Nothing(answers));
    }
    Opening::decided(draft, before, answers, has_more)
}

/// Writes a group and commits it: under the lock that its connection has, or taking it.
pub(super) async fn write(
    shared: &Shared,
    connection: &dyn Appender,
    decided: Decided,
    lock: Lock,
) -> Result<Appended, Failed> {
    let Decided { rows, before, after, answers, has_more, warm } = decided;
    let signatures = rows.signatures();
    // The publisher of this process is told without the database.
    let tell = !*shared.publishes.borrow();
    let written = connection.commit(rows, (&before, &after), lock, tell);
    match shared.metrics.timed(Stage::Commit, written).await {
        Ok(()) => {
            shared.metrics.committed(after.size);
            shared.grown.notify_one();
            Ok(Appended { answers, is_written: true, has_more, warm })
        }
        Err(CommitError::NotCommitted(error)) => Err(failed(error)),
        // Whoever holds the lock is not overtaken by another group.
        Err(CommitError::Moved) if lock == Lock::Held => Err(Failed::Lost),
        Err(CommitError::Moved) => Err(Failed::Moved),
        Err(CommitError::Unknown(error)) => {
            tracing::warn!(%error, first = before.size, "whether a group was committed is not known");
            Err(Failed::Doubt(Doubt { first: before.size, signatures, answers, lock }))
        }
    }
}

/// The keys that the jobs are known to need, and those of every group.
fn first_keys(jobs: &[Job]) -> Vec<Key> {
    let items = jobs.iter().flat_map(|job| &job.items);
    let of_all = [Key::Charter, Key::Policy];
    let keys = items.flat_map(|item| &item.keys).chain(&of_all);
    // Most of them many need: each is copied once.
    keys.collect::<HashSet<&Key>>().into_iter().cloned().collect()
}

/// Those of the keys of which a state knows nothing.
fn lacks(state: &State, keys: &[Key]) -> Vec<Key> {
    keys.iter().filter(|key| state.lookup(key) == Lookup::NotLoaded).cloned().collect()
}

fn take(state: &mut State, loaded: Loaded) {
    for (key, entity) in loaded {
        state.load(key, entity);
    }
}

fn not_built(error: BuildError) -> Failed {
    tracing::error!(%error, "the ledger's own record was not made");
    Failed::Stop(Unavailable::Internal)
}
