//! Signed requests: HTTP message signatures (RFC 9421) by Ed25519 keys, with content digests (RFC 9530).
//!
//! A request's signature must cover `@method`, `@target-uri` and, where there is a body, `content-digest` with
//! SHA-256; it must carry the parameters `created`, `nonce` and `keyid` (a [`KeyId`] in hexadecimal). `alg`, if present,
//! must be `ed25519`; `expires` and `tag` are tolerated, other parameters refused. Order is free everywhere: the signature base is made of the
//! components and parameters as they arrived (RFC 9421 section 2.3), never of a fixed order of our own.
//!
//! Further covered components may be plain header fields and the derived components `@authority`, `@scheme`, `@path`
//! and `@query`. A component with parameters (`;sf`, `;req`, ...) or of another kind is refused, since a component that
//! cannot be computed again cannot be verified.
//!
//! A request may carry several signatures; the one considered is the first member of `Signature-Input` whose label
//! `Signature` has too. The others are ignored.
//!
//! What it does not do: it knows no clock and no store, so the caller judges how old `created` is, whether `expires`
//! has passed, and whether the nonce was seen before.

use sfv::{BareItem, DictSerializer, Dictionary, InnerList, Item, KeyRef, ListEntry, Parser, StringRef};

use crate::digest::Digest;
use crate::keys::{KeyId, PublicKey, Signature};
use crate::prepared::PreparedKey;
use crate::token::{SignError, Signer};

/// The label under which [`sign`] puts its signature.
const LABEL: &str = "sig1";

/// The most bytes of a nonce, which the caller has to remember.
pub const MAX_NONCE_BYTES: usize = 128;

/// What of a request its signature may cover.
pub struct Request<'a> {
    /// The method, in its exact case.
    pub method: &'a str,
    /// The absolute target URI (RFC 9110 section 7.1), as the client wrote it.
    pub target_uri: &'a str,
    /// Looks up a header field by its lower-case name; several lines of one name are joined with `", "`.
    pub headers: &'a dyn Fn(&str) -> Option<String>,
    /// The body, empty if there is none.
    pub body: &'a [u8],
}

/// The header fields that sign a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// The value of `Signature-Input`.
    pub signature_input: String,
    /// The value of `Signature`.
    pub signature: String,
    /// The value of `Content-Digest`, where there is a body.
    pub content_digest: Option<String>,
}

/// Why a request's signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpSignatureError {
    /// A header field is missing, or no label is in both.
    #[error("the request lacks {0}")]
    Missing(&'static str),
    /// A header field or parameter is not of the form that RFC 9421 and this system demand.
    #[error("the request's signature is malformed: {0}")]
    Malformed(String),
    /// The signature does not cover what it must, or covers what cannot be computed again.
    #[error("the request's signature has the wrong coverage: {0}")]
    Coverage(String),
    /// The body is not the one whose digest was signed.
    #[error("the request's Content-Digest is not the SHA-256 of its body")]
    Digest,
    /// The signature is not one by this key over this request.
    #[error("the request's signature does not hold for this key and request")]
    Invalid,
}

impl HttpSignatureError {
    /// The stable code of the refusal.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "http_signature_missing",
            Self::Malformed(_) => "http_signature_malformed",
            Self::Coverage(_) => "http_signature_coverage",
            Self::Digest => "http_signature_digest",
            Self::Invalid => "http_signature_invalid",
        }
    }
}

/// Why a request was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It cannot be.
    #[error(transparent)]
    Form(#[from] HttpSignatureError),
    /// The key did not.
    #[error(transparent)]
    Key(#[from] SignError),
}

/// A request whose signature covers enough and whose body has the signed digest, but which is **not yet verified**.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The key that is said to have signed.
    pub key_id: KeyId,
    /// When it is said to have been signed, in seconds since 1970.
    pub created: i64,
    /// When the signature is said to expire, if at all, in seconds since 1970.
    pub expires: Option<i64>,
    /// What the caller may accept once only.
    pub nonce: String,
    base: String,
    signature: Signature,
}

impl Unverified {
    /// Verifies strictly that `key` is the one that is named and that it signed the request.
    pub fn verify(&self, key: &PublicKey) -> Result<(), HttpSignatureError> {
        if key.id() != self.key_id {
            return Err(HttpSignatureError::Invalid);
        }
        key.verify(self.base.as_bytes(), &self.signature).map_err(|_| HttpSignatureError::Invalid)
    }

    /// The same with a key that is prepared.
    pub fn verify_by(&self, key: &PreparedKey) -> Result<(), HttpSignatureError> {
        if key.public().id() != self.key_id {
            return Err(HttpSignatureError::Invalid);
        }
        key.verify(self.base.as_bytes(), &self.signature).map_err(|_| HttpSignatureError::Invalid)
    }
}

/// The value of `Content-Digest` for a body (RFC 9530 section 2): its SHA-256.
pub fn content_digest(body: &[u8]) -> String {
    let mut serializer = DictSerializer::new();
    // The member's name is a constant of the right form.
    if let Ok(name) = KeyRef::from_str("sha-256") {
        serializer.bare_item(name, Digest::of(body).as_bytes().as_slice());
    }
    serializer.finish().unwrap_or_default()
}

/// Signs a request: `@method`, `@target-uri` and, unless the body is empty, its content digest.
///
/// Fails only where `target_uri`, `nonce` or `created` cannot be written into a header field, or the key does not sign.
pub fn sign(
    method: &str,
    target_uri: &str,
    body: &[u8],
    key: &dyn Signer,
    created: i64,
    nonce: &str,
) -> Result<SignedHeaders, Unsigned> {
    let content_digest = (!body.is_empty()).then(|| content_digest(body));
    let lookup = |name: &str| content_digest.clone().filter(|_| name == "content-digest");
    let request = Request { method, target_uri, headers: &lookup, body };

    let mut covered = InnerList::default();
    let digest = content_digest.as_ref().map(|_| "content-digest");
    for name in ["@method", "@target-uri"].into_iter().chain(digest) {
        covered.items.push(Item::new(string(name)?));
    }
    let created = sfv::Integer::try_from(created).map_err(|_| malformed("created is out of range"))?;
    check_nonce(nonce)?;
    let keyid = key.public().id().to_string();
    for (name, value) in [
        ("created", BareItem::Integer(created)),
        ("nonce", BareItem::String(string(nonce)?.to_owned())),
        ("keyid", BareItem::String(string(&keyid)?.to_owned())),
        ("alg", BareItem::String(string("ed25519")?.to_owned())),
    ] {
        covered.params.insert(label(name)?.to_owned(), value);
    }

    let signature = key.try_sign(signature_base(&covered, &request)?.as_bytes())?;
    let mut value = DictSerializer::new();
    value.bare_item(label(LABEL)?, signature.as_bytes().as_slice());
    let signature = value.finish().unwrap_or_default();
    let signature_input = format!("{LABEL}={}", member_value(&covered));
    Ok(SignedHeaders { signature_input, signature, content_digest })
}

/// Reads a request's signature and checks its coverage and the content digest, but not yet the signature itself, for
/// which the caller has to find the key.
pub fn parse(request: &Request<'_>) -> Result<Unverified, HttpSignatureError> {
    let (covered, signature) = first_signature(request)?;
    let parameters = Parameters::read(&covered)?;
    check_coverage(&covered, request)?;
    let base = signature_base(&covered, request)?;
    let Parameters { key_id, created, expires, nonce } = parameters;
    Ok(Unverified { key_id, created, expires, nonce, base, signature })
}

/// The first member of `Signature-Input` whose label `Signature` has too.
fn first_signature(request: &Request<'_>) -> Result<(InnerList, Signature), HttpSignatureError> {
    let inputs = dictionary(request, "signature-input", "Signature-Input")?;
    let signatures = dictionary(request, "signature", "Signature")?;
    let (label, input) = inputs
        .into_iter()
        .find(|(label, _)| signatures.contains_key(label))
        .ok_or(HttpSignatureError::Missing("a label that is in both Signature-Input and Signature"))?;
    let ListEntry::InnerList(covered) = input else {
        return Err(malformed("Signature-Input must have a list of covered components"));
    };
    let signature = match signatures.get(&label) {
        Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })) => {
            bytes.as_slice().try_into().map_err(|_| malformed("an Ed25519 signature has 64 bytes"))?
        }
        _ => return Err(malformed("Signature must be a byte sequence")),
    };
    Ok((covered, Signature(signature)))
}

fn dictionary(
    request: &Request<'_>,
    name: &str,
    shown: &'static str,
) -> Result<Dictionary, HttpSignatureError> {
    let value = (request.headers)(name).ok_or(HttpSignatureError::Missing(shown))?;
    Parser::new(&value).parse().map_err(|e| malformed(format!("{shown}: {e}")))
}

/// The signature's parameters (RFC 9421 section 2.3).
struct Parameters {
    key_id: KeyId,
    created: i64,
    expires: Option<i64>,
    nonce: String,
}

impl Parameters {
    fn read(covered: &InnerList) -> Result<Self, HttpSignatureError> {
        let mut key_id = None;
        let mut created = None;
        let mut expires = None;
        let mut nonce = None;
        for (name, value) in &covered.params {
            match (name.as_str(), value) {
                ("created", BareItem::Integer(seconds)) => created = Some(i64::from(*seconds)),
                ("expires", BareItem::Integer(seconds)) => expires = Some(i64::from(*seconds)),
                ("nonce", BareItem::String(text)) => {
                    check_nonce(text.as_str())?;
                    nonce = Some(text.as_str().to_owned());
                }
                ("keyid", BareItem::String(text)) => {
                    let id = text.as_str().parse().map_err(|e| malformed(format!("keyid: {e}")))?;
                    key_id = Some(id);
                }
                ("alg", BareItem::String(text)) if text.as_str() == "ed25519" => {}
                ("tag", BareItem::String(_)) => {}
                ("alg", _) => return Err(malformed("alg must be \"ed25519\"")),
                ("created" | "expires" | "nonce" | "keyid" | "tag", _) => {
                    return Err(malformed(format!("{name} has the wrong type")));
                }
                _ => return Err(malformed(format!("the parameter {name} is not known"))),
            }
        }
        Ok(Self {
            key_id: key_id.ok_or_else(|| malformed("keyid is missing"))?,
            created: created.ok_or_else(|| malformed("created is missing"))?,
            expires,
            nonce: nonce.ok_or_else(|| malformed("nonce is missing"))?,
        })
    }
}

fn check_nonce(nonce: &str) -> Result<(), HttpSignatureError> {
    if (1..=MAX_NONCE_BYTES).contains(&nonce.len()) {
        Ok(())
    } else {
        Err(malformed(format!("the nonce must have 1 to {MAX_NONCE_BYTES} characters")))
    }
}

/// Holds the covered components to what must be covered, and the covered content digest to the body.
fn check_coverage(covered: &InnerList, request: &Request<'_>) -> Result<(), HttpSignatureError> {
    let covers = |name: &str| covered.items.iter().any(|item| component_name(item) == Some(name));
    for name in ["@method", "@target-uri"] {
        if !covers(name) {
            return Err(coverage(format!("{name} must be covered")));
        }
    }
    if covers("content-digest") {
        let digests = dictionary(request, "content-digest", "Content-Digest")?;
        let signed = match digests.get("sha-256") {
            Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })) => bytes,
            _ => return Err(coverage("Content-Digest must have a sha-256 member")),
        };
        if signed.as_slice() != Digest::of(request.body).as_bytes() {
            return Err(HttpSignatureError::Digest);
        }
    } else if !request.body.is_empty() {
        return Err(coverage("content-digest must be covered, since the request has a body"));
    }
    Ok(())
}

fn component_name(item: &Item) -> Option<&str> {
    item.bare_item.as_string().map(StringRef::as_str)
}

/// The signature base (RFC 9421 section 2.5).
pub(crate) fn signature_base(
    covered: &InnerList,
    request: &Request<'_>,
) -> Result<String, HttpSignatureError> {
    let mut base = String::new();
    let mut seen = Vec::with_capacity(covered.items.len());
    for item in &covered.items {
        let name = component_name(item).ok_or_else(|| malformed("a component's name must be a string"))?;
        if !item.params.is_empty() {
            return Err(coverage(format!("{name} has parameters, which are not supported")));
        }
        if seen.contains(&name) {
            return Err(malformed(format!("{name} is covered twice")));
        }
        seen.push(name);
        let value = component_value(name, request)?;
        base.push_str(&format!("\"{name}\": {value}\n"));
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(&member_value(covered));
    Ok(base)
}

/// The value of a component without parameters (RFC 9421 sections 2.1 and 2.2).
fn component_value(name: &str, request: &Request<'_>) -> Result<String, HttpSignatureError> {
    let value = match name.strip_prefix('@') {
        Some("method") => request.method.to_owned(),
        Some("target-uri") => request.target_uri.to_owned(),
        Some(derived) => from_target_uri(derived, request.target_uri)
            .ok_or_else(|| coverage(format!("{name} cannot be computed for this request")))?,
        None if !is_lower_case_field_name(name) => {
            return Err(malformed("a covered header field must be named in lower case"));
        }
        None => (request.headers)(name)
            .ok_or_else(|| coverage(format!("{name} is covered, but the request does not have it")))?
            .trim_matches([' ', '\t'])
            .to_owned(),
    };
    // A line break in a value could forge further lines of the base.
    if value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
        Ok(value)
    } else {
        Err(malformed(format!("the value of {name} has characters that cannot be signed")))
    }
}

fn is_lower_case_field_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

/// The components that RFC 9421 sections 2.2.3 to 2.2.7 derive from the target URI.
fn from_target_uri(derived: &str, uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, query),
        None => (path_and_query, ""),
    };
    match derived {
        "scheme" => Some(scheme),
        "authority" => {
            let authority = authority.to_ascii_lowercase();
            let default_port = match scheme.as_str() {
                "https" => ":443",
                "http" => ":80",
                _ => return Some(authority),
            };
            Some(authority.strip_suffix(default_port).map_or(authority.clone(), str::to_owned))
        }
        "path" => Some(if path.is_empty() { "/".to_owned() } else { path.to_owned() }),
        "query" => Some(format!("?{query}")),
        _ => None,
    }
}

/// An inner list as RFC 9651 section 4.1.1.1 writes it, with items and parameters in the order that they have.
fn member_value(covered: &InnerList) -> String {
    let mut serializer = sfv::ListSerializer::new();
    let mut list = serializer.inner_list();
    list.items(&covered.items);
    list.finish().parameters(&covered.params);
    serializer.finish().unwrap_or_default()
}

fn string(text: &str) -> Result<&StringRef, HttpSignatureError> {
    StringRef::from_str(text).map_err(|e| malformed(e.to_string()))
}

fn label(text: &str) -> Result<&KeyRef, HttpSignatureError> {
    KeyRef::from_str(text).map_err(|e| malformed(e.to_string()))
}

fn malformed(why: impl Into<String>) -> HttpSignatureError {
    HttpSignatureError::Malformed(why.into())
}

fn coverage(what: impl Into<String>) -> HttpSignatureError {
    HttpSignatureError::Coverage(what.into())
}
