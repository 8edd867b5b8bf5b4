//! What the service writes about itself.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use disbursement_api::pipeline::Settings;
use tests::service::Service;
use tests::world::{World, post_raw};
use tokio::runtime::{Builder, Runtime};
use tracing::dispatcher::{Dispatch, set_default};
use tracing::subscriber::NoSubscriber;

use super::happen;

/// Everything that the threads of one runtime logged, at any level.
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

impl Logged {
    /// A runtime whose every thread logs to here: the other services of this process are not heard.
    fn runtime(&self) -> &'static Runtime {
        let writer = self.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
        // Where there is one dispatcher, `tracing` takes it to be every thread's, and asks only whichever thread comes
        // by first; of two it asks both.
        let second = Dispatch::new(NoSubscriber::new());
        let log = Dispatch::new(log.with_writer(move || writer.clone()).finish());
        let starts = move || {
            let _both = &second;
            std::mem::forget(set_default(&log));
        };
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().on_thread_start(starts).build();
        Box::leak(Box::new(runtime.unwrap()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn no_line_holds_a_reference_a_payload_or_a_query() {
    let mut world = World::new();
    world.service.stop();
    let logged = Logged::default();
    let mut service = Service::on(
        logged.runtime(),
        &world.database,
        &world.register,
        &world.clock,
        Settings::default(),
        |_| {},
    );
    let desk = world.at(&service.url);
    happen(&desk);
    for (who, path, status) in [
        ("north", "/v1/agency/cases?limit=7", 200),
        ("north", "/v1/agency/cases/case-1-ref", 200),
        ("north", "/v1/agency/cases/case-2-ref/statement?limit=7", 404),
        ("north", "/v1/agency/cases/CASE-2-REF", 400),
        ("sven", "/v1/cases?limit=1&cursor=case-1", 200),
        ("sven", "/v1/cases?cursor=case-1&case-2", 400),
        ("anna", "/v1/cases/case-1", 404),
        ("mallory", "/v1/agency/cases/case-1-ref", 403),
    ] {
        assert_eq!(desk.get(who, path).status, status, "{path}");
    }
    let refused = post_raw(&format!("{}/v1/instructions", desk.url), "{\"case-1\": \"case-1-ref\"}");
    assert_eq!((refused.status, refused.code()), (400, "body_invalid"));
    service.stop();

    let text = logged.text();
    let parts = [
        "\"method\":\"GET\"",
        "\"route\":\"/v1/agency/cases/{agency_ref}/statement\"",
        "\"status\":404",
        "\"principal\":\"north\"",
        "\"duration_us\":",
    ];
    assert!(text.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{text}");
    for word in ["case-1", "case-2", "-ref", "REF", "limit=", "cursor", "payload", "signature"] {
        let found = text.lines().find(|line| line.contains(word));
        assert_eq!(found, None, "{word}");
    }
}
