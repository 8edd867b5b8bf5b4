//! What requests ask of the database together: who is enrolled, and what agencies read.
//!
//! Under load a read waits for others that do the same, not the other way round: see [`crate::groups`]. So the cost of
//! a round trip, and of the commit by which agencies' reads are written down, is shared by all that came meanwhile.
//!
//! **Look-ups.** Keys and principals that several requests ask for are read once, after the last of them has come.
//!
//! **Agencies' reads.** A group is written down on the primary by one statement that is committed before anything of it is
//! answered. Meanwhile each agency's answers are read on a connection and in a transaction of their own, which name that agency:
//! no statement ever sees the rows of two. Where the database is lost, all fail that were to be written down or read with
//! it. Where a statement fails otherwise, each of the reads that it was for is tried alone, so that one that cannot be
//! answered fails alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{Entity, KeyState, PrincipalState, Stored};
use signing::keys::KeyId;
use store::queries::agency::{self, Asked, Told};
use store::queries::within;
use store::{Databases, Fault, StoreError};
use tokio::sync::Semaphore;

use crate::groups::{Groups, NoAnswer};
use crate::limits::HttpLimits;
use crate::pipeline::{Pipeline, Unavailable};
use crate::problem::{INTERNAL, OVERLOADED, Problem, QUEUE_FULL};

/// What is enrolled.
pub(crate) struct Enrolled {
    pub(crate) key: Option<KeyState>,
    pub(crate) principal: Option<PrincipalState>,
}

type Found = Result<Arc<HashMap<Key, Entity>>, Unavailable>;

/// Looks up who is enrolled.
pub(crate) struct LookUps(Groups<[Key; 2], Found>);

impl LookUps {
    /// Must be called within a tokio runtime.
    pub(crate) fn start(pipeline: Pipeline, limits: &HttpLimits) -> LookUps {
        // Nobody waits any longer.
        let limit = limits.answer_timeout;
        let look_up = move |asked: Vec<[Key; 2]>| {
            let pipeline = pipeline.clone();
            async move {
                let keys: HashSet<&Key> = asked.iter().flatten().collect();
                let look_up = pipeline.entities(keys.into_iter().cloned().collect());
                let found = tokio::time::timeout(limit, look_up).await;
                vec![found.unwrap_or(Err(Unavailable::Database)).map(Arc::new); asked.len()]
            }
        };
        LookUps(Groups::start(limits.requests, limits.group_reads, look_up))
    }

    /// What is enrolled under a key and under a principal's name, as it is now.
    pub(crate) async fn enrolled(&self, key: KeyId, principal: &PrincipalId) -> Result<Enrolled, Problem> {
        let keys = [Key::PublicKey(key), Key::Principal(principal.clone())];
        let found = match self.0.ask(keys.clone()).await {
            Ok(found) => found?,
            Err(NoAnswer::Full) => return Err(OVERLOADED.into()),
            Err(NoAnswer::Failed) => return Err(INTERNAL.into()),
        };
        let [key, principal] = keys.each_ref().map(|key| found.get(key));
        Ok(Enrolled {
            key: key.and_then(KeyState::of).cloned(),
            principal: principal.and_then(PrincipalState::of).cloned(),
        })
    }
}

/// A read of an agency's.
pub(crate) struct Read {
    pub(crate) agency: PrincipalId,
    pub(crate) asked: Asked,
}

/// What it is told.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) told: Told,
    /// When the state was recorded that the answer is made of.
    pub(crate) as_of: Timestamp,
    /// When the ledger's last group was recorded, as the read was written down.
    pub(crate) latest: Timestamp,
}

/// Writes down what agencies read, and answers it.
pub(crate) struct Reads {
    groups: Groups<Read, Result<Answer, Problem>>,
    /// For those that wait or are being answered.
    room: Semaphore,
}

impl Reads {
    /// Must be called within a tokio runtime.
    pub(crate) fn start(pipeline: Pipeline, databases: Databases, limits: &HttpLimits) -> Reads {
        // Nobody waits any longer.
        let limit = limits.answer_timeout;
        let answer = move |group: Vec<Read>| {
            pipeline.metrics().agency_reads(group.len());
            answer_group(databases.clone(), limit, group)
        };
        let groups = Groups::start(limits.agency_reads, limits.group_reads, answer);
        Reads { groups, room: Semaphore::new(limits.agency_reads) }
    }

    /// Writes a read down, for good, and answers it.
    pub(crate) async fn read(&self, read: Read) -> Result<Answer, Problem> {
        let _place = self.room.try_acquire().map_err(|_| QUEUE_FULL)?;
        match self.groups.ask(read).await {
            Ok(answer) => answer,
            Err(NoAnswer::Full) => Err(QUEUE_FULL.into()),
            Err(NoAnswer::Failed) => Err(INTERNAL.into()),
        }
    }
}

async fn answer_group(
    databases: Databases,
    limit: Duration,
    group: Vec<Read>,
) -> Vec<Result<Answer, Problem>> {
    let mut of_agency: BTreeMap<&PrincipalId, Vec<usize>> = BTreeMap::new();
    for (index, read) in group.iter().enumerate() {
        of_agency.entry(&read.agency).or_default().push(index);
    }
    let tell_all = join_all(of_agency.into_iter().map(async |(agency, places)| {
        let asked: Vec<&Asked> = places.iter().map(|place| &group[*place].asked).collect();
        places.into_iter().zip(tell(&databases, limit, agency, &asked).await).collect::<Vec<_>>()
    }));
    // While the commit waits for the disk, what is told is read: it leaves here only if the commit holds.
    let (recorded, told) = tokio::join!(record(&databases, limit, &group), tell_all);
    let latest = match recorded {
        Ok(latest) => latest,
        Err(error) => return vec![Err(error.into()); group.len()],
    };
    let mut answers: Vec<(usize, Result<Answer, Problem>)> = Vec::with_capacity(group.len());
    for (place, told) in told.into_iter().flatten() {
        answers.push((place, told.map(|(as_of, told)| Answer { told, as_of, latest })));
    }
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Writes the reads of a group down; without that there is no answer.
async fn record(databases: &Databases, limit: Duration, group: &[Read]) -> Result<Timestamp, StoreError> {
    let client = databases.agency_log().await?;
    within(client, limit, async |client| {
        agency::record(client, group.iter().map(|read| (&read.agency, &read.asked))).await
    })
    .await
}

type Dated = (Timestamp, Told);

/// What one agency is told, in order.
async fn tell(
    databases: &Databases,
    limit: Duration,
    agency: &PrincipalId,
    asked: &[&Asked],
) -> Vec<Result<Dated, Problem>> {
    let failed = match read(databases, limit, agency, asked).await {
        Ok(told) => return told,
        Err(error) => error,
    };
    let is_of_all = asked.len() == 1 || matches!(failed.fault(), Fault::Lost | Fault::Standby);
    let problem = Problem::from(failed);
    if is_of_all {
        return vec![Err(problem); asked.len()];
    }
    let mut told = Vec::with_capacity(asked.len());
    for one in asked {
        match read(databases, limit, agency, &[*one]).await {
            Ok(answer) => told.extend(answer),
            Err(error) => told.push(Err(error.into())),
        }
    }
    told
}

async fn read(
    databases: &Databases,
    limit: Duration,
    agency: &PrincipalId,
    asked: &[&Asked],
) -> Result<Vec<Result<Dated, Problem>>, StoreError> {
    let client = databases.agency().await?;
    let (as_of, told) =
        within(client, limit, async |client| agency::read(client, agency, asked).await).await?;
    Ok(told.into_iter().map(|told| Ok((as_of, told?))).collect())
}
