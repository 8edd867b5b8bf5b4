//! The pools of connections, one for each role, and the connections that one task keeps for itself.
//!
//! A role sees and changes only what the schema grants it; which pool a query runs on is therefore a part of its
//! authorisation, and pools never share connections.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{Config, NoTls};

use crate::error::StoreError;
use crate::session::Session;
use crate::writer::Writer;

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(5);
/// How long a server over TCP may be silent before it is asked whether it is there, and how often.
const SILENCE: Duration = Duration::from_secs(10);
const ASKS: u32 = 3;
/// How long it may leave what was sent to it unacknowledged. The kernel's own patience is hours.
const UNHEARD: Duration = Duration::from_secs(20);

/// How many connections each pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSizes {
    /// For the service's own look-ups. The writer and the publisher have connections of their own.
    pub service: usize,
    /// For reads by officers and auditors.
    pub read: usize,
    /// For reads by agencies, under row-level security.
    pub agency: usize,
}

impl Default for PoolSizes {
    fn default() -> PoolSizes {
        PoolSizes { service: 4, read: 16, agency: 16 }
    }
}

/// The database of one ledger, as the roles of the service see it. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Databases {
    config: Config,
    service: Pool,
    read: Pool,
    agency: Pool,
}

impl Databases {
    /// The pools; nothing is connected yet. `config_for_role` says how to connect as a role, without TLS.
    pub fn new(
        config_for_role: impl Fn(&str) -> Config,
        sizes: PoolSizes,
    ) -> Result<Databases, deadpool_postgres::BuildError> {
        let config_for_role = |role: &str| {
            let mut config = config_for_role(role);
            // A network that loses every packet closes no connection: without these the writer would wait for ever.
            config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 2).keepalives_retries(ASKS);
            config.tcp_user_timeout(UNHEARD);
            config
        };
        let pool = |role: &str, size: usize| {
            let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_config(config_for_role(role), NoTls, recycling);
            Pool::builder(manager)
                .max_size(size)
                .runtime(Runtime::Tokio1)
                .wait_timeout(Some(WAIT))
                .create_timeout(Some(WAIT))
                .build()
        };
        Ok(Databases {
            config: config_for_role("safeconduct_service"),
            service: pool("safeconduct_service", sizes.service)?,
            read: pool("safeconduct_read", sizes.read)?,
            agency: pool("safeconduct_agency", sizes.agency)?,
        })
    }

    /// A connection as the service itself.
    pub async fn service(&self) -> Result<Object, StoreError> {
        Ok(self.service.get().await?)
    }

    /// A connection that reads everything.
    pub async fn read(&self) -> Result<Object, StoreError> {
        Ok(self.read.get().await?)
    }

    /// A connection that reads the rows of the agency that its transaction names.
    pub async fn agency(&self) -> Result<Object, StoreError> {
        Ok(self.agency.get().await?)
    }

    /// A new connection of the service's role for one task, with the server's epoch.
    pub async fn session(&self) -> Result<Session, StoreError> {
        Session::connect(&self.config, WAIT).await
    }

    /// A new connection for the task that appends groups.
    pub async fn writer(&self) -> Result<Writer, StoreError> {
        Writer::prepare(self.session().await?).await
    }
}
