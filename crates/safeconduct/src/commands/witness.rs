//! `safeconduct witness`: cosigns the checkpoints of the ledger that this home has joined, on the machine of somebody who is
//! independent of whoever runs the service.
//!
//! It answers C2SP tlog-witness (`add-checkpoint`) and nothing else. What it cosigned last is in a file of its own, which is on
//! disk before a cosignature leaves: killed at any moment, it never signs two histories. Without that file it does not start.
//! Of a log that it never cosigned it knows nothing, as C2SP has it; that what it cosigns is of one log with the checkpoint
//! that this home has verified, it finds out by a proof that it fetches itself.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::{Args, Subcommand};
use client::home::EVIDENCE;
use client::keeping::Kept;
use client::{Client, Home, Ledger};
use disbursement_api::app;
use disbursement_api::limits::Limits;
use records::scalar::{Integer, Token};
use records::witnessing::{self, Statement};
use serde::{Deserialize, Serialize};
use serde_json::json;
use signing::digest::Digest;
use signing::keys::{PublicKey, SecretKey};
use tokio::net::TcpListener;
use translog::checkpoint::{Checkpoint, MAX_NOTE_BYTES};
use translog::cosignature::{cosign, verifier_key};
use translog::proof::verify_consistency;
use translog::witness::{AddCheckpoint, Cosigned, KnownLog, NotCosigned, SIZE_TYPE};

use super::replaying::{NotReplayed, Replayer};
use crate::context::{self, Global};
use crate::error::{Error, Result};
use crate::serve::{listen, stop_signal};
use crate::ui;

/// A request: a proof of 63 lines, and a note.
const BODY_BYTES_MAX: usize = 8 * 1024 + MAX_NOTE_BYTES;
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const KEY: &str = "key.pem";
const IDENTITY: &str = "identity.json";
const COSIGNED: &str = "cosigned.json";
const LOCK: &str = "lock";
/// What a replaying witness goes on from.
const REPLAYED: &str = "replayed.ndjson";
/// How many files of evidence of a kind are kept. Of those that were not shown to extend the last, anybody can send one with a
/// wrong proof; the others take the ledger's key, and one is enough.
const EVIDENCE_MAX: usize = 64;

/// `safeconduct witness`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WitnessArgs {
    #[command(subcommand)]
    command: Option<WitnessCommand>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Cosign only what was replayed here, whole (needs an auditor's home)
    #[arg(long)]
    replay: bool,
}

#[derive(Debug, Subcommand)]
enum WitnessCommand {
    /// Make the witness's key; print what a policy says of it
    Key {
        /// Its name: a URL without scheme, such as witness.example/ada
        #[arg(long)]
        name: Token,
        /// For `witness --replay`, which has a key of its own
        #[arg(long)]
        replay: bool,
    },
}

/// Whose cosignatures they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    name: Token,
    public: PublicKey,
}

/// What was cosigned last of a log, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    note: String,
    root: Digest,
    size: Integer,
}

impl WitnessArgs {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self.command {
            Some(WitnessCommand::Key { name, replay }) => make_key(global, name, statement(replay)),
            None => run(global, self.listen, statement(self.replay)),
        }
    }
}

fn statement(replay: bool) -> Statement {
    if replay { Statement::Replayed } else { Statement::Consistent }
}

/// The folder of the home that holds all that is the witness's.
fn folder(statement: Statement) -> &'static str {
    match statement {
        Statement::Consistent => "witness",
        Statement::Replayed => "witness-replay",
    }
}

fn make_key(global: &Global, name: Token, statement: Statement) -> Result<ExitCode> {
    let home = global.open_home()?;
    // It must have joined.
    Ledger::read(&home)?;
    let folder = folder(statement);
    let path = |file: &str| format!("{folder}/{file}");
    if home.path(&path(KEY)).exists() {
        return Err(Error::new(format!(
            "there is a key in {} already; a witness with another one is another witness, in another home",
            home.path(folder).display()
        )));
    }
    let passphrase = ui::new_passphrase()?;
    let key = SecretKey::generate()?;
    let public = key.public().clone();
    // The key comes last: where it is, all is there.
    home.write_json(&path(COSIGNED), &BTreeMap::<String, Last>::new())?;
    home.write_json(&path(IDENTITY), &Identity { name: name.clone(), public: public.clone() })?;
    home.write(&path(KEY), key.to_pkcs8_pem(&passphrase)?.as_bytes())?;
    let verifier = verifier_key(name.as_str(), &public);
    let member = serde_json::to_value(witnessing::Witness { key: public, name, statement })?;
    if global.json {
        ui::json(&json!({"verifier_key": verifier, "witness": member}));
    } else {
        ui::line(format!("verifier key   {verifier}"));
        ui::line(format!("for the policy {member}"));
        ui::line(
            "Next: give these to the custodians, who name the witness in a policy, and its address to the operator, who \
             adds `--witness NAME=URL` to `safeconduct serve`. Then run `safeconduct witness`.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What the witnesses of a home cosigned last under the log's present origin, with its note: a reopening has to account for it,
/// too.
pub fn cosigned(home: &Home, ledger: &Ledger) -> Result<Vec<(Checkpoint, String)>> {
    let mut heads = Vec::new();
    for statement in [Statement::Consistent, Statement::Replayed] {
        let path = format!("{}/{COSIGNED}", folder(statement));
        let mut all = home.read_json::<BTreeMap<String, Last>>(&path)?.unwrap_or_default();
        let origin = ledger.origin.to_string();
        heads.extend(all.remove(&origin).map(|Last { note, root, size }| {
            let head = Checkpoint { origin, size: size.0, root };
            (head, note)
        }));
    }
    Ok(heads)
}

/// A checkpoint that this home has verified, of a larger log than was cosigned. Until one is cosigned that is as large, each has to
/// be shown to be of one log with it.
struct Verified {
    client: Arc<Client>,
    head: Kept,
}

impl Verified {
    /// Whether a checkpoint is of one log with it.
    fn goes_with(&self, checkpoint: &Checkpoint) -> std::result::Result<(), Refused> {
        let mut two = [&self.head.checkpoint, checkpoint];
        two.sort_by_key(|one| one.size);
        let [old, new] = two;
        let proof = match old.size {
            size if size == 0 || size == new.size => vec![],
            size => self
                .client
                .consistency(size, new.size)
                .map_err(|error| Refused::Failed(format!("the service gave no proof: {error}")))?,
        };
        verify_consistency(old.size, old.root, new.size, new.root, &proof).map_err(|_| {
            Refused::Refuted(format!(
                "the checkpoint is not of one log with the one of size {} that this home has verified",
                self.head.checkpoint.size
            ))
        })
    }
}

/// A witness at work.
struct Witness {
    home: Home,
    folder: &'static str,
    name: Token,
    key: SecretKey,
    log: KnownLog,
    cosigned: BTreeMap<String, Last>,
    /// What was verified here beyond what was cosigned.
    verified: Option<Verified>,
    /// Where the log is replayed before each cosignature.
    replayer: Option<Replayer>,
    /// Held as long as this runs: two processes could cosign two histories.
    _lock: File,
}

fn run(global: &Global, address: SocketAddr, statement: Statement) -> Result<ExitCode> {
    let witness = Witness::open(global, statement)?;
    let seen = witness.last();
    ui::line(format!("witness        {}", verifier_key(witness.name.as_str(), witness.key.public())));
    ui::line(format!("log            {}, cosigned up to {} records", witness.log.origin, seen.size));
    if let Some(replayer) = &witness.replayer {
        ui::line(format!("replayed       {} records", replayer.size()));
    }
    let witness = Arc::new(Mutex::new(witness));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener: TcpListener = listen(address, "--listen").await?;
        let router = Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(witness);
        let told = stop_signal()?;
        ui::line(format!("url            http://{}", listener.local_addr()?));
        ui::line("ready");
        app::serve(listener, router, &Limits::default().http, told).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn add_checkpoint(State(witness): State<Arc<Mutex<Witness>>>, body: Body) -> Response {
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    let text = match body {
        Ok(Ok(bytes)) => String::from_utf8(bytes.into()),
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the request came too slowly\n").into_response(),
    };
    let Ok(text) = text else {
        return (StatusCode::BAD_REQUEST, "the request is not UTF-8\n").into_response();
    };
    // One after the other: what is compared is what is replaced. While the log is replayed, nobody waits.
    let answer = tokio::task::spawn_blocking(move || match witness.try_lock() {
        Ok(mut witness) => witness.add(&text),
        Err(TryLockError::WouldBlock) => {
            Err(Refused::Failed("it is at work on another checkpoint".to_owned()))
        }
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().add(&text),
    });
    match answer.await {
        Ok(Ok(line)) => line.into_response(),
        Ok(Err(Refused::By(refusal))) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match refusal {
                NotCosigned::OtherSize(size) | NotCosigned::TwoRoots(size) => {
                    (status, [(header::CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response()
                }
                other => (status, format!("{other}\n")).into_response(),
            }
        }
        Ok(Err(Refused::Refuted(reason))) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("{reason}\n")).into_response()
        }
        Ok(Err(Refused::Failed(reason))) => {
            ui::note(format!("safeconduct: not cosigned: {reason}"));
            (StatusCode::SERVICE_UNAVAILABLE, "the witness cannot cosign now\n").into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Why there is no cosignature.
enum Refused {
    By(NotCosigned),
    /// The replay refutes the log, or it is another than this home has verified.
    Refuted(String),
    /// It could not be told.
    Failed(String),
}

impl Witness {
    fn open(global: &Global, statement: Statement) -> Result<Witness> {
        let home = global.open_home()?;
        let ledger = Ledger::read(&home)?;
        let folder = folder(statement);
        let path = |file: &str| format!("{folder}/{file}");
        let Some(identity) = home.read_json::<Identity>(&path(IDENTITY))? else {
            let replay = if statement == Statement::Replayed { " --replay" } else { "" };
            return Err(Error::new(format!(
                "this home has no witness's key yet; make one with `safeconduct witness key{replay} --name NAME`"
            )));
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(home.path(&path(LOCK)))?;
        lock.try_lock().map_err(|_| Error::new("another process runs this witness already"))?;
        let Some(cosigned) = home.read_json::<BTreeMap<String, Last>>(&path(COSIGNED))? else {
            return Err(Error::new(format!(
                "{} is missing: a witness that has forgotten what it cosigned could sign two histories. Restore it as it was at \
                 the end, or make a new key in another home and have the custodians name that one",
                home.path(&path(COSIGNED)).display()
            )));
        };
        let pem = home.read_text(&path(KEY))?.ok_or_else(|| {
            Error::new(format!("{} is missing; restore it from your backup", home.path(&path(KEY)).display()))
        })?;
        let key = SecretKey::from_pkcs8_pem(&pem, &ui::passphrase()?)
            .map_err(|error| Error::new(format!("{}: {error}", home.path(&path(KEY)).display())))?;
        if *key.public() != identity.public {
            return Err(Error::new("the witness's key file is not the one that was made here"));
        }
        // What the home itself has verified is never forgotten.
        let client = Arc::new(global.client()?);
        let (origin, head) = (ledger.origin.to_string(), client.kept()?);
        if let Some(last) = cosigned.get(&origin)
            && (last.size.0 == head.checkpoint.size && last.root != head.checkpoint.root)
        {
            let reason = NotCosigned::TwoRoots(last.size.0).to_string();
            let notes = [("cosigned", Some(last.note.as_str())), ("verified", head.note.as_deref())];
            return Err(Error::new(alarm(&home, folder, &reason, &head.checkpoint, &notes)));
        }
        let is_covered = |last: &Last| last.size.0 >= head.checkpoint.size;
        let verified = match cosigned.get(&origin).is_some_and(is_covered) {
            true => None,
            false => Some(Verified { client: Arc::clone(&client), head }),
        };
        let replayer = match statement {
            Statement::Consistent => None,
            Statement::Replayed => Some(Replayer::open(client, home.path(&path(REPLAYED)))?),
        };
        let log = KnownLog { origin, key: ledger.checkpoint_key };
        Ok(Witness { home, folder, name: identity.name, key, log, cosigned, verified, replayer, _lock: lock })
    }

    fn last(&self) -> Cosigned {
        match self.cosigned.get(&self.log.origin) {
            Some(kept) => Cosigned { size: kept.size.0, root: kept.root },
            None => Cosigned { size: 0, root: translog::tree::EMPTY_ROOT },
        }
    }

    /// The cosignature of a checkpoint that extends what was cosigned last.
    fn add(&mut self, body: &str) -> std::result::Result<String, Refused> {
        let request = AddCheckpoint::parse(body).map_err(Refused::By)?;
        let judged = request.judge(std::slice::from_ref(&self.log), |_| self.last());
        let checkpoint = judged.map_err(|refusal| {
            self.suspect(&refusal, &request.note);
            Refused::By(refusal)
        })?;
        let note = Checkpoint::own_note(&request.note, &self.log.key)
            .map_err(|error| Refused::Failed(error.to_string()))?;
        if let Some(verified) = &self.verified {
            verified.goes_with(&checkpoint).inspect_err(|refused| {
                if let Refused::Refuted(reason) = refused {
                    self.alarm(reason, &checkpoint, &note);
                }
            })?;
        }
        let replayed = match &mut self.replayer {
            Some(replayer) => replayer.covers(&checkpoint, &note),
            None => Ok(()),
        };
        match replayed {
            Ok(()) => {}
            Err(NotReplayed::Failed(reason)) => return Err(Refused::Failed(reason)),
            Err(NotReplayed::Refuted(reason)) => {
                self.alarm(&reason, &checkpoint, &note);
                return Err(Refused::Refuted(reason));
            }
        }
        let time = u64::try_from(context::now().unix()).unwrap_or_default();
        let line = cosign(&note, self.name.as_str(), &self.key, time)
            .map_err(|error| Refused::Failed(error.to_string()))?;
        let mut cosigned = self.cosigned.clone();
        let Checkpoint { origin, root, size } = checkpoint;
        cosigned.insert(origin, Last { note, root, size: Integer(size) });
        // On disk before it leaves.
        self.home
            .write_json(&format!("{}/{COSIGNED}", self.folder), &cosigned)
            .map_err(|error| Refused::Failed(error.to_string()))?;
        self.cosigned = cosigned;
        if self.verified.as_ref().is_some_and(|verified| verified.head.checkpoint.size <= size) {
            self.verified = None;
        }
        Ok(line)
    }

    /// Keeps what speaks for two histories.
    fn suspect(&self, refusal: &NotCosigned, shown: &str) {
        let KnownLog { origin, key } = &self.log;
        let shown = Checkpoint::parse_and_verify(shown, origin, key)
            .and_then(|checkpoint| Ok((checkpoint, Checkpoint::own_note(shown, key)?)));
        let (Ok((checkpoint, note)), last) = (shown, self.last()) else { return };
        match refusal {
            NotCosigned::TwoRoots(_) => self.alarm(&refusal.to_string(), &checkpoint, &note),
            // The one that was cosigned last, with a proof where it takes none, speaks for nothing.
            NotCosigned::NotExtended(_) if (checkpoint.size, checkpoint.root) != (last.size, last.root) => {
                self.note_unproven(&refusal.to_string(), &checkpoint, &note);
            }
            _ => {}
        }
    }

    fn alarm(&self, reason: &str, shown: &Checkpoint, note: &str) {
        let cosigned = self.cosigned.get(&self.log.origin).map(|last| last.note.as_str());
        let verified = self.verified.as_ref().and_then(|verified| verified.head.note.as_deref());
        let notes = [("cosigned", cosigned), ("verified", verified), ("shown", Some(note))];
        ui::note(alarm(&self.home, self.folder, reason, shown, &notes));
    }

    /// Keeps a note whose proof does not hold. The log may have forked, or somebody sent its checkpoint with a proof of something
    /// else; who has another checkpoint of that size can tell.
    fn note_unproven(&self, reason: &str, shown: &Checkpoint, note: &str) {
        let kind = format!("{}-unproven", self.folder);
        match keep(&self.home, &kind, &[(format!("{}.txt", short(shown)), note)]) {
            Evidence::Known => {}
            Evidence::Kept => {
                let dir = self.home.path(EVIDENCE);
                ui::note(format!("safeconduct: {reason}; it is kept in {}", dir.display()));
            }
            Evidence::NotKept => {
                ui::note(format!("safeconduct: {reason}; it is not kept, but is this:\n{note}"))
            }
        }
    }
}

/// Keeps these notes, by what they are. What is to be said.
fn alarm(
    home: &Home,
    folder: &str,
    reason: &str,
    about: &Checkpoint,
    notes: &[(&str, Option<&str>)],
) -> String {
    let known = notes.iter().filter_map(|(what, note)| Some((*what, (*note)?)));
    let name = |what: &str| format!("{}-{}-{what}.txt", about.size, short(about));
    let files: Vec<(String, &str)> = known.map(|(what, note)| (name(what), note)).collect();
    match keep(home, &format!("{folder}-alarm"), &files) {
        Evidence::Known | Evidence::Kept => format!(
            "ALARM: {reason}. The checkpoints are in {}; tell the other auditors",
            home.path(EVIDENCE).display()
        ),
        Evidence::NotKept => {
            let notes: Vec<&str> = files.iter().map(|(_, note)| *note).collect();
            format!(
                "ALARM: {reason}. Tell the other auditors; the checkpoints are not kept, but are these:\n{}",
                notes.join("\n")
            )
        }
    }
}

/// What became of evidence.
enum Evidence {
    /// It was kept before.
    Known,
    Kept,
    /// There is enough of its kind, or it could not be written.
    NotKept,
}

/// Keeps files of evidence, once.
fn keep(home: &Home, kind: &str, files: &[(String, &str)]) -> Evidence {
    let path = |name: &String| format!("{EVIDENCE}/{kind}-{name}");
    if files.iter().all(|(name, _)| home.path(&path(name)).exists()) {
        return Evidence::Known;
    }
    let of_kind = |name: &&String| name.starts_with(&format!("{kind}-"));
    if home.list(EVIDENCE).unwrap_or_default().iter().filter(of_kind).count() >= EVIDENCE_MAX {
        return Evidence::NotKept;
    }
    match home.write_many(files.iter().map(|(name, text)| (path(name), text.as_bytes().to_vec()))) {
        Ok(()) => Evidence::Kept,
        Err(error) => {
            ui::note(format!("safeconduct: {error}"));
            Evidence::NotKept
        }
    }
}

/// A name for a checkpoint, whoever else signed it.
fn short(checkpoint: &Checkpoint) -> String {
    Digest::of(checkpoint.body()).to_string().chars().take(16).collect()
}
