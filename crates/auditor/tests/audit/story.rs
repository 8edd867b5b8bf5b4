//! One small ledger with everything in it: founding, enrolment, an asset and its forfeiture, an offer, a case, payments
//! in cash and in kind, a bank's fee, a return, a reversal, a lapse, a change of policy.

use ledger::time::Timestamp;
use programme::entity::{DisbursementState, PolicyState};
use programme::{Key, effect_of};
use records::Body;
use records::assets::{
    AssetRegistration, BankFee, BankOpening, Countersignature, Custody, Forfeiture, FundKind, FundOpening,
    Restraint, Reversal, ReversalSubject, Share,
};
use records::cases::{Benefit, BenefitKind, CaseOpening, Offer, OfferVersion, Screening, ScreeningOutcome};
use records::disbursements::{Approval, BankConfirmation, BankReturn, Channel, Delivery, Release, Request};
use records::governance::{Acceptance, Act};
use records::scalar::{Evidence, Integer, Salt};
use signing::digest::Digest;

use crate::ledger::{DAY_S, HOUR_S, Ledger, parse, policy, usd};
use crate::staff::{Person, Staff};

/// A ledger and its people.
pub struct Story {
    pub ledger: Ledger,
    pub staff: Staff,
}

fn evidence() -> Evidence {
    Evidence { holder: parse("dora"), kind: parse("a document"), sha256: Digest::of("a document") }
}

fn offer_version() -> OfferVersion {
    OfferVersion { offer: parse("standard"), version: Integer(1) }
}

impl Story {
    /// Founded and accepted, everybody enrolled; nothing bought or sold.
    pub fn founded(origin: &str) -> Story {
        let staff = Staff::new();
        let mut ledger = Ledger::found(origin, [&staff.anna, &staff.boris]);
        ledger.begin_group(60);
        ledger.take(&staff.boris, Body::Acceptance(Acceptance {}));
        ledger.begin_group(60);
        for (person, roles) in staff.to_enrol() {
            let act = person.enrolment(ledger.id, &roles);
            ledger.enact([&staff.anna, &staff.boris], act);
        }
        // The enrolments take effect after the policy's delay.
        ledger.begin_group(2 * HOUR_S);
        Story { ledger, staff }
    }

    /// A fund with 9,000,000.00 to spend, an offer, and a case that is cleared.
    pub fn funded(origin: &str) -> Story {
        let mut story = Story::founded(origin);
        story.open_books();
        story.receive();
        story.open_case();
        story
    }

    /// The whole of it.
    pub fn whole() -> Story {
        let mut story = Story::funded("safeconduct.test/log");
        story.pay_cash();
        story.pay_in_kind();
        story.let_lapse();
        story.change_policy();
        story
    }

    fn open_books(&mut self) {
        let Story { ledger, staff } = self;
        let director = &staff.director;
        ledger.begin_group(HOUR_S);
        let asset = AssetRegistration {
            asset: parse("a1"),
            description: parse("an account at a bank abroad"),
            instrument: evidence(),
        };
        ledger.take(director, Body::AssetRegistration(asset));
        for (fund, kind) in [("h1", FundKind::Fiduciary), ("f1", FundKind::Spendable)] {
            let opening = FundOpening { asset: parse("a1"), currency: parse("USD"), fund: parse(fund), kind };
            ledger.take(director, Body::FundOpening(opening));
        }
        let bank = BankOpening { bank: parse("b1"), currency: parse("USD") };
        ledger.take(director, Body::BankOpening(bank));
        let benefits = vec![
            Benefit { benefit: parse("aircraft"), kind: BenefitKind::Cash { amount: usd("100000.00") } },
            Benefit { benefit: parse("arrival"), kind: BenefitKind::Cash { amount: usd("5000.00") } },
            Benefit { benefit: parse("trip"), kind: BenefitKind::InKind { ceiling: usd("6000.00") } },
        ];
        let offer = Offer {
            benefits,
            offer: parse("standard"),
            valid_from: parse("2030-01-01"),
            version: Integer(1),
        };
        ledger.take(director, Body::Offer(offer));
    }

    /// A fact that policy wants from two persons.
    fn report(&mut self, fact: Body) -> Digest {
        let Story { ledger, staff } = self;
        let report = ledger.take(&staff.reconciler, fact);
        ledger.take(&staff.second_reconciler, Body::Countersignature(Countersignature { report }));
        report
    }

    fn receive(&mut self) {
        self.ledger.begin_group(HOUR_S);
        self.report(Body::Restraint(Restraint {
            amount: usd("10000000.00"),
            fund: parse("h1"),
            instrument: evidence(),
        }));
        self.report(Body::Custody(Custody {
            amount: usd("10000000.00"),
            bank: parse("b1"),
            evidence: evidence(),
            fund: parse("h1"),
            value_date: parse("2030-01-01"),
        }));
        self.ledger.begin_group(HOUR_S);
        self.report(Body::Forfeiture(Forfeiture {
            bank: parse("b1"),
            claims: vec![Share { amount: usd("800000.00"), body: parse("lender") }],
            costs: vec![Share { amount: usd("200000.00"), body: parse("court") }],
            fund: parse("h1"),
            gross: usd("10000000.00"),
            instrument: evidence(),
            to_bank: parse("b1"),
            to_fund: parse("f1"),
            value_date: parse("2030-01-01"),
        }));
    }

    fn open_case(&mut self) {
        let Story { ledger, staff } = self;
        ledger.begin_group(HOUR_S);
        let opening = CaseOpening {
            agency: staff.agency.principal.clone(),
            agency_ref: parse("r-1"),
            case: parse("c-1"),
            entered: parse("2030-01-01"),
            offer: offer_version(),
        };
        ledger.take(&staff.preparer, Body::CaseOpening(opening));
        let screening = Screening {
            case: parse("c-1"),
            evidence: evidence(),
            outcome: ScreeningOutcome::Cleared,
            person: Digest::of("a salted commitment"),
        };
        ledger.take(&staff.screener, Body::Screening(screening));
    }

    /// Requests a benefit of the case, and gives the request's digest.
    pub fn request(&mut self, disbursement: &str, benefit: &str, amount: &str, expires_s: u64) -> Digest {
        let Story { ledger, staff } = self;
        let request = Request {
            amount: usd(amount),
            benefit: parse(benefit),
            case: parse("c-1"),
            channel: Channel::Manual {},
            disbursement: parse(disbursement),
            expires: ledger.now.plus(expires_s).unwrap(),
            fund: parse("f1"),
            occurrence: Integer(1),
            offer: offer_version(),
            salt: Salt::from_bytes(*Digest::of(disbursement).as_bytes()),
        };
        ledger.take(&staff.preparer, Body::Request(request))
    }

    /// What an approver's client shows and signs.
    pub fn approval(&self, disbursement: &str) -> Body {
        let state = &self.ledger.state;
        let id = parse(disbursement);
        let policy = state.get::<PolicyState>(&Key::Policy).unwrap().at(self.ledger.now).version;
        let disbursement = state.get::<DisbursementState>(&Key::Disbursement(parse(disbursement))).unwrap();
        Body::Approval(Approval { effect: effect_of(&id, disbursement, policy) })
    }

    /// An approval by one of the staff.
    pub fn approve(&mut self, who: impl Fn(&Staff) -> &Person, disbursement: &str) {
        let approval = self.approval(disbursement);
        self.ledger.take(who(&self.staff), approval);
    }

    /// When a disbursement runs out.
    pub fn expires(&self, disbursement: &str) -> Timestamp {
        let key = Key::Disbursement(parse(disbursement));
        self.ledger.state.get::<DisbursementState>(&key).unwrap().expires
    }

    /// A release from the one bank account.
    pub fn release(&self, disbursement: &str, request: Digest) -> Body {
        Body::Release(Release { bank: parse("b1"), disbursement: parse(disbursement), request })
    }

    /// Two approvals, release, confirmation, a fee that was booked twice by mistake, and a return.
    fn pay_cash(&mut self) {
        self.ledger.begin_group(HOUR_S);
        let request = self.request("d-1", "aircraft", "100000.00", 30 * DAY_S);
        self.ledger.begin_group(HOUR_S);
        self.approve(|staff| &staff.approver, "d-1");
        self.approve(|staff| &staff.director, "d-1");
        self.ledger.begin_group(HOUR_S);
        let release = self.release("d-1", request);
        self.ledger.take(&self.staff.payer, release);
        self.ledger.begin_group(HOUR_S);
        let confirmation = BankConfirmation {
            disbursement: parse("d-1"),
            evidence: evidence(),
            value_date: parse("2030-01-01"),
        };
        let Story { ledger, staff } = self;
        ledger.take(&staff.reconciler, Body::BankConfirmation(confirmation));
        let fee = || {
            Body::BankFee(BankFee {
                amount: usd("35.00"),
                bank: parse("b1"),
                evidence: evidence(),
                fund: parse("f1"),
                value_date: parse("2030-01-01"),
            })
        };
        ledger.take(&staff.reconciler, fee());
        let again = ledger.take(&staff.reconciler, fee());
        let reversal = Reversal {
            entry: parse(&format!("{again}-0")),
            reason: parse("booked twice"),
            subject: ReversalSubject::Fact(again),
        };
        ledger.take(&staff.director, Body::Reversal(reversal));
        ledger.begin_group(DAY_S);
        let back = BankReturn {
            disbursement: parse("d-1"),
            evidence: evidence(),
            kept: usd("25.00"),
            value_date: parse("2030-01-02"),
        };
        ledger.take(&staff.reconciler, Body::BankReturn(back));
    }

    /// Approved with a ceiling, delivered for less, and sent to the vendor.
    fn pay_in_kind(&mut self) {
        self.ledger.begin_group(HOUR_S);
        let request = self.request("d-2", "trip", "6000.00", 30 * DAY_S);
        self.approve(|staff| &staff.approver, "d-2");
        self.ledger.begin_group(HOUR_S);
        let delivery = Delivery {
            delivered: parse("2030-01-02"),
            disbursement: parse("d-2"),
            evidence: evidence(),
            invoiced: usd("5412.30"),
            vendor: parse("airline"),
        };
        self.ledger.take(&self.staff.preparer, Body::Delivery(delivery));
        self.ledger.begin_group(HOUR_S);
        let release = self.release("d-2", request);
        self.ledger.take(&self.staff.payer, release);
    }

    /// A request that nobody approves.
    fn let_lapse(&mut self) {
        self.ledger.begin_group(HOUR_S);
        let request = self.request("d-3", "arrival", "5000.00", DAY_S);
        let expires = self.expires("d-3");
        self.ledger.begin_group(DAY_S + 60);
        let lapse = self.ledger.lapse("d-3", request, expires);
        self.ledger.decide(lapse);
    }

    /// From its effect on, 5,000.00 takes two approvers; one request is left waiting for the second.
    fn change_policy(&mut self) {
        let mut stricter = policy();
        stricter.bands.remove(0);
        self.ledger.begin_group(HOUR_S);
        self.ledger.enact([&self.staff.anna, &self.staff.boris], Act::Policy { policy: stricter });
        self.ledger.begin_group(2 * HOUR_S);
        self.request("d-4", "arrival", "5000.00", 30 * DAY_S);
        self.approve(|staff| &staff.approver, "d-4");
    }
}
