//! The connection to the database: how many round trips a group takes, and what becomes of a group whose connection
//! breaks when it is committed.

use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Verified;
use tests::cluster::say;
use tests::proxy::{Break, Proxy};
use tests::replay::prove;
use tests::service::Service;
use tests::world::{Desk, World, post_raw};

use super::{bank, codes, post, requests, size, town, unavailable};

/// The world's service has stopped; another one on the same ledger reaches the database through a proxy.
fn proxied(world: &mut World, settings: Settings) -> (Proxy, Service, Desk) {
    world.service.stop();
    let proxy = Proxy::start();
    let database = world.database.through(proxy.dir());
    let service = Service::with(&database, &world.register, &world.clock, settings);
    let desk = world.at(&service.url);
    (proxy, service, desk)
}

/// Sends, and says how many round trips and statements the group needed.
fn measured(
    proxy: &Proxy,
    desk: &Desk,
    what: &str,
    records: &[Verified],
    mode: &str,
) -> (Vec<String>, u64, u64) {
    let before = proxy.counted();
    let answer = post(desk, records, mode);
    let after = proxy.counted();
    let (trips, statements) = (after.0 - before.0, after.1 - before.1);
    say(&format!("{what}: {trips} round trips, {statements} statements"));
    (codes(&answer).into_iter().map(str::to_owned).collect(), trips, statements)
}

/// The budget that the pipeline's documentation states.
#[test]
fn round_trips_of_a_group() {
    let mut world = town("1000000.00", 112);
    let (proxy, service, desk) = proxied(&mut world, Settings::default());
    let named = |name: &str, first: usize, count: usize| {
        let pair = |n: usize| (format!("{name}-{n}"), format!("case-{}", first + n));
        requests(&desk, desk.basis(), &(0..count).map(pair).collect::<Vec<_>>())
    };
    desk.accept(&post(&desk, &named("first", 0, 1), "each"));

    let again = named("again", 0, 1);
    let (codes, ..) = measured(&proxy, &desk, "nothing accepted", &again, "each");
    assert_eq!(codes, ["obligation_exists"]);
    // It left nothing to begin with, so this one is decided under the lock.
    let under_lock = named("lock", 2, 1);
    let (codes, trips, statements) = measured(&proxy, &desk, "under the lock", &under_lock, "each");
    assert_eq!((codes, trips, statements), (vec!["ok".to_owned()], 2, 5));
    for (count, first) in [(1, 1), (100, 10)] {
        let batch = named(&format!("of-{count}"), first, count);
        let what = format!("a group of {count} requests");
        let (codes, trips, statements) = measured(&proxy, &desk, &what, &batch, "all");
        assert_eq!(codes, vec!["ok"; count]);
        assert_eq!(trips, 2, "all that a request needs is known beforehand");
        assert_eq!(statements, 2, "one that reads, and one that appends");
    }
    let approval = desk.sign("boris", desk.approval("of-1-0"));
    let (codes, trips, _) = measured(&proxy, &desk, "an approval", &[approval], "each");
    assert_eq!(codes, ["ok"]);
    assert_eq!(trips, 2, "all that a first approval needs is known beforehand");
    drop(service);
    prove(&mut world);
}

/// What a group needs is looked at without a lock, and where that takes too long, under it.
#[test]
fn a_look_that_hangs_is_not_waited_for() {
    let mut world = town("25000.00", 4);
    let (proxy, service, desk) = proxied(&mut world, Settings::default());
    let names = [0, 1, 2, 3].map(|number| (format!("d{number}"), format!("case-{number}")));
    let sent = requests(&desk, desk.basis(), &names);
    let accepted = |record: &Verified, what: &str| {
        let (codes, trips, statements) = measured(&proxy, &desk, what, std::slice::from_ref(record), "each");
        assert_eq!(codes, ["ok"]);
        (trips, statements)
    };
    accepted(&sent[0], "the first");
    assert_eq!(accepted(&sent[1], "as always"), (2, 2));
    proxy.freeze_looks(true);
    let (_, statements) = accepted(&sent[2], "looks that hang");
    assert!(statements >= 5, "under the lock: {statements}");
    proxy.freeze_looks(false);
    accepted(&sent[3], "looks that do not");
    drop(service);
    prove(&mut world);
}

#[test]
fn a_connection_that_breaks_at_the_commit_loses_and_repeats_nothing() {
    let mut world = World::new();
    let (proxy, service, desk) = proxied(&mut world, Settings::default());
    for (name, point) in [("b1", Break::BeforeCommit), ("b2", Break::AfterCommit)] {
        let (record, before) = (bank(&desk, name), size(&world));
        proxy.break_at(point);
        let answer = post(&desk, &[record], "each");
        desk.accept(&answer);
        assert!(proxy.has_broken());
        // The group's record and the instruction, once.
        assert_eq!((i64::try_from(answer.position()).unwrap(), size(&world)), (before + 1, before + 2));
    }
    drop(service);
    prove(&mut world);
}

#[test]
fn what_stays_in_doubt_is_unknown_until_it_is_sent_again() {
    let mut world = World::new();
    let settings = Settings { patience: Duration::from_millis(300), ..Settings::default() };
    let (proxy, service, desk) = proxied(&mut world, settings);
    // The writer has its connection.
    desk.accept(&post(&desk, &[bank(&desk, "b0")], "each"));
    let (record, before) = (bank(&desk, "b1"), size(&world));
    // The key is known to the service before the database goes.
    let item = serde_json::json!({"attachments": [], "envelope": record.envelope()});
    let body = serde_json::json!({"instructions": [item], "mode": "each"}).to_string();
    assert_eq!(codes(&post_raw(&format!("{}/v1/instructions/check", desk.url), &body)), ["ok"]);
    let send = || post(&desk, std::slice::from_ref(&record), "each");
    proxy.break_at(Break::AfterCommit);
    proxy.close(true);
    unavailable(&send(), "outcome_unknown");
    // Still away, and nothing is in doubt any more.
    unavailable(&send(), "database_unavailable");
    proxy.close(false);
    let answer = send();
    desk.accept(&answer);
    // Its group and its record, once, and a group that keeps out what may still be on its way.
    assert_eq!((i64::try_from(answer.position()).unwrap(), size(&world)), (before + 1, before + 3));
    drop(service);
    prove(&mut world);
}
