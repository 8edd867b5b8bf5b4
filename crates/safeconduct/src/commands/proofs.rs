//! What proves things: receipts, the outbox, and the auditor's bundle.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use client::describe::describe;
use client::receipt::Receipt;
use client::reopening::Reopening;
use client::witnessing::{Demanded, Refreshed};
use client::{Ledger, outbox};
use records::bundle::Header;
use records::{Kind, Payload};
use serde_json::{Value, json};
use signing::digest::Digest;
use signing::dsse::Envelope;
use translog::tlog_proof::FIRST_LINE;

use crate::commands::kept_state;
use crate::commands::witnesses::{by_json, cosignatures};
use crate::context::Global;
use crate::error::{Error, REFUSED, Result};
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
        /// Beside --founding: receipts of the custodians' act by which a later policy names witnesses, in the log's order
        #[arg(long, value_name = "RECEIPT", requires = "founding")]
        act: Vec<PathBuf>,
        /// Beside --founding: what `safeconduct reopen` wrote, where the log was reopened; once for each time, in order
        #[arg(long, value_name = "FILE", requires = "founding")]
        reopening: Vec<PathBuf>,
    },
    /// Write a receipt as a C2SP tlog-proof, which other programs verify too
    Export {
        /// The receipt
        #[arg(value_name = "FILE")]
        receipt: PathBuf,
        /// Where to; readable by you only
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Bring this home's receipts under the latest checkpoint that has the cosignatures which policy demands
    Refresh,
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

/// The most bytes of a bundle's first line, with its line feed (docs/spec/bundle.md).
const HEADER_BYTES_MAX: u64 = 132_073;

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
    lines.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut first)?;
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

impl ReceiptCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let (path, founding, ledger, act, reopenings) = match self {
            ReceiptCommand::Verify { receipt, founding, ledger, act, reopening } => {
                (receipt, founding, ledger, act, reopening)
            }
            ReceiptCommand::Export { receipt, out } => return export(global, &receipt, &out),
            ReceiptCommand::Refresh => return refresh(global),
        };
        let (known, demanded) = match (founding, ledger) {
            (Some(file), Some(ledger)) => {
                let envelope: Envelope = input::json_file(&file)?;
                let (mut known, founding) = Ledger::of_founding(&envelope, ledger, "")?;
                for file in reopenings {
                    let receipts: Vec<Receipt> = input::json_file(&file)?;
                    known = Reopening::verify(&receipts, &known, &founding)?.after(&known)?;
                }
                let act = act.iter().map(|file| input::json_file(file)).collect::<Result<Vec<Receipt>>>()?;
                let demanded = match act.as_slice() {
                    [] => Demanded::of_founding(&founding)?,
                    act => Demanded::of_act(act, &known, &founding)?,
                };
                (known, demanded)
            }
            _ => {
                let home = global.open_home()?;
                let known = Ledger::read(&home)?;
                let demanded = Demanded::read(&home, &known)?;
                (known, demanded)
            }
        };
        let receipt = read_receipt(&path)?;
        let is_lost = known.has_lost(&receipt);
        let verified =
            known.verify(&receipt).and_then(|proven| Ok((proven, demanded.is_met_by(&receipt.checkpoint)?)));
        let (proven, is_cosigned) = match verified {
            Ok(verified) => verified,
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
        let by = cosignatures(demanded.witnessing.as_ref(), &receipt.checkpoint);
        if global.json {
            ui::json(&json!({
                "cosigned": is_cosigned, "cosigned_by": by_json(&by), "digest": record.digest(), "holds": true, "kind": record.kind().name(), "ledger": known.ledger,
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
            by.iter().for_each(|by| ui::line(format!("The checkpoint is {by}.")));
            if !is_cosigned {
                ui::line(
                    "It has fewer COSIGNATURES than the policy demands, so that the service might show others another log: run \
                     `safeconduct receipt refresh` when witnesses have cosigned, and verify it again.",
                );
            }
        }
        Ok(if is_cosigned { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}

/// A receipt as a home keeps it, or as a C2SP tlog-proof.
fn read_receipt(path: &Path) -> Result<Receipt> {
    let text =
        fs::read_to_string(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
    let read = if text.starts_with(FIRST_LINE) {
        Receipt::of_tlog_proof(&text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    read.map_err(|error| Error::new(format!("{}: {error}", path.display())))
}

fn export(global: &Global, path: &Path, out: &Path) -> Result<ExitCode> {
    client::home::write_private(out, read_receipt(path)?.to_tlog_proof().as_bytes())?;
    if global.json {
        ui::json(&json!({"file": out.display().to_string()}));
    } else {
        ui::line(format!(
            "Wrote {}, for you only. Its extra data is the record itself: give it to nobody who may not see that.",
            out.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn refresh(global: &Global) -> Result<ExitCode> {
    let Refreshed { size, refreshed, waiting, lost } = global.client()?.refresh_receipts()?;
    if global.json {
        let (refreshed, waiting, lost) = (refreshed.to_string(), waiting.to_string(), lost.to_string());
        ui::json(
            &json!({"lost": lost, "refreshed": refreshed, "size": size.to_string(), "waiting": waiting}),
        );
    } else {
        ui::line(format!("{refreshed} receipts are under the cosigned checkpoint of size {size} now."));
        if waiting > 0 {
            ui::line(format!("{waiting} are of later records: run this again when witnesses have cosigned."));
        }
        if lost > 0 {
            ui::line(format!("{lost} are of records that are LOST: the log was reopened before them."));
        }
    }
    Ok(ExitCode::SUCCESS)
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
