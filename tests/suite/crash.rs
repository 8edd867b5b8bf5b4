//! The program itself under kill -9, with a PostgreSQL of its own or beside one: whoever is killed, and whenever, what was
//! acknowledged is never lost, nothing is ever doubled, no size of the log ever has two signed heads, and the service
//! comes back. `CRASH_SEED` repeats the choices of a run, and `CRASH_KILLS` says how many there are (`make soak`).

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};
use tests::cluster::say;
use tests::world::get_unsigned;

use crate::choices::Choices;
use crate::ground::{Ground, PAUSE, UP_LIMIT, kill};
use crate::load::{Follower, Seen, audit, client};

const CLIENTS: u64 = 3;
/// Every kill is followed by the checks of a moment, and so many by an audit of the whole.
const KILLS_AN_AUDIT: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Service,
    Postmaster,
    Both,
    /// One process of the server that serves the service.
    Backend,
    /// Any other process of the server.
    Helper,
}

impl Victim {
    const ALL: [Victim; 5] =
        [Victim::Service, Victim::Postmaster, Victim::Both, Victim::Backend, Victim::Helper];
}

/// Kills, and leaves a service that answers: started again only where it was killed, or where its own server was.
fn strike(ground: &mut Ground, victim: Victim, choices: &mut Choices) {
    let is_beside = ground.is_beside();
    if matches!(victim, Victim::Postmaster | Victim::Both) {
        kill(ground.postmaster().expect("a postmaster"), Signal::KILL);
    }
    if matches!(victim, Victim::Service | Victim::Both) {
        ground.kill_service();
    }
    match victim {
        Victim::Backend | Victim::Helper => {
            let backends = ground.processes("safeconduct_service");
            let mut victims = backends.clone();
            if victim == Victim::Helper {
                victims = ground.processes("");
                victims.retain(|pid| !backends.contains(pid));
            }
            assert!(!victims.is_empty(), "{victim:?}: there is none");
            kill(victims[choices.index(victims.len())], Signal::KILL);
            // The server recovers by itself, and the service with it.
            let deadline = Instant::now() + UP_LIMIT;
            while ground.processes("safeconduct_service").iter().any(|pid| backends.contains(pid)) {
                assert!(Instant::now() < deadline, "the server's other processes go on");
                thread::sleep(PAUSE);
            }
            return ground.wait_up();
        }
        // Without a server of its own the service says so, and ends.
        Victim::Postmaster if !is_beside => {
            let status = ground.wait_end();
            assert!(status.code().is_some_and(|code| code != 0), "{status}: {}", ground.log());
            assert!(ground.log().contains("the database's server ended"), "{}", ground.log());
        }
        Victim::Postmaster => {
            thread::sleep(Duration::from_millis(choices.below(700)));
            ground.start_server();
            return ground.wait_up();
        }
        Victim::Both if is_beside => {
            ground.start_server();
        }
        Victim::Service | Victim::Both => {}
    }
    ground.start();
    if choices.below(2) == 0 {
        // It may also be killed while it recovers.
        thread::sleep(Duration::from_millis(choices.below(700)));
        ground.kill_service();
        ground.start();
    }
    ground.wait_up();
}

/// Each victim as often as any other, in any order.
fn victims(choices: &mut Choices) -> Vec<Victim> {
    let asked = std::env::var("CRASH_KILLS").ok().map(|count| count.parse().unwrap());
    let count = asked.unwrap_or(Victim::ALL.len());
    let mut victims: Vec<Victim> = Victim::ALL.into_iter().cycle().take(count).collect();
    for last in (1..victims.len()).rev() {
        victims.swap(last, choices.index(last + 1));
    }
    victims
}

fn nothing_is_lost(mut ground: Ground) {
    let mut choices = Choices::from_env("CRASH_SEED");
    let desk = ground.found();
    let (basis, seen, mut follower) = (desk.basis(), Seen::default(), Follower::default());
    let victims = victims(&mut choices);
    thread::scope(|scope| {
        let _watch = seen.watch();
        for number in 0..CLIENTS {
            let (desk, seen) = (&desk, &seen);
            scope.spawn(move || client(desk, basis, &number.to_string(), seen));
        }
        for (victim, count) in victims.into_iter().zip(1..) {
            thread::sleep(Duration::from_millis(choices.below(600)));
            let began = Instant::now();
            strike(&mut ground, victim, &mut choices);
            seen.wait_for_more(&ground);
            let after = began.elapsed();
            let size = follower.check(&ground, &desk, &seen);
            if count % KILLS_AN_AUDIT == 0 {
                audit(&desk, &seen);
            }
            say(&format!("kill {count}, {victim:?}: went on after {after:?}; {size} records hold"));
        }
        seen.end();
    });

    let size = follower.check(&ground, &desk, &seen);
    let log = audit(&desk, &seen);
    // Everybody has his receipt, so the last head is signed.
    assert_eq!(log.digests.len(), size);
    say(&format!(
        "{} instructions were accepted, and {} records hold",
        seen.accepted().len(),
        log.digests.len()
    ));
    // In order, it ends with success, and leaves no server of its own behind.
    let postmaster = ground.postmaster().unwrap();
    kill(ground.service_pid(), Signal::TERM);
    assert!(ground.wait_end().success(), "{}", ground.log());
    let postmaster = Pid::from_raw(i32::try_from(postmaster).unwrap()).unwrap();
    assert_eq!(test_kill_process(postmaster).is_ok(), ground.is_beside(), "PostgreSQL still runs");
}

#[test]
fn nothing_is_lost_whoever_is_killed() {
    nothing_is_lost(Ground::with_keys());
}

#[test]
fn nothing_is_lost_beside_a_server_whoever_is_killed() {
    nothing_is_lost(Ground::beside_a_server(None));
}

#[test]
fn a_first_start_that_is_cut_short_is_begun_again() {
    let mut choices = Choices::from_env("FIRST_START_SEED");
    let mut ground = Ground::bare();
    for _ in 0..6 {
        ground.start();
        // From the first file to an answer it takes about as long as this.
        thread::sleep(Duration::from_millis(choices.below(2500)));
        let ended = ground.ended();
        assert!(ended.is_none(), "{ended:?}: {}", ground.log());
        ground.kill_service();
    }
    ground.start();
    ground.wait_up();
    let keys = get_unsigned(&ground.url(), "/v1/service").text;
    ground.kill_service();
    ground.start();
    ground.wait_up();
    assert_eq!(get_unsigned(&ground.url(), "/v1/service").text, keys);
}
