//! Founding a ledger, joining one, accepting its founding.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use client::describe::charter as charter_words;
use client::membership::join;
use client::reads::Service;
use client::{Client, Ledger, Outcome};
use ledger::currency::Currency;
use records::Body;
use records::governance::{Acceptance, Charter, FoundingCustodian, Policy};
use records::scalar::Integer;
use serde_json::{Map, json};
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{Error, FAILED, Result};
use crate::send::{self, Manner, send};
use crate::{input, ui};

/// `safeconduct service`
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// The service's address; else the one that this home has joined
    #[arg(long)]
    url: Option<String>,
}

/// `safeconduct found`
#[derive(Debug, Args)]
pub struct FoundArgs {
    /// The service's address
    #[arg(long)]
    url: String,
    /// A custodian's file, as `key public` writes it; once for each custodian, your own among them
    #[arg(long = "custodian", value_name = "FILE", required = true)]
    custodians: Vec<PathBuf>,
    /// The first policy, as JSON
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// A currency that funds may have; once for each
    #[arg(long = "currency", value_name = "CODE", required = true)]
    currencies: Vec<Currency>,
    /// How many custodians an act takes: at least 2 and more than half
    #[arg(long, value_name = "N")]
    quorum: u32,
}

/// `safeconduct join`
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The service's address
    #[arg(long)]
    url: String,
    /// The ledger's id, as a custodian gave it to you
    #[arg(long, value_name = "ID")]
    ledger: Digest,
}

/// Prints the service's keys and origin.
pub fn service(global: &Global, args: ServiceArgs) -> Result<ExitCode> {
    let url = match args.url {
        Some(url) => url,
        None => Ledger::read(&global.open_home()?)?.url,
    };
    let raw: serde_json::Value = global.connect(&url)?.get_open("/v1/service")?;
    if global.json {
        ui::json(&raw);
        return Ok(ExitCode::SUCCESS);
    }
    let service: Service = serde_json::from_value(raw).map_err(|e| client::Error::Answer(e.to_string()))?;
    show_service(&service);
    Ok(ExitCode::SUCCESS)
}

fn show_service(service: &Service) {
    ui::line(format!("origin                {}", service.origin));
    ui::line(format!("key for records       {}", service.record_key.id()));
    ui::line(format!("key for checkpoints   {}", service.checkpoint_key.id()));
    match service.ledger {
        Some(ledger) => ui::line(format!("ledger                {ledger}")),
        None => ui::line("ledger                none founded yet"),
    }
}

/// Founds a ledger.
pub fn found(global: &Global, args: FoundArgs) -> Result<ExitCode> {
    let (home, identity) = global.identity()?;
    let connection = global.connect(&args.url)?;
    let service: Service = connection.get_open("/v1/service")?;
    if let Some(ledger) = service.ledger {
        return Err(Error::new(format!(
            "this service holds the ledger {ledger} already; to join it, run: safeconduct join --url {} --ledger ID",
            args.url
        )));
    }
    let mut custodians: Vec<FoundingCustodian> =
        args.custodians.iter().map(|file| input::json_file(file)).collect::<Result<_>>()?;
    custodians.sort_by(|a, b| a.principal.cmp(&b.principal));
    if !custodians.iter().any(|custodian| custodian.principal == identity.principal) {
        return Err(Error::new(
            "the founder is one of the custodians: add your own file, which `safeconduct key public` writes",
        ));
    }
    let mut currencies = args.currencies;
    currencies.sort();
    currencies.dedup();
    let charter = Charter {
        checkpoint_key: service.checkpoint_key.clone(),
        currencies,
        custodians,
        origin: service.origin.clone(),
        policy: input::json_file::<Policy>(&args.policy)?,
        quorum: Integer(args.quorum.into()),
        record_key: service.record_key.clone(),
    };
    let words = charter_words(&charter);
    if !global.json {
        show_service(&service);
        ui::line("Compare these two keys with those that the service printed when it started.");
        ui::line(format!("As {} you sign:", identity.principal));
        send::show_words(std::slice::from_ref(&words));
    }
    if !send::agreed(global, "Sign and send the founding record?")? {
        return Ok(ExitCode::from(FAILED));
    }
    let key = global.unlock(&home)?;
    let (record, submission) = if global.dry_run {
        let record = Client::sign_founding(&home, &key, &connection, charter)?;
        let submission = connection.check_founding(&record)?;
        (record, submission)
    } else {
        let (_, record, submission) = Client::found(home, key, connection, charter)?;
        (record, submission)
    };
    let ledger = record.digest();
    let is_founded =
        matches!(submission.outcomes.as_slice(), [Outcome::Accepted { .. } | Outcome::Pending { .. }]);
    let mut extra = Map::new();
    let mut next = String::new();
    if is_founded {
        extra.insert("ledger".to_owned(), json!(ledger));
        next = format!(
            "give the ledger's id {ledger} to every other custodian, who runs `safeconduct join --url {} --ledger \
             {ledger}` and then `safeconduct accept`. The ledger takes nothing else until all have accepted",
            args.url
        );
        if !global.json {
            ui::line(format!("The ledger's id is {ledger}"));
        }
    }
    Ok(send::report(global, &[words], &[record], &submission, &next, extra))
}

/// Joins a ledger.
pub fn join_ledger(global: &Global, args: JoinArgs) -> Result<ExitCode> {
    let home = global.open_home()?;
    let connection = global.connect(&args.url)?;
    let key = global.unlock(&home)?;
    let (ledger, founding) = join(&home, &connection, &key, args.ledger).map_err(|error| match error {
        client::Error::Problem(problem) => Error::new(format!(
            "{problem}. To join, your key must be enrolled: give the custodians your key possession (safeconduct key \
             possession), and wait until the enrolment took effect"
        )),
        other => other.into(),
    })?;
    let client = Client::open(home, key, connection)?;
    let checkpoint = match client.refresh() {
        Ok(kept) => Some(kept.checkpoint.size),
        Err(client::Error::Problem(problem)) if problem.code == "no_checkpoint" => None,
        Err(other) => return Err(other.into()),
    };
    let me = &client.identity().principal;
    let is_custodian = founding.body.custodians.iter().any(|custodian| custodian.principal == *me);
    let next = if is_custodian {
        "safeconduct accept (unless you have)"
    } else {
        "safeconduct --help, which names the role that each command takes"
    };
    if global.json {
        ui::json(&json!({
            "checkpoint_key": ledger.checkpoint_key, "ledger": ledger.ledger, "next": next, "origin": ledger.origin,
            "record_key": ledger.record_key, "size": checkpoint.map(|size| size.to_string()), "url": ledger.url,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    ui::line(format!("Joined ledger {} with origin {}.", ledger.ledger, ledger.origin));
    ui::line("Its founding record has the id that you were given; it was founded so:");
    send::show_words(&[charter_words(&founding.body)]);
    if let Some(size) = checkpoint {
        ui::line(format!("Verified checkpoint: size {size}."));
    }
    ui::line(format!("Next: {next}"));
    Ok(ExitCode::SUCCESS)
}

/// Accepts the founding.
pub fn accept(global: &Global) -> Result<ExitCode> {
    let client = global.client()?;
    let next = |_: &[Digest]| {
        "once every custodian has accepted, propose the first principals: safeconduct propose enrol --possession FILE \
         --roles ROLE,..."
            .to_owned()
    };
    let manner = Manner { on_founding: true, ..Manner::then(&next) };
    send(global, &client, vec![Body::Acceptance(Acceptance {}).into()], manner)
}

/// Fetches, verifies and keeps the present checkpoint.
pub fn checkpoint(global: &Global) -> Result<ExitCode> {
    let client = global.client()?;
    let kept = if global.dry_run { client.peek()? } else { client.refresh()? };
    if global.json {
        ui::json(&json!({
            "note": kept.note, "root": kept.checkpoint.root, "size": kept.checkpoint.size.to_string(),
        }));
    } else {
        ui::line(format!("Verified: {} records, root {}.", kept.checkpoint.size, kept.checkpoint.root));
        ui::line("It extends every checkpoint that this machine verified before.");
    }
    Ok(ExitCode::SUCCESS)
}
