//! What is public of the log, as static files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use client::export::Exported;
use serde_json::json;

use crate::context::Global;
use crate::error::{Error, Result};
use crate::ui;

/// `safeconduct log ...`
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Write what is public as static files, for any web server or object store (C2SP tlog-tiles)
    Export(ExportArgs),
}

/// `safeconduct log export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder: a new one, or one that was exported into before
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also the entry bundles, which hold case references, into a folder for you only (auditor)
    #[arg(long)]
    entries: bool,
}

impl LogCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let LogCommand::Export(ExportArgs { out, entries }) = self;
        let has_entries = out.join("tile/entries").exists();
        if has_entries && !entries {
            return Err(Error::new(format!(
                "{} holds entry bundles, which are not public; export into another folder, or with --entries",
                out.display()
            )));
        }
        if entries && !has_entries && out.join("checkpoint").exists() {
            return Err(Error::new(format!(
                "{} is a folder for the public, and entry bundles are not; export them into another",
                out.display()
            )));
        }
        let client = global.client()?;
        let mode = if entries { 0o700 } else { 0o755 };
        let made = DirBuilder::new().recursive(true).mode(mode).create(&out);
        made.map_err(|error| Error::new(format!("{}: {error}", out.display())))?;
        let Exported { size, written } = client.export(&out, entries)?;
        if global.json {
            ui::json(&json!({"size": size.to_string(), "written": written.to_string()}));
        } else {
            ui::line(format!(
                "{} has the public tree of {size} records; {written} files were written.",
                out.display()
            ));
            if entries {
                ui::line("It holds case references: keep it as you keep those, and serve it to nobody.");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
