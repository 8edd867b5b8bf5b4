//! The service's answers, as far as the client builds on them. Fields that it does not know are left alone.

use ledger::currency::Currency;
use ledger::id::{AssetId, CaseRef, DisbursementId, EntryId, FundId, PrincipalId};
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use records::cases::OfferVersion;
use records::disbursements::Effect;
use records::governance::{Act, Policy, Role};
use records::scalar::{Integer, Token};
use serde::Deserialize;
use serde_json::Value;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey};

/// `GET /v1/service`.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    /// The key for checkpoints.
    pub checkpoint_key: PublicKey,
    /// The ledger, once it is founded.
    #[serde(default)]
    pub ledger: Option<Digest>,
    /// The log's origin.
    pub origin: Token,
    /// The key for records.
    pub record_key: PublicKey,
}

/// `GET /v1/proofs/inclusion` and `GET /v1/proofs/consistency`.
#[derive(Debug, Clone, Deserialize)]
pub struct Proof {
    /// The proof.
    pub hashes: Vec<Digest>,
}

/// `GET /v1/policy`.
#[derive(Debug, Clone, Deserialize)]
pub struct CurrentPolicy {
    /// The policy that waits for its delay.
    #[serde(default)]
    pub pending: Option<PendingPolicy>,
    /// The policy in force.
    pub policy: Policy,
    /// Its version.
    pub version: Integer,
}

/// A policy that waits for its delay.
#[derive(Debug, Clone, Deserialize)]
pub struct PendingPolicy {
    /// From when on it is in force.
    pub effective_at: Timestamp,
    /// The policy.
    pub policy: Policy,
    /// Its version.
    pub version: Integer,
}

/// An item of `GET /v1/disbursements`.
#[derive(Debug, Clone, Deserialize)]
pub struct Disbursement {
    /// Who approved it so far.
    pub approvals: Vec<PrincipalId>,
    /// Its id.
    pub disbursement: DisbursementId,
    /// The effect that an approver signs.
    pub effect: Effect,
    /// Whether its benefit is one in kind.
    pub in_kind: bool,
    /// The entry that a reversal would name.
    #[serde(default)]
    pub last_entry: Option<EntryId>,
    /// What policy demands.
    pub needs: Needs,
    /// What is owed, once it is due.
    #[serde(default)]
    pub payable: Option<Money>,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// How far it has come.
    pub stage: String,
}

/// How many approvals policy demands.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Needs {
    /// How many approvers, directors included.
    pub approvers: Integer,
    /// How many directors.
    pub directors: Integer,
}

/// An item of `GET /v1/reports`.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    /// The entry that a reversal would name.
    #[serde(default)]
    pub entry: Option<EntryId>,
    /// The report itself, where the service shows it, so that who countersigns knows what.
    #[serde(default)]
    pub envelope: Option<Envelope>,
    /// Of what kind it is.
    pub kind: String,
    /// Who signed it so far.
    pub persons: Vec<PrincipalId>,
    /// Its digest.
    pub report: Digest,
    /// Waiting, posted or reversed.
    pub status: String,
}

/// An item of `GET /v1/cases`.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// The agency that accompanies it.
    pub agency: PrincipalId,
    /// Its reference.
    pub case: CaseRef,
    /// When the person entered.
    pub entered: Date,
    /// Under which offer.
    pub offer: OfferVersion,
    /// Open, cleared or refused.
    pub screening: String,
}

/// An item of `GET /v1/proposals`.
#[derive(Debug, Clone, Deserialize)]
pub struct Proposal {
    /// What is proposed, in the service's words.
    pub act: Act,
    /// Who stands behind it.
    pub custodians: Vec<PrincipalId>,
    /// When it takes effect, once it is decided.
    #[serde(default)]
    pub effective_at: Option<Timestamp>,
    /// The proposal itself, where the service shows it, so that who concurs knows with what.
    #[serde(default)]
    pub envelope: Option<Envelope>,
    /// Until when others may concur.
    pub not_after: Timestamp,
    /// Its digest.
    pub proposal: Digest,
    /// Open, decided or vetoed.
    pub status: String,
}

/// An item of `GET /v1/principals`.
#[derive(Debug, Clone, Deserialize)]
pub struct Principal {
    /// The keys.
    pub keys: Vec<PrincipalKey>,
    /// The roles that wait for their delay.
    #[serde(default)]
    pub pending_roles: Option<Vec<Role>>,
    /// The principal.
    pub principal: PrincipalId,
    /// The roles.
    pub roles: Vec<Role>,
}

/// A key of a principal.
#[derive(Debug, Clone, Deserialize)]
pub struct PrincipalKey {
    /// When it was activated, where it was a spare.
    #[serde(default)]
    pub activated_at: Option<Timestamp>,
    /// From when on it has expired.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// From when on it is valid.
    pub from: Timestamp,
    /// Its id.
    pub key: KeyId,
    /// The key that it ended when it was activated.
    #[serde(default)]
    pub replaced: Option<KeyId>,
    /// `waiting` or `activated`, where it was enrolled as a spare.
    #[serde(default)]
    pub spare: Option<String>,
    /// From when on it is no longer valid, where it was ended.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// An item of `GET /v1/funds`.
#[derive(Debug, Clone, Deserialize)]
pub struct Fund {
    /// The asset that it came from.
    pub asset: AssetId,
    /// Its currency.
    pub currency: Currency,
    /// Its id.
    pub fund: FundId,
    /// Whether every proof holds.
    pub holds: bool,
    /// Fiduciary or spendable.
    pub kind: String,
    /// The proofs.
    pub proofs: Vec<FundProof>,
    /// Sums by account code.
    pub totals: Vec<Total>,
}

/// One proof of a fund's books.
#[derive(Debug, Clone, Deserialize)]
pub struct FundProof {
    /// By how much it fails; zero where it holds.
    pub difference: String,
    /// One side.
    pub left: String,
    /// Its name.
    pub name: String,
    /// The other side.
    pub right: String,
}

/// The sum of the accounts of one code.
#[derive(Debug, Clone, Deserialize)]
pub struct Total {
    /// The sum.
    pub amount: String,
    /// The code.
    pub code: String,
    /// What is held of it.
    pub held: String,
    /// For people.
    pub name: String,
}

/// An item of `GET /v1/funds/{fund}/accounts`.
#[derive(Debug, Clone, Deserialize)]
pub struct AccountBalance {
    /// The account.
    pub account: String,
    /// Its balance on its normal side.
    pub amount: String,
    /// The currency.
    pub currency: Currency,
    /// What is held of it.
    pub held: String,
    /// For people.
    pub name: String,
}

/// `GET /v1/agency/cases/{agency_ref}`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgencyBalance {
    /// The agency's reference.
    pub agency_ref: String,
    /// As of when.
    #[serde(default)]
    pub as_of: Value,
    /// Sums by currency.
    pub balances: Vec<CaseSums>,
    /// The disbursements to this case.
    pub disbursements: Vec<AgencyDisbursement>,
    /// When the person entered.
    pub entered: Date,
    /// Open, cleared or refused.
    pub screening: String,
}

/// A case's sums in one currency, by stage.
#[derive(Debug, Clone, Deserialize)]
pub struct CaseSums {
    /// Approved and not yet due.
    pub approved: String,
    /// The currency.
    pub currency: Currency,
    /// Due.
    pub due: String,
    /// Paid.
    pub paid: String,
    /// Released.
    pub released: String,
    /// Requested.
    pub requested: String,
}

/// A disbursement as an agency sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct AgencyDisbursement {
    /// How much.
    pub amount: String,
    /// Under which benefit.
    pub benefit: String,
    /// The currency.
    pub currency: Currency,
    /// Its id.
    pub disbursement: DisbursementId,
    /// How far it has come.
    pub stage: String,
}

/// An item of `GET /v1/agency/cases/{agency_ref}/statement`.
#[derive(Debug, Clone, Deserialize)]
pub struct StatementLine {
    /// How much.
    pub amount: String,
    /// When.
    pub at: Timestamp,
    /// Under which benefit.
    pub benefit: String,
    /// The currency.
    pub currency: Currency,
    /// Which disbursement.
    pub disbursement: DisbursementId,
    /// The stage that was entered.
    pub event: String,
}

/// An item of `GET /v1/agency/cases`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgencyCase {
    /// The agency's reference.
    pub agency_ref: String,
    /// When the person entered.
    pub entered: Date,
    /// Open, cleared or refused.
    pub screening: String,
}
