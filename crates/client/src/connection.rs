//! HTTP: signed reads (RFC 9421), writes, paging and problems.
//!
//! Redirects are not followed, since a signature covers the target. What a service under load or in fail-over asks to
//! try later is tried a few times. Plain `http` goes to the own machine only.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use signing::http::{SignedHeaders, sign};
use signing::token::Signer;

use crate::draw;
use crate::error::{Error, Problem};

/// What tells the time. The client reads no clock of its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The most bytes of an answer that is read into memory.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// How often a request is sent that the service asks to send again later.
const TRIES: u32 = 4;
/// The longest wait between two tries.
const MAX_WAIT_S: u64 = 10;
/// How many items a page has.
const PAGE: u32 = 500;
/// The most bytes of a list that is read into memory, all its pages together.
const MAX_LIST_BYTES: usize = 1024 * 1024 * 1024;

/// A request, ready to go.
#[derive(Debug)]
pub struct Request {
    /// The absolute target URI.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body of a POST; a GET has none.
    pub body: Option<Vec<u8>>,
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: u16,
    /// `Retry-After`, where it is there in seconds.
    pub retry_after_s: Option<u64>,
    /// By how many seconds the answer is behind the ledger, where the service says so.
    pub behind_s: u64,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// Nothing reached the service.
    NotSent(String),
    /// Something may have reached it.
    Unknown(String),
}

/// What carries a request to a service.
pub trait Transport: Send + Sync {
    /// Sends a request.
    fn send(&self, request: Request) -> Result<Response, SendError>;
}

/// HTTP/1.1, with TLS for `https`.
pub struct Http(ureq::Agent);

impl Http {
    /// A transport without connections yet.
    pub fn new() -> Http {
        Http::of(None)
    }

    /// The same for answers that come whole within a time.
    pub fn within(limit: Duration) -> Http {
        Http::of(Some(limit))
    }

    fn of(limit: Option<Duration>) -> Http {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Otherwise it is taken from the environment, which is not for a library to read.
            .proxy(None)
            .user_agent(concat!("safeconduct/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_send_body(Some(Duration::from_secs(60)))
            .timeout_recv_response(limit.or(Some(Duration::from_secs(90))))
            .timeout_global(limit)
            .build();
        Http(config.new_agent())
    }
}

impl Default for Http {
    fn default() -> Http {
        Http::new()
    }
}

impl Transport for Http {
    fn send(&self, request: Request) -> Result<Response, SendError> {
        let answer = match &request.body {
            None => {
                let get = self.0.get(&request.url);
                request.headers.iter().fold(get, |get, (name, value)| get.header(*name, value)).call()
            }
            Some(body) => {
                let post = self.0.post(&request.url);
                request.headers.iter().fold(post, |post, (name, value)| post.header(*name, value)).send(body)
            }
        };
        let answer = answer.map_err(|error| {
            use std::io::ErrorKind::ConnectionRefused;
            match &error {
                ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => {
                    SendError::NotSent(error.to_string())
                }
                ureq::Error::Io(io) if io.kind() == ConnectionRefused => {
                    SendError::NotSent(error.to_string())
                }
                _ => SendError::Unknown(error.to_string()),
            }
        })?;
        let number = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        Ok(Response {
            status: answer.status().as_u16(),
            retry_after_s: number("retry-after"),
            behind_s: number("safeconduct-behind-s").unwrap_or(0),
            body: Box::new(answer.into_body().into_reader()),
        })
    }
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// A service at its address.
#[derive(Clone)]
pub struct Connection {
    transport: Arc<dyn Transport>,
    url: String,
    clock: Clock,
    behind_s: Arc<AtomicU64>,
}

impl Connection {
    /// A service over HTTP.
    pub fn new(url: &str, clock: Clock) -> Result<Connection, Error> {
        Connection::over(Arc::new(Http::new()), url, clock)
    }

    /// A service over another transport.
    pub fn over(transport: Arc<dyn Transport>, url: &str, clock: Clock) -> Result<Connection, Error> {
        Ok(Connection { transport, url: check_url(url)?, clock, behind_s: Arc::default() })
    }

    /// The service's address, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// By how many seconds the answer that was furthest behind the ledger was so.
    pub fn behind_s(&self) -> u64 {
        self.behind_s.load(Ordering::Relaxed)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Reads without saying who asks.
    pub fn get_open<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        json(self.read(path, None)?)
    }

    /// Reads a JSON document, signed by `key`.
    pub fn get<T: DeserializeOwned>(&self, path: &str, key: &dyn Signer) -> Result<T, Error> {
        json(self.read(path, Some(key))?)
    }

    /// Reads a text, signed by `key`.
    pub fn get_text(&self, path: &str, key: &dyn Signer) -> Result<String, Error> {
        text(self.read(path, Some(key))?)
    }

    /// Reads a document as it comes, signed by `key`, however long it is.
    pub fn open(&self, path: &str, key: &dyn Signer) -> Result<Box<dyn Read + Send>, Error> {
        Ok(self.read(path, Some(key))?.body)
    }

    /// Reads a whole list, page by page. `path` may have a query of its own.
    pub fn list<T: DeserializeOwned>(&self, path: &str, key: &dyn Signer) -> Result<Vec<T>, Error> {
        self.list_within(MAX_LIST_BYTES, path, key)
    }

    /// The same with so many bytes at most.
    pub(crate) fn list_within<T: DeserializeOwned>(
        &self,
        bytes_max: usize,
        path: &str,
        key: &dyn Signer,
    ) -> Result<Vec<T>, Error> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        let mut bytes = 0;
        loop {
            let from = cursor.as_ref().map(|c| format!("&cursor={}", encode(c))).unwrap_or_default();
            let text = self.get_text(&format!("{path}{joint}limit={PAGE}{from}"), key)?;
            bytes += text.len();
            if bytes > bytes_max {
                return Err(Error::Answer(format!("a list has more than {bytes_max} bytes")));
            }
            let page: Page<T> = parsed(&text)?;
            items.extend(page.items);
            match page.next {
                None => return Ok(items),
                // A service that turns in circles would keep the client for ever.
                next if next == cursor => return Err(Error::Answer("a list does not advance".to_owned())),
                next => cursor = next,
            }
        }
    }

    fn read(&self, path: &str, key: Option<&dyn Signer>) -> Result<Response, Error> {
        let url = format!("{}{path}", self.url);
        let answer = self.with_patience(|| {
            let mut headers = vec![];
            if let Some(key) = key {
                let signed = sign("GET", &url, &[], key, self.now().unix(), &draw::nonce()?)
                    .map_err(|error| Error::Build(error.to_string()))?;
                let SignedHeaders { signature_input, signature, .. } = signed;
                headers = vec![("signature-input", signature_input), ("signature", signature)];
            }
            self.send(Request { url: url.clone(), headers, body: None })
        });
        match answer {
            Err(Error::Unknown { url, reason }) => Err(Error::Broken { url, reason }),
            other => {
                let answer = successful(other?)?;
                self.behind_s.fetch_max(answer.behind_s, Ordering::Relaxed);
                Ok(answer)
            }
        }
    }

    /// Posts a JSON document, which signs for itself.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Error> {
        let answer = self.with_patience(|| {
            let headers = vec![("content-type", "application/json".to_owned())];
            self.send(Request { url: format!("{}{path}", self.url), headers, body: Some(body.to_vec()) })
        })?;
        let unknown = |reason: String| Error::Unknown { url: self.url.clone(), reason };
        if answer.status >= 500 || answer.status == 429 {
            let status = answer.status;
            let why = match successful(answer) {
                Err(Error::Problem(problem)) => problem.to_string(),
                _ => format!("status {status}"),
            };
            return Err(unknown(why));
        }
        let text = match text(successful(answer)?) {
            // The answer broke off: the request itself had arrived.
            Err(Error::Answer(reason)) => return Err(unknown(reason)),
            other => other?,
        };
        serde_json::from_str(&text).map_err(|error| Error::Answer(error.to_string()))
    }

    fn send(&self, request: Request) -> Result<Response, Error> {
        let url = self.url.clone();
        self.transport.send(request).map_err(|error| match error {
            SendError::NotSent(reason) => Error::Unreachable { url, reason },
            SendError::Unknown(reason) => Error::Unknown { url, reason },
        })
    }

    /// Sends again what the service asks to send again later: every request here can be repeated safely.
    fn with_patience(&self, mut send: impl FnMut() -> Result<Response, Error>) -> Result<Response, Error> {
        for _ in 1..TRIES {
            let answer = send()?;
            match (answer.status, answer.retry_after_s) {
                (429 | 503, Some(wait_s)) if wait_s <= MAX_WAIT_S => {
                    std::thread::sleep(Duration::from_secs(wait_s.max(1)));
                }
                _ => return Ok(answer),
            }
        }
        send()
    }
}

/// A text as a part of a query (RFC 3986 section 2.1).
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn check_url(url: &str) -> Result<String, Error> {
    let trimmed = url.trim_end_matches('/');
    let bad = |why: &str| Err(Error::Address(format!("the service's address {url} {why}")));
    if trimmed.contains(['?', '#', '@', ' ']) {
        return bad("must be a plain one, such as https://ledger.example");
    }
    if trimmed.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) {
        return Ok(trimmed.to_owned());
    }
    let Some(rest) = trimmed.strip_prefix("http://") else {
        return bad("must begin with https://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let own = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if own { Ok(trimmed.to_owned()) } else { bad("must begin with https://; http is for this machine only") }
}

fn successful(answer: Response) -> Result<Response, Error> {
    if answer.status == 200 {
        return Ok(answer);
    }
    let status = answer.status;
    let text = text(answer)?;
    match serde_json::from_str::<Problem>(&text) {
        Ok(problem) => Err(Error::Problem(Box::new(problem))),
        Err(_) => Err(Error::Answer(format!("status {status} without a problem document"))),
    }
}

fn text(answer: Response) -> Result<String, Error> {
    let mut text = String::new();
    let read = answer.body.take(MAX_ANSWER_BYTES).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| Error::Answer(format!("it broke off: {error}")))
}

fn json<T: DeserializeOwned>(answer: Response) -> Result<T, Error> {
    parsed(&text(answer)?)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (good, kept) in [
            ("https://ledger.example/", "https://ledger.example"),
            ("https://ledger.example:8443/sub", "https://ledger.example:8443/sub"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:1/", "http://localhost:1"),
            ("http://[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(check_url(good).unwrap(), kept);
        }
        for bad in [
            "ledger.example",
            "http://ledger.example",
            "http://localhost.evil.example",
            "https://",
            "ftp://x",
            "https://user@ledger.example",
            "https://ledger.example/?a=1",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("a-Z_0~.+/= ä"), "a-Z_0~.%2B%2F%3D%20%C3%A4");
    }
}
