//! Clients that go on whatever happens, and what holds them to what they were promised: nothing acknowledged is lost,
//! nothing is doubled, no size has two signed heads, the proofs hold, and an audit verifies the whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use records::{Basis, Body, Record, Verified};
use serde_json::Value;
use signing::digest::Digest;
use tests::cluster::runtime;
use tests::world::{Desk, clearance, opening, try_post_to};
use translog::tree::{Frontier, leaf_hash};

use crate::evidence::{Heads, Log, verified};
use crate::ground::{Ground, PAUSE, UP_LIMIT};

/// What the clients learn.
#[derive(Default)]
pub struct Seen {
    accepted: Mutex<BTreeMap<Digest, u64>>,
    heads: Mutex<Heads>,
    /// The clients end when their chains do.
    is_over: AtomicBool,
    /// They wait, so that a long check need not run after a log that grows.
    is_at_rest: AtomicBool,
    /// They end at once.
    has_failed: AtomicBool,
}

impl Seen {
    pub fn accepted(&self) -> BTreeMap<Digest, u64> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a signed head, and answers its size.
    pub fn head(&self, note: &str) -> u64 {
        self.heads.lock().unwrap().see(note)
    }

    /// The size of the newest head that anybody saw.
    pub fn newest(&self) -> u64 {
        self.heads.lock().unwrap().are_of(&[])
    }

    /// Lets clients work while this lives. Where one thread fails, the others do not wait for it.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Everybody gets answers again.
    pub fn wait_for_more(&self, ground: &Ground) {
        let (before, deadline) = (self.accepted().len(), Instant::now() + UP_LIMIT);
        while self.accepted().len() <= before {
            assert!(!self.has_failed.load(Ordering::Relaxed), "a client failed");
            assert!(Instant::now() < deadline, "nothing is accepted any more:\n{}", ground.log());
            thread::sleep(PAUSE);
        }
    }
}

/// See [`Seen::watch`].
pub struct Watch<'a>(&'a Seen);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_over.store(true, Ordering::Relaxed);
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Sends an instruction until it has its receipt, as every client may.
pub fn send(url: &str, record: &Verified, seen: &Seen) {
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
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
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
pub fn client(desk: &Desk, basis: Basis, name: &str, seen: &Seen) {
    let _watch = seen.watch();
    for n in 0.. {
        let case = format!("case-{name}-{n}");
        let request = desk.request(&format!("d-{name}-{n}"), &case, "grant", "5000.00");
        let chain =
            [("anna", opening(&case, "north")), ("sven", clearance(&case)), ("anna", Body::Request(request))];
        for (who, body) in chain {
            send(&desk.url, &desk.sign_on(basis, who, body), seen);
            while seen.is_at_rest.load(Ordering::Relaxed) && !seen.has_failed.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
            }
        }
        if seen.is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Reads, again where the database is just coming back.
pub fn read(desk: &Desk, who: &str, path: &str) -> (String, Value) {
    let deadline = Instant::now() + UP_LIMIT;
    loop {
        let answer = desk.get(who, path);
        match answer.status {
            200 => return (answer.text, answer.json),
            503 if answer.json["transient"] == true => {}
            _ => panic!("{}", answer.text),
        }
        assert!(Instant::now() < deadline, "{}", answer.text);
        thread::sleep(PAUSE);
    }
}

/// Reads the log behind the service's back, from where it was last, and holds it to what was promised.
#[derive(Default)]
pub struct Follower {
    frontier: Frontier,
    positions: HashMap<Digest, u64>,
    roots: Vec<Digest>,
}

impl Follower {
    /// What a moment is enough for. Answers the size of the log.
    pub fn check(&mut self, ground: &Ground, desk: &Desk, seen: &Seen) -> usize {
        let accepted = seen.accepted();
        runtime().block_on(self.follow(ground, seen));
        for (digest, position) in &accepted {
            assert_eq!(self.positions.get(digest), Some(position), "what was accepted is not where it was");
        }
        seen.heads.lock().unwrap().are_of(&self.roots);
        seen.head(&read(desk, "karl", "/v1/checkpoint").0);
        let register = store::register::read(&ground.data.join("register.json")).unwrap().unwrap();
        assert_eq!(seen.head(&register.checkpoint), register.size);
        let (text, funds) = read(desk, "ada", "/v1/funds");
        let holds: Vec<&Value> =
            funds["items"].as_array().unwrap().iter().map(|fund| &fund["holds"]).collect();
        assert_eq!(holds, [true, true], "{text}");
        self.positions.len()
    }

    async fn follow(&mut self, ground: &Ground, seen: &Seen) {
        let (client, connection) = ground.superuser().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let (head, begin) = (store::log::head(&client).await.unwrap(), self.frontier.size());
        if self.roots.is_empty() {
            self.roots.push(self.frontier.root());
        }
        while self.frontier.size() < head.size {
            let from = self.frontier.size();
            let page = store::log::envelopes(&client, from, head.size, 1000).await.unwrap();
            for (position, envelope) in (from..).zip(page) {
                self.frontier.append(leaf_hash(&envelope.encode()));
                self.roots.push(self.frontier.root());
                let digest = Record::parse(envelope).unwrap().digest();
                assert_eq!(self.positions.insert(digest, position), None, "a record stands twice");
            }
        }
        // What was there before is still there, or the roots would differ.
        assert_eq!((head.size, head.root), (self.frontier.size(), self.frontier.root()), "since {begin}");
        let sql = "SELECT size, note FROM checkpoints WHERE size >= $1";
        for row in client.query(sql, &[&i64::try_from(begin).unwrap()]).await.unwrap() {
            let size = seen.head(row.get(1));
            assert_eq!(i64::try_from(size).unwrap(), row.get::<_, i64>(0));
        }
    }
}

/// Compares everything that there is with everything that was promised: an audit of the whole, and every signed head.
pub fn audit(desk: &Desk, seen: &Seen) -> Log {
    seen.is_at_rest.store(true, Ordering::Relaxed);
    let accepted = seen.accepted();
    let bundle = read(desk, "ada", "/v1/bundle").0;
    verified(&bundle, desk.ledger);
    let log = Log::read(&bundle);
    log.holds_once(&accepted);
    seen.head(&log.note);
    seen.heads.lock().unwrap().are_of(&log.roots);
    seen.is_at_rest.store(false, Ordering::Relaxed);
    log
}
