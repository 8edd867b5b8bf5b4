//! A thread that is asked one thing after the other, and that nobody waits for too long: what it calls may never return.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What came of it, or why nothing did.
type Answer = Result<Vec<u8>, String>;

/// The thread.
pub struct Worker {
    limit: Duration,
    asked: Mutex<Asked>,
}

struct Asked {
    /// Room for one that waits behind one that does not return.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    is_late: bool,
}

struct Job {
    message: Vec<u8>,
    answer: SyncSender<Answer>,
}

impl Worker {
    /// Starts it. Each message gets an answer within the limit.
    pub fn start(
        limit: Duration,
        mut work: impl FnMut(&[u8]) -> Answer + Send + 'static,
    ) -> io::Result<Worker> {
        let (jobs, asked): (_, Receiver<Job>) = sync_channel(1);
        let thread = thread::Builder::new().name("token".to_owned()).spawn(move || {
            while let Ok(job) = asked.recv() {
                // Whoever asked may have gone.
                let _ = job.answer.send(work(&job.message));
            }
        })?;
        let asked = Mutex::new(Asked { jobs: Some(jobs), thread: Some(thread), is_late: false });
        Ok(Worker { limit, asked })
    }

    /// Asks, and waits. Others who ask meanwhile wait for their turn.
    pub fn ask(&self, message: &[u8]) -> Answer {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let late = || format!("it has not answered within {} s", self.limit.as_secs_f32());
        let (answer, answered) = sync_channel(1);
        let job = Job { message: message.to_vec(), answer };
        // There is no room behind one that is late and another.
        let is_taken = asked.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        let answer = if is_taken { answered.recv_timeout(self.limit).ok() } else { None };
        asked.is_late = answer.is_none();
        answer.unwrap_or_else(|| Err(late()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let asked = self.asked.get_mut().unwrap_or_else(PoisonError::into_inner);
        asked.jobs = None;
        // It puts things in order before the process ends; one that does not return is left behind.
        if let Some(thread) = asked.thread.take().filter(|_| !asked.is_late) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn many_ask_and_each_gets_its_own_answer() {
        let worker = Worker::start(Duration::from_secs(10), |message| Ok(message.to_vec())).unwrap();
        thread::scope(|scope| {
            for who in 0..8u8 {
                let worker = &worker;
                scope
                    .spawn(move || (0..50).for_each(|n| assert_eq!(worker.ask(&[who, n]), Ok(vec![who, n]))));
            }
        });
    }

    #[test]
    fn one_that_does_not_return_is_not_waited_for_and_is_asked_again() {
        let (go_on, waits) = channel::<()>();
        let worker = Worker::start(Duration::from_millis(50), move |message| {
            if message == b"hang" {
                let _ = waits.recv();
            }
            Ok(message.to_vec())
        })
        .unwrap();
        for message in [b"hang", b"next", b"more", b"last"] {
            assert!(worker.ask(message).unwrap_err().contains("not answered"));
        }
        go_on.send(()).unwrap();
        let begin = Instant::now();
        while worker.ask(b"again") != Ok(b"again".to_vec()) {
            assert!(begin.elapsed() < Duration::from_secs(10), "it does not come back");
        }
    }

    #[test]
    fn one_that_hangs_does_not_keep_the_process() {
        let worker = Worker::start(Duration::from_millis(10), |_| {
            loop {
                thread::park();
            }
        })
        .unwrap();
        assert!(worker.ask(b"").is_err());
        drop(worker);
    }

    #[test]
    fn one_that_died_is_told() {
        let worker = Worker::start(Duration::from_millis(10), |_| panic!("on purpose")).unwrap();
        assert!(worker.ask(b"").is_err());
        assert!(worker.ask(b"").is_err());
    }
}
