//! `safeconduct serve`: the service, from its arguments to an orderly end. `docs/operating/serve.md` is its manual.
//!
//! Without a database URL it runs a PostgreSQL of its own in the data directory. It prints what a founder and an
//! operator need (URL, keys, origin, ledger) to standard output, ending with `ready`, and its log as JSON to standard
//! error.

mod keys;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use disbursement_api::app::{self, App, router};
use disbursement_api::limits::Limits;
use disbursement_api::pipeline::{self, LedgerKeys, Pipeline};
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::CharterState;
use records::scalar::Token;
use signing::keys::{PublicKey, SecretKey};
use store::Databases;
use store::embedded::{self, Embedded};
use store::migrate::{self, Config};
use store::pool::PoolSizes;
use store::queries::{self, lists};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};
use crate::{context, ui};

/// The database of a server of our own.
const DATABASE: &str = "safeconduct";
/// How often we look whether that server still runs.
const WATCH: Duration = Duration::from_secs(2);
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
    /// The directory of `postgres` and `initdb`; else the newest that the system has
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    postgres_bin: Option<PathBuf>,
    /// The limits, all of them, in a file such as config/limits.toml; else that one
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// The time, if the service's clock is right although it is far from the ledger's last entry
    #[arg(long, value_name = "TIME")]
    confirm_clock: Option<Timestamp>,
}

/// Runs the service until it is told to stop.
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    log_to_stderr();
    let limits = limits(args.limits.as_deref())?;
    let (mut server, connections) = match url(args.database_url.as_deref(), "SAFECONDUCT_DATABASE_URL")? {
        Some(service) => (None, Connections::external(&args, service)?),
        None => {
            let bin = embedded::find_server(args.postgres_bin.as_deref()).map_err(explained)?;
            let server = Embedded::start(&bin, &args.data).map_err(explained)?;
            let connections = Connections::embedded(&server);
            (Some(server), connections)
        }
    };
    // Beside a server of our own, we hold the data directory's lock by now.
    let (record, checkpoint) = keys::open(&args.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(&args, &limits, connections, (record, checkpoint), server.as_mut()));
    runtime.shutdown_timeout(Duration::from_secs(10));
    if let Some(server) = server {
        server.stop().map_err(explained)?;
    }
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    args: &ServeArgs,
    limits: &Limits,
    connections: Connections,
    (record, checkpoint): (SecretKey, SecretKey),
    server: Option<&mut Embedded>,
) -> Result<()> {
    connections.prepare(server.is_some()).await?;
    let sizes = PoolSizes::from(&limits.database);
    let databases = Databases::new(|role| connections.config(role), sizes).map_err(explained)?;
    let charter = charter(&databases).await?;
    let origin = origin(args.origin.as_ref(), charter.as_ref(), checkpoint.public())?;
    let keys = Arc::new(LedgerKeys { record, checkpoint, origin });
    if let Some(charter) = &charter {
        same_keys(charter, &keys)?;
    }
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Error::new(format!("cannot listen on {}: {error}; choose another address with --listen", args.listen))
    })?;
    let url = public_url(args.public_url.as_deref(), listener.local_addr()?)?;
    let register = args.register.clone().unwrap_or_else(|| args.data.join("register.json"));
    let settings = pipeline::Settings { confirm_clock: args.confirm_clock, ..limits.into() };
    let pipeline = Pipeline::start(databases.clone(), Arc::clone(&keys), register, context::now, settings);
    let interface = app::Settings { limits: limits.http.clone(), ..app::Settings::new(&url) };
    let app = App::new(pipeline.clone(), databases, &keys, context::now, interface);
    // Before it says that it is ready, it can be told to stop.
    let told = stop_signal()?;
    announce(&url, &keys, charter.as_ref());

    let mut lost = false;
    let stop = async {
        tokio::select! {
            () = told => tracing::info!("stopping"),
            () = gone(server) => {
                lost = true;
                tracing::error!("the database's server has ended; stopping");
            }
        }
    };
    app::serve(listener, router(app), &limits.http, stop).await;
    pipeline.shutdown().await;
    if lost {
        Err(Error::new("the database's server ended; see postgres.log, and start the service again"))
    } else {
        Ok(())
    }
}

/// How to connect as each role.
struct Connections {
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
            service: config("safeconduct_service"),
            read: config("safeconduct_read"),
            agency: config("safeconduct_agency"),
            admin: Some(config("postgres")),
            maintenance: Some(server.config("postgres", "postgres")),
        }
    }

    /// What is not given is the service's own, under the role's name.
    fn external(args: &ServeArgs, service: Config) -> Result<Connections> {
        let as_role = |role: &str| {
            let mut config = service.clone();
            config.user(role);
            config
        };
        let read = url(args.read_url.as_deref(), "SAFECONDUCT_READ_URL")?;
        let agency = url(args.agency_url.as_deref(), "SAFECONDUCT_AGENCY_URL")?;
        Ok(Connections {
            read: read.unwrap_or_else(|| as_role("safeconduct_read")),
            agency: agency.unwrap_or_else(|| as_role("safeconduct_agency")),
            admin: url(args.admin_url.as_deref(), "SAFECONDUCT_ADMIN_URL")?,
            maintenance: None,
            service,
        })
    }

    /// Makes the database, if it is ours to make, and migrates it, if we may.
    async fn prepare(&self, is_embedded: bool) -> Result<()> {
        if let Some(maintenance) = self.maintenance.as_ref().filter(|_| is_embedded) {
            migrate::ensure_database(maintenance, DATABASE).await.map_err(explained)?;
        }
        if let Some(admin) = &self.admin {
            migrate::migrate_at(admin).await.map_err(explained)?;
        }
        Ok(())
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
    match (flag, charter.map(|state| &state.charter.origin)) {
        (Some(flag), Some(founded)) if flag != founded => {
            Err(Error::new(format!("this ledger was founded with the origin {founded}, not {flag}")))
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
    let charter = &state.charter;
    if charter.record_key == *keys.record.public() && charter.checkpoint_key == *keys.checkpoint.public() {
        return Ok(());
    }
    Err(Error::new(
        "the keys in the data directory are not those that this ledger was founded with; restore them from your backup",
    ))
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
fn stop_signal() -> Result<impl Future<Output = ()>> {
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

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("SAFECONDUCT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // Another one is there already where the service runs beside something else in one process.
    let _ = log.with_writer(std::io::stderr).try_init();
}

/// An error with its causes, each once.
fn explained(error: impl std::error::Error) -> Error {
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
