//! The limits of one process: a closed file, of which `config/limits.toml` is the one that is compiled in.
//!
//! What each is for is said there. Here is only its type, and what the limits have to be among each other.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use store::pool::PoolSizes;

/// The file that is compiled in.
const DEFAULT: &str = include_str!("../../../config/limits.toml");
/// No wait is longer: who waits for a day has forgotten what for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Every limit. [`Limits::default`] is `config/limits.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of the HTTP interface.
    pub http: HttpLimits,
    /// Of what waits to be written.
    pub queue: QueueLimits,
    /// Of the connections to PostgreSQL.
    pub database: DatabaseLimits,
}

/// Of the HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/limits.toml says of each what it is for")]
pub struct HttpLimits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub head_bytes: usize,
    #[serde(rename = "head_timeout_ms", deserialize_with = "milliseconds")]
    pub head_timeout: Duration,
    pub body_bytes: usize,
    #[serde(rename = "body_timeout_ms", deserialize_with = "milliseconds")]
    pub body_timeout: Duration,
    pub bodies_bytes: usize,
    pub body_small_bytes: usize,
    pub request_instructions: usize,
    pub requests: usize,
    pub requests_per_principal: usize,
    pub agency_reads: usize,
    pub group_reads: usize,
    #[serde(rename = "answer_timeout_ms", deserialize_with = "milliseconds")]
    pub answer_timeout: Duration,
    #[serde(rename = "write_timeout_ms", deserialize_with = "milliseconds")]
    pub write_timeout: Duration,
    pub page_items: u32,
    pub page_items_default: u32,
    pub nonces: usize,
    pub nonces_per_key: usize,
    pub bundles: usize,
    pub bundles_per_principal: usize,
    #[serde(rename = "bundle_timeout_ms", deserialize_with = "milliseconds")]
    pub bundle_timeout: Duration,
    #[serde(rename = "stop_timeout_ms", deserialize_with = "milliseconds")]
    pub stop_timeout: Duration,
}

/// Of what waits to be written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/limits.toml says of each what it is for")]
pub struct QueueLimits {
    pub instructions: usize,
    pub instructions_per_principal: usize,
    pub group_instructions: usize,
    pub group_lapses: u32,
    #[serde(rename = "receipt_timeout_ms", deserialize_with = "milliseconds")]
    pub receipt_timeout: Duration,
    #[serde(rename = "database_timeout_ms", deserialize_with = "milliseconds")]
    pub database_timeout: Duration,
}

/// Of the connections to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/limits.toml says of each what it is for")]
pub struct DatabaseLimits {
    pub service_connections: usize,
    pub read_connections: usize,
    pub agency_connections: usize,
    #[serde(rename = "connection_timeout_ms", deserialize_with = "milliseconds")]
    pub connection_timeout: Duration,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let wait = Duration::from_millis(u64::deserialize(deserializer)?);
    if wait > WAIT_MAX {
        return Err(de::Error::custom("a day is the longest (86400000)"));
    }
    Ok(wait)
}

/// Why a file of limits is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// It is no TOML, or has other names or values than limits have. The text shows the line.
    #[error("{0}")]
    Form(String),
    /// A limit of nothing.
    #[error("{0} must be above 0")]
    Zero(&'static str),
    /// More than is counted with.
    #[error("{0} must be below 4294967296")]
    Huge(&'static str),
    /// A part that is larger than its whole, or a small thing that is larger than a big one.
    #[error("{0} must not exceed {1}")]
    Order(&'static str, &'static str),
    /// Less than HTTP itself needs.
    #[error("head_bytes must be at least 8192")]
    Head,
}

impl Default for Limits {
    fn default() -> Limits {
        static COMPILED_IN: LazyLock<Limits> = LazyLock::new(|| {
            // A test reads the same text, so this cannot come to pass in what was released.
            Limits::parse(DEFAULT).unwrap_or_else(|error| panic!("config/limits.toml: {error}"))
        });
        COMPILED_IN.clone()
    }
}

impl Limits {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Limits, LimitsError> {
        let limits: Limits = toml::from_str(text)
            .map_err(|error| LimitsError::Form(error.to_string().trim_end().to_owned()))?;
        limits.check()?;
        Ok(limits)
    }

    fn check(&self) -> Result<(), LimitsError> {
        let Limits { http, queue, database } = self;
        let wait = |wait: Duration| usize::try_from(wait.as_millis()).unwrap_or(usize::MAX);
        let counted = [
            ("connections_per_address", http.connections_per_address),
            ("head_timeout_ms", wait(http.head_timeout)),
            ("body_timeout_ms", wait(http.body_timeout)),
            ("body_small_bytes", http.body_small_bytes),
            ("request_instructions", http.request_instructions),
            ("requests_per_principal", http.requests_per_principal),
            ("group_reads", http.group_reads),
            ("answer_timeout_ms", wait(http.answer_timeout)),
            ("write_timeout_ms", wait(http.write_timeout)),
            ("page_items_default", http.page_items_default as usize),
            ("nonces_per_key", http.nonces_per_key),
            ("bundles_per_principal", http.bundles_per_principal),
            ("bundle_timeout_ms", wait(http.bundle_timeout)),
            ("stop_timeout_ms", wait(http.stop_timeout)),
            ("group_instructions", queue.group_instructions),
            ("group_lapses", queue.group_lapses as usize),
            ("service_connections", database.service_connections),
            ("read_connections", database.read_connections),
            ("agency_connections", database.agency_connections),
            ("connection_timeout_ms", wait(database.connection_timeout)),
        ];
        // The others are no smaller than one of these.
        let wholes = [
            ("connections", http.connections),
            ("head_bytes", http.head_bytes),
            ("body_bytes", http.body_bytes),
            ("bodies_bytes", http.bodies_bytes),
            ("requests", http.requests),
            ("agency_reads", http.agency_reads),
            ("nonces", http.nonces),
            ("bundles", http.bundles),
            ("instructions_per_principal", queue.instructions_per_principal),
            ("instructions", queue.instructions),
        ];
        if let Some((name, _)) = counted.into_iter().find(|(_, value)| *value == 0) {
            return Err(LimitsError::Zero(name));
        }
        let is_huge = |value: usize| u32::try_from(value).is_err();
        if let Some((name, _)) = counted.into_iter().chain(wholes).find(|(_, value)| is_huge(*value)) {
            return Err(LimitsError::Huge(name));
        }
        if http.head_bytes < 8192 {
            return Err(LimitsError::Head);
        }
        let ordered = [
            (("connections_per_address", http.connections_per_address), ("connections", http.connections)),
            (("body_small_bytes", http.body_small_bytes), ("body_bytes", http.body_bytes)),
            (("body_bytes", http.body_bytes), ("bodies_bytes", http.bodies_bytes)),
            (("requests_per_principal", http.requests_per_principal), ("requests", http.requests)),
            (("agency_reads", http.agency_reads), ("requests", http.requests)),
            (("group_reads", http.group_reads), ("agency_reads", http.agency_reads)),
            (
                ("page_items_default", http.page_items_default as usize),
                ("page_items", http.page_items as usize),
            ),
            (("nonces_per_key", http.nonces_per_key), ("nonces", http.nonces)),
            (("bundles_per_principal", http.bundles_per_principal), ("bundles", http.bundles)),
            (
                ("request_instructions", http.request_instructions),
                ("instructions_per_principal", queue.instructions_per_principal),
            ),
            (
                ("instructions_per_principal", queue.instructions_per_principal),
                ("instructions", queue.instructions),
            ),
        ];
        match ordered.into_iter().find(|((_, part), (_, whole))| part > whole) {
            Some(((part, _), (whole, _))) => Err(LimitsError::Order(part, whole)),
            None => Ok(()),
        }
    }
}

impl From<&DatabaseLimits> for PoolSizes {
    fn from(limits: &DatabaseLimits) -> PoolSizes {
        PoolSizes {
            service: limits.service_connections,
            read: limits.read_connections,
            agency: limits.agency_connections,
            wait: limits.connection_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_file_is_the_default() {
        let limits = Limits::parse(DEFAULT).unwrap();
        assert_eq!(limits, Limits::default());
        assert_eq!((limits.http.body_bytes, limits.http.request_instructions), (8 * 1024 * 1024, 1000));
        assert_eq!(limits.http.body_timeout, Duration::from_secs(10));
    }

    /// The file's text with one value replaced.
    fn with(name: &str, value: &str) -> String {
        let line = DEFAULT.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        DEFAULT.replacen(&format!("\n{line}\n"), &format!("\n{name} = {value}\n"), 1)
    }

    #[test]
    fn each_is_stated_once_with_its_reason() {
        let mut commented = false;
        for line in DEFAULT.lines() {
            // One comment may stand before a pair.
            if line.contains(" = ") {
                assert!(commented, "{line}");
                let name = line.split(' ').next().unwrap();
                let without = DEFAULT.replacen(&format!("\n{line}\n"), "\n", 1);
                let error = Limits::parse(&without).unwrap_err().to_string();
                assert!(error.contains(&format!("missing field `{name}`")), "{error}");
                let error = Limits::parse(&with(name, "-1")).unwrap_err().to_string();
                assert!(error.contains(&format!("{name} = -1")), "the line is not shown: {error}");
            } else {
                commented = line.starts_with('#');
            }
        }
    }

    #[test]
    fn a_bad_file_is_told_what_is_wrong() {
        for (text, says) in [
            ("x".to_owned(), "TOML parse error at line 1"),
            (format!("{DEFAULT}\nmore = 1\n"), "unknown field `more`"),
            (with("requests", "\"many\""), "invalid type: string \"many\""),
            (with("requests", "1.5"), "invalid type: floating point"),
            (with("head_timeout_ms", "86400001"), "a day is the longest"),
            (with("head_bytes", "1000"), "at least 8192"),
            (with("nonces_per_key", "0"), "nonces_per_key must be above 0"),
            (with("body_small_bytes", "0"), "body_small_bytes must be above 0"),
            (with("nonces", "4294967296"), "nonces must be below"),
            (with("requests", "63"), "requests_per_principal must not exceed requests"),
            (with("bodies_bytes", "8388607"), "body_bytes must not exceed bodies_bytes"),
            (
                with("instructions_per_principal", "999"),
                "request_instructions must not exceed instructions_per_principal",
            ),
        ] {
            let error = Limits::parse(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{says} is not in: {error}");
        }
    }
}
