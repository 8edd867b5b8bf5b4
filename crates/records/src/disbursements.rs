//! One payment to one case under one benefit, through its whole life.

use ledger::id::{BankId, BenefitId, CaseRef, DisbursementId, FundId, PrincipalId, VendorId};
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;

use crate::cases::OfferVersion;
use crate::scalar::{Evidence, Integer, Salt, Text};

/// How a payment goes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Channel {
    /// An office pays by hand, where policy allows it; there are no payee details.
    Manual {},
}

/// A preparer asks for a disbursement; its ceiling is held on the fund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The amount: a cash benefit's own, or an in-kind benefit's ceiling at most.
    pub amount: Money,
    /// Which benefit of the offer.
    pub benefit: BenefitId,
    /// To which case.
    pub case: CaseRef,
    /// How it is to go out.
    pub channel: Channel,
    /// The disbursement's id, drawn by the preparer's client.
    pub disbursement: DisbursementId,
    /// What is not approved and released by then lapses.
    pub expires: Timestamp,
    /// From which fund.
    pub fund: FundId,
    /// Which occurrence of the benefit: "1" for one that is paid once.
    pub occurrence: Integer,
    /// Under which version of the offer.
    pub offer: OfferVersion,
    /// For the commitment to the case that the entries carry.
    pub salt: Salt,
}

/// The whole effect of a request, as an approver's client read it and the approver signs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The request's amount.
    pub amount: Money,
    /// The request's benefit.
    pub benefit: BenefitId,
    /// The request's channel.
    pub channel: Channel,
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The request's expiry.
    pub expires: Timestamp,
    /// The fund that is charged.
    pub fund: FundId,
    /// The most that the fund may be charged.
    pub most: Money,
    /// The request's offer and version.
    pub offer: OfferVersion,
    /// The version of the policy in force.
    pub policy: Integer,
    /// Who prepared the request.
    pub preparer: PrincipalId,
    /// The request's digest.
    pub request: Digest,
}

/// An approver approves exactly one effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The whole effect, repeated.
    pub effect: Effect,
}

/// An approver rejects a request; its hold returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// Why.
    pub reason: Text,
    /// The request's digest.
    pub request: Digest,
}

/// A preparer or director ends a disbursement that has not been released; what it held or obligated returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// Why.
    pub reason: Text,
    /// The request's digest.
    pub request: Digest,
}

/// A benefit in kind was delivered and invoiced; the unused ceiling returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The day of delivery.
    pub delivered: Date,
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The receipt and the invoice.
    pub evidence: Evidence,
    /// What the vendor asks, at most the ceiling.
    pub invoiced: Money,
    /// Who delivered.
    pub vendor: VendorId,
}

/// A payer releases a due payment from a bank account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The account that pays.
    pub bank: BankId,
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The request's digest.
    pub request: Digest,
}

/// The bank booked a released payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankConfirmation {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// The bank's value date.
    pub value_date: Date,
}

/// The bank refused a released payment before booking it; it is payable again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankRejection {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The bank's advice.
    pub evidence: Evidence,
}

/// A booked payment came back; it is payable again, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankReturn {
    /// The disbursement.
    pub disbursement: DisbursementId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// What the bank kept as its fee; zero where it kept nothing.
    pub kept: Money,
    /// The bank's value date.
    pub value_date: Date,
}
