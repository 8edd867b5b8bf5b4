//! Payloads and entities as they lie in the database: one Zstandard frame each (RFC 8878), against a dictionary.
//!
//! Each is a few hundred bytes of JSON whose names and shapes recur in all others, so that a dictionary makes a quarter of
//! it, and PostgreSQL writes, copies and reads that. The dictionary also brings the tables of the entropy coders, which no frame
//! has to build or carry then: packing takes a tenth of the time that it takes against plain text. It is trained by
//! `make bench BENCH="--train FILE --records 6000"`, on samples without anybody's ids. What is stored refers to it byte for byte,
//! so a database and its backups are read with the dictionary that they were written with: once there are ledgers to
//! keep, a better one comes beside it, never in its place. Nothing that is signed or hashed is packed.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

static DICTIONARY: &[u8] = include_bytes!("packed/dictionary.zdict");

/// The fastest that still finds most of what recurs.
const LEVEL: i32 = 1;

/// More than any payload or entity has; what claims to be larger is not ours.
const LARGEST: usize = 1 << 20;

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs what is to be stored.
pub fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => {
                let mut compressor = Compressor::with_prepared_dictionary(&ENCODER)?;
                // There is one dictionary, so no frame need name it.
                compressor.include_dictid(false)?;
                kept.insert(compressor)
            }
        };
        compressor.compress(bytes)
    })
}

/// What was packed. An error says that it was not packed by this dictionary, or was altered.
pub fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let size =
        Decompressor::<'static>::upper_bound(packed).filter(|size| *size <= LARGEST && !packed.is_empty());
    let size = size.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::with_prepared_dictionary(&DECODER)?),
        };
        decompressor.decompress(packed, size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_and_is_smaller() {
        let digest = "8d1c1bd5e7a94c6d9e0f4a3b2c1d0e9f8d1c1bd5e7a94c6d9e0f4a3b2c1d0e9f";
        let instruction = format!(
            r#"{{"agency":"north","agency_ref":"a-7","amount":{{"amount":"250.00","currency":"EUR"}},"basis":{{"root":"{digest}","size":"42"}},"case":"c-1","fund":"villa","key":"{digest}","ledger":"{digest}"}}"#
        );
        for sample in [instruction, String::new(), "x".repeat(65_000)] {
            let packed = pack(sample.as_bytes()).unwrap();
            assert_eq!(unpack(&packed).unwrap(), sample.as_bytes());
            assert!(sample.is_empty() || packed.len() * 2 < sample.len(), "{} of {sample}", packed.len());
        }
    }

    #[test]
    fn what_is_altered_or_claims_to_be_huge_is_an_error_or_something_else() {
        let sample = br#"{"basis":{"root":"00","size":"42"},"signer":"anna"}"#;
        let packed = pack(sample).unwrap();
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut altered = packed.clone();
                altered[at] ^= 1 << bit;
                // A frame carries no checksum: signatures are what tells.
                let _ = unpack(&altered);
            }
            assert!(unpack(&packed[..at]).is_err(), "cut at {at}");
        }
        let huge = pack(&vec![0; LARGEST + 1]).unwrap();
        assert!(unpack(&huge).is_err());
    }
}
