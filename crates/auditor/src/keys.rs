//! What became of keys without an act of the custodians: spares that were activated, and keys that expire.

use std::fmt;

use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::State;
use programme::entity::{KeyState, Spare, Stored as _};
use serde::Serialize;
use signing::keys::KeyId;

use crate::page::{Align, Page, Table};
use crate::report::decimal;

/// A key is listed that has expired, or expires within this time from the log's end: 30 days, in which a quorum enrols another.
pub const EXPIRING_WINDOW_S: u64 = 30 * 24 * 60 * 60;

/// A spare key that its holder activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activated {
    /// When.
    pub at: Timestamp,
    /// The spare.
    pub key: KeyId,
    /// Where the activation stands.
    #[serde(serialize_with = "decimal")]
    pub position: u64,
    /// Whose key it is.
    pub principal: PrincipalId,
    /// The key that it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<KeyId>,
}

/// A key that has expired or soon will, and that nobody ended before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// From when on it is no longer valid.
    pub expires: Timestamp,
    /// Whether that was reached by the log's time.
    pub has_expired: bool,
    /// The key.
    pub key: KeyId,
    /// Whose key it is.
    pub principal: PrincipalId,
}

fn keys(state: &State) -> impl Iterator<Item = &KeyState> {
    state.entities().filter_map(|(_, entity)| KeyState::of(entity)).filter(|key| !key.vetoed)
}

/// Every activation of the log, in its order.
pub(crate) fn activated(state: &State) -> Vec<Activated> {
    let one = |state: &KeyState| match state.spare {
        Some(Spare::Activated { at, position, replaced }) => {
            let (key, principal) = (state.public.id(), state.principal.clone());
            Some(Activated { at, key, position, principal, replaced })
        }
        Some(Spare::Waiting) | None => None,
    };
    let mut found: Vec<Activated> = keys(state).filter_map(one).collect();
    found.sort_by_key(|one| one.position);
    found
}

/// The keys that have expired by a time, or do soon after it: by when, then by key.
pub(crate) fn expiring(state: &State, now: Timestamp) -> Vec<Expiring> {
    let is_ended = |key: &KeyState| key.until.is_some_and(|end| end.at <= now);
    let one = |state: &KeyState| {
        let expires = state.expires?;
        let is_near = expires.since(now).is_none_or(|ahead_s| ahead_s <= EXPIRING_WINDOW_S);
        is_near.then(|| {
            let (key, principal) = (state.public.id(), state.principal.clone());
            Expiring { expires, has_expired: expires <= now, key, principal }
        })
    };
    let mut found: Vec<Expiring> = keys(state).filter(|key| !is_ended(key)).filter_map(one).collect();
    found.sort_by_key(|one| (one.expires, one.key));
    found
}

/// Writes both as sections of a page, each where there is one.
pub(crate) fn write(activated: &[Activated], expiring: &[Expiring], page: &mut Page) {
    if !activated.is_empty() {
        page.strong("Spare keys that were activated: ask each owner whether it was he");
        let columns = [
            ("position", Align::Right),
            ("when", Align::Left),
            ("whose", Align::Left),
            ("spare", Align::Left),
            ("in place of", Align::Left),
        ];
        let mut table = Table::new("", &columns);
        for Activated { at, key, position, principal, replaced } in activated {
            let replaced = replaced.map_or(String::new(), |key| key.to_string());
            table.row([
                position.to_string(),
                at.to_string(),
                principal.to_string(),
                key.to_string(),
                replaced,
            ]);
        }
        page.table(table);
    }
    if !expiring.is_empty() {
        page.strong("Keys that have expired, or do within 30 days of the log's time");
        let columns = [("expires", Align::Left), ("whose", Align::Left), ("key", Align::Left)];
        let mut table = Table::new("", &columns);
        for Expiring { expires, key, principal, .. } in expiring {
            table.row([expires.to_string(), principal.to_string(), key.to_string()]);
        }
        page.table(table);
    }
}

impl fmt::Display for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Activated { at, key, position, principal, replaced } = self;
        write!(f, "ACTIVATED spare key {key} of {principal} at position {position}, {at}")?;
        match replaced {
            Some(replaced) => write!(f, ", in place of {replaced}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Expiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expiring { expires, has_expired, key, principal } = self;
        let word = if *has_expired { "EXPIRED" } else { "EXPIRES" };
        write!(f, "{word} {expires} key {key} of {principal}")
    }
}
