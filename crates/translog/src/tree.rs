//! RFC 6962 Merkle tree hashes, and the [`Frontier`] from which a log grows without its leaves.

use signing::digest::Digest;

/// The root of the tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
pub const EMPTY_ROOT: Digest = Digest::from_bytes(tlog_tiles::EMPTY_HASH.0);

/// The most leaves of a tree. No log comes near; it keeps all arithmetic on positions within 64 bits.
pub const MAX_SIZE: u64 = 1 << 62;

/// The hash of a leaf: SHA-256 of a zero byte and the leaf (RFC 6962 section 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::from_bytes(tlog_tiles::record_hash(leaf).0)
}

/// The hash of an inner node: SHA-256 of a one byte and its two children (RFC 6962 section 2.1).
pub fn node_hash(left: Digest, right: Digest) -> Digest {
    let [left, right] = [left, right].map(|child| tlog_tiles::Hash(*child.as_bytes()));
    Digest::from_bytes(tlog_tiles::node_hash(left, right).0)
}

/// The root of a perfect tree over `hashes`, if their number is a power of two.
pub(crate) fn perfect_root(hashes: &[Digest]) -> Option<Digest> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks().0.iter().map(|[left, right]| node_hash(*left, *right)).collect();
    }
    row.first().copied()
}

/// Why bytes are not an encoded [`Frontier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// Shorter than a size.
    #[error("a frontier begins with a size of 8 bytes")]
    Truncated,
    /// More than [`MAX_SIZE`] leaves.
    #[error("a frontier has at most 2^62 leaves")]
    TooLarge,
    /// Not as many hashes as the size has bits set.
    #[error("a frontier of this size has {expected} hashes of 32 bytes")]
    Length {
        /// How many it should have.
        expected: u32,
    },
}

/// The roots of the perfect subtrees that a tree consists of, the largest (leftmost) first: all that is needed to
/// append leaves and to compute roots. It has one hash for each bit set in its size, so at most 63.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Digest>,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, roots: Vec::new() }
    }

    /// Appends a leaf, given its [`leaf_hash`].
    pub fn append(&mut self, leaf: Digest) {
        self.append_with(leaf, |_, _, _| {});
    }

    /// Appends a leaf, given its [`leaf_hash`], and tells `complete` the level, index and hash of every perfect subtree
    /// that the leaf completes, itself (level 0) first. Together these are the nodes of [`crate::proof::HashSource`].
    pub fn append_with(&mut self, leaf: Digest, mut complete: impl FnMut(u8, u64, Digest)) {
        let mut hash = leaf;
        let mut level = 0_u8;
        let mut index = self.size;
        complete(level, index, hash);
        // Each trailing 1 bit of the old size is a subtree that the new one completes.
        while index & 1 == 1
            && let Some(left) = self.roots.pop()
        {
            hash = node_hash(left, hash);
            level += 1;
            index >>= 1;
            complete(level, index, hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root (RFC 6962 section 2.1).
    pub fn root(&self) -> Digest {
        let mut smallest_first = self.roots.iter().rev();
        match smallest_first.next() {
            None => EMPTY_ROOT,
            Some(smallest) => smallest_first.fold(*smallest, |right, left| node_hash(*left, right)),
        }
    }

    /// The size as 8 bytes, most significant first, then the hashes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for root in &self.roots {
            bytes.extend_from_slice(root.as_bytes());
        }
        bytes
    }

    /// What [`encode`](Self::encode) wrote; any other length is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrontierError> {
        let (size, hashes) = bytes.split_first_chunk().ok_or(FrontierError::Truncated)?;
        let size = u64::from_be_bytes(*size);
        if size > MAX_SIZE {
            return Err(FrontierError::TooLarge);
        }
        let expected = size.count_ones();
        match hashes.as_chunks() {
            (hashes, []) if hashes.len() == expected as usize => {
                Ok(Self { size, roots: hashes.iter().copied().map(Digest::from_bytes).collect() })
            }
            _ => Err(FrontierError::Length { expected }),
        }
    }
}
