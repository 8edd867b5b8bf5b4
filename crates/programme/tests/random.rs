//! Random sequences of instructions. The world asserts after each that the proofs hold, that no limit is broken, that holds
//! add up and that the log replays; here it is asserted what must hold across them.

use std::collections::{BTreeMap, BTreeSet};

use programme::entity::{DisbursementState, Entity};
use programme::stage::Stage;
use programme::{Code, Key};
use proptest::prelude::*;

use crate::world::World;
use crate::world::script::code_of;
use crate::world::steps::steps;

type Owed<'a> = (&'a str, &'a str, u32);

fn owed(state: &DisbursementState) -> Owed<'_> {
    (state.opening.case.as_str(), state.benefit.as_str(), state.occurrence)
}

/// What a case is owed once is open or paid by one disbursement at most, and that is the one that the obligation names.
fn assert_owed_once(world: &World) {
    let mut taken = BTreeMap::new();
    for (id, state) in world.disbursements() {
        if !matches!(state.stage, Stage::Ended(_)) {
            assert_eq!(taken.insert(owed(state), id), None, "{:?} is owed twice", owed(state));
        }
    }
    let named = world.state.entities().filter_map(|(key, entity)| match (key, entity) {
        (Key::Obligation(case, benefit, occurrence), Entity::Obligation(state)) => {
            Some(((case.as_str(), benefit.as_str(), *occurrence), state.disbursement.as_str()))
        }
        _ => None,
    });
    assert_eq!(named.collect::<BTreeMap<_, _>>(), taken);
}

/// What left the fund's bank for a disbursement, less what came back, is its amount where it is paid and nothing else.
fn assert_paid_once(world: &World) {
    for fund in ["f1", "f2"] {
        let of = |stage: fn(&Stage) -> i64| -> i64 {
            let mine = world.disbursements().into_iter().filter(|(_, state)| state.fund.as_str() == fund);
            mine.map(|(_, state)| stage(&state.stage)).sum()
        };
        let due = of(|stage| match stage {
            Stage::Due(owed) => owed.payable.minor(),
            _ => 0,
        });
        let sent = of(|stage| match stage {
            Stage::Released(sent) => sent.owed.payable.minor(),
            _ => 0,
        });
        let paid = of(|stage| match stage {
            Stage::Paid(sent) => sent.owed.payable.minor(),
            _ => 0,
        });
        assert_eq!(world.sums(fund, 2100..=2100).0, due, "owed by {fund}");
        assert_eq!(world.sums(fund, 2200..=2200).0, sent, "sent from {fund}");
        assert_eq!(world.sums(fund, 1100..=1100).1, sent, "held on the cash of {fund}");
        let fees = world.sums(fund, 5102..=5102).0;
        assert_eq!(world.sums(fund, 7500..=7500).0, paid + fees, "paid from {fund}");
        assert_eq!(world.sums(fund, 5101..=5101).0, due + sent + paid, "spent on benefits by {fund}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_tried_the_books_hold(steps in steps(120), in_pairs in any::<bool>()) {
        let mut world = World::for_steps(in_pairs);
        for step in &steps {
            let before = world.state.balances().count();
            let tried = world.try_step(step);
            if tried.outcome.is_err() {
                prop_assert_eq!(world.state.balances().count(), before, "{}", tried.line);
            }
            assert_owed_once(&world);
            assert_paid_once(&world);
        }
        world.finish();
    }
}

/// The property above says nothing about sequences that get nowhere.
#[test]
fn random_steps_reach_what_they_are_meant_to_reach() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut stages, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..30 {
        let sequence = steps(200).new_tree(&mut runner).unwrap().current();
        let mut world = World::for_steps(round % 2 == 1);
        for step in &sequence {
            let tried = world.try_step(step);
            codes.extend(code_of(&tried.outcome));
            stages.extend(world.disbursements().into_iter().map(|(_, state)| state.stage.name()));
        }
    }
    let all = ["cancelled", "due", "lapsed", "obligated", "paid", "rejected", "released", "requested"];
    assert_eq!(stages, BTreeSet::from(all));
    for code in [
        Code::InsufficientFunds,
        Code::FundBlocked,
        Code::BankOverdrawn,
        Code::WrongStage,
        Code::NothingToReverse,
        Code::AlreadySigned,
        Code::SamePerson,
        Code::BasisTooOld,
    ] {
        assert!(codes.contains(&code), "{code:?} never came up: {codes:?}");
    }
}
