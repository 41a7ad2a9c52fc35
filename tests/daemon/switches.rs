//! Planned switches: when the order returns, everybody is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::{Connection, Load, exchange, request, resolve};
use crate::scene::{HOST, Scene, Script, text};

/// 1,000 switches under load with spill off: every question and every request sent after a switch returned sees the new site.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_switches_under_load_and_each_is_seen_at_once() {
    const SWITCHES: usize = 1000;
    let scene = Scene::play(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    for site in ["main", "dr"] {
        scene.wait_fitness(site, "fit").await;
    }
    let load = Load::start(scene.http, 2, &["GET", "POST"]);
    let questions = Arc::new(AtomicBool::new(true));
    let asking = tokio::spawn(ask_dns(scene.dns, questions.clone()));

    let mut probe = Connection::open(scene.http).await.expect("a connection");
    for turn in 1..=SWITCHES {
        let to = if turn % 2 == 1 { "dr" } else { "main" };
        let done = scene.post("switch", &format!("{{\"to\":\"{to}\",\"reason\":\"turn {turn}\"}}")).await;
        assert_eq!(
            (done["site"].as_str(), done["changed"].as_bool()),
            (Some(to), Some(true)),
            "turn {turn}: {done}"
        );
        // Over a connection kept from before the switch, over a new one, and over DNS.
        let kept = probe.exchange(&request("GET", HOST, "/", &[], b"")).await.expect("an answer");
        assert_eq!(kept.body, format!("{to}1"), "turn {turn}: {}", kept.head);
        if turn % 20 == 0 {
            let fresh = exchange(scene.http, &request("GET", HOST, "/", &[], b"")).await.expect("an answer");
            assert_eq!(fresh.body, format!("{to}1"), "turn {turn}");
        }
        let (_, addresses) = resolve(scene.dns, HOST).await.expect("an answer");
        assert_eq!(addresses, [scene.door(to)], "turn {turn}");
    }
    questions.store(false, Ordering::SeqCst);
    let asked = asking.await.expect("the questions do not panic");
    let log = load.end().await;
    let failed: Vec<_> = log.iter().filter(|entry| !entry.is_ok()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {:?}", failed.len(), log.len(), failed.first());
    assert!(log.len() > 100 && asked > 100, "{} requests and {asked} questions are no load", log.len());
    assert_eq!(scene.metric("tidegate_switches_total", &[("kind", "switchover")]).await, SWITCHES as f64);
    assert_eq!(scene.metric("tidegate_group_epoch", &[("group", "app")]).await, (SWITCHES + 1) as f64);
}

/// Asks until told to stop; every answer is one whole answer: one address, of a site of the group.
async fn ask_dns(dns: std::net::SocketAddr, go_on: Arc<AtomicBool>) -> usize {
    let mut asked = 0;
    while go_on.load(Ordering::SeqCst) {
        let (_, addresses) = resolve(dns, HOST).await.expect("an answer");
        assert!(addresses == ["192.0.2.1"] || addresses == ["192.0.2.2"], "{addresses:?}");
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_refused_with_the_rule_and_done_when_it_is_named() {
    let mut scene = Scene::play(Script::default()).await;
    scene.kill("dr1").await;
    scene
        .eventually("dr is unfit", async || {
            let status = scene.json(&["status"]).await;
            status["groups"][0]["sites"][1]["fitness"] == "unfit"
        })
        .await;
    let refused = scene.cli(&["switch", "app", "dr", "--reason", "by mistake"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("unfit") && said.contains("--override unfit"), "{said}");
    assert_eq!(scene.active().await.as_deref(), Some("main"));

    let done = scene.json(&["switch", "app", "dr", "--reason", "on purpose", "--override", "unfit"]).await;
    assert_eq!((done["site"].as_str(), done["changed"].as_bool()), (Some("dr"), Some(true)));
    // What a person insisted on is not undone by the next failover: the group is frozen until a person lifts it.
    assert_eq!(scene.stops().await.first().map(String::as_str), Some("frozen"));
    let again = scene.json(&["switch", "app", "dr", "--reason", "once more"]).await;
    assert_eq!(again["changed"].as_bool(), Some(false));

    scene.json(&["unfreeze", "app", "--reason", "the checks were right"]).await;
    scene
        .eventually("the group leaves the unfit site", async || {
            scene.active().await.as_deref() == Some("main")
        })
        .await;

    let history = scene.json(&["history", "app"]).await;
    let newest = history.as_array().expect("a list").iter().find(|event| event["kind"] == "switchover");
    let newest = newest.expect("the switch is on record");
    assert_eq!((newest["reason"].as_str(), newest["to"].as_str()), (Some("on purpose"), Some("dr")));
    assert_eq!(newest["overrides"][0], "unfit");
    assert!(
        newest["actor"].as_str().is_some_and(|actor| !actor.is_empty()) && newest["at"].as_u64() > Some(0)
    );
    scene
        .eventually("the refusal is on record, too", async || {
            let history = scene.json(&["history", "app"]).await;
            history.as_array().expect("a list").iter().any(|event| event["kind"] == "refused")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_bars_a_failover_until_it_is_lifted() {
    let mut scene = Scene::play(Script::default()).await;
    scene.json(&["freeze", "app", "--reason", "maintenance of the network"]).await;
    scene.kill("main1").await;
    scene
        .eventually("explain says that it is frozen", async || {
            let stops = scene.stops().await;
            stops == ["frozen"]
        })
        .await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    scene.json(&["unfreeze", "app", "--reason", "maintenance is over"]).await;
    scene.wait_active("dr").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_stateless_freezes_with_reason_no_fence() {
    let mut scene = Scene::play(Script { group: "failover_after = \"0s\"\n", ..Script::default() }).await;
    assert_eq!(scene.get("/readyz").await.map(|(code, _)| code), Some(503), "nobody has said where it lives");
    assert_eq!(scene.stops().await, ["undecided"]);
    scene.json(&["switch", "app", "main", "--reason", "it lives here"]).await;
    scene.wait_active("main").await;
    scene.kill("main1").await;
    scene.eventually("it is frozen", async || scene.stops().await.contains(&"frozen".into())).await;
    let status = scene.json(&["status"]).await;
    assert_eq!(status["groups"][0]["durable"]["freeze"]["cause"], "no-fence");
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.metric("tidegate_group_frozen", &[("group", "app")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_confirm_mode_everything_is_prepared_and_a_person_confirms() {
    let group = "stateless = true\nmode = \"confirm\"\nfailover_after = \"0s\"\n";
    let mut scene = Scene::play(Script { group, ..Script::default() }).await;
    let early = scene.cli(&["confirm", "app", "--reason", "too early"]).await;
    assert_eq!(early.status.code(), Some(1));
    scene.kill("main1").await;
    scene.eventually("it asks", async || scene.stops().await == ["confirmation"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    scene.json(&["confirm", "app", "--reason", "main is really gone"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
    let status = scene.json(&["status"]).await;
    assert_eq!(status["groups"][0]["durable"]["latched"][0], "main", "a confirmed failover latches, too");
}
