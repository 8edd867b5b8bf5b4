//! `safeconduct demo`: a whole ledger on this machine, run through the public interface with the commands that officers
//! type. Every person has a home and a key of their own; every number at the end is read back from the service or from
//! the audit, none is known beforehand except the input in `config/demo`.

mod books;
mod service;
mod stage;
mod story;
mod tampering;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::error::{Error, FAILED, Result};
use crate::ui;

/// A file that marks a directory as the demo's own, which the next run may empty.
const MARK: &str = ".safeconduct-demo";

/// `safeconduct demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the demo keeps its data; an earlier demo's is removed
    #[arg(long, value_name = "DIR", default_value = "/tmp/safeconduct-demo")]
    dir: PathBuf,
    /// The input: policy.json, offer.json, cases.csv
    #[arg(long, value_name = "DIR", default_value = "config/demo")]
    input: PathBuf,
    /// The directory of `postgres` and `initdb`; else the newest that the system has
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

/// Runs the demonstration.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    prepare(&args)?;
    let input = args.input.canonicalize().map_err(|error| {
        Error::new(format!("cannot read {}: {error}; name the input with --input", args.input.display()))
    })?;
    let mut service = service::Service::start(&args.dir.join("service"), args.postgres_bin.as_deref())?;
    let mut stage = stage::Stage::new(args.dir.clone(), service.url().to_owned())?;
    let told = story::tell(&mut stage, &input);
    let stopped = service.stop();
    told?;
    stopped?;
    let failed = stage.failed();
    if failed.is_empty() {
        ui::line(format!("\nAll of it held: {} commands did what they should.", stage.count()));
        ui::line(format!("The ledger, the homes and the bundle are in {}.", args.dir.display()));
        return Ok(ExitCode::SUCCESS);
    }
    ui::line(format!("\n{} of {} commands did not do what they should:", failed.len(), stage.count()));
    for failure in failed {
        ui::line(format!("  {failure}"));
    }
    Ok(ExitCode::from(FAILED))
}

/// Empties the directory of an earlier demo, and nothing else.
fn prepare(args: &DemoArgs) -> Result<()> {
    let dir = &args.dir;
    let is_empty = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => true,
    };
    if !is_empty {
        if !dir.join(MARK).is_file() {
            return Err(Error::new(format!(
                "{} holds something that is not an earlier demo's; name an empty directory with --dir",
                dir.display()
            )));
        }
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(MARK), "safeconduct demo may remove this directory\n")?;
    Ok(())
}
