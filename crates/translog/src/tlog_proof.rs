//! C2SP tlog-proof: the text by which anybody shows, offline, that a log holds an entry. It has the entry's index, its inclusion
//! proof, the checkpoint with whatever cosignatures it has, and perhaps extra data, which nothing here vouches for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::digest::Digest;

use crate::checkpoint::MAX_NOTE_BYTES;

/// The first line, by which such a text is known.
pub const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The most hashes of a proof (C2SP tlog-tiles: trees have fewer than 2^63 leaves).
const HASHES_MAX: usize = 63;

/// The most bytes of extra data: an envelope.
const EXTRA_BYTES_MAX: usize = 128 * 1024;

/// A proof as a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Data of the application's own.
    pub extra: Option<Vec<u8>>,
    /// The entry's index in the log, from 0.
    pub index: u64,
    /// The inclusion proof (RFC 6962 section 2.1.1), the leaf's sibling first.
    pub hashes: Vec<Digest>,
    /// The checkpoint, a signed note; not looked at here.
    pub checkpoint: String,
}

/// Why a text is no such proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a C2SP tlog-proof: {0}")]
pub struct TlogProofError(&'static str);

impl TlogProof {
    /// The text.
    pub fn encode(&self) -> String {
        let extra = self.extra.as_ref().map(|extra| format!("extra {}\n", STANDARD.encode(extra)));
        let hashes: String =
            self.hashes.iter().map(|hash| format!("{}\n", STANDARD.encode(hash.as_bytes()))).collect();
        let (extra, index) = (extra.unwrap_or_default(), self.index);
        format!("{FIRST_LINE}\n{extra}index {index}\n{hashes}\n{}", self.checkpoint)
    }

    /// What a text says; strict, so that [`encode`](Self::encode) gives the same text again.
    pub fn parse(text: &str) -> Result<TlogProof, TlogProofError> {
        let bad = TlogProofError;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(bad("there is no empty line before the checkpoint"))?;
        if checkpoint.len() > MAX_NOTE_BYTES {
            return Err(bad("the checkpoint is too long"));
        }
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(bad("the first line is not that of version 1"));
        }
        let decode = |text: &str| STANDARD.decode(text).ok();
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => {
                let extra = line.strip_prefix("extra ").and_then(decode);
                let extra = extra.filter(|extra| extra.len() <= EXTRA_BYTES_MAX);
                Some(extra.ok_or(bad("the extra data is not base64, or too long"))?)
            }
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(|text| text.parse().ok().filter(|index: &u64| index.to_string() == text))
            .ok_or(bad("there is no line with the index"))?;
        let hash = |line: &str| decode(line).and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        let hashes: Option<Vec<Digest>> = lines.map(hash).collect();
        let hashes = hashes.ok_or(bad("a line of the proof is not a hash in base64"))?;
        if hashes.len() > HASHES_MAX {
            return Err(bad("a proof has 63 hashes at most"));
        }
        Ok(TlogProof { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}
