//! The end: what is under way finishes, and nothing waits for ever.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::client::{Answer, exchange, request};
use crate::scene::{HOST, Scene, Script};

/// A request that its origin executes and does not answer yet.
async fn held(scene: &Scene) -> JoinHandle<std::io::Result<Answer>> {
    scene.mode("main1", "hold").await;
    let (server, request) = (scene.http, request("GET", HOST, "/", &[("X-Id", "held")], b""));
    let asked = tokio::spawn(async move { exchange(server, &request).await });
    scene.eventually("the request is under way", async || scene.has_executed("held")).await;
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_requests_finish_and_takes_no_new_ones() {
    let mut scene = Scene::play(Script::default()).await;
    let asked = held(&scene).await;
    scene.signal_daemon(Signal::TERM);
    scene.wait_refused().await;
    assert!(!asked.is_finished());
    // Whoever still asks DNS is told where the group lives.
    assert_eq!(scene.steered().await, (ResponseCode::NoError, vec![scene.door("main")]));
    let (code, _) = scene.get("/readyz").await.expect("the admin listener stays open");
    assert_eq!(code, 503, "a load balancer in front is told to go elsewhere");

    scene.mode("main1", "ok").await;
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!((answer.code, &*answer.body), (200, "main1"));
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert!(!scene.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_stops_at_once() {
    let mut scene = Scene::play(Script { top: "drain_deadline = \"1h\"\n", ..Script::default() }).await;
    let asked = held(&scene).await;
    scene.signal_daemon(Signal::TERM);
    scene.wait_refused().await;
    assert!(!asked.is_finished());
    let begun = Instant::now();
    scene.signal_daemon(Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?} is not at once", begun.elapsed());
    asked.await.expect("no panic").expect_err("the request was cut");
    assert!(!scene.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drain_deadline_cuts_what_hangs() {
    let mut scene = Scene::play(Script { top: "drain_deadline = \"300ms\"\n", ..Script::default() }).await;
    let asked = held(&scene).await;
    scene.signal_daemon(Signal::INT);
    assert_eq!(scene.wait_daemon().await, Some(0));
    asked.await.expect("no panic").expect_err("the request was cut");
    assert!(
        scene.daemon_log().contains("still in flight after the drain deadline"),
        "{}",
        scene.daemon_log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_before_the_first_round_ends_it_too() {
    let service = "check = { path = \"/health\", interval = \"1s\", timeout = \"60s\" }\n";
    let mut scene =
        Scene::set(Script { service, top: "startup_deadline = \"10m\"\n", ..Script::default() }).await;
    scene.mode("main1", "silent").await;
    scene.start_daemon().await;
    scene.eventually("it runs", async || scene.get("/healthz").await.is_some()).await;
    scene.signal_daemon(Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert!(!scene.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_while_draining_is_no_second_order_to_stop() {
    let mut scene = Scene::play(Script::default()).await;
    let asked = held(&scene).await;
    scene.signal_daemon(Signal::TERM);
    scene.wait_refused().await;
    scene.signal_daemon(Signal::HUP);
    let (_, stage) = scene.get("/readyz").await.expect("the admin listener stays");
    assert!(stage.contains("draining") && !asked.is_finished(), "{stage}");
    scene.mode("main1", "ok").await;
    assert_eq!(asked.await.expect("no panic").expect("an answer").code, 200);
    assert_eq!(scene.wait_daemon().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_of_a_killed_daemon_is_replaced() {
    let mut scene = Scene::play(Script::default()).await;
    scene.kill_daemon().await;
    assert!(scene.socket().exists(), "nobody was there to remove it");
    let reached = scene.cli(&["status"]).await;
    assert_eq!(reached.status.code(), Some(1));
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
}
