//! The auditor against a whole ledger: one that holds, and the same one wrong in every way that we could think of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod continued;
mod exceptions;
mod forged;
mod ledger;
mod pack;
mod rekeyed;
mod reopened;
mod reported;
mod reviewed;
mod sampled;
mod spares;
mod staff;
mod story;
mod tampered;
mod verified;
