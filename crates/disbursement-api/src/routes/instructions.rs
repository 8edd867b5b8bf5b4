//! The one door for writes: signed instructions, and whether they would be accepted.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use futures_util::StreamExt;
use records::journal::JournalEntry;
use records::scalar::Integer;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use signing::digest::Digest;
use signing::dsse::{Envelope, EnvelopeError};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::params::{Nothing, Params};
use crate::app::App;
use crate::openapi::types::{self, Hash, Number, Specified};
use crate::pipeline::{Checked, Mode, Outcome, Submitted};
use crate::problem::{
    ATTACHMENT_UNEXPECTED, BODY_INCOMPLETE, BODY_INVALID, BODY_NOT_JSON, BODY_TIMEOUT, BODY_TOO_LARGE,
    INTERNAL, Problem, SIGNATURE_INVALID, TOO_MANY_INSTRUCTIONS,
};

/// A client reads no answer while it still sends: up to so many times the largest body, what is not taken is thrown away.
const DRAINED: usize = 4;

#[derive(Serialize)]
pub(super) struct Answer<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    results: Vec<T>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Submission {
    Logged {
        #[schema(value_type = Hash)]
        digest: Digest,
        #[schema(value_type = Number)]
        position: Integer,
        #[schema(pattern = "^(accepted|receipt_pending)$")]
        status: &'static str,
    },
    Refused {
        #[schema(value_type = types::Problem)]
        problem: Problem,
        #[schema(pattern = "^refused$")]
        status: &'static str,
    },
}

pub(super) async fn submit(
    State(app): State<App>,
    _: Params<Nothing>,
    request: Request,
) -> Result<Json<Answer<Submission>>, Problem> {
    let Arrived { mode, envelopes, held } = arrive(&app, request).await?;
    let all = mode == Mode::All;
    let pipeline = app.pipeline().clone();
    // What was queued is written although its client goes away, and takes up its place for as long.
    let submitted = async move {
        let _held = held;
        pipeline.submit(envelopes, mode).await
    };
    let submitted = tokio::spawn(submitted.in_current_span()).await;
    let Submitted { outcomes, checkpoint } = submitted.map_err(|error| {
        tracing::error!(%error, "a submission failed");
        INTERNAL
    })??;
    let covered = checkpoint.as_deref().and_then(size_of).unwrap_or(0);
    let mut results = Vec::with_capacity(outcomes.len());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match logged_or_problem(outcome) {
            Ok((digest, position)) => {
                let status = if position < covered { "accepted" } else { "receipt_pending" };
                results.push(Submission::Logged { digest, position: Integer(position), status });
            }
            // Of a list that stands or falls together, the first that is refused is the answer.
            Err(Some(problem)) if all => return Err(problem.at(index)),
            Err(None) if all => {}
            Err(problem) => {
                let problem = problem.unwrap_or(INTERNAL.into()).at(index);
                app.pipeline().metrics().refused(problem.code());
                results.push(Submission::Refused { problem, status: "refused" });
            }
        }
    }
    Ok(Json(Answer { checkpoint, results }))
}

/// Where it stands in the log, or why it does not; none where it was not tried.
fn logged_or_problem(outcome: Outcome) -> Result<(Digest, u64), Option<Problem>> {
    match outcome {
        Outcome::Accepted { digest, position } => Ok((digest, position)),
        Outcome::Malformed(error) => Err(Some(error.into())),
        Outcome::Refused { refusal, .. } => Err(Some(refusal.into())),
        Outcome::BadSignature { .. } => Err(Some(SIGNATURE_INVALID.into())),
        Outcome::NotTried => Err(None),
    }
}

/// The second line of a checkpoint, which is our own.
fn size_of(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Verdict {
    WouldAccept {
        #[schema(value_type = Hash)]
        digest: Digest,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Specified>)]
        entry: Option<Box<JournalEntry>>,
        #[schema(pattern = "^would_accept$")]
        status: &'static str,
    },
    Refused {
        #[schema(value_type = types::Problem)]
        problem: Problem,
        #[schema(pattern = "^refused$")]
        status: &'static str,
    },
}

pub(super) async fn check(
    State(app): State<App>,
    _: Params<Nothing>,
    request: Request,
) -> Result<Json<Answer<Verdict>>, Problem> {
    let Arrived { envelopes, held: _held, .. } = arrive(&app, request).await?;
    let checked = app.pipeline().check(envelopes).await?;
    let refused =
        |problem: Problem, index: usize| Verdict::Refused { problem: problem.at(index), status: "refused" };
    let verdict = |(index, checked): (usize, Checked)| match checked {
        Checked::WouldAccept { digest, entry } => {
            Verdict::WouldAccept { digest, entry, status: "would_accept" }
        }
        Checked::Refused { refusal, .. } => refused(refusal.into(), index),
        Checked::Malformed(error) => refused(error.into(), index),
        Checked::BadSignature { .. } => refused(SIGNATURE_INVALID.into(), index),
    };
    let results = checked.into_iter().enumerate().map(verdict).collect();
    Ok(Json(Answer { checkpoint: None, results }))
}

/// What a request asks for, and what it takes up until it is answered.
struct Arrived {
    mode: Mode,
    envelopes: Envelopes,
    held: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
}

/// The request's envelopes, when its whole body has arrived in time, there was room for it, and it is worked on.
async fn arrive(app: &App, request: Request) -> Result<Arrived, Problem> {
    let collected = tokio::time::timeout(app.limits().body_timeout, collect(app, request));
    let (bytes, room) = collected.await.unwrap_or_else(|_| Err(BODY_TIMEOUT.into()))?;
    let place = app.admit()?;
    let (mode, envelopes) = parse(&bytes, app.limits().request_instructions)?;
    Ok(Arrived { mode, envelopes, held: (room, place) })
}

async fn collect(app: &App, request: Request) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    let most = app.limits().body_bytes;
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // Chunks say no length beforehand.
    let length: Option<usize> = length.and_then(|text| text.parse().ok());
    let too_large = || Problem::with(BODY_TOO_LARGE, format!("{most} bytes at most"));
    let mut refused = length.filter(|length| *length > most).map(|_| too_large());
    if length.is_some_and(|length| length > most.saturating_mul(DRAINED)) {
        return Err(too_large());
    }
    let (mut bytes, mut room, mut arrived) = (Vec::new(), None, 0_usize);
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| BODY_INCOMPLETE)?;
        arrived = arrived.saturating_add(chunk.len());
        if arrived > most.saturating_mul(DRAINED) {
            break;
        }
        if arrived > most {
            refused.get_or_insert_with(too_large);
        } else if arrived > app.limits().body_small_bytes && room.is_none() && refused.is_none() {
            match app.make_room(length.unwrap_or(most)) {
                Ok(permit) => room = Some(permit),
                Err(problem) => refused = Some(problem),
            }
        }
        if refused.is_none() {
            bytes.extend_from_slice(&chunk);
        } else {
            (bytes, room) = (Vec::new(), None);
        }
    }
    refused.map_or(Ok((bytes, room)), Err)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with instructions and mode is expected")]
struct BodyJson<'a> {
    #[serde(borrow)]
    instructions: Vec<&'a RawValue>,
    // As an enum, `serde_json` would call a number here a mistake of syntax.
    mode: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with attachments and envelope is expected")]
struct ItemJson<'a> {
    attachments: Vec<IgnoredAny>,
    #[serde(borrow)]
    envelope: &'a RawValue,
}

type Envelopes = Vec<Result<Envelope, EnvelopeError>>;

/// Reads the body strictly: exactly the fields that there are, each once. What is wrong inside an envelope is that
/// envelope's matter.
fn parse(body: &[u8], most: usize) -> Result<(Mode, Envelopes), Problem> {
    let not_json = |error: &dyn std::fmt::Display| Problem::with(BODY_NOT_JSON, error.to_string());
    let text = std::str::from_utf8(body).map_err(|error| not_json(&error))?;
    let body: BodyJson<'_> = object(text)?;
    if body.instructions.is_empty() {
        return Err(Problem::with(BODY_INVALID, "instructions must not be empty"));
    }
    if body.instructions.len() > most {
        return Err(Problem::with(TOO_MANY_INSTRUCTIONS, format!("{most} at most")));
    }
    let mode = match body.mode.as_str() {
        "all" => Mode::All,
        "each" => Mode::Each,
        _ => return Err(Problem::with(BODY_INVALID, "mode is all or each")),
    };
    let envelope = |(index, item): (usize, &RawValue)| {
        let item: ItemJson<'_> = object(item.get()).map_err(|problem| problem.at(index))?;
        if !item.attachments.is_empty() {
            return Err(Problem::from(ATTACHMENT_UNEXPECTED).at(index));
        }
        Ok(Envelope::from_json(item.envelope.get()))
    };
    let envelopes = body.instructions.into_iter().enumerate().map(envelope).collect::<Result<_, _>>()?;
    Ok((mode, envelopes))
}

/// A JSON object as its type; `serde` alone would also take an array of the fields' values.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    let parsed = serde_json::from_str(text);
    if !text.trim_ascii_start().starts_with('{') && parsed.is_ok() {
        return Err(Problem::with(BODY_INVALID, "an object is expected"));
    }
    parsed.map_err(|error| {
        let known = if error.is_data() { BODY_INVALID } else { BODY_NOT_JSON };
        Problem::with(known, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = r#"{"payload":"","payloadType":"t","signatures":[{"keyid":"0000000000000000000000000000000000000000000000000000000000000000","sig":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}]}"#;

    fn outcome(body: &str) -> String {
        let body = body.replace('E', ENVELOPE);
        match parse(body.as_bytes(), 1000) {
            Err(problem) => problem.code().to_owned(),
            Ok((_, envelopes)) => {
                let codes = envelopes
                    .iter()
                    .map(|envelope| envelope.as_ref().map_or_else(EnvelopeError::code, |_| "ok"));
                codes.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn the_body_is_read_strictly() {
        for (body, expected) in [
            (r#"{"instructions":[{"attachments":[],"envelope":E}],"mode":"each"}"#, "ok"),
            (
                r#" { "mode" : "all" , "instructions" : [ { "envelope" : E , "attachments" : [ ] } , {"attachments":[],"envelope":E} ] } "#,
                "ok ok",
            ),
            // Another's envelope may be wrong without harm.
            (
                r#"{"instructions":[{"attachments":[],"envelope":7},{"attachments":[],"envelope":E}],"mode":"each"}"#,
                "envelope_not_json ok",
            ),
            (
                r#"{"instructions":[{"attachments":[],"envelope":{"payload":"","payload":""}}],"mode":"each"}"#,
                "envelope_not_json",
            ),
            ("", "body_not_json"),
            ("{", "body_not_json"),
            ("hello", "body_not_json"),
            (r#"{"instructions":[{"attachments":[],"envelope":E}],"mode":"each"} x"#, "body_not_json"),
            ("[]", "body_invalid"),
            ("7", "body_invalid"),
            ("{}", "body_invalid"),
            (r#"{"instructions":[],"mode":"each"}"#, "body_invalid"),
            (r#"{"instructions":[{"attachments":[],"envelope":E}]}"#, "body_invalid"),
            (r#"{"instructions":[{"attachments":[],"envelope":E}],"mode":"some"}"#, "body_invalid"),
            (
                r#"{"instructions":[{"attachments":[],"envelope":E}],"mode":"each","mode":"each"}"#,
                "body_invalid",
            ),
            (r#"{"instructions":[{"attachments":[],"envelope":E}],"mode":"each","more":1}"#, "body_invalid"),
            (r#"[[{"attachments":[],"envelope":E}],"each"]"#, "body_invalid"),
            (r#"{"instructions":[[[],E]],"mode":"each"}"#, "body_invalid"),
            (r#"{"instructions":[{"envelope":E}],"mode":"each"}"#, "body_invalid"),
            (r#"{"instructions":[{"attachments":[]}],"mode":"each"}"#, "body_invalid"),
            (
                r#"{"instructions":[{"attachments":[],"attachments":[],"envelope":E}],"mode":"each"}"#,
                "body_invalid",
            ),
            (
                r#"{"instructions":[{"attachments":[],"envelope":E,"envelope":E}],"mode":"each"}"#,
                "body_invalid",
            ),
            (r#"{"instructions":[{"attachments":[],"envelope":E,"x":0}],"mode":"each"}"#, "body_invalid"),
            (
                r#"{"instructions":[{"attachments":["aa"],"envelope":E}],"mode":"each"}"#,
                "attachment_unexpected",
            ),
        ] {
            assert_eq!(outcome(body), expected, "{body}");
        }
        let many = |n: usize| {
            let item = r#"{"attachments":[],"envelope":E}"#;
            outcome(&format!(r#"{{"instructions":[{}],"mode":"each"}}"#, vec![item; n].join(",")))
        };
        assert!(many(1000).starts_with("ok"));
        assert_eq!(many(1001), "too_many_instructions");
        assert_eq!(parse(b"\xff", 1000).unwrap_err().code(), "body_not_json");
    }

    #[test]
    fn a_checkpoint_says_its_size() {
        assert_eq!(size_of("example/log\n12\nAAAA\n\n"), Some(12));
        assert_eq!(size_of("example"), None);
    }
}
