//! Keys in PKCS#11 tokens, which sign and cannot be read: `docs/operating/tokens.md` is their manual.
//!
//! | module | what for |
//! |---|---|
//! | `uri` | how a key is named (RFC 7512) |
//! | `module` | the token itself, through the module that its maker wrote; only with the feature `pkcs11` |
//! | `worker` | the thread that it is asked on, since a token may never answer |
//!
//! A process uses one key of one token: modules are initialised for a whole process.

#[cfg(feature = "pkcs11")]
mod module;
#[cfg(any(test, feature = "pkcs11"))]
mod uri;
#[cfg(any(test, feature = "pkcs11"))]
mod worker;

use signing::token::TokenKey;
use zeroize::Zeroizing;

use crate::error::Result;

/// Whether a token has to have the key already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// It has to.
    Never,
    /// It is made if the token has none of this name.
    IfMissing,
    /// It is made, and the token must have none of this name.
    Always,
}

/// The key that a URI names; the PIN is asked for when the module is loaded.
#[cfg(feature = "pkcs11")]
pub fn key(uri: &str, making: Making, pin: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<TokenKey> {
    module::key(uri.parse()?, making, pin)
}

/// There are none in this build.
#[cfg(not(feature = "pkcs11"))]
pub fn key(uri: &str, _: Making, _: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<TokenKey> {
    Err(crate::error::Error::new(format!(
        "this program was built without the feature pkcs11, and {uri} names a key in a token; build it with: cargo build \
         --release --package safeconduct --features pkcs11"
    )))
}
