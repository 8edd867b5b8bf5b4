//! A screener's person tags: the tag never leaves this machine, only a salted commitment to it enters the log.
//!
//! The tag itself is not kept either. What is kept (salt and commitment of each case) suffices to notice that a person
//! was screened here before, for somebody who holds the tag.

use hmac::{Hmac, KeyInit, Mac};
use ledger::id::CaseRef;
use records::scalar::Salt;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;

use crate::error::Error;
use crate::home::{Home, SCREENING};

/// The commitment for one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screened {
    /// The case.
    pub case: CaseRef,
    /// The commitment.
    pub person: Digest,
    /// Its salt.
    pub salt: Salt,
}

/// HMAC-SHA-256 (RFC 2104) of a tag, with the salt as key.
pub fn commit(salt: &Salt, tag: &str) -> Digest {
    let key = hex::decode(salt.to_string()).unwrap_or_default();
    // HMAC takes a key of any length, so this cannot fail; an all-zero digest would match nothing.
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&key) else {
        return Digest::from_bytes([0; 32]);
    };
    mac.update(tag.as_bytes());
    Digest::from_bytes(mac.finalize().into_bytes().into())
}

/// The other case in which a person with this tag was screened on this machine, if any.
pub fn seen_before(home: &Home, case: &CaseRef, tag: &str) -> Result<Option<CaseRef>, Error> {
    let kept = list(home)?;
    let other = kept.into_iter().find(|kept| kept.case != *case && commit(&kept.salt, tag) == kept.person);
    Ok(other.map(|kept| kept.case))
}

/// Keeps a commitment.
pub fn keep(home: &Home, screened: &Screened) -> Result<(), Error> {
    home.write_json(&format!("{SCREENING}/{}.json", screened.case), screened)
}

/// All that are kept.
pub fn list(home: &Home) -> Result<Vec<Screened>, Error> {
    let mut all = Vec::new();
    for file in home.list(SCREENING)? {
        all.extend(home.read_json::<Screened>(&format!("{SCREENING}/{file}"))?);
    }
    Ok(all)
}
