//! A log that was restored without its last records, or is given new keys, goes on under a new origin:
//! `docs/decisions/0014-reopening.md`, `docs/decisions/0026-rekey.md`.
//!
//! No service runs meanwhile. The custodians' acts come as files and are appended as one group; then the whole log is
//! read again from its records, and only its head is signed, under the new origin and with the keys that the act names. The
//! keys of before are not needed. So no second head of one size is
//! ever signed under the old one. The old register is kept beside the new one. Each step can be repeated.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use ledger::time::Timestamp;
use programme::Key;
use programme::entity::{CharterState, Entity, HeadState, Stored as _};
use records::governance::{Act, LedgersKeys, Proposal};
use records::scalar::Token;
use records::{Basis, Body, Payload, Record, Verified};
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::keys::{KeyId, PublicKey, SecretKey};
use signing::token::{SignError, Signer};
use store::Databases;
use store::log::{self, SignedHead};
use store::register::{Register, RegisterState};
use store::storage;
use store::writer::{Lock, Opened};
use tokio::sync::{Notify, watch};
use translog::checkpoint::Checkpoint;

use super::{Attempt, Draft, Failed, Unit, group_time, not_built, take};
use crate::pipeline::clock::Confirmed;
use crate::pipeline::incoming::Prepared;
use crate::pipeline::writer::failed;
use crate::pipeline::{LedgerKeys, Mode, Outcome, Settings, Shared, Unavailable};
use crate::publisher;
use store::storage::Appender;

/// Why a log was not reopened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum ReopenError {
    #[error("the database failed: {0}")]
    Store(#[from] store::StoreError),
    #[error("{0}; the log above says more")]
    Unavailable(#[from] Unavailable),
    #[error("the acts are not a proposal to reopen the log and concurrences with it: {0}")]
    NotTheActs(String),
    #[error(
        "the proposal gives the ledger the keys {} for records and {} for checkpoints, and these are {record} and {checkpoint}: \
         name the directory and the token that they are in",
        .act.record_key.id(), .act.checkpoint_key.id()
    )]
    OtherKeys { act: Box<LedgersKeys>, record: KeyId, checkpoint: KeyId },
    #[error("the rules refuse {digest}: {refusal}")]
    Refused { digest: Digest, refusal: programme::Refusal },
    #[error(
        "the register knows the head of size {newest} that was signed, which is not of the log that is left, and the proposal cites \
         another, of size {cited}: the custodians have to cite the newest head that is known"
    )]
    NewerKnown { newest: u64, cited: u64 },
    #[error("the register is another ledger's")]
    OtherRegister,
    #[error(transparent)]
    Register(#[from] store::register::RegisterError),
    #[error("cannot keep the old register: {0}")]
    Io(#[from] io::Error),
    #[error("nothing was signed: {0}; reopen again, which is safe")]
    Key(#[from] SignError),
    #[error("the records do not make the head's root; restore again")]
    NotWhole,
}

/// What was signed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reopened {
    /// The first head under the new origin.
    pub head: SignedHead,
    /// The log that was continued.
    pub continued: Basis,
    /// The head that was cited.
    pub cited: Basis,
    /// Where the old register is kept, if there was one.
    pub old_register: Option<PathBuf>,
}

/// A log that is to be reopened.
pub struct Reopening {
    shared: Shared,
    register: PathBuf,
    acts: Vec<Verified>,
    cited: Basis,
    continued: Basis,
    keys: Option<LedgersKeys>,
}

impl Reopening {
    /// Reads the custodians' acts: the proposal and what a quorum needs of concurrences, in any order.
    pub async fn of(
        databases: Databases,
        (record, checkpoint): (SecretKey, Box<dyn Signer>),
        register: PathBuf,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        confirm_clock: Option<Timestamp>,
        acts: Vec<Envelope>,
    ) -> Result<Reopening, ReopenError> {
        let wrong = |reason: &str| ReopenError::NotTheActs(reason.to_owned());
        let mut records = Vec::with_capacity(acts.len());
        for envelope in acts {
            records.push(Record::parse(envelope).map_err(|error| wrong(&error.to_string()))?);
        }
        // The proposal first, each of the others after it.
        records.sort_by_key(|record| proposed(record).is_none());
        let first = records.first().and_then(|record| Some((record.digest(), proposed(record)?)));
        let (digest, asked) = first.ok_or_else(|| wrong("there is no such proposal"))?;
        let Asked { note, continued, keys, origin } = asked;
        if let Some(act) = &keys
            && (act.record_key != *record.public() || act.checkpoint_key != *checkpoint.public())
        {
            let (record, checkpoint) = (record.public().id(), checkpoint.public().id());
            return Err(ReopenError::OtherKeys { act: Box::new(act.clone()), record, checkpoint });
        }
        let concurs = |record: &Record| matches!(concurred(record), Some(proposal) if proposal == digest);
        if !records.iter().skip(1).all(concurs) {
            return Err(wrong("one of them is another record"));
        }
        let shared = Shared {
            storage: Arc::new(storage::Stored::new(databases.clone(), register.clone())),
            databases,
            keys: Arc::new(LedgerKeys { record, checkpoint, origin }),
            clock: Box::new(clock),
            settings: Settings { confirm_clock, ..Settings::default() },
            halted: watch::Sender::new(None),
            is_gone: watch::Sender::new(false),
            checkpoint: watch::Sender::new(None),
            grown: Notify::new(),
            publishes: watch::Sender::new(true),
            known_keys: RwLock::default(),
            verifying: tokio::sync::Semaphore::new(super::super::VERIFIED_AT_ONCE),
            metrics: crate::metrics::Metrics::new(),
        };
        let cited = charter(&shared).await?.read_note(&note).map_err(|error| wrong(&error.to_string()))?;
        let cited = Basis { root: cited.root, size: records::scalar::Integer(cited.size) };
        let enrolled = enrolled(&shared, &records).await?;
        let verify = |record: Record| {
            let key =
                enrolled.get(&record.envelope().key_id).ok_or_else(|| wrong("a key is not enrolled"))?;
            record.verify(key).map_err(|error| wrong(&error.to_string()))
        };
        let acts = records.into_iter().map(verify).collect::<Result<Vec<_>, _>>()?;
        Ok(Reopening { shared, register, acts, cited, continued, keys })
    }

    /// Appends the acts as one group, unless they are in the log already.
    pub async fn append(&self) -> Result<(), ReopenError> {
        let Reopening { shared, acts, .. } = self;
        let charter = charter(shared).await?;
        if self.is_appended(&charter) {
            return Ok(());
        }
        if let Some(held) = self.old_register(charter.ledger)?
            && !self.accounts_for(&held).await?
        {
            return Err(ReopenError::NewerKnown { newest: held.size, cited: self.cited.size.0 });
        }
        let connection = shared.databases.writer().await?;
        let confirmed = Confirmed::new(shared.settings.confirm_clock, shared.now());
        let attempt = Attempt::locked(shared, &connection, confirmed);
        let acts = acts.iter().map(|act| Prepared::of(act.clone(), shared.now())).collect::<Vec<_>>();
        let carried = self.keys.as_ref().map(|keys| keys.record_key.clone());
        match attempt.reopen(&connection, &acts, carried).await {
            Ok(()) => Ok(()),
            Err(NotReopened::Failed(failed)) => Err(failed.reason().into()),
            Err(NotReopened::Refused { digest, refusal }) => Err(ReopenError::Refused { digest, refusal }),
        }
    }

    /// Reads the log again, signs its head under the new origin and writes the register. Until this the database takes
    /// nothing from any service.
    pub async fn sign(&self) -> Result<Reopened, ReopenError> {
        let Reopening { shared, cited, continued, .. } = self;
        let charter = charter(shared).await?;
        if !self.is_appended(&charter) || !super::has_keys_of(&shared.keys, &charter) {
            tracing::error!("the acts are not in the log, or the keys are not the ledger's");
            return Err(Unavailable::Internal.into());
        }
        let session = shared.databases.follower().await?;
        let register = Register::open(&self.register)?;
        let read = publisher::read_again(&session, charter.ledger).await;
        let mut state = read.map_err(|trouble| trouble.reason())?.ok_or(ReopenError::NotWhole)?;
        let origin = shared.keys.origin.to_string();
        let head = Checkpoint { origin, size: state.size, root: state.root };
        let key = &shared.keys.checkpoint;
        let held = register.read();
        state.checkpoint = match &held {
            Ok(Some(held)) if head.is_signed_in(&held.checkpoint, key.public()) => held.checkpoint.clone(),
            _ => head.try_sign(key)?,
        };
        let head = SignedHead { size: state.size, note: state.checkpoint.clone() };
        let old_register = match held {
            Ok(None) => None,
            // This was done before, and cut short afterwards.
            Ok(Some(held)) if held.checkpoint == state.checkpoint => None,
            _ => Some(keep(&self.register, continued.size.0)?),
        };
        register.write(&state)?;
        session.store_checkpoint(&head).await?;
        log::unmark_forked(session.client()).await?;
        Ok(Reopened { head, continued: *continued, cited: *cited, old_register })
    }

    fn is_appended(&self, charter: &CharterState) -> bool {
        let last = charter.reopened.last().map(|reopening| reopening.proposal);
        last.is_some() && last == self.acts.first().map(|act| act.digest())
    }

    /// Whether a head that was signed is one of the log that is left, or not newer than the cited one.
    async fn accounts_for(&self, held: &RegisterState) -> Result<bool, ReopenError> {
        let (cited, left) = (&self.cited, &self.continued);
        if held.size < cited.size.0 || (held.size == cited.size.0 && held.root == cited.root) {
            return Ok(true);
        }
        if held.size >= left.size.0 {
            return Ok(held.size == left.size.0 && held.root == left.root);
        }
        let loaded = self.shared.storage.load(vec![Key::Head(held.size)]).await?;
        let head = loaded.into_iter().find_map(|(_, entity)| entity);
        Ok(head.as_ref().and_then(HeadState::of).is_some_and(|head| head.root == held.root))
    }

    fn old_register(&self, ledger: Digest) -> Result<Option<RegisterState>, ReopenError> {
        match store::register::read(&self.register) {
            Ok(Some(held)) if held.ledger != ledger => Err(ReopenError::OtherRegister),
            other => Ok(other?),
        }
    }
}

async fn charter(shared: &Shared) -> Result<CharterState, ReopenError> {
    let loaded = shared.storage.load(vec![Key::Charter]).await?;
    let charter = loaded.into_iter().find_map(|(_, entity)| entity);
    Ok(charter.as_ref().and_then(CharterState::of).cloned().ok_or(Unavailable::Internal)?)
}

/// Stores the tiles that a restored log lacks: it may have been restored to a moment at which they were still to come.
/// `false` where its records do not make its head's root.
pub async fn complete_tiles(databases: &Databases, ledger: Digest) -> Result<bool, ReopenError> {
    let session = databases.follower().await?;
    let read = publisher::read_again(&session, ledger).await.map_err(|trouble| trouble.reason())?;
    Ok(read.is_some())
}

/// What a proposal to reopen says.
struct Asked {
    note: String,
    continued: Basis,
    keys: Option<LedgersKeys>,
    origin: Token,
}

fn proposed(record: &Record) -> Option<Asked> {
    match record.payload() {
        Payload::Instruction(_, body) => match &**body {
            Body::Proposal(Proposal { act: Act::Reopen { checkpoint, continued, keys, origin } }) => {
                Some(Asked {
                    note: checkpoint.clone(),
                    continued: *continued,
                    keys: keys.as_deref().cloned(),
                    origin: origin.clone(),
                })
            }
            _ => None,
        },
        _ => None,
    }
}

/// With which proposal a record concurs.
fn concurred(record: &Record) -> Option<Digest> {
    match record.payload() {
        Payload::Instruction(_, body) => match &**body {
            Body::Concurrence(concurrence) => Some(concurrence.proposal),
            _ => None,
        },
        _ => None,
    }
}

async fn enrolled(shared: &Shared, records: &[Record]) -> Result<HashMap<KeyId, PublicKey>, ReopenError> {
    let keys: HashSet<Key> = records.iter().map(|record| Key::PublicKey(record.envelope().key_id)).collect();
    let loaded = shared.storage.load(keys.into_iter().collect()).await?;
    let known = loaded.into_iter().filter_map(|(_, entity)| match entity {
        Some(Entity::PublicKey(state)) => Some((state.public.id(), state.public)),
        _ => None,
    });
    Ok(known.collect())
}

/// Copies a register, as it is, to a name of its own beside it.
fn keep(register: &Path, size: u64) -> io::Result<PathBuf> {
    let mut name = register.as_os_str().to_owned();
    name.push(format!(".before-{size}"));
    let kept = PathBuf::from(name);
    fs::copy(register, &kept)?;
    File::open(&kept)?.sync_all()?;
    Ok(kept)
}

enum NotReopened {
    Failed(Failed),
    Refused { digest: Digest, refusal: programme::Refusal },
}

impl From<Failed> for NotReopened {
    fn from(failed: Failed) -> NotReopened {
        NotReopened::Failed(failed)
    }
}

impl Attempt<'_, '_> {
    /// Appends one group that begins with the acts, and carries a new key for records, if there is one. What ran out
    /// meanwhile lapses after them.
    async fn reopen(
        &self,
        connection: &dyn Appender,
        acts: &[Prepared],
        carried: Option<PublicKey>,
    ) -> Result<(), NotReopened> {
        let clock = self.shared.now();
        let keys = acts.iter().flat_map(|act| act.keys.iter().cloned());
        let keys: HashSet<Key> = keys.chain([Key::Charter, Key::Policy]).collect();
        let limit = self.shared.settings.lapse_limit;
        let opened = connection.begin(clock, limit, keys.into_iter().collect()).await.map_err(failed)?;
        let Opened { head, due, loaded } = opened;
        let mut state = programme::State::partial();
        take(&mut state, loaded);
        let charter = state.get::<CharterState>(&Key::Charter).map(|charter| charter.ledger);
        let policy = state.get::<programme::entity::PolicyState>(&Key::Policy);
        let (Some(ledger), Some(policy)) = (charter, policy) else {
            tracing::error!("there is no charter or no policy");
            return Err(Failed::Stop(Unavailable::Internal).into());
        };
        let policy = policy.at(head.recorded_at).policy.clone();
        let recorded_at =
            group_time(clock, head.recorded_at, &policy, self.confirmed).map_err(Failed::Stop)?;
        let due = self.all_overdue(due, recorded_at, &policy).await?;
        let lapses = self.lapses(&mut state, ledger, due).await?;
        let mut draft = Draft::new(&self.shared.keys, state, &head, recorded_at);
        draft.begin(ledger, self.epoch_token()?, carried).map_err(not_built)?;
        let units = [Unit { items: acts, mode: Mode::All }, Unit { items: &lapses, mode: Mode::Each }];
        for outcome in self.decide(&mut draft, &units).await?.into_iter().flatten() {
            if let Outcome::Refused { digest, refusal } = outcome {
                return Err(NotReopened::Refused { digest, refusal });
            }
        }
        // The origin changes with the quorum alone; with less the group would be signed under the old one.
        if !draft.is_of(&self.shared.keys) {
            let digest = acts.first().map_or(ledger, |act| act.record.digest());
            let detail = "they are fewer custodians than the quorum";
            let refusal = programme::Refusal::with(programme::Code::ActInvalid, detail);
            return Err(NotReopened::Refused { digest, refusal });
        }
        let (rows, after, _) = draft.finish().map_err(not_built)?;
        connection.commit(rows, (&head, &after), Lock::Held, false).await.map_err(|error| {
            tracing::error!(%error, "the group was not, or perhaps not, committed: reopen again, which is safe");
            NotReopened::Failed(Failed::Stop(Unavailable::Unknown))
        })
    }
}
