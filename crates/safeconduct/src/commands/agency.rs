//! What a resettlement agency reads of its own cases, by its own references.

use std::process::ExitCode;

use clap::Subcommand;
use client::Client;
use client::reads::{AgencyBalance, AgencyCase, StatementLine};
use ledger::id::AgencyRef;
use serde_json::Value;

use crate::context::Global;
use crate::error::Result;
use crate::ui;

/// `safeconduct agency ...`
#[derive(Debug, Subcommand)]
pub enum AgencyCommand {
    /// List your cases
    Cases,
    /// Show what one case was granted, is owed and was paid
    Balance {
        /// Your reference
        #[arg(value_name = "REF")]
        agency_ref: AgencyRef,
    },
    /// Show every step of one case's disbursements, oldest first
    Statement {
        /// Your reference
        #[arg(value_name = "REF")]
        agency_ref: AgencyRef,
    },
}

impl AgencyCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        self.answer(global, &client)?;
        let behind_s = client.behind_s();
        if behind_s > 0 {
            ui::note(format!("This is {behind_s} s behind the ledger; ask again for what is newer."));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn answer(self, global: &Global, client: &Client) -> Result<()> {
        match self {
            AgencyCommand::Cases => {
                let row = |case: &AgencyCase| {
                    vec![case.agency_ref.clone(), case.entered.to_string(), case.screening.clone()]
                };
                let items = client.list("/v1/agency/cases")?;
                global.show_list(items, &["reference", "entered", "screening"], row, "You have no cases.")?;
            }
            AgencyCommand::Balance { agency_ref } => {
                let raw: Value = client.get(&format!("/v1/agency/cases/{agency_ref}"))?;
                if global.json {
                    ui::json(&raw);
                    return Ok(());
                }
                let balance =
                    serde_json::from_value(raw).map_err(|e| client::Error::Answer(e.to_string()))?;
                show(balance);
            }
            AgencyCommand::Statement { agency_ref } => {
                let row = |line: &StatementLine| {
                    vec![
                        line.at.to_string(),
                        line.event.clone(),
                        format!("{} {}", line.currency, ui::grouped(&line.amount, line.currency)),
                        line.benefit.clone(),
                        line.disbursement.to_string(),
                    ]
                };
                let items = client.list(&format!("/v1/agency/cases/{agency_ref}/statement"))?;
                let header = ["at", "event", "amount", "benefit", "disbursement"];
                global.show_list(items, &header, row, "Nothing was requested for this case yet.")?;
            }
        }
        Ok(())
    }
}

fn show(case: AgencyBalance) {
    ui::line(format!("Case {}, entered {}, screening {}", case.agency_ref, case.entered, case.screening));
    if let Some(as_of) = case.as_of.as_str() {
        ui::line(format!("As of {as_of}"));
    }
    let sums = case.balances.into_iter().map(|one| {
        let stages = [one.requested, one.approved, one.due, one.released, one.paid];
        let amounts = stages.iter().map(|amount| ui::grouped(amount, one.currency));
        std::iter::once(one.currency.to_string()).chain(amounts).collect()
    });
    let header = ["currency", "requested", "approved", "due", "released", "paid"];
    ui::table(&header, sums.collect(), "Nothing was requested for this case yet.");
    let each = case.disbursements.into_iter().map(|one| {
        vec![
            one.disbursement.to_string(),
            one.benefit,
            format!("{} {}", one.currency, ui::grouped(&one.amount, one.currency)),
            one.stage,
        ]
    });
    let rows: Vec<Vec<String>> = each.collect();
    if !rows.is_empty() {
        ui::table(&["disbursement", "benefit", "amount", "stage"], rows, "");
    }
}
