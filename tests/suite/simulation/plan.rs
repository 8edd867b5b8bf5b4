//! What the simulation begins with, made once: a ledger, and chains of instructions that follow each other.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use disbursement_api::pipeline::LedgerKeys;
use ledger::time::Timestamp;
use programme::State;
use records::{Payload, Verified};
use signing::digest::Digest;
use signing::keys::{KeyId, PublicKey};
use translog::tree::Frontier;

use crate::oracle::world::{World, cast, id, secret};

/// Who signs anything here.
const PEOPLE: [&str; 11] =
    ["app1", "app2", "c1", "c2", "c3", "dir1", "pay1", "prep1", "prep2", "rec1", "scr1"];
/// Cases that are cleared.
const CASES: [&str; 6] = ["c-1", "c-2", "c-5", "c-6", "c-7", "c-8"];

/// See [`Plan::loose`].
pub const RUNS_OUT_S: i64 = 1200;

/// See the module.
pub struct Plan {
    pub keys: Arc<LedgerKeys>,
    pub ledger: Digest,
    pub now: Timestamp,
    pub state: State,
    pub records: Vec<Verified>,
    pub frontier: Frontier,
    /// Each has to be sent in its order; no two of them touch.
    pub chains: Vec<Vec<Verified>>,
    /// Such as run out [`RUNS_OUT_S`] after the beginning, where nothing comes of them.
    pub loose: Vec<Vec<Verified>>,
    pub people: HashMap<KeyId, PublicKey>,
}

pub fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let mut world = World::for_steps(false);
        world.run(
            "c1 set-policy publication=60/8 as=public ; c2 concur public ; clock 1h ; dir1 open-bank b9 USD",
        );
        // What they are signed on is the last head of the log that there is.
        let (loose, chains) = chains(&world);
        world.end_group();
        let mut frontier = Frontier::new();
        world.records.iter().for_each(|record| frontier.append(record.leaf_hash()));
        let keys = LedgerKeys {
            record: cast::record_key(),
            checkpoint: Box::new(secret("ledger/checkpoints")),
            origin: id("ledger.example/1"),
        };
        let mut people: HashMap<_, _> =
            PEOPLE.iter().map(|name| secret(name).public().clone()).map(|key| (key.id(), key)).collect();
        people.insert(keys.record.public().id(), keys.record.public().clone());
        Plan {
            ledger: world.ledger(),
            now: world.now(),
            chains,
            loose,
            keys: Arc::new(keys),
            state: world.state,
            records: world.records,
            frontier,
            people,
        }
    })
}

/// Loose ones, and the others.
fn chains(base: &World) -> (Vec<Vec<Verified>>, Vec<Vec<Verified>>) {
    let mut world = base.fork();
    let (mut loose, mut chains) = (vec![], vec![]);
    let runs_out = Timestamp::from_unix(base.now().unix() + RUNS_OUT_S).expect("a time");
    for (n, case) in CASES.iter().enumerate() {
        let last = ["rec1 confirm", "rec1 bank-reject", "dir1 reverse"][n % 3];
        let small = ["app1 approve", "pay1 release {} b1", last];
        let bonus: &[&str] = match n % 3 {
            0 => &["prep1 cancel"],
            1 => &["app1 approve", "app1 reject"],
            _ => &["app1 approve", "app2 approve", "pay1 release {} b1", "rec1 confirm"],
        };
        let trip = ["app2 approve", "prep1 deliver {} 5500.00", "pay1 release {} b1", last];
        for (benefit, amount, steps) in
            [("small", "5000.00", &small[..]), ("bonus", "100000.00", bonus), ("trip", "6000.00", &trip[..])]
        {
            let name = format!("sim-{benefit}-{n}");
            let is_loose = benefit != "small" && n >= 3;
            let (steps, expires) = match is_loose {
                true => (&steps[..steps.len().min(2) - 1], format!(" expires={runs_out}")),
                false => (steps, String::new()),
            };
            let mut lines = vec![format!("prep1 request {name} {case} {benefit} {amount} f1{expires}")];
            lines.extend(steps.iter().map(|step| match step.split_once(" {}") {
                Some((before, after)) => format!("{before} {name}{after}"),
                None => format!("{step} {name}"),
            }));
            let chain = lines.iter().filter_map(|line| sent(&mut world, line)).collect();
            if is_loose { &mut loose } else { &mut chains }.push(chain);
        }
    }
    (loose, chains)
}

/// The instruction of a line, which must be good; nothing where the rules refuse it.
fn sent(world: &mut World, line: &str) -> Option<Verified> {
    let before = world.records.len();
    if let Err(halt) = world.line(line) {
        panic!("{line}: {halt:?}");
    }
    let new = &world.records[before..];
    new.iter().find(|record| matches!(record.payload(), Payload::Instruction(..))).cloned()
}
