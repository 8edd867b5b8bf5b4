//! A person's key and home.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use client::home::{IDENTITY, KEY, KEY_URI};
use client::membership::possession;
use client::{Home, Identity, Ledger};
use ledger::id::PrincipalId;
use records::Body;
use records::governance::{Activation, FoundingCustodian};
use records::scalar::{Integer, Text};
use serde_json::json;
use signing::digest::Digest;
use signing::keys::{KeyId, SecretKey};
use signing::token::Signer;

use crate::context::Global;
use crate::error::Result;
use crate::send::{Manner, send};
use crate::tokens::{self, Making};
use crate::{input, ui};

/// `safeconduct key ...`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a home with a new key; the passphrase encrypts it, or a token keeps it
    New {
        /// The opaque name as which you sign; never a person's name
        #[arg(long)]
        principal: PrincipalId,
        /// Make the key in a token: a PKCS #11 URI; the token's PIN is in SAFECONDUCT_PIN, or asked for
        #[arg(long, value_name = "URI")]
        pkcs11: Option<String>,
    },
    /// Show whose home this is, and its key's id
    Show,
    /// Write your principal and public key, for the founding of a ledger
    Public {
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write the proof that you hold your key, for the custodians who enrol you
    Possession {
        /// The ledger's id; else the one that this home has joined
        #[arg(long, value_name = "ID")]
        ledger: Option<Digest>,
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `safeconduct activate`
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// Why
    #[arg(long)]
    reason: Text,
    /// Another key of yours, which ends at once
    #[arg(long, value_name = "ID")]
    replaces: Option<KeyId>,
    /// Where somebody else may have had that key: auditors review what it signed from this position of the log on
    #[arg(long, value_name = "POSITION", requires = "replaces")]
    since: Option<Integer>,
}

/// Activates the home's spare key, by its own signature.
pub fn activate(global: &Global, args: ActivateArgs) -> Result<ExitCode> {
    let client = global.client()?;
    let ActivateArgs { reason, replaces, since } = args;
    let body = Body::Activation(Activation { reason, replaces, since });
    let next = |_: &[Digest]| {
        "this key signs from now on; tell the custodians, who see it too, and enrol another spare".to_owned()
    };
    send(global, &client, vec![body.into()], Manner::then(&next))
}

impl KeyCommand {
    /// Runs it.
    pub fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            KeyCommand::New { principal, pkcs11 } => new(global, principal, pkcs11),
            KeyCommand::Show => {
                let (home, identity) = global.identity()?;
                show(global, &home, &identity, "");
                Ok(ExitCode::SUCCESS)
            }
            KeyCommand::Public { out } => {
                let (home, identity) = global.identity()?;
                let custodian =
                    FoundingCustodian { key: identity.public.clone(), principal: identity.principal.clone() };
                input::write_public(&out, &serde_json::to_vec_pretty(&custodian)?)?;
                let next = format!(
                    "give {} to whoever founds the ledger (safeconduct found --custodian FILE ...)",
                    out.display()
                );
                show(global, &home, &identity, &next);
                Ok(ExitCode::SUCCESS)
            }
            KeyCommand::Possession { ledger, out } => {
                let (home, identity) = global.identity()?;
                let ledger = match ledger {
                    Some(ledger) => ledger,
                    None => Ledger::read(&home)?.ledger,
                };
                let key = global.unlock(&home)?;
                input::write_public(&out, &possession(&identity, &key, ledger)?.encode())?;
                let next = format!(
                    "give {} to a custodian, who runs: safeconduct propose enrol --possession {} --roles ROLE,...",
                    out.display(),
                    out.display()
                );
                show(global, &home, &identity, &next);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn new(global: &Global, principal: PrincipalId, token: Option<String>) -> Result<ExitCode> {
    let home = Home::create(&global.home_dir()?)?;
    let key: Box<dyn Signer> = match token {
        Some(uri) => {
            let key = tokens::key(&uri, Making::Always, ui::pin)?;
            home.write(KEY_URI, format!("{uri}\n").as_bytes())?;
            Box::new(key)
        }
        None => {
            let passphrase = ui::new_passphrase()?;
            let key = SecretKey::generate()?;
            home.write(KEY, key.to_pkcs8_pem(&passphrase)?.as_bytes())?;
            Box::new(key)
        }
    };
    let identity = Identity { key: key.public().id(), principal, public: key.public().clone() };
    home.write_json(IDENTITY, &identity)?;
    let next = "back up the home directory and, apart from it, the passphrase or PIN: neither can be restored. A founding \
                custodian then runs `safeconduct key public --out FILE`; everybody else gets the ledger's id from a \
                custodian and runs `safeconduct key possession --ledger ID --out FILE`";
    show(global, &home, &identity, next);
    Ok(ExitCode::SUCCESS)
}

fn show(global: &Global, home: &Home, identity: &Identity, next: &str) {
    let ledger = Ledger::read(home).ok();
    if global.json {
        let mut document = json!({
            "home": home.dir().display().to_string(),
            "key": identity.key,
            "ledger": ledger.map(|ledger| ledger.ledger),
            "principal": identity.principal,
            "public": identity.public,
        });
        if !next.is_empty() {
            document["next"] = json!(next);
        }
        return ui::json(&document);
    }
    ui::line(format!("home       {}", home.dir().display()));
    ui::line(format!("principal  {}", identity.principal));
    ui::line(format!("key        {}", identity.key));
    match ledger {
        Some(ledger) => ui::line(format!("ledger     {} at {}", ledger.ledger, ledger.url)),
        None => ui::line("ledger     none joined yet"),
    }
    if !next.is_empty() {
        ui::line(format!("Next: {next}"));
    }
}
