//! `safeconduct audit`: the verification of a bundle, or of a part of one, and all that it is compared with.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use auditor::{Against, Audited, Documents, KeptHead};
use clap::Args;
use serde_json::json;
use signing::digest::Digest;

use super::auditing::{self, AuditCommand};
use super::handed_over::HandedOver;
use super::kept_state;
use crate::context::Global;
use crate::error::{Error, REFUSED, Result};
use crate::progress::Progress;
use crate::recovery::notes;
use crate::{input, ui};

/// `safeconduct audit`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// The bundle, or a part of one
    #[arg(value_name = "FILE", required = true)]
    bundle: Option<PathBuf>,
    /// The ledger's id, as you know it from elsewhere
    #[arg(long, value_name = "ID", required = true)]
    ledger: Option<Digest>,
    /// A checkpoint or receipt that somebody kept, which the log must account for; once for each
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A folder of documents, which are compared with the SHA-256 digests that records name
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
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

/// Verifies a bundle offline, by replay.
pub fn audit(global: &Global, args: AuditArgs) -> Result<ExitCode> {
    let (bundle, ledger) = match args {
        AuditArgs { command: Some(command), .. } => return command.run(global),
        AuditArgs { bundle: Some(ref bundle), ledger: Some(ledger), .. } => (bundle, ledger),
        _ => return Err(Error::new("name the bundle, and the ledger with --ledger ID")),
    };
    let files = args.evidence.as_deref().map(auditing::documents).transpose()?;
    let state = args.state.as_deref().map(|path| kept_state::read(path, ledger)).transpose()?;
    let outbox = args.outbox.as_deref().map(|dir| HandedOver::read(dir, ledger)).transpose()?;
    let mut kept = notes(&args.checkpoint)?;
    let receipts = outbox.as_ref().map_or(vec![], HandedOver::notes);
    let of_receipts = kept.len()..kept.len() + receipts.len();
    kept.extend(receipts);
    let bundle = BufReader::with_capacity(1 << 20, input::open(bundle)?);
    let mut bar = if global.json { None } else { Progress::on_terminal() };
    let mut show = bar.as_mut().map(|bar| move |done: u64, total: u64| bar.show(done, total));
    let mut documents = Documents::default();
    let against = Against {
        kept: &kept,
        // What nobody compares is not gathered.
        observer: files.is_some().then_some(&mut documents),
        progress: show.as_mut().map(|show| show as &mut dyn FnMut(u64, u64)),
        sought: outbox.as_ref().map_or(HashSet::new(), HandedOver::digests),
        state,
    };
    let Audited { mut report, found, state } = auditor::audit(bundle, ledger, against)?;
    drop(bar);
    if files.is_some() && report.checked.continued.is_some() {
        return Err(Error::new(
            "a part has only the newest of the records that name documents; with --evidence give a whole bundle",
        ));
    }
    let mut holds = report.accounts_for_kept();
    // Of a bundle that does not hold nothing was judged.
    let judged: Vec<KeptHead> =
        if report.is_verified() { report.kept.drain(of_receipts).collect() } else { vec![] };
    // What is to be looked at is said of the note, and not of each record that has a receipt under it.
    report.kept.extend(judged.iter().filter(|kept| kept.is_doubtful()).cloned());
    let mut document = serde_json::to_value(&report)?;
    let mut page = report.to_string();
    match files.map(|files| documents.compare(&files)) {
        Some(documents) if report.is_verified() => {
            document["evidence"] = json!(documents);
            page += &documents.page().to_string();
        }
        Some(_) => page += "No document was compared, since the log does not hold.\n",
        None => {}
    }
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
    Ok(if holds && report.agrees_with_kept() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}
