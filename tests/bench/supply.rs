//! The ledger under load, all of it brought about by signed instructions through the service: people, funds, cases, and
//! what can still be asked for.
//!
//! A *single instruction* is a `request` by a preparer: one instruction, and one entry that holds its amount on a fund.
//! A benefit is paid once to a case, so the offer has twelve, a year's stipends, and every request is for another case
//! and month; those of one cohort of cases go through all cases before the next month. Each is signed on the checkpoint
//! that came with the worker's last answer, as a person's machine does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use ledger::id::DisbursementId;
use ledger::money::Money;
use records::assets::{Custody, Forfeiture, FundKind, FundOpening};
use records::cases::{Benefit, BenefitKind, CaseOpening, Offer, Screening, ScreeningOutcome};
use records::disbursements::{Channel, Request};
use records::scalar::{Integer, Salt};
use records::{Basis, Body, Header, Payload, Record};
use signing::digest::Digest;
use tests::people::Person;
use tests::service::Clock;
use tests::world::{Desk, evidence, id, new_id, new_life, nonce, policy, usd};

use crate::client::{Worker, drive, post};
use crate::process::Process;

const MONTHS: u64 = 12;
/// How many funds there are besides the hot one.
const FUNDS: u64 = 1_000;
const LIST: usize = 1_000;
/// Enough for every log that fits on a disk.
const NO_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How many cases are opened at once, at most.
const COHORT: u64 = 10_000;

/// Who signs under load, with keys that are made once.
struct People {
    anna: Person,
    sven: Person,
    north: Person,
}

/// The people, and what they can still ask for. Clones share it.
#[derive(Clone)]
pub struct Supply {
    /// Everybody's desk.
    pub desk: Desk,
    address: String,
    people: Arc<People>,
    stipend: Money,
    /// The cases that are open, and the number of the first one of the present cohort.
    cases: u64,
    cohort: u64,
    /// How many of the cohort's obligations were taken.
    taken: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

/// From which fund requests are paid.
#[derive(Debug, Clone, Copy)]
pub enum Funds {
    /// All from one.
    Hot,
    /// From each of a thousand in turn.
    Spread,
}

/// The reference of a number: as long as a drawn one, and as scattered.
fn reference<T: std::str::FromStr>(prefix: &str, number: u64) -> T
where
    T::Err: std::fmt::Debug,
{
    id(&format!("{prefix}{}", &Digest::of(format!("{prefix}{number}")).to_string()[..20]))
}

fn fund_name(number: u64) -> String {
    format!("fund-{number:04}")
}

fn month(number: u64) -> String {
    format!("stipend-{number:02}")
}

impl Supply {
    /// Founds the ledger, enrols everybody, and opens and fills the funds.
    pub fn found(process: &Process) -> Supply {
        let mut desk = Desk { url: process.url(), clock: Clock::default(), ledger: Digest::of("none yet") };
        desk.found(policy());
        desk.fund("10000000000.00");
        let stipend = usd("1000.00");
        let benefit =
            |number| Benefit { benefit: id(&month(number)), kind: BenefitKind::Cash { amount: stipend } };
        let offer = Offer {
            benefits: (1..=MONTHS).map(benefit).collect(),
            offer: new_life().offer,
            valid_from: id("2026-01-01"),
            version: Integer(1),
        };
        desk.ok("dora", Body::Offer(offer));
        let people =
            People { anna: Person::new("anna"), sven: Person::new("sven"), north: Person::new("north") };
        let supply = Supply {
            desk,
            address: process.address().to_owned(),
            people: Arc::new(people),
            stipend,
            cases: 0,
            cohort: 0,
            taken: Arc::default(),
            reads: Arc::default(),
        };
        supply.open_funds();
        supply
    }

    fn open_funds(&self) {
        let (desk, day) = (&self.desk, self.desk.clock.now().date());
        let custody = Custody {
            amount: usd("1000000000000.00"),
            bank: id("b1"),
            evidence: evidence(),
            fund: id("h1"),
            value_date: day,
        };
        desk.ok("rita", Body::Custody(custody));
        let opening = |number| {
            let fund = id(&fund_name(number));
            Body::FundOpening(FundOpening {
                asset: id("a1"),
                currency: id("USD"),
                fund,
                kind: FundKind::Spendable,
            })
        };
        let forfeiture = |number| {
            Body::Forfeiture(Forfeiture {
                bank: id("b1"),
                claims: vec![],
                costs: vec![],
                fund: id("h1"),
                gross: usd("1000000000.00"),
                instrument: evidence(),
                to_bank: id("b1"),
                to_fund: id(&fund_name(number)),
                value_date: day,
            })
        };
        let basis = desk.basis();
        let send = |who: &str, body: &dyn Fn(u64) -> Body| {
            let records: Vec<_> =
                (0..FUNDS).map(|n| desk.sign_on(basis, who, body(n)).envelope().clone()).collect();
            desk.accept(&desk.post(&records, "each"));
        };
        send("dora", &opening);
        send("rita", &forfeiture);
    }

    /// How many records the log has.
    pub fn size(&self) -> u64 {
        self.desk.basis().size.0
    }

    fn remaining(&self) -> u64 {
        ((self.cases - self.cohort) * MONTHS).saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Opens cases, unless this many obligations are still to be had.
    pub fn refill(&mut self, process: &Process, obligations: u64) {
        if self.remaining() < obligations {
            self.open_cases(process, obligations.div_ceil(MONTHS));
        }
    }

    /// Opens and clears this many cases; what was left of those before is not asked for any more.
    fn open_cases(&mut self, process: &Process, count: u64) {
        self.cohort = self.cases;
        self.cases += count;
        let next = Arc::new(AtomicU64::new(self.cohort));
        let workers = (0..2).map(|_| Openings {
            supply: self.clone(),
            basis: self.desk.basis(),
            next: Arc::clone(&next),
        });
        drive(process, NO_LIMIT, workers);
        self.taken.store(0, Ordering::Relaxed);
    }

    /// Brings the log to this many records, by lists of requests and the cases that they need: how many requests a second,
    /// at best.
    pub fn fill(&mut self, process: &Process, records: u64) -> f64 {
        let mut best: f64 = 0.0;
        loop {
            let missing = records.saturating_sub(self.size());
            // A case and its screening, and an instruction and an entry for every month.
            let cases = (missing / (2 + 2 * MONTHS)).min(COHORT);
            if cases == 0 {
                return best;
            }
            self.open_cases(process, cases);
            let window = drive(process, NO_LIMIT, self.requests(4, LIST, Funds::Spread));
            eprintln!("{:>9}  filled at {:.0} lines/s", self.size(), window.per_s());
            best = best.max(window.per_s());
        }
    }

    /// Workers that send requests, this many in each of their lists.
    pub fn requests(&self, in_flight: u64, list: usize, funds: Funds) -> impl Iterator<Item = Requests> {
        let basis = self.desk.basis();
        (0..in_flight).map(move |_| Requests { supply: self.clone(), basis, list, funds })
    }

    /// Workers that read.
    pub fn reads(&self, in_flight: u64, read: Read) -> impl Iterator<Item = Reads> {
        (0..in_flight).map(move |_| Reads { supply: self.clone(), read })
    }

    /// The next obligation that nobody has asked for: the number of a case, and a month.
    fn take(&self) -> Option<(u64, u64)> {
        let (cases, number) = (self.cases - self.cohort, self.taken.fetch_add(1, Ordering::Relaxed));
        (number < cases * MONTHS).then(|| (self.cohort + number % cases, 1 + number / cases))
    }

    fn sign(&self, basis: Basis, person: &Person, body: Body) -> Vec<u8> {
        let now = self.desk.clock.now();
        let header = Header {
            basis,
            id: new_id(),
            issued_at: now,
            key: person.key.public().id(),
            ledger: self.desk.ledger,
            not_after: now.plus(24 * 3600).expect("a time"),
            signer: person.principal.clone(),
        };
        let payload = Payload::Instruction(Box::new(header), Box::new(body));
        Record::sign(payload, &person.key).expect("a record").envelope().encode()
    }

    fn submission(&self, envelopes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = b"{\"instructions\":[".to_vec();
        for (index, envelope) in envelopes.iter().enumerate() {
            body.extend_from_slice(if index == 0 { b"" } else { b"," });
            body.extend_from_slice(b"{\"attachments\":[],\"envelope\":");
            body.extend_from_slice(envelope);
            body.push(b'}');
        }
        body.extend_from_slice(b"],\"mode\":\"each\"}");
        post(&self.address, "/v1/instructions", &body)
    }
}

/// Every one of the list must have been accepted, under a checkpoint, on which the next are signed.
fn accepted(answer: &str) -> (u64, Basis) {
    let accepted = answer.matches("\"status\":\"accepted\"").count();
    let results = answer.matches("\"status\":").count();
    assert!(accepted == results && accepted > 0, "{answer}");
    let (_, note) =
        answer.split_once("\"checkpoint\":\"").unwrap_or_else(|| panic!("no checkpoint: {answer}"));
    let mut lines = note.split("\\n").skip(1);
    let size = lines.next().and_then(|line| line.parse().ok()).expect("a size");
    let root = lines.next().and_then(|line| base64::engine::general_purpose::STANDARD.decode(line).ok());
    let root = root.and_then(|root| root.try_into().ok()).expect("a root");
    (accepted as u64, Basis { root: Digest::from_bytes(root), size: Integer(size) })
}

/// Sends requests.
pub struct Requests {
    supply: Supply,
    basis: Basis,
    list: usize,
    funds: Funds,
}

impl Requests {
    /// As our client draws them: the time, and something else.
    fn disbursement(&self, number: u64) -> DisbursementId {
        let other = Digest::of(format!("d-{number}")).to_string();
        id(&format!("d-{:010x}{}", self.supply.desk.clock.now().unix(), &other[..10]))
    }

    fn request(&self, case: u64, number: u64) -> Request {
        let name = format!("{case}.{number}");
        let salt = Digest::of(&name);
        let fund = match self.funds {
            Funds::Hot => id("f1"),
            Funds::Spread => id(&fund_name((case + number) % FUNDS)),
        };
        Request {
            amount: self.supply.stipend,
            benefit: id(&month(number)),
            case: reference("c-", case),
            channel: Channel::Manual {},
            disbursement: self.disbursement(case * MONTHS + number),
            expires: self.supply.desk.clock.now().plus(30 * 24 * 3600).expect("a time"),
            fund,
            occurrence: Integer(1),
            offer: new_life(),
            salt: Salt::from_bytes(*salt.as_bytes()),
        }
    }
}

impl Worker for Requests {
    fn next(&mut self) -> Option<Vec<u8>> {
        let obligations = (0..self.list).map_while(|_| self.supply.take());
        let envelopes: Vec<Vec<u8>> = obligations
            .map(|(case, month)| {
                let body = Body::Request(self.request(case, month));
                self.supply.sign(self.basis, &self.supply.people.anna, body)
            })
            .collect();
        (!envelopes.is_empty()).then(|| self.supply.submission(&envelopes))
    }

    fn check(&mut self, body: &str) -> u64 {
        let (count, basis) = accepted(body);
        self.basis = basis;
        count
    }
}

/// Opens cases and clears them, each in the same list.
struct Openings {
    supply: Supply,
    basis: Basis,
    next: Arc<AtomicU64>,
}

impl Worker for Openings {
    fn next(&mut self) -> Option<Vec<u8>> {
        let count = LIST as u64 / 2;
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let supply = &self.supply;
        let numbers = first..supply.cases.min(first + count);
        let envelopes: Vec<Vec<u8>> = numbers
            .flat_map(|number| {
                let case: ledger::id::CaseRef = reference("c-", number);
                let person = Digest::of(format!("person {number}"));
                let opening = CaseOpening {
                    agency: id("north"),
                    agency_ref: reference("a-", number),
                    case: case.clone(),
                    entered: id("2026-03-01"),
                    offer: new_life(),
                };
                let outcome = ScreeningOutcome::Cleared;
                let screening = Screening { case, evidence: evidence(), outcome, person };
                [
                    supply.sign(self.basis, &supply.people.anna, Body::CaseOpening(opening)),
                    supply.sign(self.basis, &supply.people.sven, Body::Screening(screening)),
                ]
            })
            .collect();
        (!envelopes.is_empty()).then(|| supply.submission(&envelopes))
    }

    fn check(&mut self, body: &str) -> u64 {
        let (count, basis) = accepted(body);
        self.basis = basis;
        count
    }
}

/// What is read.
#[derive(Debug, Clone, Copy)]
pub enum Read {
    /// An agency reads the balances of one of its cases.
    Balance,
    /// It reads its statement.
    Statement,
    /// A preparer reads the balances of a fund.
    Fund,
}

/// Sends signed reads, of another case or fund each.
pub struct Reads {
    supply: Supply,
    read: Read,
}

impl Worker for Reads {
    fn next(&mut self) -> Option<Vec<u8>> {
        // A step that is coprime to both counts, so that one does not follow its neighbour.
        let number = self.supply.reads.fetch_add(1, Ordering::Relaxed).wrapping_mul(7_919);
        let people = &self.supply.people;
        let case = || reference::<ledger::id::AgencyRef>("a-", number % self.supply.cases);
        let (person, path) = match self.read {
            Read::Balance => (&people.north, format!("/v1/agency/cases/{}", case())),
            Read::Statement => (&people.north, format!("/v1/agency/cases/{}/statement", case())),
            Read::Fund => (&people.anna, format!("/v1/funds/{}/accounts", fund_name(number % FUNDS))),
        };
        let (desk, address) = (&self.supply.desk, &self.supply.address);
        let target = format!("{}{path}", desk.url);
        let now = desk.clock.now().unix();
        let signed =
            signing::http::sign("GET", &target, b"", &person.key, now, &nonce()).expect("a signature");
        let (input, signature) = (signed.signature_input, signed.signature);
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nsignature-input: {input}\r\nsignature: {signature}\r\n\r\n"
        );
        Some(request.into_bytes())
    }

    fn check(&mut self, body: &str) -> u64 {
        let expected = match self.read {
            Read::Balance => "\"balances\":[",
            Read::Statement | Read::Fund => "\"items\":[",
        };
        assert!(body.contains(expected), "{body}");
        1
    }
}
