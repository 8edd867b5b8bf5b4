//! One attempt to append one group: a transaction from the head's lock to the commit.

use std::collections::HashSet;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::entity::{CharterState, DisbursementState, PolicyState};
use programme::{Key, State};
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

/// A quiet ledger commits a group a day, and more often where policy's gap is shorter.
const DAY_S: u64 = 86_400;

/// What an attempt came to.
pub(super) struct Appended {
    /// The outcomes of the first jobs: of all, except where a founding record had to stand alone.
    pub answers: Vec<Vec<Outcome>>,
    /// Whether anything was written.
    pub is_written: bool,
    /// Whether more has to lapse.
    pub has_more: bool,
}

/// One attempt.
pub(super) struct Attempt<'a> {
    pub shared: &'a Shared,
    pub connection: &'a dyn Appender,
    pub confirmed: Confirmed,
}

impl Attempt<'_> {
    /// Appends the jobs. After an error, the transaction is still open where the connection is.
    pub(super) async fn append(&self, jobs: &[Job]) -> Result<Appended, Failed> {
        let items = jobs.iter().flat_map(|job| &job.items);
        let keys: HashSet<Key> =
            items.flat_map(|item| item.keys.iter().cloned()).chain([Key::Charter, Key::Policy]).collect();
        let clock = self.shared.now();
        let limit = self.shared.settings.lapse_limit;
        let opened = self.connection.begin(clock, limit, keys.into_iter().collect()).await.map_err(failed)?;
        let Opened { head, due, loaded } = opened;
        if head.forked {
            return Err(Failed::Stop(Unavailable::LogForked));
        }
        let mut state = State::partial();
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
            return Ok(Appended { answers, is_written: false, has_more: false });
        }
        self.commit(draft, &head, Appended { answers, is_written: true, has_more }).await
    }

    /// The ledger's id and the policy at a time, where the charter names this service's keys.
    fn governing(&self, state: &State, at: Timestamp) -> Result<(Digest, Policy), Failed> {
        let charter = state.get::<CharterState>(&Key::Charter);
        let policy = state.get::<PolicyState>(&Key::Policy);
        let (Some(charter), Some(policy)) = (charter, policy) else {
            tracing::error!("the log has records, and there is no charter or no policy");
            return Err(Failed::Stop(Unavailable::Internal));
        };
        if !has_keys_of(&self.shared.keys, &charter.charter) {
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
            let missing = draft.advance(units, &mut progress);
            if missing.is_empty() {
                return Ok(progress.outcomes);
            }
            loads = if progress.place() == place { loads + 1 } else { 1 };
            place = progress.place();
            if loads > LOADS_MAX {
                tracing::error!(?missing, "a guard still lacks keys after every load");
                return Err(Failed::Stop(Unavailable::Internal));
            }
            let loaded = self.connection.load(missing).await.map_err(failed)?;
            draft.load(loaded, &mut progress);
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
                    let appended = Appended { answers, is_written: true, has_more: false };
                    return self.commit(draft, head, appended).await;
                }
                Err(refusal) => answers.push(vec![Outcome::Refused { digest, refusal }]),
            }
        }
        self.connection.roll_back().await.map_err(failed)?;
        Ok(Appended { answers, is_written: false, has_more: false })
    }

    async fn commit(&self, draft: Draft<'_>, before: &Head, appended: Appended) -> Result<Appended, Failed> {
        let (rows, after) = draft.finish();
        let signatures = rows.signatures();
        // The publisher of this process is told without the database.
        let tell = !*self.shared.publishes.borrow();
        match self.connection.commit(rows, before, &after, tell).await {
            Ok(()) => Ok(appended),
            Err(CommitError::NotCommitted(error)) => Err(failed(error)),
            Err(CommitError::Unknown(error)) => {
                tracing::warn!(%error, first = before.size, "whether a group was committed is not known");
                Err(Failed::Doubt(Doubt { first: before.size, signatures, answers: appended.answers }))
            }
        }
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
