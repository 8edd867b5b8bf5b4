//! A group that is decided without the lock, on the state after the one that is being written or was written last.

use std::sync::atomic::AtomicU32;

use store::log::Head;
use store::register::Epoch;
use tracing::Instrument;

use super::attempt::{Attempt, Opening, Source, Warm, close};
use super::clock::Confirmed;
use super::draft::Draft;
use super::writer::Failed;
use super::writing::{Job, Observed};
use super::{Outcome, Shared};

/// The longest that a group may wait decided, in seconds: its time is the one at which it was begun.
const STALE_S: u64 = 2;

/// The group, which grows by what arrives meanwhile.
pub(super) struct Ahead<'k> {
    shared: &'k Shared,
    confirmed: Confirmed,
    /// The head before the group that is being written, or was written last, and the one after it.
    heads: [Head; 2],
    epoch: Epoch,
    draft: Draft<'k>,
    answers: Vec<Vec<Outcome>>,
    has_more: bool,
    jobs: Vec<Job>,
    observed: Observed,
    trips: AtomicU32,
}

impl<'k> Ahead<'k> {
    /// Begins a group on the state after the one that is being written, or was written last, with its first jobs; `before` is the
    /// head before that one, where a snapshot may still show it. Whatever fails, they are given back, to be decided under
    /// the lock.
    pub async fn begin(
        shared: &'k Shared,
        confirmed: Confirmed,
        (before, epoch): (Option<&Head>, &Epoch),
        warm: Warm,
        jobs: Vec<Job>,
    ) -> Result<Ahead<'k>, Vec<Job>> {
        let Warm { head, mut state } = warm;
        let (heads, trips) = ([before.unwrap_or(&head).clone(), head], AtomicU32::new(0));
        let attempt = attempt(shared, &heads, &trips, (epoch, confirmed));
        let begun = async {
            let clock = shared.now();
            let due = attempt.read(clock, &mut state, &jobs).await?;
            let (mut draft, has_more) = attempt.begin(state, &heads[1], due, clock).await?;
            let answers = attempt.decide_jobs(&mut draft, &jobs).await?;
            Ok::<_, Failed>((draft, has_more, answers))
        };
        let observed = Observed::begin(&jobs);
        match begun.instrument(observed.span.clone()).await {
            Ok((draft, has_more, answers)) => {
                let epoch = epoch.clone();
                Ok(Ahead { shared, confirmed, heads, epoch, draft, answers, has_more, jobs, observed, trips })
            }
            Err(_) => Err(jobs),
        }
    }

    /// Decides more jobs. Where that fails, all of the group's are given back.
    pub async fn extend(mut self, jobs: Vec<Job>) -> Result<Ahead<'k>, Vec<Job>> {
        let attempt = attempt(self.shared, &self.heads, &self.trips, (&self.epoch, self.confirmed));
        let draft = &mut self.draft;
        let decided = async {
            // What is due was asked for when the group was begun.
            let clock = self.shared.now();
            let _ = attempt.read(clock, draft.state(), &jobs).await?;
            let answers = attempt.decide_jobs(draft, &jobs).await?;
            // What is refused at the group's time might be accepted at that of its arrival.
            let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused { .. });
            let is_older = draft.recorded_at() < clock;
            if is_older && answers.iter().flatten().any(is_refused) {
                Err(Failed::Moved)
            } else {
                Ok(answers)
            }
        };
        self.observed.takes(&jobs);
        let decided = decided.instrument(self.observed.span.clone()).await;
        self.jobs.extend(jobs);
        match decided {
            Ok(answers) => {
                self.answers.extend(answers);
                Ok(self)
            }
            Err(_) => Err(self.jobs),
        }
    }

    /// How many instructions it has.
    pub fn instructions(&self) -> usize {
        self.jobs.iter().map(|job| job.items.len()).sum()
    }

    /// Ends it, now that the group before is written: its jobs, and what they come to. Where that is nothing, they have to be
    /// decided anew.
    pub fn close(self) -> (Vec<Job>, Option<Closed>) {
        let Ahead {
            shared, heads: [_, before], epoch, draft, answers, has_more, jobs, observed, trips, ..
        } = self;
        let age_s = shared.now().since(draft.recorded_at());
        let is_fresh = age_s.is_none_or(|age_s| age_s <= STALE_S);
        let opening = if is_fresh { close(draft, before, answers, has_more).ok() } else { None };
        (jobs, opening.map(|opening| Closed { opening, epoch, observed, trips: trips.into_inner() }))
    }
}

/// What a group comes to that was decided ahead.
pub(super) struct Closed {
    pub opening: Opening,
    /// On which server it holds.
    pub epoch: Epoch,
    pub observed: Observed,
    /// How many round trips it took.
    pub trips: u32,
}

fn attempt<'a, 'k>(
    shared: &'k Shared,
    heads: &'a [Head; 2],
    trips: &'a AtomicU32,
    (epoch, confirmed): (&'a Epoch, Confirmed),
) -> Attempt<'a, 'k>
where
    'k: 'a,
{
    let source = Source::Snapshots { storage: &*shared.storage, heads, trips };
    Attempt { shared, source, epoch, confirmed }
}
