//! A payload of every kind, plain or drawn at random.

mod acts;

use std::str::FromStr;

use ledger::account::Account;
use ledger::currency::Currency;
use ledger::entry::{Action, Line};
use ledger::id::EntryId;
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use records::assets::*;
use records::cases::*;
use records::disbursements::*;
use records::governance::*;
use records::journal::*;
use records::scalar::{Evidence, InstructionId, Integer, Salt, Text};
use records::witnessing::{Statement, Witness, Witnessing};
use records::{Basis, Body, Header, Kind, Payload};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::SecretKey;
use translog::checkpoint::Checkpoint;
use unicode_normalization::UnicodeNormalization;

/// The key that a name stands for.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(name).as_bytes())
}

fn parse<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Where values come from: as they stand in the code, or at random.
pub enum Draw {
    Plain,
    Random(u64),
}

/// Characters that JSON, HTML or Unicode treat in a way of their own.
const ODD: [char; 18] = [
    '"',
    '\\',
    '/',
    '<',
    '>',
    '&',
    '\'',
    ' ',
    'é',
    'ß',
    'Ⅷ',
    '漢',
    '\u{2028}',
    '\u{FFFD}',
    '\u{10FFFF}',
    '😀',
    '\u{E000}',
    'a',
];

impl Draw {
    fn number(&mut self, below: u64) -> u64 {
        match self {
            Draw::Plain => 0,
            Draw::Random(state) => {
                // splitmix64
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (z ^ (z >> 31)) % below
            }
        }
    }

    fn is_plain(&self) -> bool {
        matches!(self, Draw::Plain)
    }

    fn flag(&mut self, plain: bool) -> bool {
        if self.is_plain() { plain } else { self.number(2) == 1 }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number(of.len() as u64) as usize]
    }

    /// An id of any kind.
    fn id<T: FromStr<Err: std::fmt::Debug>>(&mut self, plain: &str) -> T {
        if self.is_plain() {
            return parse(plain);
        }
        let length = 1 + self.number(64);
        let text: String = (0..length).map(|_| char::from(self.pick(b"abz059_-"))).collect();
        parse(&text)
    }

    fn text(&mut self, plain: &str) -> Text {
        if self.is_plain() {
            return parse(plain);
        }
        let length = 1 + self.number(40);
        let text: String = (0..length).map(|_| self.pick(&ODD)).nfc().collect();
        parse(&text)
    }

    fn integer(&mut self, plain: u64) -> Integer {
        if self.is_plain() { Integer(plain) } else { Integer(self.number(1 << 63)) }
    }

    fn digest(&mut self, plain: &str) -> Digest {
        if self.is_plain() { Digest::of(plain) } else { Digest::of(self.number(u64::MAX).to_be_bytes()) }
    }

    fn key(&mut self, plain: &str) -> SecretKey {
        if self.is_plain() { secret(plain) } else { secret(&self.number(u64::MAX).to_string()) }
    }

    fn currency(&mut self) -> Currency {
        if self.is_plain() { Currency::USD } else { self.pick(Currency::EVERY) }
    }

    fn money(&mut self, plain: &str) -> Money {
        if self.is_plain() {
            return Money::parse(plain, Currency::USD).unwrap();
        }
        let bound = self.pick(&[100, 1_000_000, 100_000_000_000_000_000]);
        let minor = self.number(bound) as i64;
        let currency = self.currency();
        // A currency without decimals has the lowest bound.
        Money::from_minor(minor % 1_000_000_000_000_000, currency).unwrap()
    }

    fn time(&mut self, plain: &str) -> Timestamp {
        if self.is_plain() {
            return parse(plain);
        }
        Timestamp::from_unix(self.number(315_537_897_600) as i64 - 62_135_596_800).unwrap()
    }

    fn day(&mut self, plain: &str) -> Date {
        if self.is_plain() { parse(plain) } else { self.time(plain).date() }
    }

    fn list<T>(&mut self, plain: usize, mut item: impl FnMut(&mut Draw, usize) -> T) -> Vec<T> {
        let length = if self.is_plain() { plain } else { self.number(5) as usize };
        (0..length).map(|index| item(self, index)).collect()
    }

    fn evidence(&mut self, kind: &str) -> Evidence {
        Evidence { holder: self.id("registry"), kind: self.text(kind), sha256: self.digest(kind) }
    }

    fn uuid(&mut self) -> InstructionId {
        let (high, low) = (self.number(1 << 48), self.number(1 << 48));
        let (high, low) = if self.is_plain() { (0x01890a5dac96, 0xb302099a8057) } else { (high, low) };
        let high = format!("{high:012x}");
        parse(&format!("{}-{}-774b-8cce-{low:012x}", &high[..8], &high[8..]))
    }

    fn header(&mut self, key: &SecretKey) -> Header {
        Header {
            basis: Basis { root: self.digest("root"), size: self.integer(42) },
            id: self.uuid(),
            issued_at: self.time("2030-01-02T03:04:05Z"),
            key: key.public().id(),
            ledger: self.digest("ledger"),
            not_after: self.time("2030-01-03T03:04:05Z"),
            signer: self.id("prep1"),
        }
    }

    fn offer_version(&mut self) -> OfferVersion {
        OfferVersion { offer: self.id("o1"), version: self.integer(1) }
    }

    fn shares(&mut self, plain: &str) -> Vec<Share> {
        self.list(1, |draw, _| Share { amount: draw.money("800000.00"), body: draw.id(plain) })
    }

    fn roles(&mut self) -> Vec<Role> {
        self.list(2, |draw, index| if draw.is_plain() { Role::ALL[index + 5] } else { draw.pick(&Role::ALL) })
    }

    fn policy(&mut self) -> Policy {
        let channels = self.list(1, |_, _| ChannelKind::Manual);
        Policy {
            bank_report_persons: self.integer(1),
            bands: self.list(3, |draw, index| Band {
                approvers: draw.integer(index as u64 + 1),
                directors: draw.integer(index as u64 / 2),
                up_to: draw.money(["10000.00", "100000.00", "10000000.00"][index % 3]),
            }),
            basis_age_s: self.integer(604_800),
            channels,
            expiry_max_s: self.integer(2_592_000),
            gap_s: self.integer(172_800),
            lapse_grace_s: self.integer(3600),
            publication: self
                .flag(true)
                .then(|| Publication { every_s: self.integer(3600), multiple: self.integer(256) }),
            quorum_delay_s: self.integer(86_400),
            receipt_persons: self.integer(2),
            skew_s: self.integer(60),
            witnessing: self.flag(true).then(|| Witnessing {
                replays: self.integer(1),
                threshold: self.integer(2),
                witnesses: self.list(2, |draw, index| Witness {
                    key: draw.key("witness").public().clone(),
                    name: parse(["w.example/ada", "w.example/bea"][index % 2]),
                    statement: draw.pick(&[Statement::Consistent, Statement::Replayed]),
                }),
            }),
        }
    }

    fn possession(&mut self, name: &str) -> Envelope {
        let key = self.key(name);
        let possession = KeyPossession {
            key: key.public().clone(),
            ledger: self.digest("ledger"),
            principal: self.id("pay1"),
        };
        Envelope::sign(&key, KeyPossession::PAYLOAD_TYPE, signing::canonical::encode(&possession))
    }

    fn act(&mut self) -> Act {
        match self.number(5) {
            0 => Act::Enrol {
                expires: self.flag(false).then(|| self.time("2031-01-01T00:00:00Z")),
                possessions: self.list(2, |draw, index| draw.possession(["daily", "spare"][index % 2])),
                principal: self.id("pay1"),
                roles: self.roles(),
                spares: self.flag(false).then(|| self.list(1, |draw, _| draw.possession("spare"))),
            },
            1 => Act::Policy { policy: self.policy() },
            2 => Act::Reopen {
                checkpoint: "example.org/log\n7\nAAAA\n\n\u{2014} example.org/log BBBB\n".to_owned(),
                continued: Basis { root: self.digest("root"), size: self.integer(42) },
                keys: self.flag(false).then(|| Box::new(self.ledgers_keys())),
                origin: "example.org/log/2".parse().unwrap(),
            },
            3 => Act::Revoke {
                key: self.key("").public().id(),
                reason: self.text(""),
                since: self.flag(false).then(|| self.integer(42)),
            },
            _ => Act::Roles { principal: self.id(""), roles: self.roles() },
        }
    }

    fn reversal(&mut self) -> ReversalSubject {
        if self.flag(false) {
            ReversalSubject::Fact(self.digest("report"))
        } else {
            ReversalSubject::Disbursement(self.id("d-1"))
        }
    }

    fn entry_id(&mut self) -> EntryId {
        EntryId { digest: *self.digest("cause").as_bytes(), index: self.number(1 << 32) as u32 }
    }

    fn line(&mut self, index: usize) -> Line {
        const PLAIN: [(&str, Action); 5] = [
            ("5101", Action::Debit),
            ("2100/disbursement/d-1", Action::Credit),
            ("7210/main", Action::Debit),
            ("7400", Action::Credit),
            ("3100", Action::Debit),
        ];
        if self.is_plain() && index == 4 {
            let action = Action::PostHold(parse("d-1.1"));
            return Line {
                account: parse("7210/main"),
                fund: parse("f1"),
                money: self.money("100000.00"),
                action,
            };
        }
        let (account, action) = PLAIN[index % PLAIN.len()].clone();
        let action = match self.number(4) {
            0 => action,
            1 => Action::Hold(self.id("")),
            2 => Action::PostHold(self.id("")),
            _ => Action::VoidHold(self.id("")),
        };
        let account: Account = parse(account);
        Line { account, fund: self.id("f1"), money: self.money("100000.00"), action }
    }

    fn entry(&mut self) -> JournalEntry {
        let about = self.flag(true);
        JournalEntry {
            authority: self.list(3, |draw, index| draw.digest(["request", "approval", "cause"][index % 3])),
            benefit: about.then(|| self.id("bonus")),
            case_commitment: about.then(|| self.digest("commitment")),
            disbursement: about.then(|| self.id("d-1")),
            effective: self.day("2030-01-02"),
            id: self.entry_id(),
            ledger: self.digest("ledger"),
            lines: self.list(5, Draw::line),
            reverses: self.flag(false).then(|| self.entry_id()),
        }
    }

    fn charter(&mut self, founder: &SecretKey) -> Charter {
        let mut custodians =
            vec![FoundingCustodian { key: founder.public().clone(), principal: self.id("c1") }];
        custodians.extend(self.list(2, |draw, index| FoundingCustodian {
            key: draw.key(["c2", "c3"][index % 2]).public().clone(),
            principal: draw.id(["c2", "c3"][index % 2]),
        }));
        Charter {
            checkpoint_key: self.key("ledger/checkpoints").public().clone(),
            currencies: self.list(1, |draw, _| draw.currency()),
            custodians,
            origin: self.id("ledger.example/1"),
            policy: self.policy(),
            quorum: self.integer(2),
            record_key: self.key("ledger/records").public().clone(),
        }
    }

    /// A payload of a kind, and the key that signs it.
    pub fn payload(&mut self, kind: Kind) -> (Payload, SecretKey) {
        let key = self.key("prep1");
        let ledger = self.digest("ledger");
        let payload = match kind {
            Kind::Founding => Payload::Founding(Box::new(Founding {
                body: self.charter(&key),
                id: self.uuid(),
                issued_at: self.time("2030-01-01T00:00:00Z"),
                key: key.public().id(),
                signer: self.id("c1"),
            })),
            Kind::Group => Payload::Group(Group {
                epoch: self.id("7000000000000000001/1"),
                first: self.integer(42),
                ledger,
                record_key: self.flag(false).then(|| Box::new(self.ledgers_keys().record_key)),
                recorded_at: self.time("2030-01-02T03:04:06Z"),
                root: self.digest("root"),
                rules: self.integer(1),
            }),
            Kind::JournalEntry => Payload::JournalEntry(Box::new(self.entry())),
            Kind::Lapse => Payload::Lapse(Lapse {
                disbursement: self.id("d-1"),
                expired: self.time("2030-02-01T00:00:00Z"),
                ledger,
                request: self.digest("request"),
            }),
            Kind::Pad => Payload::Pad(Pad {
                ledger,
                position: self.integer(42),
                public_from: self.time("2030-01-02T04:00:00Z"),
            }),
            kind => {
                let header = self.header(&key);
                let body =
                    self.asset(kind).or_else(|| self.disbursement(kind)).unwrap_or_else(|| self.other(kind));
                Payload::Instruction(Box::new(header), Box::new(body))
            }
        };
        (payload, key)
    }

    fn ledgers_keys(&mut self) -> LedgersKeys {
        LedgersKeys {
            checkpoint_key: self.key("ledger/checkpoints/2").public().clone(),
            record_key: self.key("ledger/records/2").public().clone(),
        }
    }

    /// The act that no plain proposal is of: a log that lost records goes on under a new origin.
    pub fn reopening(&mut self) -> (Payload, SecretKey) {
        self.reopened(None)
    }

    fn reopened(&mut self, keys: Option<LedgersKeys>) -> (Payload, SecretKey) {
        let key = self.key("c1");
        let root = self.digest("lost");
        let cited = Checkpoint { origin: "ledger.example/1".to_owned(), root, size: 47 };
        let act = Act::Reopen {
            checkpoint: cited.sign(&self.key("ledger/checkpoints")),
            continued: Basis { root: self.digest("root"), size: self.integer(42) },
            keys: keys.map(Box::new),
            origin: self.id("ledger.example/2"),
        };
        let (header, body) = (self.header(&key), Body::Proposal(Proposal { act }));
        (Payload::Instruction(Box::new(header), Box::new(body)), key)
    }

    /// The proposal to revoke a key that somebody else may have had, signed.
    pub fn compromise(&mut self) -> (Payload, SecretKey) {
        let key = self.key("c1");
        let (lost, reason, since) = (self.key("app1").public().id(), self.text("stolen"), self.integer(42));
        let act = Act::Revoke { key: lost, reason, since: Some(since) };
        let (header, body) = (self.header(&key), Body::Proposal(Proposal { act }));
        (Payload::Instruction(Box::new(header), Box::new(body)), key)
    }

    fn asset(&mut self, kind: Kind) -> Option<Body> {
        let evidence = self.evidence("bank advice");
        let value_date = self.day("2030-01-02");
        Some(match kind {
            Kind::AssetRegistration => Body::AssetRegistration(AssetRegistration {
                asset: self.id("a1"),
                description: self.text("account with a bank in Zürich"),
                instrument: self.evidence("court order"),
            }),
            Kind::FundOpening => Body::FundOpening(FundOpening {
                asset: self.id("a1"),
                currency: self.currency(),
                fund: self.id("f1"),
                kind: if self.flag(true) { FundKind::Spendable } else { FundKind::Fiduciary },
            }),
            Kind::BankOpening => {
                Body::BankOpening(BankOpening { bank: self.id("usd-main"), currency: self.currency() })
            }
            Kind::Restraint => Body::Restraint(Restraint {
                amount: self.money("10000000.00"),
                fund: self.id("h1"),
                instrument: self.evidence("court order"),
            }),
            Kind::Custody => Body::Custody(Custody {
                amount: self.money("10000000.00"),
                bank: self.id("usd-custody"),
                evidence,
                fund: self.id("h1"),
                value_date,
            }),
            Kind::CustodyInterest => Body::CustodyInterest(CustodyInterest {
                amount: self.money("12500.00"),
                bank: self.id("usd-custody"),
                evidence,
                fund: self.id("h1"),
                value_date,
            }),
            Kind::Forfeiture => Body::Forfeiture(Forfeiture {
                bank: self.id("usd-custody"),
                claims: self.shares("mortgagee"),
                costs: self.shares("administrator"),
                fund: self.id("h1"),
                gross: self.money("10012500.00"),
                instrument: self.evidence("final order"),
                to_bank: self.id("usd-main"),
                to_fund: self.id("f1"),
                value_date,
            }),
            Kind::ClaimPayment => Body::ClaimPayment(ClaimPayment {
                amount: self.money("800000.00"),
                bank: self.id("usd-custody"),
                body: self.id("mortgagee"),
                evidence,
                fund: self.id("h1"),
                kind: self.pick(&[ClaimKind::Claimant, ClaimKind::Cost, ClaimKind::OtherBody]),
                value_date,
            }),
            Kind::WindfallIncome => Body::WindfallIncome(WindfallIncome {
                bank: self.id("usd-main"),
                evidence,
                fund: self.id("f1"),
                own: self.money("90.00"),
                retained: self.money("0.00"),
                shares: self.shares("facility"),
                shares_fund: self.id("h1"),
                value_date,
            }),
            Kind::BankFee => Body::BankFee(BankFee {
                amount: self.money("35.00"),
                bank: self.id("usd-main"),
                evidence,
                fund: self.id("f1"),
                value_date,
            }),
            _ => return None,
        })
    }

    fn disbursement(&mut self, kind: Kind) -> Option<Body> {
        let disbursement = self.id("d-1");
        let (request, reason) = (self.digest("request"), self.text("asked for twice"));
        let evidence = self.evidence("bank advice");
        let value_date = self.day("2030-01-05");
        Some(match kind {
            Kind::Request => Body::Request(Request {
                amount: self.money("100000.00"),
                benefit: self.id("bonus"),
                case: self.id("case-7f3k"),
                channel: Channel::Manual {},
                disbursement,
                expires: self.time("2030-02-01T00:00:00Z"),
                fund: self.id("f1"),
                occurrence: self.integer(1),
                offer: self.offer_version(),
                salt: Salt::from_bytes(*self.digest("salt").as_bytes()),
            }),
            Kind::Approval => Body::Approval(Approval {
                effect: Effect {
                    amount: self.money("100000.00"),
                    benefit: self.id("bonus"),
                    channel: Channel::Manual {},
                    disbursement,
                    expires: self.time("2030-02-01T00:00:00Z"),
                    fund: self.id("f1"),
                    most: self.money("100000.00"),
                    offer: self.offer_version(),
                    policy: self.integer(1),
                    preparer: self.id("prep1"),
                    request,
                },
            }),
            Kind::Rejection => Body::Rejection(Rejection { disbursement, reason, request }),
            Kind::Cancellation => Body::Cancellation(Cancellation { disbursement, reason, request }),
            Kind::Delivery => Body::Delivery(Delivery {
                delivered: value_date,
                disbursement,
                evidence,
                invoiced: self.money("5412.30"),
                vendor: self.id("airline"),
            }),
            Kind::Release => Body::Release(Release { bank: self.id("usd-main"), disbursement, request }),
            Kind::BankConfirmation => {
                Body::BankConfirmation(BankConfirmation { disbursement, evidence, value_date })
            }
            Kind::BankRejection => Body::BankRejection(BankRejection { disbursement, evidence }),
            Kind::BankReturn => {
                Body::BankReturn(BankReturn { disbursement, evidence, kept: self.money("25.00"), value_date })
            }
            _ => return None,
        })
    }

    fn other(&mut self, kind: Kind) -> Body {
        let proposal = self.digest("proposal");
        match kind {
            Kind::Acceptance => Body::Acceptance(Acceptance {}),
            Kind::Proposal => Body::Proposal(Proposal { act: self.act() }),
            Kind::Activation => Body::Activation(Activation {
                reason: self.text("the machine was stolen"),
                replaces: self.flag(true).then(|| self.key("app1").public().id()),
                since: self.flag(true).then(|| self.integer(42)),
            }),
            Kind::Concurrence => Body::Concurrence(Concurrence { proposal }),
            Kind::Veto => Body::Veto(Veto { proposal, reason: self.text("the key was not shown to us") }),
            Kind::Countersignature => {
                Body::Countersignature(Countersignature { report: self.digest("report") })
            }
            Kind::Reversal => Body::Reversal(Reversal {
                entry: self.entry_id(),
                reason: self.text("the wrong account was named"),
                subject: self.reversal(),
            }),
            Kind::Offer => Body::Offer(Offer {
                benefits: self.list(2, |draw, index| Benefit {
                    benefit: draw.id(["bonus", "trip"][index % 2]),
                    kind: if draw.flag(index == 0) {
                        BenefitKind::Cash { amount: draw.money("100000.00") }
                    } else {
                        BenefitKind::InKind { ceiling: draw.money("6000.00") }
                    },
                }),
                offer: self.id("o1"),
                valid_from: self.day("2029-01-01"),
                version: self.integer(1),
            }),
            Kind::CaseOpening => Body::CaseOpening(CaseOpening {
                agency: self.id("agency-north"),
                agency_ref: self.id("north-x2q9"),
                case: self.id("case-7f3k"),
                entered: self.day("2029-12-01"),
                offer: self.offer_version(),
            }),
            Kind::Screening => Body::Screening(Screening {
                case: self.id("case-7f3k"),
                evidence: self.evidence("screening file"),
                outcome: self.pick(&[ScreeningOutcome::Cleared, ScreeningOutcome::Refused]),
                person: self.digest("person"),
            }),
            kind => panic!("no sample of {}", kind.name()),
        }
    }
}
