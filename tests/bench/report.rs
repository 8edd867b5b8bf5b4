//! What is printed, and what is written as JSON. Not what is drawn.

use std::fs;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::figures::{Figure, Stage, Target, VERIFY_ALL, VERIFY_BESIDE};

/// The machine, as far as it says so itself.
pub fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", field(&read("/proc/cpuinfo"), "model name")),
        ("cores", cores.to_string()),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
        ("load when it began", read("/proc/loadavg").trim().to_owned()),
    ]
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value.abs() >= 100.0 => thousands(value.round() as i64),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.abs().to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    format!("{}{}", if value < 0 { "-" } else { "" }, groups.join(","))
}

/// The tables.
pub fn text(stages: &[Stage], targets: &[Target]) -> String {
    let mut out = String::new();
    for stage in stages {
        out.push_str(&of_stage(stage));
    }
    let mut gates = table(&["gate", "records", "measured", "gate", "goal", "reached"]);
    for target in targets {
        gates.add_row([
            target.name.to_owned(),
            number(target.records as f64),
            number(target.value),
            number(target.gate),
            number(target.goal),
            target.verdict().to_owned(),
        ]);
    }
    out + &format!("\n{gates}\n")
}

fn of_stage(stage: &Stage) -> String {
    let mut figures = table(&[
        "figure",
        "a second",
        "p50 ms",
        "p99 ms",
        "client us",
        "service us",
        "PostgreSQL us",
        "log from",
        "log to",
    ]);
    for (name, figure) in &stage.figures {
        figures.add_row(row(name, figure));
    }
    let mut ratios = table(&["ratio", "to", "is", "by processor time"]);
    for (of, to) in RATIOS {
        let [is, by_time] = [stage.ratio(of, to), stage.ratio_of_time(of, to)].map(number);
        ratios.add_row([of.to_owned(), to.to_owned(), is, by_time]);
    }
    let mut bytes = table(&["table or index", "bytes", "a record"]);
    for (name, count) in &stage.bytes {
        let of_one = *count as f64 / stage.filled as f64;
        if of_one >= 0.5 {
            bytes.add_row([name.clone(), number(*count as f64), number(of_one)]);
        }
    }
    format!(
        "\n## {} records in the log\n\n{figures}\n\n{ratios}\n\n{bytes}\n\n\
         {} bytes of the database for each record added; the service had at most {} MB resident.\n",
        thousands(i64::try_from(stage.filled).unwrap_or(i64::MAX)),
        number(stage.bytes_per_record),
        number(stage.resident_max_mb),
    )
}

/// Our figures beside what the machine does without us.
const RATIOS: [(&str, &str); 11] = [
    ("single, 1", "commits, 1"),
    ("single, 8", "commits, 8"),
    ("single, 32", "commits, 32"),
    ("single, 256", "commits, 32"),
    ("single, 32", "single, 32, 1000 funds"),
    ("single, 32", VERIFY_ALL),
    ("lists of 100", "COPY, 1000 a commit"),
    ("lists of 1000", "COPY, 1000 a commit"),
    ("lists of 1000", "COPY, all in one"),
    ("lists of 1000", VERIFY_ALL),
    ("replay", VERIFY_BESIDE),
];

fn row(name: &str, figure: &Figure) -> Vec<String> {
    let (first, last) = figure.log();
    let latency = |share| figure.latency_ms(share).map_or_else(|| "-".to_owned(), number);
    let mut cells = vec![name.to_owned(), number(figure.per_s()), latency(0.5), latency(0.99)];
    cells.extend(figure.cpu_us().map(number));
    cells.extend([first, last].map(|size| if size == 0 { "-".to_owned() } else { number(size as f64) }));
    cells
}

/// Everything, for programs.
pub fn json(about: &[(&'static str, String)], stages: &[Stage], targets: &[Target]) -> Value {
    let about: serde_json::Map<String, Value> =
        about.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "about": about,
        "stages": stages.iter().map(Stage::json).collect::<Vec<_>>(),
        "targets": targets.iter().map(Target::json).collect::<Vec<_>>(),
    })
}
