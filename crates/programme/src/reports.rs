//! Reports of facts, by as many persons as policy wants, and the reversal of a mistake.
//!
//! A fact is never refused because of a limit; where its rows take more than is free, the journal splits them.

use ledger::entry::Entry;
use ledger::id::PrincipalId;
use records::assets::{Countersignature, Reversal, ReversalSubject};
use records::governance::Role;
use records::{Body, Kind};
use signing::digest::Digest;
use signing::keys::KeyId;

use crate::decide::{Context, Draft, Effects};
use crate::entity::{DisbursementState, KeyState, PostedEntry, PrincipalState, ReportState, ReportStatus};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::Halt;
use crate::{assets, disbursements};

pub(crate) fn first_keys(body: &Body) -> Vec<Key> {
    match body {
        Body::Countersignature(body) => vec![Key::Report(body.report)],
        Body::Reversal(body) => match &body.subject {
            ReversalSubject::Fact(report) => vec![Key::Report(*report)],
            ReversalSubject::Disbursement(id) => vec![Key::Disbursement(id.clone())],
        },
        _ => vec![],
    }
}

fn is_of_disbursement(body: &Body) -> bool {
    matches!(body, Body::BankConfirmation(_) | Body::BankRejection(_) | Body::BankReturn(_))
}

fn keys_of_fact(body: &Body) -> Vec<Key> {
    if is_of_disbursement(body) { disbursements::first_keys(body) } else { assets::first_keys(body) }
}

/// A reconciler reports a fact.
pub(crate) fn report(context: Context<'_>, body: &Body) -> Result<Effects, Halt> {
    context.require(&[Role::Reconciler])?;
    gather(&context, context.digest, vec![signer(&context)], body)
}

fn signer(context: &Context<'_>) -> (PrincipalId, KeyId) {
    (context.header.signer.clone(), context.header.key)
}

/// A further reconciler countersigns a report that waits.
pub(crate) fn countersign(context: Context<'_>, body: &Countersignature) -> Result<Effects, Halt> {
    context.require(&[Role::Reconciler])?;
    let now = context.at.recorded_at;
    let report = context.view.get::<ReportState>(&Key::Report(body.report), Code::ReportUnknown)?;
    let ReportStatus::Waiting { payload_type, payload, not_after } = &report.status else {
        return Err(Code::ReportUnknown.into());
    };
    if *not_after < now {
        return Err(Refusal::with(Code::ReportUnknown, "the report ran out; report the fact again").into());
    }
    let fact = waiting_fact(payload_type, payload)?;
    let earlier = report.persons.iter();
    let persons = earlier.flat_map(|(person, key)| [Key::Principal(person.clone()), Key::PublicKey(*key)]);
    context.view.need(persons.chain(keys_of_fact(&fact)))?;
    let mut standing = Vec::new();
    for (person, key) in &report.persons {
        let roles = context.view.find::<PrincipalState>(&Key::Principal(person.clone()))?;
        let state = context.view.find::<KeyState>(&Key::PublicKey(*key))?;
        if roles.is_some_and(|roles| roles.at(now).contains(&Role::Reconciler))
            && state.is_some_and(|state| state.is_valid(now))
        {
            standing.push((person.clone(), *key));
        }
    }
    if standing.iter().any(|(person, _)| *person == context.header.signer) {
        return Err(Code::AlreadySigned.into());
    }
    standing.push(signer(&context));
    gather(&context, body.report, standing, &fact)
}

/// Posts the fact once enough persons signed it; until then keeps it. What could not be posted now is refused at the
/// first signature already.
fn gather(
    context: &Context<'_>,
    report: Digest,
    persons: Vec<(PrincipalId, KeyId)>,
    body: &Body,
) -> Result<Effects, Halt> {
    let policy = &context.policy.policy;
    let of_disbursement = is_of_disbursement(body);
    let needed = if of_disbursement || body.kind() == Kind::BankFee {
        policy.bank_report_persons
    } else {
        policy.receipt_persons
    };
    let key = Key::Report(report);
    let authority = if report == context.digest { vec![] } else { vec![report] };
    let (effects, status) = if of_disbursement {
        (disbursements::bank_report(context, body, &persons, authority)?, ReportStatus::Posted(None))
    } else {
        let (lines, effective) = assets::fact(context, body)?;
        let posted = PostedEntry { id: context.entry_id(), lines: lines.clone().into() };
        let draft = Draft { lines, effective, authority, about: None, reverses: None };
        (Effects::default().post(draft), ReportStatus::Posted(Some(posted)))
    };
    if (persons.len() as u64) < needed.0 {
        let status = waiting(context, report, body)?;
        return Ok(Effects::default().set(key, ReportState { persons, status }));
    }
    Ok(effects.set(key, ReportState { persons, status }))
}

/// A first report is kept whole; a further signature leaves what was kept.
fn waiting(context: &Context<'_>, report: Digest, body: &Body) -> Result<ReportStatus, Halt> {
    if report != context.digest {
        return Ok(context
            .view
            .get::<ReportState>(&Key::Report(report), Code::ReportUnknown)?
            .status
            .clone());
    }
    let bytes = body.clone().encode(context.header.clone());
    let payload = String::from_utf8(bytes).map_err(|_| Code::ReportUnknown)?;
    let payload_type = body.kind().payload_type().to_owned();
    Ok(ReportStatus::Waiting { payload_type, payload, not_after: context.header.not_after })
}

fn waiting_fact(payload_type: &str, payload: &str) -> Result<Body, Halt> {
    let kind = Kind::of_payload_type(payload_type).ok_or(Code::ReportUnknown)?;
    match Body::decode(kind, payload.as_bytes()) {
        Ok(Some((_, body))) => Ok(body),
        // What waits was encoded by `waiting`, so it decodes.
        Ok(None) | Err(_) => Err(Code::ReportUnknown.into()),
    }
}

/// A director undoes a mistake by one linked reversal of all planes.
pub(crate) fn reverse(context: Context<'_>, body: &Reversal) -> Result<Effects, Halt> {
    context.require(&[Role::Director])?;
    match &body.subject {
        ReversalSubject::Fact(digest) => {
            let key = Key::Report(*digest);
            let report = context.view.get::<ReportState>(&key, Code::NothingToReverse)?;
            let ReportStatus::Posted(Some(posted)) = &report.status else {
                return Err(Code::NothingToReverse.into());
            };
            let draft = reversal(&context, body, posted)?;
            let state = ReportState { persons: report.persons.clone(), status: ReportStatus::Reversed };
            Ok(Effects::default().set(key, state).post(draft))
        }
        ReversalSubject::Disbursement(id) => {
            let key = Key::Disbursement(id.clone());
            let state = context.view.get::<DisbursementState>(&key, Code::DisbursementUnknown)?;
            let Some(undo) = &state.undo else {
                return Err(Code::NothingToReverse.into());
            };
            let mut draft = reversal(&context, body, &undo.entry)?;
            draft.about = Some(disbursements::about(id, state));
            let stage = undo.before.clone().restored_by(&draft.lines);
            let state = DisbursementState { stage, undo: None, ..state.clone() };
            Ok(Effects::default().set(key, state).post(draft))
        }
    }
}

fn reversal(context: &Context<'_>, body: &Reversal, posted: &PostedEntry) -> Result<Draft, Halt> {
    if posted.id != body.entry {
        return Err(Code::NothingToReverse.into());
    }
    let entry =
        Entry { id: posted.id, effective: context.today(), lines: posted.lines.to_vec(), reverses: None };
    let reversal = entry
        .reversal(context.entry_id(), context.today())
        .map_err(|error| Refusal::with(Code::NothingToReverse, error.to_string()))?;
    let Entry { effective, lines, reverses, .. } = reversal;
    Ok(Draft { lines, effective, authority: vec![], about: None, reverses })
}
