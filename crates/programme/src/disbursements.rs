//! A disbursement's whole life: request, approvals, delivery, release, what the bank did, and lapse by time.

use std::sync::Arc;

use ledger::account::{Account, Expense, Payable, Via};
use ledger::books::BalanceKey;
use ledger::entry::Line;
use ledger::id::{DisbursementId, FundId, HoldId, PrincipalId};
use ledger::journal::{self, Year};
use ledger::money::Money;
use ledger::time::Date;
use records::Body;
use records::assets::FundKind;
use records::cases::{BenefitKind, ScreeningOutcome};
use records::disbursements::{BankReturn, Cancellation, Channel, Delivery, Rejection, Release, Request};
use records::governance::{ChannelKind, Role};
use records::journal::Lapse;
use records::scalar::Integer;
use signing::digest::Digest;
use signing::keys::KeyId;

use crate::approvals::{band, count_directors, gathered_keys, standing};
use crate::assets;
use crate::decide::{About, At, Context, Draft, Effects, balance_keys};
use crate::entity::{
    CaseState, CharterState, DisbursementState, ObligationState, OfferVersionState, PostedEntry, Undo,
};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::stage::{Creditor, Event, Sent, Stage};
use crate::state::{Halt, View};

pub(crate) fn first_keys(body: &Body) -> Vec<Key> {
    let disbursement = |id: &DisbursementId| Key::Disbursement(id.clone());
    match body {
        Body::Request(body) => vec![
            disbursement(&body.disbursement),
            Key::Case(body.case.clone()),
            Key::Fund(body.fund.clone()),
            Key::OfferVersion(body.offer.offer.clone(), body.offer.version.0),
            budget(&body.fund, body.amount, Account::Shortfall),
        ]
        .into_iter()
        .chain(occurrence(body).map(|one| Key::Obligation(body.case.clone(), body.benefit.clone(), one)))
        .chain(assets::main_allotment().map(|main| budget(&body.fund, body.amount, Account::Available(main))))
        .collect(),
        Body::Approval(body) => {
            let effect = &body.effect;
            let payable = Account::Payable(Payable::Disbursement(effect.disbursement.clone()));
            let accounts =
                [Account::Obligated, Account::Accrued, Account::Expense(Expense::Benefit), payable];
            let main = assets::main_allotment().map(Account::Available);
            let balances =
                accounts.into_iter().chain(main).map(|one| budget(&effect.fund, effect.amount, one));
            balances.chain([disbursement(&effect.disbursement)]).collect()
        }
        Body::Rejection(body) => vec![disbursement(&body.disbursement)],
        Body::Cancellation(body) => vec![disbursement(&body.disbursement)],
        Body::Delivery(body) => vec![disbursement(&body.disbursement)],
        Body::Release(body) => vec![disbursement(&body.disbursement), Key::Bank(body.bank.clone())],
        Body::BankConfirmation(body) => vec![disbursement(&body.disbursement)],
        Body::BankRejection(body) => vec![disbursement(&body.disbursement)],
        Body::BankReturn(body) => vec![disbursement(&body.disbursement)],
        _ => vec![],
    }
}

/// The balance of an account of a fund in the currency of an amount.
fn budget(fund: &FundId, amount: Money, account: Account) -> Key {
    Key::from(BalanceKey { account, fund: fund.clone(), currency: amount.currency() })
}

/// Which occurrence of its benefit a request is for, where there is such: every benefit is offered once.
fn occurrence(request: &Request) -> Option<u32> {
    (request.occurrence == Integer(1)).then_some(1)
}

/// What an entry about a disbursement carries.
pub(crate) fn about(id: &DisbursementId, state: &DisbursementState) -> About {
    About { benefit: state.benefit.clone(), case_commitment: state.commitment, disbursement: id.clone() }
}

/// The id of a disbursement's hold: the request's is number 1, that of the first release number 2.
pub(crate) fn hold_id(id: &DisbursementId, number: u32) -> Result<HoldId, Halt> {
    // An id and a number of at most ten digits are within a hold's 96 characters.
    format!("{id}.{number}").parse().map_err(|_| Code::AmountTooLarge.into())
}

pub(crate) fn payable(id: &DisbursementId, creditor: &Creditor) -> Payable {
    match creditor {
        Creditor::Payee => Payable::Disbursement(id.clone()),
        Creditor::Vendor(vendor) => Payable::Vendor(vendor.clone()),
    }
}

fn obligation(state: &DisbursementState) -> Key {
    Key::Obligation(state.opening.case.clone(), state.benefit.clone(), state.occurrence)
}

/// A preparer requests a disbursement; its amount is held.
pub(crate) fn request(context: Context<'_>, body: &Request) -> Result<Effects, Halt> {
    context.require(&[Role::Preparer])?;
    let Context { view, at, policy, .. } = context;
    let fund = assets::fund_of_kind(&context, &body.fund, FundKind::Spendable)?;
    let offer =
        view.find::<OfferVersionState>(&Key::OfferVersion(body.offer.offer.clone(), body.offer.version.0))?;
    let benefit =
        offer.and_then(|offer| offer.benefits.iter().find(|benefit| benefit.benefit == body.benefit));
    let currency = benefit.map_or(fund.currency, |benefit| benefit.kind.money().currency());
    assets::check_amounts(fund.currency, &[currency], [body.amount].into_iter())?;
    if offer.is_none() {
        return Err(Code::OfferUnknown.into());
    }
    let case = view.get::<CaseState>(&Key::Case(body.case.clone()), Code::CaseUnknown)?;
    if case.opening.offer != body.offer {
        return Err(
            Refusal::with(Code::OfferUnknown, "the case is under another version of the offer").into()
        );
    }
    let key = Key::Disbursement(body.disbursement.clone());
    view.must_be_absent(&key, Code::DisbursementExists)?;
    match case.screening {
        None => return Err(Code::ScreeningOpen.into()),
        Some(ScreeningOutcome::Refused) => return Err(Code::ScreeningRefused.into()),
        Some(ScreeningOutcome::Cleared) => {}
    }
    let (benefit, occurrence) = benefit.zip(occurrence(body)).ok_or(Code::BenefitUnknown)?;
    let (in_kind, is_offered) = match &benefit.kind {
        BenefitKind::Cash { amount } => (false, body.amount == *amount),
        BenefitKind::InKind { ceiling } => (true, body.amount.amount() <= ceiling.amount()),
    };
    if !is_offered {
        let detail = format!("the offer says {}", benefit.kind.money().grouped());
        return Err(Refusal::with(Code::AmountNotOffered, detail).into());
    }
    let kind = match &body.channel {
        Channel::Manual {} => ChannelKind::Manual,
    };
    if !policy.policy.channels.contains(&kind) {
        return Err(Code::ChannelNotAllowed.into());
    }
    band(policy, body.amount)?;
    match body.expires.since(at.recorded_at) {
        Some(ahead_s) if (1..=policy.policy.expiry_max_s.0).contains(&ahead_s) => {}
        _ => return Err(Code::ExpiryInvalid.into()),
    }
    let obligation = Key::Obligation(case.opening.case.clone(), body.benefit.clone(), occurrence);
    if let Some(taken) = view.find::<ObligationState>(&obligation)? {
        return Err(
            Refusal::with(Code::ObligationExists, format!("by disbursement {}", taken.disbursement)).into()
        );
    }
    let hold = hold_id(&body.disbursement, 1)?;
    let lines = journal::request(&body.fund, &assets::main_allotment()?, &hold, body.amount);
    let shortfall =
        BalanceKey { account: Account::Shortfall, fund: body.fund.clone(), currency: fund.currency };
    view.need(balance_keys(&lines).chain([Key::from(shortfall.clone())]))?;
    if view.balance(&shortfall)?.amount.is_positive() {
        return Err(Code::FundBlocked.into());
    }
    let state = DisbursementState {
        opening: Arc::clone(&case.opening),
        benefit: body.benefit.clone(),
        in_kind,
        amount: body.amount,
        fund: body.fund.clone(),
        channel: body.channel.clone(),
        expires: body.expires,
        occurrence,
        preparer: context.header.signer.clone(),
        request: context.digest,
        requested_at: at.recorded_at,
        commitment: body.salt.commit(&body.case),
        stage: Stage::Requested { approvals: Box::default() },
        undo: None,
    };
    let draft = Draft {
        lines,
        effective: context.today(),
        authority: vec![],
        about: Some(about(&body.disbursement, &state)),
        reverses: None,
    };
    Ok(Effects::default()
        .set(obligation, ObligationState { disbursement: body.disbursement.clone() })
        .set(key, state)
        .post(draft))
}

/// The disbursement, if it has not run out and the digest is its request's.
pub(crate) fn live<'a>(
    context: &Context<'a>,
    id: &DisbursementId,
    request: Option<Digest>,
) -> Result<&'a DisbursementState, Halt> {
    let key = Key::Disbursement(id.clone());
    let state = context.view.get::<DisbursementState>(&key, Code::DisbursementUnknown)?;
    if state.stage.can_lapse() && state.expires < context.at.recorded_at {
        return Err(Code::DisbursementExpired.into());
    }
    if request.is_some_and(|request| request != state.request) {
        return Err(Code::RequestDiffers.into());
    }
    Ok(state)
}

/// The amount must be in the currency of the disbursement, if there is one.
fn check_money(context: &Context<'_>, id: &DisbursementId, amount: Money) -> Result<(), Halt> {
    let state = context.view.find::<DisbursementState>(&Key::Disbursement(id.clone()))?;
    if state.is_some_and(|state| state.amount.currency() != amount.currency()) {
        return Err(Code::CurrencyMismatch.into());
    }
    Ok(())
}

pub(crate) fn wrong_stage(state: &DisbursementState) -> Halt {
    Refusal::with(Code::WrongStage, format!("the disbursement is {}", state.stage.name())).into()
}

/// Moves a disbursement on and posts the lines that this takes.
pub(crate) fn step(
    context: &Context<'_>,
    id: &DisbursementId,
    state: &DisbursementState,
    event: Event,
    lines: Vec<Line>,
    authority: Vec<Digest>,
    effective: Option<Date>,
) -> Result<Effects, Halt> {
    // An approval and an ending are not mistakes of the bank: what follows them is a cancellation or a new request.
    let can_be_reversed = matches!(
        event,
        Event::Delivered { .. }
            | Event::Released { .. }
            | Event::Confirmed
            | Event::BankRejected
            | Event::Returned
    );
    let before = state.stage.clone();
    let stage = state.stage.clone().on(event)?;
    let undo = can_be_reversed
        .then(|| Undo { entry: PostedEntry { id: context.entry_id(), lines: lines.clone().into() }, before })
        .map(Box::new);
    let draft = Draft {
        lines,
        effective: effective.unwrap_or_else(|| context.today()),
        authority,
        about: Some(about(id, state)),
        reverses: None,
    };
    let state = DisbursementState { stage, undo, ..state.clone() };
    Ok(Effects::default().set(Key::Disbursement(id.clone()), state).post(draft))
}

/// The lines that end a disbursement before it is released.
fn ending(id: &DisbursementId, state: &DisbursementState) -> Result<Vec<Line>, Halt> {
    let allotment = assets::main_allotment()?;
    match &state.stage {
        Stage::Requested { .. } => {
            Ok(journal::hold_voided(&state.fund, &allotment, &hold_id(id, 1)?, state.amount))
        }
        Stage::Obligated { .. } => Ok(journal::obligation_ended(&state.fund, &allotment, state.amount)),
        Stage::Due(owed) => Ok(journal::accrued_obligation_ended(
            &state.fund,
            &allotment,
            &payable(id, &owed.creditor),
            owed.payable,
            Year::Open,
        )),
        Stage::Released(_) | Stage::Paid(_) | Stage::Ended(_) => Err(wrong_stage(state)),
    }
}

/// An approver rejects a request.
pub(crate) fn reject(context: Context<'_>, body: &Rejection) -> Result<Effects, Halt> {
    context.require(&[Role::Approver, Role::Director])?;
    let state = live(&context, &body.disbursement, Some(body.request))?;
    let lines = ending(&body.disbursement, state)?;
    let effects =
        step(&context, &body.disbursement, state, Event::Rejected, lines, vec![state.request], None)?;
    Ok(effects.end(obligation(state)))
}

/// A preparer or director cancels what was not released.
pub(crate) fn cancel(context: Context<'_>, body: &Cancellation) -> Result<Effects, Halt> {
    context.require(&[Role::Preparer, Role::Director])?;
    let state = live(&context, &body.disbursement, Some(body.request))?;
    let lines = ending(&body.disbursement, state)?;
    let effects =
        step(&context, &body.disbursement, state, Event::Cancelled, lines, vec![state.request], None)?;
    Ok(effects.end(obligation(state)))
}

/// A preparer reports a delivery in kind.
pub(crate) fn deliver(context: Context<'_>, body: &Delivery) -> Result<Effects, Halt> {
    context.require(&[Role::Preparer])?;
    check_money(&context, &body.disbursement, body.invoiced)?;
    if !body.invoiced.is_positive() {
        return Err(Code::AmountNotPositive.into());
    }
    assets::check_value_date(&context, body.delivered)?;
    let state = live(&context, &body.disbursement, None)?;
    if !matches!(state.stage, Stage::Obligated { .. }) {
        return Err(wrong_stage(state));
    }
    if body.invoiced.amount() > state.amount.amount() {
        return Err(Code::InvoiceTooHigh.into());
    }
    let unused = state.amount.checked_sub(body.invoiced).map_err(|_| Code::InvoiceTooHigh)?;
    let creditor = Creditor::Vendor(body.vendor.clone());
    let lines = journal::due(
        &state.fund,
        &assets::main_allotment()?,
        &payable(&body.disbursement, &creditor),
        body.invoiced,
        unused,
    );
    let event = Event::Delivered { payable: body.invoiced, vendor: body.vendor.clone() };
    step(&context, &body.disbursement, state, event, lines, vec![state.request], Some(body.delivered))
}

/// A payer releases what is due.
pub(crate) fn release(context: Context<'_>, body: &Release) -> Result<Effects, Halt> {
    context.require(&[Role::Payer])?;
    let id = &body.disbursement;
    let at_bank = assets::bank_currency(&context, &body.bank)?;
    check_money(&context, id, Money::zero(at_bank))?;
    let state = live(&context, id, Some(body.request))?;
    let Stage::Due(owed) = &state.stage else {
        return Err(wrong_stage(state));
    };
    let signer = &context.header.signer;
    if *signer == state.preparer || owed.approvals.iter().any(|one| one.approver == *signer) {
        return Err(Refusal::with(Code::SamePerson, "the payer prepared or approved this").into());
    }
    let hold = hold_id(id, owed.releases + 2)?;
    let via = Via::Bank(body.bank.clone());
    let lines = journal::released(&state.fund, &payable(id, &owed.creditor), &via, &hold, owed.payable);
    let overdrawn = BalanceKey {
        account: Account::Overdrawn(body.bank.clone()),
        fund: state.fund.clone(),
        currency: owed.payable.currency(),
    };
    let keys = gathered_keys(&owed.approvals).chain(balance_keys(&lines));
    context.view.need(keys.chain([Key::from(overdrawn.clone())]))?;
    let standing = standing(&context, &owed.approvals)?;
    let band = band(context.policy, state.amount)?;
    let directors = count_directors(&context, &standing)?;
    if (standing.len() as u64) < band.approvers.0 || directors < band.directors.0 {
        return Err(Code::ApprovalsVoid.into());
    }
    if context.view.balance(&overdrawn)?.amount.is_positive() {
        return Err(Code::BankOverdrawn.into());
    }
    let mut authority = vec![state.request];
    authority.extend(owed.approvals.iter().map(|one| one.digest));
    let event = Event::Released { bank: body.bank.clone(), hold, payer: signer.clone() };
    step(&context, id, state, event, lines, authority, None)
}

/// What the bank did with a released payment, once enough persons reported it.
pub(crate) fn bank_report(
    context: &Context<'_>,
    body: &Body,
    persons: &[(PrincipalId, KeyId)],
    authority: Vec<Digest>,
) -> Result<Effects, Halt> {
    let (id, value_date) = match body {
        Body::BankConfirmation(body) => (&body.disbursement, Some(body.value_date)),
        Body::BankRejection(body) => (&body.disbursement, None),
        Body::BankReturn(body) => (&body.disbursement, Some(body.value_date)),
        // `reports` sends no other kind here.
        _ => return Err(Code::ReportUnknown.into()),
    };
    if let Body::BankReturn(body) = body {
        check_kept(context, body)?;
    }
    if let Some(date) = value_date {
        assets::check_value_date(context, date)?;
    }
    let key = Key::Disbursement(id.clone());
    let state = context.view.get::<DisbursementState>(&key, Code::DisbursementUnknown)?;
    let sent = match (&state.stage, body) {
        (Stage::Paid(sent), Body::BankReturn(_)) => sent,
        (Stage::Released(sent), Body::BankConfirmation(_) | Body::BankRejection(_)) => sent,
        _ => return Err(wrong_stage(state)),
    };
    check_reporters(persons, sent)?;
    let via = Via::Bank(sent.bank.clone());
    let payable = payable(id, &sent.owed.creditor);
    let amount = sent.owed.payable;
    let (event, lines) = match body {
        Body::BankConfirmation(_) => {
            (Event::Confirmed, journal::bank_confirms(&state.fund, &via, &sent.hold, amount))
        }
        Body::BankReturn(body) => (Event::Returned, returned(context, state, sent, &payable, body)?),
        _ => {
            let lines = journal::rejected_before_booking(&state.fund, &payable, &via, &sent.hold, amount);
            (Event::BankRejected, lines)
        }
    };
    step(context, id, state, event, lines, authority, value_date)
}

/// Who reports what the bank did is none of those who approved or released it.
fn check_reporters(persons: &[(PrincipalId, KeyId)], sent: &Sent) -> Result<(), Halt> {
    let acted = |person: &PrincipalId| {
        sent.payer == *person || sent.owed.approvals.iter().any(|one| one.approver == *person)
    };
    if persons.iter().any(|(person, _)| acted(person)) {
        return Err(Refusal::with(Code::SamePerson, "the reconciler approved or released this").into());
    }
    Ok(())
}

/// What the bank kept is no less than nothing, and no more than what was paid, if anything was.
fn check_kept(context: &Context<'_>, body: &BankReturn) -> Result<(), Halt> {
    check_money(context, &body.disbursement, body.kept)?;
    if body.kept.is_negative() {
        return Err(Code::AmountNotPositive.into());
    }
    let key = Key::Disbursement(body.disbursement.clone());
    let Some(state) = context.view.find::<DisbursementState>(&key)? else { return Ok(()) };
    match &state.stage {
        Stage::Released(sent) | Stage::Paid(sent) if body.kept.amount() > sent.owed.payable.amount() => {
            Err(Refusal::with(Code::AmountsDoNotAddUp, "the bank cannot keep more than was paid").into())
        }
        _ => Ok(()),
    }
}

fn returned(
    context: &Context<'_>,
    state: &DisbursementState,
    sent: &Sent,
    payable: &Payable,
    body: &BankReturn,
) -> Result<Vec<Line>, Halt> {
    let received = sent.owed.payable.checked_sub(body.kept).map_err(|_| Code::AmountsDoNotAddUp)?;
    let place = assets::place(&state.fund, &sent.bank)?;
    assets::lines_at(context, &place, received.currency(), |free| {
        journal::returned_after_booking(&place, free, payable, received, body.kept, Year::Open)
    })
}

/// The ledger itself says that a disbursement ran out; refused unless the state calls for exactly that.
pub(crate) fn lapse(view: View<'_>, at: At, body: &Lapse) -> Result<Effects, Halt> {
    let key = Key::Disbursement(body.disbursement.clone());
    view.need([Key::Charter, key.clone()])?;
    let charter = view.get::<CharterState>(&Key::Charter, Code::LedgerNotFounded)?;
    let state = view.get::<DisbursementState>(&key, Code::LapseNotDue)?;
    let is_due = state.stage.can_lapse()
        && state.expires < at.recorded_at
        && body.expired == state.expires
        && body.request == state.request
        && body.ledger == charter.ledger;
    if !is_due {
        return Err(Code::LapseNotDue.into());
    }
    let draft = Draft {
        lines: ending(&body.disbursement, state)?,
        effective: at.recorded_at.date(),
        authority: vec![state.request],
        about: Some(about(&body.disbursement, state)),
        reverses: None,
    };
    let stage = state.stage.clone().on(Event::Lapsed)?;
    let ended = DisbursementState { stage, undo: None, ..state.clone() };
    Ok(Effects::default().end(obligation(state)).set(key, ended).post(draft))
}
