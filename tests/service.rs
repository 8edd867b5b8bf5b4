//! A service over real HTTP on a random port, with a clock that a test moves.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use disbursement_api::app::{self, App, router};
use disbursement_api::pipeline::{LedgerKeys, Pipeline, Settings};
use ledger::time::Timestamp;
use records::scalar::Token;
use signing::keys::SecretKey;
use store::Databases;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cluster::{Database, runtime, scratch};
use crate::people::key;

/// The machine's clock, moved by as much as a test wants. Clones move together.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
        let moved = i64::try_from(real).expect("a clock of this age") + self.0.load(Ordering::Relaxed);
        Timestamp::from_unix(moved).expect("a time")
    }

    /// Moves it on, or back.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// The two keys of the tests' ledgers, and their origin.
pub struct Keys {
    /// Signs groups, entries and lapses.
    pub record: SecretKey,
    /// Signs checkpoints.
    pub checkpoint: SecretKey,
    /// The log's origin.
    pub origin: Token,
}

/// Those keys.
pub fn ledger_keys() -> Keys {
    Keys {
        record: key("the ledger's records"),
        checkpoint: key("the ledger's checkpoints"),
        origin: "tests.example/log".parse().expect("an origin"),
    }
}

/// Puts those keys, encrypted, into a data directory, for the program itself to find.
pub fn write_keys(data: &Path, passphrase: &str) {
    DirBuilder::new().mode(0o700).recursive(true).create(data.join("keys")).expect("a directory");
    let keys = ledger_keys();
    for (name, key) in [("record", &keys.record), ("checkpoint", &keys.checkpoint)] {
        let path = data.join(format!("keys/{name}.pem"));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).expect("a file");
        let pem = key.to_pkcs8_pem(passphrase).expect("a key file");
        file.write_all(pem.as_bytes()).expect("it is written");
    }
}

/// A running service. Dropping it stops it, and what it was asked to write is written before.
pub struct Service {
    /// Its URL.
    pub url: String,
    runtime: &'static Runtime,
    pipeline: Pipeline,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts one on a database; `register` is the one path of all services of a ledger.
    pub fn start(database: &Database, register: &Path, clock: &Clock) -> Service {
        Service::with(database, register, clock, Settings::default())
    }

    /// The same with other settings of the pipeline.
    pub fn with(database: &Database, register: &Path, clock: &Clock, settings: Settings) -> Service {
        Service::adjusted(database, register, clock, settings, |_| {})
    }

    /// The same with other settings of the interface too.
    pub fn adjusted(
        database: &Database,
        register: &Path,
        clock: &Clock,
        settings: Settings,
        adjust: impl FnOnce(&mut app::Settings),
    ) -> Service {
        Service::on(runtime(), database, register, clock, settings, adjust)
    }

    /// The same on a runtime of its own.
    pub fn on(
        runtime: &'static Runtime,
        database: &Database,
        register: &Path,
        clock: &Clock,
        settings: Settings,
        adjust: impl FnOnce(&mut app::Settings),
    ) -> Service {
        Service::over(runtime, database.pools(), register, clock, settings, adjust)
    }

    /// The same over pools that lead anywhere.
    pub fn over(
        runtime: &'static Runtime,
        databases: Databases,
        register: &Path,
        clock: &Clock,
        settings: Settings,
        adjust: impl FnOnce(&mut app::Settings),
    ) -> Service {
        let (register, clock) = (register.to_owned(), clock.clone());
        runtime.block_on(async move {
            let Keys { record, checkpoint, origin } = ledger_keys();
            let keys = Arc::new(LedgerKeys { record, checkpoint: Box::new(checkpoint), origin });
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let for_pipeline = clock.clone();
            let pipeline = Pipeline::start(
                databases.clone(),
                Arc::clone(&keys),
                register,
                move || for_pipeline.now(),
                settings,
            );
            let mut interface = app::Settings::new(&url);
            adjust(&mut interface);
            let limits = interface.limits.clone();
            let app = App::new(pipeline.clone(), databases, &keys, move || clock.now(), interface);
            let (stop, stopped) = oneshot::channel::<()>();
            let served = tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                app::serve(listener, router(app), &limits, stopped).await;
            });
            Service { url, runtime, pipeline, stop: Some(stop), served: Some(served) }
        })
    }

    /// Stops it. What it was asked to write is written before this returns; only idle connections are left.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        let served = self.served.take();
        self.runtime.block_on(async {
            if let Some(served) = served {
                let _ = served.await;
            }
            self.pipeline.shutdown().await;
        });
    }

    /// The pipeline behind it.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A register's path in a directory of its own.
pub fn register() -> PathBuf {
    scratch("register").join("register.json")
}
