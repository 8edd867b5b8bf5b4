//! Single stories on the same model, each of something that went wrong once.

use std::time::Duration;

use disbursement_api::pipeline::{Mode, Outcome, Pipeline, Submitted, Unavailable};
use records::Verified;
use tokio::time::sleep;

use super::plan::{RUNS_OUT_S, plan};
use super::server::due;
use super::storage::Outside;
use super::{simulate, start};

/// Whoever holds the register here signs nothing.
const NOBODY: u64 = 99;
/// Each story is told with the delays of several seeds.
const SEEDS: u64 = 8;
/// More than any story has.
const ALL: usize = 100;

fn told<F: Future<Output = ()>>(story: impl Fn(Outside) -> F + Copy) {
    (0..SEEDS).for_each(|seed| simulate(seed, story));
}

/// The first record of a chain: all are requests by the same person.
fn request(n: usize) -> Verified {
    plan().chains[n][0].clone()
}

async fn send(pipeline: &Pipeline, record: Verified) -> Result<Submitted, Unavailable> {
    pipeline.submit(vec![Ok(record.envelope().clone())], Mode::Each).await
}

/// Sends a record, which must be accepted at once, with a receipt; answers its position.
async fn accepted(pipeline: &Pipeline, n: usize) -> u64 {
    has_receipt(pipeline, request(n)).await
}

async fn has_receipt(pipeline: &Pipeline, record: Verified) -> u64 {
    match send(pipeline, record).await {
        Ok(Submitted { outcomes, checkpoint: Some(_) }) => match outcomes[..] {
            [Outcome::Accepted { position, .. }] => position,
            _ => panic!("{outcomes:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn runs_out(n: usize) -> Verified {
    plan().loose[n][0].clone()
}

async fn seconds(n: u64) {
    sleep(Duration::from_secs(n)).await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

fn size(outside: &Outside, server: usize) -> u64 {
    outside.lock().servers[server].head.size
}

/// The positions of what was lost are another record's on the next server, which is signed there.
#[test]
fn a_checkpoint_of_the_next_server_is_no_receipt_for_what_was_lost() {
    told(|outside| async move {
        outside.lock().holder = Some(NOBODY);
        let (one, other) = (start(&outside, 0), start(&outside, 1));
        let first = tokio::spawn({
            let one = one.clone();
            async move { send(&one, request(0)).await }
        });
        let kept = size(&outside, 0);
        until("a commit", || size(&outside, 0) > kept).await;
        outside.lock().take_over(kept, ALL, false);
        let second = tokio::spawn(async move { send(&other, request(1)).await });
        until("another at its place", || size(&outside, 1) > kept).await;
        assert_eq!(size(&outside, 0), size(&outside, 1));
        outside.lock().holder = None;
        assert_eq!(first.await.unwrap(), Err(Unavailable::Unknown));
        assert!(matches!(second.await.unwrap(), Ok(Submitted { checkpoint: Some(_), .. })));
        assert!(accepted(&one, 0).await > kept);
    });
}

/// It has no way to notice but the register, which the publisher of another process has written.
#[test]
fn a_writer_leaves_a_server_that_the_register_knows_to_be_replaced() {
    told(|outside| async move {
        let publisher = start(&outside, 0);
        accepted(&publisher, 0).await;
        let other = start(&outside, 1);
        accepted(&other, 1).await;
        let size_before = size(&outside, 0);
        outside.lock().take_over(size_before, ALL, true);
        until("the register knows", || outside.lock().knows_newest()).await;
        outside.lock().set_alone(true);
        assert!(accepted(&other, 2).await >= size_before);
        assert_eq!(size(&outside, 0), size_before);
    });
}

#[test]
fn who_was_halted_on_an_old_server_goes_on_with_the_new() {
    // Where there is only the old one to be reached.
    told(|outside| async move {
        let one = start(&outside, 0);
        accepted(&one, 0).await;
        let size_before = size(&outside, 0);
        outside.lock().take_over(size_before, ALL, true);
        until("the register knows", || outside.lock().knows_newest()).await;
        outside.lock().cut_off.insert(0);
        until("a halt", || one.halted() == Some(Unavailable::StaleServer)).await;
        assert_eq!(send(&one, request(1)).await, Err(Unavailable::StaleServer));
        outside.lock().cut_off.clear();
        seconds(2).await;
        accepted(&one, 1).await;
    });
    // With a connection to it that stays open.
    told(|outside| async move {
        let one = start(&outside, 0);
        accepted(&one, 0).await;
        let size_before = size(&outside, 0);
        outside.lock().servers[0].only_reads_from = Some(size_before + 1);
        let sent = tokio::spawn({
            let one = one.clone();
            async move { send(&one, request(1)).await }
        });
        until("a halt", || one.halted() == Some(Unavailable::StaleServer)).await;
        let signed = size(&outside, 0);
        outside.lock().take_over(signed, ALL, true);
        seconds(2).await;
        accepted(&one, 2).await;
        assert_eq!(sent.await.unwrap(), Err(Unavailable::Unknown));
        accepted(&one, 1).await;
    });
}

/// Nobody writes through its process, so that only itself can find the next server.
#[test]
fn a_publisher_that_waits_for_a_standby_for_ever_finds_the_next_server() {
    told(|outside| async move {
        outside.lock().holder = Some(NOBODY);
        let kept = size(&outside, 0);
        let publisher = start(&outside, 0);
        tokio::spawn({
            let publisher = publisher.clone();
            async move { send(&publisher, request(0)).await }
        });
        until("a commit", || size(&outside, 0) > kept).await;
        {
            let inner = &mut *outside.lock();
            inner.take_over(kept, ALL, true);
            inner.cut_off.insert(0);
            inner.holder = None;
        }
        seconds(3).await;
        assert_eq!(outside.lock().holder, Some(0));
        outside.lock().cut_off.clear();
        let other = start(&outside, 1);
        let sent = send(&other, request(1)).await;
        assert!(matches!(sent, Ok(Submitted { .. })), "{sent:?}");
        seconds(10).await;
        accepted(&other, 1).await;
        assert!(outside.lock().knows_newest());
    });
}

/// It looked at once, again and again, for as long as the database was away.
#[test]
fn what_is_still_to_lapse_waits_for_the_database() {
    told(|outside| async move {
        let one = start(&outside, 0);
        for n in 0..3 {
            has_receipt(&one, runs_out(n)).await;
        }
        let before = size(&outside, 0);
        outside.lock().passed_s = RUNS_OUT_S;
        until("a first group of lapses", || size(&outside, 0) > before).await;
        outside.lock().servers[0].is_up = false;
        let asked = outside.lock().asked;
        seconds(60).await;
        assert!(outside.lock().asked - asked < 10, "{} times", outside.lock().asked - asked);
        outside.lock().servers[0].is_up = true;
        seconds(30).await;
        let inner = &mut *outside.lock();
        let now = inner.now();
        assert_eq!(due(inner.primary(), now), []);
    });
}
