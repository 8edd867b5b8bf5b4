//! Why a verification ends early, and where.

use std::io::{self, BufRead};

use programme::replay::{Reason, Refuted};
use translog::checkpoint::CheckpointError;

use crate::chunk::Wrong;
use crate::lines::{Lines, Next};
use crate::report::Finding;

/// Why a verification ends early.
pub(crate) enum Stop {
    Wrong(Finding),
    /// It is a part, and there is nothing that it continues.
    Alone {
        from: u64,
    },
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// Where something is wrong.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    pub position: Option<u64>,
    pub line: Option<u64>,
}

impl Place {
    pub const HEADER: Place = Place { position: None, line: Some(1) };

    pub fn line(line: u64) -> Place {
        Place { position: None, line: Some(line) }
    }

    pub fn wrong(self, code: &str, reason: impl Into<String>) -> Stop {
        let Place { position, line } = self;
        Stop::Wrong(Finding { code: code.to_owned(), line, position, reason: reason.into() })
    }

    pub fn of(self, wrong: Wrong) -> Stop {
        self.wrong(wrong.code, wrong.reason)
    }
}

/// A line that must be there.
pub(crate) fn expect_line<R: BufRead>(
    lines: &mut Lines<R>,
    bytes_max: u64,
    position: Option<u64>,
    missing: (&str, &str),
) -> Result<Vec<u8>, Stop> {
    let next = lines.next(bytes_max)?;
    let place = Place { position, line: Some(lines.number()) };
    match next {
        Next::Line(bytes) => Ok(bytes),
        Next::Unterminated => Err(place.wrong("line_unterminated", "the file ends within a line")),
        Next::TooLong => {
            Err(place.wrong("line_too_long", format!("the line is longer than {bytes_max} bytes")))
        }
        Next::End => Err(Place { position, line: None }.wrong(missing.0, missing.1)),
    }
}

pub(crate) fn stop_of(refuted: Refuted, line: Option<u64>) -> Stop {
    let Refuted { position, reason } = refuted;
    let code = match &reason {
        Reason::Refused(refusal) => refusal.code.as_str(),
        reason => reason.code(),
    };
    Place { position: Some(position), line }.wrong(code, reason.to_string())
}

pub(crate) fn code_of_checkpoint(error: CheckpointError) -> &'static str {
    match error {
        CheckpointError::TooLarge | CheckpointError::Note(_) | CheckpointError::Body(_) => {
            "checkpoint_malformed"
        }
        CheckpointError::Origin => "checkpoint_origin",
        CheckpointError::Unsigned => "checkpoint_unsigned",
        CheckpointError::BadSignature => "checkpoint_signature",
    }
}
