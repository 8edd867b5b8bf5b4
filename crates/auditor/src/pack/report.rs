//! What the verification of a pack found: for programs as JSON, for people as a page of text.

use std::collections::BTreeMap;
use std::fmt;

use ledger::id::{BenefitId, CaseRef, DisbursementId, FundId, PrincipalId};
use ledger::money::Money;
use ledger::time::Timestamp;
use records::assets::ReversalSubject;
use records::governance::Role;
use records::scalar::Integer;
use records::{Body, Kind, Payload, Record};
use serde::Serialize;
use signing::digest::Digest;

use super::extent::{Part, part};
use super::format::Scope;
use super::heads::{KeptByPack, PackStanding};
use super::web::Thread;
use crate::report::{CheckedCheckpoint, Finding, Verdict};

/// What no pack can show, for the reader of the report.
pub const NOT_SHOWN: &[&str] = &[
    "that it is complete: whoever cut it may have left records out, a reversal or a key's revocation among them",
    "that the rules accepted the records, but for keys and roles: bands, limits, stages and balances are proved by replay \
     of the whole bundle only (safeconduct audit)",
    "that this is the log that everybody else sees: compare the checkpoint with one from elsewhere (--checkpoint)",
    "that a group's time was the time, and the documents that records name by their SHA-256: ask their holders",
];

/// What the verification of a pack found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackReport {
    /// How the pack stands to each checkpoint that was kept elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptByPack>,
    /// The id of the ledger that was asked for.
    pub ledger: Digest,
    /// What no pack can show.
    pub not_shown: &'static [&'static str],
    /// What the pack says that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What it shows; if something is wrong, what was counted before it.
    pub shown: Shown,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl PackReport {
    /// Whether the pack holds, and its log begins with every checkpoint that was kept elsewhere.
    pub fn holds(&self) -> bool {
        self.verdict == Verdict::Verified && self.kept.iter().all(|kept| kept.standing == PackStanding::Holds)
    }
}

/// What a pack shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The checkpoint under which all of it is proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckedCheckpoint>,
    /// The disbursements, by their ids.
    pub disbursements: Vec<ShownDisbursement>,
    /// Instructions that are about no disbursement, governance apart.
    pub others: Vec<Step>,
    /// Proofs of possession of new keys.
    pub possessions: Integer,
    /// Records, each with a signature and a proof that hold.
    pub records: Integer,
    /// The same by kind.
    pub records_by_kind: BTreeMap<&'static str, Integer>,
}

/// What a pack shows of a disbursement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownDisbursement {
    /// What was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Under which benefit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benefit: Option<BenefitId>,
    /// To which case, where the request is in the pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseRef>,
    /// Which one.
    pub disbursement: DisbursementId,
    /// From which fund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fund: Option<FundId>,
    /// Who prepared it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preparer: Option<PrincipalId>,
    /// The request's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Digest>,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// An instruction or a lapse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// How much it is about, where it names an amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// Who signed; the ledger itself where nobody is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// What it is.
    pub kind: &'static str,
    /// It was recorded at this time or earlier, where the pack has a later group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// It was recorded at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Where it stands.
    pub position: Integer,
    /// The roles that the signer held.
    pub roles: Vec<Role>,
}

/// What has been seen, while a pack is read.
#[derive(Default)]
pub(super) struct Seen {
    /// The founding's time, then each group's.
    times: Vec<Timestamp>,
    /// Each step, and after how many times it stands.
    others: Vec<(usize, Step)>,
    disbursements: BTreeMap<DisbursementId, Vec<(usize, Step)>>,
    /// To which disbursement a report belongs, for those who countersign it.
    reports: BTreeMap<Digest, DisbursementId>,
}

impl Seen {
    /// The founding, or a group, begins at this time.
    pub fn begin(&mut self, time: Timestamp) {
        self.times.push(time);
    }

    /// Whether a group has begun.
    pub fn is_in_group(&self) -> bool {
        self.times.len() > 1
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &Record, position: u64, roles: Vec<Role>) {
        let kind = record.kind();
        let (by, amount, disbursement) = match record.payload() {
            Payload::Founding(_) | Payload::Group(_) | Payload::JournalEntry(_) | Payload::Pad(_) => return,
            Payload::Lapse(lapse) => (None, None, Some(lapse.disbursement.clone())),
            Payload::Instruction(..) if part(kind) == Part::Frame => return,
            Payload::Instruction(header, body) => {
                (Some(header.signer.clone()), amount(body), self.disbursement(body))
            }
        };
        let step = Step {
            amount,
            by,
            kind: kind.name(),
            not_after: None,
            not_before: None,
            position: Integer(position),
            roles,
        };
        let step = (self.times.len(), step);
        match disbursement {
            None => self.others.push(step),
            Some(disbursement) => {
                if matches!(kind, Kind::BankConfirmation | Kind::BankRejection | Kind::BankReturn) {
                    self.reports.insert(record.digest(), disbursement.clone());
                }
                self.disbursements.entry(disbursement).or_default().push(step);
            }
        }
    }

    fn disbursement(&self, body: &Body) -> Option<DisbursementId> {
        match body {
            Body::Request(body) => Some(body.disbursement.clone()),
            Body::Approval(body) => Some(body.effect.disbursement.clone()),
            Body::Rejection(body) => Some(body.disbursement.clone()),
            Body::Cancellation(body) => Some(body.disbursement.clone()),
            Body::Delivery(body) => Some(body.disbursement.clone()),
            Body::Release(body) => Some(body.disbursement.clone()),
            Body::BankConfirmation(body) => Some(body.disbursement.clone()),
            Body::BankRejection(body) => Some(body.disbursement.clone()),
            Body::BankReturn(body) => Some(body.disbursement.clone()),
            Body::Countersignature(body) => self.reports.get(&body.report).cloned(),
            Body::Reversal(body) => match &body.subject {
                ReversalSubject::Disbursement(disbursement) => Some(disbursement.clone()),
                ReversalSubject::Fact(_) => None,
            },
            _ => None,
        }
    }

    /// Everything holds: what it comes to.
    pub fn show(self, threads: BTreeMap<DisbursementId, Thread>, shown: &mut Shown) {
        let Seen { times, others, mut disbursements, .. } = self;
        let dated = |(after, step): (usize, Step)| Step {
            not_after: times.get(after).copied(),
            not_before: after.checked_sub(1).and_then(|before| times.get(before)).copied(),
            ..step
        };
        shown.others = others.into_iter().map(dated).collect();
        let of_one = |(disbursement, thread): (DisbursementId, Thread)| {
            let Thread { asked, benefit, case, preparer, request, .. } = thread;
            let (fund, amount) = asked.unzip();
            let steps = disbursements.remove(&disbursement).unwrap_or_default();
            let steps = steps.into_iter().map(dated).collect();
            ShownDisbursement { amount, benefit, case, disbursement, fund, preparer, request, steps }
        };
        shown.disbursements = threads.into_iter().map(of_one).collect();
    }
}

/// The amount that an instruction is about, where it names one: the whole, and no part of it.
fn amount(body: &Body) -> Option<Money> {
    match body {
        Body::Restraint(body) => Some(body.amount),
        Body::Custody(body) => Some(body.amount),
        Body::CustodyInterest(body) => Some(body.amount),
        Body::Forfeiture(body) => Some(body.gross),
        Body::ClaimPayment(body) => Some(body.amount),
        Body::BankFee(body) => Some(body.amount),
        Body::Request(body) => Some(body.amount),
        Body::Approval(body) => Some(body.effect.amount),
        Body::Delivery(body) => Some(body.invoiced),
        _ => None,
    }
}

impl fmt::Display for PackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Verified => writeln!(f, "HOLDS")?,
            Verdict::Refuted(Finding { code, line, position, reason }) => {
                f.write_str("REFUTED")?;
                if let Some(position) = position {
                    write!(f, " at position {position}")?;
                }
                if let Some(line) = line {
                    write!(f, " (line {line})")?;
                }
                writeln!(f, ": {reason} [{code}]")?;
            }
        }
        writeln!(f, "\nledger        {}", self.ledger)?;
        if let Some(scope) = &self.scope {
            writeln!(f, "about         {scope}")?;
        }
        for kept in &self.kept {
            writeln!(f, "kept          {kept}")?;
        }
        write!(f, "{}", self.shown)?;
        writeln!(f, "\nnot shown, since no pack can show it:")?;
        self.not_shown.iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(CheckedCheckpoint { origin, root, size }) = &self.checkpoint {
            writeln!(f, "checkpoint    {origin}, size {size}, root {root}")?;
        }
        writeln!(f, "records       {}, each signed, and proved to stand in the log", self.records)?;
        for (kind, count) in &self.records_by_kind {
            writeln!(f, "  {kind:<20} {:>12}", count.0)?;
        }
        if !self.others.is_empty() {
            writeln!(f, "\napart from disbursements")?;
            self.others.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        }
        self.disbursements.iter().try_for_each(|disbursement| write!(f, "\n{disbursement}"))
    }
}

impl fmt::Display for ShownDisbursement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShownDisbursement { amount, benefit, case, disbursement, fund, preparer, request, steps } = self;
        write!(f, "disbursement {disbursement}")?;
        if let Some(amount) = amount {
            write!(f, ", {}", amount.grouped())?;
        }
        if let Some(benefit) = benefit {
            write!(f, ", benefit {benefit}")?;
        }
        if let Some(fund) = fund {
            write!(f, ", fund {fund}")?;
        }
        if let Some(case) = case {
            write!(f, ", to case {case}")?;
        }
        writeln!(f)?;
        if let (Some(request), Some(preparer)) = (request, preparer) {
            writeln!(f, "  prepared by {preparer}, request {request}")?;
        }
        steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { amount, by, kind, not_after, not_before, position, roles } = self;
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        match by {
            Some(by) => write!(f, "{kind:<20} by {by} ({})", roles.join(", "))?,
            None => write!(f, "{kind:<20} by the ledger")?,
        }
        if let Some(amount) = amount {
            write!(f, ", {}", amount.grouped())?;
        }
        write!(f, ", position {position}")?;
        match (not_before, not_after) {
            (Some(from), Some(to)) => write!(f, ", recorded from {from} to {to}"),
            (Some(from), None) => write!(f, ", recorded at {from} or later"),
            (None, _) => Ok(()),
        }
    }
}
