//! One PostgreSQL for the whole run, and a database a test from a migrated template.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use store::embedded::{Embedded, find_server};
use store::pool::PoolSizes;
use store::{Databases, Transport};
use tokio::runtime::Runtime;
use tokio_postgres::config::Host;

const TEMPLATE: &str = "template_of_tests";

/// The runtime that all services of this run share.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"))
}

/// The server, and a process that stops it when this one has ended, however that came.
pub struct Cluster {
    server: Embedded,
    dir: PathBuf,
    _undertaker: Child,
}

/// The one server of this run.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// A directory of this run, removed when it has ended.
pub fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = cluster().dir.join(format!("{name}-{number}"));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir
}

impl Cluster {
    /// The server's own log, of all databases.
    pub fn log(&self) -> PathBuf {
        self.dir.join("cluster/postgres.log")
    }

    /// The directory of the server's own socket.
    pub fn socket_dir(&self) -> PathBuf {
        let config = self.server.config("postgres", "postgres");
        let directory = config.get_hosts().iter().find_map(|host| match host {
            Host::Unix(directory) => Some(directory.clone()),
            Host::Tcp(_) => None,
        });
        directory.expect("a unix socket")
    }

    fn start() -> Cluster {
        let dir = std::env::temp_dir().join(format!("safeconduct-tests-{}", std::process::id()));
        let bin = find_server(None).expect("a PostgreSQL server (make postgresql installs one)");
        let server = Embedded::start(&bin, &dir.join("cluster")).expect("PostgreSQL starts");
        // A static is never dropped. The pipe to this process closes when we end, by whatever means.
        let script = "cat >/dev/null; kill -INT \"$1\" 2>/dev/null; \
                      while kill -0 \"$1\" 2>/dev/null; do sleep 0.05; done; rm -rf \"$2\"";
        let undertaker = Command::new("sh")
            .args(["-c", script, "undertaker", &server.pid().to_string(), &dir.display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let cluster = Cluster { server, dir, _undertaker: undertaker };
        runtime().block_on(async {
            let admin = cluster.server.config("postgres", "postgres");
            store::migrate::ensure_database(&admin, TEMPLATE).await.expect("the template is made");
            let template = cluster.server.config("postgres", TEMPLATE);
            store::migrate::migrate_at(&Transport::Sockets, &template)
                .await
                .expect("the template is migrated");
        });
        cluster
    }

    /// A fresh, migrated database.
    pub fn database(&self) -> Database {
        self.copy_of(TEMPLATE)
    }

    fn copy_of(&self, template: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // Copying a template takes it exclusively, so one at a time.
        static COPYING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = COPYING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut admin = self.server.config("postgres", "postgres").connect_blocking();
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).expect("a database");
        Database { name, socket_dir: None }
    }
}

/// A database of one test.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    /// Where it is reached, unless at the server's own socket.
    socket_dir: Option<PathBuf>,
}

impl Database {
    /// How to connect to it as a role.
    pub fn config(&self, role: &str) -> tokio_postgres::Config {
        let Some(directory) = &self.socket_dir else { return cluster().server.config(role, &self.name) };
        let mut config = tokio_postgres::Config::new();
        config.host_path(directory).user(role).dbname(&self.name);
        config
    }

    /// The same database, reached by the socket in another directory.
    pub fn through(&self, socket_dir: &Path) -> Database {
        Database { name: self.name.clone(), socket_dir: Some(socket_dir.to_owned()) }
    }

    /// The service's pools, small.
    pub fn pools(&self) -> Databases {
        Databases::new(&Transport::Sockets, |role| self.config(role), PoolSizes::default()).expect("pools")
    }

    /// A copy of it as it is now, as a backup would be. Its services must have stopped.
    pub fn copy(&self) -> Database {
        let mut admin = cluster().server.config("postgres", "postgres").connect_blocking();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        admin.execute(end, &[&self.name]).expect("idle connections end");
        cluster().copy_of(&self.name)
    }

    /// From now on, under a service that runs, this is what the other one was, as after a failover to it.
    pub fn fail_over_to(&self, other: Database) {
        let mut admin = cluster().server.config("postgres", "postgres").connect_blocking();
        let (here, there) = (&self.name, &other.name);
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname IN ($1, $2)";
        for name in [here, there] {
            admin
                .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
                .expect("it closes");
        }
        admin.execute(end, &[here, there]).expect("connections end");
        for (from, to) in [(here, &format!("{there}_lost")), (there, here)] {
            admin.batch_execute(&format!("ALTER DATABASE {from} RENAME TO {to}")).expect("it is renamed");
        }
        admin.batch_execute(&format!("ALTER DATABASE {here} ALLOW_CONNECTIONS true")).expect("it opens");
    }

    /// A connection past every protection, as somebody with the disk has it.
    pub fn superuser(&self) -> postgres::Client {
        self.config("postgres").connect_blocking()
    }

    /// The same for the functions of `store`.
    pub async fn client(&self) -> tokio_postgres::Client {
        let connected = self.config("postgres").connect(tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("PostgreSQL answers");
        tokio::spawn(connection);
        client
    }
}

/// Connects without a runtime.
trait ConnectBlocking {
    fn connect_blocking(self) -> postgres::Client;
}

impl ConnectBlocking for tokio_postgres::Config {
    fn connect_blocking(self) -> postgres::Client {
        postgres::Config::from(self).connect(postgres::NoTls).expect("PostgreSQL answers")
    }
}

/// Says something in a test's output.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
