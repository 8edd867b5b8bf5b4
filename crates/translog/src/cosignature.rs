//! Cosignatures (C2SP tlog-cosignature) by Ed25519, of type 0x04: a witness's statement that, at a time, the largest tree
//! that it knows of a log is the one that the checkpoint states, and extends all that it knew before.
//!
//! What else a witness states, such as that it replayed the log, is implied by its key ("Additional statements").

use signing::keys::{PublicKey, SecretKey, Signature};

use crate::checkpoint::{
    Checkpoint, CheckpointError, MAX_NOTE_BYTES, hash_of_type, is_origin, signature_line, signatures_by,
    split_note, verifier_key_of_type,
};

/// The type of a timestamped Ed25519 cosignature (C2SP signed-note, "Signature types").
const COSIGNATURE: u8 = 0x04;

/// The most signature lines that a witness answers with and a log takes: as many as C2SP signed-note has every verifier take.
const LINES_MAX: usize = 16;

/// Why there is no cosignature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Not a signed checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A time that C2SP tlog-cosignature has no place for.
    #[error("a cosignature has a time from 0 to 2^63 - 1")]
    Time,
    /// A name that no key can have.
    #[error("the name of a witness is not empty and has no spaces or plus")]
    Name,
    /// A signature that claims to be by the witness's key, and is not.
    #[error("a cosignature is not one by the witness's key")]
    BadSignature,
    /// An answer that is not a few signature lines.
    #[error("the witness answered with something else than signature lines")]
    Answer,
}

/// The cosignature of a checkpoint, as a signature line with its line feed. Who cosigns has verified the checkpoint before;
/// `time` is in seconds since 1970.
pub fn cosign(note: &str, name: &str, key: &SecretKey, time: u64) -> Result<String, CosignatureError> {
    let (body, _) = split_note(note)?;
    Checkpoint::parse_body(body)?;
    if !is_origin(name) {
        return Err(CosignatureError::Name);
    }
    if i64::try_from(time).is_err() {
        return Err(CosignatureError::Time);
    }
    let signature = key.sign(message(body, time).as_bytes());
    let signature = [time.to_be_bytes().as_slice(), signature.as_bytes()].concat();
    Ok(signature_line(name, hash_of_type(COSIGNATURE, name, key.public()), &signature))
}

/// The time of the first cosignature of a note by a witness, in seconds since 1970; `None` if there is none. Every one
/// that claims to be by the witness must hold.
pub fn cosigned_at(note: &str, name: &str, key: &PublicKey) -> Result<Option<u64>, CosignatureError> {
    let (body, lines) = split_note(note)?;
    let mut first: Option<u64> = None;
    for signature in signatures_by(lines, name, hash_of_type(COSIGNATURE, name, key))? {
        let (time, signature) = signature.split_first_chunk().ok_or(CosignatureError::BadSignature)?;
        let time = u64::from_be_bytes(*time);
        let signature = signature.try_into().map(Signature).map_err(|_| CosignatureError::BadSignature)?;
        let holds = key.verify(message(body, time).as_bytes(), &signature).is_ok();
        if !holds || i64::try_from(time).is_err() {
            return Err(CosignatureError::BadSignature);
        }
        first = Some(first.map_or(time, |first| first.min(time)));
    }
    Ok(first)
}

/// The same note with the cosignature of a witness that is in its answer. Lines by other keys are ignored, as C2SP
/// tlog-witness says.
pub fn with_answer(
    note: &str,
    answer: &str,
    name: &str,
    key: &PublicKey,
) -> Result<String, CosignatureError> {
    let lines = answer.strip_suffix('\n').ok_or(CosignatureError::Answer)?;
    if lines.split('\n').count() > LINES_MAX {
        return Err(CosignatureError::Answer);
    }
    let signature = signatures_by(lines, name, hash_of_type(COSIGNATURE, name, key))?
        .pop()
        .ok_or(CosignatureError::Answer)?;
    let line = signature_line(name, hash_of_type(COSIGNATURE, name, key), &signature);
    let cosigned = format!("{note}{line}");
    if cosigned.len() > MAX_NOTE_BYTES {
        return Err(CheckpointError::TooLarge.into());
    }
    match cosigned_at(&cosigned, name, key)? {
        Some(_) => Ok(cosigned),
        None => Err(CosignatureError::Answer),
    }
}

/// The text from which others verify a witness's cosignatures (C2SP signed-note, "Verifier keys").
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    verifier_key_of_type(COSIGNATURE, name, key)
}

/// What is signed: two lines, and the note's text.
fn message(body: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{body}")
}
