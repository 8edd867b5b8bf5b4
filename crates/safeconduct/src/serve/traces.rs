//! Traces, where an operator asks for them: the spans of `disbursement_api::metrics::TRACE`, sent to a collector by
//! OTLP over HTTP. No other span and no event leaves the process this way, so neither does what a library or a log line
//! would say; no host name, no process id and nothing from the environment is sent beside them.

use std::time::Duration;

use disbursement_api::metrics::TRACE;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::error::{Error, Result};

/// The collector's time to take what is sent; what it does not take is dropped, and payments never wait for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends traces until it is stopped.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// To a collector, whose URL is given as it is for OTLP over HTTP: without `/v1/traces`.
    pub(super) fn to(collector: &str) -> Result<Traces> {
        let unusable =
            || Error::new(format!("{collector} is no URL of a collector, such as http://127.0.0.1:4318"));
        if !collector.starts_with("http://") && !collector.starts_with("https://") {
            return Err(unusable());
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(SEND_TIMEOUT))
            .build();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(agent.into()))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
            .with_timeout(SEND_TIMEOUT)
            .build()
            .map_err(|_| unusable())?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder_empty().with_service_name("safeconduct").build())
            .build();
        Ok(Traces(provider))
    }

    /// What hands the spans over.
    pub(super) fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        let layer: OpenTelemetryLayer<Registry, _> = OpenTelemetryLayer::new(self.0.tracer("safeconduct"));
        layer
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_level(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TRACE))
    }

    /// Sends the last ones.
    pub(super) fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(SEND_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Sends on the exporter's own thread, which may block.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let sent = self.0.run(Request::from_parts(head, &body[..]));
        let mut response = sent.inspect_err(|error| tracing::warn!(%error, "traces were not sent"))?;
        if !response.status().is_success() {
            tracing::warn!(status = response.status().as_u16(), "the collector did not take traces");
        }
        let answer = response.body_mut().read_to_vec()?;
        Ok(Response::from_parts(response.into_parts().0, answer.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_a_url() {
        for bad in ["127.0.0.1:4318", "", "ftp://x", "http://", "http://a b"] {
            assert!(Traces::to(bad).is_err(), "{bad}");
        }
        Traces::to("http://127.0.0.1:4318/").unwrap().stop();
    }
}
