//! A service of one test, with its people, and just enough of an HTTP client to also say what no client would.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use disbursement_api::app::{self, App, Settings, router};
use disbursement_api::pipeline::{self, LedgerKeys, Pipeline};
use ledger::time::Timestamp;
use records::governance::{Act, Charter, Concurrence, Founding, FoundingCustodian, KeyPossession, Proposal};
use records::scalar::Integer;
use records::{Basis, Body, Header, Payload, Record};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;
use signing::{canonical, http};
use store::embedded::{Embedded, find_server};
use store::{Databases, PoolSizes, migrate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

/// One person for each role that is not the founding custodians', and a second agency.
pub const PEOPLE: [(&str, &str); 10] = [
    ("approver", "approver"),
    ("auditor", "auditor"),
    ("director", "director"),
    ("payer", "payer"),
    ("preparer", "preparer"),
    ("reconciler", "reconciler"),
    ("screener", "screener"),
    ("service", "service"),
    ("agency-1", "agency"),
    ("agency-2", "agency"),
];

/// The key that a name stands for.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(name).as_bytes())
}

/// Parses any id, time or code.
pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A body from its JSON.
pub fn body<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_unix(seconds.try_into().unwrap()).unwrap()
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `200`, or the status and the problem's code.
    pub fn outcome(&self) -> String {
        match self.status {
            200 => "200".to_owned(),
            status => {
                assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
                let problem = self.json();
                assert_eq!(problem["status"], status);
                format!("{status} {}", problem["code"].as_str().unwrap())
            }
        }
    }
}

pub struct Service {
    pub url: String,
    pub server: Embedded,
    pub ids: AtomicU64,
    address: String,
    basis: Mutex<Option<Basis>>,
    ledger: Mutex<Option<Digest>>,
    pipeline: Pipeline,
    serving: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    /// Last, so that it outlives the server.
    _dir: Dir,
}

/// A directory that is gone when its test is, however that ends.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Service {
    /// A service without a ledger.
    pub async fn start(name: &str) -> Service {
        let dir = std::env::temp_dir().join(format!("safeconduct-http-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o711)).unwrap();
        let server = Embedded::start(&find_server(None).unwrap(), &dir.join("data")).unwrap();
        migrate::ensure_database(&server.config("postgres", "postgres"), "ledger").await.unwrap();
        migrate::migrate_at(&server.config("postgres", "ledger")).await.unwrap();

        let databases = Databases::new(|role| server.config(role, "ledger"), PoolSizes::default()).unwrap();
        let (record, checkpoint) = (secret("record key"), secret("checkpoint key"));
        let keys = Arc::new(LedgerKeys { record, checkpoint, origin: id("test.example/log") });
        let pipeline = Pipeline::start(
            databases.clone(),
            Arc::clone(&keys),
            dir.join("register.json"),
            now,
            pipeline::Settings::default(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let url = "https://ledger.example/sub".to_owned();
        let settings = Settings { body_timeout: Duration::from_millis(500), ..Settings::new(&url) };
        let app = App::new(pipeline.clone(), databases, &keys, now, settings);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(app::serve(listener, router(app), async {
            let _ = stopped.await;
        }));
        Service {
            url,
            server,
            ids: AtomicU64::new(1),
            address,
            basis: Mutex::default(),
            ledger: Mutex::default(),
            pipeline,
            serving,
            stop,
            _dir: Dir(dir),
        }
    }

    /// A founded service with everybody in [`PEOPLE`] enrolled by the custodians `c1` and `c2`.
    pub async fn staffed(name: &str) -> Service {
        let service = Service::start(name).await;
        service.found().await;
        let ledger = service.ledger.lock().await.unwrap();
        let enrolment = |(person, role): (&str, &str)| {
            let key = secret(person).public().clone();
            let possession = canonical::encode(&KeyPossession { key, ledger, principal: id(person) });
            let possession = Envelope::sign(&secret(person), KeyPossession::PAYLOAD_TYPE, possession);
            let act =
                Act::Enrol { possessions: vec![possession], principal: id(person), roles: vec![id(role)] };
            Body::Proposal(Proposal { act })
        };
        let proposals = service.send_all("c1", PEOPLE.map(enrolment).into()).await;
        let concurrence = |proposal| Body::Concurrence(Concurrence { proposal });
        service.send_all("c2", proposals.into_iter().map(concurrence).collect()).await;
        service
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.pipeline.shutdown().await;
        drop(self.pipeline);
        self.server.stop().unwrap();
    }

    async fn found(&self) {
        let custodian =
            |name: &str| FoundingCustodian { key: secret(name).public().clone(), principal: id(name) };
        let policy = body(json!({
            "bank_report_persons": "1",
            "bands": [{"approvers": "2", "directors": "1", "up_to": {"amount": "10000.00", "currency": "USD"}}],
            "basis_age_s": "3600", "channels": ["manual"], "expiry_max_s": "86400", "gap_s": "172800",
            "lapse_grace_s": "3600", "quorum_delay_s": "0", "receipt_persons": "1", "skew_s": "60",
        }));
        let founding = Founding {
            body: Charter {
                checkpoint_key: secret("checkpoint key").public().clone(),
                currencies: vec![id("USD")],
                custodians: vec![custodian("c1"), custodian("c2")],
                origin: id("test.example/log"),
                policy,
                quorum: Integer(2),
                record_key: secret("record key").public().clone(),
                witness_threshold: Integer(0),
                witnesses: vec![],
            },
            id: self.instruction_id(),
            issued_at: now(),
            key: secret("c1").public().id(),
            signer: id("c1"),
        };
        let record = Record::sign(Payload::Founding(Box::new(founding)), &secret("c1")).unwrap();
        *self.ledger.lock().await = Some(record.digest());
        self.accepted(&[record.envelope()]).await;
        let mut tree = translog::tree::Frontier::new();
        tree.append(record.leaf_hash());
        *self.basis.lock().await = Some(Basis { root: tree.root(), size: Integer(1) });
        let acceptance = self.instruction("c2", body_of_acceptance()).await;
        self.accepted(&[&acceptance]).await;
    }

    fn instruction_id(&self) -> records::scalar::InstructionId {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        id(&format!("01890a5d-ac96-774b-bcce-{number:012x}"))
    }

    /// A signed instruction, not yet sent.
    pub async fn instruction(&self, who: &str, body: Body) -> Envelope {
        let key = secret(who);
        let issued_at = now();
        let header = Header {
            basis: self.basis.lock().await.unwrap(),
            id: self.instruction_id(),
            issued_at,
            key: key.public().id(),
            ledger: self.ledger.lock().await.unwrap(),
            not_after: issued_at.plus(3600).unwrap(),
            signer: id(who),
        };
        let payload = Payload::Instruction(Box::new(header), Box::new(body));
        Record::sign(payload, &key).unwrap().envelope().clone()
    }

    /// Signs, sends and has accepted: the digest.
    pub async fn send(&self, who: &str, body: Body) -> Digest {
        self.send_all(who, vec![body]).await[0]
    }

    async fn send_all(&self, who: &str, bodies: Vec<Body>) -> Vec<Digest> {
        let mut envelopes = Vec::new();
        for body in bodies {
            envelopes.push(self.instruction(who, body).await);
        }
        self.accepted(&envelopes.iter().collect::<Vec<_>>()).await;
        envelopes.iter().map(Envelope::digest).collect()
    }

    async fn accepted(&self, envelopes: &[&Envelope]) {
        let answer = self.post("/v1/instructions", &submission(envelopes, "all")).await;
        let json = answer.json();
        let results = json["results"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        assert!(results.iter().all(|result| result["status"] == "accepted"), "{answer:?}");
        let note = json["checkpoint"].as_str().unwrap();
        let key = secret("checkpoint key");
        let checkpoint =
            translog::checkpoint::Checkpoint::parse_and_verify(note, "test.example/log", key.public());
        let checkpoint = checkpoint.unwrap();
        *self.basis.lock().await = Some(Basis { root: checkpoint.root, size: Integer(checkpoint.size) });
    }

    /// The head of a signed request.
    pub fn sign(&self, method: &str, who: &str, path: &str, created: i64, nonce: &str) -> String {
        let uri = format!("{}{path}", self.url);
        let signed = http::sign(method, &uri, &[], &secret(who), created, nonce).unwrap();
        format!("Signature-Input: {}\r\nSignature: {}\r\n", signed.signature_input, signed.signature)
    }

    /// A signed read.
    pub async fn read(&self, who: &str, path: &str) -> Answer {
        let nonce = format!("nonce-{:016}", self.ids.fetch_add(1, Ordering::Relaxed));
        let headers = self.sign("GET", who, path, now().unix(), &nonce);
        self.raw(format!("GET {path} HTTP/1.0\r\n{headers}\r\n").as_bytes()).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).await
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Whatever bytes; version 1.0 is answered without chunks, and closed.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }
}

fn body_of_acceptance() -> Body {
    Body::Acceptance(records::governance::Acceptance {})
}

/// The body of a submission.
pub fn submission(envelopes: &[&Envelope], mode: &str) -> String {
    let items: Vec<Value> =
        envelopes.iter().map(|envelope| json!({"attachments": [], "envelope": envelope})).collect();
    json!({"instructions": items, "mode": mode}).to_string()
}
