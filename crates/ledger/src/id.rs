//! Every kind of id, from one list. An id is a name that somebody chose, never a name of a person, and ids of
//! different kinds do not convert into each other.
//!
//! Their texts are of two words: a short one is in place, a longer one is shared by its clones. A state has millions of them. A hold's
//! is mostly kept once, and has no count of its clones.

use std::fmt;
use std::str::FromStr;

use ecow::EcoString;

use crate::text::serde_as_text;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("an id is not empty")]
    Empty,
    /// The text is longer than its kind allows.
    #[error("an id of this kind has at most {max} characters")]
    TooLong {
        /// The most characters that this kind allows.
        max: usize,
    },
    /// A character is outside the kind's alphabet.
    #[error("an id of this kind holds only a-z, 0-9 and {marks}")]
    BadCharacter {
        /// What the kind allows besides lower-case letters and digits.
        marks: &'static str,
    },
    /// An entry id is `<64 lower-case hex digits>-<n>`.
    #[error("an entry id is 64 lower-case hex digits, a hyphen and a number without leading zeros")]
    NotAnEntryId,
}

fn check(text: &str, max: usize, marks: &'static str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || marks.as_bytes().contains(&b);
    if !text.bytes().all(allowed) {
        return Err(IdError::BadCharacter { marks });
    }
    if text.len() > max {
        return Err(IdError::TooLong { max });
    }
    Ok(())
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($text:ty): 1..=$max:literal of $marks:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name($text);

            impl $name {
                /// The id's text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.pad(&self.0)
                }
            }

            impl FromStr for $name {
                type Err = IdError;

                fn from_str(text: &str) -> Result<Self, IdError> {
                    check(text, $max, $marks)?;
                    Ok(Self(text.into()))
                }
            }

            impl TryFrom<String> for $name {
                type Error = IdError;

                fn try_from(text: String) -> Result<Self, IdError> {
                    check(&text, $max, $marks)?;
                    Ok(Self(text.into()))
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(&self.0)
                }
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    $crate::text::deserialize(deserializer)
                }
            }
        )+
    };
}

ids! {
    /// An opaque person or machine with enrolled keys.
    PrincipalId(EcoString): 1..=64 of "_-";
    /// A fund: fiduciary, spendable, or the one of unplaced receipts.
    FundId(EcoString): 1..=64 of "_-";
    /// Something seized.
    AssetId(EcoString): 1..=64 of "_-";
    /// A bank account of ours.
    BankId(EcoString): 1..=64 of "_-";
    /// A vendor, agent or holder of an imprest.
    VendorId(EcoString): 1..=64 of "_-";
    /// A claimant, a body that is owed costs, or another body with a share.
    BodyId(EcoString): 1..=64 of "_-";
    /// A case, by its random reference.
    CaseRef(EcoString): 1..=64 of "_-";
    /// An agency's own reference to a case.
    AgencyRef(EcoString): 1..=64 of "_-";
    /// One payment to one case under one benefit.
    DisbursementId(EcoString): 1..=64 of "_-";
    /// What the programme pays, in its dated versions.
    OfferId(EcoString): 1..=64 of "_-";
    /// One line of an offer.
    BenefitId(EcoString): 1..=64 of "_-";
    /// A part of a fund set aside for a purpose.
    AllotmentId(EcoString): 1..=64 of "_-";
    /// A reservation on an account, resolved once. Longer, and with dots, because it is derived from other ids.
    HoldId(Box<str>): 1..=96 of "_.-";
}

/// A journal entry: the digest of the record that causes it, and which of that record's entries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Digest of the causing record.
    pub digest: [u8; 32],
    /// Which of the record's entries, from 0.
    pub index: u32,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.digest) {
            *pair = [byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
        }
        f.write_str(str::from_utf8(&digits).unwrap_or_default())?;
        write!(f, "-{}", self.index)
    }
}

impl FromStr for EntryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (hex, index) = text.split_once('-').ok_or(IdError::NotAnEntryId)?;
        if hex.len() != 64 {
            return Err(IdError::NotAnEntryId);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            for &digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(IdError::NotAnEntryId),
                };
                *byte = *byte << 4 | value;
            }
        }
        let spelled_once = index == "0" || !index.starts_with(['0', '+']);
        let index = index.parse().map_err(|_| IdError::NotAnEntryId)?;
        if spelled_once { Ok(Self { digest, index }) } else { Err(IdError::NotAnEntryId) }
    }
}

serde_as_text!(EntryId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_alphabet_and_length() {
        let long = "a".repeat(64);
        for good in ["a", "usd-main", "d_1", "-", "0", &long] {
            assert_eq!(good.parse::<FundId>().unwrap().as_str(), good);
            assert_eq!(good.parse::<HoldId>().unwrap().to_string(), good);
        }
        let bad = |text: &str| text.parse::<FundId>().unwrap_err();
        assert_eq!(bad(""), IdError::Empty);
        assert_eq!(bad(&"a".repeat(65)), IdError::TooLong { max: 64 });
        for text in ["A", "a b", "a/b", "a.b", "é", "a\n", "a\0"] {
            assert_eq!(bad(text), IdError::BadCharacter { marks: "_-" }, "{text:?}");
        }
        assert!("d1.r".parse::<HoldId>().is_ok());
        assert!("a".repeat(96).parse::<HoldId>().is_ok());
        assert_eq!("a".repeat(97).parse::<HoldId>(), Err(IdError::TooLong { max: 96 }));
    }

    #[test]
    fn serde_validates() {
        assert_eq!(serde_json::to_string(&"f1".parse::<FundId>().unwrap()).unwrap(), r#""f1""#);
        assert!(serde_json::from_str::<FundId>(r#""f1""#).is_ok());
        for bad in [r#""F1""#, "1", "null", r#""""#] {
            assert!(serde_json::from_str::<FundId>(bad).is_err(), "{bad}");
        }
        assert!(FundId::try_from("f/1".to_owned()).is_err());
    }

    #[test]
    fn entry_ids_have_one_spelling() {
        let hex = "00ff".repeat(16);
        for good in [format!("{hex}-0"), format!("{hex}-10"), format!("{hex}-4294967295")] {
            let id: EntryId = good.parse().unwrap();
            assert_eq!(id.to_string(), good);
            assert_eq!(serde_json::from_str::<EntryId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        }
        for bad in [
            String::new(),
            hex.clone(),
            format!("{hex}-"),
            format!("{hex}-00"),
            format!("{hex}-01"),
            format!("{hex}-+1"),
            format!("{hex}--1"),
            format!("{hex}-4294967296"),
            format!("{}-0", hex.to_uppercase()),
            format!("{}-0", &hex[1..]),
            format!("{}-0", "é".repeat(32)),
        ] {
            assert_eq!(bad.parse::<EntryId>(), Err(IdError::NotAnEntryId), "{bad}");
        }
    }
}
