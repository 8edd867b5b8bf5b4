//! The connection that appends groups, and the whole of its SQL.
//!
//! A group is one transaction of two round trips, and one more for each further load that its records need:
//!
//! 1. [`Writer::begin`]: `BEGIN`, the lock on the head row, and then what has to lapse and the first load, sent together. The
//!    statements run in this order, and each sees what was committed when it began, so all that is read after the
//!    lock is the state that the group will follow.
//! 2. [`Writer::load`], where the rules ask for more.
//! 3. [`Writer::commit`]: the one statement that writes everything, and `COMMIT`, sent together.
//!
//! Where the head is known already, and with it what the rules need ([`peek`](crate::load::peek)), it is one message:
//! that statement takes the lock itself, if the head is still that one, and commits by itself ([`Lock::Taken`]).
//!
//! It cannot deadlock: the head row is the first lock that any writer takes, and it is kept until the end, so that no two
//! writers ever hold anything else at the same time.

use std::sync::atomic::{AtomicU32, Ordering};

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::Key;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::append;
use crate::error::StoreError;
use crate::load::{Loaded, Loader, due_of};
use crate::log::{Head, signed};
use crate::register::Epoch;
use crate::rows::Rows;
use crate::session::Session;

// Each statement after the lock has to see what was committed while it was waited for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const LOCK: &str = "SELECT FROM head FOR UPDATE";

/// What a group begins with.
#[derive(Debug)]
pub struct Opened {
    /// The head, which nobody else can change where it was locked.
    pub head: Head,
    /// Disbursements that ran out, the longest overdue first, and when.
    pub due: Vec<(DisbursementId, Timestamp)>,
    /// What was asked for.
    pub loaded: Loaded,
}

/// How a group comes to the head's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// [`Writer::begin`] took it.
    Held,
    /// It is taken with the group, if the log still ends with the head that the group follows.
    Taken,
}

/// Why a group was not, or perhaps not, committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It was not.
    #[error("the group was not committed")]
    NotCommitted(#[source] StoreError),
    /// It was not, since the log has another head by now.
    #[error("the log has another head by now")]
    Moved,
    /// The connection failed while it was being committed, or the wait for a standby was cancelled: only the head, read
    /// again, tells.
    #[error("whether the group was committed is not known")]
    Unknown(#[source] StoreError),
}

/// A connection that appends groups, one after another.
#[derive(Debug)]
pub struct Writer {
    session: Session,
    loader: Loader,
    lock: Statement,
    append: Statement,
    /// Since the last group began.
    round_trips: AtomicU32,
}

impl Writer {
    pub(crate) async fn prepare(session: Session) -> Result<Writer, StoreError> {
        let client = session.client();
        let lock = client.prepare(LOCK).await?;
        let append = client.prepare(&append::sql()).await?;
        let loader = Loader::prepare(client).await?;
        Ok(Writer { session, loader, lock, append, round_trips: AtomicU32::new(0) })
    }

    /// Which server it writes to.
    pub fn epoch(&self) -> &Epoch {
        self.session.epoch()
    }

    /// How often the server was waited for since the last group began.
    pub fn round_trips(&self) -> u32 {
        self.round_trips.load(Ordering::Relaxed)
    }

    fn waits(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// The connection, outside a transaction.
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Begins a group: one round trip. What ran out before the later of `now` and the last group is due; `due_limit` at
    /// most is answered.
    pub async fn begin(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Result<Opened, StoreError> {
        let client = self.client();
        self.round_trips.store(1, Ordering::Relaxed);
        let asked = async {
            Ok(tokio::join!(
                biased;
                client.batch_execute(BEGIN),
                client.query(&self.lock, &[]),
                self.loader.open(client, now, due_limit, keys),
            ))
        };
        let (begun, locked, opened) = self.session.within_limit(asked).await?;
        begun?;
        locked?;
        opened
    }

    /// Every disbursement that ran out before a time.
    pub async fn all_due(&self, before: Timestamp) -> Result<Vec<(DisbursementId, Timestamp)>, StoreError> {
        const SQL: &str = "SELECT disbursement, expires FROM disbursements WHERE can_lapse AND expires < $1 \
                           ORDER BY expires";
        self.waits();
        let rows = self.client().query(SQL, &[&before.unix()]).await?;
        rows.iter().map(|row| due_of(row.try_get(0)?, row.try_get(1)?)).collect()
    }

    /// Loads further keys: one round trip.
    pub async fn load(&self, keys: Vec<Key>) -> Result<Loaded, StoreError> {
        self.waits();
        self.session.within_limit(self.loader.load(self.client(), keys)).await
    }

    /// Ends a group without a trace.
    pub async fn roll_back(&self) -> Result<(), StoreError> {
        self.waits();
        self.session.within_limit(async { Ok(self.client().batch_execute("ROLLBACK").await?) }).await
    }

    /// Whether the records from a position on have these signatures, all of them, and a standby has them too where the server
    /// waits for one: another process's group at the same place and in the same second begins with the very same record. Waits
    /// for any other writer first, and so for the server to be done with a group whose connection was lost.
    pub async fn is_logged(&self, position: u64, signatures: &[Vec<u8>]) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT signature FROM records WHERE position >= $1 ORDER BY position LIMIT $2";
        let client = self.client();
        let asked = async {
            client.batch_execute(BEGIN).await?;
            client.query(&self.lock, &[]).await?;
            let rows = client.query(SQL, &[&signed(position), &signed(signatures.len() as u64)]).await?;
            client.batch_execute("ROLLBACK").await?;
            Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Vec<u8>>, _>>()?)
        };
        let is_logged = self.session.within_limit(asked).await? == signatures;
        if is_logged {
            self.session.within_limit(self.session.replicated()).await?;
        }
        Ok(is_logged)
    }

    /// Writes a group and commits it: one round trip. `before` is the head that it follows; with `tell`, other processes
    /// are notified of the new one. With [`Lock::Taken`] it is all of the group, and [`CommitError::Moved`] where the log has
    /// another head by then.
    pub async fn commit(
        &self,
        rows: Rows,
        (before, after): (&Head, &Head),
        lock: Lock,
        tell: bool,
    ) -> Result<(), CommitError> {
        let client = self.client();
        let parameters = match append::parameters(rows, before, after, tell) {
            Ok(parameters) => parameters,
            Err(error) => {
                if lock == Lock::Held {
                    let rolled_back = self.roll_back().await;
                    tracing::error!(?rolled_back, "a group could not be packed");
                }
                return Err(CommitError::NotCommitted(error));
            }
        };
        let parameters: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect();
        let append =
            async { Ok::<_, StoreError>(client.execute(&self.append, &parameters).await.map(drop)?) };
        let done = async {
            match lock {
                Lock::Held => {
                    self.waits();
                    // A statement that fails makes COMMIT a rollback.
                    let (appended, committed) = tokio::join!(biased; append, client.batch_execute("COMMIT"));
                    Ok((appended, committed.map_err(StoreError::from)))
                }
                Lock::Taken => {
                    self.round_trips.store(1, Ordering::Relaxed);
                    Ok((append.await, Ok(())))
                }
            }
        };
        match self.session.within_limit(self.session.committed(done)).await {
            Ok((Ok(()), Ok(()))) => Ok(()),
            Ok((Err(error), _)) if error.has_moved() => Err(CommitError::Moved),
            Ok((Err(error), _)) if error.is_of_statement() => Err(CommitError::NotCommitted(error)),
            Ok((Err(error), _) | (Ok(()), Err(error))) | Err(error) => Err(CommitError::Unknown(error)),
        }
    }
}
