//! What requests ask of the database together: who is enrolled, and what agencies read.
//!
//! Under load a read waits for others that do the same, not the other way round: see [`crate::groups`]. So the cost of
//! a round trip, and of the commit by which agencies' reads are written down, is shared by all that came meanwhile.
//!
//! **Look-ups.** Keys and principals that several requests ask for are read once, after the last of them has come.
//!
//! **Agencies' reads.** A group is written down on the primary by one statement that is committed before anything of it is
//! answered, and behind that, in the same round trip, it is looked up who of the group is enrolled: whoever may not read is
//! told so, and nothing else. Whose last read was not allowed is looked up before, and not written down where it may not
//! read. Meanwhile each agency's answers are read on a connection and in a transaction of their own, which name that
//! agency: no statement ever sees the rows of two. Where the database is lost, all fail that were to be written down or read
//! with it. Where a statement fails otherwise, each of the reads that it was for is tried alone, so that one that cannot be
//! answered fails alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::Entity;
use records::governance::Role;
use store::queries::agency::{self, Asked, Told};
use store::queries::within;
use store::{Databases, Fault, StoreError};
use tokio::sync::Semaphore;

use crate::auth::{Enrolled, Signer, may};
use crate::groups::{Groups, NoAnswer};
use crate::limits::HttpLimits;
use crate::pipeline::{Pipeline, Unavailable};
use crate::problem::{INTERNAL, OVERLOADED, Problem, QUEUE_FULL};

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

    /// What is enrolled of a signer, as it is now.
    pub(crate) async fn enrolled(&self, signer: &Signer) -> Result<Enrolled, Problem> {
        match self.0.ask(signer.keys()).await {
            Ok(found) => Ok(Enrolled::of(signer, &*found?)),
            Err(NoAnswer::Full) => Err(OVERLOADED.into()),
            Err(NoAnswer::Failed) => Err(INTERNAL.into()),
        }
    }
}

/// A read of an agency's.
pub(crate) struct Read {
    /// Who signed it: whether it may read is looked up with what it asks for.
    pub(crate) signer: Signer,
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
    /// Whose last read was allowed: as many as there are agencies with their keys.
    allowed: Mutex<HashSet<Signer>>,
}

impl Reads {
    /// Must be called within a tokio runtime.
    pub(crate) fn start(pipeline: Pipeline, databases: Databases, limits: &HttpLimits) -> Reads {
        // Nobody waits any longer.
        let limit = limits.answer_timeout;
        let answer = move |group: Vec<Read>| {
            pipeline.metrics().agency_reads(group.len());
            answer_group(databases.clone(), limit, pipeline.now(), group)
        };
        let groups = Groups::start(limits.agency_reads, limits.group_reads, answer);
        Reads { groups, room: Semaphore::new(limits.agency_reads), allowed: Mutex::default() }
    }

    /// Whether a signer's last read was allowed, so that its next one may be written down before it is looked up again.
    pub(crate) fn allowed(&self, signer: &Signer) -> bool {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).contains(signer)
    }

    /// Writes a read down, for good, and answers it, if its signer may read.
    pub(crate) async fn read(&self, read: Read) -> Result<Answer, Problem> {
        let _place = self.room.try_acquire().map_err(|_| QUEUE_FULL)?;
        let signer = read.signer.clone();
        let answer = match self.groups.ask(read).await {
            Ok(answer) => answer,
            Err(NoAnswer::Full) => Err(QUEUE_FULL.into()),
            Err(NoAnswer::Failed) => Err(INTERNAL.into()),
        };
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.is_err() {
            allowed.remove(&signer);
        } else if !allowed.contains(&signer) {
            allowed.insert(signer);
        }
        answer
    }
}

async fn answer_group(
    databases: Databases,
    limit: Duration,
    now: Timestamp,
    group: Vec<Read>,
) -> Vec<Result<Answer, Problem>> {
    let mut of_agency: BTreeMap<&PrincipalId, Vec<usize>> = BTreeMap::new();
    for (index, read) in group.iter().enumerate() {
        of_agency.entry(&read.signer.principal).or_default().push(index);
    }
    let tell_all = join_all(of_agency.into_iter().map(async |(agency, places)| {
        let asked: Vec<&Asked> = places.iter().map(|place| &group[*place].asked).collect();
        places.into_iter().zip(tell(&databases, limit, agency, &asked).await).collect::<Vec<_>>()
    }));
    // While the commit waits for the disk, what is told is read: it leaves here only if the commit holds.
    let (recorded, told) = tokio::join!(record(&databases, limit, &group), tell_all);
    let (latest, enrolled) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => return vec![Err(error.into()); group.len()],
    };
    let mut answers: Vec<(usize, Result<Answer, Problem>)> = Vec::with_capacity(group.len());
    for (place, told) in told.into_iter().flatten() {
        let signer = &group[place].signer;
        let may = may(&Enrolled::of(signer, &enrolled), now, &[Role::Agency], false);
        let answer = may.and(told).map(|(as_of, told)| Answer { told, as_of, latest });
        answers.push((place, answer));
    }
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Writes the reads of a group down, without which there is no answer. Answers the time of the ledger's last group, and what is
/// enrolled of those who signed.
async fn record(
    databases: &Databases,
    limit: Duration,
    group: &[Read],
) -> Result<(Timestamp, HashMap<Key, Entity>), StoreError> {
    let signers: HashSet<&Signer> = group.iter().map(|read| &read.signer).collect();
    let keys = signers.into_iter().flat_map(Signer::keys).collect();
    let client = databases.agency_log().await?;
    within(client, limit, async |client| {
        let reads = group.iter().map(|read| (&read.signer.principal, &read.asked));
        agency::record(client, reads, keys).await
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
