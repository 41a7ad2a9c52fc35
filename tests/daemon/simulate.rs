//! `simulate` and the chain of `explain`, through the real binary.

use serde_json::Value;

use crate::scene::{Scene, Script, text};

impl Scene {
    async fn simulate(&self, script: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.write("outage.txt", script);
        let (config, script) = (self.path("tidegate.toml"), self.path("outage.txt"));
        let mut command = self.command(&["simulate", "--config"]);
        command.arg(config).arg("--script").arg(script).args(arguments);
        let output = command.output().await.expect("the command line runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[tokio::test]
async fn an_outage_is_simulated_without_a_daemon_and_without_touching_anything() {
    let scene =
        Scene::set(Script { group: "stateless = true\nfailover_after = \"5s\"\n", ..Script::default() })
            .await;
    std::fs::remove_file(scene.path("scene.test.zone")).expect("the zone file is not needed");
    let script = "# main is lost\nat 30s site main lost\nat 2m site main up\nat 3m failback app\nuntil 5m\n";
    let (code, out, err) = scene.simulate(script, &[]).await;
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "site main lost",
        "failover",
        "main -> dr",
        "switched to dr after",
        "the worst case of losing main",
        "seed 1",
    ] {
        assert!(out.contains(words), "`{words}` is not in:\n{out}");
    }
    let (code, out, _) = scene.simulate(script, &["--json", "--seed", "9"]).await;
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let group = &report["groups"][0];
    assert_eq!((code, &group["active"], &report["seed"]), (Some(0), &"main".into(), &9.into()), "{out}");
    assert_eq!(group["outages"][0]["within_worst"], true, "{out}");
    assert!(group["outages"][0]["gap_ms"].as_u64() > Some(5_000), "{out}");
    let terms = group["worst"]["terms"].as_array().expect("terms").iter();
    let sum: u64 = terms.filter_map(|term| term["ms"].as_u64()).sum();
    assert_eq!(group["worst"]["total_ms"], sum);
    assert_eq!(group["worst"]["dns_tail_ms"], 5_000);
    assert!(!scene.path("state").exists(), "nothing was touched");
}

#[tokio::test]
async fn a_script_that_makes_no_sense_is_shown_with_its_place() {
    let scene = Scene::set(Script::default()).await;
    let (code, out, err) = scene.simulate("at 30s site man lost\nat 1m party\nuntil 5m\n", &[]).await;
    assert_eq!(code, Some(2));
    assert!(out.contains("outage.txt:1:13") && out.contains("there is no site `man`"), "{out}");
    assert!(out.contains("^^^^^") && out.contains("`party` cannot happen"), "{out}");
    assert!(err.contains("2 errors"), "{err}");
    let missing = scene.command(&["simulate", "--config", "/none.toml", "--script", "/none"]).output().await;
    assert_eq!(missing.expect("the command line runs").status.code(), Some(1));
}

#[tokio::test]
async fn why_it_moved_is_told_from_the_cause_down_and_outlives_the_daemon() {
    let mut scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    let explanation = scene.json(&["explain", "app"]).await;
    let decided = explanation["decided"].as_array().expect("a chain").clone();
    let labels: Vec<_> = decided.iter().map(|link| link["label"].as_str().expect("a word")).collect();
    assert_eq!(labels, ["origin", "service", "site", "wait", "proof", "move"], "{explanation}");
    assert!(decided[0]["text"].as_str().is_some_and(|text| text.contains("refused")), "{explanation}");
    assert!(explanation["present"].as_array().is_some_and(Vec::is_empty), "{explanation}");
    assert_eq!(explanation["next"], "tidegate ack app --reason WHY");

    scene.kill_daemon().await;
    scene.start_origin("main1").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_fitness("main", "fit").await;
    let morning = scene.json(&["explain", "app"]).await;
    assert_eq!(morning["decided"], Value::from(decided.clone()), "the same as at night");
    let history = scene.history().await;
    let failover = history.iter().find(|entry| entry["kind"] == "failover").expect("it is on record");
    assert_eq!(failover["chain"], Value::from(decided));
    let told = text(&scene.cli(&["explain", "app"]).await.stdout);
    for words in [
        "How it came there:",
        "-> failover to `dr`",
        "What would change where it is:",
        "Next: tidegate ack app",
    ] {
        assert!(told.contains(words), "`{words}` is not in:\n{told}");
    }
    // What anybody may see has no words of people.
    let (_, open) = scene.get("/api/v1/status").await.expect("it answers");
    assert!(!open.contains("chain") && !open.contains("\"decided\""), "{open}");
}
