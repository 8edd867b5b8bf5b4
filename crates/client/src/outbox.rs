//! The outbox: every envelope is written here before it is sent, and stays until its receipt is kept.
//!
//! Sending the same bytes again is always safe: the service answers like the first time. Signing the same wish again is
//! not, since a fact reported twice counts twice; hence the outbox.

use ledger::time::Timestamp;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;
use signing::dsse::Envelope;

use crate::error::{Error, Problem};
use crate::home::{self, Home, OUTBOX};

/// What was sent and has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The envelope.
    pub envelope: Envelope,
    /// The refusal, where there was one; otherwise the answer is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Problem>,
    /// When it was first sent.
    pub sent_at: Timestamp,
}

fn name(digest: Digest) -> String {
    format!("{OUTBOX}/{digest}.json")
}

/// Puts envelopes in, except those that are there already.
pub fn put(home: &Home, envelopes: &[&Envelope], now: Timestamp) -> Result<(), Error> {
    let mut files = Vec::with_capacity(envelopes.len());
    for &envelope in envelopes {
        let name = name(envelope.digest());
        if !home.path(&name).exists() {
            let sent = Sent { envelope: envelope.clone(), refused: None, sent_at: now };
            files.push((name, home::json(&sent)?));
        }
    }
    home.write_many(files)
}

/// Notes that it was refused.
pub fn refuse(home: &Home, digest: Digest, problem: &Problem) -> Result<(), Error> {
    let name = name(digest);
    match home.read_json::<Sent>(&name)? {
        Some(sent) => home.write_json(&name, &Sent { refused: Some(problem.clone()), ..sent }),
        None => Ok(()),
    }
}

/// Takes it out: its receipt is kept, or it was never sent.
pub fn take(home: &Home, digest: Digest) -> Result<(), Error> {
    home.remove(&name(digest))
}

/// All that is in it, by digest.
pub fn list(home: &Home) -> Result<Vec<Sent>, Error> {
    let mut all = Vec::new();
    for file in home.list(OUTBOX)? {
        all.extend(home.read_json::<Sent>(&format!("{OUTBOX}/{file}"))?);
    }
    all.sort_by_key(|sent| sent.sent_at);
    Ok(all)
}
