//! Rows about a payment, from the request to the bank's last word, and about floats and prepayments.

use super::{Free, Place, Rows, Year};
use crate::account::{Account, Advance, Expense, Income, Payable, Via};
use crate::entry::Line;
use crate::id::{AllotmentId, BankId, FundId, HoldId, VendorId};
use crate::money::{Money, MoneyError};

fn available(allotment: &AllotmentId) -> Account {
    Account::Available(allotment.clone())
}

/// Where the money is that `via` will pay out.
fn source(via: &Via) -> Account {
    match via {
        Via::Bank(bank) => Account::Cash(bank.clone()),
        Via::Agent(agent) => Account::Advance(Advance::Agent(agent.clone())),
    }
}

/// Requested: held on what is available.
pub fn request(fund: &FundId, allotment: &AllotmentId, hold: &HoldId, amount: Money) -> Vec<Line> {
    Rows::of(fund).hold(available(allotment), hold, amount).done()
}

/// Rejected, cancelled or expired.
pub fn hold_voided(fund: &FundId, allotment: &AllotmentId, hold: &HoldId, amount: Money) -> Vec<Line> {
    Rows::of(fund).void_hold(available(allotment), hold, amount).done()
}

/// Approved, not yet due: `amount` of what was `held` is obligated, the rest is free again.
pub fn approved(
    fund: &FundId,
    allotment: &AllotmentId,
    hold: &HoldId,
    held: Money,
    amount: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .post_hold(available(allotment), hold, held)
        .both(available(allotment), Account::Obligated, amount)
        .done()
}

/// Due: owed to the payee, and what is not used of the ceiling is available again.
pub fn due(
    fund: &FundId,
    allotment: &AllotmentId,
    payable: &Payable,
    amount: Money,
    unused: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Expense(Expense::Benefit), Account::Payable(payable.clone()), amount)
        .both(Account::Obligated, Account::Accrued, amount)
        .both(Account::Obligated, available(allotment), unused)
        .done()
}

/// Approved and due at once, in one entry.
pub fn approved_and_due(
    fund: &FundId,
    allotment: &AllotmentId,
    hold: &HoldId,
    payable: &Payable,
    held: Money,
    amount: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Expense(Expense::Benefit), Account::Payable(payable.clone()), amount)
        .post_hold(available(allotment), hold, held)
        .both(available(allotment), Account::Accrued, amount)
        .done()
}

/// Released to a bank or an agent: sent, with its money held. The hold never expires.
pub fn released(fund: &FundId, payable: &Payable, via: &Via, hold: &HoldId, amount: Money) -> Vec<Line> {
    let mut lines = release_sent(fund, payable, via, amount);
    lines.extend(release_held(fund, via, hold, amount));
    lines
}

/// The first half of a release that two people make: its money is held.
pub fn release_held(fund: &FundId, via: &Via, hold: &HoldId, amount: Money) -> Vec<Line> {
    Rows::of(fund).hold(source(via), hold, amount).done()
}

/// The second half: sent.
pub fn release_sent(fund: &FundId, payable: &Payable, via: &Via, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Payable(payable.clone()), Account::Outstanding(via.clone()), amount).done()
}

/// Withdrawn between the two halves.
pub fn release_withdrawn(fund: &FundId, via: &Via, hold: &HoldId, amount: Money) -> Vec<Line> {
    Rows::of(fund).void_hold(source(via), hold, amount).done()
}

/// The bank confirms, or the voucher is redeemed: settled.
pub fn bank_confirms(fund: &FundId, via: &Via, hold: &HoldId, amount: Money) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Outstanding(via.clone()), source(via), amount)
        .post_hold(source(via), hold, amount)
        .both(Account::Accrued, Account::Paid, amount)
        .done()
}

/// Rejected before booking, or the voucher expired: owed again.
pub fn rejected_before_booking(
    fund: &FundId,
    payable: &Payable,
    via: &Via,
    hold: &HoldId,
    amount: Money,
) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Outstanding(via.clone()), Account::Payable(payable.clone()), amount)
        .void_hold(source(via), hold, amount)
        .done()
}

/// Returned after booking: the whole is owed again, although the bank kept a part. `year` is that of the payment.
pub fn returned_after_booking(
    place: &Place,
    free: &Free,
    payable: &Payable,
    received: Money,
    kept: Money,
    year: Year,
) -> Result<Vec<Line>, MoneyError> {
    let whole = received.checked_add(kept)?;
    let was_settled = match year {
        Year::Open => Account::Paid,
        Year::Closed => Account::Resources,
    };
    Ok(Rows::of(&place.fund)
        .cash_in(&place.bank, free.overdrawn, received)?
        .dr(Account::Expense(Expense::BankFee), kept)
        .cr(Account::Payable(payable.clone()), whole)
        .both(was_settled, Account::Accrued, whole)
        .take(&place.allotment, free.available, Account::Paid, kept)?
        .done())
}

/// An obligation that was not yet due ended (cancelled, death, lapse).
pub fn obligation_ended(fund: &FundId, allotment: &AllotmentId, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Obligated, available(allotment), amount).done()
}

/// An obligation that was due and not settled ended. `year` is that of the expense.
pub fn accrued_obligation_ended(
    fund: &FundId,
    allotment: &AllotmentId,
    payable: &Payable,
    amount: Money,
    year: Year,
) -> Vec<Line> {
    let undone = match year {
        Year::Open => Account::Expense(Expense::Benefit),
        Year::Closed => Account::Income(Income::PriorYear),
    };
    Rows::of(fund)
        .both(Account::Payable(payable.clone()), undone, amount)
        .both(Account::Accrued, available(allotment), amount)
        .done()
}

/// A float to an agent, or a prepayment to a vendor or an imprest; what it is for stays obligated.
pub fn prepayment(fund: &FundId, bank: &BankId, advance: &Advance, amount: Money) -> Vec<Line> {
    Rows::of(fund).both(Account::Advance(advance.clone()), Account::Cash(bank.clone()), amount).done()
}

/// What was prepaid is delivered.
pub fn prepaid_delivery(fund: &FundId, advance: &Advance, amount: Money) -> Vec<Line> {
    Rows::of(fund)
        .both(Account::Expense(Expense::Benefit), Account::Advance(advance.clone()), amount)
        .both(Account::Obligated, Account::Paid, amount)
        .done()
}

/// The rest of a prepayment is refunded, and what it was obligated for is available again.
pub fn prepayment_refunded(
    place: &Place,
    free: &Free,
    advance: &Advance,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .cash_in(&place.bank, free.overdrawn, amount)?
        .cr(Account::Advance(advance.clone()), amount)
        .both(Account::Obligated, available(&place.allotment), amount)
        .done())
}

/// An agent returns a float, for which nothing was obligated.
pub fn float_returned(
    place: &Place,
    free: &Free,
    agent: &VendorId,
    amount: Money,
) -> Result<Vec<Line>, MoneyError> {
    Ok(Rows::of(&place.fund)
        .cash_in(&place.bank, free.overdrawn, amount)?
        .cr(Account::Advance(Advance::Agent(agent.clone())), amount)
        .done())
}
