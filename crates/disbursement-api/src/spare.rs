//! One file descriptor that is kept back. Where there are no others, a client would connect, as the kernel sees to that,
//! and hear nothing; with this one it is told to come again.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::problem::{OVERLOADED, Problem};

/// `ENFILE` and `EMFILE`: no more files, of the system or of the process.
const NO_MORE_FILES: [i32; 2] = [23, 24];
/// How long one client may keep the others from being told.
const LIMIT: Duration = Duration::from_millis(200);

/// The descriptor.
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn new() -> Spare {
        Spare(File::open("/dev/null").ok())
    }

    /// Whether a connection was not accepted for want of a descriptor.
    pub(crate) fn is_needed(error: &io::Error) -> bool {
        error.raw_os_error().is_some_and(|code| NO_MORE_FILES.contains(&code))
    }

    /// Takes the next connection in its place, tells that client to come again, and closes it.
    pub(crate) async fn refuse(&mut self, listener: &TcpListener) {
        self.0 = None;
        let _ = tokio::time::timeout(LIMIT, tell(listener)).await;
        *self = Spare::new();
    }
}

async fn tell(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let body = serde_json::to_string(&Problem::from(OVERLOADED))?;
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
                retry-after: 1\r\ncache-control: no-store\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What it still sends has to be taken, or it would see a reset in place of the answer.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
