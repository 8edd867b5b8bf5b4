//! Hash tiles as C2SP tlog-tiles lays them out, so that a store keeps 256 hashes in one row and computes the rest.
//!
//! The tile `(level, index)` holds up to 256 consecutive nodes of the tree's level `level * 8`, the first of which is node
//! `index * 256`. Nodes of the seven tree levels above are computed from them; those of the eighth are in the tile one
//! level up. A tile with fewer hashes is partial: it has those that exist so far.

use signing::digest::Digest;
use tlog_tiles::Tile;

use crate::tree::perfect_root;

/// How many tree levels a tile spans.
pub const TILE_HEIGHT: u8 = 8;

/// How many hashes a complete tile has.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;

/// The highest tile level that a tree of 2^62 leaves has.
const MAX_TILE_LEVEL: u8 = 7;

/// Which tile: its level and its index within the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// The tile level: the tree level of its hashes, divided by 8.
    pub level: u8,
    /// The index within the level.
    pub index: u64,
}

/// The tile from which the node `(level, index)` of the tree is computed.
pub const fn of_node(level: u8, index: u64) -> TileId {
    // A node at height h within its tile spans 2^h of the tile's 2^8 hashes.
    let height = level % TILE_HEIGHT;
    TileId { level: level / TILE_HEIGHT, index: index >> (TILE_HEIGHT - height) }
}

/// The node `(level, index)` of the tree, computed from the hashes of the tile [`of_node`]; `None` where that tile does
/// not have all of the hashes yet.
pub fn node(hashes: &[Digest], level: u8, index: u64) -> Option<Digest> {
    let height = level % TILE_HEIGHT;
    let width = 1_usize << height;
    let within = usize::try_from(index & ((1 << (TILE_HEIGHT - height)) - 1)).ok()?;
    let first = within << height;
    perfect_root(hashes.get(first..first + width)?)
}

/// The root of a complete tile, which is the hash that the tile one level up has for it.
pub fn tile_root(hashes: &[Digest; TILE_WIDTH as usize]) -> Digest {
    // 256 is a power of two, so there always is a root.
    perfect_root(hashes).unwrap_or(crate::tree::EMPTY_ROOT)
}

/// How many hashes the tile has in a tree of `size` leaves: 256, fewer where it is partial, 0 where it does not exist.
pub fn width(tile: TileId, size: u64) -> u16 {
    if tile.level > MAX_TILE_LEVEL {
        return 0;
    }
    let nodes = size >> (tile.level * TILE_HEIGHT);
    let before = tile.index.saturating_mul(u64::from(TILE_WIDTH));
    u16::try_from(nodes.saturating_sub(before)).map_or(TILE_WIDTH, |width| width.min(TILE_WIDTH))
}

/// The path of a tile with `width` hashes: `tile/<L>/<N>`, with `.p/<W>` where it is partial. `None` where `width` is not
/// 1 to 256 or no tree has the level.
pub fn path(tile: TileId, width: u16) -> Option<String> {
    if tile.level > MAX_TILE_LEVEL || !(1..=TILE_WIDTH).contains(&width) {
        return None;
    }
    let path = Tile::new(TILE_HEIGHT, tile.level, tile.index, u32::from(width), false).path();
    // Go's layout, which the crate follows, names the height too.
    path.strip_prefix("tile/8/").map(|rest| format!("tile/{rest}"))
}

/// The path of an entry bundle with `width` entries: `tile/entries/<N>`, with `.p/<W>` where it is partial. `None` where
/// `width` is not 1 to 256.
pub fn entries_path(index: u64, width: u16) -> Option<String> {
    let path = path(TileId { level: 0, index }, width)?;
    path.strip_prefix("tile/0/").map(|rest| format!("tile/entries/{rest}"))
}

/// The tile and the width that a path names; `None` for any path that [`path`] does not make.
pub fn parse(text: &str) -> Option<(TileId, u16)> {
    let (level, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok()?),
        None => (rest, TILE_WIDTH),
    };
    let digits: String = index.chars().filter(char::is_ascii_digit).collect();
    let tile = TileId { level: level.parse().ok()?, index: digits.parse().ok()? };
    (path(tile, width)? == text).then_some((tile, width))
}

/// Appends an entry to an entry bundle: its length in two bytes, then itself. `None` where it has more than 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend(length.to_be_bytes());
    bundle.extend(entry);
    Some(())
}

/// The entries of an entry bundle; `None` where it is none.
pub fn entries(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}
