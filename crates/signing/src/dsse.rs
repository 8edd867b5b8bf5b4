//! DSSE envelopes (Dead Simple Signing Envelope, v1) with exactly one signature.
//!
//! What is signed is the pre-authentication encoding ([`pae`]) of a payload and its type; the digest of that encoding
//! names the record, so neither the signature nor the envelope's spelling can change a record's name.
//!
//! DSSE lets a verifier be lenient (several signatures, URL-safe base64, a key id that is only a hint). Here nothing
//! is: fields `payload`, `payloadType` and `signatures` with `keyid` and `sig`, all present, nothing else; padded
//! standard base64 (RFC 4648 section 4) with zero trailing bits; a key id of 64 lower-case hexadecimal digits.
//! [`Envelope::parse`] demands the canonical encoding too; [`Envelope::from_json`] allows white space and another
//! order of fields, for an envelope inside a request. Checks run in the order of
//! [`EnvelopeError`]'s variants, the envelope's own fields before those of its signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical;
use crate::digest::Digest;
use crate::keys::{BadSignature, KeyId, PublicKey, SecretKey, Signature};
use crate::prepared::{self, Claim, PreparedKey};
use crate::token::{SignError, Signer};

/// The most bytes of an envelope: its canonical encoding must fit the 16-bit length of an entry in a C2SP tile.
pub const MAX_ENVELOPE_BYTES: usize = 65_000;

/// The most bytes of a payload type.
pub const MAX_PAYLOAD_TYPE_BYTES: usize = 255;

/// A signed payload.
///
/// As JSON: `{"payload":"<base64>","payloadType":"...","signatures":[{"keyid":"<hex>","sig":"<base64>"}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is: `application/vnd.safeconduct.<kind>.v1+json`.
    pub payload_type: String,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The id of the key that signed.
    pub key_id: KeyId,
    /// The signature over [`Envelope::pae`].
    pub signature: Signature,
}

/// Why an envelope is refused, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More than [`MAX_ENVELOPE_BYTES`].
    #[error("the envelope has {bytes} bytes, {MAX_ENVELOPE_BYTES} are allowed")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// Not a JSON object with unique keys (RFC 7493), or with a number or null in it.
    #[error("the envelope is not a JSON object of strings: {0}")]
    NotJson(String),
    /// A field that a DSSE envelope does not have.
    #[error("the envelope has a field that it must not have: {0}")]
    FieldUnknown(String),
    /// A field that a DSSE envelope must have.
    #[error("the envelope lacks the field {0}")]
    FieldMissing(&'static str),
    /// Not exactly one signature.
    #[error("the envelope must have exactly one signature")]
    SignatureCount,
    /// The key id is not 64 lower-case hexadecimal digits.
    #[error("the envelope's keyid must be the SHA-256 of the key's DER, 64 lower-case hexadecimal digits")]
    KeyId,
    /// A field is not padded standard base64.
    #[error("the envelope's {0} must be padded standard base64 (RFC 4648 section 4)")]
    Base64(&'static str),
    /// The signature does not have 64 bytes.
    #[error("the envelope's signature must have 64 bytes")]
    SignatureLength,
    /// The payload type is empty, too long, or has characters that no media type or URI has.
    #[error("the envelope's payloadType must be 1 to {MAX_PAYLOAD_TYPE_BYTES} printable ASCII characters")]
    PayloadType,
    /// Not the canonical encoding.
    #[error("the envelope differs from its canonical encoding (RFC 8785) at byte {offset}")]
    NotCanonical {
        /// The first byte that differs.
        offset: usize,
    },
}

impl EnvelopeError {
    /// The stable code of the refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "envelope_too_large",
            Self::NotJson(_) => "envelope_not_json",
            Self::FieldUnknown(_) => "envelope_field_unknown",
            Self::FieldMissing(_) => "envelope_field_missing",
            Self::SignatureCount => "envelope_signature_count",
            Self::KeyId => "envelope_keyid",
            Self::Base64(_) => "envelope_base64",
            Self::SignatureLength => "envelope_signature_length",
            Self::PayloadType => "envelope_payload_type",
            Self::NotCanonical { .. } => "envelope_not_canonical",
        }
    }
}

/// Why an envelope's signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The key is not the one that the envelope names.
    #[error("the key is not the one that the envelope names")]
    KeyMismatch,
    /// The signature is not one by this key over the envelope's content.
    #[error(transparent)]
    BadSignature(#[from] BadSignature),
}

/// DSSE v1's pre-authentication encoding: `DSSEv1 <length> <type> <length> <payload>`, lengths in bytes and decimal.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [pae_head(payload_type, payload).as_bytes(), payload].concat()
}

/// The encoding up to the payload.
fn pae_head(payload_type: &str, payload: &[u8]) -> String {
    format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len())
}

impl Envelope {
    /// Signs `payload` with `key`. The result is refused by [`parse`](Self::parse) if it is too large.
    pub fn sign(key: &SecretKey, payload_type: &str, payload: Vec<u8>) -> Self {
        let signature = key.sign(&pae(payload_type, &payload));
        Self { payload_type: payload_type.to_owned(), payload, key_id: key.public().id(), signature }
    }

    /// The same with a key that may fail.
    pub fn try_sign(key: &dyn Signer, payload_type: &str, payload: Vec<u8>) -> Result<Self, SignError> {
        let signature = key.try_sign(&pae(payload_type, &payload))?;
        Ok(Self { payload_type: payload_type.to_owned(), payload, key_id: key.public().id(), signature })
    }

    /// The envelope whose canonical encoding is exactly `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        // Whoever is refused is told why by the parser that takes every spelling.
        if let Some(envelope) = Self::from_canonical(bytes) {
            return Ok(envelope);
        }
        let envelope = Self::from_slice(bytes)?;
        let canonical = envelope.encode();
        if canonical == bytes {
            return Ok(envelope);
        }
        let offset = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        Err(EnvelopeError::NotCanonical { offset })
    }

    /// The envelope in a JSON text in which white space, the order of fields and the escapes in strings are free.
    pub fn from_json(text: &str) -> Result<Self, EnvelopeError> {
        Self::from_slice(text.as_bytes())
    }

    /// The same without a parser: only one text is canonical, so the values can be cut out of it.
    fn from_canonical(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_ENVELOPE_BYTES)?;
        let (payload, rest) = text.strip_prefix(r#"{"payload":""#)?.split_once('"')?;
        let (payload_type, rest) = rest.strip_prefix(r#","payloadType":""#)?.split_once('"')?;
        let (key_id, rest) = rest.strip_prefix(r#","signatures":[{"keyid":""#)?.split_once('"')?;
        let (sig, rest) = rest.strip_prefix(r#","sig":""#)?.split_once('"')?;
        if rest != "}]}" || !is_payload_type(payload_type) {
            return None;
        }
        let envelope = Self {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.decode(payload).ok()?,
            key_id: key_id.parse().ok()?,
            signature: Signature(STANDARD.decode(sig).ok()?.try_into().ok()?),
        };
        (envelope.encode() == bytes).then_some(envelope)
    }

    fn from_slice(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        // The canonical encoding is never longer than another one of the same envelope, so this bounds it too.
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
        }
        canonical::check_plain(bytes).map_err(|e| EnvelopeError::NotJson(e.to_string()))?;
        let json = serde_json::from_slice(bytes).map_err(|e| EnvelopeError::NotJson(e.to_string()))?;
        Self::from_raw(json)
    }

    fn from_raw(json: Json) -> Result<Self, EnvelopeError> {
        let [payload, payload_type, signatures] = fields(json, ["payload", "payloadType", "signatures"])?;
        let signature = match signatures {
            Json::Array(mut items) if items.len() == 1 => items.pop().ok_or(EnvelopeError::SignatureCount)?,
            _ => return Err(EnvelopeError::SignatureCount),
        };
        let [key_id, sig] = fields(signature, ["keyid", "sig"])?;
        let key_id = key_id.text().and_then(|text| text.parse().ok()).ok_or(EnvelopeError::KeyId)?;
        let payload = base64(&payload, "payload")?;
        let signature = base64(&sig, "sig")?.try_into().map_err(|_| EnvelopeError::SignatureLength)?;
        let payload_type = payload_type
            .text()
            .filter(|text| is_payload_type(text))
            .ok_or(EnvelopeError::PayloadType)?
            .to_owned();
        Ok(Self { payload_type, payload, key_id, signature: Signature(signature) })
    }

    /// The canonical encoding (RFC 8785).
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.payload.len() / 3 * 4 + 512);
        text.push_str(r#"{"payload":""#);
        STANDARD.encode_string(&self.payload, &mut text);
        text.push_str(r#"","payloadType":"#);
        let mut bytes = text.into_bytes();
        // The one value in which there could be something to escape.
        bytes.extend_from_slice(&canonical::encode(&self.payload_type));
        bytes.extend_from_slice(br#","signatures":[{"keyid":""#);
        bytes.extend_from_slice(&self.key_id.digest().hex());
        bytes.extend_from_slice(br#"","sig":""#);
        bytes.extend_from_slice(STANDARD.encode(self.signature.0).as_bytes());
        bytes.extend_from_slice(br#""}]}"#);
        bytes
    }

    /// What the signature is over.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The record's digest: SHA-256 of the pre-authentication encoding.
    pub fn digest(&self) -> Digest {
        Digest::of_parts([pae_head(&self.payload_type, &self.payload).as_bytes(), &self.payload])
    }

    /// Verifies strictly that `key` is the one that the envelope names and that it signed the content.
    pub fn verify(&self, key: &PublicKey) -> Result<(), VerifyError> {
        if key.id() != self.key_id {
            return Err(VerifyError::KeyMismatch);
        }
        Ok(key.verify(&self.pae(), &self.signature)?)
    }

    /// Verifies each like [`verify`](Self::verify), with the key beside it; together they take less time.
    pub fn verify_all(envelopes: &[(&Envelope, &PreparedKey)]) -> Vec<Result<(), VerifyError>> {
        let head = |(envelope, _): &(&Envelope, _)| pae_head(&envelope.payload_type, &envelope.payload);
        let heads: Vec<String> = envelopes.iter().map(head).collect();
        let mut claims = Vec::with_capacity(envelopes.len());
        for ((envelope, key), head) in envelopes.iter().zip(&heads) {
            let message = [head.as_bytes(), &envelope.payload];
            claims.push(Claim { key, message, signature: &envelope.signature });
        }
        let verdicts =
            envelopes.iter().zip(prepared::verify_all(&claims)).map(|((envelope, key), verdict)| {
                if key.public().id() == envelope.key_id {
                    Ok(verdict?)
                } else {
                    Err(VerifyError::KeyMismatch)
                }
            });
        verdicts.collect()
    }
}

/// Printable ASCII without a space and without what JSON escapes: every media type and URI is.
fn is_payload_type(text: &str) -> bool {
    (1..=MAX_PAYLOAD_TYPE_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

fn base64(json: &Json, field: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    let text = json.text().ok_or(EnvelopeError::Base64(field))?;
    STANDARD.decode(text).map_err(|_| EnvelopeError::Base64(field))
}

/// The values of exactly these fields of an object.
fn fields<const N: usize>(json: Json, names: [&'static str; N]) -> Result<[Json; N], EnvelopeError> {
    let Json::Object(members) = json else {
        return Err(EnvelopeError::NotJson("expected an object".to_owned()));
    };
    let mut found: [Option<Json>; N] = [const { None }; N];
    for (key, value) in members {
        let place = names.iter().position(|name| *name == key).and_then(|i| found.get_mut(i));
        match place {
            None => return Err(EnvelopeError::FieldUnknown(key)),
            Some(Some(_)) => return Err(EnvelopeError::NotJson(format!("the field {key} occurs twice"))),
            Some(place) => *place = Some(value),
        }
    }
    for (name, value) in names.iter().zip(&found) {
        if value.is_none() {
            return Err(EnvelopeError::FieldMissing(name));
        }
    }
    Ok(found.map(|value| value.unwrap_or(Json::Bool)))
}

/// Plain JSON as it was written: members in their order, duplicates kept, which `serde_json::Value` would drop.
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Text(String),
    Bool,
}

impl Json {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without numbers and null")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct SignatureJson {
            keyid: KeyId,
            sig: String,
        }
        let signature = SignatureJson { keyid: self.key_id, sig: STANDARD.encode(self.signature.0) };
        let mut envelope = serializer.serialize_struct("Envelope", 3)?;
        envelope.serialize_field("payload", &STANDARD.encode(&self.payload))?;
        envelope.serialize_field("payloadType", &self.payload_type)?;
        envelope.serialize_field("signatures", &[signature])?;
        envelope.end()
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_raw(Json::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
