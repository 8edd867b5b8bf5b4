//! The rules against an oracle: a second model of the money, written from the table of postings, that shares no code
//! with `ledger` or `programme`. Both take the same random steps; after each, every balance must be the same, and what
//! the rules refuse for want of money, the model must not have.

pub mod model;

// The driver of the rules' own tests, of which this needs a part.
#[allow(dead_code, reason = "the tests of `programme` use the rest")]
#[path = "../../../crates/programme/tests/world/mod.rs"]
pub mod world;

use std::collections::BTreeMap;

use programme::{Code, State};
use proptest::prelude::*;
use records::{Payload, Verified};

use model::{Lack, Model, Taken};
use world::World;
use world::script::code_of;
use world::steps::steps;

/// Every balance by the model's name for it, zeros left out. Only the names of accounts are translated here.
pub fn balances(state: &State) -> BTreeMap<(String, String), i128> {
    let mut all = BTreeMap::new();
    for (key, balance) in state.balances() {
        let account = key.account.to_string();
        let (code, name) = account.split_once('/').unwrap_or((&account, ""));
        let (bucket, held) = match code {
            "1100" => (format!("cash/{name}"), format!("cash held/{name}")),
            "7210" => ("available".to_owned(), "held".to_owned()),
            _ => (model::bucket(code, name), String::new()),
        };
        for (bucket, money) in [(bucket, balance.amount), (held, balance.held)] {
            let minor = model::minor(&money);
            if minor != 0 {
                all.insert((key.fund.to_string(), bucket), minor);
            }
        }
    }
    all
}

/// Tells the model what was accepted since a position: each record, and whether an entry follows it.
pub fn tell(model: &mut Model, records: &[Verified]) {
    for (index, record) in records.iter().enumerate() {
        let posted = records.get(index + 1).is_some_and(is_entry);
        match record.payload() {
            Payload::Instruction(_, body) => model.take(record.digest(), body, posted),
            Payload::Lapse(lapse) => model.lapse(&lapse.disbursement),
            Payload::Founding(_) | Payload::Group(_) | Payload::JournalEntry(_) | Payload::Pad(_) => {}
        }
    }
}

fn is_entry(record: &Verified) -> bool {
    matches!(record.payload(), Payload::JournalEntry(_))
}

/// What the model would have to lack for this refusal to be right.
fn lack_behind(code: Code) -> Option<Lack> {
    match code {
        Code::InsufficientFunds => Some(Lack::Money),
        Code::FundBlocked => Some(Lack::Backing),
        Code::BankOverdrawn => Some(Lack::Cash),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_are_the_oracles(steps in steps(150), in_pairs in any::<bool>()) {
        let mut world = World::for_steps(in_pairs);
        let mut model = Model::default();
        tell(&mut model, &world.records);
        prop_assert_eq!(balances(&world.state), model.balances(), "at the beginning");
        for step in &steps {
            let before = world.records.len();
            let tried = world.try_step(step);
            tell(&mut model, &world.records[before..]);
            prop_assert_eq!(balances(&world.state), model.balances(), "after {}", &tried.line);
            model.assert_sound();
            if let Some(lack) = code_of(&tried.outcome).and_then(lack_behind) {
                let body = world.sent.as_ref().unwrap();
                prop_assert_eq!(model.would_take(body), Taken::Lacks(lack), "{}", &tried.line);
            }
        }
    }
}

/// The oracle is no oracle if it agrees with everything.
#[test]
fn the_model_knows_a_difference() {
    let world = World::for_steps(false);
    let mut model = Model::default();
    tell(&mut model, &world.records[..world.records.len() / 2]);
    assert_ne!(balances(&world.state), model.balances());
    assert_eq!(model.balances().get(&("f1".to_owned(), "available".to_owned())), None);
}
