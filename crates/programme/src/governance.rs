//! Founding, acceptance, and what custodians do in quorum.

use std::collections::BTreeSet;

use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use records::Body;
use records::governance::{Act, Charter, Concurrence, Founding, KeyPossession, Policy, Proposal, Role, Veto};
use records::scalar::Integer;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey};

use crate::INSTRUCTION_LIFE_MAX_S;
use crate::decide::{At, Context, Effects};
use crate::entity::{
    CharterState, Dated, Ending, InstructionState, KeyState, Pending, PolicyState, PrincipalState,
    ProposalState, ProposalStatus, Spare, VersionedPolicy,
};
use crate::key::Key;
use crate::publication;
use crate::refusal::{Code, Refusal};
use crate::reopening::Wish;
use crate::state::{Halt, View};

pub(crate) fn first_keys(body: &Body) -> Vec<Key> {
    match body {
        Body::Proposal(proposal) => act_keys(&proposal.act),
        Body::Concurrence(concurrence) => vec![Key::Proposal(concurrence.proposal)],
        Body::Veto(veto) => vec![Key::Proposal(veto.proposal)],
        _ => vec![],
    }
}

fn act_keys(act: &Act) -> Vec<Key> {
    match act {
        Act::Enrol { principal, .. } => {
            let keys = act.new_keys().map(|envelope| Key::PublicKey(envelope.key_id));
            keys.chain([Key::Principal(principal.clone())]).collect()
        }
        Act::Policy { .. } => vec![Key::Policy],
        Act::Reopen { checkpoint, continued, keys, origin } => {
            Wish { checkpoint, continued, keys: keys.as_deref(), origin }.needs()
        }
        Act::Revoke { key, .. } => vec![Key::PublicKey(*key)],
        Act::Roles { principal, .. } => vec![Key::Principal(principal.clone())],
    }
}

/// The founding record, at position 0.
pub(crate) fn found(view: View<'_>, at: At, digest: Digest, founding: &Founding) -> Result<Effects, Halt> {
    if let Some(charter) = view.find::<CharterState>(&Key::Charter)? {
        let is_same = charter.ledger == digest;
        return Err(if is_same { Halt::Known { position: 0 } } else { Code::LedgerFounded.into() });
    }
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::FoundingInvalid, detail));
    let charter = &founding.body;
    let custodians = &charter.custodians;
    if at.position != 0 {
        return Err(Code::LedgerFounded.into());
    }
    if !custodians.windows(2).all(|pair| pair[0].principal < pair[1].principal) {
        return Err(invalid("list each custodian once, sorted by principal"));
    }
    let (count, quorum) = (custodians.len() as u64, charter.quorum.0);
    if quorum < 2 || quorum > count || quorum.saturating_mul(2) <= count {
        return Err(invalid(
            "the quorum must be at least 2, more than half of the custodians, and not more than all",
        ));
    }
    let keys: BTreeSet<KeyId> = custodians
        .iter()
        .map(|custodian| custodian.key.id())
        .chain([charter.record_key.id(), charter.checkpoint_key.id()])
        .collect();
    if keys.len() != custodians.len() + 2 {
        return Err(invalid("every custodian and the ledger's two keys need a key of their own"));
    }
    if charter.currencies.is_empty() || !charter.currencies.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(invalid("list at least one currency, each once, sorted by code"));
    }
    let ours = [&charter.record_key, &charter.checkpoint_key];
    if let Some(problem) = policy_problem(&charter.policy, charter, ours) {
        return Err(invalid(problem));
    }
    if !custodians.iter().any(|c| c.principal == founding.signer && c.key.id() == founding.key) {
        return Err(invalid(
            "the signer must be a custodian whom the record names, with the key that it names",
        ));
    }
    let mut effects = Effects::default()
        .set(Key::Policy, PolicyState::new(VersionedPolicy { version: 1, policy: charter.policy.clone() }));
    for custodian in custodians {
        let key = KeyState {
            principal: custodian.principal.clone(),
            public: custodian.key.clone(),
            proposal: None,
            from: at.recorded_at,
            expires: None,
            spare: None,
            until: None,
            vetoed: false,
        };
        effects = effects
            .set(Key::Principal(custodian.principal.clone()), PrincipalState::new(vec![Role::Custodian]))
            .set(Key::PublicKey(custodian.key.id()), key);
    }
    let accepted = BTreeSet::from([founding.signer.clone()]);
    let life_max = founding.issued_at.plus(INSTRUCTION_LIFE_MAX_S);
    let not_after =
        life_max.ok_or(Refusal::with(Code::FoundingInvalid, "issued_at is beyond every time there is"))?;
    let known = InstructionState { digest, position: 0, not_after };
    effects = effects.set(Key::Instruction(founding.signer.clone(), founding.id), known);
    let charter = Box::new(charter.clone());
    Ok(effects.set(Key::Charter, CharterState { ledger: digest, charter, accepted, reopened: vec![] }))
}

/// What is wrong with a policy beside the ledger's keys, if anything is.
fn policy_problem<'a>(
    policy: &Policy,
    charter: &Charter,
    ours: impl IntoIterator<Item = &'a PublicKey>,
) -> Option<&'static str> {
    let rising = policy.bands.windows(2).all(|pair| {
        let (low, high) = (&pair[0].up_to, &pair[1].up_to);
        if low.currency() == high.currency() {
            low.amount() < high.amount()
        } else {
            low.currency() < high.currency()
        }
    });
    if !rising {
        return Some("list the bands by currency and rising, none twice");
    }
    for band in &policy.bands {
        if !charter.currencies.contains(&band.up_to.currency()) {
            return Some("a band is in a currency that the ledger does not hold");
        }
        if !band.up_to.is_positive() {
            return Some("a band's amount must be above zero");
        }
        if band.approvers.0 == 0 || band.directors > band.approvers {
            return Some("a band takes at least one approver, and not more directors than approvers");
        }
    }
    if policy.bank_report_persons.0 == 0 || policy.receipt_persons.0 == 0 {
        return Some("a report takes at least one person");
    }
    if !policy.channels.windows(2).all(|pair| pair[0] < pair[1]) {
        return Some("list each channel once, sorted");
    }
    let longest_s = 10 * 366 * 24 * 60 * 60;
    let times_s = [
        policy.basis_age_s,
        policy.expiry_max_s,
        policy.gap_s,
        policy.lapse_grace_s,
        policy.quorum_delay_s,
        policy.skew_s,
    ];
    let publication_s = policy.publication.map(|publication| publication.every_s);
    if times_s.into_iter().chain(publication_s).any(|Integer(seconds)| seconds > longest_s) {
        return Some("a time is longer than ten years");
    }
    if policy.basis_age_s.0 == 0 || policy.expiry_max_s.0 == 0 || policy.gap_s.0 == 0 {
        return Some("basis_age_s, expiry_max_s and gap_s must be above zero");
    }
    if policy.publication.is_some_and(|publication| !publication::is_valid(publication)) {
        return Some("a publication is every 60 seconds or less often, of a multiple of 2 to 4096 records");
    }
    policy.witnessing.as_ref().and_then(|witnessing| witnessing.problem(ours))
}

/// A custodian's acceptance of the founding.
pub(crate) fn accept(context: Context<'_>) -> Result<Effects, Halt> {
    context.require(&[Role::Custodian])?;
    if context.header.basis.size.0 != 1 {
        return Err(Refusal::with(
            Code::BasisUnknown,
            "an acceptance has the founding record as its basis, size 1",
        )
        .into());
    }
    let mut charter = context.charter.clone();
    if !charter.accepted.insert(context.header.signer.clone()) {
        return Err(Code::AlreadyAccepted.into());
    }
    Ok(Effects::default().set(Key::Charter, charter))
}

/// A custodian proposes an act.
pub(crate) fn propose(context: Context<'_>, body: &Proposal) -> Result<Effects, Halt> {
    context.require(&[Role::Custodian])?;
    check_act(&context, &body.act, 1)?;
    let proposal = ProposalState {
        act: body.act.clone(),
        custodians: vec![(context.header.signer.clone(), context.header.key)],
        status: ProposalStatus::Open,
        not_after: context.header.not_after,
    };
    Ok(Effects::default().set(Key::Proposal(context.digest), proposal))
}

/// A further custodian concurs; with the quorum the act is decided.
pub(crate) fn concur(context: Context<'_>, body: &Concurrence) -> Result<Effects, Halt> {
    context.require(&[Role::Custodian])?;
    let now = context.at.recorded_at;
    let key = Key::Proposal(body.proposal);
    let mut proposal = context.view.get::<ProposalState>(&key, Code::ProposalUnknown)?.clone();
    if proposal.status != ProposalStatus::Open || proposal.not_after < now {
        return Err(Code::ProposalClosed.into());
    }
    let signer = &context.header.signer;
    let gathered = proposal
        .custodians
        .iter()
        .flat_map(|(custodian, key)| [Key::Principal(custodian.clone()), Key::PublicKey(*key)]);
    context.view.need(gathered.chain(act_keys(&proposal.act)))?;
    let mut standing = Vec::new();
    for (custodian, key) in proposal.custodians.drain(..) {
        let roles = context.view.find::<PrincipalState>(&Key::Principal(custodian.clone()))?;
        let state = context.view.find::<KeyState>(&Key::PublicKey(key))?;
        if roles.is_some_and(|roles| roles.at(now).contains(&Role::Custodian))
            && state.is_some_and(|state| state.is_valid(now))
        {
            standing.push((custodian, key));
        }
    }
    if standing.iter().any(|(custodian, _)| custodian == signer) {
        return Err(Code::AlreadyConcurred.into());
    }
    standing.push((signer.clone(), context.header.key));
    let count = standing.len() as u64;
    let has_quorum = count >= context.charter.charter.quorum.0;
    proposal.custodians = standing;
    if !has_quorum {
        return Ok(Effects::default().set(key, proposal));
    }
    check_act(&context, &proposal.act, count)?;
    let effective_at = effective_at(&context, &proposal.act)?;
    proposal.status = ProposalStatus::Decided { effective_at };
    let effects = bring_about(&context, body.proposal, &proposal.act, effective_at)?;
    Ok(effects.set(key, proposal))
}

/// When an act that has its quorum now takes effect.
fn effective_at(context: &Context<'_>, act: &Act) -> Result<Timestamp, Halt> {
    let delay_s = match act {
        // Until it takes effect no head can be signed, so nobody could see what he may veto.
        Act::Reopen { .. } => 0,
        _ => context.policy.policy.quorum_delay_s.0,
    };
    let past = "the policy's delay leads past the last time there is";
    Ok(context.at.recorded_at.plus(delay_s).ok_or(Refusal::with(Code::ActInvalid, past))?)
}

/// Refuses an act that breaks a rule, as the state stands now, where so many custodians stand behind it.
fn check_act(context: &Context<'_>, act: &Act, count: u64) -> Result<(), Halt> {
    let now = context.at.recorded_at;
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::ActInvalid, detail));
    match act {
        Act::Enrol { expires, possessions, principal, roles, spares } => {
            check_list(roles)?;
            let known = context.view.find::<PrincipalState>(&Key::Principal(principal.clone()))?;
            if possessions.is_empty() && known.is_none() {
                return Err(invalid("a new principal needs at least one key"));
            }
            if spares.as_ref().is_some_and(Vec::is_empty) {
                return Err(invalid("leave the spares out where there are none"));
            }
            let named: BTreeSet<KeyId> = act.new_keys().map(|envelope| envelope.key_id).collect();
            if named.len() != act.new_keys().count() {
                return Err(invalid("a key is named twice"));
            }
            if let Some(expires) = *expires
                && expires <= effective_at(context, act)?
            {
                return Err(invalid("the keys would have expired when the act takes effect"));
            }
            for envelope in act.new_keys() {
                check_new(context, new_key(context, envelope, principal)?.id())?;
            }
            check_assignment(context, principal, roles)
        }
        Act::Policy { policy } => {
            let charter = context.charter;
            if let Some(problem) = policy_problem(policy, &charter.charter, charter.ledgers_keys()) {
                return Err(invalid(problem));
            }
            let state = context.view.get::<PolicyState>(&Key::Policy, Code::LedgerNotFounded)?;
            if state.is_pending(now) { Err(Code::ActPending.into()) } else { Ok(()) }
        }
        Act::Reopen { checkpoint, continued, keys, origin } => {
            Wish { checkpoint, continued, keys: keys.as_deref(), origin }.check(context, count)
        }
        Act::Revoke { key, since, .. } => {
            let state = context.view.get::<KeyState>(&Key::PublicKey(*key), Code::KeyUnknown)?;
            check_end(context, state, *since)
        }
        Act::Roles { principal, roles } => {
            let known = context.view.find::<PrincipalState>(&Key::Principal(principal.clone()))?;
            if known.is_none() {
                return Err(invalid("there is no such principal; enrol it"));
            }
            check_list(roles)?;
            check_assignment(context, principal, roles)
        }
    }
}

/// Whether a key can be ended now, and declared to have been somebody else's since a position.
pub(crate) fn check_end(context: &Context<'_>, key: &KeyState, since: Option<Integer>) -> Result<(), Halt> {
    let invalid = |detail: &str| Err(Refusal::with(Code::ActInvalid, detail).into());
    if key.until.is_some() || key.vetoed {
        return invalid("the key is revoked already, or its revocation waits");
    }
    if since.is_some_and(|since| since.0 > context.at.position) {
        return invalid("the position from which the key's records are to be reviewed is not in the log yet");
    }
    Ok(())
}

/// A list of roles that one principal can hold.
fn check_list(roles: &[Role]) -> Result<(), Halt> {
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::ActInvalid, detail));
    if !roles.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(invalid("list each role once, sorted"));
    }
    if roles.contains(&Role::Agency) && roles.len() > 1 {
        return Err(invalid("an agency holds no other role"));
    }
    Ok(())
}

/// Whether this principal can be given these roles now.
fn check_assignment(context: &Context<'_>, principal: &PrincipalId, roles: &[Role]) -> Result<(), Halt> {
    let is_custodian = context.charter.charter.custodians.iter().any(|c| c.principal == *principal);
    if roles.contains(&Role::Custodian) != is_custodian {
        return Err(Code::CustodiansFixed.into());
    }
    let known = context.view.find::<PrincipalState>(&Key::Principal(principal.clone()))?;
    if known.is_some_and(|state| state.is_pending(context.at.recorded_at)) {
        return Err(Code::ActPending.into());
    }
    Ok(())
}

/// The key that a possession carries: it proves that its holder has it, for this ledger and this principal.
fn new_key(context: &Context<'_>, envelope: &Envelope, principal: &PrincipalId) -> Result<PublicKey, Halt> {
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::PossessionInvalid, detail));
    if envelope.payload_type != KeyPossession::PAYLOAD_TYPE {
        return Err(invalid("it has another payload type"));
    }
    let possession = signing::canonical::decode::<KeyPossession>(&envelope.payload)
        .map_err(|error| invalid(&error.to_string()))?;
    if possession.ledger != context.charter.ledger {
        return Err(invalid("it names another ledger"));
    }
    if envelope.verify(&possession.key).is_err() {
        return Err(invalid("it is not signed by the key that it carries"));
    }
    if possession.principal != *principal {
        return Err(invalid("it names another principal"));
    }
    Ok(possession.key)
}

/// A key is enrolled once ever, and never one that the ledger has or had.
fn check_new(context: &Context<'_>, key: KeyId) -> Result<(), Halt> {
    if context.charter.ledgers_keys().any(|ours| ours.id() == key) {
        return Err(Code::KeyEnrolled.into());
    }
    context.view.must_be_absent(&Key::PublicKey(key), Code::KeyEnrolled)
}

/// What an act changes once it has its quorum.
fn bring_about(
    context: &Context<'_>,
    proposal: Digest,
    act: &Act,
    effective_at: Timestamp,
) -> Result<Effects, Halt> {
    let now = context.at.recorded_at;
    let effects = Effects::default();
    match act {
        Act::Enrol { expires, possessions, principal, roles, .. } => {
            let mut effects = effects;
            for (index, envelope) in act.new_keys().enumerate() {
                let key = Key::PublicKey(envelope.key_id);
                let state = KeyState {
                    principal: principal.clone(),
                    public: new_key(context, envelope, principal)?,
                    proposal: Some(proposal),
                    from: effective_at,
                    expires: *expires,
                    spare: (index >= possessions.len()).then_some(Spare::Waiting),
                    until: None,
                    vetoed: false,
                };
                effects = effects.set(key, state);
            }
            let key = Key::Principal(principal.clone());
            let known = context.view.find::<PrincipalState>(&key)?.cloned();
            let state = known.unwrap_or_else(|| Dated::new(vec![]));
            Ok(effects.set(key, state.then(now, Pending { value: roles.clone(), proposal, effective_at })))
        }
        Act::Policy { policy } => {
            let state = context.view.get::<PolicyState>(&Key::Policy, Code::LedgerNotFounded)?;
            let value = VersionedPolicy { version: state.at(now).version + 1, policy: policy.clone() };
            Ok(effects.set(Key::Policy, state.then(now, Pending { value, proposal, effective_at })))
        }
        Act::Reopen { checkpoint, continued, keys, origin } => {
            let wish = Wish { checkpoint, continued, keys: keys.as_deref(), origin };
            Ok(effects.set(Key::Charter, wish.bring_about(context, proposal)?))
        }
        Act::Revoke { key, since, .. } => {
            let mut state = context.view.get::<KeyState>(&Key::PublicKey(*key), Code::KeyUnknown)?.clone();
            let since = since.map(|since| since.0);
            state.until = Some(Ending { at: effective_at, by: proposal, since });
            Ok(effects.set(Key::PublicKey(*key), state))
        }
        Act::Roles { principal, roles } => {
            let key = Key::Principal(principal.clone());
            let state = context.view.get::<PrincipalState>(&key, Code::ActInvalid)?;
            Ok(effects.set(key, state.then(now, Pending { value: roles.clone(), proposal, effective_at })))
        }
    }
}

/// A custodian or auditor stops an act that has not taken effect.
pub(crate) fn veto(context: Context<'_>, body: &Veto) -> Result<Effects, Halt> {
    context.require(&[Role::Custodian, Role::Auditor])?;
    let now = context.at.recorded_at;
    let key = Key::Proposal(body.proposal);
    let mut proposal = context.view.get::<ProposalState>(&key, Code::ProposalUnknown)?.clone();
    let effects = match proposal.status {
        ProposalStatus::Open => Effects::default(),
        ProposalStatus::Decided { effective_at } if effective_at > now => {
            context.view.need(act_keys(&proposal.act))?;
            undo(&context, &proposal.act)?
        }
        ProposalStatus::Decided { .. } | ProposalStatus::Vetoed => return Err(Code::ProposalClosed.into()),
    };
    proposal.status = ProposalStatus::Vetoed;
    Ok(effects.set(key, proposal))
}

fn undo(context: &Context<'_>, act: &Act) -> Result<Effects, Halt> {
    let now = context.at.recorded_at;
    let mut effects = Effects::default();
    let view = context.view;
    match act {
        Act::Enrol { principal, .. } => {
            for envelope in act.new_keys() {
                let key = Key::PublicKey(envelope.key_id);
                let mut state = view.get::<KeyState>(&key, Code::KeyUnknown)?.clone();
                state.vetoed = true;
                effects = effects.set(key, state);
            }
            let key = Key::Principal(principal.clone());
            let state = view.get::<PrincipalState>(&key, Code::ActInvalid)?.settled(now);
            Ok(effects.set(key, state))
        }
        Act::Policy { .. } => {
            let state = view.get::<PolicyState>(&Key::Policy, Code::LedgerNotFounded)?.settled(now);
            Ok(effects.set(Key::Policy, state))
        }
        // It takes effect with its quorum, after which nothing is undone.
        Act::Reopen { .. } => Err(Code::ProposalClosed.into()),
        Act::Revoke { key, .. } => {
            let key = Key::PublicKey(*key);
            let mut state = view.get::<KeyState>(&key, Code::KeyUnknown)?.clone();
            state.until = None;
            Ok(effects.set(key, state))
        }
        Act::Roles { principal, .. } => {
            let key = Key::Principal(principal.clone());
            let state = view.get::<PrincipalState>(&key, Code::ActInvalid)?.settled(now);
            Ok(effects.set(key, state))
        }
    }
}
