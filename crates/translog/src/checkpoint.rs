//! Checkpoints (C2SP tlog-checkpoint) in signed notes (C2SP signed-note), with Ed25519 signatures of type 0x01.
//!
//! A checkpoint is three lines: the log's origin, its size in decimal, its root in base64. The note adds an empty line and
//! lines of signatures, `— <key name> <base64 of key hash and signature>`. The log's own key is named like its origin.
//!
//! Parsing is strict: exactly these three lines, one spelling of each, and the log's signature must hold. Lines of
//! other keys (witnesses' cosignatures, which [`crate::cosignature`] reads) must be well-formed, and are otherwise left alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::digest::Digest;
use signing::keys::{PublicKey, SecretKey, Signature};
use signing::token::{SignError, Signer};

/// The type of an Ed25519 signature over the note's text (C2SP signed-note, "Signature types").
const ED25519: u8 = 0x01;

/// The most bytes of a signed checkpoint.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;

/// What a log commits to: that the tree of its first `size` leaves has this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, also the name of the key that signs.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// The root of the tree.
    pub root: Digest,
}

/// Why a text is not a checkpoint signed by the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// More than [`MAX_NOTE_BYTES`].
    #[error("a checkpoint has at most {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// Not a signed note (C2SP signed-note).
    #[error("not a signed note: {0}")]
    Note(&'static str),
    /// A signed note, but its text is not a checkpoint without extension lines (C2SP tlog-checkpoint).
    #[error("not a checkpoint: {0}")]
    Body(&'static str),
    /// A checkpoint of another log.
    #[error("the checkpoint is one of another log")]
    Origin,
    /// No signature by the log's key.
    #[error("the checkpoint is not signed by the log's key")]
    Unsigned,
    /// A signature that claims to be by the log's key, and is not.
    #[error("the checkpoint's signature is not one by the log's key")]
    BadSignature,
}

impl Checkpoint {
    /// The text that is signed, its three lines.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// The signed note. The origin must be one that [`is_origin`] accepts; otherwise nobody can parse the note.
    pub fn sign(&self, key: &SecretKey) -> String {
        self.note(key.public(), &key.sign(self.body().as_bytes()))
    }

    /// The same with a key that may fail. It need not sign to the same bytes twice.
    pub fn try_sign(&self, key: &dyn Signer) -> Result<String, SignError> {
        Ok(self.note(key.public(), &key.try_sign(self.body().as_bytes())?))
    }

    fn note(&self, key: &PublicKey, signature: &Signature) -> String {
        let line = signature_line(&self.origin, key_hash(&self.origin, key), signature.as_bytes());
        format!("{}\n{line}", self.body())
    }

    /// Whether a text is this very checkpoint, signed by `key` once and by nobody else.
    pub fn is_signed_in(&self, text: &str, key: &PublicKey) -> bool {
        // What begins otherwise need not be verified.
        let signatures = text.strip_prefix(&self.body()).and_then(|rest| rest.strip_prefix('\n'));
        signatures.is_some_and(|lines| lines.lines().count() == 1)
            && Self::parse_and_verify(text, &self.origin, key).is_ok_and(|signed| signed == *self)
    }

    /// The checkpoint in a signed note, if it is one of the log `origin` and signed by `key`.
    pub fn parse_and_verify(text: &str, origin: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let (body, signatures) = split_note(text)?;
        let checkpoint = Self::parse_body(body)?;
        if checkpoint.origin != origin {
            return Err(CheckpointError::Origin);
        }
        let by_log = signatures_by(signatures, origin, key_hash(origin, key))?;
        for signature in &by_log {
            let signature =
                signature.as_slice().try_into().map(Signature).map_err(|_| CheckpointError::BadSignature)?;
            key.verify(body.as_bytes(), &signature).map_err(|_| CheckpointError::BadSignature)?;
        }
        if by_log.is_empty() { Err(CheckpointError::Unsigned) } else { Ok(checkpoint) }
    }

    /// The same for a log that may have had several origins: whether it had this one is left to the caller.
    pub fn parse_and_verify_any(text: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let origin = text.split('\n').next().unwrap_or_default();
        Self::parse_and_verify(text, origin, key)
    }

    /// What a note says, whoever signed it: for who learns only later whose it must be, and verifies it then.
    pub fn parse_unverified(text: &str) -> Result<Self, CheckpointError> {
        let (body, signatures) = split_note(text)?;
        signatures.split('\n').try_for_each(|line| split_signature(line).map(drop))?;
        Self::parse_body(body)
    }

    /// The same signed note with the log's own signature alone. Lines of others are nobody's word: whoever handed the note on may
    /// have added them.
    pub fn own_note(text: &str, key: &PublicKey) -> Result<String, CheckpointError> {
        let (body, signatures) = split_note(text)?;
        let origin = body.split('\n').next().unwrap_or_default();
        let hash = key_hash(origin, key);
        let own = signatures_by(signatures, origin, hash)?;
        let signature = own.first().ok_or(CheckpointError::Unsigned)?;
        Ok(format!("{body}\n{}", signature_line(origin, hash, signature)))
    }

    pub(crate) fn parse_body(body: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<_> = body.split_terminator('\n').collect();
        let [origin, size, root] = lines.as_slice() else {
            return Err(CheckpointError::Body("expected the lines origin, size and root"));
        };
        if !is_origin(origin) {
            return Err(CheckpointError::Body("the origin is empty or has spaces or a plus"));
        }
        // One spelling of each number: digits without a leading zero, so no sign either.
        let size = size
            .parse()
            .ok()
            .filter(|number: &u64| number.to_string() == **size)
            .ok_or(CheckpointError::Body("the size is not a decimal number without leading zeros"))?;
        let root = STANDARD.decode(root).ok().and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        let root = root.ok_or(CheckpointError::Body("the root is not 32 bytes in padded standard base64"))?;
        Ok(Self { origin: (*origin).to_owned(), size, root })
    }
}

/// Whether a log may have this origin, which is also a key name: not empty, no white space, no plus (C2SP signed-note),
/// no control characters.
pub fn is_origin(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The first four bytes of SHA-256 of name, line feed, signature type and key (C2SP signed-note, "Signatures").
pub fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    hash_of_type(ED25519, name, key)
}

/// The same for a signature of any type.
pub(crate) fn hash_of_type(signature_type: u8, name: &str, key: &PublicKey) -> [u8; 4] {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&[b'\n', signature_type]);
    bytes.extend_from_slice(&key.raw());
    let [a, b, c, d, ..] = *Digest::of(bytes).as_bytes();
    [a, b, c, d]
}

/// The text from which others verify the log's notes: `<name>+<key hash>+<base64 of type and key>` (C2SP signed-note,
/// "Verifier keys").
pub fn verifier_key(origin: &str, key: &PublicKey) -> String {
    verifier_key_of_type(ED25519, origin, key)
}

/// The same for signatures of any type.
pub(crate) fn verifier_key_of_type(signature_type: u8, name: &str, key: &PublicKey) -> String {
    let mut bytes = vec![signature_type];
    bytes.extend_from_slice(&key.raw());
    let hash = u32::from_be_bytes(hash_of_type(signature_type, name, key));
    format!("{name}+{hash:08x}+{}", STANDARD.encode(bytes))
}

/// The note's text, with its last line feed, and its signature lines, without.
pub(crate) fn split_note(text: &str) -> Result<(&str, &str), CheckpointError> {
    if text.len() > MAX_NOTE_BYTES {
        return Err(CheckpointError::TooLarge);
    }
    if text.bytes().any(|b| b < b' ' && b != b'\n') {
        return Err(CheckpointError::Note("it has control characters"));
    }
    let blank = text.rfind("\n\n").ok_or(CheckpointError::Note("no empty line before the signatures"))?;
    let (body, rest) = text.split_at(blank + 1);
    let signatures = rest
        .strip_prefix('\n')
        .and_then(|rest| rest.strip_suffix('\n'))
        .ok_or(CheckpointError::Note("no signature, or the last line does not end"))?;
    Ok((body, signatures))
}

/// The signatures, without the key's hash, of the lines with a key's name and hash. Every line must be well-formed.
pub(crate) fn signatures_by(lines: &str, name: &str, hash: [u8; 4]) -> Result<Vec<Vec<u8>>, CheckpointError> {
    let mut found = Vec::new();
    for line in lines.split('\n') {
        let (by, signature) = split_signature(line)?;
        found.extend(signature.strip_prefix(&hash).filter(|_| by == name).map(<[u8]>::to_vec));
    }
    Ok(found)
}

/// A signature line, with its line feed.
pub(crate) fn signature_line(name: &str, hash: [u8; 4], signature: &[u8]) -> String {
    let bytes = [hash.as_slice(), signature].concat();
    format!("\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

/// The key name and the bytes (key hash, then signature) of a signature line.
fn split_signature(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    const MALFORMED: CheckpointError = CheckpointError::Note("a signature line is malformed");
    let (name, signature) =
        line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(MALFORMED)?;
    let signature = STANDARD.decode(signature).map_err(|_| MALFORMED)?;
    // Four bytes of key hash and at least one of signature.
    if is_origin(name) && signature.len() > 4 { Ok((name, signature)) } else { Err(MALFORMED) }
}
