//! Instructions as they are sent: in batches that fit one request each.

use records::scalar::Integer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signing::digest::Digest;
use signing::dsse::Envelope;

use crate::client::Mode;
use crate::connection::Connection;
use crate::error::{Error, Problem};

/// How many instructions are sent at once.
const BATCH: usize = 200;
/// How many bytes of envelopes are sent at once.
const BATCH_BYTES: usize = 6 * 1024 * 1024;

#[derive(Serialize)]
struct Item<'a> {
    attachments: [(); 0],
    envelope: &'a Envelope,
}

#[derive(Serialize)]
struct Batch<'a> {
    instructions: Vec<Item<'a>>,
    mode: Mode,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub checkpoint: Option<String>,
    pub results: Vec<Answered>,
}

#[derive(Deserialize)]
pub(crate) struct Answered {
    #[serde(default)]
    pub digest: Option<Digest>,
    #[serde(default)]
    pub entry: Option<Value>,
    #[serde(default)]
    pub position: Option<Integer>,
    #[serde(default)]
    pub problem: Option<Problem>,
    pub status: String,
}

/// Posts one batch, and takes an answer that has a result for each.
pub(crate) fn post(
    connection: &Connection,
    path: &str,
    envelopes: &[&Envelope],
    mode: Mode,
) -> Result<Answer, Error> {
    let instructions = envelopes.iter().map(|envelope| Item { attachments: [], envelope }).collect();
    let body =
        serde_json::to_vec(&Batch { instructions, mode }).map_err(|error| Error::Build(error.to_string()))?;
    let answer: Answer = connection.post(path, &body)?;
    if answer.results.len() == envelopes.len() {
        Ok(answer)
    } else {
        Err(Error::Answer("it has another number of results than instructions were sent".to_owned()))
    }
}

/// Parts that fit one request each. All or none fits one, or cannot be had.
pub(crate) fn batches<'a, 'e>(
    envelopes: &'a [&'e Envelope],
    mode: Mode,
) -> Result<Vec<&'a [&'e Envelope]>, Error> {
    let mut parts = Vec::new();
    let mut rest = envelopes;
    let most = if mode == Mode::All { 1000 } else { BATCH };
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(most).take_while(|envelope| {
            bytes += envelope.encode().len() + 40;
            bytes <= BATCH_BYTES
        });
        let (part, after) = rest.split_at(fits.count().max(1));
        parts.push(part);
        rest = after;
    }
    if mode == Mode::All && parts.len() > 1 {
        return Err(Error::Build(
            "these are too many for --mode all (1000 instructions or 6 MiB): send fewer, or use --mode each"
                .to_owned(),
        ));
    }
    Ok(parts)
}
