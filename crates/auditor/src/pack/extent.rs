//! Which kinds may stand in a pack of which scope, and which records a scope concerns.
//!
//! The same fold answers for whoever cuts a pack, over the whole log, and for whoever verifies one, over what is in it.
//! In a pack that may hold no case reference there is no request; that a disbursement is of a fund is learnt from the entry
//! that its request caused, whose line holds the amount on that fund.

use std::collections::HashSet;

use ledger::id::{DisbursementId, FundId};
use ledger::time::Date;
use records::assets::ReversalSubject;
use records::journal::JournalEntry;
use records::{Body, Kind, Payload, Record};
use signing::digest::Digest;

use super::format::Scope;

/// Why a kind stands in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It says whose keys and which time the others have: it may stand in every pack.
    Frame,
    /// It is cited by others, and holds nothing of anybody.
    Offer,
    /// It is about a case and nothing else.
    Case,
    /// It names a case: to whom something is paid.
    Request,
    /// It is about a disbursement, or about what other records of the pack say, and names no case.
    Payment,
    /// It is about a fund's money.
    Fact,
    /// It is about an asset.
    Asset,
    /// It is about a bank account.
    Bank,
    /// It says nothing, and stands in no pack.
    Nothing,
}

/// Every kind has to be thought about: what it holds, and who may see that.
pub(super) fn part(kind: Kind) -> Part {
    match kind {
        Kind::Founding
        | Kind::Group
        | Kind::Acceptance
        | Kind::Activation
        | Kind::Proposal
        | Kind::Concurrence
        | Kind::Veto => Part::Frame,
        Kind::Offer => Part::Offer,
        // The case's reference, the agency's own, and a commitment to the person.
        Kind::CaseOpening | Kind::Screening => Part::Case,
        // The case's reference, and the salt that opens the entries' commitments.
        Kind::Request => Part::Request,
        Kind::Approval
        | Kind::Rejection
        | Kind::Cancellation
        | Kind::Delivery
        | Kind::Release
        | Kind::BankConfirmation
        | Kind::BankRejection
        | Kind::BankReturn
        | Kind::Lapse
        | Kind::Countersignature
        | Kind::Reversal
        | Kind::JournalEntry => Part::Payment,
        Kind::FundOpening
        | Kind::Restraint
        | Kind::Custody
        | Kind::CustodyInterest
        | Kind::Forfeiture
        | Kind::ClaimPayment
        | Kind::WindfallIncome
        | Kind::BankFee => Part::Fact,
        Kind::AssetRegistration => Part::Asset,
        Kind::BankOpening => Part::Bank,
        Kind::Pad => Part::Nothing,
    }
}

/// Whether a kind may stand in a pack of this scope at all.
pub(super) fn may_stand(kind: Kind, scope: &Scope) -> bool {
    match part(kind) {
        Part::Frame | Part::Offer | Part::Payment => true,
        Part::Case => matches!(scope, Scope::Case(_)),
        Part::Request => matches!(scope, Scope::Case(_) | Scope::Disbursement(_)),
        Part::Fact => !matches!(scope, Scope::Case(_) | Scope::Disbursement(_)),
        Part::Asset => matches!(scope, Scope::Asset(_) | Scope::Period { .. } | Scope::NoCases {}),
        Part::Bank => matches!(scope, Scope::Period { .. } | Scope::NoCases {}),
        Part::Nothing => false,
    }
}

/// What a scope has come to so far: it is told of each record in the order of the log.
pub(super) struct Extent {
    scope: Scope,
    funds: HashSet<FundId>,
    disbursements: HashSet<DisbursementId>,
    /// Reports, which countersignatures and reversals name by their digest.
    reports: HashSet<Digest>,
}

impl Extent {
    pub fn new(scope: &Scope) -> Extent {
        let (mut funds, mut disbursements) = (HashSet::new(), HashSet::new());
        match scope {
            Scope::Fund(fund) => drop(funds.insert(fund.clone())),
            Scope::Disbursement(disbursement) => drop(disbursements.insert(disbursement.clone())),
            Scope::Asset(_) | Scope::Case(_) | Scope::NoCases {} | Scope::Period { .. } => {}
        }
        Extent { scope: scope.clone(), funds, disbursements, reports: HashSet::new() }
    }

    /// Whether the scope concerns a record of a group of this day. What it only needs (keys, times, what is cited) it does
    /// not concern.
    pub fn takes(&mut self, record: &Record, day: Date) -> bool {
        if !may_stand(record.kind(), &self.scope) {
            return false;
        }
        match &self.scope {
            Scope::NoCases {} => true,
            Scope::Period { from, to } => (*from..=*to).contains(&day),
            Scope::Asset(_) | Scope::Case(_) | Scope::Disbursement(_) | Scope::Fund(_) => {
                self.concerns(record)
            }
        }
    }

    fn concerns(&mut self, record: &Record) -> bool {
        match record.payload() {
            Payload::Founding(_) | Payload::Group(_) | Payload::Pad(_) => false,
            Payload::Lapse(lapse) => self.disbursements.contains(&lapse.disbursement),
            Payload::JournalEntry(entry) => self.concerns_entry(entry),
            Payload::Instruction(_, body) => {
                let concerns = self.concerns_body(body);
                if concerns {
                    self.reports.insert(record.digest());
                }
                concerns
            }
        }
    }

    fn concerns_entry(&mut self, entry: &JournalEntry) -> bool {
        let known = entry.disbursement.as_ref().is_some_and(|id| self.disbursements.contains(id));
        let concerns = known || entry.lines.iter().any(|line| self.funds.contains(&line.fund));
        if let Some(disbursement) = entry.disbursement.as_ref().filter(|_| concerns && !known) {
            self.disbursements.insert(disbursement.clone());
        }
        concerns
    }

    fn concerns_body(&mut self, body: &Body) -> bool {
        let scope = &self.scope;
        let paid = |id: &DisbursementId| self.disbursements.contains(id);
        let held = |fund: &FundId| self.funds.contains(fund);
        match body {
            Body::Acceptance(_)
            | Body::Activation(_)
            | Body::Proposal(_)
            | Body::Concurrence(_)
            | Body::Veto(_)
            | Body::Offer(_)
            | Body::BankOpening(_) => false,
            Body::AssetRegistration(body) => matches!(scope, Scope::Asset(asset) if *asset == body.asset),
            Body::FundOpening(body) => {
                if matches!(scope, Scope::Asset(asset) if *asset == body.asset) {
                    self.funds.insert(body.fund.clone());
                }
                self.funds.contains(&body.fund)
            }
            Body::Restraint(body) => held(&body.fund),
            Body::Custody(body) => held(&body.fund),
            Body::CustodyInterest(body) => held(&body.fund),
            Body::Forfeiture(body) => held(&body.fund) || held(&body.to_fund),
            Body::ClaimPayment(body) => held(&body.fund),
            Body::WindfallIncome(body) => held(&body.fund) || held(&body.shares_fund),
            Body::BankFee(body) => held(&body.fund),
            Body::CaseOpening(body) => matches!(scope, Scope::Case(case) if *case == body.case),
            Body::Screening(body) => matches!(scope, Scope::Case(case) if *case == body.case),
            Body::Request(body) => {
                if matches!(scope, Scope::Case(case) if *case == body.case) {
                    self.disbursements.insert(body.disbursement.clone());
                }
                self.disbursements.contains(&body.disbursement)
            }
            Body::Approval(body) => paid(&body.effect.disbursement),
            Body::Rejection(body) => paid(&body.disbursement),
            Body::Cancellation(body) => paid(&body.disbursement),
            Body::Delivery(body) => paid(&body.disbursement),
            Body::Release(body) => paid(&body.disbursement),
            Body::BankConfirmation(body) => paid(&body.disbursement),
            Body::BankRejection(body) => paid(&body.disbursement),
            Body::BankReturn(body) => paid(&body.disbursement),
            Body::Countersignature(body) => self.reports.contains(&body.report),
            Body::Reversal(body) => match &body.subject {
                ReversalSubject::Disbursement(id) => paid(id),
                ReversalSubject::Fact(report) => self.reports.contains(report),
            },
        }
    }
}

/// The digests of earlier records that a record names: its request, and the others.
pub(super) fn cites(payload: &Payload) -> (Option<Digest>, Vec<Digest>) {
    let body = match payload {
        Payload::Founding(_) | Payload::Group(_) | Payload::Pad(_) => return (None, vec![]),
        Payload::JournalEntry(entry) => return (None, entry.authority.clone()),
        Payload::Lapse(lapse) => return (Some(lapse.request), vec![]),
        Payload::Instruction(_, body) => &**body,
    };
    match body {
        Body::Concurrence(body) => (None, vec![body.proposal]),
        Body::Veto(body) => (None, vec![body.proposal]),
        Body::Countersignature(body) => (None, vec![body.report]),
        Body::Reversal(body) => {
            let report = match &body.subject {
                ReversalSubject::Disbursement(_) => None,
                ReversalSubject::Fact(report) => Some(*report),
            };
            (None, report.into_iter().chain([Digest::from_bytes(body.entry.digest)]).collect())
        }
        Body::Approval(body) => (Some(body.effect.request), vec![]),
        Body::Rejection(body) => (Some(body.request), vec![]),
        Body::Cancellation(body) => (Some(body.request), vec![]),
        Body::Release(body) => (Some(body.request), vec![]),
        Body::Acceptance(_)
        | Body::Activation(_)
        | Body::Proposal(_)
        | Body::AssetRegistration(_)
        | Body::FundOpening(_)
        | Body::BankOpening(_)
        | Body::Restraint(_)
        | Body::Custody(_)
        | Body::CustodyInterest(_)
        | Body::Forfeiture(_)
        | Body::ClaimPayment(_)
        | Body::WindfallIncome(_)
        | Body::BankFee(_)
        | Body::Offer(_)
        | Body::CaseOpening(_)
        | Body::Screening(_)
        | Body::Request(_)
        | Body::Delivery(_)
        | Body::BankConfirmation(_)
        | Body::BankRejection(_)
        | Body::BankReturn(_) => (None, vec![]),
    }
}
