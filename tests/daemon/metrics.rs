//! What Prometheus sees after a life of traffic, switches and trouble.

use std::collections::BTreeSet;
use std::process::Stdio;

use hickory_proto::rr::RecordType;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::client::{ask, exchange, request};
use crate::scene::{FAST_CHECK, HOST, Scene, Script, text};

/// A scene in which everything that is counted has happened.
async fn eventful() -> Scene {
    let service = Box::leak(format!("spill = \"safe\"\n{FAST_CHECK}").into_boxed_str());
    let group = "stateless = true\nfailover_after = \"1s\"\n";
    let mut scene =
        Scene::play(Script { sites: vec![("main", 2), ("dr", 1)], service, group, ..Script::default() })
            .await;
    for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::SOA] {
        ask(scene.dns, HOST, kind).await.expect("an answer");
    }
    // Its checks pass, so that nothing but live traffic takes it out of picking.
    scene.mode("main1", "broken").await;
    visit_until(&scene, "tidegate_ejections_total").await;
    scene.kill("main1").await;
    scene.kill("main2").await;
    visit_until(&scene, "tidegate_spills_total").await;
    scene.wait_active("dr").await;
    let refused = scene.cli(&["switch", "app", "main", "--reason", "too early"]).await;
    assert_eq!(refused.status.code(), Some(1));
    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;
    scene.json(&["failback", "app", "--reason", "repaired"]).await;
    scene.json(&["switch", "app", "dr", "--reason", "a visit"]).await;
    strange(&scene, 0).await;
    scene
}

async fn visit_until(scene: &Scene, metric: &str) {
    scene
        .eventually(&format!("{metric} counts"), async || {
            for _ in 0..4 {
                scene.visit().await;
            }
            scene.metric(metric, &[]).await >= 1.0
        })
        .await;
}

/// What only clients can choose, and choose at random.
async fn strange(scene: &Scene, number: u16) {
    let host = format!("host-{number}.elsewhere.test");
    let answer = exchange(scene.http, &request("GET", &host, "/", &[], b"")).await.expect("an answer");
    assert_eq!(answer.code, 404);
    let path = format!("/path/{number}?q={number}");
    let method = format!("METHOD{number}");
    exchange(scene.http, &request(&method, HOST, &path, &[], b"")).await.expect("an answer");
    let here = format!("name-{number}.scene.test.");
    let elsewhere = format!("name-{number}.elsewhere.test.");
    for (name, kind) in [
        (&*here, RecordType::A),
        (&*elsewhere, RecordType::A),
        (&*here, RecordType::from(1000 + number)),
        (HOST, RecordType::from(2000 + number)),
    ] {
        ask(scene.dns, name, kind).await.expect("an answer");
    }
}

/// The names and labels of all series.
fn series(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_and_nothing_is_missing() {
    let scene = eventful().await;
    let metrics = scene.metrics().await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool has to be installed (Debian: package prometheus)");
    let mut stdin = promtool.stdin.take().expect("it was asked for");
    stdin.write_all(metrics.as_bytes()).await.expect("promtool reads");
    drop(stdin);
    let found = promtool.wait_with_output().await.expect("promtool ends");
    let said = text(&found.stdout) + &text(&found.stderr);
    assert!(found.status.success() && said.is_empty(), "{said}");

    let wanted: [(&str, &[&str]); 22] = [
        ("tidegate_build_info", &["version"]),
        ("tidegate_origin_up", &["service", "site", "origin"]),
        ("tidegate_origin_effective_up", &["service", "site", "origin"]),
        ("tidegate_group_active", &["group", "site"]),
        ("tidegate_group_epoch", &["group"]),
        ("tidegate_world_generation", &[]),
        ("tidegate_switches_total", &["group", "kind"]),
        ("tidegate_refused_orders_total", &[]),
        ("tidegate_store_failures_total", &[]),
        ("tidegate_control_stalls_total", &[]),
        ("tidegate_probes_total", &["service", "site", "outcome"]),
        ("tidegate_probe_duration_seconds_bucket", &["service", "site", "le"]),
        ("tidegate_request_duration_seconds_bucket", &["service", "site", "le"]),
        ("tidegate_requests_total", &["service", "site", "code", "spilled"]),
        ("tidegate_retries_total", &["service", "reason"]),
        ("tidegate_spills_total", &["service", "from", "to"]),
        ("tidegate_ejections_total", &["service", "site"]),
        ("tidegate_client_connections", &[]),
        ("tidegate_dns_queries_total", &["protocol", "type", "rcode"]),
        ("process_open_fds", &[]),
        ("process_cpu_seconds_total", &[]),
        ("process_resident_memory_bytes", &[]),
    ];
    let series = series(&metrics);
    for (name, labels) in wanted {
        let found = series.iter().find(|line| line.split('{').next() == Some(name));
        let found = found.unwrap_or_else(|| panic!("there is no {name}"));
        let given: BTreeSet<&str> = found
            .split_once('{')
            .map(|(_, rest)| rest.split(',').filter_map(|label| Some(label.split_once("=\"")?.0)).collect())
            .unwrap_or_default();
        assert_eq!(given, labels.iter().copied().collect(), "{found}");
    }
    for kind in ["start", "failover", "failback", "switchover"] {
        let counted = scene.metric("tidegate_switches_total", &[("group", "app"), ("kind", kind)]).await;
        assert_eq!(counted, 1.0, "{kind}");
    }
    assert_eq!(scene.metric("tidegate_group_active", &[("site", "dr")]).await, 1.0);
    assert_eq!(scene.metric("tidegate_group_active", &[("site", "main")]).await, 0.0);
    assert_eq!(scene.metric("tidegate_refused_orders_total", &[]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_can_add_a_series() {
    let scene = eventful().await;
    let before = series(&scene.metrics().await);
    for number in 1..=200 {
        strange(&scene, number).await;
    }
    let after = series(&scene.metrics().await);
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:?}");
}
