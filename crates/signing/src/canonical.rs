//! Canonical JSON: RFC 8785 (JCS) restricted to closed types that hold neither numbers nor null.
//!
//! General canonicalisers round integers above 2^53 and let duplicate keys collapse, both silently. Here a value is
//! parsed into its closed type and *that type's own encoding* must equal the bytes that arrived, so there is exactly
//! one accepted encoding of each value. For that encoding to be RFC 8785's, a type
//!
//! - declares its fields in sorted order (and keys of maps, if any, are ASCII, where the order of UTF-8 and that of
//!   RFC 8785's UTF-16 code units agree),
//! - leaves an absent field out rather than writing null,
//! - writes amounts, sizes and other numbers as strings.
//!
//! Strings need nothing: `serde_json` escapes exactly as RFC 8785 section 3.2.2.2 demands. A property test holds the
//! two encodings equal.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep objects and arrays may nest; the outermost one counts.
pub const MAX_DEPTH: usize = 9;

/// Why bytes are not the canonical encoding of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// Objects and arrays nest deeper than [`MAX_DEPTH`].
    #[error("the JSON nests deeper than {MAX_DEPTH} levels: flatten it")]
    TooDeep,
    /// A JSON number.
    #[error("a JSON number begins at byte {offset}: write it as a string")]
    Number {
        /// Where the number begins, in bytes.
        offset: usize,
    },
    /// A JSON null.
    #[error("a JSON null is at byte {offset}: leave the field out")]
    Null {
        /// Where the null begins, in bytes.
        offset: usize,
    },
    /// Not JSON, or not of the expected type.
    #[error("the JSON is not of the expected form: {0}")]
    Syntax(String),
    /// The right value, but not in its canonical encoding.
    #[error(
        "the JSON differs from its canonical encoding (RFC 8785) at byte {offset}: sort the keys, remove white space \
         and unneeded escapes"
    )]
    NotCanonical {
        /// The first byte that differs.
        offset: usize,
    },
}

/// The canonical encoding of `value` (RFC 8785).
///
/// A type that serde_json cannot write at all (a map with keys that are not strings) yields no bytes, which no
/// [`decode`] accepts; the closed types of this system always encode.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The value whose canonical encoding is exactly `bytes`.
pub fn decode<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, CanonicalError> {
    check_plain(bytes)?;
    let value: T = serde_json::from_slice(bytes).map_err(|e| CanonicalError::Syntax(e.to_string()))?;
    let mut rest = Rest(bytes);
    if serde_json::to_writer(&mut rest, &value).is_ok() && rest.0.is_empty() {
        return Ok(value);
    }
    match first_difference(bytes, &encode(&value)) {
        None => Ok(value),
        Some(offset) => Err(CanonicalError::NotCanonical { offset }),
    }
}

/// Refuses numbers, null and more than [`MAX_DEPTH`] levels, without recursion and before anything is parsed.
///
/// It is no parser: what passes may still not be JSON. But whatever JSON passes holds no number and no null, since
/// outside strings a digit or a sign occurs only in numbers, and the letter `n` only in `null`.
pub fn check_plain(bytes: &[u8]) -> Result<(), CanonicalError> {
    let mut depth = 0_usize;
    let mut rest = bytes.iter().enumerate();
    while let Some((offset, byte)) = rest.next() {
        match byte {
            b'"' => loop {
                match rest.next() {
                    Some((_, b'"')) => break,
                    Some((_, b'\\')) => {
                        rest.next();
                    }
                    Some(_) => {}
                    None => {
                        return Err(CanonicalError::Syntax(format!(
                            "the string at byte {offset} does not end"
                        )));
                    }
                }
            },
            b'{' | b'[' if depth == MAX_DEPTH => return Err(CanonicalError::TooDeep),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'0'..=b'9' | b'-' => return Err(CanonicalError::Number { offset }),
            b'n' => return Err(CanonicalError::Null { offset }),
            _ => {}
        }
    }
    Ok(())
}

/// What is still to be written, byte for byte.
struct Rest<'a>(&'a [u8]);

impl io::Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first byte at which the two differ, which is the shorter one's end when one begins the other.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    match a.iter().zip(b).position(|(x, y)| x != y) {
        None if a.len() == b.len() => None,
        None => Some(a.len().min(b.len())),
        found => found,
    }
}
