//! Envelopes as they arrive: parsed and verified on all cores, before the writer sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::time::Timestamp;
use programme::entity::Entity;
use programme::{At, Code, Halt, Key, Refusal, State, decide};
use records::governance::{Act, Proposal};
use records::{Body, Payload, Record, RecordError, Verified};
use signing::digest::Digest;
use signing::dsse::{Envelope, EnvelopeError, VerifyError};
use signing::keys::KeyId;

use super::{Checked, Outcome, Shared, Unavailable};
use crate::known;

/// Up to this many envelopes are not worth the way to another thread.
const INLINE: usize = 4;

/// A verified record, and what can be computed without the state.
#[derive(Debug)]
pub(super) struct Prepared {
    pub record: Verified,
    /// The hash of its leaf.
    pub leaf: Digest,
    /// The keys that its guards are known to ask for.
    pub keys: Vec<Key>,
}

impl Prepared {
    /// `now` is only there because a decision needs a time: the keys that are asked for first do not depend on it.
    pub(super) fn of(record: Verified, now: Timestamp) -> Prepared {
        let leaf = record.leaf_hash();
        // A state that knows nothing answers which keys come first.
        let keys = match decide(&State::partial(), At { position: 0, recorded_at: now }, &record) {
            Err(Halt::Missing(keys)) => keys,
            _ => Vec::new(),
        };
        Prepared { record, leaf, keys }
    }
}

/// One envelope of a submission.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A verified record.
    Ready(Box<Prepared>),
    /// It never reaches the rules.
    Settled(Settled),
}

impl Incoming {
    pub(super) fn ready(&self) -> Option<&Prepared> {
        match self {
            Incoming::Ready(item) => Some(item),
            Incoming::Settled(_) => None,
        }
    }
}

/// What is settled without the state.
#[derive(Debug, Clone)]
pub(super) enum Settled {
    Malformed(RecordError),
    Refused { digest: Digest, refusal: Refusal },
    BadSignature { digest: Digest },
}

impl From<Settled> for Outcome {
    fn from(settled: Settled) -> Outcome {
        match settled {
            Settled::Malformed(error) => Outcome::Malformed(error),
            Settled::Refused { digest, refusal } => Outcome::Refused { digest, refusal },
            Settled::BadSignature { digest } => Outcome::BadSignature { digest },
        }
    }
}

impl From<Settled> for Checked {
    fn from(settled: Settled) -> Checked {
        match settled {
            Settled::Malformed(error) => Checked::Malformed(error),
            Settled::Refused { digest, refusal } => Checked::Refused { digest, refusal },
            Settled::BadSignature { digest } => Checked::BadSignature { digest },
        }
    }
}

enum Step {
    Done(Incoming),
    /// Not verified yet; after [`verify`], since this process does not know its key.
    Unverified(Box<Record>),
}

/// Parses and verifies.
pub(super) async fn prepare(
    shared: &Arc<Shared>,
    envelopes: Vec<Result<Envelope, EnvelopeError>>,
) -> Result<Vec<Incoming>, Unavailable> {
    let is_alone = envelopes.len() == 1;
    // A few do not wait behind lists. Closed never, so this fails never.
    let _turn = if envelopes.len() > INLINE { shared.verifying.acquire().await.ok() } else { None };
    let known = Arc::clone(shared);
    let parse = move |part: Vec<_>| {
        let parsed = part.into_iter().map(|envelope| parse(&known, envelope, is_alone));
        verify(&known, parsed.collect())
    };
    let mut steps = on_all_cores(envelopes, parse).await?;
    let needed: BTreeSet<KeyId> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Unverified(record) => Some(record.envelope().key_id),
            Step::Done(_) => None,
        })
        .collect();
    let mut ledger = None;
    if !needed.is_empty() {
        ledger = load_keys(shared, needed).await?;
        let known = Arc::clone(shared);
        steps = on_all_cores(steps, move |part| verify(&known, part)).await?;
    }
    let finish = |step| match step {
        Step::Done(incoming) => incoming,
        Step::Unverified(record) => refuse(&record, ledger),
    };
    Ok(steps.into_iter().map(finish).collect())
}

fn parse(shared: &Shared, envelope: Result<Envelope, EnvelopeError>, is_alone: bool) -> Step {
    let parsed = envelope.map_err(RecordError::from).and_then(Record::parse);
    let record = match parsed {
        Ok(record) => record,
        Err(error) => return Step::Done(Incoming::Settled(Settled::Malformed(error))),
    };
    let refused = |code, detail: &str| {
        let refusal = Refusal::with(code, detail);
        Step::Done(Incoming::Settled(Settled::Refused { digest: record.digest(), refusal }))
    };
    match record.payload() {
        Payload::Founding(_) if !is_alone => refused(Code::FoundingInvalid, "send the founding record alone"),
        // It brings its own key.
        Payload::Founding(founding) => {
            let custodians = &founding.body.custodians;
            let key = custodians.iter().map(|custodian| &custodian.key).find(|key| key.id() == founding.key);
            let Some(key) = key.cloned() else {
                return refused(Code::FoundingInvalid, "no custodian has the key that signed");
            };
            Step::Done(verified(shared, record.digest(), record.verify(&key)))
        }
        _ if record.kind().signed_by_ledger() => {
            refused(Code::RoleMissing, "the ledger alone writes groups, entries, lapses and pads")
        }
        // What is signed at the sizes that follow would be signed under the origin of before.
        Payload::Instruction(_, body) if is_reopening(body) => {
            refused(Code::ActInvalid, "the operator reopens a log, with the service stopped")
        }
        _ => Step::Unverified(Box::new(record)),
    }
}

fn is_reopening(body: &Body) -> bool {
    matches!(body, Body::Proposal(Proposal { act: Act::Reopen { .. } }))
}

/// Verifies what is signed by keys that this process knows, together.
fn verify(shared: &Shared, steps: Vec<Step>) -> Vec<Step> {
    let (mut places, mut claims) = (Vec::new(), Vec::new());
    let mut verified_steps: Vec<Option<Step>> = Vec::with_capacity(steps.len());
    for step in steps {
        let known = match &step {
            Step::Unverified(record) => shared.known_key(&record.envelope().key_id),
            Step::Done(_) => None,
        };
        match (step, known) {
            (Step::Unverified(record), Some(key)) => {
                places.push((verified_steps.len(), record.digest()));
                claims.push((*record, key));
                verified_steps.push(None);
            }
            (step, _) => verified_steps.push(Some(step)),
        }
    }
    for ((place, digest), verdict) in places.into_iter().zip(known::verify_all(claims)) {
        verified_steps[place] = Some(Step::Done(verified(shared, digest, verdict)));
    }
    verified_steps.into_iter().flatten().collect()
}

fn verified(shared: &Shared, digest: Digest, verdict: Result<Verified, VerifyError>) -> Incoming {
    match verdict {
        Ok(record) => Incoming::Ready(Box::new(Prepared::of(record, shared.now()))),
        Err(_) => Incoming::Settled(Settled::BadSignature { digest }),
    }
}

/// Without the key, a signature cannot be checked: the rules' refusals that come no later than `key_unknown`.
fn refuse(record: &Record, ledger: Option<Digest>) -> Incoming {
    let code = match (ledger, record.payload()) {
        (None, _) => Code::LedgerNotFounded,
        (Some(ledger), Payload::Instruction(header, _)) if header.ledger != ledger => Code::WrongLedger,
        _ => Code::KeyUnknown,
    };
    Incoming::Settled(Settled::Refused { digest: record.digest(), refusal: code.into() })
}

/// Learns the enrolled ones of these keys, and which ledger this is.
async fn load_keys(shared: &Shared, ids: BTreeSet<KeyId>) -> Result<Option<Digest>, Unavailable> {
    let keys = ids.into_iter().map(Key::PublicKey).chain([Key::Charter]).collect();
    let mut ledger = None;
    for (_, entity) in shared.storage.load(keys).await.map_err(Unavailable::of_read)? {
        match entity {
            Some(Entity::PublicKey(state)) => {
                shared.remember_key(&state);
            }
            Some(Entity::Charter(charter)) => ledger = Some(charter.ledger),
            _ => {}
        }
    }
    Ok(ledger)
}

/// Maps a list, in order, a part of it on each core.
async fn on_all_cores<T, R>(
    items: Vec<T>,
    map: impl Fn(Vec<T>) -> Vec<R> + Send + Sync + 'static,
) -> Result<Vec<R>, Unavailable>
where
    T: Send + 'static,
    R: Send + 'static,
{
    if items.len() <= INLINE {
        return Ok(map(items));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let part = items.len().div_ceil(cores);
    let map = Arc::new(map);
    let mut rest = items.into_iter();
    let mut tasks = Vec::with_capacity(cores);
    loop {
        let chunk: Vec<T> = rest.by_ref().take(part).collect();
        if chunk.is_empty() {
            break;
        }
        let map = Arc::clone(&map);
        tasks.push(tokio::task::spawn_blocking(move || map(chunk)));
    }
    let mut mapped = Vec::new();
    for task in tasks {
        mapped.extend(task.await.map_err(|error| {
            tracing::error!(%error, "envelopes could not be verified");
            Unavailable::Internal
        })?);
    }
    Ok(mapped)
}
