//! Who acts with whom, how quickly, and when.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ledger::id::{DisbursementId, PrincipalId};
use ledger::time::{Date, Timestamp};
use programme::Key;
use programme::entity::DisbursementState;
use records::Body;

use crate::page;

use super::{Act, Counted, DAY_S, Exception, Hours, Looked, Pair, QUICK_S};

/// The approvals of one disbursement.
#[derive(Default)]
struct Given {
    /// Whether it counts among those of the period.
    is_counted: bool,
    approvals: Vec<(PrincipalId, Timestamp, u64)>,
}

/// Approvals that came too quickly, and who approves whose requests.
#[derive(Default)]
pub(super) struct Approvals {
    given: HashMap<DisbursementId, Given>,
    quick: BTreeMap<String, Counted>,
    /// How many requests of a preparer's were approved.
    approved: HashMap<PrincipalId, u64>,
    pairs: BTreeMap<(PrincipalId, PrincipalId), Vec<u64>>,
}

impl Approvals {
    pub fn see(&mut self, act: &Act<'_>) {
        let Body::Approval(approval) = act.body else { return };
        let (disbursement, preparer) = (&approval.effect.disbursement, &approval.effect.preparer);
        let given = self.given.entry(disbursement.clone()).or_default();
        let is_again = given.approvals.iter().any(|(approver, ..)| approver == act.signer);
        let before = given.approvals.last().cloned();
        given.approvals.push((act.signer.clone(), act.at, act.position));
        if !act.is_within {
            return;
        }
        if !is_again {
            if !std::mem::replace(&mut given.is_counted, true) {
                *self.approved.entry(preparer.clone()).or_default() += 1;
            }
            let pair = (preparer.clone(), act.signer.clone());
            self.pairs.entry(pair).or_default().push(act.position);
        }
        let is_quick = |from: Timestamp| act.at.since(from).is_some_and(|s| s <= QUICK_S);
        let mut raise = |what: String, earlier: Option<u64>| {
            let positions = earlier.into_iter().chain([act.position]);
            self.quick.entry(what).or_default().add(positions, Some(disbursement));
        };
        let key = Key::Disbursement(disbursement.clone());
        let requested = act.state.get::<DisbursementState>(&key).map(|state| state.requested_at);
        if requested.is_some_and(is_quick) {
            let what = format!("{} approved within seconds what {preparer} requested", act.signer);
            raise(what, act.requests.get(disbursement).copied());
        }
        if let Some((other, _, position)) =
            before.filter(|(other, at, _)| other != act.signer && is_quick(*at))
        {
            raise(format!("{} approved within seconds after {other}", act.signer), Some(position));
        }
    }

    /// What was too quick, and every pair, those with the most requests first.
    pub fn found(self) -> (Vec<Exception>, Vec<Pair>) {
        let Approvals { quick, approved, pairs, .. } = self;
        let quick = quick.into_iter().map(|(what, counted)| counted.exception(Looked::QuickApprovals, what));
        let pair = |((preparer, approver), positions): ((PrincipalId, PrincipalId), Vec<u64>)| Pair {
            approver,
            count: positions.len() as u64,
            of: approved.get(&preparer).copied().unwrap_or(0),
            positions,
            preparer,
        };
        let mut pairs: Vec<Pair> = pairs.into_iter().map(pair).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        (quick.collect(), pairs)
    }
}

pub(super) fn same_pair(pair: &Pair) -> Exception {
    let Pair { approver, count, of, positions, preparer } = pair;
    let what = format!(
        "{approver} approved {count} of {of} requests of {preparer} that were approved, {} per cent",
        pair.percent()
    );
    let (looked, positions) = (Looked::SamePair, positions.clone());
    Exception { count: *count, disbursements: vec![], looked, positions, what }
}

/// One person's acts at odd times.
#[derive(Default)]
struct Odd {
    counted: Counted,
    days: BTreeSet<Date>,
}

/// Acts at a weekend and outside the hours of work.
#[derive(Default)]
pub(super) struct Times(BTreeMap<(Looked, PrincipalId), Odd>);

impl Times {
    pub fn see(&mut self, act: &Act<'_>, hours: Hours) {
        let Some(looked) = odd(act.at, hours).filter(|_| act.is_within) else { return };
        let odd = self.0.entry((looked, act.signer.clone())).or_default();
        odd.counted.add([act.position], None);
        odd.days.insert(act.at.date());
    }

    pub fn found(self) -> Vec<Exception> {
        let exception = |((looked, signer), Odd { counted, days }): ((Looked, PrincipalId), Odd)| {
            let first = days.first().map_or(String::new(), |day| format!(", first on {day}"));
            let what = format!(
                "{signer} signed {} on {}{first}",
                page::counted(counted.count, "instruction"),
                page::counted(days.len() as u64, "day")
            );
            counted.exception(looked, what)
        };
        self.0.into_iter().map(exception).collect()
    }
}

/// Whether a time is at a weekend, or else outside the hours of work.
fn odd(at: Timestamp, hours: Hours) -> Option<Looked> {
    let day_s = DAY_S.cast_signed();
    // The first of January 1970 was a Thursday; days are counted from a Monday on.
    let weekday = (at.unix().div_euclid(day_s) + 3).rem_euclid(7);
    let hour = at.unix().rem_euclid(day_s) / 3600;
    if weekday >= 5 {
        Some(Looked::Weekend)
    } else if hour < hours.from.into() || hour >= hours.to.into() {
        Some(Looked::OutsideHours)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weekends_and_hours() {
        for (time, expected) in [
            ("1969-12-27T12:00:00Z", Some(Looked::Weekend)),
            ("2026-11-27T05:59:59Z", Some(Looked::OutsideHours)),
            ("2026-11-27T06:00:00Z", None),
            ("2026-11-27T19:59:59Z", None),
            ("2026-11-27T20:00:00Z", Some(Looked::OutsideHours)),
            ("2026-11-28T00:00:00Z", Some(Looked::Weekend)),
            ("2026-11-29T23:59:59Z", Some(Looked::Weekend)),
            ("2026-11-30T00:00:00Z", Some(Looked::OutsideHours)),
            ("2026-11-30T12:00:00Z", None),
        ] {
            assert_eq!(odd(time.parse().unwrap(), Hours::default()), expected, "{time}");
        }
        let night = "2026-11-27T23:59:59Z".parse().unwrap();
        assert_eq!(odd(night, "0-24".parse().unwrap()), None);
    }
}
