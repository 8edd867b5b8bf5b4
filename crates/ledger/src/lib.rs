//! Double-entry bookkeeping as pure functions: ids, times, money, the chart of accounts, entries, holds, limits, the
//! journal's rows, and the proofs that the planes give each other.
//!
//! It is not a store, it knows no clock and no randomness, and it does not know who may do what: it answers whether an
//! entry is well formed, whether the balances bear it, and whether a fund's books prove themselves.
#![forbid(unsafe_code)]

pub mod account;
pub mod books;
pub mod currency;
pub mod entry;
pub mod id;
pub mod journal;
pub mod money;
pub mod proofs;
pub mod sum;
mod text;
pub mod time;
