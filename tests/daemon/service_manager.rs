//! What a service manager hears from the daemon, over a socket that the test plays.

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixDatagram;

use crate::client::{exchange, request};
use crate::scene::{HOST, PATIENCE, Scene, Script};

/// A scene whose daemon has a service manager, which wants a sign of life within every `watchdog`.
struct Managed {
    scene: Scene,
    manager: UnixDatagram,
}

impl Managed {
    async fn set(script: Script) -> Self {
        let scene = Scene::set(script).await;
        let manager = UnixDatagram::bind(scene.path("notify")).expect("the scene's folder is new");
        Self { scene, manager }
    }

    async fn start(&mut self, watchdog: Duration) {
        let socket = format!("NOTIFY_SOCKET={}", self.scene.path("notify").display());
        let watchdog = format!("WATCHDOG_USEC={}", watchdog.as_micros());
        self.scene.start_daemon_under(&["env", &socket, &watchdog]).await;
    }

    async fn hear(&self) -> String {
        let mut buffer = [0; 2048];
        let read = tokio::time::timeout(PATIENCE, self.manager.recv(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing more is told:\n{}", self.scene.daemon_log()));
        String::from_utf8_lossy(&buffer[..read.expect("the socket is open")]).into_owned()
    }

    /// Reads on until something is told that holds `words`; all that was told until then, and that.
    async fn hear_until(&self, words: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            told.push(self.hear().await);
            if told.last().is_some_and(|last| last.contains(words)) {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_is_told_when_traffic_is_served_and_not_before() {
    let service = "check = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"60s\", fall = 2, rise = 2 }\n";
    let script = Script { service, top: "startup_deadline = \"10m\"\n", ..Script::default() };
    let mut managed = Managed::set(script).await;
    managed.scene.mode("main1", "silent").await;
    managed.start(Duration::from_millis(200)).await;
    // It lives, and its first round hangs: signs of life, and no readiness.
    let told = managed.hear_until("WATCHDOG=1").await;
    assert!(told[0].starts_with("EXTEND_TIMEOUT_USEC=615000000\n"), "{told:?}");
    for _ in 0..5 {
        assert_eq!(managed.hear().await, "WATCHDOG=1");
    }
    managed.scene.mode("main1", "ok").await;
    let told = managed.hear_until("READY=1").await;
    assert!(told.iter().all(|words| !words.contains("STOPPING")), "{told:?}");
    // At once, without waiting for anything.
    assert_eq!(&*managed.scene.visit().await.body, "main1");
    assert_eq!(managed.scene.steered().await.1, [managed.scene.door("main")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_where_every_group_is() {
    let mut managed = Managed::set(Script::default()).await;
    managed.start(Duration::from_secs(60)).await;
    managed.hear_until("STATUS=app at main: ok").await;
    managed.scene.kill("main1").await;
    managed.hear_until("STATUS=app at dr: ok, latched").await;
    managed.scene.json(&["freeze", "app", "--reason", "a look at it"]).await;
    let told = managed.hear_until("frozen").await;
    assert!(told.last().is_some_and(|last| last.starts_with("STATUS=app at dr:")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_is_told_before_the_drain_and_with_its_deadline() {
    let mut managed = Managed::set(Script { top: "drain_deadline = \"90s\"\n", ..Script::default() }).await;
    managed.start(Duration::from_millis(400)).await;
    managed.hear_until("READY=1").await;
    managed.scene.mode("main1", "hold").await;
    let request = request("GET", HOST, "/", &[("X-Id", "held")], b"");
    let http = managed.scene.http;
    let asked = tokio::spawn(async move { exchange(http, &request).await });
    managed.scene.eventually("the request is under way", async || managed.scene.has_executed("held")).await;
    managed.scene.signal_daemon(Signal::TERM);
    let told = managed.hear_until("STOPPING=1").await;
    let stopping = told.last().expect("it was told");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=105000000"), "{stopping}");
    assert!(!asked.is_finished());
    // Whoever drains is alive.
    managed.hear_until("WATCHDOG=1").await;
    managed.scene.mode("main1", "ok").await;
    assert_eq!(asked.await.expect("no panic").expect("an answer").code, 200);
    assert_eq!(managed.scene.wait_daemon().await, Some(0));
}

/// A manager takes a daemon for reloading until it hears that it is ready again, so it has to hear it in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reload_is_told_with_its_end_taken_or_not() {
    let mut managed = Managed::set(Script::default()).await;
    managed.start(Duration::from_secs(60)).await;
    managed.hear_until("READY=1").await;
    let good = std::fs::read_to_string(managed.scene.path("tidegate.toml")).expect("the configuration");
    for (config, is_taken) in [(&*good, true), ("nonsense = 1\n", false), (&*good, true)] {
        managed.scene.write("tidegate.toml", config);
        let before = monotonic_us();
        managed.scene.signal_daemon(Signal::HUP);
        let told = managed.hear_until("RELOADING=1").await;
        let since =
            told.last().and_then(|last| last.split_once("\nMONOTONIC_USEC=")).expect("both at once").1;
        let since: u64 = since.parse().expect("a number");
        assert!((before..=monotonic_us()).contains(&since), "{since} is not on the manager's clock");
        managed.hear_until("READY=1").await;
        assert_eq!(
            managed.scene.metric("tidegate_config_last_reload_successful", &[]).await == 1.0,
            is_taken
        );
        assert_eq!(&*managed.scene.visit().await.body, "main1");
    }
    // However it was asked for.
    managed.scene.json(&["reload"]).await;
    managed.hear_until("RELOADING=1").await;
    managed.hear_until("READY=1").await;
}

fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_gone_is_no_trouble() {
    let mut managed = Managed::set(Script::default()).await;
    std::fs::remove_file(managed.scene.path("notify")).expect("it was bound");
    managed.start(Duration::from_secs(60)).await;
    managed.scene.wait_ready().await;
    managed.scene.wait_log("the service manager could not be told").await;
    assert_eq!(&*managed.scene.visit().await.body, "main1");
}
