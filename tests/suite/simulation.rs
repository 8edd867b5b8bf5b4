//! Pipeline and publisher on a model of the world outside, through random operations and faults, each run by one seed and
//! in no time at all: processes killed anywhere, connections lost anywhere, commits whose fate is unknown, servers that are
//! replaced and lose what was not signed, and come back, clocks that jump, register writes that fail. Checked after each seed
//! against the promises, a replay, and the oracle. `SIM_SEED` runs one seed, `SIM_SEEDS` as many (`make soak`).

mod plan;
mod scripts;
mod seam;
mod server;
mod storage;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use disbursement_api::pipeline::{Mode, Outcome, Pipeline, Settings, Submitted, Unavailable};
use programme::replay::Replay;
use records::{Kind, Verified};
use signing::digest::Digest;
use store::Databases;
use tests::cluster::say;
use tokio::time::{sleep, timeout};
use translog::checkpoint::Checkpoint;

use crate::choices::Choices;
use crate::oracle::model::Model;
use crate::oracle::{balances, tell};
use plan::{RUNS_OUT_S, plan};
use server::{due, roots};
use storage::Outside;

/// In `make test`.
const SEEDS: u64 = 150;
const YEAR_S: i64 = 365 * 24 * 3600;
const CLIENTS: usize = 4;
/// Of simulated time; everything is over long before.
const LIMIT: Duration = Duration::from_secs(600);

/// For an answer.
const WAIT: Duration = Duration::from_secs(8);
/// After which everything is as it should be.
const QUIET: Duration = Duration::from_secs(50);

/// The processes of one ledger, none where one was killed and is not back yet.
type Processes = Arc<std::sync::Mutex<Vec<Option<Pipeline>>>>;

fn start(outside: &Outside, process: u64) -> Pipeline {
    let (clock, settings) = (
        outside.clone(),
        Settings { patience: Duration::from_secs(2), lapse_limit: 2, ..Settings::default() },
    );
    // Nothing here reads them; they know which server is the newest that was seen.
    let databases = Databases::new(
        &store::Transport::PlainText,
        |_| tokio_postgres::Config::new(),
        tests::cluster::pool_sizes(),
    )
    .unwrap();
    let now = move || clock.lock().now();
    let seen = Arc::new(outside.of(process, databases.clone()));
    Pipeline::start_on(seen, databases, Arc::clone(&plan().keys), now, settings)
}

/// Sends the instructions of a chain, alone or several as a list, to any process, until they have their receipt; sometimes
/// once more. Only those that are loose may be refused.
async fn client(
    outside: Outside,
    processes: Processes,
    chain: Vec<Verified>,
    is_loose: bool,
    number: u64,
    mut choices: Choices,
) -> BTreeMap<Digest, u64> {
    let mut accepted = BTreeMap::new();
    let mut rest = &chain[..];
    while !rest.is_empty() {
        let (list, after) = rest.split_at(1 + choices.index(4).saturating_sub(1).min(rest.len() - 1));
        rest = after;
        let mut receipts = 1 + choices.below(4) / 3;
        // What goes wrong goes on for seconds, and so do they.
        sleep(Duration::from_millis(choices.below(500) * list.len() as u64)).await;
        while receipts > 0 {
            let (n, pause, mode) = (choices.index(2), choices.below(300), choices.below(2));
            // Those who wait for a receipt are woken in any order, so each has milliseconds of its own.
            sleep(outside.until(number, CLIENTS as u64 + 1)).await;
            let pipeline = processes.lock().unwrap()[n].clone();
            let Some(pipeline) = pipeline else {
                sleep(Duration::from_millis(pause)).await;
                continue;
            };
            let envelopes = list.iter().map(|record| Ok(record.envelope().clone())).collect();
            let mode = if mode == 0 { Mode::All } else { Mode::Each };
            let (outcomes, note) = match timeout(WAIT, pipeline.submit(envelopes, mode)).await {
                Ok(Ok(Submitted { outcomes, checkpoint })) => (outcomes, checkpoint),
                Ok(Err(reason)) => {
                    assert!(!matches!(reason, Unavailable::Internal | Unavailable::LogForked), "{reason}");
                    outside.lock().tell(format_args!("{number} is told by {n}: {reason}"));
                    sleep(Duration::from_millis(pause)).await;
                    continue;
                }
                // It was killed.
                Err(_) => continue,
            };
            let positions: Vec<(Digest, u64)> = outcomes.iter().filter_map(position).collect();
            assert!(is_loose || positions.len() == list.len(), "{outcomes:?}");
            let Some(last) = positions.iter().map(|(_, position)| *position).max() else { break };
            let Some(note) = note else { continue };
            let keys = &plan().keys;
            let head = Checkpoint::parse_and_verify(&note, keys.origin.as_str(), keys.checkpoint.public());
            assert!(head.unwrap().size > last, "the checkpoint does not cover it");
            let inner = &mut *outside.lock();
            inner.see(&note);
            inner.tell(format_args!("{number} has a receipt for {positions:?}"));
            for (digest, position) in positions {
                assert!(list.iter().any(|record| record.digest() == digest));
                assert_eq!(*accepted.entry(digest).or_insert(position), position, "it has two positions");
            }
            receipts -= 1;
        }
    }
    accepted
}

fn position(outcome: &Outcome) -> Option<(Digest, u64)> {
    match outcome {
        Outcome::Accepted { digest, position } => Some((*digest, *position)),
        _ => None,
    }
}

/// What goes wrong.
async fn chaos(outside: Outside, processes: Processes) {
    let mut next = 2;
    let (count, fails_over) = {
        let choices = &mut outside.lock().choices;
        (choices.below(12), choices.below(2) == 0)
    };
    for _ in 0..count {
        let (pause, what, n, length) = {
            let choices = &mut outside.lock().choices;
            (choices.below(400), choices.below(10), choices.index(2), choices.below(1500))
        };
        sleep(Duration::from_millis(pause)).await;
        let length = Duration::from_millis(length);
        match what {
            0..4 => {
                let killed = processes.lock().unwrap()[n].take();
                let process = {
                    let inner = &mut *outside.lock();
                    let process = inner.live[n];
                    inner.kill(process);
                    inner.live[n] = next;
                    next
                };
                // Its tasks wait for ever.
                drop(killed);
                next += 1;
                sleep(length).await;
                processes.lock().unwrap()[n] = Some(start(&outside, process));
            }
            4..6 if fails_over => {
                // Sometimes at any time, sometimes while there is something to lose.
                for _ in 0..2 * pause {
                    if outside.lock().has_unsigned() {
                        break;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                outside.lock().fail_over();
            }
            6 if fails_over => {
                outside.lock().set_alone(true);
                sleep(3 * length).await;
                outside.lock().set_alone(false);
            }
            6 => {
                let cut_off = outside.lock().live[n];
                outside.lock().cut_off.insert(cut_off);
                sleep(3 * length).await;
                outside.lock().cut_off.remove(&cut_off);
            }
            7 if n == 0 => {
                let by = [RUNS_OUT_S / 2, RUNS_OUT_S, 4 * RUNS_OUT_S][usize::try_from(pause % 3).unwrap()];
                outside.lock().passed_s += by;
            }
            7 => {
                let by = if pause < 200 { YEAR_S } else { -YEAR_S };
                outside.lock().jump_s = by;
                sleep(length).await;
                outside.lock().jump_s = 0;
            }
            _ => {
                let before = std::mem::replace(&mut outside.lock().faults, 300);
                sleep(length).await;
                outside.lock().faults = before;
            }
        }
    }
    outside.lock().faults = 0;
}

async fn run(outside: Outside) {
    let (faults, chains) = {
        let choices = &mut outside.lock().choices;
        let faults = [0, 5, 20, 60][choices.index(4)];
        let mut chains: Vec<&Vec<Verified>> = plan().chains.iter().collect();
        for last in (1..chains.len()).rev() {
            chains.swap(last, choices.index(last + 1));
        }
        (faults, chains)
    };
    let shares = (0..CLIENTS).map(|n| (&chains[2 * n..2 * n + 2], false)).map(|(chains, is_loose)| {
        (chains.iter().flat_map(|chain| chain.iter().cloned()).collect(), is_loose)
    });
    let loose = plan().loose.iter().flatten().cloned().collect();
    outside.lock().faults = faults;
    let processes: Processes =
        Arc::new(std::sync::Mutex::new((0..2).map(|process| Some(start(&outside, process))).collect()));
    let chaos = tokio::spawn(chaos(outside.clone(), Arc::clone(&processes)));
    let clients: Vec<_> = shares
        .chain([(loose, true)])
        .zip(0..)
        .map(|((chain, is_loose), n)| {
            let choices = Choices::of(outside.lock().choices.below(u64::MAX));
            let (outside, processes) = (outside.clone(), Arc::clone(&processes));
            tokio::spawn(client(outside, processes, chain, is_loose, n, choices))
        })
        .collect();
    let mut accepted = BTreeMap::new();
    for client in clients {
        accepted.extend(client.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    chaos.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    // A publisher that heard of nothing newer looks by itself, and a writer for what has run out.
    outside.lock().passed_s += RUNS_OUT_S;
    sleep(QUIET).await;
    let all = std::mem::take(&mut *processes.lock().unwrap());
    for pipeline in all.into_iter().flatten() {
        pipeline.shutdown().await;
    }
    check(&outside, &accepted);
}

/// Everything that was promised.
fn check(outside: &Outside, accepted: &BTreeMap<Digest, u64>) {
    let inner = &mut *outside.lock();
    let signed = std::mem::take(&mut inner.signed);
    let (now, register) = (inner.now(), inner.register.clone().expect("something was signed"));
    let server = inner.primary();
    let roots = roots(&server.log);
    for (digest, position) in accepted {
        let found = server.log.get(usize::try_from(*position).unwrap()).map(|record| record.digest());
        assert_eq!(found, Some(*digest), "what was acknowledged at {position} is not there");
    }
    for (size, root) in &signed {
        assert_eq!(
            roots.get(usize::try_from(*size).unwrap()),
            Some(root),
            "a head of {size} that is not the log's"
        );
    }
    let is_pad = |at: usize| server.log.get(at).is_some_and(|record| record.kind() == Kind::Pad);
    for size in plan().records.len() + 1..=server.log.len() {
        let (size, is_public) = (size as u64, is_pad(size - 1) && !is_pad(size));
        assert!(!is_public || signed.contains_key(&size), "a public head of {size} was not signed");
        // A server that took over may lack some: nobody waits for those.
        let has_all = server.epoch.timeline == 1;
        assert!(
            !is_public || !has_all || server.checkpoints.contains_key(&size),
            "nobody has the one of {size}"
        );
    }
    assert_eq!(register.size, server.head.size, "the last head was not signed");
    let stored = server.checkpoints.last_key_value().map(|(_, note)| note);
    assert_eq!(stored, Some(&register.checkpoint), "its checkpoint is not stored");
    assert!(!server.head.forked);
    assert_eq!(due(server, now), [], "it has not lapsed");
    let (mut replay, mut model) = (Replay::new(plan().ledger), Model::default());
    for (record, root) in server.log.iter().zip(&roots) {
        replay.push(record, || *root).unwrap_or_else(|refuted| panic!("{refuted}"));
    }
    let state = replay.finish().unwrap_or_else(|refuted| panic!("{refuted}"));
    tell(&mut model, &server.log);
    model.assert_sound();
    assert_eq!(balances(&state), model.balances());
}

/// One seed, from its beginning to its end.
fn simulate<F: Future<Output = ()>>(seed: u64, run: impl Fn(Outside) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outside = {
        let _inside = runtime.enter();
        Outside::new(seed)
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        let over = runtime.block_on(async { timeout(LIMIT, run(outside.clone())).await });
        over.expect("the service comes back, and ends");
    }));
    if let Err(panic) = result {
        say(&outside.lock().story());
        say(&format!("SIM_SEED={seed}"));
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn whatever_happens_the_promises_hold() {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("SIM_SEED") {
        return simulate(seed, run);
    }
    // The same ones in `make test`; others, where more are asked for.
    let (first, count) = match number("SIM_SEEDS") {
        Some(count) => (Choices::from_env("SIM_FIRST").below(1 << 40), count),
        None => (0, SEEDS),
    };
    let began = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                (first..first + count)
                    .skip(thread as usize)
                    .step_by(threads as usize)
                    .for_each(|seed| simulate(seed, run))
            });
        }
    });
    say(&format!("{count} seeds in {:?}", began.elapsed()));
}
