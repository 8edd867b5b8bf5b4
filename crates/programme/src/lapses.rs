//! Which disbursements run out when, for whoever replays a whole log. There may be millions that are open, so those whose time
//! is far off are kept by the hour and without their second.

use std::collections::{BTreeMap, BTreeSet};

use ledger::id::DisbursementId;
use ledger::time::Timestamp;

use crate::entity::DisbursementState;
use crate::key::Key;
use crate::state::State;

const HOUR_S: i64 = 3600;

/// Disbursements by the time at which they run out.
#[derive(Debug, Default)]
pub(crate) struct Lapses {
    /// Of hours that have begun.
    near: BTreeSet<(Timestamp, DisbursementId)>,
    /// Of later hours, each once. What can no longer lapse stays here until its hour begins.
    far: BTreeMap<i64, Vec<DisbursementId>>,
    /// The last hour that has begun.
    hour: i64,
}

fn hour_of(time: Timestamp) -> i64 {
    time.unix().div_euclid(HOUR_S)
}

impl Lapses {
    /// A disbursement that was there and could lapse before, or was not or could not; and is there now.
    pub fn follow(
        &mut self,
        id: &DisbursementId,
        before: Option<&DisbursementState>,
        now: &DisbursementState,
    ) {
        let could_lapse = before.is_some_and(|before| before.stage.can_lapse());
        match (could_lapse, now.stage.can_lapse()) {
            (false, true) if hour_of(now.expires) <= self.hour => {
                self.near.insert((now.expires, id.clone()));
            }
            (false, true) => self.far.entry(hour_of(now.expires)).or_default().push(id.clone()),
            (true, false) => {
                self.near.remove(&(now.expires, id.clone()));
            }
            _ => {}
        }
    }

    /// The first that runs out, where that is before `time` or in its hour.
    pub fn first(&mut self, time: Timestamp, state: &State) -> Option<&(Timestamp, DisbursementId)> {
        self.hour = self.hour.max(hour_of(time));
        while let Some(begun) = self.far.first_entry().filter(|hour| *hour.key() <= self.hour) {
            for id in begun.remove() {
                let key = Key::Disbursement(id.clone());
                let open = state.get::<DisbursementState>(&key).filter(|known| known.stage.can_lapse());
                self.near.extend(open.map(|open| (open.expires, id)));
            }
        }
        self.near.first()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ledger::money::Money;
    use records::cases::{CaseOpening, OfferVersion};
    use records::disbursements::Channel;
    use records::scalar::Integer;
    use signing::digest::Digest;

    use super::*;
    use crate::entity::Stored as _;
    use crate::stage::{Ending, Stage};

    fn time(unix: i64) -> Timestamp {
        Timestamp::from_unix(unix).unwrap()
    }

    fn expiring(unix: i64) -> DisbursementState {
        let offer = OfferVersion { offer: "o".parse().unwrap(), version: Integer(1) };
        let opening = CaseOpening {
            agency: "north".parse().unwrap(),
            agency_ref: "r".parse().unwrap(),
            case: "c".parse().unwrap(),
            entered: "2030-01-01".parse().unwrap(),
            offer,
        };
        DisbursementState {
            opening: Arc::new(opening),
            benefit: "b".parse().unwrap(),
            in_kind: false,
            amount: Money::parse("1.00", "USD".parse().unwrap()).unwrap(),
            fund: "f".parse().unwrap(),
            channel: Channel::Manual {},
            expires: time(unix),
            occurrence: 1,
            preparer: "anna".parse().unwrap(),
            request: Digest::of("a request"),
            requested_at: time(0),
            commitment: Digest::of("a commitment"),
            stage: Stage::Requested { approvals: Box::default() },
            undo: None,
        }
    }

    /// The index, beside the state that it is of and a plain set of what is open.
    #[derive(Default)]
    struct Both {
        lapses: Lapses,
        state: State,
        open: BTreeSet<(Timestamp, DisbursementId)>,
    }

    impl Both {
        fn set(&mut self, number: usize, now: &DisbursementState) {
            let id: DisbursementId = format!("d{number}").parse().unwrap();
            let key = Key::Disbursement(id.clone());
            self.lapses.follow(&id, self.state.get(&key), now);
            self.state.load(key, Some(now.clone().into_entity()));
            let place = (now.expires, id);
            if now.stage.can_lapse() {
                self.open.insert(place)
            } else {
                self.open.remove(&place)
            };
        }

        /// Up to its own hour, it says the same as the set.
        fn look(&mut self, now: i64) {
            let first = self.lapses.first(time(now), &self.state);
            let real = self.open.first().filter(|(expires, _)| hour_of(*expires) <= hour_of(time(now)));
            assert_eq!(first, real, "at {now}");
        }
    }

    #[test]
    fn what_runs_out_first_is_known_from_its_hour_on() {
        for step in [1, 700, 3599, 3600, 3601, 10_000] {
            let mut both = Both::default();
            // An open one every quarter of an hour; one in three is cancelled before its hour, in it, or not at all.
            let expiries: Vec<i64> = (-8..60).map(|quarter| quarter * 900).collect();
            for (number, expires) in expiries.iter().enumerate() {
                both.set(number, &expiring(*expires));
            }
            for now in (-7200..60_000).step_by(step) {
                for (number, expires) in expiries.iter().enumerate() {
                    let ends = match number % 3 {
                        0 => *expires - 5000,
                        1 => *expires - 60,
                        // In the log: its lapse, within the grace.
                        _ => *expires + 600,
                    };
                    if (ends..ends + step as i64).contains(&now) {
                        let ended =
                            Stage::Ended(if number % 3 == 2 { Ending::Lapsed } else { Ending::Cancelled });
                        both.set(number, &DisbursementState { stage: ended, ..expiring(*expires) });
                    }
                }
                both.look(now);
            }
        }
    }
}
