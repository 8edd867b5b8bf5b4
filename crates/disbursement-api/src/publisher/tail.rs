//! The log as it was published last: what the register holds, and what the next head is checked with.

use programme::Key;
use programme::entity::{CharterState, Stored as _};
use signing::digest::Digest;
use signing::token::SignError;
use store::StoreError;
use store::log::{Head, Leaf, SignedHead, StoredTile};
use store::register::{Epoch, RegisterState};
use store::storage::Follower;
use translog::checkpoint::Checkpoint;
use translog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, tile_root};
use translog::tree::Frontier;

use super::Trouble;
use crate::pipeline::{LedgerKeys, Shared, Unavailable, fence, has_keys_of};

/// How many records are read at once.
pub(super) const PAGE: u32 = 500;

/// How many tiles, of 8 KiB each, are stored at once.
const TILES: usize = 64;

/// The published log.
pub(super) struct Tail {
    /// As the register holds it.
    pub state: RegisterState,
    /// Whether the register's own disk is known to have it.
    pub is_on_disk: bool,
    frontier: Frontier,
    /// The hashes of the last leaves, which do not fill a tile yet.
    leaves: Vec<Digest>,
}

impl Tail {
    /// The log before anything was published.
    pub async fn begin(shared: &Shared, session: &dyn Follower) -> Result<Tail, Trouble> {
        let Some(ledger) = founded(shared, session).await? else {
            return Err(Trouble::Halt(Unavailable::Internal));
        };
        Ok(Tail::empty(ledger, session))
    }

    /// Nothing of a ledger yet.
    pub fn empty(ledger: Digest, session: &dyn Follower) -> Tail {
        let frontier = Frontier::new();
        let state = RegisterState {
            ledger,
            size: 0,
            root: frontier.root(),
            frontier: frontier.encode(),
            checkpoint: String::new(),
            epoch: session.epoch().clone(),
        };
        Tail { state, is_on_disk: false, frontier, leaves: Vec::new() }
    }

    /// The log as the register holds it, beside a server that is no older than it.
    pub async fn resume(
        shared: &Shared,
        session: &dyn Follower,
        state: RegisterState,
    ) -> Result<Tail, Trouble> {
        fence(&state, session.epoch()).map_err(Trouble::Halt)?;
        let unusable = |problem: &'static str| {
            tracing::error!(problem, "the register cannot be used");
            Trouble::Halt(Unavailable::RegisterMissing)
        };
        let frontier = Frontier::decode(&state.frontier).map_err(|_| unusable("its frontier is none"))?;
        if frontier.size() != state.size || frontier.root() != state.root {
            return Err(unusable("its frontier is that of another head"));
        }
        if founded(shared, session).await?.is_some_and(|ledger| ledger != state.ledger) {
            return Err(unusable("it is another ledger's"));
        }
        Ok(Tail { state, is_on_disk: false, frontier, leaves: Vec::new() })
    }

    /// Takes the records up to a head, and stores the tiles that they complete. Answers which heads have to be signed,
    /// in turn: those before it that become public, and itself; `None` where the head does not extend this log, or its own records do not make its root. `next`
    /// are the first of the records, if they are known.
    pub async fn extend(
        &mut self,
        session: &dyn Follower,
        head: &Head,
        next: Vec<Leaf>,
    ) -> Result<Option<Vec<Frontier>>, Trouble> {
        let begin = self.frontier.size();
        if head.size <= begin {
            let is_same = head.size == begin && head.root == self.frontier.root();
            return Ok(is_same.then(|| vec![self.frontier.clone()]));
        }
        let rest = begin % u64::from(TILE_WIDTH);
        if self.leaves.len() as u64 != rest {
            let again = session.leaves(begin - rest, begin, u32::from(TILE_WIDTH)).await;
            let Some(again) = if_whole(again)? else { return Ok(None) };
            self.leaves = again.into_iter().map(|leaf| leaf.hash).collect();
        }
        let mut grown =
            Grown { frontier: self.frontier.clone(), leaves: self.leaves.clone(), ..Grown::default() };
        next.into_iter().for_each(|leaf| grown.append(leaf));
        while grown.frontier.size() < head.size {
            let page = session.leaves(grown.frontier.size(), head.size, PAGE).await;
            let Some(page) = if_whole(page)? else { return Ok(None) };
            page.into_iter().for_each(|leaf| grown.append(leaf));
        }
        if grown.frontier.root() != head.root || !grown.is_whole() {
            return Ok(None);
        }
        for tiles in grown.tiles.chunks(TILES) {
            session.store_tiles(tiles).await?;
        }
        for (id, root) in &grown.above {
            let below = id.index * u64::from(TILE_WIDTH);
            let hashes = session.tile_roots(id.level - 1, below, below + u64::from(TILE_WIDTH)).await?;
            let Some(tile) = whole(*id, &hashes).filter(|tile| tile_root(&tile.hashes) == *root) else {
                tracing::error!(?id, "the stored tiles below are not those of this log");
                return Ok(None);
            };
            session.store_tiles(&[tile]).await?;
        }
        self.state.size = head.size;
        self.state.root = head.root;
        self.state.frontier = grown.frontier.encode();
        self.frontier = grown.frontier;
        self.leaves = grown.leaves;
        Ok(Some(grown.public.into_iter().chain([self.frontier.clone()]).collect()))
    }

    /// The checkpoint that the register holds.
    pub fn signed(&self) -> SignedHead {
        SignedHead { size: self.state.size, note: self.state.checkpoint.clone() }
    }

    /// What the register has to hold of a head of this log, with its checkpoint: that which it holds already, where it is of this
    /// head. A token need not sign to the same bytes twice, and is not asked to.
    pub fn state_of(
        &self,
        head: &Frontier,
        keys: &LedgerKeys,
        epoch: &Epoch,
    ) -> Result<RegisterState, SignError> {
        let (origin, size, root) = (keys.origin.to_string(), head.size(), head.root());
        let signed = Checkpoint { origin, size, root };
        let checkpoint = match signed.is_signed_in(&self.state.checkpoint, keys.checkpoint.public()) {
            true => self.state.checkpoint.clone(),
            false => signed.try_sign(&keys.checkpoint)?,
        };
        let (ledger, frontier, epoch) = (self.state.ledger, head.encode(), epoch.clone());
        Ok(RegisterState { ledger, size, root, frontier, checkpoint, epoch })
    }
}

/// A log that grows, and the tiles that this completes.
#[derive(Default)]
struct Grown {
    frontier: Frontier,
    leaves: Vec<Digest>,
    was_pad: bool,
    /// Heads after the last pad of a group, which others follow.
    public: Vec<Frontier>,
    /// Complete tiles of level 0.
    tiles: Vec<StoredTile>,
    /// The roots that the frontier has for them.
    roots: Vec<Digest>,
    /// Tiles above that are complete now, lower levels first for each, and the roots that the frontier has for them.
    above: Vec<(TileId, Digest)>,
}

impl Grown {
    fn append(&mut self, leaf: Leaf) {
        let Grown { frontier, leaves, was_pad, public, tiles, roots, above } = self;
        if std::mem::replace(was_pad, leaf.is_pad) && !leaf.is_pad {
            public.push(frontier.clone());
        }
        leaves.push(leaf.hash);
        frontier.append_with(leaf.hash, |level, index, hash| {
            // The node at the top of a tile is the tile's root.
            if level == 0 || level % TILE_HEIGHT != 0 {
                return;
            }
            let id = TileId { level: level / TILE_HEIGHT - 1, index };
            if id.level > 0 {
                above.push((id, hash));
            } else if let Some(tile) = whole(id, leaves) {
                tiles.push(tile);
                roots.push(hash);
                leaves.clear();
            }
        });
    }

    /// Whether the leaves that were read again, from before the published head, are those that were published.
    fn is_whole(&self) -> bool {
        self.tiles.iter().zip(&self.roots).all(|(tile, root)| tile_root(&tile.hashes) == *root)
            && self.leaves.len() as u64 == self.frontier.size() % u64::from(TILE_WIDTH)
    }
}

/// Records that are missing or unreadable are not those of this log; any other failure is the database's.
fn if_whole<T>(read: Result<T, StoreError>) -> Result<Option<T>, Trouble> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!(%error, "the log is not whole");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn whole(id: TileId, hashes: &[Digest]) -> Option<StoredTile> {
    let hashes: Box<[Digest; TILE_WIDTH as usize]> = hashes.to_vec().into_boxed_slice().try_into().ok()?;
    Some(StoredTile { id, hashes })
}

/// The id of the ledger that the log is of, if there is one; it must have the keys and the origin that this service has.
async fn founded(shared: &Shared, session: &dyn Follower) -> Result<Option<Digest>, Trouble> {
    let Some(record) = session.record(0).await? else {
        return Ok(None);
    };
    let charter = shared.storage.load(vec![Key::Charter]).await?.into_iter().find_map(|(_, entity)| entity);
    let charter = charter.as_ref().and_then(CharterState::of);
    if charter.is_some_and(|charter| has_keys_of(&shared.keys, charter) && charter.ledger == record.digest())
    {
        return Ok(Some(record.digest()));
    }
    tracing::error!("the ledger has other keys or another origin than this service");
    Err(Trouble::Halt(Unavailable::Internal))
}
