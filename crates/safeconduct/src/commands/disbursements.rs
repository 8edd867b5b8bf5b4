//! A disbursement after its request: approvals, delivery, release, and what the bank did.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use client::Client;
use client::reads::Disbursement;
use ledger::id::{BankId, DisbursementId, FundId, VendorId};
use ledger::money::Money;
use ledger::time::Date;
use records::Body;
use records::disbursements::{
    Approval, BankConfirmation, BankRejection, BankReturn, Cancellation, Delivery, Rejection, Release,
};
use records::scalar::Text;
use signing::digest::Digest;

use super::assets::countersign_next;
use crate::amount::parse as amount;
use crate::context::Global;
use crate::error::{Error, Result};
use crate::evidence::EvidenceArgs;
use crate::send::{Manner, Planned, send};

/// The next step, given the digests of what was accepted.
type Next = Box<dyn Fn(&[Digest]) -> String>;

/// A next step that depends on nothing.
fn words(step: &'static str) -> Next {
    Box::new(move |_| step.to_owned())
}

/// Which disbursements.
#[derive(Debug, Args)]
pub struct Which {
    /// The disbursements' ids
    #[arg(value_name = "ID", required_unless_present = "all_listed", conflicts_with = "all_listed")]
    ids: Vec<DisbursementId>,
    /// Every one that waits for this step
    #[arg(long)]
    all_listed: bool,
    /// Of those, only the ones of this fund
    #[arg(long, value_name = "FUND", requires = "all_listed")]
    only_fund: Option<FundId>,
}

/// `--stage`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageArg {
    /// Asked for.
    Requested,
    /// Approved in kind, not delivered.
    Obligated,
    /// Owed.
    Due,
    /// Sent.
    Released,
    /// Booked by the bank.
    Paid,
    /// Rejected by an approver.
    Rejected,
    /// Cancelled.
    Cancelled,
    /// Ran out.
    Lapsed,
}

impl StageArg {
    fn name(self) -> &'static str {
        match self {
            StageArg::Requested => "requested",
            StageArg::Obligated => "obligated",
            StageArg::Due => "due",
            StageArg::Released => "released",
            StageArg::Paid => "paid",
            StageArg::Rejected => "rejected",
            StageArg::Cancelled => "cancelled",
            StageArg::Lapsed => "lapsed",
        }
    }
}

/// The steps, each a command of its own.
#[derive(Debug, Subcommand)]
pub enum StepCommand {
    /// List disbursements
    Disbursements {
        /// Only those at this stage
        #[arg(long, value_enum)]
        stage: Option<StageArg>,
    },
    /// Approve requests, each with its whole effect (approver, director)
    Approve(Which),
    /// Reject a request (approver, director)
    Reject {
        /// The disbursement
        id: DisbursementId,
        /// Why
        #[arg(long)]
        reason: Text,
    },
    /// Cancel a disbursement that has not been released (preparer, director)
    Cancel {
        /// The disbursement
        id: DisbursementId,
        /// Why
        #[arg(long)]
        reason: Text,
    },
    /// Report the delivery of a benefit in kind (preparer)
    Deliver {
        /// The disbursement
        id: DisbursementId,
        /// What the vendor asks
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        invoiced: Money,
        /// Who delivered
        #[arg(long)]
        vendor: VendorId,
        /// The day of delivery
        #[arg(long, value_name = "DATE")]
        delivered: Date,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Release what is due for payment (payer)
    Release {
        #[command(flatten)]
        which: Which,
        /// The account that pays
        #[arg(long)]
        bank: BankId,
    },
    /// Report that the bank booked released payments (reconciler)
    Confirm {
        #[command(flatten)]
        which: Which,
        /// The bank's value date
        #[arg(long, value_name = "DATE")]
        value_date: Date,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Report that the bank refused a released payment before booking it (reconciler)
    BankReject {
        /// The disbursement
        id: DisbursementId,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Report that a booked payment came back (reconciler)
    Return {
        /// The disbursement
        id: DisbursementId,
        /// What the bank kept as its fee, zero where nothing
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        kept: Money,
        /// The bank's value date
        #[arg(long, value_name = "DATE")]
        value_date: Date,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
}

impl StepCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        let (planned, next): (Vec<Planned>, Next) = match self {
            StepCommand::Disbursements { stage } => return list(global, &client, stage),
            StepCommand::Approve(which) => (
                approve(&client, &which)?,
                words(
                    "with the last approval a payer releases: safeconduct disbursements --stage due, and then: safeconduct \
                 release --all-listed --bank BANK; a benefit in kind is delivered first: safeconduct deliver ID ...",
                ),
            ),
            StepCommand::Reject { id, reason } => {
                let item = one(&client, &id)?;
                let body = Rejection { disbursement: id, reason, request: item.effect.request };
                (
                    vec![with_effect(Body::Rejection(body), &item)],
                    words("its hold on the fund has returned: safeconduct funds"),
                )
            }
            StepCommand::Cancel { id, reason } => {
                let item = one(&client, &id)?;
                let body = Cancellation { disbursement: id, reason, request: item.effect.request };
                (
                    vec![with_effect(Body::Cancellation(body), &item)],
                    words("what it held has returned: safeconduct funds"),
                )
            }
            StepCommand::Deliver { id, invoiced, vendor, delivered, evidence } => {
                let evidence = evidence.read(&client, "receipt and invoice")?;
                let item = one(&client, &id)?;
                let body = Delivery { delivered, disbursement: id.clone(), evidence, invoiced, vendor };
                (
                    vec![with_effect(Body::Delivery(body), &item)],
                    Box::new(move |_| format!("a payer releases: safeconduct release {id} --bank BANK")),
                )
            }
            StepCommand::Release { which, bank } => (
                release(&client, &which, &bank)?,
                words(
                    "the office pays; when the bank has booked, a reconciler reports: safeconduct confirm --all-listed \
                 --value-date DATE --evidence-file FILE",
                ),
            ),
            StepCommand::Confirm { which, value_date, evidence } => {
                let evidence = evidence.read(&client, "bank statement")?;
                let confirm = |item: Disbursement| {
                    let disbursement = item.disbursement.clone();
                    let body = BankConfirmation { disbursement, evidence: evidence.clone(), value_date };
                    with_effect(Body::BankConfirmation(body), &item)
                };
                let items = pick(&client, &which, StageArg::Released)?;
                (items.into_iter().map(confirm).collect(), Box::new(countersign_next))
            }
            StepCommand::BankReject { id, evidence } => {
                let evidence = evidence.read(&client, "bank advice")?;
                let item = one(&client, &id)?;
                let body = Body::BankRejection(BankRejection { disbursement: id, evidence });
                (vec![with_effect(body, &item)], Box::new(countersign_next))
            }
            StepCommand::Return { id, kept, value_date, evidence } => {
                let evidence = evidence.read(&client, "bank advice")?;
                let item = one(&client, &id)?;
                let body = Body::BankReturn(BankReturn { disbursement: id, evidence, kept, value_date });
                (vec![with_effect(body, &item)], Box::new(countersign_next))
            }
        };
        let is_report = planned.iter().any(|planned| {
            matches!(planned.body, Body::BankConfirmation(_) | Body::BankRejection(_) | Body::BankReturn(_))
        });
        let manner = if is_report { Manner::for_others(&next) } else { Manner::then(&next) };
        send(global, &client, planned, manner)
    }
}

/// One disbursement, as the service shows it.
fn one(client: &Client, id: &DisbursementId) -> Result<Disbursement> {
    let item: Disbursement = client.get(&format!("/v1/disbursements/{id}"))?;
    if item.disbursement == *id && item.effect.disbursement == *id {
        Ok(item)
    } else {
        Err(Error::new(
            "the service shows another disbursement than the one that was asked for; sign nothing",
        ))
    }
}

/// The disbursements that were named, or all at this stage.
fn pick(client: &Client, which: &Which, stage: StageArg) -> Result<Vec<Disbursement>> {
    if !which.all_listed {
        return which.ids.iter().map(|id| one(client, id)).collect();
    }
    let mut items: Vec<Disbursement> = client.list(&format!("/v1/disbursements?stage={}", stage.name()))?;
    items.retain(|item| {
        let right_fund = which.only_fund.as_ref().is_none_or(|fund| item.effect.fund == *fund);
        right_fund && item.stage == stage.name() && item.effect.disbursement == item.disbursement
    });
    Ok(items)
}

/// Adds how much it is about, as the service says.
fn with_effect(body: Body, item: &Disbursement) -> Planned {
    let amount = item.payable.unwrap_or(item.effect.amount).grouped();
    let effect = &item.effect;
    let about = format!(
        "{amount} from fund {}, benefit {}, prepared by {}",
        effect.fund, effect.benefit, effect.preparer
    );
    Planned::from(body).and("about", about)
}

fn approve(client: &Client, which: &Which) -> Result<Vec<Planned>> {
    let mut items = pick(client, which, StageArg::Requested)?;
    if which.all_listed {
        // What this person prepared or has approved waits for others.
        let me = &client.identity().principal;
        items.retain(|item| item.effect.preparer != *me && !item.approvals.contains(me));
    }
    let approve = |item: Disbursement| {
        let (given, needed) = (item.approvals.len(), item.needs.approvers);
        let so_far = format!("{given} of {needed}, {} of them directors", item.needs.directors);
        Planned::from(Body::Approval(Approval { effect: item.effect })).and("approvals so far", so_far)
    };
    Ok(items.into_iter().map(approve).collect())
}

fn release(client: &Client, which: &Which, bank: &BankId) -> Result<Vec<Planned>> {
    let release = |item: Disbursement| {
        let (disbursement, request) = (item.disbursement.clone(), item.effect.request);
        with_effect(Body::Release(Release { bank: bank.clone(), disbursement, request }), &item)
    };
    Ok(pick(client, which, StageArg::Due)?.into_iter().map(release).collect())
}

fn list(global: &Global, client: &Client, stage: Option<StageArg>) -> Result<ExitCode> {
    let path = match stage {
        Some(stage) => format!("/v1/disbursements?stage={}", stage.name()),
        None => "/v1/disbursements".to_owned(),
    };
    let items = client.list(&path)?;
    let row = |item: &Disbursement| {
        let effect = &item.effect;
        let approvals: Vec<&str> = item.approvals.iter().map(|approver| approver.as_str()).collect();
        let needs = format!("{} of {} ({})", approvals.len(), item.needs.approvers, approvals.join(", "));
        vec![
            item.disbursement.to_string(),
            item.stage.clone(),
            item.payable.unwrap_or(effect.amount).grouped(),
            effect.fund.to_string(),
            effect.benefit.to_string(),
            effect.preparer.to_string(),
            needs,
            effect.expires.to_string(),
        ]
    };
    let header =
        ["disbursement", "stage", "amount", "fund", "benefit", "prepared by", "approvals", "expires"];
    global.show_list(items, &header, row, "There are no such disbursements.")?;
    Ok(ExitCode::SUCCESS)
}
