//! A partial state gives the outcome of the complete one.
//!
//! [`World::decide`] asserts for every record of every test that a state which knows nothing, and is told exactly what it
//! says it lacks, comes to the same in three rounds at most. Here states know some things already, as a store's cache
//! would; and what never comes up in a script is decided too.

use programme::{At, Lookup, State, decide};
use proptest::prelude::*;
use records::{Payload, Verified};

use crate::world::cast::founding;
use crate::world::steps::steps;
use crate::world::{World, decide_in_part, secret};

/// A state that knows some of what the full one knows, and of some things that they are not there.
fn some_of(full: &State, record: &Verified, at: At, chance: u64) -> State {
    let mut partial = State::partial();
    let mut draw = chance;
    for (key, entity) in full.entities() {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if draw >> 62 == 0 {
            partial.load(key.clone(), Some(entity.clone()));
        }
    }
    if let Err(programme::Halt::Missing(keys)) = decide(&State::partial(), at, record) {
        for key in keys.into_iter().filter(|key| full.lookup(key) == Lookup::Absent) {
            partial.load(key, None);
        }
    }
    partial
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_that_knows_some_things_decides_the_same(steps in steps(80), chance in any::<u64>()) {
        let mut world = World::for_steps(chance % 2 == 1);
        for step in &steps {
            let (state, at) = (world.state.clone(), world.at());
            if world.try_step(step).outcome.is_err() {
                continue;
            }
            // The record that was accepted is the last, or the last but one where it caused an entry.
            for record in world.records.iter().rev().take(2) {
                if matches!(record.payload(), Payload::Instruction(..) | Payload::Lapse(_)) {
                    let partial = some_of(&state, record, at, chance);
                    prop_assert_eq!(decide_in_part(&state, partial, at, record), decide(&state, at, record));
                }
            }
        }
    }

    /// Any record, at any place, in any state: an answer and no panic, and the same answer from a partial state.
    #[test]
    fn whatever_is_decided_there_is_an_answer(steps in steps(40), position in any::<u64>(), later in 0..400_000_000u64) {
        let mut world = World::for_steps(false);
        for step in &steps {
            let _ = world.try_step(step);
        }
        let at = At { position, recorded_at: world.now().plus(later).unwrap() };
        for state in [&world.state, &World::founded().state, &State::complete()] {
            for record in world.records.iter().rev().take(30) {
                let outcome = decide(state, at, record);
                prop_assert_eq!(decide_in_part(state, State::partial(), at, record), outcome);
            }
        }
    }
}

/// The ledger's own records are no instructions, and a founding is decided like anything else.
#[test]
fn what_is_not_an_instruction() {
    let world = World::funded();
    let of = |wanted: fn(&Payload) -> bool| world.records.iter().find(|r| wanted(r.payload())).unwrap();
    for record in [
        of(|payload| matches!(payload, Payload::Group(_))),
        of(|payload| matches!(payload, Payload::JournalEntry(_))),
    ] {
        let refused = world.decide(record).unwrap_err();
        assert!(matches!(refused, programme::Halt::Refused(r) if r.code == programme::Code::RoleMissing));
    }
    let mut other = founding();
    other.body.origin = "elsewhere".parse().unwrap();
    let other = records::Record::sign(Payload::Founding(Box::new(other)), &secret("c1")).unwrap();
    let refused = world.decide(&other).unwrap_err();
    assert!(matches!(refused, programme::Halt::Refused(r) if r.code == programme::Code::LedgerFounded));
}
