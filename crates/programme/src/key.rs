//! The keys of the state's entities.

use std::fmt;

use ledger::books::BalanceKey;
use ledger::id::{
    AgencyRef, AssetId, BankId, BenefitId, CaseRef, DisbursementId, FundId, OfferId, PrincipalId,
};
use records::scalar::InstructionId;
use signing::digest::Digest;
use signing::keys::KeyId;

/// Names one entity. Its text is the entity's name in the store; four kinds have tables of their own there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The founding and who has accepted it.
    Charter,
    /// The policy in force and the one that waits.
    Policy,
    /// A principal and its roles.
    Principal(PrincipalId),
    /// An enrolled key.
    PublicKey(KeyId),
    /// A custodians' proposal.
    Proposal(Digest),
    /// An asset.
    Asset(AssetId),
    /// A fund.
    Fund(FundId),
    /// A bank account.
    Bank(BankId),
    /// An offer's latest version.
    Offer(OfferId),
    /// One version of an offer.
    OfferVersion(OfferId, u64),
    /// A case.
    Case(CaseRef),
    /// An agency's reference.
    AgencyRef(AgencyRef),
    /// What a case can be owed once: a benefit's occurrence.
    Obligation(CaseRef, BenefitId, u64),
    /// A disbursement.
    Disbursement(DisbursementId),
    /// A report of a fact.
    Report(Digest),
    /// An instruction's id, while the instruction could still be sent again.
    Instruction(PrincipalId, InstructionId),
    /// The group that begins at a size of the tree.
    Head(u64),
    /// A balance.
    Balance(BalanceKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Charter => f.write_str("charter"),
            Key::Policy => f.write_str("policy"),
            Key::Principal(id) => write!(f, "principal/{id}"),
            Key::PublicKey(id) => write!(f, "key/{id}"),
            Key::Proposal(digest) => write!(f, "proposal/{digest}"),
            Key::Asset(id) => write!(f, "asset/{id}"),
            Key::Fund(id) => write!(f, "fund/{id}"),
            Key::Bank(id) => write!(f, "bank/{id}"),
            Key::Offer(id) => write!(f, "offer/{id}"),
            Key::OfferVersion(id, version) => write!(f, "offer/{id}/{version}"),
            Key::Case(case) => write!(f, "case/{case}"),
            Key::AgencyRef(reference) => write!(f, "agency-ref/{reference}"),
            Key::Obligation(case, benefit, occurrence) => {
                write!(f, "obligation/{case}/{benefit}/{occurrence}")
            }
            Key::Disbursement(id) => write!(f, "disbursement/{id}"),
            Key::Report(digest) => write!(f, "report/{digest}"),
            Key::Instruction(signer, id) => write!(f, "instruction/{signer}/{id}"),
            Key::Head(size) => write!(f, "head/{size}"),
            Key::Balance(key) => write!(f, "balance/{}/{}/{}", key.account, key.fund, key.currency),
        }
    }
}
