//! What proves things: receipts, the outbox, the auditor's bundle and its verification.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::{Against, Audited};
use clap::{Args, Subcommand};
use client::describe::describe;
use client::receipt::Receipt;
use client::{Ledger, outbox};
use records::bundle::Header;
use records::{Kind, Payload};
use serde_json::{Value, json};
use signing::digest::Digest;
use signing::dsse::Envelope;

use super::handed_over::HandedOver;
use super::kept_state;
use crate::context::Global;
use crate::error::{Error, REFUSED, Result};
use crate::progress::Progress;
use crate::recovery::notes;
use crate::send::{exit_code, results_json, results_table};
use crate::{input, ui};

/// `safeconduct bundle`
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// Where to; readable by you only
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only what came since this state, which an audit kept
    #[arg(long, value_name = "FILE")]
    since_state: Option<PathBuf>,
}

/// `safeconduct audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The bundle
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// The ledger's id, as you know it from elsewhere
    #[arg(long, value_name = "ID")]
    ledger: Digest,
    /// A checkpoint or receipt that somebody kept, which the log must account for; once for each
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// What an earlier audit kept: of a part, what it goes on from; of a whole bundle, one more checkpoint
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where to keep the state for the next audit, if everything holds; readable by you only
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Somebody's home, or a directory with its `outbox` and `receipts`: is in the log what was sent and accepted?
    #[arg(long, value_name = "DIR")]
    outbox: Option<PathBuf>,
}

/// `safeconduct receipt ...`
#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Check a receipt offline
    Verify {
        /// The receipt
        #[arg(value_name = "FILE")]
        receipt: PathBuf,
        /// The ledger's founding record; else the one of this home
        #[arg(long, value_name = "FILE", requires = "ledger")]
        founding: Option<PathBuf>,
        /// The ledger's id
        #[arg(long, value_name = "ID", requires = "founding")]
        ledger: Option<Digest>,
    },
}

/// `safeconduct outbox ...`
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// List what was sent and has no receipt
    List,
    /// Send again what has no answer; this is always safe
    Resend {
        /// Also what was refused for a reason that may have passed
        #[arg(long)]
        refused: bool,
    },
}

/// Exports the whole ledger for offline verification.
pub fn bundle(global: &Global, args: BundleArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let since = args.since_state.as_deref().map(|path| kept_state::size(path, client.ledger().ledger));
    let since = since.transpose()?;
    let path = since.map_or("/v1/bundle".to_owned(), |from| format!("/v1/bundle?from={from}"));
    let mut document = client.open_document(&path)?;
    let mut part = args.out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = |error: io::Error| Error::new(format!("{}: {error}", part.display()));
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(file)?;
    let bytes = io::copy(&mut document, &mut out)
        .map_err(|error| Error::new(format!("the export broke off ({error}); run the command again")))?;
    out.flush().and_then(|()| out.sync_all()).map_err(file)?;
    let header = check_whole(&part)?;
    if header.ledger != client.ledger().ledger {
        return Err(Error::new("the service exported another ledger than the one that this home has joined"));
    }
    if header.first() != since.unwrap_or_default() {
        return Err(Error::new("the service exported another part of the log than was asked for"));
    }
    let kept = client.follow_answer(&header.checkpoint)?;
    fs::rename(&part, &args.out).map_err(file)?;
    let mut next = format!("safeconduct audit {} --ledger {}", args.out.display(), client.ledger().ledger);
    if let Some(state) = &args.since_state {
        next += &format!(" --state {}", state.display());
    }
    if global.json {
        ui::json(&json!({"bytes": bytes.to_string(), "file": args.out.display().to_string(), "next": next}));
    } else {
        ui::line(format!(
            "Wrote {} ({bytes} bytes). It holds case references: keep it as you keep those.",
            args.out.display()
        ));
        ui::line(format!(
            "Its checkpoint extends what this machine verified before, up to {} records.",
            kept.checkpoint.size
        ));
        ui::line(format!("Next: {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The header of an export that has as many lines as it says: one that broke off proves nothing.
fn check_whole(path: &Path) -> Result<Header> {
    let mut lines = BufReader::with_capacity(1 << 20, input::open(path)?);
    let mut first = Vec::new();
    lines.read_until(b'\n', &mut first)?;
    let header: Header = serde_json::from_slice(&first)
        .map_err(|error| client::Error::Answer(format!("the export has no header: {error}")))?;
    let mut counted: u64 = 0;
    loop {
        let chunk = lines.fill_buf()?;
        let length = chunk.len();
        if length == 0 {
            break;
        }
        counted += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        lines.consume(length);
    }
    if header.lines() == Some(counted) {
        Ok(header)
    } else {
        Err(Error::new("the export broke off; run the command again"))
    }
}

/// Verifies a bundle offline, by replay.
pub fn audit(global: &Global, args: AuditArgs) -> Result<ExitCode> {
    let ledger = args.ledger;
    let state = args.state.as_deref().map(|path| kept_state::read(path, ledger)).transpose()?;
    let outbox = args.outbox.as_deref().map(|dir| HandedOver::read(dir, ledger)).transpose()?;
    let mut kept = notes(&args.checkpoint)?;
    let receipts = outbox.as_ref().map_or(vec![], HandedOver::notes);
    let of_receipts = kept.len()..kept.len() + receipts.len();
    kept.extend(receipts);
    let bundle = BufReader::with_capacity(1 << 20, input::open(&args.bundle)?);
    let mut bar = if global.json { None } else { Progress::on_terminal() };
    let mut show = bar.as_mut().map(|bar| move |done: u64, total: u64| bar.show(done, total));
    let against = Against {
        kept: &kept,
        progress: show.as_mut().map(|show| show as &mut dyn FnMut(u64, u64)),
        sought: outbox.as_ref().map_or(HashSet::new(), HandedOver::digests),
        state,
    };
    let Audited { mut report, found, state } = auditor::audit(bundle, ledger, against)?;
    drop(bar);
    let mut holds = report.accounts_for_kept();
    // Of a bundle that does not hold nothing was judged.
    let judged = if report.is_verified() { report.kept.drain(of_receipts).collect() } else { vec![] };
    let mut document = serde_json::to_value(&report)?;
    let mut page = report.to_string();
    if let Some(outbox) = outbox.filter(|_| report.is_verified()) {
        let compared = outbox.compare(&judged, &found, &report);
        holds = report.accounts_for_kept() && compared.holds();
        document["outbox"] = compared.json();
        page += &compared.to_string();
    }
    if let (Some(path), Some(state), true) = (&args.keep, state, holds) {
        kept_state::write(path, &state)?;
        document["kept_state"] =
            json!({"file": path.display().to_string(), "size": state.head().size.to_string()});
        page += &format!(
            "\nThe state at size {} is kept in {}. It holds case references: keep it as you keep those.\n",
            state.head().size,
            path.display()
        );
    } else if let Some(path) = &args.keep {
        ui::note(format!("{} was not written, since something does not hold", path.display()));
    }
    if global.json {
        ui::json(&document);
    } else {
        ui::line(page);
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

impl ReceiptCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let ReceiptCommand::Verify { receipt: path, founding, ledger } = self;
        let known = match (founding, ledger) {
            (Some(file), Some(ledger)) => {
                let envelope: Envelope = input::json_file(&file)?;
                Ledger::of_founding(&envelope, ledger, "")?.0
            }
            _ => Ledger::read(&global.open_home()?)?,
        };
        let receipt: Receipt = input::json_file(&path)?;
        let earlier = known
            .earlier
            .iter()
            .find(|earlier| receipt.checkpoint.starts_with(&format!("{}\n", earlier.origin)));
        let origin = earlier.map_or(&known.origin, |earlier| &earlier.origin);
        let is_lost = earlier.is_some_and(|earlier| receipt.position >= earlier.size);
        let proven = match receipt.verify(origin.as_str(), &known.checkpoint_key) {
            Ok(proven) => proven,
            Err(error) => {
                if global.json {
                    ui::json(&json!({"holds": false, "reason": error.to_string()}));
                } else {
                    ui::line(format!("The receipt does not hold: {error}"));
                }
                return Ok(ExitCode::from(REFUSED));
            }
        };
        let record = &proven.record;
        let words = match record.payload() {
            Payload::Instruction(header, body) => {
                format!("{} signed: {}", header.signer, describe(body).headline)
            }
            other => format!("a record of the kind {}", other.kind().name()),
        };
        let (position, size) = (receipt.position.0, proven.checkpoint.size);
        if global.json {
            ui::json(&json!({
                "digest": record.digest(), "holds": true, "kind": record.kind().name(), "ledger": known.ledger,
                "lost": is_lost, "position": position.to_string(), "size": size.to_string(), "words": words,
            }));
        } else {
            ui::line(format!("The receipt holds: record {} is at position {position} of", record.digest()));
            ui::line(format!("ledger {}, under its checkpoint of size {size}.", known.ledger));
            ui::line(words);
            if is_lost {
                ui::line(
                    "It was in the log, and is LOST: the log was reopened before it, under another origin.",
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn kind_of(envelope: &Envelope) -> &'static str {
    Kind::of_payload_type(&envelope.payload_type).map_or("unknown", Kind::name)
}

impl OutboxCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            OutboxCommand::List => list(global),
            OutboxCommand::Resend { refused } => resend(global, refused),
        }
    }
}

fn list(global: &Global) -> Result<ExitCode> {
    let sent = outbox::list(&global.open_home()?)?;
    let state = |sent: &outbox::Sent| match &sent.refused {
        Some(problem) => format!("refused, {problem}"),
        None => "no answer yet: safeconduct outbox resend".to_owned(),
    };
    if global.json {
        let items = sent.iter().map(|sent| {
            json!({
                "digest": sent.envelope.digest(), "kind": kind_of(&sent.envelope), "refused": sent.refused,
                "sent_at": sent.sent_at,
            })
        });
        let items: Vec<Value> = items.collect();
        ui::json(&json!({ "items": items }));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = sent.iter().map(|sent| {
        let (digest, kind) = (sent.envelope.digest().to_string(), kind_of(&sent.envelope).to_owned());
        vec![sent.sent_at.to_string(), kind, digest, state(sent)]
    });
    ui::table(&["sent at", "kind", "digest", "state"], rows.collect(), "The outbox is empty.");
    Ok(ExitCode::SUCCESS)
}

fn resend(global: &Global, refused: bool) -> Result<ExitCode> {
    let client = global.client()?;
    let which = |sent: &outbox::Sent| match &sent.refused {
        None => true,
        Some(problem) => refused && problem.transient,
    };
    let (envelopes, submission) = client.resend(which)?;
    let digests: Vec<(Digest, &'static str)> =
        envelopes.iter().map(|envelope| (envelope.digest(), kind_of(envelope))).collect();
    if global.json {
        ui::json(&json!({"results": results_json(&digests, &submission)}));
    } else if digests.is_empty() {
        ui::line("Nothing waits for an answer.");
    } else {
        results_table(&digests, &submission);
    }
    Ok(exit_code(&submission))
}
