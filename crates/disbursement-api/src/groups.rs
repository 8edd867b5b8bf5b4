//! Work that costs less for many than for each: whoever wants something done waits in a queue, and what waits is done
//! together, as one group.
//!
//! Nobody waits for a group to fill up: what has come is taken as soon as the group before it is done, so groups grow with the
//! load alone. A group that takes long holds up nobody but itself ([`PATIENCE`]); what it does has to have a limit of its own.
//!
//! Who goes away while waiting is not worked for. Who goes away later leaves a group as it is. Where a group fails in a way
//! that it does not foresee, those who wait for it are told so, and the next one is taken.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// After how long the next group is taken, although one is not done.
const PATIENCE: Duration = Duration::from_millis(500);

/// A queue, and the task that works it off. When this is dropped, the task ends with what is queued.
pub(crate) struct Groups<Q, A> {
    queue: mpsc::Sender<Waiting<Q, A>>,
}

struct Waiting<Q, A> {
    asked: Q,
    answer: oneshot::Sender<A>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// As many wait as may.
    Full,
    /// The group failed.
    Failed,
}

impl<Q: Send + 'static, A: Send + 'static> Groups<Q, A> {
    /// Starts the task. At most `room` wait, and at most `size` are taken as one group; `work` answers each, in order.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) fn start<F>(
        room: usize,
        size: usize,
        work: impl Fn(Vec<Q>) -> F + Send + 'static,
    ) -> Groups<Q, A>
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(room);
        tokio::spawn(run(waiting, size, work));
        Groups { queue }
    }

    /// Waits until this was done, as a part of some group.
    pub(crate) async fn ask(&self, asked: Q) -> Result<A, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { asked, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Full,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::Failed,
        })?;
        answered.await.map_err(|_| NoAnswer::Failed)
    }
}

async fn run<Q, A, F>(mut waiting: mpsc::Receiver<Waiting<Q, A>>, size: usize, work: impl Fn(Vec<Q>) -> F)
where
    A: Send + 'static,
    F: Future<Output = Vec<A>> + Send + 'static,
{
    let mut taken = Vec::with_capacity(size);
    while waiting.recv_many(&mut taken, size).await > 0 {
        taken.retain(|one| !one.answer.is_closed());
        if taken.is_empty() {
            continue;
        }
        let (asked, answers): (Vec<Q>, Vec<_>) = taken.drain(..).map(|one| (one.asked, one.answer)).unzip();
        let answered = work(asked);
        // A task of its own, so that a panic ends nothing but the group.
        let group = tokio::spawn(async move {
            for (to, answer) in answers.into_iter().zip(answered.await) {
                // Who went away is not told.
                let _ = to.send(answer);
            }
        });
        let _ = tokio::time::timeout(PATIENCE, group).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles numbers, a group whenever it is let, and writes groups down as they come.
    struct Doubling {
        groups: Groups<u64, u64>,
        seen: Arc<Mutex<Vec<Vec<u64>>>>,
        goes: Arc<Semaphore>,
    }

    impl Doubling {
        fn start(room: usize, size: usize) -> Doubling {
            let (seen, goes) = (Arc::new(Mutex::new(vec![])), Arc::new(Semaphore::new(0)));
            let of_work = (Arc::clone(&seen), Arc::clone(&goes));
            let groups = Groups::start(room, size, move |asked: Vec<u64>| {
                let (seen, goes) = (Arc::clone(&of_work.0), Arc::clone(&of_work.1));
                async move {
                    seen.lock().unwrap().push(asked.clone());
                    goes.acquire().await.unwrap().forget();
                    assert!(!asked.contains(&666), "a number that nobody foresaw");
                    asked.iter().map(|number| number * 2).collect()
                }
            });
            Doubling { groups, seen, goes }
        }

        /// Asks all of these, in this order, and lets that many groups go when nothing more happens.
        async fn ask(
            &self,
            numbers: impl IntoIterator<Item = u64>,
            lets: usize,
        ) -> Vec<Result<u64, NoAnswer>> {
            let asked = join_all(numbers.into_iter().map(|number| self.groups.ask(number)));
            let let_go = async {
                settle().await;
                self.goes.add_permits(lets);
            };
            tokio::join!(biased; asked, let_go).0
        }

        fn seen(&self) -> Vec<Vec<u64>> {
            self.seen.lock().unwrap().clone()
        }
    }

    /// Everybody gets as far as it can.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_one_group_up_to_its_size() {
        let doubling = Doubling::start(100, 4);
        assert_eq!(doubling.ask([1], 1).await, [Ok(2)]);
        assert_eq!(doubling.ask(1..=11, 3).await, (1..=11).map(|n| Ok(n * 2)).collect::<Vec<_>>());
        assert_eq!(doubling.seen(), [vec![1], vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10, 11]]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_told_so() {
        let doubling = Doubling::start(2, 4);
        assert_eq!(doubling.ask(1..=3, 1).await, [Ok(2), Ok(4), Err(NoAnswer::Full)]);
        assert_eq!(doubling.ask([4], 1).await, [Ok(8)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_went_away_is_not_worked_for() {
        let doubling = Doubling::start(100, 4);
        {
            let mut gone = Box::pin(doubling.groups.ask(1));
            let mut first = Box::pin(doubling.groups.ask(2));
            assert!(tokio::time::timeout(Duration::ZERO, &mut first).await.is_err());
            settle().await;
            assert!(tokio::time::timeout(Duration::ZERO, &mut gone).await.is_err());
        }
        // The first was gone after its group had begun, the second before.
        doubling.goes.add_permits(1);
        assert_eq!(doubling.ask([3], 1).await, [Ok(6)]);
        assert_eq!(doubling.seen(), [vec![2], vec![3]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_panics_ends_nothing_but_itself() {
        let doubling = Doubling::start(100, 2);
        let answers = doubling.ask([1, 666, 3], 2).await;
        assert_eq!(answers, [Err(NoAnswer::Failed), Err(NoAnswer::Failed), Ok(6)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_hangs_holds_up_nobody_for_long() {
        let doubling = Doubling::start(100, 1);
        let hangs = tokio::spawn({
            let asked = doubling.groups.queue.clone();
            async move { Groups { queue: asked }.ask(1).await }
        });
        settle().await;
        let began = tokio::time::Instant::now();
        let next = doubling.groups.ask(2);
        tokio::pin!(next);
        assert!(tokio::time::timeout(PATIENCE * 2, &mut next).await.is_err());
        assert_eq!((doubling.seen(), began.elapsed()), (vec![vec![1], vec![2]], PATIENCE * 2));
        doubling.goes.add_permits(2);
        assert_eq!((hangs.await.unwrap(), next.await), (Ok(2), Ok(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_queued_is_done_when_nobody_can_ask_any_more() {
        let Doubling { groups, seen, goes } = Doubling::start(100, 1);
        let mut asked: Vec<_> = (1..=3)
            .map(|number| {
                let (answer, answered) = oneshot::channel();
                assert!(groups.queue.try_send(Waiting { asked: number, answer }).is_ok());
                answered
            })
            .collect();
        drop(groups);
        goes.add_permits(3);
        for (number, answered) in (1..=3).zip(&mut asked) {
            assert_eq!(answered.await, Ok(number * 2));
        }
        assert_eq!(seen.lock().unwrap().len(), 3);
    }
}
