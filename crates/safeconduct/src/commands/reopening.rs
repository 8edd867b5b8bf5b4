//! What custodians sign, and everybody accepts, when a log that lost records, or gets new keys, goes on under a new origin. Nothing here is
//! sent: the acts are files, which the operator appends with `safeconduct reopen`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::{Against, Head, KeptHead, Standing};
use clap::{Args, Subcommand};
use client::Client;
use client::describe::act as act_words;
use client::receipt::Receipt;
use client::reopening::{Followed, founding, proposed};
use records::governance::{Act, Concurrence, LedgersKeys, Proposal};
use records::scalar::{Integer, Token};
use records::{Basis, Body, Record};
use serde_json::json;
use signing::dsse::Envelope;
use translog::checkpoint::Checkpoint;

use super::witness;
use crate::context::Global;
use crate::error::{Error, FAILED, Result};
use crate::recovery::{audit, notes};
use crate::send::{Planned, WEEK_S, agreed, show_words};
use crate::{input, ui};

/// `safeconduct reopening ...`
#[derive(Debug, Subcommand)]
pub enum ReopeningCommand {
    /// Propose it, in a file (custodian)
    Propose {
        #[command(flatten)]
        seen: Seen,
        /// The new origin: none that the log ever had
        #[arg(long, value_name = "NAME")]
        origin: Token,
        /// The ledger's keys from then on, where they change: the public.json that `service-keys new` wrote
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// Where the signed proposal is written
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Concur with a proposal, in a file (a further custodian)
    Concur {
        /// The proposal
        #[arg(value_name = "FILE")]
        proposal: PathBuf,
        #[command(flatten)]
        seen: Seen,
        /// Where the signed concurrence is written
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Verify a reopening against the founding record and what this home verified, and follow it from now on
    Accept {
        /// The file that `safeconduct reopen` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What a custodian looks at before he signs.
#[derive(Debug, Args)]
pub struct Seen {
    /// What `safeconduct restore` exported of the log that is left
    #[arg(long, value_name = "FILE")]
    restored: PathBuf,
    /// A checkpoint or receipt that somebody else kept; once for each
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

impl ReopeningCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        match self {
            ReopeningCommand::Propose { seen, origin, keys, out } => {
                let keys = keys.as_deref().map(input::json_file).transpose()?;
                propose(global, &client, &seen, (origin, keys), &out)
            }
            ReopeningCommand::Concur { proposal, seen, out } => {
                concur(global, &client, &proposal, &seen, &out)
            }
            ReopeningCommand::Accept { file } => accept(global, &client, &file),
        }
    }
}

/// The head of what is left, replayed here, and the newest signed head that anybody here knows of, with its note: with new
/// keys, the newest that is cosigned.
fn look(
    client: &Client,
    seen: &Seen,
    further: Option<&str>,
    is_rekey: bool,
) -> Result<(Basis, Checkpoint, String)> {
    let mut kept = notes(&seen.checkpoint)?;
    kept.extend(client.kept()?.note);
    // A witness that begins at the founding record has no note yet.
    let cosigned = witness::cosigned(client.home(), client.ledger())?.into_iter().map(|(_, note)| note);
    kept.extend(cosigned.filter(|note| !note.is_empty()));
    kept.extend(further.map(str::to_owned));
    let ledger = client.ledger();
    let report = audit(&seen.restored, ledger.ledger, Against { kept: &kept, ..Against::default() })?;
    ui::note(report.to_string());
    let Some(Head { root, size }) = report.checked.head.filter(|_| report.is_verified()) else {
        return Err(Error::new("the audit refutes the restored log; sign nothing"));
    };
    let contradicts =
        |kept: &&KeptHead| matches!(kept.standing, Standing::Contradicts { .. } | Standing::UnknownOrigin);
    if let Some(kept) = report.kept.iter().find(contradicts) {
        return Err(Error::new(format!("{kept}; sign nothing")));
    }
    let of_now = kept.into_iter().filter_map(|note| {
        let origin = ledger.origin.as_str();
        Some((Checkpoint::parse_and_verify(&note, origin, &ledger.checkpoint_key).ok()?, note))
    });
    let of_now: Vec<(Checkpoint, String)> = of_now.collect();
    let has_two = |(one, _): &(Checkpoint, String)| {
        of_now.iter().any(|(other, _)| one.size == other.size && one != other)
    };
    if of_now.iter().any(has_two) {
        return Err(Error::new(
            "two different heads of one size were signed: sign nothing, and tell the auditors",
        ));
    }
    // As the policy of the replayed log demands, whatever this home knows of it.
    let demanded = report.checked.witnessing.filter(|_| is_rekey);
    let is_enough = |note: &str| match &demanded {
        Some(demanded) => demanded.cosigned_by(note).is_ok_and(|by| demanded.suffices(&by)),
        None => true,
    };
    let newest =
        of_now.iter().filter(|(_, note)| is_enough(note)).max_by_key(|(checkpoint, _)| checkpoint.size);
    let (cited, note) = newest.cloned().ok_or_else(|| {
        let which = if demanded.is_some() { "cosigned checkpoint" } else { "checkpoint" };
        Error::new(format!(
            "this home keeps no {which}; name the newest that anybody has with --checkpoint FILE"
        ))
    })?;
    let end = cited.size.max(size);
    if let Some((beyond, _)) = of_now.iter().find(|(one, _)| one.size > end) {
        ui::note(format!(
            "A head of size {} was signed, not cosigned, and is of no log that the act knows: whoever keeps it will not follow. Sign \
             only if you know why.",
            beyond.size
        ));
    }
    Ok((Basis { root, size: Integer(size) }, cited, note))
}

fn propose(
    global: &Global,
    client: &Client,
    seen: &Seen,
    (origin, keys): (Token, Option<LedgersKeys>),
    out: &Path,
) -> Result<ExitCode> {
    let (continued, _, checkpoint) = look(client, seen, None, keys.is_some())?;
    let act = Act::Reopen { checkpoint, continued, keys: keys.map(Box::new), origin };
    let planned = Planned::from(Body::Proposal(Proposal { act }));
    let next =
        "give it, with the restored log, to the other custodians, who run: safeconduct reopening concur FILE";
    sign(global, client, continued, planned, out, next)
}

fn concur(global: &Global, client: &Client, proposal: &Path, seen: &Seen, out: &Path) -> Result<ExitCode> {
    let envelope: Envelope = input::json_file(proposal)?;
    let record = Record::parse(envelope.clone())?;
    let Some((header, act @ Act::Reopen { checkpoint, continued, keys, .. })) = proposed(&record) else {
        return Err(Error::new(format!("{} is no proposal to reopen a log", proposal.display())));
    };
    let ledger = client.ledger();
    let custodians = founding(client.home(), ledger)?.body.custodians;
    let proposer = custodians.iter().find(|custodian| custodian.principal == header.signer);
    if header.ledger != ledger.ledger || proposer.is_none() {
        return Err(Error::new("the proposal is not one by a custodian of this ledger"));
    }
    let (left, newest, _) = look(client, seen, Some(checkpoint), keys.is_some())?;
    if left != *continued {
        return Err(Error::new(format!(
            "the proposal continues a log of size {}, root {}, and the restored one has size {}, root {}",
            continued.size, continued.root, left.size, left.root
        )));
    }
    let cited = Checkpoint::parse_and_verify(checkpoint, ledger.origin.as_str(), &ledger.checkpoint_key)?;
    if cited != newest {
        return Err(Error::new(format!(
            "the proposal cites the head of size {}, and a newer or another one is known here, of size {}: have it proposed \
             anew, citing that",
            cited.size, newest.size
        )));
    }
    let words = act_words(act);
    let planned = Planned::from(Body::Concurrence(Concurrence { proposal: record.digest() }))
        .and("proposed by", &header.signer)
        .and("that is", words.headline);
    let planned =
        words.details.into_iter().fold(planned, |planned, (label, value)| planned.and(&label, value));
    let next = "give it to the operator, who runs, with all of them: safeconduct reopen --data DIR FILE...";
    sign(global, client, left, planned, out, next)
}

fn sign(
    global: &Global,
    client: &Client,
    basis: Basis,
    planned: Planned,
    out: &Path,
    next: &str,
) -> Result<ExitCode> {
    let Planned { body, words } = planned;
    if !global.json {
        ui::line(format!("As {} you sign:", client.identity().principal));
        show_words(&[words]);
    }
    if !agreed(global, "Sign it?")? {
        return Ok(ExitCode::from(FAILED));
    }
    if global.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    for record in client.sign(basis, vec![body], WEEK_S)? {
        client::home::write_private(out, &record.leaf())?;
        if global.json {
            ui::json(&json!({"digest": record.digest(), "file": out.display().to_string(), "next": next}));
        } else {
            ui::line(format!("Wrote {} ({}), valid for a week.", out.display(), record.digest()));
            ui::line(format!("Next: {next}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn accept(global: &Global, client: &Client, file: &Path) -> Result<ExitCode> {
    let receipts: Vec<Receipt> = input::json_file(file)?;
    let cosigned = witness::cosigned(client.home(), client.ledger())?.into_iter().map(|(head, _)| head);
    let Followed { reopening, kept, lost } =
        client.follow_reopening(&receipts, &cosigned.collect::<Vec<_>>())?;
    let (from, cited) = (reopening.continued.size.0, reopening.cited.size);
    if global.json {
        ui::json(&json!({
            "cited": cited.to_string(), "continued": from.to_string(), "custodians": reopening.custodians,
            "keys": reopening.keys, "kept": kept.to_string(), "lost": lost, "origin": reopening.head.origin,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let custodians: Vec<&str> = reopening.custodians.iter().map(|custodian| custodian.as_str()).collect();
    ui::line(format!(
        "The log was reopened at {from} by {}, citing head {cited}, and goes on as {}.",
        custodians.join(" and "),
        reopening.head.origin
    ));
    if let Some(LedgersKeys { checkpoint_key, record_key }) = &reopening.keys {
        ui::line(format!(
            "The ledger has new keys: {} for records and {} for checkpoints.",
            record_key.id(),
            checkpoint_key.id()
        ));
    }
    ui::line(match cited.checked_sub(from) {
        Some(count @ 1..) => format!("Records {from} to {} are lost, {count} in number.", cited - 1),
        _ => "No record is known to be lost.".to_owned(),
    });
    if kept > from {
        ui::line(format!(
            "This home had verified {kept} records; that head is kept in evidence, and cannot be compared any more."
        ));
    }
    let row = |lost: &client::reopening::Lost| {
        vec![lost.position.to_string(), lost.kind.clone(), lost.digest.to_string()]
    };
    ui::line("Your instructions that are lost, and have to be signed anew where they still hold:");
    ui::table(&["position", "kind", "digest"], lost.iter().map(row).collect(), "None.");
    Ok(ExitCode::SUCCESS)
}
