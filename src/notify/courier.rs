//! Brings one receiver its messages, one after the other, for as long as it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Setup;
use super::message::{Letter, Message};
use super::queue::Queue;
use crate::metrics::ReceiverMetrics;
use crate::outbound::Fault;

/// The first pause after a failure; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What the receiver does not want is tried this often, some minutes in all: its setup may be mended meanwhile, but what is
/// refused for what it says would keep all behind it waiting.
const REFUSALS_MAX: u32 = 10;
/// A receiver that stays dead is told in the log this often.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// What the notifier and a courier share.
pub(super) struct Post {
    setup: Mutex<Arc<Setup>>,
    queue: Mutex<Queue>,
    /// Something has come, or the way has changed.
    wake: Notify,
    /// One test at a time.
    pub(super) testing: Semaphore,
    metrics: ReceiverMetrics,
}

impl Post {
    pub(super) fn new(setup: Arc<Setup>, metrics: ReceiverMetrics) -> Self {
        let (setup, queue) = (Mutex::new(setup), Mutex::default());
        Self { setup, queue, wake: Notify::new(), testing: Semaphore::new(1), metrics }
    }

    pub(super) fn setup(&self) -> Arc<Setup> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_up(&self, setup: Arc<Setup>) {
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = setup;
        self.wake.notify_one();
    }

    pub(super) fn put(&self, message: &Arc<Message>) {
        let bounds = self.setup().bounds();
        let mut queue = self.queue();
        self.metrics.left_out(queue.put(message, bounds, Instant::now()));
        self.metrics.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        drop(queue);
        self.wake.notify_one();
    }

    /// Messages that wait; the one on its way is not among them.
    pub(super) fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock can panic halfway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, or when to look again.
    fn next(&self, is_stopping: bool) -> Result<(Letter, Instant), Option<Instant>> {
        let (bounds, now) = (self.setup().bounds(), Instant::now());
        let mut queue = self.queue();
        let left_out = if is_stopping { queue.flush(bounds, now) } else { queue.end_windows(bounds, now) };
        self.metrics.left_out(left_out);
        let next = queue.take();
        self.metrics.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        next.ok_or_else(|| queue.due())
    }
}

pub(super) struct Courier {
    post: Arc<Post>,
    /// When the stop ends, once there is one.
    stop: watch::Receiver<Option<Instant>>,
    /// Since when nothing arrives, and when that was last told.
    failing: Option<(Instant, Instant)>,
}

/// How a try ended that is worth another one.
struct Failure {
    fault: Fault,
    tries: u32,
    refusals: u32,
}

impl Courier {
    pub(super) fn new(post: Arc<Post>, stop: watch::Receiver<Option<Instant>>) -> Self {
        Self { post, stop, failing: None }
    }

    /// Until a stop; then what waits is tried once more each, unless the first of it fails.
    pub(super) async fn run(mut self) {
        loop {
            let is_stopping = self.stop.borrow().is_some();
            match self.post.next(is_stopping) {
                Ok((letter, since)) => {
                    if !self.deliver(&letter, since).await {
                        return;
                    }
                }
                Err(_) if is_stopping => return,
                Err(due) => self.wait(due).await,
            }
        }
    }

    /// Until something comes, a window ends, or there is a stop.
    async fn wait(&mut self, due: Option<Instant>) {
        let stop = self.stop.wait_for(Option::is_some);
        tokio::select! {
            () = self.post.wake.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            _ = stop => {}
        }
    }

    /// Tries until it has arrived or is given up; false at a stop that nothing gets past any more.
    async fn deliver(&mut self, letter: &Letter, since: Instant) -> bool {
        let (mut tries, mut refusals) = (0, 0);
        loop {
            let setup = self.post.setup();
            let deadline = *self.stop.borrow();
            let outcome = match deadline {
                None => attempt(&setup, letter).await,
                Some(deadline) => timeout_at(deadline, attempt(&setup, letter))
                    .await
                    .unwrap_or_else(|_| Err(Fault::new("the daemon stopped before there was an answer"))),
            };
            let Err(fault) = outcome else {
                self.arrived(&setup);
                return true;
            };
            tries += 1;
            refusals += u32::from(fault.is_refusal);
            self.failed(&setup, &fault);
            if self.stop.borrow().is_some() {
                self.post.queue().lose(letter);
                self.post.metrics.given_up(letter.count);
                return false;
            }
            let failure = Failure { fault, tries, refusals };
            let Some(pause) = pause(&setup, &failure, since, Instant::now()) else {
                tracing::error!(
                    receiver = &*setup.name,
                    tries,
                    subject = letter.subject(),
                    "a message is given up: {}",
                    failure.fault.what
                );
                self.post.queue().lose(letter);
                self.post.metrics.given_up(letter.count);
                return true;
            };
            self.rest(&setup, pause).await;
        }
    }

    /// A pause that ends early when the way has changed, or at a stop.
    async fn rest(&mut self, setup: &Arc<Setup>, pause: Duration) {
        let until = Instant::now() + pause;
        let stop = self.stop.wait_for(Option::is_some);
        let (post, setup) = (&self.post, Arc::clone(setup));
        let changed = async {
            // Messages that come wake it, too; they wait their turn.
            while Arc::ptr_eq(&post.setup(), &setup) {
                post.wake.notified().await;
            }
        };
        tokio::select! {
            () = sleep_until(until) => {}
            () = changed => {}
            _ = stop => {}
        }
    }

    fn arrived(&mut self, setup: &Setup) {
        self.post.metrics.sent.inc();
        self.post.metrics.failing.set(0);
        if self.failing.take().is_some() {
            tracing::info!(receiver = &*setup.name, "messages arrive again");
        }
    }

    fn failed(&mut self, setup: &Setup, fault: &Fault) {
        self.post.metrics.failed.inc();
        self.post.metrics.failing.set(1);
        let now = Instant::now();
        let (since, told) = self.failing.unwrap_or((now, now));
        if self.failing.is_none() || now.duration_since(told) >= TELL_EVERY {
            let for_s = now.duration_since(since).as_secs();
            tracing::warn!(
                receiver = &*setup.name,
                for_s,
                "a message does not arrive, it is tried again: {}",
                fault.what
            );
            self.failing = Some((since, now));
        }
    }
}

/// One try, within its time.
pub(super) async fn attempt(setup: &Setup, letter: &Letter) -> Result<(), Fault> {
    match timeout(setup.timeout, setup.way.send(letter, setup.timeout)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Fault::new(format!("no answer within {} ms", setup.timeout.as_millis()))),
    }
}

/// How long to wait before the next try; none if there is to be none.
fn pause(setup: &Setup, failure: &Failure, since: Instant, now: Instant) -> Option<Duration> {
    let left = (since + setup.give_up_after).saturating_duration_since(now);
    if left.is_zero() || failure.refusals >= REFUSALS_MAX {
        return None;
    }
    let doubled = PAUSE_MIN.saturating_mul(1 << (failure.tries - 1).min(16)).min(PAUSE_MAX);
    // Between a half and all of it, so that receivers that failed together do not come back together.
    let jittered = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
    let pause = failure.fault.retry_after.map_or(jittered, |wish| wish.max(jittered));
    // The last try is at the end of its time, not before.
    Some(pause.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Way;

    fn setup() -> Setup {
        Setup {
            name: "ops".into(),
            way: Way::command(&["/bin/true".into()]).expect("an absolute path"),
            filter: Default::default(),
            timeout: Duration::from_secs(1),
            give_up_after: Duration::from_secs(3_600),
            queue_max: 10,
            coalesce: Duration::ZERO,
        }
    }

    fn failure(tries: u32, refusals: u32, retry_after: Option<u64>) -> Failure {
        let fault = Fault { retry_after: retry_after.map(Duration::from_secs), ..Fault::new("no") };
        Failure { fault, tries, refusals }
    }

    #[test]
    fn pauses_grow_to_a_minute_and_are_never_without_jitter() {
        let (setup, now) = (setup(), Instant::now());
        for (tries, whole_ms) in
            [(1, 500), (2, 1_000), (5, 8_000), (7, 32_000), (8, 60_000), (4_000_000_000, 60_000)]
        {
            let pauses: Vec<_> =
                (0..50).filter_map(|_| pause(&setup, &failure(tries, 0, None), now, now)).collect();
            let (least, most) = (Duration::from_millis(whole_ms / 2), Duration::from_millis(whole_ms));
            assert!(
                pauses.len() == 50 && pauses.iter().all(|it| (least..=most).contains(it)),
                "{tries}: {pauses:?}"
            );
            assert!(pauses.iter().any(|it| *it != pauses[0]), "no jitter");
        }
    }

    #[test]
    fn it_ends_after_its_time_or_with_the_tenth_refusal_and_the_receivers_wish_is_heeded() {
        let (setup, since) = (setup(), Instant::now());
        let almost = since + setup.give_up_after - Duration::from_millis(10);
        assert_eq!(pause(&setup, &failure(90, 0, None), since, almost), Some(Duration::from_millis(10)));
        assert_eq!(pause(&setup, &failure(90, 0, None), since, since + setup.give_up_after), None);
        assert!(pause(&setup, &failure(9, REFUSALS_MAX - 1, None), since, since).is_some());
        assert_eq!(pause(&setup, &failure(10, REFUSALS_MAX, None), since, since), None);
        assert_eq!(pause(&setup, &failure(1, 0, Some(300)), since, since), Some(Duration::from_secs(300)));
        assert_eq!(pause(&setup, &failure(1, 0, Some(9_999)), since, since), Some(setup.give_up_after));
    }
}
