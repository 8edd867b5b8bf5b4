//! How the service reaches its witnesses.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use client::connection::{Http, Request, SendError, Transport as _};
use disbursement_api::pipeline::Pipeline;
use disbursement_api::witnesses::{Answered, Witnesses};
use records::scalar::Token;
use store::Databases;
use tokio::task::JoinHandle;

use crate::context;

/// The most bytes of an answer that are read: a signature line has some 200.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// `NAME=URL`, for clap.
pub(super) fn address(text: &str) -> Result<(String, String), String> {
    let (name, url) =
        text.split_once('=').ok_or("a witness is given as NAME=URL, with its name in the policy")?;
    let name: Token = name.parse().map_err(|error| format!("{name}: {error}"))?;
    // The same rule as for a service: https, or this machine.
    let connection = client::Connection::new(url, context::clock()).map_err(|error| error.to_string())?;
    Ok((name.to_string(), connection.url().to_owned()))
}

/// How long a witness may take: one that replays has to read and verify what came since it was asked last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// Asks the witnesses from now on.
pub(super) fn gather(
    pipeline: &Pipeline,
    databases: &Databases,
    addresses: &[(String, String)],
) -> JoinHandle<()> {
    let http = Http::within(ANSWER_TIMEOUT);
    let post = move |url: &str, body: String| -> Result<Answered, String> {
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        let request = Request { url: url.to_owned(), headers, body: Some(body.into_bytes()) };
        let answer = http.send(request).map_err(|error| match error {
            SendError::NotSent(reason) | SendError::Unknown(reason) => reason,
        })?;
        let mut text = String::new();
        let read = answer.body.take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        read.map(|_| (answer.status, text)).map_err(|error| format!("its answer broke off: {error}"))
    };
    let addresses = addresses.iter().cloned().collect();
    let witnesses = Witnesses::new(pipeline.clone(), databases.clone(), addresses, Arc::new(post));
    tokio::spawn(witnesses.run())
}
