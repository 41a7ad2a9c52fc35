//! Origins, services and groups that come, stay, change and go.

use std::time::Duration;

use super::{ZONE_HEAD, talking};
use crate::client::{Load, request};
use crate::scene::{FAST_CHECK, Scene, Script, free_address};
use crate::talker::Talker;

#[tokio::test]
async fn haproxy_918_health_survives_a_reload_and_new_origins_wait_for_a_pass() {
    let mut scene = Scene::set(Script { sites: vec![("main", 2), ("dr", 1)], ..Script::default() }).await;
    let dead = scene.entry("main2");
    scene.kill("main2").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    let addr = scene.origins["main2"].addr.to_string();
    let stranger = free_address();
    // Nobody listens there: it can never pass.
    scene.edit(&dead, &format!("{dead}, {{ url = \"http://{stranger}\" }}"));
    let load = Load::start(scene.http, 2, &["GET"]);
    load.more(&scene, 50).await;
    scene.hang_up().await;
    load.more(&scene, 200).await;
    let log = load.end().await;
    assert!(log.iter().all(crate::client::Entry::is_ok));
    assert_eq!(scene.metric("tidegate_retries_total", &[]).await, 0.0, "nobody was even tried there");
    let status = scene.json(&["status"]).await.to_string();
    assert!(status.contains(&addr), "{status}");
    assert!(scene.history().await.iter().all(|entry| entry["kind"] == "start"), "nothing moved");
}

#[tokio::test]
async fn powerdns_7988_checks_end_with_their_origin() {
    let talker = Talker::start().await;
    let scene = Scene::set(Script::default()).await;
    scene.edit("[zone.", &talking(&talker));
    let mut scene = scene;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.eventually("it is checked", async || talker.checks() > 2).await;
    assert!(scene.metrics().await.contains("service=\"talk\""));

    let before = talker.checks();
    scene.eventually("a reload leaves it alone", async || talker.checks() > before + 2).await;
    scene.edit("hosts = [\"talk.test\"]", "hosts = [\"talk.test\", \"chat.test\"]");
    assert_eq!(scene.reload().await.0, 0);
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    let (from, to) =
        (config.find("[service.talk]").expect("it is there"), config.find("[zone.").expect("it is there"));
    scene.write("tidegate.toml", &(config[..from].to_owned() + &config[to..]));
    let (code, said) = scene.reload().await;
    assert_eq!(code, 0, "{said}");
    // A probe that was on its way may still arrive.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let last = talker.checks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(talker.checks(), last, "ten intervals later");
    let metrics = scene.metrics().await;
    assert!(!metrics.contains("service=\"talk\""), "{metrics}");
}

#[tokio::test]
async fn a_changed_check_takes_the_place_of_the_old_one() {
    let talker = Talker::start().await;
    let mut scene = Scene::set(Script::default()).await;
    scene.edit("[zone.", &talking(&talker));
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.eventually("it is checked", async || talker.checks() > 2).await;
    scene.edit(
        "critical = false\ncheck = { path = \"/health\"",
        "critical = false\ncheck = { path = \"/other\"",
    );
    assert_eq!(scene.reload().await.0, 0);
    let more = async |count| {
        let before = talker.others();
        scene.eventually("it is checked anew", async || talker.others() >= before + count).await;
    };
    // A probe of the old kind that was on its way may still arrive.
    more(3).await;
    let last = talker.checks();
    more(10).await;
    assert_eq!(talker.checks(), last);
    assert_eq!(scene.metric("tidegate_origin_up", &[("service", "talk")]).await, 1.0);
}

#[tokio::test]
async fn connections_to_origins_that_stay_are_used_on() {
    let talker = Talker::start().await;
    let mut scene = Scene::set(Script::default()).await;
    scene.edit("[zone.", &talking(&talker));
    scene.start_daemon().await;
    scene.wait_ready().await;
    let ask = async || {
        let answer = crate::client::exchange(scene.http, &request("GET", "talk.test", "/", &[], b"")).await;
        assert_eq!(answer.expect("an answer").code, 200);
    };
    scene
        .eventually("the talker is up", async || {
            scene.metric("tidegate_origin_up", &[("service", "talk")]).await > 0.0
        })
        .await;
    ask().await;
    for turn in 0..5 {
        scene.write("scene.test.zone", &format!("{ZONE_HEAD}n{turn} IN A 192.0.2.{turn}\n"));
        // Origins before it get other numbers.
        let dr = format!("origins.dr = [{}]\n", scene.entry("dr1"));
        let (from, to) = if turn % 2 == 0 { (dr, "# without\n".into()) } else { ("# without\n".into(), dr) };
        scene.edit(&from, &to);
        assert_eq!(scene.reload().await.0, 0);
        ask().await;
    }
    assert_eq!(talker.connections(), 1, "an unchanged origin is reached as before");
}

#[tokio::test]
async fn groups_come_and_go_and_come_back_where_they_were() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    scene.post("switch", r#"{"reason": "test", "to": "dr"}"#).await;
    let switches = async |group| scene.metric("tidegate_switches_total", &[("group", group)]).await;
    let before = switches("app").await;
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    // In front of the other, which gets another number.
    let with = config
        .replace("[group.app]", "[group.early]\nsites = [\"main\", \"dr\"]\nstateless = true\n[group.app]")
        .replace(
            "[zone.",
            &format!(
                "[service.first]\ngroup = \"early\"\nprotocol = \"http\"\nhosts = [\"early.test\"]\n{FAST_CHECK}\
                 origins.main = [{}]\norigins.dr = [{}]\n[zone.",
                scene.entry("main1"),
                scene.entry("dr1")
            ),
        );
    let active =
        async |site| scene.metric("tidegate_group_active", &[("group", "early"), ("site", site)]).await;
    scene.write("tidegate.toml", &with);
    assert_eq!(scene.reload().await.0, 0);
    scene.eventually("it is somewhere", async || active("main").await == 1.0).await;
    let fit = async || scene.metric("tidegate_group_site_fit", &[("group", "early"), ("site", "dr")]).await;
    scene.eventually("it has somewhere to go", async || fit().await == 1.0).await;
    let (code, said) =
        scene.api("POST", "/api/v1/groups/early/switch", r#"{"reason": "test", "to": "dr"}"#).await;
    assert_eq!(code, 200, "{said}");
    assert_eq!(active("dr").await, 1.0);
    for (config, has_it) in [(&config, false), (&with, true)] {
        scene.write("tidegate.toml", config);
        let (code, said) = scene.reload().await;
        assert_eq!(code, 0, "{said}");
        assert_eq!(scene.metrics().await.contains("group=\"early\""), has_it);
    }
    assert_eq!(active("dr").await, 1.0, "as the store has it");
    assert_eq!(switches("app").await, before, "nothing moved");
    assert_eq!(scene.metric("tidegate_group_active", &[("group", "app"), ("site", "dr")]).await, 1.0);
    assert_eq!(scene.steered().await.1, [scene.door("dr")]);
}

/// Its number is another origin's now, or nobody's.
#[tokio::test]
async fn a_result_that_comes_after_its_check_has_ended_counts_for_nobody() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let without = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    // Many and often, so that some are on their way at every moment; nobody listens there.
    let port = free_address().port();
    let entries: Vec<_> =
        (2..60).map(|host| format!("{{ url = \"http://127.0.0.{host}:{port}\" }}")).collect();
    let many = format!(
        "[service.many]\ngroup = \"app\"\nprotocol = \"http\"\nhosts = [\"many.test\"]\ncritical = false\n\
         check = {{ path = \"/health\", interval = \"100ms\", fast_interval = \"20ms\", timeout = \"20ms\", fall = 2, rise = 2 }}\n\
         origins.main = [{}]\n[service.web]",
        entries.join(", ")
    );
    let with = without.replace("[service.web]", &many);
    for _ in 0..10 {
        scene.write("tidegate.toml", &with);
        let (code, said) = scene.reload().await;
        assert_eq!(code, 0, "{said}");
        scene
            .eventually("they are checked", async || {
                scene.metric("tidegate_probes_total", &[("service", "many")]).await > 100.0
            })
            .await;
        scene.write("tidegate.toml", &without);
        assert_eq!(scene.reload().await.0, 0);
        assert_eq!(
            scene.metric("tidegate_origin_up", &[("service", "web")]).await,
            3.0,
            "none is down for it"
        );
    }
    assert_eq!(scene.visit().await.code, 200);
    assert!(scene.history().await.iter().all(|entry| entry["kind"] == "start"), "nothing moved");
}
