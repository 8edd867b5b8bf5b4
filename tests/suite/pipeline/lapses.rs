//! What ran out: in groups that have a limit, unless it is overdue by more than policy's grace.

use std::time::Duration;

use disbursement_api::pipeline::Settings;
use records::Body;
use records::disbursements::Request;
use records::governance::Policy;
use records::scalar::Integer;
use tests::replay::prove;
use tests::wait::until;
use tests::world::{World, policy};

use super::{codes, furnish, post, requests, size};

const DAY_S: i64 = 24 * 3600;

fn lapsed(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM disbursements WHERE stage = 'lapsed'";
    world.database.superuser().query_one(sql, &[]).unwrap().get(0)
}

/// Requests of the grant for the first cases, which run out in this many seconds.
fn expiring(world: &World, count: usize, in_s: u64) {
    let basis = world.basis();
    let expires = world.clock.now().plus(in_s).unwrap();
    let sign = |n: usize| {
        let request = world.request(&format!("d{n}"), &format!("case-{n}"), "grant", "5000.00");
        world.sign_on(basis, "anna", Body::Request(Request { expires, ..request }))
    };
    world.accept(&post(world, &(0..count).map(sign).collect::<Vec<_>>(), "all"));
}

#[test]
fn what_ran_out_lapses_in_small_groups_and_is_forgotten() {
    let settings = Settings { tick: Duration::from_millis(100), lapse_limit: 2, ..Settings::default() };
    let mut world = World::with(policy(), settings);
    furnish(&world, "25000.00", 6);
    expiring(&world, 5, 10 * 24 * 3600);
    let more = requests(&world, world.basis(), &[("d5", "case-5")]);
    assert_eq!(codes(&post(&world, &more, "each")), ["insufficient_funds"]);
    world.ok("boris", world.approval("d0"));
    // Day by day, as no clock may be further ahead than policy's gap; each day has its group.
    for _ in 0..9 {
        let before = size(&world);
        world.clock.advance(DAY_S + 1);
        until("the day's group", || size(&world) > before);
        assert_eq!(lapsed(&world), 0);
    }
    let before = size(&world);
    world.clock.advance(DAY_S + 60);
    until("the lapses", || lapsed(&world) == 5);
    // Three groups, and five lapses with an entry each.
    assert_eq!(size(&world), before + 3 + 2 * 5);
    // What is void is no longer remembered; only the founding lives for so long.
    let sql = "SELECT array_agg(position) FROM instructions";
    let remembered: Vec<i64> = world.database.superuser().query_one(sql, &[]).unwrap().get(0);
    assert_eq!(remembered, [0]);
    prove(&mut world);
}

/// All that is overdue by more than policy's grace goes into the next group, whatever the limit.
#[test]
fn what_is_overdue_does_not_wait_for_the_limit() {
    let settings = Settings { tick: Duration::from_secs(3600), lapse_limit: 1, ..Settings::default() };
    let mut world = World::with(Policy { lapse_grace_s: Integer(3600), ..policy() }, settings);
    furnish(&world, "15000.00", 4);
    expiring(&world, 3, 3600);
    world.clock.advance(3 * 3600);
    assert_eq!(lapsed(&world), 0);
    // The money of one of them is what this needs.
    let next = requests(&world, world.basis(), &[("d3", "case-3")]);
    world.accept(&post(&world, &next, "each"));
    assert_eq!(lapsed(&world), 3);
    prove(&mut world);
}
