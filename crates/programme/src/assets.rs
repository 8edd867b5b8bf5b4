//! Assets, funds and bank accounts, and the facts that courts and banks report about them.

use ledger::account::{Account, Payable};
use ledger::books::BalanceKey;
use ledger::currency::Currency;
use ledger::entry::Line;
use ledger::id::{AllotmentId, BankId, FundId};
use ledger::journal::{self, Custody, Free, Place};
use ledger::money::{Money, MoneyError};
use ledger::time::Date;
use records::Body;
use records::assets::{
    AssetRegistration, BankFee, BankOpening, ClaimKind, ClaimPayment, Forfeiture, FundKind, FundOpening,
    Restraint, Share, WindfallIncome,
};
use records::governance::Role;

use crate::decide::{Context, Effects, balance_keys};
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
    let is_fiduciary = body.kind == FundKind::Fiduciary;
    if let Some(fiduciary) = asset.fiduciary.as_ref().filter(|_| is_fiduciary) {
        let detail = format!("the asset's fiduciary fund is {fiduciary}");
        return Err(Refusal::with(Code::FundExists, detail).into());
    }
    check_currency(&context, body.currency)?;
    let fund = FundState { asset: body.asset.clone(), currency: body.currency, kind: body.kind };
    let effects = Effects::default().set(key, fund);
    if !is_fiduciary {
        return Ok(effects);
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

/// The bank account's currency, if there is such an account.
pub(crate) fn bank_currency(context: &Context<'_>, bank: &BankId) -> Result<Currency, Halt> {
    Ok(context.view.get::<BankState>(&Key::Bank(bank.clone()), Code::BankUnknown)?.currency)
}

/// All must be in this currency, and the amounts positive.
pub(crate) fn check_amounts(
    currency: Currency,
    others: &[Currency],
    amounts: impl Iterator<Item = Money> + Clone,
) -> Result<(), Halt> {
    if others.iter().copied().chain(amounts.clone().map(Money::currency)).any(|other| other != currency) {
        return Err(Code::CurrencyMismatch.into());
    }
    if amounts.into_iter().all(Money::is_positive) { Ok(()) } else { Err(Code::AmountNotPositive.into()) }
}

/// A bank's date may be ahead of the group's by a month at most.
pub(crate) fn check_value_date(context: &Context<'_>, date: Date) -> Result<(), Halt> {
    let latest = context.at.recorded_at.plus(31 * 24 * 60 * 60).map(|time| time.date());
    if latest.is_none_or(|latest| date <= latest) { Ok(()) } else { Err(Code::ValueDateInvalid.into()) }
}

/// The lines of a fact that takes what is free at a place, from what is free there.
///
/// The balances that they may touch are asked for together with those that they depend on, so that a countersigned fact
/// takes no fourth round: the lines where nothing is free name every account but these three.
pub(crate) fn lines_at(
    context: &Context<'_>,
    place: &Place,
    currency: Currency,
    lines: impl Fn(&Free) -> Result<Vec<Line>, MoneyError>,
) -> Result<Vec<Line>, Halt> {
    let too_large = |_| Halt::from(Code::AmountTooLarge);
    let nothing = Money::zero(currency);
    let nothing = Free { available: nothing, cash: nothing, overdrawn: nothing };
    let widest = lines(&nothing).map_err(too_large)?;
    let key = |account| BalanceKey { account, fund: place.fund.clone(), currency };
    let available = key(Account::Available(place.allotment.clone()));
    let cash = key(Account::Cash(place.bank.clone()));
    let overdrawn = key(Account::Overdrawn(place.bank.clone()));
    let these = [&available, &cash, &overdrawn].map(|key| Key::from(key.clone()));
    context.view.need(balance_keys(&widest).chain(these))?;
    let free = |key| context.view.balance(key)?.free().map_err(too_large);
    let free = Free { available: free(&available)?, cash: free(&cash)?, overdrawn: free(&overdrawn)? };
    lines(&free).map_err(too_large)
}

pub(crate) fn place(fund: &FundId, bank: &BankId) -> Result<Place, Halt> {
    Ok(Place { fund: fund.clone(), bank: bank.clone(), allotment: main_allotment()? })
}

/// The custody of a fiduciary fund at a bank, where fund, bank, amount and date agree.
fn custody(
    context: &Context<'_>,
    fund: &FundId,
    bank: &BankId,
    amount: Money,
    value_date: Date,
) -> Result<Custody, Halt> {
    let state = fund_of_kind(context, fund, FundKind::Fiduciary)?;
    let at_bank = bank_currency(context, bank)?;
    check_amounts(state.currency, &[at_bank], [amount].into_iter())?;
    check_value_date(context, value_date)?;
    Ok(Custody { fund: fund.clone(), bank: bank.clone(), asset: state.asset.clone() })
}

/// The lines of a fact about an asset, and the day for which it counts.
pub(crate) fn fact(context: &Context<'_>, body: &Body) -> Result<(Vec<Line>, Date), Halt> {
    match body {
        Body::Restraint(body) => Ok((restraint(context, body)?, context.today())),
        Body::Custody(body) => Ok((taken_into_custody(context, body)?, body.value_date)),
        Body::CustodyInterest(body) => {
            let custody = custody(context, &body.fund, &body.bank, body.amount, body.value_date)?;
            Ok((journal::custody_interest(&custody, body.amount), body.value_date))
        }
        Body::Forfeiture(body) => Ok((forfeiture(context, body)?, body.value_date)),
        Body::ClaimPayment(body) => Ok((claim_payment(context, body)?, body.value_date)),
        Body::WindfallIncome(body) => Ok((windfall(context, body)?, body.value_date)),
        Body::BankFee(body) => Ok((bank_fee(context, body)?, body.value_date)),
        // Every other kind goes elsewhere; see `reports`.
        _ => Err(Code::ReportUnknown.into()),
    }
}

fn restraint(context: &Context<'_>, body: &Restraint) -> Result<Vec<Line>, Halt> {
    let state = fund_of_kind(context, &body.fund, FundKind::Fiduciary)?;
    check_amounts(state.currency, &[], [body.amount].into_iter())?;
    Ok(journal::restrained(&body.fund, &state.asset, body.amount))
}

fn taken_into_custody(context: &Context<'_>, body: &records::assets::Custody) -> Result<Vec<Line>, Halt> {
    let custody = custody(context, &body.fund, &body.bank, body.amount, body.value_date)?;
    let restrained = BalanceKey {
        account: Account::Restrained(custody.asset.clone()),
        fund: body.fund.clone(),
        currency: body.amount.currency(),
    };
    // The memo ends at most for all of it, so these are all the balances that may be touched.
    context.view.need(balance_keys(&journal::taken_into_custody(&custody, body.amount, body.amount)))?;
    let restrained = context.view.balance(&restrained)?.amount;
    let ends = body.amount.min(restrained).map_err(|_| Code::CurrencyMismatch)?;
    Ok(journal::taken_into_custody(&custody, body.amount, ends))
}

fn forfeiture(context: &Context<'_>, body: &Forfeiture) -> Result<Vec<Line>, Halt> {
    let (from, to) =
        two_funds(context, (&body.fund, FundKind::Fiduciary), (&body.to_fund, FundKind::Spendable))?;
    let banks = [bank_currency(context, &body.bank)?, bank_currency(context, &body.to_bank)?, to.currency];
    let shares = body.costs.iter().chain(&body.claims).map(|share| share.amount);
    check_amounts(from.currency, &banks, [body.gross].into_iter().chain(shares.clone()))?;
    check_count(shares.clone().count())?;
    let mut net = body.gross;
    for share in shares {
        net = net.checked_sub(share).map_err(|_| Code::AmountsDoNotAddUp)?;
    }
    if net.is_negative() {
        return Err(Code::AmountsDoNotAddUp.into());
    }
    check_value_date(context, body.value_date)?;
    let custody = Custody { fund: body.fund.clone(), bank: body.bank.clone(), asset: from.asset.clone() };
    let place = place(&body.to_fund, &body.to_bank)?;
    let pairs = |shares: &[Share]| -> Vec<_> {
        shares.iter().map(|share| (share.body.clone(), share.amount)).collect()
    };
    let (costs, claims) = (pairs(&body.costs), pairs(&body.claims));
    let shares = journal::Forfeiture { costs: &costs, claims: &claims, net };
    lines_at(context, &place, to.currency, |free| journal::final_forfeiture(&custody, &place, free, shares))
}

/// The most costs, claims or shares of one fact: its entry has to fit into an envelope.
const SHARES_MAX: usize = 100;

fn check_count(shares: usize) -> Result<(), Halt> {
    if shares <= SHARES_MAX { Ok(()) } else { Err(Code::TooManyShares.into()) }
}

/// Two funds of the same asset, each of its kind.
fn two_funds<'a>(
    context: &Context<'a>,
    (one, kind): (&FundId, FundKind),
    (other, other_kind): (&FundId, FundKind),
) -> Result<(&'a FundState, &'a FundState), Halt> {
    let (one, other) = (fund(context, one)?, fund(context, other)?);
    if one.kind != kind || other.kind != other_kind {
        return Err(Code::FundWrongKind.into());
    }
    if one.asset != other.asset {
        return Err(Refusal::with(Code::FundWrongKind, "the funds are of different assets").into());
    }
    Ok((one, other))
}

fn claim_payment(context: &Context<'_>, body: &ClaimPayment) -> Result<Vec<Line>, Halt> {
    let custody = custody(context, &body.fund, &body.bank, body.amount, body.value_date)?;
    let payable = match body.kind {
        ClaimKind::Claimant => Payable::Claimant(body.body.clone()),
        ClaimKind::Cost => Payable::Cost(body.body.clone()),
        ClaimKind::OtherBody => Payable::OtherBody(body.body.clone()),
    };
    Ok(journal::claim_paid(&custody, &payable, body.amount))
}

fn windfall(context: &Context<'_>, body: &WindfallIncome) -> Result<Vec<Line>, Halt> {
    let (state, _) =
        two_funds(context, (&body.fund, FundKind::Spendable), (&body.shares_fund, FundKind::Fiduciary))?;
    let currencies = [bank_currency(context, &body.bank)?, body.retained.currency()];
    let shares = body.shares.iter().map(|share| share.amount);
    check_amounts(state.currency, &currencies, [body.own].into_iter().chain(shares))?;
    if body.retained.is_negative() {
        return Err(Code::AmountNotPositive.into());
    }
    check_count(body.shares.len())?;
    check_value_date(context, body.value_date)?;
    let custody =
        Custody { fund: body.shares_fund.clone(), bank: body.bank.clone(), asset: state.asset.clone() };
    let place = place(&body.fund, &body.bank)?;
    lines_at(context, &place, state.currency, |free| {
        let mut lines = journal::windfall_income(&place, free, body.own)?;
        for share in &body.shares {
            lines.extend(journal::windfall_of_other_body(&custody, &share.body, share.amount));
        }
        lines.extend(journal::windfall_retained(&custody.fund, &custody.asset, body.retained));
        Ok(lines)
    })
}

fn bank_fee(context: &Context<'_>, body: &BankFee) -> Result<Vec<Line>, Halt> {
    let state = fund_of_kind(context, &body.fund, FundKind::Spendable)?;
    let at_bank = bank_currency(context, &body.bank)?;
    check_amounts(state.currency, &[at_bank], [body.amount].into_iter())?;
    check_value_date(context, body.value_date)?;
    let place = place(&body.fund, &body.bank)?;
    lines_at(context, &place, state.currency, |free| journal::bank_fee(&place, free, body.amount))
}
