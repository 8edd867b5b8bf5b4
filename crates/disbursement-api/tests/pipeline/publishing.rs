//! The publisher: what it signs, and what it refuses to sign.

use std::time::Duration;

use disbursement_api::pipeline::{Mode, Pipeline, Unavailable};
use records::Body;
use records::governance::Acceptance;
use signing::digest::Digest;
use store::register::{self, Register};
use store::{hashes, log};
use translog::proof::{verify_consistency, verify_inclusion};
use translog::tree::{Frontier, leaf_hash};

use super::fixture::{Place, Town, note, shown};

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come about in 10 s");
}

async fn halts(pipeline: &Pipeline, reason: Unavailable) {
    until("a halt", async || pipeline.halted() == Some(reason)).await;
    let submitted = pipeline.submit(vec![], Mode::Each).await;
    assert_eq!(submitted.unwrap_err(), reason);
}

async fn accept(town: &Town, pipeline: &Pipeline) -> (Result<u64, String>, Option<String>) {
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    let submitted = pipeline.submit(vec![Ok(acceptance)], Mode::Each).await.unwrap();
    (shown(&submitted.outcomes[0]), submitted.checkpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_checkpoint_was_stored_is_repaired_from_the_register() {
    let place = Place::new().await;
    let town = Town::founded(place.clone()).await;
    assert_eq!(accept(&town, &town.pipeline).await.0, Ok(2));
    town.pipeline.shutdown().await;
    let admin = place.admin().await;
    let before = log::latest_checkpoint(&admin).await.unwrap().unwrap();
    assert_eq!(before.size, 3);
    admin.execute("DELETE FROM checkpoints WHERE size = 3", &[]).await.unwrap();
    let pipeline = place.start();
    until("the checkpoint", async || pipeline.checkpoint().is_some_and(|head| head.size == 3)).await;
    assert_eq!(log::latest_checkpoint(&admin).await.unwrap(), Some(before));
    pipeline.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_register_stops_writing_until_it_is_back() {
    let place = Place::new().await;
    let town = Town::founded(place.clone()).await;
    let kept = place.dir().join("kept");
    std::fs::rename(&place.register, &kept).unwrap();
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    let submitted = town.pipeline.submit(vec![Ok(acceptance.clone())], Mode::Each).await;
    assert_eq!(submitted.unwrap_err(), Unavailable::RegisterMissing);
    town.pipeline.shutdown().await;

    let pipeline = place.start();
    halts(&pipeline, Unavailable::RegisterMissing).await;
    std::fs::rename(&kept, &place.register).unwrap();
    until("the register", async || pipeline.halted().is_none()).await;
    assert_eq!(accept(&town, &pipeline).await.0, Ok(2));
    pipeline.shutdown().await;

    std::fs::write(&place.register, "{}").unwrap();
    let pipeline = place.start();
    halts(&pipeline, Unavailable::RegisterMissing).await;
    pipeline.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_not_written_to() {
    let place = Place::new().await;
    let town = Town::founded(place.clone()).await;
    town.pipeline.shutdown().await;
    let mut register = Register::open(&place.register).unwrap();
    let honest = register.read().unwrap().unwrap();
    let mut newer = honest.clone();
    newer.epoch.timeline += 1;
    register.write(&newer).unwrap();
    // While another process publishes.
    let pipeline = place.start();
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    let submitted = pipeline.submit(vec![Ok(acceptance)], Mode::Each).await;
    assert_eq!(submitted.unwrap_err(), Unavailable::StaleServer);
    drop(register);
    halts(&pipeline, Unavailable::StaleServer).await;
    pipeline.shutdown().await;
    let mut other = honest.clone();
    other.epoch.system = "1".to_owned();
    Register::open(&place.register).unwrap().write(&other).unwrap();
    let pipeline = place.start();
    halts(&pipeline, Unavailable::StaleServer).await;
    pipeline.shutdown().await;
    assert_eq!(register::read(&place.register).unwrap(), Some(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_takes_the_register_over() {
    let place = Place::new().await.with(|settings| settings.receipt_wait = Duration::from_millis(300));
    let town = Town::founded(place.clone()).await;
    let next = place.start();
    until("the other's checkpoint", async || next.checkpoint().is_some()).await;
    // The publisher hears of what another process wrote.
    let (position, checkpoint) = accept(&town, &next).await;
    assert_eq!(position, Ok(2));
    assert!(checkpoint.is_some());
    town.pipeline.shutdown().await;
    let (again, checkpoint) = accept(&town, &next).await;
    assert_eq!((again, checkpoint), (Err("already_accepted".to_owned()), None));
    until("the register", async || Register::open(&place.register).is_err()).await;
    next.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_publisher_the_receipt_is_pending() {
    let place = Place::new().await.with(|settings| settings.receipt_wait = Duration::from_millis(300));
    let town = Town::founded(place.clone()).await;
    town.pipeline.shutdown().await;
    let held = Register::open(&place.register).unwrap();
    let pipeline = place.start();
    let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
    let submit = async || pipeline.submit(vec![Ok(acceptance.clone())], Mode::Each).await.unwrap();
    let pending = submit().await;
    assert_eq!((shown(&pending.outcomes[0]), pending.checkpoint), (Ok(2), None));
    drop(held);
    until("the receipt", async || submit().await.checkpoint.is_some()).await;
    pipeline.shutdown().await;
}

/// Ways in which a log can cease to extend what was published.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_extend_the_published_one_is_forked() {
    let forks = [
        // Not published yet, and not what the head's root is made of.
        ("UPDATE records SET signature = decode(repeat('00', 64), 'hex') WHERE position = 2", false),
        ("DELETE FROM records WHERE position = 2", false),
        // Published, then taken back, as by a backup that is older than the register.
        ("UPDATE head SET size = 1, root = $1, frontier = $2", true),
    ];
    for (sql, is_published) in forks {
        let place = Place::new().await.with(|settings| settings.receipt_wait = Duration::from_millis(300));
        let town = Town::founded(place.clone()).await;
        let admin = place.admin().await;
        let first = log::head(&admin).await.unwrap();
        if !is_published {
            town.pipeline.shutdown().await;
        }
        let held = (!is_published).then(|| Register::open(&place.register).unwrap());
        let pipeline = if is_published { town.pipeline.clone() } else { place.start() };
        assert_eq!(accept(&town, &pipeline).await.0, Ok(2));
        let (root, frontier) = (first.root.as_bytes().to_vec(), first.frontier.encode());
        if is_published {
            admin.execute(sql, &[&root, &frontier]).await.unwrap();
        } else {
            admin.execute(sql, &[]).await.unwrap();
        }
        let published = log::latest_checkpoint(&admin).await.unwrap();
        drop(held);
        halts(&pipeline, Unavailable::LogForked).await;
        // It stops every process, whether it publishes or not, and nothing was signed.
        let other = place.start();
        let acceptance = town.sign("c2", Body::Acceptance(Acceptance {}));
        let submitted = other.submit(vec![Ok(acceptance)], Mode::Each).await;
        assert_eq!(submitted.unwrap_err(), Unavailable::LogForked);
        assert_eq!(log::latest_checkpoint(&admin).await.unwrap(), published);
        other.shutdown().await;
        pipeline.shutdown().await;
    }
}

/// A log of two levels of tiles. Its records behind the founding are no real ones, which the publisher need not know.
#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_proofs_of_a_long_log() {
    let place = Place::new().await;
    let town = Town::founded(place.clone()).await;
    town.pipeline.shutdown().await;
    let admin = place.admin().await;
    let head = log::head(&admin).await.unwrap();
    let (mut frontier, mut roots) = (head.frontier, vec![(head.size, head.root)]);
    let mut leaves = log::leaf_hashes(&admin, 0, 1, 1).await.unwrap();
    let pipeline = place.start();
    for (end, parts) in [(700_u64, 1), (65_700, 2)] {
        let begin = frontier.size();
        let sql = "INSERT INTO records SELECT n, 1, sha256('key'), int8send(n), sha256('a') || sha256(int8send(n)) \
                   FROM generate_series($1::bigint, $2::bigint) n";
        admin.execute(sql, &[&(begin as i64), &(end as i64 - 1)]).await.unwrap();
        for envelope in log::envelopes(&admin, begin, end, u32::MAX).await.unwrap() {
            let leaf = leaf_hash(&envelope.encode());
            leaves.push(leaf);
            frontier.append(leaf);
        }
        roots.push((end, frontier.root()));
        let began = std::time::Instant::now();
        let sql = "UPDATE head SET size = $1, root = $2, frontier = $3";
        let (root, encoded) = (frontier.root().as_bytes().to_vec(), frontier.encode());
        admin.execute(sql, &[&(end as i64), &root, &encoded]).await.unwrap();
        until("the checkpoint", async || pipeline.checkpoint().is_some_and(|head| head.size == end)).await;
        note(format_args!("{} records published in {:?}, part {parts}", end - begin, began.elapsed()));
    }
    pipeline.shutdown().await;
    let tiles: Vec<(i16, i64)> = admin
        .query("SELECT level, count(*) FROM tiles GROUP BY level ORDER BY level", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(tiles, [(0, 256), (1, 1)]);
    for (size, root) in &roots {
        assert_eq!(hashes::root(&admin, *size).await.unwrap(), *root);
        for position in [0, 1, 255, 256, 300, 511, 512, 699, 40_000, 65_535, 65_536, 65_699] {
            let proof = hashes::inclusion_proof(&admin, position, *size).await;
            if position >= *size {
                assert!(proof.is_err());
                continue;
            }
            let leaf: Digest = leaves[usize::try_from(position).unwrap()];
            verify_inclusion(leaf, position, *size, &proof.unwrap(), *root).unwrap();
        }
        for (old, old_root) in roots.iter().filter(|(old, _)| old <= size) {
            let proof = hashes::consistency_proof(&admin, *old, *size).await.unwrap();
            verify_consistency(*old, *old_root, *size, *root, &proof).unwrap();
        }
    }
    assert_eq!(
        Frontier::decode(&register::read(&place.register).unwrap().unwrap().frontier).unwrap(),
        frontier
    );
}
