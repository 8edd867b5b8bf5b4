//! Backup, restore and reopening: an operator's commands, with the service's keys or none. `docs/operating/backup.md`
//! is their manual. What custodians and everybody else sign or accept of a reopening is in `commands::reopening`.

mod enrolments;
mod reopen;
mod restore;

use disbursement_api::limits::Limits;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::Against;
use clap::Args;
use programme::Key;
use programme::entity::CharterState;
use records::bundle::{Format, Header, balance_line, header_line};
use records::scalar::Integer;
use serde_json::Value;
use signing::digest::Digest;
use store::embedded::Archive;
use store::queries::{funds, lists};
use store::{Databases, log};

pub use reopen::{ReopenArgs, reopen};
pub use restore::{RestoreArgs, restore};

use crate::error::{Error, Result};
use crate::serve::{DatabaseArgs, explained};
use crate::{context, ui};

/// A data directory that holds it is not served: it says why.
const MARKER: &str = "not-served.txt";
/// What was exported of a restored log, for the custodians; for their eyes only.
const RESTORED: &str = "restored.ndjson";
/// The newest head that is known to have been signed, for them too.
const NEWEST: &str = "newest-head.txt";
/// How many records are read at once.
const PAGE: u32 = 500;

/// `safeconduct backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The data directory of the service, which runs with --archive
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The archive that the service writes to
    #[arg(long, value_name = "DIR")]
    archive: PathBuf,
    /// The directory of PostgreSQL's programs; else the newest that the system has
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

/// Takes a base backup, and verifies it.
pub fn backup(args: BackupArgs) -> Result<ExitCode> {
    let archive = Archive::at(&args.archive).map_err(explained)?;
    let bin = store::embedded::find_server(args.postgres_bin.as_deref()).map_err(explained)?;
    if !archive.is_written_by(&args.data).map_err(explained)? {
        return Err(Error::new(format!(
            "no service runs on {} with --archive {}: a base backup without its WAL leads to no later time",
            args.data.display(),
            args.archive.display()
        )));
    }
    let base = archive.back_up(&bin, &args.data, context::now).map_err(explained)?;
    ui::line(format!("Base backup     {}", base.display()));
    ui::line("Verified        by pg_verifybackup");
    ui::line(
        "Not in it       the ledger's keys and the register: keep the keys apart, and never copy the register back",
    );
    Ok(ExitCode::SUCCESS)
}

/// Refuses a data directory that was restored and not brought to an end.
pub fn refuse_restored(data: &Path) -> Result<()> {
    match fs::read_to_string(data.join(MARKER)) {
        Ok(why) => Err(Error::new(format!("{} is not served: {}", data.display(), why.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::new(format!("{}: {error}", data.join(MARKER).display()))),
    }
}

/// Has a data directory not be served, for this reason.
fn mark(data: &Path, why: &str) -> Result<()> {
    let new = data.join(format!("{MARKER}.new"));
    write(&new, why.as_bytes())?;
    fs::rename(&new, data.join(MARKER))?;
    Ok(File::open(data)?.sync_all()?)
}

fn unmark(data: &Path) -> Result<()> {
    match fs::remove_file(data.join(MARKER)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(File::open(data)?.sync_all()?)
}

/// Writes a file for its owner's eyes only, and has the disk remember it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", path.display()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// Exports the whole log as it is stored, its end signed by nobody.
async fn export(databases: &Databases, ledger: Digest, path: &Path) -> Result<()> {
    let (size, balances) = funds::balances(&mut databases.read().await?).await.map_err(explained)?;
    let header = Header {
        balances: Integer(balances.len() as u64),
        balances_at: Integer(size),
        checkpoint: String::new(),
        format: Format::V1,
        from: None,
        ledger,
        records: Integer(size),
    };
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut out = BufWriter::new(file.map_err(failed)?);
    out.write_all(header_line(&header).as_bytes()).map_err(failed)?;
    for balance in &balances {
        out.write_all(balance_line(balance).as_bytes()).map_err(failed)?;
    }
    let client = databases.read().await?;
    let mut from = 0;
    while from < size {
        for envelope in log::envelopes(&client, from, size, PAGE).await.map_err(explained)? {
            out.write_all(&envelope.encode()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        }
        from += u64::from(PAGE);
    }
    out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)
}

/// Replays an export, and compares it with these notes.
pub fn audit(path: &Path, ledger: Digest, against: Against<'_>) -> Result<auditor::Report> {
    let file = File::open(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
    Ok(auditor::verify_restored(BufReader::with_capacity(1 << 20, file), ledger, against)?)
}

async fn charter(databases: &Databases) -> Result<CharterState> {
    let client = databases.read().await?;
    let found = lists::entity::<CharterState>(&client, &Key::Charter).await.map_err(explained)?;
    found.ok_or_else(|| Error::new("the database holds no founded ledger"))
}

/// The notes in files: a signed note, or a receipt, which holds one.
pub fn notes(files: &[PathBuf]) -> Result<Vec<String>> {
    let note = |path: &PathBuf| {
        let text =
            fs::read_to_string(path).map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        let receipt = serde_json::from_str::<Value>(&text).ok();
        let held = receipt.as_ref().and_then(|value| value.get("checkpoint")?.as_str());
        Ok(held.map_or(text.clone(), str::to_owned))
    };
    files.iter().map(note).collect()
}

/// Where the publisher's register is: named by a flag, or in the data directory.
pub(crate) fn register_path(data: &Path, flag: Option<&PathBuf>) -> PathBuf {
    flag.cloned().unwrap_or_else(|| data.join("register.json"))
}

/// Runs something beside the database of a data directory, and stops the server if it is our own.
fn beside_database<T>(
    database: &DatabaseArgs,
    data: &Path,
    work: impl AsyncFnOnce(&Databases) -> Result<T>,
) -> Result<T> {
    let (server, connections) = database.open(data, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        connections.prepare().await?;
        work(&connections.databases(&Limits::default().database)?).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(10));
    if let Some(server) = server {
        server.stop().map_err(explained)?;
    }
    done
}
