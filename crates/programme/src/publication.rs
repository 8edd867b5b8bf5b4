//! What is public of the log, and when: which groups end with pads, and how many.
//!
//! Time is cut into periods of policy's `every_s`, from 1970 on. The first group of a period ends with pads, at least one, up
//! to the next multiple of policy's `multiple`; the head after it is public from the end of that period on. So one head
//! becomes public each period, at a time and of a size that do not tell what was written in it.

use ledger::time::Timestamp;
use records::governance::Publication;
use records::journal::Pad;
use records::scalar::Integer;
use signing::digest::Digest;

use crate::entity::PolicyState;
use crate::key::Key;
use crate::state::State;

/// The shortest period, in seconds: clocks may differ by that much.
const EVERY_MIN_S: u64 = 60;

/// The most records of a multiple: pads are signed and written with the group that they end.
const MULTIPLE_MAX: u64 = 4_096;

/// Whether a policy may have it, apart from the longest time of all.
pub(crate) fn is_valid(publication: Publication) -> bool {
    publication.every_s.0 >= EVERY_MIN_S && (2..=MULTIPLE_MAX).contains(&publication.multiple.0)
}

/// How a group must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// The size after it is a multiple of this.
    pub multiple: u64,
    /// From when on the head after it is public.
    pub public_from: Timestamp,
}

impl Padding {
    /// How many pads are called for after so many records.
    pub fn count(self, size: u64) -> u64 {
        self.multiple.saturating_sub(size.checked_rem(self.multiple).unwrap_or(0))
    }

    /// Whether a size is a multiple.
    pub fn is_met(self, size: u64) -> bool {
        size.is_multiple_of(self.multiple)
    }

    /// The pad that stands at a position.
    pub fn pad(self, ledger: Digest, position: u64) -> Pad {
        Pad { ledger, position: Integer(position), public_from: self.public_from }
    }
}

/// The padding of a group, by the policy at its time, where it is the first of a period; `last` is the time of the group
/// before, or the founding's. None in the last period that there is, which has no end.
pub fn padding(state: &State, last: Timestamp, now: Timestamp) -> Option<Padding> {
    let policy = &state.get::<PolicyState>(&Key::Policy)?.at(now).policy;
    let Publication { every_s, multiple } = policy.publication?;
    let every_s = i64::try_from(every_s.0).ok()?;
    let period = |time: Timestamp| time.unix().checked_div_euclid(every_s);
    let (period_now, before) = (period(now)?, period(last)?);
    let end = period_now.checked_add(1)?.checked_mul(every_s)?;
    (period_now > before).then_some(())?;
    Some(Padding { multiple: multiple.0, public_from: Timestamp::from_unix(end)? })
}
