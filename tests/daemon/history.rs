//! The history through the command line and the API: what was done, what was noticed, what was seen to change.

use serde_json::Value;

use crate::scene::{Scene, Script, text};

fn list(reply: &Value) -> Vec<Value> {
    reply.as_array().expect("a list").clone()
}

fn word<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

impl Scene {
    /// The oldest first.
    async fn told(&self, arguments: &[&str]) -> Vec<Value> {
        let mut entries = list(&self.json(&[&["history"], arguments].concat()).await);
        entries.reverse();
        entries
    }

    async fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.cli(&[&["history", "--json-lines"], arguments].concat()).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[tokio::test]
async fn what_was_seen_to_change_is_told_from_the_cause_to_the_switch() {
    let mut scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    let gone = ["--kind", "origin", "--kind", "fitness", "--kind", "unfit", "--kind", "failover"];
    scene.eventually("all is written", async || scene.told(&gone).await.len() >= 4).await;
    let told = scene.told(&gone).await;
    let main: Vec<_> = told
        .iter()
        .filter(|entry| entry["site"] != "dr" && entry["site"] != "third")
        .map(|entry| (word(entry, "kind"), word(entry, "from"), word(entry, "to")))
        .collect();
    // What nothing waits for is written beside what was decided, so the order of the two is that of the disk.
    let observed: Vec<_> = main.iter().copied().filter(|(kind, ..)| *kind != "failover").collect();
    assert_eq!(
        observed,
        [("origin", "up", "down"), ("fitness", "fit", "unfit"), ("unfit", "", "")],
        "{told:?}"
    );
    assert!(main.contains(&("failover", "main", "dr")), "{told:?}");
    let origin = told.iter().find(|entry| entry["kind"] == "origin").expect("the origin's health");
    assert_eq!(
        (word(origin, "group"), word(origin, "service"), word(origin, "class")),
        ("app", "web", "observation")
    );
    assert!(word(origin, "origin").starts_with("web/main/127.0.0.1:"), "{origin}");
    assert!(word(origin, "reason").contains("refused"), "{origin}");

    // Whoever does not ask for it sees what was done and noticed.
    let plain = scene.told(&["app"]).await;
    assert!(plain.iter().all(|entry| entry["class"] != "observation"), "{plain:?}");
    let of_main = scene.told(&["--site", "main", "--all"]).await;
    assert!(of_main.iter().any(|entry| entry["kind"] == "failover"), "{of_main:?}");
    assert!(of_main.iter().any(|entry| entry["kind"] == "origin"), "{of_main:?}");
    let by_pattern = scene.told(&["--origin", "web/main/*"]).await;
    assert!(
        !by_pattern.is_empty() && by_pattern.iter().all(|entry| entry["kind"] == "origin"),
        "{by_pattern:?}"
    );
    assert!(scene.told(&["--origin", "web/dr/*"]).await.is_empty());
    assert!(scene.told(&["--all", "--until", "2020-01-01T00:00:00Z"]).await.is_empty());
    assert!(scene.told(&["--all", "--since", "2100-01-01T00:00:00Z"]).await.is_empty());
    let whole = scene.told(&["--all", "-n", "10000"]).await;
    assert_eq!(scene.told(&["--all", "--since", "1h", "-n", "10000"]).await, whole);

    let seen = text(&scene.cli(&["history", "--all"]).await.stdout);
    assert!(
        seen.lines().any(|line| line.contains("  app  origin web/main/") && line.contains(" up -> down")),
        "{seen}"
    );
}

#[tokio::test]
async fn pages_and_the_export_hold_the_same_entries_and_a_drain_is_in_the_history_of_its_groups() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("third", "fit").await;
    for turn in 0..4 {
        scene.json(&["freeze", "app", "--reason", &format!("turn {turn}")]).await;
        scene.json(&["unfreeze", "app", "--reason", &format!("turn {turn}")]).await;
    }
    scene.json(&["drain", "site", "third", "--reason", "new disks"]).await;
    let drained = scene.told(&["app", "--kind", "forced"]).await;
    assert_eq!(drained.len(), 1, "a drain concerns the groups of its origins");
    assert_eq!((drained[0]["groups"][0].as_str(), word(&drained[0], "class")), (Some("app"), "decision"));

    let is_done = async || scene.lines(&["--kind", "round"]).await.len() == 1;
    scene.eventually("the start is written", is_done).await;
    let all = scene.lines(&["--all"]).await;
    let ids: Vec<_> = all.iter().map(|entry| entry["id"].as_u64().expect("an id")).collect();
    assert!(ids.is_sorted_by(|one, next| one < next) && ids.len() > 10, "{ids:?}");
    let (mut paged, mut before) = (Vec::new(), u64::MAX.to_string());
    loop {
        let page = list(&scene.json(&["history", "--all", "-n", "3", "--before", &before]).await);
        let Some(last) = page.last() else { break };
        before = last["id"].to_string();
        paged.extend(page);
    }
    paged.reverse();
    assert_eq!(paged, all);
    // What is new since an entry, the oldest first.
    let after = scene.json(&["history", "--all", "--after", &ids[4].to_string(), "-n", "2"]).await;
    assert_eq!(list(&after), all[5..7]);

    let (code, body) = scene.api("GET", "/api/v1/history/export?group=app&kind=frozen", "").await;
    assert_eq!((code, body.matches("\"kind\":\"frozen\"").count()), (200, 4), "{body}");
    for wrong in ["?limit=3", "?kind=party", "?since=yesterday", "?colour=red"] {
        let (code, body) = scene.api("GET", &format!("/api/v1/history/export{wrong}"), "").await;
        assert_eq!(code, 400, "{wrong}: {body}");
    }
    assert_eq!(
        scene.get("/api/v1/history/export").await.expect("it answers").0,
        404,
        "names are not for anybody"
    );
    for wrong in [&["--kind", "party"][..], &["--since", "yesterday"], &["--json-lines", "-n", "3"]] {
        let output = scene.cli(&[&["history"], wrong].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}

/// It could fill the disk, and displace what was decided.
#[tokio::test]
async fn a_flapping_origin_is_told_a_few_times_and_its_last_state_is_not_lost() {
    let scene = Scene::play(Script {
        sites: vec![("main", 2), ("dr", 1)],
        service: "check = { path = \"/health\", interval = \"20ms\", fast_interval = \"10ms\", timeout = \"1s\", fall = 1, rise = 1 }\n",
        top: "history = { decisions_max = 100, observations_max = 100 }",
        ..Script::default()
    })
    .await;
    let up = async |count: f64| scene.metric("tidegate_origin_up", &[("site", "main")]).await == count;
    scene.eventually("both are up", async || up(2.0).await).await;
    for _ in 0..12 {
        scene.mode("main2", "error").await;
        scene.eventually("it is down", async || up(1.0).await).await;
        scene.mode("main2", "ok").await;
        scene.eventually("it is up", async || up(2.0).await).await;
    }
    scene.json(&["freeze", "app", "--reason", "it flaps"]).await;
    let kinds = ["--kind", "origin", "--kind", "frozen"];
    scene.eventually("some is written", async || scene.told(&kinds).await.len() >= 5).await;
    let told = scene.told(&kinds).await;
    let changes = told.iter().filter(|entry| entry["kind"] == "origin").count();
    // Six at once, and one a minute: 24 of them were made.
    assert!((4..=8).contains(&changes), "{told:?}");
    assert!(told.iter().any(|entry| entry["kind"] == "frozen"), "{told:?}");
}
