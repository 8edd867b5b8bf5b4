//! Loads entities by key: the reads that let the rules decide.
//!
//! Four kinds of key have tables of their own: balances (only the trigger writes them), instruction ids, disbursements, and heads,
//! which are group records of the log. Everything else is in `entities`. What is asked together is sent together, one
//! statement for each table that has a key in it, so a load is one round trip. Every key that is asked for is answered,
//! with `None` where there is no such entity.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ledger::books::{Balance, BalanceKey};
use ledger::currency::Currency;
use ledger::id::DisbursementId;
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{Entity, HeadState, InstructionState};
use records::Kind;
use records::journal::Group;
use rust_decimal::Decimal;
use signing::digest::Digest;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row, Statement};

use crate::error::StoreError;
use crate::log::{self, Head, head_of};
use crate::packed;
use crate::pool::Databases;
use crate::writer::Opened;

const ENTITIES: &str = "SELECT key, value FROM entities WHERE key = ANY($1::text[])";
const DISBURSEMENTS: &str =
    "SELECT disbursement, state FROM disbursements WHERE disbursement = ANY($1::text[])";
// A subquery with a limit is run once for each key, by the index: a join would be planned for a table of another size.
const INSTRUCTIONS: &str = "SELECT i.signer, i.id::text, i.digest, i.position, i.not_after \
    FROM unnest($1::text[], $2::text[]) AS w (signer, id) \
    CROSS JOIN LATERAL ( \
        SELECT * FROM instructions WHERE signer = w.signer AND id = w.id::uuid LIMIT 1) i";
const BALANCES: &str = "SELECT b.account, b.fund, b.currency, b.amount::text, b.held::text \
    FROM unnest($1::text[], $2::text[], $3::text[]) AS w (account, fund, currency) \
    CROSS JOIN LATERAL ( \
        SELECT * FROM balances \
        WHERE account = w.account AND fund = w.fund AND currency = w.currency LIMIT 1) b";
const HEADS: &str = "SELECT position, payload FROM records WHERE position = ANY($1::bigint[]) AND kind = $2";

/// How long a look without a lock may take: with the lock, it is not waited for.
const PEEK: Duration = Duration::from_secs(2);

pub(crate) const DUE: &str = "SELECT disbursement, expires FROM disbursements \
    WHERE can_lapse AND expires < greatest($1, (SELECT recorded_at FROM head)) \
    ORDER BY expires, disbursement LIMIT $2";

/// What a load answers: each key with its entity, if there is one.
pub type Loaded = Vec<(Key, Option<Entity>)>;

/// The prepared statements of a connection.
#[derive(Debug, Clone)]
pub struct Loader {
    entities: Statement,
    disbursements: Statement,
    instructions: Statement,
    balances: Statement,
    heads: Statement,
}

impl Loader {
    /// Prepares the statements.
    pub async fn prepare(client: &Client) -> Result<Loader, StoreError> {
        let (entities, disbursements, instructions, balances, heads) = tokio::try_join!(
            client.prepare(ENTITIES),
            client.prepare(DISBURSEMENTS),
            client.prepare(INSTRUCTIONS),
            client.prepare(BALANCES),
            client.prepare(HEADS),
        )?;
        Ok(Loader { entities, disbursements, instructions, balances, heads })
    }

    /// The statements of a pooled connection, prepared once.
    pub async fn cached(client: &deadpool_postgres::Object) -> Result<Loader, StoreError> {
        let (entities, disbursements, instructions, balances, heads) = tokio::try_join!(
            client.prepare_cached(ENTITIES),
            client.prepare_cached(DISBURSEMENTS),
            client.prepare_cached(INSTRUCTIONS),
            client.prepare_cached(BALANCES),
            client.prepare_cached(HEADS),
        )?;
        Ok(Loader { entities, disbursements, instructions, balances, heads })
    }

    /// Loads keys, none twice, in one round trip. The statements are sent when this is polled first.
    pub async fn load(&self, client: &Client, keys: Vec<Key>) -> Result<Loaded, StoreError> {
        let wanted = Wanted::of(keys);
        let (entities, disbursements, instructions, balances, heads) = tokio::join!(
            biased;
            stored(client, &self.entities, &wanted.entities),
            stored(client, &self.disbursements, &wanted.disbursements),
            self.instructions(client, &wanted),
            self.balances(client, &wanted),
            self.heads(client, &wanted),
        );
        let mut found: HashMap<Key, Entity> = HashMap::new();
        for part in [entities?, disbursements?, instructions?, balances?, heads?] {
            found.extend(part);
        }
        Ok(wanted
            .keys
            .into_iter()
            .map(|key| {
                let entity = found.remove(&key);
                (key, entity)
            })
            .collect())
    }

    async fn instructions(&self, client: &Client, wanted: &Wanted) -> Result<Vec<(Key, Entity)>, StoreError> {
        if wanted.instruction_ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows =
            client.query(&self.instructions, &[&wanted.instruction_signers, &wanted.instruction_ids]).await?;
        rows.into_iter().map(instruction).collect()
    }

    async fn balances(&self, client: &Client, wanted: &Wanted) -> Result<Vec<(Key, Entity)>, StoreError> {
        if wanted.accounts.is_empty() {
            return Ok(Vec::new());
        }
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&wanted.accounts, &wanted.funds, &wanted.currencies];
        let rows = client.query(&self.balances, &parameters).await?;
        rows.into_iter()
            .map(|row| balance(&row).map(|(key, balance)| (Key::Balance(key), Entity::Balance(balance))))
            .collect()
    }

    async fn heads(&self, client: &Client, wanted: &Wanted) -> Result<Vec<(Key, Entity)>, StoreError> {
        if wanted.sizes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = client.query(&self.heads, &[&wanted.sizes, &Kind::Group.code()]).await?;
        rows.into_iter().map(head).collect()
    }
}

/// What a group may begin with, from one snapshot and without a lock: what [`Writer::begin`](crate::writer::Writer::begin) answers,
/// as it was a moment ago. One round trip.
pub async fn peek(
    databases: &Databases,
    now: Timestamp,
    due_limit: u32,
    keys: Vec<Key>,
) -> Result<Opened, StoreError> {
    // With the connection and what it has to prepare.
    let peeked = tokio::time::timeout(PEEK, peek_within(databases, now, due_limit, keys)).await;
    peeked.unwrap_or(Err(StoreError::Silent))
}

async fn peek_within(
    databases: &Databases,
    now: Timestamp,
    due_limit: u32,
    keys: Vec<Key>,
) -> Result<Opened, StoreError> {
    const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    let client = databases.service().await?;
    let (loader, head, due) = tokio::try_join!(
        Loader::cached(&client),
        async { Ok(client.prepare_cached(log::HEAD).await?) },
        async { Ok(client.prepare_cached(DUE).await?) },
    )?;
    let due_parameters: [&(dyn ToSql + Sync); 2] = [&now.unix(), &i64::from(due_limit)];
    // All of it is sent at once, so that whoever gives up leaves no transaction open.
    let (begun, head, due, loaded, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_one(&head, &[]),
        client.query(&due, &due_parameters),
        loader.load(&client, keys),
        client.batch_execute("COMMIT"),
    );
    begun?;
    let head = head_of(&head?)?;
    let due = due?.iter().map(due_of).collect::<Result<_, _>>()?;
    let loaded = loaded?;
    ended?;
    Ok(Opened { head, due, loaded })
}

pub(crate) fn due_of(row: &Row) -> Result<(DisbursementId, Timestamp), StoreError> {
    let id: String = row.try_get(0)?;
    let id = id.parse().map_err(|_| StoreError::corrupt("disbursements", "an id that is none"))?;
    Ok((id, time("disbursements", row.try_get(1)?)?))
}

/// Loads from one snapshot of the database, outside any group: `keys` first, then what `next` asks for when it is given
/// what was loaded before, until that is nothing.
pub async fn in_snapshot(
    databases: &Databases,
    keys: Vec<Key>,
    mut next: impl FnMut(&Head, Loaded) -> Vec<Key>,
) -> Result<(), StoreError> {
    let mut client = databases.service().await?;
    let loader = Loader::cached(&client).await?;
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = snapshot.start().await?;
    let head = log::head(transaction.client()).await?;
    let mut wanted = keys;
    loop {
        let loaded = loader.load(transaction.client(), wanted).await?;
        wanted = next(&head, loaded);
        if wanted.is_empty() {
            return Ok(transaction.commit().await?);
        }
    }
}

/// Keys, sorted into the tables that hold them.
#[derive(Default)]
struct Wanted {
    keys: Vec<Key>,
    /// By what a row calls them; in order, so that what asks for the same is the same statement.
    entities: BTreeMap<String, Key>,
    disbursements: BTreeMap<String, Key>,
    instruction_signers: Vec<String>,
    instruction_ids: Vec<String>,
    accounts: Vec<String>,
    funds: Vec<String>,
    currencies: Vec<String>,
    sizes: Vec<i64>,
}

impl Wanted {
    fn of(keys: Vec<Key>) -> Wanted {
        let mut wanted = Wanted::default();
        for key in &keys {
            match key {
                Key::Instruction(signer, id) => {
                    wanted.instruction_signers.push(signer.to_string());
                    wanted.instruction_ids.push(id.to_string());
                }
                Key::Balance(key) => {
                    wanted.accounts.push(key.account.to_string());
                    wanted.funds.push(key.fund.to_string());
                    wanted.currencies.push(key.currency.to_string());
                }
                Key::Disbursement(id) => {
                    wanted.disbursements.insert(id.to_string(), key.clone());
                }
                // No log is as long as that, so there is no such head.
                Key::Head(size) => wanted.sizes.extend(i64::try_from(*size)),
                key => {
                    wanted.entities.insert(key.to_string(), key.clone());
                }
            }
        }
        wanted.keys = keys;
        wanted
    }
}

/// Entities that a table has as packed JSON, by what its rows call them.
async fn stored(
    client: &Client,
    statement: &Statement,
    wanted: &BTreeMap<String, Key>,
) -> Result<Vec<(Key, Entity)>, StoreError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let rows = client.query(statement, &[&names]).await?;
    let entity = |row: Row| {
        let name: String = row.try_get(0)?;
        let json = entity_json(row.try_get(1)?)?;
        let key = wanted.get(&name);
        let key = key.ok_or_else(|| StoreError::corrupt("entities", format!("{name} was not asked for")))?;
        let entity = Entity::from_json(key, &json)
            .map_err(|error| StoreError::corrupt("entities", format!("{name}: {error}")))?;
        Ok((key.clone(), entity))
    };
    rows.into_iter().map(entity).collect()
}

fn instruction(row: Row) -> Result<(Key, Entity), StoreError> {
    let corrupt = |problem: String| StoreError::corrupt("instructions", problem);
    let signer: String = row.try_get(0)?;
    let id: String = row.try_get(1)?;
    let digest: &[u8] = row.try_get(2)?;
    let state = InstructionState {
        digest: Digest::try_from(digest).map_err(|error| corrupt(error.to_string()))?,
        position: unsigned("instructions", row.try_get(3)?)?,
        not_after: time("instructions", row.try_get(4)?)?,
    };
    let signer = signer.parse().map_err(|_| corrupt(format!("the signer {signer}")))?;
    let id = id.parse().map_err(|_| corrupt(format!("the id {id}")))?;
    Ok((Key::Instruction(signer, id), Entity::Instruction(state)))
}

fn head(row: Row) -> Result<(Key, Entity), StoreError> {
    let size = unsigned("records", row.try_get(0)?)?;
    let payload = packed::unpack(row.try_get(1)?)
        .map_err(|error| StoreError::corrupt("records", format!("position {size}: {error}")))?;
    let group: Group = signing::canonical::decode(&payload)
        .map_err(|error| StoreError::corrupt("records", format!("position {size}: {error}")))?;
    Ok((Key::Head(size), Entity::Head(HeadState { root: group.root, recorded_at: group.recorded_at })))
}

/// A balance from a row of account, fund, currency, amount and held, the last two as text.
pub fn balance(row: &Row) -> Result<(BalanceKey, Balance), StoreError> {
    let corrupt = |problem: &str| StoreError::corrupt("balances", problem);
    let (account, fund, currency): (&str, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let key = BalanceKey {
        account: account.parse().map_err(|_| corrupt("an account that the chart does not have"))?,
        fund: fund.parse().map_err(|_| corrupt("a fund's id that is none"))?,
        currency: currency.parse::<Currency>().map_err(|_| corrupt("a currency that does not exist"))?,
    };
    let money = |text: &str| {
        let amount: Option<Decimal> = text.parse().ok();
        amount.and_then(|amount| Money::from_decimal(amount, key.currency).ok())
    };
    let amount =
        money(row.try_get(3)?).ok_or_else(|| corrupt("an amount that its currency does not have"))?;
    let held = money(row.try_get(4)?).ok_or_else(|| corrupt("a hold that its currency does not have"))?;
    Ok((key, Balance { amount, held }))
}

/// The JSON of an entity's row.
pub fn entity_json(packed: &[u8]) -> Result<String, StoreError> {
    let json = packed::unpack(packed).map_err(|error| StoreError::corrupt("entities", error))?;
    String::from_utf8(json).map_err(|error| StoreError::corrupt("entities", error))
}

pub(crate) fn unsigned(table: &'static str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::corrupt(table, "a negative position"))
}

pub(crate) fn time(table: &'static str, unix: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_unix(unix).ok_or_else(|| StoreError::corrupt(table, "a time outside the years 1 to 9999"))
}
