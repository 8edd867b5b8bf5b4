//! The clock rule: a group's time is the later of the writer's clock and the last group's, and a clock that is far from
//! the last group's time writes nothing until it is right or an operator has confirmed the time.

use ledger::time::Timestamp;
use records::governance::Policy;

use super::Unavailable;

/// How far the clock may be from the time that an operator confirmed.
const CONFIRMATION_S: u64 = 600;

/// What an operator confirmed when the process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// The clock may be ahead of the last group by more than policy's gap, once: the next group ends the gap.
    ahead: bool,
    /// The clock may be behind the last group, for as long as that takes.
    behind: bool,
}

impl Confirmed {
    /// Both, where the clock agrees with the time that was confirmed.
    pub(super) fn new(time: Option<Timestamp>, clock: Timestamp) -> Confirmed {
        let agrees = time.is_some_and(|time| apart_s(time, clock) <= CONFIRMATION_S);
        Confirmed { ahead: agrees, behind: agrees }
    }

    /// A group was committed at the clock's time.
    pub(super) fn used(&mut self) {
        self.ahead = false;
    }
}

/// The time of the next group.
pub(super) fn group_time(
    clock: Timestamp,
    last: Timestamp,
    policy: &Policy,
    confirmed: Confirmed,
) -> Result<Timestamp, Unavailable> {
    let is_behind = last.since(clock).is_some_and(|behind_s| behind_s > policy.skew_s.0);
    let is_ahead = clock.since(last).is_some_and(|ahead_s| ahead_s > policy.gap_s.0);
    if (is_behind && !confirmed.behind) || (is_ahead && !confirmed.ahead) {
        tracing::error!(%clock, %last, "the clock is far from the last group's time");
        return Err(Unavailable::ClockSuspect);
    }
    Ok(clock.max(last))
}

/// The founding record brings the first time: the clock must agree with it.
pub(super) fn agrees(clock: Timestamp, issued_at: Timestamp, policy: &Policy) -> bool {
    apart_s(clock, issued_at) <= policy.skew_s.0
}

fn apart_s(one: Timestamp, other: Timestamp) -> u64 {
    one.since(other).or(other.since(one)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use records::scalar::Integer;

    use super::*;

    fn policy() -> Policy {
        Policy {
            bank_report_persons: Integer(1),
            bands: vec![],
            basis_age_s: Integer(1),
            channels: vec![],
            expiry_max_s: Integer(1),
            gap_s: Integer(1000),
            lapse_grace_s: Integer(1),
            publication: None,
            quorum_delay_s: Integer(0),
            receipt_persons: Integer(1),
            skew_s: Integer(60),
            witnessing: None,
        }
    }

    fn at(unix: i64) -> Timestamp {
        Timestamp::from_unix(unix).unwrap()
    }

    #[test]
    fn a_clock_far_from_the_last_group_writes_nothing_until_it_is_confirmed() {
        let last = 1_000_000;
        let mut confirmed = Confirmed::new(Some(at(last + 5_000)), at(last + 5_100));
        let never = Confirmed::new(None, at(last));
        assert_eq!(Confirmed::new(Some(at(0)), at(601)), never);
        for (clock, time) in [
            (-61, Err(Unavailable::ClockSuspect)),
            (-60, Ok(at(last))),
            (0, Ok(at(last))),
            (1000, Ok(at(last + 1000))),
            (1001, Err(Unavailable::ClockSuspect)),
        ] {
            assert_eq!(group_time(at(last + clock), at(last), &policy(), never), time, "{clock}");
        }
        assert_eq!(group_time(at(last + 5_100), at(last), &policy(), confirmed), Ok(at(last + 5_100)));
        assert_eq!(group_time(at(last - 5_100), at(last), &policy(), confirmed), Ok(at(last)));
        confirmed.used();
        assert_eq!(group_time(at(last - 5_100), at(last), &policy(), confirmed), Ok(at(last)));
        assert!(group_time(at(last + 5_100), at(last), &policy(), confirmed).is_err());
    }
}
