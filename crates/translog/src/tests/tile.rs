//! Tiles: every node of a tree of three tile levels, read through a store that keeps tiles only.

use std::collections::BTreeMap;

use proptest::prelude::*;
use signing::digest::Digest;
use tlog_tiles::Tile;

use super::{hash, log};
use crate::proof::{HashSource, HashSourceError, consistency, inclusion, root};
use crate::tile::{
    TILE_WIDTH, TileId, entries, entries_path, node, of_node, parse, path, push_entry, tile_root, width,
};
use crate::tree::Frontier;

/// A store of tiles.
#[derive(Default)]
struct Tiles(BTreeMap<TileId, Vec<Digest>>);

impl Tiles {
    fn of(size: u64) -> Self {
        let mut tiles = Self::default();
        let mut frontier = Frontier::new();
        for index in 0..size {
            frontier.append_with(hash(index), |level, index, hash| {
                if level % 8 == 0 {
                    tiles.0.entry(of_node(level, index)).or_default().push(hash);
                }
            });
        }
        tiles
    }
}

impl HashSource for Tiles {
    fn read(&self, nodes: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError> {
        let get = |&(level, index): &(u8, u64)| {
            self.0
                .get(&of_node(level, index))
                .and_then(|hashes| node(hashes, level, index))
                .ok_or(HashSourceError::Missing { level, index })
        };
        nodes.iter().map(get).collect()
    }
}

#[test]
fn tiles_have_the_hashes_that_they_should() {
    for size in [1, 255, 256, 257, 1000] {
        for (tile, hashes) in Tiles::of(size).0 {
            assert_eq!(hashes.len(), usize::from(width(tile, size)), "{tile:?} of {size}");
            if let Ok(complete) = hashes.as_slice().try_into() {
                let up = log(size).read(&[((tile.level + 1) * 8, tile.index)]);
                assert_eq!(up, Ok(vec![tile_root(complete)]));
            }
        }
    }
    assert_eq!(width(TileId { level: 0, index: 4 }, 1000), 0);
    assert_eq!(width(TileId { level: 0, index: 0 }, 0), 0);
    assert_eq!(width(TileId { level: 7, index: u64::MAX }, u64::MAX), 0);
    assert_eq!(width(TileId { level: 255, index: 0 }, u64::MAX), 0);
    assert_eq!(width(TileId { level: 1, index: 0 }, u64::MAX), TILE_WIDTH);
}

/// The crate `tlog_tiles` names the same tiles for a tree.
#[test]
fn tiles_of_a_tree_as_tlog_tiles_names_them() {
    for size in [1, 255, 256, 257, 70_000] {
        for theirs in Tile::new_tiles(8, 0, size) {
            let tile = TileId { level: theirs.level(), index: theirs.level_index() };
            assert_eq!(u32::from(width(tile, size)), theirs.width());
            assert_eq!(path(tile, width(tile, size)), Some(theirs.path().replacen("tile/8/", "tile/", 1)));
        }
    }
}

/// The examples of C2SP tlog-tiles.
#[test]
fn paths() {
    let tile = |level, index, width| path(TileId { level, index }, width);
    assert_eq!(tile(0, 1_234_067, 256).as_deref(), Some("tile/0/x001/x234/067"));
    assert_eq!(tile(0, 273, 112).as_deref(), Some("tile/0/273.p/112"));
    assert_eq!(tile(1, 1, 17).as_deref(), Some("tile/1/001.p/17"));
    assert_eq!(tile(7, u64::MAX, 1).as_deref(), Some("tile/7/x018/x446/x744/x073/x709/x551/615.p/1"));
    assert_eq!(entries_path(1_234_067, 256).as_deref(), Some("tile/entries/x001/x234/067"));
    assert_eq!(entries_path(5, 1).as_deref(), Some("tile/entries/005.p/1"));
    for (level, width) in [(0, 0), (0, 257), (8, 1), (255, 1)] {
        assert_eq!(tile(level, 0, width), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn proofs_from_tiles_are_those_from_all_hashes(size in 1_u64..2000, a: prop::sample::Index) {
        let at = a.index(usize::try_from(size).unwrap()) as u64;
        let (tiles, hashes) = (Tiles::of(size), log(size));
        prop_assert_eq!(root(size, &tiles), root(size, &hashes));
        prop_assert_eq!(inclusion(at, size, &tiles), inclusion(at, size, &hashes));
        prop_assert_eq!(consistency(at + 1, size, &tiles), consistency(at + 1, size, &hashes));
    }

    #[test]
    fn random_nodes_do_not_panic(level: u8, index: u64, length in 0_usize..300, width: u16) {
        let hashes = vec![hash(0); length];
        let tile = of_node(level, index);
        let _ = node(&hashes, level, index);
        let _ = crate::tile::width(tile, index);
        let _ = path(tile, width);
    }
}

proptest! {
    #[test]
    fn a_path_names_its_tile_and_no_other_text_does(level in 0..9_u8, index in 0..=u64::MAX >> 2, width in 0..=257_u16) {
        let tile = TileId { level, index };
        if let Some(text) = path(tile, width) {
            prop_assert_eq!(parse(&text), Some((tile, width)));
            for other in [format!("{text}/"), text.replacen("tile/", "tile/0", 1), text.replace('x', ""), format!("{text}.p/256")] {
                prop_assert!(other == text || parse(&other).is_none(), "{}", other);
            }
        }
    }
}

#[test]
fn an_entry_bundle_is_what_was_put_in() {
    let (mut bundle, long) = (vec![], vec![7; 65_535]);
    for entry in [&b"one"[..], b"", &long] {
        push_entry(&mut bundle, entry).unwrap();
    }
    assert_eq!(entries(&bundle), Some(vec![&b"one"[..], b"", &long]));
    assert_eq!(bundle[..7], *b"\x00\x03one\x00\x00");
    assert_eq!(entries(&bundle[..6]), None);
    assert_eq!(entries(&bundle[..4]), None);
    assert_eq!(push_entry(&mut bundle, &[0; 65_536]), None);
}
