//! Roots: known ones, and those of two other implementations.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;
use signing::digest::Digest;

use super::{hash, leaf, log};
use crate::proof;
use crate::tree::{EMPTY_ROOT, Frontier, FrontierError, leaf_hash, node_hash, perfect_root};

/// The tree with which Certificate Transparency's own implementations test: its leaves, and its roots for 0 to 8 leaves.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn known_roots() {
    let mut frontier = Frontier::new();
    let mut roots = vec![frontier.root().to_string()];
    for leaf in LEAVES {
        frontier.append(leaf_hash(&hex::decode(leaf).unwrap()));
        roots.push(frontier.root().to_string());
    }
    assert_eq!(roots, ROOTS);
}

/// RFC 6962 section 2.1, spelled out.
#[test]
fn hashes_of_rfc_6962() {
    assert_eq!(EMPTY_ROOT, Digest::of(""));
    assert_eq!(leaf_hash(b"leaf"), Digest::of(b"\0leaf"));
    let (left, right) = (Digest::of("l"), Digest::of("r"));
    assert_eq!(
        node_hash(left, right),
        Digest::of([&[1], left.as_bytes().as_slice(), right.as_bytes()].concat())
    );
}

#[test]
fn roots_agree_with_two_other_implementations() {
    let hashes = log(130);
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut ours = Frontier::new();
    for size in 0..=130 {
        let root = ours.root();
        assert_eq!(ours.size(), size);
        assert_eq!(root.as_bytes().as_slice(), theirs.root().as_bytes().as_slice(), "{size}");
        assert_eq!(proof::root(size, &hashes), Ok(root), "{size}");
        ours.append(hash(size));
        theirs.push(leaf(size));
    }
}

#[test]
fn append_tells_every_node_once() {
    let mut nodes = Vec::new();
    let mut frontier = Frontier::new();
    for index in 0..100 {
        frontier.append_with(hash(index), |level, index, hash| nodes.push((level, index, hash)));
    }
    let expected: usize = (0..7).map(|level| 100 >> level).sum();
    assert_eq!(nodes.len(), expected);
    for (level, index, found) in nodes {
        let width = 1_u64 << level;
        let leaves: Vec<_> = (index * width..(index + 1) * width).map(hash).collect();
        assert_eq!(perfect_root(&leaves), Some(found), "{level}, {index}");
    }
}

#[test]
fn encodings_that_are_refused() {
    let mut frontier = Frontier::new();
    (0..5).for_each(|index| frontier.append(hash(index)));
    let good = frontier.encode();
    assert_eq!(good.len(), 8 + 2 * 32);
    assert_eq!(Frontier::decode(&good), Ok(frontier));
    assert_eq!(Frontier::decode(&[0; 8]), Ok(Frontier::new()));
    assert_eq!(Frontier::decode(&[]), Err(FrontierError::Truncated));
    assert_eq!(Frontier::decode(&[0; 7]), Err(FrontierError::Truncated));
    for length in (8..good.len()).chain([good.len() + 1, good.len() + 32]) {
        let mut bytes = good.clone();
        bytes.resize(length, 0);
        assert_eq!(Frontier::decode(&bytes), Err(FrontierError::Length { expected: 2 }), "{length}");
    }
    assert_eq!(Frontier::decode(&[0xff; 8 + 64 * 32]), Err(FrontierError::TooLarge));
}

proptest! {
    #[test]
    fn a_frontier_continues_where_it_was_encoded(size in 0_u64..3000, more in 0_u64..300) {
        let mut frontier = Frontier::new();
        (0..size).for_each(|index| frontier.append(hash(index)));
        let mut decoded = Frontier::decode(&frontier.encode()).unwrap();
        prop_assert_eq!(&decoded, &frontier);
        (size..size + more).for_each(|index| decoded.append(hash(index)));
        prop_assert_eq!(proof::root(size + more, &log(size + more)), Ok(decoded.root()));
    }

    #[test]
    fn random_bytes_do_not_panic(size: u64, bytes: Vec<u8>) {
        let _ = Frontier::decode(&bytes);
        if let Ok(mut frontier) = Frontier::decode(&[&size.to_be_bytes(), bytes.as_slice()].concat()) {
            frontier.append(EMPTY_ROOT);
            let _ = frontier.root();
        }
    }
}
