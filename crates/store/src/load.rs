//! Loads entities by key: the reads that let the rules decide.
//!
//! Four kinds of key have tables of their own: balances (only the trigger writes them), instruction ids, disbursements, and heads,
//! which are group records of the log. Everything else is in `entities`. One statement asks for all of it, and for the head
//! and what is due, so that it is one message and sees one snapshot; its only row has columns of arrays, a group of them for
//! each table. Another asks for rows of `entities` alone. Every key that is asked for is answered, with `None` where there is no such entity.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ledger::books::{Balance, BalanceKey};
use ledger::currency::Currency;
use ledger::id::DisbursementId;
use ledger::money::Money;
use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{Entity, HeadState, InstructionState, Stored as _};
use records::Kind;
use records::journal::Group;
use rust_decimal::Decimal;
use signing::digest::Digest;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, IsolationLevel, Row, Statement};

use crate::error::StoreError;
use crate::log::{Head, head_of};
use crate::packed;
use crate::pool::Databases;
use crate::writer::Opened;

/// The head, what is due, and entities: disbursements that ran out before the later of `$1` and the last group, `$2` at most,
/// the longest overdue first. A subquery with a limit is run once for each key, by the index: a join would be planned for
/// a table of another size.
const OPEN: &str = "SELECT h.size, h.root, h.frontier, h.recorded_at, h.forked, l.*, e.*, d.*, i.*, b.*, g.* \
    FROM head h \
    CROSS JOIN LATERAL ( \
        SELECT array_agg(disbursement), array_agg(expires) \
        FROM ( \
            SELECT disbursement, expires FROM disbursements \
            WHERE can_lapse AND expires < greatest($1, h.recorded_at) \
            ORDER BY expires LIMIT $2) r) l \
    CROSS JOIN (SELECT array_agg(key), array_agg(value) FROM entities WHERE key = ANY ($3::text[])) e \
    CROSS JOIN ( \
        SELECT array_agg(disbursement), array_agg(state) FROM disbursements WHERE disbursement = ANY ($4::text[])) d \
    CROSS JOIN ( \
        SELECT array_agg(r.signer), array_agg(r.id::text), array_agg(r.digest), array_agg(r.position), \
            array_agg(r.not_after) \
        FROM unnest($5::text[], $6::text[]) AS w (signer, id) \
        CROSS JOIN LATERAL ( \
            SELECT * FROM instructions WHERE id = w.id::uuid AND signer = w.signer LIMIT 1) r) i \
    CROSS JOIN ( \
        SELECT array_agg(r.account), array_agg(r.fund), array_agg(r.currency), array_agg(r.amount::text), \
            array_agg(r.held::text) \
        FROM unnest($7::text[], $8::text[], $9::text[]) AS w (account, fund, currency) \
        CROSS JOIN LATERAL ( \
            SELECT * FROM balances \
            WHERE account = w.account AND fund = w.fund AND currency = w.currency LIMIT 1) r) b \
    CROSS JOIN ( \
        SELECT array_agg(position), array_agg(payload) FROM records \
        WHERE position = ANY ($10::bigint[]) AND kind = $11) g";

/// Entities alone: what is looked up to know who asks.
const ENTITIES: &str = "SELECT array_agg(key), array_agg(value) FROM entities WHERE key = ANY ($1::text[])";

/// How long a look without a lock may take: with the lock, it is not waited for.
const PEEK: Duration = Duration::from_secs(2);

/// What a load answers: each key with its entity, if there is one.
pub type Loaded = Vec<(Key, Option<Entity>)>;

/// The prepared statements of a connection.
#[derive(Debug, Clone)]
pub struct Loader {
    open: Statement,
    entities: Statement,
}

impl Loader {
    /// Prepares them.
    pub async fn prepare(client: &Client) -> Result<Loader, StoreError> {
        let (open, entities) = tokio::try_join!(client.prepare(OPEN), client.prepare(ENTITIES))?;
        Ok(Loader { open, entities })
    }

    /// Those of a pooled connection, prepared once.
    pub async fn cached(client: &deadpool_postgres::Object) -> Result<Loader, StoreError> {
        let (open, entities) =
            tokio::try_join!(client.prepare_cached(OPEN), client.prepare_cached(ENTITIES))?;
        Ok(Loader { open, entities })
    }

    /// Loads keys, none twice, in one round trip.
    pub async fn load(&self, client: &Client, keys: Vec<Key>) -> Result<Loaded, StoreError> {
        let wanted = Wanted::of(keys);
        if wanted.entities.len() < wanted.keys.len() {
            return Ok(self.ask(client, (0, 0), wanted).await?.loaded);
        }
        let names: Vec<&str> = wanted.entities.keys().map(String::as_str).collect();
        let row = client.query_one(&self.entities, &[&names]).await?;
        let found =
            Cells { row: &row, next: 0 }.two(|name, packed| stored(name, packed, &wanted.entities))?;
        Ok(wanted.answered(found.into_iter().collect()))
    }

    /// The head, what is due, and these keys, none twice, in one round trip. It is sent when this is polled first.
    pub async fn open(
        &self,
        client: &Client,
        now: Timestamp,
        due_limit: u32,
        keys: Vec<Key>,
    ) -> Result<Opened, StoreError> {
        self.ask(client, (now.unix(), due_limit), Wanted::of(keys)).await
    }

    async fn ask(
        &self,
        client: &Client,
        (before, due_limit): (i64, u32),
        wanted: Wanted,
    ) -> Result<Opened, StoreError> {
        let entities: Vec<&str> = wanted.entities.keys().map(String::as_str).collect();
        let disbursements: Vec<&str> = wanted.disbursements.keys().map(String::as_str).collect();
        let parameters: [&(dyn ToSql + Sync); 11] = [
            &before,
            &i64::from(due_limit),
            &entities,
            &disbursements,
            &wanted.instruction_signers,
            &wanted.instruction_ids,
            &wanted.accounts,
            &wanted.funds,
            &wanted.currencies,
            &wanted.sizes,
            &Kind::Group.code(),
        ];
        let row = client.query_one(&self.open, &parameters).await?;
        let mut cells = Cells::after_head(&row);
        let due = cells.two(due_of)?;
        let mut found: HashMap<Key, Entity> = HashMap::new();
        found.extend(cells.two(|name, packed| stored(name, packed, &wanted.entities))?);
        found.extend(cells.two(|name, packed| stored(name, packed, &wanted.disbursements))?);
        found.extend(cells.instructions()?);
        found.extend(cells.balances()?);
        found.extend(cells.two(head)?);
        Ok(Opened { head: head_of(&row)?, due, loaded: wanted.answered(found) })
    }
}

/// The arrays of a row that begins with a head, one after another.
pub(crate) struct Cells<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Cells<'r> {
    /// Those after what [`head_of`] reads.
    pub fn after_head(row: &'r Row) -> Cells<'r> {
        Cells { row, next: 5 }
    }

    /// The next one; of no rows there is no array.
    pub fn column<T: FromSql<'r>>(&mut self) -> Result<Vec<T>, StoreError> {
        let cells: Option<Vec<T>> = self.row.try_get(self.next)?;
        self.next += 1;
        Ok(cells.unwrap_or_default())
    }

    /// The rows of a table of two columns.
    fn two<A: FromSql<'r>, B: FromSql<'r>, T>(
        &mut self,
        parse: impl Fn(A, B) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (first, second) = (self.column()?, self.column()?);
        first.into_iter().zip(second).map(|(first, second)| parse(first, second)).collect()
    }

    fn instructions(&mut self) -> Result<Vec<(Key, Entity)>, StoreError> {
        let (signers, ids) = (self.column::<&str>()?, self.column::<&str>()?);
        let (digests, positions, ends) = (self.column::<&[u8]>()?, self.column()?, self.column()?);
        let known = digests.into_iter().zip(positions).zip(ends);
        let rows = signers.into_iter().zip(ids).zip(known);
        rows.map(|((signer, id), ((digest, position), end))| {
            let corrupt = |problem: String| StoreError::corrupt("instructions", problem);
            let state = InstructionState {
                digest: Digest::try_from(digest).map_err(|error| corrupt(error.to_string()))?,
                position: unsigned("instructions", position)?,
                not_after: time("instructions", end)?,
            };
            let signer = signer.parse().map_err(|_| corrupt(format!("the signer {signer}")))?;
            let id = id.parse().map_err(|_| corrupt(format!("the id {id}")))?;
            Ok((Key::Instruction(signer, id), state.into_entity()))
        })
        .collect()
    }

    fn balances(&mut self) -> Result<Vec<(Key, Entity)>, StoreError> {
        let (accounts, funds) = (self.column::<&str>()?, self.column::<&str>()?);
        let (currencies, amounts) = (self.column::<&str>()?, self.column::<&str>()?);
        let rows = accounts.into_iter().zip(funds).zip(currencies.into_iter().zip(amounts));
        rows.zip(self.column::<&str>()?)
            .map(|(((account, fund), (currency, amount)), held)| {
                let (key, balance) = balance([account, fund, currency, amount, held])?;
                Ok((Key::from(key), balance.into_entity()))
            })
            .collect()
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
    let client = databases.service().await?;
    Loader::cached(&client).await?.open(&client, now, due_limit, keys).await
}

pub(crate) fn due_of(id: &str, expires: i64) -> Result<(DisbursementId, Timestamp), StoreError> {
    let id = id.parse().map_err(|_| StoreError::corrupt("disbursements", "an id that is none"))?;
    Ok((id, time("disbursements", expires)?))
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
    let mut wanted = keys;
    loop {
        let Opened { head, loaded, .. } =
            loader.ask(transaction.client(), (0, 0), Wanted::of(wanted)).await?;
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

    /// Each key, with what was found of it.
    fn answered(self, mut found: HashMap<Key, Entity>) -> Loaded {
        let entity = |key: Key| {
            let entity = found.remove(&key);
            (key, entity)
        };
        self.keys.into_iter().map(entity).collect()
    }
}

/// An entity that a table has as packed JSON, by what its rows call them.
fn stored(name: &str, packed: &[u8], wanted: &BTreeMap<String, Key>) -> Result<(Key, Entity), StoreError> {
    let json = entity_json(packed)?;
    let key = wanted.get(name);
    let key = key.ok_or_else(|| StoreError::corrupt("entities", format!("{name} was not asked for")))?;
    let entity = Entity::from_json(key, &json)
        .map_err(|error| StoreError::corrupt("entities", format!("{name}: {error}")))?;
    Ok((key.clone(), entity))
}

fn head(position: i64, payload: &[u8]) -> Result<(Key, Entity), StoreError> {
    let size = unsigned("records", position)?;
    let payload = packed::unpack(payload)
        .map_err(|error| StoreError::corrupt("records", format!("position {size}: {error}")))?;
    let group: Group = signing::canonical::decode(&payload)
        .map_err(|error| StoreError::corrupt("records", format!("position {size}: {error}")))?;
    let head = HeadState { root: group.root, recorded_at: group.recorded_at, record_key: None };
    Ok((Key::Head(size), head.into_entity()))
}

/// A balance from account, fund, currency, amount and held, as text.
pub fn balance(
    [account, fund, currency, amount, held]: [&str; 5],
) -> Result<(BalanceKey, Balance), StoreError> {
    let corrupt = |problem: &str| StoreError::corrupt("balances", problem);
    let key = BalanceKey {
        account: account.parse().map_err(|_| corrupt("an account that the chart does not have"))?,
        fund: fund.parse().map_err(|_| corrupt("a fund's id that is none"))?,
        currency: currency.parse::<Currency>().map_err(|_| corrupt("a currency that does not exist"))?,
    };
    let money = |text: &str| {
        let amount: Option<Decimal> = text.parse().ok();
        amount.and_then(|amount| Money::from_decimal(amount, key.currency).ok())
    };
    let amount = money(amount).ok_or_else(|| corrupt("an amount that its currency does not have"))?;
    let held = money(held).ok_or_else(|| corrupt("a hold that its currency does not have"))?;
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
