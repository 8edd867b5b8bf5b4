//! What can go wrong, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use programme::Code;
use serde::{Deserialize, Serialize};

use crate::keeping::Alarm;

/// A problem as the service answers it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: String,
    /// The specifics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which of a list is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// What the code means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether the same bytes may be accepted later.
    #[serde(default)]
    pub transient: bool,
}

impl Problem {
    /// A problem of this code alone.
    pub fn of(code: &str) -> Problem {
        Problem { code: code.to_owned(), detail: None, index: None, title: None, transient: false }
    }

    /// What happened and what to do: the rules' own advice for the code, else what the service said.
    pub fn advice(&self) -> &str {
        let known = Code::ALL.iter().find(|code| code.as_str() == self.code);
        known
            .map(|code| code.advice())
            .or(self.title.as_deref())
            .unwrap_or("the service gave no further words")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.advice())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// Why the client could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the home directory could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file is not what it should be.
    #[error(
        "{path} is damaged ({reason}); restore it from your backup, or move it away and run the command again"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no home here.
    #[error("{0} is no home directory of safeconduct; make one with: safeconduct key new --principal NAME")]
    NoHome(PathBuf),
    /// The home belongs to somebody already.
    #[error("{0} holds a key already; a key is never overwritten, so choose another directory with --home")]
    HomeTaken(PathBuf),
    /// The home knows no ledger yet.
    #[error("this home has joined no ledger yet; run: safeconduct join --url URL --ledger ID")]
    NotJoined,
    /// The home is of another ledger.
    #[error("this home belongs to ledger {0}; use another home (--home DIR) for another ledger")]
    OtherLedger(String),
    /// The service could not be reached; nothing was sent.
    #[error(
        "the service at {url} cannot be reached ({reason}); nothing was sent: check the address and the network"
    )]
    Unreachable {
        /// The service's address.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The connection broke after something was sent.
    #[error(
        "the connection to {url} broke ({reason}); whether the instructions arrived is unknown. They are in the outbox: \
         run `safeconduct outbox resend`, which sends the same again safely and fetches the answer"
    )]
    Unknown {
        /// The service's address.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The connection broke during a read.
    #[error("the connection to {url} broke ({reason}); run the command again")]
    Broken {
        /// The service's address.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The address is not one that may be used.
    #[error("{0}")]
    Address(String),
    /// The service answered with a problem.
    #[error("the service refused: {0}")]
    Problem(Box<Problem>),
    /// The service's answer is not what docs/api.md says.
    #[error(
        "the service's answer is not understood: {0}; is the address right, and the service of this version?"
    )]
    Answer(String),
    /// The service is caught lying, or somebody is who sits between.
    #[error("{0}")]
    Alarm(Box<Alarm>),
    /// The founding record is not that of the ledger.
    #[error(
        "the service's founding record is not that of the ledger {ledger}: {reason}. Check the ledger id with a custodian; do not use this service until it is explained"
    )]
    Founding {
        /// The ledger that was asked for.
        ledger: String,
        /// What differs.
        reason: String,
    },
    /// A reopening of the log does not hold, or does not account for what was verified here.
    #[error("the log's reopening is not accepted: {0}")]
    Reopening(String),
    /// The witnesses who are demanded, or their cosignatures, are not what they should be.
    #[error("{0}")]
    Witnesses(String),
    /// What was to be signed cannot be built.
    #[error("{0}")]
    Build(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl From<Alarm> for Error {
    fn from(alarm: Alarm) -> Error {
        Error::Alarm(Box::new(alarm))
    }
}
