//! What happens when there is too much to do, the clock is far off, or the database refuses what the rules allow.

use std::sync::Barrier;

use disbursement_api::pipeline::{Mode, Settings, Unavailable};
use records::Verified;
use records::governance::Policy;
use records::scalar::Integer;
use serde_json::json;
use tests::cluster::runtime;
use tests::replay::prove;
use tests::world::{World, policy, post_raw};

use super::{bank, post, requests, size, town, unavailable};

#[test]
fn a_full_queue_refuses_at_once() {
    let mut world = World::new();
    let register = world.register.clone();
    world.restart_with(&register, Settings { queue_limit: 2, ..Settings::default() });
    let (record, before) = (bank(&world, "b1"), size(&world));
    let copies = |count: usize| vec![record.clone(); count];
    let refused = post(&world, &copies(3), "each");
    assert_eq!((refused.status, refused.code()), (429, "queue_full"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(size(&world), before);
    let both = post(&world, &copies(2), "each");
    world.accept(&both);
    assert_eq!(both.json["results"][0], both.json["results"][1]);
    // One that stops takes no more.
    world.service.stop();
    let late = runtime().block_on(world.service.pipeline().submit(vec![], Mode::Each));
    assert_eq!(late, Err(Unavailable::ShuttingDown));
    prove(&mut world);
}

#[test]
fn a_clock_is_confirmed_once_and_checks_wait_for_it_too() {
    let mut world = World::with_policy(Policy { basis_age_s: Integer(7 * 24 * 3600), ..policy() });
    let refuses = |world: &World, name: &str| {
        let record = bank(world, name);
        unavailable(&post(world, std::slice::from_ref(&record), "each"), "clock_suspect");
        let item = json!({"attachments": [], "envelope": record.envelope()});
        let body = json!({"instructions": [item], "mode": "each"}).to_string();
        unavailable(&post_raw(&format!("{}/v1/instructions/check", world.url), &body), "clock_suspect");
    };
    let gap = 48 * 3600 + 60;
    world.clock.advance(gap);
    refuses(&world, "b1");
    let settings = Settings { confirm_clock: Some(world.clock.now()), ..Settings::default() };
    let register = world.register.clone();
    world.restart_with(&register, settings);
    world.accept(&post(&world, &[bank(&world, "b1")], "each"));
    world.clock.advance(gap);
    refuses(&world, "b2");
    prove(&mut world);
}

/// What the rules allow and the database does not is a fault of the service: it fails alone, and it is not repeated.
#[test]
fn a_decision_that_the_database_refuses_fails_alone() {
    let mut world = town("25000.00", 2);
    let mut superuser = world.database.superuser();
    // The database lets only one of two requests hold its money.
    let sql = "ALTER TABLE balances ADD CONSTRAINT none CHECK (code <> 7210 OR held < 5000.01)";
    superuser.batch_execute(sql).unwrap();
    let records = requests(&world, world.basis(), &[("d0", "case-0"), ("d1", "case-1")]);
    let start = Barrier::new(2);
    let send = |record: &Verified| {
        start.wait();
        post(&world, std::slice::from_ref(record), "each")
    };
    let answers = std::thread::scope(|scope| {
        let (send, records) = (&send, &records);
        let threads = [0, 1].map(|index| scope.spawn(move || send(&records[index])));
        threads.map(|thread| thread.join().unwrap())
    });
    let mut shown = answers.each_ref().map(|answer| (answer.status, answer.code()));
    shown.sort_unstable();
    assert_eq!(shown, [(200, "ok"), (500, "internal")], "{answers:?}");
    superuser.batch_execute("ALTER TABLE balances DROP CONSTRAINT none").unwrap();
    world.accept(&post(&world, &records, "each"));
    prove(&mut world);
}
