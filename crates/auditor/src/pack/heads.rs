//! Checkpoints from elsewhere, compared with a pack: by its checkpoint's own size, or by the earlier heads that its header
//! proves. Of any other size a pack says nothing.

use std::fmt;

use programme::entity::CharterState;
use serde::Serialize;
use translog::checkpoint::Checkpoint;

use super::format::EarlierHead;
use crate::report::CheckedCheckpoint;

/// A checkpoint that was kept, and how the pack stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptByPack {
    /// What it says; nothing where it is not one of this ledger's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<CheckedCheckpoint>,
    /// How the pack stands to it.
    #[serde(flatten)]
    pub standing: PackStanding,
}

/// How a pack stands to a kept checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum PackStanding {
    /// The log of the pack's checkpoint begins with what it covers.
    Holds,
    /// The pack has no proof of it.
    NotShown {
        /// What would show it.
        reason: String,
    },
    /// It is not of the log that the pack was cut from.
    Contradicts {
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for KeptByPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head {
            Some(CheckedCheckpoint { origin, root, size }) => {
                write!(f, "{origin}, size {size}, root {root}: ")?
            }
            None => f.write_str("a note that is not this ledger's: ")?,
        }
        match &self.standing {
            PackStanding::Holds => f.write_str("the pack's log begins with it"),
            PackStanding::NotShown { reason } => write!(f, "NOT SHOWN: {reason}"),
            PackStanding::Contradicts { reason } => write!(f, "it CONTRADICTS the pack: {reason}"),
        }
    }
}

/// How a pack under this checkpoint stands to a note. The earlier heads were proved already.
pub(super) fn judge(
    note: &str,
    charter: &CharterState,
    checkpoint: &Checkpoint,
    earlier: &[EarlierHead],
) -> KeptByPack {
    match charter.read_note(note) {
        Err(error) => {
            KeptByPack { head: None, standing: PackStanding::Contradicts { reason: error.to_string() } }
        }
        Ok(head) => {
            let standing = standing(&head, charter, checkpoint, earlier);
            let Checkpoint { origin, root, size } = head;
            KeptByPack { head: Some(CheckedCheckpoint { origin, root, size }), standing }
        }
    }
}

fn standing(
    head: &Checkpoint,
    charter: &CharterState,
    checkpoint: &Checkpoint,
    earlier: &[EarlierHead],
) -> PackStanding {
    let not_shown = |reason: &str| PackStanding::NotShown { reason: reason.to_owned() };
    let contradicts = |reason: &str| PackStanding::Contradicts { reason: reason.to_owned() };
    let Some(index) = charter.origins().position(|origin| origin.as_str() == head.origin) else {
        return not_shown(
            "it is under an origin that no record of the pack gives: it is another log's, or was signed after a later \
             reopening; compare it with an audit of a bundle",
        );
    };
    if charter.reopened.get(index).is_some_and(|ended| head.size > ended.continued.size.0) {
        return not_shown(
            "it covers records from which the log was reopened; only an audit of a bundle tells",
        );
    }
    let known = earlier.iter().find(|earlier| earlier.size.0 == head.size).map(|earlier| earlier.root);
    let known = known.or((checkpoint.size == head.size).then_some(checkpoint.root));
    match known {
        Some(root) if root == head.root => PackStanding::Holds,
        Some(_) => contradicts("the records up to there have another root"),
        None if head.size > checkpoint.size => {
            not_shown("it is newer than the pack; ask for one that is cut from a newer bundle")
        }
        None => not_shown("ask for a pack that is cut with this file as --checkpoint"),
    }
}
