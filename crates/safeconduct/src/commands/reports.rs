//! Reports that wait for a further person, and the reversal of a mistake.

use std::process::ExitCode;

use clap::Args;
use client::reads::{Disbursement, Report};
use ledger::id::{DisbursementId, EntryId};
use records::Body;
use records::assets::{Countersignature, Reversal, ReversalSubject};
use records::scalar::Text;
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{Error, Result};
use crate::send::{Manner, send};
use crate::shown;

/// `safeconduct countersign`
#[derive(Debug, Args)]
pub struct CountersignArgs {
    /// The reports' digests
    #[arg(value_name = "DIGEST", required_unless_present = "all_listed", conflicts_with = "all_listed")]
    reports: Vec<Digest>,
    /// Every waiting report that you have not signed
    #[arg(long)]
    all_listed: bool,
}

/// `safeconduct reverse`
#[derive(Debug, Args)]
pub struct ReverseArgs {
    /// The disbursement whose last step is undone
    #[arg(long, value_name = "ID", required_unless_present = "fact", conflicts_with = "fact")]
    disbursement: Option<DisbursementId>,
    /// The reported fact that is undone
    #[arg(long, value_name = "DIGEST")]
    fact: Option<Digest>,
    /// The entry that is undone; else the one that the service names
    #[arg(long, value_name = "ID")]
    entry: Option<EntryId>,
    /// Why
    #[arg(long)]
    reason: Text,
}

/// Lists reports.
pub fn reports(global: &Global) -> Result<ExitCode> {
    let items = global.client()?.list("/v1/reports")?;
    let row = |item: &Report| {
        let persons: Vec<&str> = item.persons.iter().map(|person| person.as_str()).collect();
        let entry = item.entry.map_or(String::new(), |entry| entry.to_string());
        vec![item.report.to_string(), item.kind.clone(), item.status.clone(), persons.join(", "), entry]
    };
    let header = ["report", "kind", "status", "signed by", "entry"];
    global.show_list(items, &header, row, "There are no reports.")?;
    Ok(ExitCode::SUCCESS)
}

/// Countersigns reports.
pub fn countersign(global: &Global, args: CountersignArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let listed: Vec<Report> = client.list("/v1/reports")?;
    let me = client.identity().principal.clone();
    let wanted: Vec<&Report> = if args.all_listed {
        listed.iter().filter(|item| item.status == "waiting" && !item.persons.contains(&me)).collect()
    } else {
        let find = |digest: &Digest| {
            listed
                .iter()
                .find(|item| item.report == *digest)
                .ok_or_else(|| Error::new(format!("there is no report {digest}; see: safeconduct reports")))
        };
        args.reports.iter().map(find).collect::<Result<_>>()?
    };
    let mut planned = Vec::new();
    for item in wanted {
        let body = Body::Countersignature(Countersignature { report: item.report });
        let mut one = shown::with_content(&client, body, item.report, item.envelope.as_ref())?;
        if item.envelope.is_none() {
            let persons: Vec<&str> = item.persons.iter().map(|person| person.as_str()).collect();
            one =
                one.and("the service says that it is", format!("a {} by {}", item.kind, persons.join(", ")));
        }
        planned.push(one);
    }
    let next = |_: &[Digest]| "see what it posted: safeconduct reports, safeconduct funds".to_owned();
    send(global, &client, planned, Manner::then(&next))
}

/// Reverses a mistake.
pub fn reverse(global: &Global, args: ReverseArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let (subject, named) = match (args.disbursement, args.fact) {
        (Some(id), _) => {
            let item: Disbursement = client.get(&format!("/v1/disbursements/{id}"))?;
            (ReversalSubject::Disbursement(id), item.last_entry)
        }
        (None, Some(digest)) => {
            let listed: Vec<Report> = client.list("/v1/reports")?;
            let item = listed.into_iter().find(|item| item.report == digest);
            (ReversalSubject::Fact(digest), item.and_then(|item| item.entry))
        }
        (None, None) => return Err(Error::new("what is undone? Name --disbursement ID or --fact DIGEST")),
    };
    let entry = args.entry.or(named).ok_or_else(|| {
        Error::new(
            "the service names no entry that could be reversed; if there is one, name it with --entry ID",
        )
    })?;
    let body = Body::Reversal(Reversal { entry, reason: args.reason, subject });
    let next = |_: &[Digest]| {
        "see the books: safeconduct funds; then do what was meant in the first place".to_owned()
    };
    send(global, &client, vec![body.into()], Manner::then(&next))
}
