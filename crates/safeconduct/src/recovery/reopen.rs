//! `safeconduct reopen`: appends the custodians' acts to a restored log and signs its head under the new origin, with new keys
//! if the act names any; those are then put in place.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use auditor::Against;
use clap::Args;
use client::receipt::Receipt;
use client::reopening::proposed;
use disbursement_api::pipeline::{Reopened, Reopening};
use ledger::time::Timestamp;
use records::Record;
use records::governance::Act;
use records::scalar::Integer;
use signing::dsse::Envelope;
use store::{hashes, log};

use super::enrolments::Enrolments;
use super::{MARKER, RESTORED, audit, beside_database, charter, export, register_path, unmark, write};
use crate::error::{Error, Result};
use crate::serve::{DatabaseArgs, explained, keys, log_to_stderr};
use crate::{context, input, ui};

/// `safeconduct reopen`
#[derive(Debug, Args)]
pub struct ReopenArgs {
    /// The data directory that `restore` left, with the ledger's keys in place, unless they are replaced
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The custodians' acts: the proposal and the concurrences, each in a file
    #[arg(value_name = "FILE", required = true)]
    acts: Vec<PathBuf>,
    /// The ledger's new keys, where the act names any: a directory that `service-keys new` made
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// The register, which is replaced and kept beside; else DIR/register.json
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    /// The time, if this machine's clock is right although it is far from the ledger's last entry
    #[arg(long, value_name = "TIME")]
    confirm_clock: Option<Timestamp>,
    #[command(flatten)]
    token: keys::TokenArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Reopens a log.
pub fn reopen(args: ReopenArgs) -> Result<ExitCode> {
    log_to_stderr(None);
    let data = args.data.as_path();
    // What was exported goes before the marker, so it may be gone where this was cut short.
    if !data.join(MARKER).exists() {
        return Err(Error::new(format!(
            "{} is not a directory that `safeconduct restore` left to be reopened",
            data.display()
        )));
    }
    let acts = args.acts.iter().map(|path| input::json_file(path)).collect::<Result<Vec<Envelope>>>()?;
    match (acts.iter().any(gives_keys), &args.keys) {
        (true, None) => {
            return Err(Error::new(
                "the act gives the ledger new keys: name the directory that they are in with --keys DIR",
            ));
        }
        (false, Some(_)) => {
            return Err(Error::new("the act gives the ledger no new keys; reopen without --keys"));
        }
        _ => {}
    }
    if args.keys.is_none() && !keys::are_in(data) {
        return Err(Error::new(format!(
            "the ledger's keys are not in {}: copy the ledger's keys into it, from the server that is gone or from your backup",
            data.join("keys").display()
        )));
    }
    let register = register_path(data, args.register.as_ref());
    let exported = data.join(RESTORED);
    let (reopened, receipts) = beside_database(&args.database, data, async |databases| {
        let ledgers_keys = match &args.keys {
            Some(dir) => keys::open_made(dir, &args.token)?,
            None => keys::open(data, &args.token)?,
        };
        let reopening = Reopening::of(
            databases.clone(),
            ledgers_keys,
            register.clone(),
            context::now,
            args.confirm_clock,
            acts,
        )
        .await
        .map_err(explained)?;
        reopening.append().await.map_err(explained)?;
        // Nothing is signed that was not replayed.
        let ledger = charter(databases).await?.ledger;
        export(databases, ledger, &exported).await?;
        let mut enrolments = Enrolments::default();
        let against = Against { observer: Some(&mut enrolments), ..Against::default() };
        let report = audit(&exported, ledger, against)?;
        if !report.is_verified() {
            return Err(Error::new(format!(
                "nothing was signed, since the audit refutes the log:\n{report}"
            )));
        }
        ui::line(report.to_string());
        let reopened = reopening.sign().await.map_err(explained)?;
        let client = databases.read().await?;
        let mut receipts = Vec::new();
        let first = reopened.continued.size.0 + 1;
        // The acts stand directly after the group's own record.
        let acts = first..first + args.acts.len() as u64;
        for position in enrolments.positions().into_iter().filter(|at| *at < first).chain(acts) {
            let record = log::record(&client, position).await.map_err(explained)?;
            let record = record.ok_or_else(|| Error::new("a record that was appended is not there"))?;
            let hashes = hashes::inclusion_proof(&client, position, reopened.head.size).await;
            receipts.push(Receipt {
                checkpoint: reopened.head.note.clone(),
                envelope: record.envelope().clone(),
                hashes: hashes.map_err(explained)?,
                position: Integer(position),
            });
        }
        Ok((reopened, receipts))
    })?;
    let Reopened { head, continued, cited, old_register } = &reopened;
    let old_keys = args.keys.as_ref().map(|from| keys::replace(data, from, continued.size.0)).transpose()?;
    let proof = data.join(format!("reopened-at-{}.json", continued.size));
    write(&proof, &client::home::json(&receipts)?)?;
    fs::remove_file(&exported)?;
    unmark(data)?;
    ui::line(format!("Reopened at {}, citing the head of size {}. Signed now:", continued.size, cited.size));
    ui::line(head.note.trim_end());
    if let Some(kept) = old_register {
        ui::line(format!("The old register is kept: {}", kept.display()));
    }
    if let Some(kept) = old_keys.flatten() {
        ui::line(format!(
            "The old keys are kept: {}. They sign nothing of this log any more.",
            kept.display()
        ));
    }
    ui::line(format!(
        "Give this file to everybody, who accepts it with `safeconduct reopening accept FILE`: {}",
        proof.display()
    ));
    ui::line(format!("Next: safeconduct serve --data {} --archive NEW-DIR", data.display()));
    Ok(ExitCode::SUCCESS)
}

/// Whether an act gives the ledger new keys.
fn gives_keys(envelope: &Envelope) -> bool {
    let record = Record::parse(envelope.clone());
    record.is_ok_and(|record| matches!(proposed(&record), Some((_, Act::Reopen { keys: Some(_), .. }))))
}
