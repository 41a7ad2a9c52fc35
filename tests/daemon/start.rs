//! The start: what is said before anything is known, and where a group starts.

use std::io::ErrorKind;

use hickory_proto::op::ResponseCode;
use tokio::net::TcpStream;

use crate::client::{resolve, soa_serial};
use crate::scene::{HOST, Scene, Script};

/// A check that waits for long, so that a silent origin stays unknown.
const PATIENT_CHECK: &str = "check = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"60s\", fall = 2, rise = 2 }\n";

/// Origins that accept checks and do not answer them, and no daemon yet.
async fn unknown(top: &'static str) -> Scene {
    let script =
        Script { sites: vec![("main", 1), ("dr", 1)], service: PATIENT_CHECK, top, ..Script::default() };
    let scene = Scene::set(script).await;
    silence(&scene, "silent").await;
    scene
}

async fn silence(scene: &Scene, mode: &str) {
    for origin in scene.origins.keys() {
        scene.mode(origin, mode).await;
    }
}

/// Nothing is served, and both sides say so.
async fn assert_undecided(scene: &Scene) {
    assert_eq!(scene.steered().await, (ResponseCode::ServFail, vec![]));
    let answer = scene.visit().await;
    assert_eq!(
        (answer.code, answer.header("x-tidegate-reason")),
        (503, Some("undecided")),
        "{}",
        answer.head
    );
    assert_eq!(scene.active().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_12557_the_first_answer_is_never_a_guess() {
    let mut scene = unknown("startup_deadline = \"1s\"\n").await;
    scene.start_daemon().await;
    scene.wait_open().await;
    assert_undecided(&scene).await;
    assert_eq!(scene.get("/readyz").await, Some((503, "undecided: app\n".into())));
    assert_eq!(scene.stops().await, ["first-round"]);
    // What is not steered does not depend on any site.
    assert_eq!(soa_serial(scene.dns, "scene.test").await.expect("an SOA"), 1);

    // One of two sites is known, which is not all of them: nothing is decided yet.
    scene.mode("dr1", "ok").await;
    scene.wait_fitness("dr", "fit").await;
    assert_undecided(&scene).await;

    scene.mode("main1", "ok").await;
    scene.wait_ready().await;
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("main")]));
    assert_eq!(&*scene.visit().await.body, "main1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_listens_for_traffic_before_the_first_round() {
    let mut scene = unknown("startup_deadline = \"10m\"\n").await;
    scene.start_daemon().await;
    scene.eventually("the admin listener is open", async || scene.get("/healthz").await.is_some()).await;
    for address in [scene.http, scene.dns] {
        let refused = TcpStream::connect(address).await.expect_err("nothing listens yet");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    assert!(resolve(scene.dns, HOST).await.is_err(), "no UDP socket is open either");
    let (code, text) = scene.get("/readyz").await.expect("the admin listener is open");
    assert_eq!((code, &*text), (503, "starting: the first round of probes is not complete\n"));
    assert!(!scene.json(&["status"]).await["round_complete"].as_bool().expect("a flag"));

    silence(&scene, "ok").await;
    scene.wait_open().await;
    // The very first answers are right.
    assert_eq!(&*scene.visit().await.body, "main1");
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("main")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polaris_51_after_a_restart_nobody_is_taken_for_up_and_the_stored_site_serves() {
    let mut scene = unknown("startup_deadline = \"1s\"\n").await;
    silence(&scene, "ok").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.json(&["switch", "app", "dr", "--reason", "a visit"]).await;
    scene.kill_daemon().await;

    silence(&scene, "silent").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("dr")]));
    assert_eq!(&*scene.visit().await.body, "dr1");
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
    for site in ["main", "dr"] {
        assert_eq!(scene.fitness(site).await, "unknown");
    }
    assert_eq!(scene.metric("tidegate_origin_up", &[]).await, 0.0, "nobody is up on faith");
    assert_eq!(scene.metric("tidegate_switches_total", &[]).await, 0.0);

    // Main alone becomes known, and fit: a preference is no reason to move, nor is a site that is unknown.
    scene.mode("main1", "ok").await;
    scene.wait_fitness("main", "fit").await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
    assert_eq!(&*scene.visit().await.body, "dr1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_start_undecided_waits_for_a_switch() {
    let script = Script { top: "first_start = \"undecided\"\n", ..Script::default() };
    let mut scene = Scene::play(script).await;
    scene.wait_fitness("main", "fit").await;
    assert_undecided(&scene).await;
    assert_eq!(scene.stops().await, ["undecided"]);
    let refused = scene.cli(&["failback", "app", "--reason", "home", "--json"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let refusal: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(refusal["label"], "undecided");

    scene.wait_fitness("dr", "fit").await;
    scene.json(&["switch", "app", "dr", "--reason", "it lives here"]).await;
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("dr")]));
    assert_eq!(&*scene.visit().await.body, "dr1");
    // Said once is said: a restart resumes.
    scene.kill_daemon().await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(&*scene.visit().await.body, "dr1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_down_at_the_first_start_the_first_fit_site_wins() {
    let mut scene = Scene::set(Script::default()).await;
    for origin in ["main1", "dr1", "third1"] {
        scene.kill(origin).await;
    }
    scene.start_daemon().await;
    scene.wait_open().await;
    scene
        .eventually("the round is complete", async || scene.json(&["status"]).await["round_complete"] == true)
        .await;
    assert_undecided(&scene).await;
    let stops = scene.stops().await;
    assert_eq!(stops, ["origins-down"; 3]);

    scene.start_origin("dr1").await;
    scene.wait_active("dr").await;
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("dr")]));
    assert_eq!(&*scene.visit().await.body, "dr1");
    // Main is preferred, and too late.
    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zones_serial_follows_its_file_and_never_goes_back() {
    let mut scene = Scene::play(Script::default()).await;
    let zone = std::fs::read_to_string(scene.path("scene.test.zone")).expect("the zone");
    // The file says 1; where the group starts is the first change.
    assert_eq!(soa_serial(scene.dns, "scene.test").await.expect("an SOA"), 2);
    for turn in 1..=3 {
        let to = if turn % 2 == 1 { "dr" } else { "main" };
        scene.wait_fitness(to, "fit").await;
        scene.json(&["switch", "app", to, "--reason", "a new serial"]).await;
    }
    assert_eq!(soa_serial(scene.dns, "scene.test").await.expect("an SOA"), 5, "one per switch");

    let cases = [
        ("unchanged", zone.clone(), 5),
        ("a new record with the old serial", format!("{zone}ns2 IN A 192.0.2.54\n"), 6),
        ("the same again", format!("{zone}ns2 IN A 192.0.2.54\n"), 6),
        ("gone, with a newer serial", zone.replace("hostmaster 1 ", "hostmaster 2026112501 "), 2_026_112_501),
        ("only a newer serial", zone.replace("hostmaster 1 ", "hostmaster 2026112509 "), 2_026_112_509),
        ("only a serial that went back", zone.replace("hostmaster 1 ", "hostmaster 7 "), 2_026_112_509),
        (
            "and a record",
            zone.replace("hostmaster 1 ", "hostmaster 7 ") + "ns2 IN A 192.0.2.54\n",
            2_026_112_510,
        ),
    ];
    for (what, text, serial) in cases {
        scene.kill_daemon().await;
        scene.write("scene.test.zone", &text);
        scene.start_daemon().await;
        scene.wait_ready().await;
        assert_eq!(soa_serial(scene.dns, "scene.test").await.expect("an SOA"), serial, "{what}");
    }
}

/// Nothing is known at a start, which is doubt: one dead origin does not hold the first round up for `fall` intervals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_round_is_asked_for_at_the_fast_pace() {
    let service = "check = { path = \"/health\", interval = \"5m\", fast_interval = \"50ms\", timeout = \"1s\", fall = 3, rise = 2 }\n";
    let script = Script { service, top: "startup_deadline = \"10m\"\n", ..Script::default() };
    let mut scene = Scene::set(script).await;
    scene.kill("third1").await;
    scene.start_daemon().await;
    // At the normal pace this would take ten minutes.
    scene.wait_ready().await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.fitness("third").await, "unfit");
}
