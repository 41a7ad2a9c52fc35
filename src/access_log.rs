//! The access log: one JSON line for each request, in a file.
//!
//! A request must never wait for a disk. It copies its line into a bounded buffer, under a lock that is only ever held
//! for a copy; one thread takes the buffer and writes it. When the disk is full, gone or stuck the buffer fills up and
//! lines are dropped and counted, requests go on, and the log does, too, once it can be written again. A line that was
//! written in part is finished first, or the next file starts with a whole one: no reader ever meets a torn line in
//! the middle.

mod file;
mod line;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tidegate_proxy::Finished;

use crate::metrics::AccessLogMetrics;
use file::Sink;
use writer::Writer;

/// Bytes of lines that wait for the writer. It holds as much again while it writes.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// The writer is woken before its time for this many bytes.
const WAKE_BYTES: usize = 64 << 10;
/// A write that takes this long is a failure.
const STUCK: Duration = Duration::from_secs(2);

/// Where requests are written down. Cheap to share; without a file it does nothing.
pub struct AccessLog {
    shared: Arc<Shared>,
    metrics: AccessLogMetrics,
}

/// A file that is open and ready to be written to, or none: the first half of a change of the log. One that was made for it
/// goes again where the change is given up.
pub struct Prepared(Option<Opened>);

struct Opened {
    path: PathBuf,
    /// None: what reads this pipe is not there yet.
    sink: Option<Box<dyn Sink>>,
    /// It was not there before, and nothing is in it.
    is_new: bool,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let Some(Opened { path, is_new: true, .. }) = self.0.take() else { return };
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0) {
            // An empty file that stays does no harm.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Prepared {
    /// It will be written to: its file stays.
    fn settled(mut self) -> Self {
        if let Some(opened) = &mut self.0 {
            opened.is_new = false;
        }
        self
    }
}

/// Why the log cannot be written to a file.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write the access log {path}: {source}; its folder must exist, and both be writable for the daemon's user"
)]
pub struct AccessLogError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// What requests and the writer share.
struct Shared {
    enabled: AtomicBool,
    state: Mutex<State>,
    /// There is something to do for the writer.
    work: Condvar,
    /// The writer has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    lines: Vec<u8>,
    /// The writer could not write when it last tried.
    is_failing: bool,
    /// Since when it writes what it last took; none while it waits.
    busy_since: Option<Instant>,
    change: Option<Prepared>,
    must_stop: bool,
    has_ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// Starts the writer, with the file at `path` or none.
    ///
    /// # Errors
    /// The file cannot be opened or made, or there is no thread to be had.
    pub fn start(path: Option<&Path>, metrics: AccessLogMetrics) -> Result<Self, AccessLogError> {
        let prepared = Self::prepare(path)?;
        Self::start_with(prepared, metrics)
            .map_err(|source| AccessLogError { path: path.map(Path::to_owned).unwrap_or_default(), source })
    }

    fn start_with(first: Prepared, metrics: AccessLogMetrics) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            enabled: AtomicBool::new(first.0.is_some()),
            state: Mutex::new(State { change: Some(first.settled()), ..State::default() }),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let writer = Writer::new(shared.clone(), metrics.clone());
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(Self { shared, metrics })
    }

    /// Opens the file for a change that [`AccessLog::commit`] makes. The path in use may be given again, so that a log
    /// that was renamed is continued in a new file.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn prepare(path: Option<&Path>) -> Result<Prepared, AccessLogError> {
        let open = |path: &Path| {
            // A link is there, whatever it leads to: it does not go again.
            let (is_new, path) = (path.symlink_metadata().is_err(), path.to_owned());
            match file::open(&path) {
                Ok(sink) => Ok(Opened { path, sink: Some(sink), is_new }),
                Err(error) if file::waits_for_reader(&error) => Ok(Opened { path, sink: None, is_new }),
                Err(source) => Err(AccessLogError { path, source }),
            }
        };
        path.map(open).transpose().map(Prepared)
    }

    /// From now on lines go to the prepared file. Those of requests that ended before may go to either, and go to the old
    /// one where there is no other.
    pub fn commit(&self, prepared: Prepared) {
        self.shared.enabled.store(prepared.0.is_some(), Ordering::Relaxed);
        self.shared.state().change = Some(prepared.settled());
        self.shared.work.notify_one();
    }

    /// Writes a request down, within a second. Never waits: a line for which there is no room is counted instead.
    pub fn record(&self, finished: &Finished<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        if !self.shared.enabled.load(Ordering::Relaxed) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            line::write(finished, SystemTime::now(), line);
            self.push(line);
        });
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.shared.state();
        let before = state.lines.len();
        if before + line.len() > BUFFER_BYTES_MAX || state.must_stop {
            let is_stuck = state.busy_since.is_some_and(|since| since.elapsed() >= STUCK);
            if is_stuck {
                // The writer cannot raise the alarm: it waits in the system.
                self.metrics.failing.set(1);
            }
            let is_failing = is_stuck || state.is_failing;
            let counter = if is_failing { &self.metrics.dropped_failing } else { &self.metrics.dropped_slow };
            counter.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        let after = state.lines.len();
        drop(state);
        // Waking costs a system call, so it is done where the writer's plans change, and not for each line.
        if before == 0 || (before < WAKE_BYTES && after >= WAKE_BYTES) {
            self.shared.work.notify_one();
        }
    }

    /// Writes what is still there and ends, for at most `within`; says whether all was written in time. Blocks.
    pub fn finish(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.shared.state();
        state.must_stop = true;
        self.shared.work.notify_one();
        while !state.has_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.is_failing
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.state().must_stop = true;
        self.shared.work.notify_one();
    }
}

/// Looks whether a log could be written at `path`, without making it: who checks need not be who runs.
///
/// # Errors
/// What is in the way, as an end of "the access log PATH ...".
pub fn check(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err("is a folder; name a file in it".into());
    }
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("is to be in {}, which is no folder", folder.display())),
        Err(error) => {
            let folder = folder.display();
            Err(format!("is to be in {folder}, which cannot be used: {error}; make that folder first"))
        }
    }
}
