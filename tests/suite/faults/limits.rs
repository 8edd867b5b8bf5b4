//! A clock that jumps, and no more file descriptors.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Body;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tests::replay::prove;
use tests::world::{World, policy};

use super::{instructions, is_told_to_wait};
use crate::evidence::Log;
use crate::ground::Ground;
use crate::load::{Follower, Seen, audit, send};

const YEAR_S: i64 = 365 * 24 * 3600;

#[test]
fn a_clock_that_jumps_a_year_and_comes_back_does_no_harm() {
    let settings = Settings { tick: Duration::from_millis(50), ..Settings::default() };
    let mut world = World::with(policy(), settings);
    world.fund("5000.00");
    world.offer();
    world.case("waiting", "north", true);
    // In a year it will have lapsed.
    world.ok("anna", Body::Request(world.request("d1", "waiting", "grant", "5000.00")));
    let seen = Seen::default();
    let records = instructions(&world, "case", 120);
    for (record, jump) in records.iter().zip([YEAR_S, -YEAR_S]) {
        let before = world.trace();
        world.clock.advance(jump);
        is_told_to_wait(&world, record, &["clock_suspect"]);
        thread::sleep(Duration::from_millis(300));
        world.clock.advance(-jump);
        assert_eq!(world.trace(), before, "something was written at a time that was wrong");
        send(&world.url, record, &seen);
    }
    // Back and forth while it works.
    thread::scope(|scope| {
        let (url, seen) = (&world.url, &seen);
        let sender = scope.spawn(move || records[2..].iter().for_each(|record| send(url, record, seen)));
        for jump in [YEAR_S, -YEAR_S].into_iter().cycle() {
            thread::sleep(Duration::from_millis(30));
            world.clock.advance(jump);
            thread::sleep(Duration::from_millis(10));
            world.clock.advance(-jump);
            if sender.is_finished() {
                break;
            }
        }
    });
    assert_eq!(world.get("boris", "/v1/disbursements/d1").json["stage"], "requested");
    prove(&mut world);
    world.restart();
    Log::read(&world.bundle()).holds_once(&seen.accepted());
}

#[test]
fn without_file_descriptors_clients_are_told_and_afterwards_served() {
    let mut ground = Ground::beside_a_server(None);
    let desk = ground.found();
    let (seen, mut follower) = (Seen::default(), Follower::default());
    let records = instructions(&desk, "case", 6);
    send(&desk.url, &records[0], &seen);

    let service = Pid::from_raw(i32::try_from(ground.service_pid()).unwrap()).unwrap();
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    prlimit(Some(service), Resource::Nofile, limit).unwrap();
    let address = desk.url.trim_start_matches("http://").to_owned();
    let idle: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for record in &records[1..3] {
        is_told_to_wait(&desk, record, &["overloaded"]);
    }
    // Nor can the service get its own connections back.
    for backend in ground.processes("safeconduct_service") {
        crate::ground::kill(backend, rustix::process::Signal::TERM);
    }
    thread::sleep(Duration::from_millis(1500));
    is_told_to_wait(&desk, &records[3], &["overloaded", "register_missing", "database_unavailable"]);
    drop(idle);
    for record in &records[1..] {
        send(&desk.url, record, &seen);
    }
    assert_eq!(ground.ended(), None);
    follower.check(&ground, &desk, &seen);
    audit(&desk, &seen);
}
