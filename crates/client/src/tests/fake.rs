//! A service in memory: a log with its proofs and checkpoints, and the tricks that a dishonest one could try.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ledger::time::Timestamp;
use records::governance::{Charter, Founding, FoundingCustodian, Policy};
use records::scalar::Integer;
use records::{Body, Payload, Record, Verified};
use serde_json::{Value, json};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::http;
use signing::keys::{PublicKey, SecretKey};
use translog::checkpoint::Checkpoint;
use translog::proof::{HashSource as _, MemoryHashes, consistency, inclusion, root};

use crate::connection::{Request, Response, SendError, Transport};
use crate::home::{IDENTITY, KEY};
use crate::{Client, Connection, Home, Identity, draw, membership};

pub const URL: &str = "https://ledger.example";
pub const ORIGIN: &str = "ledger.example/log";

pub fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// What the service does wrong, or what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    None,
    /// Takes the instructions, and the connection breaks.
    BreakAfterTaking,
    /// Cannot be reached.
    Away,
    /// Answers `receipt_pending` this many times.
    Pending(u32),
    /// Proves another leaf.
    ProveAnother,
    /// Refuses every instruction.
    Refuse,
    /// Refuses the whole batch because of the instruction at this index.
    RefuseAll(usize),
    /// Accepts what it had taken before, and answers with its checkpoint of this size.
    AnswerAt(u64),
    /// Says to come back later, this many times.
    Busy(u32),
}

pub struct Log {
    pub hashes: MemoryHashes,
    pub origin: String,
    pub founding: Envelope,
    pub positions: HashMap<Digest, u64>,
    pub trick: Trick,
    /// A note that is shown instead of the present checkpoint.
    pub shown: Option<String>,
    /// The note that is shown as the latest cosigned one.
    pub cosigned: Option<String>,
    /// The public checkpoint, of 255 records at most.
    pub public: Option<String>,
    pub posts: u32,
    pub reads: u32,
    enrolled: PublicKey,
    checkpoint_key: SecretKey,
}

impl Log {
    pub fn note(&self) -> String {
        self.note_at(self.hashes.size())
    }

    pub fn note_at(&self, size: u64) -> String {
        self.sign(&self.origin, size, root(size, &self.hashes).unwrap())
    }

    /// Signs any head, as the ledger's key can.
    pub fn sign(&self, origin: &str, size: u64, root: Digest) -> String {
        Checkpoint { origin: origin.to_owned(), size, root }.sign(&self.checkpoint_key)
    }

    /// What came after the first `size` leaves, which grew, is lost.
    pub fn lose(&mut self, size: u64) {
        let record = Record::parse(self.founding.clone()).unwrap();
        self.hashes = MemoryHashes::new();
        self.hashes.append(record.leaf_hash());
        self.grow(size - 1);
    }

    /// Another log of the same ledger, as a forker would make it: after the founding, other leaves.
    pub fn fork(&mut self, size: u64) {
        let record = Record::parse(self.founding.clone()).unwrap();
        self.hashes = MemoryHashes::new();
        self.hashes.append(record.leaf_hash());
        for n in 1..size {
            self.hashes.append(Digest::of(format!("fork {n}")));
        }
    }

    pub fn grow(&mut self, leaves: u64) {
        for _ in 0..leaves {
            self.hashes.append(Digest::of(format!("leaf {}", self.hashes.size())));
        }
    }

    /// Takes a record that is signed elsewhere, and answers where it stands.
    pub fn take(&mut self, envelope: &Envelope) -> u64 {
        let record = Record::parse(envelope.clone()).unwrap();
        if let Some(position) = self.positions.get(&record.digest()) {
            return *position;
        }
        self.grow(1);
        let position = self.hashes.size();
        self.hashes.append(record.leaf_hash());
        self.positions.insert(record.digest(), position);
        position
    }

    fn public(&self, path: &str) -> Option<Vec<u8>> {
        if path == "/checkpoint" {
            return self.public.clone().map(String::into_bytes);
        }
        let width: u64 = path.strip_prefix("/tile/0/000.p/")?.parse().ok()?;
        let leaves: Vec<(u8, u64)> = (0..width).map(|index| (0, index)).collect();
        Some(self.hashes.read(&leaves).ok()?.iter().flat_map(|hash| *hash.as_bytes()).collect())
    }

    fn get(&mut self, path: &str) -> Result<String, String> {
        let query = |name: &str| {
            let (_, rest) = path.split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().parse::<u64>().unwrap()
        };
        let hashes = |proof: Vec<Digest>| json!({ "hashes": proof }).to_string();
        match path.split('?').next().unwrap() {
            "/v1/founding" => Ok(serde_json::to_string(&self.founding).unwrap()),
            "/v1/checkpoint" => Ok(self.shown.clone().unwrap_or_else(|| self.note())),
            "/v1/checkpoint/cosigned" => self.cosigned.clone().ok_or("none is cosigned".to_owned()),
            "/v1/proofs/consistency" => {
                Ok(hashes(consistency(query("from"), query("to"), &self.hashes).map_err(|e| e.to_string())?))
            }
            "/v1/proofs/inclusion" => {
                let position = query("position");
                let position = if self.trick == Trick::ProveAnother { position - 1 } else { position };
                Ok(hashes(inclusion(position, query("size"), &self.hashes).map_err(|e| e.to_string())?))
            }
            "/v1/numbers" => {
                let page = if path.contains("cursor=a%2Fb") {
                    json!({"items": ["3"]})
                } else {
                    json!({"items": ["1", "2"], "next": "a/b"})
                };
                Ok(page.to_string())
            }
            other => Err(format!("no {other}")),
        }
    }

    fn post(&mut self, body: &Value) -> (u16, Value) {
        let items = body["instructions"].as_array().unwrap();
        let refused =
            json!({"code": "insufficient_funds", "transient": true, "title": "t", "detail": "none free"});
        if let Trick::RefuseAll(index) = self.trick {
            let mut problem = refused;
            problem["index"] = json!(index.to_string());
            return (409, problem);
        }
        if self.trick == Trick::Refuse {
            let results: Vec<Value> =
                items.iter().map(|_| json!({"status": "refused", "problem": refused})).collect();
            return (200, json!({"checkpoint": self.note(), "results": results}));
        }
        let pending = matches!(self.trick, Trick::Pending(_));
        if let Trick::Pending(left) = self.trick {
            self.trick = if left > 1 { Trick::Pending(left - 1) } else { Trick::None };
        }
        let before = self.note();
        let status = if pending { "receipt_pending" } else { "accepted" };
        let mut results = Vec::new();
        for item in items {
            assert_eq!(item["attachments"], json!([]));
            let envelope: Envelope = serde_json::from_value(item["envelope"].clone()).unwrap();
            let position = self.take(&envelope);
            results.push(
                json!({"digest": envelope.digest(), "position": position.to_string(), "status": status}),
            );
        }
        let note = match self.trick {
            Trick::AnswerAt(size) => self.note_at(size),
            _ if pending => before,
            _ => self.note(),
        };
        (200, json!({"checkpoint": note, "results": results}))
    }
}

#[derive(Clone)]
pub struct Fake(pub Arc<Mutex<Log>>);

impl Fake {
    pub fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }
}

impl Transport for Fake {
    fn send(&self, request: Request) -> Result<Response, SendError> {
        let mut log = self.0.lock().unwrap();
        let of_bytes = |status: u16, bytes: Vec<u8>| Response {
            status,
            behind_s: 0,
            retry_after_s: (status == 503).then_some(1),
            body: Box::new(std::io::Cursor::new(bytes)),
        };
        let answer = |status: u16, text: String| of_bytes(status, text.into_bytes());
        let path = request.url.strip_prefix(URL).unwrap().to_owned();
        if let Trick::Busy(left) = log.trick {
            log.trick = if left > 1 { Trick::Busy(left - 1) } else { Trick::None };
            return Ok(answer(503, json!({"code": "busy"}).to_string()));
        }
        let Some(body) = request.body else {
            log.reads += 1;
            let find = |name: &str| {
                request.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
            };
            let signed = http::Request { method: "GET", target_uri: &request.url, headers: &find, body: &[] };
            let parsed = http::parse(&signed).unwrap();
            parsed.verify(&log.enrolled).unwrap();
            assert_eq!((parsed.created, parsed.nonce.len()), (now().unix(), 32));
            if let Some(bytes) = log.public(&path) {
                return Ok(of_bytes(200, bytes));
            }
            return Ok(match log.get(&path) {
                Ok(text) => answer(200, text),
                Err(why) => answer(404, json!({"code": "not_found", "detail": why}).to_string()),
            });
        };
        if log.trick == Trick::Away {
            return Err(SendError::NotSent("connection refused".to_owned()));
        }
        log.posts += 1;
        assert_eq!(path, "/v1/instructions");
        let (status, value) = log.post(&serde_json::from_slice(&body).unwrap());
        if log.trick == Trick::BreakAfterTaking {
            log.trick = Trick::None;
            return Err(SendError::Unknown("connection reset".to_owned()));
        }
        Ok(answer(status, value.to_string()))
    }
}

/// A home in a temporary directory, which goes with it.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Place {
        Place(std::env::temp_dir().join(draw::reference("safeconduct-client-").unwrap()))
    }

    pub fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.0.join(name)).unwrap().permissions().mode() & 0o777
    }

    pub fn files(&self, folder: &str) -> usize {
        std::fs::read_dir(self.0.join(folder)).map_or(0, |entries| entries.count())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn policy() -> Policy {
    serde_json::from_value(json!({
        "bank_report_persons": "1", "bands": [], "basis_age_s": "86400", "channels": ["manual"],
        "expiry_max_s": "2592000", "gap_s": "172800", "lapse_grace_s": "3600", "quorum_delay_s": "0",
        "receipt_persons": "1", "skew_s": "60"
    }))
    .unwrap()
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

pub fn charter() -> Charter {
    Charter {
        checkpoint_key: key(2).public().clone(),
        currencies: vec!["USD".parse().unwrap()],
        custodians: [("anna", 1), ("boris", 4)]
            .map(|(principal, seed)| FoundingCustodian {
                key: key(seed).public().clone(),
                principal: principal.parse().unwrap(),
            })
            .into(),
        origin: ORIGIN.parse().unwrap(),
        policy: policy(),
        quorum: Integer(2),
        record_key: key(3).public().clone(),
    }
}

pub fn founding() -> Verified {
    let founding = Founding {
        body: charter(),
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        issued_at: now(),
        key: key(1).public().id(),
        signer: "anna".parse().unwrap(),
    };
    Record::sign(Payload::Founding(Box::new(founding)), &key(1)).unwrap()
}

pub fn service() -> Fake {
    let founding = founding();
    let mut hashes = MemoryHashes::new();
    hashes.append(founding.leaf_hash());
    Fake(Arc::new(Mutex::new(Log {
        hashes,
        origin: ORIGIN.to_owned(),
        founding: founding.envelope().clone(),
        positions: HashMap::from([(founding.digest(), 0)]),
        trick: Trick::None,
        shown: None,
        cosigned: None,
        public: None,
        posts: 0,
        reads: 0,
        enrolled: key(1).public().clone(),
        checkpoint_key: key(2),
    })))
}

pub fn connect(fake: &Fake) -> Connection {
    Connection::over(Arc::new(fake.clone()), URL, Arc::new(now)).unwrap()
}

pub fn home(place: &Place) -> Home {
    let home = Home::create(&place.0).unwrap();
    home.write(KEY, b"sealed").unwrap();
    let public = key(1).public().clone();
    let identity = Identity { key: public.id(), principal: "anna".parse().unwrap(), public };
    home.write_json(IDENTITY, &identity).unwrap();
    home
}

/// A client that has joined.
pub fn joined(fake: &Fake, place: &Place) -> Client {
    let home = home(place);
    membership::join(&home, &connect(fake), &key(1), founding().digest()).unwrap();
    Client::open(home, Box::new(key(1)), connect(fake)).unwrap()
}

/// The same home once more, as another command opens it.
pub fn again(fake: &Fake, place: &Place) -> Client {
    Client::open(Home::open(&place.0).unwrap(), Box::new(key(1)), connect(fake)).unwrap()
}

pub fn banks(count: usize) -> Vec<Body> {
    let bank = |n| records::assets::BankOpening {
        bank: format!("bank-{n}").parse().unwrap(),
        currency: "USD".parse().unwrap(),
    };
    (0..count).map(|n| Body::BankOpening(bank(n))).collect()
}
