//! The program as it is installed, run as a process of its own with its own PostgreSQL, and what it uses of the
//! machine. Not what is asked of it.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::ops::Sub;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests::binary::released;
use tests::people::Person;
use tests::service::{Clock, ledger_keys};
use tests::world::try_get_from;

const PASSPHRASE: &str = "a passphrase of throw-away keys";
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// The service's process. Dropping it stops it and removes its directory.
pub struct Process {
    data: PathBuf,
    address: String,
    service: Child,
    undertaker: Child,
}

impl Process {
    /// Starts one on a fresh data directory, with the keys of the tests' ledgers.
    pub fn start(dir: &Path) -> Process {
        let data = dir.join("data");
        DirBuilder::new().recursive(true).mode(0o755).create(dir).expect("a directory");
        DirBuilder::new().mode(0o700).create(&data).expect("an empty data directory");
        DirBuilder::new().mode(0o700).create(data.join("keys")).expect("a directory");
        let keys = ledger_keys();
        for (name, key) in [("record", &keys.record), ("checkpoint", &keys.checkpoint)] {
            let path = data.join(format!("keys/{name}.pem"));
            let mut file =
                File::options().write(true).create_new(true).mode(0o600).open(path).expect("a file");
            file.write_all(key.to_pkcs8_pem(PASSPHRASE).expect("a key file").as_bytes()).expect("a file");
        }
        // Free now; nobody else asks for a port of this number in the meantime.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let log = File::create(data.join("service.log")).expect("a file");
        let service = Command::new(released())
            .args(["serve", "--listen", &address, "--origin", keys.origin.as_str(), "--data"])
            .arg(&data)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the program runs");
        let undertaker = undertaker(service.id(), dir);
        let mut process = Process { data, address, service, undertaker };
        process.wait_up();
        process
    }

    fn wait_up(&mut self) {
        let deadline = Instant::now() + LIMIT;
        let is_up = |url: &str| {
            let answer = try_get_from(url, &Person::new("nobody"), "/healthz", Clock::default().now());
            answer.is_ok_and(|answer| answer.status == 200)
        };
        while !is_up(&self.url()) {
            let ended = self.service.try_wait().expect("its state");
            assert!(ended.is_none() && Instant::now() < deadline, "it does not come up:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.join("service.log")).unwrap_or_default()
    }

    /// How the server's superuser connects to a database.
    pub fn database(&self, name: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.data.join("socket")).user("postgres").dbname(name);
        config
    }

    fn postmaster(&self) -> u32 {
        let text = fs::read_to_string(self.data.join("pg/postmaster.pid")).expect("a server");
        text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a process id")
    }

    /// What everybody has used so far.
    pub fn cpu(&self) -> Cpu {
        let server = self.postmaster();
        let children =
            fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        // The server's own account includes its children that ended.
        let postgres: f64 = children.split_whitespace().map(|pid| used_s(pid, 2)).sum();
        Cpu {
            client_s: used_s("self", 2),
            service_s: used_s(&self.service.id().to_string(), 2),
            postgres_s: postgres + used_s(&server.to_string(), 4),
        }
    }

    /// The most memory that the service had resident, in MB of 2^20 bytes.
    pub fn resident_max_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.service.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
        let kb = line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
        kb / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.undertaker.stdin.take());
        let _ = self.service.wait();
        let _ = self.undertaker.wait();
    }
}

/// A process that stops the service and removes its data when this one lets go of it or has ended, however that came.
fn undertaker(service: u32, data: &Path) -> Child {
    let script = "cat >/dev/null; kill -TERM \"$1\" 2>/dev/null; \
                  while kill -0 \"$1\" 2>/dev/null; do sleep 0.05; done; rm -rf \"$2\"";
    Command::new("sh")
        .args(["-c", script, "undertaker", &service.to_string(), &data.display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh runs")
}

/// Seconds of processor time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// This program.
    pub client_s: f64,
    /// The service.
    pub service_s: f64,
    /// PostgreSQL, all its processes.
    pub postgres_s: f64,
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu {
            client_s: self.client_s - before.client_s,
            service_s: self.service_s - before.service_s,
            postgres_s: self.postgres_s - before.postgres_s,
        }
    }
}

/// The first two (user and system) or all four (the same of children that ended) of a process's times; none of one
/// that has gone.
fn used_s(pid: &str, fields: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may contain anything. After it come state (field 3) and so on; the times are 14 to 17.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 =
        after.split_whitespace().skip(11).take(fields).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
