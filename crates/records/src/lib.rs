//! Every byte that is signed or logged, as closed and valid types.
//!
//! A record arrives as a DSSE envelope. [`Record::parse`] turns it into a [`Payload`] whose own encoding equals the
//! arrived bytes, so that two parties who hold the same record hold the same meaning; [`Record::verify`] makes it a
//! [`Verified`] record, which is the only thing that the rules accept. What is *allowed* is not decided here but in
//! `programme`. The bytes are specified in `docs/spec/records.md`.

pub mod assets;
pub mod bundle;
pub mod cases;
pub mod disbursements;
pub mod governance;
pub mod journal;
mod record;
pub mod scalar;
pub mod witnessing;

pub use record::{
    Basis, Body, BuildError, Header, Instruction, Kind, Payload, Record, RecordError, Verified,
};
