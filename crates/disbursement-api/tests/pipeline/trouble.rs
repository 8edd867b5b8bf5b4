//! What happens when the database, the clock or the network fail.

use std::time::Duration;

use disbursement_api::pipeline::{Mode, Unavailable};
use records::Body;
use records::governance::Acceptance;

use super::fixture::{Place, Town, note, prove, shown};
use super::proxy::{Break, Proxy};

fn proxied(place: &Place) -> Proxy {
    Proxy::start(place.dir(), place.server_socket())
}

/// The budget that the pipeline's documentation states.
#[tokio::test(flavor = "multi_thread")]
async fn round_trips_of_a_group() {
    let place = Place::new().await;
    let mut town = Town::funded(place.clone(), "1000000.00", 110).await;
    town.pipeline.shutdown().await;
    let proxy = proxied(&place);
    // The process under test is a second one; without the register it publishes as well.
    town.pipeline = place.through(proxy.dir()).start();
    let first = town.request("d-first", "case-0");
    town.accepts("prep1", first).await;

    let again = town.sign("prep1", town.request("d-again", "case-0"));
    let before = proxy.counted();
    assert_eq!(town.submit(vec![again], Mode::Each).await, [Err("obligation_exists".to_owned())]);
    let (trips, statements) = delta(before, proxy.counted());
    note(format_args!("nothing accepted: {trips} round trips, {statements} statements"));

    for (count, first) in [(1, 1), (100, 10)] {
        let batch: Vec<_> = (0..count)
            .map(|number| {
                let body = town.request(&format!("d{count}-{number}"), &format!("case-{}", first + number));
                town.sign("prep1", body)
            })
            .collect();
        let before = proxy.counted();
        let answers = town.submit(batch, Mode::All).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let (trips, statements) = delta(before, proxy.counted());
        note(format_args!("a group of {count} requests: {trips} round trips, {statements} statements"));
        assert!(trips <= 3, "{trips}");
        assert!(statements <= 16, "{statements}");
    }
    let approval = town.approval("d1-0").await;
    let before = proxy.counted();
    town.accepts("app1", approval).await;
    let (trips, statements) = delta(before, proxy.counted());
    note(format_args!("an approval: {trips} round trips, {statements} statements"));
    assert!(trips <= 3, "{trips}");
    town.prove().await;
}

fn delta(before: (u64, u64), after: (u64, u64)) -> (u64, u64) {
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_at_the_commit_loses_and_repeats_nothing() {
    for point in [Break::BeforeCommit, Break::AfterCommit] {
        let place = Place::new().await;
        let proxy = proxied(&place);
        let mut town = Town::founded(place.through(proxy.dir())).await;
        proxy.break_at(point);
        assert_eq!(town.send("c2", Body::Acceptance(Acceptance {})).await, Ok(2));
        let state = town.prove().await;
        assert_eq!(state.entities().filter(|(key, _)| matches!(key, programme::Key::Head(_))).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_doubt_is_unknown_until_it_is_sent_again() {
    let place = Place::new().await;
    let proxy = proxied(&place);
    let through = place.through(proxy.dir()).with(|settings| settings.patience = Duration::from_millis(300));
    let mut town = Town::founded(through).await;
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    // The key is known to the process before the database goes.
    assert!(town.pipeline.check(vec![Ok(acceptance.clone())]).await.is_ok());
    proxy.break_at(Break::AfterCommit);
    proxy.close(true);
    let submit = |town: &Town| {
        let (pipeline, envelope) = (town.pipeline.clone(), acceptance.clone());
        async move { pipeline.submit(vec![Ok(envelope)], Mode::Each).await }
    };
    assert_eq!(submit(&town).await.unwrap_err(), Unavailable::Unknown);
    // Still away, and nothing is in doubt any more.
    assert_eq!(submit(&town).await.unwrap_err(), Unavailable::Database);
    proxy.close(false);
    // A connection of the look-ups may be a broken one; the caller is told, and sends it again.
    assert_eq!(town.submit(vec![acceptance.clone()], Mode::Each).await, [Ok(2)]);
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_clock_writes_nothing_until_it_is_confirmed() {
    let place = Place::new().await;
    let mut town = Town::founded(place.clone()).await;
    let acceptance = |town: &Town| town.sign("c2", Body::Acceptance(Acceptance {}));
    let refuses = async |town: &Town| {
        let submitted = town.pipeline.submit(vec![Ok(acceptance(town))], Mode::Each).await;
        assert_eq!(submitted.unwrap_err(), Unavailable::ClockSuspect);
        let checked = town.pipeline.check(vec![Ok(acceptance(town))]).await;
        assert_eq!(checked.unwrap_err(), Unavailable::ClockSuspect);
    };
    place.move_clock(-61);
    refuses(&town).await;
    place.move_clock(61 + 48 * 3600 + 1);
    refuses(&town).await;
    town.pipeline.shutdown().await;
    let now = place.now();
    town.pipeline = place.with(|settings| settings.confirm_clock = Some(now)).start();
    assert_eq!(town.send("c2", Body::Acceptance(Acceptance {})).await, Ok(2));
    // Once is once.
    place.move_clock(48 * 3600 + 1);
    refuses(&town).await;
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_out_lapses_and_frees_its_money() {
    let place = Place::new().await.with(|settings| {
        settings.tick = Duration::from_millis(100);
        settings.lapse_limit = 2;
    });
    let mut town = Town::funded(place.clone(), "25000.00", 6).await;
    for number in 0..5 {
        let body = town.request(&format!("d{number}"), &format!("case-{number}"));
        town.accepts("prep1", body).await;
    }
    let more = town.request("d5", "case-5");
    assert_eq!(town.send("prep1", more).await, Err("insufficient_funds".to_owned()));
    let approval = town.approval("d0").await;
    town.accepts("app1", approval).await;
    // Day by day, as no clock may be further ahead than policy's gap; each day has its group.
    for _ in 0..10 {
        place.move_clock(86_400);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    place.move_clock(10);
    let admin = place.admin().await;
    let lapsed = async || {
        let sql = "SELECT count(*) FROM disbursements WHERE stage = 'lapsed'";
        admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    for _ in 0..50 {
        if lapsed().await == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lapsed().await, 5);
    // What is void is no longer remembered; only the founding lives for so long.
    let sql = "SELECT array_agg(position) FROM instructions";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, Vec<i64>>(0), [0]);
    let sql = "SELECT count(*) FROM records WHERE kind = 1";
    let groups: i64 = admin.query_one(sql, &[]).await.unwrap().get(0);
    note(format_args!("{groups} groups"));
    town.prove().await;
}

/// All that is overdue by more than policy's grace goes into the next group, whatever the limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_overdue_does_not_wait_for_the_limit() {
    let place = Place::new().await.with(|settings| settings.lapse_limit = 1);
    let mut town = Town::funded(place.clone(), "25000.00", 4).await;
    let batch: Vec<_> = (0..3)
        .map(|number| {
            let body = town.request(&format!("d{number}"), &format!("case-{number}"));
            let Body::Request(mut request) = body else { panic!("a request") };
            request.expires = place.now().plus(3600).unwrap();
            town.sign("prep1", Body::Request(request))
        })
        .collect();
    assert!(town.submit(batch, Mode::All).await.iter().all(Result::is_ok));
    place.move_clock(3 * 3600);
    let body = town.request("d3", "case-3");
    town.accepts("prep1", body).await;
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let place = Place::new().await.with(|settings| settings.queue_limit = 2);
    let mut town = Town::founded(place).await;
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    let three = vec![Ok(acceptance.clone()); 3];
    let full = town.pipeline.submit(three, Mode::Each).await;
    assert_eq!(full.unwrap_err(), Unavailable::QueueFull);
    assert_eq!(town.submit(vec![acceptance; 2], Mode::Each).await, [Ok(2), Ok(2)]);
    town.prove().await;
}

/// What the rules allow and the database does not is a fault of the service: it fails alone, and it is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_the_database_refuses_fails_alone() {
    let place = Place::new().await;
    let mut town = Town::funded(place.clone(), "25000.00", 2).await;
    let admin = place.admin().await;
    // Money that the entities do not know of: the proofs will not hold for anything that touches this fund.
    let sql = "ALTER TABLE fund_totals ADD CONSTRAINT none CHECK (code <> 7210 OR held < 5000.01)";
    admin.batch_execute(sql).await.unwrap();
    let envelopes: Vec<_> = [("d0", "case-0"), ("d1", "case-1")]
        .map(|(disbursement, case)| town.sign("prep1", town.request(disbursement, case)))
        .into();
    let one = town.pipeline.submit(vec![Ok(envelopes[0].clone())], Mode::Each);
    let other = town.pipeline.submit(vec![Ok(envelopes[1].clone())], Mode::Each);
    let (one, other) = tokio::join!(one, other);
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(one.clone().err().or(other.clone().err()), Some(Unavailable::Internal));
    let accepted = one.or(other).unwrap();
    assert!(accepted.outcomes.iter().all(|outcome| shown(outcome).is_ok()));
    admin.batch_execute("ALTER TABLE fund_totals DROP CONSTRAINT none").await.unwrap();
    assert!(town.submit(envelopes, Mode::Each).await.iter().all(Result::is_ok));
    town.pipeline.shutdown().await;
    prove(&place, town.ledger).await;
}
