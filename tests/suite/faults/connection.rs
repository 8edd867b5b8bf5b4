//! The connections to the database, through a proxy that cuts them.

use std::time::Duration;

use disbursement_api::app;
use disbursement_api::pipeline::Settings;
use rustix::process::Signal;
use tests::cluster::say;
use tests::proxy::{Proxy, Way};
use tests::replay::prove;
use tests::service::Service;
use tests::world::World;

use super::{instructions, is_told_to_wait};
use crate::choices::Choices;
use crate::evidence::Log;
use crate::ground::kill;
use crate::load::{Seen, send};

/// Every connection (the writer's, the publisher's, the pools') is cut in the middle of every message that accepting one
/// instruction takes, to the server and from it: so also after `COMMIT` was sent and before its answer, with either
/// outcome. A sample of the messages, or with `FAULT_POINTS=all` (`make soak`) every one.
#[test]
fn a_connection_may_be_lost_at_any_message() {
    let mut choices = Choices::from_env("FAULT_SEED");
    let is_whole = std::env::var("FAULT_POINTS").is_ok_and(|points| points == "all");
    let mut world = World::new();
    world.offer();
    world.service.stop();
    let proxy = Proxy::start();
    let database = world.database.through(proxy.dir());
    let service = Service::with(&database, &world.register, &world.clock, Settings::default());
    let desk = world.at(&service.url);
    let mut records = instructions(&desk, "case", 400).into_iter();
    let seen = Seen::default();
    let mut next = || {
        let record = records.next().expect("as many as there are messages");
        send(&desk.url, &record, &seen);
    };
    // Every connection is made, and every key is known.
    for _ in 0..4 {
        next();
    }
    for way in [Way::ToServer, Way::ToClient] {
        let before = proxy.messages(way);
        next();
        let count = proxy.messages(way) - before;
        assert!(count > 10, "{count} messages {way:?}");
        let points: Vec<u64> =
            if is_whole { (0..count).collect() } else { (0..12).map(|_| choices.below(count)).collect() };
        say(&format!("{way:?}: cut at {} of {count} messages", points.len()));
        for point in points {
            proxy.cut(Some((way, point)));
            next();
            // What makes a conversation shorter is another's next message.
            proxy.cut(None);
            next();
        }
    }
    drop(service);
    prove(&mut world);
    world.restart();
    Log::read(&world.bundle()).holds_once(&seen.accepted());
}

/// Processes of PostgreSQL that get no time, as on a disk or a machine that hangs.
struct Frozen(Vec<u32>);

impl Frozen {
    fn now(pids: Vec<u32>) -> Frozen {
        pids.iter().for_each(|pid| kill(*pid, Signal::STOP));
        Frozen(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| kill(*pid, Signal::CONT));
    }
}

#[test]
fn while_the_server_hangs_clients_are_told_to_come_again() {
    let mut world = World::new();
    world.offer();
    world.service.stop();
    let brisk = |settings: &mut app::Settings| settings.limits.answer_timeout = Duration::from_secs(1);
    let service =
        Service::adjusted(&world.database, &world.register, &world.clock, Settings::default(), brisk);
    let (desk, seen) = (world.at(&service.url), Seen::default());
    let records = instructions(&desk, "case", 3);
    send(&desk.url, &records[0], &seen);
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'safeconduct_service'";
    let rows = world.database.superuser().query(sql, &[]).unwrap();
    let frozen = Frozen::now(rows.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect());
    for record in &records[1..] {
        is_told_to_wait(&desk, record, &["request_timeout"]);
    }
    drop(frozen);
    for record in &records[1..] {
        send(&desk.url, record, &seen);
    }
    drop(service);
    prove(&mut world);
    world.restart();
    Log::read(&world.bundle()).holds_once(&seen.accepted());
}
