//! How a server is reached, and which one of several is taken.
//!
//! All hosts of a URL are asked at once who they are, and the answer, never the order alone, decides: the service itself
//! works with the newest primary, an agency's reads with a standby where there is one. A server that is older than one
//! seen before is not taken for anything, also where nothing newer answers.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::register::Epoch;

/// How much longer the other hosts have to answer, where one that will do has answered.
const GRACE: Duration = Duration::from_secs(2);

/// A host that has gone without a word is given up after about as long, unless the URL says otherwise.
const SILENCE: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
/// What `tokio_postgres` takes where the URL does not say.
const KEEPALIVE_IDLE_UNSAID: Duration = Duration::from_secs(2 * 60 * 60);

/// How servers are reached. A unix socket needs no protection, and gets none.
#[derive(Debug, Clone)]
pub enum Transport {
    /// By unix sockets only.
    Sockets,
    /// Over TLS: a server's certificate must be by one of these roots and for the name by which the URL calls it, and its
    /// password exchange must be bound to that certificate.
    Tls(Arc<ClientConfig>),
    /// In plain text, which whoever is on the way can read and change.
    PlainText,
}

/// Why servers cannot be reached as they should be.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum TransportError {
    #[error("there is no certificate (PEM) among the roots")]
    NoRoots,
    #[error("a certificate among the roots cannot be used: {0}")]
    BadRoot(String),
    #[error(
        "the host {host} is reached over the network: name the roots of its certificate with --database-ca, or say \
             --allow-plain-text"
    )]
    PlainText { host: String },
    #[error("the URL demands TLS (sslmode=require), and plain text was allowed instead")]
    TlsDemanded,
}

impl Transport {
    /// TLS with the certificates of a PEM file as the only roots.
    pub fn tls(pem: &[u8]) -> Result<Transport, TransportError> {
        let bad = |error: &dyn std::fmt::Display| TransportError::BadRoot(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if roots.is_empty() {
            return Err(TransportError::NoRoots);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?;
        Ok(Transport::Tls(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }

    /// What a URL comes to for each of its hosts.
    fn hosts(&self, url: &Config) -> Result<Vec<Config>, TransportError> {
        let mut hosts = each_host(url);
        for host in &mut hosts {
            let name = match host.get_hosts().first() {
                Some(Host::Unix(_)) => {
                    host.ssl_mode(SslMode::Disable);
                    continue;
                }
                Some(Host::Tcp(name)) => name.clone(),
                None => host.get_hostaddrs().first().map(IpAddr::to_string).unwrap_or_default(),
            };
            match self {
                Transport::Sockets => return Err(TransportError::PlainText { host: name }),
                Transport::Tls(_) => {
                    host.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Require);
                }
                Transport::PlainText if host.get_ssl_mode() == SslMode::Require => {
                    return Err(TransportError::TlsDemanded);
                }
                Transport::PlainText => {
                    host.ssl_mode(SslMode::Disable);
                }
            }
            notice_silence(host);
        }
        Ok(hosts)
    }
}

/// The same for one host each.
fn each_host(url: &Config) -> Vec<Config> {
    let (names, addresses, ports) = (url.get_hosts(), url.get_hostaddrs(), url.get_ports());
    let mut hosts = Vec::new();
    for place in 0..names.len().max(addresses.len()) {
        let mut host = Config::new();
        if let Some(user) = url.get_user() {
            host.user(user);
        }
        if let Some(password) = url.get_password() {
            host.password(password);
        }
        if let Some(name) = url.get_dbname() {
            host.dbname(name);
        }
        if let Some(options) = url.get_options() {
            host.options(options);
        }
        if let Some(name) = url.get_application_name() {
            host.application_name(name);
        }
        match names.get(place) {
            Some(Host::Tcp(name)) => {
                host.host(name);
            }
            Some(Host::Unix(directory)) => {
                host.host_path(directory);
            }
            None => {}
        }
        if let Some(address) = addresses.get(place) {
            host.hostaddr(*address);
        }
        // One port may stand for all.
        if let Some(port) = ports.get(place).or(ports.first()) {
            host.port(*port);
        }
        if let Some(limit) = url.get_connect_timeout() {
            host.connect_timeout(*limit);
        }
        if let Some(limit) = url.get_tcp_user_timeout() {
            host.tcp_user_timeout(*limit);
        }
        host.keepalives(url.get_keepalives()).keepalives_idle(url.get_keepalives_idle());
        if let Some(interval) = url.get_keepalives_interval() {
            host.keepalives_interval(interval);
        }
        if let Some(retries) = url.get_keepalives_retries() {
            host.keepalives_retries(retries);
        }
        host.ssl_mode(url.get_ssl_mode())
            .ssl_negotiation(url.get_ssl_negotiation())
            .channel_binding(url.get_channel_binding())
            .target_session_attrs(url.get_target_session_attrs())
            .load_balance_hosts(url.get_load_balance_hosts());
        hosts.push(host);
    }
    if hosts.is_empty() {
        // Connecting says what is missing.
        hosts.push(url.clone());
    }
    hosts
}

fn notice_silence(host: &mut Config) {
    if host.get_tcp_user_timeout().is_none() {
        host.tcp_user_timeout(SILENCE);
    }
    if host.get_keepalives_idle() == KEEPALIVE_IDLE_UNSAID {
        host.keepalives_idle(KEEPALIVE_IDLE);
    }
    if host.get_keepalives_interval().is_none() {
        host.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if host.get_keepalives_retries().is_none() {
        host.keepalives_retries(KEEPALIVE_RETRIES);
    }
}

/// The newest server that this process knows of, from the register or by itself: older ones are fenced. Clones are the
/// same fence.
#[derive(Debug, Clone)]
pub(crate) struct Fence(Arc<watch::Sender<Option<Seen>>>);

#[derive(Debug)]
struct Seen {
    epoch: Epoch,
    since: Instant,
}

impl Fence {
    pub(crate) fn new() -> Fence {
        Fence(Arc::new(watch::Sender::new(None)))
    }

    /// Takes note of a server that is no older. The register's word holds against that of another cluster.
    pub(crate) fn saw(&self, epoch: &Epoch) {
        self.0.send_if_modified(|seen| {
            let is_news = seen
                .as_ref()
                .is_none_or(|seen| !matches!(seen.epoch.partial_cmp(epoch), Some(o) if o.is_ge()));
            if is_news {
                *seen = Some(Seen { epoch: epoch.clone(), since: Instant::now() });
            }
            is_news
        });
    }

    pub(crate) fn admits(&self, epoch: &Epoch) -> bool {
        self.0.borrow().as_ref().is_none_or(|seen| *epoch >= seen.epoch)
    }

    /// Whether a connection of this age may lead to a server that has been overtaken since.
    pub(crate) fn is_newer_than(&self, created: Instant) -> bool {
        self.0.borrow().as_ref().is_some_and(|seen| seen.since >= created)
    }

    /// Waits until a server of this epoch is fenced.
    pub(crate) async fn overtakes(&self, epoch: &Epoch) {
        let mut seen = self.0.subscribe();
        // The sender is ours.
        let _ = seen.wait_for(|seen| seen.as_ref().is_some_and(|seen| *epoch < seen.epoch)).await;
    }
}

/// Which server is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The newest primary.
    Primary,
    /// A standby, else the primary.
    Reader,
}

/// Where a role connects to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    hosts: Vec<Config>,
    transport: Transport,
    wanted: Wanted,
    fence: Fence,
}

impl Target {
    pub(crate) fn new(
        url: &Config,
        transport: &Transport,
        wanted: Wanted,
        fence: &Fence,
    ) -> Result<Target, TransportError> {
        let hosts = transport.hosts(url)?;
        Ok(Target { hosts, transport: transport.clone(), wanted, fence: fence.clone() })
    }

    /// [`Fence::saw`].
    pub(crate) fn saw(&self, epoch: &Epoch) {
        self.fence.saw(epoch);
    }

    /// [`Fence::overtakes`].
    pub(crate) async fn overtakes(&self, epoch: &Epoch) {
        self.fence.overtakes(epoch).await;
    }

    /// Connects to the best of the hosts. Whoever calls this sets a limit: where no host that will do has answered, it
    /// waits for each of the others.
    pub(crate) async fn connect(&self) -> Result<Link, Error> {
        let open = async |(place, host)| (place, Link::open(host, &self.transport).await);
        let mut asked: FuturesUnordered<_> = self.hosts.iter().enumerate().map(open).collect();
        let mut grace = pin!(tokio::time::sleep(GRACE));
        let mut best: Option<(usize, Link)> = None;
        let (mut failure, mut refused) = (None, None);
        loop {
            let (place, opened) = tokio::select! {
                biased;
                next = asked.next() => match next {
                    Some(answer) => answer,
                    None => break,
                },
                () = &mut grace, if best.is_some() => break,
            };
            match opened {
                Err(error) => failure = Some(error),
                Ok(link) if !self.will_do(&link) => refused = Some(link),
                Ok(link) => {
                    if best.as_ref().is_none_or(|(other_place, other)| {
                        self.is_better(&link, other).unwrap_or(place < *other_place)
                    }) {
                        best = Some((place, link));
                    }
                }
            }
        }
        match (best, failure, refused) {
            // The fence may have moved meanwhile.
            (Some((_, link)), ..) if self.will_do(&link) => Ok(link),
            // It may be the one that is wanted.
            (None, Some(error), _) => Err(error),
            (Some((_, link)), ..) | (None, None, Some(link)) => link.refuse().await,
            // There is no URL without a host.
            (None, None, None) => std::future::pending().await,
        }
    }

    fn will_do(&self, link: &Link) -> bool {
        self.fence.admits(&link.epoch) && (self.wanted == Wanted::Reader || !link.is_standby)
    }

    /// Whether one is to be preferred; nothing where they are alike, and the order of the list decides.
    fn is_better(&self, link: &Link, other: &Link) -> Option<bool> {
        match self.wanted {
            Wanted::Primary => link.epoch.partial_cmp(&other.epoch).filter(|o| o.is_ne()).map(|o| o.is_gt()),
            Wanted::Reader => (link.is_standby != other.is_standby).then_some(link.is_standby),
        }
    }
}

/// What the server says without being asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ears {
    /// Notified when there is a notification, or the connection has ended.
    pub(crate) notified: Arc<Notify>,
    /// Whether there was a warning.
    pub(crate) warned: Arc<AtomicBool>,
}

/// A connection to a server that has said who it is.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) task: JoinHandle<()>,
    pub(crate) ears: Ears,
    pub(crate) epoch: Epoch,
    pub(crate) is_standby: bool,
}

/// The name of a WAL file begins with its timeline, in eight hexadecimal digits; a standby names none, and its control file
/// may be behind, so that it can be taken for older than it is, and never for newer.
const WHO: &str = "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system())::text, \
    CASE WHEN pg_is_in_recovery() \
        THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline) \
            FROM pg_control_checkpoint() c, pg_control_recovery() r) \
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END";

impl Link {
    async fn open(host: &Config, transport: &Transport) -> Result<Link, Error> {
        let ears = Ears::default();
        let (client, task) = match transport {
            Transport::Tls(tls) if host.get_ssl_mode() != SslMode::Disable => {
                let (client, connection) = host.connect(MakeRustlsConnect::new((**tls).clone())).await?;
                (client, listen(connection, ears.clone()))
            }
            _ => {
                let (client, connection) = host.connect(NoTls).await?;
                (client, listen(connection, ears.clone()))
            }
        };
        let row = client.query_one(WHO, &[]).await?;
        let (is_standby, system, timeline): (bool, String, i32) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let epoch = Epoch { system, timeline: timeline.cast_unsigned() };
        Ok(Link { client, task, ears, epoch, is_standby })
    }

    /// The server itself says why it is not taken, so that this is an error like any other of a server that only reads.
    async fn refuse(self) -> Result<Link, Error> {
        const SQL: &str = "DO $$ BEGIN RAISE EXCEPTION 'this is not the primary that was seen last' \
                           USING ERRCODE = 'object_not_in_prerequisite_state'; END $$";
        self.client.batch_execute(SQL).await.map(|()| self)
    }
}

fn listen<S, T>(mut connection: Connection<S, T>, ears: Ears) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notification(_)) => ears.notified.notify_one(),
                // This is known before the statement's own result is.
                Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() == Some(Severity::Warning) => {
                    tracing::warn!(code = notice.code().code(), "the database warns: {}", notice.message());
                    ears.warned.store(true, Ordering::SeqCst);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection to the database ended");
                    break;
                }
            }
        }
        // Whoever waits for news finds the connection closed.
        ears.notified.notify_one();
    })
}
