//! The publisher: what it signs again, and what it refuses to sign.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use disbursement_api::pipeline::{LedgerKeys, Mode, Outcome, Pipeline, Settings, Submitted, Unavailable};
use records::Verified;
use signing::digest::Digest;
use signing::keys::{PublicKey, SecretKey, Signature};
use signing::token::{SignError, Signer};
use store::packed::pack;
use store::register::{self, Register};
use store::{hashes, log};
use tests::cluster::{runtime, say};
use tests::replay::prove;
use tests::service::{Keys, Service, ledger_keys};
use tests::wait::until;
use tests::world::{World, policy};
use translog::proof::{verify_consistency, verify_inclusion};
use translog::tree::{Frontier, leaf_hash};

use super::{bank, post, size, unavailable};

/// Settings under which nobody waits long for a receipt.
fn hasty() -> Settings {
    Settings { receipt_wait: Duration::from_millis(300), ..Settings::default() }
}

fn checkpoint(world: &World) -> (i64, String) {
    let sql = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
    let row = world.database.superuser().query_one(sql, &[]).unwrap();
    (row.get(0), row.get(1))
}

/// The publisher finds out, and from then on nothing is taken.
#[track_caller]
fn halts(world: &World, service: &Service, reason: Unavailable) {
    until("a halt", || service.pipeline().halted() == Some(reason));
    let desk = world.at(&service.url);
    unavailable(&post(&desk, &[bank(&desk, "b-late")], "each"), reason.code());
}

#[test]
fn a_crash_before_the_checkpoint_was_stored_is_repaired_from_the_register() {
    let mut world = World::new();
    world.accept(&post(&world, &[bank(&world, "b1")], "each"));
    world.service.stop();
    let before = checkpoint(&world);
    assert_eq!(before.0, size(&world));
    let delete = "DELETE FROM checkpoints WHERE size = $1";
    assert_eq!(world.database.superuser().execute(delete, &[&before.0]).unwrap(), 1);
    assert!(checkpoint(&world).0 < before.0);
    world.restart();
    until("the checkpoint", || checkpoint(&world).0 == before.0);
    // The very same one: none is signed twice.
    assert_eq!(checkpoint(&world), before);
    prove(&mut world);
}

/// A key in a token that is pulled out, and that counts.
#[derive(Debug)]
struct Token {
    key: SecretKey,
    is_away: AtomicBool,
    signed: AtomicU32,
}

#[derive(Debug)]
struct InToken(Arc<Token>);

impl Signer for InToken {
    fn public(&self) -> &PublicKey {
        self.0.key.public()
    }

    fn try_sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        if self.0.is_away.load(Ordering::SeqCst) {
            return Err(SignError::Token("it is away".to_owned()));
        }
        self.0.signed.fetch_add(1, Ordering::SeqCst);
        Ok(self.0.key.sign(message))
    }
}

#[test]
fn a_head_is_signed_once_and_nothing_is_written_while_the_key_is_away() {
    let mut world = World::new();
    let records = ["b1", "b2", "b3"].map(|name| bank(&world, name));
    world.service.stop();
    let Keys { record, checkpoint: key, origin } = ledger_keys();
    let token = Arc::new(Token { key, is_away: AtomicBool::new(false), signed: AtomicU32::new(0) });
    let keys = LedgerKeys { record, checkpoint: Box::new(InToken(Arc::clone(&token))), origin };
    let (pools, clock) = (world.database.pools(), world.clock.clone());
    let pipeline = runtime().block_on(async {
        Pipeline::start(pools, Arc::new(keys), world.register.clone(), move || clock.now(), hasty())
    });
    let submit = |record: &Verified| -> Result<Submitted, Unavailable> {
        runtime().block_on(pipeline.submit(vec![Ok(record.envelope().clone())], Mode::Each))
    };
    let is_accepted = |submitted: &Submitted| matches!(submitted.outcomes[..], [Outcome::Accepted { .. }]);

    let first = submit(&records[0]).unwrap();
    assert!(is_accepted(&first) && first.checkpoint.is_some());
    // The publisher looks once a second, and the head before this one was signed already.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(token.signed.load(Ordering::SeqCst), 1);

    token.is_away.store(true, Ordering::SeqCst);
    let before = fs::read(&world.register).unwrap();
    let second = submit(&records[1]).unwrap();
    assert!(is_accepted(&second) && second.checkpoint.is_none());
    until("a halt", || pipeline.halted() == Some(Unavailable::CheckpointKey));
    let committed = size(&world);
    assert_eq!(submit(&records[2]), Err(Unavailable::CheckpointKey));
    assert_eq!((fs::read(&world.register).unwrap(), size(&world)), (before, committed));

    token.is_away.store(false, Ordering::SeqCst);
    until("the key", || pipeline.halted().is_none());
    assert_eq!(checkpoint(&world).0, committed);
    assert!(submit(&records[1]).unwrap().checkpoint.is_some());
    assert!(submit(&records[2]).unwrap().checkpoint.is_some());
    assert_eq!(token.signed.load(Ordering::SeqCst), 3);
    runtime().block_on(pipeline.shutdown());
    world.restart();
    prove(&mut world);
}

/// The writer looks for it itself, whether the publisher has noticed or not.
#[test]
fn a_register_that_is_gone_is_noticed_by_the_next_instruction() {
    let mut world = World::new();
    let (kept, before) = (world.register.with_file_name("kept"), size(&world));
    let record = bank(&world, "b1");
    fs::rename(&world.register, &kept).unwrap();
    unavailable(&post(&world, std::slice::from_ref(&record), "each"), "register_missing");
    assert_eq!(size(&world), before);
    world.restart();
    halts(&world, &world.service, Unavailable::RegisterMissing);
    fs::rename(&kept, &world.register).unwrap();
    until("the register", || world.service.pipeline().halted().is_none());
    world.accept(&post(&world, &[record], "each"));
    prove(&mut world);
}

/// Nor read from.
#[test]
fn an_older_server_is_not_written_to() {
    let mut world = World::new();
    let record = bank(&world, "b1");
    world.service.stop();
    let before = size(&world);
    let register = Register::open(&world.register).unwrap();
    let honest = register.read().unwrap().unwrap();
    let mut newer = honest.clone();
    newer.epoch.timeline += 1;
    register.write(&newer).unwrap();
    let is_fenced = |world: &World| {
        unavailable(&post(world, std::slice::from_ref(&record), "each"), "stale_server");
        unavailable(&world.get("karl", "/v1/checkpoint"), "stale_server");
    };
    // While another process publishes.
    world.restart();
    is_fenced(&world);
    drop(register);
    let halts = |world: &World| {
        until("a halt", || world.service.pipeline().halted() == Some(Unavailable::StaleServer));
        is_fenced(world);
    };
    halts(&world);
    world.service.stop();
    let mut other = honest.clone();
    other.epoch.system = "1".to_owned();
    Register::open(&world.register).unwrap().write(&other).unwrap();
    world.restart();
    halts(&world);
    world.service.stop();
    assert_eq!(register::read(&world.register).unwrap(), Some(other));
    assert_eq!(size(&world), before);
    // With the honest register, it is the right one.
    Register::open(&world.register).unwrap().write(&honest).unwrap();
    world.restart();
    world.accept(&post(&world, &[record], "each"));
    prove(&mut world);
}

/// A service stops every other one, whether it publishes or not, and nothing was signed since.
#[track_caller]
fn is_forked(world: &World, service: &Service, published: &(i64, String)) {
    halts(world, service, Unavailable::LogForked);
    let other = Service::with(&world.database, &world.register, &world.clock, hasty());
    let desk = world.at(&other.url);
    unavailable(&post(&desk, &[bank(&desk, "b-other")], "each"), "log_forked");
    assert_eq!(checkpoint(world), *published);
}

#[test]
fn a_log_that_lacks_a_record_is_never_signed() {
    let mut world = World::with(policy(), hasty());
    let record = bank(&world, "b1");
    world.service.stop();
    let held = Register::open(&world.register).unwrap();
    world.restart();
    let published = checkpoint(&world);
    let pending = post(&world, &[record], "each");
    assert_eq!(pending.json["results"][0]["status"], "receipt_pending", "{}", pending.text);
    let position = i64::try_from(pending.position()).unwrap();
    let delete = "DELETE FROM records WHERE position = $1";
    assert_eq!(world.database.superuser().execute(delete, &[&position]).unwrap(), 1);
    drop(held);
    is_forked(&world, &world.service, &published);
}

/// As by a backup that is older than the register, put in place under a running service.
#[test]
fn a_head_that_was_taken_back_is_noticed_by_who_published_it() {
    let world = World::with(policy(), hasty());
    let mut superuser = world.database.superuser();
    superuser.batch_execute("CREATE TABLE kept AS SELECT * FROM head").unwrap();
    world.accept(&post(&world, &[bank(&world, "b1")], "each"));
    let back = "UPDATE head SET size = k.size, root = k.root, frontier = k.frontier FROM kept k";
    superuser.batch_execute(back).unwrap();
    is_forked(&world, &world.service, &checkpoint(&world));
}

/// A log of two levels of tiles. Its records behind the real ones are none, which the publisher need not know.
#[test]
fn tiles_and_proofs_of_a_long_log() {
    let mut world = World::new();
    world.service.stop();
    let mut leaves = vec![];
    let mut roots = vec![];
    let mut frontier = Frontier::new();
    runtime().block_on(async {
        let client = world.database.client().await;
        let head = log::head(&client).await.unwrap();
        roots.push((head.size, head.root));
        let all = log::leaves(&client, 0, head.size, u32::MAX).await.unwrap();
        leaves = all.into_iter().map(|leaf| leaf.hash).collect();
        frontier = head.frontier;
    });
    world.restart();
    for end in [700_u64, 65_700] {
        let begin = frontier.size();
        let bounds = [begin, end - 1].map(|position| i64::try_from(position).unwrap());
        let payload = pack(b"none").unwrap();
        let sql = "INSERT INTO records SELECT n, 1, 1, $3, sha256('a') || sha256(int8send(n)) \
                   FROM generate_series($1::bigint, $2::bigint) n";
        world.database.superuser().execute(sql, &[&bounds[0], &bounds[1], &payload]).unwrap();
        let added = runtime().block_on(async {
            let client = world.database.client().await;
            log::envelopes(&client, begin, end, u32::MAX).await.unwrap()
        });
        for envelope in added {
            let leaf = leaf_hash(&envelope.encode());
            leaves.push(leaf);
            frontier.append(leaf);
        }
        roots.push((end, frontier.root()));
        let began = std::time::Instant::now();
        let sql = "UPDATE head SET size = $1, root = $2, frontier = $3";
        let (root, encoded) = (frontier.root().as_bytes().to_vec(), frontier.encode());
        world.database.superuser().execute(sql, &[&(bounds[1] + 1), &root, &encoded]).unwrap();
        until("the checkpoint", || checkpoint(&world).0 == bounds[1] + 1);
        say(&format!("{} records published in {:?}", end - begin, began.elapsed()));
    }
    world.service.stop();
    let sql = "SELECT level, count(*) FROM tiles GROUP BY level ORDER BY level";
    let tiles = world.database.superuser().query(sql, &[]).unwrap();
    let tiles: Vec<(i16, i64)> = tiles.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(tiles, [(0, 256), (1, 1)]);
    runtime().block_on(proofs_hold(&world, &roots, &leaves));
    let published = register::read(&world.register).unwrap().unwrap();
    assert_eq!(Frontier::decode(&published.frontier).unwrap(), frontier);
}

async fn proofs_hold(world: &World, roots: &[(u64, Digest)], leaves: &[Digest]) {
    let client = world.database.client().await;
    for (size, root) in roots {
        assert_eq!(hashes::root(&client, *size).await.unwrap(), *root);
        for position in [0, 1, 255, 256, 300, 511, 512, 699, 40_000, 65_535, 65_536, 65_699] {
            let proof = hashes::inclusion_proof(&client, position, *size).await;
            if position >= *size {
                assert!(proof.is_err());
                continue;
            }
            let leaf = leaves[usize::try_from(position).unwrap()];
            verify_inclusion(leaf, position, *size, &proof.unwrap(), *root).unwrap();
        }
        for (old, old_root) in roots.iter().filter(|(old, _)| old <= size) {
            let proof = hashes::consistency_proof(&client, *old, *size).await.unwrap();
            verify_consistency(*old, *old_root, *size, *root, &proof).unwrap();
        }
    }
}
