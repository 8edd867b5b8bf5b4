//! Proofs: every pair of small sizes against `ct-merkle`, and everything that makes one false.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;
use signing::digest::Digest;

use super::{hash, leaf, log};
use crate::proof::{
    HashSource, HashSourceError, ProofError, consistency, inclusion, root, verify_consistency,
    verify_inclusion,
};
use crate::tree::{EMPTY_ROOT, Frontier, MAX_SIZE};

fn tree(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|index| tree.push(leaf(index)));
    tree
}

fn concat(proof: &[Digest]) -> Vec<u8> {
    proof.iter().flat_map(Digest::as_bytes).copied().collect()
}

#[test]
fn inclusion_proofs_of_ct_merkle() {
    let hashes = log(130);
    for size in (1..40).chain([63, 64, 65, 127, 128, 129, 130]) {
        let theirs = tree(size);
        let root = root(size, &hashes).unwrap();
        for index in 0..size {
            let proof = inclusion(index, size, &hashes).unwrap();
            let expected = theirs.prove_inclusion(usize::try_from(index).unwrap());
            assert_eq!(concat(&proof), expected.as_bytes(), "{index} of {size}");
            assert_eq!(verify_inclusion(hash(index), index, size, &proof, root), Ok(()));
        }
    }
}

#[test]
fn consistency_proofs_of_ct_merkle() {
    let hashes = log(130);
    let roots: Vec<_> = (0..=130).map(|size| root(size, &hashes).unwrap()).collect();
    let root = |size: u64| roots[usize::try_from(size).unwrap()];
    for new in (1..40).chain([63, 64, 65, 127, 128, 129, 130]) {
        let theirs = tree(new);
        for old in 1..=new {
            let proof = consistency(old, new, &hashes).unwrap();
            let expected = theirs.prove_consistency(usize::try_from(new - old).unwrap());
            assert_eq!(concat(&proof), expected.as_bytes(), "{old} to {new}");
            assert_eq!(verify_consistency(old, root(old), new, root(new), &proof), Ok(()));
        }
    }
}

#[test]
fn every_tree_extends_the_empty_one_and_itself() {
    let hashes = log(5);
    let five = root(5, &hashes).unwrap();
    for (old, old_root, new, new_root) in
        [(0, EMPTY_ROOT, 0, EMPTY_ROOT), (0, EMPTY_ROOT, 5, five), (5, five, 5, five)]
    {
        assert_eq!(consistency(old, new, &hashes), Ok(vec![]));
        assert_eq!(verify_consistency(old, old_root, new, new_root, &[]), Ok(()));
        assert_eq!(verify_consistency(old, old_root, new, new_root, &[five]), Err(ProofError::Invalid));
        assert_eq!(verify_consistency(old, hash(9), new, new_root, &[]), Err(ProofError::Invalid));
    }
    assert_eq!(verify_consistency(0, EMPTY_ROOT, 0, five, &[]), Err(ProofError::Invalid));
    assert_eq!(verify_consistency(5, five, 5, hash(9), &[]), Err(ProofError::Invalid));
}

#[test]
fn positions_outside_the_tree() {
    let hashes = log(5);
    for (index, size) in [(5, 5), (0, 0), (u64::MAX, 5), (0, MAX_SIZE + 1), (u64::MAX - 1, u64::MAX)] {
        assert_eq!(inclusion(index, size, &hashes), Err(ProofError::OutOfRange));
        let verified = verify_inclusion(EMPTY_ROOT, index, size, &[], EMPTY_ROOT);
        assert_eq!(verified, Err(ProofError::OutOfRange));
    }
    for (old, new) in [(6, 5), (1, 0), (0, MAX_SIZE + 1), (5, u64::MAX), (u64::MAX, u64::MAX)] {
        assert_eq!(consistency(old, new, &hashes), Err(ProofError::OutOfRange));
        let verified = verify_consistency(old, EMPTY_ROOT, new, EMPTY_ROOT, &[]);
        assert_eq!(verified, Err(ProofError::OutOfRange));
    }
    assert_eq!(root(MAX_SIZE + 1, &hashes), Err(ProofError::OutOfRange));
}

#[test]
fn a_source_that_lacks_hashes() {
    let hashes = log(5);
    let missing = |result: Result<_, ProofError>| {
        matches!(result, Err(ProofError::Source(HashSourceError::Missing { .. })))
    };
    assert!(missing(inclusion(0, 6, &hashes)));
    assert!(missing(consistency(5, 6, &hashes)));
    assert!(missing(root(MAX_SIZE, &hashes).map(|_| vec![])));
    assert!(missing(inclusion(MAX_SIZE - 1, MAX_SIZE, &hashes)));

    /// Answers every question with as many hashes.
    struct Always(usize);
    impl HashSource for Always {
        fn read(&self, _: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError> {
            Ok(vec![EMPTY_ROOT; self.0])
        }
    }
    let count = HashSourceError::Count { asked: 3, given: 2 };
    assert_eq!(inclusion(0, 8, &Always(2)), Err(ProofError::Source(count.clone())));
    assert!(consistency(7, 8, &Always(0)).is_err());
    assert_eq!(root(7, &Always(2)), Err(ProofError::Source(count)));
    assert_eq!(inclusion(0, 8, &Always(3)).map(|proof| proof.len()), Ok(3));
}

/// The longest proofs that there are: a position of 62 levels.
#[test]
fn the_largest_tree() {
    struct Zeros;
    impl HashSource for Zeros {
        fn read(&self, nodes: &[(u8, u64)]) -> Result<Vec<Digest>, HashSourceError> {
            assert!(nodes.iter().all(|(level, index)| (index + 1) << level <= MAX_SIZE));
            Ok(vec![EMPTY_ROOT; nodes.len()])
        }
    }
    for index in [0, 1, MAX_SIZE / 2, MAX_SIZE - 2] {
        let proof = inclusion(index, MAX_SIZE, &Zeros).unwrap();
        assert_eq!(proof.len(), 62);
        let verified = verify_inclusion(EMPTY_ROOT, index, MAX_SIZE, &proof, EMPTY_ROOT);
        assert_eq!(verified, Err(ProofError::Invalid));
    }
    assert_eq!(consistency(MAX_SIZE - 1, MAX_SIZE, &Zeros).unwrap().len(), 63);
    let long = vec![EMPTY_ROOT; 1_000_000];
    assert_eq!(verify_inclusion(EMPTY_ROOT, 0, MAX_SIZE, &long, EMPTY_ROOT), Err(ProofError::Invalid));
    assert_eq!(verify_consistency(1, EMPTY_ROOT, MAX_SIZE, EMPTY_ROOT, &long), Err(ProofError::Invalid));
}

/// What an attacker may change in a proof.
fn distortions(proof: &[Digest], at: usize) -> Vec<Vec<Digest>> {
    let mut all = vec![[proof, &[EMPTY_ROOT]].concat(), [&[EMPTY_ROOT], proof].concat()];
    if let Some(last) = proof.len().checked_sub(1) {
        let at = at % proof.len();
        let mut changed = proof.to_vec();
        changed[at] = hash(1_000_000);
        let mut without = proof.to_vec();
        without.remove(at);
        let mut swapped = proof.to_vec();
        swapped.swap(at, last);
        all.extend([changed, without, proof[..last].to_vec(), proof[1..].to_vec(), vec![], swapped]);
    }
    all.retain(|other| other != proof);
    all
}

proptest! {
    #[test]
    fn inclusion_holds_for_its_leaf_index_size_and_root_only(size in 1_u64..600, index: prop::sample::Index, other in 0_u64..600, at: usize) {
        let index = index.index(usize::try_from(size).unwrap()) as u64;
        let hashes = log(600);
        let root_of = |size| root(size, &hashes).unwrap();
        let proof = inclusion(index, size, &hashes).unwrap();
        let verify = |leaf, index, size, proof: &[Digest], root| verify_inclusion(leaf, index, size, proof, root).is_ok();
        prop_assert!(verify(hash(index), index, size, &proof, root_of(size)));
        if other != index {
            prop_assert!(!verify(hash(other), index, size, &proof, root_of(size)));
            prop_assert!(!verify(hash(index), other, size, &proof, root_of(size)));
        }
        if other != size {
            prop_assert!(!verify(hash(index), index, size, &proof, root_of(other)));
        }
        for distorted in distortions(&proof, at) {
            prop_assert!(!verify(hash(index), index, size, &distorted, root_of(size)));
        }
    }

    #[test]
    fn consistency_holds_for_its_sizes_and_roots_only(new in 1_u64..600, old: prop::sample::Index, other in 1_u64..600, at: usize) {
        let old = old.index(usize::try_from(new).unwrap()) as u64 + 1;
        let hashes = log(600);
        let root_of = |size| root(size, &hashes).unwrap();
        let proof = consistency(old, new, &hashes).unwrap();
        let verify = |old_root, new_root, proof: &[Digest]| verify_consistency(old, old_root, new, new_root, proof).is_ok();
        prop_assert!(verify(root_of(old), root_of(new), &proof));
        if other != old {
            prop_assert!(!verify(root_of(other), root_of(new), &proof));
        }
        if other != new {
            prop_assert!(!verify(root_of(old), root_of(other), &proof));
        }
        for distorted in distortions(&proof, at) {
            prop_assert!(!verify(root_of(old), root_of(new), &distorted));
        }
    }

    /// A log that changed one old leaf cannot prove that it extends what it was.
    #[test]
    fn a_rewritten_log_is_refuted(new in 2_u64..300, old: prop::sample::Index, changed: prop::sample::Index) {
        let old = old.index(usize::try_from(new - 1).unwrap()) as u64 + 1;
        let changed = changed.index(usize::try_from(old).unwrap()) as u64;
        let old_root = root(old, &log(old)).unwrap();
        let mut rewritten = crate::proof::MemoryHashes::new();
        let mut frontier = Frontier::new();
        for index in 0..new {
            let hash = if index == changed { hash(1_000_000) } else { hash(index) };
            rewritten.append(hash);
            frontier.append(hash);
        }
        prop_assert_eq!(rewritten.size(), new);
        let proof = consistency(old, new, &rewritten).unwrap();
        prop_assert_eq!(verify_consistency(old, old_root, new, frontier.root(), &proof), Err(ProofError::Invalid));
    }

    #[test]
    fn random_proofs_do_not_panic(a: u64, b: u64, c in 0_u64..9, d in 0_u64..9, proof in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let proof: Vec<_> = proof.into_iter().map(Digest::from_bytes).collect();
        for (x, y) in [(a, b), (c, d), (a >> 2, b >> 2), (c, b >> 2)] {
            let _ = verify_inclusion(EMPTY_ROOT, x, y, &proof, EMPTY_ROOT);
            let _ = verify_consistency(x, EMPTY_ROOT, y, EMPTY_ROOT, &proof);
        }
    }
}
