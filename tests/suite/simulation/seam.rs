//! The model as the pipeline and the publisher call it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::id::DisbursementId;
use ledger::time::Timestamp;
use programme::Key;
use records::Record;
use signing::digest::Digest;
use store::StoreError;
use store::load::Loaded;
use store::log::{Head, Leaf, SignedHead, StoredTile};
use store::register::{Epoch, RegisterError, RegisterState};
use store::rows::Rows;
use store::storage::{Answer, Appender, Follower, Held, Later, Reader, Storage};
use store::writer::{CommitError, Lock, Opened};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::server::{due, opened, verified};
use super::storage::{Connection, Outside, Seen};

/// How long a writer waits for an answer.
const SILENCE: Duration = Duration::from_secs(40);

impl Storage for Seen {
    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded> {
        Box::pin(async move {
            self.step().await?;
            Ok(self.reach()?.loaded(keys))
        })
    }

    fn peek(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened> {
        Box::pin(async move {
            self.step().await?;
            let opened = self.reach()?.with(|server| opened(server, now, due_limit, keys));
            self.step().await?;
            Ok(opened)
        })
    }

    fn appender(&self) -> Answer<'_, Box<dyn Appender>> {
        self.outside.lock().asked += 1;
        Box::pin(async {
            self.step().await?;
            Ok(Box::new(self.connect()?) as Box<dyn Appender>)
        })
    }

    fn follower(&self) -> Answer<'_, Box<dyn Follower>> {
        Box::pin(async {
            self.step().await?;
            let connection = self.connect()?;
            self.outside.lock().listeners.push((connection.server, Arc::clone(&connection.heard)));
            Ok(Box::new(connection) as Box<dyn Follower>)
        })
    }

    fn register(&self) -> Result<Option<RegisterState>, RegisterError> {
        Ok(self.outside.lock().register.clone())
    }

    fn hold_register(&self) -> Result<Box<dyn Held>, RegisterError> {
        let inner = &mut *self.outside.lock();
        if inner.holder.is_some() || inner.killed.contains(&self.process) {
            return Err(RegisterError::Held(PathBuf::from("register")));
        }
        inner.holder = Some(self.process);
        Ok(Box::new(Holds(Arc::new(Register { seen: self.clone() }))))
    }
}

/// Given up when nobody has it any more, which a write that is still under way does.
struct Register {
    seen: Seen,
}

impl Drop for Register {
    fn drop(&mut self) {
        let outside: &Outside = &self.seen.outside;
        outside.lock().holder.take_if(|holder| *holder == self.seen.process);
    }
}

impl Register {
    /// Fails before or after it is on disk, and who is killed meanwhile may have written it or not.
    async fn write(&self, state: RegisterState) -> Result<(), RegisterError> {
        let failed = |_| RegisterError::Io {
            action: "write",
            path: PathBuf::from("register"),
            source: io::Error::other("the disk"),
        };
        self.seen.step().await.map_err(failed)?;
        {
            let inner = &mut *self.seen.outside.lock();
            assert_eq!(inner.holder, Some(self.seen.process), "it is written by who does not hold it");
            if let Some(before) = &inner.register {
                assert!(state.size >= before.size && state.epoch >= before.epoch, "the register goes back");
            }
            inner.see(&state.checkpoint);
            inner.register = Some(state);
        }
        self.seen.step().await.map_err(failed)
    }
}

struct Holds(Arc<Register>);

impl Held for Holds {
    fn read(&self) -> Result<Option<RegisterState>, RegisterError> {
        Ok(self.0.seen.outside.lock().register.clone())
    }

    /// It goes on where its caller goes away.
    fn write(&mut self, state: RegisterState) -> Later<'_, Result<(), RegisterError>> {
        let register = Arc::clone(&self.0);
        let written = tokio::spawn(async move { register.write(state).await });
        Box::pin(async { written.await.expect("it is written, or not") })
    }
}

impl Reader for Connection {
    fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    fn is_closed(&self) -> bool {
        Connection::is_closed(self)
    }

    fn head(&self) -> Answer<'_, Head> {
        Box::pin(async {
            self.trip().await?;
            Ok(self.with(|server| server.head.clone()))
        })
    }

    fn latest_checkpoint(&self) -> Answer<'_, Option<SignedHead>> {
        Box::pin(async {
            self.trip().await?;
            let signed = |(size, note): (&u64, &String)| SignedHead { size: *size, note: note.clone() };
            Ok(self.with(|server| server.checkpoints.last_key_value().map(signed)))
        })
    }
}

impl Appender for Connection {
    fn begin(&self, now: Timestamp, due_limit: u32, keys: Vec<Key>) -> Answer<'_, Opened> {
        self.begins();
        Box::pin(async move {
            self.take_lock().await?;
            Ok(self.with(|server| opened(server, now, due_limit, keys)))
        })
    }

    fn all_due(&self, before: Timestamp) -> Answer<'_, Vec<(DisbursementId, Timestamp)>> {
        Box::pin(async move {
            self.trip().await?;
            Ok(self.with(|server| due(server, before)))
        })
    }

    fn load(&self, keys: Vec<Key>) -> Answer<'_, Loaded> {
        Box::pin(async move {
            self.trip().await?;
            Ok(self.loaded(keys))
        })
    }

    fn roll_back(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.trip().await?;
            self.give_lock();
            Ok(())
        })
    }

    fn is_logged<'a>(&'a self, position: u64, signatures: &'a [Vec<u8>]) -> Answer<'a, bool> {
        Box::pin(async move {
            self.take_lock().await?;
            let index = usize::try_from(position).expect("a position");
            let is_logged = self.with(|server| {
                let logged = server.log.get(index..index + signatures.len());
                logged.is_some_and(|logged| {
                    logged
                        .iter()
                        .map(|record| record.envelope().signature.as_bytes().to_vec())
                        .eq(signatures.iter().cloned())
                })
            });
            self.roll_back().await?;
            if is_logged {
                timeout(SILENCE, self.replicated()).await.unwrap_or(Err(StoreError::Silent))?;
            }
            Ok(is_logged)
        })
    }

    /// Nobody counts them here.
    fn round_trips(&self) -> u32 {
        0
    }

    fn commit<'a>(
        &'a self,
        rows: Rows,
        (before, after): (&'a Head, &'a Head),
        lock: Lock,
        tell: bool,
    ) -> Later<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let envelopes = rows.envelopes();
            assert_eq!(before.size + envelopes.len() as u64, after.size);
            if lock == Lock::Taken {
                // Its connection may break while it is on its way: it arrives later, or never.
                if let Err(error) = self.trip().await {
                    let arrives = {
                        let choices = &mut self.seen.outside.lock().choices;
                        (choices.below(2) == 0).then(|| Duration::from_millis(choices.below(3000)))
                    };
                    if let Some(later) = arrives {
                        let records = envelopes.into_iter().map(verified).collect();
                        self.with(|server| server.late.push((Instant::now() + later, before.root, records)));
                    }
                    return Err(CommitError::Unknown(error));
                }
                self.take_lock().await.map_err(CommitError::Unknown)?;
                if self.with(|server| server.head != *before) {
                    self.give_lock();
                    return Err(CommitError::Moved);
                }
            }
            assert_eq!(self.with(|server| server.head.size), before.size, "a position is written twice");
            self.commit(envelopes, tell).await
        })
    }
}

impl Follower for Connection {
    fn heard(&self) -> Arc<Notify> {
        Arc::clone(&self.heard)
    }

    fn record(&self, position: u64) -> Answer<'_, Option<Record>> {
        Box::pin(async move {
            self.trip().await?;
            let index = usize::try_from(position).expect("a position");
            Ok(self.with(|server| server.log.get(index).map(|record| (**record).clone())))
        })
    }

    fn leaves(&self, from: u64, to: u64, limit: u32) -> Answer<'_, Vec<Leaf>> {
        Box::pin(async move {
            self.trip().await?;
            let end = to.min(from + u64::from(limit));
            let [from, end] = [from, end].map(|position| usize::try_from(position).expect("a position"));
            let leaves = self.with(|server| {
                server
                    .log
                    .get(from..end)
                    .map(|part| part.iter().map(|record| Leaf::of(record.envelope())).collect())
            });
            leaves
                .ok_or(StoreError::Corrupt { table: "records", problem: "a position is missing".to_owned() })
        })
    }

    fn head_and_leaves(&self, from: u64, limit: u32, published: u64) -> Answer<'_, (Head, Vec<Leaf>)> {
        Box::pin(async move {
            let head = self.head().await?;
            if head.size > published {
                self.replicated().await?;
            }
            let end = head.size.min(from.saturating_add(u64::from(limit)));
            let [from, end] = [from, end].map(|position| usize::try_from(position).expect("a position"));
            let leaves = self.with(|server| {
                let part = server.log.get(from..end).unwrap_or_default();
                part.iter().map(|record| Leaf::of(record.envelope())).collect()
            });
            Ok((head, leaves))
        })
    }

    fn store_tiles<'a>(&'a self, _: &'a [StoredTile]) -> Answer<'a, ()> {
        Box::pin(self.trip())
    }

    /// No log here is so long that it has tiles above others.
    fn tile_roots(&self, _: u8, _: u64, _: u64) -> Answer<'_, Vec<Digest>> {
        Box::pin(async {
            self.trip().await?;
            Ok(vec![])
        })
    }

    fn store_checkpoint<'a>(&'a self, head: &'a SignedHead) -> Answer<'a, ()> {
        Box::pin(async {
            self.trip().await?;
            if self.with(|server| server.only_reads()) {
                return Err(StoreError::Overtaken);
            }
            self.store_checkpoint(head);
            self.trip().await
        })
    }

    fn mark_forked(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.trip().await?;
            self.with(|server| server.head.forked = true);
            Ok(())
        })
    }
}
