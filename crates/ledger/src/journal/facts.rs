//! Rows about what befalls a fund: fees, fraud, courts, receipts that nobody can place, other funds, and the year's
//! end.

use super::{Free, Place, Rows};
use crate::account::{Account, Expense, Income, Payable, Receivable};
use crate::books::{Balance, BalanceKey};
use crate::currency::Currency;
use crate::entry::Line;
use crate::id::{AllotmentId, AssetId, BankId, FundId, HoldId};
use crate::money::{Money, MoneyError};

/// The bank took a fee.
pub fn bank_fee(place: &Place, free: &Free, amount: Money) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .dr(Account::Expense(Expense::BankFee), amount)
        .cash_out(&place.bank, free.cash, amount)?
        .take(&place.allotment, free.available, Account::Paid, amount)?
        .done())
}

/// Goods given from donated stock, at the value recorded.
pub fn goods_from_donated_stock(fund: &FundId, value: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Expense(Expense::InKind), Account::Income(Income::InKind), value).done()
}

/// Fraud or overpayment found before anything was settled: what is accrued and what is obligated is available again.
pub fn fraud_found_unsettled(
    fund: &FundId,
    allotment: &AllotmentId,
    payable: &Payable,
    accrued: Money,
    obligated: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Payable(payable.clone()), Account::Expense(Expense::Benefit), accrued)
        .both(Account::Accrued, Account::Available(allotment.clone()), accrued)
        .both(Account::Obligated, Account::Available(allotment.clone()), obligated)
        .done()
}

/// Fraud or overpayment found after settlement: owed back, and nothing of it may be spent before it is paid.
pub fn fraud_found_settled(fund: &FundId, receivable: &Receivable, amount: Money) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Receivable(receivable.clone()), Account::Income(Income::Recovery), amount)
        .done()
}

/// What was owed to us came in.
pub fn recovered_in_cash(
    place: &Place,
    free: &Free,
    receivable: &Receivable,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .cash_in(&place.bank, free.overdrawn, amount)?
        .cr(Account::Receivable(receivable.clone()), amount)
        .both(Account::Resources, Account::Available(place.allotment.clone()), amount)
        .done())
}

/// What is owed to us is kept from a later payment of the same fund.
pub fn recouped(
    fund: &FundId,
    allotment: &AllotmentId,
    payable: &Payable,
    receivable: &Receivable,
    amount: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Payable(payable.clone()), Account::Receivable(receivable.clone()), amount)
        .both(Account::Accrued, Account::Paid, amount)
        .both(Account::Resources, Account::Available(allotment.clone()), amount)
        .done()
}

/// What is owed to the fund at `owed` is kept from a later payment of the fund at `payer`, which hands over the cash.
pub fn recouped_between_funds(
    payer: &Place,
    payable: &Payable,
    owed: &Place,
    owed_free: &Free,
    receivable: &Receivable,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    let mut lines = Rows::of(&payer.fund)
        .both(Account::Payable(payable.clone()), Account::Cash(payer.bank.clone()), amount)
        .both(Account::Accrued, Account::Paid, amount)
        .done();
    lines.extend(recovered_in_cash(owed, owed_free, receivable, amount)?);
    Ok(lines)
}

/// A receivable is given up.
pub fn written_off(fund: &FundId, receivable: &Receivable, amount: Money) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Expense(Expense::WriteOff), Account::Receivable(receivable.clone()), amount)
        .done()
}

/// A court's order to return a forfeited asset.
#[derive(Clone, Copy, Debug)]
pub struct ReturnOrder<'a> {
    /// The asset.
    pub asset: &'a AssetId,
    /// What was forfeited and must be returned.
    pub principal: Money,
    /// Interest on it.
    pub interest: Money,
    /// Holds that are only requested; they end, and their money is taken too.
    pub requested: &'a [(AllotmentId, HoldId, Money)],
    /// What is free of each allotment before those holds end; taken in this order.
    pub free: &'a [(AllotmentId, Money)],
}

/// A court orders return: the owner is owed all of it, what is available goes to it, the rest is shortfall. What is
/// obligated or accrued to payees stays theirs.
pub fn court_orders_return(fund: &FundId, order: ReturnOrder<'_>) -> Result<Vec<Line>, MoneyError> {
    let owed = order.principal.checked_add(order.interest)?;
    let mut rows = Rows::of(fund)
        .dr(Account::Expense(Expense::ReturnToOwner), order.principal)
        .dr(Account::Expense(Expense::InterestToOwner), order.interest)
        .cr(Account::Payable(Payable::Owner(order.asset.clone())), owed);
    for (allotment, hold, held) in order.requested {
        rows = rows.void_hold(Account::Available(allotment.clone()), hold, *held);
    }
    let mut missing = owed;
    for (allotment, free) in order.free {
        let mut there = *free;
        for (_, _, held) in order.requested.iter().filter(|(of, ..)| of == allotment) {
            there = there.checked_add(*held)?;
        }
        let (taken, rest) = super::split(missing, there)?;
        rows = rows.dr(Account::Available(allotment.clone()), taken);
        missing = rest;
    }
    Ok(rows.dr(Account::Shortfall, missing).cr(Account::Accrued, owed).done())
}

/// The fund at `from` makes good what the fund at `to` has used without backing.
pub fn replaced_by_another_fund(
    from: &Place,
    to: &Place,
    to_free: &Free,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    let mut lines = Rows::of(&from.fund)
        .both(Account::Expense(Expense::TransferOut), Account::Cash(from.bank.clone()), amount)
        .both(Account::Available(from.allotment.clone()), Account::Paid, amount)
        .done();
    lines.extend(
        Rows::of(&to.fund)
            .cash_in(&to.bank, to_free.overdrawn, amount)?
            .cr(Account::Income(Income::TransferIn), amount)
            .both(Account::Resources, Account::Shortfall, amount)
            .done(),
    );
    Ok(lines)
}

/// A receipt that nobody can place. `fund` is the one for such receipts.
pub fn unidentified_receipt(
    fund: &FundId,
    bank: &BankId,
    overdrawn: Money,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(fund).cash_in(bank, overdrawn, amount)?.cr(Account::Suspense(bank.clone()), amount).done())
}

/// The bank took something that nobody can place.
pub fn unidentified_debit(
    fund: &FundId,
    bank: &BankId,
    free_cash: Money,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(fund).dr(Account::Suspense(bank.clone()), amount).cash_out(bank, free_cash, amount)?.done())
}

/// A receipt is identified: it leaves suspense, and the same entry has the proper row in its fund.
pub fn identified(
    fund: &FundId,
    bank: &BankId,
    free_cash: Money,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    unidentified_debit(fund, bank, free_cash, amount)
}

/// Year close: income and expense end in net assets, and what was paid leaves resources. Everything else carries over.
/// Balances of other funds are skipped. Nothing to close is no lines, and so no entry.
///
/// Where facts paid more than the fund had resources, the excess stays in paid: it is shortfall, and closing it would
/// take resources below nothing.
pub fn year_close<'a>(
    fund: &FundId,
    currency: Currency,
    balances: impl Iterator<Item = (&'a BalanceKey, &'a Balance)>,
) -> Result<Vec<Line>, MoneyError> {
    let (mut paid, mut resources, mut net) =
        (Money::zero(currency), Money::zero(currency), Money::zero(currency));
    let mut rows = Rows::of(fund);
    for (key, Balance { amount, .. }) in balances {
        if key.fund != *fund || key.currency != currency {
            continue;
        }
        let account = key.account.clone();
        let against = amount.neg()?;
        rows = match account {
            Account::Income(_) => {
                net = net.checked_add(*amount)?;
                if amount.is_negative() { rows.cr(account, against) } else { rows.dr(account, *amount) }
            }
            Account::Expense(_) => {
                net = net.checked_sub(*amount)?;
                if amount.is_negative() { rows.dr(account, against) } else { rows.cr(account, *amount) }
            }
            Account::Paid => {
                paid = *amount;
                rows
            }
            Account::Resources => {
                resources = *amount;
                rows
            }
            _ => rows,
        };
    }
    let rows = if net.is_negative() {
        rows.dr(Account::NetAssets, net.neg()?)
    } else {
        rows.cr(Account::NetAssets, net)
    };
    Ok(rows.both(Account::Paid, Account::Resources, paid.min(resources)?).done())
}
