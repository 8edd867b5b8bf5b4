//! The rules: a pure function from the log so far and a record to what the record causes.
//!
//! [`decide()`] is a chain of guards without effect; [`apply`] takes its decision into the [`State`] and cannot fail.
//! Service, auditor and simulation run the same two functions; [`replay`] folds them over a whole log. There is no I/O
//! here, no clock, no randomness: time comes from the group record, and every entity that a guard reads is asked for
//! by key, so that a state that holds only some of them answers [`Halt::Missing`] and never fails open.

mod activation;
mod approvals;
mod assets;
mod cases;
mod decide;
mod disbursements;
pub mod entity;
mod governance;
mod key;
mod lapses;
pub mod publication;
mod refusal;
pub mod reopening;
pub mod replay;
mod reports;
pub mod stage;
mod state;

pub use approvals::effect_of;
pub use decide::{At, Decision, apply, begin_group, decide};
pub use key::{Key, NotAKey};
pub use refusal::{Code, Refusal};
pub use state::{Before, Halt, Lookup, State};

/// The version of the rules that this crate implements.
pub const RULES_VERSION: u64 = 1;

/// The longest life of an instruction, from issue to `not_after`, in seconds: 30 days.
pub const INSTRUCTION_LIFE_MAX_S: u64 = 30 * 24 * 60 * 60;
