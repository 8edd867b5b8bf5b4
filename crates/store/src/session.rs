//! A connection that one task keeps: it knows which server it leads to, and it hears notifications.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::error::StoreError;
use crate::register::Epoch;

/// What a session can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A group was appended by a process that does not publish.
    Heads,
    /// A checkpoint was stored.
    Checkpoints,
}

/// A connection of the service's role. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
    epoch: Epoch,
    notified: Arc<Notify>,
}

impl Session {
    pub(crate) async fn connect(config: &Config, limit: Duration) -> Result<Session, StoreError> {
        let mut config = config.clone();
        config.connect_timeout(limit);
        let (client, mut connection) = config.connect(NoTls).await?;
        let notified = Arc::new(Notify::new());
        let heard = Arc::clone(&notified);
        let connection = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => heard.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the database ended");
                        break;
                    }
                }
            }
            // Whoever waits for news finds the connection closed.
            heard.notify_one();
        });
        let session =
            Session { epoch: Epoch { system: String::new(), timeline: 0 }, client, connection, notified };
        session.with_epoch().await
    }

    /// A writer that hangs must not keep the head's lock: the server ends its session.
    async fn with_epoch(mut self) -> Result<Session, StoreError> {
        const LIMITS: &str = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'; \
                              SET statement_timeout = '120s'";
        const EPOCH: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text, \
                             pg_walfile_name(pg_current_wal_lsn())";
        self.client.batch_execute(LIMITS).await?;
        let row = self.client.query_one(EPOCH, &[]).await?;
        let (system, file) = (row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
        // The name of a WAL file begins with its timeline, in eight hexadecimal digits.
        let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let timeline =
            timeline.ok_or_else(|| StoreError::corrupt("pg_wal", format!("a file is named {file}")))?;
        self.epoch = Epoch { system, timeline };
        Ok(self)
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Which server it leads to.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// From now on [`heard`](Session::heard) tells of this.
    pub async fn listen(&self, news: News) -> Result<(), StoreError> {
        let sql = match news {
            News::Heads => "LISTEN safeconduct_head",
            News::Checkpoints => "LISTEN safeconduct_checkpoint",
        };
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Notified when there is news, or the connection has ended.
    pub fn heard(&self) -> Arc<Notify> {
        Arc::clone(&self.notified)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
