//! Another configuration while everything goes on: SIGHUP and `tidegate reload`.

mod files;
mod kit;
mod listeners;
mod origins;
mod races;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Load, request, soa_serial};
use crate::scene::{FAST_CHECK, HOST, Scene, Script, free_address, text};
use crate::talker::Talker;
use kit::{Questions, Tunnel};

const ZONE_HEAD: &str =
    "$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 192.0.2.53\n";

impl Scene {
    fn reloads(&self) -> usize {
        self.daemon_log().matches("the configuration was reloaded").count()
    }

    /// SIGHUP, and wait until it has been honoured.
    async fn hang_up(&self) {
        let before = self.reloads();
        self.signal_daemon(Signal::HUP);
        self.eventually("the reload is done", async || self.reloads() > before).await;
    }

    /// SIGHUP, and wait until it has been refused.
    async fn hang_up_in_vain(&self) {
        let refused = || self.daemon_log().matches("the old one runs on").count();
        let before = refused();
        self.signal_daemon(Signal::HUP);
        self.eventually("the reload is refused", async || refused() > before).await;
    }

    async fn generation(&self) -> u64 {
        self.json(&["status"]).await["generation"].as_u64().expect("a number")
    }

    async fn reload(&self) -> (i32, String) {
        let output = self.cli(&["reload"]).await;
        (output.status.code().expect("it ended by itself"), text(&output.stdout) + &text(&output.stderr))
    }

    /// An origin's entry in a list of the configuration.
    fn entry(&self, origin: &str) -> String {
        format!("{{ url = \"http://{}\" }}", self.origins[origin].addr)
    }
}

/// A second service, of the same group, for a host of its own, at a talker of the main site.
fn talking(talker: &Talker) -> String {
    format!(
        "[service.talk]\ngroup = \"app\"\nprotocol = \"http\"\nhosts = [\"talk.test\"]\ncritical = false\n{FAST_CHECK}\
         origins.main = [{{ url = \"http://{}\" }}]\n[zone.",
        talker.addr
    )
}

#[tokio::test]
async fn twenty_hangups_under_load_fail_nothing() {
    let talker = Talker::start().await;
    let mut scene = Scene::set(Script { sites: vec![("main", 2), ("dr", 1)], ..Script::default() }).await;
    scene.edit("[zone.", &talking(&talker));
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene
        .eventually("the talker is up", async || {
            scene.metric("tidegate_origin_up", &[("service", "talk")]).await > 0.0
        })
        .await;
    let mut tunnel = Tunnel::open(scene.http, "talk.test").await;
    tunnel.echoes().await;

    // The control run.
    let (load, questions) = (Load::start(scene.http, 2, &["GET", "POST"]), Questions::start(scene.dns));
    load.more(&scene, 200).await;
    let control = load.end().await;
    let mut requests = control.len();
    let control: Vec<_> = control.into_iter().filter(|entry| !entry.is_ok()).collect();
    assert!(control.is_empty(), "{:?}", control.first());
    let (_, unanswered_before) = questions.end().await;

    let spare = free_address();
    let both = format!("[{}, {}]", scene.entry("main1"), scene.entry("main2"));
    let one = format!("[{}]", scene.entry("main1"));
    let few = format!("http = [\"{}\"]", scene.http);
    let more = format!("http = [\"{}\", \"{spare}\"]", scene.http);
    let (load, questions) = (Load::start(scene.http, 2, &["GET", "POST"]), Questions::start(scene.dns));
    for turn in 0..20 {
        match turn % 6 {
            0 => scene.write("scene.test.zone", &format!("{ZONE_HEAD}n{turn} IN A 192.0.2.{turn}\n")),
            1 => scene.edit(&both, &one),
            2 => scene.edit(&one, &both),
            3 => scene.edit(&few, &more),
            4 => scene.edit(&more, &few),
            _ => {
                let keys = format!("[limits]\nheaders_max = {}\n[site.main]", 60 + turn);
                let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
                let at = config.find("[limits]").or(config.find("[site.main]")).expect("a table");
                let end = config.find("[site.main]").expect("a site") + "[site.main]".len();
                scene.write("tidegate.toml", &(config[..at].to_owned() + &keys + &config[end..]));
            }
        }
        scene.hang_up().await;
        if turn % 6 == 3 {
            TcpStream::connect(spare).await.expect("the new listener is open once the reload is done");
        }
        tunnel.echoes().await;
        load.more(&scene, 20).await;
    }
    let log = load.end().await;
    requests += log.len();
    let failed: Vec<_> = log.into_iter().filter(|entry| !entry.is_ok()).collect();
    assert!(failed.is_empty(), "{} failed: {:?}\n{}", failed.len(), failed.first(), scene.daemon_log());
    tunnel.echoes().await;
    let (asked, unanswered) = questions.end().await;
    assert!(asked > 100 && unanswered <= unanswered_before, "{unanswered} of {asked} unanswered");
    assert_eq!(scene.reloads(), 20);
    let (code, answers) = crate::client::resolve(scene.dns, "n18.scene.test").await.expect("DNS answers");
    assert_eq!(answers, ["192.0.2.18"], "{code}");
    assert_eq!(
        scene.executed().values().sum::<usize>(),
        requests,
        "a request was executed twice, or not at all"
    );
}

#[tokio::test]
async fn a_broken_file_twenty_times_changes_nothing() {
    let scene = Scene::play(Script::default()).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = taken.local_addr().expect("it is bound");
    let _holds = std::net::TcpListener::bind(taken);
    let good = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    let edit = |from: &str, to: &str| good.replace(from, to);
    let breaks = [
        (edit("[group.app]", "[group.app"), "tidegate.toml"),
        (edit("failover_after", "failover_aftre"), "failover_aftre"),
        (edit("scene.test.zone", "nowhere.zone"), "nowhere.zone"),
        (edit("scene.test.zone", "bad.zone"), "bad.zone:2"),
        // It would be waited for without an end.
        (edit("scene.test.zone", "pipe.zone"), "pipe.zone is no regular file"),
        (edit("url = \"http://", "tls = { verify = { ca = \"bad.pem\" } }, url = \"https://"), "bad.pem"),
        (edit("sites = [\"main\", ", "sites = ["), "main"),
        (edit(&format!("http = [\"{}\"]", scene.http), "http = [\"192.0.2.1:80\"]"), "192.0.2.1:80"),
    ];
    scene.write(
        "bad.zone",
        &format!("{}@ IN NONSENSE 1\n", ZONE_HEAD.split_inclusive('\n').next().unwrap_or_default()),
    );
    scene.write("bad.pem", "no certificate");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, scene.path("pipe.zone"), mode).expect("a pipe");
    let success_at =
        async || scene.metric("tidegate_config_last_reload_success_timestamp_seconds", &[]).await;
    let at_start = success_at().await;
    let generation = scene.generation().await;
    for (turn, (broken, named)) in breaks.iter().cycle().take(20).enumerate() {
        scene.write("tidegate.toml", broken);
        let seen = scene.daemon_log().len();
        scene.hang_up_in_vain().await;
        let said = scene.daemon_log()[seen..].to_owned();
        assert!(said.contains(named), "turn {turn}: `{named}` is not named:\n{said}");
        assert_eq!(scene.generation().await, generation, "turn {turn}");
        assert_eq!(scene.metric("tidegate_config_last_reload_successful", &[]).await, 0.0);
        assert_eq!(scene.visit().await.code, 200);
    }
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    scene.write("tidegate.toml", &good);
    assert_eq!(success_at().await, at_start);
    let second = || jiff::Timestamp::now().as_second() as f64;
    scene.eventually("it is another second", async || second() > at_start).await;
    scene.hang_up().await;
    assert_eq!(scene.metric("tidegate_config_last_reload_successful", &[]).await, 1.0);
    assert!((at_start + 1.0..=second()).contains(&success_at().await), "the time of the success is told");
}

#[tokio::test]
async fn the_command_says_what_is_wrong_and_what_changed() {
    let scene = Scene::play(Script::default()).await;
    scene.edit("failover_after", "failover_aftre");
    let (code, said) = scene.reload().await;
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("failover_after") && said.contains('^') && said.contains("tidegate.toml:"),
        "{said}"
    );
    scene.edit("failover_aftre", "failover_after");

    scene.edit("sites = [\"main\", ", "sites = [");
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    let without = config.lines().filter(|line| !line.starts_with("origins.main"));
    scene.write("tidegate.toml", &without.collect::<Vec<_>>().join("\n"));
    let (code, said) = scene.reload().await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("active at site `main`") && said.contains("tidegate switch app SITE"), "{said}");
    scene.write("tidegate.toml", &config.replace("sites = [", "sites = [\"main\", "));

    scene.edit("ttl = \"5s\"", "ttl = \"6s\"");
    scene.edit("name = \"edge\"", "name = \"other\"");
    let reply = scene.json(&["reload"]).await;
    assert_eq!(reply["changes"]["zones"]["changed"], 1, "{reply}");
    assert_eq!(reply["restart"][0]["key"], "node.name", "{reply}");
    assert_eq!(scene.json(&["status"]).await["node"], "edge", "until a restart");
    scene.eventually("it is in the history", async || scene.history_of_all().await == 1).await;
}

impl Scene {
    /// Reloads in the history.
    async fn history_of_all(&self) -> usize {
        let history = self.json(&["history", "-n", "1000"]).await;
        history.as_array().expect("a list").iter().filter(|entry| entry["kind"] == "reloaded").count()
    }
}

#[tokio::test]
async fn a_download_and_a_tunnel_outlive_their_listener_and_their_origin() {
    let talker = Talker::start().await;
    let mut scene = Scene::set(Script::default()).await;
    let spare = free_address();
    scene.edit("[zone.", &talking(&talker));
    let more = format!("http = [\"{}\", \"{spare}\"]", scene.http);
    scene.edit(&format!("http = [\"{}\"]", scene.http), &more);
    scene.start_daemon().await;
    scene.wait_ready().await;
    let mut tunnel = Tunnel::open(spare, "talk.test").await;
    tunnel.echoes().await;
    let mut download = TcpStream::connect(spare).await.expect("it is open");
    download.write_all(&request("GET", "talk.test", "/slow", &[], b"")).await.expect("it can be sent");
    talker.feed(3);
    let mut read = Vec::new();
    while !read.ends_with(b"xxx") {
        download.read_buf(&mut read).await.expect("the download goes on");
    }
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    let (from, to) =
        (config.find("[service.talk]").expect("it is there"), config.find("[zone.").expect("it is there"));
    scene.write(
        "tidegate.toml",
        &(config[..from].to_owned() + &config[to..]).replace(&more, &format!("http = [\"{}\"]", scene.http)),
    );
    let (code, said) = scene.reload().await;
    assert_eq!(code, 0, "{said}");
    scene.eventually("the listener is gone", async || TcpStream::connect(spare).await.is_err()).await;
    assert_eq!(
        crate::client::exchange(scene.http, &request("GET", "talk.test", "/", &[], b""))
            .await
            .expect("an answer")
            .code,
        404
    );
    tunnel.echoes().await;
    talker.feed(7);
    while !read.ends_with(b"xxxxxxxxxx") {
        assert_ne!(download.read_buf(&mut read).await.expect("the download goes on"), 0, "it was cut");
    }
    tunnel.echoes().await;
    // The address can be had again at once.
    scene.write("tidegate.toml", &config);
    assert_eq!(scene.reload().await.0, 0);
    TcpStream::connect(spare).await.expect("it is open again");
    tunnel.echoes().await;
    assert!(talker.others() >= 2);
}

#[tokio::test]
async fn killed_right_after_an_acknowledged_reload_it_starts_with_the_new_files() {
    let mut scene = Scene::play(Script::default()).await;
    let before = soa_serial(scene.dns, "scene.test").await.expect("an answer");
    scene.write("scene.test.zone", &format!("{ZONE_HEAD}new IN A 192.0.2.99\n"));
    scene.edit("ttl = \"5s\"", "ttl = \"7s\"");
    let (code, said) = scene.reload().await;
    assert_eq!(code, 0, "{said}");
    let after = soa_serial(scene.dns, "scene.test").await.expect("an answer");
    assert!(after > before, "{after} after {before}");
    scene.kill_daemon().await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(soa_serial(scene.dns, "scene.test").await.expect("an answer"), after, "not taken anew");
    let (_, answers) = crate::client::resolve(scene.dns, "new.scene.test").await.expect("DNS answers");
    assert_eq!(answers, ["192.0.2.99"]);
    // A switch after a reload takes the next one.
    scene.post("switch", r#"{"reason": "test", "to": "dr"}"#).await;
    assert!(soa_serial(scene.dns, "scene.test").await.expect("an answer") > after);
    assert_eq!(scene.reload().await.0, 0);
    assert_eq!(scene.active().await.as_deref(), Some("dr"), "a reload moves nothing");
    assert_eq!(scene.steered().await.1, [scene.door("dr")], "{HOST}");
}
