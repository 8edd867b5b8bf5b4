//! The keys of the state's entities.

use std::fmt;
use std::str::FromStr;

use ledger::books::BalanceKey;
use ledger::id::{
    AgencyRef, AssetId, BankId, BenefitId, CaseRef, DisbursementId, FundId, OfferId, PrincipalId,
};
use records::scalar::{InstructionId, Integer};
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
    Obligation(CaseRef, BenefitId, u32),
    /// A disbursement.
    Disbursement(DisbursementId),
    /// A report of a fact.
    Report(Digest),
    /// An instruction's id, while the instruction could still be sent again.
    Instruction(PrincipalId, InstructionId),
    /// The group that begins at a size of the tree.
    Head(u64),
    /// A balance; boxed, since it is twice as large as the others, and a state has millions of keys.
    Balance(Box<BalanceKey>),
}

impl From<BalanceKey> for Key {
    fn from(key: BalanceKey) -> Key {
        Key::Balance(Box::new(key))
    }
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

/// A text that names no entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is not an entity's key")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    /// What [`Display`](fmt::Display) writes; no part but an account has a slash in it.
    fn from_str(text: &str) -> Result<Key, NotAKey> {
        fn part<T: FromStr>(text: &str) -> Result<T, NotAKey> {
            text.parse().map_err(|_| NotAKey)
        }
        fn number(text: &str) -> Result<u64, NotAKey> {
            part::<Integer>(text).map(|Integer(number)| number)
        }
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let parts: Vec<&str> = rest.split('/').collect();
        match (kind, &parts[..]) {
            ("charter", [""]) if text == kind => Ok(Key::Charter),
            ("policy", [""]) if text == kind => Ok(Key::Policy),
            ("principal", [id]) => part(id).map(Key::Principal),
            ("key", [id]) => part(id).map(Key::PublicKey),
            ("proposal", [digest]) => part(digest).map(Key::Proposal),
            ("asset", [id]) => part(id).map(Key::Asset),
            ("fund", [id]) => part(id).map(Key::Fund),
            ("bank", [id]) => part(id).map(Key::Bank),
            ("offer", [id]) => part(id).map(Key::Offer),
            ("offer", [id, version]) => Ok(Key::OfferVersion(part(id)?, number(version)?)),
            ("case", [case]) => part(case).map(Key::Case),
            ("agency-ref", [reference]) => part(reference).map(Key::AgencyRef),
            ("obligation", [case, benefit, occurrence]) => {
                let occurrence = u32::try_from(number(occurrence)?).map_err(|_| NotAKey)?;
                Ok(Key::Obligation(part(case)?, part(benefit)?, occurrence))
            }
            ("disbursement", [id]) => part(id).map(Key::Disbursement),
            ("report", [digest]) => part(digest).map(Key::Report),
            ("instruction", [signer, id]) => Ok(Key::Instruction(part(signer)?, part(id)?)),
            ("head", [size]) => number(size).map(Key::Head),
            ("balance", [account @ .., fund, currency]) => {
                let account = part(&account.join("/"))?;
                let currency = part(currency)?;
                Ok(Key::from(BalanceKey { account, fund: part(fund)?, currency }))
            }
            _ => Err(NotAKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let digest = "ab".repeat(32);
        let of_digest = |kind: &str| format!("{kind}/{digest}");
        let good = [
            "charter".to_owned(),
            "policy".to_owned(),
            "principal/anna".to_owned(),
            of_digest("key"),
            of_digest("proposal"),
            "asset/a1".to_owned(),
            "fund/f_1".to_owned(),
            "bank/b1".to_owned(),
            "offer/new-life".to_owned(),
            "offer/new-life/12".to_owned(),
            "case/c1".to_owned(),
            "agency-ref/c1-ref".to_owned(),
            "obligation/c1/bonus/1".to_owned(),
            "disbursement/d1".to_owned(),
            of_digest("report"),
            "instruction/anna/01890a5d-ac96-7000-8000-000000000001".to_owned(),
            "head/0".to_owned(),
            "balance/7300/f1/USD".to_owned(),
            "balance/2100/disbursement/d-1/f1/USD".to_owned(),
        ];
        for text in &good {
            let key: Key = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(key.to_string(), *text);
            for bad in [format!("{text}/"), format!("/{text}"), format!("{text}/x"), text.to_uppercase()] {
                // An offer's version is the only part that may be missing, and `x` is none.
                assert_eq!(bad.parse::<Key>(), Err(NotAKey), "{bad}");
            }
        }
        for bad in ["", "/", "charter/", "head/01", "head/-1", "fund/", "fund/F", "nothing/x", "offer/x/"] {
            assert_eq!(bad.parse::<Key>(), Err(NotAKey), "{bad}");
        }
    }
}
