//! Offers, cases and screening.

use records::Body;
use std::sync::Arc;

use records::cases::{CaseOpening, Offer, Screening};
use records::governance::Role;

use crate::decide::{Context, Effects};
use crate::entity::{AgencyRefState, CaseState, OfferState, OfferVersionState, PrincipalState};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::Halt;

pub(crate) fn first_keys(body: &Body) -> Vec<Key> {
    match body {
        Body::Offer(offer) => vec![Key::Offer(offer.offer.clone())],
        Body::CaseOpening(opening) => vec![
            Key::Case(opening.case.clone()),
            Key::AgencyRef(opening.agency_ref.clone()),
            Key::Principal(opening.agency.clone()),
            Key::OfferVersion(opening.offer.offer.clone(), opening.offer.version.0),
        ],
        Body::Screening(screening) => vec![Key::Case(screening.case.clone())],
        _ => vec![],
    }
}

/// A director publishes a version of an offer.
pub(crate) fn publish(context: Context<'_>, body: &Offer) -> Result<Effects, Halt> {
    context.require(&[Role::Director])?;
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::OfferInvalid, detail));
    let mut amounts = body.benefits.iter().map(|benefit| benefit.kind.money());
    if !amounts.clone().all(|amount| context.charter.charter.currencies.contains(&amount.currency())) {
        return Err(Code::CurrencyMismatch.into());
    }
    if !amounts.all(|amount| amount.is_positive()) {
        return Err(Code::AmountNotPositive.into());
    }
    if body.benefits.is_empty() || !body.benefits.windows(2).all(|pair| pair[0].benefit < pair[1].benefit) {
        return Err(invalid("list at least one benefit, each once, sorted by id"));
    }
    let key = Key::Offer(body.offer.clone());
    let latest = context.view.find::<OfferState>(&key)?.map_or(0, |offer| offer.latest);
    if body.version.0 != latest + 1 {
        return Err(invalid(&format!("the next version of this offer is {}", latest + 1)));
    }
    let version = OfferVersionState { benefits: body.benefits.clone(), valid_from: body.valid_from };
    Ok(Effects::default()
        .set(key, OfferState { latest: body.version.0 })
        .set(Key::OfferVersion(body.offer.clone(), body.version.0), version))
}

/// A preparer opens a case.
pub(crate) fn open(context: Context<'_>, body: &CaseOpening) -> Result<Effects, Halt> {
    context.require(&[Role::Preparer])?;
    let offer = context.view.get::<OfferVersionState>(
        &Key::OfferVersion(body.offer.offer.clone(), body.offer.version.0),
        Code::OfferUnknown,
    )?;
    let (case, agency_ref) = (Key::Case(body.case.clone()), Key::AgencyRef(body.agency_ref.clone()));
    context.view.must_be_absent(&case, Code::CaseExists)?;
    context.view.must_be_absent(&agency_ref, Code::CaseExists)?;
    let agency = context.view.find::<PrincipalState>(&Key::Principal(body.agency.clone()))?;
    if !agency.is_some_and(|roles| roles.at(context.at.recorded_at).contains(&Role::Agency)) {
        return Err(Code::AgencyUnknown.into());
    }
    if body.entered < offer.valid_from {
        return Err(Code::CaseNotEligible.into());
    }
    let state = CaseState { opening: Arc::new(body.clone()), screening: None };
    Ok(Effects::default()
        .set(agency_ref, AgencyRefState { case: body.case.clone(), agency: body.agency.clone() })
        .set(case, state))
}

/// A screener ends the screening of a case.
pub(crate) fn screen(context: Context<'_>, body: &Screening) -> Result<Effects, Halt> {
    context.require(&[Role::Screener])?;
    let key = Key::Case(body.case.clone());
    let mut case = context.view.get::<CaseState>(&key, Code::CaseUnknown)?.clone();
    if case.screening.is_some() {
        return Err(Code::ScreeningClosed.into());
    }
    case.screening = Some(body.outcome);
    Ok(Effects::default().set(key, case))
}
