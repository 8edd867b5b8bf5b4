//! Checkpoints that somebody kept elsewhere, compared with the log: what no bundle can prove by itself.
//!
//! A log that was reopened has had several origins. Under an earlier one, heads may have been signed of records that
//! are lost since; the reopening cites the newest of them, and beyond that one nothing is accounted for.

use std::collections::BTreeMap;
use std::fmt;

use ledger::time::Timestamp;
use programme::entity::{CharterState, Entity, HeadState, PolicyState, Reopening};
use programme::{Key, State};
use records::scalar::Token;
use records::witnessing::{Statement, Witness, Witnessing};
use serde::Serialize;
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::cosignature::cosigned_at;
use translog::tree::Frontier;

use crate::report::{CheckedCheckpoint, decimal};

/// A checkpoint that was kept, and how the log stands to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptHead {
    /// What it says; nothing where it is not one of this ledger's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<CheckedCheckpoint>,
    /// Who cosigned it, of the witnesses whom policy named at its size, where the log begins with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cosigned: Vec<CosignedBy>,
    /// What is wrong with the note itself: lines that say that they are such a witness's, and are not. Anybody can write them,
    /// so they say nothing of the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// How the log stands to it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// A cosignature that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CosignedBy {
    /// When, by the witness's clock.
    pub at: Timestamp,
    /// What it states.
    pub statement: Statement,
    /// Whose it is.
    pub witness: Token,
}

/// How a log stands to a kept checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// The log begins with what it covers.
    Holds,
    /// The log begins with what it covers, and witnesses saw it earlier than the last group in it says that it was made, by
    /// more than clocks may differ: their clocks were behind, or their keys are stolen, or the ledger's clock was ahead.
    Early {
        /// Who saw it, and when.
        by: Vec<CosignedBy>,
        /// How many witnesses policy demands.
        #[serde(serialize_with = "decimal")]
        demanded: u64,
        /// The time of the last group.
        group: Timestamp,
    },
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
    /// It is under an origin that this log never had: it is another log's, or of after a reopening that is later than what is
    /// here.
    UnknownOrigin,
    /// It is not of this log, and nothing in the log explains that.
    Contradicts {
        /// Why not.
        reason: String,
    },
}

impl KeptHead {
    /// Whether the log accounts for it.
    pub fn is_accounted_for(&self) -> bool {
        matches!(self.standing, Standing::Holds | Standing::Early { .. } | Standing::Lost { .. })
    }

    /// Whether somebody has to look at the note: at its times, or at its lines.
    pub fn is_doubtful(&self) -> bool {
        matches!(self.standing, Standing::Early { .. }) || !self.faults.is_empty()
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
            Standing::Early { by, demanded, group } => {
                f.write_str("the log begins with it, but its TIMES DISAGREE: ")?;
                by.iter().try_for_each(|CosignedBy { at, witness, .. }| {
                    write!(f, "{witness} saw it at {at}, ")
                })?;
                write!(f, "and the last group that it covers states the later time {group}; ")?;
                f.write_str(if by.len() as u64 >= *demanded {
                    "as many witnesses as policy demands say so, so look at the ledger's clock first"
                } else {
                    "fewer witnesses than policy demands say so, so look at their clocks and keys first"
                })
            }
            Standing::UnknownOrigin => f.write_str(
                "NOT SHOWN: this log never had its origin. It is another log's, or was signed after a later reopening: \
                 export again, and compare",
            ),
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
        }?;
        for CosignedBy { at, statement, witness } in &self.cosigned {
            let says = match statement {
                Statement::Consistent => "cosigned by",
                Statement::Replayed => "replayed and cosigned by",
            };
            write!(f, "; {says} {witness} at {at}")?;
        }
        self.faults.iter().try_for_each(|fault| write!(f, "; a line is NOT what it says: {fault}"))
    }
}

/// The kept notes, while the log is read.
#[derive(Default)]
pub(crate) struct Kept {
    notes: Vec<String>,
    /// What the log has at each size that a kept head has.
    passed: BTreeMap<u64, Option<Passed>>,
}

/// The log at a size.
struct Passed {
    root: Digest,
    /// The time of the last group, where it was read.
    time: Option<Timestamp>,
    /// How far clocks may differ.
    skew_s: u64,
    witnessing: Option<Witnessing>,
}

impl Kept {
    /// By whom they had to be signed, the end of the log says.
    pub fn new(notes: Vec<String>) -> Kept {
        let heads = notes.iter().filter_map(|note| Checkpoint::parse_unverified(note).ok());
        let passed = heads.map(|head| (head.size, None)).collect();
        Kept { notes, passed }
    }

    /// The log begins before what is read of it: the roots that its groups have named so far, and when. The state has no
    /// policy of before, so the witnesses are those of now.
    pub fn recall(&mut self, state: &State, now: Option<Timestamp>) {
        if self.passed.is_empty() {
            return;
        }
        let groups = state.entities().filter_map(|(key, entity)| match (key, entity) {
            (Key::Head(size), Entity::Head(head)) => Some((*size, head.recorded_at)),
            _ => None,
        });
        let groups: BTreeMap<u64, Timestamp> = groups.collect();
        for (size, passed) in &mut self.passed {
            let head = state.get::<HeadState>(&Key::Head(*size));
            // The group before: the one of this size comes after what the checkpoint covers.
            let time = groups.range(..*size).next_back().map(|(_, time)| *time);
            *passed = head.map(|head| Passed { time, ..Passed::at(head.root, state, now) });
        }
    }

    /// The log has grown to this.
    pub fn pass(&mut self, frontier: &Frontier, state: &State, time: Option<Timestamp>) {
        if let Some(passed) = self.passed.get_mut(&frontier.size()) {
            *passed = Some(Passed::at(frontier.root(), state, time));
        }
    }

    /// How a log of this size stands to each of them.
    pub fn judge(self, charter: &CharterState, size: u64) -> Vec<KeptHead> {
        let Kept { notes, passed } = self;
        let judged = notes.into_iter().map(|note| match charter.read_note(&note) {
            Err(error) => {
                let reason = error.to_string();
                let standing = Standing::Contradicts { reason };
                KeptHead { head: None, cosigned: vec![], faults: vec![], standing }
            }
            Ok(Checkpoint { origin, root, size: covered }) => {
                let here = passed.get(&covered).and_then(Option::as_ref);
                let real = here.map(|here| here.root);
                let mut standing = standing(charter, size, &origin, covered, root, real);
                let (mut cosigned, mut faults) = (vec![], vec![]);
                if let (Standing::Holds, Some(here)) = (&standing, here) {
                    (cosigned, faults) = here.cosigned_by(&note);
                    let early = cosigned.extract_if(.., |by| here.is_early(by.at)).collect::<Vec<_>>();
                    if let (Some(group), false) = (here.time, early.is_empty()) {
                        let demanded = here.witnessing.as_ref().map_or(0, |demanded| demanded.threshold.0);
                        standing = Standing::Early { by: early, demanded, group };
                    }
                }
                let head = Some(CheckedCheckpoint { origin, root, size: covered });
                KeptHead { head, cosigned, faults, standing }
            }
        });
        judged.collect()
    }
}

impl Passed {
    fn at(root: Digest, state: &State, time: Option<Timestamp>) -> Passed {
        let policy = state.get::<PolicyState>(&Key::Policy);
        let policy = policy.zip(time).map(|(policy, time)| &policy.at(time).policy);
        let witnessing = policy.and_then(|policy| policy.witnessing.clone());
        Passed { root, time, skew_s: policy.map_or(0, |policy| policy.skew_s.0), witnessing }
    }

    /// The cosignatures of a note by the witnesses, and what is wrong with lines that say that they are such.
    fn cosigned_by(&self, note: &str) -> (Vec<CosignedBy>, Vec<String>) {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for Witness { key, name, statement } in self.witnessing.iter().flat_map(|all| &all.witnesses) {
            let at = cosigned_at(note, name.as_str(), key)
                .map(|time| time.map(|time| i64::try_from(time).ok().and_then(Timestamp::from_unix)));
            match at {
                Ok(None) => {}
                Ok(Some(Some(at))) => {
                    found.push(CosignedBy { at, statement: *statement, witness: name.clone() });
                }
                Ok(Some(None)) => faults.push(format!("{name}: a cosignature states no time that there is")),
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        (found, faults)
    }

    /// Whether somebody saw it earlier than the last group says that it was made, by more than clocks may differ.
    fn is_early(&self, seen: Timestamp) -> bool {
        let latest = seen.plus(self.skew_s);
        self.time.is_some_and(|group| latest.is_some_and(|latest| latest < group))
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
        return Standing::UnknownOrigin;
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
