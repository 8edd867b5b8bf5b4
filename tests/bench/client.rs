//! The load: connections that are kept, and as many requests in flight as are wanted. It is as light as it can be, since
//! it runs on the same cores as what it measures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::cluster::runtime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::figures::Window;
use crate::process::Process;

/// One HTTP/1.1 connection that is kept.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.expect("the service answers");
        stream.set_nodelay(true).expect("a socket's option");
        Connection { stream, received: Vec::with_capacity(4096) }
    }

    /// Sends a request and waits for the whole answer, which must be a 200: its body.
    async fn exchange(&mut self, request: &[u8]) -> &str {
        self.stream.write_all(request).await.expect("the service reads");
        self.received.clear();
        let mut whole: Option<(usize, usize, u16)> = None;
        loop {
            if let Some((begin, end, status)) = whole
                && self.received.len() >= end
            {
                let body = std::str::from_utf8(&self.received[begin..end]).expect("text");
                assert_eq!(status, 200, "{body}");
                return body;
            }
            let read = self.stream.read_buf(&mut self.received).await.expect("an answer");
            assert_ne!(read, 0, "the service closed the connection");
            whole = whole.or_else(|| head(&self.received));
        }
    }
}

/// Where the body begins and ends, and the status, once the head is there.
fn head(received: &[u8]) -> Option<(usize, usize, u16)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = response.parse(received).expect("HTTP") else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    Some((begin, begin + length.expect("a length"), response.code.expect("a status")))
}

/// What one of the clients in flight does, again and again.
pub trait Worker: Send + 'static {
    /// The next request, whole; `None` where there is nothing more to ask.
    fn next(&mut self) -> Option<Vec<u8>>;
    /// Checks the answer, which is a 200. How many it did.
    fn check(&mut self, body: &str) -> u64;
}

/// Keeps one request of each worker in flight for this long, the last ones to their end.
pub fn drive<W: Worker>(process: &Process, limit: Duration, workers: impl Iterator<Item = W>) -> Window {
    let workers: Vec<W> = workers.collect();
    runtime().block_on(async {
        // The clock starts when everybody is connected.
        let ready = Arc::new(Barrier::new(workers.len() + 1));
        let done = Arc::new(Mutex::new(Window::default()));
        let tasks: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (ready, done) = (Arc::clone(&ready), Arc::clone(&done));
                tokio::spawn(work(process.address().to_owned(), worker, limit, ready, done))
            })
            .collect();
        ready.wait().await;
        let (began, before) = (Instant::now(), process.cpu());
        for task in tasks {
            task.await.unwrap_or_else(|error| panic!("a client failed: {error}\n{}", process.log()));
        }
        let mut window = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
        window.elapsed_s = began.elapsed().as_secs_f64();
        window.cpu = process.cpu() - before;
        window
    })
}

async fn work<W: Worker>(
    address: String,
    mut worker: W,
    limit: Duration,
    ready: Arc<Barrier>,
    done: Arc<Mutex<Window>>,
) {
    let mut connection = Connection::open(&address).await;
    let (mut count, mut latencies_us) = (0, vec![]);
    ready.wait().await;
    let deadline = Instant::now() + limit;
    loop {
        let began = Instant::now();
        if began >= deadline {
            break;
        }
        // Signing is a part of the time, as it is for whoever waits.
        let Some(request) = worker.next() else { break };
        let body = connection.exchange(&request).await;
        count += worker.check(body);
        latencies_us.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
    done.count += count;
    done.latencies_us.extend(latencies_us);
}

/// A `POST` of a JSON body.
pub fn post(address: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
