//! What was measured: windows of time, of which a figure has several, and what they come to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::process::Cpu;

/// What was done in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// How many: instructions, lines, reads, commits.
    pub count: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// How long each request took.
    pub latencies_us: Vec<u32>,
    /// Who used how much of the processors meanwhile.
    pub cpu: Cpu,
    /// How many records the log had before and after.
    pub log: (u64, u64),
}

impl Window {
    /// How many a second.
    pub fn per_s(&self) -> f64 {
        self.count as f64 / self.elapsed_s
    }
}

/// One figure: its windows lie between those of the others, so that what slows the machine down for a while slows all.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    windows: Vec<Window>,
}

impl Figure {
    /// The median of the windows' rates.
    pub fn per_s(&self) -> f64 {
        let mut rates: Vec<f64> = self.windows.iter().map(Window::per_s).collect();
        median(&mut rates)
    }

    /// The slowest and the fastest window.
    fn range(&self) -> (f64, f64) {
        let rates = self.windows.iter().map(Window::per_s);
        rates.fold((f64::INFINITY, 0.0), |(low, high), rate| (rate.min(low), rate.max(high)))
    }

    /// The latency in ms that this share of all requests did not exceed.
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        let mut all: Vec<u32> = self.windows.iter().flat_map(|window| window.latencies_us.clone()).collect();
        all.sort_unstable();
        let index = (all.len() as f64 * share).ceil() as usize;
        all.get(index.saturating_sub(1)).map(|us| f64::from(*us) / 1000.0)
    }

    /// Microseconds of processor time for each of what was counted: client, service, PostgreSQL.
    pub fn cpu_us(&self) -> [f64; 3] {
        let count: u64 = self.windows.iter().map(|window| window.count).sum();
        let sum = |of: fn(&Cpu) -> f64| {
            self.windows.iter().map(|window| of(&window.cpu)).sum::<f64>() * 1e6 / count as f64
        };
        [sum(|cpu| cpu.client_s), sum(|cpu| cpu.service_s), sum(|cpu| cpu.postgres_s)]
    }

    /// From how many records in the log, to how many.
    pub fn log(&self) -> (u64, u64) {
        let of = |window: &Window| window.log;
        (
            self.windows.first().map_or(0, |first| of(first).0),
            self.windows.last().map_or(0, |last| of(last).1),
        )
    }

    fn json(&self) -> Value {
        let (low, high) = self.range();
        let (first, last) = self.log();
        let [client, service, postgres] = self.cpu_us().map(rounded);
        let mut json = json!({
            "per_s": rounded(self.per_s()),
            "windows": self.windows.len(),
            "log": {"first": first, "last": last},
            "lowest_per_s": rounded(low),
            "highest_per_s": rounded(high),
            "cpu_us": {"client": client, "service": service, "postgres": postgres},
        });
        if let (Some(p50), Some(p99)) = (self.latency_ms(0.5), self.latency_ms(0.99)) {
            json["p50_ms"] = rounded(p50).into();
            json["p99_ms"] = rounded(p99).into();
        }
        json
    }
}

/// All that was measured at one size of the log.
#[derive(Debug, Default)]
pub struct Stage {
    /// The size that was asked for.
    pub records: u64,
    /// The size that it had been filled to.
    pub filled: u64,
    /// Figures by name, in the order in which they were first measured.
    pub figures: Vec<(&'static str, Figure)>,
    /// Bytes in PostgreSQL, by table and index.
    pub bytes: Vec<(String, u64)>,
    /// Bytes of the database that each record added.
    pub bytes_per_record: f64,
    /// The most memory that the service had resident.
    pub resident_max_mb: f64,
}

impl Stage {
    /// Adds a window to a figure.
    pub fn add(&mut self, name: &'static str, window: Window) {
        eprintln!("{:>9}  {name}: {:.0}/s", self.records, window.per_s());
        match self.figures.iter_mut().find(|(known, _)| *known == name) {
            Some((_, figure)) => figure.windows.push(window),
            None => self.figures.push((name, Figure { windows: vec![window] })),
        }
    }

    /// A figure, if it was measured.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find_map(|(known, figure)| (*known == name).then_some(figure))
    }

    /// A figure's rate; not a number where it was not measured.
    pub fn per_s(&self, name: &str) -> f64 {
        self.figure(name).map_or(f64::NAN, Figure::per_s)
    }

    /// One rate over another: the median over pairs of windows that lay next to each other, where there are as many of
    /// both, so that what slowed the machine down for a while slowed down either half.
    pub fn ratio(&self, of: &str, to: &str) -> f64 {
        let (Some(of), Some(to)) = (self.figure(of), self.figure(to)) else { return f64::NAN };
        if of.windows.len() != to.windows.len() {
            return of.per_s() / to.per_s();
        }
        let pairs = of.windows.iter().zip(&to.windows);
        median(&mut pairs.map(|(of, to)| of.per_s() / to.per_s()).collect::<Vec<_>>())
    }

    /// The same of the processor time that one takes of all three: what others do on the machine matters less to it.
    pub fn ratio_of_time(&self, of: &str, to: &str) -> f64 {
        let us = |name| self.figure(name).map_or(f64::NAN, |figure| figure.cpu_us().iter().sum());
        us(to) / us(of)
    }

    /// As it is written.
    pub fn json(&self) -> Value {
        let figures: BTreeMap<_, _> =
            self.figures.iter().map(|(name, figure)| (*name, figure.json())).collect();
        let bytes: BTreeMap<_, _> = self.bytes.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        json!({
            "records": self.records,
            "filled": self.filled,
            "figures": figures,
            "bytes": bytes,
            "bytes_per_record": rounded(self.bytes_per_record),
            "service_resident_max_mb": rounded(self.resident_max_mb),
        })
    }
}

/// What has to be reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// The figure.
    pub name: &'static str,
    /// At which size of the log.
    pub records: u64,
    /// What was measured.
    pub value: f64,
    /// Below (or, of a limit, above) this it fails.
    pub gate: f64,
    /// What is aimed at.
    pub goal: f64,
    /// Whether it is a limit: less is better.
    pub is_limit: bool,
}

impl Target {
    /// Whether a bound is kept.
    pub fn keeps(&self, bound: f64) -> bool {
        if self.is_limit { self.value <= bound } else { self.value >= bound }
    }

    /// In words.
    pub fn verdict(&self) -> &'static str {
        if self.value.is_nan() {
            return "not measured";
        }
        match (self.keeps(self.goal), self.keeps(self.gate)) {
            (true, _) => "goal",
            (false, true) => "gate",
            (false, false) => "missed",
        }
    }

    /// As it is written.
    pub fn json(&self) -> Value {
        let Target { name, records, value, gate, goal, .. } = self;
        json!({"name": name, "records": records, "value": rounded(*value), "gate": gate, "goal": goal,
            "reached": self.verdict()})
    }
}

/// Every gate and goal at one size, and of the largest size against the smallest.
pub fn targets(stages: &[Stage]) -> Vec<Target> {
    let mut targets = vec![];
    for stage in stages {
        let ratio = |of: &str, to: &str| stage.ratio(of, to);
        let target = |name, value, gate, goal, is_limit| Target {
            name,
            records: stage.records,
            value,
            gate,
            goal,
            is_limit,
        };
        let p99 = stage.figure("balance, 32").and_then(|figure| figure.latency_ms(0.99));
        targets.extend([
            target(
                "single at 32 / one-row commits at 32",
                ratio("single, 32", "commits, 32"),
                0.15,
                0.30,
                false,
            ),
            target("single at 1 / one-row commits at 1", ratio("single, 1", "commits, 1"), 0.10, 0.20, false),
            target(
                "one hot fund / 1,000 funds",
                ratio("single, 32", "single, 32, 1000 funds"),
                0.9,
                1.0,
                false,
            ),
            target(
                "lists of 1,000, lines / strict verify, all cores",
                ratio("lists of 1000", VERIFY_ALL),
                0.15,
                0.3,
                false,
            ),
            target("replay / strict verify, all cores", ratio("replay", VERIFY_BESIDE), 0.6, 1.0, false),
            target("balance, p99 at 32 in flight, ms", p99.unwrap_or(f64::NAN), 5.0, 2.0, true),
            target("bytes in PostgreSQL a record", stage.bytes_per_record, 1000.0, 600.0, true),
        ]);
    }
    for stage in stages.iter().filter(|stage| stage.figure(SMALL).is_some()) {
        targets.push(Target {
            name: "single at 32: this log / the smallest",
            records: stage.records,
            value: stage.ratio(LARGE, SMALL),
            gate: 0.85,
            goal: 0.95,
            is_limit: false,
        });
    }
    targets
}

/// The rate that lists are compared with.
pub const VERIFY_ALL: &str = "ed25519 verify_strict, all cores";
/// The same, just before and after replay.
pub const VERIFY_BESIDE: &str = "ed25519 verify_strict, beside replay";
/// Single instructions at 32 in flight, in turn on the largest log and on one of the smallest size.
pub const LARGE: &str = "single, 32, large log in turn";
/// The other of the two.
pub const SMALL: &str = "single, 32, small log in turn";

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Four significant digits, and none that were not measured.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}
