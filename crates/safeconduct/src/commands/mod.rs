//! The commands, one module a family.

pub mod agency;
pub mod assets;
pub mod audit;
pub mod auditing;
pub mod cases;
pub mod custodians;
pub mod disbursements;
mod handed_over;
mod kept_state;
pub mod keys;
pub mod packs;
pub mod proofs;
pub mod publishing;
pub mod reads;
pub mod reopening;
mod replaying;
pub mod reports;
pub mod requests;
pub mod setup;
pub mod witness;
pub mod witnesses;
