//! Offers, cases and their screening.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use client::home::write_private;
use client::reads::Case;
use client::{Client, draw, tags};
use ledger::id::{AgencyRef, CaseRef, OfferId, PrincipalId};
use ledger::time::Date;
use records::Body;
use records::cases::{BenefitKind, CaseOpening, Offer, OfferVersion, Screening, ScreeningOutcome};
use records::scalar::Integer;
use signing::digest::Digest;

use crate::context::Global;
use crate::error::{Error, Result};
use crate::evidence::EvidenceArgs;
use crate::input::{self, CaseRow, TagRow};
use crate::send::{Manner, Planned, send};

/// `safeconduct offer ...`
#[derive(Debug, Subcommand)]
pub enum OfferCommand {
    /// Publish a version of an offer (director)
    Publish {
        /// The offer, as JSON: {"benefits": [...], "offer", "valid_from", "version"}
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// `safeconduct case ...`
#[derive(Debug, Subcommand)]
pub enum CaseCommand {
    /// Open cases under an offer (preparer)
    Open(OpenArgs),
    /// List cases (preparer, screener, auditor)
    List {
        /// Only those whose screening stands so
        #[arg(long, value_enum)]
        screening: Option<ScreeningArg>,
    },
    /// End the screening of cases (screener)
    Screen(ScreenArgs),
}

/// `safeconduct case open`
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// CSV with the columns agency,entered and perhaps case,agency_ref; references that are not given are drawn
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agency", "entered"], required_unless_present = "agency")]
    file: Option<PathBuf>,
    /// The agency that accompanies the one case
    #[arg(long, requires = "entered")]
    agency: Option<PrincipalId>,
    /// The day on which the person entered
    #[arg(long, value_name = "DATE", requires = "agency")]
    entered: Option<Date>,
    /// Under which offer
    #[arg(long)]
    offer: OfferId,
    /// Its version; else the latest that is valid for the day
    #[arg(long, value_name = "N")]
    offer_version: Option<Integer>,
    /// Write the references to this CSV, readable by you only
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `safeconduct case screen`
#[derive(Debug, Args)]
pub struct ScreenArgs {
    /// A case's reference; once for each
    #[arg(
        long = "case",
        value_name = "REF",
        required_unless_present = "all_listed",
        conflicts_with = "all_listed"
    )]
    cases: Vec<CaseRef>,
    /// Every case whose screening is open
    #[arg(long)]
    all_listed: bool,
    /// How it ended
    #[arg(long, value_enum)]
    outcome: OutcomeArg,
    /// CSV with the columns case,tag: the persons' tags, which never leave this machine
    #[arg(long, value_name = "FILE")]
    tags_file: Option<PathBuf>,
    #[command(flatten)]
    evidence: EvidenceArgs,
}

/// `--screening`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScreeningArg {
    /// Not ended.
    Open,
    /// May be paid.
    Cleared,
    /// May not.
    Refused,
}

impl ScreeningArg {
    fn name(self) -> &'static str {
        match self {
            ScreeningArg::Open => "open",
            ScreeningArg::Cleared => "cleared",
            ScreeningArg::Refused => "refused",
        }
    }
}

/// `--outcome`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutcomeArg {
    /// The person may be paid, and was not seen before.
    Cleared,
    /// The person may not be paid.
    Refused,
}

impl OfferCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let OfferCommand::Publish { file } = self;
        let mut offer: Offer = input::json_file(&file)?;
        offer.benefits.sort_by(|a, b| a.benefit.cmp(&b.benefit));
        let client = global.client()?;
        let id = offer.offer.clone();
        let next = |_: &[Digest]| {
            format!("a preparer opens cases: safeconduct case open --file cases.csv --offer {id}")
        };
        send(global, &client, vec![Body::Offer(offer).into()], Manner::then(&next))
    }
}

/// Lists offers.
pub fn offers(global: &Global) -> Result<ExitCode> {
    let items = global.client()?.list("/v1/offers")?;
    let row = |offer: &Offer| {
        let benefits = offer.benefits.iter().map(|benefit| match &benefit.kind {
            BenefitKind::Cash { amount } => format!("{}: {} in cash", benefit.benefit, amount.grouped()),
            BenefitKind::InKind { ceiling } => {
                format!("{}: in kind, up to {}", benefit.benefit, ceiling.grouped())
            }
        });
        let benefits: Vec<String> = benefits.collect();
        vec![
            offer.offer.to_string(),
            offer.version.to_string(),
            offer.valid_from.to_string(),
            benefits.join("\n"),
        ]
    };
    global.show_list(items, &["offer", "version", "valid from", "benefits"], row, "There are no offers.")?;
    Ok(ExitCode::SUCCESS)
}

impl CaseCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            CaseCommand::Open(args) => open(global, args),
            CaseCommand::List { screening } => list(global, screening),
            CaseCommand::Screen(args) => screen(global, args),
        }
    }
}

fn list(global: &Global, screening: Option<ScreeningArg>) -> Result<ExitCode> {
    let client = global.client()?;
    let path = match screening {
        Some(screening) => format!("/v1/cases?screening={}", screening.name()),
        None => "/v1/cases".to_owned(),
    };
    let mut items: Vec<serde_json::Value> = client.list(&path)?;
    if let Some(screening) = screening {
        items.retain(|item| item["screening"] == screening.name());
    }
    let row = |case: &Case| {
        let offer = format!("{} version {}", case.offer.offer, case.offer.version);
        vec![
            case.case.to_string(),
            case.agency.to_string(),
            case.entered.to_string(),
            offer,
            case.screening.clone(),
        ]
    };
    global.show_list(
        items,
        &["case", "agency", "entered", "offer", "screening"],
        row,
        "There are no such cases.",
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The version of an offer for a case that entered on this day.
fn version_for(offers: &[Offer], args: &OpenArgs, entered: Date) -> Result<OfferVersion> {
    let mut versions: Vec<&Offer> = offers.iter().filter(|offer| offer.offer == args.offer).collect();
    versions.retain(|offer| offer.valid_from <= entered);
    match args.offer_version {
        Some(version) => versions.retain(|offer| offer.version == version),
        None => versions.sort_by_key(|offer| offer.version),
    }
    let version = versions.last().map(|offer| offer.version).ok_or_else(|| {
        Error::new(format!(
            "offer {} has no such version that is valid for a case that entered on {entered}; see: safeconduct offers",
            args.offer
        ))
    })?;
    Ok(OfferVersion { offer: args.offer.clone(), version })
}

fn open(global: &Global, args: OpenArgs) -> Result<ExitCode> {
    let rows: Vec<CaseRow> = match (&args.file, &args.agency, args.entered) {
        (Some(file), _, _) => input::csv_file(file)?,
        (None, Some(agency), Some(entered)) => {
            vec![CaseRow { agency: agency.clone(), entered, case: None, agency_ref: None }]
        }
        _ => return Err(Error::new("which cases? Give --file, or --agency and --entered")),
    };
    let client = global.client()?;
    let offers: Vec<Offer> = client.list("/v1/offers")?;
    let mut openings = Vec::new();
    for row in rows {
        // Two draws, so that nothing leads from the one reference to the other.
        let case: CaseRef = match row.case {
            Some(case) => case,
            None => draw::reference("c-")?.parse()?,
        };
        let agency_ref: AgencyRef = match row.agency_ref {
            Some(agency_ref) => agency_ref,
            None => draw::reference("a-")?.parse()?,
        };
        let offer = version_for(&offers, &args, row.entered)?;
        openings.push(CaseOpening { agency: row.agency, agency_ref, case, entered: row.entered, offer });
    }
    let keep = || match &args.out {
        Some(out) => write_references(out, &openings),
        None => Ok(()),
    };
    let planned: Vec<Planned> =
        openings.iter().map(|opening| Body::CaseOpening(opening.clone()).into()).collect();
    let next = |_: &[Digest]| {
        "a screener runs: safeconduct case screen --all-listed --outcome cleared --evidence-file FILE"
            .to_owned()
    };
    send(global, &client, planned, Manner { keep: Some(&keep), ..Manner::then(&next) })
}

/// Writes the references of cases, for the preparer's own files.
fn write_references(out: &Path, openings: &[CaseOpening]) -> Result<()> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for opening in openings {
        csv.serialize(CaseRow {
            agency: opening.agency.clone(),
            entered: opening.entered,
            case: Some(opening.case.clone()),
            agency_ref: Some(opening.agency_ref.clone()),
        })?;
    }
    let bytes = csv.into_inner().map_err(|error| Error::new(error.to_string()))?;
    Ok(write_private(out, &bytes)?)
}

fn screen(global: &Global, args: ScreenArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let outcome = match args.outcome {
        OutcomeArg::Cleared => ScreeningOutcome::Cleared,
        OutcomeArg::Refused => ScreeningOutcome::Refused,
    };
    let evidence = args.evidence.read(&client, "screening file")?;
    let tags: Vec<TagRow> = match &args.tags_file {
        Some(file) => input::csv_file(file)?,
        None => vec![],
    };
    let cases = if args.all_listed { open_cases(&client)? } else { args.cases };
    let mut planned: Vec<Planned> = Vec::new();
    let mut kept = Vec::new();
    for case in cases {
        let tag = tags.iter().find(|row| row.case == case).map(|row| row.tag.as_str());
        if args.tags_file.is_some() && tag.is_none() {
            return Err(Error::new(
                "the tags file has no line for one of the cases; add it, or name the cases with --case",
            ));
        }
        if let Some(tag) = tag.filter(|_| outcome == ScreeningOutcome::Cleared) {
            not_seen_before(&client, &case, tag, &tags)?;
        }
        let screened = input::screened(&case, tag)?;
        let body = Screening { case, evidence: evidence.clone(), outcome, person: screened.person };
        planned.push(Body::Screening(body).into());
        kept.push(screened);
    }
    let keep = || {
        for screened in &kept {
            tags::keep(client.home(), screened)?;
        }
        Ok(())
    };
    let next = |_: &[Digest]| {
        match outcome {
        ScreeningOutcome::Cleared => {
            "a preparer requests what the offer pays: safeconduct request --all-cases --benefit BENEFIT --fund FUND"
                .to_owned()
        }
        ScreeningOutcome::Refused => "nothing more is done for a refused case".to_owned(),
    }
    };
    send(global, &client, planned, Manner { keep: Some(&keep), ..Manner::then(&next) })
}

fn open_cases(client: &Client) -> Result<Vec<CaseRef>> {
    let cases: Vec<Case> = client.list("/v1/cases?screening=open")?;
    Ok(cases.into_iter().filter(|case| case.screening == "open").map(|case| case.case).collect())
}

/// Refuses to clear a person twice, as far as this machine can tell.
fn not_seen_before(client: &Client, case: &CaseRef, tag: &str, tags: &[TagRow]) -> Result<()> {
    let twice = |other: &CaseRef| {
        Error::new(format!(
            "the person of case {case} has the tag of case {other} too; screen one of them as refused, or correct the tag"
        ))
    };
    if let Some(other) = tags.iter().find(|row| row.tag == tag && row.case != *case) {
        return Err(twice(&other.case));
    }
    match tags::seen_before(client.home(), case, tag)? {
        Some(other) => Err(twice(&other)),
        None => Ok(()),
    }
}
