//! What the service writes about itself.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::reads::happen;
use crate::service::Service;

/// Everything that was logged by this process, at any level.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_holds_a_reference_a_payload_or_a_query() {
    let logged = Logged::default();
    let writer = logged.clone();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
    log.with_writer(move || writer.clone()).init();

    let service = Service::staffed("logs").await;
    happen(&service).await;
    for (who, path, status) in [
        ("agency-1", "/v1/agency/cases?limit=7", 200),
        ("agency-1", "/v1/agency/cases/ref-1", 200),
        ("agency-1", "/v1/agency/cases/ref-2/statement?limit=7", 404),
        ("agency-1", "/v1/agency/cases/REF-2", 400),
        ("screener", "/v1/cases?limit=1&cursor=case-1", 200),
        ("screener", "/v1/cases?cursor=case-1&case-2", 400),
        ("preparer", "/v1/cases/case-1", 404),
        ("stranger", "/v1/agency/cases/ref-1", 403),
    ] {
        assert_eq!(service.read(who, path).await.status, status, "{path}");
    }
    // The database refuses, too: the request's line is all that is said.
    let refused = service.post("/v1/instructions", "{\"case-1\": \"ref-1\"}").await;
    assert_eq!(refused.outcome(), "400 body_invalid");
    service.stop().await;

    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let parts = [
        "\"method\":\"GET\"",
        "\"route\":\"/v1/agency/cases/{agency_ref}/statement\"",
        "\"status\":404",
        "\"principal\":\"agency-1\"",
        "\"duration_us\":",
    ];
    assert!(text.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{text}");
    for word in ["case-1", "case-2", "ref-1", "ref-2", "REF", "limit=", "cursor", "payload", "signature"] {
        let found = text.lines().find(|line| line.contains(word));
        assert_eq!(found, None, "{word}");
    }
}
