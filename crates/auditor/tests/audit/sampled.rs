//! Samples of a log that holds, and none of one that does not.

use auditor::{CouldNotRun, Sample, Sampling, sample};
use records::Body;
use records::assets::{Reversal, ReversalSubject};
use records::disbursements::BankReturn;
use records::scalar::Evidence;
use signing::digest::Digest;

use crate::exceptions::Town;
use crate::ledger::{DAY_S, parse, usd};

fn sampling(interval: &str, seed: &str) -> Sampling {
    Sampling { fund: None, interval: usd(interval), seed: parse(seed) }
}

/// Four grants were paid: one again after it came back, one after its payment was reported by mistake.
fn town() -> Town {
    let mut town = Town::new();
    for number in 1..=4 {
        town.case(&format!("secret-{number}"));
        town.pay(&format!("d-{number}"), &format!("secret-{number}"));
    }
    town.later(DAY_S);
    let evidence = Evidence { holder: parse("rita"), kind: parse("advice"), sha256: Digest::of("advice") };
    let back = BankReturn {
        disbursement: parse("d-2"),
        evidence,
        kept: usd("25.00"),
        value_date: town.0.ledger.now.date(),
    };
    town.take(|staff| &staff.reconciler, Body::BankReturn(back));
    let mistaken = {
        let disbursement = town.0.ledger.state.get(&programme::Key::Disbursement(parse("d-3")));
        let state: &programme::entity::DisbursementState = disbursement.unwrap();
        state.undo.as_ref().unwrap().entry.id
    };
    let reversal = Reversal {
        entry: mistaken,
        reason: parse("another payment"),
        subject: ReversalSubject::Disbursement(parse("d-3")),
    };
    town.take(|staff| &staff.director, Body::Reversal(reversal));
    town.confirm("d-3");
    let request = {
        let disbursement = town.0.ledger.state.get(&programme::Key::Disbursement(parse("d-2")));
        let state: &programme::entity::DisbursementState = disbursement.unwrap();
        state.request
    };
    town.release("d-2", request);
    town.confirm("d-2");
    town
}

fn drawn(town: &Town, sampling: &Sampling) -> Sample {
    let bundle = town.0.ledger.bundle().bytes();
    let (report, sample) = sample(&bundle[..], town.0.ledger.id, &[], sampling).unwrap();
    sample.unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn the_population_is_what_was_paid() {
    let town = town();
    // Every payment is as large as the interval, so all are selected.
    let sample = drawn(&town, &sampling("5000.00", "4 2 6 1 5"));
    let population = &sample.population;
    assert_eq!((population.count, population.total.digits().as_str()), (5, "25000.00"));
    assert_eq!(
        (population.returned.digits().as_str(), population.settled.digits().as_str()),
        ("5000.00", "20000.00")
    );
    assert!(population.ties());
    let selected: Vec<&str> = sample.selected.iter().map(|one| one.payment.disbursement.as_str()).collect();
    assert_eq!(
        selected,
        ["d-1", "d-2", "d-4", "d-3", "d-2"],
        "in the order of the log, the mistake left out"
    );
    for (number, one) in (1..).zip(&sample.selected) {
        assert_eq!((one.number, one.hits, one.cumulative.minor()), (number, 1, i128::from(number) * 500_000));
        assert!(
            one.unit.minor() > one.cumulative.minor() - 500_000 && one.unit.minor() <= one.cumulative.minor()
        );
        let of_kind = |position: u64| {
            let leaf = &town.0.ledger.leaves[usize::try_from(position).unwrap()];
            records::Record::parse_leaf(leaf).unwrap().kind().name()
        };
        let records = &one.payment.records;
        assert_eq!(of_kind(records.request), "request");
        assert_eq!(records.approvals.iter().map(|at| of_kind(*at)).collect::<Vec<_>>(), ["approval"]);
        assert_eq!((of_kind(records.release), of_kind(records.entry)), ("release", "entry"));
        let confirmations: Vec<_> = records.confirmations.iter().map(|at| of_kind(*at)).collect();
        assert_eq!(confirmations, ["bank-confirmation"]);
        assert_eq!(records.screening.map(of_kind), Some("screening"));
        assert_eq!(one.payment.evidence.len(), 2, "the screening's and the bank's");
    }
    let text = sample.page().to_string();
    assert!(text.contains("selected    5 of 5") && !text.contains("secret"), "{text}");
}

#[test]
fn the_same_seed_draws_the_same() {
    let mut town = town();
    let first = drawn(&town, &sampling("12000.00", "4 2 6 1 5"));
    assert_eq!(drawn(&town, &sampling("12000.00", "4 2 6 1 5")), first);
    let starts: std::collections::BTreeSet<String> = (0..20)
        .map(|seed| drawn(&town, &sampling("12000.00", &format!("seed {seed}"))).start.digits())
        .collect();
    assert_eq!(starts.len(), 20);
    // A longer log has another root, so nobody knows the start before the log is fixed.
    town.later(60);
    assert_ne!(drawn(&town, &sampling("12000.00", "4 2 6 1 5")).start, first.start);
    let json = serde_json::to_value(&first).unwrap();
    assert_eq!(
        (&json["population"]["count"], &json["interval"]["amount"]),
        (&"5".into(), &"12000.00".into())
    );
}

#[test]
fn what_cannot_be_drawn() {
    let town = town();
    let (bundle, ledger) = (town.0.ledger.bundle().bytes(), town.0.ledger.id);
    let of = |sampling: Sampling| sample(&bundle[..], ledger, &[], &sampling);
    let interval = || sampling("5000.00", "x");
    let fund = |fund: &str| Some(parse(fund));
    assert!(matches!(of(Sampling { fund: fund("nowhere"), ..interval() }), Err(CouldNotRun::NoSuchFund(_))));
    assert!(matches!(of(sampling("0.00", "x")), Err(CouldNotRun::NoInterval)));
    let euros = ledger::money::Money::parse("5000.00", parse("EUR")).unwrap();
    let other = Sampling { fund: fund("f1"), interval: euros, ..interval() };
    assert!(matches!(of(other), Err(CouldNotRun::OtherCurrency { .. })));
    // No payment is in that currency, and the custody fund pays none.
    let none = of(Sampling { interval: euros, ..interval() }).unwrap().1.unwrap();
    assert_eq!((none.population.count, none.selected.len()), (0, 0));
    let none = of(Sampling { fund: fund("h1"), ..interval() }).unwrap().1.unwrap();
    assert_eq!((none.population.count, none.selected.len()), (0, 0));
    let all = of(Sampling { fund: fund("f1"), ..interval() }).unwrap().1.unwrap();
    assert_eq!(all.selected.len(), 5);

    let tampered = [bundle.as_slice(), b"x"].concat();
    let (report, sample) = sample(&tampered[..], ledger, &[], &interval()).unwrap();
    assert!(!report.is_verified() && sample.is_none());
}
