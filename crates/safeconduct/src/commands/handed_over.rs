//! What a person's machine sent and was answered, compared with what the log holds: who withholds an instruction, or
//! takes back what he accepted, is found here.
//!
//! A receipt proves itself: its record is in the tree of its checkpoint, so where the log accounts for that checkpoint it
//! has the record. What has no receipt is looked for by its digest.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use auditor::{KeptHead, Report, Standing};
use client::home::{OUTBOX, RECEIPTS};
use client::outbox::Sent;
use client::receipt::Receipt;
use client::{Home, Ledger, outbox, receipt};
use serde_json::{Value, json};
use signing::digest::Digest;

use super::proofs::kind_of;
use crate::error::{Error, Result};

/// A home's outbox and receipts.
pub struct HandedOver {
    dir: String,
    sent: Vec<Sent>,
    receipts: Vec<Receipt>,
}

impl HandedOver {
    /// What a directory has of a home of this ledger.
    pub fn read(dir: &Path, ledger: Digest) -> Result<HandedOver> {
        let home = Home::handed_over(dir);
        let shown = dir.display().to_string();
        if !home.path(OUTBOX).is_dir() && !home.path(RECEIPTS).is_dir() {
            return Err(Error::new(format!(
                "{shown} has neither `{OUTBOX}` nor `{RECEIPTS}` in it; give somebody's home directory, or one with \
                 copies of these two"
            )));
        }
        if home.path(client::home::LEDGER).exists() && Ledger::read(&home)?.ledger != ledger {
            return Err(Error::new(format!("{shown} is the home of a member of another ledger")));
        }
        Ok(HandedOver { dir: shown, sent: outbox::list(&home)?, receipts: receipt::list(&home)? })
    }

    /// The checkpoints of the receipts, each once.
    pub fn notes(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let notes = self.receipts.iter().map(|receipt| &receipt.checkpoint);
        notes.filter(|note| seen.insert(*note)).cloned().collect()
    }

    /// All records that it knows of.
    pub fn digests(&self) -> HashSet<Digest> {
        let accepted = self.receipts.iter().map(|receipt| receipt.envelope.digest());
        accepted.chain(self.sent.iter().map(|sent| sent.envelope.digest())).collect()
    }

    /// Compares it with a log that was verified: `judged` is how the log stands to [`notes`](Self::notes), and `found`
    /// where it has the records of [`digests`](Self::digests).
    pub fn compare(self, judged: &[KeptHead], found: &BTreeMap<Digest, u64>, report: &Report) -> Compared {
        let notes = self.notes();
        let heads: BTreeMap<&str, &KeptHead> = notes.iter().map(String::as_str).zip(judged).collect();
        let from = report.checked.continued.map_or(0, |head| head.size);
        let log = Log { found, from };
        let of = |receipt: &Receipt| match heads.get(receipt.checkpoint.as_str()) {
            Some(head) => log.standing_of(receipt, head),
            None => Accepted::Contradicts("its checkpoint was not compared".to_owned()),
        };
        let with_standing = |receipt: Receipt| {
            let accepted = of(&receipt);
            (receipt, accepted)
        };
        let with_position = |sent: Sent| {
            let position = found.get(&sent.envelope.digest()).copied();
            (sent, position)
        };
        Compared {
            dir: self.dir,
            from,
            receipts: self.receipts.into_iter().map(with_standing).collect(),
            sent: self.sent.into_iter().map(with_position).collect(),
        }
    }
}

/// The log, as far as it was read.
struct Log<'a> {
    found: &'a BTreeMap<Digest, u64>,
    /// From here on every record was looked at.
    from: u64,
}

const BEFORE_PART: &str = "it stands before this part; audit a whole bundle";
const OTHER_ORIGIN: &str = "its checkpoint is under an origin that this log never had: it is another log's, or was signed \
     after a later reopening; export again";

/// How the log stands to what was accepted.
enum Accepted {
    /// It has it where the receipt says.
    InLog,
    /// It was reopened before it, as a quorum of custodians said.
    Lost,
    /// It ends before it.
    Missing,
    /// What was read cannot show whether it is there, for this reason.
    Unseen(&'static str),
    /// It has something else there.
    Contradicts(String),
}

impl Accepted {
    fn name(&self) -> &'static str {
        match self {
            Accepted::InLog => "in-log",
            Accepted::Lost => "lost",
            Accepted::Missing => "missing",
            Accepted::Unseen(_) => "unseen",
            Accepted::Contradicts(_) => "contradicts",
        }
    }

    fn holds(&self) -> bool {
        matches!(self, Accepted::InLog | Accepted::Lost)
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accepted::InLog => f.write_str("in the log"),
            Accepted::Lost => f.write_str("LOST: the log was reopened before it, by a quorum"),
            Accepted::Missing => f.write_str(
                "MISSING: the log ends before it; export again, and if it is still missing it was taken out",
            ),
            Accepted::Unseen(reason) => write!(f, "NOT SHOWN: {reason}"),
            Accepted::Contradicts(reason) => write!(f, "CONTRADICTS the log: {reason}"),
        }
    }
}

impl Log<'_> {
    fn standing_of(&self, receipt: &Receipt, judged: &KeptHead) -> Accepted {
        let position = receipt.position.0;
        let head = match (&judged.head, &judged.standing) {
            (_, Standing::Contradicts { reason }) => return Accepted::Contradicts(reason.clone()),
            (None, _) => return Accepted::Contradicts("its checkpoint is not this ledger's".to_owned()),
            (Some(head), _) => head,
        };
        if let Err(error) = receipt.is_in(head.size, head.root) {
            return Accepted::Contradicts(format!("the record is not at that position: {error}"));
        }
        let end = match &judged.standing {
            Standing::Lost { from, .. } => (*from, Accepted::Lost),
            Standing::Missing { size } => (*size, Accepted::Missing),
            Standing::UnknownOrigin => (0, Accepted::Unseen(OTHER_ORIGIN)),
            Standing::Holds | Standing::Early { .. } | Standing::Contradicts { .. } => {
                return Accepted::InLog;
            }
        };
        // Its checkpoint covers more than the log has, or another log, so it says nothing of what is here.
        match end {
            _ if self.found.get(&receipt.envelope.digest()) == Some(&position) => Accepted::InLog,
            (size, beyond) if position >= size => beyond,
            _ if position < self.from => Accepted::Unseen(BEFORE_PART),
            _ => Accepted::Contradicts("the log has another record at that position".to_owned()),
        }
    }
}

/// What came of it.
pub struct Compared {
    dir: String,
    from: u64,
    receipts: Vec<(Receipt, Accepted)>,
    /// What has no receipt, and where the log has it all the same.
    sent: Vec<(Sent, Option<u64>)>,
}

impl Compared {
    /// Whether the log has everything that was accepted.
    pub fn holds(&self) -> bool {
        self.receipts.iter().all(|(_, accepted)| accepted.holds())
    }

    /// For programs. Of the receipts only those are listed that the log does not bear out.
    pub fn json(&self) -> Value {
        let accepted = self.not_in_log().map(|(receipt, accepted)| {
            let mut item = json!({
                "digest": receipt.envelope.digest(), "kind": kind_of(&receipt.envelope),
                "position": receipt.position, "standing": accepted.name(),
            });
            if let Accepted::Contradicts(reason) = accepted {
                item["reason"] = json!(reason);
            }
            item
        });
        let sent = self.sent.iter().map(|(sent, position)| {
            let mut item = json!({
                "digest": sent.envelope.digest(), "kind": kind_of(&sent.envelope), "sent_at": sent.sent_at,
                "standing": standing(sent, *position, self.from),
            });
            if let Some(position) = position {
                item["position"] = json!(position.to_string());
            }
            if let Some(problem) = &sent.refused {
                item["refused"] = json!(problem);
            }
            item
        });
        let (accepted, sent): (Vec<Value>, Vec<Value>) = (accepted.collect(), sent.collect());
        json!({
            "directory": self.dir, "from": self.from.to_string(), "not_in_log": accepted,
            "receipts": self.receipts.len().to_string(), "unanswered": sent,
        })
    }

    fn not_in_log(&self) -> impl Iterator<Item = &(Receipt, Accepted)> {
        self.receipts.iter().filter(|(_, accepted)| !matches!(accepted, Accepted::InLog))
    }
}

/// Of the log before record `from` not all is known.
fn standing(sent: &Sent, position: Option<u64>, from: u64) -> &'static str {
    match (position, &sent.refused) {
        (Some(_), _) => "in-log",
        (None, Some(_)) => "refused",
        (None, None) if from > 0 => "unseen",
        (None, None) => "not-in-log",
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared { dir, from, receipts, sent } = self;
        writeln!(f, "\noutbox and receipts of {dir}")?;
        let in_log = receipts.len() - self.not_in_log().count();
        writeln!(f, "  receipts      {}, of which the log has {in_log}", receipts.len())?;
        for (receipt, accepted) in self.not_in_log() {
            let (digest, kind) = (receipt.envelope.digest(), kind_of(&receipt.envelope));
            writeln!(f, "  {kind} {digest}, accepted at position {}: {accepted}", receipt.position)?;
        }
        writeln!(f, "  unanswered    {}", sent.len())?;
        for (sent, position) in sent {
            let (digest, kind) = (sent.envelope.digest(), kind_of(&sent.envelope));
            write!(f, "  {kind} {digest}, sent {}: ", sent.sent_at)?;
            match (position, &sent.refused) {
                (Some(position), _) => {
                    writeln!(f, "in the log at position {position}; sending it again brings the receipt")?;
                }
                (None, Some(problem)) => writeln!(f, "refused, {problem}")?,
                (None, None) if *from > 0 => {
                    writeln!(f, "NOT SHOWN by this part, and never refused; audit a whole bundle")?;
                }
                (None, None) => {
                    writeln!(
                        f,
                        "NOT IN THE LOG and never refused: withheld, lost on the way, or later than this log"
                    )?;
                }
            }
        }
        if *from > 0 && sent.iter().any(|(_, position)| position.is_none()) {
            writeln!(
                f,
                "  (Of the log before record {from} only what could still be sent again there is known.)"
            )?;
        }
        Ok(())
    }
}
