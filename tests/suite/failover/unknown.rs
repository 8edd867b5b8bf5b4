//! A wait for the standby that was cut short: nothing is acknowledged, and nothing is signed, until it is known to be on a
//! standby.

use std::thread;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use signing::digest::Digest;
use store::register;
use tests::cluster::{runtime, say};
use tests::service::{Clock, Service, register as register_path};
use tests::wait::until;
use tests::world::{Desk, opening, policy};

use crate::evidence::{Log, verified};

use super::ground::Pair;

#[test]
fn a_head_that_no_standby_has_is_never_signed() {
    let pair = Pair::start();
    let (register, clock) = (register_path(), Clock::default());
    let settings = Settings {
        patience: Duration::from_secs(1),
        receipt_wait: Duration::from_secs(2),
        ..Settings::default()
    };
    let databases = pair.databases(&[&pair.a, &pair.b]);
    let service = Service::over(runtime(), databases, &register, &clock, settings, |_| {});
    let mut desk = Desk { url: service.url.clone(), clock, ledger: Digest::of("none yet") };
    desk.found(policy());
    desk.offer();
    let size = || pair.a.psql("SELECT size FROM head").parse::<u64>().unwrap();
    let signed = || register::read(&register).unwrap().unwrap().size;
    let before = size();
    until("the last head", || signed() == before);
    let record = desk.sign("anna", opening("case-1", "north"));
    let send = || desk.post(&[record.envelope().clone()], "each");

    // The standby is gone, and the primary waits for it; then the wait is cancelled, again and again.
    pair.b.kill();
    thread::scope(|scope| {
        let answer = scope.spawn(send);
        let appends = |(_, query): &(i32, String)| query == "COMMIT" || query.contains("append_group");
        until("a wait", || pair.a.waiting().iter().any(appends));
        assert_eq!(size(), before);
        // Who only reads does not wait with it.
        assert_eq!(desk.get("karl", "/v1/checkpoint").status, 200);
        let mut rounds = 0;
        while !answer.is_finished() {
            for (pid, query) in pair.a.waiting() {
                // Either way of ending a wait leaves what it was for in the log.
                let function = if rounds % 2 == 0 { "pg_cancel_backend" } else { "pg_terminate_backend" };
                pair.a.psql(&format!("SELECT {function}({pid})"));
                say(&format!("{function} of {query}"));
                rounds += 1;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let answer = answer.join().unwrap();
        assert!(["outcome_unknown", "request_timeout"].contains(&answer.code()), "{}", answer.text);
        assert!(rounds > 2);
    });
    // It is in the log of the primary, for everybody to see, and nowhere else.
    assert_eq!(size(), before + 2);
    let is_unsigned = || {
        let asks = |(_, query): &(i32, String)| query.contains("pg_logical_emit_message");
        until("the publisher's wait", || pair.a.waiting().iter().any(asks));
        assert_eq!(signed(), before);
        assert_eq!(pair.a.psql("SELECT max(size) FROM checkpoints"), before.to_string());
    };
    is_unsigned();
    // A crash of the primary makes it no different: it is there after the recovery.
    pair.a.kill();
    pair.a.revive();
    assert_eq!(size(), before + 2);
    is_unsigned();

    // And then the primary is lost. What was not acknowledged is lost with it, no fork, and it can be sent again.
    pair.a.kill();
    pair.b.revive();
    pair.b.run("Promotion");
    until("an answer", || {
        let answer = send();
        assert!(answer.status == 200 || answer.json["transient"] == true, "{}", answer.text);
        answer.json["results"][0]["status"] == "accepted"
    });
    let answer = send();
    assert_eq!(answer.position(), before + 1);
    let bundle = desk.bundle();
    verified(&bundle, desk.ledger);
    assert_eq!(Log::read(&bundle).digests.len() as u64, before + 2);
    assert_eq!(register::read(&register).unwrap().unwrap().epoch.timeline, 2);
}

/// Where nothing is new, nothing waits for a standby that is gone: what was accepted before has its receipt, and a service stops.
#[test]
fn what_is_published_needs_no_standby_any_more() {
    let pair = Pair::start();
    let (register, clock) = (register_path(), Clock::default());
    let start = || {
        let settings = Settings { receipt_wait: Duration::from_secs(5), ..Settings::default() };
        let databases = pair.databases(&[&pair.a, &pair.b]);
        Service::over(runtime(), databases, &register, &clock, settings, |_| {})
    };
    let service = start();
    let mut desk = Desk { url: service.url.clone(), clock: clock.clone(), ledger: Digest::of("none yet") };
    desk.found(policy());
    desk.offer();
    let record = desk.sign("anna", opening("case-1", "north"));
    let first = desk.post(&[record.envelope().clone()], "each");
    desk.accept(&first);
    pair.b.kill();
    drop(service);
    let again = start();
    let answer = desk.at(&again.url).post(&[record.envelope().clone()], "each");
    assert_eq!(
        (answer.position(), &answer.json["checkpoint"]),
        (first.position(), &first.json["checkpoint"])
    );
    assert!(answer.json["checkpoint"].is_string(), "{}", answer.text);
    // Longer than a connection of the publisher's gets old.
    std::thread::sleep(Duration::from_secs(6));
    assert!(pair.a.waiting().is_empty(), "{:?}", pair.a.waiting());
    drop(again);
}
