//! `safeconduct restore`: brings a database back, audits it, and refuses one that lacks what was signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::{Against, Head, KeptHead, Report, Standing};
use clap::Args;
use disbursement_api::pipeline;
use ledger::time::Timestamp;
use signing::digest::Digest;
use store::embedded::{Archive, Target};
use store::{Databases, log, register};

use super::{NEWEST, RESTORED, audit, beside_database, charter, export, mark, notes, unmark};
use crate::error::{Error, REFUSED, Result};
use crate::serve::{DatabaseArgs, explained, log_to_stderr};
use crate::ui;

/// `safeconduct restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The data directory: new, or, without --archive, that of the database as it is
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The archive; without it, the database as it is now is verified
    #[arg(long, value_name = "DIR", requires = "to", conflicts_with = "database_url")]
    archive: Option<PathBuf>,
    /// `latest`, or the time that the database is brought to, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "archive", value_parser = target)]
    to: Option<Target>,
    /// The `pg/pg_wal` of the server that is gone, if its disk can still be read: then what it had not archived is not lost
    #[arg(long, value_name = "DIR", requires = "archive")]
    lost_wal: Option<PathBuf>,
    /// Custodians are to give the ledger new keys: even if nothing is lost, leave it not served, with what they need
    #[arg(long)]
    rekey: bool,
    /// The ledger's id
    #[arg(long, value_name = "ID")]
    ledger: Digest,
    /// The register: the newest head that was signed
    #[arg(long, value_name = "FILE", required_unless_present = "checkpoint")]
    register: Option<PathBuf>,
    /// A checkpoint or receipt that somebody kept; once for each
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
}

fn target(text: &str) -> std::result::Result<Target, String> {
    match text {
        "latest" => Ok(Target::Latest),
        time => time.parse::<Timestamp>().map(Target::Time).map_err(|error| error.to_string()),
    }
}

/// Restores and judges.
pub fn restore(args: RestoreArgs) -> Result<ExitCode> {
    log_to_stderr(None);
    let mut kept = notes(&args.checkpoint)?;
    let mut registered = None;
    if let Some(path) = &args.register {
        let state = register::read(path).map_err(explained)?;
        let state = state.ok_or_else(|| Error::new(format!("{} is not there", path.display())))?;
        if state.ledger != args.ledger {
            return Err(Error::new(format!("{} is the register of ledger {}", path.display(), state.ledger)));
        }
        kept.push(state.checkpoint.clone());
        registered = Some(path.as_path());
    }
    let data = args.data.as_path();
    if let (Some(archive), Some(target)) = (&args.archive, args.to) {
        begin(data)?;
        let archive = Archive::at(archive).map_err(explained)?;
        let bin = args.database.server()?;
        let base = archive.restore(&bin, target, args.lost_wal.as_deref(), data).map_err(explained)?;
        ui::line(format!("Restored from the base backup of {base}, which pg_verifybackup found whole."));
    } else if !data.join("pg").exists() && !args.database.is_external() {
        return Err(Error::new(format!(
            "{} has no database; to restore one, say from where and to when: --archive DIR --to latest",
            data.display()
        )));
    }

    let exported = data.join(RESTORED);
    let (report, may_be_served, cosigned) = beside_database(&args.database, data, async |databases| {
        export(databases, args.ledger, &exported).await?;
        let cosigned = if args.rekey { cosigned(databases).await? } else { None };
        kept.extend(cosigned.clone());
        let report = audit(&exported, args.ledger, Against { kept: &kept, ..Against::default() })?;
        let may_be_served = registered.is_some() && is_whole(&report) && !args.rekey;
        let session = databases.session().await.map_err(explained)?;
        if !may_be_served {
            log::mark_forked(session.client()).await.map_err(explained)?;
        } else if pipeline::complete_tiles(databases, args.ledger).await.map_err(explained)? {
            // It may have been marked for want of what is known now.
            log::unmark_forked(session.client()).await.map_err(explained)?;
        } else {
            return Err(Error::new("the stored head is not that of the records"));
        }
        Ok((report, may_be_served, cosigned))
    })?;
    ui::line(report.to_string());
    if may_be_served {
        fs::remove_file(&exported)?;
        unmark(data)?;
        let register = registered.map_or(String::new(), |path| path.display().to_string());
        ui::line("Nothing that is known to have been signed is lost. Next, with the ledger's keys in place:");
        ui::line(format!(
            "safeconduct serve --data {} --register {register} --archive NEW-DIR",
            data.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    // What a key signed that is to be replaced is worth what witnesses say of it.
    if let Some(note) = cosigned.as_ref().or_else(|| newest(&report, &kept)) {
        super::write(&data.join(NEWEST), note.as_bytes())?;
    }
    let is_planned = args.rekey && registered.is_some() && is_whole(&report);
    let why = if is_planned { planned() } else { why(&report, &kept, registered) };
    mark(data, &why)?;
    ui::line(format!("NOT TO BE SERVED: {why}"));
    Ok(if is_planned { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// A new data directory, which is not served until this has come to its end.
fn begin(data: &Path) -> Result<()> {
    fs::create_dir_all(data)?;
    if fs::read_dir(data)?.next().is_some() {
        return Err(Error::new(format!("{} is not empty: restore into a new directory", data.display())));
    }
    mark(data, "restoring did not come to its end; remove it, and restore again")
}

fn is_whole(report: &Report) -> bool {
    report.accounts_for_kept()
}

/// The note of the newest head that is known to have been signed.
fn newest<'a>(report: &Report, kept: &'a [String]) -> Option<&'a String> {
    let signed =
        report.kept.iter().zip(kept).filter_map(|(judged, note)| Some((judged.head.as_ref()?.size, note)));
    signed.max_by_key(|(size, _)| *size).map(|(_, note)| note)
}

/// The newest head under the log's origin that witnesses cosigned, as its note.
async fn cosigned(databases: &Databases) -> Result<Option<String>> {
    let origin = charter(databases).await?.origin().to_string();
    let client = databases.read().await?;
    let note = log::latest_cosigned(&client).await.map_err(explained)?;
    Ok(note.filter(|note| note.split('\n').next() == Some(origin.as_str())))
}

/// Why a database is not served of which nothing is lost.
fn planned() -> String {
    format!(
        "custodians are to give the ledger new keys: docs/operating/rekey.md, with {RESTORED} and {NEWEST} in this directory. To \
         go on with the keys that it has, run this again without --rekey"
    )
}

/// Why a restored database is not served, and what to do.
fn why(report: &Report, kept: &[String], registered: Option<&Path>) -> String {
    if !report.is_verified() {
        return "the audit refutes the restored log; restore from another base backup or to another time"
            .to_owned();
    }
    let contradicts =
        |kept: &&KeptHead| matches!(kept.standing, Standing::Contradicts { .. } | Standing::UnknownOrigin);
    if let Some(kept) = report.kept.iter().find(contradicts) {
        return format!("{kept}. Find out whose log this is before anything else");
    }
    let size = report.checked.head.map_or(0, |Head { size, .. }| size);
    let signed = report.kept.iter().filter_map(|kept| kept.head.as_ref()).map(|head| head.size).max();
    let newest = signed.unwrap_or(0);
    let known = if registered.is_some() || kept.is_empty() {
        ""
    } else {
        " (there is no register, so that more may be)"
    };
    let lost = match newest.checked_sub(size) {
        Some(lost @ 1..) => format!(
            "it has {size} records, and {newest} were signed: records {size} to {} are lost, {lost} in number{known}",
            newest - 1
        ),
        _ => format!("it has {size} records, and without the register nobody knows whether more were signed"),
    };
    format!(
        "{lost}. Restore further, with --to latest and --lost-wal, or with another archive. If that is all there is, the \
         custodians reopen the log: docs/operating/backup.md, with {RESTORED} and {NEWEST} in this directory"
    )
}
