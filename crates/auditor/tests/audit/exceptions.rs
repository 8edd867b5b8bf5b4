//! Each exception comes from a small log that has a reason for it, and not from one that lacks it by a little.

use auditor::{Exception, Exceptions, Hours, Looked, Period, examine};
use records::Body;
use records::assets::BankFee;
use records::cases::{Benefit, BenefitKind, CaseOpening, Offer, OfferVersion, Screening, ScreeningOutcome};
use records::disbursements::{BankConfirmation, Channel, Delivery, Release, Request};
use records::governance::{Act, Role};
use records::scalar::{Evidence, Integer, Salt};
use signing::digest::Digest;

use crate::ledger::{DAY_S, HOUR_S, parse, policy, usd};
use crate::staff::{Person, Staff};
use crate::story::Story;

/// A ledger on a Tuesday in the afternoon, a week after everybody was enrolled, with an offer of which somebody can choose
/// the amounts.
pub struct Town(pub Story);

impl Town {
    pub fn new() -> Town {
        let mut story = Story::funded("safeconduct.test/log");
        // 14:02 on the eighth of January 2030.
        story.ledger.begin_group(7 * DAY_S);
        let in_kind = |benefit: &str, ceiling: &str| Benefit {
            benefit: parse(benefit),
            kind: BenefitKind::InKind { ceiling: usd(ceiling) },
        };
        let cash = Benefit { benefit: parse("grant"), kind: BenefitKind::Cash { amount: usd("5000.00") } };
        let offer = Offer {
            benefits: vec![cash, in_kind("house", "400000.00"), in_kind("move", "9000.50")],
            offer: parse("varied"),
            valid_from: parse("2030-01-01"),
            version: Integer(1),
        };
        story.ledger.take(&story.staff.director, Body::Offer(offer));
        Town(story)
    }

    pub fn later(&mut self, seconds: u64) {
        self.0.ledger.begin_group(seconds);
    }

    pub fn take(&mut self, who: impl Fn(&Staff) -> &Person, body: Body) -> Digest {
        let Story { ledger, staff } = &mut self.0;
        ledger.take(who(staff), body)
    }

    /// Opens and clears a case under the varied offer.
    pub fn case(&mut self, case: &str) {
        let agency = self.0.staff.agency.principal.clone();
        let opening = CaseOpening {
            agency,
            agency_ref: parse(&format!("{case}-ref")),
            case: parse(case),
            entered: parse("2030-01-02"),
            offer: OfferVersion { offer: parse("varied"), version: Integer(1) },
        };
        self.take(|staff| &staff.preparer, Body::CaseOpening(opening));
        let screening = Screening {
            case: parse(case),
            evidence: evidence(),
            outcome: ScreeningOutcome::Cleared,
            person: Digest::of(case),
        };
        self.take(|staff| &staff.screener, Body::Screening(screening));
    }

    pub fn request(&mut self, disbursement: &str, case: &str, benefit: &str, amount: &str) -> Digest {
        let request = Request {
            amount: usd(amount),
            benefit: parse(benefit),
            case: parse(case),
            channel: Channel::Manual {},
            disbursement: parse(disbursement),
            expires: self.0.ledger.now.plus(30 * DAY_S).unwrap(),
            fund: parse("f1"),
            occurrence: Integer(1),
            offer: OfferVersion { offer: parse("varied"), version: Integer(1) },
            salt: Salt::from_bytes(*Digest::of(disbursement).as_bytes()),
        };
        self.take(|staff| &staff.preparer, Body::Request(request))
    }

    pub fn approve(&mut self, who: impl Fn(&Staff) -> &Person, disbursement: &str) {
        self.0.approve(who, disbursement);
    }

    pub fn release(&mut self, disbursement: &str, request: Digest) {
        let release = Release { bank: parse("b1"), disbursement: parse(disbursement), request };
        self.take(|staff| &staff.payer, Body::Release(release));
    }

    pub fn confirm(&mut self, disbursement: &str) -> Digest {
        let value_date = self.0.ledger.now.date();
        let confirmation =
            BankConfirmation { disbursement: parse(disbursement), evidence: evidence(), value_date };
        self.take(|staff| &staff.reconciler, Body::BankConfirmation(confirmation))
    }

    /// A grant, requested, approved, released and paid, a quarter of an hour each.
    pub fn pay(&mut self, disbursement: &str, case: &str) {
        let request = self.request(disbursement, case, "grant", "5000.00");
        self.later(900);
        self.approve(|staff| &staff.approver, disbursement);
        self.later(900);
        self.release(disbursement, request);
        self.later(900);
        self.confirm(disbursement);
    }

    pub fn deliver(&mut self, disbursement: &str, invoiced: &str) {
        let delivery = Delivery {
            delivered: self.0.ledger.now.date(),
            disbursement: parse(disbursement),
            evidence: evidence(),
            invoiced: usd(invoiced),
            vendor: parse("builder"),
        };
        self.take(|staff| &staff.preparer, Body::Delivery(delivery));
    }

    fn exceptions(&self) -> Exceptions {
        let (bundle, ledger) = (self.0.ledger.bundle().bytes(), self.0.ledger.id);
        let period = Period { from: Some(parse("2030-01-08")), to: None };
        let examination = examine(&bundle[..], ledger, &[], period, Hours::default()).unwrap();
        assert!(examination.holds(), "{}", examination.page());
        let text = examination.page().to_string();
        let html = examination.page().html();
        let json = serde_json::to_string(&examination).unwrap();
        for shown in [&text, &html, &json] {
            assert!(!shown.contains("c-1") && !shown.contains("secret"), "a case is named: {shown}");
        }
        examination.exceptions.unwrap()
    }
}

fn evidence() -> Evidence {
    Evidence { holder: parse("rita"), kind: parse("a document"), sha256: Digest::of("another document") }
}

/// What is found in a town in which these things happen.
fn found(happens: impl FnOnce(&mut Town)) -> Vec<Exception> {
    let mut town = Town::new();
    town.case("secret-1");
    town.case("secret-2");
    happens(&mut town);
    town.exceptions().found
}

#[track_caller]
fn nothing(happens: impl FnOnce(&mut Town)) {
    assert_eq!(found(happens), []);
}

/// Exactly one thing is found: what, how often, and about which disbursements.
#[track_caller]
fn one(looked: Looked, count: u64, disbursements: &[&str], happens: impl FnOnce(&mut Town)) -> Exception {
    let found = found(happens);
    let [only] = found.as_slice() else { panic!("{found:?}") };
    let about: Vec<&str> = only.disbursements.iter().map(|id| id.as_str()).collect();
    assert_eq!((only.looked, only.count, about.as_slice()), (looked, count, disbursements), "{only:?}");
    assert!(!only.positions.is_empty());
    only.clone()
}

#[test]
fn an_ordinary_payment_is_none() {
    nothing(|town| town.pay("d-1", "secret-1"));
}

#[test]
fn requests_that_were_split() {
    let split = one(Looked::SplitRequests, 2, &["d-1", "d-2"], |town| {
        town.request("d-1", "secret-1", "grant", "5000.00");
        town.later(HOUR_S);
        town.request("d-2", "secret-1", "move", "5000.01");
    });
    assert_eq!(
        split.what,
        "pia made 2 requests for one case, each within 7 days of another, together USD 10,000.01; each keeps to the band up to USD 10,000.00 (policy 1)"
    );
    // Not above the limit; of two cases and no choice of the amount; too far from each other.
    nothing(|town| {
        town.request("d-1", "secret-1", "grant", "5000.00");
        town.request("d-2", "secret-1", "move", "4999.99");
    });
    nothing(|town| {
        for case in 3..9 {
            town.case(&format!("secret-{case}"));
            town.request(&format!("d-{case}"), &format!("secret-{case}"), "grant", "5000.00");
        }
    });
    nothing(|town| {
        town.request("d-1", "secret-1", "grant", "5000.00");
        town.later(7 * DAY_S + 60);
        town.request("d-2", "secret-1", "move", "5000.01");
    });
    // In kind the amount is chosen, so one fund is enough. A third request joins the two.
    one(Looked::SplitRequests, 3, &["d-1", "d-2", "d-3"], |town| {
        town.case("secret-3");
        for (disbursement, case) in [("d-1", "secret-1"), ("d-2", "secret-2"), ("d-3", "secret-3")] {
            town.request(disbursement, case, "move", "5000.01");
            town.later(HOUR_S);
        }
    });
    // What was rejected and requested again is one request.
    nothing(|town| {
        let request = town.request("d-1", "secret-1", "move", "6000.01");
        let rejection = records::disbursements::Rejection {
            disbursement: parse("d-1"),
            reason: parse("too much"),
            request,
        };
        town.take(|staff| &staff.approver, Body::Rejection(rejection));
        town.request("d-2", "secret-1", "move", "5500.01");
    });
}

#[test]
fn requests_just_under_a_limit() {
    one(Looked::NearLimit, 1, &["d-1"], |town| {
        town.request("d-1", "secret-1", "house", "9500.00");
    });
    one(Looked::NearLimit, 2, &["d-1", "d-2"], |town| {
        // One would be split without the week between them.
        town.request("d-1", "secret-1", "house", "9999.99");
        town.later(8 * DAY_S);
        town.request("d-2", "secret-2", "house", "9876.54");
    });
    nothing(|town| {
        town.request("d-1", "secret-1", "house", "9499.99");
    });
    nothing(|town| {
        town.request("d-1", "secret-1", "house", "10000.01");
    });
}

#[test]
fn round_sums_that_somebody_chose() {
    one(Looked::RoundSums, 1, &["d-1"], |town| {
        town.request("d-1", "secret-1", "house", "3000.00");
    });
    nothing(|town| {
        town.request("d-1", "secret-1", "house", "3100.00");
    });
    // The ceiling is the offer's, the invoice is not.
    nothing(|town| {
        town.request("d-1", "secret-1", "house", "400000.00");
    });
    one(Looked::RoundSums, 1, &["d-1"], |town| {
        town.request("d-1", "secret-1", "house", "3100.00");
        town.later(HOUR_S);
        town.approve(|staff| &staff.approver, "d-1");
        town.deliver("d-1", "3000.00");
    });
    let fee = |amount: &str| BankFee {
        amount: usd(amount),
        bank: parse("b1"),
        evidence: evidence(),
        fund: parse("f1"),
        value_date: parse("2030-01-08"),
    };
    one(Looked::RoundSums, 1, &[], |town| {
        town.take(|staff| &staff.reconciler, Body::BankFee(fee("1000.00")));
    });
    nothing(|town| {
        town.take(|staff| &staff.reconciler, Body::BankFee(fee("35.00")));
    });
}

#[test]
fn approvals_within_seconds() {
    let quick = one(Looked::QuickApprovals, 1, &["d-1"], |town| {
        town.request("d-1", "secret-1", "grant", "5000.00");
        town.later(30);
        town.approve(|staff| &staff.approver, "d-1");
    });
    assert_eq!(quick.positions.len(), 2, "request and approval");
    nothing(|town| {
        town.request("d-1", "secret-1", "grant", "5000.00");
        town.later(31);
        town.approve(|staff| &staff.approver, "d-1");
    });
    let two = |apart_s: u64| {
        move |town: &mut Town| {
            town.request("d-1", "secret-1", "house", "400000.00");
            town.later(HOUR_S);
            town.approve(|staff| &staff.approver, "d-1");
            town.later(apart_s);
            town.approve(|staff| &staff.director, "d-1");
        }
    };
    let quick = one(Looked::QuickApprovals, 1, &["d-1"], two(5));
    assert_eq!(quick.what, "dora approved within seconds after abel");
    nothing(two(31));
}

#[test]
fn the_same_pair_always() {
    // So many grants, of which the director approves some.
    let grants = |count: u32, by_director: u32| {
        move |town: &mut Town| {
            for case in 0..count {
                town.case(&format!("secret-{case}-of-many"));
                let disbursement = format!("d-{case}");
                town.request(&disbursement, &format!("secret-{case}-of-many"), "grant", "5000.00");
            }
            town.later(HOUR_S);
            for case in 0..count {
                let disbursement = format!("d-{case}");
                if case < by_director {
                    town.approve(|staff| &staff.director, &disbursement);
                } else {
                    town.approve(|staff| &staff.approver, &disbursement);
                }
            }
        }
    };
    let same = one(Looked::SamePair, 8, &[], grants(10, 2));
    assert_eq!(same.what, "abel approved 8 of 10 requests of pia that were approved, 80 per cent");
    assert_eq!(same.positions.len(), 8);
    nothing(grants(10, 3));
    nothing(grants(9, 0));
}

#[test]
fn acts_at_odd_times() {
    // The eighth of January 2030 is a Tuesday, and it is two in the afternoon.
    let asked_after = |seconds: u64| {
        move |town: &mut Town| {
            town.later(seconds);
            town.request("d-1", "secret-1", "grant", "5000.00");
        }
    };
    nothing(asked_after(3 * DAY_S));
    let weekend = one(Looked::Weekend, 1, &[], asked_after(4 * DAY_S));
    assert_eq!(weekend.what, "pia signed 1 instruction on 1 day, first on 2030-01-12");
    one(Looked::Weekend, 1, &[], asked_after(5 * DAY_S));
    nothing(asked_after(6 * DAY_S));
    nothing(asked_after(5 * HOUR_S));
    one(Looked::OutsideHours, 1, &[], asked_after(6 * HOUR_S));
    one(Looked::OutsideHours, 1, &[], asked_after(15 * HOUR_S));
    nothing(asked_after(16 * HOUR_S));
}

#[test]
fn changes_before_a_payment() {
    // On the Monday after, so that three days later is no weekend.
    let act_before = |act: fn(&Story) -> Act, later_s: u64| {
        move |town: &mut Town| {
            town.later(6 * DAY_S - 5 * HOUR_S);
            let act = act(&town.0);
            let Story { ledger, staff } = &mut town.0;
            ledger.enact([&staff.anna, &staff.boris], act);
            // The policy's delay of an hour is over when the grant is requested.
            town.later(HOUR_S + later_s);
            town.pay("d-1", "secret-1");
        }
    };
    let stricter =
        |_: &Story| Act::Policy { policy: records::governance::Policy { skew_s: Integer(50), ..policy() } };
    let changed = one(Looked::ChangeBeforePayment, 1, &["d-1"], act_before(stricter, 0));
    assert!(changed.what.starts_with("the policy changed at position "), "{changed:?}");
    assert!(
        changed.what.ends_with("1 release that it concerns followed, USD 5,000.00 together"),
        "{changed:?}"
    );
    assert_eq!(changed.positions.len(), 2, "the act that decided, and the release");
    // Half an hour passes from request to release.
    one(Looked::ChangeBeforePayment, 1, &["d-1"], act_before(stricter, 3 * DAY_S - 1800));
    nothing(act_before(stricter, 3 * DAY_S - 1799));

    let payer = |story: &Story| Act::Roles {
        principal: story.staff.payer.principal.clone(),
        roles: vec![Role::Payer, Role::Preparer],
    };
    one(Looked::ChangeBeforePayment, 1, &["d-1"], act_before(payer, 0));
    // Somebody who has no part in the payment.
    let screener = |story: &Story| Act::Roles {
        principal: story.staff.second_reconciler.principal.clone(),
        roles: vec![],
    };
    nothing(act_before(screener, 0));

    // A vendor whom nobody knew, and who is known the second time.
    let delivered = |town: &mut Town, disbursement: &str, case: &str, wait_s: u64| {
        let request = town.request(disbursement, case, "house", "3100.00");
        town.later(HOUR_S);
        town.approve(|staff| &staff.approver, disbursement);
        town.deliver(disbursement, "3050.50");
        town.later(wait_s);
        town.release(disbursement, request);
    };
    one(Looked::ChangeBeforePayment, 1, &["d-1"], |town| {
        delivered(town, "d-1", "secret-1", 3 * DAY_S);
        town.later(3 * DAY_S);
        delivered(town, "d-2", "secret-2", HOUR_S);
    });
}
