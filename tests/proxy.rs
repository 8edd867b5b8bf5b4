//! Stands between a process and PostgreSQL: counts the round trips of groups, and breaks connections on demand, where a group is
//! committed or in the middle of any message.
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

/// When the writer's connection breaks: at the next group that it commits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Before the server sees it.
    BeforeCommit,
    /// After the server did it, and before the client hears of it.
    AfterCommit,
}

/// Where a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the service.
    ToServer,
    /// To the service.
    ToClient,
}

#[derive(Default)]
struct State {
    breaks: Mutex<Option<Break>>,
    /// How many messages still pass one way before a connection is cut.
    cut: Mutex<Option<(Way, u64)>>,
    messages: [AtomicU64; 2],
    bursts: AtomicU64,
    statements: AtomicU64,
    is_closed: AtomicBool,
    is_frozen: AtomicBool,
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

    /// Breaks the writer's connection where it commits the next group.
    pub fn break_at(&self, point: Break) {
        *self.state.breaks.lock().expect("no panic elsewhere") = Some(point);
    }

    /// Whether that has happened.
    pub fn has_broken(&self) -> bool {
        self.state.breaks.lock().expect("no panic elsewhere").is_none()
    }

    /// After so many more messages one way, of all connections, the next one is cut in its middle, and its connection
    /// with it; none any more where there is no cut.
    pub fn cut(&self, cut: Option<(Way, u64)>) {
        *self.state.cut.lock().expect("no panic elsewhere") = cut;
    }

    /// Whether a cut is still to come.
    pub fn will_cut(&self) -> bool {
        self.state.cut.lock().expect("no panic elsewhere").is_some()
    }

    /// How many messages passed one way so far.
    pub fn messages(&self, way: Way) -> u64 {
        self.state.messages[way as usize].load(Ordering::SeqCst)
    }

    /// From now on no new connection is let through.
    pub fn close(&self, is_closed: bool) {
        self.state.is_closed.store(is_closed, Ordering::SeqCst);
    }

    /// Whether nothing goes on of what is sent on connections that load what groups need and do not append them. They stay open.
    pub fn freeze_looks(&self, is_frozen: bool) {
        self.state.is_frozen.store(is_frozen, Ordering::SeqCst);
    }

    /// The round trips and statements so far of connections that load what groups need, or append them.
    pub fn counted(&self) -> (u64, u64) {
        (self.state.bursts.load(Ordering::SeqCst), self.state.statements.load(Ordering::SeqCst))
    }
}

impl State {
    /// Counts what ends in these bytes, and says after how many of them the connection is cut.
    fn pass(&self, way: Way, stream: &mut Messages, bytes: &[u8]) -> Option<usize> {
        let (mut begin, mut cut) = (0, self.cut.lock().expect("no panic elsewhere"));
        for end in stream.ends(bytes) {
            self.messages[way as usize].fetch_add(1, Ordering::SeqCst);
            match &mut *cut {
                Some((cut_way, 0)) if *cut_way == way => {
                    *cut = None;
                    return Some(usize::midpoint(begin, end));
                }
                Some((cut_way, left)) if *cut_way == way => *left -= 1,
                _ => {}
            }
            begin = end;
        }
        None
    }
}

/// Follows a stream of messages: a byte for the kind, and a length that counts itself and what follows.
struct Messages {
    header: Vec<u8>,
    header_length: usize,
    left: usize,
}

impl Messages {
    /// A client's first message has no kind.
    fn new(way: Way) -> Messages {
        Messages { header: vec![], header_length: if way == Way::ToServer { 4 } else { 5 }, left: 0 }
    }

    /// Where messages end in the next bytes of the stream.
    fn ends(&mut self, bytes: &[u8]) -> Vec<usize> {
        let (mut ends, mut at) = (vec![], 0);
        while at < bytes.len() {
            if self.left == 0 {
                self.header.push(bytes[at]);
                at += 1;
                let Some(length) =
                    self.header.last_chunk().filter(|_| self.header.len() == self.header_length)
                else {
                    continue;
                };
                self.left = u32::from_be_bytes(*length) as usize - 4;
                self.header.clear();
                self.header_length = 5;
            } else {
                let taken = self.left.min(bytes.len() - at);
                self.left -= taken;
                at += taken;
            }
            if self.left == 0 {
                ends.push(at);
            }
        }
        ends
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whole messages of a client: the kind of each, and its body.
fn messages(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut found, mut rest) = (vec![], bytes);
    while let [kind, a, b, c, d, ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        found.push((*kind, rest.get(5..=length).unwrap_or_default()));
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    found
}

/// What a client's messages are about.
#[derive(Default)]
struct Client {
    /// Whether it loads what groups need, or appends them.
    is_counted: bool,
    /// What it calls the statement that appends a group.
    append: Option<Vec<u8>>,
}

impl Client {
    /// Follows a burst; whether it commits a group.
    fn follow(&mut self, burst: &[u8]) -> bool {
        let mut commits = false;
        for (kind, body) in messages(burst) {
            let mut parts = body.split(|byte| *byte == 0);
            let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            match kind {
                // A name, and the statement.
                b'P' => {
                    self.is_counted |=
                        contains(second, b"append_group(") || contains(second, b"array_agg(key)");
                    if contains(second, b"append_group(") {
                        self.append = Some(first.to_vec());
                    }
                }
                // A portal, and the statement's name.
                b'B' => commits |= self.append.as_deref() == Some(second),
                _ => {}
            }
        }
        commits
    }
}

async fn pass(client: UnixStream, server: UnixStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is_mute = Arc::new(AtomicBool::new(false));
    let (heard, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let mute = Arc::clone(&is_mute);
    let shared = Arc::clone(&state);
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        let mut stream = Messages::new(Way::ToClient);
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let _ = heard.send(());
            if mute.load(Ordering::SeqCst) {
                continue;
            }
            let cut = shared.pass(Way::ToClient, &mut stream, &buffer[..count]);
            if to_client.write_all(&buffer[..cut.unwrap_or(count)]).await.is_err() || cut.is_some() {
                break;
            }
        }
    });
    let mut followed = Client::default();
    let mut stream = Messages::new(Way::ToServer);
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let mut burst = buffer[..count].to_vec();
        while let Ok(Ok(more @ 1..)) = tokio::time::timeout(HOLD, from_client.read(&mut buffer)).await {
            burst.extend_from_slice(&buffer[..more]);
        }
        let commits = followed.follow(&burst);
        if followed.is_counted {
            // `Execute` and `Query`.
            let statements = messages(&burst).iter().filter(|(kind, _)| matches!(kind, b'E' | b'Q')).count();
            state.bursts.fetch_add(1, Ordering::SeqCst);
            state.statements.fetch_add(statements as u64, Ordering::SeqCst);
        }
        let is_look = followed.is_counted && followed.append.is_none();
        while is_look && state.is_frozen.load(Ordering::SeqCst) {
            tokio::time::sleep(HOLD).await;
        }
        let point = if commits { state.breaks.lock().expect("no panic elsewhere").take() } else { None };
        if point == Some(Break::BeforeCommit) {
            break;
        }
        is_mute.store(point.is_some(), Ordering::SeqCst);
        while answered.try_recv().is_ok() {}
        let cut = state.pass(Way::ToServer, &mut stream, &burst);
        if to_server.write_all(&burst[..cut.unwrap_or(burst.len())]).await.is_err() || cut.is_some() {
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
