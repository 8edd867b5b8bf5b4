//! A service in miniature: it takes instructions, decides, signs entries and groups, and writes bundles, all in memory.
//!
//! `take` is the honest way in. `force` appends whatever it is given, as somebody with the database and the ledger's
//! keys could; the group records after it still name the right roots.

use std::collections::BTreeMap;

use ledger::books::BalanceKey;
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::{At, RULES_VERSION, State, apply, begin_group, decide};
use records::bundle::{BalanceLine, Format, Header as BundleHeader, balance_line, header_line};
use records::governance::{
    Act, Band, ChannelKind, Charter, Concurrence, Founding, FoundingCustodian, Policy, Proposal,
};
use records::journal::{Group, Lapse};
use records::scalar::{InstructionId, Integer};
use records::{Basis, Body, Header, Kind, Payload, Record, Verified};
use signing::digest::Digest;
use signing::keys::SecretKey;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, leaf_hash};

use crate::staff::{Person, key};

pub const HOUR_S: u64 = 60 * 60;
pub const DAY_S: u64 = 24 * HOUR_S;

/// Reads an id, a date or whatever else has one spelling.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn usd(text: &str) -> Money {
    Money::parse(text, parse("USD")).unwrap()
}

/// Up to 10,000.00 one approver, above that two, one of them a director.
pub fn policy() -> Policy {
    let band = |approvers, directors, up_to| Band {
        approvers: Integer(approvers),
        directors: Integer(directors),
        up_to: usd(up_to),
    };
    Policy {
        bank_report_persons: Integer(1),
        bands: vec![band(1, 0, "10000.00"), band(2, 1, "1000000.00")],
        basis_age_s: Integer(30 * DAY_S),
        channels: vec![ChannelKind::Manual],
        expiry_max_s: Integer(90 * DAY_S),
        gap_s: Integer(2 * DAY_S),
        lapse_grace_s: Integer(HOUR_S),
        publication: None,
        quorum_delay_s: Integer(HOUR_S),
        receipt_persons: Integer(2),
        skew_s: Integer(60),
        witnessing: None,
    }
}

/// The log, and what the service keeps beside it.
pub struct Ledger {
    pub id: Digest,
    pub record_key: SecretKey,
    pub checkpoint_key: SecretKey,
    pub origin: String,
    pub leaves: Vec<Vec<u8>>,
    pub now: Timestamp,
    pub state: State,
    /// The balances at the end of every group but the last, by the log's size there.
    pub earlier: BTreeMap<u64, Vec<BalanceLine>>,
    /// Whether they are kept, which takes a while in a long log.
    pub keeps_earlier: bool,
    frontier: Frontier,
    /// Every group's first position and the root before it: what a client can have verified.
    heads: Vec<Basis>,
    instructions: u64,
}

impl Ledger {
    /// Founds a ledger of two custodians; the first one signs.
    pub fn found(origin: &str, [first, second]: [&Person; 2]) -> Ledger {
        let now: Timestamp = parse("2030-01-01T08:00:00Z");
        let (record_key, checkpoint_key) = (key("record"), key("checkpoint"));
        let custodian = |person: &Person| FoundingCustodian {
            key: person.key.public().clone(),
            principal: person.principal.clone(),
        };
        let charter = Charter {
            checkpoint_key: checkpoint_key.public().clone(),
            currencies: vec![parse("USD")],
            custodians: vec![custodian(first), custodian(second)],
            origin: parse(origin),
            policy: policy(),
            quorum: Integer(2),
            record_key: record_key.public().clone(),
        };
        let founding = Founding {
            body: charter,
            id: instruction_id(0),
            issued_at: now,
            key: first.key.public().id(),
            signer: first.principal.clone(),
        };
        let record = Record::sign(Payload::Founding(Box::new(founding)), &first.key).unwrap();
        let mut ledger = Ledger {
            id: record.digest(),
            record_key,
            checkpoint_key,
            origin: origin.to_owned(),
            leaves: vec![],
            now,
            state: State::complete(),
            earlier: BTreeMap::new(),
            keeps_earlier: true,
            frontier: Frontier::new(),
            heads: vec![],
            instructions: 1,
        };
        ledger.decide(record);
        ledger
    }

    /// The position of the next record.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Begins the next group, so much later.
    pub fn begin_group(&mut self, later_s: u64) {
        self.now = self.now.plus(later_s).unwrap();
        self.begin(self.next_group());
    }

    /// Begins a group with this record, which the ledger's key signs.
    pub fn begin(&mut self, group: Group) {
        if self.keeps_earlier {
            self.earlier.insert(self.size(), self.balances());
        }
        begin_group(&mut self.state, &group);
        self.heads.push(Basis { root: group.root, size: group.first });
        let record = self.sign_as_ledger(Payload::Group(group));
        self.force(&record);
    }

    /// The group record that belongs here.
    pub fn next_group(&self) -> Group {
        Group {
            epoch: parse("7420000000000000001/1"),
            first: Integer(self.size()),
            ledger: self.id,
            record_key: None,
            recorded_at: self.now,
            root: self.frontier.root(),
            rules: Integer(RULES_VERSION),
        }
    }

    /// Takes a person's instruction with what it causes, and gives its digest.
    pub fn take(&mut self, person: &Person, body: Body) -> Digest {
        let record = self.sign(person, body);
        self.decide(record)
    }

    /// The ledger's own word that a disbursement ran out.
    pub fn lapse(&self, disbursement: &str, request: Digest, expired: Timestamp) -> Verified {
        let lapse = Lapse { disbursement: parse(disbursement), expired, ledger: self.id, request };
        self.sign_as_ledger(Payload::Lapse(lapse))
    }

    /// Both custodians decide on an act.
    pub fn enact(&mut self, [first, second]: [&Person; 2], act: Act) {
        let proposal = self.take(first, Body::Proposal(Proposal { act }));
        self.take(second, Body::Concurrence(Concurrence { proposal }));
    }

    /// Decides a record at its place, and appends it and its entry.
    pub fn decide(&mut self, record: Verified) -> Digest {
        let at = At { position: self.size(), recorded_at: self.now };
        let decision = decide(&self.state, at, &record)
            .unwrap_or_else(|halt| panic!("{} at {}: {halt:?}", record.kind().name(), at.position));
        apply(&mut self.state, &decision);
        self.force(&record);
        if let Some(entry) = decision.entry() {
            let entry = self.sign_as_ledger(Payload::JournalEntry(Box::new(entry.clone())));
            self.force(&entry);
        }
        record.digest()
    }

    /// Appends a record, whatever the rules say of it.
    pub fn force(&mut self, record: &Verified) -> u64 {
        let position = self.size();
        self.leaves.push(record.leaf());
        self.frontier.append(record.leaf_hash());
        position
    }

    /// Drops the log's tail, as if it had never been.
    pub fn rewind(&mut self, size: u64) {
        self.leaves.truncate(size as usize);
        self.frontier = Frontier::new();
        self.leaves.iter().for_each(|leaf| self.frontier.append(leaf_hash(leaf)));
    }

    /// An instruction as the person's client makes it, on the newest checkpoint that it can have seen: the one before
    /// the present group.
    pub fn sign(&mut self, person: &Person, body: Body) -> Verified {
        let basis = match self.heads.as_slice() {
            [.., before, _] => *before,
            [only] => *only,
            [] => panic!("there is no group yet"),
        };
        let header = Header {
            basis,
            id: instruction_id(self.instructions),
            issued_at: self.now,
            key: person.key.public().id(),
            ledger: self.id,
            not_after: self.now.plus(DAY_S).unwrap(),
            signer: person.principal.clone(),
        };
        self.instructions += 1;
        Record::sign(Payload::Instruction(Box::new(header), Box::new(body)), &person.key).unwrap()
    }

    /// A record by the ledger's record key.
    pub fn sign_as_ledger(&self, payload: Payload) -> Verified {
        Record::sign(payload, &self.record_key).unwrap()
    }

    /// The positions of a kind's records.
    pub fn positions(&self, kind: Kind) -> Vec<u64> {
        let is_kind = |leaf: &Vec<u8>| Record::parse_leaf(leaf).unwrap().kind() == kind;
        (0..self.size()).filter(|position| is_kind(&self.leaves[*position as usize])).collect()
    }

    /// Every balance that is not zero.
    pub fn balances(&self) -> Vec<BalanceLine> {
        let mut balances: Vec<BalanceLine> = self
            .state
            .balances()
            .filter(|(_, balance)| !balance.amount.is_zero() || !balance.held.is_zero())
            .map(|(key, balance)| BalanceLine { key: BalanceKey::clone(key), balance: *balance })
            .collect();
        balances.sort_by(BalanceLine::in_order);
        balances
    }

    /// The bundle of the whole log, with all its balances.
    pub fn bundle(&self) -> Bundle {
        let balances = self.balances();
        Bundle { header: self.bundle_header(&balances), balances, leaves: self.leaves.clone() }
    }

    /// The header of the bundle of the whole log, with these balances of its end.
    pub fn bundle_header(&self, balances: &[BalanceLine]) -> BundleHeader {
        let (size, root) = (self.size(), self.frontier.root());
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        BundleHeader {
            balances: Integer(balances.len() as u64),
            balances_at: Integer(size),
            checkpoint: checkpoint.sign(&self.checkpoint_key),
            format: Format::V1,
            from: None,
            ledger: self.id,
            records: Integer(size),
        }
    }
}

fn instruction_id(number: u64) -> InstructionId {
    parse(&format!("01890a5d-ac96-7000-8000-{number:012x}"))
}

/// A bundle before it is written.
#[derive(Clone)]
pub struct Bundle {
    pub header: BundleHeader,
    pub balances: Vec<BalanceLine>,
    pub leaves: Vec<Vec<u8>>,
}

impl Bundle {
    /// Makes counts and checkpoint agree with what is in it, which takes the ledger's checkpoint key.
    pub fn seal(&mut self, ledger: &Ledger) {
        let records = Integer(self.leaves.len() as u64);
        self.header.checkpoint = self.checkpoint(&ledger.origin).sign(&ledger.checkpoint_key);
        self.header.balances = Integer(self.balances.len() as u64);
        self.header.balances_at = records;
        self.header.records = records;
    }

    /// The checkpoint of its records, unsigned.
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        let mut frontier = Frontier::new();
        self.leaves.iter().for_each(|leaf| frontier.append(leaf_hash(leaf)));
        Checkpoint { origin: origin.to_owned(), size: frontier.size(), root: frontier.root() }
    }

    /// Its lines, each with its line feed.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let header = header_line(&self.header).into_bytes();
        let balances = self.balances.iter().map(|balance| balance_line(balance).into_bytes());
        let leaves = self.leaves.iter().map(|leaf| [leaf.as_slice(), b"\n"].concat());
        [header].into_iter().chain(balances).chain(leaves).collect()
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        self.lines().concat()
    }

    /// The line of the file in which a record stands.
    pub fn line_of(&self, position: u64) -> u64 {
        2 + self.balances.len() as u64 + position
    }
}
