//! Decide, then apply: the frame that every record goes through.

use std::collections::HashMap;

use ledger::books::{Balance, BalanceKey, PostError, post};
use ledger::entry::{Entry, Line};
use ledger::id::{BenefitId, DisbursementId, EntryId};
use ledger::money::Money;
use ledger::time::{Date, Timestamp};
use records::governance::Role;
use records::journal::{Group, JournalEntry};
use records::{Body, Header, Payload, Verified};
use signing::digest::Digest;

use crate::entity::{
    CharterState, Entity, HeadState, InstructionState, KeyState, PolicyState, PrincipalState, Stored,
    VersionedPolicy,
};
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::{Halt, State, View};
use crate::{
    INSTRUCTION_LIFE_MAX_S, activation, approvals, assets, cases, disbursements, governance, reports,
};

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The record's position.
    pub position: u64,
    /// The time of its group.
    pub recorded_at: Timestamp,
}

/// What a record causes: at most one entry, and the entities that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    entry: Option<JournalEntry>,
    changes: Vec<(Key, Option<Entity>)>,
}

impl Decision {
    /// The entry, unsigned, which the ledger signs and appends right after the record.
    pub fn entry(&self) -> Option<&JournalEntry> {
        self.entry.as_ref()
    }

    /// The entities that change, balances among them; `None` ends one.
    pub fn changes(&self) -> &[(Key, Option<Entity>)] {
        &self.changes
    }
}

/// What the guards of one kind came to, before the frame makes an entry of it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub draft: Option<Draft>,
    pub changes: Vec<(Key, Option<Entity>)>,
}

impl Effects {
    /// Sets an entity.
    pub fn set(mut self, key: Key, value: impl Stored) -> Effects {
        self.changes.push((key, Some(value.into_entity())));
        self
    }

    /// Ends an entity.
    pub fn end(mut self, key: Key) -> Effects {
        self.changes.push((key, None));
        self
    }

    /// Posts lines.
    pub fn post(mut self, draft: Draft) -> Effects {
        self.draft = Some(draft);
        self
    }
}

/// An entry before it has its id.
#[derive(Debug)]
pub(crate) struct Draft {
    pub lines: Vec<Line>,
    pub effective: Date,
    /// Digests that authorise it, besides the record that causes it.
    pub authority: Vec<Digest>,
    pub about: Option<About>,
    pub reverses: Option<EntryId>,
}

/// The disbursement that an entry is about.
#[derive(Debug)]
pub(crate) struct About {
    pub benefit: BenefitId,
    pub case_commitment: Digest,
    pub disbursement: DisbursementId,
}

/// What the guards of an instruction's kind may rely on: the frame has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub view: View<'a>,
    pub at: At,
    pub digest: Digest,
    pub header: &'a Header,
    pub key: &'a KeyState,
    pub charter: &'a CharterState,
    pub policy: &'a VersionedPolicy,
    pub roles: &'a [Role],
}

impl Context<'_> {
    /// Refuses a signer who holds none of the roles.
    pub fn require(&self, any: &[Role]) -> Result<(), Halt> {
        if any.iter().any(|role| self.roles.contains(role)) {
            return Ok(());
        }
        let names: Vec<&str> = any.iter().map(|role| role.name()).collect();
        Err(Refusal::with(Code::RoleMissing, format!("it takes the role {}", names.join(" or "))).into())
    }

    /// The day of the group, for entries that a wish causes.
    pub fn today(&self) -> Date {
        self.at.recorded_at.date()
    }

    /// The digest of the next entry's id.
    pub fn entry_id(&self) -> EntryId {
        entry_id(self.digest)
    }
}

fn entry_id(digest: Digest) -> EntryId {
    EntryId { digest: *digest.as_bytes(), index: 0 }
}

/// The keys of the balances that lines touch.
pub(crate) fn balance_keys(lines: &[Line]) -> impl Iterator<Item = Key> {
    lines.iter().map(|line| Key::from(balance_key(line)))
}

fn balance_key(line: &Line) -> BalanceKey {
    BalanceKey { account: line.account.clone(), fund: line.fund.clone(), currency: line.money.currency() }
}

/// Applies a group's first record: from now on its basis is known.
pub fn begin_group(state: &mut State, group: &Group) {
    let record_key = group.record_key.clone();
    let head = HeadState { root: group.root, recorded_at: group.recorded_at, record_key };
    state.set(Key::Head(group.first.0), Some(head.into_entity()));
}

/// What a record causes at its place in the log, or why it is refused, or which entities a partial state lacks.
///
/// Groups, entries and pads are not decided: [`begin_group`] takes a group's record, an entry is what a decision says, and a
/// pad what [`padding`](crate::publication::padding) says.
pub fn decide(state: &State, at: At, record: &Verified) -> Result<Decision, Halt> {
    let view = View(state);
    let (ledger, effects) = match record.payload() {
        Payload::Founding(founding) => {
            (record.digest(), governance::found(view, at, record.digest(), founding)?)
        }
        Payload::Instruction(header, body) => {
            if !view.is_complete() {
                view.need(frame_keys(header).into_iter().chain(first_keys(body)))?;
            }
            let context = frame(view, at, record.digest(), header, body)?;
            let known = InstructionState {
                digest: record.digest(),
                position: at.position,
                not_after: header.not_after,
            };
            let key = Key::Instruction(header.signer.clone(), header.id);
            (header.ledger, dispatch(context, body)?.set(key, known))
        }
        Payload::Lapse(lapse) => (lapse.ledger, disbursements::lapse(view, at, lapse)?),
        Payload::Group(_) | Payload::JournalEntry(_) | Payload::Pad(_) => {
            let detail = "the ledger alone writes groups, entries and pads";
            return Err(Refusal::with(Code::RoleMissing, detail).into());
        }
    };
    finish(view, ledger, record.digest(), effects)
}

fn frame_keys(header: &Header) -> [Key; 6] {
    [
        Key::Charter,
        Key::Policy,
        Key::Principal(header.signer.clone()),
        Key::PublicKey(header.key),
        Key::Instruction(header.signer.clone(), header.id),
        Key::Head(header.basis.size.0),
    ]
}

/// The guards that every instruction passes, in order of precedence.
fn frame<'a>(
    view: View<'a>,
    at: At,
    digest: Digest,
    header: &'a Header,
    body: &Body,
) -> Result<Context<'a>, Halt> {
    let now = at.recorded_at;
    let charter = view.get::<CharterState>(&Key::Charter, Code::LedgerNotFounded)?;
    let policy = view.get::<PolicyState>(&Key::Policy, Code::LedgerNotFounded)?.at(now);
    if header.ledger != charter.ledger {
        return Err(Code::WrongLedger.into());
    }
    let key = view.get::<KeyState>(&Key::PublicKey(header.key), Code::KeyUnknown)?;
    if key.principal != header.signer {
        return Err(Code::KeyNotSigners.into());
    }
    if let Some(known) = view.find::<InstructionState>(&Key::Instruction(header.signer.clone(), header.id))?
        && known.not_after >= now
    {
        if known.digest == digest {
            return Err(Halt::Known { position: known.position });
        }
        let detail = format!("the other one has the digest {} at position {}", known.digest, known.position);
        return Err(Refusal::with(Code::InstructionIdReused, detail).into());
    }
    match key.check(now) {
        Err(refusal) if refusal.code == Code::KeySpare && matches!(body, Body::Activation(_)) => {}
        checked => checked?,
    }
    match header.not_after.since(header.issued_at) {
        Some(life_s) if life_s <= INSTRUCTION_LIFE_MAX_S => {}
        _ => return Err(Code::NotAfterInvalid.into()),
    }
    if header.not_after < now {
        return Err(Refusal::with(Code::Expired, format!("the ledger's time is {now}")).into());
    }
    if header.issued_at.since(now).is_some_and(|ahead_s| ahead_s > policy.policy.skew_s.0) {
        return Err(Refusal::with(Code::IssuedInFuture, format!("the ledger's time is {now}")).into());
    }
    let head = view.get::<HeadState>(&Key::Head(header.basis.size.0), Code::BasisUnknown)?;
    if head.root != header.basis.root {
        return Err(Code::BasisUnknown.into());
    }
    if now.since(head.recorded_at).is_some_and(|age_s| age_s > policy.policy.basis_age_s.0) {
        return Err(Code::BasisTooOld.into());
    }
    let is_acceptance = matches!(body, Body::Acceptance(_));
    if !charter.is_complete() && !is_acceptance {
        return Err(Code::FoundingIncomplete.into());
    }
    let roles = view
        .find::<PrincipalState>(&Key::Principal(header.signer.clone()))?
        .map_or(&[][..], |roles| roles.at(now).as_slice());
    Ok(Context { view, at, digest, header, key, charter, policy, roles })
}

/// The keys that a kind's guards are known to ask for, so that a partial state is completed in one round.
fn first_keys(body: &Body) -> Vec<Key> {
    match body {
        Body::Acceptance(_) => vec![],
        Body::Activation(body) => activation::first_keys(body),
        Body::Proposal(_) | Body::Concurrence(_) | Body::Veto(_) => governance::first_keys(body),
        Body::Offer(_) | Body::CaseOpening(_) | Body::Screening(_) => cases::first_keys(body),
        Body::AssetRegistration(_) | Body::FundOpening(_) | Body::BankOpening(_) => assets::first_keys(body),
        Body::Countersignature(_) | Body::Reversal(_) => reports::first_keys(body),
        Body::Restraint(_)
        | Body::Custody(_)
        | Body::CustodyInterest(_)
        | Body::Forfeiture(_)
        | Body::ClaimPayment(_)
        | Body::WindfallIncome(_)
        | Body::BankFee(_) => assets::first_keys(body),
        Body::Request(_)
        | Body::Approval(_)
        | Body::Rejection(_)
        | Body::Cancellation(_)
        | Body::Delivery(_)
        | Body::Release(_)
        | Body::BankConfirmation(_)
        | Body::BankRejection(_)
        | Body::BankReturn(_) => disbursements::first_keys(body),
    }
}

fn dispatch(context: Context<'_>, body: &Body) -> Result<Effects, Halt> {
    match body {
        Body::Acceptance(_) => governance::accept(context),
        Body::Activation(body) => activation::activate(context, body),
        Body::Proposal(body) => governance::propose(context, body),
        Body::Concurrence(body) => governance::concur(context, body),
        Body::Veto(body) => governance::veto(context, body),
        Body::AssetRegistration(body) => assets::register(context, body),
        Body::FundOpening(body) => assets::open_fund(context, body),
        Body::BankOpening(body) => assets::open_bank(context, body),
        Body::Offer(body) => cases::publish(context, body),
        Body::CaseOpening(body) => cases::open(context, body),
        Body::Screening(body) => cases::screen(context, body),
        Body::Request(body) => disbursements::request(context, body),
        Body::Approval(body) => approvals::approve(context, body),
        Body::Rejection(body) => disbursements::reject(context, body),
        Body::Cancellation(body) => disbursements::cancel(context, body),
        Body::Delivery(body) => disbursements::deliver(context, body),
        Body::Release(body) => disbursements::release(context, body),
        Body::Restraint(_)
        | Body::Custody(_)
        | Body::CustodyInterest(_)
        | Body::Forfeiture(_)
        | Body::ClaimPayment(_)
        | Body::WindfallIncome(_)
        | Body::BankFee(_)
        | Body::BankConfirmation(_)
        | Body::BankRejection(_)
        | Body::BankReturn(_) => reports::report(context, body),
        Body::Countersignature(body) => reports::countersign(context, body),
        Body::Reversal(body) => reports::reverse(context, body),
    }
}

/// Makes the entry and checks every limit that it touches.
fn finish(view: View<'_>, ledger: Digest, digest: Digest, effects: Effects) -> Result<Decision, Halt> {
    let Effects { draft, mut changes } = effects;
    let Some(draft) = draft else {
        return Ok(Decision { entry: None, changes });
    };
    let Draft { lines, effective, mut authority, about, reverses } = draft;
    authority.push(digest);
    view.need(balance_keys(&lines))?;
    let mut before: HashMap<BalanceKey, Balance> = HashMap::new();
    for line in &lines {
        let key = balance_key(line);
        before.insert(key.clone(), view.balance(&key)?);
    }
    let entry = Entry { id: entry_id(digest), effective, lines, reverses };
    let after = post(&entry, |key| {
        let zero = Money::zero(key.currency);
        before.get(key).cloned().unwrap_or(Balance { amount: zero, held: zero })
    })
    .map_err(refusal_of_post)?;
    changes.extend(after.into_iter().map(|(key, balance)| (Key::from(key), Some(balance.into_entity()))));
    let Entry { id, effective, lines, reverses } = entry;
    let (benefit, case_commitment, disbursement) = match about {
        Some(about) => (Some(about.benefit), Some(about.case_commitment), Some(about.disbursement)),
        None => (None, None, None),
    };
    let entry = JournalEntry {
        authority,
        benefit,
        case_commitment,
        disbursement,
        effective,
        id,
        ledger,
        lines,
        reverses,
    };
    Ok(Decision { entry: Some(entry), changes })
}

fn refusal_of_post(error: PostError) -> Refusal {
    match error {
        PostError::LimitBroken { key, free, needed } => Refusal::with(
            Code::InsufficientFunds,
            format!(
                "{} of fund {} has {} free, and {} is needed",
                key.account.name(),
                key.fund,
                free.grouped(),
                needed.grouped()
            ),
        ),
        PostError::Overflow => Code::AmountTooLarge.into(),
        // The lines come from the journal's own rows, and holds from the disbursement's own state; that they fit is
        // proved by their tests.
        error => Refusal::with(Code::AmountsDoNotAddUp, error.to_string()),
    }
}

/// Takes a decision into the state. It cannot fail, and it is the only way in which the state changes.
pub fn apply(state: &mut State, decision: &Decision) {
    for (key, entity) in &decision.changes {
        state.set(key.clone(), entity.clone());
    }
}

/// The same for whoever needs no more of the decision than its entry.
pub(crate) fn apply_owned(state: &mut State, decision: Decision) -> Option<JournalEntry> {
    for (key, entity) in decision.changes {
        state.set(key, entity);
    }
    decision.entry
}
