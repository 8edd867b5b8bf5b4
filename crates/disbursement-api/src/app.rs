//! The service as one value, and the router that answers for it.
//!
//! Every answer, also one of a path that does not exist, goes through the same layers: its headers, a bound on how
//! many requests are worked on at once, a bound on how long each may take, and one line in the log. That line has the
//! method, the matched route, the status, the duration and who asked; never a path, a query string or a body, since
//! these hold case references.

use std::future::Future;
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
use ledger::time::Timestamp;
use records::scalar::Token;
use signing::keys::PublicKey;
use store::pool::Databases;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::auth::{Identity, Nonces, authorise};
use crate::metrics::TRACE;
use crate::pipeline::{LedgerKeys, Pipeline};
use crate::problem::{METHOD_NOT_ALLOWED, OVERLOADED, Problem, REQUEST_TIMEOUT, ROUTE_UNKNOWN, Refused};
use crate::routes::{ROUTES, Who};
use crate::spare::Spare;

/// What the service is told about its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The URL by which clients reach the service, without a slash at the end: what they sign.
    pub public_url: String,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long an answer may take to begin.
    pub answer_timeout: Duration,
    /// How long a bundle waits for a checkpoint, and for its reader to take each part.
    pub bundle_timeout: Duration,
    /// The most requests that are worked on at once.
    pub requests_max: usize,
    /// The most bundles that are read at once.
    pub bundles_max: usize,
}

impl Settings {
    /// The usual settings of a service at a URL.
    pub fn new(public_url: &str) -> Settings {
        Settings {
            public_url: public_url.trim_end_matches('/').to_owned(),
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            bundle_timeout: Duration::from_secs(10),
            requests_max: 256,
            bundles_max: 2,
        }
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
    requests: Semaphore,
    bundles: Arc<Semaphore>,
}

impl App {
    /// The service over a pipeline and its databases. `clock` is the one that the pipeline has.
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
            pipeline,
            databases,
            names,
            started_at: clock(),
            clock: Box::new(clock),
            nonces: Nonces::new(),
            requests: Semaphore::new(settings.requests_max),
            bundles: Arc::new(Semaphore::new(settings.bundles_max)),
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

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
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

    pub(crate) fn bundles(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.bundles)
    }
}

/// The service's router. It is built from [`ROUTES`], so that no route is open which that list does not open.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let mut methods = (route.handler)();
        if let Who::Roles(roles) = route.who {
            methods = methods.route_layer(middleware::from_fn_with_state((app.clone(), roles), authorise));
        }
        router = router.route(route.path, methods);
    }
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    router
        .fallback(async || Problem::from(ROUTE_UNKNOWN))
        .method_not_allowed_fallback(async || Problem::from(METHOD_NOT_ALLOWED))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
        .with_state(app)
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
    let response = match app.0.requests.try_acquire() {
        Err(_) => Problem::from(OVERLOADED).into_response(),
        Ok(_permit) => {
            let answer = next.run(request).instrument(span.clone());
            tokio::time::timeout(app.settings().answer_timeout, answer)
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

/// How long a connection may take to send the head of its next request, and so how long it may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that were begun may take when the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: usize = 1024;

/// Serves a router until `stop` comes true; then takes no more requests, and returns when those under way are answered.
///
/// `axum::serve` would do the same without a bound on connections, or on the time that a request's head may take.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
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
        // Answers are small and whole: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _permit = permit;
            // A failure is the client's going away, or its bytes.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off, as they took too long while the service was stopping");
    }
}
