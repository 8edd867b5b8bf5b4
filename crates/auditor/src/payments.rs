//! The payments of a log: every disbursement's payment that a bank booked, with the records that it rests on.
//!
//! A payment is an entry that posts a hold on cash: what a payer released and the bank then booked. One that a reversal
//! undid was no payment. One that came back was: if it was paid again, those are two.

use std::collections::{BTreeMap, HashMap};

use ledger::account::Account;
use ledger::currency::Currency;
use ledger::entry::{Action, Line};
use ledger::id::{CaseRef, DisbursementId, EntryId, FundId};
use ledger::money::Money;
use ledger::sum::Sum;
use programme::entity::Entity;
use programme::{Key, State};
use records::journal::JournalEntry;
use records::{Body, Payload};
use serde::Serialize;
use signing::digest::Digest;

use crate::evidence::evidence_of;
use crate::observe::{Observer, Replayed};
use crate::report::{decimal, decimal_if_any, positions};

/// A payment that a bank booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// How much.
    pub amount: Money,
    /// On which disbursement.
    pub disbursement: DisbursementId,
    /// The SHA-256 of the documents that its records name: screening, delivery, the bank's advice.
    pub evidence: Vec<Digest>,
    /// Out of which fund.
    pub fund: FundId,
    /// The positions of its records.
    pub records: PaymentRecords,
}

/// The positions of the records that a payment rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PaymentRecords {
    /// The approvals that counted when it was released.
    #[serde(serialize_with = "positions")]
    pub approvals: Vec<u64>,
    /// The bank's confirmation, and the countersignature that completed it.
    #[serde(serialize_with = "positions")]
    pub confirmations: Vec<u64>,
    /// The delivery, of a benefit in kind.
    #[serde(serialize_with = "decimal_if_any", skip_serializing_if = "Option::is_none")]
    pub delivery: Option<u64>,
    /// The entry of the payment.
    #[serde(serialize_with = "decimal")]
    pub entry: u64,
    /// The release.
    #[serde(serialize_with = "decimal")]
    pub release: u64,
    /// The request.
    #[serde(serialize_with = "decimal")]
    pub request: u64,
    /// The screening of its case.
    #[serde(serialize_with = "decimal_if_any", skip_serializing_if = "Option::is_none")]
    pub screening: Option<u64>,
}

/// A record with the document that it names.
type Document = (u64, Digest);

/// What a disbursement has behind it so far.
#[derive(Debug, Default)]
struct Trail {
    request: u64,
    screening: Option<Document>,
    approvals: Vec<(Digest, u64)>,
    delivery: Option<Document>,
    release: u64,
    /// The approvals that counted at the release.
    counted: Vec<u64>,
    confirmations: Vec<(Digest, Document)>,
}

/// Gathers the payments of a log.
#[derive(Debug, Default)]
pub(crate) struct Payments {
    /// By the position of the entry.
    booked: BTreeMap<u64, Payment>,
    entries: HashMap<EntryId, u64>,
    /// What came back of booked payments, by its entry.
    returned: HashMap<EntryId, (FundId, Money)>,
    screenings: HashMap<CaseRef, Document>,
    trails: HashMap<DisbursementId, Trail>,
    /// At the log's end: what the budget says was paid, less bank fees, by fund.
    settled: BTreeMap<FundId, Sum>,
    currencies: BTreeMap<FundId, Currency>,
}

impl Payments {
    /// The payments that stand, in the order of the log.
    pub fn booked(&self) -> impl Iterator<Item = &Payment> {
        self.booked.values()
    }

    /// The currency of each fund.
    pub fn currency(&self, fund: &FundId) -> Option<Currency> {
        self.currencies.get(fund).copied()
    }

    /// What came back of the payments of these funds.
    pub fn returned(&self, currency: Currency, is_of: impl Fn(&FundId) -> bool) -> Sum {
        let of = self.returned.values().filter(|(fund, money)| is_of(fund) && money.currency() == currency);
        total(currency, of.map(|(_, money)| Sum::from(*money)))
    }

    /// What the budget of these funds says was paid (7500), less bank fees (5102).
    pub fn settled(&self, currency: Currency, is_of: impl Fn(&FundId) -> bool) -> Sum {
        let of = self.settled.iter().filter(|(fund, sum)| is_of(fund) && sum.currency() == currency);
        total(currency, of.map(|(_, sum)| *sum))
    }

    fn instruction(&mut self, position: u64, digest: Digest, body: &Body) {
        let document = evidence_of(body).map(|evidence| (position, evidence.sha256));
        match body {
            Body::Screening(body) => {
                self.screenings.extend(document.map(|document| (body.case.clone(), document)));
            }
            Body::Request(body) => {
                let screening = self.screenings.get(&body.case).copied();
                let trail = Trail { request: position, screening, ..Trail::default() };
                self.trails.insert(body.disbursement.clone(), trail);
            }
            Body::Approval(body) => {
                if let Some(trail) = self.trails.get_mut(&body.effect.disbursement) {
                    trail.approvals.push((digest, position));
                }
            }
            Body::Delivery(body) => {
                if let Some(trail) = self.trails.get_mut(&body.disbursement) {
                    trail.delivery = document;
                }
            }
            Body::BankConfirmation(body) => {
                if let Some(trail) = self.trails.get_mut(&body.disbursement) {
                    trail.confirmations.extend(document.map(|document| (digest, document)));
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, position: u64, entry: &JournalEntry) {
        let Some(disbursement) = &entry.disbursement else { return };
        if let Some(reversed) = entry.reverses {
            self.returned.remove(&reversed);
            if let Some(position) = self.entries.remove(&reversed) {
                self.booked.remove(&position);
            }
            return;
        }
        let Some(trail) = self.trails.get_mut(disbursement) else { return };
        // The record that causes an entry stands right before it.
        let cause = position.saturating_sub(1);
        for line in &entry.lines {
            match (&line.account, &line.action) {
                (Account::Cash(_), Action::Hold(_)) => {
                    let counts = |(digest, _): &&(Digest, u64)| entry.authority.contains(digest);
                    trail.counted =
                        trail.approvals.iter().filter(counts).map(|(_, position)| *position).collect();
                    trail.release = cause;
                }
                (Account::Cash(_), Action::PostHold(_)) => {
                    self.entries.insert(entry.id, position);
                    self.booked.insert(position, trail.paid(disbursement, line, entry, position));
                }
                (Account::Paid, Action::Debit) => {
                    self.returned.insert(entry.id, (line.fund.clone(), line.money));
                }
                _ => {}
            }
        }
    }
}

impl Trail {
    fn paid(&self, disbursement: &DisbursementId, line: &Line, entry: &JournalEntry, at: u64) -> Payment {
        let reported = |(digest, _): &&(Digest, Document)| entry.authority.contains(digest);
        let report = self.confirmations.iter().find(reported).map(|(_, document)| *document);
        let cause = at.saturating_sub(1);
        let mut confirmations: Vec<u64> = report.iter().map(|(position, _)| *position).collect();
        if !confirmations.contains(&cause) {
            confirmations.push(cause);
        }
        let documents = [self.screening, self.delivery, report];
        Payment {
            amount: line.money,
            disbursement: disbursement.clone(),
            evidence: documents.into_iter().flatten().map(|(_, sha256)| sha256).collect(),
            fund: line.fund.clone(),
            records: PaymentRecords {
                approvals: self.counted.clone(),
                confirmations,
                delivery: self.delivery.map(|(position, _)| position),
                entry: at,
                release: self.release,
                request: self.request,
                screening: self.screening.map(|(position, _)| position),
            },
        }
    }
}

fn total(currency: Currency, sums: impl Iterator<Item = Sum>) -> Sum {
    // All are of this currency.
    sums.fold(Sum::zero(currency), |total, sum| total.plus(sum).unwrap_or(total))
}

impl Observer for Payments {
    fn record(&mut self, replayed: &Replayed<'_>) {
        match replayed.record.payload() {
            Payload::Instruction(_, body) => {
                self.instruction(replayed.position, replayed.record.digest(), body)
            }
            Payload::JournalEntry(entry) => self.entry(replayed.position, entry),
            Payload::Founding(_) | Payload::Group(_) | Payload::Lapse(_) | Payload::Pad(_) => {}
        }
    }

    fn end(&mut self, state: &State) {
        for (key, entity) in state.entities() {
            match (key, entity) {
                (Key::Fund(fund), Entity::Fund(opened)) => {
                    self.currencies.insert(fund.clone(), opened.currency);
                }
                (Key::Balance(key), Entity::Balance(balance)) => {
                    let amount = &balance.amount;
                    let settled =
                        self.settled.entry(key.fund.clone()).or_insert_with(|| Sum::zero(key.currency));
                    let changed = match key.account.code() {
                        7500 => settled.plus((*amount).into()),
                        5102 => settled.less((*amount).into()),
                        _ => None,
                    };
                    *settled = changed.unwrap_or(*settled);
                }
                _ => {}
            }
        }
    }
}
