//! Traces and the log: a collector that takes what the program really sends, and what it wrote meanwhile at its most
//! talkative.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value as Json;

use tests::world::policy;

use super::{Observed, assert_anonymous, every_id, whole_life};

/// A collector of OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let collector = collector.clone();
                thread::spawn(move || collector.take(stream.unwrap()));
            }
        });
        url
    }

    /// Takes the requests of one connection.
    fn take(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            self.0.lock().unwrap().push(ExportTraceServiceRequest::decode(&body[..]).unwrap());
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    }

    /// Every span, and the resources and scopes around them.
    fn taken(&self) -> (Vec<Span>, BTreeSet<String>) {
        let (mut spans, mut around) = (vec![], BTreeSet::new());
        for resource in self.0.lock().unwrap().iter().flat_map(|request| &request.resource_spans) {
            around.insert(attributes(&resource.resource.as_ref().unwrap().attributes));
            for scope in &resource.scope_spans {
                let by = scope.scope.as_ref().unwrap();
                around.insert(format!("{} {} {}", by.name, by.version, attributes(&by.attributes)));
                spans.extend(scope.spans.iter().cloned());
            }
        }
        (spans, around)
    }
}

fn attributes(all: &[KeyValue]) -> String {
    all.iter().fold(String::new(), |mut text, one| {
        let _ = write!(text, "{}={} ", one.key, shown(one.value.as_ref()));
        text
    })
}

fn shown(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("an attribute of another type: {other:?}"),
    }
}

/// A span in words: its name and its attributes, those of its events and links among them.
fn words(span: &Span) -> String {
    assert_eq!((span.trace_state.as_str(), span.events.len()), ("", 0), "{span:?}");
    let links: Vec<String> = span.links.iter().map(|link| attributes(&link.attributes)).collect();
    let status = span.status.as_ref().map_or("", |status| status.message.as_str());
    format!("{} {}{} {status}", span.name, attributes(&span.attributes), links.join(" "))
}

#[test]
fn traces_and_the_log_tell_how_long_it_took_and_of_no_case() {
    let collector = Collector::default();
    let url = collector.start();
    let mut observed = Observed::start(&["--otlp", &url], "trace");
    whole_life(&mut observed.desk);
    let log = observed.stop();
    let (spans, around) = collector.taken();

    let sent: String = spans.iter().map(|span| words(span) + "\n").collect();
    assert_anonymous(&sent, &every_id(&observed.desk));
    assert_eq!(
        around.iter().map(|text| text.trim()).collect::<Vec<_>>(),
        ["safeconduct", "service.name=safeconduct"]
    );

    // The stages are parts of what caused them, and a group names the requests that it was made for.
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&span.span_id[..], span)).collect();
    let mut places = BTreeMap::new();
    for span in &spans {
        let parent = by_id.get(&span.parent_span_id[..]).map_or("", |parent| &parent.name);
        *places.entry(format!("{parent}/{}", span.name)).or_insert(0) += 1;
    }
    let expected = [
        "/append_group",
        "/publish_head",
        "/request",
        "append_group/commit",
        "append_group/decide",
        "append_group/load",
        "request/receipt",
        "request/verify",
    ];
    assert_eq!(places.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(places.values().all(|count| *count >= 10), "{places:?}");
    let groups = spans.iter().filter(|span| span.name == "append_group" && !span.links.is_empty());
    let linked: Vec<&Span> =
        groups.flat_map(|group| &group.links).map(|link| by_id[&link.span_id[..]]).collect();
    assert!(linked.len() >= 10 && linked.iter().all(|span| span.name == "request"));
    let posted = linked[0];
    assert_eq!(
        words(posted).trim(),
        "request http.request.method=POST http.route=/v1/instructions http.response.status_code=200"
    );
    let group = spans.iter().find(|span| span.name == "append_group" && !span.links.is_empty()).unwrap();
    assert!(words(group).starts_with("append_group instructions=1 round_trips="), "{}", words(group));

    // The log names who asked, in a request's line, and whom an operator deals with nowhere else.
    let mut principals = 0;
    let rest: String = log.lines().fold(String::new(), |mut rest, line| {
        let mut json: Json = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let fields = json.as_object_mut().unwrap();
        principals += usize::from(fields["message"] == "request" && fields.remove("principal").is_some());
        let _ = writeln!(rest, "{json}");
        rest
    });
    assert!(principals >= 10, "{log}");
    assert_anonymous(&rest, &every_id(&observed.desk));
}

#[test]
fn a_collector_that_is_away_harms_no_payment() {
    // Taken, and given up again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut observed = Observed::start(&["--otlp", &format!("http://{nobody}")], "info");
    observed.desk.found(policy());
    observed.desk.fund("1000.00");
    let log = observed.stop();
    assert!(log.contains("traces were not sent"), "{log}");
}
