//! What several modules prove with: a bundle taken apart without the auditor, the heads that were signed, and the
//! auditor's verdict.

use std::collections::BTreeMap;

use auditor::{Finding, Verdict};
use records::Record;
use signing::digest::Digest;
use tests::service::ledger_keys;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, leaf_hash};

/// A signed note of the tests' ledgers.
#[track_caller]
pub fn checkpoint(note: &str) -> Checkpoint {
    let keys = ledger_keys();
    Checkpoint::parse_and_verify(note, keys.origin.as_str(), keys.checkpoint.public())
        .unwrap_or_else(|error| panic!("{error}: {note}"))
}

/// The bundle holds.
#[track_caller]
pub fn verified(bundle: &str, ledger: Digest) {
    let report = auditor::verify(bundle.as_bytes(), ledger).unwrap();
    assert!(report.is_verified(), "{report}");
}

/// The bundle does not hold, for this reason.
#[track_caller]
pub fn refuted(bundle: &[u8], ledger: Digest) -> Finding {
    match auditor::verify(bundle, ledger).unwrap().verdict {
        Verdict::Refuted(finding) => finding,
        Verdict::Verified => panic!("it was verified"),
    }
}

/// A bundle's records, by position.
pub struct Log {
    /// The digest of each.
    pub digests: Vec<Digest>,
    /// The root of the first n records, from 0 to all.
    pub roots: Vec<Digest>,
    /// The bundle's checkpoint.
    pub note: String,
}

impl Log {
    pub fn read(bundle: &str) -> Log {
        let mut lines = bundle.lines();
        let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let balances = header["balances"].as_str().unwrap().parse().unwrap();
        let mut frontier = Frontier::new();
        let (mut digests, mut roots) = (Vec::new(), vec![frontier.root()]);
        for leaf in lines.skip(balances) {
            digests.push(Record::parse_leaf(leaf.as_bytes()).unwrap().digest());
            frontier.append(leaf_hash(leaf.as_bytes()));
            roots.push(frontier.root());
        }
        Log { digests, roots, note: header["checkpoint"].as_str().unwrap().to_owned() }
    }

    /// Each of these stands at its position, and nothing stands twice.
    pub fn holds_once(&self, accepted: &BTreeMap<Digest, u64>) {
        for (digest, position) in accepted {
            let found = self.digests.get(usize::try_from(*position).unwrap());
            assert_eq!(found, Some(digest), "what was accepted at {position} is not there");
        }
        let mut sorted = self.digests.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), self.digests.len(), "a record stands twice");
    }
}

/// Every head that anybody saw signed: there is one of a size.
#[derive(Default)]
pub struct Heads(BTreeMap<u64, Digest>);

impl Heads {
    /// Takes a note, and answers the size that it covers.
    #[track_caller]
    pub fn see(&mut self, note: &str) -> u64 {
        let Checkpoint { size, root, .. } = checkpoint(note);
        let known = *self.0.entry(size).or_insert(root);
        assert_eq!(known, root, "two heads of size {size} were signed");
        size
    }

    /// All that are no longer than the log with these roots are of it. Answers the size of the longest.
    #[track_caller]
    pub fn are_of(&self, roots: &[Digest]) -> u64 {
        for (size, root) in &self.0 {
            if let Some(real) = roots.get(usize::try_from(*size).unwrap()) {
                assert_eq!(real, root, "the head of size {size} that was signed is not this log's");
            }
        }
        self.0.last_key_value().map_or(0, |(size, _)| *size)
    }
}
