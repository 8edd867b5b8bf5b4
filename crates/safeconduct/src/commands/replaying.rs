//! How a replaying witness keeps up with the log: it goes on from what it verified last, and fetches only what came since.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use auditor::{Against, Audited, KeptState, Standing, Verdict};
use client::Client;
use translog::checkpoint::Checkpoint;
use translog::proof::verify_consistency;

use super::kept_state;
use crate::error::{Error, Result};

/// How long the service may leave us without a further piece of a bundle.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
const PIECE_BYTES: usize = 256 * 1024;

/// What is wrong with a bundle that broke off, or was not written whole: it says nothing about the log.
const BROKEN_OFF: [&str; 5] =
    ["header_missing", "balances_missing", "records_missing", "line_unterminated", "part_shorter"];

/// The log, as far as it was replayed here.
pub(super) struct Replayer {
    client: Arc<Client>,
    path: PathBuf,
    state: Option<KeptState>,
}

/// Why a checkpoint is not cosigned.
pub(super) enum NotReplayed {
    /// The log is refuted, or is not the checkpoint's.
    Refuted(String),
    /// It could not be told now.
    Failed(String),
}

impl Replayer {
    /// Goes on from what is kept in a file, and replays the log up to now.
    pub fn open(client: Arc<Client>, path: PathBuf) -> Result<Replayer> {
        let mut replayer = Replayer { client, path, state: None };
        let left = replayer.load()?;
        match replayer.catch_up(left.as_slice()) {
            Ok(_) => Ok(replayer),
            Err(NotReplayed::Refuted(reason)) => {
                Err(Error::new(format!("{reason}. Nothing is cosigned; tell the other auditors")))
            }
            Err(NotReplayed::Failed(reason)) => Err(Error::new(reason)),
        }
    }

    /// Reads what is kept. A reopening that this home followed may have left a part of it: then all is replayed anew, and has to
    /// account for the head that is returned.
    fn load(&mut self) -> Result<Option<String>> {
        let ledger = self.client.ledger();
        let is_there = self.path.exists();
        let state = is_there.then(|| kept_state::read(&self.path, ledger.ledger)).transpose()?;
        let left = state.as_ref().map(KeptState::note).filter(|note| ledger.has_had_origin_of(note));
        let left = left.map(|note| Checkpoint::own_note(note, ledger.signer_of(note).1)).transpose()?;
        self.state = state.filter(|_| left.is_none());
        Ok(left)
    }

    /// How many records were replayed.
    pub fn size(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.head().size)
    }

    /// Replays the log up to a checkpoint, and a little further where there is more.
    pub fn covers(&mut self, checkpoint: &Checkpoint, note: &str) -> std::result::Result<(), NotReplayed> {
        if let Some(state) = self.state.as_ref().filter(|state| state.head().size >= checkpoint.size) {
            // What was replayed begins with it, or it is another log's.
            let (size, root) = (state.head().size, state.head().root);
            let proof = match checkpoint.size {
                from if from == size => vec![],
                from => self
                    .client
                    .consistency(from, size)
                    .map_err(|error| NotReplayed::Failed(error.to_string()))?,
            };
            return verify_consistency(checkpoint.size, checkpoint.root, size, root, &proof).map_err(
                |error| {
                    NotReplayed::Refuted(format!(
                        "the replayed log does not begin with the checkpoint: {error}"
                    ))
                },
            );
        }
        self.catch_up(&[note.to_owned()])
    }

    fn catch_up(&mut self, kept: &[String]) -> std::result::Result<(), NotReplayed> {
        let failed = |error: &dyn std::fmt::Display| NotReplayed::Failed(error.to_string());
        let path = match self.size() {
            0 => "/v1/bundle".to_owned(),
            size => format!("/v1/bundle?from={size}"),
        };
        let document = self.client.open_document(&path).map_err(|error| failed(&error))?;
        let bundle =
            BufReader::with_capacity(1 << 20, Patient::new(document).map_err(|error| failed(&error))?);
        let against = Against { kept, state: self.state.take(), ..Against::default() };
        let audited = auditor::audit(bundle, self.client.ledger().ledger, against);
        let judged = audited.map_err(|error| failed(&error)).and_then(|audited| self.judge(audited));
        if judged.is_err() {
            // It was used up.
            self.load().map_err(|error| failed(&error))?;
        }
        judged
    }

    fn judge(&mut self, audited: Audited) -> std::result::Result<(), NotReplayed> {
        let Audited { report, state, .. } = audited;
        if let Verdict::Refuted(finding) = &report.verdict {
            let reason = format!("the replay refutes the log: {finding}");
            return Err(if BROKEN_OFF.contains(&finding.code.as_str()) {
                NotReplayed::Failed(reason)
            } else {
                NotReplayed::Refuted(reason)
            });
        }
        let ledger = self.client.ledger();
        for kept in &report.kept {
            match kept.standing {
                // Another witness's clock or key says nothing of the log.
                Standing::Holds | Standing::Early { .. } => {}
                // This home left its origin, by the same reopening.
                Standing::Lost { .. }
                    if kept.head.as_ref().is_some_and(|head| ledger.has_had_origin_of(&head.origin)) => {}
                // The service has shown an older state than the checkpoint's.
                Standing::Missing { .. } | Standing::UnknownOrigin => {
                    return Err(NotReplayed::Failed(kept.to_string()));
                }
                Standing::Lost { .. } | Standing::Contradicts { .. } => {
                    return Err(NotReplayed::Refuted(format!("the replayed log is another: {kept}")));
                }
            }
        }
        if let Some(state) = state {
            kept_state::write(&self.path, &state).map_err(|error| NotReplayed::Failed(error.to_string()))?;
            self.state = Some(state);
        }
        Ok(())
    }
}

/// A stream that fails where nothing comes for a while: whoever sends it may hang, and must not hang us.
struct Patient {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Patient {
    fn new(mut stream: Box<dyn Read + Send>) -> io::Result<Patient> {
        let (send, pieces) = sync_channel(2);
        std::thread::Builder::new().spawn(move || {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let read = stream.read(&mut piece).map(|length| {
                    piece.truncate(length);
                    piece
                });
                let is_last = !matches!(&read, Ok(piece) if !piece.is_empty());
                if send.send(read).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Patient { pieces, piece: io::Cursor::default() })
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            let piece = match self.pieces.recv_timeout(PIECE_TIMEOUT) {
                Ok(piece) => piece?,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for 30 s"));
                }
                // It had ended before.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
            self.piece = io::Cursor::new(piece);
        }
        self.piece.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in small pieces, and then an error.
    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::Error::other("broken")),
                _ => {
                    self.0 -= 1;
                    buffer[0] = 7;
                    Ok(1)
                }
            }
        }
    }

    #[test]
    fn a_stream_is_read_whole_or_fails() {
        let mut read = Vec::new();
        Patient::new(Box::new(io::Cursor::new(vec![5; 1 << 20]))).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, vec![5; 1 << 20]);
        let mut broken = Vec::new();
        let error = Patient::new(Box::new(Broken(3))).unwrap().read_to_end(&mut broken).unwrap_err();
        assert_eq!((broken.as_slice(), error.to_string().as_str()), ([7, 7, 7].as_slice(), "broken"));
    }
}
