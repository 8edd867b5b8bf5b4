//! Assets, funds and bank accounts: what directors open, and what reconcilers report of courts and banks.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use client::Client;
use ledger::currency::Currency;
use ledger::id::{AssetId, BankId, BodyId, FundId};
use ledger::money::Money;
use ledger::time::Date;
use records::Body;
use records::assets as facts;
use records::assets::Share;
use records::scalar::Text;
use signing::digest::Digest;

use crate::amount::{parse as amount, parse_share};
use crate::context::Global;
use crate::error::Result;
use crate::evidence::EvidenceArgs;
use crate::send::{Manner, send};

/// Where money of a fund moved, when, and what proves it.
#[derive(Debug, Args)]
pub struct Moved {
    /// The fund
    #[arg(long)]
    fund: FundId,
    /// The bank account
    #[arg(long)]
    bank: BankId,
    /// The bank's value date
    #[arg(long, value_name = "DATE")]
    value_date: Date,
    #[command(flatten)]
    evidence: EvidenceArgs,
}

/// `safeconduct asset ...`
#[derive(Debug, Subcommand)]
pub enum AssetCommand {
    /// Register something that was seized (director)
    Register {
        /// The asset's id, which you choose
        #[arg(long)]
        asset: AssetId,
        /// What it is
        #[arg(long, value_name = "WORDS")]
        description: Text,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Report that an asset is restrained at a third party (reconciler)
    Restrain {
        /// The asset's fiduciary fund
        #[arg(long)]
        fund: FundId,
        /// How much
        #[arg(long, value_parser = amount)]
        amount: Money,
        #[command(flatten)]
        evidence: EvidenceArgs,
    },
    /// Report that money of an asset came into custody (reconciler)
    Custody {
        /// How much
        #[arg(long, value_parser = amount)]
        amount: Money,
        #[command(flatten)]
        moved: Moved,
    },
    /// Report interest on a custody account (reconciler)
    Interest {
        /// How much
        #[arg(long, value_parser = amount)]
        amount: Money,
        #[command(flatten)]
        moved: Moved,
    },
    /// Report a final order of forfeiture (reconciler)
    Forfeit {
        /// All that is forfeited
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        gross: Money,
        /// The spendable fund of the same asset
        #[arg(long, value_name = "FUND")]
        to_fund: FundId,
        /// The account that the net arrives in
        #[arg(long, value_name = "BANK")]
        to_bank: BankId,
        /// A cost that comes off first; once for each
        #[arg(long = "cost", value_name = "BODY=AMOUNT", value_parser = parse_share)]
        costs: Vec<Share>,
        /// A claim that comes before the programme, by priority; once for each
        #[arg(long = "claim", value_name = "BODY=AMOUNT", value_parser = parse_share)]
        claims: Vec<Share>,
        #[command(flatten)]
        moved: Moved,
    },
    /// Report that a cost, claim or share was paid out of custody (reconciler)
    PayClaim {
        /// How much
        #[arg(long, value_parser = amount)]
        amount: Money,
        /// To whom
        #[arg(long)]
        body: BodyId,
        /// What it is for
        #[arg(long, value_enum)]
        kind: ClaimKind,
        #[command(flatten)]
        moved: Moved,
    },
    /// Report income of an asset, own share and others' (reconciler)
    Income {
        /// The programme's own share
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        own: Money,
        /// What is retained provisionally; else nothing
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        retained: Option<Money>,
        /// Another body's share; once for each
        #[arg(long = "share", value_name = "BODY=AMOUNT", value_parser = parse_share)]
        shares: Vec<Share>,
        /// The asset's fiduciary fund, which holds others' shares
        #[arg(long, value_name = "FUND")]
        shares_fund: FundId,
        #[command(flatten)]
        moved: Moved,
    },
}

/// `--kind` of a payment out of custody.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ClaimKind {
    /// A claimant with a lien.
    Claimant,
    /// A cost of custody or sale.
    Cost,
    /// Another body's share of income.
    OtherBody,
}

/// `--kind` of a fund.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FundKind {
    /// Holds an asset for its owner and claimants.
    Fiduciary,
    /// Spendable money.
    Spendable,
}

/// `safeconduct fund ...`
#[derive(Debug, Subcommand)]
pub enum FundCommand {
    /// Open a fund of an asset (director)
    Open {
        /// The fund's id, which you choose
        #[arg(long)]
        fund: FundId,
        /// The asset
        #[arg(long)]
        asset: AssetId,
        /// Its currency
        #[arg(long, value_name = "CODE")]
        currency: Currency,
        /// Fiduciary until a final order, or spendable
        #[arg(long, value_enum)]
        kind: FundKind,
    },
    /// Show a fund's accounts
    Accounts {
        /// The fund
        fund: FundId,
    },
}

/// `safeconduct bank ...`
#[derive(Debug, Subcommand)]
pub enum BankCommand {
    /// Open a bank account (director)
    Open {
        /// The account's id, which you choose; never its number
        #[arg(long)]
        bank: BankId,
        /// Its currency
        #[arg(long, value_name = "CODE")]
        currency: Currency,
    },
    /// Report a fee that the bank took (reconciler)
    Fee {
        /// How much
        #[arg(long, value_parser = amount)]
        amount: Money,
        #[command(flatten)]
        moved: Moved,
    },
}

impl AssetCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        let body = match self {
            AssetCommand::Register { asset, description, evidence } => {
                let instrument = evidence.read(&client, "seizure order")?;
                let body = Body::AssetRegistration(facts::AssetRegistration {
                    asset: asset.clone(),
                    description,
                    instrument,
                });
                let next = |_: &[Digest]| {
                    format!(
                        "safeconduct fund open --asset {asset} --fund FUND --currency CODE --kind fiduciary"
                    )
                };
                return send(global, &client, vec![body.into()], Manner::then(&next));
            }
            AssetCommand::Restrain { fund, amount, evidence } => {
                let instrument = evidence.read(&client, "restraint order")?;
                Body::Restraint(facts::Restraint { amount, fund, instrument })
            }
            AssetCommand::Custody { amount, moved } => {
                let evidence = moved.evidence.read(&client, "bank advice")?;
                let Moved { fund, bank, value_date, .. } = moved;
                Body::Custody(facts::Custody { amount, bank, evidence, fund, value_date })
            }
            AssetCommand::Interest { amount, moved } => {
                let evidence = moved.evidence.read(&client, "bank advice")?;
                let Moved { fund, bank, value_date, .. } = moved;
                Body::CustodyInterest(facts::CustodyInterest { amount, bank, evidence, fund, value_date })
            }
            AssetCommand::Forfeit { gross, to_fund, to_bank, costs, claims, moved } => {
                let instrument = moved.evidence.read(&client, "forfeiture order")?;
                let Moved { fund, bank, value_date, .. } = moved;
                Body::Forfeiture(facts::Forfeiture {
                    bank,
                    claims,
                    costs,
                    fund,
                    gross,
                    instrument,
                    to_bank,
                    to_fund,
                    value_date,
                })
            }
            AssetCommand::PayClaim { amount, body, kind, moved } => {
                let evidence = moved.evidence.read(&client, "bank advice")?;
                let Moved { fund, bank, value_date, .. } = moved;
                let kind = match kind {
                    ClaimKind::Claimant => facts::ClaimKind::Claimant,
                    ClaimKind::Cost => facts::ClaimKind::Cost,
                    ClaimKind::OtherBody => facts::ClaimKind::OtherBody,
                };
                Body::ClaimPayment(facts::ClaimPayment {
                    amount,
                    bank,
                    body,
                    evidence,
                    fund,
                    kind,
                    value_date,
                })
            }
            AssetCommand::Income { own, retained, shares, shares_fund, moved } => {
                let evidence = moved.evidence.read(&client, "bank advice")?;
                let Moved { fund, bank, value_date, .. } = moved;
                let retained = retained.unwrap_or(Money::zero(own.currency()));
                Body::WindfallIncome(facts::WindfallIncome {
                    bank,
                    evidence,
                    fund,
                    own,
                    retained,
                    shares,
                    shares_fund,
                    value_date,
                })
            }
        };
        report_fact(global, &client, body)
    }
}

/// Reports a fact, which further persons may have to countersign.
pub fn report_fact(global: &Global, client: &Client, body: Body) -> Result<ExitCode> {
    let next = |digests: &[Digest]| countersign_next(digests);
    send(global, client, vec![body.into()], Manner::for_others(&next))
}

/// What follows a report.
pub fn countersign_next(digests: &[Digest]) -> String {
    let which = match digests {
        [digest] => digest.to_string(),
        _ => "--all-listed".to_owned(),
    };
    format!(
        "where policy wants more than one person, another reconciler runs: safeconduct countersign {which}; then see: \
         safeconduct funds"
    )
}

impl FundCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            FundCommand::Accounts { fund } => super::reads::accounts(global, &fund),
            FundCommand::Open { fund, asset, currency, kind } => {
                let client = global.client()?;
                let kind = match kind {
                    FundKind::Fiduciary => facts::FundKind::Fiduciary,
                    FundKind::Spendable => facts::FundKind::Spendable,
                };
                let body =
                    Body::FundOpening(facts::FundOpening { asset, currency, fund: fund.clone(), kind });
                let next = |_: &[Digest]| match kind {
                    facts::FundKind::Fiduciary => format!(
                        "a reconciler reports what is seized: safeconduct asset restrain --fund {fund} ..., or: \
                         safeconduct asset custody --fund {fund} ..."
                    ),
                    facts::FundKind::Spendable => format!(
                        "a reconciler reports what becomes spendable: safeconduct asset forfeit --to-fund {fund} ..., \
                         or: safeconduct asset income --fund {fund} ..."
                    ),
                };
                send(global, &client, vec![body.into()], Manner::then(&next))
            }
        }
    }
}

impl BankCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        let client = global.client()?;
        match self {
            BankCommand::Open { bank, currency } => {
                let body = Body::BankOpening(facts::BankOpening { bank, currency });
                let next = |_: &[Digest]| {
                    "safeconduct fund open --fund FUND --asset ASSET --currency CODE --kind spendable"
                        .to_owned()
                };
                send(global, &client, vec![body.into()], Manner::then(&next))
            }
            BankCommand::Fee { amount, moved } => {
                let evidence = moved.evidence.read(&client, "bank advice")?;
                let Moved { fund, bank, value_date, .. } = moved;
                let body = Body::BankFee(facts::BankFee { amount, bank, evidence, fund, value_date });
                report_fact(global, &client, body)
            }
        }
    }
}
