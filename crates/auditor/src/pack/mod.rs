//! Selective disclosure: a part of a ledger, cut out of a bundle for somebody who may not see the rest.
//!
//! [`cut()`] verifies a bundle by replay and writes those of its records that a [`Scope`] concerns, each with its inclusion
//! proof; [`verify()`] checks such a pack offline, with the ledger's id alone. The format and what it promises is in
//! `docs/spec/pack.md`.
//!
//! | module | what for |
//! |---|---|
//! | `format` | the lines of a pack |
//! | `extent` | which kinds may stand in a pack of which scope, and which records a scope concerns |
//! | `cut` | choosing the records, and writing them |
//! | `verify` | the order of the checks |
//! | `web` | what records say of each other: causes, requests, effects, commitments |
//! | `heads` | checkpoints from elsewhere |
//! | `report` | what comes out |
//!
//! What it is not: a pack is never complete by itself, and the rules are not run over it, but for keys and roles.
//! [`NOT_SHOWN`] says so in every report.

mod cut;
mod extent;
mod format;
mod heads;
mod report;
mod verify;
mod web;

pub use cut::{CutError, cut};
pub use format::{EARLIER_MAX, EarlierHead, Format, Header, RecordLine, Scope};
pub use heads::{KeptByPack, PackStanding};
pub use report::{NOT_SHOWN, PackReport, Shown, ShownDisbursement, Step};
pub use verify::verify;
