//! Waiting for what happens in its own time.

use std::thread;
use std::time::{Duration, Instant};

/// The longest that anything is waited for.
pub const LIMIT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until something is so. `what` names it, where it does not come about.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come about");
        thread::sleep(PAUSE);
    }
}
