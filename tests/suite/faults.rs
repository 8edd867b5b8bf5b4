//! Faults that pass: a connection that is lost at any message, a disk that is full or does not answer, a clock that jumps, no
//! more file descriptors. Meanwhile whoever asks is told to come again; afterwards the service goes on without a restart,
//! and what was acknowledged holds.

mod connection;
mod disk;
mod limits;

use std::time::{Duration, Instant};

use records::Verified;
use tests::world::{Answer, Desk, clearance, opening, try_post_to};

/// Cases of north's, opened and cleared in turn: instructions of no consequence to each other.
fn instructions(desk: &Desk, name: &str, count: usize) -> Vec<Verified> {
    let basis = desk.basis();
    let of_one = |n: usize| {
        let case = format!("{name}-{n}");
        [desk.sign_on(basis, "anna", opening(&case, "north")), desk.sign_on(basis, "sven", clearance(&case))]
    };
    (0..count.div_ceil(2)).flat_map(of_one).take(count).collect()
}

/// What a client is told while a fault lasts, in time: to come again, and nothing else.
#[track_caller]
fn is_told_to_wait(desk: &Desk, record: &Verified, codes: &[&str]) -> Answer {
    let began = Instant::now();
    let answer = try_post_to(&desk.url, &[record.envelope().clone()], "each").expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(codes.contains(&answer.code()), "{}", answer.text);
    assert_eq!(answer.json["transient"], true, "{}", answer.text);
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    answer
}
