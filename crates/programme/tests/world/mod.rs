//! A ledger in memory that a test drives: people whose keys come from seeds, and a clock that the test moves.
//!
//! Whatever is accepted goes through every check that must hold after every record: the decision is the same on a
//! partial state, the entry is well formed, the books bear it, holds add up, the funds prove themselves, and a replay
//! of the records' bytes accepts them.

mod bodies;
pub mod cast;
pub mod script;
pub mod steps;

use std::collections::{BTreeMap, BTreeSet};

use ledger::account::Limit;
use ledger::books::{Balance, BalanceKey, Books};
use ledger::proofs::{self, prove_fund};
use ledger::time::Timestamp;
use programme::entity::{CharterState, DisbursementState, Entity, FundState, PolicyState, VersionedPolicy};
use programme::publication::{Padding, padding};
use programme::replay::Replay;
use programme::{At, Decision, Halt, Key, Lookup, RULES_VERSION, State, apply, begin_group, decide};
use records::assets::FundKind;
use records::journal::{Group, JournalEntry, Lapse};
use records::scalar::{InstructionId, Integer};
use records::{Basis, Body, Header, Payload, Record, Verified};
use signing::digest::Digest;
use signing::keys::{PublicKey, SecretKey};
use translog::tree::Frontier;

/// Parses any id, time or code.
pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// The key that a name stands for.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(name).as_bytes())
}

/// An instruction id, by its number.
pub fn instruction_id(number: u64) -> InstructionId {
    id(&format!("01890a5d-ac96-774b-bcce-{number:012x}"))
}

/// How an instruction is framed, where not as usual.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The name of the key that signs; the signer's own otherwise.
    pub key: Option<String>,
    /// The ledger that it names.
    pub ledger: Option<Digest>,
    /// The basis that it names; the latest otherwise.
    pub basis: Option<Basis>,
    /// The number of its id; a new one otherwise.
    pub id: Option<u64>,
    /// By how many seconds it was issued after the present.
    pub issued_after_s: i64,
    /// How long it lives, in seconds; a day otherwise.
    pub life_s: Option<i64>,
}

/// The ledger and its people.
pub struct World {
    pub state: State,
    /// Every record so far.
    pub records: Vec<Verified>,
    /// Digests that a script named.
    pub named: BTreeMap<String, Digest>,
    /// What was sent last, whether it was accepted or not.
    pub sent: Option<Body>,
    books: Books,
    frontier: Frontier,
    replay: Option<Replay>,
    now: Timestamp,
    group: Option<Timestamp>,
    /// How the present group has to end.
    padding: Option<Padding>,
    /// The name of the key for records that the next group carries, and is signed by.
    pub carried: Option<String>,
    basis: Basis,
    ids: u64,
    ledger: Digest,
}

impl World {
    /// Nothing yet, not even a founding record.
    pub fn empty() -> World {
        World {
            state: State::complete(),
            records: vec![],
            named: BTreeMap::new(),
            sent: None,
            books: Books::new(),
            frontier: Frontier::new(),
            replay: None,
            now: id("2030-01-01T00:00:00Z"),
            group: None,
            padding: None,
            carried: None,
            basis: Basis { root: Frontier::new().root(), size: Integer(0) },
            ids: 1000,
            ledger: Digest::of("a ledger that nobody founded"),
        }
    }

    /// The same ledger once more, which goes its own way from here.
    pub fn fork(&self) -> World {
        let mut fork = World { named: self.named.clone(), now: self.now, ids: self.ids, ..World::empty() };
        fork.replay = self.replay.as_ref().map(|_| Replay::new(self.ledger));
        for record in &self.records {
            fork.append(record);
        }
        fork.state = self.state.clone();
        fork.books = self.books.clone();
        let (group, padding, basis, ledger) = (self.group, self.padding, self.basis, self.ledger);
        World { group, padding, basis, ledger, carried: self.carried.clone(), ..fork }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn ledger(&self) -> Digest {
        self.ledger
    }

    /// Where the next record would stand.
    pub fn at(&self) -> At {
        At { position: self.frontier.size(), recorded_at: self.now }
    }

    /// Moves the clock and does nothing else.
    pub fn move_clock(&mut self, seconds: u64) {
        self.now = self.now.plus(seconds).unwrap();
    }

    /// Moves the clock, begins a group, and logs what ran out, as an honest ledger does.
    pub fn pass(&mut self, seconds: u64) {
        self.move_clock(seconds);
        self.begin_group();
        for lapse in self.overdue() {
            self.lapse(lapse).unwrap();
        }
    }

    /// The lapses that the state calls for.
    pub fn overdue(&self) -> Vec<Lapse> {
        let due = |(key, entity): (&Key, &Entity)| match (key, entity) {
            (Key::Disbursement(id), Entity::Disbursement(state))
                if state.stage.can_lapse() && state.expires < self.now =>
            {
                Some(self.lapse_of(id, state))
            }
            _ => None,
        };
        let mut lapses: Vec<Lapse> = self.state.entities().filter_map(due).collect();
        lapses.sort_by(|a, b| a.disbursement.cmp(&b.disbursement));
        lapses
    }

    /// What the ledger would log if this disbursement ran out.
    pub fn lapse_of(&self, id: &ledger::id::DisbursementId, state: &DisbursementState) -> Lapse {
        Lapse {
            disbursement: id.clone(),
            expired: state.expires,
            ledger: self.ledger,
            request: state.request,
        }
    }

    /// The ledger logs a lapse.
    pub fn lapse(&mut self, lapse: Lapse) -> Result<Option<JournalEntry>, Halt> {
        self.submit(Payload::Lapse(lapse), &self.record_key())
    }

    /// Somebody sends an instruction: its digest, and the entry that it causes.
    pub fn send(
        &mut self,
        who: &str,
        frame: &Frame,
        body: Body,
    ) -> Result<(Digest, Option<JournalEntry>), Halt> {
        self.begin_group_if_new();
        self.sent = Some(body.clone());
        let key = secret(frame.key.as_deref().unwrap_or(who));
        let header = self.header(who, frame, key.public());
        let payload = Payload::Instruction(Box::new(header), Box::new(body));
        let digest = Record::sign(payload.clone(), &key).unwrap().digest();
        Ok((digest, self.submit(payload, &key)?))
    }

    fn header(&mut self, who: &str, frame: &Frame, key: &PublicKey) -> Header {
        self.ids += 1;
        let issued_at = Timestamp::from_unix(self.now.unix() + frame.issued_after_s).unwrap();
        let not_after = issued_at.unix() + frame.life_s.unwrap_or(24 * 60 * 60);
        Header {
            basis: frame.basis.unwrap_or(self.basis),
            id: instruction_id(frame.id.unwrap_or(self.ids)),
            issued_at,
            key: key.id(),
            ledger: frame.ledger.unwrap_or(self.ledger),
            not_after: Timestamp::from_unix(not_after).unwrap(),
            signer: id(who),
        }
    }

    /// The basis that the founding record alone makes.
    pub fn first_basis(&self) -> Basis {
        Basis { root: self.records[0].leaf_hash(), size: Integer(1) }
    }

    pub fn latest_basis(&self) -> Basis {
        self.basis
    }

    /// The policy in force.
    pub fn policy(&self) -> VersionedPolicy {
        self.state.get::<PolicyState>(&Key::Policy).unwrap().at(self.now).clone()
    }

    /// Decides a record, and takes what it causes.
    pub fn submit(&mut self, payload: Payload, key: &SecretKey) -> Result<Option<JournalEntry>, Halt> {
        let record = Record::sign(payload, key).unwrap();
        let decision = self.decide(&record)?;
        if matches!(record.payload(), Payload::Founding(_)) {
            self.ledger = record.digest();
            self.replay = Some(Replay::new(self.ledger));
        }
        self.append(&record);
        apply(&mut self.state, &decision);
        let entry = decision.entry().cloned();
        if let Some(entry) = &entry {
            self.post(entry);
        }
        Ok(entry)
    }

    /// What the rules say to a record here, asserted to be the same on a partial state.
    pub fn decide(&self, record: &Verified) -> Result<Decision, Halt> {
        let outcome = decide(&self.state, self.at(), record);
        assert_eq!(decide_in_part(&self.state, State::partial(), self.at(), record), outcome);
        outcome
    }

    fn begin_group_if_new(&mut self) {
        if self.replay.is_some() && self.group != Some(self.now) {
            self.begin_group();
        }
    }

    /// Ends the present group with the pads that it owes.
    pub fn end_group(&mut self) {
        let Some(padding) = self.padding.take() else { return };
        for _ in 0..padding.count(self.frontier.size()) {
            let pad = Payload::Pad(padding.pad(self.ledger, self.frontier.size()));
            self.append(&Record::sign(pad, &self.record_key()).unwrap());
        }
    }

    fn begin_group(&mut self) {
        self.end_group();
        let last = self.group.unwrap_or_else(|| cast::founding().issued_at);
        let group = Group {
            epoch: id("7000000000000000001/1"),
            first: Integer(self.frontier.size()),
            ledger: self.ledger,
            record_key: self.carried.as_deref().map(|name| Box::new(secret(name).public().clone())),
            recorded_at: self.now,
            root: self.frontier.root(),
            rules: Integer(RULES_VERSION),
        };
        self.basis = Basis { root: group.root, size: group.first };
        self.group = Some(self.now);
        begin_group(&mut self.state, &group);
        self.padding = padding(&self.state, last, self.now);
        let key = self.carried.take().map_or_else(|| self.record_key(), |name| secret(&name));
        let record = Record::sign(Payload::Group(group), &key).unwrap();
        self.append(&record);
    }

    /// The key with which the ledger signs now.
    fn record_key(&self) -> SecretKey {
        let charter = self.state.get::<CharterState>(&Key::Charter);
        let keys = [cast::record_key(), secret("ledger/records/2")];
        keys.into_iter().find(|key| charter.is_some_and(|known| known.record_key() == key.public())).unwrap()
    }

    /// The head that a reopening continues: the present group's, where that has begun.
    pub fn left(&self) -> Basis {
        match self.group == Some(self.now) {
            true => self.basis,
            false => Basis { root: self.frontier.root(), size: Integer(self.frontier.size()) },
        }
    }

    /// Appends the record to the log, and replays it from its bytes.
    fn append(&mut self, record: &Verified) {
        let leaf = record.leaf();
        let read = Record::parse_leaf(&leaf).unwrap();
        assert_eq!(read, **record);
        let root = self.frontier.root();
        if let Some(replay) = &mut self.replay {
            replay.push(record, || root).unwrap_or_else(|refuted| panic!("{refuted}"));
        }
        self.frontier.append(record.leaf_hash());
        self.records.push(record.clone());
    }

    fn post(&mut self, entry: &JournalEntry) {
        let payload = Payload::JournalEntry(Box::new(entry.clone()));
        self.append(&Record::sign(payload, &self.record_key()).unwrap());
        let entry = entry.entry();
        entry.validate().unwrap();
        let posted = self.books.check(&entry).unwrap_or_else(|error| panic!("{error}: {entry:#?}"));
        self.books.apply(posted.clone());
        for (key, balance) in posted.balances() {
            let of_state = self.state.get::<Balance>(&Key::from(key.clone())).copied();
            assert_eq!(of_state.unwrap_or(Balance::zero(key.currency)), *balance, "{key:?}");
            self.assert_limits(key, balance);
        }
        let mut funds: Vec<_> = entry.lines.iter().map(|line| &line.fund).collect();
        funds.sort();
        funds.dedup();
        for fund in funds {
            let state = self.state.get::<FundState>(&Key::Fund(fund.clone())).unwrap();
            let kind = match state.kind {
                FundKind::Fiduciary => proofs::FundKind::Fiduciary,
                FundKind::Spendable => proofs::FundKind::Spendable,
            };
            let proof = prove_fund(
                fund,
                kind,
                state.currency,
                self.state.balances().map(|(key, balance)| (key, balance.amount.into())),
            );
            assert!(proof.holds(), "{fund} after {entry:#?}: {proof:#?}");
        }
    }

    fn assert_limits(&self, key: &BalanceKey, balance: &Balance) {
        let open = self.books.open_holds().filter(|(_, hold)| hold.key() == key);
        let held: i64 = open.map(|(_, hold)| hold.money().minor()).sum();
        assert_eq!(balance.held.minor(), held, "what is held of {key:?} is not its open holds");
        if key.account.limit() == Limit::NotBelowHeld {
            assert!(balance.amount.minor() >= held, "{key:?} is below what is held of it");
        }
    }

    /// Ends the log: a replay of all its bytes comes to the same state.
    pub fn finish(&self) {
        let mut replay = Replay::new(self.ledger);
        let mut frontier = Frontier::new();
        for record in &self.records {
            let root = frontier.root();
            replay.push(record, || root).unwrap();
            frontier.append(record.leaf_hash());
        }
        let replayed = replay.finish().unwrap();
        let lasting = |state: &State| -> BTreeMap<String, String> {
            let all = state.entities().filter(|(key, _)| !matches!(key, Key::Instruction(..)));
            all.map(|(key, entity)| (key.to_string(), entity.to_json())).collect()
        };
        assert_eq!(lasting(&replayed), lasting(&self.state));
        for (key, entity) in self.state.entities() {
            assert_eq!(Entity::from_json(key, &entity.to_json()).unwrap(), *entity);
        }
    }

    /// What a fund has on the accounts with this code, and what is held of them, in minor units.
    pub fn sums(&self, fund: &str, codes: std::ops::RangeInclusive<u16>) -> (i64, i64) {
        let of = |key: &BalanceKey| key.fund.as_str() == fund && codes.contains(&key.account.code());
        let all = self.state.balances().filter(|(key, _)| of(key));
        all.fold((0, 0), |(amount, held), (_, balance)| {
            (amount + balance.amount.minor(), held + balance.held.minor())
        })
    }

    pub fn disbursement(&self, name: &str) -> Option<&DisbursementState> {
        self.state.get(&Key::Disbursement(id(name)))
    }
}

/// Decides on a partial state, which is told what it lacks and nothing else, in three rounds at most.
pub fn decide_in_part(full: &State, mut partial: State, at: At, record: &Verified) -> Result<Decision, Halt> {
    for _ in 0..=3 {
        let keys = match decide(&partial, at, record) {
            Err(Halt::Missing(keys)) => BTreeSet::from_iter(keys),
            outcome => return outcome,
        };
        assert!(!keys.is_empty(), "it lacks nothing, and does not say more");
        for key in keys {
            assert_eq!(partial.lookup(&key), Lookup::NotLoaded, "asked for {key} twice");
            let entity = match full.lookup(&key) {
                Lookup::Present(entity) => Some(entity.clone()),
                Lookup::Absent | Lookup::NotLoaded => None,
            };
            partial.load(key, entity);
        }
    }
    panic!("still lacks something after three rounds: {record:#?}");
}
