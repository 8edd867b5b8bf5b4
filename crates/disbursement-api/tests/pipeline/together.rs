//! Several at once: callers of one process, and several processes on one database.

use std::time::Instant;

use disbursement_api::pipeline::{Mode, Pipeline};
use signing::dsse::Envelope;
use store::log;

use super::fixture::{Place, Town, note, shown};

async fn submit(pipeline: Pipeline, envelope: Envelope) -> Result<u64, String> {
    let submitted = pipeline.submit(vec![Ok(envelope)], Mode::Each).await.unwrap();
    let shown = shown(&submitted.outcomes[0]);
    assert_eq!(submitted.checkpoint.is_some(), shown.is_ok());
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_free_money_is_given_once() {
    let place = Place::new().await;
    let town = Town::funded(place.clone(), "9999.00", 2).await;
    let other = place.start();
    let [one, two] = [("d0", "case-0"), ("d1", "case-1")]
        .map(|(disbursement, case)| town.sign("prep1", town.request(disbursement, case)));
    let (one, two) = tokio::join!(submit(town.pipeline.clone(), one), submit(other.clone(), two));
    let refused = [&one, &two].into_iter().filter_map(|answer| answer.as_ref().err()).collect::<Vec<_>>();
    assert_eq!(refused, ["insufficient_funds"], "{one:?} {two:?}");
    other.shutdown().await;
    town.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_append_to_one_log() {
    let place = Place::new().await;
    let cases = 120;
    let town = Town::funded(place.clone(), "1000000.00", cases).await;
    let other = place.start();
    let before = log::head(&place.admin().await).await.unwrap();
    let began = Instant::now();
    let tasks: Vec<_> = (0..cases)
        .map(|number| {
            let body = town.request(&format!("d{number}"), &format!("case-{number}"));
            let envelope = town.sign("prep1", body);
            let first = tokio::spawn(submit(town.pipeline.clone(), envelope.clone()));
            // Every third one is sent to both, and is accepted once.
            let again = (number % 3 == 0).then(|| tokio::spawn(submit(other.clone(), envelope.clone())));
            let here = if number % 2 == 0 { None } else { Some(first) };
            let there = match (&here, again) {
                (None, None) => tokio::spawn(submit(other.clone(), envelope)),
                (_, Some(again)) => again,
                (Some(_), None) => tokio::spawn(async { Ok(u64::MAX) }),
            };
            (here, there)
        })
        .collect();
    for (here, there) in tasks {
        let there = there.await.unwrap().unwrap();
        if let Some(here) = here {
            let here = here.await.unwrap().unwrap();
            assert!(there == u64::MAX || there == here);
        }
    }
    let admin = place.admin().await;
    let accepted: i64 = admin
        .query_one("SELECT count(*) FROM disbursements WHERE stage = 'requested'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(accepted, cases as i64);
    let after = log::head(&admin).await.unwrap();
    let groups = after.size - before.size - 2 * cases as u64;
    note(format_args!("{cases} requests over two processes: {groups} groups, {:?}", began.elapsed()));
    other.shutdown().await;
    town.prove().await;
}
