//! The demo's processes: three sites and the daemon, in a folder of their own, on free ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::admin::shape::StatusReply;
use crate::cli::client::Client;

/// The name that moves.
pub(super) const HOST: &str = "www.demo.test";
/// What DNS answers for each site, in order of preference: addresses made for documentation (RFC 5737), which
/// nobody is sent to.
pub(super) const FRONT_DOORS: [(&str, &str); 3] =
    [("main", "192.0.2.10"), ("dr", "198.51.100.10"), ("backup", "203.0.113.10")];

const START: Duration = Duration::from_secs(10);

/// Why the demo cannot be played here.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("{what} did not start within {} s", START.as_secs())]
    NotStarted { what: String },
    #[error("{0}")]
    Daemon(String),
    #[error("it was stopped")]
    Stopped,
}

/// Everything that runs. Dropping it kills all of it.
pub(super) struct Stage {
    folder: TempDir,
    sites: BTreeMap<&'static str, (SocketAddr, Option<Child>)>,
    daemon: Option<Child>,
    pub(super) http: SocketAddr,
    pub(super) dns: SocketAddr,
}

impl Stage {
    pub(super) async fn set() -> Result<Self, StageError> {
        let folder = tempfile::tempdir().map_err(io("a folder for the demo"))?;
        let (http, dns) = (free_tcp()?, free_dns()?);
        let mut stage = Self { folder, sites: BTreeMap::new(), daemon: None, http, dns };
        for (name, _) in FRONT_DOORS {
            stage.sites.insert(name, (free_tcp()?, None));
            stage.start_site(name).await?;
        }
        stage.start_daemon().await?;
        Ok(stage)
    }

    /// Starts a site, at the address it has.
    pub(super) async fn start_site(&mut self, name: &'static str) -> Result<(), StageError> {
        let Some((address, child)) = self.sites.get_mut(name) else { return Ok(()) };
        let mut started = Command::new(own_program()?)
            .args(["demo-site", name, &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(io("a site of the demo"))?;
        let mut line = String::new();
        if let Some(out) = started.stdout.take() {
            let mut out = BufReader::new(out);
            let read = tokio::time::timeout(START, out.read_line(&mut line)).await;
            read.map_err(|_| StageError::NotStarted { what: format!("site {name}") })?
                .map_err(io("a site of the demo"))?;
        }
        if line.trim().is_empty() {
            return Err(StageError::NotStarted { what: format!("site {name}") });
        }
        *child = Some(started);
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, name: &str) {
        if let Some((_, child)) = self.sites.get_mut(name)
            && let Some(mut child) = child.take()
        {
            // It may have died by itself; dead it is.
            let _ = child.start_kill();
        }
    }

    async fn start_daemon(&mut self) -> Result<(), StageError> {
        let config = self.folder.path().join("tidegate.toml");
        std::fs::write(&config, self.config()).map_err(io("the demo's configuration"))?;
        std::fs::write(self.folder.path().join("demo.test.zone"), ZONE).map_err(io("the demo's zone"))?;
        let log = std::fs::File::create(self.folder.path().join("log")).map_err(io("the daemon's log"))?;
        let daemon = Command::new(own_program()?)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(io("the daemon"))?;
        self.daemon = Some(daemon);
        let deadline = Instant::now() + START;
        while self.call("GET", "/readyz".into(), None).await.is_err() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(StageError::Daemon(format!("the daemon did not start; its log:\n{log}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn config(&self) -> String {
        let mut text = format!(
            "state_dir = \"{}\"\n[node]\nname = \"demo\"\n[listen]\nhttp = [\"{}\"]\ndns = [\"{}\"]\n",
            self.folder.path().join("state").display(),
            self.http,
            self.dns
        );
        for (name, door) in FRONT_DOORS {
            let _ = writeln!(text, "[site.{name}]\nfront_door = [\"{door}\"]");
        }
        text.push_str(GROUP);
        for (name, (address, _)) in &self.sites {
            let _ = writeln!(text, "origins.{name} = [{{ url = \"http://{address}\" }}]");
        }
        text.push_str(STEER);
        text
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("state").join("tidegate.sock")
    }

    /// One call of the daemon's API.
    async fn call(
        &self,
        method: &'static str,
        path: String,
        body: Option<Value>,
    ) -> Result<String, StageError> {
        let client = Client::at(self.socket());
        client.call(method, &path, body.as_ref()).await.map_err(|error| StageError::Daemon(error.to_string()))
    }

    async fn status(&self) -> Result<StatusReply, StageError> {
        let text = self.call("GET", "/api/v1/status".into(), None).await?;
        serde_json::from_str(&text).map_err(|error| StageError::Daemon(error.to_string()))
    }

    /// Carries out an order of a person's.
    pub(super) async fn order(&self, verb: &str, body: &Value) -> Result<(), StageError> {
        self.call("POST", format!("/api/v1/groups/web/{verb}"), Some(body.clone())).await.map(drop)
    }

    /// Waits until the daemon finds a site fit.
    pub(super) async fn wait_fit(&self, site: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let status = self.status().await.ok();
            let sites =
                status.into_iter().flat_map(|reply| reply.status.groups).flat_map(|group| group.sites);
            if sites.into_iter().any(|found| &*found.name == site && &*found.fitness == "fit") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Stops the daemon as an operator would, then everything else.
    pub(super) async fn end(mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        if let Some(id) = daemon.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(START, daemon.wait()).await.is_err() {
            let _ = daemon.start_kill();
        }
    }
}

const ZONE: &str = "\
$TTL 60
@   IN SOA ns1 hostmaster 1 3600 600 86400 60
@   IN NS ns1
ns1 IN A 192.0.2.53
";

const GROUP: &str = "\
[group.web]
sites = [\"main\", \"dr\", \"backup\"]
stateless = true
failover_after = \"200ms\"
[service.web]
group = \"web\"
protocol = \"http\"
hosts = [\"www.demo.test\"]
spill = \"safe\"
check = { path = \"/health\", interval = \"500ms\", fast_interval = \"100ms\", timeout = \"400ms\", fall = 2, rise = 2 }
";

const STEER: &str = "\
[zone.\"demo.test\"]
file = \"demo.test.zone\"
steer.www = { group = \"web\", ttl = \"5s\" }
";

fn own_program() -> Result<PathBuf, StageError> {
    std::env::current_exe().map_err(io("this program's own path"))
}

/// A TCP address that is free now. Whoever takes it in between makes the demo fail with a clear word.
fn free_tcp() -> Result<SocketAddr, StageError> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(io("a free port"))
}

/// An address that is free for UDP and TCP.
fn free_dns() -> Result<SocketAddr, StageError> {
    let mut last = std::io::Error::other("no port is free for both UDP and TCP");
    for _ in 0..32 {
        let address = free_tcp()?;
        match UdpSocket::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(io("a free port")(last))
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> StageError {
    move |source| StageError::Io { what, source }
}
