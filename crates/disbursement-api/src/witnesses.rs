//! Cosignatures: the process that publishes asks the policy's witnesses for them (C2SP tlog-witness).
//!
//! Nothing waits for it: a checkpoint is stored and answered before any witness hears of it. One round asks all witnesses
//! to cosign the latest checkpoint; as soon as there are as many cosignatures as policy demands, the note is stored
//! with them, and again with each that comes later. A witness that is away or refuses is reported, in the log and in
//! the metrics, and asked again in the next round.
//!
//! What carries the requests is given by whoever starts this, so that no client of HTTP is known here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use programme::Key;
use programme::entity::PolicyState;
use records::witnessing::{Witness, Witnessing};
use store::pool::Databases;
use store::queries::lists;
use store::{StoreError, hashes, log};
use tokio::task::JoinSet;
use tokio::time::Instant;
use translog::cosignature::with_answer;
use translog::witness::AddCheckpoint;

use crate::pipeline::Pipeline;

/// The least time from one round to the next.
const ROUND: Duration = Duration::from_secs(1);
/// A round in which some witness did not cosign is repeated after this, although there is no newer checkpoint.
const AGAIN: Duration = Duration::from_secs(15);
/// A round ends at the latest after this, whoever has not answered: a witness that replays a long log takes its time.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a round waits for the others once there are enough.
const FURTHER: Duration = Duration::from_secs(2);

/// What a witness answered: the status and the body.
pub type Answered = (u16, String);
/// Posts a text to a URL. It may block.
pub type Post = Arc<dyn Fn(&str, String) -> Result<Answered, String> + Send + Sync>;

/// The task.
pub struct Witnesses {
    pipeline: Pipeline,
    databases: Databases,
    /// The submission prefixes (C2SP tlog-witness), by the witness's name.
    addresses: BTreeMap<String, String>,
    post: Post,
    /// By the witness's name.
    known: BTreeMap<String, Known>,
}

/// What is known of a witness.
#[derive(Clone, Default)]
struct Known {
    /// The size that it cosigned last.
    size: u64,
    /// Why it did not cosign, the last time.
    trouble: Option<String>,
}

impl Witnesses {
    /// The witnesses whose addresses are known, by their names in the policy.
    pub fn new(
        pipeline: Pipeline,
        databases: Databases,
        addresses: BTreeMap<String, String>,
        post: Post,
    ) -> Witnesses {
        Witnesses { pipeline, databases, addresses, post, known: BTreeMap::new() }
    }

    /// Asks for ever.
    pub async fn run(mut self) {
        let (mut asked, mut is_complete) = (0, true);
        loop {
            let newer = self.pipeline.newer_checkpoint(asked);
            let head = match tokio::time::timeout(AGAIN, newer).await {
                Ok(Some(head)) => Some(head),
                Ok(None) => return,
                Err(_) => self.pipeline.checkpoint().filter(|_| !is_complete),
            };
            if let Some(head) = head.filter(|_| self.pipeline.is_publisher()) {
                asked = head.size;
                is_complete = self.round(&head).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "no witness was asked");
                    false
                });
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Asks every witness once. Whether all have cosigned.
    async fn round(&mut self, head: &log::SignedHead) -> Result<bool, StoreError> {
        let policy = {
            let client = self.databases.read().await?;
            lists::entity::<PolicyState>(&client, &Key::Policy).await?
        };
        let now = self.pipeline.now();
        let Some(witnessing) = policy.and_then(|policy| policy.at(now).policy.witnessing.clone()) else {
            return Ok(true);
        };
        let mut asking = JoinSet::new();
        for witness in &witnessing.witnesses {
            let name = witness.name.as_str();
            let Some(address) = self.addresses.get(name) else {
                self.report(name, Err("its address is not known: serve --witness NAME=URL".to_owned()));
                continue;
            };
            let known = self.known.get(name).map_or(0, |known| known.size);
            let ask = Ask {
                databases: self.databases.clone(),
                url: format!("{address}/add-checkpoint"),
                post: Arc::clone(&self.post),
                head: head.clone(),
                witness: witness.clone(),
            };
            asking.spawn(async move { (ask.witness.name.to_string(), ask.ask(known).await) });
        }
        let mut note = head.note.clone();
        let (mut cosigned, mut is_enough) = (0, false);
        let mut until = Instant::now() + LONGEST;
        while let Ok(Some(answered)) = tokio::time::timeout_at(until, asking.join_next()).await {
            let Ok((name, answer)) = answered else { continue };
            let witness = witnessing.witnesses.iter().find(|witness| witness.name.as_str() == name);
            let Some(witness) = witness else { continue };
            let answer = answer.and_then(|lines| {
                with_answer(&note, &lines, &name, &witness.key).map_err(|error| error.to_string())
            });
            match answer {
                Ok(cosigned_note) => {
                    note = cosigned_note;
                    cosigned += 1;
                    self.report(&name, Ok(head.size));
                }
                Err(reason) => {
                    self.report(&name, Err(reason));
                    continue;
                }
            }
            if !is_sufficient(&witnessing, &note) {
                continue;
            }
            log::store_cosigned(&*self.databases.service().await?, head.size, &note).await?;
            self.pipeline.metrics().cosigned(head.size);
            if !is_enough {
                is_enough = true;
                until = until.min(Instant::now() + FURTHER);
            }
        }
        Ok(cosigned == witnessing.witnesses.len())
    }

    /// Remembers how a witness answered, and says what is new about it.
    fn report(&mut self, name: &str, answer: Result<u64, String>) {
        let known = self.known.entry(name.to_owned()).or_default();
        match answer {
            Ok(size) => {
                if known.trouble.take().is_some() {
                    tracing::info!(witness = name, "the witness cosigns again");
                }
                known.size = size;
                self.pipeline.metrics().cosigned_by(name, size);
            }
            Err(reason) if known.trouble.as_ref() == Some(&reason) => {}
            Err(reason) => {
                tracing::warn!(witness = name, reason, "a witness did not cosign");
                known.trouble = Some(reason);
            }
        }
    }
}

/// Whether a note has as many cosignatures as the policy demands.
fn is_sufficient(witnessing: &Witnessing, note: &str) -> bool {
    witnessing.cosigned_by(note).is_ok_and(|by| witnessing.suffices(&by))
}

/// A question to one witness.
struct Ask {
    databases: Databases,
    url: String,
    post: Post,
    head: log::SignedHead,
    witness: Witness,
}

impl Ask {
    /// The signature lines by which the witness cosigned. It cosigned a checkpoint of size `old` last, as far as is known; if it
    /// says otherwise it is asked once more.
    async fn ask(&self, old: u64) -> Result<String, String> {
        let size = self.head.size;
        let (status, body) = self.add_checkpoint(old.min(size)).await?;
        match status {
            200 => Ok(body),
            409 => {
                let says: Option<u64> = body.strip_suffix('\n').and_then(|text| text.parse().ok());
                match says {
                    Some(says) if says < size || (says == size && old < size) => {
                        match self.add_checkpoint(says).await? {
                            (200, lines) => Ok(lines),
                            (status, body) => Err(refused(status, &body)),
                        }
                    }
                    Some(says) if says > size => {
                        Err(format!("it has cosigned {says} records already, more than there are"))
                    }
                    _ => Err(format!("it has cosigned another root of size {size}")),
                }
            }
            status => Err(refused(status, &body)),
        }
    }

    async fn add_checkpoint(&self, old: u64) -> Result<Answered, String> {
        let proof = match old {
            0 => vec![],
            old => {
                let client = self.databases.read().await.map_err(|error| error.to_string())?;
                let proof = hashes::consistency_proof(&client, old, self.head.size).await;
                proof.map_err(|error| error.to_string())?
            }
        };
        let body = AddCheckpoint { old, proof, note: self.head.note.clone() }.encode();
        let (post, url) = (Arc::clone(&self.post), self.url.clone());
        let answered = tokio::task::spawn_blocking(move || post(&url, body)).await;
        answered.map_err(|error| error.to_string())?
    }
}

fn refused(status: u16, body: &str) -> String {
    let words: String = body.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("it answered with {status}: {words}")
}
