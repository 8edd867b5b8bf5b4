//! What is read when somebody asks: the values of the moment, and the text of all of them.

use std::fmt;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::process;
use crate::pipeline::{Pipeline, Unavailable};

/// Why nothing may be written for now, longer than one request long.
const HALTS: [Unavailable; 8] = [
    Unavailable::ClockSuspect,
    Unavailable::RegisterMissing,
    Unavailable::LogForked,
    Unavailable::CheckpointKey,
    Unavailable::StaleServer,
    Unavailable::Database,
    Unavailable::Unknown,
    Unavailable::Internal,
];

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`, for a listener that is not the public one.
pub fn router(pipeline: Pipeline) -> Router {
    let scrape = async move || ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&pipeline));
    Router::new().route("/metrics", get(scrape))
}

fn text(pipeline: &Pipeline) -> String {
    let mut text = String::new();
    // What is of the moment comes first, since the registry's text ends with a mark.
    let mut now = Registry::default();
    now.register_collector(Box::new(Moment::of(pipeline)));
    let written = encode(&mut text, &now).and_then(|()| {
        text.truncate(text.trim_end_matches("# EOF\n").len());
        encode(&mut text, &pipeline.metrics().registry)
    });
    if let Err(error) = written {
        tracing::error!(%error, "metrics could not be written");
    }
    text
}

/// The values of a moment.
#[derive(Debug)]
struct Moment {
    waiting: u64,
    halted: Option<Unavailable>,
    is_publisher: bool,
    signed: u64,
    unsigned: u64,
    unsigned_s: f64,
}

impl Moment {
    fn of(pipeline: &Pipeline) -> Moment {
        let signed = pipeline.checkpoint().map_or(0, |head| head.size);
        Moment {
            waiting: pipeline.waiting() as u64,
            halted: pipeline.halted().or(pipeline.metrics().stopped()),
            is_publisher: pipeline.is_publisher(),
            signed,
            unsigned: pipeline.metrics().log_records().saturating_sub(signed),
            unsigned_s: pipeline.metrics().unsigned_since().as_secs_f64(),
        }
    }
}

impl Collector for Moment {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            ConstGauge::new(value).encode(to.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        let help = "Instructions that wait or are being written";
        gauge("safeconduct_queue_instructions", help, None, self.waiting as f64)?;
        let help = "Whether this process is the one that signs heads";
        gauge("safeconduct_publisher", help, None, f64::from(u8::from(self.is_publisher)))?;
        let help = "Records that the latest known checkpoint covers";
        gauge("safeconduct_log_signed_records", help, None, self.signed as f64)?;
        let help = "Records that no known checkpoint covers yet";
        gauge("safeconduct_log_unsigned_records", help, None, self.unsigned as f64)?;
        let help = "How long the oldest of them has waited";
        gauge("safeconduct_log_unsigned", help, Some(&Unit::Seconds), self.unsigned_s)?;
        if let Some(bytes) = process::resident_bytes() {
            gauge("process_resident_memory", "Resident memory", Some(&Unit::Bytes), bytes as f64)?;
        }
        if let Some(files) = process::open_files() {
            gauge("process_open_fds", "Open files and connections", None, files as f64)?;
        }
        if let Some(files) = process::open_files_max() {
            gauge("process_max_fds", "The most of them that may be open", None, files as f64)?;
        }
        let cpu = ConstCounter::new(process::cpu_seconds());
        let help = "Processor time of all threads";
        cpu.encode(to.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?)?;
        // One series for each reason there is, so that an alarm sees it come and go.
        let help = "Whether nothing is written, by the reason";
        let mut halted = to.encode_descriptor("safeconduct_halted", help, None, MetricType::Gauge)?;
        for reason in HALTS {
            let is_it = f64::from(u8::from(self.halted == Some(reason)));
            let labels = [("reason", reason.code())];
            ConstGauge::new(is_it).encode(halted.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
