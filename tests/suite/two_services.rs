//! Two services on one database and one register: both take instructions, one signs heads, and the other is ready to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use records::cases::CaseOpening;
use records::disbursements::Cancellation;
use records::{Body, Verified};
use signing::digest::Digest;
use store::register::{Register, RegisterError, read};
use tests::service::Service;
use tests::world::{Answer, Desk, World, id, new_life};

use crate::evidence::{Heads, Log, checkpoint, verified};

/// Another service of a ledger.
fn another(world: &World) -> (Service, Desk) {
    let service = Service::start(&world.database, &world.register, &world.clock);
    let desk = world.at(&service.url);
    (service, desk)
}

fn opening(case: &str) -> Body {
    Body::CaseOpening(CaseOpening {
        agency: id("north"),
        agency_ref: id(&format!("{case}-ref")),
        case: id(case),
        entered: id("2026-03-01"),
        offer: new_life(),
    })
}

/// An accepted answer's position; its checkpoint covers it.
#[track_caller]
fn receipt(answer: &Answer) -> u64 {
    assert_eq!(answer.json["results"][0]["status"], "accepted", "{}", answer.text);
    let covered = checkpoint(answer.json["checkpoint"].as_str().unwrap()).size;
    assert!(covered > answer.position(), "{}", answer.text);
    answer.position()
}

fn is_held(register: &Path) -> bool {
    matches!(Register::open(register), Err(RegisterError::Held(_)))
}

#[test]
fn both_take_instructions_and_each_is_in_the_log_once() {
    let world = World::new();
    world.offer();
    let (_other, other_desk) = another(&world);
    let basis = world.basis();
    let accepted = Mutex::new(BTreeMap::new());
    let heads = Mutex::new(Heads::default());
    let work = |desk: &Desk, thread: usize| {
        for n in 0..15 {
            let record = desk.sign_on(basis, "anna", opening(&format!("case-{thread}-{n}")));
            let answer = desk.post(&[record.envelope().clone()], "each");
            let position = receipt(&answer);
            heads.lock().unwrap().see(answer.json["checkpoint"].as_str().unwrap());
            assert_eq!(accepted.lock().unwrap().insert(record.digest(), position), None);
            // The other service knows it as well, and as the same.
            let elsewhere = if desk.url == world.url { &other_desk } else { &*world };
            if n % 5 == 0 {
                let again = elsewhere.post(&[record.envelope().clone()], "each");
                assert_eq!(receipt(&again), position);
            }
        }
    };
    thread::scope(|scope| {
        for index in 0..6 {
            let (work, desk) = (&work, if index % 2 == 0 { &*world } else { &other_desk });
            scope.spawn(move || work(desk, index));
        }
    });

    let (accepted, mut heads) = (accepted.into_inner().unwrap(), heads.into_inner().unwrap());
    assert_eq!(accepted.len(), 90);
    for desk in [&*world, &other_desk] {
        let bundle = desk.bundle();
        verified(&bundle, world.ledger);
        let log = Log::read(&bundle);
        log.holds_once(&accepted);
        heads.see(&log.note);
        assert_eq!(heads.are_of(&log.roots), log.digests.len() as u64);
    }
}

#[test]
fn one_publishes_and_when_it_stops_the_other_does() {
    let mut world = World::new();
    world.offer();
    assert!(is_held(&world.register));
    let (mut second, second_desk) = another(&world);
    receipt(&second_desk.send("anna", opening("by-the-second")));

    // The one that waits can go, and nothing changes: the first still holds the register.
    second.stop();
    assert!(is_held(&world.register));
    receipt(&world.send("anna", opening("after-the-second")));

    let (mut third, third_desk) = another(&world);
    receipt(&third_desk.send("anna", opening("by-the-third")));
    world.service.stop();
    // Receipts go on, signed by the other.
    receipt(&third_desk.send("anna", opening("after-the-first")));
    assert!(is_held(&world.register));
    let bundle = third_desk.bundle();
    verified(&bundle, world.ledger);
    third.stop();
    assert!(!is_held(&world.register));

    let state = read(&world.register).unwrap().unwrap();
    let (log, mut heads) = (Log::read(&bundle), Heads::default());
    assert_eq!(heads.see(&state.checkpoint), state.size);
    let sql = "SELECT note FROM checkpoints ORDER BY size";
    for row in world.database.superuser().query(sql, &[]).unwrap() {
        heads.see(row.get(0));
    }
    assert_eq!(heads.are_of(&log.roots), state.size);
}

#[test]
fn while_nobody_publishes_instructions_wait_for_their_receipts() {
    let mut world = World::new();
    world.offer();
    world.service.stop();
    let held = Register::open(&world.register).unwrap();
    let (_service, desk) = another(&world);
    // It answers, after its patience, that the receipt is still to come.
    let record = desk.sign("anna", opening("without-a-publisher"));
    let pending = desk.post(&[record.envelope().clone()], "each");
    assert_eq!(pending.json["results"][0]["status"], "receipt_pending", "{}", pending.text);
    assert_eq!(pending.json["checkpoint"], serde_json::Value::Null);
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = desk.post(&[record.envelope().clone()], "each");
        assert_eq!(answer.position(), pending.position());
        if answer.json["results"][0]["status"] == "accepted" {
            receipt(&answer);
            break;
        }
        assert!(Instant::now() < deadline, "nobody took over");
    }
    verified(&desk.bundle(), world.ledger);
}

#[test]
fn the_last_money_goes_once() {
    let world = World::new();
    world.fund("5000.00");
    world.offer();
    let (_other, other_desk) = another(&world);
    for case in ["one", "two"] {
        world.case(case, "north", true);
    }
    for round in 0..6 {
        let request = |case: &str, desk: &Desk| {
            let request = desk.request(&format!("{case}-{round}"), case, "grant", "5000.00");
            desk.sign("anna", Body::Request(request))
        };
        let records = [request("one", &world), request("two", &other_desk)];
        let start = Barrier::new(2);
        let post = |desk: &Desk, record: &Verified| {
            start.wait();
            desk.post(&[record.envelope().clone()], "each")
        };
        let answers = thread::scope(|scope| {
            let first = scope.spawn(|| post(&world, &records[0]));
            let second = scope.spawn(|| post(&other_desk, &records[1]));
            [first.join().unwrap(), second.join().unwrap()]
        });
        let mut codes: Vec<&str> = answers.iter().map(Answer::code).collect();
        codes.sort_unstable();
        assert_eq!(codes, ["insufficient_funds", "ok"], "{answers:?}");
        let won = usize::from(answers[1].code() == "ok");
        receipt(&answers[won]);
        let digest: Digest = records[won].digest();
        let disbursement = id(&format!("{}-{round}", ["one", "two"][won]));
        let cancellation = Cancellation { disbursement, reason: id("again"), request: digest };
        // The money is free again, and the other service knows.
        other_desk.ok("anna", Body::Cancellation(cancellation));
    }
    let bundle = world.bundle();
    verified(&bundle, world.ledger);
    let held = world.database.superuser().query_one("SELECT sum(held)::text FROM balances", &[]).unwrap();
    assert_eq!(held.get::<_, &str>(0), "0.00");
}
