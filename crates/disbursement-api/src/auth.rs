//! Who is asking: reads are signed by an enrolled, valid key after RFC 9421, and a route is open to some roles only.
//!
//! Writes are not authenticated here: the signature of each envelope is, in the pipeline.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use programme::{Code, Refusal};
use records::governance::Role;
use signing::http::{self, Unverified};
use signing::keys::KeyId;

use crate::app::App;
use crate::problem::{
    BODY_UNEXPECTED, HTTP_NONCE_USED, HTTP_SIGNATURE_CREATED, HTTP_SIGNATURE_EXPIRED,
    HTTP_SIGNATURE_MALFORMED, Problem, TOO_MANY_REQUESTS,
};

/// By how much a request's `created` may differ from the service's time.
const WINDOW_S: u64 = 60;
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Who signed a request.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) principal: PrincipalId,
}

/// The layer of every route that is not open: it lets a request through to the handler, with its [`Identity`], only if
/// it is signed by a key of a principal who holds one of the roles.
pub(crate) async fn authorise(
    State((app, roles)): State<(App, &'static [Role])>,
    mut request: Request,
    next: Next,
) -> Response {
    // What cheap checks refuse costs no query.
    let signed = match parse(&app, &request) {
        Ok(signed) => signed,
        Err(problem) => return problem.into_response(),
    };
    let identity = match identify(&app, signed).await {
        Ok(identity) => identity,
        Err(problem) => return problem.into_response(),
    };
    let mut response = match require(&app, &identity, roles).await {
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

async fn identify(app: &App, signed: Unverified) -> Result<Identity, Problem> {
    let now = app.now();
    let key = app.pipeline().key(&signed.key_id).await?.ok_or(Code::KeyUnknown)?;
    signed.verify(&key.public)?;
    // Only who holds the key may use up its nonces.
    app.nonces().admit(signed.key_id, &signed.nonce, now)?;
    if key.vetoed || key.until.is_some_and(|(_, until)| until <= now) {
        return Err(Code::KeyRevoked.into());
    }
    if key.from > now {
        return Err(Code::KeyNotYetValid.into());
    }
    Ok(Identity { principal: key.principal })
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

async fn require(app: &App, identity: &Identity, roles: &[Role]) -> Result<(), Problem> {
    let held = app.pipeline().principal_roles(&identity.principal).await?;
    if roles.iter().any(|role| held.contains(role)) {
        return Ok(());
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Refusal::with(Code::RoleMissing, format!("it takes the role {}", names.join(" or "))).into())
}

/// The nonces that were seen, so that a signed request is answered once.
///
/// They are kept in memory, by each process for itself, and for as long as a signature that used one could still be
/// taken: twice the window. That is enough because only reads are signed so. A write is idempotent by its instruction's
/// digest; a read that is sent again changes nothing, and gives its answer to nobody who could not have kept the first
/// one. See `docs/decisions/0003-nonces.md`.
pub(crate) struct Nonces {
    seen: Mutex<Seen>,
    per_key_max: usize,
    total_max: usize,
}

#[derive(Default)]
struct Seen {
    /// Of each key. An entry here is in `order` too.
    nonces: HashMap<KeyId, HashSet<Box<str>>>,
    /// In order of arrival, with the time from which each may be forgotten.
    order: VecDeque<(Timestamp, KeyId, Box<str>)>,
}

impl Nonces {
    /// Bounds for a service: some 500 requests a second of one key, and 100 MB of nonces at most.
    pub(crate) fn new() -> Nonces {
        Nonces::with_bounds(60_000, 500_000)
    }

    fn with_bounds(per_key_max: usize, total_max: usize) -> Nonces {
        Nonces { seen: Mutex::default(), per_key_max, total_max }
    }

    fn admit(&self, key: KeyId, nonce: &str, now: Timestamp) -> Result<(), Problem> {
        // No code that could panic runs under the lock.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now);
        let total = seen.order.len();
        let of_key = seen.nonces.get(&key);
        if of_key.is_some_and(|nonces| nonces.contains(nonce)) {
            return Err(HTTP_NONCE_USED.into());
        }
        if of_key.is_some_and(|nonces| nonces.len() >= self.per_key_max) || total >= self.total_max {
            return Err(TOO_MANY_REQUESTS.into());
        }
        // Out of range only at the end of time, when nothing has to be kept.
        let forget_after = now.plus(2 * WINDOW_S).unwrap_or(now);
        seen.nonces.entry(key).or_default().insert(nonce.into());
        seen.order.push_back((forget_after, key, nonce.into()));
        Ok(())
    }
}

impl Seen {
    fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(after, ..)| *after < now) {
            let Some((_, key, nonce)) = self.order.pop_front() else { return };
            if let Some(of_key) = self.nonces.get_mut(&key) {
                of_key.remove(&nonce);
                if of_key.is_empty() {
                    self.nonces.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signing::digest::Digest;

    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId(Digest::of(name))
    }

    fn code(outcome: Result<(), Problem>) -> &'static str {
        outcome.err().map_or("ok", |problem| problem.code())
    }

    #[test]
    fn a_nonce_is_taken_once_by_each_key() {
        let nonces = Nonces::new();
        let at = |s| Timestamp::from_unix(s).unwrap();
        assert_eq!(code(nonces.admit(key("a"), "n", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "n", at(0))), "http_nonce_used");
        assert_eq!(code(nonces.admit(key("b"), "n", at(0))), "ok");
        // A signature of `created` 60 is still taken at 120.
        assert_eq!(code(nonces.admit(key("a"), "n", at(120))), "http_nonce_used");
        assert_eq!(code(nonces.admit(key("a"), "n", at(121))), "ok");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let nonces = Nonces::with_bounds(2, 3);
        let at = |s| Timestamp::from_unix(s).unwrap();
        assert_eq!(code(nonces.admit(key("a"), "1", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "2", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("a"), "3", at(0))), "too_many_requests");
        assert_eq!(code(nonces.admit(key("b"), "1", at(0))), "ok");
        assert_eq!(code(nonces.admit(key("c"), "1", at(0))), "too_many_requests");
        assert_eq!(code(nonces.admit(key("c"), "1", at(200))), "ok");
        let seen = nonces.seen.lock().unwrap();
        assert_eq!((seen.order.len(), seen.nonces.len()), (1, 1));
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
