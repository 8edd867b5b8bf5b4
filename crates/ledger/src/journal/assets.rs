//! Rows about assets: frozen, in custody, sold, forfeited, and what they yield and cost meanwhile.

use super::{Custody, Free, Place, Rows};
use crate::account::{Account, Expense, Income, Payable, Receivable};
use crate::entry::Line;
use crate::id::{AssetId, BodyId, FundId, VendorId};
use crate::money::{Money, MoneyError};

/// Restrained, left at a third party.
pub fn restrained(fund: &FundId, asset: &AssetId, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Restrained(asset.clone()), Account::Contra, amount).done()
}

/// Taken into our custody: what arrived is owed to whoever will turn out to own it, and the memo ends for what was
/// restrained of it (nothing, if it was not).
pub fn taken_into_custody(custody: &Custody, amount: Money, restrained: Money) -> Vec<Line> {
    into_custody(custody, amount)
        .both(Account::Contra, Account::Restrained(custody.asset.clone()), restrained)
        .done()
}

/// Interest on custody cash; it belongs to the owner too.
pub fn custody_interest(custody: &Custody, amount: Money) -> Vec<Line> {
    into_custody(custody, amount).done()
}

/// Sold before forfeiture: the gross proceeds stand for the thing.
pub fn sold_before_forfeiture(custody: &Custody, gross: Money) -> Vec<Line> {
    into_custody(custody, gross).done()
}

fn into_custody(custody: &Custody, amount: Money) -> Rows<'_> {
    Rows::of(&custody.fund).both(
        Account::CustodyCash(custody.bank.clone()),
        Account::OwnerClaim(custody.asset.clone()),
        amount,
    )
}

/// Interest that the law gives the spendable fund.
pub fn interest_income(place: &Place, free: &Free, amount: Money) -> Result<Vec<Line>, MoneyError> {
    income(place, free, Income::Interest, amount)
}

fn income(place: &Place, free: &Free, kind: Income, amount: Money) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .cash_in(&place.bank, free.overdrawn, amount)?
        .cr(Account::Income(kind), amount)
        .both(Account::Resources, Account::Available(place.allotment.clone()), amount)
        .done())
}

/// Keeping an asset costs something: the cost fund owes the vendor and is owed it out of the proceeds.
pub fn custody_cost(
    place: &Place,
    free: &Free,
    asset: &AssetId,
    vendor: &VendorId,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .both(asset_costs(asset), Account::Payable(Payable::Vendor(vendor.clone())), amount)
        .take(&place.allotment, free.available, Account::Accrued, amount)?
        .done())
}

/// The proceeds repay the cost fund.
pub fn custody_cost_repaid(
    place: &Place,
    free: &Free,
    asset: &AssetId,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    super::recovered_in_cash(place, free, &Receivable::AssetCosts(asset.clone()), amount)
}

/// The proceeds never will.
pub fn custody_cost_borne(fund: &FundId, asset: &AssetId, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Expense(Expense::CustodyCost), asset_costs(asset), amount).done()
}

fn asset_costs(asset: &AssetId) -> Account {
    Account::Receivable(Receivable::AssetCosts(asset.clone()))
}

/// How a forfeited asset is shared out.
#[derive(Clone, Copy, Debug)]
pub struct Forfeiture<'a> {
    /// What it cost, and to whom that is owed.
    pub costs: &'a [(BodyId, Money)],
    /// Claims with priority, in their order.
    pub claims: &'a [(BodyId, Money)],
    /// What is left to the fund.
    pub net: Money,
}

/// Final forfeiture: the owner's claim ends, costs and claims are owed instead, and the net goes to the fund.
pub fn final_forfeiture(
    custody: &Custody,
    place: &Place,
    free: &Free,
    shares: Forfeiture<'_>,
) -> Result<Vec<Line>, MoneyError> {
    let owed = |(body, money): &(BodyId, Money), kind: fn(BodyId) -> Payable| {
        (Account::Payable(kind(body.clone())), *money)
    };
    let costs = shares.costs.iter().map(|share| owed(share, Payable::Cost));
    let claims = shares.claims.iter().map(|share| owed(share, Payable::Claimant));
    let owed: Vec<_> = costs.chain(claims).collect();
    let gross = owed.iter().try_fold(shares.net, |sum, (_, money)| sum.checked_add(*money))?;

    let mut rows = Rows::of(&custody.fund).dr(Account::OwnerClaim(custody.asset.clone()), gross);
    for (account, money) in owed {
        rows = rows.cr(account, money);
    }
    let mut lines = rows.cr(Account::CustodyCash(custody.bank.clone()), shares.net).done();
    lines.extend(income(place, free, Income::Forfeiture, shares.net)?);
    Ok(lines)
}

/// A claim, a cost or another body's share is paid out of custody cash.
pub fn claim_paid(custody: &Custody, payable: &Payable, amount: Money) -> Vec<Line> {
    Rows::of(&custody.fund)
        .both(Account::Payable(payable.clone()), Account::CustodyCash(custody.bank.clone()), amount)
        .done()
}

/// Windfall income, the fund's own share.
pub fn windfall_income(place: &Place, free: &Free, own: Money) -> Result<Vec<Line>, MoneyError> {
    income(place, free, Income::Windfall, own)
}

/// Windfall income, the share of another body: kept for it by the fiduciary fund.
pub fn windfall_of_other_body(custody: &Custody, body: &BodyId, share: Money) -> Vec<Line> {
    Rows::of(&custody.fund)
        .both(
            Account::CustodyCash(custody.bank.clone()),
            Account::Payable(Payable::OtherBody(body.clone())),
            share,
        )
        .done()
}

/// Windfall income that the third party retains: no income until it is paid.
pub fn windfall_retained(fund: &FundId, asset: &AssetId, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Retained(asset.clone()), Account::Contra, amount).done()
}

/// The memo ends for what the third party retained; what it pays is [`windfall_income`].
pub fn windfall_no_longer_retained(fund: &FundId, asset: &AssetId, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Contra, Account::Retained(asset.clone()), amount).done()
}
