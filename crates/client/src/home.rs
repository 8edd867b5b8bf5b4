//! The home directory: everything that a person's machine keeps, readable by its owner only.
//!
//! Every file is written whole to a neighbour, synchronised and renamed, so that a crash leaves the old file or the new
//! one. A lock makes commands that run at the same time keep checkpoints one after the other.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The key, encrypted under a passphrase.
pub const KEY: &str = "key.pem";
/// In its place, where the key is in a token: the URI by which it is found there (RFC 7512).
pub const KEY_URI: &str = "key.uri";
/// Whose home it is.
pub const IDENTITY: &str = "identity.json";
/// The ledger that was joined.
pub const LEDGER: &str = "ledger.json";
/// The founding record's envelope.
pub const FOUNDING: &str = "founding.json";
/// The last verified checkpoint, a signed note.
pub const CHECKPOINT: &str = "checkpoint";
/// Envelopes that were sent and have no receipt.
pub const OUTBOX: &str = "outbox";
/// Receipts.
pub const RECEIPTS: &str = "receipts";
/// The custodians' act that names the witnesses, where it is later than the founding record.
pub const WITNESSING: &str = "witnessing.json";
/// Checkpoints that contradict each other.
pub const EVIDENCE: &str = "evidence";
/// A screener's salted commitments to person tags.
pub const SCREENING: &str = "screening";

/// A home directory.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// As long as this lives, no other command keeps a checkpoint in the same home.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// Makes a home, or takes a directory that holds no key yet.
    pub fn create(dir: &Path) -> Result<Home, Error> {
        make_dir(dir)?;
        // An existing directory may be open to others.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|reason| file(dir, reason))?;
        let home = Home { dir: dir.to_owned() };
        if [KEY, KEY_URI, IDENTITY].iter().any(|name| home.path(name).exists()) {
            return Err(Error::HomeTaken(dir.to_owned()));
        }
        Ok(home)
    }

    /// Opens a home that exists.
    pub fn open(dir: &Path) -> Result<Home, Error> {
        let home = Home { dir: dir.to_owned() };
        if home.path(IDENTITY).exists() { Ok(home) } else { Err(Error::NoHome(dir.to_owned())) }
    }

    /// A directory that has some of a home's files, as somebody handed it over; whose it is does not matter.
    pub fn handed_over(dir: &Path) -> Home {
        Home { dir: dir.to_owned() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The bytes of a file, if there is one.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(file(&path, reason)),
        }
    }

    /// The text of a file, if there is one.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, Error> {
        let text = self.read(name)?.map(String::from_utf8).transpose();
        text.map_err(|error| Error::Damaged { path: self.path(name), reason: error.to_string() })
    }

    /// What a JSON file holds, if there is one.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let value = self.read(name)?.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        value.map_err(|error| Error::Damaged { path: self.path(name), reason: error.to_string() })
    }

    /// Writes a file whole, readable by the owner only.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_many([(name.to_owned(), bytes.to_owned())])
    }

    /// Writes many files of one folder, each whole, and has the disk remember the folder once.
    pub fn write_many(&self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let mut folder = None;
        for (name, bytes) in files {
            let path = self.path(&name);
            let parent = path.parent().unwrap_or(&self.dir).to_owned();
            if folder.as_ref() != Some(&parent) {
                make_dir(&parent)?;
            }
            write_private(&path, &bytes)?;
            folder = Some(parent);
        }
        match folder {
            Some(dir) => {
                File::open(&dir).and_then(|open| open.sync_all()).map_err(|reason| file(&dir, reason))
            }
            None => Ok(()),
        }
    }

    /// Writes a JSON file whole.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        self.write(name, &json(value)?)
    }

    /// Removes a file; none there is fine.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => Err(file(&path, reason)),
            _ => Ok(()),
        }
    }

    /// The names of the files in a folder of the home, sorted; temporary ones left out.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.path(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(reason) => return Err(file(&path, reason)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|reason| file(&path, reason))?.file_name();
            names.extend(name.into_string().ok().filter(|name| !name.ends_with(".tmp")));
        }
        names.sort();
        Ok(names)
    }

    /// Waits until no other command keeps a checkpoint here.
    pub fn lock(&self) -> Result<Lock, Error> {
        let path = self.path("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let locked = opened.and_then(|lock| lock.lock().map(|()| lock));
        locked.map(|lock| Lock { _file: lock }).map_err(|reason| file(&path, reason))
    }
}

/// Writes a file whole and readable by the owner only: to a neighbour, synchronised, renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_private_by(path, |out| out.write_all(bytes))
}

/// The same for a file that is too large to be held in memory: `write` writes it.
pub fn write_private_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    write_whole_by(path, 0o600, write)
}

/// The same for those whom a mode allows to read it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    write_whole_by(path, mode, |out| out.write_all(bytes))
}

fn write_whole_by(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut out| write(&mut out).and_then(|()| out.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing of a failed attempt should stay; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|reason| file(path, reason))
}

/// The bytes of a JSON file.
pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| Error::Build(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|reason| file(dir, reason))
}

fn file(path: &Path, reason: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), reason }
}
