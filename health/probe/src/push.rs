//! Origins that nobody asks: somebody who knows tells us, and silence is a failure.
//!
//! The rhythm is the reporter's, so there is nothing to schedule but the dead-man time. When it is over, that fails
//! once, and then again at the pace the core asks for, so that silence goes through the same hysteresis as everything
//! else. A report begins the time anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use crate::cadence::Pace;
use crate::command::shown;
use crate::outcome::{Failure, Observation, Outcome};
use crate::own_fault::OwnFault;
use crate::prober::{Verdict, grace};
use crate::schedule::Controls;
use crate::spec::Timing;

/// What somebody says of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Pass,
    /// With a line that says why.
    Fail(Arc<str>),
}

/// Why a report does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    #[error("the origin is checked by Tidegate itself: its check is not of the kind push")]
    NotPushed,
    #[error("more than {BURST} reports at once, or more than {PER_SECOND} a second")]
    TooMany,
}

/// Reports of one origin that are taken in a row ...
pub const BURST: u32 = 20;
/// ... and how many more each second.
pub const PER_SECOND: u32 = 10;

impl Report {
    /// A failure; of `text` the first line that says something is kept, up to
    /// [`LINE_CHARS_MAX`](crate::command::LINE_CHARS_MAX) characters.
    #[must_use]
    pub fn fail(text: &str) -> Self {
        let line = text.lines().map(shown).find(|line| !line.is_empty());
        Self::Fail(line.unwrap_or_else(|| "without a word".to_owned()).into())
    }
}

/// Where reports of one origin come in.
pub(crate) struct Mailbox {
    reports: Sender<(Instant, Report)>,
    /// Reports that may still come in, as of `counted`.
    allowance: f64,
    counted: Instant,
}

impl Mailbox {
    /// With room for all that may come at once.
    pub(crate) fn new() -> (Self, Receiver<(Instant, Report)>) {
        let (reports, inbox) = tokio::sync::mpsc::channel(2 * BURST as usize);
        (Self { reports, allowance: BURST.into(), counted: Instant::now() }, inbox)
    }

    /// Whether one more would be taken now.
    pub(crate) fn has_room(&mut self, now: Instant, count: u32) -> bool {
        let earned = now.saturating_duration_since(self.counted).as_secs_f64() * f64::from(PER_SECOND);
        self.allowance = (self.allowance + earned).min(BURST.into());
        self.counted = now;
        self.allowance >= f64::from(count) && self.reports.capacity() >= count as usize
    }

    pub(crate) fn put(&mut self, now: Instant, report: Report) {
        self.allowance -= 1.0;
        // There was room when it was asked for, and nobody else puts anything in.
        let _ = self.reports.try_send((now, report));
    }
}

/// Listens for one origin.
pub(crate) struct Listener {
    pub(crate) timing: Timing,
    pub(crate) inbox: Receiver<(Instant, Report)>,
    pub(crate) controls: Arc<Controls>,
    pub(crate) results: Sender<Observation>,
}

impl Listener {
    pub(crate) async fn run(mut self) {
        let dead_man = self.timing.interval;
        let mut heard = Instant::now();
        // When silence fails next, and for the how-manieth time.
        let mut last_failure = None;
        loop {
            let due = match (last_failure, self.controls.pace()) {
                (None, _) => heard + dead_man,
                (Some(last), Pace::Fast) => last + self.timing.fast_interval,
                (Some(last), Pace::Normal) => last + dead_man,
            };
            let (at, outcome) = tokio::select! {
                biased;
                report = self.inbox.recv() => {
                    let Some((at, report)) = report else { return };
                    (heard, last_failure) = (at, None);
                    (at, Outcome::from(report))
                }
                () = self.controls.wake.notified() => {
                    self.controls.answered();
                    continue;
                }
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if now > due + grace(dead_man) {
                        // Our own clock stood still: whoever reported then was not heard.
                        (heard, last_failure) = (now, None);
                        (now, Outcome::Inconclusive(OwnFault::Starved))
                    } else {
                        last_failure = Some(now);
                        (now, Outcome::Fail(Failure::Silent { after: dead_man }))
                    }
                }
            };
            let Ok(room) = self.results.reserve().await else { return };
            room.send(self.controls.name(Verdict { started: at, finished: at, outcome, note: None }));
        }
    }
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        match report {
            Report::Pass => Self::Pass,
            Report::Fail(text) => Self::Fail(Failure::Reported { text }),
        }
    }
}

/// How long silence may last until it fails, for a spec that only waits.
pub(crate) fn timing(dead_man: Duration) -> Timing {
    let fast_interval = dead_man.min(Duration::from_millis(250));
    Timing { interval: dead_man, fast_interval, timeout: dead_man }
}
