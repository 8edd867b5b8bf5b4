//! The lines of a pack. Nothing here is signed but the checkpoint and the envelopes; the format is specified in
//! `docs/spec/pack.md`.

use std::fmt;

use ledger::id::{AssetId, CaseRef, DisbursementId, FundId};
use ledger::time::Date;
use records::scalar::Integer;
use serde::{Deserialize, Serialize};
use signing::canonical;
use signing::digest::Digest;
use signing::dsse::Envelope;

/// The most bytes of the header's line, without its line feed: a checkpoint with every character escaped, and all
/// earlier heads with the longest proofs.
pub(super) const HEADER_BYTES_MAX: u64 = 210_000;

/// The most bytes of a record's line, without its line feed: an envelope and the longest proof.
pub(super) const RECORD_BYTES_MAX: u64 = 70_000;

/// The most earlier heads that a header names.
pub const EARLIER_MAX: usize = 16;

/// The format's name and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The only one so far.
    #[serde(rename = "safeconduct-pack.v1")]
    V1,
}

/// What a pack is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scope {
    /// An asset and all its funds, without any case reference.
    Asset(AssetId),
    /// One case and all its disbursements.
    Case(CaseRef),
    /// One disbursement, with its request.
    Disbursement(DisbursementId),
    /// One fund, without any case reference.
    Fund(FundId),
    /// Everything but what holds a case reference.
    NoCases {},
    /// The groups of these days, both included, without any case reference.
    Period {
        /// The first day.
        from: Date,
        /// The last day.
        to: Date,
    },
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Asset(asset) => write!(f, "asset {asset}, without any case reference"),
            Scope::Case(case) => write!(f, "case {case}"),
            Scope::Disbursement(disbursement) => write!(f, "disbursement {disbursement}"),
            Scope::Fund(fund) => write!(f, "fund {fund}, without any case reference"),
            Scope::NoCases {} => f.write_str("everything but what holds a case reference"),
            Scope::Period { from, to } => write!(f, "{from} to {to}, without any case reference"),
        }
    }
}

/// The first line of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The signed checkpoint of the bundle that the pack was cut from.
    pub checkpoint: String,
    /// Earlier heads that the checkpoint's tree extends, by rising size.
    pub earlier: Vec<EarlierHead>,
    /// The format.
    pub format: Format,
    /// The ledger's id.
    pub ledger: Digest,
    /// How many records follow.
    pub records: Integer,
    /// What the pack is about.
    pub scope: Scope,
}

/// An earlier head, and the proof that the checkpoint's tree extends it (RFC 9162 section 2.1.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlierHead {
    /// The consistency proof.
    pub proof: Vec<Digest>,
    /// The root of the first `size` records.
    pub root: Digest,
    /// How many records it covers.
    pub size: Integer,
}

/// A record's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    /// The record. Its canonical encoding is the leaf.
    pub envelope: Envelope,
    /// Where it stands in the log.
    pub position: Integer,
    /// That it stands there, in the checkpoint's tree (RFC 9162 section 2.1.3).
    pub proof: Vec<Digest>,
}

/// A line of a pack, with its line feed.
pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = canonical::encode(value);
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_one_spelling() {
        for text in [
            r#"{"asset":"a1"}"#,
            r#"{"case":"c-1"}"#,
            r#"{"disbursement":"d-1"}"#,
            r#"{"fund":"f1"}"#,
            r#"{"no-cases":{}}"#,
            r#"{"period":{"from":"2026-01-01","to":"2026-01-31"}}"#,
        ] {
            let scope: Scope = canonical::decode(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(canonical::encode(&scope)).unwrap(), text);
        }
        for bad in
            [r#"{"fund":"F1"}"#, r#"{"fund":"f1","case":"c"}"#, r#"{"no-cases":{"x":"y"}}"#, r#""no-cases""#]
        {
            assert!(canonical::decode::<Scope>(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// The longest lines that there can be are within the bounds.
    #[test]
    fn the_bounds_are_wide_enough() {
        let digest = Digest::of("a node");
        let size = Integer(i64::MAX as u64);
        let earlier = EarlierHead { proof: vec![digest; 64], root: digest, size };
        let header = Header {
            checkpoint: "\"".repeat(translog::checkpoint::MAX_NOTE_BYTES),
            earlier: vec![earlier; EARLIER_MAX],
            format: Format::V1,
            ledger: digest,
            records: size,
            scope: Scope::Disbursement("d".repeat(64).parse().unwrap()),
        };
        assert!(line(&header).len() as u64 <= HEADER_BYTES_MAX);
        let key = signing::keys::SecretKey::from_seed([7; 32]);
        let envelope = Envelope::sign(&key, "t", vec![]);
        let spare = signing::dsse::MAX_ENVELOPE_BYTES - envelope.encode().len();
        let whole = RecordLine { envelope, position: size, proof: vec![digest; 64] };
        assert!((line(&whole).len() + spare) as u64 <= RECORD_BYTES_MAX);
    }
}
