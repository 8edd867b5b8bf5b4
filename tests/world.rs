//! A ledger with everybody enrolled, on a service of its own, spoken to over HTTP.

use disbursement_api::pipeline::Settings;
use ledger::money::Money;
use records::assets::{self, FundKind, FundOpening};
use records::cases::{self, Benefit, BenefitKind, OfferVersion, ScreeningOutcome};
use records::disbursements::{Approval, Channel, Effect, Request};
use records::governance::{
    Acceptance, Act, Band, ChannelKind, Charter, Concurrence, Founding, FoundingCustodian, KeyPossession,
    Policy, Proposal, Role,
};
use records::scalar::{Evidence, InstructionId, Integer, Salt};
use records::{Basis, Body, Header, Payload, Record, Verified};
use signing::digest::Digest;
use signing::dsse::Envelope;

use crate::cluster::{Database, cluster};
pub use crate::http::{
    Answer, call, get_from, get_unsigned, nonce, post_raw, post_to, try_get_from, try_post_to,
};
use crate::people::Person;
use crate::service::{Clock, Service, ledger_keys, register};

/// Who is enrolled, besides the custodians karl and kira.
pub const STAFF: [(&str, &[Role]); 10] = [
    ("anna", &[Role::Approver, Role::Preparer]),
    ("boris", &[Role::Approver]),
    ("dora", &[Role::Approver, Role::Director]),
    ("paul", &[Role::Payer]),
    ("rita", &[Role::Reconciler]),
    ("sven", &[Role::Screener]),
    ("ada", &[Role::Auditor]),
    ("robot", &[Role::Service]),
    ("north", &[Role::Agency]),
    ("south", &[Role::Agency]),
];

/// A policy with bands of one, two and three approvers, effects at once, one person a report.
pub fn policy() -> Policy {
    let band = |approvers, directors, up_to: &str| Band {
        approvers: Integer(approvers),
        directors: Integer(directors),
        up_to: usd(up_to),
    };
    Policy {
        bank_report_persons: Integer(1),
        bands: vec![band(1, 0, "10000.00"), band(2, 0, "100000.00"), band(3, 1, "1000000.00")],
        basis_age_s: Integer(24 * 3600),
        channels: vec![ChannelKind::Manual],
        expiry_max_s: Integer(90 * 24 * 3600),
        gap_s: Integer(48 * 3600),
        lapse_grace_s: Integer(3600),
        publication: None,
        quorum_delay_s: Integer(0),
        receipt_persons: Integer(1),
        skew_s: Integer(60),
        witnessing: None,
    }
}

/// Dollars.
pub fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD".parse().expect("a currency")).expect("an amount")
}

/// Parses an id.
pub fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("an id")
}

/// A document of rita's.
pub fn evidence() -> Evidence {
    Evidence { holder: id("rita"), kind: id("document"), sha256: Digest::of("a document") }
}

/// A ledger, its service and its clock. Everybody sits at its [`Desk`].
pub struct World {
    /// The database.
    pub database: Database,
    /// The register that all services of the ledger share.
    pub register: std::path::PathBuf,
    /// The service.
    pub service: Service,
    desk: Desk,
    settings: Settings,
}

impl std::ops::Deref for World {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl std::ops::DerefMut for World {
    fn deref_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }
}

impl World {
    /// A service without a ledger.
    pub fn empty() -> World {
        World::empty_with(Settings::default())
    }

    /// The same with other settings of the pipeline.
    pub fn empty_with(settings: Settings) -> World {
        let (database, register, clock) = (cluster().database(), register(), Clock::default());
        let service = Service::with(&database, &register, &clock, settings.clone());
        let desk = Desk { url: service.url.clone(), clock, ledger: Digest::of("no ledger yet") };
        World { database, register, service, desk, settings }
    }

    /// A ledger with everybody enrolled.
    pub fn new() -> World {
        World::with_policy(policy())
    }

    /// The same under another policy. Its quorum delay is passed over by moving the clock.
    pub fn with_policy(policy: Policy) -> World {
        World::with(policy, Settings::default())
    }

    /// The same with other settings of the pipeline.
    pub fn with(policy: Policy, settings: Settings) -> World {
        let mut world = World::empty_with(settings);
        world.desk.found(policy);
        world
    }

    /// Everything that an instruction could leave behind: the log, what the rules read, every balance, the checkpoint.
    pub fn trace(&self) -> String {
        let sql = "SELECT concat_ws(E'\\n', \
            (SELECT size || ' ' || encode(root, 'hex') FROM head), \
            (SELECT count(*) FROM records), (SELECT count(*) FROM postings), \
            (SELECT string_agg(b::text, E'\\n' ORDER BY b::text) FROM balances b), \
            (SELECT md5(string_agg(e::text, E'\\n' ORDER BY e.key)) FROM entities e), \
            (SELECT md5(string_agg(i::text, E'\\n' ORDER BY i::text)) FROM instructions i), \
            (SELECT md5(string_agg(d::text, E'\\n' ORDER BY d::text)) FROM disbursements d))";
        let held: String = self.database.superuser().query_one(sql, &[]).expect("a trace").get(0);
        let checkpoint = self.get("karl", "/v1/checkpoint");
        format!("{held}\n{}", checkpoint.text)
    }

    /// Stores the latest checkpoint as if witnesses had cosigned it: there is none here.
    pub fn cosign(&self) {
        let sql = "INSERT INTO cosigned SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
        self.database.superuser().execute(sql, &[]).expect("a checkpoint");
    }

    /// Stops the service and starts another in its place.
    pub fn restart(&mut self) {
        let (register, settings) = (self.register.clone(), self.settings.clone());
        self.restart_with(&register, settings);
    }

    /// The same with another register and other settings.
    pub fn restart_with(&mut self, register: &std::path::Path, settings: Settings) {
        self.service.stop();
        self.service = Service::with(&self.database, register, &self.desk.clock, settings);
        self.desk.url = self.service.url.clone();
    }
}

/// What people need to sign and to send: a service's URL, the ledger's id and the time. Clones share the clock.
#[derive(Clone)]
pub struct Desk {
    /// The service's URL.
    pub url: String,
    /// The clock of the service, and of everybody.
    pub clock: Clock,
    /// The ledger's id.
    pub ledger: Digest,
}

impl Desk {
    /// The same people in front of another service of the ledger.
    pub fn at(&self, url: &str) -> Desk {
        Desk { url: url.to_owned(), ..self.clone() }
    }

    /// Founds a ledger and enrols everybody. The policy's quorum delay is passed over by moving the clock.
    pub fn found(&mut self, policy: Policy) {
        let delay_s = policy.quorum_delay_s.0;
        let founding = self.founding(policy);
        self.ledger = founding.digest();
        self.accept(&self.post(&[founding.envelope().clone()], "each"));
        self.ok("kira", Body::Acceptance(Acceptance {}));
        let basis = self.basis();
        let proposals = STAFF.map(|(name, roles)| {
            let act = self.enrolment(name, name, roles);
            self.sign_on(basis, "karl", Body::Proposal(Proposal { act }))
        });
        let concurrences = proposals.each_ref().map(|proposal| {
            self.sign_on(basis, "kira", Body::Concurrence(Concurrence { proposal: proposal.digest() }))
        });
        for records in [proposals, concurrences] {
            self.accept(&self.post(&records.map(|record| record.envelope().clone()), "all"));
        }
        self.clock.advance(i64::try_from(delay_s).expect("a delay"));
    }

    /// The founding record that names this service's keys.
    pub fn founding(&self, policy: Policy) -> Verified {
        let keys = ledger_keys();
        let custodian = |name: &str| {
            let person = Person::new(name);
            FoundingCustodian { key: person.key.public().clone(), principal: person.principal }
        };
        let charter = Charter {
            checkpoint_key: keys.checkpoint.public().clone(),
            currencies: vec![id("EUR"), id("JPY"), id("USD")],
            custodians: vec![custodian("karl"), custodian("kira")],
            origin: keys.origin.clone(),
            policy,
            quorum: Integer(2),
            record_key: keys.record.public().clone(),
        };
        self.sign_charter(charter)
    }

    /// A charter, signed by karl.
    pub fn sign_charter(&self, charter: Charter) -> Verified {
        let karl = Person::new("karl");
        let founding = Founding {
            body: charter,
            id: new_id(),
            issued_at: self.clock.now(),
            key: karl.key.public().id(),
            signer: karl.principal,
        };
        Record::sign(Payload::Founding(Box::new(founding)), &karl.key).expect("a founding record")
    }

    /// The proof that a principal holds the key of a seed.
    pub fn possession(&self, name: &str, seed: &str) -> Envelope {
        let Person { principal, key } = Person::with_key(name, seed);
        let possession = KeyPossession { key: key.public().clone(), ledger: self.ledger, principal };
        Envelope::sign(&key, KeyPossession::PAYLOAD_TYPE, signing::canonical::encode(&possession))
    }

    /// An enrolment of a principal with the key of a seed.
    pub fn enrolment(&self, name: &str, seed: &str, roles: &[Role]) -> Act {
        let (possessions, roles) = (vec![self.possession(name, seed)], roles.to_vec());
        Act::Enrol { expires: None, possessions, principal: id(name), roles, spares: None }
    }

    /// The same with a spare, the key of another seed, both until a time.
    pub fn enrolment_with(&self, name: &str, seed: &str, spare: &str, until_s: u64, roles: &[Role]) -> Act {
        let (possessions, roles) = (vec![self.possession(name, seed)], roles.to_vec());
        let (expires, spares) = (self.clock.now().plus(until_s), Some(vec![self.possession(name, spare)]));
        Act::Enrol { expires, possessions, principal: id(name), roles, spares }
    }

    /// Both custodians decide an act.
    pub fn decide(&self, act: Act) {
        let proposal = self.sign("karl", Body::Proposal(Proposal { act }));
        self.accept(&self.post(&[proposal.envelope().clone()], "each"));
        self.ok("kira", Body::Concurrence(Concurrence { proposal: proposal.digest() }));
    }

    /// The latest checkpoint's size and root.
    pub fn basis(&self) -> Basis {
        let note = self.get("karl", "/v1/checkpoint");
        assert_eq!(note.status, 200, "{}", note.text);
        let keys = ledger_keys();
        let origin = keys.origin.as_str();
        let checkpoint =
            translog::checkpoint::Checkpoint::parse_and_verify(&note.text, origin, keys.checkpoint.public())
                .expect("a signed checkpoint");
        Basis { root: checkpoint.root, size: Integer(checkpoint.size) }
    }

    /// The frame of an instruction of somebody's, valid for a day.
    pub fn header(&self, person: &Person) -> Header {
        self.header_on(self.basis(), person)
    }

    /// The same on a basis that is known.
    pub fn header_on(&self, basis: Basis, person: &Person) -> Header {
        let now = self.clock.now();
        Header {
            basis,
            id: new_id(),
            issued_at: now,
            key: person.key.public().id(),
            ledger: self.ledger,
            not_after: now.plus(24 * 3600).expect("a time"),
            signer: person.principal.clone(),
        }
    }

    /// Somebody signs.
    pub fn sign(&self, who: &str, body: Body) -> Verified {
        self.sign_with(&Person::new(who), body, |_| {})
    }

    /// Somebody signs on a basis that is known, and asks no service for anything.
    pub fn sign_on(&self, basis: Basis, who: &str, body: Body) -> Verified {
        let person = Person::new(who);
        let header = self.header_on(basis, &person);
        let payload = Payload::Instruction(Box::new(header), Box::new(body));
        Record::sign(payload, &person.key).expect("a record")
    }

    /// Somebody signs with a frame that the test alters.
    pub fn sign_with(&self, person: &Person, body: Body, alter: impl FnOnce(&mut Header)) -> Verified {
        let mut header = self.header(person);
        if matches!(body, Body::Acceptance(_)) {
            header.basis = self.first_basis();
        }
        alter(&mut header);
        let payload = Payload::Instruction(Box::new(header), Box::new(body));
        Record::sign(payload, &person.key).expect("a record")
    }

    /// The basis of an acceptance: the founding record alone.
    fn first_basis(&self) -> Basis {
        let founding = self.get("karl", "/v1/founding");
        let envelope = Envelope::from_json(&founding.text).unwrap_or_else(|_| panic!("{}", founding.text));
        Basis { root: translog::tree::leaf_hash(&envelope.encode()), size: Integer(1) }
    }

    /// Posts envelopes.
    pub fn post(&self, envelopes: &[Envelope], mode: &str) -> Answer {
        post_to(&self.url, envelopes, mode)
    }

    /// Somebody signs and posts.
    pub fn send(&self, who: &str, body: Body) -> Answer {
        self.post(&[self.sign(who, body).envelope().clone()], "each")
    }

    /// The same; it must be accepted.
    pub fn ok(&self, who: &str, body: Body) -> Answer {
        let answer = self.send(who, body);
        self.accept(&answer);
        answer
    }

    /// The same; it must be refused with this code.
    pub fn refuse(&self, who: &str, body: Body, code: &str) -> Answer {
        let answer = self.send(who, body);
        assert_eq!(answer.code(), code, "{}", answer.text);
        answer
    }

    /// Every result must be accepted.
    pub fn accept(&self, answer: &Answer) {
        let results = answer.json["results"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
        for result in results {
            assert_eq!(result["status"], "accepted", "{}", answer.text);
        }
    }

    /// A signed read.
    pub fn get(&self, who: &str, path: &str) -> Answer {
        get_from(&self.url, &Person::new(who), path, self.clock.now())
    }

    /// Opens asset, funds and bank accounts, and receives this much into the fund `f1`.
    pub fn fund(&self, amount: &str) {
        let open = |fund: &str, kind| {
            Body::FundOpening(FundOpening { asset: id("a1"), currency: id("USD"), fund: id(fund), kind })
        };
        let (asset, description) = (id("a1"), id("an asset"));
        let registration = assets::AssetRegistration { asset, description, instrument: evidence() };
        self.ok("dora", Body::AssetRegistration(registration));
        self.ok("dora", open("h1", FundKind::Fiduciary));
        self.ok("dora", open("f1", FundKind::Spendable));
        self.ok("dora", Body::BankOpening(assets::BankOpening { bank: id("b1"), currency: id("USD") }));
        let custody = assets::Custody {
            amount: usd(amount),
            bank: id("b1"),
            evidence: evidence(),
            fund: id("h1"),
            value_date: self.clock.now().date(),
        };
        self.ok("rita", Body::Custody(custody));
        let forfeiture = assets::Forfeiture {
            bank: id("b1"),
            claims: vec![],
            costs: vec![],
            fund: id("h1"),
            gross: usd(amount),
            instrument: evidence(),
            to_bank: id("b1"),
            to_fund: id("f1"),
            value_date: self.clock.now().date(),
        };
        self.ok("rita", Body::Forfeiture(forfeiture));
    }

    /// Publishes an offer: a bonus of 100,000.00, a small grant of 5,000.00, and a trip up to 6,000.00.
    pub fn offer(&self) {
        let cash = |benefit: &str, amount: &str| Benefit {
            benefit: id(benefit),
            kind: BenefitKind::Cash { amount: usd(amount) },
        };
        let trip = Benefit { benefit: id("trip"), kind: BenefitKind::InKind { ceiling: usd("6000.00") } };
        let offer = cases::Offer {
            benefits: vec![cash("bonus", "100000.00"), cash("grant", "5000.00"), trip],
            offer: id("new-life"),
            valid_from: id("2026-01-01"),
            version: Integer(1),
        };
        self.ok("dora", Body::Offer(offer));
    }

    /// Opens a case of an agency, cleared or not. Its agency reference is the case's with `-ref`.
    pub fn case(&self, case: &str, agency: &str, is_cleared: bool) {
        self.ok("anna", opening(case, agency));
        if is_cleared {
            self.ok("sven", clearance(case));
        }
    }

    /// Opens this many cases of north's in one request, `case-0` and so on, and clears them.
    pub fn cases(&self, count: usize) {
        let basis = self.basis();
        let of_one = |number: usize| {
            let case = format!("case-{number}");
            [
                self.sign_on(basis, "anna", opening(&case, "north")),
                self.sign_on(basis, "sven", clearance(&case)),
            ]
        };
        let records = (0..count).flat_map(of_one);
        let envelopes: Vec<Envelope> = records.map(|record| record.envelope().clone()).collect();
        self.accept(&self.post(&envelopes, "all"));
    }

    /// A request of `benefit` for a case.
    pub fn request(&self, disbursement: &str, case: &str, benefit: &str, amount: &str) -> Request {
        Request {
            amount: usd(amount),
            benefit: id(benefit),
            case: id(case),
            channel: Channel::Manual {},
            disbursement: id(disbursement),
            expires: self.clock.now().plus(30 * 24 * 3600).expect("a time"),
            fund: id("f1"),
            occurrence: Integer(1),
            offer: new_life(),
            salt: Salt::from_bytes(*Digest::of(disbursement).as_bytes()),
        }
    }

    /// The effect that an approver has to sign, as the service shows it.
    pub fn effect(&self, disbursement: &str) -> Effect {
        let shown = self.get("boris", &format!("/v1/disbursements/{disbursement}"));
        serde_json::from_value(shown.json["effect"].clone()).unwrap_or_else(|_| panic!("{}", shown.text))
    }

    /// An approval of what the service shows.
    pub fn approval(&self, disbursement: &str) -> Body {
        Body::Approval(Approval { effect: self.effect(disbursement) })
    }

    /// The whole ledger, as an auditor exports it.
    pub fn bundle(&self) -> String {
        let answer = self.get("ada", "/v1/bundle");
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

/// The opening of a case of an agency, on the tests' offer.
pub fn opening(case: &str, agency: &str) -> Body {
    Body::CaseOpening(cases::CaseOpening {
        agency: id(agency),
        agency_ref: id(&format!("{case}-ref")),
        case: id(case),
        entered: id("2026-03-01"),
        offer: new_life(),
    })
}

/// A screening that clears a case.
pub fn clearance(case: &str) -> Body {
    Body::Screening(cases::Screening {
        case: id(case),
        evidence: evidence(),
        outcome: ScreeningOutcome::Cleared,
        person: Digest::of(case),
    })
}

/// The first version of the tests' offer.
pub fn new_life() -> OfferVersion {
    OfferVersion { offer: id("new-life"), version: Integer(1) }
}

/// A fresh id of an instruction.
pub fn new_id() -> InstructionId {
    InstructionId::from_uuid(uuid::Uuid::now_v7()).expect("a UUID of version 7")
}
