//! What a verification found: for programs as JSON, for people as a page of text.
//!
//! In JSON, counts, positions and sizes are decimal strings and amounts have exactly their currency's minor units, as
//! everywhere in the project.

use std::collections::BTreeMap;
use std::fmt;

use ledger::currency::Currency;
use ledger::id::{AssetId, FundId};
use ledger::sum::Sum;
use ledger::time::Timestamp;
use records::assets::FundKind;
use records::witnessing::Witnessing;
use serde::{Serialize, Serializer};
use signing::digest::Digest;
use signing::keys::KeyId;

use crate::kept::{KeptHead, Standing};
use crate::keys::{Activated, Expiring};
use crate::review::Compromise;

/// What no bundle can prove, for the reader of the report.
pub const NOT_CHECKED: &[&str] = &[
    "that this is the whole log and the one that everybody else sees: compare the checkpoint with one from elsewhere",
    "that a group's time was the time, but for what a kept checkpoint covers that witnesses cosigned",
    "the documents that records name by their SHA-256: ask their holders",
];

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was checked; if something is wrong, what was checked before it.
    pub checked: Checked,
    /// The id of the ledger that was asked for.
    pub ledger: Digest,
    /// How the log stands to each checkpoint that was kept elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptHead>,
    /// What no bundle can prove.
    pub not_checked: &'static [&'static str],
    /// Whether the bundle holds.
    pub verdict: Verdict,
}

impl Report {
    /// Whether everything holds.
    pub fn is_verified(&self) -> bool {
        self.verdict == Verdict::Verified
    }

    /// Whether, besides, the log accounts for every checkpoint that was kept elsewhere.
    pub fn accounts_for_kept(&self) -> bool {
        self.is_verified() && self.kept.iter().all(KeptHead::is_accounted_for)
    }

    /// Whether, besides, no witness saw any of them earlier than the log's times allow.
    pub fn agrees_with_kept(&self) -> bool {
        let is_early = |kept: &KeptHead| matches!(kept.standing, Standing::Early { .. });
        self.accounts_for_kept() && !self.kept.iter().any(is_early)
    }
}

/// Whether a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything in it does.
    Verified,
    /// Something does not; this is the first thing.
    Refuted(Finding),
}

/// The first thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, as a stable code of `docs/spec/bundle.md`; where the rules refuse a record, the refusal's code.
    pub code: String,
    /// The line of the file, from 1.
    #[serde(serialize_with = "decimal_if_any", skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The position in the log.
    #[serde(serialize_with = "decimal_if_any", skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What, for people.
    pub reason: String,
}

/// What was checked, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Spare keys that were activated, once the whole log was replayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub activated: Vec<Activated>,
    /// Approvals, each against the state and the policy at its position.
    #[serde(serialize_with = "decimal")]
    pub approvals: u64,
    /// The claimed balances, once they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balances: Option<CheckedBalances>,
    /// The checkpoint, once its signature was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckedCheckpoint>,
    /// The end of what was verified before, as a kept state says; all numbers here include it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continued: Option<Head>,
    /// Entries that were recomputed byte for byte and posted to a second set of books.
    #[serde(serialize_with = "decimal")]
    pub entries: u64,
    /// Keys that have expired or soon will, once the whole log was replayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<Expiring>,
    /// The time of the first group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_group_at: Option<Timestamp>,
    /// Every fund, once the whole log was replayed.
    pub funds: Vec<FundReport>,
    /// Groups, each with the root of the tree before it.
    #[serde(serialize_with = "decimal")]
    pub groups: u64,
    /// The end of a restored log, which nobody signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Instructions, each decided again at its position.
    #[serde(serialize_with = "decimal")]
    pub instructions: u64,
    /// The time of the last group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_group_at: Option<Timestamp>,
    /// Records that hold.
    #[serde(serialize_with = "decimal")]
    pub records: u64,
    /// The same by kind.
    #[serde(serialize_with = "decimals")]
    pub records_by_kind: BTreeMap<&'static str, u64>,
    /// How the log was reopened, once the whole log was replayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reopened: Vec<Reopened>,
    /// Signatures that hold.
    pub signatures: Signatures,
    /// What stolen keys signed, once the whole log was replayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_review: Vec<Compromise>,
    /// Who has to cosign checkpoints by the policy of the log's end.
    #[serde(skip)]
    pub witnessing: Option<Witnessing>,
}

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The root of the whole log.
    pub root: Digest,
    /// How many records it has.
    #[serde(serialize_with = "decimal")]
    pub size: u64,
}

/// The ids of the keys that a reopening gave the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NewKeys {
    /// Of the key for checkpoints.
    pub checkpoint_key: KeyId,
    /// Of the key for records.
    pub record_key: KeyId,
}

/// A reopening of the log under a new origin, by a quorum of custodians.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reopened {
    /// The newest head that was known to have been signed before.
    pub cited: Head,
    /// The head of the log that was left.
    pub continued: Head,
    /// The ledger's keys from then on, where they changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<NewKeys>,
    /// The origin from then on.
    pub origin: String,
    /// The proposal of it.
    pub proposal: Digest,
}

/// Signatures that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Signatures {
    /// Of checkpoints.
    #[serde(serialize_with = "decimal")]
    pub checkpoints: u64,
    /// Of new keys, nested in enrolments.
    #[serde(serialize_with = "decimal")]
    pub possessions: u64,
    /// Of records.
    #[serde(serialize_with = "decimal")]
    pub records: u64,
}

/// The claimed balances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedBalances {
    /// The size of the log at which they were read.
    #[serde(serialize_with = "decimal")]
    pub at: u64,
    /// How many were claimed. Each is what replay came to, and every other balance there is zero.
    #[serde(serialize_with = "decimal")]
    pub claimed: u64,
}

/// The checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckedCheckpoint {
    /// The log's origin.
    pub origin: String,
    /// The root that it states.
    pub root: Digest,
    /// The size that it states.
    #[serde(serialize_with = "decimal")]
    pub size: u64,
}

/// A fund at the end of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FundReport {
    /// The asset from which its money comes.
    pub asset: AssetId,
    /// Its currency.
    pub currency: Currency,
    /// The fund.
    pub fund: FundId,
    /// What it is for.
    pub kind: FundKind,
    /// What its books prove.
    pub proofs: Vec<ProofLine>,
    /// The sums of its accounts, by code.
    pub totals: Vec<AccountTotal>,
}

/// The sum of all accounts of a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountTotal {
    /// On the accounts' normal side.
    #[serde(serialize_with = "digits")]
    pub amount: Sum,
    /// The code.
    #[serde(serialize_with = "as_text")]
    pub code: u16,
    /// The currency.
    pub currency: Currency,
    /// How much of it is held.
    #[serde(serialize_with = "digits")]
    pub held: Sum,
    /// What these accounts are.
    pub name: String,
}

/// An equation that a fund's books must prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofLine {
    /// Left less right: zero, or the fund is wrong.
    #[serde(serialize_with = "digits")]
    pub difference: Sum,
    /// The left side.
    #[serde(serialize_with = "digits")]
    pub left: Sum,
    /// P1 to P4 for a spendable fund, `custody` for a fiduciary one.
    pub name: &'static str,
    /// The right side.
    #[serde(serialize_with = "digits")]
    pub right: Sum,
    /// The equation.
    pub states: &'static str,
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn decimal<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn decimal_if_any<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Positions, as decimal strings.
pub(crate) fn positions<S: Serializer>(values: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(u64::to_string))
}

pub(crate) fn decimals<S: Serializer>(
    values: &BTreeMap<&'static str, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(name, value)| (name, value.to_string())))
}

pub(crate) fn digits<S: Serializer>(money: &Sum, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&money.digits())
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.position, self.line) {
            (Some(position), Some(line)) => write!(f, "at position {position} (line {line}): ")?,
            (Some(position), None) => write!(f, "at position {position}: ")?,
            (None, Some(line)) => write!(f, "at line {line}: ")?,
            (None, None) => f.write_str("at the end: ")?,
        }
        write!(f, "{} [{}]", self.reason, self.code)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Verified => writeln!(f, "VERIFIED")?,
            Verdict::Refuted(finding) => writeln!(f, "REFUTED {finding}")?,
        }
        writeln!(f)?;
        writeln!(f, "ledger        {}", self.ledger)?;
        for kept in &self.kept {
            writeln!(f, "kept          {kept}")?;
        }
        write!(f, "{}", self.checked)?;
        writeln!(f, "\nnot checked, since no bundle can prove it:")?;
        self.not_checked.iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(checkpoint) = &self.checkpoint {
            let CheckedCheckpoint { origin, root, size } = checkpoint;
            writeln!(f, "checkpoint    {origin}, size {size}, root {root}")?;
        }
        if let Some(Head { root, size }) = self.continued {
            writeln!(
                f,
                "continued     from size {size}, root {root}; up to there as the kept state says, which was verified before"
            )?;
        }
        if let Some(Head { root, size }) = self.head {
            writeln!(f, "restored to   size {size}, root {root}")?;
        }
        for Reopened { cited, continued, keys, origin, .. } in &self.reopened {
            let Head { size, root } = continued;
            write!(
                f,
                "reopened      at size {size}, root {root}, by a quorum as {origin}, citing the head of size "
            )?;
            write!(f, "{}, root {}", cited.size, cited.root)?;
            match cited.size.checked_sub(*size) {
                None | Some(0) => writeln!(f, "; no record is known to be lost")?,
                Some(lost) => writeln!(f, "; {lost} records, {size} to {}, are lost", cited.size - 1)?,
            }
            if let Some(NewKeys { checkpoint_key, record_key }) = keys {
                writeln!(f, "new keys      {record_key} for records, {checkpoint_key} for checkpoints")?;
            }
        }
        write!(f, "groups        {}", self.groups)?;
        if let (Some(first), Some(last)) = (self.first_group_at, self.last_group_at) {
            write!(f, ", from {first} to {last}")?;
        }
        writeln!(f)?;
        let Signatures { checkpoints, possessions, records } = &self.signatures;
        writeln!(
            f,
            "signatures    {records} of records, {possessions} by keys to be enrolled, {checkpoints} of the checkpoint"
        )?;
        writeln!(f, "instructions  {}, each decided again at its position", self.instructions)?;
        writeln!(f, "approvals     {}, each against the state and policy of its time", self.approvals)?;
        writeln!(
            f,
            "entries       {}, each recomputed byte for byte and posted to a second set of books",
            self.entries
        )?;
        match &self.balances {
            Some(CheckedBalances { at, claimed }) => {
                writeln!(f, "balances      {claimed} claimed at size {at}, each as computed, none missing")?;
            }
            None => writeln!(f, "balances      not compared")?,
        }
        writeln!(f, "records       {}", self.records)?;
        for (kind, count) in &self.records_by_kind {
            writeln!(f, "  {kind:<20} {count:>12}")?;
        }
        if !(self.activated.is_empty() && self.expiring.is_empty()) {
            writeln!(f)?;
        }
        self.activated.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        self.expiring.iter().try_for_each(|one| writeln!(f, "{one}"))?;
        self.to_review.iter().try_for_each(|compromise| write!(f, "\n{compromise}"))?;
        self.funds.iter().try_for_each(|fund| write!(f, "\n{fund}"))
    }
}

impl fmt::Display for FundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FundKind::Fiduciary => "fiduciary",
            FundKind::Spendable => "spendable",
        };
        writeln!(f, "fund {}, {kind}, {}, from asset {}", self.fund, self.currency, self.asset)?;
        for AccountTotal { amount, code, held, name, .. } in &self.totals {
            write!(f, "  {code} {name:<24} {:>26}", amount.grouped())?;
            if !held.is_zero() {
                write!(f, "   of which held {}", held.grouped())?;
            }
            writeln!(f)?;
        }
        for ProofLine { difference, left, name, right, states } in &self.proofs {
            writeln!(f, "  {name}: {states}")?;
            writeln!(
                f,
                "      {} = {}, difference {}",
                left.grouped(),
                right.grouped(),
                difference.grouped()
            )?;
        }
        Ok(())
    }
}
