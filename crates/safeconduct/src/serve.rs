//! `safeconduct serve`: the service, from its arguments to an orderly end. `docs/operating/serve.md` is its manual.
//!
//! Without a database URL it runs a PostgreSQL of its own in the data directory. It prints what a founder and an
//! operator need (URL, keys, origin, ledger) to standard output, ending with `ready`, and its log as JSON to standard
//! error.

pub(crate) mod keys;
mod traces;
mod witnesses;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use disbursement_api::app::{self, App, router};
use disbursement_api::limits::{DatabaseLimits, Limits};
use disbursement_api::metrics;
use disbursement_api::pipeline::{self, LedgerKeys, Pipeline};
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::CharterState;
use records::scalar::Token;
use signing::keys::{PublicKey, SecretKey};
use signing::token::Signer;
use store::embedded::{self, Archive, Embedded};
use store::migrate::{self, Config};
use store::pool::PoolSizes;
use store::queries::{self, lists};
use store::{Databases, Transport};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use traces::Traces;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::error::{Error, Result};
use crate::{context, recovery, ui};

/// The database of a server of our own.
const DATABASE: &str = "safeconduct";
/// How often we look whether that server still runs.
const WATCH: Duration = Duration::from_millis(200);
/// When it does not, requests under way have so long to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Reads end on the server too, when nobody waits for them any more.
const READ_LIMITS: &str = "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s";

/// `safeconduct serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The data directory: the ledger's keys, its register and, without a database URL, the database
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The URL by which clients reach the service, which they sign; else http:// and the address
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The log's origin, for a ledger that is still to be founded
    #[arg(long, value_name = "NAME")]
    origin: Option<Token>,
    /// The publisher's register; else DIR/register.json
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    #[command(flatten)]
    token: keys::TokenArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    /// Where our own PostgreSQL archives its WAL, on another disk: for backup and restore
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    archive: Option<PathBuf>,
    /// The limits, all of them, in a file such as config/limits.toml; else that one
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// Where to answer what is counted (GET /metrics), for a monitor of your own; never the public address
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// A collector of traces, by OTLP over HTTP, such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Where a witness answers, by its name in the policy; once for each
    #[arg(long, value_name = "NAME=URL", value_parser = witnesses::address)]
    witness: Vec<(String, String)>,
    /// The time, if the service's clock is right although it is far from the ledger's last entry
    #[arg(long, value_name = "TIME")]
    confirm_clock: Option<Timestamp>,
}

/// Which database; without a URL, a PostgreSQL of our own in the data directory.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// A PostgreSQL that runs already, as the role safeconduct_service; else SAFECONDUCT_DATABASE_URL
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The same as the role safeconduct_read; else SAFECONDUCT_READ_URL
    #[arg(long, value_name = "URL")]
    read_url: Option<String>,
    /// The same as the role safeconduct_agency; else SAFECONDUCT_AGENCY_URL
    #[arg(long, value_name = "URL")]
    agency_url: Option<String>,
    /// The same as the database's owner, to migrate it at the start; else SAFECONDUCT_ADMIN_URL
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// The roots that certificates of a database's server must be by, in PEM: it is reached over TLS
    #[arg(long, value_name = "FILE")]
    database_ca: Option<PathBuf>,
    /// Reach a database's server in plain text, where the network in between is as private as a socket
    #[arg(long, conflicts_with = "database_ca")]
    allow_plain_text: bool,
    /// The directory of `postgres` and `initdb`; else the newest that the system has
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    postgres_bin: Option<PathBuf>,
}

impl DatabaseArgs {
    /// Starts a server of our own on a data directory, unless another one is named.
    pub(crate) fn open(
        &self,
        data: &Path,
        archive: Option<&Path>,
    ) -> Result<(Option<Embedded>, Connections)> {
        if let Some(service) = url(self.database_url.as_deref(), "SAFECONDUCT_DATABASE_URL")? {
            return Ok((None, Connections::external(self, service)?));
        }
        let archive = archive.map(Archive::at).transpose().map_err(explained)?;
        let settings = embedded::Settings { archive, ..embedded::Settings::default() };
        let server = Embedded::start_with(&self.server()?, data, settings).map_err(explained)?;
        let connections = Connections::embedded(&server);
        Ok((Some(server), connections))
    }

    /// The directory of the programs of a server of our own.
    pub(crate) fn server(&self) -> Result<PathBuf> {
        embedded::find_server(self.postgres_bin.as_deref()).map_err(explained)
    }

    /// Whether another server than our own is named.
    pub(crate) fn is_external(&self) -> bool {
        self.database_url.is_some() || std::env::var_os("SAFECONDUCT_DATABASE_URL").is_some()
    }
}

/// Runs the service until it is told to stop.
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    let traces = args.otlp.as_deref().map(Traces::to).transpose()?;
    log_to_stderr(traces.as_ref());
    let limits = limits(args.limits.as_deref())?;
    recovery::refuse_restored(&args.data)?;
    let (mut server, connections) = args.database.open(&args.data, args.archive.as_deref())?;
    // Beside a server of our own, we hold the data directory's lock by now.
    keys::refuse_lost(&args.data, &recovery::register_path(&args.data, args.register.as_ref()))?;
    let (record, checkpoint) = keys::open(&args.data, &args.token)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&args, &limits, connections, (record, checkpoint), server.as_mut()));
    runtime.shutdown_timeout(Duration::from_secs(10));
    if let Some(server) = server {
        server.stop().map_err(explained)?;
    }
    if let Some(traces) = traces {
        traces.stop();
    }
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    args: &ServeArgs,
    limits: &Limits,
    connections: Connections,
    (record, checkpoint): (SecretKey, Box<dyn Signer>),
    server: Option<&mut Embedded>,
) -> Result<()> {
    connections.prepare().await?;
    let databases = connections.databases(&limits.database)?;
    let charter = charter(&databases).await?;
    let origin = origin(args.origin.as_ref(), charter.as_ref(), checkpoint.public())?;
    let keys = Arc::new(LedgerKeys { record, checkpoint, origin });
    if let Some(charter) = &charter {
        same_keys(charter, &keys)?;
    }
    let listener = listen(args.listen, "--listen").await?;
    let for_metrics = match args.metrics {
        Some(address) => Some(listen(address, "--metrics").await?),
        None => None,
    };
    let url = public_url(args.public_url.as_deref(), listener.local_addr()?)?;
    let register = recovery::register_path(&args.data, args.register.as_ref());
    let settings = pipeline::Settings { confirm_clock: args.confirm_clock, ..limits.into() };
    let pipeline = Pipeline::start(databases.clone(), Arc::clone(&keys), register, context::now, settings);
    let interface = app::Settings { limits: limits.http.clone(), ..app::Settings::new(&url) };
    let asking = witnesses::gather(&pipeline, &databases, &args.witness);
    let app = App::new(pipeline.clone(), databases, &keys, context::now, interface);
    // Before it says that it is ready, it can be told to stop.
    let told = stop_signal()?;
    // It answers until the last: a stop that takes long is to be seen.
    let observed = match for_metrics {
        Some(listener) => {
            ui::line(format!("metrics         http://{}/metrics", listener.local_addr()?));
            let (router, limits) = (metrics::router(pipeline.clone()), limits.http.clone());
            tokio::spawn(async move { app::serve(listener, router, &limits, std::future::pending()).await })
        }
        None => tokio::spawn(std::future::ready(())),
    };
    announce(&url, &keys, charter.as_ref());

    let (loses, mut lost) = watch::channel(false);
    let stop = async {
        tokio::select! {
            () = told => tracing::info!("stopping"),
            () = gone(server) => {
                tracing::error!("the database's server has ended; stopping");
                pipeline.give_up();
                loses.send_replace(true);
            }
        }
    };
    let late = async {
        // The sender is ours.
        let _ = lost.wait_for(|lost| *lost).await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = app::serve(listener, router(app), &limits.http, stop) => {}
        () = late => tracing::warn!("requests were cut off, as the database's server has ended"),
    }
    asking.abort();
    pipeline.shutdown().await;
    observed.abort();
    if *lost.borrow() {
        Err(Error::new("the database's server ended; see postgres.log, and start the service again"))
    } else {
        Ok(())
    }
}

pub(crate) async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::new(format!("cannot listen on {address}: {error}; choose another address with {flag}"))
    })
}

/// How to connect as each role.
pub(crate) struct Connections {
    transport: Transport,
    service: Config,
    read: Config,
    agency: Config,
    /// Who migrates, and a database from which ours can be made.
    admin: Option<Config>,
    maintenance: Option<Config>,
}

impl Connections {
    fn embedded(server: &Embedded) -> Connections {
        let config = |role: &str| server.config(role, DATABASE);
        Connections {
            transport: Transport::Sockets,
            service: config("safeconduct_service"),
            read: config("safeconduct_read"),
            agency: config("safeconduct_agency"),
            admin: Some(config("postgres")),
            maintenance: Some(server.config("postgres", "postgres")),
        }
    }

    /// What is not given is the service's own, under the role's name.
    fn external(args: &DatabaseArgs, service: Config) -> Result<Connections> {
        let as_role = |role: &str| {
            let mut config = service.clone();
            config.user(role);
            config
        };
        let read = url(args.read_url.as_deref(), "SAFECONDUCT_READ_URL")?;
        let agency = url(args.agency_url.as_deref(), "SAFECONDUCT_AGENCY_URL")?;
        Ok(Connections {
            transport: transport(args)?,
            read: read.unwrap_or_else(|| as_role("safeconduct_read")),
            agency: agency.unwrap_or_else(|| as_role("safeconduct_agency")),
            admin: url(args.admin_url.as_deref(), "SAFECONDUCT_ADMIN_URL")?,
            maintenance: None,
            service,
        })
    }

    /// Makes the database, if it is ours to make, and migrates it, if we may.
    pub(crate) async fn prepare(&self) -> Result<()> {
        if let Some(maintenance) = &self.maintenance {
            migrate::ensure_database(maintenance, DATABASE).await.map_err(explained)?;
        }
        if let Some(admin) = &self.admin {
            migrate::migrate_at(&self.transport, admin).await.map_err(explained)?;
        }
        Ok(())
    }

    /// The pools; nothing is connected yet.
    pub(crate) fn databases(&self, limits: &DatabaseLimits) -> Result<Databases> {
        Databases::new(&self.transport, |role| self.config(role), PoolSizes::from(limits)).map_err(explained)
    }

    fn config(&self, role: &str) -> Config {
        let mut config = match role {
            "safeconduct_read" => self.read.clone(),
            "safeconduct_agency" => self.agency.clone(),
            _ => return self.service.clone(),
        };
        if config.get_options().is_none() {
            config.options(READ_LIMITS);
        }
        config
    }
}

/// How a server on the network is reached.
fn transport(args: &DatabaseArgs) -> Result<Transport> {
    match &args.database_ca {
        Some(path) => {
            let pem = std::fs::read(path)
                .map_err(|error| Error::new(format!("cannot read {}: {error}", shown(path))))?;
            Transport::tls(&pem).map_err(|error| Error::new(format!("{}: {}", shown(path), explained(error))))
        }
        None if args.allow_plain_text => Ok(Transport::PlainText),
        None => Ok(Transport::Sockets),
    }
}

/// A URL from the flag or, since command lines can be read by others, from the environment.
fn url(flag: Option<&str>, variable: &str) -> Result<Option<Config>> {
    let given = match flag {
        Some(url) => Some(url.to_owned()),
        None => std::env::var(variable).ok(),
    };
    let parsed = given.map(|url| url.parse::<Config>()).transpose();
    // The error's own words could hold a password.
    parsed.map_err(|_| Error::new(format!("the URL of the database ({variable}) is not one of PostgreSQL's: postgresql://role:password@host/database")))
}

/// The limits of a file, or those that are compiled in.
fn limits(file: Option<&Path>) -> Result<Limits> {
    let Some(file) = file else { return Ok(Limits::default()) };
    let wrong = |error: &dyn std::fmt::Display| Error::new(format!("the limits in {}: {error}", shown(file)));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    Limits::parse(&text).map_err(|error| wrong(&error))
}

async fn charter(databases: &Databases) -> Result<Option<CharterState>> {
    // Each role connects before we say that we are ready.
    drop(databases.service().await.map_err(explained)?);
    drop(databases.agency().await.map_err(explained)?);
    let client = databases.read().await.map_err(explained)?;
    if !queries::orders_by_bytes(&client).await.map_err(explained)? {
        return Err(Error::new("the database must have the locale C, since lists are in the order of bytes"));
    }
    lists::entity(&client, &Key::Charter).await.map_err(|error| {
        Error::new(format!("{}: is the database migrated? Start once with --admin-url", explained(error)))
    })
}

/// The founding record's origin; before there is one, the flag's, or a name that no other ledger has.
fn origin(flag: Option<&Token>, charter: Option<&CharterState>, key: &PublicKey) -> Result<Token> {
    match (flag, charter.map(CharterState::origin)) {
        (Some(flag), Some(founded)) if flag != founded => {
            Err(Error::new(format!("this ledger has the origin {founded}, not {flag}")))
        }
        (_, Some(founded)) => Ok(founded.clone()),
        (Some(flag), None) => Ok(flag.clone()),
        (None, None) => {
            let id = key.id().to_string();
            Ok(format!("safeconduct.local/{}", id.get(..16).unwrap_or(&id)).parse()?)
        }
    }
}

fn same_keys(state: &CharterState, keys: &LedgerKeys) -> Result<()> {
    let (ours, its) =
        ([keys.record.public(), keys.checkpoint.public()], [state.record_key(), state.checkpoint_key()]);
    if ours == its {
        return Ok(());
    }
    let [record, checkpoint] = its.map(PublicKey::id);
    let [our_record, our_checkpoint] = ours.map(PublicKey::id);
    Err(Error::new(format!(
        "the ledger's keys are {record} for records and {checkpoint} for checkpoints, and the data directory, or the token, has \
         {our_record} and {our_checkpoint}; restore the ledger's from your backup, or name the right token"
    )))
}

fn public_url(flag: Option<&str>, address: SocketAddr) -> Result<String> {
    let Some(url) = flag else { return Ok(format!("http://{address}")) };
    let url = url.trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(['?', '#', '@', ' '])
    {
        return Err(Error::new("the public URL is one such as https://ledger.example, without a query"));
    }
    Ok(url.to_owned())
}

fn announce(url: &str, keys: &LedgerKeys, charter: Option<&CharterState>) {
    ui::line(format!("url             {url}"));
    ui::line(format!("origin          {}", keys.origin));
    for (name, key) in [("record key", keys.record.public()), ("checkpoint key", keys.checkpoint.public())] {
        ui::line(format!("{name:<15} {}", keys::spki(key)));
        ui::line(format!("{:<15} {}", "  its id", key.id()));
    }
    match charter {
        Some(charter) => ui::line(format!("ledger          {}", charter.ledger)),
        None => ui::line("ledger          not founded yet"),
    }
    ui::line("ready");
}

/// Comes true at SIGINT or SIGTERM.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Comes true when our own server has ended; never without one.
async fn gone(server: Option<&mut Embedded>) {
    let Some(server) = server else { return std::future::pending().await };
    while server.is_running() {
        tokio::time::sleep(WATCH).await;
    }
}

pub(crate) fn log_to_stderr(traces: Option<&Traces>) {
    let filter = EnvFilter::try_from_env("SAFECONDUCT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    // A line says all that it has to say; the spans around it are for traces.
    let log = log.with_current_span(false).with_span_list(false).with_filter(filter);
    let all = tracing_subscriber::registry().with(traces.map(Traces::layer)).with(log);
    // Another one is there already where the service runs beside something else in one process.
    let _ = all.try_init();
}

/// An error with its causes, each once.
pub(crate) fn explained(error: impl std::error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    Error::new(text)
}

/// A path, for a message.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_is_what_clients_sign() {
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let of = |flag: Option<&str>| public_url(flag, address).ok();
        assert_eq!(of(None).as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(of(Some("https://ledger.example/")).as_deref(), Some("https://ledger.example"));
        assert_eq!(of(Some("https://example/ledger")).as_deref(), Some("https://example/ledger"));
        for bad in ["ledger.example", "https://", "https:///x", "ftp://x", "https://u@x", "https://x?y"] {
            assert_eq!(of(Some(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        let error = url(Some("postgresql://u:secret@h:notaport/d"), "X").err().unwrap().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
