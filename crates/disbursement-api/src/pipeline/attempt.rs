//! One attempt to append one group: a transaction from the head's lock to the commit.

use std::collections::HashSet;

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
use store::storage::Appender;
use store::writer::{CommitError, Opened};

use super::clock::{Confirmed, group_time};
use super::draft::{Draft, Progress, Unit, has_keys_of};
use super::incoming::Prepared;
use super::writer::{Doubt, Failed, Job, failed};
use super::{LOADS_MAX, Mode, Outcome, Shared, Unavailable};
use crate::metrics::Stage;

pub(super) mod reopen;

/// A quiet ledger commits a group a day, and more often where policy's gap is shorter.
const DAY_S: u64 = 86_400;

/// The most keys that are kept from one group to the next; above that, all are loaded anew.
const WARM_MAX: usize = 20_000;

/// What is known of the state after a group. It holds as long as nobody else has appended, which the head tells.
pub(super) struct Warm {
    head: Head,
    state: State,
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

/// One attempt.
pub(super) struct Attempt<'a> {
    pub shared: &'a Shared,
    pub connection: &'a dyn Appender,
    pub confirmed: Confirmed,
}

impl Attempt<'_> {
    /// Appends the jobs. After an error, the transaction is still open where the connection is.
    pub(super) async fn append(&self, jobs: &[Job], warm: Option<Warm>) -> Result<Appended, Failed> {
        let items = jobs.iter().flat_map(|job| &job.items);
        let first: HashSet<Key> =
            items.flat_map(|item| item.keys.iter().cloned()).chain([Key::Charter, Key::Policy]).collect();
        let first: Vec<Key> = first.into_iter().collect();
        let clock = self.shared.now();
        let limit = self.shared.settings.lapse_limit;
        let keys = warm.as_ref().map_or_else(|| first.clone(), |warm| warm.lacks(&first));
        let begun = self.connection.begin(clock, limit, keys);
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
            None => (State::partial(), self.connection.load(first).await.map_err(failed)?),
        };
        take(&mut state, loaded);
        if head.size == 0 {
            return self.found(state, &head, clock, jobs).await;
        }
        let (ledger, policy) = self.governing(&state, head.recorded_at)?;
        let recorded_at =
            group_time(clock, head.recorded_at, &policy, self.confirmed).map_err(Failed::Stop)?;
        let has_more = due.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let due = if has_more { self.all_overdue(due, recorded_at, &policy).await? } else { due };
        let lapses = self.lapses(&mut state, ledger, due).await?;
        let mut draft = Draft::new(&self.shared.keys, state, &head, recorded_at);
        draft.begin(ledger, self.epoch()?).map_err(not_built)?;
        let mut units = vec![Unit { items: &lapses, mode: Mode::Each }];
        units.extend(jobs.iter().map(|job| Unit { items: &job.items, mode: job.mode }));
        let mut outcomes = self.decide(&mut draft, &units).await?.into_iter();
        for outcome in outcomes.next().unwrap_or_default() {
            if let Outcome::Refused { refusal, .. } = outcome {
                // The table and the entities disagree; both can be rebuilt from the log.
                tracing::error!(%refusal, "a lapse that is due was refused");
            }
        }
        let answers = outcomes.collect();
        let quiet_s = recorded_at.since(head.recorded_at).unwrap_or(0);
        if draft.len() == 1 && quiet_s < DAY_S.min(policy.gap_s.0 / 2) {
            self.connection.roll_back().await.map_err(failed)?;
            return Ok(Appended { answers, is_written: false, has_more: false, warm: None });
        }
        self.commit(draft, &head, Appended { answers, is_written: true, has_more, warm: None }).await
    }

    /// The ledger's id and the policy at a time, where the charter names this service's keys.
    fn governing(&self, state: &State, at: Timestamp) -> Result<(Digest, Policy), Failed> {
        let charter = state.get::<CharterState>(&Key::Charter);
        let policy = state.get::<PolicyState>(&Key::Policy);
        let (Some(charter), Some(policy)) = (charter, policy) else {
            tracing::error!("the log has records, and there is no charter or no policy");
            return Err(Failed::Stop(Unavailable::Internal));
        };
        if !has_keys_of(&self.shared.keys, charter) {
            tracing::error!("the ledger was founded with other keys or another origin than this service has");
            return Err(Failed::Stop(Unavailable::Internal));
        }
        Ok((charter.ledger, policy.at(at).policy.clone()))
    }

    fn epoch(&self) -> Result<Token, Failed> {
        let epoch = self.connection.epoch();
        format!("{}/{}", epoch.system, epoch.timeline).parse().map_err(|error| {
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
            (Some(overdue), Some((_, last))) if *last < overdue => {
                self.connection.all_due(overdue).await.map_err(failed)
            }
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
        let keys: Vec<Key> = due.into_iter().map(|(id, _)| Key::Disbursement(id)).collect();
        let loaded = self.connection.load(keys).await.map_err(failed)?;
        let mut lapses = Vec::with_capacity(loaded.len());
        for (key, entity) in &loaded {
            state.load(key.clone(), entity.clone());
            if let (Key::Disbursement(id), Some(disbursement)) = (key, state.get::<DisbursementState>(key)) {
                let lapse = Lapse {
                    disbursement: id.clone(),
                    expired: disbursement.expires,
                    ledger,
                    request: disbursement.request,
                };
                let record =
                    Record::sign(Payload::Lapse(lapse), &self.shared.keys.record).map_err(not_built)?;
                lapses.push(Prepared::of(record, disbursement.expires));
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
            let loaded = self.shared.metrics.timed(Stage::Load, self.connection.load(missing));
            draft.load(loaded.await.map_err(failed)?);
        }
    }

    /// The first group of all is the founding record alone; nothing else is taken before it.
    async fn found(
        &self,
        state: State,
        head: &Head,
        clock: Timestamp,
        jobs: &[Job],
    ) -> Result<Appended, Failed> {
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let unit = Unit { items: &job.items, mode: job.mode };
            let founding = match &job.items[..] {
                [item] => match item.record.payload() {
                    Payload::Founding(founding) => Some((item, founding)),
                    _ => None,
                },
                _ => None,
            };
            let Some((item, founding)) = founding else {
                let mut nothing = Draft::new(&self.shared.keys, state.clone(), head, clock);
                answers.extend(self.decide(&mut nothing, &[unit]).await?);
                continue;
            };
            let digest = item.record.digest();
            let mut draft = Draft::new(&self.shared.keys, state.clone(), head, founding.issued_at);
            match draft.found(item, founding, clock) {
                Ok(position) => {
                    answers.push(vec![Outcome::Accepted { digest, position }]);
                    let appended = Appended { answers, is_written: true, has_more: false, warm: None };
                    return self.commit(draft, head, appended).await;
                }
                Err(refusal) => answers.push(vec![Outcome::Refused { digest, refusal }]),
            }
        }
        self.connection.roll_back().await.map_err(failed)?;
        Ok(Appended { answers, is_written: false, has_more: false, warm: None })
    }

    async fn commit(&self, draft: Draft<'_>, before: &Head, appended: Appended) -> Result<Appended, Failed> {
        let (rows, after, state) = draft.finish();
        let signatures = rows.signatures();
        // The publisher of this process is told without the database.
        let tell = !*self.shared.publishes.borrow();
        let commit = self.connection.commit(rows, before, &after, tell);
        match self.shared.metrics.timed(Stage::Commit, commit).await {
            Ok(()) => {
                self.shared.metrics.committed(after.size);
                let warm = (state.len() <= WARM_MAX).then_some(Warm { head: after, state });
                Ok(Appended { warm, ..appended })
            }
            Err(CommitError::NotCommitted(error)) => Err(failed(error)),
            Err(CommitError::Unknown(error)) => {
                tracing::warn!(%error, first = before.size, "whether a group was committed is not known");
                Err(Failed::Doubt(Doubt { first: before.size, signatures, answers: appended.answers }))
            }
        }
    }
}

impl Warm {
    /// Those of the keys of which nothing is known.
    fn lacks(&self, keys: &[Key]) -> Vec<Key> {
        keys.iter().filter(|key| self.state.lookup(key) == Lookup::NotLoaded).cloned().collect()
    }
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
