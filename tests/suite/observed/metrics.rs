//! Metrics, as a monitor scrapes them from the program; `docs/operating/monitoring.md` is held to them.

use std::collections::{BTreeMap, BTreeSet};

use tests::binary::root;
use tests::world::{Answer, get_unsigned};

use super::{Observed, assert_anonymous, every_id, whole_life};

/// A metric: its kind, and the labels that its series have.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// A series: its name, its labels and its value.
struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

fn series(text: &str) -> Vec<Series<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| label.trim_end_matches('"').split_once("=\"").unwrap()).collect();
            Series { name, labels, value: value.parse().unwrap() }
        })
        .collect()
}

/// What is exported, by the name that a query has to use.
fn exported(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let metric = Metric { kind: kind.to_owned(), labels: BTreeSet::new() };
        assert_eq!(metrics.insert(format!("{name}{suffix}"), metric), None, "{name} is there twice");
    }
    for one in series(text) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| one.name.strip_suffix(suffix));
        let base = base.filter(|base| metrics.contains_key(*base)).unwrap_or(one.name);
        let metric = metrics.get_mut(base).unwrap_or_else(|| panic!("{} has no type", one.name));
        metric
            .labels
            .extend(one.labels.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "le"));
    }
    metrics
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/operating/monitoring.md")).unwrap()
}

/// What the page's table lists: name, kind and labels of each row.
fn listed(page: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    let table = page.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, ..] = &cells[..] else { panic!("{line}") };
        let name = name.trim_matches('`').to_owned();
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        assert_eq!(metrics.insert(name.clone(), Metric { kind: (*kind).to_owned(), labels }), None, "{name}");
    }
    metrics
}

/// The metrics that the page names anywhere, as what to alarm on.
fn named(page: &str) -> BTreeSet<&str> {
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("safeconduct_") || word.starts_with("process_")).collect()
}

/// The sum of all series of this name that have this label.
fn value(text: &str, name: &str, label: &str) -> f64 {
    let all = series(text);
    let has = |one: &&Series<'_>| {
        label.is_empty() || one.labels.iter().any(|(name, value)| format!("{name}={value}") == label)
    };
    let found: Vec<f64> =
        all.iter().filter(|one| one.name == name).filter(has).map(|one| one.value).collect();
    assert!(!found.is_empty(), "no {name} with {label} in\n{text}");
    found.iter().sum()
}

fn scraped(url: &str) -> Answer {
    let (base, path) = url.rsplit_once('/').unwrap();
    let answer = get_unsigned(base, &format!("/{path}"));
    assert_eq!(answer.status, 200);
    answer
}

#[test]
fn metrics_tell_how_it_goes_and_nothing_about_anybody() {
    let mut observed = Observed::start(&["--metrics", "127.0.0.1:0"], "info");
    let url = observed.said("metrics").to_owned();
    let at_first = scraped(&url).text;
    assert_eq!(value(&at_first, "safeconduct_log_records", ""), 0.0);
    whole_life(&mut observed.desk);
    let answer = scraped(&url);
    assert!(answer.headers["content-type"].starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text;

    assert_anonymous(&text, &every_id(&observed.desk));
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    // It is the public address that strangers reach.
    assert_eq!(get_unsigned(&observed.desk.url, "/metrics").status, 404);

    let exported = exported(&text);
    let allowed = ["code", "method", "outcome", "reason", "route", "stage", "status"];
    for (name, metric) in &exported {
        assert!(metric.labels.iter().all(|label| allowed.contains(&label.as_str())), "{name}: {metric:?}");
    }
    let page = page();
    let mut listed = listed(&page);
    // It begins with the first witness: see `witness.rs`.
    assert!(listed.remove("safeconduct_witness_records").is_some());
    assert_eq!(exported, listed);
    for name in named(&page).into_iter().filter(|name| *name != "safeconduct_witness_records") {
        assert!(exported.contains_key(name), "the page speaks of {name}");
    }

    let size = observed.desk.basis().size.0 as f64;
    let of = |name: &str, label: &str| value(&text, &format!("safeconduct_{name}"), label);
    assert_eq!((of("log_records", ""), of("log_signed_records", "")), (size, size));
    assert_eq!((of("log_unsigned_records", ""), of("log_unsigned_seconds", "")), (0.0, 0.0));
    assert_eq!((of("publisher", ""), of("halted", ""), of("queue_instructions", "")), (1.0, 0.0, 0.0));
    // Each once: the three instructions that the rules refused, the reads, and the body.
    for code in ["obligation_exists", "screening_open", "case_not_found", "key_unknown", "body_invalid"] {
        assert_eq!(of("refusals_total", &format!("code={code}")), 1.0, "{code}");
    }
    assert_eq!(of("http_requests_total", "route=/v1/agency/cases/{agency_ref}/statement"), 1.0);
    assert_eq!(
        (of("http_requests_total", "status=404"), of("http_requests_total", "route=none")),
        (2.0, 1.0)
    );
    assert_eq!(
        of("http_requests_total", "route=/v1/instructions"),
        of("http_request_duration_seconds_count", "route=/v1/instructions")
    );
    // One signs after the other, so nearly every instruction is a group; and no group takes fewer than two round trips.
    let groups = of("groups_total", "outcome=written");
    assert!(groups >= 20.0 && of("group_instructions_sum", "") >= groups, "{text}");
    assert!(of("group_round_trips_sum", "") >= 2.0 * of("group_round_trips_count", ""));
    let reads = of("group_agency_reads_sum", "");
    assert!(reads >= 2.0 && reads == of("group_agency_reads_count", ""), "{text}");
    for stage in ["verify", "queue", "load", "decide", "commit", "publish_head", "receipt"] {
        let count = of("stage_duration_seconds_count", &format!("stage={stage}"));
        assert!(
            count >= 10.0 && of("stage_duration_seconds_sum", &format!("stage={stage}")) > 0.0,
            "{stage}"
        );
    }
    assert!(value(&text, "process_resident_memory_bytes", "") > 1e6);
    observed.stop();
}
