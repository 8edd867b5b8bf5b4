//! Packs: a part of a ledger, cut out of a bundle for somebody who may see no more of it. Offline, without a home.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::Verdict;
use auditor::pack::{self, CutError, PackReport, PackStanding, Scope};
use clap::{Args, Subcommand};
use ledger::id::{AssetId, CaseRef, DisbursementId, FundId};
use ledger::time::Date;
use serde_json::json;
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{Error, REFUSED, Result};
use crate::recovery::notes;
use crate::{input, ui};

/// `safeconduct pack ...`
#[derive(Debug, Subcommand)]
pub enum PackCommand {
    /// Verify a bundle, and cut out of it what concerns one case, fund, disbursement, asset or period
    Create {
        /// The bundle
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// The ledger's id, as you know it from elsewhere
        #[arg(long, value_name = "ID")]
        ledger: Digest,
        #[command(flatten)]
        wanted: Wanted,
        /// A checkpoint or receipt that the receiver kept, which the pack is to prove its log begins with; once for each
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Where to; readable by you only
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check a pack offline, and say what it shows
    Verify {
        /// The pack
        #[arg(value_name = "FILE")]
        pack: PathBuf,
        /// The ledger's id, as you know it from elsewhere
        #[arg(long, value_name = "ID")]
        ledger: Digest,
        /// A checkpoint or receipt that you kept, which the pack's log must begin with; once for each
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
}

/// What a pack is to be about: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Wanted {
    /// One case, with its reference
    #[arg(long, value_name = "REF", conflicts_with_all = ["fund", "disbursement", "asset", "from", "to", "no_cases"])]
    case: Option<CaseRef>,
    /// One fund, without any case reference
    #[arg(long, value_name = "ID", conflicts_with_all = ["disbursement", "asset", "from", "to", "no_cases"])]
    fund: Option<FundId>,
    /// One disbursement, with its request, which names the case
    #[arg(long, value_name = "ID", conflicts_with_all = ["asset", "from", "to", "no_cases"])]
    disbursement: Option<DisbursementId>,
    /// One asset and its funds, without any case reference
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "no_cases"])]
    asset: Option<AssetId>,
    /// What was recorded from this day on (UTC), without any case reference
    #[arg(long, value_name = "DATE", requires = "to", conflicts_with = "no_cases")]
    from: Option<Date>,
    /// To this day, included
    #[arg(long, value_name = "DATE", requires = "from", conflicts_with = "no_cases")]
    to: Option<Date>,
    /// Everything but what holds a case reference
    #[arg(long)]
    no_cases: bool,
}

impl Wanted {
    fn scope(self) -> Result<Scope> {
        let Wanted { case, fund, disbursement, asset, from, to, no_cases } = self;
        let named = case.map(Scope::Case).or(fund.map(Scope::Fund)).or(disbursement.map(Scope::Disbursement));
        let named = named.or(asset.map(Scope::Asset)).or(no_cases.then_some(Scope::NoCases {}));
        match (named, from.zip(to)) {
            (Some(scope), _) => Ok(scope),
            (None, Some((from, to))) if from <= to => Ok(Scope::Period { from, to }),
            (None, Some(_)) => Err(Error::new("--from is later than --to; swap them")),
            (None, None) => {
                Err(Error::new("say what the pack is to be about: see safeconduct pack create --help"))
            }
        }
    }
}

impl PackCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            PackCommand::Create { bundle, ledger, wanted, checkpoint, out } => {
                create(global, &bundle, ledger, &wanted.scope()?, &notes(&checkpoint)?, &out)
            }
            PackCommand::Verify { pack, ledger, checkpoint } => {
                let report = verified(&pack, ledger, &notes(&checkpoint)?)?;
                if global.json {
                    ui::json(&serde_json::to_value(&report)?);
                } else {
                    ui::line(report.to_string());
                }
                Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
            }
        }
    }
}

fn verified(path: &Path, ledger: Digest, kept: &[String]) -> Result<PackReport> {
    Ok(pack::verify(BufReader::with_capacity(1 << 20, input::open(path)?), ledger, kept)?)
}

/// Cuts a pack and verifies it as its receiver will. What is not whole never has the name that was asked for.
fn create(
    global: &Global,
    bundle: &Path,
    ledger: Digest,
    scope: &Scope,
    kept: &[String],
    out: &Path,
) -> Result<ExitCode> {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let cut = write(bundle, ledger, scope, kept, &part);
    if !matches!(cut, Ok(Ok(_))) {
        // It may hold what nobody is to see, or nothing; why it was not cut is what counts.
        let _ = fs::remove_file(&part);
    }
    let records = match cut? {
        Ok(records) => records,
        Err(report) => {
            if global.json {
                ui::json(&serde_json::to_value(&*report)?);
            } else {
                ui::line("No pack was cut, since the bundle does not hold:");
                ui::line(report.to_string());
            }
            return Ok(ExitCode::from(REFUSED));
        }
    };
    put(&part, out)?;
    let next = format!("safeconduct pack verify {} --ledger {ledger}", out.display());
    if global.json {
        let file = out.display().to_string();
        ui::json(&json!({"file": file, "next": next, "records": records.to_string(), "scope": scope}));
    } else {
        ui::line(format!("Wrote {}: {records} records about {scope}.", out.display()));
        ui::line("Whoever holds it can read all that is in it, and pass it on.");
        ui::line(format!("Its receiver runs: {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a pack to a file for its owner's eyes only, and verifies it there; or says why the bundle does not hold.
fn write(
    bundle: &Path,
    ledger: Digest,
    scope: &Scope,
    kept: &[String],
    part: &Path,
) -> Result<std::result::Result<u64, Box<auditor::Report>>> {
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", part.display()));
    let bundle = BufReader::with_capacity(1 << 20, input::open(bundle)?);
    // One that was left by another run may have other rights.
    let _ = fs::remove_file(part);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part);
    let mut file = BufWriter::with_capacity(1 << 20, file.map_err(failed)?);
    let records = match pack::cut(bundle, ledger, scope, kept, &mut file) {
        Ok(records) => records,
        Err(CutError::Refuted(report)) => return Ok(Err(report)),
        Err(error) => return Err(error.into()),
    };
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
    let report = verified(part, ledger, kept)?;
    if report.verdict != Verdict::Verified {
        return Err(Error::new(format!(
            "the pack that was cut does not hold, which is a defect; report this:\n{report}"
        )));
    }
    for kept in report.kept.iter().filter(|kept| kept.standing != PackStanding::Holds) {
        ui::note(format!("a checkpoint that the pack cannot prove: {kept}"));
    }
    Ok(Ok(records))
}

/// Gives a whole file its name, and has the disk remember that.
fn put(part: &Path, out: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(format!("{}: {error}", out.display()));
    fs::rename(part, out).map_err(failed)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
