//! The pipeline and the publisher in trouble and out of it, on a real PostgreSQL: what a group costs, what one batch may
//! hold, what breaks at a commit, and what is never signed. What is in the database afterwards is what a replay of the
//! log comes to.

mod accepting;
mod commit;
mod lapses;
mod publishing;
mod trouble;

use records::assets::BankOpening;
use records::{Basis, Body, Verified};
use tests::world::{Answer, Desk, World, id};

/// A funded ledger with an offer and this many cleared cases, `case-0` and so on.
fn town(amount: &str, cases: usize) -> World {
    let world = World::new();
    furnish(&world, amount, cases);
    world
}

fn furnish(world: &World, amount: &str, cases: usize) {
    world.fund(amount);
    world.offer();
    world.cases(cases);
}

/// Requests of the grant for cases, each by the name of its disbursement, on a basis that is known.
fn requests<T: AsRef<str>>(desk: &Desk, basis: Basis, pairs: &[(T, T)]) -> Vec<Verified> {
    let sign = |(disbursement, case): &(T, T)| {
        let request = desk.request(disbursement.as_ref(), case.as_ref(), "grant", "5000.00");
        desk.sign_on(basis, "anna", Body::Request(request))
    };
    pairs.iter().map(sign).collect()
}

/// An instruction of no consequence to any other.
fn bank(desk: &Desk, name: &str) -> Verified {
    desk.sign("dora", Body::BankOpening(BankOpening { bank: id(name), currency: id("USD") }))
}

fn post(desk: &Desk, records: &[Verified], mode: &str) -> Answer {
    let envelopes: Vec<_> = records.iter().map(|record| record.envelope().clone()).collect();
    desk.post(&envelopes, mode)
}

/// For each result `ok`, or its code.
fn codes(answer: &Answer) -> Vec<&str> {
    let results = answer.json["results"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
    results.iter().map(|result| result["problem"]["code"].as_str().unwrap_or("ok")).collect()
}

/// The whole is not taken now, for this reason.
#[track_caller]
fn unavailable(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.code()), (503, code), "{}", answer.text);
}

/// How many records the log has.
fn size(world: &World) -> i64 {
    world.database.superuser().query_one("SELECT size FROM head", &[]).unwrap().get(0)
}
