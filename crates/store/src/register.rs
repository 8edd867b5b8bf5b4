//! The publisher's register: one file, outside the database, that holds the last head a publisher vouched for and the
//! newest epoch it saw. What the database may lose or take back in a failover, this file does not.
//!
//! Whoever holds the lock (`<path>.lock`) is the publisher; anybody may read. A write replaces the file as a whole and
//! is on disk when it returns. The file carries its own digest, so that one damaged by hand or by a disk is called
//! damaged, never taken for a missing one or for a forked log. Whether a new head extends the old one is for the
//! publisher to check: nothing here does.

use std::cmp::Ordering;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signing::digest::Digest;

/// Which server a head was read from: a cluster, and how often it was failed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// The system identifier that initdb gave the cluster; its standbys have the same.
    pub system: String,
    /// Goes up by one with each promotion.
    pub timeline: u32,
}

/// Older to newer within one system; clusters that were made apart do not compare.
impl PartialOrd for Epoch {
    fn partial_cmp(&self, other: &Epoch) -> Option<Ordering> {
        (self.system == other.system).then(|| self.timeline.cmp(&other.timeline))
    }
}

/// What the register holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterState {
    /// Which ledger this is the register of.
    pub ledger: Digest,
    /// How many entries the log has at this head.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
    /// What is needed to check that a later head extends this one.
    #[serde(with = "hex::serde")]
    pub frontier: Vec<u8>,
    /// The signed note of this head; empty until it is signed.
    pub checkpoint: String,
    /// The newest epoch seen.
    pub epoch: Epoch,
}

/// Why the register could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum RegisterError {
    #[error("another process holds the register {}", .0.display())]
    Held(PathBuf),
    #[error("the register {} is damaged ({reason}): restore it, do not remove it", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn io_at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RegisterError + 'a {
    move |source| RegisterError::Io { action, path: path.to_owned(), source }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    state: RegisterState,
    /// Over the encoding of `state`.
    digest: Digest,
}

/// Reads the register at `path`, which need not be ours: `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<RegisterState>, RegisterError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("read", path)(error)),
    };
    let damaged = |reason: String| RegisterError::Damaged { path: path.to_owned(), reason };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let whole = encode(&stored.state).map_err(io_at("encode", path))?;
    if whole != bytes {
        return Err(damaged("its digest does not match".to_owned()));
    }
    Ok(Some(stored.state))
}

/// The bytes of the file: one line of JSON.
fn encode(state: &RegisterState) -> io::Result<Vec<u8>> {
    let digest = Digest::of(&serde_json::to_vec(state)?);
    let mut bytes = serde_json::to_vec(&Stored { state: state.clone(), digest })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The register, held: as long as this lives, no other process can write it.
#[derive(Debug)]
pub struct Register {
    path: PathBuf,
    _lock: File,
}

impl Register {
    /// Takes the lock of the register at `path`. The file itself need not exist yet; its directory must.
    pub fn open(path: &Path) -> Result<Register, RegisterError> {
        let lock_path = with_suffix(path, ".lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(io_at("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Register { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RegisterError::Held(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io_at("lock", &lock_path)(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds: `None` before the first write.
    pub fn read(&self) -> Result<Option<RegisterState>, RegisterError> {
        read(&self.path)
    }

    /// Replaces what it holds. On disk when this returns; after an error, either the old state or the new one is.
    pub fn write(&self, state: &RegisterState) -> Result<(), RegisterError> {
        let temporary = with_suffix(&self.path, ".new");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&encode(state)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(io_at("write", &self.path))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::tests::TestDir;

    fn state(size: u64, timeline: u32) -> RegisterState {
        RegisterState {
            ledger: Digest::of(b"ledger"),
            size,
            root: Digest::of(b"root"),
            frontier: vec![1, 2, 3],
            checkpoint: "example.org/ledger\n7\nAAAA\n".to_owned(),
            epoch: Epoch { system: "7412345678901234567".to_owned(), timeline },
        }
    }

    #[test]
    fn writes_what_is_read_while_one_process_holds_it() {
        let dir = TestDir::new("register");
        let path = dir.path().join("register.json");
        assert_eq!(read(&path).unwrap(), None);
        let register = Register::open(&path).unwrap();
        assert!(matches!(Register::open(&path), Err(RegisterError::Held(_))));
        for size in [0, 7, u64::MAX] {
            register.write(&state(size, 1)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(state(size, 1)));
        }
        drop(register);
        assert_eq!(Register::open(&path).unwrap().read().unwrap(), Some(state(u64::MAX, 1)));
    }

    #[test]
    fn no_damaged_file_is_taken_for_a_whole_or_a_missing_one() {
        let dir = TestDir::new("damage");
        let path = dir.path().join("register.json");
        Register::open(&path).unwrap().write(&state(7, 1)).unwrap();
        let whole = fs::read(&path).unwrap();
        let damaged = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            matches!(read(&path), Err(RegisterError::Damaged { .. }))
        };
        for at in 0..whole.len() {
            assert!(damaged(&whole[..at]), "cut at {at}");
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(damaged(&bytes), "changed at {at}");
        }
        assert!(damaged(&[&whole[..], b"x"].concat()));
        assert!(!damaged(&whole));
    }

    #[test]
    fn epochs_compare_within_one_system() {
        let (old, new) = (state(7, 1).epoch, state(7, 2).epoch);
        assert!(old < new);
        let other = Epoch { system: "1".to_owned(), timeline: 9 };
        assert_eq!(old.partial_cmp(&other), None);
    }
}
