//! Two servers on this machine, made and led by the commands of `docs/operating/replication.md`, over TCP with TLS.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use store::embedded::find_server;
use store::{Databases, Transport, migrate};
use tests::binary::root;
use tests::cluster::{pool_sizes, runtime, scratch};
use tests::wait::until;

/// The document's block of commands under a heading.
pub fn commands(heading: &str) -> String {
    commands_in("docs/operating/replication.md", heading)
}

/// The same of another page.
pub fn commands_in(page: &str, heading: &str) -> String {
    let text = fs::read_to_string(root().join(page)).expect("the document");
    let below = text.split_once(&format!("### {heading}\n")).map(|(_, below)| below);
    let block = below.and_then(|below| below.split_once("```sh\n")?.1.split_once("\n```"));
    block.map(|(block, _)| block.to_owned()).unwrap_or_else(|| panic!("no commands under {heading}"))
}

/// A server, or the place for one.
pub struct Server {
    /// All that it has.
    pub dir: PathBuf,
    /// Its port.
    pub port: u16,
    /// What the document's commands are told.
    pub variables: Vec<(&'static str, String)>,
}

/// The primary to begin with, and its standby.
pub struct Pair {
    pub a: Server,
    pub b: Server,
}

impl Pair {
    /// A primary without a standby, which it does not wait for either.
    pub fn alone() -> Pair {
        let pair = Pair::places();
        pair.a.run("The authority");
        pair.a.run("A server's certificate");
        pair.a.begin();
        pair.a.sh(&commands("Promotion").lines().take(2).collect::<Vec<_>>().join("\n"));
        pair.prepare();
        pair
    }

    /// Both, in step.
    pub fn start() -> Pair {
        let pair = Pair::certified();
        pair.a.begin();
        pair.b.run("The standby");
        pair.b.run("The settings of a server");
        pair.b.run("The standby's start");
        pair.a.waits_for_standby();
        pair.prepare();
        pair
    }

    /// Two places for servers that know each other.
    pub fn certified() -> Pair {
        let pair = Pair::places();
        pair.a.run("The authority");
        for file in ["ca.crt", "ca.key"] {
            let (from, to) = (pair.a.dir.join("tls").join(file), pair.b.dir.join("tls").join(file));
            fs::copy(&from, &to).unwrap();
            give(&to);
        }
        pair.a.run("A server's certificate");
        pair.b.run("A server's certificate");
        pair
    }

    fn places() -> Pair {
        let dir = scratch("failover");
        let (a, b) = (free_port(), free_port());
        Pair {
            a: Server::place(&dir.join("a"), ["a", "b"], [a, b]),
            b: Server::place(&dir.join("b"), ["b", "a"], [b, a]),
        }
    }

    /// The service's tables and roles, on the first.
    pub fn prepare(&self) {
        let admin = url("ledger_admin", &[&self.a]).parse().unwrap();
        runtime().block_on(migrate::migrate_at(&self.transport(), &admin)).unwrap();
        self.a.run("The roles' passwords");
    }

    /// The roots, in PEM.
    pub fn ca(&self) -> PathBuf {
        self.a.dir.join("tls/ca.crt")
    }

    pub fn transport(&self) -> Transport {
        Transport::tls(&fs::read(self.ca()).unwrap()).unwrap()
    }

    /// The service's pools, on these hosts.
    pub fn databases(&self, hosts: &[&Server]) -> Databases {
        let config = |role: &str| url(role, hosts).parse().unwrap();
        Databases::new(&self.transport(), config, pool_sizes()).unwrap()
    }

    /// The old primary is the new one's standby.
    pub fn swap(&self) {
        for heading in [
            "The old primary becomes the standby",
            "The standby",
            "The settings of a server",
            "The standby's start",
        ] {
            self.a.run(heading);
        }
        self.b.run("The settings of a server");
        self.b.run("The new primary waits for it");
        self.b.waits_for_standby();
    }
}

/// The URL of a role on these hosts, in this order.
pub fn url(role: &str, hosts: &[&Server]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("localhost:{}", host.port)).collect();
    format!("postgresql://{role}:{}@{}/safeconduct", password(role), hosts.join(","))
}

/// A role's.
pub fn password(role: &str) -> String {
    format!("of {role}").replace(' ', "-")
}

/// A port that nobody else takes while its server is down: below those that the system gives away.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// PostgreSQL refuses to run as root: by whom it is run then.
fn account() -> Option<(u32, u32)> {
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("an account postgres, as Debian's package makes")
    };
    geteuid().is_root().then(|| (id("-u"), id("-g")))
}

fn give(path: &Path) {
    if let Some((uid, gid)) = account() {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
}

impl Server {
    fn place(dir: &Path, [name, peer]: [&str; 2], [port, peer_port]: [u16; 2]) -> Server {
        fs::create_dir(dir).unwrap();
        fs::DirBuilder::new().mode(0o755).create(dir.join("tls")).unwrap();
        give(dir);
        give(&dir.join("tls"));
        let bin = find_server(None).unwrap();
        let variables = vec![
            ("HERE", "localhost".to_owned()),
            ("PORT", port.to_string()),
            ("NAME", format!("ledger_{name}")),
            ("PEER", "localhost".to_owned()),
            ("PEER_PORT", peer_port.to_string()),
            ("PEER_NAME", format!("ledger_{peer}")),
            ("DATA", dir.join("data").display().to_string()),
            ("RUN", dir.display().to_string()),
            ("TLS", dir.join("tls").display().to_string()),
            ("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())),
            ("REPLICATOR_PASSWORD", password("replicator")),
            ("ADMIN_PASSWORD", password("ledger_admin")),
            ("SERVICE_PASSWORD", password("safeconduct_service")),
            ("READ_PASSWORD", password("safeconduct_read")),
            ("AGENCY_PASSWORD", password("safeconduct_agency")),
        ];
        Server { dir: dir.to_owned(), port, variables }
    }

    /// Makes it a primary, with a database, and no standby yet.
    #[track_caller]
    fn begin(&self) {
        for heading in ["The primary", "The settings of a server", "Its start", "The database"] {
            self.run(heading);
        }
    }

    /// Runs the document's commands under a heading.
    #[track_caller]
    pub fn run(&self, heading: &str) {
        let commands = commands(heading);
        // Peers are known by their account, which is another's where this is not run by root.
        let is_own = account().is_some();
        self.sh(&if is_own { commands } else { commands.replace("   peer\n", "   trust\n") });
    }

    /// Runs commands as the server's account.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self
            .command("bash")
            .args(["-c", &format!("set -eu -o pipefail; umask 077\n{script}")])
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}\n{errors}\n{}", self.log());
        said
    }

    /// A program that runs as the server's account.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env("HOME", &self.dir).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        if let Some((uid, gid)) = account() {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("data/server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Asks as a superuser; the rows of the answer, a line each.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.sh(&format!(
            "psql -qAt -h \"$RUN\" -p $PORT -U postgres -d safeconduct -v ON_ERROR_STOP=1 -c {}",
            quoted(sql)
        ))
    }

    /// Returns when its standby is in step, and is waited for.
    pub fn waits_for_standby(&self) {
        let sql =
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
        let ask = format!("psql -qAt -h \"$RUN\" -p $PORT -U postgres -d postgres -c {}", quoted(sql));
        until("a synchronous standby", || self.sh(&ask) == "1");
    }

    /// The processes of sessions that wait for a standby, and what they run.
    pub fn waiting(&self) -> Vec<(i32, String)> {
        let sql =
            "SELECT pid || ' ' || query FROM pg_stat_activity WHERE wait_event = 'SyncRep' ORDER BY pid";
        let lines = self.psql(sql);
        let split = |line: &str| {
            let (pid, query) = line.split_once(' ')?;
            Some((pid.parse().ok()?, query.to_owned()))
        };
        lines.lines().filter_map(split).collect()
    }

    /// Ends it at once, as a machine does whose power fails.
    pub fn kill(&self) {
        assert!(self.end(), "it does not run");
    }

    /// It gets no time any more, as on a machine that hangs: connections stay, and nobody answers.
    pub fn freeze(&self) -> Frozen {
        let all = self.stopped();
        assert!(!all.is_empty(), "it does not run");
        Frozen(all)
    }

    /// All its processes, which go on no further; none if it does not run.
    fn stopped(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap_or_default();
        let Some(postmaster) = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else {
            return vec![];
        };
        // It makes no further ones.
        signal(postmaster, Signal::STOP);
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        let all = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([postmaster]);
        let all: Vec<i32> = all.collect();
        all.iter().for_each(|pid| signal(*pid, Signal::STOP));
        all
    }

    /// Kills all its processes, if it runs.
    fn end(&self) -> bool {
        let all = self.stopped();
        if all.is_empty() {
            return false;
        }
        all.iter().for_each(|pid| signal(*pid, Signal::KILL));
        until("its end", || all.iter().all(|pid| has_ended(*pid)));
        // The number may stay taken, where nobody asks how it ended.
        for lock in ["data/postmaster.pid".to_owned(), format!(".s.PGSQL.{}.lock", self.port)] {
            let _ = fs::remove_file(self.dir.join(lock));
        }
        true
    }

    /// Starts it again as it is.
    pub fn revive(&self) {
        self.run("The standby's start");
    }

    /// Starts it again, to wait for nobody: the worst that can come back.
    pub fn revive_alone(&self) {
        self.sh(commands("Promotion").lines().next().unwrap());
        self.revive();
    }
}

/// A server that hangs, until this is dropped.
pub struct Frozen(Vec<i32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| signal(*pid, Signal::CONT));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(pid: i32, signal: Signal) {
    // It may be gone already.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn has_ended(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}
