//! One loop per origin, and the handle that steers them.
//!
//! A loop ends with its spec: what a reload removes or changes is stopped, not left to run out. What a reload
//! leaves alone, even under another number, keeps its connection and its place in time, so that a reload of a
//! large fleet neither pauses its checks nor starts them all at once.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_health::id::OriginId;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::FRESH_EVERY;
use crate::cadence::{Cadence, Pace};
use crate::command::Slots;
use crate::outcome::Observation;
use crate::prober::{Prober, Verdict};
use crate::push::{Listener, Mailbox, NotHeard, Report};
use crate::spec::{Kind, ProbeSpec, Target};
use crate::tls::{TlsCheck, Trust};

/// First probes are spread over this much per origin ...
const SPREAD_EACH: Duration = Duration::from_millis(1);
/// ... within these bounds: a complete first round must be quick, but not a storm.
const SPREAD_MIN: Duration = Duration::from_millis(20);
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// What holds for all probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Probes that may run against one IP address at a time, at least one.
    pub per_target_max: usize,
    /// Programs of checks that may run at a time, at least one.
    pub commands_max: usize,
    /// Of all chance in the schedule.
    pub seed: u64,
}

/// Runs the checks. Dropping it ends them.
pub struct Scheduler {
    loops: HashMap<OriginId, Loop>,
    permits: HashMap<IpAddr, Arc<Semaphore>>,
    results: Sender<Observation>,
    trust: Arc<Trust>,
    slots: Slots,
    per_target_max: usize,
    rng: fastrand::Rng,
    generation: u32,
}

/// One running check, seen from the handle.
struct Loop {
    target: Arc<Target>,
    controls: Arc<Controls>,
    /// Of a check that waits for reports.
    mailbox: Option<Mailbox>,
    task: JoinHandle<()>,
}

/// What the handle tells a loop.
pub(crate) struct Controls {
    /// Origin and generation in one word, so that a loop never sees half a renumbering.
    label: AtomicU64,
    fast: AtomicBool,
    asked: AtomicBool,
    pub(crate) wake: Notify,
}

/// One running check, seen from itself.
struct Runner {
    prober: Prober,
    cadence: Cadence,
    controls: Arc<Controls>,
    permits: Arc<Semaphore>,
    results: Sender<Observation>,
}

impl Scheduler {
    /// Begins to check, on the current tokio runtime. Results wait for room in `results`; when its receiver is
    /// gone, the loops end. Of several specs for one origin the first one counts.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(specs: Vec<ProbeSpec>, results: Sender<Observation>, settings: Settings) -> Self {
        let mut scheduler = Self {
            loops: HashMap::with_capacity(specs.len()),
            permits: HashMap::new(),
            results,
            trust: Arc::default(),
            slots: Slots::new(settings.commands_max),
            per_target_max: settings.per_target_max.clamp(1, Semaphore::MAX_PERMITS),
            rng: fastrand::Rng::with_seed(settings.seed),
            generation: 0,
        };
        scheduler.begin(specs);
        scheduler
    }

    /// Sets how often an origin is asked. An unknown origin is ignored.
    pub fn pace(&self, origin: OriginId, pace: Pace) {
        let Some(running) = self.loops.get(&origin) else { return };
        let fast = pace == Pace::Fast;
        if running.controls.fast.swap(fast, Ordering::Relaxed) != fast {
            running.controls.wake.notify_one();
        }
    }

    /// Asks an origin at once, or right after the probe that is running, on a fresh connection. Any number of calls before that probe
    /// begins are one. An unknown origin is ignored.
    pub fn probe_now(&self, origin: OriginId) {
        let Some(running) = self.loops.get(&origin) else { return };
        if !running.controls.asked.swap(true, Ordering::Relaxed) {
            running.controls.wake.notify_one();
        }
    }

    /// Takes reports about origins: all of them, or none and why.
    ///
    /// # Errors
    /// The first origin that takes no report, or not so many.
    pub fn report(&mut self, reports: Vec<(OriginId, Report)>) -> Result<(), (OriginId, NotHeard)> {
        let now = Instant::now();
        let mut counts: HashMap<OriginId, u32> = HashMap::new();
        for (origin, _) in &reports {
            let count = counts.entry(*origin).or_default();
            *count += 1;
            let mailbox = self.loops.get_mut(origin).and_then(|running| running.mailbox.as_mut());
            let mailbox = mailbox.ok_or((*origin, NotHeard::NotPushed))?;
            if !mailbox.has_room(now, *count) {
                return Err((*origin, NotHeard::TooMany));
            }
        }
        for (origin, report) in reports {
            if let Some(mailbox) = self.loops.get_mut(&origin).and_then(|running| running.mailbox.as_mut()) {
                mailbox.put(now, report);
            }
        }
        Ok(())
    }

    /// Makes these the checks and returns their generation. Checks that stay the same, even under another number,
    /// go on undisturbed and keep their pace; the others end, and new ones begin.
    pub fn replace(&mut self, specs: Vec<ProbeSpec>) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let mut running = mem::take(&mut self.loops);
        let mut others = Vec::new();
        for spec in specs {
            match running.remove(&spec.origin) {
                Some(same) if same.target == spec.target => self.adopt(spec.origin, same),
                Some(changed) => {
                    running.insert(spec.origin, changed);
                    others.push(spec);
                }
                None => others.push(spec),
            }
        }
        let mut spare: HashMap<Arc<Target>, Vec<Loop>> = HashMap::new();
        for (_, left) in running {
            spare.entry(left.target.clone()).or_default().push(left);
        }
        others.retain(|spec| {
            if self.loops.contains_key(&spec.origin) {
                return true;
            }
            let renumbered = spare.get_mut(&spec.target).and_then(Vec::pop);
            renumbered.is_none_or(|renumbered| {
                self.adopt(spec.origin, renumbered);
                false
            })
        });
        drop(spare);
        self.begin(others);
        self.forget_unused();
        self.generation
    }

    /// The generation that observations carry now.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Ends all checks and waits until they have ended.
    pub async fn stop(mut self) {
        let mut ending: Vec<Loop> = self.loops.drain().map(|(_, running)| running).collect();
        ending.iter().for_each(|running| running.task.abort());
        for running in &mut ending {
            // Cancelled is what it is meant to be.
            drop((&mut running.task).await);
        }
    }

    fn adopt(&mut self, origin: OriginId, running: Loop) {
        running.controls.label.store(label(origin, self.generation), Ordering::Release);
        self.loops.insert(origin, running);
    }

    /// Begins checks, their first probes spread evenly over a short time and in an order by chance, so that the
    /// origins of one address or site, which are neighbours in a configuration, are not asked at once.
    fn begin(&mut self, mut specs: Vec<ProbeSpec>) {
        self.rng.shuffle(&mut specs);
        let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
        let spread = SPREAD_EACH.saturating_mul(count).clamp(SPREAD_MIN, SPREAD_MAX);
        let now = Instant::now();
        for (i, spec) in specs.into_iter().enumerate() {
            if self.loops.contains_key(&spec.origin) {
                tracing::warn!(origin = ?spec.origin, "a second check for one origin is ignored");
                continue;
            }
            let share = (i as f64 + self.rng.f64()) / f64::from(count);
            let wait = spread.min(spec.target.timing.interval).mul_f64(share);
            self.run(&spec, now + wait);
        }
    }

    fn run(&mut self, spec: &ProbeSpec, first: Instant) {
        let controls = Arc::new(Controls {
            label: AtomicU64::new(label(spec.origin, self.generation)),
            fast: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let (mailbox, task) = if spec.target.kind == Kind::Push {
            let (mailbox, inbox) = Mailbox::new();
            let (controls, results) = (controls.clone(), self.results.clone());
            let listener = Listener { timing: spec.target.timing, inbox, controls, results };
            (Some(mailbox), tokio::spawn(listener.run()))
        } else {
            (None, tokio::spawn(self.runner(spec, first, controls.clone()).run()))
        };
        self.loops.insert(spec.origin, Loop { target: spec.target.clone(), controls, mailbox, task });
    }

    fn runner(&mut self, spec: &ProbeSpec, first: Instant, controls: Arc<Controls>) -> Runner {
        let permits = self.permits.entry(spec.target.addr.ip());
        let permits = permits.or_insert_with(|| Arc::new(Semaphore::new(self.per_target_max))).clone();
        Runner {
            prober: Prober::new(spec, &self.trust, &self.slots).staggered(self.rng.u32(..FRESH_EVERY)),
            cadence: Cadence::new(spec.target.timing, first, self.rng.u64(..)),
            controls,
            permits,
            results: self.results.clone(),
        }
    }

    fn forget_unused(&mut self) {
        let targets = || self.loops.values().map(|running| &*running.target);
        let used: HashSet<IpAddr> = targets().map(|target| target.addr.ip()).collect();
        self.permits.retain(|ip, _| used.contains(ip));
        let ways = targets().filter_map(|target| target.kind.tls().map(TlsCheck::way));
        self.trust.keep(&ways.collect());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    async fn run(mut self) {
        loop {
            self.wait().await;
            // Never closed: the only way this errs does not occur.
            let Ok(permit) = self.permits.acquire().await else { return };
            self.prober.ready().await;
            // What was asked for until here is answered by this probe. Whoever asks doubts that the origin can be
            // reached, and a connection from before the doubt says nothing about that.
            if self.controls.answered() {
                self.prober.forget();
            }
            self.cadence.started(Instant::now());
            // On the heap for as long as it runs: of a fleet's checks nearly all are waiting, and need no room for it.
            let verdict = Box::pin(self.prober.probe()).await;
            drop(permit);
            let Ok(room) = self.results.reserve().await else { return };
            room.send(self.controls.name(verdict));
            self.prober.rest().await;
        }
    }

    /// Returns when a probe is due or asked for.
    async fn wait(&mut self) {
        loop {
            if self.controls.asked.load(Ordering::Relaxed) {
                return;
            }
            let due = self.cadence.due(self.controls.pace());
            tokio::select! {
                biased;
                () = self.controls.wake.notified() => {}
                () = sleep_until(due) => return,
            }
        }
    }
}

impl Controls {
    /// What was asked for is done now; says whether anything was.
    pub(crate) fn answered(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn pace(&self) -> Pace {
        if self.fast.load(Ordering::Relaxed) { Pace::Fast } else { Pace::Normal }
    }

    pub(crate) fn name(&self, verdict: Verdict) -> Observation {
        let label = self.label.load(Ordering::Acquire);
        let Verdict { started, finished, outcome, note } = verdict;
        let origin = OriginId((label >> 32) as u32);
        Observation { origin, generation: label as u32, started, finished, outcome, note }
    }
}

fn label(origin: OriginId, generation: u32) -> u64 {
    u64::from(origin.0) << 32 | u64::from(generation)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::spec::{HttpCheck, Timing};
    use crate::statuses::StatusSet;

    /// A fleet has thousands of them.
    #[tokio::test]
    async fn a_check_at_rest_takes_little_room() {
        let second = Duration::from_secs(1);
        let timing = Timing { interval: second, fast_interval: second, timeout: second };
        let check = HttpCheck::new("/", "a", StatusSet::success()).expect("sound");
        let addr = ([127, 0, 0, 1], 1).into();
        let spec = ProbeSpec::new(OriginId(0), addr, Kind::Http(check), timing).expect("sound");
        let (results, _) = channel(1);
        let settings = Settings { per_target_max: 1, commands_max: 1, seed: 1 };
        let mut scheduler = Scheduler::start(Vec::new(), results, settings);
        let controls = Arc::new(Controls {
            label: AtomicU64::new(0),
            fast: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let at_rest = scheduler.runner(&spec, Instant::now(), controls).run();
        let mut prober = Prober::new(&spec, &Trust::default(), &Slots::new(1));
        let (at_rest, asking) = (size_of_val(&at_rest), size_of_val(&prober.probe()));
        assert!(at_rest <= 1_000, "{at_rest} bytes");
        assert!(asking <= 2_500, "{asking} bytes");
    }
}
