//! The one binary: it parses arguments and calls. Only here are the environment, the clock, key files and passphrases
//! read.
//!
//! | module | what for |
//! |---|---|
//! | `context` | the global flags, the home, the clock, the key |
//! | `commands` | one module a family of commands |
//! | `send` | the one way in which a command signs and sends |
//! | `ui`, `progress`, `input`, `amount`, `evidence` | what people see and bring |
//! | `tokens` | keys in PKCS#11 tokens (feature `pkcs11`) |
//! | `serve`, `recovery`, `demo` | the service, its backup and recovery, and a tour of everything |
//!
//! Exit codes: 0 when all was accepted, 1 when something was refused or does not hold, 2 when the command was used
//! wrongly, could not reach the service, or does not know what became of something.

mod amount;
mod commands;
mod context;
mod demo;
mod error;
mod evidence;
mod input;
mod progress;
mod recovery;
mod send;
mod serve;
mod shown;
mod tokens;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    agency, assets, audit, cases, custodians, disbursements, keys, packs, proofs, publishing, reads,
    reopening, reports, requests, setup, witness, witnesses,
};
use context::Global;

/// A group is thousands of small texts, made on one thread and freed on another. Without huge pages: an audit is two percent faster with
/// them, and takes a tenth more memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A ledger that pays defectors out of seized assets: signed by people, provable by anybody
#[derive(Debug, Parser)]
#[command(name = "safeconduct", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Your key and home
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Show a service's two keys and its origin
    Service(setup::ServiceArgs),
    /// Found a ledger (custodian)
    Found(setup::FoundArgs),
    /// Join a ledger by its id
    Join(setup::JoinArgs),
    /// Accept the founding (custodian)
    Accept,
    /// Activate this home's spare key, and end the one that was lost or stolen
    Activate(keys::ActivateArgs),
    /// Fetch, verify and keep the present checkpoint
    Checkpoint,
    /// Propose what takes a quorum (custodian)
    #[command(subcommand)]
    Propose(custodians::ProposeCommand),
    /// List the custodians' proposals (custodian, auditor)
    Proposals,
    /// Concur with proposals (custodian)
    Concur(custodians::ConcurArgs),
    /// Stop an act that has not taken effect (custodian, auditor)
    Veto(custodians::VetoArgs),
    /// After a loss, or with new keys: the log goes on under a new origin, with custodians' acts in files (custodian; accept:
    /// everybody)
    #[command(subcommand)]
    Reopening(reopening::ReopeningCommand),
    /// Show the policy
    Policy,
    /// List principals, their roles and keys (custodian, auditor)
    Principals,
    /// Assets: register, and report what courts and banks did
    #[command(subcommand)]
    Asset(assets::AssetCommand),
    /// Funds: open one, show its accounts
    #[command(subcommand)]
    Fund(assets::FundCommand),
    /// Show every fund with its sums and proofs
    Funds,
    /// Bank accounts: open one, report a fee
    #[command(subcommand)]
    Bank(assets::BankCommand),
    /// List reports (reconciler, director, auditor)
    Reports,
    /// Sign reports as a further person (reconciler)
    Countersign(reports::CountersignArgs),
    /// Undo a mistake by a linked reversal (director)
    Reverse(reports::ReverseArgs),
    /// Offers: publish a version
    #[command(subcommand)]
    Offer(cases::OfferCommand),
    /// List offers
    Offers,
    /// Cases: open, list, screen
    #[command(subcommand)]
    Case(cases::CaseCommand),
    /// Request disbursements (preparer)
    Request(requests::RequestArgs),
    #[command(flatten)]
    Step(disbursements::StepCommand),
    /// What an agency reads of its own cases
    #[command(subcommand)]
    Agency(agency::AgencyCommand),
    /// Export the whole ledger for offline verification (auditor)
    Bundle(proofs::BundleArgs),
    /// What is public of the log
    #[command(subcommand)]
    Log(publishing::LogCommand),
    /// Verify a bundle offline, by replay
    Audit(audit::AuditArgs),
    /// Packs: a part of a ledger for somebody who may not see the rest, offline
    #[command(subcommand)]
    Pack(packs::PackCommand),
    /// Receipts: check one offline, bring all under a cosigned checkpoint
    #[command(subcommand)]
    Receipt(proofs::ReceiptCommand),
    /// What was sent and has no receipt
    #[command(subcommand)]
    Outbox(proofs::OutboxCommand),
    /// Cosign the log's checkpoints, on a machine that is not the service's
    Witness(witness::WitnessArgs),
    /// Who must cosign checkpoints, and the latest that they cosigned
    #[command(subcommand)]
    Witnesses(witnesses::WitnessesCommand),
    /// Run the service
    Serve(serve::ServeArgs),
    /// The ledger's two keys: make new ones beforehand
    #[command(subcommand)]
    ServiceKeys(serve::keys::ServiceKeysCommand),
    /// Take a base backup of the service's own PostgreSQL
    Backup(recovery::BackupArgs),
    /// Bring a database back, audit it, and say what is lost
    Restore(recovery::RestoreArgs),
    /// Go on under a new origin, as a quorum of custodians decided: with a restored log that lacks what was signed, or with new
    /// keys
    Reopen(recovery::ReopenArgs),
    /// Run a whole ledger on this machine, and show it at work
    Demo(demo::DemoArgs),
}

fn run(cli: Cli) -> error::Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Key(command) => command.run(global),
        Command::Service(args) => setup::service(global, args),
        Command::Found(args) => setup::found(global, args),
        Command::Join(args) => setup::join_ledger(global, args),
        Command::Accept => setup::accept(global),
        Command::Activate(args) => keys::activate(global, args),
        Command::Checkpoint => setup::checkpoint(global),
        Command::Propose(command) => command.run(global),
        Command::Proposals => custodians::proposals(global),
        Command::Concur(args) => custodians::concur(global, args),
        Command::Veto(args) => custodians::veto(global, args),
        Command::Reopening(command) => command.run(global),
        Command::Policy => reads::policy(global),
        Command::Principals => reads::principals(global),
        Command::Asset(command) => command.run(global),
        Command::Fund(command) => command.run(global),
        Command::Funds => reads::funds(global),
        Command::Bank(command) => command.run(global),
        Command::Reports => reports::reports(global),
        Command::Countersign(args) => reports::countersign(global, args),
        Command::Reverse(args) => reports::reverse(global, args),
        Command::Offer(command) => command.run(global),
        Command::Offers => cases::offers(global),
        Command::Case(command) => command.run(global),
        Command::Request(args) => requests::request(global, args),
        Command::Step(command) => command.run(global),
        Command::Agency(command) => command.run(global),
        Command::Bundle(args) => proofs::bundle(global, args),
        Command::Log(command) => command.run(global),
        Command::Audit(args) => audit::audit(global, args),
        Command::Pack(command) => command.run(global),
        Command::Receipt(command) => command.run(global),
        Command::Outbox(command) => command.run(global),
        Command::Witness(args) => args.run(global),
        Command::Witnesses(command) => command.run(global),
        Command::Serve(args) => serve::run(args),
        Command::ServiceKeys(command) => command.run(),
        Command::Backup(args) => recovery::backup(args),
        Command::Restore(args) => recovery::restore(args),
        Command::Reopen(args) => recovery::reopen(args),
        Command::Demo(args) => demo::run(args),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            ui::note(format!("safeconduct: {error}"));
            ExitCode::from(error.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
