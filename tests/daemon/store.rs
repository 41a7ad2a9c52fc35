//! A full disk: traffic is served, nothing is switched, and all is well once there is room again.

use serde_json::{Value, json};

use crate::disk::Disk;
use crate::scene::{HOST, Scene, Script};

async fn start(scene: &mut Scene, disk: &Disk) {
    let wrapper = disk.wrapper();
    scene.start_daemon_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene.wait_ready().await;
}

/// Switches to and fro until one is refused; its refusal.
pub(crate) async fn switch_until_refused(scene: &Scene) -> Value {
    // A page or two may be free inside the store's file still.
    for turn in 0..500 {
        let to = if scene.active().await.as_deref() == Some("main") { "dr" } else { "main" };
        let body = json!({ "to": to, "reason": format!("turn {turn} {}", "x".repeat(400)) }).to_string();
        let (code, text) = scene.api("POST", "/api/v1/groups/app/switch", &body).await;
        if code != 200 {
            assert_eq!(code, 409, "{text}");
            return serde_json::from_str(&text).expect("JSON");
        }
    }
    panic!("500 switches were written to a full disk");
}

/// Two sites that are fit, and a daemon whose state is on a disk that is soon full.
pub(crate) async fn on_a_small_disk() -> (Scene, Disk) {
    let mut scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    // The disk is in another namespace; the socket must be where both see it.
    let socket = scene.path("tidegate.sock");
    scene.edit("[listen]\n", &format!("[listen]\nsocket = \"{}\"\n", socket.display()));
    scene.move_socket(socket);
    let disk = Disk::mount(&scene.path("state"), "3m").await;
    start(&mut scene, &disk).await;
    for site in ["main", "dr"] {
        scene.wait_fitness(site, "fit").await;
    }
    (scene, disk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_switching_and_never_serving() {
    let (mut scene, disk) = on_a_small_disk().await;

    disk.fill();
    let refusal = switch_until_refused(&scene).await;
    assert_eq!(refusal["label"], "store", "{refusal}");
    assert!(refusal["next"].as_str().is_some_and(|next| next.contains("state_dir")), "{refusal}");
    let failures = async || scene.metric("tidegate_store_failures_total", &[]).await;
    assert!(failures().await >= 1.0);
    let place = scene.active().await.expect("a place");
    let other = if place == "main" { "dr" } else { "main" };
    for _ in 0..20 {
        let answer = scene.visit().await;
        assert_eq!((answer.code, answer.body), (200, format!("{place}1")));
        assert_eq!(scene.steered().await.1, [scene.door(&place)]);
    }
    assert_eq!(scene.get("/healthz").await.map(|(code, _)| code), Some(200));

    // The active site is lost: a failover is wanted, cannot be written, and so does not happen.
    let lost = format!("{place}1");
    let before = failures().await;
    scene.kill(&lost).await;
    scene.eventually("explain names the store", async || scene.stops().await.contains(&"store".into())).await;
    scene
        .eventually("it is tried again", async || {
            scene.metric("tidegate_store_failures_total", &[]).await > before + 1.0
        })
        .await;
    assert_eq!(scene.active().await.as_deref(), Some(&*place));
    assert_eq!(scene.steered().await.1, [scene.door(&place)], "DNS does not run ahead of the store");

    // Room again: the failover happens by itself, and lasts.
    disk.empty();
    scene.wait_active(other).await;
    assert_eq!(scene.visit().await.body, format!("{other}1"));
    scene.start_origin(&lost).await;
    scene.wait_fitness(&place, "fit").await;
    scene.json(&["switch", "app", &place, "--reason", "there is room"]).await;
    let epoch = scene.metric("tidegate_group_epoch", &[]).await;
    scene.kill_daemon().await;
    start(&mut scene, &disk).await;
    assert_eq!(scene.active().await.as_deref(), Some(&*place));
    assert_eq!(scene.metric("tidegate_group_epoch", &[]).await, epoch);
    assert_eq!(scene.visit().await.body, format!("{place}1"), "{HOST}");
}

/// What is served has to be on disk first, or a restart could give a serial to another content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_whose_serials_cannot_be_written_is_refused_and_can_be_had_later() {
    let (scene, disk) = on_a_small_disk().await;
    disk.fill();
    switch_until_refused(&scene).await;
    let zone = std::fs::read_to_string(scene.path("scene.test.zone")).expect("the zone");
    let found = async |name: &str| {
        let answer = crate::client::resolve(scene.dns, &format!("{name}.scene.test")).await;
        answer.expect("DNS answers").1
    };
    let mut refused = None;
    for turn in 0..100 {
        scene.write("scene.test.zone", &format!("{zone}n{turn} IN A 192.0.2.99\n"));
        match scene.api("POST", "/api/v1/reload", "").await {
            (200, _) => assert_eq!(found(&format!("n{turn}")).await, ["192.0.2.99"]),
            (code, said) => {
                refused = Some((turn, code, said));
                break;
            }
        }
    }
    let (turn, code, said) = refused.expect("a hundred serials were written to a full disk");
    assert!(code == 409 && said.contains("not-stored") && said.contains("serials"), "{code} {said}");
    assert_eq!(scene.metric("tidegate_config_last_reload_successful", &[]).await, 0.0);
    assert!(found(&format!("n{turn}")).await.is_empty(), "it is not served");
    assert_eq!(scene.visit().await.code, 200);

    disk.empty();
    scene.eventually("there is room", async || scene.api("POST", "/api/v1/reload", "").await.0 == 200).await;
    assert_eq!(found(&format!("n{turn}")).await, ["192.0.2.99"]);
}
