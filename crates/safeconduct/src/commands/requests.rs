//! Requests of disbursements.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use client::reads::{Case, CurrentPolicy};
use client::{Client, draw};
use ledger::id::{BenefitId, CaseRef, FundId};
use ledger::money::Money;
use ledger::time::Timestamp;
use records::Body;
use records::cases::{BenefitKind, Offer, OfferVersion};
use records::disbursements::{Channel, Request};
use records::scalar::Integer;
use signing::digest::Digest;

use crate::amount::parse as amount;
use crate::context::Global;
use crate::error::{Error, Result};
use crate::input::{self, RequestRow};
use crate::send::{DAY_S, Manner, Planned, send};

/// How long a request lives if nobody says otherwise and policy allows it.
const LIFE_S: u64 = 30 * DAY_S;

/// `safeconduct request`
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// CSV with the columns case,benefit,amount,fund
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "all_cases", "benefit", "amount", "fund"])]
    file: Option<PathBuf>,
    /// A case's reference; once for each
    #[arg(long = "case", value_name = "REF", conflicts_with = "all_cases")]
    cases: Vec<CaseRef>,
    /// Every cleared case under an offer that has the benefit
    #[arg(long)]
    all_cases: bool,
    /// Which benefit
    #[arg(long, required_unless_present = "file")]
    benefit: Option<BenefitId>,
    /// How much; else what the offer pays
    #[arg(long, value_parser = amount)]
    amount: Option<Money>,
    /// From which fund
    #[arg(long, required_unless_present = "file")]
    fund: Option<FundId>,
    /// What is not released by then lapses; else in 30 days, or as long as policy allows
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
}

/// One request before it has its ids.
struct Wish {
    case: CaseRef,
    benefit: BenefitId,
    amount: Option<Money>,
    fund: FundId,
}

/// Requests disbursements.
pub fn request(global: &Global, args: RequestArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let listed: Vec<Case> = client.list("/v1/cases")?;
    let offers: Vec<Offer> = client.list("/v1/offers")?;
    let wishes = wishes(&args, &listed, &offers)?;
    let cases: BTreeMap<&CaseRef, &Case> = listed.iter().map(|case| (&case.case, case)).collect();
    let expires = match args.expires {
        Some(expires) => expires,
        None => expiry(&client)?,
    };
    let mut planned: Vec<Planned> = Vec::new();
    for wish in wishes {
        let case = cases.get(&wish.case).ok_or_else(|| {
            Error::new(format!("there is no case {}; see: safeconduct case list", wish.case))
        })?;
        let amount = match wish.amount {
            Some(amount) => amount,
            None => offered(&offers, &case.offer, &wish.benefit).ok_or_else(|| {
                Error::new(format!(
                    "the case's offer has no benefit {}; see: safeconduct offers",
                    wish.benefit
                ))
            })?,
        };
        let request = Request {
            amount,
            benefit: wish.benefit,
            case: wish.case,
            channel: Channel::Manual {},
            disbursement: draw::disbursement(client.connection().now())?.parse()?,
            expires,
            fund: wish.fund,
            occurrence: Integer(1),
            offer: case.offer.clone(),
            salt: draw::salt()?,
        };
        planned.push(Body::Request(request).into());
    }
    let next = |_: &[Digest]| {
        "approvers read and approve: safeconduct disbursements --stage requested, and then: safeconduct approve \
         --all-listed"
            .to_owned()
    };
    send(global, &client, planned, Manner::then(&next))
}

fn wishes(args: &RequestArgs, listed: &[Case], offers: &[Offer]) -> Result<Vec<Wish>> {
    if let Some(file) = &args.file {
        let rows: Vec<RequestRow> = input::csv_file(file)?;
        let wish =
            |RequestRow { case, benefit, amount, fund }| Wish { case, benefit, amount: Some(amount), fund };
        return Ok(rows.into_iter().map(wish).collect());
    }
    let (Some(benefit), Some(fund)) = (&args.benefit, &args.fund) else {
        return Err(Error::new("what is requested? Give --benefit and --fund, or --file"));
    };
    let cases: Vec<CaseRef> = if args.all_cases {
        let may =
            |case: &&Case| case.screening == "cleared" && offered(offers, &case.offer, benefit).is_some();
        listed.iter().filter(may).map(|case| case.case.clone()).collect()
    } else {
        args.cases.clone()
    };
    if cases.is_empty() {
        return Err(Error::new(
            "for which cases? Give --case REF, or --all-cases once some are cleared; see: safeconduct case list",
        ));
    }
    let wish = |case| Wish { case, benefit: benefit.clone(), amount: args.amount, fund: fund.clone() };
    Ok(cases.into_iter().map(wish).collect())
}

/// What a version of an offer pays under a benefit.
fn offered(offers: &[Offer], version: &OfferVersion, benefit: &BenefitId) -> Option<Money> {
    let offer =
        offers.iter().find(|offer| offer.offer == version.offer && offer.version == version.version)?;
    let benefit = offer.benefits.iter().find(|one| one.benefit == *benefit)?;
    Some(match &benefit.kind {
        BenefitKind::Cash { amount } => *amount,
        BenefitKind::InKind { ceiling } => *ceiling,
    })
}

/// The usual expiry, within the policy's limit by any clock that the policy tolerates.
fn expiry(client: &Client) -> Result<Timestamp> {
    let policy: CurrentPolicy = client.get("/v1/policy")?;
    let most_s = policy.policy.expiry_max_s.0;
    let life_s = LIFE_S.min(most_s.saturating_sub(policy.policy.skew_s.0).max(most_s / 2));
    client
        .connection()
        .now()
        .plus(life_s)
        .ok_or_else(|| Error::new("the policy's expiry leads past the year 9999"))
}
