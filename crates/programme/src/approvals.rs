//! Approvals: the effect that is signed, the band that policy wants, and who counts.

use ledger::id::DisbursementId;
use ledger::journal;
use ledger::money::Money;
use records::disbursements::{Approval, Effect};
use records::governance::{Band, Role};
use records::scalar::Integer;

use crate::assets;
use crate::decide::{Context, Effects, balance_keys};
use crate::disbursements::{hold_id, live, payable, step, wrong_stage};
use crate::entity::{DisbursementState, KeyState, PrincipalState, VersionedPolicy};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::stage::{Creditor, Event, Gathered, Stage};
use crate::state::Halt;

/// The band of policy into which an amount falls.
pub(crate) fn band(policy: &VersionedPolicy, amount: Money) -> Result<&Band, Halt> {
    policy
        .policy
        .bands
        .iter()
        .find(|band| band.up_to.currency() == amount.currency() && band.up_to.amount() >= amount.amount())
        .ok_or(Code::NoBand.into())
}

/// The effect that an approver of this request has to sign.
pub fn effect_of(id: &DisbursementId, state: &DisbursementState, policy: u64) -> Effect {
    Effect {
        amount: state.amount,
        benefit: state.benefit.clone(),
        channel: state.channel.clone(),
        disbursement: id.clone(),
        expires: state.expires,
        fund: state.fund.clone(),
        most: state.amount,
        offer: state.opening.offer.clone(),
        policy: Integer(policy),
        preparer: state.preparer.clone(),
        request: state.request,
    }
}

/// The first field in which an approved effect differs from the request.
fn difference(approved: &Effect, real: &Effect) -> Option<&'static str> {
    let fields = [
        ("request", approved.request != real.request),
        ("amount", approved.amount != real.amount),
        ("most", approved.most != real.most),
        ("benefit", approved.benefit != real.benefit),
        ("offer", approved.offer != real.offer),
        ("fund", approved.fund != real.fund),
        ("channel", approved.channel != real.channel),
        ("expires", approved.expires != real.expires),
        ("preparer", approved.preparer != real.preparer),
    ];
    fields.into_iter().find_map(|(field, differs)| differs.then_some(field))
}

/// An approver approves; with the last that policy wants, the hold is posted.
pub(crate) fn approve(context: Context<'_>, body: &Approval) -> Result<Effects, Halt> {
    context.require(&[Role::Approver, Role::Director])?;
    let id = &body.effect.disbursement;
    let state = live(&context, id, None)?;
    let Stage::Requested { approvals } = &state.stage else {
        return Err(wrong_stage(state));
    };
    let real = effect_of(id, state, context.policy.version);
    if let Some(field) = difference(&body.effect, &real) {
        return Err(Refusal::with(Code::EffectDiffers, format!("the field '{field}' differs")).into());
    }
    if body.effect.policy != real.policy {
        let detail = format!("the policy in force is version {}", real.policy);
        return Err(Refusal::with(Code::PolicyChanged, detail).into());
    }
    let signer = &context.header.signer;
    if *signer == state.preparer {
        return Err(Code::OwnRequest.into());
    }
    let gathered = Gathered {
        approver: signer.clone(),
        key: context.header.key,
        digest: context.digest,
        policy: context.policy.version,
    };
    let earlier: Vec<Gathered> =
        approvals.iter().filter(|one| one.policy == context.policy.version).cloned().collect();
    let allotment = assets::main_allotment()?;
    let (hold, amount) = (hold_id(id, 1)?, state.amount);
    let lines = if state.in_kind {
        journal::approved(&state.fund, &allotment, &hold, amount, amount)
    } else {
        let payable = payable(id, &Creditor::Payee);
        journal::approved_and_due(&state.fund, &allotment, &hold, &payable, amount, amount)
    };
    context.view.need(gathered_keys(&earlier).chain(balance_keys(&lines)))?;
    let mut standing = standing(&context, &earlier)?;
    if standing.iter().any(|one| one.approver == *signer) {
        return Err(Code::AlreadyApproved.into());
    }
    standing.push(gathered);
    let directors = count_directors(&context, &standing)?;
    let band = band(context.policy, amount)?;
    let key = Key::Disbursement(id.clone());
    if (standing.len() as u64) < band.approvers.0 || directors < band.directors.0 {
        let stage = Stage::Requested { approvals: standing.into() };
        return Ok(Effects::default().set(key, DisbursementState { stage, ..state.clone() }));
    }
    let mut authority = vec![state.request];
    authority.extend(standing.iter().map(|one| one.digest).filter(|digest| *digest != context.digest));
    let approvals = standing.into();
    let event = if state.in_kind {
        Event::ApprovedInKind { approvals }
    } else {
        Event::ApprovedDue { approvals, payable: amount }
    };
    step(&context, id, state, event, lines, authority, None)
}

pub(crate) fn gathered_keys(gathered: &[Gathered]) -> impl Iterator<Item = Key> {
    gathered.iter().flat_map(|one| [Key::Principal(one.approver.clone()), Key::PublicKey(one.key)])
}

/// The approvals whose key is still valid and whose signer still may approve.
pub(crate) fn standing(context: &Context<'_>, gathered: &[Gathered]) -> Result<Vec<Gathered>, Halt> {
    let now = context.at.recorded_at;
    let mut standing = Vec::new();
    for one in gathered {
        let key = context.view.find::<KeyState>(&Key::PublicKey(one.key))?;
        let roles = context.view.find::<PrincipalState>(&Key::Principal(one.approver.clone()))?;
        let may = roles.is_some_and(|roles| {
            roles.at(now).iter().any(|role| matches!(role, Role::Approver | Role::Director))
        });
        if may && key.is_some_and(|key| key.is_valid(now)) {
            standing.push(one.clone());
        }
    }
    Ok(standing)
}

pub(crate) fn count_directors(context: &Context<'_>, gathered: &[Gathered]) -> Result<u64, Halt> {
    let now = context.at.recorded_at;
    let mut directors = 0;
    for one in gathered {
        let roles = context.view.find::<PrincipalState>(&Key::Principal(one.approver.clone()))?;
        if roles.is_some_and(|roles| roles.at(now).contains(&Role::Director)) {
            directors += 1;
        }
    }
    Ok(directors)
}
