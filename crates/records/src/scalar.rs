//! The small values that payloads are made of. Each has exactly one spelling.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use ledger::id::{CaseRef, PrincipalId};
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use unicode_normalization::UnicodeNormalization;

/// Why a small value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    /// Not a decimal integer without sign, leading zeros or white space, or above 2^63 - 1.
    #[error("write the integer as a decimal string from 0 to 9223372036854775807, without leading zeros")]
    Integer,
    /// Free text that is empty, too long, not NFC, or holds a control, bidirectional or invisible character.
    #[error(
        "write 1 to 500 characters in Unicode NFC, without control, bidirectional or invisible characters"
    )]
    Text,
    /// Not 64 lower-case hexadecimal digits.
    #[error("write the salt as 64 lower-case hexadecimal digits")]
    Salt,
    /// Not a UUID of version 7 in lower case with hyphens.
    #[error("write the id as a UUID of version 7, in lower case with hyphens")]
    InstructionId,
    /// A log origin or epoch with other characters than allowed.
    #[error("write 1 to 100 characters of a-z, 0-9, '.', '/', '-' and '_'")]
    Token,
}

/// A visitor of a value that is written as text, without a copy of the text.
struct Spelled<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Spelled<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! string_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Spelled(PhantomData))
            }
        }
    };
}

/// A non-negative integer, written as a decimal string (payloads hold no JSON numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Integer(pub u64);

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Integer {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain || (text.len() > 1 && text.starts_with('0')) {
            return Err(ScalarError::Integer);
        }
        let value = text.parse::<u64>().map_err(|_| ScalarError::Integer)?;
        if value > i64::MAX as u64 { Err(ScalarError::Integer) } else { Ok(Integer(value)) }
    }
}

string_serde!(Integer);

/// Free text: 1 to 500 characters, NFC, without control, bidirectional or invisible characters. Never about a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(Box<str>);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Text {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let allowed = text.chars().all(|c| !c.is_control() && !is_hidden(c));
        let length = text.chars().count();
        if !(1..=500).contains(&length) || !allowed || !text.nfc().eq(text.chars()) {
            return Err(ScalarError::Text);
        }
        Ok(Text(text.into()))
    }
}

string_serde!(Text);

/// What changes the direction of text, and what is not seen at all.
fn is_hidden(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x61C | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB
            | 0xE0000..=0xE007F)
}

/// A machine's word: a log origin (C2SP `tlog-checkpoint`), a writer's epoch. 1 to 100 of `[a-z0-9./_-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Token {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./_-".contains(&b);
        if !(1..=100).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(ScalarError::Token);
        }
        Ok(Token(text.into()))
    }
}

string_serde!(Token);

/// 32 random bytes, different every time, that keep a commitment from being guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt([u8; 32]);

impl Salt {
    /// A salt of these bytes, which the caller drew at random.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Salt(bytes)
    }

    /// The salted commitment to a case: HMAC-SHA-256 (RFC 2104) with the salt as key over the case reference.
    pub fn commit(&self, case: &CaseRef) -> Digest {
        use hmac::{Hmac, KeyInit, Mac};
        // HMAC takes a key of any length, so this cannot fail; an all-zero digest would match nothing.
        let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&self.0) else {
            return Digest::from_bytes([0; 32]);
        };
        mac.update(case.as_str().as_bytes());
        Digest::from_bytes(mac.finalize().into_bytes().into())
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest::from_bytes(self.0).fmt(f)
    }
}

impl FromStr for Salt {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let digest = text.parse::<Digest>().map_err(|_| ScalarError::Salt)?;
        Ok(Salt(*digest.as_bytes()))
    }
}

string_serde!(Salt);

/// The id that its signer gave an instruction: a UUID of version 7 (RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstructionId(uuid::Uuid);

impl InstructionId {
    /// The id of a UUID, which must be of version 7.
    pub fn from_uuid(uuid: uuid::Uuid) -> Result<Self, ScalarError> {
        let is_v7 = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        if is_v7 { Ok(InstructionId(uuid)) } else { Err(ScalarError::InstructionId) }
    }

    /// The UUID.
    pub fn uuid(&self) -> uuid::Uuid {
        self.0
    }
}

impl fmt::Display for InstructionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for InstructionId {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let uuid = uuid::Uuid::parse_str(text).map_err(|_| ScalarError::InstructionId)?;
        let id = InstructionId::from_uuid(uuid)?;
        if id.to_string() == text { Ok(id) } else { Err(ScalarError::InstructionId) }
    }
}

string_serde!(InstructionId);

/// A document that stays with its holder: only its kind and its SHA-256 enter the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Who keeps the document and shows it to an auditor.
    pub holder: PrincipalId,
    /// What kind of document it is, such as "court order".
    pub kind: Text,
    /// SHA-256 of the document's bytes.
    pub sha256: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for good in ["0", "7", "9223372036854775807"] {
            assert_eq!(good.parse::<Integer>().unwrap().to_string(), good);
        }
        for bad in ["", "00", "01", "+1", "-1", " 1", "1.0", "1e3", "9223372036854775808", "\u{0661}"] {
            assert!(bad.parse::<Integer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_hide_nothing() {
        assert!("forfeiture order 12/2026, Zürich".parse::<Text>().is_ok());
        for bad in [
            "",
            "a\nb",
            "a\u{202E}b",
            "u\u{0308}",
            "a\u{0000}",
            "\u{2066}x",
            "a\u{200B}b",
            "\u{FEFF}a",
            "a\u{00AD}b",
        ] {
            assert!(bad.parse::<Text>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(501).parse::<Text>().is_err());
    }

    #[test]
    fn instruction_ids_are_version_7_in_lower_case() {
        assert!("01890a5d-ac96-774b-bcce-b302099a8057".parse::<InstructionId>().is_ok());
        for bad in [
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "9b2f4b6e-7c1d-4c58-9f0e-5f0d5e1c2a3b",
            "01890a5d-ac96-774b-3cce-b302099a8057",
        ] {
            assert!(bad.parse::<InstructionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_commitment_depends_on_salt_and_case() {
        let (a, b) = (Salt::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
        let (case, other): (CaseRef, CaseRef) = ("c-1".parse().unwrap(), "c-2".parse().unwrap());
        assert_ne!(a.commit(&case), b.commit(&case));
        assert_ne!(a.commit(&case), a.commit(&other));
    }
}
