//! What is known of each name, when it is asked for next, and what an answer changes. Pure: time and chance come in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tidegate_config::{Addresses, NamedOrigin, Resolver};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;
use tokio::time::Instant;

use super::ask::{Answer, Answers};
use super::{NameRecord, NameState, NameStatus};

const ADDRESSES_MAX: usize = NamedOrigin::ADDRESSES_MAX;
/// An address is gone after this many answers in a row without it. One alone may be a resolver's that is behind, or one
/// that tells only some of them; and until the second one the new addresses are being checked.
const GONE_AFTER: u8 = 2;
/// Failures in a row until it is an alarm, for a name that has addresses. One that has none is an alarm at once.
const ALARM_AFTER: u32 = 3;
/// A name that cannot be resolved is asked for at least this often.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Names that are learnt together are not asked for together for ever.
const JITTER: f64 = 0.1;

/// All names.
#[derive(Debug)]
pub(super) struct Ledger {
    ttl_min: Duration,
    ttl_max: Duration,
    entries: BTreeMap<Name, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Of IPv4, and of IPv6; sorted.
    known: [Vec<Known>; 2],
    /// In an earlier run, until `is_confirmed`.
    resolved_at: Option<Wall>,
    /// Whether it was resolved in this run.
    is_confirmed: bool,
    failing: Option<Failing>,
    /// What was wrong with the latest good answer.
    concern: Option<String>,
    due: Instant,
    /// Asked, and not answered yet.
    is_asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    address: IpAddr,
    /// Answers in a row without it.
    missed: u8,
}

#[derive(Debug)]
struct Failing {
    since: Wall,
    count: u32,
    why: String,
}

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) addresses: bool,
    pub(super) alarm: Option<Alarm>,
}

/// What belongs into the history.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Began(String),
    Ended(String),
}

impl Ledger {
    pub(super) fn new(settings: &Resolver) -> Self {
        Self { ttl_min: settings.ttl_min, ttl_max: settings.ttl_max, entries: BTreeMap::new() }
    }

    /// Other bounds.
    pub(super) fn set(&mut self, settings: &Resolver) {
        (self.ttl_min, self.ttl_max) = (settings.ttl_min, settings.ttl_max);
    }

    /// Everything is due, also what was asked for.
    pub(super) fn ask_all(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            (entry.due, entry.is_asked) = (now, false);
        }
    }

    /// Begins to keep account of a name that it does not know, with what is known of an earlier time.
    pub(super) fn learn(&mut self, name: &Name, record: Option<&NameRecord>, now: Instant) {
        let entry = || {
            let mut known = [Vec::new(), Vec::new()];
            for address in record.iter().flat_map(|record| &record.addresses).copied().filter(is_usable) {
                known[usize::from(address.is_ipv6())].push(Known { address, missed: 0 });
            }
            let resolved_at = record.map(|record| record.at);
            Entry {
                known,
                resolved_at,
                is_confirmed: false,
                failing: None,
                concern: None,
                due: now,
                is_asked: false,
            }
        };
        self.entries.entry(name.clone()).or_insert_with(entry);
    }

    /// Takes over what another ledger knows of names that this one does not know.
    pub(super) fn merge(&mut self, other: Self) {
        for (name, entry) in other.entries {
            self.entries.entry(name).or_insert(entry);
        }
    }

    /// Forgets every other name.
    pub(super) fn retain(&mut self, names: &BTreeSet<Name>) {
        self.entries.retain(|name, _| names.contains(name));
    }

    /// When the next question is due; none while every name is being asked for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.is_asked).map(|entry| entry.due).min()
    }

    /// The next name that is due, which counts as asked for from now on.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Name> {
        let due = self.entries.iter_mut().filter(|(_, entry)| !entry.is_asked && entry.due <= now);
        let (name, entry) = due.min_by_key(|(_, entry)| entry.due)?;
        entry.is_asked = true;
        Some(name.clone())
    }

    /// Takes an answer in. `chance` is in `0.0..1.0`.
    pub(super) fn take(
        &mut self,
        name: &Name,
        answers: Answers,
        (now, wall): (Instant, Wall),
        chance: f64,
    ) -> News {
        // One that a reload has taken away meanwhile.
        let Some(entry) = self.entries.get_mut(name) else { return News::default() };
        entry.is_asked = false;
        let before = entry.addresses();
        let (ttl, failure) = entry.judge(answers);
        let mut news = News::default();
        let wait = match failure {
            Some(why) => {
                news.alarm = entry.fail(name, why, wall);
                let count = entry.failing.as_ref().map_or(1, |failing| failing.count);
                let wait = self.ttl_min.saturating_mul(1 << (count - 1).min(16));
                wait.min(RETRY_MAX.max(self.ttl_min))
            }
            None => {
                news.alarm = entry.succeed(name, wall);
                // What seems to be gone is asked for again soon.
                let is_certain = entry.known.iter().flatten().all(|known| known.missed == 0);
                if is_certain { ttl.clamp(self.ttl_min, self.ttl_max) } else { self.ttl_min }
            }
        };
        entry.due = now + wait.mul_f64(1.0 + JITTER * chance);
        news.addresses = entry.addresses() != before;
        news
    }

    /// What all names stand for.
    pub(super) fn addresses(&self) -> Addresses {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.addresses())).collect()
    }

    /// For the store.
    pub(super) fn records(&self) -> BTreeMap<Name, NameRecord> {
        let record = |(name, entry): (&Name, &Entry)| {
            let addresses = entry.addresses();
            let at = entry.resolved_at.filter(|_| !addresses.is_empty())?;
            Some((name.clone(), NameRecord { addresses, at }))
        };
        self.entries.iter().filter_map(record).collect()
    }

    pub(super) fn status(&self) -> Vec<NameStatus> {
        let status = |(name, entry): (&Name, &Entry)| {
            let addresses = entry.addresses();
            let state = match &entry.failing {
                _ if addresses.is_empty() => NameState::Unresolved,
                Some(_) => NameState::Failing,
                None => NameState::Resolved,
            };
            NameStatus {
                name: name.clone(),
                state,
                addresses,
                resolved_at: entry.resolved_at,
                failing_since: entry.failing.as_ref().map(|failing| failing.since),
                failure: entry.failing.as_ref().map(|failing| failing.why.clone()),
                concerns: entry.concern.iter().cloned().collect(),
            }
        };
        self.entries.iter().map(status).collect()
    }
}

impl Entry {
    fn addresses(&self) -> Vec<IpAddr> {
        // An IPv4 address may be written as an IPv6 one.
        let all: BTreeSet<_> = self.known.iter().flatten().map(|known| known.address).collect();
        all.into_iter().take(ADDRESSES_MAX).collect()
    }

    /// Takes over what the answers are sure of. Returns the shortest TTL, or why they are no good.
    fn judge(&mut self, answers: Answers) -> (Duration, Option<String>) {
        let mut concern = None;
        let answers = answers.map(|answer| usable(answer, &mut concern));
        if !answers.iter().any(|answer| matches!(answer, Answer::Addresses { .. })) {
            return (Duration::ZERO, Some(concern.unwrap_or_else(|| why_not(&answers))));
        }
        let (mut ttl_min, mut failure) = (Duration::MAX, None);
        for (known, answer) in self.known.iter_mut().zip(answers) {
            match answer {
                Answer::Addresses { addresses, ttl } => {
                    ttl_min = ttl_min.min(ttl);
                    update(known, &addresses);
                }
                Answer::Nothing { .. } => update(known, &[]),
                // Of a name that never had such addresses nobody misses them.
                Answer::Failed(why) if !known.is_empty() => failure = Some(why),
                Answer::Failed(_) => {}
            }
        }
        let count = self.known.iter().flatten().filter(|known| known.missed == 0).count();
        self.concern = concern.or_else(|| (count > ADDRESSES_MAX).then(|| too_many(count)));
        (ttl_min, failure)
    }

    fn fail(&mut self, name: &Name, why: String, wall: Wall) -> Option<Alarm> {
        let count = self.failing.as_ref().map_or(0, |failing| failing.count).saturating_add(1);
        let since = self.failing.as_ref().map_or(wall, |failing| failing.since);
        let alarm = (count == self.alarm_after()).then(|| {
            let addresses = self.addresses();
            let so = if addresses.is_empty() {
                "it stands for no origin until it is".to_owned()
            } else if self.is_confirmed {
                format!("its last good addresses stay: {}", list(&addresses))
            } else {
                format!("its addresses are those of an earlier run: {}", list(&addresses))
            };
            Alarm::Began(format!("`{name}` cannot be resolved: {why}; {so}"))
        });
        self.failing = Some(Failing { since, count, why });
        alarm
    }

    fn succeed(&mut self, name: &Name, wall: Wall) -> Option<Alarm> {
        let was_told = self.failing.as_ref().is_some_and(|failing| failing.count >= self.alarm_after());
        (self.resolved_at, self.is_confirmed) = (Some(wall), true);
        let failing = self.failing.take().filter(|_| was_told)?;
        let seconds = wall.since(failing.since).as_secs();
        Some(Alarm::Ended(format!("`{name}` is resolved again, after {seconds} s")))
    }

    /// Of a name that was not resolved in this run it is known that somebody should look.
    fn alarm_after(&self) -> u32 {
        if self.is_confirmed { ALARM_AFTER } else { 1 }
    }
}

/// An answer without what can reach nothing and without what is beyond the bound, in the order of the addresses: that of
/// the answer means nothing.
fn usable(answer: Answer, concern: &mut Option<String>) -> Answer {
    let Answer::Addresses { addresses, ttl } = answer else { return answer };
    let count = addresses.len();
    let canonical = addresses.into_iter().map(|address| address.to_canonical());
    let mut addresses: Vec<_> = canonical.filter(is_usable).collect();
    if addresses.len() < count {
        *concern = Some(format!("nothing can be reached at {} of its addresses", count - addresses.len()));
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > ADDRESSES_MAX {
        *concern = Some(too_many(addresses.len()));
        addresses.truncate(ADDRESSES_MAX);
    }
    if addresses.is_empty() { Answer::Nothing { exists: true } } else { Answer::Addresses { addresses, ttl } }
}

/// Takes over the addresses of an answer.
fn update(known: &mut Vec<Known>, present: &[IpAddr]) {
    known.retain_mut(|known| {
        known.missed = if present.contains(&known.address) { 0 } else { known.missed + 1 };
        known.missed < GONE_AFTER
    });
    for address in present {
        if !known.iter().any(|known| known.address == *address) {
            known.push(Known { address: *address, missed: 0 });
        }
    }
    known.sort_unstable_by_key(|known| known.address);
}

fn is_usable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn why_not(answers: &Answers) -> String {
    let failed = answers.iter().find_map(|answer| match answer {
        Answer::Failed(why) => Some(why.clone()),
        _ => None,
    });
    let exists = answers.iter().any(|answer| matches!(answer, Answer::Nothing { exists: true }));
    failed.unwrap_or_else(|| {
        if exists { "it has no address".to_owned() } else { "it does not exist".to_owned() }
    })
}

fn too_many(count: usize) -> String {
    format!("it has {count} addresses; only the first {ADDRESSES_MAX} of them, in their order, are origins")
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
