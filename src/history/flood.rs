//! Changes of one thing that come too fast are left out and counted.
//!
//! Each thing that is observed may change a few times at once, and after that once a minute; all together have a bound,
//! too. What was left out last is kept and comes as soon as it may, so that the last entry about a thing is always what
//! it is.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_health::event::{Event, EventKind};
use tidegate_health::id::Name;

/// Changes of one thing at once, and the time after which there may be one more.
const OWN: Rate = Rate { burst: 6, every: Duration::from_secs(60) };
/// The same of everything together: a whole site may be lost at once.
const ALL: Rate = Rate { burst: 8_192, every: Duration::from_millis(200) };

/// So many at once, and one more after each time.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// A bucket of permits that fills up with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    permits: u32,
    /// Up to when it was filled.
    filled: Duration,
}

/// What an observation is of.
type Subject = (EventKind, Option<Name>, Option<Name>, Option<Name>);

#[derive(Debug)]
struct Thing {
    bucket: Bucket,
    /// The latest change that was left out, and how many were before it.
    held: Option<(Event, u32)>,
}

/// Lets observations through, a bounded number of them. Time is what its caller counts.
#[derive(Debug)]
pub struct Flood {
    /// Things that changed lately: what is quiet is forgotten.
    things: BTreeMap<Subject, Thing>,
    all: Bucket,
}

impl Default for Flood {
    fn default() -> Self {
        Self { things: BTreeMap::new(), all: Bucket::full(ALL, Duration::ZERO) }
    }
}

impl Flood {
    /// Takes an observation; the ones that may be told now.
    pub fn take(&mut self, event: Event, now: Duration) -> Option<Event> {
        let subject = (event.kind, event.group.clone(), event.site.clone(), subject(&event));
        let full = || Thing { bucket: Bucket::full(OWN, now), held: None };
        let thing = self.things.entry(subject).or_insert_with(full);
        thing.bucket.fill(OWN, now);
        self.all.fill(ALL, now);
        let left_out = thing.held.take().map_or(0, |(_, before)| before + 1);
        if thing.bucket.permits == 0 || self.all.permits == 0 {
            thing.held = Some((event, left_out));
            return None;
        }
        thing.bucket.permits -= 1;
        self.all.permits -= 1;
        Some(Event { left_out, ..event })
    }

    /// What was left out and may be told now. To be asked from time to time.
    pub fn due(&mut self, now: Duration) -> Vec<Event> {
        let mut due = Vec::new();
        self.all.fill(ALL, now);
        let all = &mut self.all;
        self.things.retain(|_, thing| {
            thing.bucket.fill(OWN, now);
            if thing.held.is_some() && thing.bucket.permits > 0 && all.permits > 0 {
                thing.bucket.permits -= 1;
                all.permits -= 1;
                due.extend(thing.held.take().map(|(event, left_out)| Event { left_out, ..event }));
            }
            thing.held.is_some() || thing.bucket.permits < OWN.burst
        });
        due
    }
}

/// An origin or a gate, of the site of a group; what is of no group is told apart by what it says.
fn subject(event: &Event) -> Option<Name> {
    let other = || event.group.is_none().then(|| event.reason.clone());
    event.origin.clone().or_else(|| event.gate.clone()).or_else(other)
}

impl Bucket {
    fn full(rate: Rate, now: Duration) -> Self {
        Self { permits: rate.burst, filled: now }
    }

    fn fill(&mut self, rate: Rate, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_nanos() / rate.every.as_nanos();
        let new = u32::try_from(passed).unwrap_or(u32::MAX);
        self.permits = self.permits.saturating_add(new).min(rate.burst);
        // A full bucket starts to count anew when something is taken out of it.
        self.filled = if self.permits == rate.burst { now } else { self.filled + rate.every * new };
    }
}

#[cfg(test)]
mod tests {
    use tidegate_health::time::Wall;

    use super::*;

    fn change(origin: &str, at: u64, to: &str) -> Event {
        let event = Event::new(Wall(at), EventKind::Origin, "tidegate".into(), "timeout");
        Event { group: Some("app".into()), origin: Some(origin.into()), to: Some(to.into()), ..event }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_flapping_origin_leaves_a_bounded_number_of_entries_and_tells_how_many_are_left_out() {
        let mut flood = Flood::default();
        let mut told = Vec::new();
        let hour = 3_600;
        for second in 0..hour {
            let to = if second % 2 == 0 { "down" } else { "up" };
            told.extend(flood.take(change("a", second, to), secs(second)));
            told.extend(flood.due(secs(second)));
        }
        told.extend(flood.due(secs(hour + 60)));
        assert!((60..=68).contains(&told.len()), "{}", told.len());
        let counted: u64 = told.iter().map(|event| 1 + u64::from(event.left_out)).sum();
        assert_eq!(counted, hour, "every change was told or counted");
        let last = told.last().expect("there are some");
        assert_eq!((last.at, last.to.as_deref()), (Wall(hour - 1), Some("up")), "the last word is the truth");
        assert!(told.is_sorted_by_key(|event| event.at));
    }

    #[test]
    fn others_are_heard_beside_it_and_a_few_changes_are_all_told() {
        let mut flood = Flood::default();
        for n in 0..u64::from(OWN.burst) {
            assert!(flood.take(change("a", n, "down"), secs(0)).is_some(), "{n}");
        }
        assert!(flood.take(change("a", 9, "up"), secs(0)).is_none());
        assert!(flood.take(change("b", 9, "down"), secs(0)).is_some_and(|event| event.left_out == 0));
        assert!(flood.due(secs(59)).is_empty());
        assert_eq!(flood.due(secs(60)).len(), 1);
    }

    #[test]
    fn all_together_have_a_bound_and_what_is_quiet_is_forgotten() {
        let mut flood = Flood::default();
        let many = ALL.burst + 500;
        let told = (0..many).filter_map(|n| flood.take(change(&n.to_string(), 0, "down"), secs(0)));
        assert_eq!(told.count(), ALL.burst as usize);
        assert_eq!(flood.due(secs(1)).len(), 5);
        let rest: usize = (2..=200).map(|second| flood.due(secs(second)).len()).sum();
        assert_eq!(rest, 495, "every one has the last word");
        let _ = flood.due(secs(100_000));
        assert!(flood.things.is_empty());
    }
}
