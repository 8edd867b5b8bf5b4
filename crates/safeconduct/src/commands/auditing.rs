//! What an auditor does with a bundle besides verifying it: documents, a sample of payments, a report.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use auditor::{DocumentFile, Hours, Period, Sampling};
use clap::{Args, Subcommand};
use ledger::id::FundId;
use ledger::money::Money;
use ledger::time::Date;
use records::scalar::Text;
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{Error, REFUSED, Result};
use crate::recovery::notes;
use crate::{amount, input, ui};

/// `safeconduct audit ...`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Verify a bundle, and report exceptions and financial statements
    Report(ReportArgs),
    /// Verify a bundle, and draw a sample of its payments by monetary units
    Sample(SampleArgs),
}

/// Which bundle, and what it is verified against.
#[derive(Debug, Args)]
struct BundleFlags {
    /// The bundle
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// The ledger's id, as you know it from elsewhere
    #[arg(long, value_name = "ID")]
    ledger: Digest,
    /// A checkpoint or receipt that somebody kept, which the log must account for; once for each
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

/// `safeconduct audit report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    bundle: BundleFlags,
    /// The first day of the period; else from the founding
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The last day of the period; else to the log's end
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
    /// The hours of work, in UTC
    #[arg(long, value_name = "FROM-TO", default_value_t)]
    hours: Hours,
    /// Write the report as one HTML file too, to print
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// `safeconduct audit sample`
#[derive(Debug, Args)]
pub struct SampleArgs {
    #[command(flatten)]
    bundle: BundleFlags,
    /// The sampling interval; payments in its currency are the population
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    interval: Money,
    /// What the start is derived from: drawn by chance before witnesses, after the checkpoint was fixed
    #[arg(long, value_name = "TEXT")]
    seed: Text,
    /// Payments of this fund only
    #[arg(long, value_name = "ID")]
    fund: Option<FundId>,
}

impl AuditCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            AuditCommand::Report(args) => report(global, args),
            AuditCommand::Sample(args) => sample(global, args),
        }
    }
}

fn code(holds: bool) -> ExitCode {
    if holds { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }
}

fn report(global: &Global, args: ReportArgs) -> Result<ExitCode> {
    let ReportArgs { bundle: BundleFlags { bundle, ledger, checkpoint }, from, to, hours, html } = args;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Error::new("the period ends before it begins: --from is later than --to"));
    }
    let kept = notes(&checkpoint)?;
    let file = BufReader::with_capacity(1 << 20, input::open(&bundle)?);
    let examination = auditor::examine(file, ledger, &kept, Period { from, to }, hours)?;
    if let Some(path) = html {
        input::write_public(&path, examination.page().html().as_bytes())?;
    }
    if global.json {
        ui::json(&serde_json::to_value(&examination)?);
    } else {
        ui::line(examination.page().to_string());
    }
    Ok(code(examination.holds()))
}

fn sample(global: &Global, args: SampleArgs) -> Result<ExitCode> {
    let SampleArgs { bundle: BundleFlags { bundle, ledger, checkpoint }, interval, seed, fund } = args;
    let kept = notes(&checkpoint)?;
    let file = BufReader::with_capacity(1 << 20, input::open(&bundle)?);
    let sampling = Sampling { fund, interval, seed };
    let (report, sample) = auditor::sample(file, ledger, &kept, &sampling)?;
    let Some(sample) = sample else {
        if global.json {
            ui::json(&serde_json::to_value(&report)?);
        } else {
            ui::line(report.to_string());
        }
        ui::note("safeconduct: no sample was drawn, since the log does not hold, or not with what was kept");
        return Ok(ExitCode::from(REFUSED));
    };
    if global.json {
        ui::json(&serde_json::to_value(&sample)?);
    } else {
        ui::line(sample.page().to_string());
    }
    Ok(code(sample.population.ties()))
}

/// Every file in a folder and the folders in it, with its SHA-256, by path.
pub fn documents(folder: &Path) -> Result<Vec<DocumentFile>> {
    let mut found = Vec::new();
    collect(folder, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<DocumentFile>) -> Result<()> {
    let wrong = |path: &Path, error: std::io::Error| {
        Error::new(format!("the documents cannot all be read: {}: {error}", path.display()))
    };
    for entry in fs::read_dir(folder).map_err(|error| wrong(folder, error))? {
        let entry = entry.map_err(|error| wrong(folder, error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| wrong(&path, error))?;
        // What a link names is a document as well; a folder behind one could be the one that it stands in.
        let is_file = kind.is_file() || (kind.is_symlink() && path.is_file());
        if kind.is_dir() {
            collect(&path, found)?;
        } else if is_file {
            let file = input::open(&path)?;
            let sha256 = Digest::of_reader(file).map_err(|error| wrong(&path, error))?;
            found.push(DocumentFile { file: path.display().to_string(), sha256 });
        } else {
            return Err(Error::new(format!(
                "{} is neither a file nor a folder; take it out, and run the command again",
                path.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::audit::AuditArgs;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        audit: AuditArgs,
    }

    fn parse(line: &str) -> std::result::Result<Line, clap::Error> {
        Line::try_parse_from(std::iter::once("audit").chain(line.split(' ')))
    }

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_bundle_is_audited_reported_on_and_sampled() {
        for good in [
            "b --ledger ID",
            "b --ledger ID --checkpoint c --checkpoint d --evidence e",
            "report b --ledger ID --from 2026-01-01 --to 2026-12-31 --html h --hours 0-24",
            "sample b --ledger ID --seed 4215 --interval USD1.00 --fund f",
        ] {
            let line = good.replace("ID", ID);
            let words: Vec<String> =
                line.split(' ').map(|word| word.replace("USD1.00", "USD 1.00")).collect();
            let parsed = Line::try_parse_from(std::iter::once("audit".to_owned()).chain(words));
            assert!(parsed.is_ok(), "{good}: {parsed:?}");
        }
        for bad in [
            "b",
            "--ledger ID",
            "report b",
            "report --ledger ID",
            "report b --ledger ID --hours 20-6",
            "sample b --ledger ID --seed x",
            "b --ledger ID report b --ledger ID",
        ] {
            assert!(parse(&bad.replace("ID", ID)).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_are_read_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("safeconduct-documents-{}", std::process::id()));
        fs::create_dir_all(folder.join("within")).unwrap();
        fs::write(folder.join("b"), "two").unwrap();
        fs::write(folder.join("within/a"), "one").unwrap();
        std::os::unix::fs::symlink("b", folder.join("c")).unwrap();
        let found = documents(&folder).unwrap();
        let shown: Vec<(&str, Digest)> =
            found.iter().map(|found| (found.file.rsplit('/').next().unwrap(), found.sha256)).collect();
        let (one, two) = (Digest::of("one"), Digest::of("two"));
        assert_eq!(shown, [("b", two), ("c", two), ("a", one)]);

        std::os::unix::fs::symlink(".", folder.join("round")).unwrap();
        let error = documents(&folder).unwrap_err().to_string();
        assert!(error.contains("round is neither a file nor a folder"), "{error}");
        let error = documents(&folder.join("nowhere")).unwrap_err().to_string();
        assert!(error.contains("nowhere: No such file"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
