//! A scene: origins, a daemon and its configuration, on free ports of the loopback, in a folder of its own.

mod ask;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Answer;

/// Nothing that a test waits for may take longer on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const HOST: &str = "www.scene.test";

/// What a scene is made of. Every site has the front door `192.0.2.N`, N from one in order of preference.
pub(crate) struct Script {
    /// Sites in order of preference, with how many origins each has.
    pub(crate) sites: Vec<(&'static str, usize)>,
    /// Keys of the group beside `sites`.
    pub(crate) group: &'static str,
    /// Keys of the service beside `group`, `hosts` and `origins`.
    pub(crate) service: &'static str,
    /// Top-level keys.
    pub(crate) top: &'static str,
}

/// A fast check, so that tests are quick; written into `service`.
pub(crate) const FAST_CHECK: &str = "check = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";

impl Default for Script {
    fn default() -> Self {
        Self {
            sites: vec![("main", 1), ("dr", 1), ("third", 1)],
            group: "stateless = true\nfailover_after = \"0s\"\n",
            service: FAST_CHECK,
            top: "",
        }
    }
}

pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) origins: BTreeMap<String, Origin>,
    daemon: Option<Child>,
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) admin: SocketAddr,
    sites: Vec<&'static str>,
    socket: PathBuf,
    /// Whether the daemon may decide by itself where the group starts.
    has_decision_at_start: bool,
}

/// One origin process.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
}

impl Origin {
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let id = self.child.as_ref().and_then(Child::id).expect("the origin runs");
        rustix::process::Pid::from_raw(id.cast_signed()).expect("a process id is not zero")
    }
}

impl Scene {
    /// Origins and a daemon, ready.
    pub(crate) async fn play(script: Script) -> Self {
        let mut scene = Self::set(script).await;
        scene.start_daemon().await;
        if scene.has_decision_at_start {
            scene.wait_ready().await;
        } else {
            scene
                .eventually("the daemon serves", async || {
                    scene.get("/readyz").await.is_some_and(|(_, text)| text.starts_with("undecided"))
                })
                .await;
        }
        scene
    }

    /// Origins and a configuration; no daemon yet.
    pub(crate) async fn set(script: Script) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut scene = Self {
            http: free_address(),
            dns: free_address(),
            admin: free_address(),
            origins: BTreeMap::new(),
            daemon: None,
            has_decision_at_start: script.group.contains("stateless = true")
                && !script.top.contains("undecided"),
            sites: script.sites.iter().map(|(name, _)| *name).collect(),
            socket: folder.path().join("state").join("tidegate.sock"),
            folder,
        };
        for (site, count) in &script.sites {
            for number in 1..=*count {
                let name = format!("{site}{number}");
                let log = scene.path(&format!("{name}.log"));
                scene.origins.insert(name.clone(), Origin { addr: free_address(), log, child: None });
                scene.start_origin(&name).await;
            }
        }
        scene.write("scene.test.zone", ZONE);
        scene.write("tidegate.toml", &scene.config(&script));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the scene's folder can be written");
    }

    /// Writes the configuration anew, for other sites of those the scene was set with.
    pub(crate) fn rewrite(&mut self, script: &Script) {
        self.sites = script.sites.iter().map(|(name, _)| *name).collect();
        self.write("tidegate.toml", &self.config(script));
    }

    fn config(&self, script: &Script) -> String {
        let mut text = format!(
            "state_dir = \"{}\"\n{}\n[node]\nname = \"edge\"\n[listen]\nhttp = [\"{}\"]\ndns = [\"{}\"]\nadmin = \"{}\"\n",
            self.path("state").display(),
            script.top,
            self.http,
            self.dns,
            self.admin
        );
        for (number, site) in self.sites.iter().enumerate() {
            let _ = writeln!(text, "[site.{site}]\nfront_door = [\"192.0.2.{}\"]", number + 1);
        }
        let _ = writeln!(text, "[group.app]\nsites = {:?}\n{}", self.sites, script.group);
        let _ = writeln!(
            text,
            "[service.web]\ngroup = \"app\"\nprotocol = \"http\"\nhosts = [\"{HOST}\"]\n{}",
            script.service
        );
        for (site, count) in &script.sites {
            let urls: Vec<_> = (1..=*count)
                .map(|number| {
                    format!("{{ url = \"http://{}\" }}", self.origins[&format!("{site}{number}")].addr)
                })
                .collect();
            let _ = writeln!(text, "origins.{site} = [{}]", urls.join(", "));
        }
        text.push_str("[zone.\"scene.test\"]\nfile = \"scene.test.zone\"\nsteer.www = { group = \"app\", ttl = \"5s\" }\n");
        text
    }

    /// Starts an origin at the address it has, and waits until it listens.
    pub(crate) async fn start_origin(&mut self, name: &str) {
        let origin = self.origins.get_mut(name).expect("the scene has this origin");
        let mut child = Command::new(example("origin"))
            .args([name, &origin.addr.to_string()])
            .arg(&origin.log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the origin starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("it was asked for"));
        out.read_line(&mut line).await.expect("the origin says where it listens");
        assert_eq!(line.trim(), origin.addr.to_string(), "origin {name} did not start");
        origin.child = Some(child);
    }

    /// Starts an origin that the configuration does not name, at an address of the test's choice.
    pub(crate) async fn place_origin(&mut self, name: &str, addr: SocketAddr) {
        let log = self.path(&format!("{name}.log"));
        self.origins.insert(name.to_owned(), Origin { addr, log, child: None });
        self.start_origin(name).await;
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) async fn kill(&mut self, name: &str) {
        let origin = self.origins.get_mut(name).expect("the scene has this origin");
        origin.child.take().expect("the origin runs").kill().await.expect("it can be killed");
    }

    /// The ids of the requests an origin executed, each with how often.
    pub(crate) fn executed(&self) -> HashMap<String, usize> {
        let mut executed = HashMap::new();
        for origin in self.origins.values() {
            for line in std::fs::read_to_string(&origin.log).unwrap_or_default().lines() {
                let id = line.split(' ').next().unwrap_or_default();
                *executed.entry(id.to_owned()).or_insert(0) += 1;
            }
        }
        executed
    }

    /// Replaces text of the configuration, which must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let config = std::fs::read_to_string(self.path("tidegate.toml")).expect("the configuration is there");
        assert!(config.contains(from), "`{from}` is not in the configuration:\n{config}");
        self.write("tidegate.toml", &config.replace(from, to));
    }

    pub(crate) async fn start_daemon(&mut self) {
        self.start_daemon_under(&[]).await;
    }

    /// Starts the daemon as the last thing that `wrapper`, a program with arguments, executes in its own place.
    pub(crate) async fn start_daemon_under(&mut self, wrapper: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log"));
        let program = tidegate().display().to_string();
        let line = [wrapper, &[&program, "run", "--config"]].concat();
        let daemon = Command::new(line[0])
            .args(&line[1..])
            .arg(self.path("tidegate.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("the daemon starts");
        self.daemon = Some(daemon);
    }

    /// SIGKILL to the daemon.
    pub(crate) async fn kill_daemon(&mut self) {
        self.daemon.take().expect("the daemon runs").kill().await.expect("it can be killed");
    }

    pub(crate) fn daemon_id(&self) -> u32 {
        self.daemon.as_ref().and_then(Child::id).expect("the daemon runs")
    }

    pub(crate) fn signal_daemon(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.daemon_id().cast_signed());
        let pid = pid.expect("a process id is not zero");
        rustix::process::kill_process(pid, signal).expect("the daemon can be signalled");
    }

    /// Starts a daemon that must end by itself, soon; its exit code and all it said.
    pub(crate) async fn run_daemon(&mut self) -> (Option<i32>, String) {
        std::fs::remove_file(self.path("daemon.log")).ok();
        self.start_daemon().await;
        let code = self.wait_daemon().await;
        (code, self.daemon_log())
    }

    /// Waits until the daemon has ended by itself; its exit code.
    pub(crate) async fn wait_daemon(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().expect("the daemon was started");
        let status = tokio::time::timeout(PATIENCE, daemon.wait()).await;
        status.expect("the daemon ends in time").expect("its status can be read").code()
    }

    pub(crate) fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    pub(crate) async fn wait_ready(&self) {
        self.eventually("the daemon is ready", async || {
            self.get("/readyz").await.is_some_and(|(code, _)| code == 200)
        })
        .await;
    }

    /// Waits until the proxy accepts connections.
    pub(crate) async fn wait_open(&self) {
        self.eventually("the proxy listens", async || {
            tokio::net::TcpStream::connect(self.http).await.is_ok()
        })
        .await;
    }

    /// Waits until nobody accepts connections where the proxy listened.
    pub(crate) async fn wait_refused(&self) {
        self.eventually("new connections are refused", async || {
            let refused = tokio::net::TcpStream::connect(self.http).await.err();
            refused.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        })
        .await;
    }

    /// Waits until the daemon's log says this.
    pub(crate) async fn wait_log(&self, words: &str) {
        self.eventually(&format!("the log says `{words}`"), async || self.daemon_log().contains(words)).await;
    }

    /// One GET of the proxied host.
    pub(crate) async fn visit(&self) -> Answer {
        let request = crate::client::request("GET", HOST, "/", &[], b"");
        crate::client::exchange(self.http, &request).await.expect("the proxy answers")
    }

    /// What DNS says of the steered name.
    pub(crate) async fn steered(&self) -> (ResponseCode, Vec<String>) {
        crate::client::resolve(self.dns, HOST).await.expect("DNS answers")
    }

    /// Waits until `condition` holds.
    pub(crate) async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; the daemon's log:\n{}",
                self.daemon_log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

const ZONE: &str = "\
$TTL 60
@   IN SOA ns1 hostmaster 1 3600 600 86400 60
@   IN NS ns1
ns1 IN A 192.0.2.53
";

pub(crate) fn tidegate() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tidegate"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An example of this package, which cargo builds beside the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the test has a path");
    let profile = tests.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    profile.join("examples").join(name)
}

/// An address of the loopback that is free for TCP and UDP, and that no other test of this process gets: a daemon may
/// bind it much later. It is below the range that the kernel hands out by itself.
pub(crate) fn free_address() -> SocketAddr {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..1000 {
        let port = fastrand::u16(10_000..32_000);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let is_new = TAKEN.lock().expect("nothing panics with it").insert(port);
        if is_new
            && std::net::TcpListener::bind(address).is_ok()
            && std::net::UdpSocket::bind(address).is_ok()
        {
            return address;
        }
    }
    panic!("no port is free");
}
