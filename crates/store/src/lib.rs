//! store: where the ledger is kept. Only this crate contains SQL.

pub mod embedded;
pub mod migrate;
pub mod register;
