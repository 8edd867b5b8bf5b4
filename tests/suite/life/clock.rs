//! The service's clock: far from the ledger's time, nothing is written until it is right or was confirmed.

use disbursement_api::pipeline::Settings;
use records::Body;
use tests::service::Service;
use tests::world::{World, policy};

use super::{furnish, prove, quick, request, town, wait_for};

const HOUR_S: i64 = 3600;

/// Writing is refused, for this reason, and leaves nothing behind.
#[track_caller]
fn writes_nothing(world: &World) {
    let before = world.trace();
    let wish = Body::Request(world.request("d1", "c1", "grant", "5000.00"));
    let record = world.sign("anna", wish);
    for mode in ["each", "all"] {
        let answer = world.post(&[record.envelope().clone()], mode);
        assert_eq!((answer.status, answer.code()), (503, "clock_suspect"), "{}", answer.text);
        assert_eq!(answer.json["transient"], true);
        let wait_s: u64 = answer.headers["retry-after"].parse().unwrap();
        assert!((1..60).contains(&wait_s));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    assert_eq!(world.trace(), before);
}

#[test]
fn a_clock_that_is_behind_writes_nothing_until_it_is_right() {
    let world = town("5000.00");
    // The last group is later than the start, so that there is something to go back to.
    world.clock.advance(HOUR_S);
    world.case("c2", "north", true);
    world.clock.advance(-70);
    writes_nothing(&world);
    world.clock.advance(-HOUR_S / 2);
    writes_nothing(&world);
    // Within policy's skew it is right: the group's time does not go back.
    world.clock.advance(HOUR_S / 2 + 30);
    world.case("c3", "north", true);
    world.clock.advance(40);
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    prove(&world);
}

#[test]
fn a_clock_that_is_far_ahead_writes_nothing_until_it_is_right() {
    let world = town("5000.00");
    world.clock.advance(49 * HOUR_S);
    writes_nothing(&world);
    world.clock.advance(-49 * HOUR_S);
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    prove(&world);
}

#[test]
fn a_clock_that_was_far_ahead_and_is_right_has_to_be_confirmed() {
    let mut world = town("5000.00");
    // Nobody was here for a week.
    world.clock.advance(7 * 24 * HOUR_S);
    writes_nothing(&world);
    world.restart();
    writes_nothing(&world);
    world.service.stop();
    let settings = Settings { confirm_clock: Some(world.clock.now()), ..quick() };
    let confirmed = Service::with(&world.database, &world.register, &world.clock, settings);
    let desk = world.at(&confirmed.url);
    // The service itself writes the day's group, and with it there is a basis that is not too old.
    let size = desk.basis().size;
    wait_for("the day's group", || desk.basis().size > size);
    desk.ok("anna", Body::Request(desk.request("d1", "c1", "grant", "5000.00")));
    crate::evidence::verified(&desk.bundle(), desk.ledger);
}

#[test]
fn a_quiet_ledger_writes_a_group_a_day() {
    let world = World::with(policy(), quick());
    furnish(&world, "5000.00");
    let size = world.basis().size.0;
    world.clock.advance(23 * HOUR_S);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(world.basis().size.0, size);
    for day in 1..=4 {
        world.clock.advance(if day == 1 { HOUR_S + 60 } else { 24 * HOUR_S + 60 });
        wait_for("the day's group", || world.basis().size.0 == size + day);
    }
    request(&world, world.request("d1", "c1", "grant", "5000.00"));
    prove(&world);
}
