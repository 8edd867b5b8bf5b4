//! What a person sees of the witnesses: whom the policy demands, who cosigned what, and receipts under a cosigned checkpoint.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use client::receipt::Receipt;
use client::witnessing::Demanded;
use ledger::time::Timestamp;
use records::witnessing::{Statement, Witnessing};
use serde_json::{Value, json};

use crate::context::Global;
use crate::error::Result;
use crate::{input, ui};

/// `safeconduct witnesses ...`
#[derive(Debug, Subcommand)]
pub enum WitnessesCommand {
    /// Show who must cosign, and the latest checkpoint that has the cosignatures
    Show,
    /// Demand what a later policy says, given the custodians' receipts of it
    Accept {
        /// The receipt of the proposal, then those of its concurrences
        #[arg(value_name = "RECEIPT", required = true)]
        receipts: Vec<PathBuf>,
    },
}

impl WitnessesCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        let demanded = match self {
            WitnessesCommand::Show => {
                let demanded = Demanded::read(client.home(), client.ledger())?;
                if demanded.witnessing.is_some() {
                    let (checkpoint, note) = client.cosigned()?;
                    let by = cosignatures(demanded.witnessing.as_ref(), &note);
                    if global.json {
                        ui::json(&json!({
                            "cosigned_by": by_json(&by), "demanded": demanded.witnessing, "origin": checkpoint.origin,
                            "size": checkpoint.size.to_string(),
                        }));
                        return Ok(ExitCode::SUCCESS);
                    }
                    ui::line(format!("cosigned       {} records of {}", checkpoint.size, checkpoint.origin));
                    by.iter().for_each(|by| ui::line(format!("  {by}")));
                }
                demanded
            }
            WitnessesCommand::Accept { receipts } => {
                let receipts = receipts.iter().map(|file| input::json_file(file));
                client.accept_witnesses(&receipts.collect::<Result<Vec<Receipt>>>()?)?
            }
        };
        if global.json {
            ui::json(&json!({"demanded": demanded.witnessing, "position": demanded.position.to_string()}));
        } else {
            ui::line(words(&demanded));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is demanded.
fn words(demanded: &Demanded) -> String {
    let of = match demanded.position {
        0 => "the founding record".to_owned(),
        position => format!("the policy that was decided at position {position}"),
    };
    match &demanded.witnessing {
        None => format!("No cosignatures are demanded, by {of}."),
        Some(Witnessing { replays, threshold, witnesses }) => {
            let count = witnesses.len();
            format!(
                "{threshold} of {count} witnesses are demanded, {replays} of them having replayed, by {of}."
            )
        }
    }
}

/// A cosignature that holds, for people and programs.
pub struct Cosignature {
    name: String,
    statement: Statement,
    at: Option<Timestamp>,
}

/// Who cosigned a checkpoint, of those who are demanded. What does not hold is left out: that is told before.
pub fn cosignatures(witnessing: Option<&Witnessing>, note: &str) -> Vec<Cosignature> {
    let by =
        witnessing.map(|witnessing| witnessing.cosigned_by(note).unwrap_or_default()).unwrap_or_default();
    let shown = by.into_iter().map(|by| Cosignature {
        name: by.witness.name.to_string(),
        statement: by.witness.statement,
        at: i64::try_from(by.time).ok().and_then(Timestamp::from_unix),
    });
    shown.collect()
}

/// The same as JSON.
pub fn by_json(by: &[Cosignature]) -> Value {
    let one = |by: &Cosignature| json!({"at": by.at, "statement": by.statement, "witness": by.name});
    by.iter().map(one).collect()
}

impl std::fmt::Display for Cosignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let says = match self.statement {
            Statement::Consistent => "cosigned by",
            Statement::Replayed => "replayed and cosigned by",
        };
        write!(f, "{says} {}", self.name)?;
        self.at.map_or(Ok(()), |at| write!(f, " at {at}"))
    }
}
