//! What every command starts from: the global flags, the home, the clock, the key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use client::home::{KEY, KEY_URI};
use client::{Client, Clock, Connection, Home, Identity, Ledger, Mode};
use ledger::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signing::keys::SecretKey;
use signing::token::Signer;

use crate::error::{Error, FAILED, Result};
use crate::tokens::{self, Making};
use crate::ui;

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The home directory: key, ledger, receipts. Else SAFECONDUCT_HOME, else ~/.safeconduct
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Show what would be signed and have the service decide on it; store nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Sign without asking
    #[arg(long, global = true)]
    pub yes: bool,
    /// Of many instructions: each alone, or all or none
    #[arg(long, global = true, value_name = "MODE", value_enum, default_value_t = ModeArg::Each)]
    pub mode: ModeArg,
}

/// `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Each stands alone.
    Each,
    /// All are accepted, or none.
    All,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Mode {
        match mode {
            ModeArg::Each => Mode::Each,
            ModeArg::All => Mode::All,
        }
    }
}

/// The machine's clock.
pub fn clock() -> Clock {
    Arc::new(now)
}

/// The time, by the machine's clock.
pub fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(elapsed.as_secs()).unwrap_or_default();
    Timestamp::from_unix(seconds).unwrap_or_else(|| {
        ui::note("the machine's clock stands beyond the year 9999; set it, and run the command again");
        std::process::exit(FAILED.into())
    })
}

impl Global {
    /// The path of the home.
    pub fn home_dir(&self) -> Result<PathBuf> {
        if let Some(dir) =
            self.home.clone().or_else(|| std::env::var_os("SAFECONDUCT_HOME").map(PathBuf::from))
        {
            return Ok(dir);
        }
        let user = std::env::var_os("HOME").ok_or_else(|| {
            Error::new("which home directory? Give it with --home DIR or in SAFECONDUCT_HOME")
        })?;
        Ok(PathBuf::from(user).join(".safeconduct"))
    }

    /// The home, which must exist.
    pub fn open_home(&self) -> Result<Home> {
        Ok(Home::open(&self.home_dir()?)?)
    }

    /// The home and whose it is.
    pub fn identity(&self) -> Result<(Home, Identity)> {
        let home = self.open_home()?;
        let identity = Identity::read(&home)?;
        Ok((home, identity))
    }

    /// The home's key, opened with the passphrase, or with the PIN of the token that it is in.
    pub fn unlock(&self, home: &Home) -> Result<Box<dyn Signer>> {
        if let Some(uri) = home.read_text(KEY_URI)? {
            return Ok(Box::new(tokens::key(uri.trim_end(), Making::Never, ui::pin)?));
        }
        let pem = home.read_text(KEY)?.ok_or_else(|| {
            Error::new(format!("{} is missing; restore it from your backup", home.path(KEY).display()))
        })?;
        Ok(Box::new(SecretKey::from_pkcs8_pem(&pem, &ui::passphrase()?)?))
    }

    /// A service at this address.
    pub fn connect(&self, url: &str) -> Result<Connection> {
        Ok(Connection::new(url, clock())?)
    }

    /// The client of a home that has joined a ledger.
    pub fn client(&self) -> Result<Client> {
        let home = self.open_home()?;
        let connection = self.connect(&Ledger::read(&home)?.url)?;
        let key = self.unlock(&home)?;
        Ok(Client::open(home, key, connection)?)
    }

    /// Prints a list: as the service gave it, or as a table of what `row` makes of each item.
    pub fn show_list<T: DeserializeOwned>(
        &self,
        items: Vec<Value>,
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        nothing: &str,
    ) -> Result<()> {
        if self.json {
            ui::json(&json!({ "items": items }));
            return Ok(());
        }
        let items: Vec<T> = typed(items)?;
        ui::table(header, items.iter().map(row).collect(), nothing);
        Ok(())
    }
}

/// Items as what they should be.
pub fn typed<T: DeserializeOwned>(items: Vec<Value>) -> Result<Vec<T>> {
    let parsed: std::result::Result<Vec<T>, _> = items.into_iter().map(serde_json::from_value).collect();
    Ok(parsed.map_err(|error| client::Error::Answer(error.to_string()))?)
}
