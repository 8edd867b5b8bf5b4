//! What the pipeline's writer and the publisher need of the world outside: a database and a register. Everything of theirs
//! that could fail goes through here, so that a simulation can take its place.
//!
//! [`Stored`] is the real one. Nothing is decided here.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::Key;
use records::Record;
use signing::digest::Digest;
use tokio::sync::Notify;

use crate::error::StoreError;
use crate::follower;
use crate::load::{self, Loaded, Loader};
use crate::log::{self, Head, Leaf, SignedHead, StoredTile};
use crate::pool::Databases;
use crate::register::{Epoch, Register, RegisterError, RegisterFile, RegisterState};
use crate::rows::Rows;
use crate::session::Session;
use crate::writer::{CommitError, Lock, Opened, Writer};

/// What is answered later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// What the database answers.
pub type Answer<'a, T> = Later<'a, Result<T, StoreError>>;

/// A database and a register.
pub trait Storage: Send + Sync {
    /// Loads keys outside a transaction.
    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded>;
    /// [`peek`](load::peek).
    fn peek(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened>;
    /// A new connection for the task that appends groups.
    fn appender(&self) -> Answer<'_, Box<dyn Appender>>;
    /// A new connection for the publisher, which hears of new heads.
    fn follower(&self) -> Answer<'_, Box<dyn Follower>>;
    /// What the register holds, whoever holds it: `None` if there is none.
    fn register(&self) -> Result<Option<RegisterState>, RegisterError>;
    /// Takes the register's lock.
    fn hold_register(&self) -> Result<Box<dyn Held>, RegisterError>;
}

/// A connection that reads the log.
pub trait Reader: Send + Sync {
    /// Which server it leads to.
    fn epoch(&self) -> &Epoch;
    /// Whether it has ended.
    fn is_closed(&self) -> bool;
    /// The head as it was committed last.
    fn head(&self) -> Answer<'_, Head>;
    /// The latest checkpoint that was stored.
    fn latest_checkpoint(&self) -> Answer<'_, Option<SignedHead>>;
}

/// A connection that appends groups: see [`Writer`].
pub trait Appender: Reader {
    /// [`Writer::begin`].
    fn begin(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened>;
    /// [`Writer::all_due`].
    fn all_due(&self, before: Timestamp) -> Answer<'_, Vec<(DisbursementId, Timestamp)>>;
    /// [`Writer::load`].
    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded>;
    /// [`Writer::roll_back`].
    fn roll_back(&self) -> Answer<'_, ()>;
    /// [`Writer::is_logged`].
    fn is_logged<'a>(&'a self, position: u64, signatures: &'a [Vec<u8>]) -> Answer<'a, bool>;
    /// [`Writer::round_trips`].
    fn round_trips(&self) -> u32;
    /// [`Writer::commit`].
    fn commit<'a>(
        &'a self,
        rows: Rows,
        heads: (&'a Head, &'a Head),
        lock: Lock,
        tell: bool,
    ) -> Later<'a, Result<(), CommitError>>;
}

/// The publisher's connection.
pub trait Follower: Reader {
    /// Notified when there is news, or the connection has ended.
    fn heard(&self) -> Arc<Notify>;
    /// The record at a position.
    fn record(&self, position: u64) -> Answer<'_, Option<Record>>;
    /// [`head_and_leaves`](follower::Follower::head_and_leaves).
    fn head_and_leaves(&self, from: u64, limit: u32, published: u64) -> Answer<'_, (Head, Vec<Leaf>)>;
    /// The leaves of a range of positions, `limit` at most.
    fn leaves(&self, from: u64, to: u64, limit: u32) -> Answer<'_, Vec<Leaf>>;
    /// Stores complete tiles.
    fn store_tiles<'a>(&'a self, tiles: &'a [StoredTile]) -> Answer<'a, ()>;
    /// The roots of complete tiles of one level.
    fn tile_roots(&self, level: u8, from: u64, to: u64) -> Answer<'_, Vec<Digest>>;
    /// Stores a checkpoint.
    fn store_checkpoint<'a>(&'a self, head: &'a SignedHead) -> Answer<'a, ()>;
    /// Records that the log does not extend what was published.
    fn mark_forked(&self) -> Answer<'_, ()>;
}

/// The register, held: nobody else writes it.
pub trait Held: Send {
    /// What it holds.
    fn read(&self) -> Result<Option<RegisterState>, RegisterError>;
    /// Replaces what it holds: see [`Register::write`]. Where its caller goes away meanwhile, the lock is kept until it is over.
    fn write(&mut self, state: RegisterState) -> Later<'_, Result<(), RegisterError>>;
}

/// PostgreSQL, and a file.
#[derive(Debug)]
pub struct Stored {
    databases: Databases,
    register: RegisterFile,
}

impl Stored {
    /// The database of a ledger, and the path of its register.
    pub fn new(databases: Databases, register: PathBuf) -> Stored {
        Stored { databases, register: RegisterFile::new(register) }
    }
}

impl Storage for Stored {
    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded> {
        Box::pin(async move {
            let client = self.databases.service().await?;
            Loader::cached(&client).await?.load(&client, keys).await
        })
    }

    fn peek(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened> {
        Box::pin(load::peek(&self.databases, now, due_limit, keys))
    }

    fn appender(&self) -> Answer<'_, Box<dyn Appender>> {
        Box::pin(async { Ok(Box::new(self.databases.writer().await?) as Box<dyn Appender>) })
    }

    fn follower(&self) -> Answer<'_, Box<dyn Follower>> {
        Box::pin(async move {
            let session = self.databases.follower().await?;
            session.listen().await?;
            Ok(Box::new(session) as Box<dyn Follower>)
        })
    }

    fn register(&self) -> Result<Option<RegisterState>, RegisterError> {
        self.register.read()
    }

    fn hold_register(&self) -> Result<Box<dyn Held>, RegisterError> {
        Ok(Box::new(Arc::new(Register::open(self.register.path())?)))
    }
}

impl Reader for follower::Follower {
    fn epoch(&self) -> &Epoch {
        Session::epoch(self)
    }

    fn is_closed(&self) -> bool {
        Session::is_closed(self)
    }

    fn head(&self) -> Answer<'_, Head> {
        Box::pin(log::head(self.client()))
    }

    fn latest_checkpoint(&self) -> Answer<'_, Option<SignedHead>> {
        Box::pin(log::latest_checkpoint(self.client()))
    }
}

impl Reader for Writer {
    fn epoch(&self) -> &Epoch {
        self.epoch()
    }

    fn is_closed(&self) -> bool {
        self.client().is_closed()
    }

    fn head(&self) -> Answer<'_, Head> {
        Box::pin(log::head(self.client()))
    }

    fn latest_checkpoint(&self) -> Answer<'_, Option<SignedHead>> {
        Box::pin(log::latest_checkpoint(self.client()))
    }
}

impl Appender for Writer {
    fn begin(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened> {
        Box::pin(self.begin(now, due_limit, keys))
    }

    fn all_due(&self, before: Timestamp) -> Answer<'_, Vec<(DisbursementId, Timestamp)>> {
        Box::pin(self.all_due(before))
    }

    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded> {
        Box::pin(self.load(keys))
    }

    fn roll_back(&self) -> Answer<'_, ()> {
        Box::pin(self.roll_back())
    }

    fn is_logged<'a>(&'a self, position: u64, signatures: &'a [Vec<u8>]) -> Answer<'a, bool> {
        Box::pin(self.is_logged(position, signatures))
    }

    fn round_trips(&self) -> u32 {
        self.round_trips()
    }

    fn commit<'a>(
        &'a self,
        rows: Rows,
        heads: (&'a Head, &'a Head),
        lock: Lock,
        tell: bool,
    ) -> Later<'a, Result<(), CommitError>> {
        Box::pin(self.commit(rows, heads, lock, tell))
    }
}

impl Follower for follower::Follower {
    fn heard(&self) -> Arc<Notify> {
        Session::heard(self)
    }

    fn record(&self, position: u64) -> Answer<'_, Option<Record>> {
        Box::pin(log::record(self.client(), position))
    }

    fn leaves(&self, from: u64, to: u64, limit: u32) -> Answer<'_, Vec<Leaf>> {
        Box::pin(log::leaves(self.client(), from, to, limit))
    }

    fn head_and_leaves(&self, from: u64, limit: u32, published: u64) -> Answer<'_, (Head, Vec<Leaf>)> {
        Box::pin(self.head_and_leaves(from, limit, published))
    }

    fn store_tiles<'a>(&'a self, tiles: &'a [StoredTile]) -> Answer<'a, ()> {
        Box::pin(log::store_tiles(self.client(), tiles))
    }

    fn tile_roots(&self, level: u8, from: u64, to: u64) -> Answer<'_, Vec<Digest>> {
        Box::pin(log::tile_roots(self.client(), level, from, to))
    }

    fn store_checkpoint<'a>(&'a self, head: &'a SignedHead) -> Answer<'a, ()> {
        Box::pin(self.store_checkpoint(head))
    }

    fn mark_forked(&self) -> Answer<'_, ()> {
        Box::pin(log::mark_forked(self.client()))
    }
}

/// Its writes run on a thread that may block; the lock is kept until such a thread is done, whoever still waits for it.
impl Held for Arc<Register> {
    fn read(&self) -> Result<Option<RegisterState>, RegisterError> {
        Register::read(self)
    }

    fn write(&mut self, state: RegisterState) -> Later<'_, Result<(), RegisterError>> {
        let register = Arc::clone(self);
        Box::pin(async move {
            let path = register.path().to_owned();
            let written = tokio::task::spawn_blocking(move || Register::write(&register, &state)).await;
            written.unwrap_or_else(|error| {
                Err(RegisterError::Io { action: "write", path, source: io::Error::other(error) })
            })
        })
    }
}
