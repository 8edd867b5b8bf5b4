//! Entities and the lists that officers read.

use deadpool_postgres::GenericClient;
use ledger::id::{CaseRef, DisbursementId, PrincipalId};
use programme::Key;
use programme::entity::{DisbursementState, KeyState, ReportState};
use serde::de::DeserializeOwned;
use signing::digest::Digest;
use signing::keys::KeyId;
use tokio_postgres::Row;

use super::{Page, Slice, corrupt, parsed, row, rows};
use crate::error::StoreError;
use crate::load::{entity_json, unsigned};

/// One entity, of the type that its key names.
pub async fn entity<T: DeserializeOwned>(
    client: &impl GenericClient,
    key: &Key,
) -> Result<Option<T>, StoreError> {
    let found = row(client, "SELECT value FROM entities WHERE key = $1", &[&key.to_string()]).await?;
    found.map(|row| entity_of(row.get(0))).transpose()
}

/// Lists of entities, by the shape of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `offer/<offer>/<version>`
    OfferVersions,
    /// `proposal/<digest>`
    Proposals,
    /// `principal/<principal>`
    Principals,
}

impl Listed {
    /// The first part of the keys, and the pattern of all of it.
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Listed::OfferVersions => ("offer", "offer/%/%"),
            Listed::Proposals => ("proposal", "proposal/%"),
            Listed::Principals => ("principal", "principal/%"),
        }
    }
}

/// A page of entities, with the part of the key that follows the list's name.
pub async fn entities<T: DeserializeOwned>(
    client: &impl GenericClient,
    listed: Listed,
    slice: Slice<'_>,
) -> Result<Page<(String, T)>, StoreError> {
    let (name, pattern) = listed.keys();
    let first = format!("{name}/");
    let after = format!("{first}{}", slice.after_text());
    // '0' follows '/'.
    let end = format!("{name}0");
    let sql =
        "SELECT key, value FROM entities WHERE key > $1 AND key < $2 AND key LIKE $3 ORDER BY key LIMIT $4";
    let found = rows(client, sql, &[&after, &end, &pattern, &slice.fetch()]).await?;
    let items = found.iter().map(|row| {
        let key: &str = row.get(0);
        let cursor = key.strip_prefix(&first).unwrap_or(key).to_owned();
        Ok((cursor.clone(), (cursor, entity_of(row.get(1))?)))
    });
    Ok(Page::of(items.collect::<Result<_, StoreError>>()?, slice))
}

/// The keys of some principals.
pub async fn keys_of(
    client: &impl GenericClient,
    principals: &[PrincipalId],
) -> Result<Vec<(KeyId, KeyState)>, StoreError> {
    // There are as many keys as there are people, so they are all read.
    let sql = "SELECT value FROM entities WHERE key > 'key/' AND key < 'key0' ORDER BY key";
    let mut keys = Vec::new();
    for row in rows(client, sql, &[]).await? {
        let state: KeyState = entity_of(row.get(0))?;
        if principals.contains(&state.principal) {
            keys.push((state.public.id(), state));
        }
    }
    Ok(keys)
}

/// Where these proposals stand in the log, those that are there.
pub async fn positions(
    client: &impl GenericClient,
    proposals: &[Digest],
) -> Result<Vec<(Digest, u64)>, StoreError> {
    let names: Vec<String> = proposals.iter().map(Digest::to_string).collect();
    let sql = "SELECT proposal, position FROM proposals WHERE proposal = ANY ($1)";
    let found = rows(client, sql, &[&names]).await?;
    let position = |row: &Row| Ok((parsed(row.get(0), "a proposal")?, unsigned("proposals", row.get(1))?));
    found.iter().map(position).collect()
}

/// One disbursement.
pub async fn disbursement(
    client: &impl GenericClient,
    id: &DisbursementId,
) -> Result<Option<DisbursementState>, StoreError> {
    let sql = "SELECT state FROM disbursements WHERE disbursement = $1";
    row(client, sql, &[&id.as_str()]).await?.map(|row| entity_of(row.get(0))).transpose()
}

/// A page of disbursements, at one stage or at any.
pub async fn disbursements(
    client: &impl GenericClient,
    stage: Option<&str>,
    slice: Slice<'_>,
) -> Result<Page<(DisbursementId, DisbursementState)>, StoreError> {
    // Two statements, so that the one with a stage is planned for the index by stage.
    let found = match stage {
        None => {
            let sql = "SELECT disbursement, state FROM disbursements WHERE disbursement > $1 \
                ORDER BY disbursement LIMIT $2";
            rows(client, sql, &[&slice.after_text(), &slice.fetch()]).await?
        }
        Some(stage) => {
            let sql = "SELECT disbursement, state FROM disbursements WHERE stage = $3::text::stage AND disbursement > $1 \
                ORDER BY disbursement LIMIT $2";
            rows(client, sql, &[&slice.after_text(), &slice.fetch(), &stage]).await?
        }
    };
    let items = found.iter().map(|row| {
        let id: String = row.get(0);
        let item = (parsed(&id, "a disbursement")?, entity_of(row.get(1))?);
        Ok((id, item))
    });
    Ok(Page::of(items.collect::<Result<_, StoreError>>()?, slice))
}

/// A report of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// The report's digest.
    pub report: Digest,
    /// Its position.
    pub position: u64,
    /// Its kind.
    pub kind: String,
    /// Who signed it, and how far it has come.
    pub state: ReportState,
}

/// A page of reports, in the order of the log.
pub async fn reports(client: &impl GenericClient, slice: Slice<'_>) -> Result<Page<ReportRow>, StoreError> {
    let sql = "SELECT r.report, r.position, r.kind, e.value FROM reports r \
        JOIN entities e ON e.key = 'report/' || r.report WHERE r.position > $1 ORDER BY r.position LIMIT $2";
    let found = rows(client, sql, &[&slice.after_position(), &slice.fetch()]).await?;
    let items = found.iter().map(|row| {
        let position = unsigned("reports", row.get(1))?;
        let report = ReportRow {
            report: parsed(row.get(0), "a digest")?,
            position,
            kind: row.get(2),
            state: entity_of(row.get(3))?,
        };
        Ok((position.to_string(), report))
    });
    Ok(Page::of(items.collect::<Result<_, StoreError>>()?, slice))
}

/// A case, as officers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseRow {
    /// Its reference.
    pub case: CaseRef,
    /// Its agency.
    pub agency: String,
    /// The day on which the person entered.
    pub entered: String,
    /// Its offer.
    pub offer: String,
    /// The offer's version.
    pub offer_version: u64,
    /// `open`, `cleared` or `refused`.
    pub screening: String,
}

/// A page of cases, whose screening is at one outcome or at any.
pub async fn cases(
    client: &impl GenericClient,
    screening: Option<&str>,
    slice: Slice<'_>,
) -> Result<Page<CaseRow>, StoreError> {
    let sql = "SELECT case_ref, agency, entered, offer, offer_version, screening FROM cases \
        WHERE case_ref > $1 AND ($3::text IS NULL OR screening = $3) ORDER BY case_ref LIMIT $2";
    let found = rows(client, sql, &[&slice.after_text(), &slice.fetch(), &screening]).await?;
    let items = found.iter().map(|row| {
        let case: String = row.get(0);
        let item = CaseRow {
            case: parsed(&case, "a case")?,
            agency: row.get(1),
            entered: row.get(2),
            offer: row.get(3),
            offer_version: unsigned("cases", row.get(4))?,
            screening: row.get(5),
        };
        Ok((case, item))
    });
    Ok(Page::of(items.collect::<Result<_, StoreError>>()?, slice))
}

fn entity_of<T: DeserializeOwned>(packed: &[u8]) -> Result<T, StoreError> {
    serde_json::from_str(&entity_json(packed)?).map_err(|_| corrupt("an entity"))
}
