//! The ledger's two keys on disk: `keys/record.pem` and `keys/checkpoint.pem` in the data directory, each PKCS#8 and
//! encrypted, readable by the service's account only. They are made at the first start and never replaced.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use signing::keys::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::shown;
use crate::error::{Error, Result};

const PASSPHRASE: &str = "SAFECONDUCT_SERVICE_PASSPHRASE";
/// The name under which a service manager hands the passphrase over (systemd: `LoadCredential=`).
const CREDENTIAL: &str = "safeconduct-passphrase";
const PASSPHRASE_CHARACTERS_MIN: usize = 8;
const RECORD: &str = "record.pem";
const CHECKPOINT: &str = "checkpoint.pem";

/// The ledger's key for records and that for checkpoints; made, if this is the first start.
pub(crate) fn open(data: &Path) -> Result<(SecretKey, SecretKey)> {
    make_private(data)?;
    let dir = data.join("keys");
    let (record, checkpoint) = (dir.join(RECORD), dir.join(CHECKPOINT));
    let passphrase = match (record.exists(), checkpoint.exists()) {
        (true, true) => passphrase("The service's passphrase: ")?,
        (false, false) => {
            let passphrase = new_passphrase()?;
            make(data, &dir, &passphrase)?;
            passphrase
        }
        (has_record, _) => {
            let missing = if has_record { &checkpoint } else { &record };
            return Err(Error::new(format!(
                "{} is missing beside the ledger's other key; restore it from your backup, or, if nothing was \
                 founded with them yet, remove both",
                shown(missing)
            )));
        }
    };
    Ok((read(&record, &passphrase)?, read(&checkpoint, &passphrase)?))
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

/// Makes both keys in a directory of another name, so that they are there together, whole and on disk, or not at all: a
/// first start may be cut short anywhere.
fn make(data: &Path, dir: &Path, passphrase: &str) -> Result<()> {
    let new = data.join(format!("keys.new-{}", std::process::id()));
    make_private(&new)?;
    for name in [RECORD, CHECKPOINT] {
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

/// The passphrase that we were given: in the environment, or as a credential of the service manager, which is a file that
/// only we can read and whose last line feed does not count.
fn given() -> Result<Option<Zeroizing<String>>> {
    match std::env::var(PASSPHRASE) {
        Ok(given) => return Ok(Some(Zeroizing::new(given))),
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Error::new(format!("{PASSPHRASE} is not valid UTF-8")));
        }
        Err(std::env::VarError::NotPresent) => {}
    }
    let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = Path::new(&credentials).join(CREDENTIAL);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            Ok(Some(Zeroizing::new(text.strip_suffix('\n').unwrap_or(&text).to_owned())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", &path, &error)),
    }
}

fn asked(prompt: &str) -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return Ok(Zeroizing::new(rpassword::prompt_password(prompt)?));
    }
    Err(Error::new(format!(
        "there is no terminal to ask for the passphrase on; set {PASSPHRASE}, or hand it over as the credential {CREDENTIAL}"
    )))
}

fn passphrase(prompt: &str) -> Result<Zeroizing<String>> {
    given()?.map_or_else(|| asked(prompt), Ok)
}

fn new_passphrase() -> Result<Zeroizing<String>> {
    let given = given()?;
    let is_asked = given.is_none();
    let new = given.map_or_else(|| asked("A passphrase for the ledger's two new keys: "), Ok)?;
    if new.chars().count() < PASSPHRASE_CHARACTERS_MIN {
        return Err(Error::new(format!(
            "the passphrase is too short: use {PASSPHRASE_CHARACTERS_MIN} characters at least, better five random words"
        )));
    }
    if is_asked && *asked("The same again: ")? != *new {
        return Err(Error::new("the two passphrases differ; start the service again"));
    }
    Ok(new)
}

/// The padded standard base64 of the key's SubjectPublicKeyInfo, as a founding record has it.
pub(super) fn spki(key: &PublicKey) -> String {
    let json = serde_json::to_value(key).unwrap_or_default();
    json.get("spki").and_then(|spki| spki.as_str()).unwrap_or_default().to_owned()
}
