//! Main is lost, in whole or in part, while clients ask.

use std::collections::HashMap;

use rustix::process::Signal;

use crate::client::{Entry, Load, exchange, request, resolve};
use crate::scene::{FAST_CHECK, HOST, Scene, Script};

/// Failed requests of a kind, as one text for an assertion's message.
fn failures(log: &[Entry], method: &str) -> Vec<String> {
    let failed = log.iter().filter(|entry| entry.method == method && !entry.is_ok());
    failed.map(|entry| format!("{} {:?}", entry.id, entry.result)).collect()
}

/// Requests that must not be executed twice and were.
fn executed_twice(log: &[Entry], executed: &HashMap<String, usize>) -> Vec<String> {
    let posts = log.iter().filter(|entry| entry.method == "POST");
    posts
        .filter(|entry| executed.get(&entry.id).copied().unwrap_or(0) > 1)
        .map(|entry| entry.id.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_mains_is_killed_under_load_and_no_get_fails() {
    let mut scene = Scene::play(Script { sites: vec![("main", 2), ("dr", 1)], ..Script::default() }).await;
    let load = Load::start(scene.http, 8, &["GET", "GET", "POST"]);
    load.more(&scene, 400).await;
    scene.kill("main1").await;
    load.more(&scene, 800).await;
    let log = load.end().await;

    assert_eq!(failures(&log, "GET"), Vec::<String>::new());
    let executed = scene.executed();
    assert_eq!(executed_twice(&log, &executed), Vec::<String>::new());
    // A POST may only fail because its bytes were on their way to the origin that died.
    for entry in log.iter().filter(|entry| entry.method == "POST" && !entry.is_ok()) {
        let answer = entry.result.as_ref().expect("the proxy answers, whatever happens behind it");
        assert_eq!((answer.code, answer.header("x-tidegate-reason")), (502, Some("reset")), "{}", entry.id);
    }
    assert!(log.iter().any(|entry| entry.by() == "main1") && log.iter().any(|entry| entry.by() == "main2"));
    assert!(log.iter().all(|entry| entry.by() != "dr1"), "one origin is enough for main to be fit");
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert!(scene.metric("tidegate_ejections_total", &[("service", "web"), ("site", "main")]).await >= 1.0);
    assert_eq!(scene.metric("tidegate_spills_total", &[]).await, 0.0);
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_mains_are_killed_under_load_with_spill_safe_and_no_get_fails() {
    let service = "spill = \"safe\"\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"100ms\", timeout = \"1s\", fall = 3, rise = 2 }\n";
    let script = Script { sites: vec![("main", 2), ("dr", 1)], service, ..Script::default() };
    let mut scene = Scene::play(script).await;
    let load = Load::start(scene.http, 8, &["GET"]);
    load.more(&scene, 400).await;
    scene.kill("main1").await;
    scene.kill("main2").await;
    scene.wait_active("dr").await;
    load.more(&scene, 400).await;
    let log = load.end().await;

    assert_eq!(failures(&log, "GET"), Vec::<String>::new());
    // What was spilled ahead of the switch and what was served after it are told apart.
    let spilled = log.iter().filter(|entry| {
        entry.result.as_ref().is_ok_and(|answer| answer.header("x-tidegate-spilled") == Some("dr"))
    });
    let spilled = spilled.count() as f64;
    let by_dr = log.iter().filter(|entry| entry.by() == "dr1").count() as f64;
    assert!(spilled > 0.0 && by_dr > spilled, "{spilled} of {by_dr}");
    let code = ("code", "200");
    assert_eq!(
        scene.metric("tidegate_requests_total", &[code, ("site", "dr"), ("spilled", "true")]).await,
        spilled
    );
    assert_eq!(
        scene.metric("tidegate_requests_total", &[code, ("site", "dr"), ("spilled", "false")]).await,
        by_dr - spilled
    );
    assert!(scene.metric("tidegate_spills_total", &[("from", "main"), ("to", "dr")]).await >= spilled);
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_spill_a_lost_main_costs_failed_requests_until_the_switch_and_none_after() {
    let mut scene = Scene::play(Script::default()).await;
    let load = Load::start(scene.http, 4, &["GET"]);
    load.more(&scene, 100).await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    let switched = std::time::Instant::now();
    load.more(&scene, 200).await;
    let log = load.end().await;
    for entry in &log {
        let answer = entry.result.as_ref().expect("the proxy answers, whatever happens behind it");
        match answer.code {
            200 => {}
            502 => {
                assert!(answer.header("x-tidegate-reason").is_some() && entry.began < switched, "{entry:?}");
            }
            other => panic!("answered {other}: {}", answer.head),
        }
    }
    assert!(log.iter().filter(|entry| entry.began > switched).all(|entry| entry.by() == "dr1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chained_main_lost_then_dr_lost_and_no_return_by_itself() {
    let mut scene = Scene::play(Script::default()).await;
    scene.wait_active("main").await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    scene.kill("dr1").await;
    scene.wait_active("third").await;

    // Main comes back and is fit again: nothing moves, and `explain` says what it waits for.
    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;
    assert_eq!(scene.active().await.as_deref(), Some("third"));
    assert_eq!(scene.stops().await, ["failback-manual"]);

    // Even when the third site is lost, too, the latch holds: traffic stays, and says so.
    scene.kill("third1").await;
    scene.wait_fitness("third", "unfit").await;
    let stops = scene.stops().await;
    assert!(stops.contains(&"latched".into()), "{stops:?}");
    assert_eq!(scene.active().await.as_deref(), Some("third"));

    // An acknowledgement lifts it, and the group goes to main, which is proven fit.
    scene.json(&["ack", "app", "--reason", "main is repaired"]).await;
    scene.wait_active("main").await;
    assert_eq!(resolve(scene.dns, HOST).await.expect("an answer").1, [scene.door("main")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_a_failover_the_daemon_comes_back_at_the_dr_site_although_main_is_healthy() {
    let mut scene = Scene::play(Script::default()).await;
    let serial = soa_serial(&scene).await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    let after = soa_serial(&scene).await;
    assert!(after > serial, "the serial grows with the switch: {serial} -> {after}");
    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;

    scene.kill_daemon().await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
    assert_eq!(resolve(scene.dns, HOST).await.expect("an answer").1, [scene.door("dr")]);
    let answer = exchange(scene.http, &request("GET", HOST, "/", &[], b"")).await.expect("an answer");
    assert_eq!((answer.code, &*answer.body), (200, "dr1"));
    assert_eq!(soa_serial(&scene).await, after, "a restart changes nothing, so the serial stays");
    scene.wait_fitness("main", "fit").await;
    assert_eq!(
        scene.active().await.as_deref(),
        Some("dr"),
        "a preferred site that is fit is no reason to move"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_main_is_left_too() {
    let service = "timeouts = { response = \"300ms\" }\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"150ms\", fall = 2, rise = 2 }\n";
    let scene = Scene::play(Script { service, ..Script::default() }).await;
    scene.wait_active("main").await;
    let main = scene.origins["main1"].pid();
    rustix::process::kill_process(main, Signal::STOP).expect("the origin can be stopped");
    scene.wait_active("dr").await;
    rustix::process::kill_process(main, Signal::CONT).expect("the origin can be continued");
    let answer = exchange(scene.http, &request("GET", HOST, "/", &[], b"")).await.expect("an answer");
    assert_eq!(&*answer.body, "dr1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_main_that_fails_every_other_check_is_not_left() {
    let script = Script { service: FAST_CHECK, ..Script::default() };
    let scene = Scene::play(script).await;
    scene.mode("main1", "alternate").await;
    let failing = ("outcome", "status");
    let checks = async || scene.metric("tidegate_probes_total", &[("site", "main"), failing]).await;
    scene.eventually("many checks have failed", async || checks().await >= 20.0).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "failover")]).await, 0.0);
}

async fn soa_serial(scene: &Scene) -> u32 {
    crate::client::soa_serial(scene.dns, "scene.test").await.expect("an SOA")
}
