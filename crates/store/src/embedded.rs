//! The PostgreSQL that the service runs for itself when it is given no database URL: durable (fsync and
//! synchronous commit stay on, data pages carry checksums), on a private unix socket only, in a data directory that
//! one process locks. It makes no database, no role and no table: that is [`crate::migrate`].
//!
//! A data directory holds
//!
//! | entry | what it is |
//! |---|---|
//! | `lock` | locked by the one process that runs the server |
//! | `pg/` | the cluster, owned by the account the server runs as |
//! | `socket/` | the directory of the unix socket, mode 0700 |
//! | `pg_hba.conf`, `pg_ident.conf` | who may connect; written anew at each start, out of the server's reach |
//! | `postgres.log` | what the server says; terse, so that no row is quoted there |
//!
//! PostgreSQL refuses to run as root. Started by root, the server runs as the owner of `pg/`, for a new cluster as
//! `postgres`, or `nobody` where there is no such account. That account must be able to enter the data directory:
//! its group is let through the directory itself (mode 0710), and each directory above must already let it through,
//! so `/root/...` does not do and `/var/lib/safeconduct` does. Nothing above the data directory is ever changed.
//!
//! A unix socket's path has at most 107 bytes. Where `socket/` lies too deep for that, the socket is in
//! `/tmp/safeconduct-<device>-<inode>` of the data directory: the same name at every start, mode 0700, and refused
//! when it belongs to somebody else.
//!
//! A service killed with -9 leaves its server running. The next start takes the lock, which the kernel released, and
//! stops that server first: it is known by its working directory, never by the number in a pid file alone.
//!
//! Backups are [`Archive`]'s.
//!
//! Linux only (`/proc`). `start` and `stop` block: call them outside the asynchronous part of the program.

mod accounts;
mod archive;
mod leftover;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::Config;

pub use self::archive::{Archive, Target};

use self::accounts::Accounts;
use self::leftover::{remove_stale, remove_unfinished, send, stop_stale};

/// The database roles that the accounts of the service and of the server may connect as.
pub const ROLES: [&str; 4] = ["postgres", "safeconduct_service", "safeconduct_agency", "safeconduct_read"];

const OLDEST_MAJOR: u32 = 15;
const SOCKET_NAME: &str = "/.s.PGSQL.5432";
const SOCKET_LOCK_NAME: &str = ".s.PGSQL.5432.lock";
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Recovery after a crash counts as starting, and one that is cut short begins again.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A fast shutdown writes a checkpoint; past this limit the shutdown is immediate and the next start recovers.
const FAST_STOP_LIMIT: Duration = Duration::from_secs(60);
const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Why the server could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer under /usr/lib/postgresql: install one (apt-get install \
         postgresql), or name the directory that holds its `postgres` and `initdb`"
    )]
    NoServer,
    #[error("{} does not hold `postgres` and `initdb`", .0.display())]
    NotAServer(PathBuf),
    #[error("another process runs the database in {}", .0.display())]
    Held(PathBuf),
    #[error("the system has no account {0}, and PostgreSQL identifies its users by account")]
    NoAccount(String),
    #[error(
        "the account {account}, which the server runs as, cannot enter {}: choose a place it can reach, such \
         as /var/lib/safeconduct, or let it through (chmod o+x)",
        .path.display()
    )]
    Unreachable { path: PathBuf, account: String },
    #[error("{} must be a directory that only its owner, {account}, can enter", .path.display())]
    NotPrivate { path: PathBuf, account: String },
    #[error("initdb could not make the cluster: {0}")]
    Initdb(String),
    #[error("{program} failed: {said}")]
    Tool { program: &'static str, said: String },
    #[error("{} has no base backup{}", .0.display(), if *.1 { " that was complete by then" } else { "" })]
    NoBase(PathBuf, bool),
    #[error("{} is not empty: restore into a new directory", .0.display())]
    NotEmpty(PathBuf),
    #[error("PostgreSQL did not start ({status}); its log ends with\n{log}")]
    Exited { status: ExitStatus, log: String },
    #[error("PostgreSQL is not ready after {} s; its log ends with\n{log}", START_LIMIT.as_secs())]
    NotReady { log: String },
    #[error("a PostgreSQL process on {} (pid {pid}) does not stop", .path.display())]
    StillRunning { path: PathBuf, pid: u32 },
    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn io_at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> EmbeddedError + 'a {
    move |source| EmbeddedError::Io { action, path: path.to_owned(), source }
}

/// The directory of a server's programs: `explicit` if given, else that of the newest
/// `/usr/lib/postgresql/<major>/bin`. Another installation, such as the `pginstall/bin` of a Python wheel, is named
/// explicitly.
pub fn find_server(explicit: Option<&Path>) -> Result<PathBuf, EmbeddedError> {
    match explicit {
        Some(bin) if is_server(bin) => Ok(bin.to_owned()),
        Some(bin) => Err(EmbeddedError::NotAServer(bin.to_owned())),
        None => newest_server(Path::new("/usr/lib/postgresql")).ok_or(EmbeddedError::NoServer),
    }
}

fn newest_server(root: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(root).ok()?.flatten();
    versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(major, bin): &(u32, _)| *major >= OLDEST_MAJOR && is_server(bin))
        .max()
        .map(|(_, bin)| bin)
}

fn is_server(bin: &Path) -> bool {
    bin.join("postgres").is_file() && bin.join("initdb").is_file()
}

/// What a server may be given to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it archives its WAL, so that what is in a base backup can be brought to any later time; see [`Archive`].
    pub archive: Option<Archive>,
    /// Memory for cached pages.
    pub shared_buffers_mb: u32,
    /// How many connections it accepts.
    pub max_connections: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { archive: None, shared_buffers_mb: 512, max_connections: 100 }
    }
}

/// A running server of our own. Dropping it stops it, as [`Embedded::stop`] does but without saying how that went.
#[derive(Debug)]
pub struct Embedded {
    child: Child,
    cluster: PathBuf,
    socket: PathBuf,
    // Released last, when the server is gone.
    _lock: File,
}

impl Embedded {
    /// Starts the server of `bin` on `data_dir`, making the cluster if there is none, with the usual settings.
    /// Returns when it accepts connections.
    pub fn start(bin: &Path, data_dir: &Path) -> Result<Embedded, EmbeddedError> {
        Embedded::start_with(bin, data_dir, Settings::default())
    }

    /// As [`Embedded::start`], with these settings.
    pub fn start_with(bin: &Path, data_dir: &Path, settings: Settings) -> Result<Embedded, EmbeddedError> {
        let bin = bin.canonicalize().map_err(io_at("find", bin))?;
        let data_dir = make_data_dir(data_dir)?;
        let lock = take_lock(&data_dir)?;
        let accounts = Accounts::of(&data_dir.join("pg"))?;
        accounts.admit(&data_dir, &bin)?;

        let cluster = make_cluster(&bin, &data_dir, &accounts)?;
        let archiving = match &settings.archive {
            Some(archive) => archive.open(&accounts)?,
            None => vec![],
        };
        Embedded::launch(&bin, &data_dir, cluster, lock, &accounts, &settings, archiving, START_LIMIT)
    }

    /// Runs the server on a cluster that is there, and returns when it takes writes.
    #[allow(clippy::too_many_arguments, reason = "the one way in which a server is run, for two callers")]
    fn launch(
        bin: &Path,
        data_dir: &Path,
        cluster: PathBuf,
        lock: File,
        accounts: &Accounts,
        settings: &Settings,
        further: Vec<OsString>,
        limit: Duration,
    ) -> Result<Embedded, EmbeddedError> {
        stop_stale(&cluster)?;
        let socket = make_socket_dir(data_dir, accounts)?;
        remove_stale(&socket.join(SOCKET_LOCK_NAME))?;
        accounts.write_access(data_dir)?;

        let log_path = data_dir.join("postgres.log");
        let log = File::options().append(true).create(true).mode(0o600).open(&log_path);
        let log = log.map_err(io_at("open", &log_path))?;
        let log_start = log.metadata().map_err(io_at("read", &log_path))?.len();
        let mut command = accounts.command(bin.join("postgres"));
        command.arg("-D").arg(&cluster);
        for setting in server_settings(data_dir, &socket, settings).into_iter().chain(further) {
            command.arg("-c").arg(setting);
        }
        // Its own process group: an interrupt from the terminal is the service's to handle, and it stops us in order.
        command.process_group(0).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(io_at("run the server of", bin))?;

        let mut server = Embedded { child, cluster, socket, _lock: lock };
        server.wait_ready(&log_path, log_start, limit)?;
        Ok(server)
    }

    /// How to connect as `role` to `database`, from an account that may.
    pub fn config(&self, role: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.socket).user(role).dbname(database);
        config
    }

    /// The server's process: its postmaster.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the postmaster still runs. It survives a crash of its parts, so this turns false only if it was killed.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends all sessions, writes a checkpoint and returns when the server is gone.
    pub fn stop(mut self) -> Result<(), EmbeddedError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), EmbeddedError> {
        for (signal, limit) in [(Signal::INT, FAST_STOP_LIMIT), (Signal::QUIT, IMMEDIATE_STOP_LIMIT)] {
            let deadline = Instant::now() + limit;
            if self.is_running() {
                send(signal, self.pid());
            }
            while self.is_running() && Instant::now() < deadline {
                sleep(POLL);
            }
        }
        if self.is_running() {
            return Err(EmbeddedError::StillRunning { path: self.cluster.clone(), pid: self.pid() });
        }
        Ok(())
    }

    fn wait_ready(&mut self, log: &Path, log_start: u64, limit: Duration) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().map_err(io_at("wait for", &self.cluster))? {
                return Err(EmbeddedError::Exited { status, log: log_tail(log, log_start) });
            }
            if is_ready(&self.cluster, self.pid()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(EmbeddedError::NotReady { log: log_tail(log, log_start) });
            }
            sleep(POLL);
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // If it does not stop, the next start finds it and tries again.
        let _ = self.shut_down();
    }
}

/// All that matters is set here, where neither `postgresql.conf` nor ALTER SYSTEM can override it.
fn server_settings(data_dir: &Path, socket: &Path, settings: &Settings) -> Vec<OsString> {
    let path = |name: &str, path: &Path| {
        let mut setting = OsString::from(name);
        setting.push(path);
        setting
    };
    let mut all = vec![
        path("unix_socket_directories=", socket),
        path("hba_file=", &data_dir.join("pg_hba.conf")),
        path("ident_file=", &data_dir.join("pg_ident.conf")),
        OsString::from(format!("shared_buffers={}MB", settings.shared_buffers_mb)),
        OsString::from(format!("max_connections={}", settings.max_connections)),
    ];
    let fixed = [
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
        "fsync=on",
        "full_page_writes=on",
        "synchronous_commit=on",
        // Keys arrive in no order, so after a checkpoint each page is soon logged as a whole once more: fewer checkpoints,
        // and such pages packed. A crash's recovery reads at most so much.
        "checkpoint_timeout=15min",
        "max_wal_size=4GB",
        "wal_compression=lz4",
        // Memory is never writable and executable at once, so that the service may be confined to that.
        "jit=off",
        "timezone=UTC",
        "log_timezone=UTC",
        "log_destination=stderr",
        "logging_collector=off",
        // Without this the log quotes the rows that a constraint refuses.
        "log_error_verbosity=terse",
        "log_parameter_max_length_on_error=0",
    ];
    all.extend(fixed.into_iter().map(OsString::from));
    all
}

fn make_data_dir(path: &Path) -> Result<PathBuf, EmbeddedError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io_at("create", parent))?;
    }
    make_private_dir(path)?;
    path.canonicalize().map_err(io_at("find", path))
}

/// Makes a directory of mode 0700, or leaves the one there is.
fn make_private_dir(path: &Path) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_at("create", path)(error)),
        _ => Ok(()),
    }
}

fn take_lock(data_dir: &Path) -> Result<File, EmbeddedError> {
    let path = data_dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(io_at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::Held(data_dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_at("lock", &path)(error)),
    }
}

/// Makes the cluster under another name and renames it, so that `pg/` is either whole or not there.
fn make_cluster(bin: &Path, data_dir: &Path, accounts: &Accounts) -> Result<PathBuf, EmbeddedError> {
    let cluster = data_dir.join("pg");
    if cluster.exists() {
        return cluster.canonicalize().map_err(io_at("find", &cluster));
    }
    for entry in fs::read_dir(data_dir).map_err(io_at("list", data_dir))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("pg.new-") {
            remove_unfinished(&entry.path())?;
        }
    }
    // A name of its own, as an interrupted initdb may still be at work in the directory just removed.
    let new = data_dir.join(format!("pg.new-{}", std::process::id()));
    make_private_dir(&new)?;
    accounts.give(&new)?;
    let mut initdb = accounts.command(bin.join("initdb"));
    initdb.arg("-D").arg(&new).args(["--auth-local=peer", "--auth-host=reject", "--data-checksums"]);
    initdb.args(["-E", "UTF8", "--no-locale", "-U", "postgres"]);
    let output = initdb.output().map_err(io_at("run the initdb of", bin))?;
    if !output.status.success() {
        return Err(EmbeddedError::Initdb(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    fs::rename(&new, &cluster).map_err(io_at("rename", &new))?;
    File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(io_at("sync", data_dir))?;
    Ok(cluster)
}

fn socket_dir(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let socket = data_dir.join("socket");
    if socket.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX_BYTES {
        return Ok(socket);
    }
    let meta = fs::metadata(data_dir).map_err(io_at("read", data_dir))?;
    Ok(PathBuf::from(format!("/tmp/safeconduct-{:x}-{:x}", meta.dev(), meta.ino())))
}

fn make_socket_dir(data_dir: &Path, accounts: &Accounts) -> Result<PathBuf, EmbeddedError> {
    let socket = socket_dir(data_dir)?;
    make_private_dir(&socket)?;
    let owner = || fs::symlink_metadata(&socket).map_err(io_at("read", &socket));
    if owner()?.uid() == accounts.service.uid {
        accounts.give(&socket)?;
    }
    let meta = owner()?;
    if !meta.is_dir() || meta.uid() != accounts.server.uid || meta.mode() & 0o077 != 0 {
        return Err(EmbeddedError::NotPrivate { path: socket, account: accounts.server.name.clone() });
    }
    Ok(socket)
}

/// The eighth line of the postmaster's pid file is its state.
fn is_ready(cluster: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next().is_some_and(|line| line.parse() == Ok(pid)) && lines.nth(6) == Some("ready")
}

fn log_tail(path: &Path, start: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut bytes)
    });
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    match read {
        Ok(_) => lines[lines.len().saturating_sub(15)..].join("\n"),
        Err(error) => format!("(unreadable: {error})"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use rustix::process::geteuid;
    use tokio_postgres::{Client, NoTls};

    use super::*;

    /// A directory of one test, gone when the test is.
    pub(crate) struct TestDir(PathBuf);

    impl TestDir {
        pub(crate) fn new(name: &str) -> TestDir {
            let path = std::env::temp_dir().join(format!("safeconduct-{name}-{}", std::process::id()));
            make_private_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o711)).unwrap();
            TestDir(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Connects, with the connection's task on the test's runtime.
    pub(crate) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn rows(server: &Embedded) -> i64 {
        let client = connect(&server.config("safeconduct_service", "postgres")).await.unwrap();
        client.query_one("SELECT count(*) FROM kept", &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn serves_each_role_and_loses_nothing_when_killed() {
        let dir = TestDir::new("embedded");
        let bin = find_server(None).unwrap();
        let began = Instant::now();
        let mut server = Embedded::start(&bin, dir.path()).unwrap();
        eprintln!("initdb and start: {:?}", began.elapsed());
        assert!(matches!(Embedded::start(&bin, dir.path()), Err(EmbeddedError::Held(_))));

        let admin = connect(&server.config("postgres", "postgres")).await.unwrap();
        for role in &ROLES[1..] {
            admin.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
        }
        admin.batch_execute("CREATE ROLE stranger LOGIN").await.unwrap();
        admin.batch_execute("CREATE TABLE kept (n int); GRANT ALL ON kept TO PUBLIC").await.unwrap();
        for role in ROLES {
            let client = connect(&server.config(role, "postgres")).await.unwrap();
            client.batch_execute("INSERT INTO kept VALUES (1)").await.unwrap();
        }
        assert!(connect(&server.config("stranger", "postgres")).await.is_err());
        for (name, value) in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("data_checksums", "on"),
            ("jit", "off"),
            ("listen_addresses", ""),
            ("shared_buffers", "512MB"),
        ] {
            let row = admin.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), value, "{name}");
        }

        // The postmaster is killed, which a busy session does not notice.
        let busy = connect(&server.config("safeconduct_read", "postgres")).await.unwrap();
        tokio::spawn(async move { busy.batch_execute("DO 'BEGIN LOOP END LOOP; END'").await });
        let active =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%' AND pid <> pg_backend_pid()";
        while admin.query_one(active, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        send(Signal::KILL, server.pid());
        while server.is_running() {
            sleep(POLL);
        }
        drop(server);
        assert!(!leftover::server_processes(&dir.path().join("pg")).unwrap().is_empty());
        let began = Instant::now();
        let mut server = Embedded::start(&bin, dir.path()).unwrap();
        eprintln!("start after kill -9: {:?}", began.elapsed());
        assert_eq!(rows(&server).await, 4);

        // Both are killed, and nobody has taken note of the server's end: its number is not free.
        let other = Command::new("true").spawn().unwrap();
        let mut dead = std::mem::replace(&mut server.child, other);
        drop(server);
        send(Signal::KILL, dead.id());
        let mut server = Embedded::start(&bin, dir.path()).unwrap();
        assert!(dead.wait().is_ok());
        assert_eq!(rows(&server).await, 4);

        // The service is killed: its lock is free, its server still runs.
        let other = Command::new("true").spawn().unwrap();
        let mut orphan = std::mem::replace(&mut server.child, other);
        drop(server);
        assert!(orphan.try_wait().unwrap().is_none());
        let server = Embedded::start(&bin, dir.path()).unwrap();
        assert!(orphan.try_wait().unwrap().is_some_and(|status| status.success()));
        assert_eq!(rows(&server).await, 4);

        let began = Instant::now();
        server.stop().unwrap();
        eprintln!("stop: {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_long_path_gets_a_short_socket() {
        let dir = TestDir::new("long");
        let deep = dir.path().join("d".repeat(100));
        let server = Embedded::start(&find_server(None).unwrap(), &deep).unwrap();
        let socket = server.socket.clone();
        assert!(socket.starts_with("/tmp"));
        assert!(connect(&server.config("postgres", "postgres")).await.is_ok());
        server.stop().unwrap();
        fs::remove_dir(socket).unwrap();
    }

    #[test]
    fn says_why_it_cannot_start() {
        let dir = TestDir::new("refusals");
        assert!(matches!(find_server(Some(dir.path())), Err(EmbeddedError::NotAServer(_))));
        fs::create_dir(dir.path().join("pg")).unwrap();
        let error = Embedded::start(&find_server(None).unwrap(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("pg"), "{error}");

        if geteuid().is_root() {
            let closed = dir.path().join("closed");
            make_private_dir(&closed).unwrap();
            let error = Embedded::start(&find_server(None).unwrap(), &closed.join("data")).unwrap_err();
            assert!(matches!(error, EmbeddedError::Unreachable { path, .. } if path == closed));
        }
    }
}
