//! The ledger's two keys on disk: `keys/record.pem` and `keys/checkpoint.pem` in the data directory, each PKCS#8 and
//! encrypted, readable by the service's account only. They are made at the first start, and replaced only by custodians
//! (`docs/operating/rekey.md`): then the new ones are made beforehand, in a directory of their own. The second may be in a
//! token instead (`docs/operating/tokens.md`).

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use records::governance::LedgersKeys;
use signing::keys::{PublicKey, SecretKey};
use signing::token::Signer;
use zeroize::Zeroizing;

use super::shown;
use crate::error::{Error, Result};
use crate::tokens::{self, Making};
use crate::{input, ui};

const PASSPHRASE: &str = "SAFECONDUCT_SERVICE_PASSPHRASE";
/// The name under which a service manager hands the passphrase over (systemd: `LoadCredential=`).
const CREDENTIAL: &str = "safeconduct-passphrase";
const PIN: &str = "SAFECONDUCT_SERVICE_PIN";
/// The same for the token's PIN.
const PIN_CREDENTIAL: &str = "safeconduct-pin";
const PASSPHRASE_CHARACTERS_MIN: usize = 8;
/// Where a data directory has them.
const DIR: &str = "keys";
const RECORD: &str = "record.pem";
const CHECKPOINT: &str = "checkpoint.pem";
/// The public halves, for the custodians.
const PUBLIC: &str = "public.json";

/// Where the ledger's key for checkpoints is, unless it is a file.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The ledger's key for checkpoints, in a token: a PKCS #11 URI; its PIN is in SAFECONDUCT_SERVICE_PIN, or asked for
    #[arg(long, value_name = "URI")]
    checkpoint_key: Option<String>,
}

/// `safeconduct service-keys ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceKeysCommand {
    /// Make two keys beforehand, which custodians then give the ledger; show them, where they are made already
    New {
        /// The directory in which they are, public.json beside them for the custodians
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        token: TokenArgs,
    },
}

impl ServiceKeysCommand {
    /// Runs it.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let ServiceKeysCommand::New { out, token } = self;
        let (record, checkpoint) = open_in(&out, &token)?;
        let keys =
            LedgersKeys { checkpoint_key: checkpoint.public().clone(), record_key: record.public().clone() };
        let public = out.join(PUBLIC);
        input::write_public(&public, &client::home::json(&keys)?)?;
        ui::line(format!("record key      {}", keys.record_key.id()));
        ui::line(format!("checkpoint key  {}", keys.checkpoint_key.id()));
        ui::line(format!(
            "Next: back {} up, and give {} to the custodians, who run: safeconduct reopening propose --keys FILE",
            shown(&out),
            shown(&public)
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a data directory has the ledger's keys, or, of two of which one is in a token, the other.
pub(crate) fn are_in(data: &Path) -> bool {
    data.join(DIR).join(RECORD).exists()
}

/// Keys are made at the first start only, and a register says that there was one.
pub(crate) fn refuse_lost(data: &Path, register: &Path) -> Result<()> {
    if are_in(data) || !register.exists() {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} is missing, and {} says that this is not the first start: restore the ledger's keys from your backup; if they \
         are lost, custodians give it new ones (docs/operating/rekey.md)",
        shown(&data.join(DIR).join(RECORD)),
        shown(register)
    )))
}

/// The ledger's key for records and that for checkpoints; made, if this is the first start.
pub(crate) fn open(data: &Path, token: &TokenArgs) -> Result<(SecretKey, Box<dyn Signer>)> {
    open_in(&data.join(DIR), token)
}

/// Those that are in a directory already.
pub(crate) fn open_made(dir: &Path, token: &TokenArgs) -> Result<(SecretKey, Box<dyn Signer>)> {
    if !dir.join(RECORD).exists() {
        return Err(Error::new(format!(
            "{} has no keys: safeconduct service-keys new --out DIR",
            shown(dir)
        )));
    }
    open_in(dir, token)
}

fn open_in(dir: &Path, token: &TokenArgs) -> Result<(SecretKey, Box<dyn Signer>)> {
    let data = dir.parent().filter(|data| !data.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private(data)?;
    let (record, checkpoint) = (dir.join(RECORD), dir.join(CHECKPOINT));
    if let Some(uri) = &token.checkpoint_key {
        return open_with_token(data, dir, uri);
    }
    let passphrase = match (record.exists(), checkpoint.exists()) {
        (true, true) => passphrase("The service's passphrase: ")?,
        (false, false) => {
            let passphrase = new_passphrase()?;
            make(data, dir, &[RECORD, CHECKPOINT], &passphrase)?;
            passphrase
        }
        (has_record, _) => {
            let missing = if has_record { &checkpoint } else { &record };
            return Err(Error::new(format!(
                "{} is missing beside the ledger's other key; restore it from your backup, name the token that it is \
                 in (--checkpoint-key), or, if nothing was founded with them yet, remove both",
                shown(missing)
            )));
        }
    };
    Ok((read(&record, &passphrase)?, Box::new(read(&checkpoint, &passphrase)?)))
}

/// The same with the key for checkpoints in a token.
fn open_with_token(data: &Path, dir: &Path, uri: &str) -> Result<(SecretKey, Box<dyn Signer>)> {
    let (record, checkpoint) = (dir.join(RECORD), dir.join(CHECKPOINT));
    if checkpoint.exists() {
        return Err(Error::new(format!(
            "{} is there beside a key in a token: start without --checkpoint-key, or remove the file, if it is not this \
             ledger's key or the same is in the token",
            shown(&checkpoint)
        )));
    }
    let is_first = !record.exists();
    let passphrase = if is_first { new_passphrase()? } else { passphrase("The service's passphrase: ")? };
    let making = if is_first { Making::IfMissing } else { Making::Never };
    let pin =
        || given(PIN, PIN_CREDENTIAL)?.map_or_else(|| asked("The token's PIN: ", PIN, PIN_CREDENTIAL), Ok);
    // A first start that is cut short here finds the token's key when it is repeated.
    let key = tokens::key(uri, making, pin)?;
    if is_first {
        make(data, dir, &[RECORD], &passphrase)?;
    }
    Ok((read(&record, &passphrase)?, Box::new(key)))
}

fn read(path: &Path, passphrase: &str) -> Result<SecretKey> {
    let mode = fs::metadata(path).map_err(|error| failed("read", path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::new(format!("{} can be read by others; run: chmod 600 {0}", shown(path))));
    }
    let pem = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed("read", path, &error))?);
    SecretKey::from_pkcs8_pem(&pem, passphrase)
        .map_err(|error| Error::new(format!("{}: {error}", shown(path))))
}

/// Makes the keys in a directory of another name, so that they are there together, whole and on disk, or not at all: a
/// first start may be cut short anywhere.
fn make(data: &Path, dir: &Path, names: &[&str], passphrase: &str) -> Result<()> {
    let new = data.join(format!("keys.new-{}", std::process::id()));
    make_private(&new)?;
    for name in names {
        let pem = SecretKey::generate()?.to_pkcs8_pem(passphrase)?;
        let path = new.join(name);
        write(&path, pem.as_bytes()).map_err(|error| failed("write", &path, &error))?;
    }
    let renamed = File::open(&new).and_then(|new| new.sync_all()).and_then(|()| fs::rename(&new, dir));
    match renamed {
        // Another process was faster, and its keys stay.
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | AlreadyExists) => fs::remove_dir_all(&new),
        other => other,
    }
    .and_then(|()| File::open(data)?.sync_all())
    .map_err(|error| failed("make", dir, &error))
}

/// Puts the keys of a directory in place of those of a data directory, which are kept beside it. It can be repeated where
/// it was cut short. Answers where the old ones are, if there were any.
pub(crate) fn replace(data: &Path, from: &Path, size: u64) -> Result<Option<PathBuf>> {
    let (dir, new) = (data.join(DIR), data.join("keys.next"));
    let old = data.join(format!("keys.before-{size}"));
    let read = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path, &error)),
    };
    let files = [RECORD, CHECKPOINT].map(|name| Ok::<_, Error>((name, read(from.join(name))?)));
    let [record, checkpoint] = files;
    let files = [record?, checkpoint?];
    let mut is_done = true;
    for (name, bytes) in &files {
        is_done &= read(dir.join(name))? == *bytes;
    }
    if !is_done {
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        make_private(&new)?;
        for (name, bytes) in files {
            let path = new.join(name);
            let written = bytes.map_or(Ok(()), |bytes| write(&path, &bytes));
            written.map_err(|error| failed("write", &path, &error))?;
        }
        File::open(&new)?.sync_all()?;
        if dir.exists() {
            fs::rename(&dir, &old).map_err(|error| failed("keep the keys of before as", &old, &error))?;
        }
        fs::rename(&new, &dir)
            .and_then(|()| File::open(data)?.sync_all())
            .map_err(|error| failed("put the new keys into", &dir, &error))?;
    }
    Ok(Some(old).filter(|old| old.exists()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a directory that only we can enter, or leaves the one there is.
fn make_private(dir: &Path) -> Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("make", dir, &error)),
        _ => Ok(()),
    }
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot {action} {}: {error}", shown(path)))
}

/// The passphrase or PIN that we were given: in the environment, or as a credential of the service manager, which is a file
/// that only we can read and whose last line feed does not count.
fn given(variable: &str, credential: &str) -> Result<Option<Zeroizing<String>>> {
    match std::env::var(variable) {
        Ok(given) => return Ok(Some(Zeroizing::new(given))),
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Error::new(format!("{variable} is not valid UTF-8")));
        }
        Err(std::env::VarError::NotPresent) => {}
    }
    let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = Path::new(&credentials).join(credential);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            Ok(Some(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).to_owned())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path, &error)),
    }
}

fn asked(prompt: &str, variable: &str, credential: &str) -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return Ok(Zeroizing::new(rpassword::prompt_password(prompt)?));
    }
    Err(Error::new(format!(
        "there is no terminal to ask for it on ({}); set {variable}, or hand it over as the credential {credential}",
        prompt.trim_end_matches([':', ' '])
    )))
}

fn passphrase(prompt: &str) -> Result<Zeroizing<String>> {
    given(PASSPHRASE, CREDENTIAL)?.map_or_else(|| asked(prompt, PASSPHRASE, CREDENTIAL), Ok)
}

fn new_passphrase() -> Result<Zeroizing<String>> {
    let given = given(PASSPHRASE, CREDENTIAL)?;
    let is_asked = given.is_none();
    let new = given
        .map_or_else(|| asked("A passphrase for the ledger's new keys: ", PASSPHRASE, CREDENTIAL), Ok)?;
    if new.chars().count() < PASSPHRASE_CHARACTERS_MIN {
        return Err(Error::new(format!(
            "the passphrase is too short: use {PASSPHRASE_CHARACTERS_MIN} characters at least, better five random words"
        )));
    }
    if is_asked && *asked("The same again: ", PASSPHRASE, CREDENTIAL)? != *new {
        return Err(Error::new("the two passphrases differ; start the service again"));
    }
    Ok(new)
}

/// The padded standard base64 of the key's SubjectPublicKeyInfo, as a founding record has it.
pub(super) fn spki(key: &PublicKey) -> String {
    let json = serde_json::to_value(key).unwrap_or_default();
    json.get("spki").and_then(|spki| spki.as_str()).unwrap_or_default().to_owned()
}
