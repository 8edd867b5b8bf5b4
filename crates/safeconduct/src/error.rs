//! Why a command could not do its work, and with which exit code it ends.

use std::any::Any;
use std::fmt;

/// Something was refused.
pub const REFUSED: u8 = 1;
/// The command was used wrongly, or could not reach what it needs.
pub const FAILED: u8 = 2;

/// What is printed before the command ends.
#[derive(Debug)]
pub struct Error {
    text: String,
    code: u8,
}

impl Error {
    /// An error in these words, which say what to do.
    pub fn new(text: impl Into<String>) -> Error {
        Error { text: text.into(), code: FAILED }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        let refused = matches!(
            (&error as &dyn Any).downcast_ref::<client::Error>(),
            Some(client::Error::Problem(_) | client::Error::Alarm(_))
        );
        Error { text: error.to_string(), code: if refused { REFUSED } else { FAILED } }
    }
}

/// What a command comes to.
pub type Result<T> = std::result::Result<T, Error>;
