//! The daemon: build, run, shut down.
//!
//! Order is everything here. Nothing is listened on for traffic before the first complete round of probes has led to
//! published decisions (or `startup_deadline` has passed); at a stop, traffic ends first, then the control task, then
//! the store.

mod assemble;
pub(crate) mod listeners;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use crate::access_log::{AccessLog, AccessLogError};
use crate::admin::{self, Admin, Answers, Door, Readiness, SocketFile, Stage, Tokens};
use crate::cli::{DONE, complain};
use crate::clock::{Clock, wall};
use crate::control::{Handle, QUEUE_MAX};
use crate::heartbeat::Heartbeat;
use crate::load::{self, Loaded};
use crate::metrics::Metrics;
use crate::names::Watcher;
use crate::notify::Notifier;
use crate::reload::{self, Present, Reloader};
use crate::service_manager::ServiceManager;
use crate::store::Store;
use crate::traffic::Traffic;
use crate::world::Worlds;
use assemble::Wiring;
use listeners::Listeners;

/// Results waiting for the control task.
const OBSERVATIONS_MAX: usize = 4096;
/// Messages that wait at a stop get this long to arrive.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// After the drain, what is left gets this long to end.
const STOP: Duration = Duration::from_secs(2);

/// Runs the daemon until it is told to stop; returns the exit code.
#[must_use]
pub fn run(path: &Path) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}")),
    };
    // Before files that may be large are read: a SIGHUP would end a daemon that does not wait for it. Orders to stop may.
    let hangups = match catch(&runtime, SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return complain(&error.to_string()),
    };
    let loaded = match load::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return error.exit_code();
        }
    };
    init_log();
    for warning in &loaded.warnings {
        tracing::warn!(line = warning.line, key = %warning.path, "{}", warning.message);
    }
    raise_descriptor_limit();
    let outcome = runtime.block_on(serve(path, loaded, hangups));
    runtime.shutdown_timeout(STOP);
    match outcome {
        Ok(()) => DONE,
        Err(error) => complain(&error.to_string()),
    }
}

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error(transparent)]
    LostSite(#[from] tidegate_health::state::LostSite),
    #[error("cannot listen on {what} {at}: {source}{}", low_port(at, source))]
    Listen { what: &'static str, at: String, source: std::io::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    FrontTls(#[from] tidegate_proxy::TlsError),
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    #[error(transparent)]
    Load(#[from] load::LoadError),
    #[error("the control task ended by itself: {0}")]
    Control(String),
    #[error("signals cannot be caught: {0}")]
    Signals(std::io::Error),
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What to do about a port that the daemon's user may not have: the usual mistake of a start without the package.
fn low_port(at: &str, error: &std::io::Error) -> &'static str {
    let is_low = at.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() < 1024);
    if is_low && error.kind() == std::io::ErrorKind::PermissionDenied {
        "; ports below 1024 need CAP_NET_BIND_SERVICE: start it with the packaged unit (systemctl start tidegate), or set \
         AmbientCapabilities=CAP_NET_BIND_SERVICE in your own, or use a higher port"
    } else {
        ""
    }
}

async fn serve(path: &Path, loaded: Loaded, mut hangups: Signal) -> Result<(), AppError> {
    let mut signals = Signals::catch()?;
    let mut daemon = Daemon::start(path, loaded).await?;
    tokio::select! {
        () = daemon.first_round() => {}
        () = signals.stop() => return daemon.finish().await,
    }
    if let Err(error) = daemon.open().await {
        daemon.finish().await?;
        return Err(error);
    }
    tokio::select! {
        () = signals.stop() => {}
        error = daemon.run(&mut hangups) => return Err(error),
    }
    tokio::select! {
        () = daemon.drain() => {}
        () = signals.stop() => tracing::warn!("stopping at once"),
    }
    daemon.end_log().await;
    daemon.finish().await
}

/// A daemon from its first moment to its last.
struct Daemon {
    control: JoinHandle<()>,
    stop_control: watch::Sender<bool>,
    first_round: watch::Receiver<bool>,
    /// Listeners open at the latest then.
    open_by: Instant,
    /// They only look at the control task.
    onlookers: Vec<JoinHandle<()>>,
    _socket_file: SocketFile,
    reloader: Reloader,
    reloads: mpsc::Receiver<reload::Request>,
    access_log: Arc<AccessLog>,
    notifier: Notifier,
    readiness: Readiness,
    service_manager: ServiceManager,
}

impl Daemon {
    /// Everything but traffic: it is probed, and can be asked why it waits.
    async fn start(path: &Path, mut loaded: Loaded) -> Result<Self, AppError> {
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new()?);
        let worlds = Worlds::default();
        let (results, observations) = mpsc::channel(OBSERVATIONS_MAX);
        let (messages, inbox) = mpsc::channel(QUEUE_MAX);
        let (round, first_round) = watch::channel(false);
        let (stop_control, stopped) = watch::channel(false);

        listeners::try_all(&loaded.config)?;
        let access_log = AccessLog::start(loaded.config.access_log.as_deref(), metrics.access_log.clone())?;
        let access_log = Arc::new(access_log);
        metrics.certificates(&loaded.certificates);
        let service_manager = ServiceManager::from_env();
        let startup_deadline = loaded.config.startup_deadline;
        let open_by = Instant::now() + startup_deadline;
        service_manager.starting(startup_deadline).await;
        let (store, mut stored) = Store::open(&loaded.config.state_dir)?;
        // The rest of the time is for the first round of probes.
        let patience = (startup_deadline / 2).min(loaded.config.resolver.timeout);
        let watcher = Watcher::start(&loaded.config, &stored.names, Instant::now() + patience).await;
        let concerns = loaded.resolve(&watcher.addresses())?;
        let (present, plan, outbound) = Present::new(path.to_owned(), loaded);
        let config = present.config.clone();
        let notifier = Notifier::new(config.node.name.clone(), metrics.notify.clone());
        notifier.replace(outbound.receivers);
        let wiring = Wiring {
            results,
            worlds: worlds.clone(),
            metrics: metrics.clone(),
            notifier: notifier.clone(),
            clock,
            round,
        };
        let tokens = Tokens::new(store.clone(), std::mem::take(&mut stored.tokens));
        let control = assemble::assemble(&config, plan, (store.clone(), stored), wiring).await?;
        let handle = Handle::new(messages);
        let names = watcher.spawn(handle.clone(), store.clone(), metrics.clone(), concerns);
        let control = tokio::spawn(control.run(inbox, observations, stopped));
        let heartbeat = Heartbeat::new(outbound.heartbeat);
        let beating = heartbeat.clone().run(handle.clone(), store.clone(), metrics.heartbeat.clone());
        let beating = tokio::spawn(beating);
        let tending = tokio::spawn(service_manager.clone().tend(handle.clone(), worlds.clone()));

        let (readiness, (requests, reloads)) = (Readiness::default(), mpsc::channel(reload::QUEUE_MAX));
        let admin = Admin {
            node: config.node.name.clone(),
            started: wall(),
            control: handle.clone(),
            store,
            names: names.board.clone(),
            worlds: worlds.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            door: Door::new(tokens, metrics.clone()),
            answers: Answers::default(),
            reloads: requests,
            notifier: notifier.clone(),
        };
        let (socket, _socket_file) = open_socket(&config, admin.clone())?;
        let traffic =
            Traffic { metrics: metrics.clone(), control: handle.clone(), access_log: access_log.clone() };
        let mut listeners = Listeners::new(&config, &worlds, &Arc::new(traffic), admin)?;
        let early = listeners::doors(&config).into_iter().filter(|(kind, _)| kind.is_early());
        listeners.serve(listeners.bind(early).await?);
        let parts = reload::Parts {
            listeners,
            names,
            control: handle,
            metrics,
            access_log: access_log.clone(),
            notifier: notifier.clone(),
            heartbeat,
            service_manager: service_manager.clone(),
        };
        Ok(Self {
            control,
            stop_control,
            first_round,
            open_by,
            onlookers: vec![socket, tending, beating],
            _socket_file,
            reloader: Reloader::new(present, parts),
            reloads,
            access_log,
            notifier,
            readiness,
            service_manager,
        })
    }

    /// Until the first complete round of probes has led to published decisions, or has taken too long.
    async fn first_round(&mut self) {
        let complete = self.first_round.wait_for(|complete| *complete);
        let complete = tokio::time::timeout_at(self.open_by, complete);
        let outcome = tokio::select! {
            outcome = complete => outcome,
            never = self.reloader.watch_names() => match never {},
        };
        if outcome.is_err() {
            tracing::warn!(
                "the first round of probes is not complete; opening all the same, on what the store knows"
            );
        }
    }

    /// Begins to serve.
    async fn open(&mut self) -> Result<(), AppError> {
        let Self { reloader, readiness, service_manager, .. } = self;
        let wanted = listeners::doors(reloader.present());
        let bound = reloader.listeners.bind(wanted).await?;
        reloader.listeners.serve(bound);
        readiness.set(Stage::Open);
        service_manager.ready().await;
        let listen = &reloader.present().listen;
        tracing::info!(http = ?listen.http, https = ?listen.https, dns = ?listen.dns, dot = ?listen.dot, "ready");
        Ok(())
    }

    /// Serves and reloads. It only ends with the control task, which has failed: without it nothing would ever move again;
    /// a supervisor's restart resumes where the store says.
    async fn run(&mut self, hangups: &mut Signal) -> AppError {
        let ended = tokio::select! {
            ended = &mut self.control => ended,
            never = self.reloader.run(hangups, &mut self.reloads) => match never {},
        };
        AppError::Control(ended.err().map_or_else(String::new, |error| error.to_string()))
    }

    /// Takes no new work, and lets the old finish in its time.
    async fn drain(&mut self) {
        // Whoever waits for a reload hears that there is none to come.
        self.reloads.close();
        while self.reloads.try_recv().is_ok() {}
        let deadline = self.reloader.present().drain_deadline;
        self.readiness.set(Stage::Draining);
        self.service_manager.stopping(deadline).await;
        tracing::info!(
            deadline_ms = deadline.as_millis(),
            "stopping: draining; a second signal stops at once"
        );
        self.reloader.listeners.drain(deadline).await;
    }

    /// What the last requests left to be written is written, unless the disk will not take it.
    async fn end_log(&self) {
        let log = self.access_log.clone();
        let ended = tokio::task::spawn_blocking(move || log.finish(STOP)).await;
        if !ended.unwrap_or(false) {
            tracing::warn!("the end of the access log could not be written");
        }
    }

    /// The control task ends, then everything that only looked at it.
    async fn finish(self) -> Result<(), AppError> {
        self.stop_control.send_replace(true);
        if let Err(error) = self.control.await {
            tracing::error!(%error, "the control task ended badly");
        }
        // After the control task, so that its last decisions are told, too.
        self.notifier.finish(LAST_WORDS).await;
        self.onlookers.iter().for_each(JoinHandle::abort);
        tracing::info!("stopped");
        Ok(())
    }
}

/// The control socket is open from the first moment on: a daemon that is starting can be asked why it waits.
fn open_socket(
    config: &tidegate_config::Config,
    admin: Admin,
) -> Result<(JoinHandle<()>, SocketFile), AppError> {
    let path = &config.listen.socket;
    let failed =
        |source| AppError::Listen { what: "the control socket", at: path.display().to_string(), source };
    let (socket, file) = admin::bind_socket(path).map_err(failed)?;
    Ok((tokio::spawn(admin::serve_socket(socket, admin)), file))
}

/// The signals that end a daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self, AppError> {
        let catch = |kind| signal(kind).map_err(AppError::Signals);
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for the next order to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn catch(runtime: &Runtime, kind: SignalKind) -> Result<Signal, AppError> {
    let _inside = runtime.enter();
    signal(kind).map_err(AppError::Signals)
}

fn init_log() {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call, from a test, keeps the first log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// Every client is a descriptor or two; the soft limit of most systems is far below the hard one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "the limit of open files cannot be raised");
    }
}
