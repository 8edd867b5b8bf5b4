//! The program as a process, with a PostgreSQL of its own or beside one, for tests that kill them or take away what they
//! need.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use store::embedded::{Embedded, find_server};
use tests::binary::safeconduct;
use tests::cluster::{runtime, scratch};
use tests::people::Person;
use tests::service::{Clock, ledger_keys, write_keys};
use tests::world::{policy, try_get_from};

pub use tests::world::Desk;

const PASSPHRASE: &str = "correct horse battery staple";
const DATABASE: &str = "safeconduct";
/// Recovery, on a busy machine: PostgreSQL syncs every file that it has.
pub const UP_LIMIT: Duration = Duration::from_secs(180);
/// The watch, the patience of the writer, and the publisher's last tries.
const END_LIMIT: Duration = Duration::from_secs(45);
pub const PAUSE: Duration = Duration::from_millis(20);

pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// Whose PostgreSQL it is.
enum Server {
    /// The service's: it starts it and ends with it.
    Own,
    /// The test's, with these programs: none while it is down.
    Beside { server: Option<Embedded>, bin: PathBuf },
}

/// A data directory, the service that runs on it, and its PostgreSQL.
pub struct Ground {
    pub data: PathBuf,
    /// What the service has in its environment besides.
    pub environment: Vec<(&'static str, PathBuf)>,
    address: String,
    service: Option<Child>,
    server: Server,
}

impl Ground {
    /// Nothing yet, and no keys.
    pub fn bare() -> Ground {
        let data = scratch("ground").join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        // Free now; nobody else asks for a port of this number in the meantime.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        Ground { data, environment: vec![], address, service: None, server: Server::Own }
    }

    /// With the keys of the tests' ledgers.
    pub fn with_keys() -> Ground {
        let ground = Ground::bare();
        write_keys(&ground.data, PASSPHRASE);
        ground
    }

    /// The same beside a PostgreSQL that the test runs, with the programs of this directory.
    pub fn beside_a_server(bin: Option<&Path>) -> Ground {
        let mut ground = Ground::with_keys();
        ground.server = Server::Beside { server: None, bin: find_server(bin).unwrap() };
        let maintenance = ground.start_server().config("postgres", "postgres");
        runtime().block_on(store::migrate::ensure_database(&maintenance, DATABASE)).unwrap();
        ground
    }

    /// A ledger on it, with everybody enrolled and money to request.
    pub fn found(&mut self) -> Desk {
        self.start();
        self.wait_up();
        let mut desk = Desk {
            url: self.url(),
            clock: Clock::default(),
            ledger: signing::digest::Digest::of("none yet"),
        };
        desk.found(policy());
        desk.fund("9000000000.00");
        desk.offer();
        desk
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn is_beside(&self) -> bool {
        matches!(self.server, Server::Beside { .. })
    }

    pub fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.data.join("service.log")).unwrap();
        let mut command = Command::new(safeconduct());
        command
            .args(["serve", "--listen", &self.address, "--origin", ledger_keys().origin.as_str(), "--data"])
            .arg(&self.data)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_LOG", "warn")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.is_beside() {
            let url = |user| format!("host={} user={user} dbname={DATABASE}", self.socket_dir().display());
            command.env("SAFECONDUCT_DATABASE_URL", url("safeconduct_service"));
            command.env("SAFECONDUCT_ADMIN_URL", url("postgres"));
        }
        let service = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.service = Some(service);
    }

    /// Starts the server that is not the service's own, again where it was killed.
    pub fn start_server(&mut self) -> &Embedded {
        let data = self.server_data();
        let Server::Beside { server, bin } = &mut self.server else { panic!("the service starts its own") };
        // What is left of the one before lets go of the lock.
        drop(server.take());
        server.insert(Embedded::start(bin, &data).unwrap())
    }

    /// Whether the server that is not the service's own still runs.
    pub fn server_runs(&mut self) -> bool {
        let Server::Beside { server, .. } = &mut self.server else { panic!("the service watches its own") };
        server.as_mut().is_some_and(Embedded::is_running)
    }

    fn service(&mut self) -> &mut Child {
        self.service.as_mut().expect("a service that was started")
    }

    pub fn service_pid(&mut self) -> u32 {
        self.service().id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.service().try_wait().unwrap()
    }

    /// Waits until it answers. It must not end meanwhile.
    pub fn wait_up(&mut self) {
        let (deadline, url) = (Instant::now() + UP_LIMIT, self.url());
        while !is_up(&url) {
            if let Some(status) = self.ended() {
                panic!("the service ended ({status}):\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the service does not come up:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Waits until it ends by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "the service does not end:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    pub fn kill_service(&mut self) {
        let service = self.service();
        service.kill().unwrap();
        service.wait().unwrap();
    }

    fn server_data(&self) -> PathBuf {
        match self.server {
            Server::Own => self.data.clone(),
            Server::Beside { .. } => self.data.with_file_name("server"),
        }
    }

    fn socket_dir(&self) -> PathBuf {
        self.server_data().join("socket")
    }

    pub fn postmaster(&self) -> Option<u32> {
        let text = fs::read_to_string(self.server_data().join("pg/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The server's processes by what they are: `safeconduct_service` serves the service's role, `walwriter` and others
    /// are its helpers, and the empty word is all of them.
    pub fn processes(&self, of: &str) -> Vec<u32> {
        let Some(postmaster) = self.postmaster() else { return vec![] };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let title = format!("postgres: {of}");
        let serves = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(&title))
        };
        let pids = children.unwrap_or_default();
        pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(serves).collect()
    }

    /// How to reach the database past every protection.
    pub fn superuser(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_dir()).user("postgres").dbname(DATABASE);
        config
    }

    /// The end of what the service and PostgreSQL said.
    pub fn log(&self) -> String {
        let logs = [self.data.join("service.log"), self.server_data().join("postgres.log")];
        let tail = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        logs.each_ref().map(tail).join("\n---\n")
    }
}

pub fn is_up(url: &str) -> bool {
    // Unsigned, so it does not matter who asks.
    let answer = try_get_from(url, &Person::new("nobody"), "/healthz", Clock::default().now());
    answer.is_ok_and(|answer| answer.status == 200)
}

impl Drop for Ground {
    fn drop(&mut self) {
        let Some(mut service) = self.service.take() else { return };
        kill(service.id(), Signal::TERM);
        let deadline = Instant::now() + END_LIMIT;
        while matches!(service.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        let _ = service.kill();
        let _ = service.wait();
        if !self.is_beside()
            && let Some(postmaster) = self.postmaster()
        {
            kill(postmaster, Signal::QUIT);
        }
    }
}
