//! What is public of a log as static files, for any web server or object store: C2SP tlog-tiles.
//!
//! Everything is verified before it is written: the checkpoint extends what this machine verified before, and the hashes of
//! level 0 make its root and all the tiles above. The checkpoint is written last, so whoever reads it finds its tiles.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::tile::{self, TILE_HEIGHT, TILE_WIDTH, TileId};
use translog::tree::{Frontier, leaf_hash};

use crate::client::Client;
use crate::error::Error;
use crate::home::write_whole;

/// The name of the checkpoint's file, and its path at the service.
const CHECKPOINT: &str = "checkpoint";
/// The most bytes that 256 entries and their lengths have.
const ENTRIES_BYTES_MAX: u64 = TILE_WIDTH as u64 * (65_535 + 2);
/// The most bytes of a checkpoint.
const NOTE_BYTES_MAX: u64 = 65_536;
/// Everybody may read what is public; entry bundles are for their owner.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// What an export came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The size of the public tree.
    pub size: u64,
    /// How many files were written, the checkpoint among them.
    pub written: u64,
}

impl Client {
    /// Writes the public checkpoint and its hash tiles into a folder, and the entry bundles where they are wanted. What the folder
    /// has already is verified and left as it is.
    pub fn export(&self, dir: &Path, with_entries: bool) -> Result<Exported, Error> {
        let note = String::from_utf8(self.fetch(CHECKPOINT, NOTE_BYTES_MAX)?)
            .map_err(|_| Error::Answer("the public checkpoint is not text".to_owned()))?;
        // Until a reopened log has its first public head, the last one is under the origin of before.
        let shown = self.follow_any(&note)?;
        let size = shown.size;
        let mut export = Export { client: self, dir, size, written: 0 };
        let fetched = export.tiles(&shown)?;
        for (path, bytes) in fetched {
            export.write(&path, &bytes, PUBLIC)?;
        }
        if with_entries {
            export.entries()?;
        }
        if export.read(CHECKPOINT)?.as_deref() != Some(note.as_bytes()) {
            export.write(CHECKPOINT, note.as_bytes(), PUBLIC)?;
        }
        Ok(Exported { size, written: export.written })
    }

    fn fetch(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self.open_document(&format!("/{path}"))?.take(bytes_max + 1).read_to_end(&mut bytes);
        let url = || self.connection().url().to_owned();
        read.map_err(|error| Error::Broken { url: url(), reason: error.to_string() })?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::Answer(format!("{path} is longer than it may be")));
        }
        Ok(bytes)
    }
}

struct Export<'a> {
    client: &'a Client,
    dir: &'a Path,
    size: u64,
    written: u64,
}

impl Export<'_> {
    /// The tiles that the folder lacks. All hashes make the note's root, and what the folder has begins them.
    fn tiles(&self, shown: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let damaged = |reason: String| Error::Damaged { path: self.dir.join(CHECKPOINT), reason };
        let before = match self.read(CHECKPOINT)? {
            Some(note) => {
                let note = String::from_utf8(note).map_err(|error| damaged(error.to_string()))?;
                Some(self.checkpoint_of(&note).map_err(damaged)?)
            }
            None => None,
        };
        if before.as_ref().is_some_and(|before| before.size > self.size) {
            return Err(Error::Answer("what is public is less than the folder has".to_owned()));
        }
        let (mut lacks, mut has_some) = (Vec::new(), false);
        let mut above = BTreeMap::<TileId, Vec<u8>>::new();
        let mut frontier = Frontier::new();
        for (id, width) in self.of_level_0() {
            let path = path_of(tile::path(id, width))?;
            let length = usize::from(width) * 32;
            let hashes = match self.read(&path)? {
                Some(hashes) => {
                    has_some = true;
                    hashes
                }
                None => {
                    let hashes = self.client.fetch(&path, length as u64)?;
                    lacks.push((path, hashes.clone()));
                    hashes
                }
            };
            let (hashes, []) = hashes.as_chunks::<32>() else { return Err(wrong(id)) };
            if hashes.len() != usize::from(width) {
                return Err(wrong(id));
            }
            for hash in hashes {
                frontier.append_with(Digest::from_bytes(*hash), |level, index, hash| {
                    if level > 0 && level % TILE_HEIGHT == 0 {
                        above.entry(tile::of_node(level, index)).or_default().extend(hash.as_bytes());
                    }
                });
                let is_before = |before: &&Checkpoint| before.size == frontier.size();
                if before.as_ref().filter(is_before).is_some_and(|before| before.root != frontier.root()) {
                    return Err(damaged("its tree does not begin the public one".to_owned()));
                }
            }
        }
        if frontier.root() != shown.root {
            let reason = "its tiles do not make the public checkpoint's root".to_owned();
            return Err(match has_some {
                true => Error::Damaged { path: self.dir.to_owned(), reason },
                false => Error::Answer(reason),
            });
        }
        for (id, hashes) in above {
            let path = path_of(tile::path(id, tile::width(id, self.size)))?;
            if self.read(&path)?.as_deref() != Some(&hashes) {
                lacks.push((path, hashes));
            }
        }
        Ok(lacks)
    }

    /// The checkpoint that the folder has, under whichever origin the log had then. What it covers must not be lost.
    fn checkpoint_of(&self, note: &str) -> Result<Checkpoint, String> {
        let ledger = self.client.ledger();
        let (origin, key) = ledger.signer_of(note);
        let read = Checkpoint::parse_and_verify(note, origin, key);
        let read = read.map_err(|error| error.to_string())?;
        let earlier = ledger.earlier.iter().find(|earlier| earlier.origin.as_str() == read.origin);
        if earlier.is_some_and(|earlier| read.size > earlier.size.0) {
            return Err("it covers records that are lost: export into another folder".to_owned());
        }
        Ok(read)
    }

    /// Fetches and writes the entry bundles that the folder lacks, each entry by its hash.
    fn entries(&mut self) -> Result<(), Error> {
        for (id, width) in self.of_level_0() {
            let path = path_of(tile::entries_path(id.index, width))?;
            if self.dir.join(&path).exists() {
                continue;
            }
            let bundle = self.client.fetch(&path, ENTRIES_BYTES_MAX)?;
            let hashes: Option<Vec<u8>> = tile::entries(&bundle)
                .map(|entries| entries.into_iter().flat_map(|entry| *leaf_hash(entry).as_bytes()).collect());
            if hashes.is_none() || hashes != self.read(&path_of(tile::path(id, width))?)? {
                return Err(wrong(id));
            }
            self.write(&path, &bundle, PRIVATE)?;
        }
        Ok(())
    }

    fn of_level_0(&self) -> impl Iterator<Item = (TileId, u16)> + use<> {
        let size = self.size;
        let tile = move |index| {
            let id = TileId { level: 0, index };
            (id, tile::width(id, size))
        };
        (0..).map(tile).take_while(|(_, width)| *width > 0)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.dir.join(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(Error::File { path, reason }),
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let path: PathBuf = self.dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|reason| Error::File { path: parent.to_owned(), reason })?;
        }
        self.written += 1;
        write_whole(&path, bytes, mode)
    }
}

/// Every tile of a tree has a path.
fn path_of(path: Option<String>) -> Result<String, Error> {
    path.ok_or_else(|| Error::Answer("the public tree is larger than any tree".to_owned()))
}

fn wrong(id: TileId) -> Error {
    Error::Answer(format!("the tile {} of level {}, or its entries, are not the tree's", id.index, id.level))
}
