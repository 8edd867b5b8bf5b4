//! What auditors look for in a log that holds: acts that the rules allow and that somebody should explain.
//!
//! An exception is no finding against the log, and none of them proves a wrong. Each says what was found, by which
//! threshold, and at which positions. Thresholds are the constants here, each with its reason, and the hours of work, which
//! are given. Times are those of the groups, in UTC: what a signer's own clock said counts for nothing here.
//!
//! | module | what it looks for |
//! |---|---|
//! | `amounts` | split requests, amounts just under a band's limit, round sums |
//! | `people` | approvals that were too quick, pairs that are always the same, acts at odd times |
//! | `changes` | changes shortly before a payment that they concern |

mod amounts;
mod changes;
mod people;

use std::collections::{BTreeMap, HashMap};

use ledger::id::{DisbursementId, PrincipalId};
use ledger::time::Timestamp;
use programme::State;
use records::{Body, Payload};
use serde::Serialize;

use crate::evidence::shown_positions;
use crate::observe::{Observer, Replayed};
use crate::page::{Align, Page, Table};
use crate::report::{decimal, positions};
use crate::statements::Period;

/// Requests that lie within this time may be one that was split: a purchase that is cut up is seldom spread over more
/// than a week.
pub const SPLIT_WINDOW_S: u64 = 7 * DAY_S;
/// An approval that comes sooner than this was not read: the effect has eleven fields, and there is evidence behind it.
pub const QUICK_S: u64 = 30;
/// An amount that somebody chose, and that is a multiple of this many major units, was perhaps not computed from anything.
pub const ROUND_MAJOR: i64 = 1_000;
/// A pair is always the same where one approver has this share of a preparer's approved requests: four of five.
pub const PAIR_PERCENT: u64 = 80;
/// A share of fewer approved requests than this says nothing.
pub const PAIR_REQUESTS_MIN: u64 = 10;
/// A change that is made for one payment is made in the days before it; three days reach over a weekend.
pub const CHANGE_WINDOW_S: u64 = 3 * DAY_S;
/// An amount is just under a limit where it lacks at most this share of it.
pub const NEAR_PERCENT: i128 = 5;

const DAY_S: u64 = 24 * 60 * 60;

/// The hours of work in UTC, on Mondays to Fridays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hours {
    from: u8,
    to: u8,
}

/// The text names no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the hours of work as FROM-TO in UTC, such as 6-20: whole hours from 0 to 24, the first before the second"
)]
pub struct NoHours;

impl Default for Hours {
    /// From 06:00 until 20:00, which is 08:00 to 18:00 wherever the clock is at most two hours from UTC.
    fn default() -> Hours {
        Hours { from: 6, to: 20 }
    }
}

impl std::str::FromStr for Hours {
    type Err = NoHours;

    fn from_str(text: &str) -> Result<Hours, NoHours> {
        let (from, to) = text.split_once('-').ok_or(NoHours)?;
        let hour = |text: &str| text.parse::<u8>().ok().filter(|hour| *hour <= 24 && !text.starts_with('+'));
        match (hour(from), hour(to)) {
            (Some(from), Some(to)) if from < to => Ok(Hours { from, to }),
            _ => Err(NoHours),
        }
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// Requests that together exceed a band which each of them keeps to.
    SplitRequests,
    /// Requests just under a band's limit.
    NearLimit,
    /// Round sums where somebody chose the sum.
    RoundSums,
    /// Approvals within seconds of the request, or of another's approval.
    QuickApprovals,
    /// One pair of preparer and approver, always the same.
    SamePair,
    /// Acts at a weekend.
    Weekend,
    /// Acts outside the hours of work.
    OutsideHours,
    /// Changes shortly before a payment that they concern.
    ChangeBeforePayment,
}

impl Looked {
    /// Everything that is looked for.
    pub const ALL: [Looked; 8] = [
        Looked::SplitRequests,
        Looked::NearLimit,
        Looked::RoundSums,
        Looked::QuickApprovals,
        Looked::SamePair,
        Looked::Weekend,
        Looked::OutsideHours,
        Looked::ChangeBeforePayment,
    ];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Looked::SplitRequests => "Split requests",
            Looked::NearLimit => "Requests just under a band's limit",
            Looked::RoundSums => "Round sums",
            Looked::QuickApprovals => "Approvals within seconds",
            Looked::SamePair => "The same pair of officers",
            Looked::Weekend => "Acts at a weekend",
            Looked::OutsideHours => "Acts outside the hours of work",
            Looked::ChangeBeforePayment => "Changes shortly before a payment",
        }
    }

    /// What counts.
    pub fn threshold(self, hours: Hours) -> String {
        match self {
            Looked::SplitRequests => format!(
                "by one preparer, each within {} days of another, for one case, or in kind from one fund (the amount of a cash benefit is the offer's), together above the limit of the band that each keeps to",
                SPLIT_WINDOW_S / DAY_S
            ),
            Looked::NearLimit => format!("at most {NEAR_PERCENT} per cent under the limit, or at it"),
            Looked::RoundSums => format!(
                "multiples of {ROUND_MAJOR} major units of the currency where somebody chose the sum: invoices, requests in kind below the ceiling, claims paid, bank fees"
            ),
            Looked::QuickApprovals => {
                format!("within {QUICK_S} seconds of the request, or of another's approval of it")
            }
            Looked::SamePair => format!(
                "one approver has {PAIR_PERCENT} per cent or more of a preparer's approved requests, of {PAIR_REQUESTS_MIN} at least"
            ),
            Looked::Weekend => "signed instructions taken on a Saturday or Sunday in UTC".to_owned(),
            Looked::OutsideHours => {
                let Hours { from, to } = hours;
                format!(
                    "signed instructions taken on other days, and not from {from:02}:00 to {to:02}:00 in UTC"
                )
            }
            Looked::ChangeBeforePayment => format!(
                "policy, roles, keys, a bank account or a vendor that were new or changed within {} hours before a release that they concern (payee details are not in the log yet)",
                CHANGE_WINDOW_S / 3600
            ),
        }
    }
}

/// Something that somebody should explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// How many acts or payments.
    #[serde(serialize_with = "decimal")]
    pub count: u64,
    /// The disbursements that it is about, where it is about any.
    pub disbursements: Vec<DisbursementId>,
    /// What was looked for.
    pub looked: Looked,
    /// The positions of the records.
    #[serde(serialize_with = "positions")]
    pub positions: Vec<u64>,
    /// What was found.
    pub what: String,
}

/// How often an approver approved a preparer's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Who approved.
    pub approver: PrincipalId,
    /// How many requests.
    #[serde(serialize_with = "decimal")]
    pub count: u64,
    /// Of how many of the preparer's requests that anybody approved.
    #[serde(serialize_with = "decimal")]
    pub of: u64,
    /// The positions of the approvals.
    #[serde(serialize_with = "positions")]
    pub positions: Vec<u64>,
    /// Who prepared.
    pub preparer: PrincipalId,
}

impl Pair {
    /// The share in whole per cent, rounded down.
    pub fn percent(&self) -> u64 {
        (self.count * 100).checked_div(self.of).unwrap_or(0)
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exceptions {
    /// The exceptions, in the order of [`Looked`].
    pub found: Vec<Exception>,
    /// The hours of work.
    pub hours: Hours,
    /// Every pair of preparer and approver, those with the most requests first.
    pub pairs: Vec<Pair>,
    /// What was looked for, and what counts.
    pub thresholds: BTreeMap<Looked, String>,
}

/// An instruction that was accepted, and what there is around it.
struct Act<'a> {
    at: Timestamp,
    body: &'a Body,
    is_within: bool,
    position: u64,
    /// Where each disbursement was requested.
    requests: &'a HashMap<DisbursementId, u64>,
    signer: &'a PrincipalId,
    state: &'a State,
}

/// What is counted together.
#[derive(Debug, Default)]
struct Counted {
    count: u64,
    positions: Vec<u64>,
    disbursements: Vec<DisbursementId>,
}

impl Counted {
    fn add(&mut self, positions: impl IntoIterator<Item = u64>, disbursement: Option<&DisbursementId>) {
        self.count += 1;
        self.positions.extend(positions);
        self.disbursements.extend(disbursement.cloned());
    }

    fn exception(self, looked: Looked, what: String) -> Exception {
        let Counted { count, positions, disbursements } = self;
        Exception { count, disbursements, looked, positions, what }
    }
}

/// Looks at every act of a log.
pub(crate) struct Watch {
    hours: Hours,
    period: Period,
    requests: HashMap<DisbursementId, u64>,
    splits: amounts::Splits,
    limits: amounts::Limits,
    rounds: amounts::Rounds,
    approvals: people::Approvals,
    times: people::Times,
    changes: changes::Changes,
}

impl Watch {
    /// Looks at the acts of a period.
    pub fn new(period: Period, hours: Hours) -> Watch {
        Watch {
            hours,
            period,
            requests: HashMap::new(),
            splits: amounts::Splits::default(),
            limits: amounts::Limits::default(),
            rounds: amounts::Rounds::default(),
            approvals: people::Approvals::default(),
            times: people::Times::default(),
            changes: changes::Changes::default(),
        }
    }

    /// What was found.
    pub fn exceptions(self) -> Exceptions {
        let Watch { hours, splits, limits, rounds, approvals, times, changes, .. } = self;
        let (quick, pairs) = approvals.found();
        let same = pairs.iter().filter(|pair| pair.of >= PAIR_REQUESTS_MIN && pair.percent() >= PAIR_PERCENT);
        let same: Vec<Exception> = same.map(people::same_pair).collect();
        let found =
            [splits.found(), limits.found(), rounds.found(), quick, same, times.found(), changes.found()];
        let mut found = found.concat();
        // Stable, so that each kind's own order stays.
        found.sort_by_key(|exception| exception.looked);
        let thresholds = Looked::ALL.into_iter().map(|looked| (looked, looked.threshold(hours))).collect();
        Exceptions { found, hours, pairs, thresholds }
    }
}

impl Observer for Watch {
    fn record(&mut self, replayed: &Replayed<'_>) {
        let Payload::Instruction(header, body) = replayed.record.payload() else { return };
        if let Body::Request(request) = &**body {
            self.requests.insert(request.disbursement.clone(), replayed.position);
        }
        let act = Act {
            at: replayed.at,
            body,
            is_within: self.period.holds(replayed.at.date()),
            position: replayed.position,
            requests: &self.requests,
            signer: &header.signer,
            state: replayed.state,
        };
        self.splits.see(&act);
        self.limits.see(&act);
        self.rounds.see(&act);
        self.approvals.see(&act);
        self.times.see(&act, self.hours);
        self.changes.see(&act);
    }
}

/// How many disbursements and pairs are printed in one place; JSON has all.
const SHOWN_MAX: usize = 10;

impl Exceptions {
    /// Adds what was found to a page.
    pub(crate) fn write(&self, page: &mut Page) {
        page.heading("Exceptions");
        page.line("The rules allow all of this, and none of it proves a wrong; somebody should explain it. Times are those at which the log took a record, in UTC.");
        let columns = [("looked for", Align::Left), ("found", Align::Right), ("what counts", Align::Left)];
        let mut table = Table::new("What was looked for", &columns);
        for looked in Looked::ALL {
            let count = self.found.iter().filter(|exception| exception.looked == looked).count();
            table.row([looked.title().to_owned(), count.to_string(), looked.threshold(self.hours)]);
        }
        page.table(table);
        for looked in Looked::ALL {
            let columns = [
                ("found", Align::Left),
                ("count", Align::Right),
                ("positions", Align::Left),
                ("disbursements", Align::Left),
            ];
            let mut table = Table::new(looked.title(), &columns);
            for exception in self.found.iter().filter(|exception| exception.looked == looked) {
                table.row([
                    exception.what.clone(),
                    exception.count.to_string(),
                    shown_positions(&exception.positions),
                    exception.shown_disbursements(),
                ]);
            }
            page.table(table);
        }
        let columns = [
            ("preparer", Align::Left),
            ("approver", Align::Left),
            ("approved", Align::Right),
            ("of", Align::Right),
            ("share", Align::Right),
        ];
        let more = self.pairs.len().saturating_sub(SHOWN_MAX);
        let besides = if more == 0 { String::new() } else { format!(", and {more} more in JSON") };
        let mut table = Table::new(format!("Pairs of preparer and approver{besides}"), &columns);
        for pair in self.pairs.iter().take(SHOWN_MAX) {
            let Pair { approver, count, of, preparer, .. } = pair;
            table.row([
                preparer.to_string(),
                approver.to_string(),
                count.to_string(),
                of.to_string(),
                format!("{} %", pair.percent()),
            ]);
        }
        page.table(table);
    }
}

impl Exception {
    fn shown_disbursements(&self) -> String {
        let shown: Vec<&str> =
            self.disbursements.iter().take(SHOWN_MAX).map(DisbursementId::as_str).collect();
        match self.disbursements.len().saturating_sub(SHOWN_MAX) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_whole_and_in_order() {
        assert_eq!("6-20".parse(), Ok(Hours::default()));
        assert_eq!("0-24".parse::<Hours>().map(|hours| hours.to_string()), Ok("0-24".to_owned()));
        for bad in ["", "6", "20-6", "6-6", "6-25", "-1-5", "+6-20", "6:00-20:00", "6 - 20"] {
            assert_eq!(bad.parse::<Hours>(), Err(NoHours), "{bad}");
        }
    }
}
