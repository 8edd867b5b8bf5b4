//! How far a long verification has come, on a terminal: one line beside the result that is written over, and wiped off
//! at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// The line.
pub struct Progress {
    started: Instant,
    /// How many were done when it began.
    from: Option<u64>,
    shown: Option<Instant>,
}

impl Progress {
    /// One where standard error is a terminal.
    pub fn on_terminal() -> Option<Progress> {
        io::stderr().is_terminal().then(|| Progress { started: Instant::now(), from: None, shown: None })
    }

    /// So many records are done, of so many.
    pub fn show(&mut self, done: u64, total: u64) {
        let from = *self.from.get_or_insert(done);
        if self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = words(done, total, done.saturating_sub(from), self.started.elapsed());
        // The rest of an earlier, longer line is wiped off. A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr().lock(), "\r{line}\x1b[K");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// `done` of `total` records, of which `new` took `elapsed`.
fn words(done: u64, total: u64, new: u64, elapsed: Duration) -> String {
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
    let mut line = format!("{done} of {total} records verified, {percent} %");
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let per_s = new.saturating_mul(1000).checked_div(elapsed_ms).unwrap_or(0);
    if let Some(left_s) = total.saturating_sub(done).checked_div(per_s) {
        line += &format!(", {per_s} a second, {}:{:02} left", left_s / 60, left_s % 60);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_line_says() {
        let of = |done, total, new, ms| words(done, total, new, Duration::from_millis(ms));
        assert_eq!(of(0, 0, 0, 0), "0 of 0 records verified, 100 %");
        assert_eq!(of(1024, 4096, 0, 0), "1024 of 4096 records verified, 25 %");
        assert_eq!(
            of(500_000, 2_000_000, 500_000, 10_000),
            "500000 of 2000000 records verified, 25 %, 50000 a second, 0:30 left"
        );
        // What was verified before is no measure of the speed.
        assert_eq!(
            of(1_010_000, 1_700_000, 10_000, 1_000),
            "1010000 of 1700000 records verified, 59 %, 10000 a second, 1:09 left"
        );
    }
}
