//! What courts and banks did with seized assets: legal facts, receipts, income, costs.

use ledger::currency::Currency;
use ledger::id::{AssetId, BankId, BodyId, DisbursementId, EntryId, FundId};
use ledger::money::Money;
use ledger::time::Date;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;

use crate::scalar::{Evidence, Text};

/// Something that was seized, under a legal instrument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRegistration {
    /// The asset's id, chosen by the signer.
    pub asset: AssetId,
    /// What it is.
    pub description: Text,
    /// The instrument in force.
    pub instrument: Evidence,
}

/// Whether a fund holds what is still somebody else's, or what may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FundKind {
    /// Holds an asset for its owner and claimants until a final order; one for each asset.
    Fiduciary,
    /// Spendable money that came from one asset.
    Spendable,
}

/// A new fund of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FundOpening {
    /// The asset from which the money comes.
    pub asset: AssetId,
    /// The fund's currency.
    pub currency: Currency,
    /// The fund's id, chosen by the signer.
    pub fund: FundId,
    /// Fiduciary or spendable.
    pub kind: FundKind,
}

/// A bank account that the programme holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankOpening {
    /// The account's id, chosen by the signer; never its number.
    pub bank: BankId,
    /// The account's currency.
    pub currency: Currency,
}

/// An asset was restrained and left at a third party: memo only, nothing of it is spendable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restraint {
    /// How much.
    pub amount: Money,
    /// The asset's fiduciary fund.
    pub fund: FundId,
    /// The court's order or the legal act.
    pub instrument: Evidence,
}

/// Money of an asset came into the programme's own custody account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custody {
    /// How much.
    pub amount: Money,
    /// The custody account.
    pub bank: BankId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// The asset's fiduciary fund.
    pub fund: FundId,
    /// The bank's value date.
    pub value_date: Date,
}

/// Interest on a custody account; it belongs to the asset's owner until a final order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodyInterest {
    /// How much.
    pub amount: Money,
    /// The custody account.
    pub bank: BankId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// The asset's fiduciary fund.
    pub fund: FundId,
    /// The bank's value date.
    pub value_date: Date,
}

/// An amount that goes to a body: a cost, a lien, another's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// How much.
    pub amount: Money,
    /// To whom.
    pub body: BodyId,
}

/// A final order of forfeiture: costs and claims come off, the net becomes spendable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forfeiture {
    /// The custody account that the money leaves.
    pub bank: BankId,
    /// Claims that come before the programme, by priority.
    pub claims: Vec<Share>,
    /// Costs that come off first.
    pub costs: Vec<Share>,
    /// The asset's fiduciary fund.
    pub fund: FundId,
    /// All that is forfeited.
    pub gross: Money,
    /// The final order.
    pub instrument: Evidence,
    /// The account that the net arrives in.
    pub to_bank: BankId,
    /// The spendable fund of the same asset.
    pub to_fund: FundId,
    /// The bank's value date.
    pub value_date: Date,
}

/// To what kind of body a fiduciary fund owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimKind {
    /// A claimant with a lien.
    Claimant,
    /// A cost of custody or sale.
    Cost,
    /// Another body's share of income.
    OtherBody,
}

/// A cost, a claim or another body's share was paid out of custody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimPayment {
    /// How much.
    pub amount: Money,
    /// The custody account.
    pub bank: BankId,
    /// To whom.
    pub body: BodyId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// The fiduciary fund.
    pub fund: FundId,
    /// What it is for.
    pub kind: ClaimKind,
    /// The bank's value date.
    pub value_date: Date,
}

/// Lawful income of an asset, as it was received: the own share is spendable, others' shares are owed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindfallIncome {
    /// The account that it arrived in.
    pub bank: BankId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// The spendable fund.
    pub fund: FundId,
    /// The programme's own share.
    pub own: Money,
    /// What is retained provisionally: memo until it is paid; zero where nothing is.
    pub retained: Money,
    /// Other bodies' shares, held in the asset's fiduciary fund until they are paid on.
    pub shares: Vec<Share>,
    /// The asset's fiduciary fund.
    pub shares_fund: FundId,
    /// The bank's value date.
    pub value_date: Date,
}

/// A fee that the bank took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankFee {
    /// How much.
    pub amount: Money,
    /// From which account.
    pub bank: BankId,
    /// The bank's advice.
    pub evidence: Evidence,
    /// Which fund bears it.
    pub fund: FundId,
    /// The bank's value date.
    pub value_date: Date,
}

/// A further person's word for a report that policy wants from more than one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countersignature {
    /// The digest of the report.
    pub report: Digest,
}

/// What a reversal undoes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversalSubject {
    /// The last step of a disbursement.
    Disbursement(DisbursementId),
    /// A fact, by its instruction's digest.
    Fact(Digest),
}

/// A mistake is undone by one linked reversal of all planes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reversal {
    /// The entry that is undone.
    pub entry: EntryId,
    /// Why.
    pub reason: Text,
    /// To what it belongs.
    pub subject: ReversalSubject,
}
