//! The thread that writes the log, and all that it does when it cannot.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::file::{self, Sink};
use super::{Opened, Prepared, Shared, WAKE_BYTES};
use crate::metrics::AccessLogMetrics;

/// Lines are gathered for this long, unless there are many.
const GATHER: Duration = Duration::from_millis(250);
/// How long after a failure the next try is made.
const RETRY: Duration = Duration::from_millis(500);
/// One failure is told in the daemon's log, the next ones in this time are not.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Buffers that grew are given back above this size, once they are empty.
const KEPT_BYTES: usize = 256 << 10;

pub(super) struct Writer {
    shared: Arc<Shared>,
    metrics: AccessLogMetrics,
    target: Option<Target>,
    /// Lines taken from the requests; those before `written` are in the file.
    lines: Vec<u8>,
    written: usize,
    is_failing: bool,
    told: Option<Instant>,
}

struct Target {
    path: PathBuf,
    /// None: it has to be opened again.
    sink: Option<Box<dyn Sink>>,
}

/// What the writer was woken for.
struct Turn {
    change: Option<Prepared>,
    must_stop: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, metrics: AccessLogMetrics) -> Self {
        Self { shared, metrics, target: None, lines: Vec::new(), written: 0, is_failing: false, told: None }
    }

    pub(super) fn run(mut self) {
        loop {
            let turn = self.next_turn();
            if let Some(mut change) = turn.change {
                self.change(change.0.take());
            }
            let outcome = self.write();
            self.note(outcome.err());
            if turn.must_stop {
                break;
            }
        }
        self.metrics.dropped_failing.inc_by(self.unwritten_lines());
        let mut state = self.shared.state();
        state.is_failing = self.is_failing;
        state.has_ended = true;
        self.shared.ended.notify_all();
    }

    /// Waits until there is something to do, and takes it.
    fn next_turn(&mut self) -> Turn {
        let shared = self.shared.clone();
        let mut state = shared.state();
        state.is_failing = self.is_failing;
        state.busy_since = None;
        let mut deadline = self.is_failing.then(|| Instant::now() + RETRY);
        loop {
            let is_urgent = state.must_stop || state.change.is_some();
            // While nothing can be written there is no hurry to take more.
            let is_much = !self.is_failing && state.lines.len() >= WAKE_BYTES;
            if is_urgent || is_much {
                break;
            }
            if deadline.is_none() && !state.lines.is_empty() {
                deadline = Some(Instant::now() + GATHER);
            }
            let Some(until) = deadline else {
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if self.written == self.lines.len() {
            self.lines.clear();
            self.lines.shrink_to(KEPT_BYTES);
            self.written = 0;
            std::mem::swap(&mut self.lines, &mut state.lines);
        }
        state.busy_since = Some(Instant::now());
        Turn { change: state.change.take(), must_stop: state.must_stop }
    }

    /// Goes on with another file, after a last try to finish the line that is under way; or with none, after a last try to
    /// write all.
    fn change(&mut self, next: Option<Opened>) {
        if self.is_within_line() || next.is_none() {
            let _ = self.write();
            self.skip_line();
        }
        if next.is_none() && self.target.is_some() {
            self.metrics.dropped_failing.inc_by(self.unwritten_lines());
            self.written = self.lines.len();
        }
        self.target = next.map(|Opened { path, sink, .. }| Target { path, sink });
    }

    /// Writes all there is.
    fn write(&mut self) -> io::Result<()> {
        loop {
            while self.written < self.lines.len() {
                if self.target.is_none() {
                    self.written = self.lines.len();
                    break;
                }
                self.write_some()?;
            }
            // What came while this was written: much of it would not wait its turn, and a stop must leave nothing.
            let mut state = self.shared.state();
            let is_more = (state.must_stop || state.lines.len() >= WAKE_BYTES) && state.change.is_none();
            if !is_more || state.lines.is_empty() {
                return Ok(());
            }
            state.busy_since = Some(Instant::now());
            self.lines.clear();
            self.written = 0;
            std::mem::swap(&mut self.lines, &mut state.lines);
        }
    }

    fn write_some(&mut self) -> io::Result<()> {
        let is_within_line = self.is_within_line();
        let Some(target) = &mut self.target else { return Ok(()) };
        let sink = match &mut target.sink {
            Some(sink) => sink,
            none => {
                let opened = file::open(&target.path)?;
                let sink = none.insert(opened);
                if is_within_line {
                    self.skip_line();
                    return Ok(());
                }
                sink
            }
        };
        match sink.write(&self.lines[self.written..]) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => {
                self.written += length;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => {
                if !file::may_pass(&error) {
                    target.sink = None;
                }
                Err(error)
            }
        }
    }

    /// Whether the file ends with a part of a line.
    fn is_within_line(&self) -> bool {
        self.written > 0 && self.written < self.lines.len() && self.lines[self.written - 1] != b'\n'
    }

    /// Gives up the line whose first part is in another file.
    fn skip_line(&mut self) {
        if !self.is_within_line() {
            return;
        }
        let rest = &self.lines[self.written..];
        self.written += rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        self.metrics.dropped_failing.inc();
    }

    fn unwritten_lines(&self) -> u64 {
        self.lines[self.written..].iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Raises the alarm or calls it off.
    fn note(&mut self, error: Option<io::Error>) {
        self.metrics.failing.set(i64::from(error.is_some()));
        let was_failing = std::mem::replace(&mut self.is_failing, error.is_some());
        let path = self.target.as_ref().map(|target| target.path.display().to_string());
        match error {
            Some(error) => {
                let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
                if is_due {
                    self.told = Some(Instant::now());
                    tracing::error!(path, %error, "the access log cannot be written; requests go on without it");
                }
            }
            None if was_failing => tracing::info!(path, "the access log is written again"),
            None => {}
        }
    }
}
