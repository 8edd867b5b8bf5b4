//! The seam through which others look on while a bundle is replayed, so that it is read once for whatever is asked of it.

use ledger::time::Timestamp;
use programme::State;
use records::Verified;

/// A record that holds where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Replayed<'a> {
    /// The time of its group; of the founding record, its own.
    pub at: Timestamp,
    /// Its position in the log.
    pub position: u64,
    /// The record.
    pub record: &'a Verified,
    /// The state after it.
    pub state: &'a State,
}

/// Looks on while a bundle is verified. It changes nothing of the verdict; what it gathers is worth something only where
/// the bundle turns out to hold.
pub trait Observer {
    /// Sees each record that holds, in the order of the log. An instruction's entry comes after it, as a record of its own.
    fn record(&mut self, replayed: &Replayed<'_>);

    /// Sees the state at the log's end, once everything was checked. It is not called where the bundle is refuted.
    fn end(&mut self, _state: &State) {}
}
