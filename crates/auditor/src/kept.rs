//! Checkpoints that somebody kept elsewhere, compared with the log: what no bundle can prove by itself.
//!
//! A log that was reopened has had several origins. Under an earlier one, heads may have been signed of records that
//! are lost since; the reopening cites the newest of them, and beyond that one nothing is accounted for.

use std::collections::BTreeMap;
use std::fmt;

use programme::entity::{CharterState, HeadState, Reopening};
use programme::{Key, State};
use serde::Serialize;
use signing::digest::Digest;
use signing::keys::PublicKey;
use translog::checkpoint::Checkpoint;
use translog::tree::Frontier;

use crate::report::{CheckedCheckpoint, decimal};

/// A checkpoint that was kept, and how the log stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptHead {
    /// What it says; nothing where it is not one of this ledger's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<CheckedCheckpoint>,
    /// How the log stands to it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// How a log stands to a kept checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// The log begins with what it covers.
    Holds,
    /// It covers records that are lost, and a quorum of custodians said so.
    Lost {
        /// The records from here on are lost.
        #[serde(serialize_with = "decimal")]
        from: u64,
        /// The size of the head that the quorum cited.
        #[serde(serialize_with = "decimal")]
        cited: u64,
        /// The origin under which the log goes on.
        origin: String,
    },
    /// It covers records that this log does not have.
    Missing {
        /// How many records this log has.
        #[serde(serialize_with = "decimal")]
        size: u64,
    },
    /// It is not of this log, and nothing in the log explains that.
    Contradicts {
        /// Why not.
        reason: String,
    },
}

impl KeptHead {
    /// Whether the log accounts for it.
    pub fn is_accounted_for(&self) -> bool {
        matches!(self.standing, Standing::Holds | Standing::Lost { .. })
    }
}

impl fmt::Display for KeptHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(CheckedCheckpoint { origin, root, size }) = &self.head else {
            f.write_str("a note that is not this ledger's")?;
            return match &self.standing {
                Standing::Contradicts { reason } => write!(f, ": {reason}"),
                _ => Ok(()),
            };
        };
        write!(f, "{origin}, size {size}, root {root}: ")?;
        match &self.standing {
            Standing::Holds => f.write_str("the log begins with it"),
            Standing::Lost { from, cited, origin } => write!(
                f,
                "the log was reopened at {from} by a quorum as {origin}, citing head {cited}; records {from} to {} of \
                 this checkpoint are lost",
                size.saturating_sub(1)
            ),
            Standing::Missing { size: here } => write!(
                f,
                "records {here} to {} are LOST: {} records were signed and are not in this log",
                size.saturating_sub(1),
                size.saturating_sub(*here)
            ),
            Standing::Contradicts { reason } => write!(f, "it CONTRADICTS this log: {reason}"),
        }
    }
}

/// The kept notes, while the log is read.
#[derive(Default)]
pub(crate) struct Kept {
    notes: Vec<String>,
    heads: Vec<Result<Checkpoint, String>>,
    /// The root at each size that a kept head has.
    roots: BTreeMap<u64, Option<Digest>>,
}

impl Kept {
    pub fn new(notes: Vec<String>) -> Kept {
        Kept { notes, ..Kept::default() }
    }

    /// The founding record says who signs checkpoints.
    pub fn open(&mut self, key: &PublicKey) {
        for note in self.notes.drain(..) {
            let head = Checkpoint::parse_and_verify_any(&note, key).map_err(|error| error.to_string());
            if let Ok(head) = &head {
                self.roots.insert(head.size, None);
            }
            self.heads.push(head);
        }
    }

    /// The log begins before what is read of it: the roots that its groups have named so far.
    pub fn recall(&mut self, state: &State) {
        for (size, root) in &mut self.roots {
            *root = state.get::<HeadState>(&Key::Head(*size)).map(|head| head.root);
        }
    }

    /// The log has grown to this.
    pub fn pass(&mut self, frontier: &Frontier) {
        if let Some(root) = self.roots.get_mut(&frontier.size()) {
            *root = Some(frontier.root());
        }
    }

    /// How a log of this size stands to each of them.
    pub fn judge(self, charter: &CharterState, size: u64) -> Vec<KeptHead> {
        let Kept { heads, roots, .. } = self;
        let judged = heads.into_iter().map(|head| match head {
            Err(reason) => KeptHead { head: None, standing: Standing::Contradicts { reason } },
            Ok(Checkpoint { origin, root, size: covered }) => {
                let real = roots.get(&covered).copied().flatten();
                let standing = standing(charter, size, &origin, covered, root, real);
                KeptHead { head: Some(CheckedCheckpoint { origin, root, size: covered }), standing }
            }
        });
        judged.collect()
    }
}

fn standing(
    charter: &CharterState,
    size: u64,
    origin: &str,
    covered: u64,
    root: Digest,
    real: Option<Digest>,
) -> Standing {
    let contradicts = |reason: &str| Standing::Contradicts { reason: reason.to_owned() };
    let Some(index) = charter.origins().position(|known| known.as_str() == origin) else {
        return contradicts(
            "this log never had its origin: it is another log's, or was signed after a later reopening",
        );
    };
    let ended: Option<&Reopening> = charter.reopened.get(index);
    let end = ended.map_or(size, |ended| ended.continued.size.0);
    if covered <= end {
        // The head of nothing is no log's.
        let is_same = real == Some(root) || (covered == 0 && root == Frontier::new().root());
        return if is_same {
            Standing::Holds
        } else {
            contradicts("the records up to there have another root")
        };
    }
    let Some(Reopening { origin, cited, continued, .. }) = ended else {
        return Standing::Missing { size };
    };
    if covered < cited.size.0 || (covered == cited.size.0 && root == cited.root) {
        let (from, cited) = (continued.size.0, cited.size.0);
        return Standing::Lost { from, cited, origin: origin.to_string() };
    }
    contradicts("the log was reopened without citing this head or a newer one")
}
