//! Stands between a process and PostgreSQL: counts the writer's round trips and breaks its connection on demand.
//!
//! A client that pipelines sends its statements without waiting. The proxy holds back what it reads for a moment, so that all
//! that is sent without waiting for an answer goes on as one burst: the bursts are the round trips.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::cluster::{cluster, runtime, scratch};

/// Longer than a client takes between two statements that it does not wait between.
const HOLD: Duration = Duration::from_millis(15);

/// When the writer's connection breaks: at its next `COMMIT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Before the server sees it.
    BeforeCommit,
    /// After the server did it, and before the client hears of it.
    AfterCommit,
}

#[derive(Default)]
struct State {
    breaks: Mutex<Option<Break>>,
    bursts: AtomicU64,
    statements: AtomicU64,
    is_closed: AtomicBool,
}

/// The proxy.
pub struct Proxy {
    dir: PathBuf,
    state: Arc<State>,
}

impl Proxy {
    /// One in a directory of its own, before the server of this run.
    pub fn start() -> Proxy {
        const SOCKET: &str = ".s.PGSQL.5432";
        let (dir, server) = (scratch("proxy"), cluster().socket_dir().join(SOCKET));
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let _inside = runtime().enter();
        let listener = UnixListener::bind(dir.join(SOCKET)).expect("a socket");
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.is_closed.load(Ordering::SeqCst) {
                    continue;
                }
                let server = UnixStream::connect(&server).await.expect("the server's socket");
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Proxy { dir, state }
    }

    /// The directory of its socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Breaks the writer's connection at its next commit.
    pub fn break_at(&self, point: Break) {
        *self.state.breaks.lock().expect("no panic elsewhere") = Some(point);
    }

    /// Whether that has happened.
    pub fn has_broken(&self) -> bool {
        self.state.breaks.lock().expect("no panic elsewhere").is_none()
    }

    /// From now on no new connection is let through.
    pub fn close(&self, is_closed: bool) {
        self.state.is_closed.store(is_closed, Ordering::SeqCst);
    }

    /// The round trips and statements of writers so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.state.bursts.load(Ordering::SeqCst), self.state.statements.load(Ordering::SeqCst))
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The statements in whole messages of a client: `Execute` and `Query`.
fn statements(bytes: &[u8]) -> u64 {
    let (mut count, mut rest) = (0, bytes);
    while let [kind, a, b, c, d, ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        count += u64::from(matches!(kind, b'E' | b'Q'));
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    count
}

async fn pass(client: UnixStream, server: UnixStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is_mute = Arc::new(AtomicBool::new(false));
    let (heard, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let mute = Arc::clone(&is_mute);
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let _ = heard.send(());
            if mute.load(Ordering::SeqCst) {
                continue;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    });
    let mut is_writer = false;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let mut burst = buffer[..count].to_vec();
        while let Ok(Ok(more @ 1..)) = tokio::time::timeout(HOLD, from_client.read(&mut buffer)).await {
            burst.extend_from_slice(&buffer[..more]);
        }
        is_writer |= contains(&burst, b"FROM head FOR UPDATE");
        if is_writer {
            state.bursts.fetch_add(1, Ordering::SeqCst);
            state.statements.fetch_add(statements(&burst), Ordering::SeqCst);
        }
        let point = if is_writer && contains(&burst, b"COMMIT\0") {
            state.breaks.lock().expect("no panic elsewhere").take()
        } else {
            None
        };
        if point == Some(Break::BeforeCommit) {
            break;
        }
        is_mute.store(point.is_some(), Ordering::SeqCst);
        while answered.try_recv().is_ok() {}
        if to_server.write_all(&burst).await.is_err() {
            break;
        }
        if point == Some(Break::AfterCommit) {
            // The first answer says that the server is at work; a moment later it is done.
            let _ = answered.recv().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            break;
        }
    }
    back.abort();
}
