//! A ledger in a database of its own, with people whose keys come from seeds and a clock that the test moves.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use disbursement_api::pipeline::{LedgerKeys, Mode, Outcome, Pipeline, Settings, Submitted};
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::replay::Replay;
use programme::{Key, State};
use records::assets::{AssetRegistration, BankOpening, FundKind, FundOpening, WindfallIncome};
use records::cases::{Benefit, BenefitKind, CaseOpening, Offer, OfferVersion, Screening, ScreeningOutcome};
use records::disbursements::{Approval, BankConfirmation, Channel, Release, Request};
use records::governance::{
    Acceptance, Act, Band, ChannelKind, Charter, Concurrence, Founding, FoundingCustodian, KeyPossession,
    Policy, Proposal,
};
use records::scalar::{Evidence, InstructionId, Integer, Salt};
use records::{Basis, Body, Header, Payload, Record};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;
use store::embedded::{Embedded, Settings as ServerSettings, find_server};
use store::{Databases, PoolSizes, log, migrate};
use tokio_postgres::{Client, Config, NoTls};
use translog::checkpoint::Checkpoint;
use translog::tree::Frontier;

/// Everybody but the custodians `c1` and `c2`, with their roles.
const PEOPLE: [(&str, &str); 9] = [
    ("ag1", "agency"),
    ("app1", "approver"),
    ("app2", "approver"),
    ("aud1", "auditor"),
    ("dir1", "director"),
    ("pay1", "payer"),
    ("prep1", "preparer"),
    ("rec1", "reconciler"),
    ("scr1", "screener"),
];

/// Parses any id, time or amount.
pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

pub fn usd(text: &str) -> Money {
    Money::parse(text, id("USD")).unwrap()
}

/// The key that a name stands for.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(name).as_bytes())
}

fn instruction_id() -> InstructionId {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    id(&format!("01890a5d-ac96-774b-bcce-{number:012x}"))
}

fn evidence() -> Evidence {
    Evidence { holder: id("dir1"), kind: id("advice"), sha256: Digest::of("advice") }
}

/// The one server of this process. It is stopped, and its files removed, when the process ends.
pub struct Server {
    embedded: Embedded,
    dir: PathBuf,
    admin: Config,
}

impl Server {
    fn the() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| {
            let dir = std::env::temp_dir().join(format!("safeconduct-pipeline-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let settings = ServerSettings { shared_buffers_mb: 64, max_connections: 200 };
            let embedded =
                Embedded::start_with(&find_server(None).unwrap(), &dir.join("data"), settings).unwrap();
            // A static is never dropped: a shell that waits for the end of its input clears up.
            let script =
                format!("read line; kill -QUIT {}; sleep 1; rm -rf '{}'", embedded.pid(), dir.display());
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).stdin(Stdio::piped()).process_group(0);
            std::mem::forget(shell.spawn().unwrap());
            let admin = embedded.config("postgres", "postgres");
            Server { embedded, dir, admin }
        })
    }
}

pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database, a clock and a register.
#[derive(Clone)]
pub struct Place {
    name: String,
    pub register: PathBuf,
    clock: Arc<AtomicI64>,
    settings: Settings,
    socket: Arc<Mutex<Option<PathBuf>>>,
}

impl Place {
    /// An empty ledger's.
    pub async fn new() -> Place {
        static LAST: AtomicU64 = AtomicU64::new(1);
        let server = Server::the();
        let name = format!("ledger-{}", LAST.fetch_add(1, Ordering::Relaxed));
        migrate::ensure_database(&server.admin, &name).await.unwrap();
        migrate::migrate(&mut connect(&server.embedded.config("postgres", &name)).await).await.unwrap();
        let clock = id::<Timestamp>("2030-01-01T00:00:00Z").unix();
        Place {
            register: server.dir.join(format!("{name}.json")),
            name,
            clock: Arc::new(AtomicI64::new(clock)),
            settings: Settings { patience: Duration::from_secs(3), ..Settings::default() },
            socket: Arc::default(),
        }
    }

    pub fn config(&self, role: &str) -> Config {
        let mut config = Server::the().embedded.config(role, &self.name);
        if let Some(socket) = self.socket.lock().unwrap().as_deref() {
            config = Config::new();
            config.host_path(socket).user(role).dbname(&self.name);
        }
        config
    }

    /// Where the real server's socket is.
    pub fn server_socket(&self) -> PathBuf {
        Server::the()
            .embedded
            .config("postgres", "postgres")
            .get_hosts()
            .iter()
            .find_map(|host| match host {
                tokio_postgres::config::Host::Unix(path) => Some(path.clone()),
                tokio_postgres::config::Host::Tcp(_) => None,
            })
            .unwrap()
    }

    /// A directory of this test alone.
    pub fn dir(&self) -> PathBuf {
        let dir = Server::the().dir.join(&self.name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The same through another socket.
    pub fn through(&self, socket: &Path) -> Place {
        Place { socket: Arc::new(Mutex::new(Some(socket.to_owned()))), ..self.clone() }
    }

    pub fn with(&self, change: impl FnOnce(&mut Settings)) -> Place {
        let mut place = self.clone();
        change(&mut place.settings);
        place
    }

    pub async fn admin(&self) -> Client {
        connect(&Server::the().embedded.config("postgres", &self.name)).await
    }

    pub fn databases(&self) -> Databases {
        Databases::new(|role| self.config(role), PoolSizes::default()).unwrap()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.clock.load(Ordering::Relaxed)).unwrap()
    }

    pub fn move_clock(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A process of the service.
    pub fn start(&self) -> Pipeline {
        let clock = Arc::clone(&self.clock);
        let now = move || Timestamp::from_unix(clock.load(Ordering::Relaxed)).unwrap();
        Pipeline::start(
            self.databases(),
            Arc::new(ledger_keys()),
            self.register.clone(),
            now,
            self.settings.clone(),
        )
    }
}

pub fn ledger_keys() -> LedgerKeys {
    LedgerKeys {
        record: secret("ledger/records"),
        checkpoint: secret("ledger/checkpoints"),
        origin: id("ledger.example/1"),
    }
}

pub fn founding(now: Timestamp) -> Founding {
    let custodian =
        |name: &str| FoundingCustodian { key: secret(name).public().clone(), principal: id(name) };
    let keys = ledger_keys();
    Founding {
        body: Charter {
            checkpoint_key: keys.checkpoint.public().clone(),
            currencies: vec![id("USD")],
            custodians: vec![custodian("c1"), custodian("c2")],
            origin: keys.origin,
            policy: Policy {
                bank_report_persons: Integer(1),
                bands: vec![Band { approvers: Integer(1), directors: Integer(0), up_to: usd("10000.00") }],
                basis_age_s: Integer(7 * 86_400),
                channels: vec![ChannelKind::Manual],
                expiry_max_s: Integer(60 * 86_400),
                gap_s: Integer(48 * 3600),
                lapse_grace_s: Integer(3600),
                quorum_delay_s: Integer(0),
                receipt_persons: Integer(1),
                skew_s: Integer(60),
            },
            quorum: Integer(2),
            record_key: keys.record.public().clone(),
            witness_threshold: Integer(0),
            witnesses: vec![],
        },
        id: instruction_id(),
        issued_at: now,
        key: secret("c1").public().id(),
        signer: id("c1"),
    }
}

pub fn envelope(payload: Payload, key: &SecretKey) -> Envelope {
    Record::sign(payload, key).unwrap().envelope().clone()
}

/// A ledger, and a process that serves it.
pub struct Town {
    pub place: Place,
    pub pipeline: Pipeline,
    pub ledger: Digest,
    pub basis: Basis,
}

impl Town {
    /// Founded by `c1`.
    pub async fn founded(place: Place) -> Town {
        let pipeline = place.start();
        let founding = envelope(Payload::Founding(Box::new(founding(place.now()))), &secret("c1"));
        let (ledger, leaf) = (founding.digest(), translog::tree::leaf_hash(&founding.encode()));
        let mut town = Town { place, pipeline, ledger, basis: Basis { root: leaf, size: Integer(1) } };
        assert_eq!(town.submit(vec![founding], Mode::Each).await, [Ok(0)]);
        town
    }

    /// Everybody enrolled.
    pub async fn staffed(place: Place) -> Town {
        let mut town = Town::founded(place).await;
        town.accepts("c2", Body::Acceptance(Acceptance {})).await;
        for (name, role) in PEOPLE {
            let key = secret(name).public().clone();
            let possession = KeyPossession { key, ledger: town.ledger, principal: id(name) };
            let payload = signing::canonical::encode(&possession);
            let possessions = vec![Envelope::sign(&secret(name), KeyPossession::PAYLOAD_TYPE, payload)];
            let act = Act::Enrol { possessions, principal: id(name), roles: vec![id(role)] };
            let proposal = town.sign("c1", Body::Proposal(Proposal { act }));
            let digest = proposal.digest();
            assert!(town.submit(vec![proposal], Mode::Each).await[0].is_ok());
            town.accepts("c2", Body::Concurrence(Concurrence { proposal: digest })).await;
        }
        town
    }

    /// With `money` in the fund `f1` and cases `case-0` and so on, cleared.
    pub async fn funded(place: Place, money: &str, cases: usize) -> Town {
        let mut town = Town::staffed(place).await;
        let fund = |fund: &str, kind| {
            Body::FundOpening(FundOpening { asset: id("a1"), currency: id("USD"), fund: id(fund), kind })
        };
        let registration =
            AssetRegistration { asset: id("a1"), description: id("an account"), instrument: evidence() };
        let benefit = Benefit { benefit: id("arrival"), kind: BenefitKind::Cash { amount: usd("5000.00") } };
        let offer = Offer {
            benefits: vec![benefit],
            offer: id("o1"),
            valid_from: id("2029-01-01"),
            version: Integer(1),
        };
        let batch = [
            Body::AssetRegistration(registration),
            fund("h1", FundKind::Fiduciary),
            fund("f1", FundKind::Spendable),
            Body::BankOpening(BankOpening { bank: id("b1"), currency: id("USD") }),
            Body::Offer(offer),
        ];
        let batch = batch.into_iter().map(|body| town.sign("dir1", body)).collect();
        assert!(town.submit(batch, Mode::All).await.iter().all(Result::is_ok));
        let income = WindfallIncome {
            bank: id("b1"),
            evidence: evidence(),
            fund: id("f1"),
            own: usd(money),
            retained: usd("0.00"),
            shares: vec![],
            shares_fund: id("h1"),
            value_date: town.place.now().date(),
        };
        town.accepts("rec1", Body::WindfallIncome(income)).await;
        let batch: Vec<Envelope> = (0..cases)
            .flat_map(|number| {
                let case = CaseOpening {
                    agency: id("ag1"),
                    agency_ref: id(&format!("ref-{number}")),
                    case: id(&format!("case-{number}")),
                    entered: id("2029-06-01"),
                    offer: OfferVersion { offer: id("o1"), version: Integer(1) },
                };
                let screening = Screening {
                    case: case.case.clone(),
                    evidence: evidence(),
                    outcome: ScreeningOutcome::Cleared,
                    person: Digest::of("a tag"),
                };
                [town.sign("prep1", Body::CaseOpening(case)), town.sign("scr1", Body::Screening(screening))]
            })
            .collect();
        for part in batch.chunks(500) {
            assert!(town.submit(part.to_vec(), Mode::All).await.iter().all(Result::is_ok));
        }
        town
    }

    /// Signs an instruction on the basis that was seen last.
    pub fn sign(&self, who: &str, body: Body) -> Envelope {
        let key = secret(who);
        let header = Header {
            basis: self.basis,
            id: instruction_id(),
            issued_at: self.place.now(),
            key: key.public().id(),
            ledger: self.ledger,
            not_after: self.place.now().plus(86_400).unwrap(),
            signer: id(who),
        };
        envelope(Payload::Instruction(Box::new(header), Box::new(body)), &key)
    }

    /// Submits, waits for the receipt, and verifies it. Positions, or the codes of refusals.
    pub async fn submit(&mut self, envelopes: Vec<Envelope>, mode: Mode) -> Vec<Result<u64, String>> {
        let envelopes = envelopes.into_iter().map(Ok).collect();
        let submitted = self.pipeline.submit(envelopes, mode).await.unwrap();
        self.see(&submitted);
        submitted.outcomes.iter().map(shown).collect()
    }

    /// Verifies a receipt and takes it as the basis from now on.
    fn see(&mut self, submitted: &Submitted) {
        let last = submitted.outcomes.iter().filter_map(|outcome| shown(outcome).ok()).max();
        let Some(last) = last else {
            assert_eq!(submitted.checkpoint, None);
            return;
        };
        let keys = ledger_keys();
        let note = submitted.checkpoint.as_deref().expect("a receipt in time");
        let checkpoint =
            Checkpoint::parse_and_verify(note, keys.origin.as_str(), keys.checkpoint.public()).unwrap();
        assert!(checkpoint.size > last);
        self.basis = Basis { root: checkpoint.root, size: Integer(checkpoint.size) };
    }

    pub async fn send(&mut self, who: &str, body: Body) -> Result<u64, String> {
        let signed = self.sign(who, body);
        self.submit(vec![signed], Mode::Each).await.remove(0)
    }

    pub async fn accepts(&mut self, who: &str, body: Body) -> u64 {
        self.send(who, body).await.unwrap()
    }

    /// A request of 5,000.00 for a case.
    pub fn request(&self, disbursement: &str, case: &str) -> Body {
        Body::Request(Request {
            amount: usd("5000.00"),
            benefit: id("arrival"),
            case: id(case),
            channel: Channel::Manual {},
            disbursement: id(disbursement),
            expires: self.place.now().plus(10 * 86_400).unwrap(),
            fund: id("f1"),
            occurrence: Integer(1),
            offer: OfferVersion { offer: id("o1"), version: Integer(1) },
            salt: Salt::from_bytes(*Digest::of(disbursement).as_bytes()),
        })
    }

    /// The disbursement's entity as the database holds it.
    pub async fn disbursement(&self, name: &str) -> programme::entity::DisbursementState {
        let admin = self.place.admin().await;
        let sql = "SELECT value FROM entities WHERE key = $1";
        let json: String = admin.query_one(sql, &[&format!("disbursement/{name}")]).await.unwrap().get(0);
        serde_json::from_str(&json).unwrap()
    }

    pub async fn approval(&self, name: &str) -> Body {
        let state = self.disbursement(name).await;
        Body::Approval(Approval { effect: programme::effect_of(&id(name), &state, 1) })
    }

    pub async fn release(&self, name: &str) -> Body {
        let request = self.disbursement(name).await.request;
        Body::Release(Release { bank: id("b1"), disbursement: id(name), request })
    }

    pub fn confirmation(&self, name: &str) -> Body {
        let value_date = self.place.now().date();
        Body::BankConfirmation(BankConfirmation { disbursement: id(name), evidence: evidence(), value_date })
    }

    /// Ends the process, replays the whole log, and holds the database to it: head, entities and balances.
    pub async fn prove(self) -> State {
        self.pipeline.shutdown().await;
        prove(&self.place, self.ledger).await
    }
}

/// The position of what was accepted; the code of everything else.
pub fn shown(outcome: &Outcome) -> Result<u64, String> {
    match outcome {
        Outcome::Accepted { position, .. } => Ok(*position),
        Outcome::Malformed(error) => Err(error.code().to_owned()),
        Outcome::Refused { refusal, .. } => Err(refusal.code.as_str().to_owned()),
        Outcome::BadSignature { .. } => Err("bad_signature".to_owned()),
        Outcome::NotTried => Err("not_tried".to_owned()),
    }
}

/// Replays the log of a place and compares.
pub async fn prove(place: &Place, ledger: Digest) -> State {
    let names = ["c1", "c2", "ledger/records"].into_iter().chain(PEOPLE.map(|(name, _)| name));
    let keys: Vec<SecretKey> = names.map(secret).collect();
    let admin = place.admin().await;
    let head = log::head(&admin).await.unwrap();
    let (mut replay, mut frontier) = (Replay::new(ledger), Frontier::new());
    while frontier.size() < head.size {
        for envelope in log::envelopes(&admin, frontier.size(), head.size, 1000).await.unwrap() {
            let key = keys.iter().find(|key| key.public().id() == envelope.key_id).unwrap().public();
            let record = Record::parse(envelope).unwrap().verify(key).unwrap();
            let root = frontier.root();
            replay.push(&record, || root).unwrap();
            frontier.append(record.leaf_hash());
        }
    }
    assert_eq!((frontier.root(), &frontier), (head.root, &head.frontier));
    let state = replay.finish().unwrap();
    let (mut entities, mut balances) = (Vec::new(), Vec::new());
    for (key, entity) in state.entities() {
        match key {
            Key::Instruction(..) | Key::Head(_) => {}
            Key::Balance(_) => balances.push((key.to_string(), entity.to_json())),
            _ => entities.push((key.to_string(), entity.to_json())),
        }
    }
    let rows = admin.query("SELECT key, value FROM entities", &[]).await.unwrap();
    let mut stored: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    entities.sort();
    stored.sort();
    assert_eq!(entities, stored);
    let sql = "SELECT account, fund, currency, amount::text, held::text FROM balances";
    let rows = admin.query(sql, &[]).await.unwrap();
    let mut stored: Vec<(String, String)> = rows
        .iter()
        .map(|row| {
            let (key, balance) = store::load::balance(row).unwrap();
            (Key::Balance(key).to_string(), programme::entity::Entity::Balance(balance).to_json())
        })
        .collect();
    balances.sort();
    stored.sort();
    assert_eq!(balances, stored);
    state
}

/// Prints what the test found, where somebody looks.
pub fn note(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
