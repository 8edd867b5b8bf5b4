//! The service as one value, and the router that answers for it.
//!
//! Every answer, also one of a path that does not exist, goes through the same layers: its headers, a bound on how
//! many requests are worked on at once, a bound on how long each may take, and one line in the log. (Bytes that are no
//! request at all are answered by `hyper`, with a bare status.) That line has the method, the matched route, the status, the duration and who asked; never a path, a query string or a body, since
//! these hold case references.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ledger::id::PrincipalId;
use ledger::time::Timestamp;
use records::scalar::Token;
use signing::keys::PublicKey;
use store::pool::Databases;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::auth::{Enrolled, Identity, Nonces, Signer, authorise};
use crate::limits::{HttpLimits, Limits};
use crate::metrics::TRACE;
use crate::pipeline::{LedgerKeys, Pipeline};
use crate::places::Places;
use crate::problem::{METHOD_NOT_ALLOWED, OVERLOADED, Problem, REQUEST_TIMEOUT, ROUTE_UNKNOWN, Refused};
use crate::reads::{LookUps, Reads};
use crate::routes::{ROUTES, Who};
use crate::spare::Spare;

/// What the service is told about its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The URL by which clients reach the service, without a slash at the end: what they sign.
    pub public_url: String,
    /// How much it takes.
    pub limits: HttpLimits,
}

impl Settings {
    /// The usual settings of a service at a URL.
    pub fn new(public_url: &str) -> Settings {
        Settings { public_url: public_url.trim_end_matches('/').to_owned(), limits: Limits::default().http }
    }
}

/// The ledger's public keys and the origin of its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) record_key: PublicKey,
    pub(crate) checkpoint_key: PublicKey,
    pub(crate) origin: Token,
}

/// The service: what every route works with. Clones are the same service.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    pipeline: Pipeline,
    databases: Databases,
    names: Names,
    settings: Settings,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    started_at: Timestamp,
    nonces: Nonces,
    requests: Arc<Semaphore>,
    /// Bytes of bodies that are not small.
    bodies: Arc<Semaphore>,
    bundles: Arc<Places<PrincipalId>>,
    reads: Reads,
    look_ups: LookUps,
}

impl App {
    /// The service over a pipeline and its databases. `clock` is the one that the pipeline has.
    ///
    /// Must be called within a tokio runtime.
    pub fn new(
        pipeline: Pipeline,
        databases: Databases,
        keys: &LedgerKeys,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        settings: Settings,
    ) -> App {
        let names = Names {
            record_key: keys.record.public().clone(),
            checkpoint_key: keys.checkpoint.public().clone(),
            origin: keys.origin.clone(),
        };
        App(Arc::new(Inner {
            reads: Reads::start(pipeline.clone(), databases.clone(), &settings.limits),
            look_ups: LookUps::start(pipeline.clone(), &settings.limits),
            pipeline,
            databases,
            names,
            started_at: clock(),
            clock: Box::new(clock),
            nonces: Nonces::new(settings.limits.nonces, settings.limits.nonces_per_key),
            requests: Arc::new(Semaphore::new(settings.limits.requests)),
            bodies: Arc::new(Semaphore::new(settings.limits.bodies_bytes)),
            bundles: Places::new(settings.limits.bundles, settings.limits.bundles_per_principal),
            settings,
        }))
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.0.pipeline
    }

    pub(crate) fn databases(&self) -> &Databases {
        &self.0.databases
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    pub(crate) fn limits(&self) -> &HttpLimits {
        &self.0.settings.limits
    }

    /// What agencies read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// What is enrolled of a signer, as it is now.
    pub(crate) async fn enrolled(&self, signer: &Signer) -> Result<Enrolled, Problem> {
        self.0.look_ups.enrolled(signer).await
    }

    /// Begins to work on a request, until what is returned is dropped.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0.requests).try_acquire_owned().map_err(|_| OVERLOADED.into())
    }

    /// Makes room for a body of this length, until what is returned is dropped.
    pub(crate) fn make_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0.bodies).try_acquire_many_owned(bytes).map_err(|_| OVERLOADED.into())
    }

    pub(crate) fn public_url(&self) -> &str {
        &self.0.settings.public_url
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    pub(crate) fn nonces(&self) -> &Nonces {
        &self.0.nonces
    }

    pub(crate) fn bundles(&self) -> &Arc<Places<PrincipalId>> {
        &self.0.bundles
    }
}

/// The service's router. It is built from [`ROUTES`], so that no route is open which that list does not open.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let mut methods = (route.handler)();
        if let Who::Roles(roles) = route.who {
            let may = (app.clone(), roles, route.spares);
            methods = methods.route_layer(middleware::from_fn_with_state(may, authorise));
        }
        router = router.route(route.path, methods);
    }
    // A browser that got to an answer all the same keeps nothing of it, runs nothing in it and shows it nowhere else.
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    // As one layer, they are called as one.
    router = router
        .fallback(async || Problem::from(ROUTE_UNKNOWN))
        .method_not_allowed_fallback(async || Problem::from(METHOD_NOT_ALLOWED))
        .layer((
            header(header::CACHE_CONTROL, "no-store"),
            header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            header(header::REFERRER_POLICY, "no-referrer"),
            header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            middleware::from_fn_with_state(app.clone(), observe),
        ));
    if app.public_url().starts_with("https://") {
        router = router.layer(header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"));
    }
    router.with_state(app)
}

/// Bounds how many requests are worked on and for how long, counts them, and writes the line in the log.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|path| ROUTES.iter().find(|route| route.path == path.as_str()));
    let route = route.map_or("none", |route| route.path);
    // A method is the client's own word.
    let method =
        [Method::GET, Method::HEAD, Method::POST].into_iter().position(|known| known == request.method());
    let method = method.map_or("other", |index| ["GET", "HEAD", "POST"][index]);
    let span = tracing::debug_span!(
        target: TRACE, "request", otel.kind = "server", "http.request.method" = method, "http.route" = route,
        "http.response.status_code" = Empty,
    );
    // What has a body is worked on when that has arrived: slow bodies shall not take the places of what is there.
    let admitted = if request.method() == Method::POST { Ok(None) } else { app.admit().map(Some) };
    let response = match admitted {
        Err(problem) => problem.into_response(),
        Ok(_place) => {
            let answer = next.run(request).instrument(span.clone());
            tokio::time::timeout(app.limits().answer_timeout, answer)
                .await
                .unwrap_or_else(|_| Problem::from(REQUEST_TIMEOUT).into_response())
        }
    };
    let (status, took) = (response.status().as_u16(), began.elapsed());
    span.record("http.response.status_code", status);
    let metrics = app.pipeline().metrics();
    metrics.answered(method, route, status, took);
    if let Some(Refused(code)) = response.extensions().get() {
        metrics.refused(code);
    }
    tracing::info!(
        method,
        route,
        status,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        principal = response.extensions().get::<Identity>().map(|identity| identity.principal.as_str()),
        "request"
    );
    response
}

/// Serves a router until `stop` comes true; then takes no more requests, and returns when those under way are answered.
///
/// `axum::serve` would do the same without a bound on connections, on the time that a request's head may take, or on how
/// long a client may leave an answer unread.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &HttpLimits,
    stop: impl Future<Output = ()>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(limits.head_bytes);
    let connections = Arc::new(Semaphore::new(limits.connections));
    // Of how many there are in all, the semaphore takes care.
    let addresses = Places::new(usize::MAX, limits.connections_per_address);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut spare = Spare::new();
    loop {
        let accept = async {
            // Closed never, so this fails never.
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of one connection, or of the system's limits, which pass.
                tracing::warn!(%error, "a connection was not accepted");
                if Spare::is_needed(&error) {
                    spare.refuse(&listener).await;
                } else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let Ok(address) = addresses.take(1, HashMap::from([(network(peer.ip()), 1)])) else {
            tracing::debug!("an address has as many connections as it may");
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let stream = TokioIo::new(patient(stream, limits.write_timeout));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            let _held = (permit, address);
            // A failure is the client's going away, or its bytes.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, as they took too long while the service was stopping");
    }
}

/// A stream that fails when a client takes nothing of what is sent to it.
fn patient(stream: TcpStream, write_timeout: Duration) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are small and whole: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_timeout));
    Box::pin(stream)
}

/// Whoever has one IPv6 address has the rest of its network, too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_its_network() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let of = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(network(of(address)), of(expected));
        }
    }
}
