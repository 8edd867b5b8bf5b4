//! What a stolen key signed: where custodians, or its owner's spare, ended a key since a position, everything that it signed from there on is
//! the log's, and somebody has to ask its owner about each.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ledger::id::PrincipalId;
use programme::entity::{Ending, Entity, KeyState, Stored as _};
use programme::{Key, State};
use records::{Kind, Verified};
use serde::Serialize;
use signing::digest::Digest;
use signing::keys::KeyId;

use crate::page::{Align, Page, Table, counted};
use crate::report::{decimal, decimal_if_any, decimals};

/// How many records of one key are listed; all are counted.
pub const LISTED_MAX: usize = 1000;

/// The end of a key that declares since when somebody else may have had the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compromise {
    /// The record that ended the key: the proposal to revoke it, or the activation of a spare.
    pub by: Digest,
    /// How many records the key signed from there on, of those that were read.
    #[serde(serialize_with = "decimal")]
    pub count: u64,
    /// The key.
    pub key: KeyId,
    /// The same by kind.
    #[serde(serialize_with = "decimals")]
    pub kinds: BTreeMap<&'static str, u64>,
    /// Where the part begins that was read, if that is after the position: what was signed before is not listed.
    #[serde(serialize_with = "decimal_if_any", skip_serializing_if = "Option::is_none")]
    pub part_from: Option<u64>,
    /// Whose key it is.
    pub principal: PrincipalId,
    /// The first of them, at most [`LISTED_MAX`].
    pub records: Vec<ToReview>,
    /// The position.
    #[serde(serialize_with = "decimal")]
    pub since: u64,
}

/// A record that must be reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ToReview {
    /// Its kind.
    pub kind: &'static str,
    /// Where it stands.
    #[serde(serialize_with = "decimal")]
    pub position: u64,
}

/// Where each key signed, while the log is read; of a part, only what stands in it. The ledger's own keys are never revoked, so what they sign is left out.
#[derive(Debug, Default)]
pub(crate) struct Signed(HashMap<KeyId, Vec<(u64, Kind)>>);

impl Signed {
    /// Takes the record at a position.
    pub fn take(&mut self, position: u64, record: &Verified) {
        let kind = record.kind();
        if !matches!(kind, Kind::Group | Kind::JournalEntry | Kind::Lapse | Kind::Pad) {
            self.0.entry(record.envelope().key_id).or_default().push((position, kind));
        }
    }

    /// What must be reviewed at the log's end, by position and key, of a log that was read from `from` on.
    pub fn to_review(&self, state: &State, from: u64) -> Vec<Compromise> {
        let mut found: Vec<Compromise> =
            state.entities().filter_map(|(key, entity)| self.of(from, key, entity)).collect();
        found.sort_by_key(|one| (one.since, one.key));
        found
    }

    fn of(&self, part: u64, key: &Key, entity: &Entity) -> Option<Compromise> {
        let (Key::PublicKey(key), Some(KeyState { principal, until, .. })) = (key, KeyState::of(entity))
        else {
            return None;
        };
        let Ending { by, since, .. } = (*until)?;
        let since = since?;
        let signed = self.0.get(key).map_or(&[][..], Vec::as_slice);
        let from = signed.partition_point(|(position, _)| *position < since);
        let signed = signed.get(from..).unwrap_or_default();
        let mut kinds = BTreeMap::new();
        for (_, kind) in signed {
            *kinds.entry(kind.name()).or_default() += 1;
        }
        let records = signed
            .iter()
            .take(LISTED_MAX)
            .map(|(position, kind)| ToReview { kind: kind.name(), position: *position });
        Some(Compromise {
            by,
            count: signed.len() as u64,
            key: *key,
            kinds,
            part_from: Some(part).filter(|part| *part > since),
            principal: principal.clone(),
            records: records.collect(),
            since,
        })
    }
}

impl Compromise {
    /// How many records, and whose.
    fn headline(&self) -> String {
        format!(
            "{} that key {} of {} signed from position {} on; it was ended by {}",
            counted(self.count, "record"),
            self.key,
            self.principal,
            self.since,
            self.by
        )
    }

    /// How many are not listed, where some are not.
    fn rest(&self) -> Option<String> {
        let rest = self.count.saturating_sub(self.records.len() as u64);
        (rest > 0).then(|| format!("and {rest} later ones"))
    }

    /// What was not read, where that is some of it.
    fn unread(&self) -> Option<String> {
        let part = self.part_from?;
        Some(format!(
            "records before position {part} are not in this part; what the key signed from position {} up to there, an audit \
             of a whole bundle lists",
            self.since
        ))
    }

    /// Writes them as a section of a page.
    pub(crate) fn write(&self, page: &mut Page) {
        page.strong(format!("To be reviewed: {}", self.headline()));
        let mut table = Table::new("", &[("position", Align::Right), ("kind", Align::Left)]);
        for ToReview { kind, position } in &self.records {
            table.row([position.to_string(), (*kind).to_owned()]);
        }
        page.table(table);
        self.rest().into_iter().chain(self.unread()).for_each(|line| page.line(line));
    }
}

impl fmt::Display for Compromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TO BE REVIEWED {}", self.headline())?;
        for ToReview { kind, position } in &self.records {
            writeln!(f, "  {position:>12} {kind}")?;
        }
        self.rest().into_iter().chain(self.unread()).try_for_each(|line| writeln!(f, "  {line}"))
    }
}
