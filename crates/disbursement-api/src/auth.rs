//! Who is asking: reads are signed by an enrolled, valid key after RFC 9421, and a route is open to some roles only.
//!
//! Writes are not authenticated here: the signature of each envelope is, in the pipeline.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::entity::{Entity, KeyState, PrincipalState, Stored as _};
use programme::{Code, Key, Refusal};
use records::governance::Role;
use signing::digest::Digest;
use signing::http::{self, Unverified};
use signing::keys::KeyId;

use crate::app::App;
use crate::places::Taken;
use crate::problem::{
    BODY_UNEXPECTED, HTTP_NONCE_USED, HTTP_SIGNATURE_CREATED, HTTP_SIGNATURE_EXPIRED,
    HTTP_SIGNATURE_MALFORMED, Problem, TOO_MANY_REQUESTS,
};

/// By how much a request's `created` may differ from the service's time.
const WINDOW_S: u64 = 60;
/// How long a nonce is kept at least.
const KEPT_S: u64 = 2 * WINDOW_S;
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Who a request is from, and may send it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) principal: PrincipalId,
}

/// Who signed a request, whether allowed to or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Signer {
    pub(crate) key: KeyId,
    /// Whose the key was enrolled as, for ever.
    pub(crate) principal: PrincipalId,
}

impl Signer {
    /// Under which it is enrolled.
    pub(crate) fn keys(&self) -> [Key; 2] {
        [Key::PublicKey(self.key), Key::Principal(self.principal.clone())]
    }
}

/// What is enrolled of a signer.
pub(crate) struct Enrolled {
    key: Option<KeyState>,
    principal: Option<PrincipalState>,
}

impl Enrolled {
    /// What was found of it.
    pub(crate) fn of(signer: &Signer, found: &HashMap<Key, Entity>) -> Enrolled {
        let [key, principal] = signer.keys();
        Enrolled {
            key: found.get(&key).and_then(KeyState::of).cloned(),
            principal: found.get(&principal).and_then(PrincipalState::of).cloned(),
        }
    }
}

/// The layer of every route that is not open: it lets a request through to the handler, with its [`Identity`], only if
/// it is signed by a valid key of a principal who holds one of the roles, or by a spare that waits where those may.
///
/// Agencies' reads come with their [`Signer`] instead, and without an [`Identity`]: their handlers hand it to
/// [`Reads::read`](crate::reads::Reads::read), where it is looked up again, together with those that read at the same time.
pub(crate) async fn authorise(
    State((app, roles, spares)): State<(App, &'static [Role], bool)>,
    mut request: Request,
    next: Next,
) -> Response {
    // What cheap checks refuse costs no query.
    let signed = match parse(&app, &request) {
        Ok(signed) => signed,
        Err(problem) => return problem.into_response(),
    };
    let (signer, _open) = match identify(&app, signed).await {
        Ok(identified) => identified,
        Err(problem) => return problem.into_response(),
    };
    let is_read = *roles == [Role::Agency];
    let checked = match is_read && app.reads().allowed(&signer) {
        true => Ok(()),
        false => app.enrolled(&signer).await.and_then(|enrolled| may(&enrolled, app.now(), roles, spares)),
    };
    let identity = Identity { principal: signer.principal.clone() };
    let mut response = match checked {
        Ok(()) if is_read => {
            request.extensions_mut().insert(signer);
            next.run(request).await
        }
        Ok(()) => {
            request.extensions_mut().insert(identity.clone());
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    // For the line in the log.
    response.extensions_mut().insert(identity);
    response
}

/// Who signed, and the request as one that is open on its account.
async fn identify(app: &App, signed: Unverified) -> Result<(Signer, Taken<PrincipalId>), Problem> {
    let known = app.pipeline().known_key(&signed.key_id).await?.ok_or(Code::KeyUnknown)?;
    known.verify_request(&signed)?;
    // Only who holds the key may use up its nonces and its principal's share; whose is used up costs no query.
    let open = app.pipeline().open(&known.principal)?;
    app.nonces().admit(signed.key_id, &signed.nonce, app.now())?;
    Ok((Signer { key: signed.key_id, principal: known.principal.clone() }, open))
}

/// Whether a signer may ask, at a time, for what is open to these roles.
pub(crate) fn may(enrolled: &Enrolled, now: Timestamp, roles: &[Role], spares: bool) -> Result<(), Problem> {
    match enrolled.key.as_ref().ok_or(Code::KeyUnknown)?.check(now) {
        Err(refusal) if refusal.code == Code::KeySpare && spares => {}
        checked => checked?,
    }
    require(enrolled.principal.as_ref().map(|state| state.at(now).as_slice()).unwrap_or_default(), roles)
}

fn parse(app: &App, request: &Request) -> Result<Unverified, Problem> {
    // Every route that asks who is asking is a read.
    if !request.body().is_end_stream() {
        return Err(BODY_UNEXPECTED.into());
    }
    let path_and_query = request.uri().path_and_query().map_or("/", |part| part.as_str());
    let target_uri = format!("{}{path_and_query}", app.public_url());
    let headers = |name: &str| field(request.headers(), name);
    let signed = http::parse(&http::Request {
        method: request.method().as_str(),
        target_uri: &target_uri,
        headers: &headers,
        body: &[],
    })?;
    if !NONCE_BYTES.contains(&signed.nonce.len()) {
        let detail = "the nonce must have 16 to 64 characters";
        return Err(Problem::with(HTTP_SIGNATURE_MALFORMED, detail));
    }
    check_times(&signed, app.now(), app.started_at())?;
    Ok(signed)
}

/// All lines of a header field, joined (RFC 9110 section 5.3).
fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Option<Vec<&str>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
}

/// A process knows no nonce from before its start, so it takes no signature from before it either.
fn check_times(signed: &Unverified, now: Timestamp, started_at: Timestamp) -> Result<(), Problem> {
    let far = signed.created.abs_diff(now.unix()) > WINDOW_S;
    if far || signed.created < started_at.unix() {
        return Err(Problem::with(HTTP_SIGNATURE_CREATED, format!("the service's time is {now}")));
    }
    if signed.expires.is_some_and(|expires| expires < now.unix()) {
        return Err(HTTP_SIGNATURE_EXPIRED.into());
    }
    Ok(())
}

fn require(held: &[Role], roles: &[Role]) -> Result<(), Problem> {
    if roles.iter().any(|role| held.contains(role)) {
        return Ok(());
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Refusal::with(Code::RoleMissing, format!("it takes the role {}", names.join(" or "))).into())
}

/// The nonces that were seen, so that a signed request is answered once.
///
/// They are kept in memory, by each process for itself, and at least for as long as a signature that used one could
/// still be taken: twice the window. That is enough because only reads are signed so. A write is idempotent by its
/// instruction's digest; a read that is sent again changes nothing, and gives its answer to nobody who could not have
/// kept the first one. See `docs/decisions/0003-nonces.md`.
pub(crate) struct Nonces {
    seen: Mutex<Seen>,
    per_key_max: usize,
    total_max: usize,
}

/// Two generations: when the younger has gone on for as long as a nonce is kept, the older is forgotten as a whole.
#[derive(Default)]
struct Seen {
    young: Generation,
    old: Generation,
    /// When the younger one began.
    since: Option<Timestamp>,
}

#[derive(Default)]
struct Generation {
    nonces: HashSet<NonceId>,
    by_key: HashMap<KeyId, usize>,
}

/// The beginning of the SHA-256 of a key's id and a nonce: nobody finds two of one id in the time that it is kept.
type NonceId = [u8; 16];

fn nonce_id(key: KeyId, nonce: &str) -> NonceId {
    let digest = Digest::of(format!("{key} {nonce}"));
    std::array::from_fn(|index| digest.as_bytes()[index])
}

impl Nonces {
    pub(crate) fn new(total_max: usize, per_key_max: usize) -> Nonces {
        Nonces { seen: Mutex::default(), per_key_max, total_max }
    }

    fn admit(&self, key: KeyId, nonce: &str, now: Timestamp) -> Result<(), Problem> {
        let id = nonce_id(key, nonce);
        // No code that could panic runs under the lock.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now);
        let Seen { young, old, .. } = &mut *seen;
        if young.nonces.contains(&id) || old.nonces.contains(&id) {
            return Err(HTTP_NONCE_USED.into());
        }
        let of_key = |generation: &Generation| generation.by_key.get(&key).copied().unwrap_or(0);
        let is_full = of_key(young) + of_key(old) >= self.per_key_max
            || young.nonces.len() + old.nonces.len() >= self.total_max;
        if is_full {
            return Err(TOO_MANY_REQUESTS.into());
        }
        young.nonces.insert(id);
        *young.by_key.entry(key).or_default() += 1;
        Ok(())
    }
}

impl Seen {
    fn forget(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        // None where the clock was set back, and then nothing is forgotten.
        let age_s = now.since(since).unwrap_or(0);
        if age_s > KEPT_S {
            let young = std::mem::take(&mut self.young);
            self.old = if age_s > 2 * KEPT_S { Generation::default() } else { young };
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId(Digest::of(name))
    }

    fn code(outcome: Result<(), Problem>) -> &'static str {
        outcome.err().map_or("ok", |problem| problem.code())
    }

    #[test]
    fn a_nonce_is_taken_once_by_each_key() {
        let nonces = Nonces::new(10, 10);
        let at = |s| Timestamp::from_unix(s).unwrap();
        assert_eq!(code(nonces.admit(key("a"), "n", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "n", at(0))), "http_nonce_used");
        assert_eq!(code(nonces.admit(key("b"), "n", at(0))), "ok");
        // A signature of `created` 60 is still taken at 120.
        assert_eq!(code(nonces.admit(key("a"), "n", at(120))), "http_nonce_used");
        assert_eq!(code(nonces.admit(key("b"), "m", at(121))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "n", at(241))), "http_nonce_used");
        assert_eq!(code(nonces.admit(key("a"), "n", at(242))), "ok");
        // A clock that is set back makes nothing forgotten.
        assert_eq!(code(nonces.admit(key("a"), "n", at(0))), "http_nonce_used");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let nonces = Nonces::new(3, 2);
        let at = |s| Timestamp::from_unix(s).unwrap();
        assert_eq!(code(nonces.admit(key("a"), "1", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "2", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "3", at(0))), "too_many_requests");
        assert_eq!(code(nonces.admit(key("b"), "1", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("c"), "1", at(0))), "too_many_requests");
        // Those of before are kept for one more generation, and count as long.
        assert_eq!(code(nonces.admit(key("c"), "1", at(200))), "too_many_requests");
        assert_eq!(code(nonces.admit(key("c"), "1", at(321))), "ok");
        let seen = nonces.seen.lock().unwrap();
        assert_eq!((seen.young.nonces.len(), seen.young.by_key.len()), (1, 1));
        assert_eq!((seen.old.nonces.len(), seen.old.by_key.len()), (0, 0));
    }

    #[test]
    fn lines_of_one_field_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("signature", "a=:AA==:".parse().unwrap());
        headers.append("signature", "b=:AA==:".parse().unwrap());
        assert_eq!(field(&headers, "signature").as_deref(), Some("a=:AA==:, b=:AA==:"));
        assert_eq!(field(&headers, "signature-input"), None);
    }
}
