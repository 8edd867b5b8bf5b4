//! The connection that appends groups, and the whole of its SQL.
//!
//! A group is one transaction of two round trips, and one more for each further load that its records need:
//!
//! 1. [`Writer::begin`]: `BEGIN`, the lock on the head row, what has to lapse, and the first load, sent together. The
//!    statements run in this order, and each sees what was committed when it began, so all that is read after the
//!    lock is the state that the group will follow.
//! 2. [`Writer::load`], where the rules ask for more.
//! 3. [`Writer::commit`]: every write and `COMMIT`, sent together.
//!
//! Where the head is known already, and with it what the rules need ([`peek`](crate::load::peek)), it is one round trip:
//! the commit then takes the lock as well, if the head is still that one ([`Lock::Taken`]).
//!
//! It cannot deadlock: the head row is the first lock that any writer takes, and it is kept until the end, so that no two
//! writers ever hold anything else at the same time.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::Key;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::append;
use crate::error::StoreError;
use crate::load::{DUE, Loaded, Loader, due_of};
use crate::log::{HEAD, Head, head_of, signed};
use crate::register::Epoch;
use crate::rows::Rows;
use crate::session::Session;

// Each statement after the lock has to see what was committed while it was waited for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const FOLLOW: &str = "SELECT follow_head($1, $2)";

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
    follow: Statement,
    due: Statement,
    writes: HashMap<&'static str, Statement>,
    /// Since the last group began.
    round_trips: AtomicU32,
}

impl Writer {
    pub(crate) async fn prepare(session: Session) -> Result<Writer, StoreError> {
        let client = session.client();
        let lock = client.prepare(&format!("{HEAD} FOR UPDATE")).await?;
        let follow = client.prepare(FOLLOW).await?;
        let due = client.prepare(DUE).await?;
        let mut writes = HashMap::new();
        for sql in append::ALL {
            writes.insert(sql, client.prepare(sql).await?);
        }
        let loader = Loader::prepare(client).await?;
        Ok(Writer { session, loader, lock, follow, due, writes, round_trips: AtomicU32::new(0) })
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
        let due_parameters: [&(dyn ToSql + Sync); 2] = [&now.unix(), &i64::from(due_limit)];
        let asked = async {
            Ok(tokio::join!(
                biased;
                client.batch_execute(BEGIN),
                client.query_one(&self.lock, &[]),
                client.query(&self.due, &due_parameters),
                self.loader.load(client, keys),
            ))
        };
        let (begun, head, due, loaded) = self.session.within_limit(asked).await?;
        begun?;
        let head = head_of(&head?)?;
        let due = due?.iter().map(due_of).collect::<Result<_, _>>()?;
        Ok(Opened { head, due, loaded: loaded? })
    }

    /// Every disbursement that ran out before a time.
    pub async fn all_due(&self, before: Timestamp) -> Result<Vec<(DisbursementId, Timestamp)>, StoreError> {
        const SQL: &str = "SELECT disbursement, expires FROM disbursements WHERE can_lapse AND expires < $1 \
                           ORDER BY expires, disbursement";
        self.waits();
        let rows = self.client().query(SQL, &[&before.unix()]).await?;
        rows.iter().map(due_of).collect()
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
            client.query_one(&self.lock, &[]).await?;
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
        let statements = append::statements(rows, before, after, tell).map_err(CommitError::NotCommitted)?;
        let (size, root) = (signed(before.size), before.root.as_bytes().to_vec());
        let mut writes = Vec::with_capacity(statements.len() + 2);
        match lock {
            Lock::Held => self.waits(),
            Lock::Taken => {
                self.round_trips.store(1, Ordering::Relaxed);
                writes.push(Sent::now(async { Ok(client.batch_execute(BEGIN).await?) }).await);
                let follow = async {
                    client.query(&self.follow, &[&size, &root]).await?;
                    Ok(())
                };
                writes.push(Sent::now(follow).await);
            }
        }
        for statement in &statements {
            let write = self.write(statement).map_err(CommitError::NotCommitted)?;
            writes.push(Sent::now(write).await);
        }
        // A failed statement makes COMMIT a rollback, but only if it reached the server.
        if let Some(error) = writes.iter_mut().find_map(Sent::failure) {
            let rolled_back = self.roll_back().await;
            tracing::error!(?rolled_back, "a statement of a group could not be sent");
            return Err(CommitError::NotCommitted(error));
        }
        let commit = Sent::now(async { Ok(client.batch_execute("COMMIT").await?) }).await;
        let done = async {
            let mut written = Ok(());
            for write in writes {
                let result = write.result().await;
                written = written.and(result);
            }
            let committed = commit.result().await;
            Ok((written, committed))
        };
        match self.session.within_limit(self.session.committed(done)).await {
            Ok((Ok(()), Ok(()))) => Ok(()),
            Ok((Err(error), _)) if error.has_moved() => Err(CommitError::Moved),
            Ok((Err(error), _)) if error.is_answer() => Err(CommitError::NotCommitted(error)),
            Ok((Err(error), _) | (Ok(()), Err(error))) | Err(error) => Err(CommitError::Unknown(error)),
        }
    }

    fn write<'a>(
        &'a self,
        statement: &'a append::Statement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + 'a, StoreError> {
        // Every statement was prepared when the connection was made.
        let prepared = self.writes.get(statement.sql).ok_or(StoreError::NotPrepared)?;
        Ok(async move {
            let columns: Vec<&(dyn ToSql + Sync)> =
                statement.columns.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect();
            self.client().execute(prepared, &columns).await?;
            Ok(())
        })
    }
}

/// A statement that was sent: its future was polled once.
enum Sent<'a> {
    Waiting(Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>),
    Done(Result<(), StoreError>),
}

impl<'a> Sent<'a> {
    /// Polls a statement once, which sends it, and does not wait for its result.
    async fn now(statement: impl Future<Output = Result<(), StoreError>> + Send + 'a) -> Sent<'a> {
        let mut statement: Pin<Box<dyn Future<Output = _> + Send + 'a>> = Box::pin(statement);
        let polled = poll_fn(|context| Poll::Ready(statement.as_mut().poll(context))).await;
        match polled {
            Poll::Ready(result) => Sent::Done(result),
            Poll::Pending => Sent::Waiting(statement),
        }
    }

    /// The failure of one that has failed already.
    fn failure(&mut self) -> Option<StoreError> {
        match self {
            Sent::Done(result) => std::mem::replace(result, Ok(())).err(),
            Sent::Waiting(_) => None,
        }
    }

    async fn result(self) -> Result<(), StoreError> {
        match self {
            Sent::Done(result) => result,
            Sent::Waiting(statement) => statement.await,
        }
    }
}
