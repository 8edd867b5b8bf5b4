//! The program itself, with its own PostgreSQL, under kill -9: what was acknowledged is never lost, nothing is ever
//! doubled, and no size of the log ever has two signed heads. `CRASH_SEED` repeats the choices of a run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use records::cases::{CaseOpening, Screening, ScreeningOutcome};
use records::{Basis, Body, Verified};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use signing::digest::Digest;
use tests::binary::safeconduct;
use tests::cluster::{say, scratch};
use tests::people::Person;
use tests::service::{Clock, ledger_keys, write_keys};
use tests::world::{Desk, evidence, get_unsigned, id, new_life, policy, try_get_from, try_post_to};

use crate::choices::Choices;
use crate::evidence::{Heads, Log, verified};

const PASSPHRASE: &str = "correct horse battery staple";
const CLIENTS: u64 = 3;
/// Recovery, on a busy machine.
const UP_LIMIT: Duration = Duration::from_secs(60);
/// The watch, the patience of the writer, and the publisher's last tries.
const END_LIMIT: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(20);

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// A data directory, and the service that runs on it.
struct Ground {
    data: PathBuf,
    address: String,
    service: Option<Child>,
}

impl Ground {
    /// Nothing yet.
    fn bare() -> Ground {
        let data = scratch("crash").join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        // Free now; nobody else asks for a port of this number in the meantime.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Ground { data, address: format!("127.0.0.1:{port}"), service: None }
    }

    /// With the keys of the tests' ledgers.
    fn with_keys() -> Ground {
        let ground = Ground::bare();
        write_keys(&ground.data, PASSPHRASE);
        ground
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn start(&mut self) {
        let log = File::options().append(true).create(true).open(self.data.join("service.log")).unwrap();
        let service = Command::new(safeconduct())
            .args(["serve", "--listen", &self.address, "--origin", ledger_keys().origin.as_str(), "--data"])
            .arg(&self.data)
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.service = Some(service);
    }

    fn service(&mut self) -> &mut Child {
        self.service.as_mut().expect("a service that was started")
    }

    /// Waits until it answers. It must not end meanwhile.
    fn wait_up(&mut self) {
        let (deadline, url) = (Instant::now() + UP_LIMIT, self.url());
        while !is_up(&url) {
            if let Some(status) = self.service().try_wait().unwrap() {
                panic!("the service ended ({status}):\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the service does not come up:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Waits until it ends by itself.
    fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            if let Some(status) = self.service().try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the service does not end:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    fn kill_service(&mut self) {
        let service = self.service();
        service.kill().unwrap();
        service.wait().unwrap();
    }

    fn postmaster(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data.join("pg/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The server's processes that serve the service's own role.
    fn backends(&self) -> Vec<u32> {
        let Some(postmaster) = self.postmaster() else { return vec![] };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let serves = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("postgres: safeconduct_service"))
        };
        let pids = children.unwrap_or_default();
        pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(serves).collect()
    }

    fn database(&self) -> postgres::Client {
        let mut config = postgres::Config::new();
        config.host_path(self.data.join("socket")).user("postgres").dbname("safeconduct");
        config.connect(postgres::NoTls).unwrap()
    }

    /// The end of what the service said.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.data.join("service.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

fn is_up(url: &str) -> bool {
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
        if let Some(postmaster) = self.postmaster() {
            kill(postmaster, Signal::QUIT);
        }
    }
}

/// What the clients learn.
#[derive(Default)]
struct Seen {
    accepted: Mutex<BTreeMap<Digest, u64>>,
    heads: Mutex<Heads>,
    /// The clients end when their chains do.
    is_over: AtomicBool,
    /// They end at once.
    has_failed: AtomicBool,
}

impl Seen {
    fn accepted(&self) -> BTreeMap<Digest, u64> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn head(&self, note: &str) -> u64 {
        self.heads.lock().unwrap().see(note)
    }
}

/// Where one thread fails, the others do not wait for it.
struct Failure<'a>(&'a Seen);

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_over.store(true, Ordering::Relaxed);
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Sends an instruction until it has its receipt, as every client may.
fn send(url: &str, record: &Verified, seen: &Seen) {
    let deadline = Instant::now() + UP_LIMIT;
    let mut first_position = None;
    while !seen.has_failed.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "no receipt for {}", record.digest());
        let Some(answer) = try_post_to(url, &[record.envelope().clone()], "each") else {
            thread::sleep(PAUSE);
            continue;
        };
        if answer.status == 503 {
            assert_eq!(answer.json["transient"], true, "{}", answer.text);
            thread::sleep(PAUSE);
            continue;
        }
        assert_eq!((answer.status, answer.code()), (200, "ok"), "{}", answer.text);
        let (result, position) = (&answer.json["results"][0], answer.position());
        assert_eq!(result["digest"], record.digest().to_string());
        assert_eq!(*first_position.get_or_insert(position), position, "it has two positions");
        if result["status"] == "accepted" {
            let covered = seen.head(answer.json["checkpoint"].as_str().unwrap());
            assert!(covered > position, "{}", answer.text);
            seen.accepted.lock().unwrap().insert(record.digest(), position);
            return;
        }
    }
}

/// Opens cases, clears them and requests the grant, each once the one before has its receipt.
fn client(desk: &Desk, basis: Basis, number: u64, seen: &Seen) {
    for n in 0.. {
        let case = format!("case-{number}-{n}");
        let opening = CaseOpening {
            agency: id("north"),
            agency_ref: id(&format!("{case}-ref")),
            case: id(&case),
            entered: id("2026-03-01"),
            offer: new_life(),
        };
        let screening = Screening {
            case: id(&case),
            evidence: evidence(),
            outcome: ScreeningOutcome::Cleared,
            person: Digest::of(&case),
        };
        let request = desk.request(&format!("d-{number}-{n}"), &case, "grant", "5000.00");
        let chain = [
            ("anna", Body::CaseOpening(opening)),
            ("sven", Body::Screening(screening)),
            ("anna", Body::Request(request)),
        ];
        for (who, body) in chain {
            send(&desk.url, &desk.sign_on(basis, who, body), seen);
        }
        if seen.is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Reads, again where the database is just coming back.
fn read(desk: &Desk, who: &str, path: &str) -> String {
    let deadline = Instant::now() + UP_LIMIT;
    loop {
        let answer = desk.get(who, path);
        match answer.status {
            200 => return answer.text,
            503 if answer.json["transient"] == true => {}
            _ => panic!("{}", answer.text),
        }
        assert!(Instant::now() < deadline, "{}", answer.text);
        thread::sleep(PAUSE);
    }
}

/// Compares everything that there is with everything that was promised.
fn check(ground: &Ground, desk: &Desk, seen: &Seen) -> Log {
    let accepted = seen.accepted();
    let bundle = read(desk, "ada", "/v1/bundle");
    verified(&bundle, desk.ledger);
    let log = Log::read(&bundle);
    log.holds_once(&accepted);
    seen.head(&log.note);
    seen.head(&read(desk, "karl", "/v1/checkpoint"));
    let register = store::register::read(&ground.data.join("register.json")).unwrap().unwrap();
    assert_eq!(seen.head(&register.checkpoint), register.size);
    for row in ground.database().query("SELECT size, note FROM checkpoints", &[]).unwrap() {
        let size = seen.head(row.get(1));
        assert_eq!(i64::try_from(size).unwrap(), row.get::<_, i64>(0));
    }
    seen.heads.lock().unwrap().are_of(&log);
    log
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Service,
    Postmaster,
    Both,
    Backend,
}

/// Kills, and leaves a service that was started again and answers.
fn strike(ground: &mut Ground, victim: Victim, choices: &mut Choices) {
    match victim {
        Victim::Service => ground.kill_service(),
        Victim::Both => {
            kill(ground.postmaster().expect("a postmaster"), Signal::KILL);
            ground.kill_service();
        }
        // Without its server the service says so, and ends.
        Victim::Postmaster => {
            kill(ground.postmaster().expect("a postmaster"), Signal::KILL);
            let status = ground.wait_end();
            assert!(status.code().is_some_and(|code| code != 0), "{status}: {}", ground.log());
            assert!(ground.log().contains("the database's server ended"), "{}", ground.log());
        }
        // The server recovers by itself, and the service with it.
        Victim::Backend => {
            let backends = ground.backends();
            assert!(!backends.is_empty(), "nobody serves the service");
            kill(backends[choices.index(backends.len())], Signal::KILL);
            let deadline = Instant::now() + UP_LIMIT;
            while ground.backends().iter().any(|pid| backends.contains(pid)) {
                assert!(Instant::now() < deadline, "the server's other processes go on");
                thread::sleep(PAUSE);
            }
            ground.wait_up();
            return;
        }
    }
    ground.start();
    if choices.below(2) == 0 {
        // It may also be killed while it recovers.
        thread::sleep(Duration::from_millis(choices.below(700)));
        ground.kill_service();
        ground.start();
    }
    ground.wait_up();
}

/// Everybody gets answers again.
fn wait_for_more(ground: &Ground, seen: &Seen) {
    let (before, deadline) = (seen.accepted().len(), Instant::now() + UP_LIMIT);
    while seen.accepted().len() <= before {
        assert!(!seen.has_failed.load(Ordering::Relaxed), "a client failed");
        assert!(Instant::now() < deadline, "nothing is accepted any more:\n{}", ground.log());
        thread::sleep(PAUSE);
    }
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed() {
    let mut choices = Choices::from_env("CRASH_SEED");
    let mut ground = Ground::with_keys();
    ground.start();
    ground.wait_up();
    let mut desk = Desk { url: ground.url(), clock: Clock::default(), ledger: Digest::of("none yet") };
    desk.found(policy());
    desk.fund("9000000.00");
    desk.offer();
    let (desk, basis, seen) = (desk.clone(), desk.basis(), Seen::default());

    let mut victims = [
        Victim::Service,
        Victim::Both,
        Victim::Backend,
        Victim::Postmaster,
        Victim::Service,
        Victim::Both,
        Victim::Backend,
    ];
    for last in (1..victims.len()).rev() {
        victims.swap(last, choices.index(last + 1));
    }
    thread::scope(|scope| {
        let _failure = Failure(&seen);
        for number in 0..CLIENTS {
            let (desk, seen) = (&desk, &seen);
            scope.spawn(move || {
                let _failure = Failure(seen);
                client(desk, basis, number, seen);
            });
        }
        for victim in victims {
            thread::sleep(Duration::from_millis(choices.below(600)));
            let began = Instant::now();
            strike(&mut ground, victim, &mut choices);
            wait_for_more(&ground, &seen);
            let after = began.elapsed();
            let size = check(&ground, &desk, &seen).digests.len();
            say(&format!("{victim:?}: went on after {after:?}; {size} records hold"));
        }
        seen.is_over.store(true, Ordering::Relaxed);
    });

    let log = check(&ground, &desk, &seen);
    let accepted = seen.accepted();
    say(&format!("{} instructions were accepted", accepted.len()));
    assert_eq!(log.digests.len() + 1, log.roots.len());
    assert_eq!(seen.heads.lock().unwrap().are_of(&log), log.digests.len() as u64);
    // In order, it ends with success, and leaves no server behind.
    let postmaster = ground.postmaster().unwrap();
    kill(ground.service().id(), Signal::TERM);
    assert!(ground.wait_end().success(), "{}", ground.log());
    let gone = Pid::from_raw(i32::try_from(postmaster).unwrap()).unwrap();
    assert!(test_kill_process(gone).is_err(), "PostgreSQL still runs");
}

#[test]
fn a_first_start_that_is_cut_short_is_begun_again() {
    let mut choices = Choices::from_env("FIRST_START_SEED");
    let mut ground = Ground::bare();
    for _ in 0..6 {
        ground.start();
        // From the first file to an answer it takes about as long as this.
        thread::sleep(Duration::from_millis(choices.below(2500)));
        let ended = ground.service().try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", ground.log());
        ground.kill_service();
    }
    ground.start();
    ground.wait_up();
    let keys = get_unsigned(&ground.url(), "/v1/service").text;
    ground.kill_service();
    ground.start();
    ground.wait_up();
    assert_eq!(get_unsigned(&ground.url(), "/v1/service").text, keys);
}
