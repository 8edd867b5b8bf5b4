//! The database against the rules: whatever it holds for them has to be what a replay of its own log comes to.

use programme::entity::Stored as _;
use programme::replay::Replay;
use programme::{Key, State};
use records::Record;
use signing::keys::PublicKey;
use store::{load, log};
use translog::tree::Frontier;

use crate::cluster::runtime;
use crate::people::Person;
use crate::service::ledger_keys;
use crate::world::{STAFF, World};

/// Stops the world's service, replays the log, and holds the database to it: head, entities and balances.
pub fn prove(world: &mut World) -> State {
    world.service.stop();
    let staff = STAFF.iter().map(|(name, _)| *name).chain(["karl", "kira"]);
    let mut keys: Vec<PublicKey> = staff.map(|name| Person::new(name).key.public().clone()).collect();
    keys.push(ledger_keys().record.public().clone());
    runtime().block_on(replayed(world, &keys))
}

async fn replayed(world: &World, keys: &[PublicKey]) -> State {
    let client = world.database.client().await;
    let head = log::head(&client).await.expect("a head");
    let (mut replay, mut frontier) = (Replay::new(world.ledger), Frontier::new());
    while frontier.size() < head.size {
        for envelope in log::envelopes(&client, frontier.size(), head.size, 1000).await.expect("records") {
            let key = keys.iter().find(|key| key.id() == envelope.key_id).expect("a key of somebody's");
            let record = Record::parse(envelope).expect("a record").verify(key).expect("a signature");
            let root = frontier.root();
            replay.push(&record, || root).expect("a record that the rules take");
            frontier.append(record.leaf_hash());
        }
    }
    assert_eq!((frontier.root(), &frontier), (head.root, &head.frontier));

    let state = replay.finish().expect("a log that is complete");
    let (mut entities, mut balances) = (vec![], vec![]);
    for (key, entity) in state.entities() {
        match key {
            Key::Instruction(..) | Key::Head(_) => {}
            Key::Balance(_) => balances.push((key.to_string(), entity.to_json())),
            _ => entities.push((key.to_string(), entity.to_json())),
        }
    }
    let rows = client
        .query(
            "SELECT key, value FROM entities \
        UNION ALL SELECT 'disbursement/' || disbursement, state FROM disbursements",
            &[],
        )
        .await
        .expect("entities");
    let stored = rows.iter().map(|row| (row.get(0), load::entity_json(row.get(1)).expect("JSON"))).collect();
    assert_eq!(sorted(entities), sorted(stored));
    let sql = "SELECT account, fund, currency, amount::text, held::text FROM balances";
    let rows = client.query(sql, &[]).await.expect("balances");
    let stored = rows
        .iter()
        .map(|row| load::balance([0, 1, 2, 3, 4].map(|column| row.get(column))).expect("a balance"));
    let stored = stored
        .filter(|(_, balance)| !balance.is_zero())
        .map(|(key, balance)| (Key::from(key).to_string(), balance.into_entity().to_json()));
    assert_eq!(sorted(balances), sorted(stored.collect()));
    state
}

fn sorted(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.sort();
    pairs
}
