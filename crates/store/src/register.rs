//! The publisher's register: one file, outside the database, that holds the last head a publisher vouched for and the
//! newest epoch it saw. What the database may lose or take back in a failover, this file does not.
//!
//! Whoever holds the lock (`<path>.lock`) is the publisher; anybody may read. The file has two slots of fixed size, each a
//! line of JSON filled up with blanks. A write goes over the older slot, in place, and is on disk when it returns: one
//! sync of data, and no directory to sync, which is dozens of times faster than to replace the file. A crash in the midst
//! of it leaves the newer slot as it was. What can be read need not be on disk, though, where a sync failed: see
//! [`Register::write`]. Each slot carries its own digest, so that a file damaged by hand or by a disk
//! is called damaged, never taken for a missing one or for a forked log. Whether a new head extends the old one is for
//! the publisher to check: nothing here does.

use std::cmp::Ordering;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

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

/// The bytes of a slot. A frontier of 64 hashes in hexadecimal takes half of it.
const SLOT: usize = 8192;

/// Whoever reads while two writes go by may find neither slot whole; not several times in a row.
const TRIES: u32 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Goes up by one with each write; even ones are in the first slot.
    sequence: u64,
    state: RegisterState,
    /// Over the encodings of `sequence` and `state`.
    digest: Digest,
}

impl Stored {
    fn of(sequence: u64, state: RegisterState) -> io::Result<Stored> {
        let digest = Digest::of(&serde_json::to_vec(&(sequence, &state))?);
        Ok(Stored { sequence, state, digest })
    }

    /// The bytes of its slot.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        if bytes.len() >= SLOT {
            return Err(io::Error::other("the state is larger than a slot"));
        }
        bytes.resize(SLOT - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// What a slot holds, if it is whole.
    fn decode(slot: &[u8]) -> Option<Stored> {
        let stored: Stored = serde_json::from_slice(slot).ok()?;
        let again = Stored::of(stored.sequence, stored.state.clone()).ok()?;
        let is_whole = again.digest == stored.digest && again.encode().is_ok_and(|bytes| bytes == slot);
        is_whole.then_some(stored)
    }
}

/// Reads the register at `path`, which need not be ours: `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<RegisterState>, RegisterError> {
    RegisterFile::new(path.to_owned()).read()
}

/// What a register's bytes say, or in which way they are damaged.
pub fn parse(bytes: &[u8]) -> Result<RegisterState, &'static str> {
    newest_in(bytes, &mut Default::default()).map(|stored| stored.state)
}

/// The bytes of a file that is made anew.
pub fn encode(state: &RegisterState) -> io::Result<Vec<u8>> {
    let slots = [0, 1].map(|sequence| Stored::of(sequence, state.clone())?.encode());
    let [first, second] = slots;
    Ok([first?, second?].concat())
}

/// A slot's bytes, and what they hold.
type Slot = (Vec<u8>, Option<Stored>);

/// The register's file, which is read again and again: a slot whose bytes are the same is not parsed again.
#[derive(Debug)]
pub struct RegisterFile {
    path: PathBuf,
    slots: Mutex<[Slot; 2]>,
}

impl RegisterFile {
    /// The one at this path.
    pub fn new(path: PathBuf) -> RegisterFile {
        RegisterFile { path, slots: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds: `None` if there is no such file.
    pub fn read(&self) -> Result<Option<RegisterState>, RegisterError> {
        Ok(self.newest()?.map(|stored| stored.state))
    }

    /// What a slot holds by now, so that it is not parsed.
    fn remember(&self, bytes: Vec<u8>, stored: Stored) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slot_of(&stored);
        slots[slot] = (bytes, Some(stored));
    }

    /// What is newest in the file.
    fn newest(&self) -> Result<Option<Stored>, RegisterError> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let bytes = match fs::read(&self.path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(io_at("read", &self.path)(error)),
            };
            match newest_in(&bytes, &mut slots) {
                Ok(newest) => return Ok(Some(newest)),
                Err(reason) if tries == 0 => {
                    let (path, reason) = (self.path.clone(), reason.to_owned());
                    return Err(RegisterError::Damaged { path, reason });
                }
                Err(_) => {}
            }
        }
    }
}

/// The newer of the slots that are whole: the other may be one that a crash left half written. `known` is what slots held
/// before.
fn newest_in(bytes: &[u8], known: &mut [Slot; 2]) -> Result<Stored, &'static str> {
    if bytes.len() != 2 * SLOT {
        return Err("it has not the size of two slots");
    }
    for (slot, known) in bytes.chunks(SLOT).zip(known.iter_mut()) {
        if known.0 != slot {
            *known = (slot.to_vec(), Stored::decode(slot));
        }
    }
    // A slot that stands in the other's place was copied there.
    let whole = known
        .iter()
        .enumerate()
        .filter_map(|(place, (_, stored))| stored.as_ref().filter(|stored| slot_of(stored) == place));
    whole.max_by_key(|stored| stored.sequence).cloned().ok_or("neither slot is whole")
}

/// The place of a write among the slots.
fn slot_of(stored: &Stored) -> usize {
    usize::from(stored.sequence % 2 == 1)
}

/// The register, held: as long as this lives, no other process can write it.
#[derive(Debug)]
pub struct Register {
    file: RegisterFile,
    /// Whether the newest slot is known to be on disk: not after a write that failed, nor after those of another process.
    is_synced: AtomicBool,
    _lock: File,
}

impl Register {
    /// Takes the lock of the register at `path`. The file itself need not exist yet; its directory must.
    pub fn open(path: &Path) -> Result<Register, RegisterError> {
        let lock_path = with_suffix(path, ".lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(io_at("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {
                let file = RegisterFile::new(path.to_owned());
                Ok(Register { file, is_synced: AtomicBool::new(false), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => Err(RegisterError::Held(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io_at("lock", &lock_path)(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What it holds: `None` before the first write. It need not be on disk before it was [written](Register::write) once more.
    pub fn read(&self) -> Result<Option<RegisterState>, RegisterError> {
        self.file.read()
    }

    /// Replaces what it holds. On disk when this returns; after an error, either the old state or the new one is read, and
    /// the old one may be on disk all the same. Where it holds this state already, this sees to it that it is on disk.
    pub fn write(&self, state: &RegisterState) -> Result<(), RegisterError> {
        let was_synced = self.is_synced.swap(false, Relaxed);
        let before = match self.file.newest() {
            Ok(before) => before,
            // Who writes over a damaged one has read it, and knows.
            Err(RegisterError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(before) = before else {
            self.create(state).map_err(io_at("create", self.path()))?;
            self.is_synced.store(true, Relaxed);
            return Ok(());
        };
        let write = || {
            // What a sync failed for counts as clean, so that another sync would write nothing. Written over itself, it reaches
            // the disk, and the older slot, which is there, is left alone until it has.
            if !was_synced {
                self.put(before.clone())?;
                self.sync_directory()?;
            }
            if before.state != *state {
                self.put(Stored::of(before.sequence + 1, state.clone())?)?;
            }
            Ok(())
        };
        write().map_err(io_at("write", self.path()))?;
        self.is_synced.store(true, Relaxed);
        Ok(())
    }

    /// Writes a slot in place.
    fn put(&self, stored: Stored) -> io::Result<()> {
        let (file, bytes) = (File::options().write(true).open(self.path())?, stored.encode()?);
        file.write_all_at(&bytes, (slot_of(&stored) * SLOT) as u64)?;
        file.sync_data()?;
        self.file.remember(bytes, stored);
        Ok(())
    }

    /// Both slots of a file that appears as a whole, or not at all.
    fn create(&self, state: &RegisterState) -> io::Result<()> {
        let temporary = with_suffix(self.path(), ".new");
        let file = File::create(&temporary)?;
        file.write_all_at(&encode(state)?, 0)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path())?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self.path().parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
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
    fn a_damaged_slot_is_never_taken_for_a_whole_one() {
        let dir = TestDir::new("damage");
        let path = dir.path().join("register.json");
        let register = Register::open(&path).unwrap();
        for size in [6, 7] {
            register.write(&state(size, 1)).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let found = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read(&path)
        };
        let sequence = |bytes: &[u8]| Stored::decode(bytes).map(|stored| stored.sequence);
        assert_eq!(whole.chunks(SLOT).map(sequence).collect::<Vec<_>>(), [Some(2), Some(1)]);
        for at in (0..whole.len()).filter(|at| at % SLOT < 600 || at % SLOT > SLOT - 20) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            // The other slot still says what it said.
            let expected = if at < SLOT { 6 } else { 7 };
            assert_eq!(found(&bytes).unwrap(), Some(state(expected, 1)), "changed at {at}");
            bytes[(at + SLOT) % (2 * SLOT)] ^= 1;
            assert!(matches!(found(&bytes), Err(RegisterError::Damaged { .. })), "changed twice at {at}");
        }
        let swapped = [&whole[SLOT..], &whole[..SLOT]].concat();
        for bytes in
            [&whole[..0], &whole[..SLOT], &whole[..whole.len() - 1], &[&whole[..], b"x"].concat(), &swapped]
        {
            assert!(matches!(found(bytes), Err(RegisterError::Damaged { .. })), "{} bytes", bytes.len());
        }
        assert_eq!(found(&whole).unwrap(), Some(state(7, 1)));
    }

    /// A write that a crash cut short, wherever, leaves what was there before it, and the next one mends it.
    #[test]
    fn a_write_cut_short_leaves_the_state_before_it() {
        let dir = TestDir::new("torn");
        let path = dir.path().join("register.json");
        let register = Register::open(&path).unwrap();
        for size in [6, 7] {
            register.write(&state(size, 1)).unwrap();
        }
        let before = fs::read(&path).unwrap();
        register.write(&state(8, 1)).unwrap();
        let after = fs::read(&path).unwrap();
        assert_eq!(before[..SLOT], after[..SLOT], "the newer slot is not touched");
        for cut in [0, 1, 20, 100, 300, SLOT - 1] {
            let torn = [&after[..SLOT + cut], &before[SLOT + cut..]].concat();
            fs::write(&path, &torn).unwrap();
            // The blanks at the end are the same before and after.
            let expected = if torn == after { 8 } else { 7 };
            assert_eq!(read(&path).unwrap(), Some(state(expected, 1)), "cut at {cut}");
            register.write(&state(8, 1)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(state(8, 1)));
        }
    }

    #[test]
    fn epochs_compare_within_one_system() {
        let (old, new) = (state(7, 1).epoch, state(7, 2).epoch);
        assert!(old < new);
        let other = Epoch { system: "1".to_owned(), timeline: 9 };
        assert_eq!(old.partial_cmp(&other), None);
    }
}
