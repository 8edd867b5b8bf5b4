//! A connection that one task keeps: it knows which server it leads to, it hears notifications, and it never waits for
//! ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::Client;

use crate::connect::{Link, Target};
use crate::error::StoreError;
use crate::register::Epoch;

/// How long a round trip may take. The server's own limit on waiting for the head's lock is shorter, so whoever is over
/// this is a server that hangs, or one whose standbys have all gone.
const ROUND_TRIP: Duration = Duration::from_secs(40);

/// While one takes longer than this, the other hosts are asked whether there is a newer server.
const LOOK: Duration = Duration::from_secs(5);

/// Commits something that says nothing, where the server waits for a standby.
const REPLICATED: &str = "SELECT pg_logical_emit_message(true, 'safeconduct', '') \
                                     WHERE current_setting('synchronous_standby_names') <> ''";

/// A connection of the service's role. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    link: Link,
    target: Target,
    limit: Duration,
}

impl Session {
    /// To the newest primary there is, which whoever shares its fence then knows of.
    pub(crate) async fn connect(target: &Target, limit: Duration) -> Result<Session, StoreError> {
        // A writer that hangs must not keep the head's lock: the server ends its session. And what was committed is on a
        // standby, where there is one that is waited for, whatever the database's own settings say.
        const LIMITS: &str = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'; \
                              SET statement_timeout = '120s'; SET synchronous_commit = 'on'";
        let connected = async {
            let session = Session { link: target.connect().await?, target: target.clone(), limit };
            session.client().batch_execute(LIMITS).await?;
            target.saw(session.epoch());
            Ok(session)
        };
        tokio::time::timeout(limit, connected).await.unwrap_or(Err(StoreError::Silent))
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.link.client
    }

    /// Which server it leads to.
    pub fn epoch(&self) -> &Epoch {
        &self.link.epoch
    }

    /// From now on [`heard`](Session::heard) tells of groups that were appended by processes that do not publish.
    pub async fn listen(&self) -> Result<(), StoreError> {
        Ok(self.client().batch_execute("LISTEN safeconduct_head").await?)
    }

    /// Notified when there is news, or the connection has ended.
    pub fn heard(&self) -> Arc<Notify> {
        Arc::clone(&self.link.ears.notified)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client().is_closed()
    }

    /// Returns when all that this session has seen is where a promoted standby has it; at once where the server waits for
    /// no standby.
    ///
    /// A commit is seen by others only when its own wait for a standby is over. But that wait can have been cancelled, or
    /// cut short by a crash of the server, and nobody sees how it ended but the session that waited. So this commits
    /// something after it, which says nothing, and waits for that, however long it takes: a session that is given up in
    /// such a wait stays with the server.
    pub async fn replicated(&self) -> Result<(), StoreError> {
        self.committed(async { Ok(self.client().batch_execute(REPLICATED).await?) }).await
    }

    /// Runs what commits. A wait for a standby that was cancelled is a warning beside a success, and here an error, after
    /// which this session is of no more use.
    pub(crate) async fn committed<T>(
        &self,
        commit: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = commit.await?;
        if self.link.ears.warned.load(Ordering::SeqCst) {
            return Err(StoreError::NotReplicated);
        }
        Ok(done)
    }

    /// A server that does not answer, or that a newer one has taken over from, is as good as lost.
    pub(crate) async fn within_limit<T>(
        &self,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            done = tokio::time::timeout(ROUND_TRIP, asked) => done.unwrap_or(Err(StoreError::Silent)),
            () = self.overtaken() => Err(StoreError::Silent),
        }
    }

    /// Comes true when there is a newer server. One that hangs keeps its connections, so it is looked for.
    async fn overtaken(&self) {
        let looks = async {
            loop {
                tokio::time::sleep(LOOK).await;
                // What it finds, the fence knows.
                let _ = Session::connect(&self.target, self.limit).await;
            }
        };
        tokio::select! {
            () = self.target.overtakes(self.epoch()) => {}
            () = looks => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.task.abort();
    }
}
