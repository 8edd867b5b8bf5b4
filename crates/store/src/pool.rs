//! The pools of connections, one for each role, and the connections that one task keeps for itself.
//!
//! A role sees and changes only what the schema grants it; which pool a query runs on is therefore a part of its
//! authorisation, and pools never share connections.

use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};

use crate::connect::{Fence, Target, Transport, TransportError, Wanted};
use crate::error::StoreError;
use crate::follower::Follower;
use crate::register::Epoch;
use crate::session::Session;
use crate::writer::Writer;

/// How long a connection takes to be made, among several hosts of which some are silent.
const CREATE: Duration = Duration::from_secs(8);

/// The role that reads and writes for the rules.
const SERVICE: &str = "safeconduct_service";

/// The role that reads for one agency.
const AGENCY: &str = "safeconduct_agency";

/// The statements of both read and write by key. Planned once, by indexes, they cost a tenth of what they do when they are planned anew each
/// time, as they would be for small groups; and the plan is right however small the tables were when it was made.
const BY_KEY: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

/// How many connections each pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSizes {
    /// For the service's own look-ups. The writer and the publisher have connections of their own.
    pub service: usize,
    /// For reads by officers and auditors.
    pub read: usize,
    /// For reads by agencies, under row-level security, and as many to write them down.
    pub agency: usize,
    /// How long a request waits for one of them.
    pub wait: Duration,
}

/// The database of one ledger, as the roles of the service see it. Clones share the pools.
#[derive(Debug, Clone)]
pub struct Databases {
    primary: Target,
    fence: Fence,
    service: Pool,
    read: Pool,
    agency: Pool,
    agency_log: Pool,
}

/// Why there are no pools.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum PoolsError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("cannot make a pool of connections")]
    Pool(#[from] deadpool_postgres::BuildError),
}

impl Databases {
    /// The pools; nothing is connected yet. `config_for_role` says how to connect as a role, to one host or to several.
    pub fn new(
        transport: &Transport,
        config_for_role: impl Fn(&str) -> Config,
        sizes: PoolSizes,
    ) -> Result<Databases, PoolsError> {
        let fence = Fence::new();
        let target = |role: &str, wanted| {
            let mut config = config_for_role(role);
            if matches!(role, SERVICE | AGENCY) {
                let given = config.get_options().unwrap_or_default();
                config.options(format!("{given} {BY_KEY}"));
            }
            Target::new(&config, transport, wanted, &fence)
        };
        let pool = |role: &str, wanted, size: usize| {
            let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let connector = Connector(target(role, wanted)?);
            let manager = Manager::from_connect(Config::new(), connector, recycling);
            let fence = fence.clone();
            let is_current = Hook::sync_fn(move |_, metrics| {
                if fence.is_newer_than(metrics.created) {
                    return Err(HookError::message("there is a newer primary than when this was connected"));
                }
                Ok(())
            });
            let pool = Pool::builder(manager)
                .max_size(size)
                .runtime(Runtime::Tokio1)
                .wait_timeout(Some(sizes.wait))
                .create_timeout(Some(CREATE))
                .pre_recycle(is_current)
                .build();
            Ok::<Pool, PoolsError>(pool?)
        };
        Ok(Databases {
            primary: target(SERVICE, Wanted::Primary)?,
            service: pool(SERVICE, Wanted::Primary, sizes.service)?,
            read: pool("safeconduct_read", Wanted::Primary, sizes.read)?,
            agency: pool(AGENCY, Wanted::Reader, sizes.agency)?,
            agency_log: pool(SERVICE, Wanted::Primary, sizes.agency)?,
            fence,
        })
    }

    /// From now on, no server that is older than this is written to or read from.
    pub fn saw(&self, epoch: &Epoch) {
        self.fence.saw(epoch);
    }

    /// Whether a server of this epoch may still be used.
    pub fn admits(&self, epoch: &Epoch) -> bool {
        self.fence.admits(epoch)
    }

    /// Waits until a server of this epoch may not be used any more.
    pub async fn overtakes(&self, epoch: &Epoch) {
        self.fence.overtakes(epoch).await;
    }

    /// A connection as the service itself.
    pub async fn service(&self) -> Result<Object, StoreError> {
        Ok(self.service.get().await?)
    }

    /// A connection that reads everything, as it is now.
    pub async fn read(&self) -> Result<Object, StoreError> {
        Ok(self.read.get().await?)
    }

    /// A connection that reads the rows of the agency that its transaction names, on a standby where there is one.
    pub async fn agency(&self) -> Result<Object, StoreError> {
        Ok(self.agency.get().await?)
    }

    /// A connection as the service itself, to write down what agencies read. It is not one that look-ups use, which need not
    /// wait where such a write waits for a standby.
    pub async fn agency_log(&self) -> Result<Object, StoreError> {
        Ok(self.agency_log.get().await?)
    }

    /// A new connection of the service's role for one task, to the newest primary there is.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let session = Session::connect(&self.primary, CREATE).await?;
        // Something newer may have been seen meanwhile.
        if self.fence.admits(session.epoch()) { Ok(session) } else { Err(StoreError::Overtaken) }
    }

    /// A new connection for the task that follows the log.
    pub async fn follower(&self) -> Result<Follower, StoreError> {
        Follower::prepare(self.session().await?).await
    }

    /// A new connection for the task that appends groups.
    pub async fn writer(&self) -> Result<Writer, StoreError> {
        Writer::prepare(self.session().await?).await
    }
}

/// Connects for a pool.
struct Connector(Target);

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let link = self.0.connect().await?;
            Ok((link.client, link.task))
        })
    }
}
