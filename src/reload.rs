//! Another configuration while everything goes on: SIGHUP and `tidegate reload`.
//!
//! ```text
//!  files read and checked -> new listeners bound -> control: one World -> new listeners served, old ones drained
//!        |                          |                   |
//!        +--------------------------+-------------------+--> any failure: nothing has changed, and it is said
//! ```
//!
//! One after the other: who asks during a reload waits for the next one.

mod summary;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config::{Config, Diagnostic, render};
use tidegate_health::id::Name;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use crate::access_log::AccessLog;
use crate::app::AppError;
use crate::app::listeners::{self, Listeners};
use crate::certs::CertificateError;
use crate::control::{Handle, NotTaken, Plan, Reload};
use crate::heartbeat::Heartbeat;
use crate::load::{self, LoadError, Loaded};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::service_manager::ServiceManager;
use crate::world::Settings;
use summary::Summary;
pub(crate) use summary::line;
pub use summary::{Changed, Changes};

/// Reloads that wait their turn; more are refused.
pub const QUEUE_MAX: usize = 4;

/// A wish for a reload, and where to tell what came of it.
pub struct Request {
    pub by: Name,
    pub answer: oneshot::Sender<Result<Report, Failure>>,
}

/// A reload that was taken.
#[derive(Debug)]
pub struct Report {
    pub generation: u64,
    pub changes: Changes,
    /// Keys that keep their value until a restart.
    pub restart: Vec<RestartKey>,
    pub warnings: Vec<Diagnostic>,
    /// The warnings as people read them.
    pub rendered: Vec<String>,
}

/// A key that cannot change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RestartKey {
    pub key: String,
    /// What holds until a restart.
    pub kept: String,
    pub configured: String,
}

/// Why a reload was not taken; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Load(LoadError),
    #[error("{error}{hint}")]
    Listen { error: AppError, hint: &'static str },
    #[error("{0}")]
    NotTaken(NotTaken),
    #[error("reading the configuration ended by itself: {0}")]
    Panic(String),
    #[error("the daemon is stopping")]
    Stopping,
}

impl Failure {
    /// A short, stable word: `config` where the files are at fault.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Load(LoadError::Read { .. } | LoadError::Certificate(CertificateError::Read { .. })) => {
                "read"
            }
            Self::Load(_) => "config",
            Self::Listen { .. } => "listen",
            Self::NotTaken(NotTaken::Misfit(_)) => "misfit",
            Self::NotTaken(NotTaken::NotStored(_)) => "not-stored",
            Self::NotTaken(NotTaken::Busy | NotTaken::Another) => "busy",
            Self::Panic(_) => "internal",
            Self::Stopping => "stopping",
        }
    }
}

/// Carries reloads out, one after the other, and owns what they change beside the control task.
pub(crate) struct Reloader {
    path: PathBuf,
    present: Arc<Config>,
    summary: Summary,
    pub(crate) listeners: Listeners,
    control: Handle,
    metrics: Arc<Metrics>,
    access_log: Arc<AccessLog>,
    notifier: Notifier,
    heartbeat: Heartbeat,
    service_manager: ServiceManager,
}

/// What a [`Reloader`] is connected to.
pub(crate) struct Parts {
    pub(crate) listeners: Listeners,
    pub(crate) control: Handle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) notifier: Notifier,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) service_manager: ServiceManager,
}

/// What the running configuration is compared with later.
pub(crate) struct Present {
    pub(crate) path: PathBuf,
    pub(crate) config: Arc<Config>,
    summary: Summary,
}

impl Present {
    pub(crate) fn of(path: PathBuf, loaded: &Loaded) -> Self {
        Self { path, config: Arc::new(loaded.config.clone()), summary: Summary::of(loaded) }
    }
}

impl Reloader {
    pub(crate) fn new(present: Present, parts: Parts) -> Self {
        Self {
            path: present.path,
            present: present.config,
            summary: present.summary,
            listeners: parts.listeners,
            control: parts.control,
            metrics: parts.metrics,
            access_log: parts.access_log,
            notifier: parts.notifier,
            heartbeat: parts.heartbeat,
            service_manager: parts.service_manager,
        }
    }

    /// The configuration that runs.
    pub(crate) fn present(&self) -> &Config {
        &self.present
    }

    /// Reloads at every SIGHUP and every request. A SIGHUP that comes during a reload leads to one more. Never ends.
    pub(crate) async fn run(
        &mut self,
        hangups: &mut Signal,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Infallible {
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => {
                    // Told in the log; nobody else waits for it.
                    let _ = self.reload(&"SIGHUP".into()).await;
                }
                Some(Request { by, answer }) = requests.recv() => {
                    // Whoever asked may have hung up; the reload is as good.
                    let _ = answer.send(self.reload(&by).await);
                }
            }
        }
    }

    async fn reload(&mut self, by: &Name) -> Result<Report, Failure> {
        tracing::info!(by = &**by, path = %self.path.display(), "reloading the configuration");
        self.service_manager.reloading().await;
        let outcome = self.try_reload(by).await;
        match &outcome {
            Ok(report) => {
                self.metrics.reloaded();
                tracing::info!(by = &**by, generation = report.generation, "the configuration was reloaded");
                for warning in &report.warnings {
                    tracing::warn!(line = warning.line, key = %warning.path, "{}", warning.message);
                }
                for RestartKey { key, kept, configured } in &report.restart {
                    tracing::warn!(key, kept, configured, "this key changes only with a restart");
                }
            }
            Err(failure) => {
                self.metrics.reload_refused();
                tracing::error!(
                    by = &**by,
                    "the configuration was not reloaded, the old one runs on: {failure}"
                );
                self.reopen_log().await;
            }
        }
        self.service_manager.reloaded().await;
        outcome
    }

    async fn try_reload(&mut self, by: &Name) -> Result<Report, Failure> {
        // Files may be large and disks slow: nothing that serves waits for them.
        let (path, present) = (self.path.clone(), self.present.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut loaded = load::load(&path)?;
            let restart = keep_until_restart(&present, &mut loaded.config);
            let summary = Summary::of(&loaded);
            // Also where it is the same path: it may have been renamed, and the old file is not to be written for ever.
            let log = AccessLog::prepare(loaded.config.access_log.as_deref())?;
            Ok((loaded, restart, summary, log))
        });
        let read = read.await.map_err(|error| Failure::Panic(error.to_string()))?;
        let (loaded, restart, summary, log) = read.map_err(Failure::Load)?;
        let Loaded { config, warnings, text, zones, probes, targets, certificates, outbound } = loaded;

        let wanted = listeners::doors(&config);
        let bound = self.listeners.bind(wanted.iter().copied()).await.map_err(|error| self.taken(error))?;
        let changes = self.summary.changes(&summary);
        let settings = Arc::new(Settings { certificates: certificates.clone() });
        let plan = Plan::new(&config, zones, probes, targets, settings);
        let reload = Reload { plan, by: by.clone(), what: line(&changes).into() };
        let taken = self.control.reload(reload).await.ok_or(Failure::Stopping)?.map_err(Failure::NotTaken)?;
        // From here on nothing can fail.
        self.listeners.reconfigure(&config);
        self.listeners.serve(bound);
        self.listeners.keep(&wanted);
        self.access_log.commit(log);
        self.notifier.replace(outbound.receivers);
        self.heartbeat.replace(outbound.heartbeat);
        self.metrics.certificates(&certificates);
        self.present = Arc::new(config);
        self.summary = summary;
        let path = self.path.display().to_string();
        Ok(Report {
            generation: taken.generation,
            changes,
            restart,
            rendered: warnings.iter().map(|warning| render(warning, &path, &text)).collect(),
            warnings,
        })
    }

    /// Whoever has renamed the log asks for a new file with a reload. It gets one whatever the configuration is like:
    /// renamed logs are compressed and removed.
    async fn reopen_log(&self) {
        let path = self.present.access_log.clone();
        let opened = tokio::task::spawn_blocking(move || AccessLog::prepare(path.as_deref())).await;
        match opened {
            Ok(Ok(log)) => self.access_log.commit(log),
            Ok(Err(error)) => tracing::error!("{error}; it goes on where it was"),
            // It ended by itself, and the file that is open is as good.
            Err(_) => {}
        }
    }

    fn taken(&self, error: AppError) -> Failure {
        let is_ours = match &error {
            AppError::Listen { at, source, .. } => {
                source.kind() == std::io::ErrorKind::AddrInUse
                    && at.parse().is_ok_and(|address| self.listeners.hold(address))
            }
            _ => false,
        };
        let hint = if is_ours {
            "; this daemon itself has that address: remove the listener that has it with one reload, and add the new \
             one with the next"
        } else {
            ""
        };
        Failure::Listen { error, hint }
    }
}

/// Gives keys that cannot change back their present values, and names them.
fn keep_until_restart(present: &Config, new: &mut Config) -> Vec<RestartKey> {
    let mut keys = Vec::new();
    let mut compare = |key: &str, kept: String, configured: String| {
        if kept != configured {
            keys.push(RestartKey { key: key.into(), kept, configured });
        }
    };
    let path = |path: &std::path::Path| path.display().to_string();
    compare("state_dir", path(&present.state_dir), path(&new.state_dir));
    compare("node.name", present.node.name.to_string(), new.node.name.to_string());
    compare("listen.socket", path(&present.listen.socket), path(&new.listen.socket));
    compare(
        "probes_per_target_max",
        present.probes_per_target_max.to_string(),
        new.probes_per_target_max.to_string(),
    );
    compare("check_commands_max", present.check_commands_max.to_string(), new.check_commands_max.to_string());
    new.check_commands_max = present.check_commands_max;
    new.state_dir.clone_from(&present.state_dir);
    new.node.name = present.node.name.clone();
    new.listen.socket.clone_from(&present.listen.socket);
    new.probes_per_target_max = present.probes_per_target_max;
    keys
}
