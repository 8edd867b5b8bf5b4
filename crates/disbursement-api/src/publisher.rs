//! The publisher: checks that the committed log extends what was published before, and signs its head.
//!
//! It is a task of the one process that holds the register's exclusive lock; the same task of every other process waits
//! for that lock and meanwhile only passes on the checkpoints that it finds. For each new head the publisher
//!
//! 1. reads the records since the last one, computes their leaf hashes from the envelopes themselves, extends its own
//!    frontier, and compares the root with the head's;
//! 2. stores the tiles that became complete, each checked against the frontier;
//! 3. makes the checkpoint (and before it those of heads on the way that become public) and writes it, with the head, into the register, which is on disk before
//! 4. the checkpoint is stored, and whoever waits for it is told; other processes look for it.
//!
//! A new head is read together with a commit that waits for a standby, where the server waits for one: a head that a failover
//! takes back would fork the log (`docs/decisions/0010-failover.md`).
//!
//! So a checkpoint leaves this task only when the register remembers it, and the register never goes back: there are never
//! two signed heads of one size. What happens between 3 and 4 is repaired at the next turn, from the register. A head that does
//! not extend the register's marks the log as forked, which stops every process.

mod tail;

use std::sync::Arc;
use std::time::Duration;

use signing::digest::Digest;
use signing::token::SignError;
use store::log::{Head, Leaf, SignedHead};
use store::register::{Epoch, RegisterError, RegisterState};
use store::storage::{Follower, Held};
use store::{Databases, Fault, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::metrics::Stage;
use crate::pipeline::{Published, Shared, Unavailable};
use tail::Tail;

/// A publisher is told of new heads; it looks all the same, as a notification can be lost with its connection.
const LOOK: Duration = Duration::from_secs(1);

/// A process that does not publish looks for the checkpoint of what it has written after this, and then after twice as long,
/// up to [`Settings::poll`](crate::pipeline::Settings::poll).
const SOON: Duration = Duration::from_millis(10);

/// How old a connection gets. One to a primary that was replaced may stay open as long as that server runs, and nothing
/// that is heard on it tells of the new one.
const RENEWAL: Duration = Duration::from_secs(5);

/// How often the last head is tried to be published before the process ends.
const LAST_TRIES: u32 = 3;

/// How long each of these may take: a server that waits for a standby does so for ever.
const LAST_LIMIT: Duration = Duration::from_secs(20);

/// The task.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    /// Turns true when the writer has finished.
    finished: watch::Receiver<bool>,
    register: Option<Box<dyn Held>>,
    session: Option<Box<dyn Follower>>,
    connected: Instant,
    /// The log as it was published last.
    tail: Option<Tail>,
}

/// Why a turn ended early.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database was not there; the next turn tries again.
    Lost,
    /// Nothing may be written before this is mended.
    Halt(Unavailable),
}

impl Trouble {
    /// What a caller is told.
    pub(crate) fn reason(self) -> Unavailable {
        match self {
            Trouble::Lost => Unavailable::Database,
            Trouble::Halt(reason) => reason,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        let fault = error.fault();
        tracing::warn!(%error, ?fault, "the publisher was refused by the database");
        match (fault, error) {
            (Fault::Standby, _) => Trouble::Halt(Unavailable::StaleServer),
            (_, StoreError::Corrupt { .. }) => Trouble::Halt(Unavailable::Internal),
            _ => Trouble::Lost,
        }
    }
}

impl From<RegisterError> for Trouble {
    fn from(error: RegisterError) -> Trouble {
        tracing::error!(%error, "the register cannot be used");
        Trouble::Halt(Unavailable::RegisterMissing)
    }
}

impl From<SignError> for Trouble {
    fn from(error: SignError) -> Trouble {
        tracing::error!(%error, "no checkpoint is signed");
        Trouble::Halt(Unavailable::CheckpointKey)
    }
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, finished: watch::Receiver<bool>) -> Publisher {
        Publisher { shared, finished, register: None, session: None, connected: Instant::now(), tail: None }
    }

    pub(crate) async fn run(mut self) {
        let (mut tries, mut is_alone, mut look) = (0, false, SOON);
        loop {
            // Looked at before the turn: what was written before the writer finished is published by it.
            let is_last = is_alone || *self.finished.borrow();
            let databases = self.shared.databases.clone();
            self.session.take_if(|session| !databases.admits(session.epoch()));
            let connected = tokio::time::timeout(LAST_LIMIT, self.connect()).await;
            let turn = match connected.unwrap_or(Err(Trouble::Lost)) {
                Ok(()) => {
                    let (shared, epoch) = (Arc::clone(&self.shared), self.epoch());
                    let finished = self.finished.clone();
                    tokio::select! {
                        biased;
                        turn = self.turn() => turn,
                        // There is a newer server while this one does not answer.
                        () = overtaken(&databases, epoch) => Err(Trouble::Lost),
                        () = look_around(&shared) => Err(Trouble::Lost),
                        () = late(finished) => Err(Trouble::Lost),
                    }
                }
                Err(trouble) => Err(trouble),
            };
            let is_done = turn.is_ok();
            self.report(turn);
            tries += u32::from(is_last);
            if is_last && (is_done || tries >= LAST_TRIES || self.shared.is_gone()) {
                break;
            }
            let pause = if is_done && self.register.is_none() { look } else { LOOK };
            let heard =
                self.session.as_ref().map_or_else(|| Arc::new(Notify::new()), |session| session.heard());
            let epoch = self.epoch();
            tokio::select! {
                biased;
                // An error says that the writer is gone without a word.
                changed = self.finished.changed(), if !is_last => is_alone = changed.is_err(),
                () = self.shared.grown.notified() => look = SOON,
                () = heard.notified() => look = SOON,
                () = overtaken(&databases, epoch) => {}
                () = tokio::time::sleep(pause) => look = (2 * look).min(self.shared.settings.poll),
            }
        }
    }

    /// That of the server that this task is connected to.
    fn epoch(&self) -> Option<Epoch> {
        self.session.as_ref().map(|session| session.epoch().clone())
    }

    fn report(&mut self, turn: Result<(), Trouble>) {
        let halted = match turn {
            Ok(()) => None,
            Err(Trouble::Halt(reason)) => Some(reason),
            // The connection is made anew; what was found before still holds.
            Err(Trouble::Lost) => {
                self.session = None;
                return;
            }
        };
        if halted.is_some() {
            self.tail = None;
            // It may lead to the wrong server: the right one may be another host, or the same by another name.
            self.session = None;
        }
        self.shared.halted.send_if_modified(|before| std::mem::replace(before, halted) != halted);
    }

    /// Makes sure that there is a connection, after a look at the register.
    async fn connect(&mut self) -> Result<(), Trouble> {
        if self.register.is_none() {
            match self.shared.storage.hold_register() {
                Ok(register) => {
                    self.register = Some(register);
                    // What there is to hear is another now.
                    self.session = None;
                }
                // Another process publishes.
                Err(RegisterError::Held(_)) => {}
                Err(error) => return Err(error.into()),
            }
            self.shared.publishes.send_replace(self.register.is_some());
        }
        if self.register.is_none()
            && let Some(state) = self.shared.storage.register()?
        {
            self.shared.databases.saw(&state.epoch);
        }
        let databases = &self.shared.databases;
        let is_usable = |session: &dyn Follower| {
            !session.is_closed() && databases.admits(session.epoch()) && self.connected.elapsed() < RENEWAL
        };
        if !self.session.as_deref().is_some_and(is_usable) {
            // What this process alone writes, it reads in each turn.
            if let Some(register) = &self.register
                && let Some(state) = register.read()?
            {
                databases.saw(&state.epoch);
            }
            // It may be another server by now, so everything is checked again.
            self.tail = None;
            self.session = Some(self.shared.storage.follower().await?);
            self.connected = Instant::now();
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), Trouble> {
        let Publisher { shared, register, session, tail, .. } = self;
        let Some(session) = session else {
            return Err(Trouble::Lost);
        };
        let latest = match register {
            Some(_) => publish(shared, register, &**session, tail).await?,
            None => session.latest_checkpoint().await?,
        };
        if let Some(latest) = latest {
            announce(shared, Published { head: latest, epoch: session.epoch().clone() });
        }
        Ok(())
    }
}

/// Publishes the committed head, if it is new. Answers its checkpoint, which is stored; none before the founding.
async fn publish(
    shared: &Shared,
    register: &mut Option<Box<dyn Held>>,
    session: &dyn Follower,
    tail: &mut Option<Tail>,
) -> Result<Option<SignedHead>, Trouble> {
    let held = match register {
        Some(register) => register.read()?,
        None => None,
    };
    let published = held.as_ref().map_or(0, |state| state.size);
    let begin = tail.as_ref().map_or(0, |tail| tail.state.size);
    let limit = if tail.is_some() { tail::PAGE } else { 0 };
    let (head, leaves) = session.head_and_leaves(begin, limit, published).await?;
    if head.forked {
        return Err(Trouble::Halt(Unavailable::LogForked));
    }
    shared.metrics.committed(head.size);
    // What is kept in memory is what the file holds, or it is not used.
    let known = tail.take().filter(|tail| held.as_ref() == Some(&tail.state));
    // What is kept in memory was stored too.
    let latest = match &known {
        Some(known) => Some(known.signed()),
        None => session.latest_checkpoint().await?,
    };
    let mut next = Vec::new();
    let mut now = match (known, held) {
        (Some(known), _) => {
            next = leaves;
            known
        }
        (None, Some(held)) => Tail::resume(shared, session, held).await?,
        (None, None) if latest.is_some() => {
            tracing::error!("the register is missing beside existing checkpoints");
            return Err(Trouble::Halt(Unavailable::RegisterMissing));
        }
        (None, None) if head.size == 0 => return Ok(None),
        (None, None) => Tail::begin(shared, session).await?,
    };
    let is_new = head.size > now.state.size;
    let sign = sign(shared, register, session, &mut now, (&head, next), latest);
    let signed = if is_new { shared.metrics.timed(Stage::Publish, sign).await? } else { sign.await? };
    *tail = Some(now);
    Ok(Some(signed))
}

/// Checks a head, signs it and stores its checkpoint; where it was signed before, makes sure that this is stored.
async fn sign(
    shared: &Shared,
    register: &mut Option<Box<dyn Held>>,
    session: &dyn Follower,
    now: &mut Tail,
    (head, next): (&Head, Vec<Leaf>),
    latest: Option<SignedHead>,
) -> Result<SignedHead, Trouble> {
    let before = now.state.clone();
    let Some(heads) = now.extend(session, head, next).await? else {
        tracing::error!(
            published = before.size,
            committed = head.size,
            "the committed log does not extend the published one"
        );
        session.mark_forked().await?;
        return Err(Trouble::Halt(Unavailable::LogForked));
    };
    // The register is written first, so it is at least as new as what is stored, or it was put back.
    if latest.as_ref().is_some_and(|latest| latest.size > before.size) {
        tracing::error!("the register is older than the latest checkpoint");
        return Err(Trouble::Halt(Unavailable::RegisterMissing));
    }
    now.state = before;
    // The database may have failed when the register was written already, and the log have grown since.
    let is_behind = latest.as_ref().is_none_or(|latest| latest.size < now.state.size);
    if is_behind && !now.state.checkpoint.is_empty() {
        if !now.is_on_disk {
            write(register, now.state.clone()).await?;
            now.is_on_disk = true;
        }
        session.store_checkpoint(&now.signed()).await?;
    }
    for head in heads {
        let state = now.state_of(&head, &shared.keys, session.epoch())?;
        // What a write left that failed is read as well.
        if state != now.state || !now.is_on_disk {
            write(register, state.clone()).await?;
            now.is_on_disk = true;
            now.state = state;
        }
        let signed = now.signed();
        if latest.as_ref() != Some(&signed) {
            session.store_checkpoint(&signed).await?;
        }
    }
    Ok(now.signed())
}

/// A turn may wait for ever, for a standby that follows another server now; whoever connects meanwhile learns of that one.
async fn look_around(shared: &Shared) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let seen = shared.storage.follower().await;
        tracing::debug!(is_reached = seen.is_ok(), "looked for a newer server");
    }
}

/// Comes true when the writer has finished, and a turn has had its time since.
async fn late(mut finished: watch::Receiver<bool>) {
    // An error says that the writer is gone without a word.
    let _ = finished.wait_for(|finished| *finished).await;
    tokio::time::sleep(LAST_LIMIT).await;
}

/// Comes true when the server of this epoch is not the newest any more.
async fn overtaken(databases: &Databases, epoch: Option<Epoch>) {
    match epoch {
        Some(epoch) => databases.overtakes(&epoch).await,
        None => std::future::pending().await,
    }
}

/// Reads a whole log again from its records, stores the tiles that are missing, and answers the register's state of it,
/// without a checkpoint: `None` where the records do not make the head's root.
pub(crate) async fn read_again(
    session: &dyn Follower,
    ledger: Digest,
) -> Result<Option<RegisterState>, Trouble> {
    let mut tail = Tail::empty(ledger, session);
    let heads = tail.extend(session, &session.head().await?, Vec::new()).await?;
    Ok(heads.map(|_| tail.state))
}

/// Writes the register. A turn that is cut short meanwhile gives it up: its lock is free when the write is over, and what is
/// written afterwards comes after it.
async fn write(register: &mut Option<Box<dyn Held>>, state: RegisterState) -> Result<(), Trouble> {
    let Some(mut held) = register.take() else {
        return Err(Trouble::Lost);
    };
    let written = held.write(state).await;
    *register = Some(held);
    Ok(written?)
}

/// Tells whoever waits for a receipt.
fn announce(shared: &Shared, new: Published) {
    shared.metrics.published(new.head.size);
    shared.checkpoint.send_if_modified(|known| {
        let is_newer = known.as_ref().is_none_or(|known| {
            let is_same = known.head.size == new.head.size;
            known.head.size < new.head.size || (is_same && known.epoch < new.epoch)
        });
        if is_newer {
            *known = Some(new);
        }
        is_newer
    });
}
