//! Cosignatures: the process that publishes asks the policy's witnesses for them (C2SP tlog-witness).
//!
//! Nothing waits for it: a checkpoint is stored and answered before any witness hears of it. All witnesses are asked to cosign
//! one checkpoint, the target, each by a task of its own. As soon as there are as many cosignatures as policy demands, the
//! note is stored with them, and the target moves on to the latest checkpoint; what a slower witness answers later is still
//! added to the note that it was asked about. Until then the target stays, since cosignatures of different checkpoints do
//! not add up. A witness that is away or refuses is reported, in the log and in the metrics, and asked again.
//!
//! What carries the requests is given by whoever starts this, so that no client of HTTP is known here. Each request has a
//! thread of its own: one that hangs takes nothing away from the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use programme::Key;
use programme::entity::PolicyState;
use records::witnessing::{Witness, Witnessing};
use store::log::SignedHead;
use store::pool::Databases;
use store::queries::lists;
use store::{StoreError, hashes, log};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use translog::cosignature::with_answer;
use translog::witness::AddCheckpoint;

use crate::pipeline::Pipeline;

/// The least time from one target to the next.
const ROUND: Duration = Duration::from_secs(1);
/// Who did not cosign is asked again after this, and policy is looked at again.
const AGAIN: Duration = Duration::from_secs(15);
/// A target that has not got enough cosignatures is given up after this, for a later one.
const LONGEST: Duration = Duration::from_secs(600);
/// The same of one that a witness has passed, which cosigns it no more. The others may do without that one, so they have their time:
/// whoever keeps one witness ahead must not keep the rest from agreeing on a head.
const PASSED: Duration = Duration::from_secs(30);
/// Of how many targets the notes are remembered, for what slow witnesses answer.
const NOTES_MAX: usize = 16;

/// What a witness answered: the status and the body.
pub type Answered = (u16, String);
/// Posts a text to a URL. It may block, for a bounded time.
pub type Post = Arc<dyn Fn(&str, String) -> Result<Answered, String> + Send + Sync>;

/// The task.
pub struct Witnesses {
    pipeline: Pipeline,
    databases: Databases,
    /// The submission prefixes (C2SP tlog-witness), by the witness's name.
    addresses: BTreeMap<String, String>,
    post: Post,
}

/// What a witness said about a checkpoint.
struct Said {
    witness: Witness,
    head: SignedHead,
    answer: Result<String, NotCosigned>,
}

/// What an answer came to.
enum Took {
    /// The checkpoint has as many cosignatures as are demanded now.
    Enough,
    /// Not yet.
    TooFew,
    /// This witness will not cosign it any more.
    Passed,
}

/// Why there is no cosignature.
enum NotCosigned {
    /// The witness has cosigned a later head, of so many records: there will be none of this one.
    Passed(u64),
    /// Whatever else; it is asked again.
    Trouble(String),
}

impl From<String> for NotCosigned {
    fn from(reason: String) -> NotCosigned {
        NotCosigned::Trouble(reason)
    }
}

impl Witnesses {
    /// The witnesses whose addresses are known, by their names in the policy.
    pub fn new(
        pipeline: Pipeline,
        databases: Databases,
        addresses: BTreeMap<String, String>,
        post: Post,
    ) -> Witnesses {
        Witnesses { pipeline, databases, addresses, post }
    }

    /// Asks for ever.
    pub async fn run(self) {
        loop {
            let found = match self.pipeline.is_publisher() {
                true => self.witnessing().await,
                false => Ok(None),
            };
            match found {
                Ok(Some(witnessing)) => self.gather(&witnessing).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "no witness was asked"),
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// What policy demands now.
    async fn witnessing(&self) -> Result<Option<Witnessing>, StoreError> {
        let client = self.databases.read().await?;
        let policy = lists::entity::<PolicyState>(&client, &Key::Policy).await?;
        let now = self.pipeline.now();
        Ok(policy.and_then(|policy| policy.at(now).policy.witnessing.clone()))
    }

    /// Gathers cosignatures of these witnesses, until policy names others or this process publishes no more.
    async fn gather(&self, witnessing: &Witnessing) {
        let (target, targets) = watch::channel(None::<SignedHead>);
        let (say, mut said) = mpsc::channel(witnessing.witnesses.len().max(1));
        // They end with this.
        let mut asking = JoinSet::new();
        for witness in &witnessing.witnesses {
            let ask = Ask {
                databases: self.databases.clone(),
                url: self.addresses.get(witness.name.as_str()).map(|url| format!("{url}/add-checkpoint")),
                post: Arc::clone(&self.post),
                witness: witness.clone(),
            };
            asking.spawn(ask.run(targets.clone(), say.clone()));
        }
        let mut gathered = Gathered::default();
        let (mut size, mut since, mut is_done, mut longest) = (0, Instant::now(), true, LONGEST);
        let mut again = tokio::time::interval_at(Instant::now() + AGAIN, AGAIN);
        loop {
            let newer = async {
                if !is_done {
                    tokio::time::sleep_until(since + longest).await;
                }
                tokio::time::sleep_until(since + ROUND).await;
                self.pipeline.newer_checkpoint(size).await
            };
            tokio::select! {
                said = said.recv() => {
                    let Some(said) = said else { return };
                    let is_target = said.head.size == size;
                    match self.take(&mut gathered, witnessing, said).await {
                        Took::Enough if is_target => is_done = true,
                        Took::Passed if is_target => longest = PASSED,
                        _ => {}
                    }
                }
                newer = newer => {
                    let Some(head) = newer else { return };
                    (size, since, is_done, longest) = (head.size, Instant::now(), false, LONGEST);
                    target.send_replace(Some(head));
                }
                _ = again.tick() => {
                    let is_same = match self.witnessing().await {
                        Ok(now) => now.as_ref() == Some(witnessing),
                        Err(_) => true,
                    };
                    if !is_same || !self.pipeline.is_publisher() {
                        return;
                    }
                    // Who has cosigned it does not ask again.
                    target.send_modify(|_| {});
                }
            }
        }
    }

    /// Takes what a witness said.
    async fn take(&self, gathered: &mut Gathered, witnessing: &Witnessing, said: Said) -> Took {
        let Said { witness, head, answer } = said;
        let name = witness.name.as_str();
        let note = gathered.note(&head);
        let cosigned = answer.and_then(|lines| {
            with_answer(note, &lines, name, &witness.key).map_err(|error| error.to_string().into())
        });
        match cosigned {
            Ok(cosigned) => *note = cosigned,
            Err(NotCosigned::Passed(size)) => {
                tracing::info!(witness = name, size, "the witness has cosigned a later head");
                return Took::Passed;
            }
            Err(NotCosigned::Trouble(reason)) => {
                if gathered.trouble.get(name) != Some(&reason) {
                    tracing::warn!(witness = name, reason, "a witness did not cosign");
                    gathered.trouble.insert(name.to_owned(), reason);
                }
                return Took::TooFew;
            }
        }
        if gathered.trouble.remove(name).is_some() {
            tracing::info!(witness = name, "the witness cosigns again");
        }
        self.pipeline.metrics().cosigned_by(name, head.size);
        let note = gathered.note(&head);
        if !witnessing.cosigned_by(note).is_ok_and(|by| witnessing.suffices(&by)) {
            return Took::TooFew;
        }
        let stored = async { log::store_cosigned(&*self.databases.service().await?, head.size, note).await };
        match stored.await {
            Ok(()) => {
                self.pipeline.metrics().cosigned(head.size);
                Took::Enough
            }
            Err(error) => {
                tracing::warn!(%error, "a cosigned checkpoint was not stored");
                Took::TooFew
            }
        }
    }
}

/// What came in.
#[derive(Default)]
struct Gathered {
    /// Notes with their cosignatures so far, by size.
    notes: BTreeMap<u64, String>,
    /// Why a witness did not cosign, the last time.
    trouble: BTreeMap<String, String>,
}

impl Gathered {
    fn note(&mut self, head: &SignedHead) -> &mut String {
        while self.notes.len() > NOTES_MAX {
            self.notes.pop_first();
        }
        let note = self.notes.entry(head.size).or_insert_with(|| head.note.clone());
        // Another database took over, which has something else at this size.
        if !note.starts_with(&head.note) {
            note.clone_from(&head.note);
        }
        note
    }
}

/// What asks one witness.
struct Ask {
    databases: Databases,
    /// Where it answers, if that is known.
    url: Option<String>,
    post: Post,
    witness: Witness,
}

impl Ask {
    /// Asks for each target, and again for the same one as long as it is not cosigned.
    async fn run(self, mut targets: watch::Receiver<Option<SignedHead>>, say: mpsc::Sender<Said>) {
        let (mut old, mut cosigned) = (0, None);
        while targets.changed().await.is_ok() {
            let Some(head) = targets.borrow_and_update().clone() else { continue };
            if cosigned.as_ref() == Some(&head.note) {
                continue;
            }
            let answer = self.ask(&head, old).await;
            if answer.is_ok() {
                old = head.size;
                cosigned = Some(head.note.clone());
            }
            if say.send(Said { witness: self.witness.clone(), head, answer }).await.is_err() {
                return;
            }
        }
    }

    /// The signature lines by which the witness cosigned. It cosigned a checkpoint of size `old` last, as far as is known; if it
    /// says otherwise it is asked once more.
    async fn ask(&self, head: &SignedHead, old: u64) -> Result<String, NotCosigned> {
        let (size, mut old) = (head.size, old.min(head.size));
        let mut answered = self.add_checkpoint(head, old).await?;
        if let (409, Some(says)) = (answered.0, cosigned_size(&answered.1))
            && says <= size
            && says != old
        {
            old = says;
            answered = self.add_checkpoint(head, old).await?;
        }
        match (answered.0, cosigned_size(&answered.1)) {
            // Whatever else answers with 200 has not cosigned.
            (200, _) => {
                match with_answer(&head.note, &answered.1, self.witness.name.as_str(), &self.witness.key) {
                    Ok(_) => Ok(answered.1),
                    Err(error) => Err(error.to_string().into()),
                }
            }
            (409, Some(says)) if says > size => Err(NotCosigned::Passed(says)),
            // It was asked with this size, and the proof from there.
            (409, Some(says)) if says == old => {
                Err(format!("it has cosigned another root of size {says}").into())
            }
            (status, _) => Err(refused(status, &answered.1).into()),
        }
    }

    async fn add_checkpoint(&self, head: &SignedHead, old: u64) -> Result<Answered, String> {
        let url = self.url.clone().ok_or("its address is not known: serve --witness NAME=URL")?;
        let proof = match old {
            0 => vec![],
            old => {
                let client = self.databases.read().await.map_err(|error| error.to_string())?;
                let proof = hashes::consistency_proof(&client, old, head.size).await;
                proof.map_err(|error| error.to_string())?
            }
        };
        let body = AddCheckpoint { old, proof, note: head.note.clone() }.encode();
        let (answer, answered) = oneshot::channel();
        let post = Arc::clone(&self.post);
        // Whoever asked may be gone when it is answered.
        let asking = move || drop(answer.send(post(&url, body)));
        std::thread::Builder::new().spawn(asking).map_err(|error| error.to_string())?;
        answered.await.map_err(|_| "the request failed".to_owned())?
    }
}

/// The size that a witness says it cosigned last (C2SP tlog-witness).
fn cosigned_size(body: &str) -> Option<u64> {
    body.strip_suffix('\n').and_then(|text| text.parse().ok())
}

fn refused(status: u16, body: &str) -> String {
    let words: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("it answered with {status}: {words}")
}
