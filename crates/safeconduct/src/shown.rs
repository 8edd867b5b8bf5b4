//! Records that the service shows to somebody who signs about them: believed only if their digest is the one signed.

use client::Client;
use client::describe::describe;
use records::{Body, Payload, Record};
use signing::digest::Digest;
use signing::dsse::Envelope;

use crate::error::{Error, Result};
use crate::send::Planned;

/// The body of a record that the service shows as the one with this digest.
pub fn body_of(client: &Client, digest: Digest, envelope: &Envelope) -> Result<Body> {
    let lies = |why: &str| {
        Error::new(format!(
            "the service shows something else than {digest}: {why}; sign nothing, and tell the auditors"
        ))
    };
    if envelope.digest() != digest {
        return Err(lies("its content has another digest"));
    }
    let record = Record::parse(envelope.clone()).map_err(|error| lies(&error.to_string()))?;
    match record.payload() {
        Payload::Instruction(header, body) if header.ledger == client.ledger().ledger => Ok((**body).clone()),
        _ => Err(lies("it is no instruction of this ledger")),
    }
}

/// Adds what a signature stands behind: the shown record in words, or a warning that it is not shown.
pub fn with_content(
    client: &Client,
    planned: Body,
    digest: Digest,
    envelope: Option<&Envelope>,
) -> Result<Planned> {
    let planned = Planned::from(planned);
    let Some(envelope) = envelope else {
        return Ok(planned
            .and("caution", "the service does not show the content; compare this digest with its signer"));
    };
    let words = describe(&body_of(client, digest, envelope)?);
    let planned = planned.and("that is", words.headline);
    Ok(words.details.into_iter().fold(planned, |planned, (label, value)| planned.and(&label, value)))
}
