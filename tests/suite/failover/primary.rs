//! The primary dies and comes back, or never died: there is one log, and it goes on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use disbursement_api::pipeline::Settings;
use records::{Basis, Verified};
use signing::digest::Digest;
use store::register;
use tests::binary::safeconduct;
use tests::cluster::{runtime, say, scratch};
use tests::people::Person;
use tests::service::{Clock, Service, ledger_keys, register as register_path};
use tests::wait::{LIMIT, until};
use tests::world::{Answer, Desk, opening, policy, try_get_from, try_post_to};

use crate::evidence::{Heads, Log, verified};

use super::ground::{Pair, Server, free_port, url};

const PASSPHRASE: &str = "only for this test";
const CLIENTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// How long the service may take to go on after a promotion.
const RESUMES: Duration = Duration::from_secs(10);

/// The program, on both servers.
pub struct Program {
    data: PathBuf,
    address: String,
    process: Option<Child>,
}

impl Program {
    pub fn start(pair: &Pair) -> Program {
        let data = scratch("program").join("data");
        for dir in [data.clone(), data.join("keys")] {
            fs::DirBuilder::new().mode(0o700).create(dir).unwrap();
        }
        let keys = ledger_keys();
        for (name, key) in [("record", &keys.record), ("checkpoint", &keys.checkpoint)] {
            let path = data.join(format!("keys/{name}.pem"));
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
            file.write_all(key.to_pkcs8_pem(PASSPHRASE).unwrap().as_bytes()).unwrap();
        }
        let mut program = Program { data, address: format!("127.0.0.1:{}", free_port()), process: None };
        program.restart(pair);
        program
    }

    /// Kills it, and starts it again.
    fn restart(&mut self, pair: &Pair) {
        self.kill();
        let log = File::options().append(true).create(true).open(self.data.join("service.log")).unwrap();
        let hosts = [&pair.a, &pair.b];
        let process = Command::new(safeconduct())
            .args(["serve", "--listen", &self.address, "--origin", ledger_keys().origin.as_str(), "--data"])
            .arg(&self.data)
            .arg("--database-ca")
            .arg(pair.ca())
            .env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE)
            .env("SAFECONDUCT_DATABASE_URL", url("safeconduct_service", &hosts))
            .env("SAFECONDUCT_READ_URL", url("safeconduct_read", &hosts))
            .env("SAFECONDUCT_AGENCY_URL", url("safeconduct_agency", &hosts))
            .env("SAFECONDUCT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let url = self.url();
        let is_up = || {
            let answer = try_get_from(&url, &Person::new("nobody"), "/healthz", Clock::default().now());
            answer.is_ok_and(|answer| answer.status == 200)
        };
        until("the service", is_up);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn register(&self) -> PathBuf {
        self.data.join("register.json")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends the load when it is dropped, so that a test that fails under it ends as well.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the clients learn.
#[derive(Default)]
pub struct Seen {
    accepted: Mutex<BTreeMap<Digest, u64>>,
    heads: Mutex<Heads>,
    is_over: AtomicBool,
}

impl Seen {
    pub fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Sends an instruction until it has its receipt.
    fn send(&self, url: &str, record: &Verified) {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "no receipt for {}", record.digest());
            let answer = try_post_to(url, &[record.envelope().clone()], "each");
            if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                assert_eq!((answer.status, answer.code()), (200, "ok"), "{}", answer.text);
                if answer.json["results"][0]["status"] == "accepted" {
                    let covered = self.heads.lock().unwrap().see(answer.json["checkpoint"].as_str().unwrap());
                    assert!(covered > answer.position());
                    self.accepted.lock().unwrap().insert(record.digest(), answer.position());
                    return;
                }
            }
            thread::sleep(PAUSE);
        }
    }

    /// Opens cases, one after another.
    fn load(&self, desk: &Desk, basis: Basis, number: usize) {
        let mut cases = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let case = opening(&format!("case-{number}-{cases}"), "north");
            self.send(&desk.url, &desk.sign_on(basis, "anna", case));
            cases += 1;
        }
    }

    /// Under the load of some clients; what happens meanwhile can wait for so many more receipts.
    pub fn under_load(&self, desk: &Desk, happens: impl FnOnce(&dyn Fn(usize))) {
        let basis = desk.basis();
        thread::scope(|scope| {
            let _end = End(&self.is_over);
            let threads: Vec<_> =
                (0..CLIENTS).map(|number| scope.spawn(move || self.load(desk, basis, number))).collect();
            happens(&|count| {
                let before = self.count();
                until("further receipts", || {
                    self.count() >= before + count || threads.iter().any(|thread| thread.is_finished())
                });
            });
        });
    }

    /// Compares everything that there is with everything that was promised.
    pub fn check(&self, desk: &Desk) -> Log {
        let bundle = desk.bundle();
        verified(&bundle, desk.ledger);
        let log = Log::read(&bundle);
        log.holds_once(&self.accepted.lock().unwrap());
        let mut heads = self.heads.lock().unwrap();
        heads.see(&log.note);
        assert_eq!(heads.are_of(&log.roots), log.digests.len() as u64);
        log
    }
}

/// A ledger on the program, which goes to both servers.
pub fn ledger_over(pair: &Pair) -> (Program, Desk) {
    let program = Program::start(pair);
    let mut desk = Desk { url: program.url(), clock: Clock::default(), ledger: Digest::of("none yet") };
    desk.found(policy());
    desk.offer();
    (program, desk)
}

/// How soon after a promotion there is another receipt, which must be soon.
pub fn goes_on(more: &dyn Fn(usize), promoted: Instant) -> Duration {
    more(1);
    let after = promoted.elapsed();
    assert!(after < RESUMES, "{after:?}");
    after
}

/// All that a service could have left on a server.
pub fn trace(server: &Server) -> String {
    server.psql(
        "SELECT (SELECT concat_ws(' ', size, root) FROM head), (SELECT count(*) FROM records), \
        (SELECT max(size) FROM checkpoints), (SELECT count(*) FROM reads)",
    )
}

fn is_stale(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, "stale_server"), "{}", answer.text);
}

#[test]
fn nothing_acknowledged_is_lost_with_the_primary_and_it_is_fenced_when_it_comes_back() {
    let pair = Pair::start();
    let (mut program, desk) = ledger_over(&pair);
    let seen = Seen::default();
    seen.under_load(&desk, |more| {
        more(20);
        pair.a.kill();
        // Nobody knows yet what became of what was under way.
        thread::sleep(Duration::from_millis(300));
        let before = seen.count();
        let promoted = Instant::now();
        pair.b.run("Promotion");
        let ready = promoted.elapsed();
        let after = goes_on(more, promoted);
        say(&format!("{before} accepted; promoted in {ready:?}, the next answer after {after:?}"));
        more(20);
    });
    let log = seen.check(&desk);
    say(&format!("{} accepted, {} records", seen.count(), log.digests.len()));
    assert_eq!(register::read(&program.register()).unwrap().unwrap().epoch.timeline, 2);

    // It comes back as it was, writable, and first in every URL.
    pair.a.revive_alone();
    let old = trace(&pair.a);
    let accepted = |name: &str| {
        // A read can meet a connection that has just been ended, which is told to whoever asked.
        until("a read", || desk.get("karl", "/v1/checkpoint").status == 200);
        seen.send(&desk.url, &desk.sign("anna", opening(name, "north")));
    };
    accepted("while-the-old-one-runs");
    pair.b.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'safeconduct%'");
    accepted("by-new-connections");
    program.restart(&pair);
    accepted("by-a-new-process");
    // A process that knows no other server does nothing, whether it may publish or not.
    let alone = Service::over(
        runtime(),
        pair.databases(&[&pair.a]),
        &program.register(),
        &desk.clock,
        Settings::default(),
        |_| {},
    );
    let late = desk.sign("anna", opening("late", "north"));
    let at_old = desk.at(&alone.url);
    let send_late = || is_stale(&at_old.post(&[late.envelope().clone()], "each"));
    send_late();
    is_stale(&at_old.get("karl", "/v1/checkpoint"));
    is_stale(&at_old.get("north", "/v1/agency/cases"));
    program.kill();
    until("a halt", || alone.pipeline().halted().is_some());
    send_late();
    drop(alone);
    assert_eq!(trace(&pair.a), old);

    // The old primary's machine becomes the standby, and agencies read there.
    pair.swap();
    program.restart(&pair);
    accepted("with-a-standby-again");
    seen.check(&desk);
    agencies_read_from_the_standby(&pair, &desk, |name| accepted(name));
    seen.check(&desk);
}

fn agencies_read_from_the_standby(pair: &Pair, desk: &Desk, open_case: impl Fn(&str)) {
    let reads = || pair.b.psql("SELECT count(*) FROM reads").parse::<u64>().unwrap();
    let path = |name: &str| format!("/v1/agency/cases/{name}-ref");
    let behind = |answer: &Answer| answer.headers["safeconduct-behind-s"].parse::<u64>().unwrap();
    let (before, asked) = (reads(), std::cell::Cell::new(0));
    let get = |path: &str| {
        asked.set(asked.get() + 1);
        desk.get("north", path)
    };
    until("the standby", || behind(&get(&path("with-a-standby-again"))) == 0);
    let who = "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'safeconduct_agency'";
    assert_eq!((pair.a.psql(who).as_str(), pair.b.psql(who).as_str()), ("t", "f"));
    // It keeps what it is sent, and shows none of it.
    pair.a.psql("SELECT pg_wal_replay_pause()");
    until("a pause", || pair.a.psql("SELECT pg_get_wal_replay_pause_state()") == "paused");
    let shown = get(&path("with-a-standby-again"));
    thread::sleep(Duration::from_millis(1100));
    open_case("not-shown-yet");
    let old = get(&path("with-a-standby-again"));
    assert_eq!((old.status, &old.text), (200, &shown.text));
    assert!(behind(&old) > 0, "{:?}", old.headers);
    assert_eq!(old.headers["safeconduct-as-of"], old.json["as_of"].as_str().unwrap());
    assert_eq!(get(&path("not-shown-yet")).code(), "case_not_found");
    let list = get("/v1/agency/cases?limit=500");
    assert!(behind(&list) > 0 && !list.text.contains("not-shown-yet"));
    pair.a.psql("SELECT pg_wal_replay_resume()");
    until("the case", || get(&path("not-shown-yet")).status == 200);
    let statement = get(&format!("{}/statement", path("not-shown-yet")));
    assert_eq!((statement.status, behind(&statement)), (200, 0));
    // Every one of them was written down, where it can be.
    assert_eq!(reads(), before + asked.get());
}

/// The primary hangs: it refuses nothing, answers nothing, and keeps every connection. When it comes to itself, it does what it
/// was told before, and knows of no other.
#[test]
fn a_primary_that_hangs_is_left_for_the_newer_one_and_stays_left() {
    let pair = Pair::start();
    let (program, desk) = ledger_over(&pair);
    let seen = Seen::default();
    seen.under_load(&desk, |more| {
        more(20);
        let frozen = pair.a.freeze();
        let promoted = Instant::now();
        pair.b.run("Promotion");
        more(1);
        say(&format!("the next answer after {:?}", promoted.elapsed()));
        more(20);
        drop(frozen);
        // Nor does it wait for a standby any more: the worst that can come to itself.
        pair.a.sh(
            "echo \"synchronous_standby_names = ''\" >>\"$DATA/ledger.conf\"; pg_ctl -D \"$DATA\" reload",
        );
        let active =
            "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'safeconduct%' AND state <> 'idle'";
        until("the end of what it was told before", || {
            let before = trace(&pair.a);
            thread::sleep(Duration::from_millis(500));
            pair.a.psql(active) == "0" && trace(&pair.a) == before
        });
        let old = trace(&pair.a);
        more(20);
        pair.b
            .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'safeconduct%'");
        more(20);
        assert_eq!(trace(&pair.a), old);
    });
    // Whatever it holds that was signed is of the one log.
    for note in pair.a.psql("SELECT replace(note, E'\\n', '|') FROM checkpoints").lines() {
        seen.heads.lock().unwrap().see(&note.replace('|', "\n"));
    }
    seen.check(&desk);
    assert_eq!(register::read(&program.register()).unwrap().unwrap().epoch.timeline, 2);
}

/// The old primary never died, and takes writes from whoever still thinks that it is the one.
#[test]
fn of_two_primaries_the_newer_one_is_written_to() {
    let pair = Pair::start();
    let (register, clock) = (register_path(), Clock::default());
    let start = |settings: Settings| {
        let databases = pair.databases(&[&pair.a, &pair.b]);
        Service::over(runtime(), databases, &register, &clock, settings, |_| {})
    };
    let publishes = start(Settings::default());
    let mut desk = Desk { url: publishes.url.clone(), clock: clock.clone(), ledger: Digest::of("none yet") };
    desk.found(policy());
    desk.offer();
    let of_one = pair
        .a
        .psql("SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE usename LIKE 'safeconduct%'");
    // It learns of the newer one from the register, when it is about to write.
    let other = start(Settings { poll: Duration::from_secs(3600), ..Settings::default() });
    let elsewhere = desk.at(&other.url);
    desk.accept(&elsewhere.send("anna", opening("before", "north")));

    pair.a.sh("echo \"synchronous_standby_names = ''\" >>\"$DATA/ledger.conf\"; pg_ctl -D \"$DATA\" reload");
    pair.b.run("Promotion");
    until("two primaries", || pair.b.psql("SELECT pg_is_in_recovery()") == "f");
    // One process loses its connections and looks around; the other's are as they were.
    pair.a.psql(&format!("SELECT pg_terminate_backend(pid) FROM unnest(array[{of_one}]) pid"));
    until("the newer primary", || register::read(&register).unwrap().unwrap().epoch.timeline == 2);
    let old = trace(&pair.a);
    for desk in [&elsewhere, &desk] {
        let name = format!("after-{}", desk.url.rsplit(':').next().unwrap());
        desk.accept(&desk.send("anna", opening(&name, "north")));
        assert_eq!(desk.get("karl", "/v1/checkpoint").status, 200);
    }
    assert_eq!(trace(&pair.a), old);
    verified(&desk.bundle(), desk.ledger);
}
