//! The program is told to stop, under load: every request under way is answered, what was acknowledged is in the log,
//! whatever was not answered is in it once or not at all, and it ends by itself with success.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use records::assets::BankOpening;
use records::{Body, Verified};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use signing::digest::Digest;
use tests::binary::{root, safeconduct};
use tests::cluster::{say, scratch};
use tests::http::submission;
use tests::people::Person;
use tests::service::{Clock, ledger_keys};
use tests::world::{Desk, id, policy, try_get_from, try_post_to};

use crate::evidence::{Log, verified};

const PASSPHRASE: &str = "correct horse battery staple";
/// To start, to stop and to be answered, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// The program with a PostgreSQL of its own.
struct Program {
    data: PathBuf,
    address: String,
    service: Child,
}

impl Program {
    /// On a new data directory with the keys of the tests' ledgers, under limits that a test alters.
    fn start(alter: impl Fn(String) -> String) -> Program {
        let data = scratch("shutdown").join("data");
        let mut private = fs::DirBuilder::new();
        private.mode(0o700).recursive(true).create(data.join("keys")).unwrap();
        let keys = ledger_keys();
        for (name, key) in [("record", &keys.record), ("checkpoint", &keys.checkpoint)] {
            let path = data.join(format!("keys/{name}.pem"));
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
            file.write_all(key.to_pkcs8_pem(PASSPHRASE).unwrap().as_bytes()).unwrap();
        }
        let limits = fs::read_to_string(root().join("config/limits.toml")).unwrap();
        fs::write(data.with_file_name("limits.toml"), alter(limits)).unwrap();
        // Free now; nobody else asks for a port of this number in the meantime.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let service = Program::spawn(&data, &address);
        let mut program = Program { data, address, service };
        program.wait_up();
        program
    }

    fn spawn(data: &PathBuf, address: &str) -> Child {
        let log = File::options().append(true).create(true).open(data.join("service.log")).unwrap();
        let mut command = Command::new(safeconduct());
        command.args(["serve", "--listen", address, "--origin", ledger_keys().origin.as_str(), "--data"]);
        command.arg(data).arg("--limits").arg(data.with_file_name("limits.toml"));
        command.env("SAFECONDUCT_SERVICE_PASSPHRASE", PASSPHRASE).env("SAFECONDUCT_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn start_again(&mut self) {
        self.service = Program::spawn(&self.data, &self.address);
        self.wait_up();
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn wait_up(&mut self) {
        let (deadline, url) = (Instant::now() + LIMIT, self.url());
        let nobody = Person::new("nobody");
        while !try_get_from(&url, &nobody, "/healthz", Clock::default().now()).is_ok_and(|a| a.status == 200)
        {
            let ended = self.service.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.service.id()).unwrap()).unwrap();
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }

    fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.service.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    fn postmaster(&self) -> Pid {
        let text = fs::read_to_string(self.data.join("pg/postmaster.pid")).unwrap();
        Pid::from_raw(text.lines().next().unwrap().trim().parse().unwrap()).unwrap()
    }

    fn superuser(&self) -> postgres::Client {
        let mut config = postgres::Config::new();
        config.host_path(self.data.join("socket")).user("postgres").dbname("safeconduct");
        config.connect(postgres::NoTls).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.join("service.log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + LIMIT;
        while matches!(self.service.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

/// A founded ledger on it.
fn desk(program: &Program) -> Desk {
    let mut desk = Desk { url: program.url(), clock: Clock::default(), ledger: Digest::of("none yet") };
    desk.found(policy());
    desk
}

/// A request that the service is working on: it has asked for the body.
struct UnderWay {
    stream: TcpStream,
    record: Verified,
    body: String,
}

impl UnderWay {
    fn begin(address: &str, record: Verified) -> UnderWay {
        let body = submission(&[record.envelope().clone()], "each");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!(
            "POST /v1/instructions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 25];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
        UnderWay { stream, record, body }
    }

    fn send(&mut self) {
        self.stream.write_all(self.body.as_bytes()).unwrap();
    }

    /// The answer, after which the connection is closed.
    fn answer(&mut self) -> Value {
        self.answer_with("200 OK").1
    }

    /// Its head and its body.
    fn answer_with(&mut self, status: &str) -> (String, Value) {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{text}");
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }
}

#[test]
fn a_stop_under_load_loses_nothing_and_answers_everybody() {
    const UNDER_WAY: u64 = 12;
    const CLIENTS: usize = 4;
    let mut program = Program::start(|limits| limits);
    let desk = desk(&program);
    let basis = desk.basis();
    let number = AtomicU64::new(0);
    let next = || {
        let name = format!("b{}", number.fetch_add(1, Ordering::Relaxed));
        let opening = BankOpening { bank: id(&name), currency: id("USD") };
        desk.sign_on(basis, "dora", Body::BankOpening(opening))
    };
    let accepted = Mutex::new(BTreeMap::<Digest, u64>::new());
    let accept = |record: &Verified, answer: &Value| {
        let result = &answer["results"][0];
        let status = result["status"].as_str().unwrap();
        assert!(matches!(status, "accepted" | "receipt_pending"), "{answer}");
        let position = result["position"].as_str().unwrap().parse().unwrap();
        accepted.lock().unwrap().insert(record.digest(), position);
    };
    // What was told that it was not taken, and what was told nothing.
    let (refused, unanswered) = (Mutex::new(vec![]), Mutex::new(vec![]));
    let is_over = AtomicBool::new(false);
    let postmaster = program.postmaster();
    thread::scope(|scope| {
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _end = End(&is_over);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let record = next();
                    match try_post_to(&desk.url, &[record.envelope().clone()], "each") {
                        Some(answer) if answer.status == 200 => accept(&record, &answer.json),
                        Some(answer) => {
                            assert_eq!(
                                (answer.status, answer.code()),
                                (503, "shutting_down"),
                                "{}",
                                answer.text
                            );
                            refused.lock().unwrap().push(record.digest());
                        }
                        None => {
                            unanswered.lock().unwrap().push(record.digest());
                            thread::sleep(PAUSE);
                        }
                    }
                }
            });
        }
        let deadline = Instant::now() + LIMIT;
        while accepted.lock().unwrap().len() < 20 {
            assert!(Instant::now() < deadline, "there is no load:\n{}", program.log());
            thread::sleep(PAUSE);
        }
        // The log is held up, so that nothing of this is finished before the signal.
        let mut held = program.superuser();
        let mut lock = held.transaction().unwrap();
        lock.query_one("SELECT size FROM head FOR UPDATE", &[]).unwrap();
        let mut under_way: Vec<UnderWay> =
            (0..UNDER_WAY).map(|_| UnderWay::begin(&program.address, next())).collect();
        let (before, after) = under_way.split_at_mut(UNDER_WAY as usize / 2);
        before.iter_mut().for_each(UnderWay::send);
        program.signal(Signal::TERM);
        // It takes no more connections, and is not gone.
        while TcpStream::connect(&program.address).is_ok() {
            assert!(Instant::now() < deadline, "it goes on:\n{}", program.log());
            thread::sleep(PAUSE);
        }
        assert_eq!(program.service.try_wait().unwrap(), None, "{}", program.log());
        // Bodies that arrive now are of requests that were begun before.
        after.iter_mut().for_each(UnderWay::send);
        lock.rollback().unwrap();
        drop(held);
        for one in &mut under_way {
            let answer = one.answer();
            accept(&one.record, &answer);
        }
        let status = program.wait_end();
        assert_eq!(status.code(), Some(0), "{}", program.log());
        assert!(!program.log().contains("cut off"), "{}", program.log());
        assert!(test_kill_process(postmaster).is_err(), "PostgreSQL still runs");
    });

    program.start_again();
    let bundle = desk.bundle();
    verified(&bundle, desk.ledger);
    let log = Log::read(&bundle);
    let accepted = accepted.into_inner().unwrap();
    // It finds what was acknowledged, and nothing twice.
    log.holds_once(&accepted);
    for digest in refused.into_inner().unwrap() {
        assert!(!log.digests.contains(&digest), "what was refused is in the log");
    }
    let unanswered = unanswered.into_inner().unwrap();
    let kept = unanswered.iter().filter(|digest| log.digests.contains(digest)).count();
    say(&format!(
        "{} accepted; {} not answered, of which {kept} are in the log",
        accepted.len(),
        unanswered.len()
    ));
}

/// Limits with a day in the place of these.
fn with_days(limits: String, names: &[&str]) -> String {
    names.iter().fold(limits, |limits, name| {
        let line = limits.lines().find(|line| line.starts_with(&format!("{name} = "))).expect("a limit");
        limits.replacen(&format!("\n{line}\n"), &format!("\n{name} = 86400000\n"), 1)
    })
}

#[test]
fn a_client_that_is_never_done_does_not_hold_a_stop_up() {
    let mut program = Program::start(|limits| {
        let limits = with_days(limits, &["body_timeout_ms", "answer_timeout_ms"]);
        limits.replacen("\nstop_timeout_ms = 30000\n", "\nstop_timeout_ms = 1000\n", 1)
    });
    let desk = desk(&program);
    let opening = BankOpening { bank: id("b1"), currency: id("USD") };
    let record = desk.sign("dora", Body::BankOpening(opening));
    let mut never = UnderWay::begin(&program.address, record);
    program.signal(Signal::TERM);
    assert_eq!(program.wait_end().code(), Some(0), "{}", program.log());
    assert!(program.log().contains("cut off"), "{}", program.log());
    // It is told nothing, since nothing became of it.
    let mut left = String::new();
    assert!(matches!(never.stream.read_to_string(&mut left), Ok(0) | Err(_)), "{left}");
}

/// It cannot come back under this process: whoever waits for it is told so, with no regard to any patience.
#[test]
fn a_server_of_its_own_that_was_killed_is_waited_for_by_nobody() {
    let mut program = Program::start(|limits| {
        let http = ["body_timeout_ms", "answer_timeout_ms", "stop_timeout_ms"];
        let queue = ["receipt_timeout_ms", "database_timeout_ms"];
        with_days(with_days(limits, &http), &queue)
    });
    let desk = desk(&program);
    let opening = |bank: &str| {
        let opening = BankOpening { bank: id(bank), currency: id("USD") };
        desk.sign("dora", Body::BankOpening(opening))
    };
    let mut never = UnderWay::begin(&program.address, opening("never"));
    let mut held = program.superuser();
    let mut lock = held.transaction().unwrap();
    lock.query_one("SELECT size FROM head FOR UPDATE", &[]).unwrap();
    let mut under_way: Vec<UnderWay> =
        ["b1", "b2", "b3"].map(|bank| UnderWay::begin(&program.address, opening(bank))).into();
    under_way.iter_mut().for_each(UnderWay::send);
    let (mut other, deadline) = (program.superuser(), Instant::now() + LIMIT);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while other.query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "nobody waits:\n{}", program.log());
        thread::sleep(PAUSE);
    }
    let _ = kill_process(program.postmaster(), Signal::KILL);
    for one in &mut under_way {
        let (head, problem) = one.answer_with("503 Service Unavailable");
        assert!(head.contains("retry-after: 1"), "{head}");
        assert!(["database_unavailable", "outcome_unknown"].contains(&problem["code"].as_str().unwrap()));
    }
    assert_eq!(program.wait_end().code(), Some(2), "{}", program.log());
    assert!(program.log().contains("the database's server ended; see postgres.log"), "{}", program.log());
    assert!(matches!(never.stream.read_to_string(&mut String::new()), Ok(0) | Err(_)));
    drop((lock, other));
    program.start_again();
    for UnderWay { record, .. } in &under_way {
        desk.accept(&desk.post(&[record.envelope().clone()], "each"));
    }
    verified(&desk.bundle(), desk.ledger);
}
