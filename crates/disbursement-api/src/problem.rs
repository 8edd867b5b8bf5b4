//! What a caller is told when something is not done: problems after RFC 9457, each with a stable code.
//!
//! The codes of the rules are [`programme::Code`]; [`CODES`] lists all others. `docs/errors.md` shows both, and a test
//! holds the page to them. What went wrong inside (the database's words, a path, a stack) goes to the log and never
//! into an answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use programme::{Code, Refusal};
use records::RecordError;
use serde::{Serialize, Serializer};
use signing::dsse::EnvelopeError;
use store::error::{Fault, StoreError};
use store::hashes::HashesError;

use crate::pipeline::Unavailable;

/// A code that is not one of the rules'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The stable text.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Whether the same request may succeed later.
    pub transient: bool,
    /// What happened and what to do.
    pub title: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $permanence:ident, $title:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Known =
                Known { code: $code, status: $status, transient: codes!(@ $permanence), title: $title };
        )*

        /// Every code that is not one of the rules', in the order of `docs/errors.md`.
        pub const CODES: &[Known] = &[$($name),*];
    };
    (@ transient) => { true };
    (@ permanent) => { false };
}

codes! {
    // An envelope, in the order of the checks.
    ENVELOPE_TOO_LARGE = "envelope_too_large", 422, permanent, "The envelope has more than 65,000 bytes; split what it says.";
    ENVELOPE_NOT_JSON = "envelope_not_json", 422, permanent, "The envelope is not a JSON object of strings with unique keys; send a DSSE envelope.";
    ENVELOPE_FIELD_UNKNOWN = "envelope_field_unknown", 422, permanent, "The envelope has a field that it must not have; remove it.";
    ENVELOPE_FIELD_MISSING = "envelope_field_missing", 422, permanent, "The envelope lacks a field; it has payload, payloadType and signatures with keyid and sig.";
    ENVELOPE_SIGNATURE_COUNT = "envelope_signature_count", 422, permanent, "The envelope must have exactly one signature.";
    ENVELOPE_KEYID = "envelope_keyid", 422, permanent, "The keyid must be the SHA-256 of the key's DER, in 64 lower-case hexadecimal digits.";
    ENVELOPE_BASE64 = "envelope_base64", 422, permanent, "payload and sig must be padded standard base64.";
    ENVELOPE_SIGNATURE_LENGTH = "envelope_signature_length", 422, permanent, "The signature must have 64 bytes.";
    ENVELOPE_PAYLOAD_TYPE = "envelope_payload_type", 422, permanent, "The payloadType must be 1 to 255 printable ASCII characters.";
    ENVELOPE_NOT_CANONICAL = "envelope_not_canonical", 422, permanent, "The envelope differs from its canonical encoding; encode it after RFC 8785.";
    // A record.
    PAYLOAD_TYPE_UNKNOWN = "payload_type_unknown", 422, permanent, "There is no such kind of record; see docs/spec/records.md.";
    PAYLOAD_INVALID = "payload_invalid", 422, permanent, "The payload is not one of its kind; see the detail, correct it and sign again.";
    PAYLOAD_NOT_CANONICAL = "payload_not_canonical", 422, permanent, "The payload differs from its canonical encoding; encode it after RFC 8785 and sign again.";
    PAYLOAD_KEY_MISMATCH = "payload_key_mismatch", 422, permanent, "The payload names another key than the one that signed; sign with the key that it names.";
    SIGNATURE_INVALID = "signature_invalid", 401, permanent, "The signature is not one by the named key over this payload; sign again.";
    // The signature of a request.
    HTTP_SIGNATURE_MISSING = "http_signature_missing", 401, permanent, "The request is not signed; sign it after RFC 9421 with an enrolled key.";
    HTTP_SIGNATURE_MALFORMED = "http_signature_malformed", 401, permanent, "The request's signature is not of the form that docs/api.md demands; see the detail.";
    HTTP_SIGNATURE_COVERAGE = "http_signature_coverage", 401, permanent, "The request's signature must cover @method, @target-uri and the content digest of a body, and nothing that cannot be computed again.";
    HTTP_SIGNATURE_DIGEST = "http_signature_digest", 401, permanent, "The Content-Digest is not the SHA-256 of the body; sign what you send.";
    HTTP_SIGNATURE_CREATED = "http_signature_created", 401, permanent, "The request was signed more than 60 s from the service's time, or before the service started; check your clock and sign again.";
    HTTP_SIGNATURE_EXPIRED = "http_signature_expired", 401, permanent, "The signature's own expiry has passed; sign again.";
    HTTP_SIGNATURE_INVALID = "http_signature_invalid", 401, permanent, "The signature is not one by this key over this request; check the target URI, which is the service's public URL with path and query.";
    HTTP_NONCE_USED = "http_nonce_used", 401, permanent, "This key has used the nonce before; draw a new one for each request and sign again.";
    TOO_MANY_REQUESTS = "too_many_requests", 429, transient, "This key has signed too many requests in a few minutes; wait.";
    TOO_MANY_OPEN = "too_many_open", 429, transient, "As many requests are open, or instructions waiting, as one principal may have; wait for the answers and send this again.";
    // A request.
    ROUTE_UNKNOWN = "route_unknown", 404, permanent, "There is no such resource; docs/api.md lists them.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, permanent, "The resource does not have this method; the header Allow names those that it has.";
    PATH_INVALID = "path_invalid", 400, permanent, "A part of the path is not an id or number of its kind; correct it.";
    QUERY_INVALID = "query_invalid", 400, permanent, "The query has a parameter that is unknown, missing, twice there or not of its kind; see the detail.";
    BODY_UNEXPECTED = "body_unexpected", 400, permanent, "This resource takes no body; send none.";
    BODY_TOO_LARGE = "body_too_large", 413, permanent, "The body has more bytes than this service takes; send the instructions in several requests.";
    BODY_TIMEOUT = "body_timeout", 408, transient, "The body did not arrive in time; send it again.";
    BODY_INCOMPLETE = "body_incomplete", 400, transient, "The body ended before it was complete; send it again.";
    BODY_NOT_JSON = "body_not_json", 400, permanent, "The body is not JSON in UTF-8; see the detail.";
    BODY_INVALID = "body_invalid", 400, permanent, "The body is not of the form that docs/api.md demands (fields unknown, missing or twice there, another mode); see the detail.";
    TOO_MANY_INSTRUCTIONS = "too_many_instructions", 400, permanent, "The request has more instructions than this service takes; send them in several requests.";
    ATTACHMENT_UNEXPECTED = "attachment_unexpected", 400, permanent, "No kind of instruction has attachments yet; leave the list empty.";
    // What is read.
    CASE_NOT_FOUND = "case_not_found", 404, permanent, "You have no case under this reference.";
    RECORD_NOT_FOUND = "record_not_found", 404, transient, "The log has no record at this position yet.";
    NO_CHECKPOINT = "no_checkpoint", 404, transient, "No checkpoint has been signed yet; ask again.";
    NOT_COSIGNED = "not_cosigned", 404, transient, "No checkpoint has as many cosignatures by witnesses as the policy demands yet, or it demands none; ask again.";
    NOT_PUBLIC = "not_public", 404, transient, "Nothing of the log is public here yet, as policy sets no schedule, or the public tree has no such tile of this width.";
    PROOF_OUT_OF_RANGE = "proof_out_of_range", 404, permanent, "There is no such proof: a position is below its size, sizes rise, and none exceeds the latest checkpoint's.";
    CHECKPOINT_LATE = "checkpoint_late", 503, transient, "No checkpoint covers the present log yet; ask again.";
    PART_OUT_OF_RANGE = "part_out_of_range", 404, permanent, "There is no such part: one begins at the end of a group of this log, so at the size of any checkpoint of it. If you kept that checkpoint, export the whole and have it audited.";
    TOO_MANY_BUNDLES = "too_many_bundles", 429, transient, "As many bundles as are allowed at once are being read, by you or by all; ask again later.";
    // The service itself.
    CLOCK_SUSPECT = "clock_suspect", 503, transient, "The service's clock does not agree with the ledger's time, so nothing is written; an operator has to set it right or confirm the time.";
    REGISTER_MISSING = "register_missing", 503, transient, "The publisher's register is missing beside existing checkpoints, or cannot be read or written, so nothing is written; an operator has to see to it.";
    LOG_FORKED = "log_forked", 503, permanent, "The committed log does not extend what was signed before, so nothing is written; keep your receipts and tell the auditors.";
    CHECKPOINT_KEY_UNAVAILABLE = "checkpoint_key_unavailable", 503, transient, "The token with the ledger's key for checkpoints does not sign, so nothing is written; send this again when an operator has seen to it.";
    STALE_SERVER = "stale_server", 503, transient, "The database is an older primary than one seen before, so nothing is written or read; send this again when an operator has put the right one in its place.";
    DATABASE_UNAVAILABLE = "database_unavailable", 503, transient, "The database cannot be reached; send this again.";
    QUEUE_FULL = "queue_full", 429, transient, "More waits than can be taken; send this again.";
    SHUTTING_DOWN = "shutting_down", 503, transient, "The service is stopping; send this again.";
    OUTCOME_UNKNOWN = "outcome_unknown", 503, transient, "The database was lost, another server took its place, or its wait for a standby was cut short, while this was written, so it may be in the log or not; send the same again to learn which.";
    REQUEST_TIMEOUT = "request_timeout", 503, transient, "The answer took too long; what was sent may have been written, so send the same again to learn it.";
    OVERLOADED = "overloaded", 503, transient, "The service has as many requests at once as it takes; send this again.";
    INTERNAL = "internal", 500, permanent, "The service failed in a way that it does not foresee; its log says more to its operator.";
}

/// The HTTP status of a rule's refusal.
pub fn status_of(code: Code) -> u16 {
    match code {
        // Who signed may not do this, now or ever.
        Code::KeyUnknown
        | Code::KeyNotSigners
        | Code::KeyNotYetValid
        | Code::KeyRevoked
        | Code::KeyExpired
        | Code::KeySpare
        | Code::RoleMissing => 403,
        // What the instruction or the path names is not there.
        Code::ProposalUnknown
        | Code::AssetUnknown
        | Code::FundUnknown
        | Code::BankUnknown
        | Code::OfferUnknown
        | Code::CaseUnknown
        | Code::AgencyUnknown
        | Code::DisbursementUnknown
        | Code::BenefitUnknown
        | Code::ReportUnknown => 404,
        // The state of the ledger does not allow it.
        _ => 409,
    }
}

/// A problem: what is answered instead of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: &'static str,
    detail: Option<String>,
    index: Option<usize>,
    status: u16,
    title: &'static str,
    transient: bool,
}

impl Problem {
    /// The problem of a code, with specifics.
    pub fn with(known: Known, detail: impl Into<String>) -> Problem {
        Problem { detail: Some(detail.into()), ..Problem::from(known) }
    }

    /// The same problem, of one of a list.
    pub fn at(self, index: usize) -> Problem {
        Problem { index: Some(index), ..self }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The problem of a code that another crate gives as text.
    pub fn named(code: &str, detail: Option<String>) -> Problem {
        match CODES.iter().find(|known| known.code == code) {
            Some(known) => Problem { detail, ..Problem::from(*known) },
            None => {
                tracing::error!(code, "a code that is not listed");
                INTERNAL.into()
            }
        }
    }
}

/// An answer's extension: the code of the problem that it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

impl From<Known> for Problem {
    fn from(known: Known) -> Problem {
        let Known { code, status, transient, title } = known;
        Problem { code, detail: None, index: None, status, title, transient }
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        Problem::from(Refusal::from(code))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let Refusal { code, detail } = refusal;
        Problem {
            code: code.as_str(),
            detail,
            index: None,
            status: status_of(code),
            title: code.advice(),
            transient: code.is_transient(),
        }
    }
}

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Problem {
        Problem::named(error.code(), Some(error.to_string()))
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Problem {
        Problem::named(error.code(), Some(error.to_string()))
    }
}

impl From<signing::http::HttpSignatureError> for Problem {
    fn from(error: signing::http::HttpSignatureError) -> Problem {
        Problem::named(error.code(), Some(error.to_string()))
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Problem {
        Problem::named(unavailable.code(), None)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let fault = error.fault();
        // No message: the database's can quote values.
        match error {
            StoreError::Corrupt { table, .. } => {
                tracing::error!(table, "the database holds what was never written")
            }
            _ => tracing::error!(?fault, "the database did not answer"),
        }
        match fault {
            Fault::Lost | Fault::Standby => DATABASE_UNAVAILABLE.into(),
            Fault::Refused { .. } | Fault::Other => INTERNAL.into(),
        }
    }
}

impl From<HashesError> for Problem {
    fn from(error: HashesError) -> Problem {
        match error {
            HashesError::Store(error) => error.into(),
            HashesError::Proof(error) => {
                tracing::error!(%error, "the stored hashes do not make a proof");
                INTERNAL.into()
            }
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            index: Option<String>,
            status: u16,
            title: &'a str,
            transient: bool,
            r#type: String,
        }
        Wire {
            code: self.code,
            detail: self.detail.as_deref(),
            index: self.index.map(|index| index.to_string()),
            status: self.status,
            title: self.title,
            transient: self.transient,
            r#type: format!("urn:safeconduct:problem:{}", self.code),
        }
        .serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(&self)).into_response();
        response.extensions_mut().insert(Refused(self.code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_another_crate_is_listed() {
        use Unavailable::*;
        let unavailable = [
            ClockSuspect,
            RegisterMissing,
            LogForked,
            CheckpointKey,
            StaleServer,
            Database,
            ShuttingDown,
            Unknown,
        ];
        for one in unavailable {
            assert_eq!((Problem::from(one).code(), Problem::from(one).status), (one.code(), 503));
        }
        for one in [QueueFull, TooManyOpen] {
            assert_eq!((Problem::from(one).code(), Problem::from(one).status), (one.code(), 429));
        }
        assert_eq!(Problem::from(Internal).code(), "internal");
        let envelope = [
            EnvelopeError::TooLarge { bytes: 0 },
            EnvelopeError::NotJson(String::new()),
            EnvelopeError::FieldUnknown(String::new()),
            EnvelopeError::FieldMissing(""),
            EnvelopeError::SignatureCount,
            EnvelopeError::KeyId,
            EnvelopeError::Base64(""),
            EnvelopeError::SignatureLength,
            EnvelopeError::PayloadType,
            EnvelopeError::NotCanonical { offset: 0 },
        ];
        for error in envelope {
            assert_eq!(
                (Problem::from(error.clone()).code(), Problem::from(error.clone()).status),
                (error.code(), 422)
            );
        }
        for error in [RecordError::PayloadTypeUnknown(String::new()), RecordError::KeyMismatch] {
            assert_eq!(Problem::from(error.clone()).code(), error.code());
        }
    }

    #[test]
    fn a_problem_on_the_wire() {
        let problem = Problem::from(Refusal::with(Code::InsufficientFunds, "USD 1.00 is free")).at(3);
        let expected = concat!(
            r#"{"code":"insufficient_funds","detail":"USD 1.00 is free","index":"3","status":409,"#,
            r#""title":"More is asked than is free; ask for less, or send this again when more is free.","#,
            r#""transient":true,"type":"urn:safeconduct:problem:insufficient_funds"}"#
        );
        assert_eq!(serde_json::to_string(&problem).unwrap(), expected);
        let headers = |known: Known| {
            let response = Problem::from(known).into_response();
            let value = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (
                value(header::CONTENT_TYPE).unwrap(),
                value(header::RETRY_AFTER),
                value(header::WWW_AUTHENTICATE),
            )
        };
        let json = || "application/problem+json".to_owned();
        for known in CODES {
            let waits = matches!(known.status, 429 | 503).then(|| "1".to_owned());
            let signs = (known.status == 401).then(|| "Signature".to_owned());
            assert_eq!(headers(*known), (json(), waits, signs), "{}", known.code);
        }
    }
}
