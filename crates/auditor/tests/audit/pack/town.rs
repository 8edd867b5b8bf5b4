//! A ledger of three cases, two assets and a week: everything that a disbursement can go through, in groups that the cases
//! share.

use std::sync::OnceLock;

use records::Body;
use records::assets::{
    AssetRegistration, BankFee, Countersignature, Custody, Forfeiture, FundKind, FundOpening, Reversal,
    ReversalSubject,
};
use records::cases::{CaseOpening, OfferVersion, Screening, ScreeningOutcome};
use records::disbursements::{
    BankConfirmation, BankRejection, BankReturn, Cancellation, Channel, Delivery, Rejection, Release, Request,
};
use records::governance::{Act, Policy, Proposal, Role, Veto};
use records::scalar::{Evidence, Integer, Salt};
use signing::digest::Digest;

use crate::ledger::{DAY_S, HOUR_S, Ledger, parse, policy, usd};
use crate::staff::{Person, key};
use crate::story::Story;

pub const DISBURSEMENTS: [&str; 8] = [
    "aurora-bonus",
    "aurora-trip",
    "aurora-lapsed",
    "borealis-rejected",
    "borealis-cancelled",
    "borealis-paid",
    "first-bonus",
    "first-waiting",
];

fn evidence(of: &str) -> Evidence {
    Evidence { holder: parse("dora"), kind: parse("a document"), sha256: Digest::of(of) }
}

fn offer() -> OfferVersion {
    OfferVersion { offer: parse("standard"), version: Integer(1) }
}

struct Town {
    story: Story,
    haven: Person,
}

/// The whole of it, once.
pub fn town() -> &'static Ledger {
    static TOWN: OnceLock<Ledger> = OnceLock::new();
    TOWN.get_or_init(|| {
        let story = Story::funded("safeconduct.test/log");
        let mut town = Town { story, haven: Person::new("haven") };
        town.enrol_haven();
        town.second_asset();
        town.open_cases();
        town.request_together();
        town.pay_aurora();
        town.change_rules();
        town.end_borealis();
        town.let_lapse();
        town.story.ledger
    })
}

impl Town {
    fn group(&mut self, later_s: u64) -> &mut Ledger {
        self.story.ledger.begin_group(later_s);
        &mut self.story.ledger
    }

    fn take(&mut self, who: impl Fn(&Town) -> &Person, body: Body) -> Digest {
        let person = who(self);
        let person = Person { principal: person.principal.clone(), key: key_of(person) };
        self.story.ledger.take(&person, body)
    }

    fn enrol_haven(&mut self) {
        self.group(HOUR_S);
        let act = self.haven.enrolment(self.story.ledger.id, &[Role::Agency]);
        self.enact(act);
        self.group(2 * HOUR_S);
    }

    fn enact(&mut self, act: Act) {
        let Story { ledger, staff } = &mut self.story;
        ledger.enact([&staff.anna, &staff.boris], act);
    }

    /// A fact that policy wants from two persons.
    fn report(&mut self, fact: Body) {
        let report = self.take(|town| &town.story.staff.reconciler, fact);
        let further = Body::Countersignature(Countersignature { report });
        self.take(|town| &town.story.staff.second_reconciler, further);
    }

    fn second_asset(&mut self) {
        self.group(DAY_S);
        let registration = AssetRegistration {
            asset: parse("a2"),
            description: parse("a ship"),
            instrument: evidence("the ship"),
        };
        self.take(|town| &town.story.staff.director, Body::AssetRegistration(registration));
        for (fund, kind) in [("h2", FundKind::Fiduciary), ("f2", FundKind::Spendable)] {
            let opening = FundOpening { asset: parse("a2"), currency: parse("USD"), fund: parse(fund), kind };
            self.take(|town| &town.story.staff.director, Body::FundOpening(opening));
        }
        self.report(Body::Custody(Custody {
            amount: usd("50000.00"),
            bank: parse("b1"),
            evidence: evidence("the ship's price"),
            fund: parse("h2"),
            value_date: parse("2030-01-02"),
        }));
        self.report(Body::Forfeiture(Forfeiture {
            bank: parse("b1"),
            claims: vec![],
            costs: vec![],
            fund: parse("h2"),
            gross: usd("50000.00"),
            instrument: evidence("the ship's order"),
            to_bank: parse("b1"),
            to_fund: parse("f2"),
            value_date: parse("2030-01-02"),
        }));
    }

    fn open_cases(&mut self) {
        self.group(HOUR_S);
        for (case, agency) in [("aurora-5d1f", "relief"), ("borealis-77aa", "haven")] {
            let opening = CaseOpening {
                agency: parse(agency),
                agency_ref: parse(&format!("ref-of-{}", case.replace('-', "_"))),
                case: parse(case),
                entered: parse("2030-01-01"),
                offer: offer(),
            };
            self.take(|town| &town.story.staff.preparer, Body::CaseOpening(opening));
            let screening = Screening {
                case: parse(case),
                evidence: evidence(&format!("the file of {case}")),
                outcome: ScreeningOutcome::Cleared,
                person: Digest::of(format!("the person of {case}")),
            };
            self.take(|town| &town.story.staff.screener, Body::Screening(screening));
        }
    }

    fn request(&mut self, disbursement: &str, case: &str, benefit: &str, amount: &str, fund: &str) -> Digest {
        self.ask(disbursement, case, (benefit, amount, fund), 30 * DAY_S)
    }

    fn ask(
        &mut self,
        disbursement: &str,
        case: &str,
        (benefit, amount, fund): (&str, &str, &str),
        expires_s: u64,
    ) -> Digest {
        let request = Request {
            amount: usd(amount),
            benefit: parse(benefit),
            case: parse(case),
            channel: Channel::Manual {},
            disbursement: parse(disbursement),
            expires: self.story.ledger.now.plus(expires_s).unwrap(),
            fund: parse(fund),
            occurrence: Integer(1),
            offer: offer(),
            salt: Salt::from_bytes(*Digest::of(format!("the salt of {disbursement}")).as_bytes()),
        };
        self.take(|town| &town.story.staff.preparer, Body::Request(request))
    }

    fn approve(&mut self, who: impl Fn(&Town) -> &Person, disbursement: &str) {
        let approval = self.story.approval(disbursement);
        self.take(who, approval);
    }

    fn release(&mut self, disbursement: &str, request: Digest) -> Digest {
        let release = Release { bank: parse("b1"), disbursement: parse(disbursement), request };
        self.take(|town| &town.story.staff.payer, Body::Release(release))
    }

    fn confirm(&mut self, disbursement: &str) -> Digest {
        let confirmation = BankConfirmation {
            disbursement: parse(disbursement),
            evidence: evidence(&format!("the statement about {disbursement}")),
            value_date: self.story.ledger.now.date(),
        };
        self.take(|town| &town.story.staff.reconciler, Body::BankConfirmation(confirmation))
    }

    /// One group with requests of all cases, as a preparer sends them.
    fn request_together(&mut self) {
        self.group(DAY_S);
        for (disbursement, case) in
            [("aurora-bonus", "aurora-5d1f"), ("borealis-paid", "borealis-77aa"), ("first-bonus", "c-1")]
        {
            self.request(disbursement, case, "aircraft", "100000.00", "f1");
        }
        self.group(HOUR_S);
        for disbursement in ["aurora-bonus", "borealis-paid", "first-bonus"] {
            self.approve(|town| &town.story.staff.approver, disbursement);
            self.approve(|town| &town.story.staff.director, disbursement);
        }
    }

    fn requested(&self, disbursement: &str) -> Digest {
        let key = programme::Key::Disbursement(parse(disbursement));
        self.story.ledger.state.get::<programme::entity::DisbursementState>(&key).unwrap().request
    }

    /// Out, back, out again; a release and a delivery that were mistakes; a fee that was.
    fn pay_aurora(&mut self) {
        self.group(DAY_S);
        let bonus = self.requested("aurora-bonus");
        self.release("aurora-bonus", bonus);
        let rejection = BankRejection {
            disbursement: parse("aurora-bonus"),
            evidence: evidence("aurora's bank said no"),
        };
        self.take(|town| &town.story.staff.reconciler, Body::BankRejection(rejection));
        self.group(HOUR_S);
        self.release("aurora-bonus", bonus);
        self.confirm("aurora-bonus");
        let paid = self.requested("borealis-paid");
        self.release("borealis-paid", paid);
        self.confirm("borealis-paid");
        self.group(DAY_S);
        let back = BankReturn {
            disbursement: parse("aurora-bonus"),
            evidence: evidence("aurora's bank sent it back"),
            kept: usd("25.00"),
            value_date: parse("2030-01-04"),
        };
        self.take(|town| &town.story.staff.reconciler, Body::BankReturn(back));
        self.request("aurora-trip", "aurora-5d1f", "trip", "6000.00", "f2");
        self.approve(|town| &town.story.staff.approver, "aurora-trip");
        let delivery = |invoiced: &str| {
            Body::Delivery(Delivery {
                delivered: parse("2030-01-04"),
                disbursement: parse("aurora-trip"),
                evidence: evidence("aurora's ticket"),
                invoiced: usd(invoiced),
                vendor: parse("airline"),
            })
        };
        let mistaken = self.take(|town| &town.story.staff.preparer, delivery("5000.00"));
        self.group(HOUR_S);
        let undone = Reversal {
            entry: parse(&format!("{mistaken}-0")),
            reason: parse("read wrongly"),
            subject: ReversalSubject::Disbursement(parse("aurora-trip")),
        };
        self.take(|town| &town.story.staff.director, Body::Reversal(undone));
        self.take(|town| &town.story.staff.preparer, delivery("5400.00"));
        let fee = BankFee {
            amount: usd("35.00"),
            bank: parse("b1"),
            evidence: evidence("a fee"),
            fund: parse("f2"),
            value_date: parse("2030-01-04"),
        };
        let charged = self.take(|town| &town.story.staff.reconciler, Body::BankFee(fee));
        let undone = Reversal {
            entry: parse(&format!("{charged}-0")),
            reason: parse("another's"),
            subject: ReversalSubject::Fact(charged),
        };
        self.group(DAY_S);
        self.take(|town| &town.story.staff.director, Body::Reversal(undone));
    }

    /// Two persons for what the bank says; a further key for the approver and the end of the first; a veto.
    fn change_rules(&mut self) {
        self.group(HOUR_S);
        self.enact(Act::Policy { policy: Policy { bank_report_persons: Integer(2), ..policy() } });
        let second = second_key(&self.story.staff.approver);
        self.enact(second.enrolment(self.story.ledger.id, &[Role::Approver]));
        let revoked = self.story.staff.approver.key.public().id();
        self.enact(Act::Revoke { key: revoked, reason: parse("lost"), since: None });
        let act = Act::Roles { principal: parse("paul"), roles: vec![Role::Director, Role::Payer] };
        let Story { ledger, staff } = &mut self.story;
        let proposal = ledger.take(&staff.anna, Body::Proposal(Proposal { act }));
        let veto = Veto { proposal, reason: parse("two hands") };
        ledger.take(&staff.boris, Body::Veto(veto));
        self.group(2 * HOUR_S);
    }

    fn end_borealis(&mut self) {
        self.group(DAY_S);
        let rejected = self.request("borealis-rejected", "borealis-77aa", "arrival", "5000.00", "f1");
        let rejection = Rejection {
            disbursement: parse("borealis-rejected"),
            reason: parse("asked for twice"),
            request: rejected,
        };
        self.take(|town| &town.story.staff.director, Body::Rejection(rejection));
        let cancelled = self.request("borealis-cancelled", "borealis-77aa", "arrival", "5000.00", "f2");
        let second = second_key(&self.story.staff.approver);
        let approval = self.story.approval("borealis-cancelled");
        self.story.ledger.take(&second, approval);
        let cancellation = Cancellation {
            disbursement: parse("borealis-cancelled"),
            reason: parse("moved away"),
            request: cancelled,
        };
        self.take(|town| &town.story.staff.preparer, Body::Cancellation(cancellation));
        self.group(HOUR_S);
        let cancellation = Cancellation {
            disbursement: parse("first-bonus"),
            reason: parse("an approver's key was lost"),
            request: self.requested("first-bonus"),
        };
        self.take(|town| &town.story.staff.director, Body::Cancellation(cancellation));
        let waiting = self.request("first-waiting", "c-1", "arrival", "5000.00", "f1");
        let approval = self.story.approval("first-waiting");
        self.story.ledger.take(&second, approval);
        self.group(HOUR_S);
        self.release("first-waiting", waiting);
        let report = self.confirm("first-waiting");
        let further = Body::Countersignature(Countersignature { report });
        self.take(|town| &town.story.staff.second_reconciler, further);
    }

    /// A request that nobody approves.
    fn let_lapse(&mut self) {
        self.group(DAY_S);
        let request = self.ask("aurora-lapsed", "aurora-5d1f", ("arrival", "5000.00", "f1"), DAY_S);
        let expires = self.story.expires("aurora-lapsed");
        self.group(DAY_S + 60);
        let lapse = self.story.ledger.lapse("aurora-lapsed", request, expires);
        self.story.ledger.decide(lapse);
    }
}

/// The same person with a further key.
fn second_key(person: &Person) -> Person {
    Person { principal: person.principal.clone(), key: key(&format!("{}'s second", person.principal)) }
}

fn key_of(person: &Person) -> signing::keys::SecretKey {
    key(person.principal.as_str())
}
