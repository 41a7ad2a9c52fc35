//! What waits for one receiver: bounded, in order, and without the hundredth of the same.
//!
//! ```text
//!  event --> alike within the window? -- yes --> held back and counted --+
//!               | no                                                    | the window ends
//!               v                                                       v
//!            room? -- no --> the least urgent, oldest goes --> [ waiting, in order ] --> taken by the courier
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Letter, Message};

/// Windows that are open at a time; what comes beyond is not compared with anything.
const WINDOWS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    windows: Vec<Window>,
    /// Events that were left out since the last message that was taken.
    left_out: u64,
}

/// Bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// At least one.
    pub(super) waiting_max: usize,
    pub(super) coalesce: Duration,
}

#[derive(Debug)]
struct Waiting {
    message: Arc<Message>,
    count: u64,
    since: Instant,
}

/// A time in which events like this one are held back.
#[derive(Debug)]
struct Window {
    like: Arc<Message>,
    until: Instant,
    /// The latest of those held back, and how many.
    held: Option<(Arc<Message>, u64)>,
}

impl Queue {
    /// Takes a message in. Returns how many events were left out for it, itself perhaps.
    pub(super) fn put(&mut self, message: &Arc<Message>, bounds: Bounds, now: Instant) -> u64 {
        let before = self.end_windows(bounds, now);
        if let Some(window) = self.windows.iter_mut().find(|window| window.like.is_like(message)) {
            let count = window.held.as_ref().map_or(0, |(_, count)| *count);
            window.held = Some((message.clone(), count + 1));
            return before;
        }
        self.open_window(message, bounds, now);
        before + self.enqueue(message.clone(), 1, bounds, now)
    }

    /// What is held back by windows that are over goes on. Returns how many events were left out for it.
    pub(super) fn end_windows(&mut self, bounds: Bounds, now: Instant) -> u64 {
        let (over, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.windows).into_iter().partition(|window| window.until <= now);
        self.windows = open;
        let mut left_out = 0;
        for (message, count) in over.into_iter().filter_map(|window| window.held) {
            // It goes on happening, so the next window begins.
            self.open_window(&message, bounds, now);
            left_out += self.enqueue(message, count, bounds, now);
        }
        left_out
    }

    /// Everything that is held back goes on at once.
    pub(super) fn flush(&mut self, bounds: Bounds, now: Instant) -> u64 {
        for window in &mut self.windows {
            window.until = now;
        }
        self.end_windows(Bounds { coalesce: Duration::ZERO, ..bounds }, now)
    }

    /// When the next window ends that holds something back.
    pub(super) fn due(&self) -> Option<Instant> {
        self.windows.iter().filter(|window| window.held.is_some()).map(|window| window.until).min()
    }

    /// The next one, and since when it has waited.
    pub(super) fn take(&mut self) -> Option<(Letter, Instant)> {
        let Waiting { message, count, since } = self.waiting.pop_front()?;
        let left_out = std::mem::take(&mut self.left_out);
        Some((Letter { message, count, left_out }, since))
    }

    /// One that was taken could not be delivered: the next one tells that it is missing.
    pub(super) fn lose(&mut self, letter: &Letter) {
        self.left_out += letter.left_out + letter.count;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.windows.iter().filter(|window| window.held.is_some()).count()
    }

    fn open_window(&mut self, message: &Arc<Message>, bounds: Bounds, now: Instant) {
        if !bounds.coalesce.is_zero() && self.windows.len() < WINDOWS_MAX {
            self.windows.push(Window { like: message.clone(), until: now + bounds.coalesce, held: None });
        }
    }

    fn enqueue(&mut self, message: Arc<Message>, count: u64, bounds: Bounds, now: Instant) -> u64 {
        self.waiting.push_back(Waiting { message, count, since: now });
        let mut left_out = 0;
        // More than one only after a reload that made the queue smaller.
        while self.waiting.len() > bounds.waiting_max.max(1) {
            let oldest = |(position, waiting): &(usize, &Waiting)| (waiting.message.severity, *position);
            let Some((position, _)) = self.waiting.iter().enumerate().min_by_key(oldest) else { break };
            left_out += self.waiting.remove(position).map_or(0, |waiting| waiting.count);
        }
        self.left_out += left_out;
        left_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate_health::event::{Event, EventKind};
    use tidegate_health::time::Wall;

    use super::*;

    fn message(kind: EventKind, at: u64, group: &str) -> Arc<Message> {
        let event = Event::new(Wall(at), kind, "tidegate".into(), format!("number {at}"));
        let event = Event { group: Some(group.into()), ..event };
        Arc::new(Message::new(&event, &"edge".into()))
    }

    fn bounds(waiting_max: usize, coalesce_ms: u64) -> Bounds {
        Bounds { waiting_max, coalesce: Duration::from_millis(coalesce_ms) }
    }

    fn drain(queue: &mut Queue) -> Vec<(u64, u64, u64)> {
        std::iter::from_fn(|| queue.take())
            .map(|(letter, _)| (letter.message.event.at.0, letter.count, letter.left_out))
            .collect()
    }

    #[test]
    fn order_is_kept_and_the_least_urgent_oldest_goes_first() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        let kinds = [
            EventKind::Failover,
            EventKind::Refused,
            EventKind::Frozen,
            EventKind::Refused,
            EventKind::Unfit,
        ];
        let out: Vec<_> = (0..)
            .zip(kinds)
            .map(|(at, kind)| queue.put(&message(kind, at, "a"), bounds(3, 0), now))
            .collect();
        assert_eq!(out, [0, 0, 0, 1, 1]);
        assert_eq!(drain(&mut queue), [(0, 1, 2), (2, 1, 0), (4, 1, 0)]);
    }

    #[test]
    fn what_is_less_urgent_than_all_that_wait_is_left_out_itself() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for at in 0..3 {
            queue.put(&message(EventKind::Frozen, at, "a"), bounds(3, 0), now);
        }
        assert_eq!(queue.put(&message(EventKind::Recovered, 3, "a"), bounds(3, 0), now), 1);
        assert_eq!(drain(&mut queue), [(0, 1, 1), (1, 1, 0), (2, 1, 0)]);
    }

    #[test]
    fn a_flood_of_the_same_becomes_one_message_for_each_window() {
        let (start, mut queue) = (Instant::now(), Queue::default());
        let bounds = bounds(10, 1_000);
        for at in 0..2_500 {
            queue.put(&message(EventKind::NotStored, at, "a"), bounds, start + Duration::from_millis(at));
        }
        queue.put(&message(EventKind::NotStored, 9_000, "b"), bounds, start + Duration::from_millis(2_500));
        assert_eq!(queue.due(), Some(start + Duration::from_millis(3_000)));
        queue.end_windows(bounds, start + Duration::from_millis(2_999));
        assert_eq!(drain(&mut queue), [(0, 1, 0), (999, 999, 0), (1999, 1000, 0), (9_000, 1, 0)]);
        queue.end_windows(bounds, start + Duration::from_millis(3_000));
        assert_eq!(drain(&mut queue), [(2_499, 500, 0)]);
        queue.end_windows(bounds, start + Duration::from_millis(60_000));
        assert_eq!((drain(&mut queue), queue.due()), (vec![], None));
    }

    #[test]
    fn at_a_stop_nothing_is_held_back() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        for at in 0..5 {
            queue.put(&message(EventKind::NotStored, at, "a"), bounds(10, 60_000), now);
        }
        queue.flush(bounds(10, 60_000), now);
        assert_eq!(drain(&mut queue), [(0, 1, 0), (4, 4, 0)]);
    }

    #[test]
    fn what_was_lost_on_the_way_is_told_with_the_next() {
        let (now, mut queue) = (Instant::now(), Queue::default());
        queue.put(&message(EventKind::Unfit, 0, "a"), bounds(10, 0), now);
        let (lost, _) = queue.take().expect("it waits");
        queue.lose(&lost);
        queue.put(&message(EventKind::Unfit, 1, "a"), bounds(10, 0), now);
        assert_eq!(drain(&mut queue), [(1, 1, 1)]);
    }

    proptest! {
        /// Whatever comes in which order: the queue stays within its bound, and every event is delivered, counted in
        /// another, or counted as left out.
        #[test]
        fn nothing_vanishes_uncounted(
            events in prop::collection::vec((0..EventKind::ALL.len(), 0..3_u8, 0..500_u64, prop::bool::weighted(0.1)), 0..200),
            waiting_max in 1..8_usize,
            coalesce in 0..300_u64,
        ) {
            let (mut now, mut queue) = (Instant::now(), Queue::default());
            let bounds = bounds(waiting_max, coalesce);
            let (mut put, mut out, mut left_out) = (0, 0, 0);
            let mut account = |queue: &mut Queue| {
                if let Some((letter, _)) = queue.take() {
                    out += letter.count;
                    left_out += letter.left_out;
                }
            };
            for (kind, group, pause, takes) in events {
                now += Duration::from_millis(pause);
                queue.put(&message(EventKind::ALL[kind], put, &format!("g{group}")), bounds, now);
                put += 1;
                prop_assert!(queue.waiting.len() <= waiting_max);
                prop_assert!(queue.windows.len() <= WINDOWS_MAX);
                if takes { account(&mut queue); }
            }
            queue.flush(bounds, now);
            prop_assert!(queue.waiting.len() <= waiting_max);
            while !queue.waiting.is_empty() { account(&mut queue); }
            left_out += queue.left_out;
            prop_assert_eq!(out + left_out, put);
        }
    }
}
