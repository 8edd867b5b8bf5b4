//! Offers, cases and screening.

use ledger::id::{AgencyRef, BenefitId, CaseRef, OfferId, PrincipalId};
use ledger::money::Money;
use ledger::time::Date;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;

use crate::scalar::{Evidence, Integer};

/// A dated version of what the programme pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The benefits, sorted by id.
    pub benefits: Vec<Benefit>,
    /// The offer's id.
    pub offer: OfferId,
    /// Cases that entered on this day or later may claim it.
    pub valid_from: Date,
    /// 1, 2, 3 and so on.
    pub version: Integer,
}

/// One line of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benefit {
    /// The benefit's id within the offer.
    pub benefit: BenefitId,
    /// What it is.
    pub kind: BenefitKind,
}

/// What a benefit pays. Each is paid once to a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BenefitKind {
    /// Exactly this amount, due when approved.
    Cash {
        /// The amount.
        amount: Money,
    },
    /// A thing or a service, due when delivered, up to a ceiling.
    InKind {
        /// The ceiling.
        ceiling: Money,
    },
}

impl BenefitKind {
    /// The amount or the ceiling.
    pub fn money(&self) -> Money {
        match self {
            BenefitKind::Cash { amount: money } | BenefitKind::InKind { ceiling: money } => *money,
        }
    }
}

/// Which version of which offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferVersion {
    /// The offer.
    pub offer: OfferId,
    /// Its version.
    pub version: Integer,
}

/// A case is opened for one defector, by a random reference; the agency gets another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseOpening {
    /// The agency that accompanies the case.
    pub agency: PrincipalId,
    /// The agency's own reference, drawn apart from the case's.
    pub agency_ref: AgencyRef,
    /// The case's reference, drawn at random.
    pub case: CaseRef,
    /// The day on which the person entered the programme.
    pub entered: Date,
    /// Under which offer.
    pub offer: OfferVersion,
}

/// How screening ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScreeningOutcome {
    /// The person may be paid, and was not seen before.
    Cleared,
    /// The person may not be paid.
    Refused,
}

/// The screener's signed word about a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screening {
    /// The case.
    pub case: CaseRef,
    /// The screener's file.
    pub evidence: Evidence,
    /// How it ended.
    pub outcome: ScreeningOutcome,
    /// A salted commitment to the person's tag, which itself never leaves the screener.
    pub person: Digest,
}
