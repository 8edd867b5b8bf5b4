//! Assets, funds and bank accounts, and the facts that courts and banks report about them.

use ledger::account::{Account, Payable};
use ledger::books::BalanceKey;
use ledger::currency::Currency;
use ledger::entry::Line;
use ledger::id::{AllotmentId, AssetId, BankId, FundId};
use ledger::journal::{self, Custody, Free, Place};
use ledger::money::Money;
use ledger::time::Date;
use records::Body;
use records::assets::{
    AssetRegistration, BankFee, BankOpening, ClaimKind, ClaimPayment, Forfeiture, FundKind, FundOpening,
    Restraint, Share, WindfallIncome,
};
use records::governance::Role;

use crate::decide::{Context, Effects};
use crate::entity::{AssetState, BankState, FundState};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::Halt;

pub(crate) fn first_keys(body: &Body) -> Vec<Key> {
    let fund = |fund: &FundId| Key::Fund(fund.clone());
    let bank = |bank: &BankId| Key::Bank(bank.clone());
    match body {
        Body::AssetRegistration(body) => vec![Key::Asset(body.asset.clone())],
        Body::FundOpening(body) => vec![Key::Asset(body.asset.clone()), fund(&body.fund)],
        Body::BankOpening(body) => vec![bank(&body.bank)],
        Body::Restraint(body) => vec![fund(&body.fund)],
        Body::Custody(body) => vec![fund(&body.fund), bank(&body.bank)],
        Body::CustodyInterest(body) => vec![fund(&body.fund), bank(&body.bank)],
        Body::Forfeiture(body) => {
            vec![fund(&body.fund), fund(&body.to_fund), bank(&body.bank), bank(&body.to_bank)]
        }
        Body::ClaimPayment(body) => vec![fund(&body.fund), bank(&body.bank)],
        Body::WindfallIncome(body) => vec![fund(&body.fund), fund(&body.shares_fund), bank(&body.bank)],
        Body::BankFee(body) => vec![fund(&body.fund), bank(&body.bank)],
        _ => vec![],
    }
}

/// A director registers an asset.
pub(crate) fn register(context: Context<'_>, body: &AssetRegistration) -> Result<Effects, Halt> {
    context.require(&[Role::Director])?;
    let key = Key::Asset(body.asset.clone());
    context.view.must_be_absent(&key, Code::AssetExists)?;
    Ok(Effects::default().set(key, AssetState { fiduciary: None }))
}

/// A director opens a fund of an asset.
pub(crate) fn open_fund(context: Context<'_>, body: &FundOpening) -> Result<Effects, Halt> {
    context.require(&[Role::Director])?;
    let asset_key = Key::Asset(body.asset.clone());
    let mut asset = context.view.get::<AssetState>(&asset_key, Code::AssetUnknown)?.clone();
    let key = Key::Fund(body.fund.clone());
    context.view.must_be_absent(&key, Code::FundExists)?;
    check_currency(&context, body.currency)?;
    let fund = FundState { asset: body.asset.clone(), currency: body.currency, kind: body.kind };
    let effects = Effects::default().set(key, fund);
    if body.kind == FundKind::Spendable {
        return Ok(effects);
    }
    if let Some(fiduciary) = &asset.fiduciary {
        let detail = format!("the asset's fiduciary fund is {fiduciary}");
        return Err(Refusal::with(Code::FundExists, detail).into());
    }
    asset.fiduciary = Some(body.fund.clone());
    Ok(effects.set(asset_key, asset))
}

/// A director opens a bank account.
pub(crate) fn open_bank(context: Context<'_>, body: &BankOpening) -> Result<Effects, Halt> {
    context.require(&[Role::Director])?;
    let key = Key::Bank(body.bank.clone());
    context.view.must_be_absent(&key, Code::BankExists)?;
    check_currency(&context, body.currency)?;
    Ok(Effects::default().set(key, BankState { currency: body.currency }))
}

fn check_currency(context: &Context<'_>, currency: Currency) -> Result<(), Halt> {
    if context.charter.charter.currencies.contains(&currency) {
        Ok(())
    } else {
        Err(Refusal::with(Code::CurrencyMismatch, format!("this ledger does not hold {currency}")).into())
    }
}

/// The allotment that income goes to and requests are held on. Funds are not divided further yet.
pub(crate) fn main_allotment() -> Result<AllotmentId, Halt> {
    // The name is a valid id; were it not, nothing could be posted.
    "main".parse().map_err(|_| Code::AmountsDoNotAddUp.into())
}

pub(crate) fn fund<'a>(context: &Context<'a>, fund: &FundId) -> Result<&'a FundState, Halt> {
    context.view.get::<FundState>(&Key::Fund(fund.clone()), Code::FundUnknown)
}

pub(crate) fn fund_of_kind<'a>(
    context: &Context<'a>,
    id: &FundId,
    kind: FundKind,
) -> Result<&'a FundState, Halt> {
    let state = fund(context, id)?;
    if state.kind == kind { Ok(state) } else { Err(Code::FundWrongKind.into()) }
}

/// The bank account must exist, in this currency.
pub(crate) fn check_bank(context: &Context<'_>, bank: &BankId, currency: Currency) -> Result<(), Halt> {
    let state = context.view.get::<BankState>(&Key::Bank(bank.clone()), Code::BankUnknown)?;
    if state.currency == currency { Ok(()) } else { Err(Code::CurrencyMismatch.into()) }
}

/// The amount must be positive and in the fund's currency.
pub(crate) fn check_amount(amount: Money, currency: Currency) -> Result<(), Halt> {
    if amount.currency() != currency {
        return Err(Code::CurrencyMismatch.into());
    }
    if amount.is_positive() { Ok(()) } else { Err(Code::AmountNotPositive.into()) }
}

/// A bank's date may be ahead of the group's by a month at most.
pub(crate) fn check_value_date(context: &Context<'_>, date: Date) -> Result<(), Halt> {
    let latest = context.at.recorded_at.plus(31 * 24 * 60 * 60).map(|time| time.date());
    if latest.is_none_or(|latest| date <= latest) { Ok(()) } else { Err(Code::ValueDateInvalid.into()) }
}

/// What is free at a place, for a fact that takes it.
pub(crate) fn free_at(context: &Context<'_>, place: &Place, currency: Currency) -> Result<Free, Halt> {
    let key = |account| BalanceKey { account, fund: place.fund.clone(), currency };
    let available = key(Account::Available(place.allotment.clone()));
    let cash = key(Account::Cash(place.bank.clone()));
    let overdrawn = key(Account::Overdrawn(place.bank.clone()));
    context.view.need([&available, &cash, &overdrawn].map(|key| Key::Balance(key.clone())))?;
    let free = |key| Ok::<_, Halt>(context.view.balance(key)?.free().map_err(|_| Code::AmountTooLarge)?);
    Ok(Free { available: free(&available)?, cash: free(&cash)?, overdrawn: free(&overdrawn)? })
}

pub(crate) fn place(fund: &FundId, bank: &BankId) -> Result<Place, Halt> {
    Ok(Place { fund: fund.clone(), bank: bank.clone(), allotment: main_allotment()? })
}

/// The custody of a fiduciary fund at a bank, where fund, bank and amount agree.
fn custody(context: &Context<'_>, fund: &FundId, bank: &BankId, amount: Money) -> Result<Custody, Halt> {
    let state = fund_of_kind(context, fund, FundKind::Fiduciary)?;
    check_bank(context, bank, state.currency)?;
    check_amount(amount, state.currency)?;
    Ok(Custody { fund: fund.clone(), bank: bank.clone(), asset: state.asset.clone() })
}

/// The lines of a fact about an asset, and the day for which it counts.
pub(crate) fn fact(context: &Context<'_>, body: &Body) -> Result<(Vec<Line>, Date), Halt> {
    match body {
        Body::Restraint(body) => Ok((restraint(context, body)?, context.today())),
        Body::Custody(body) => {
            check_value_date(context, body.value_date)?;
            let custody = custody(context, &body.fund, &body.bank, body.amount)?;
            let restrained = BalanceKey {
                account: Account::Restrained(custody.asset.clone()),
                fund: body.fund.clone(),
                currency: body.amount.currency(),
            };
            let restrained = context.view.balance(&restrained)?.amount;
            let ends = body.amount.min(restrained).map_err(|_| Code::CurrencyMismatch)?;
            Ok((journal::taken_into_custody(&custody, body.amount, ends), body.value_date))
        }
        Body::CustodyInterest(body) => {
            check_value_date(context, body.value_date)?;
            let custody = custody(context, &body.fund, &body.bank, body.amount)?;
            Ok((journal::custody_interest(&custody, body.amount), body.value_date))
        }
        Body::Forfeiture(body) => {
            check_value_date(context, body.value_date)?;
            Ok((forfeiture(context, body)?, body.value_date))
        }
        Body::ClaimPayment(body) => {
            check_value_date(context, body.value_date)?;
            Ok((claim_payment(context, body)?, body.value_date))
        }
        Body::WindfallIncome(body) => {
            check_value_date(context, body.value_date)?;
            Ok((windfall(context, body)?, body.value_date))
        }
        Body::BankFee(body) => {
            check_value_date(context, body.value_date)?;
            Ok((bank_fee(context, body)?, body.value_date))
        }
        // Every other kind goes elsewhere; see `reports`.
        _ => Err(Code::ReportUnknown.into()),
    }
}

fn restraint(context: &Context<'_>, body: &Restraint) -> Result<Vec<Line>, Halt> {
    let state = fund_of_kind(context, &body.fund, FundKind::Fiduciary)?;
    check_amount(body.amount, state.currency)?;
    Ok(journal::restrained(&body.fund, &state.asset, body.amount))
}

fn forfeiture(context: &Context<'_>, body: &Forfeiture) -> Result<Vec<Line>, Halt> {
    let custody = custody(context, &body.fund, &body.bank, body.gross)?;
    let to = fund_of_kind(context, &body.to_fund, FundKind::Spendable)?;
    if to.asset != custody.asset {
        return Err(Refusal::with(Code::FundWrongKind, "the funds are of different assets").into());
    }
    check_bank(context, &body.to_bank, to.currency)?;
    let mut net = body.gross;
    for share in body.costs.iter().chain(&body.claims) {
        check_amount(share.amount, to.currency)?;
        net = net.checked_sub(share.amount).map_err(|_| Code::AmountsDoNotAddUp)?;
    }
    if net.is_negative() {
        return Err(Code::AmountsDoNotAddUp.into());
    }
    let place = place(&body.to_fund, &body.to_bank)?;
    let free = free_at(context, &place, to.currency)?;
    let pairs = |shares: &[Share]| -> Vec<_> {
        shares.iter().map(|share| (share.body.clone(), share.amount)).collect()
    };
    let (costs, claims) = (pairs(&body.costs), pairs(&body.claims));
    let shares = journal::Forfeiture { costs: &costs, claims: &claims, net };
    Ok(journal::final_forfeiture(&custody, &place, &free, shares).map_err(|_| Code::AmountTooLarge)?)
}

fn claim_payment(context: &Context<'_>, body: &ClaimPayment) -> Result<Vec<Line>, Halt> {
    let custody = custody(context, &body.fund, &body.bank, body.amount)?;
    let payable = match body.kind {
        ClaimKind::Claimant => Payable::Claimant(body.body.clone()),
        ClaimKind::Cost => Payable::Cost(body.body.clone()),
        ClaimKind::OtherBody => Payable::OtherBody(body.body.clone()),
    };
    Ok(journal::claim_paid(&custody, &payable, body.amount))
}

fn windfall(context: &Context<'_>, body: &WindfallIncome) -> Result<Vec<Line>, Halt> {
    let state = fund_of_kind(context, &body.fund, FundKind::Spendable)?;
    let shares_state = fund_of_kind(context, &body.shares_fund, FundKind::Fiduciary)?;
    if shares_state.asset != state.asset {
        return Err(Refusal::with(Code::FundWrongKind, "the funds are of different assets").into());
    }
    check_bank(context, &body.bank, state.currency)?;
    check_amount(body.own, state.currency)?;
    if body.retained.is_negative() {
        return Err(Code::AmountNotPositive.into());
    }
    if body.retained.currency() != state.currency {
        return Err(Code::CurrencyMismatch.into());
    }
    let place = place(&body.fund, &body.bank)?;
    let free = free_at(context, &place, state.currency)?;
    let mut lines = journal::windfall_income(&place, &free, body.own).map_err(|_| Code::AmountTooLarge)?;
    let custody =
        Custody { fund: body.shares_fund.clone(), bank: body.bank.clone(), asset: state.asset.clone() };
    for share in &body.shares {
        check_amount(share.amount, state.currency)?;
        lines.extend(journal::windfall_of_other_body(&custody, &share.body, share.amount));
    }
    lines.extend(journal::windfall_retained(&body.shares_fund, &AssetId::clone(&state.asset), body.retained));
    Ok(lines)
}

fn bank_fee(context: &Context<'_>, body: &BankFee) -> Result<Vec<Line>, Halt> {
    let state = fund_of_kind(context, &body.fund, FundKind::Spendable)?;
    check_bank(context, &body.bank, state.currency)?;
    check_amount(body.amount, state.currency)?;
    let place = place(&body.fund, &body.bank)?;
    let free = free_at(context, &place, state.currency)?;
    Ok(journal::bank_fee(&place, &free, body.amount).map_err(|_| Code::AmountTooLarge)?)
}
