//! Reloads at the worst moment: during the start, during the end, during a switch, and many at once.

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::ZONE_HEAD;
use super::kit::Questions;
use crate::client::{Load, exchange, request, resolve, soa_serial};
use crate::scene::{HOST, PATIENCE, Scene, Script, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_fifty_hangups_ends_with_the_newest_files_and_fails_nothing() {
    let scene = Scene::play(Script::default()).await;
    let (load, questions) = (Load::start(scene.http, 2, &["GET", "POST"]), Questions::start(scene.dns));
    for number in 0..50 {
        scene.write("scene.test.zone", &format!("{ZONE_HEAD}n{number} IN A 192.0.2.{number}\n"));
        scene.signal_daemon(Signal::HUP);
    }
    // Those that come during a reload are one more, so the last one is never lost.
    scene
        .eventually("the newest file is served", async || {
            resolve(scene.dns, "n49.scene.test").await.is_ok_and(|(_, found)| found == ["192.0.2.49"])
        })
        .await;
    load.more(&scene, 50).await;
    let failed: Vec<_> = load.end().await.into_iter().filter(|entry| !entry.is_ok()).collect();
    assert!(failed.is_empty(), "{:?}", failed.first());
    assert_eq!(questions.end().await.1, 0, "unanswered");
    assert!((1..=50).contains(&scene.reloads()), "{}", scene.reloads());
    // Told when all of it is done, a moment after the World is out.
    scene
        .eventually("the last one is told as a success", async || {
            scene.metric("tidegate_config_last_reload_successful", &[]).await == 1.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_while_a_switch_is_stored_takes_both() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let mut serial = soa_serial(scene.dns, "scene.test").await.expect("an answer");
    for turn in 0..20 {
        let to = if turn % 2 == 0 { "dr" } else { "main" };
        scene.write("scene.test.zone", &format!("{ZONE_HEAD}n{turn} IN A 192.0.2.{turn}\n"));
        let order = format!("{{\"reason\": \"test\", \"to\": \"{to}\"}}");
        // Half of the time the one is first, half of the time the other.
        let switch = async {
            // An order that meets the swap is told to ask again, as its numbers may mean something else now.
            loop {
                match scene.api("POST", "/api/v1/groups/app/switch", &order).await {
                    (503, said) => assert!(said.contains("ask again"), "{said}"),
                    (code, said) => return assert_eq!(code, 200, "{said}"),
                }
            }
        };
        let reload = async {
            let (code, said) = scene.api("POST", "/api/v1/reload", "").await;
            assert_eq!(code, 200, "{said}");
        };
        if turn % 4 < 2 {
            tokio::join!(switch, reload)
        } else {
            tokio::join!(reload, switch)
        };
        assert_eq!(scene.active().await.as_deref(), Some(to), "turn {turn}");
        assert_eq!(scene.steered().await.1, [scene.door(to)], "turn {turn}");
        assert_eq!(scene.visit().await.body, format!("{to}1"), "turn {turn}");
        let (_, found) = resolve(scene.dns, &format!("n{turn}.scene.test")).await.expect("DNS answers");
        assert_eq!(found, [format!("192.0.2.{turn}")], "turn {turn}");
        let next = soa_serial(scene.dns, "scene.test").await.expect("an answer");
        assert!(next >= serial + 2, "two contents, two serials: {next} after {serial}");
        serial = next;
    }
    assert_eq!(scene.reloads(), 20);
    let epochs: Vec<_> = scene.history().await.iter().filter_map(|entry| entry["epoch"].as_u64()).collect();
    assert_eq!(epochs.first(), Some(&21), "the start and twenty switches: {epochs:?}");
}

/// The first round of such a scene hangs until its origin answers.
async fn starting() -> Scene {
    let service = "check = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"60s\", fall = 2, rise = 2 }\n";
    let script = Script { service, top: "startup_deadline = \"10m\"\n", ..Script::default() };
    let mut scene = Scene::set(script).await;
    scene.mode("main1", "silent").await;
    scene.start_daemon().await;
    scene
        .eventually("it is starting", async || {
            scene.get("/readyz").await.is_some_and(|(_, said)| said.starts_with("starting"))
        })
        .await;
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_during_the_start_is_honoured_once_it_is_ready() {
    let scene = starting().await;
    scene.write("scene.test.zone", &format!("{ZONE_HEAD}late IN A 192.0.2.77\n"));
    for _ in 0..3 {
        scene.signal_daemon(Signal::HUP);
    }
    let (code, said) = scene.api("POST", "/api/v1/reload", "").await;
    assert!(code == 503 && said.contains("starting") && said.contains("ask again"), "{code} {said}");
    assert_eq!(scene.reloads(), 0);
    scene.mode("main1", "ok").await;
    scene.wait_ready().await;
    scene.eventually("it is reloaded", async || scene.reloads() == 1).await;
    let (_, found) = resolve(scene.dns, "late.scene.test").await.expect("DNS answers");
    assert_eq!(found, ["192.0.2.77"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_while_the_first_files_are_read_ends_nothing() {
    let mut scene = Scene::set(Script::default()).await;
    let path = scene.path("tidegate.toml");
    let config = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::remove_file(&path).expect("it is there");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    scene.start_daemon().await;
    // A pipe can be opened for writing once somebody reads it.
    let open = move || std::fs::OpenOptions::new().write(true).open(&path);
    let opened = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(open)).await;
    let mut pipe = opened.expect("the daemon reads").expect("no panic").expect("a pipe");
    scene.signal_daemon(Signal::HUP);
    std::io::Write::write_all(&mut pipe, config.as_bytes()).expect("the daemon reads");
    drop(pipe);
    scene.wait_ready().await;
    assert_eq!(scene.visit().await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_during_the_drain_is_refused_at_once_and_disturbs_nothing() {
    let mut scene = Scene::play(Script { top: "drain_deadline = \"10m\"\n", ..Script::default() }).await;
    scene.mode("main1", "hold").await;
    let held = request("GET", HOST, "/", &[("X-Id", "held")], b"");
    let http = scene.http;
    let asked = tokio::spawn(async move { exchange(http, &held).await });
    scene.eventually("the request is under way", async || scene.has_executed("held")).await;
    scene.signal_daemon(Signal::TERM);
    scene.wait_log("stopping: draining").await;
    scene.signal_daemon(Signal::HUP);
    let answer = tokio::time::timeout(PATIENCE, scene.cli(&["reload"])).await;
    let output = answer.expect("it is told while the drain goes on");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("stopping"), "{said}");
    assert!(!asked.is_finished());
    scene.mode("main1", "ok").await;
    assert_eq!(asked.await.expect("no panic").expect("an answer").code, 200);
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert_eq!(scene.reloads(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_whose_asker_hangs_up_is_done_all_the_same() {
    let scene = Scene::play(Script::default()).await;
    scene.write("scene.test.zone", &format!("{ZONE_HEAD}left IN A 192.0.2.78\n"));
    let mut stream = UnixStream::connect(scene.socket()).await.expect("the control socket");
    stream.write_all(&request("POST", "tidegate", "/api/v1/reload", &[], b"")).await.expect("it is read");
    scene
        .eventually("it has begun", async || scene.daemon_log().contains("reloading the configuration"))
        .await;
    drop(stream);
    scene.eventually("it is done", async || scene.reloads() == 1).await;
    let (_, found) = resolve(scene.dns, "left.scene.test").await.expect("DNS answers");
    assert_eq!(found, ["192.0.2.78"]);
    assert_eq!(scene.reload().await.0, 0, "and the next one is answered");
}
