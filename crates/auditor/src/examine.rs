//! The auditor's report on a log: whether it holds, what somebody should explain, and its financial statements.
//!
//! It says nothing of a log that does not hold, but where it does not. It names cases nowhere: a disbursement's id is enough
//! for whoever has the bundle.

use std::io::BufRead;

use ledger::time::Date;
use programme::State;
use serde::Serialize;
use signing::digest::Digest;

use crate::exceptions::{Exceptions, Hours, Watch};
use crate::keys;
use crate::observe::{Observer, Replayed};
use crate::page::Page;
use crate::report::{CheckedCheckpoint, Verdict};
use crate::statements::{Ledgers, Period, Statements};
use crate::{CouldNotRun, Report, verify_observed};

/// A report on a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// What somebody should explain; only of a log that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exceptions: Option<Exceptions>,
    /// Which days it is about.
    pub period: Period,
    /// The statements; only of a log that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statements: Option<Statements>,
    /// What the verification found.
    pub verification: Report,
}

impl Examination {
    /// Whether the log holds and the statements tie to it. Exceptions do not count.
    pub fn holds(&self) -> bool {
        self.verification.agrees_with_kept() && self.statements.as_ref().is_some_and(Statements::tie)
    }
}

struct Both {
    ledgers: Ledgers,
    watch: Watch,
}

impl Observer for Both {
    fn record(&mut self, replayed: &Replayed<'_>) {
        self.ledgers.record(replayed);
        self.watch.record(replayed);
    }

    fn end(&mut self, state: &State) {
        self.ledgers.end(state);
    }
}

/// Verifies a bundle like [`crate::verify_against`], and reports on the days of a period where it holds.
pub fn examine(
    bundle: impl BufRead,
    ledger: Digest,
    kept: &[String],
    period: Period,
    hours: Hours,
) -> Result<Examination, CouldNotRun> {
    let mut both = Both { ledgers: Ledgers::new(period), watch: Watch::new(period, hours) };
    let verification = without_content(verify_observed(bundle, ledger, kept, &mut both)?);
    if !verification.accounts_for_kept() {
        return Ok(Examination { exceptions: None, period, statements: None, verification });
    }
    let (exceptions, statements) = (Some(both.watch.exceptions()), both.ledgers.statements());
    Ok(Examination { exceptions, period, statements, verification })
}

impl Examination {
    /// The report for people to read.
    pub fn page(&self) -> Page {
        let mut page = Page::new("Audit report");
        let Report { checked, kept, ledger, not_checked, verdict } = &self.verification;
        page.line(format!("Ledger {ledger}"));
        match verdict {
            Verdict::Verified => page.strong("VERIFIED: the log holds, from its founding to its end."),
            Verdict::Refuted(finding) => {
                page.strong(format!("REFUTED {finding}"));
                page.line("Nothing else is claimed of a log that does not hold.");
                return page;
            }
        }
        kept.iter().for_each(|kept| page.line(format!("A kept checkpoint: {kept}")));
        let (Some(exceptions), Some(statements)) = (&self.exceptions, &self.statements) else {
            page.strong(
                "It does NOT ACCOUNT for a checkpoint that somebody kept, so nothing else is claimed of it.",
            );
            return page;
        };
        if let Some(CheckedCheckpoint { origin, root, size }) = &checked.checkpoint {
            page.line(format!("Checkpoint {origin}, size {size}, root {root}"));
        }
        if let (Some(first), Some(last)) = (checked.first_group_at, checked.last_group_at) {
            page.line(format!("The log reaches from {first} to {last}."));
        }
        let day = |day: Option<Date>, none: &str| day.map_or(none.to_owned(), |day| day.to_string());
        page.line(format!(
            "Period: {} to {}, both included. Statements go by the day for which an entry counts, exceptions by the time at which the log took a record.",
            day(self.period.from, "the founding"),
            day(self.period.to, "the log's end")
        ));
        let ties = statements.ties().count();
        if statements.tie() {
            page.strong(format!(
                "The statements TIE: all {ties} comparisons between them, and with the books, hold."
            ));
        } else {
            let failing = statements.ties().filter(|tie| !tie.difference.is_zero()).count();
            page.strong(format!("The statements DO NOT TIE: {failing} of {ties} comparisons do not hold."));
        }
        page.strong(format!("Exceptions to explain: {}", exceptions.found.len()));
        page.line(format!("Not checked, since no bundle can prove it: {}.", not_checked.join("; ")));
        keys::write(&checked.activated, &checked.expiring, &mut page);
        checked.to_review.iter().for_each(|compromise| compromise.write(&mut page));
        exceptions.write(&mut page);
        statements.write(&mut page, self.period);
        page
    }
}

/// The report without what a line that is no record holds: that may name a case.
fn without_content(mut report: Report) -> Report {
    if let Verdict::Refuted(finding) = &mut report.verdict
        && ["envelope_", "payload_"].iter().any(|form| finding.code.starts_with(form))
    {
        "the line is not a valid record".clone_into(&mut finding.reason);
    }
    report
}
