//! Build, sign, submit, and keep what proves it.

use std::thread::sleep;
use std::time::Duration;

use records::governance::{Charter, Founding};
use records::scalar::Integer;
use records::{Basis, Body, Header, Payload, Record, Verified};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use signing::digest::Digest;
use signing::dsse::Envelope;
use signing::token::Signer;
use translog::checkpoint::{Checkpoint, CheckpointError};

use crate::batch::{Answered, batches, post};
use crate::connection::Connection;
use crate::draw;
use crate::error::{Error, Problem};
use crate::home::{CHECKPOINT, EVIDENCE, FOUNDING, Home, LEDGER, RECEIPTS, json};
use crate::keeping::{Alarm, Follows, Kept, Suspicion, judge};
use crate::membership::{Identity, Ledger};
use crate::outbox;
use crate::reads::Proof;
use crate::receipt::Receipt;

/// How often the same is sent again for its receipt.
const RECEIPT_TRIES: u32 = 20;
/// The wait between two such tries.
const RECEIPT_WAIT: Duration = Duration::from_millis(300);

/// Whether each instruction stands alone, or all are accepted or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each alone.
    Each,
    /// All or none.
    All,
}

/// What became of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log, and its receipt is kept.
    Accepted {
        /// Where.
        position: u64,
    },
    /// It is in the log, and its receipt could not be had yet.
    Pending {
        /// Where, as the service says.
        position: u64,
    },
    /// It was refused.
    Refused(Problem),
    /// All or none was wanted, and another one was refused.
    NoneAccepted,
    /// It was sent, and there was no answer.
    Unknown,
    /// It was not sent.
    NotSent,
    /// A check says that it would be accepted.
    WouldAccept {
        /// The entry that it would cause.
        entry: Option<Value>,
    },
}

/// What became of several instructions, in their order.
#[derive(Debug)]
pub struct Submission {
    /// One outcome for each.
    pub outcomes: Vec<Outcome>,
    /// What went wrong on the way, if anything.
    pub trouble: Option<Error>,
}

/// A person's machine at one ledger.
pub struct Client {
    home: Home,
    identity: Identity,
    ledger: Ledger,
    key: Box<dyn Signer>,
    connection: Connection,
}

impl Client {
    /// The client of a home that has joined a ledger. The key must be the home's own.
    pub fn open(home: Home, key: Box<dyn Signer>, connection: Connection) -> Result<Client, Error> {
        let (identity, ledger) = (Identity::read(&home)?, Ledger::read(&home)?);
        if identity.key != key.public().id() {
            let reason = "the key is not this home's; restore the key file from your backup, or find the token that it is in";
            return Err(Error::Build(reason.to_owned()));
        }
        Ok(Client { home, identity, ledger, key, connection })
    }

    /// Signs a founding record of this charter and sends it. The home belongs to the new ledger if it is accepted.
    pub fn found(
        home: Home,
        key: Box<dyn Signer>,
        connection: Connection,
        charter: Charter,
    ) -> Result<(Client, Verified, Submission), Error> {
        let record = Client::sign_founding(&home, &key, &connection, charter)?;
        let envelope = record.envelope().clone();
        let (ledger, _) = Ledger::of_founding(&envelope, record.digest(), connection.url())?;
        if let Some(other) = home.read_json::<Ledger>(LEDGER)? {
            return Err(Error::OtherLedger(other.ledger.to_string()));
        }
        // Before it is sent, so that an answer that is lost can be fetched.
        ledger.keep(&home, &envelope)?;
        let client = Client::open(home, key, connection)?;
        let submission = client.submit(std::slice::from_ref(&record), Mode::Each)?;
        if submission.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_) | Outcome::NotSent))
        {
            client.home.remove(LEDGER)?;
            client.home.remove(FOUNDING)?;
        }
        Ok((client, record, submission))
    }

    /// Signs a founding record and sends it nowhere.
    pub fn sign_founding(
        home: &Home,
        key: &dyn Signer,
        connection: &Connection,
        charter: Charter,
    ) -> Result<Verified, Error> {
        let identity = Identity::read(home)?;
        let now = connection.now();
        let id = draw::instruction_id(now)?;
        let founding =
            Founding { body: charter, id, issued_at: now, key: identity.key, signer: identity.principal };
        Record::sign(Payload::Founding(Box::new(founding)), key)
            .map_err(|error| Error::Build(error.to_string()))
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// As whom it signs.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads a document of the service.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.connection.get(path, &self.key)
    }

    /// Reads a whole list of the service.
    pub fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        self.connection.list(path, &self.key)
    }

    /// By how many seconds the answer that was furthest behind the ledger was so: agencies read from standbys.
    pub fn behind_s(&self) -> u64 {
        self.connection.behind_s()
    }

    /// Reads a note of the service, as it is.
    pub(crate) fn get_note(&self, path: &str) -> Result<String, Error> {
        self.connection.get_text(path, &self.key)
    }

    /// Reads a document as it comes, however long it is.
    pub fn open_document(&self, path: &str) -> Result<Box<dyn std::io::Read + Send>, Error> {
        self.connection.open(path, &self.key)
    }

    /// The checkpoint that this machine verified last; without one, that at which its ledger begins.
    pub fn kept(&self) -> Result<Kept, Error> {
        let begin = || Kept { checkpoint: self.ledger.begin(), note: None };
        let Some(note) = self.home.read_text(CHECKPOINT)? else {
            return Ok(begin());
        };
        let checkpoint =
            Checkpoint::parse_and_verify(&note, self.ledger.origin.as_str(), &self.ledger.checkpoint_key);
        match checkpoint {
            Ok(checkpoint) => Ok(Kept { checkpoint, note: Some(note) }),
            // It was about to be replaced when the command that accepted a reopening was cut short.
            Err(CheckpointError::Origin) if self.ledger.has_had_origin_of(&note) => Ok(begin()),
            Err(error) => Err(Error::Damaged { path: self.home.path(CHECKPOINT), reason: error.to_string() }),
        }
    }

    /// The founding record as the checkpoint of size 1: the basis of acceptances.
    pub fn founding(&self) -> Kept {
        let origin = self.ledger.origin.to_string();
        Kept { checkpoint: Checkpoint { origin, size: 1, root: self.ledger.founding_leaf }, note: None }
    }

    /// Fetches the present checkpoint, verifies that it extends the kept one, and keeps it.
    pub fn refresh(&self) -> Result<Kept, Error> {
        let _lock = self.home.lock()?;
        let note = self.connection.get_text("/v1/checkpoint", &self.key)?;
        self.follow(&note, true)
    }

    /// Fetches and verifies the present checkpoint, and keeps nothing.
    pub fn peek(&self) -> Result<Kept, Error> {
        let note = self.connection.get_text("/v1/checkpoint", &self.key)?;
        self.follow(&note, false)
    }

    fn follow(&self, note: &str, keep: bool) -> Result<Kept, Error> {
        let kept = self.kept()?;
        let shown = self.read_note(note, &kept)?;
        let mut proof = vec![];
        let fetch = || {
            proof = self.consistency(kept.checkpoint.size, shown.size)?;
            Ok(proof.clone())
        };
        match judge(&kept.checkpoint, &shown, fetch)? {
            Ok(Follows::Same) if kept.note.is_some() => Ok(kept),
            Ok(Follows::Same | Follows::Newer) => {
                if keep {
                    self.home.write(CHECKPOINT, note.as_bytes())?;
                }
                Ok(Kept { checkpoint: shown, note: Some(note.to_owned()) })
            }
            Err(suspicion) => Err(self.alarm(suspicion, &kept, note, Some(&shown), &proof)),
        }
    }

    /// Verifies and keeps a checkpoint that came with an answer or a file. Meanwhile another command of this home may
    /// have kept a larger one, which then has to extend it.
    pub fn follow_answer(&self, note: &str) -> Result<Kept, Error> {
        let _lock = self.home.lock()?;
        let kept = self.kept()?;
        let shown = self.read_note(note, &kept)?;
        if shown.size >= kept.checkpoint.size {
            return self.follow(note, true);
        }
        let proof = self.consistency(shown.size, kept.checkpoint.size)?;
        match judge(&shown, &kept.checkpoint, || Ok(proof.clone()))? {
            Ok(_) => Ok(kept),
            Err(suspicion) => Err(self.alarm(suspicion, &kept, note, Some(&shown), &proof)),
        }
    }

    fn read_note(&self, note: &str, kept: &Kept) -> Result<Checkpoint, Error> {
        let key = &self.ledger.checkpoint_key;
        let read = Checkpoint::parse_and_verify(note, self.ledger.origin.as_str(), key);
        read.map_err(|error| match Checkpoint::parse_and_verify_any(note, key) {
            Ok(other) => {
                let suspicion = Suspicion::OtherOrigin(other.origin.clone());
                self.alarm(suspicion, kept, note, Some(&other), &[])
            }
            Err(_) => self.alarm(Suspicion::NotTheLedgers(error), kept, note, None, &[]),
        })
    }

    /// The proof that the log of `from` records begins that of `to` records, which the caller verifies.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, Error> {
        let proof: Proof = self.get(&format!("/v1/proofs/consistency?from={from}&to={to}"))?;
        Ok(proof.hashes)
    }

    /// Keeps both notes, and says so.
    fn alarm(
        &self,
        suspicion: Suspicion,
        kept: &Kept,
        note: &str,
        shown: Option<&Checkpoint>,
        proof: &[Digest],
    ) -> Error {
        let kept_text = kept.note.clone().unwrap_or_else(|| {
            let Checkpoint { size, root, .. } = kept.checkpoint;
            format!("what {LEDGER} and {FOUNDING} begin with: size {size}, root {root}\n")
        });
        let proof_text: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
        let (mut evidence, mut not_kept) = (Vec::new(), None);
        // Named by what it is: the same is kept once, and nothing takes another's place.
        let name: String =
            Digest::of(format!("{kept_text}{note}{proof_text}")).to_string().chars().take(16).collect();
        for (what, text) in [("kept", kept_text.as_str()), ("shown", note), ("proof", &proof_text)] {
            let name = format!("{EVIDENCE}/{name}-{what}.txt");
            if text.is_empty() {
                continue;
            }
            match self.home.write(&name, text.as_bytes()) {
                Ok(()) => evidence.push(self.home.path(&name)),
                Err(error) => not_kept = Some(error.to_string()),
            }
        }
        let point = |checkpoint: &Checkpoint| (checkpoint.size, checkpoint.root);
        Alarm { suspicion, kept: point(&kept.checkpoint), shown: shown.map(point), evidence, not_kept }.into()
    }

    /// Signs bodies on this basis, each as an instruction of its own with this life in seconds.
    pub fn sign(&self, basis: Basis, bodies: Vec<Body>, life_s: u64) -> Result<Vec<Verified>, Error> {
        let now = self.connection.now();
        let not_after = now.plus(life_s).ok_or_else(|| Error::Build("the life is too long".to_owned()))?;
        let mut records = Vec::with_capacity(bodies.len());
        for body in bodies {
            let header = Header {
                basis,
                id: draw::instruction_id(now)?,
                issued_at: now,
                key: self.identity.key,
                ledger: self.ledger.ledger,
                not_after,
                signer: self.identity.principal.clone(),
            };
            let payload = Payload::Instruction(Box::new(header), Box::new(body));
            let record = Record::sign(payload, &self.key).map_err(|error| Error::Build(error.to_string()))?;
            records.push(record);
        }
        Ok(records)
    }

    /// Has the service decide without storing anything, there or here.
    pub fn check(&self, records: &[Verified]) -> Result<Submission, Error> {
        let envelopes: Vec<&Envelope> = records.iter().map(|record| record.envelope()).collect();
        check_envelopes(&self.connection, &envelopes)
    }

    /// Sends records, and keeps receipts for those that are accepted.
    pub fn submit(&self, records: &[Verified], mode: Mode) -> Result<Submission, Error> {
        let envelopes: Vec<&Envelope> = records.iter().map(|record| record.envelope()).collect();
        // What cannot be sent must not wait in the outbox.
        batches(&envelopes, mode)?;
        outbox::put(&self.home, &envelopes, self.connection.now())?;
        self.send(&envelopes, mode)
    }

    /// Sends again what the outbox holds and nobody refused, or all that `which` picks.
    pub fn resend(
        &self,
        which: impl Fn(&outbox::Sent) -> bool,
    ) -> Result<(Vec<Envelope>, Submission), Error> {
        let sent = outbox::list(&self.home)?.into_iter().filter(|sent| which(sent));
        let envelopes: Vec<Envelope> = sent.map(|sent| sent.envelope).collect();
        let submission = self.send(&envelopes.iter().collect::<Vec<_>>(), Mode::Each)?;
        Ok((envelopes, submission))
    }

    fn send(&self, envelopes: &[&Envelope], mode: Mode) -> Result<Submission, Error> {
        let mut outcomes = vec![Outcome::NotSent; envelopes.len()];
        let mut trouble = None;
        let mut start = 0;
        for batch in batches(envelopes, mode)? {
            let place = outcomes.get_mut(start..start + batch.len()).unwrap_or_default();
            if let Err(error) = self.send_batch(batch, mode, place) {
                trouble = Some(error);
                break;
            }
            start += batch.len();
        }
        self.settle(envelopes, &outcomes)?;
        Ok(Submission { outcomes, trouble })
    }

    /// Brings the outbox up to date.
    fn settle(&self, envelopes: &[&Envelope], outcomes: &[Outcome]) -> Result<(), Error> {
        let nothing_sent = outcomes.iter().all(|outcome| *outcome == Outcome::NotSent);
        for (envelope, outcome) in envelopes.iter().zip(outcomes) {
            let digest = envelope.digest();
            match outcome {
                Outcome::Refused(problem) => outbox::refuse(&self.home, digest, problem)?,
                Outcome::NoneAccepted => {
                    let title =
                        "another one of the same batch was refused, and all or none was wanted".to_owned();
                    let problem = Problem { title: Some(title), ..Problem::of("another_was_refused") };
                    outbox::refuse(&self.home, digest, &problem)?;
                }
                // Whoever runs the command again signs anew, so what nobody saw must not be sent later.
                Outcome::NotSent if nothing_sent => outbox::take(&self.home, digest)?,
                Outcome::Accepted { .. } => outbox::take(&self.home, digest)?,
                Outcome::NotSent
                | Outcome::Pending { .. }
                | Outcome::Unknown
                | Outcome::WouldAccept { .. } => {}
            }
        }
        Ok(())
    }

    /// Sends one batch, and again what has no receipt yet.
    fn send_batch(&self, batch: &[&Envelope], mode: Mode, outcomes: &mut [Outcome]) -> Result<(), Error> {
        let mut open: Vec<usize> = (0..batch.len()).collect();
        for attempt in 0..RECEIPT_TRIES {
            if attempt > 0 {
                sleep(RECEIPT_WAIT);
            }
            let envelopes: Vec<&Envelope> = open.iter().filter_map(|i| batch.get(*i).copied()).collect();
            let mode = if attempt == 0 { mode } else { Mode::Each };
            let answer = match post(&self.connection, "/v1/instructions", &envelopes, mode) {
                Ok(answer) => answer,
                Err(error) if attempt > 0 => return Err(error),
                Err(error) => return whole_batch_failed(error, mode, outcomes),
            };
            let mut accepted = Vec::new();
            let mut waiting = Vec::new();
            for (index, result) in open.iter().copied().zip(answer.results) {
                let (Some(outcome), Some(envelope)) = (outcomes.get_mut(index), batch.get(index)) else {
                    continue;
                };
                *outcome = self.outcome(envelope, result)?;
                match outcome {
                    Outcome::Accepted { position } => {
                        let position = *position;
                        // Until its receipt is kept, it is pending.
                        *outcome = Outcome::Pending { position };
                        accepted.push((index, position));
                    }
                    Outcome::Pending { .. } => waiting.push(index),
                    _ => {}
                }
            }
            self.keep_receipts(batch, &accepted, answer.checkpoint.as_deref(), outcomes)?;
            open = waiting;
            if open.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn outcome(&self, envelope: &Envelope, result: Answered) -> Result<Outcome, Error> {
        let position = || match (result.digest, result.position) {
            (Some(digest), Some(position)) if digest == envelope.digest() => Ok(position.0),
            _ => Err(Error::Answer("a result names another digest, or no position".to_owned())),
        };
        Ok(match result.status.as_str() {
            "accepted" => Outcome::Accepted { position: position()? },
            "receipt_pending" => Outcome::Pending { position: position()? },
            "refused" => Outcome::Refused(result.problem.unwrap_or_else(|| Problem::of("refused"))),
            other => return Err(Error::Answer(format!("a result has the status '{other}'"))),
        })
    }

    /// Proves for each accepted record that the log holds it, and keeps the proof.
    fn keep_receipts(
        &self,
        batch: &[&Envelope],
        accepted: &[(usize, u64)],
        note: Option<&str>,
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        if accepted.is_empty() {
            return Ok(());
        }
        let missing = || Error::Answer("accepted, but without a checkpoint".to_owned());
        let kept = self.follow_answer(note.ok_or_else(missing)?)?;
        let note = kept.note.clone().ok_or_else(missing)?;
        let mut proven = Vec::with_capacity(accepted.len());
        let mut files = Vec::with_capacity(accepted.len());
        for &(index, position) in accepted {
            let Some(&envelope) = batch.get(index) else { continue };
            let size = kept.checkpoint.size;
            if position >= size {
                return Err(Error::Answer(format!(
                    "position {position} is beyond the checkpoint's size {size}"
                )));
            }
            let proof: Proof = self.get(&format!("/v1/proofs/inclusion?position={position}&size={size}"))?;
            let receipt = Receipt {
                checkpoint: note.clone(),
                envelope: envelope.clone(),
                hashes: proof.hashes,
                position: Integer(position),
            };
            let digest = envelope.digest();
            if receipt.verify(self.ledger.origin.as_str(), &self.ledger.checkpoint_key).is_err() {
                let suspicion = Suspicion::NotIncluded { digest, position };
                return Err(self.alarm(suspicion, &kept, &note, Some(&kept.checkpoint), &receipt.hashes));
            }
            files.push((format!("{RECEIPTS}/{digest}.json"), json(&receipt)?));
            proven.push((index, position));
        }
        self.home.write_many(files)?;
        for (index, position) in proven {
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = Outcome::Accepted { position };
            }
        }
        Ok(())
    }
}

/// Has a service decide on envelopes without storing anything.
pub(crate) fn check_envelopes(connection: &Connection, envelopes: &[&Envelope]) -> Result<Submission, Error> {
    let mut outcomes = Vec::with_capacity(envelopes.len());
    for batch in batches(envelopes, Mode::Each)? {
        let answer = match post(connection, "/v1/instructions/check", batch, Mode::Each) {
            // A check leaves nothing behind, so nothing about it is unknown.
            Err(Error::Unknown { url, reason }) => return Err(Error::Broken { url, reason }),
            other => other?,
        };
        for result in answer.results {
            outcomes.push(match result.status.as_str() {
                "would_accept" => Outcome::WouldAccept { entry: result.entry },
                "refused" => Outcome::Refused(result.problem.unwrap_or_else(|| Problem::of("refused"))),
                other => return Err(Error::Answer(format!("a result has the status '{other}'"))),
            });
        }
    }
    Ok(Submission { outcomes, trouble: None })
}

impl Connection {
    /// Has the service decide on a founding record without storing anything.
    pub fn check_founding(&self, record: &Verified) -> Result<Submission, Error> {
        check_envelopes(self, &[record.envelope()])
    }
}

/// No answer to the whole batch, or one problem for all of it.
fn whole_batch_failed(error: Error, mode: Mode, outcomes: &mut [Outcome]) -> Result<(), Error> {
    let Error::Problem(problem) = error else {
        if matches!(error, Error::Unknown { .. } | Error::Answer(_)) {
            outcomes.fill(Outcome::Unknown);
        }
        return Err(error);
    };
    let index = problem.index.as_deref().and_then(|index| index.parse::<usize>().ok());
    let named = index.filter(|index| mode == Mode::All && *index < outcomes.len());
    for (place, outcome) in outcomes.iter_mut().enumerate() {
        *outcome = match named {
            Some(index) if index != place => Outcome::NoneAccepted,
            _ => Outcome::Refused((*problem).clone()),
        };
    }
    Ok(())
}
