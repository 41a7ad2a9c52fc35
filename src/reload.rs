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

use tidegate_config::{Addresses, Concern, Config, Diagnostic, render};
use tidegate_dns::Zone;
use tidegate_health::SELF;
use tidegate_health::event::EventKind;
use tidegate_health::id::Name;
use tidegate_probe::ProbeSpec;
use tidegate_proxy::Target;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use crate::access_log::AccessLog;
use crate::app::AppError;
use crate::app::listeners::{self, Listeners};
use crate::certs::CertificateError;
use crate::control::{Handle, NotTaken, Plan, Reload};
use crate::heartbeat::Heartbeat;
use crate::load::{self, LoadError, Loaded, OriginFiles, Outbound};
use crate::metrics::Metrics;
use crate::names::{self, Names};
use crate::notify::Notifier;
use crate::service_manager::ServiceManager;
use crate::watchers::Watch;
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
    present: Present,
    names: Names,
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
    pub(crate) names: Names,
    pub(crate) control: Handle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) notifier: Notifier,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) service_manager: ServiceManager,
}

/// The configuration that runs, and what was read with it.
#[derive(Clone)]
pub(crate) struct Present {
    pub(crate) path: PathBuf,
    pub(crate) config: Arc<Config>,
    summary: Summary,
    zones: Vec<Arc<Zone>>,
    /// Gates, witnesses and published addresses.
    watches: Arc<[Watch]>,
    settings: Arc<Settings>,
    /// Digests of the files of those who are told.
    outbound: Arc<[u64]>,
    origin_files: OriginFiles,
}

impl Present {
    /// The configuration at `path` with all that it names, the plan that it comes to, and whom to tell.
    pub(crate) fn new(path: PathBuf, loaded: Loaded) -> (Self, Plan, Outbound) {
        let Loaded { config, zones, probes, targets, watches, certificates, outbound, origin_files, .. } =
            loaded;
        let digests: Arc<[u64]> = outbound.digests.as_slice().into();
        let summary = Summary::of(&config, &probes, &zones, &certificates, &digests);
        let settings = Arc::new(Settings { certificates });
        let config = Arc::new(config);
        let watches = watches.into();
        let present =
            Self { path, config, summary, zones, watches, settings, outbound: digests, origin_files };
        let plan = present.plan(probes, targets);
        (present, plan, outbound)
    }

    /// The same where names stand for other addresses; nothing is read.
    fn resolved(mut self, addresses: &Addresses) -> Result<(Self, Plan, Vec<Concern>), LoadError> {
        let (config, concerns) = self.config.resolve(addresses);
        let (probes, targets) = self.origin_files.origins(&config)?;
        let certificates = &self.settings.certificates;
        self.summary = Summary::of(&config, &probes, &self.zones, certificates, &self.outbound);
        self.config = Arc::new(config);
        let plan = self.plan(probes, targets);
        Ok((self, plan, concerns))
    }

    fn plan(&self, probes: Vec<ProbeSpec>, targets: Vec<Arc<Target>>) -> Plan {
        let (zones, watches) = (self.zones.clone(), self.watches.to_vec());
        Plan::new(&self.config, zones, probes, targets, watches, self.settings.clone())
    }
}

impl Reloader {
    pub(crate) fn new(present: Present, parts: Parts) -> Self {
        Self {
            present,
            names: parts.names,
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
        &self.present.config
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
                () = self.names.moved() => self.follow_names().await,
            }
        }
    }

    /// Follows names alone, for a daemon that does not take reloads yet. Never ends.
    pub(crate) async fn watch_names(&mut self) -> Infallible {
        loop {
            self.names.moved().await;
            self.follow_names().await;
        }
    }

    /// Takes over what names stand for now, the way a reload takes over a configuration. Files are not looked at: what is
    /// being edited there is nobody's business before somebody reloads.
    async fn follow_names(&mut self) {
        let addresses = self.names.addresses();
        if *addresses == *self.names.taken() {
            return;
        }
        let what = names::difference(self.names.taken(), &addresses);
        let (present, table) = (self.present.clone(), addresses.clone());
        // Thousands of origins are set up anew.
        let resolved = tokio::task::spawn_blocking(move || present.resolved(&table)).await;
        let (present, plan, concerns) = match resolved {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(error)) => return self.not_followed(&what, &error),
            Err(error) => return self.not_followed(&what, &error),
        };
        let reload = Reload { plan, kind: EventKind::Resolved, by: SELF.into(), what: what.as_str().into() };
        match self.control.reload(reload).await {
            Some(Ok(_)) => {
                self.present = present;
                self.names.take(addresses, concerns);
            }
            Some(Err(error)) => self.not_followed(&what, &error),
            // The daemon stops.
            None => {}
        }
    }

    fn not_followed(&mut self, what: &str, why: &dyn std::fmt::Display) {
        tracing::warn!(what, "a change of addresses has to wait: {why}");
        self.names.try_again();
    }

    async fn reload(&mut self, by: &Name) -> Result<Report, Failure> {
        tracing::info!(by = &**by, path = %self.present.path.display(), "reloading the configuration");
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
        let (path, present) = (self.present.path.clone(), self.present.config.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut loaded = load::load(&path)?;
            let restart = keep_until_restart(&present, &mut loaded.config);
            // Also where it is the same path: it may have been renamed, and the old file is not to be written for ever.
            let log = AccessLog::prepare(loaded.config.access_log.as_deref())?;
            Ok((loaded, restart, log))
        });
        let read = read.await.map_err(|error| Failure::Panic(error.to_string()))?;
        let (mut loaded, restart, log) = read.map_err(Failure::Load)?;
        let names = self.names.prepare(&loaded.config).await;
        let (path, addresses) = (self.present.path.clone(), names.addresses.clone());
        let made = tokio::task::spawn_blocking(move || {
            let concerns = loaded.resolve(&addresses)?;
            let told = (std::mem::take(&mut loaded.warnings), std::mem::take(&mut loaded.text));
            Ok((Present::new(path, loaded), told, concerns))
        });
        let made = made.await.map_err(|error| Failure::Panic(error.to_string()))?;
        let ((present, plan, outbound), (warnings, text), concerns) = made.map_err(Failure::Load)?;

        let wanted = listeners::doors(&present.config);
        let bound = self.listeners.bind(wanted.iter().copied()).await.map_err(|error| self.taken(error))?;
        let changes = self.present.summary.changes(&present.summary);
        let reload = Reload { plan, kind: EventKind::Reloaded, by: by.clone(), what: line(&changes).into() };
        let taken = self.control.reload(reload).await.ok_or(Failure::Stopping)?.map_err(Failure::NotTaken)?;
        // From here on nothing can fail.
        self.listeners.reconfigure(&present.config);
        self.listeners.serve(bound);
        self.listeners.keep(&wanted);
        self.access_log.commit(log);
        self.notifier.replace(outbound.receivers);
        self.heartbeat.replace(outbound.heartbeat);
        self.metrics.certificates(&present.settings.certificates);
        self.present = present;
        self.names.watch(names, concerns).await;
        let path = self.present.path.display().to_string();
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
        let path = self.present.config.access_log.clone();
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
