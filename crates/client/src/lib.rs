//! What a person's machine does: it signs instructions, submits them, reads, and keeps what proves them.
//!
//! | module | what it is for |
//! |---|---|
//! | [`home`] | the directory in which everything is kept, for its owner only |
//! | [`connection`] | HTTP: signed reads, writes, paging, problems |
//! | [`membership`] | founding a ledger, and joining one by its id |
//! | [`keeping`] | the rules by which a checkpoint follows the one that was kept |
//! | [`client`](Client) | build, sign, submit, and the receipts for what was accepted |
//! | [`receipt`] | the proof, verifiable offline, that the log holds a record |
//! | `custodians` | whose signatures count for an act of the custodians |
//! | [`reopening`] | a log that goes on under a new origin after a loss: verified, and followed |
//! | [`witnessing`] | how many witnesses must have cosigned a checkpoint, and receipts under one |
//! | [`export`] | what is public of the log, as static files |
//! | [`describe`] | what is about to be signed, in plain words |
//! | [`reads`] | the answers of the service |
//! | [`draw`], [`tags`] | random references, and a screener's salted person tags |
//!
//! The service is not trusted: the ledger's keys come from the founding record, whose digest the person was given; each
//! checkpoint must extend the last one that this machine verified; and a record counts as accepted only once its
//! inclusion under such a checkpoint was proved.
//!
//! What it is not: it reads no clock, environment, key file or passphrase. The caller brings the time and the key.

mod batch;
mod client;
pub mod connection;
mod custodians;
pub mod describe;
pub mod draw;
mod error;
pub mod export;
pub mod home;
pub mod keeping;
pub mod membership;
pub mod outbox;
pub mod reads;
pub mod receipt;
pub mod reopening;
pub mod tags;
pub mod witnessing;

#[cfg(test)]
mod tests;

pub use client::{Client, Mode, Outcome, Submission};
pub use connection::{Clock, Connection};
pub use error::{Error, Problem};
pub use home::Home;
pub use membership::{Identity, Ledger};
