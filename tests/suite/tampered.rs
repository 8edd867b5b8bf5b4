//! A real ledger, changed by somebody who has its database as a superuser, its files, or a bundle on its way. What was
//! not signed for is either never signed over, or refuted by whoever replays the log.

mod bundle;
mod log;
mod roles;
mod state;

use std::path::Path;
use std::time::{Duration, Instant};

use disbursement_api::pipeline::Settings;
use records::cases::CaseOpening;
use records::{Body, Verified};
use tests::cluster::Database;
use tests::service::{Clock, Service};
use tests::world::{Answer, Desk, World, id, new_life};

/// A ledger with money, an offer, a cleared case `c1` of north's and `c2` of south's, and a bonus requested for `c1`.
pub fn town() -> World {
    let world = World::new();
    world.fund("200000.00");
    world.offer();
    world.case("c1", "north", true);
    world.case("c2", "south", true);
    world.ok("anna", Body::Request(world.request("d1", "c1", "bonus", "100000.00")));
    world
}

/// A service that does not wait long for what will not come.
pub fn impatient(database: &Database, register: &Path, clock: &Clock) -> Service {
    let limit = Duration::from_secs(1);
    let settings = Settings { receipt_wait: limit, ..Settings::default() };
    Service::adjusted(database, register, clock, settings, |interface| {
        interface.limits.bundle_timeout = limit
    })
}

/// Does as a superuser does; it must find something to do.
#[track_caller]
pub fn change(world: &World, sql: &str) {
    let changed =
        world.database.superuser().execute(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(changed > 0, "{sql}");
}

/// Another case of north's.
pub fn opening(desk: &Desk, case: &str) -> Verified {
    let opening = CaseOpening {
        agency: id("north"),
        agency_ref: id(&format!("{case}-ref")),
        case: id(case),
        entered: id("2026-03-01"),
        offer: new_life(),
    };
    desk.sign("anna", Body::CaseOpening(opening))
}

pub fn post(desk: &Desk, record: &Verified) -> Answer {
    desk.post(&[record.envelope().clone()], "each")
}

/// Within a few seconds nothing is taken any more, for this reason, and until then nothing gets a receipt.
#[track_caller]
pub fn stops(desk: &Desk, record: &Verified, code: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = post(desk, record);
        if answer.status == 503 {
            assert_eq!(answer.code(), code, "{}", answer.text);
            assert!(answer.headers.contains_key("retry-after"));
            return;
        }
        assert_eq!(answer.json["results"][0]["status"], "receipt_pending", "{}", answer.text);
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
}
