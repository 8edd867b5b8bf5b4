//! The log as it is stored: records, the head, checkpoints and tiles. Reading it, and what the publisher writes; groups
//! are appended by [`crate::writer`], and [`crate::follower`] has what the publisher asks for each head.

use records::journal::Pad;
use records::{Kind, Record};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, Signature};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use translog::tile::TileId;
use translog::tree::Frontier;

use crate::error::StoreError;
use crate::load::{time, unsigned};
use crate::packed;
use ledger::time::Timestamp;

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many records there are.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// What the tree grows from.
    pub frontier: Frontier,
    /// The time of the last group.
    pub recorded_at: Timestamp,
    /// Whether a publisher found that it does not extend what it had published.
    pub forked: bool,
}

/// The head, and what [`head_of`] reads.
const HEAD: &str = "SELECT size, root, frontier, recorded_at, forked FROM head";
const RECORDS: &str = "SELECT position, kind, keyid, payload, signature FROM envelopes \
    WHERE position >= $1 AND position < $2 ORDER BY position LIMIT $3";
/// Stores a checkpoint; with a pad before it (kind 5), it is one that becomes public.
pub(crate) const CHECKPOINT: &str = "WITH stored AS ( \
        INSERT INTO checkpoints (size, note, is_public) \
        VALUES ($1::bigint, $2, EXISTS (SELECT FROM records WHERE position = $1 - 1 AND kind = 5)) \
        ON CONFLICT (size) DO NOTHING) \
    SELECT set_config('synchronous_commit', 'off', true)";

pub(crate) fn head_of(row: &Row) -> Result<Head, StoreError> {
    let corrupt = |problem: String| StoreError::corrupt("head", problem);
    let (root, frontier): (&[u8], &[u8]) = (row.try_get(1)?, row.try_get(2)?);
    let head = Head {
        size: unsigned("head", row.try_get(0)?)?,
        root: Digest::try_from(root).map_err(|error| corrupt(error.to_string()))?,
        frontier: Frontier::decode(frontier).map_err(|error| corrupt(error.to_string()))?,
        recorded_at: time("head", row.try_get(3)?)?,
        forked: row.try_get(4)?,
    };
    if head.frontier.size() == head.size && head.frontier.root() == head.root {
        Ok(head)
    } else {
        Err(corrupt("size, root and frontier do not agree".to_owned()))
    }
}

/// The head as it was committed last.
pub async fn head(client: &Client) -> Result<Head, StoreError> {
    let rows = client.query_typed(HEAD, &[]).await?;
    head_of(rows.first().ok_or_else(|| StoreError::corrupt("head", "no row"))?)
}

pub(crate) fn envelope_of(
    kind: i16,
    key: &[u8],
    payload: &[u8],
    signature: &[u8],
) -> Result<Envelope, StoreError> {
    let corrupt = |problem: &str| StoreError::corrupt("records", problem);
    let kind = Kind::of_code(kind).ok_or_else(|| corrupt("an unknown kind"))?;
    Ok(Envelope {
        payload_type: kind.payload_type().to_owned(),
        payload: packed::unpack(payload).map_err(|_| corrupt("a payload that is none"))?,
        key_id: KeyId(Digest::try_from(key).map_err(|_| corrupt("a key id that is none"))?),
        signature: Signature(signature.try_into().map_err(|_| corrupt("a signature that is none"))?),
    })
}

/// The envelopes from position `from` on, `limit` at most, as long as they are before `to`; in order and without a gap.
pub async fn envelopes(client: &Client, from: u64, to: u64, limit: u32) -> Result<Vec<Envelope>, StoreError> {
    let (first, end, most) = (signed(from), signed(to), i64::from(limit));
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&first, Type::INT8), (&end, Type::INT8), (&most, Type::INT8)];
    let rows = client.query_typed(RECORDS, &parameters).await?;
    let mut envelopes = Vec::with_capacity(rows.len());
    for (position, row) in (from..).zip(&rows) {
        if unsigned("records", row.try_get(0)?)? != position {
            return Err(StoreError::corrupt("records", format!("position {position} is missing")));
        }
        envelopes.push(envelope_of(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)?);
    }
    let asked = to.saturating_sub(from).min(u64::from(limit));
    if envelopes.len() as u64 == asked {
        Ok(envelopes)
    } else {
        Err(StoreError::corrupt("records", format!("position {} is missing", from + envelopes.len() as u64)))
    }
}

/// What a publisher needs to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The RFC 6962 hash of its leaf.
    pub hash: Digest,
    /// Whether it is a pad: after the last of a group, the head becomes public.
    pub is_pad: bool,
}

impl Leaf {
    /// That of an envelope.
    pub fn of(envelope: &Envelope) -> Leaf {
        let hash = translog::tree::leaf_hash(&envelope.encode());
        Leaf { hash, is_pad: envelope.payload_type == Kind::Pad.payload_type() }
    }
}

/// The leaves of a range of positions, computed from the envelopes, `limit` at most.
pub async fn leaves(client: &Client, from: u64, to: u64, limit: u32) -> Result<Vec<Leaf>, StoreError> {
    let envelopes = envelopes(client, from, to, limit).await?;
    Ok(envelopes.iter().map(Leaf::of).collect())
}

/// The record at a position, parsed.
pub async fn record(client: &Client, position: u64) -> Result<Option<Record>, StoreError> {
    const SQL: &str = "SELECT kind, keyid, payload, signature FROM envelopes WHERE position = $1";
    let Some(row) = client.query_opt(SQL, &[&signed(position)]).await? else {
        return Ok(None);
    };
    let envelope = envelope_of(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?;
    let record = Record::parse(envelope)
        .map_err(|error| StoreError::corrupt("records", format!("position {position}: {error}")))?;
    Ok(Some(record))
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// How many records it covers.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// The latest checkpoint that was stored, if there is one.
pub async fn latest_checkpoint(client: &Client) -> Result<Option<SignedHead>, StoreError> {
    const SQL: &str = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
    let row = client.query_opt(SQL, &[]).await?;
    row.map(|row| Ok(SignedHead { size: unsigned("checkpoints", row.try_get(0)?)?, note: row.try_get(1)? }))
        .transpose()
}

/// The checkpoint that is public at a time, if there is one. Its cosignatures are not: whether a head was cosigned, and when,
/// tells how soon another one followed.
pub async fn public_checkpoint(client: &Client, now: Timestamp) -> Result<Option<SignedHead>, StoreError> {
    // The newest head is not public yet, and with policy's period the order may change: but for a few, those before it are.
    const SQL: &str = "SELECT c.size, c.note, r.payload \
        FROM checkpoints c JOIN records r ON r.position = c.size - 1 \
        WHERE c.is_public ORDER BY c.size DESC LIMIT 100";
    for row in client.query(SQL, &[]).await? {
        let corrupt =
            |problem: &str| StoreError::corrupt("records", format!("before a public head: {problem}"));
        let payload = packed::unpack(row.try_get(2)?).map_err(|_| corrupt("a payload that is none"))?;
        let pad: Pad = canonical::decode(&payload).map_err(|error| corrupt(&error.to_string()))?;
        if pad.public_from <= now {
            let size = unsigned("checkpoints", row.try_get(0)?)?;
            return Ok(Some(SignedHead { size, note: row.try_get(1)? }));
        }
    }
    Ok(None)
}

/// Stores a checkpoint with the cosignatures that it has so far; what was stored of the same size is replaced. It must be the
/// one that this database has at that size: another may have taken over since it was asked for.
pub async fn store_cosigned(client: &Client, size: u64, note: &str) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO cosigned (size, note) \
        SELECT c.size, $2::text FROM checkpoints c WHERE c.size = $1 AND starts_with($2::text, c.note) \
        ON CONFLICT (size) DO UPDATE SET note = excluded.note";
    client.execute(SQL, &[&signed(size), &note]).await?;
    Ok(())
}

/// The latest checkpoint that was stored with cosignatures, if there is one, with these.
pub async fn latest_cosigned(client: &Client) -> Result<Option<String>, StoreError> {
    const SQL: &str = "SELECT note FROM cosigned ORDER BY size DESC LIMIT 1";
    let row = client.query_opt(SQL, &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// A complete tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTile {
    /// Which one.
    pub id: TileId,
    /// Its 256 hashes.
    pub hashes: Box<[Digest; 256]>,
}

/// Stores complete tiles; one that is there already stays.
pub async fn store_tiles(client: &Client, tiles: &[StoredTile]) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO tiles (level, index, hashes, root) \
        SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[]) \
        ON CONFLICT (level, index) DO NOTHING";
    let levels: Vec<i16> = tiles.iter().map(|tile| i16::from(tile.id.level)).collect();
    let indexes: Vec<i64> = tiles.iter().map(|tile| signed(tile.id.index)).collect();
    let hashes: Vec<Vec<u8>> = tiles.iter().map(|tile| bytes_of(&tile.hashes[..])).collect();
    let roots: Vec<Vec<u8>> =
        tiles.iter().map(|tile| translog::tile::tile_root(&tile.hashes).as_bytes().to_vec()).collect();
    client.execute(SQL, &[&levels, &indexes, &hashes, &roots]).await?;
    Ok(())
}

/// The roots of complete tiles of one level, `from` the first index, before `to`; in order and without a gap.
pub async fn tile_roots(client: &Client, level: u8, from: u64, to: u64) -> Result<Vec<Digest>, StoreError> {
    const SQL: &str = "SELECT root FROM tiles WHERE level = $1 AND index >= $2 AND index < $3 ORDER BY index";
    let rows = client.query(SQL, &[&i16::from(level), &signed(from), &signed(to)]).await?;
    let root = |row: &Row| {
        Digest::try_from(row.try_get::<_, &[u8]>(0)?).map_err(|error| StoreError::corrupt("tiles", error))
    };
    let roots = rows.iter().map(root).collect::<Result<Vec<_>, _>>()?;
    if roots.len() as u64 == to.saturating_sub(from) {
        Ok(roots)
    } else {
        Err(StoreError::corrupt("tiles", format!("a tile of level {level} from {from} to {to} is missing")))
    }
}

/// The hashes of a complete tile, which must be published.
pub async fn tile(client: &Client, id: TileId) -> Result<Vec<Digest>, StoreError> {
    const SQL: &str = "SELECT hashes FROM tiles WHERE level = $1 AND index = $2";
    let row = client.query_opt(SQL, &[&i16::from(id.level), &signed(id.index)]).await?;
    let row = row.ok_or_else(|| StoreError::corrupt("tiles", format!("the tile {id:?} is missing")))?;
    match row.try_get::<_, &[u8]>(0)?.as_chunks() {
        (hashes, []) => Ok(hashes.iter().copied().map(Digest::from_bytes).collect()),
        _ => Err(StoreError::corrupt("tiles", "hashes that do not have 32 bytes")),
    }
}

/// Records for every process that the log does not extend what was published: from now on nothing is appended.
pub async fn mark_forked(client: &Client) -> Result<(), StoreError> {
    client.execute("UPDATE head SET forked = true", &[]).await?;
    Ok(())
}

/// Takes that back, where the log goes on under another origin.
pub async fn unmark_forked(client: &Client) -> Result<(), StoreError> {
    client.execute("UPDATE head SET forked = false", &[]).await?;
    Ok(())
}

fn bytes_of(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| *digest.as_bytes()).collect()
}

/// A position as the database counts it: no log has more than 2^62 records ([`translog::tree::MAX_SIZE`]), and above
/// that there is nothing to find.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
