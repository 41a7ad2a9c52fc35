//! What bars moves beside gates, through the real daemon: witnesses, front doors, safety rules; and what only degrades.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::scene::{Scene, Script, free_address, text};

/// An address that accepts nothing and refuses nothing: its queue is full. Closed, it refuses.
struct Hole {
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Hole {
    async fn dig(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it can be set");
        socket.bind(address).expect("the port is free");
        let listener = socket.listen(1).expect("it listens");
        let mut queued = Vec::new();
        let patience = std::time::Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
            queued.push(stream.expect("it is there"));
            assert!(queued.len() < 100, "the queue never fills");
        }
        Self { _listener: listener, _queued: queued }
    }
}

async fn refused(scene: &Scene, arguments: &[&str]) -> (String, String) {
    let output = scene.cli(&[arguments, &["--reason", "test", "--json"]].concat()).await;
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (answer["label"].as_str().unwrap_or_default().to_owned(), said)
}

#[tokio::test]
async fn an_edge_that_its_witnesses_do_not_reach_moves_nothing_and_says_so() {
    let witnesses: Vec<_> = (0..3).map(|_| free_address()).collect();
    let top = format!("witnesses = [\"{}\", \"{}\", \"{}\"]\n", witnesses[0], witnesses[1], witnesses[2]);
    let top: &'static str = Box::leak(top.into_boxed_str());
    // All of them refuse, which means that they are there.
    let mut scene =
        Scene::play(Script { top, sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    let isolation = async |scene: &Scene| {
        scene.json(&["status"]).await["isolation"].as_str().unwrap_or_default().to_owned()
    };
    scene.eventually("it is connected", async || isolation(&scene).await == "connected").await;
    let holes = [Hole::dig(witnesses[0]).await, Hole::dig(witnesses[1]).await];
    scene.eventually("it is isolated", async || isolation(&scene).await == "isolated").await;
    scene.kill("main1").await;
    scene.wait_fitness("main", "unfit").await;
    scene
        .eventually("it says why it stays", async || scene.stops().await.contains(&"isolated".to_owned()))
        .await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    let (label, said) = refused(&scene, &["switch", "app", "dr"]).await;
    assert_eq!(label, "isolated", "{said}");
    let status = text(&scene.cli(&["status"]).await.stdout);
    assert!(status.contains("ISOLATED (isolated): 1 of 3 witnesses are reached"), "{status}");
    assert_eq!(scene.metric("tidegate_isolated", &[]).await, 1.0);
    assert_eq!(scene.metric("tidegate_witnesses", &[("state", "lost")]).await, 2.0);

    drop(holes);
    scene.wait_active("dr").await;
    assert_eq!(scene.metric("tidegate_isolated", &[]).await, 0.0);
}

#[tokio::test]
async fn an_active_site_whose_front_door_is_lost_is_left_although_its_origins_are_well() {
    let doors: Vec<SocketAddr> =
        (2..=3).map(|last| SocketAddr::from(([127, 0, 0, last], free_address().port()))).collect();
    let mut scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    let mut open = Vec::new();
    for (number, door) in doors.iter().enumerate() {
        open.push(TcpListener::bind(door).await.expect("the port is free"));
        let check = format!(
            "front_door = [\"{}\"]\nfront_door_check = {{ tcp = {}, interval = \"100ms\", timeout = \"5s\" }}",
            door.ip(),
            door.port()
        );
        scene.edit(&format!("front_door = [\"192.0.2.{}\"]", number + 1), &check);
    }
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene
        .eventually("both are reachable", async || {
            scene.metric("tidegate_front_door_reachable", &[]).await == 2.0
        })
        .await;
    scene.wait_fitness("dr", "fit").await;
    drop(open.remove(0));
    scene.wait_active("dr").await;
    assert_eq!(scene.fitness("main").await, "unfit");
    assert_eq!(scene.metric("tidegate_origin_up", &[("site", "main")]).await, 1.0, "its origin is well");
    let (label, said) = refused(&scene, &["failback", "app"]).await;
    assert_eq!(label, "unfit", "{said}");
    assert!(said.contains("front door does not answer"), "{said}");
    let status = text(&scene.cli(&["status"]).await.stdout);
    assert!(status.contains("front door of main: lost") && status.contains("127.0.0.2 down: "), "{status}");
    let kinds = |history: &[Value], kind: &str| history.iter().filter(|event| event["kind"] == kind).count();
    let history = scene.json(&["history", "-n", "1000"]).await;
    assert!(kinds(history.as_array().expect("a list"), "front-door-lost") >= 1, "{history}");

    let _open = TcpListener::bind(doors[0]).await.expect("it is free again");
    scene.wait_fitness("main", "fit").await;
    scene.json(&["failback", "app", "--reason", "it is back"]).await;
}

/// A second group of the same sites, with a service of its own.
fn with_second_group(scene: &Scene) {
    let origins = |name: &str| scene.origins[name].addr;
    let more = format!(
        "[group.mail]\nsites = [\"dr\", \"main\", \"third\"]\nstateless = true\nfailover_after = \"0s\"\n\
         [service.mail]\ngroup = \"mail\"\nhosts = [\"mail.scene.test\"]\n{}\
         origins.main = [{{ url = \"http://{}\" }}]\norigins.dr = [{{ url = \"http://{}\" }}]\n\
         origins.third = [{{ url = \"http://{}\" }}]\n[service.web]",
        crate::scene::FAST_CHECK,
        origins("main1"),
        origins("dr1"),
        origins("third1")
    );
    scene.edit("[service.web]", &more);
}

#[tokio::test]
async fn groups_that_a_rule_keeps_apart_are_never_at_one_site_by_themselves() {
    let top = "[rule.apart-please]\napart = [\"app\", \"mail\"]\n";
    let mut scene = Scene::set(Script { top, ..Script::default() }).await;
    with_second_group(&scene);
    scene.start_daemon().await;
    scene.wait_ready().await;
    let sites = async |scene: &Scene| {
        let status = scene.json(&["status"]).await;
        let groups = status["groups"].as_array().expect("a list").clone();
        let active = groups.iter().map(|group| group["active"].as_str().unwrap_or_default().to_owned());
        active.collect::<Vec<_>>()
    };
    scene.eventually("both have a place", async || sites(&scene).await == ["main", "dr"]).await;
    scene.eventually("third is fit", async || scene.fitness("third").await == "fit").await;
    scene.kill("main1").await;
    scene.wait_active("third").await;
    assert_eq!(sites(&scene).await, ["third", "dr"], "the preferred one is taken");

    let (label, said) = refused(&scene, &["switch", "app", "dr"]).await;
    assert_eq!(label, "apart-please", "{said}");
    assert!(said.contains("`mail` is there, and the rule keeps them apart"), "{said}");
    assert_eq!(refused(&scene, &["switch", "app", "dr", "--override", "apart"]).await.0, "no-such-rule");
    assert_eq!(refused(&scene, &["switch", "app", "dr", "--override", "unfit"]).await.0, "apart-please");
    let forbidden = [("group", "app"), ("site", "dr"), ("rule", "apart-please")];
    assert_eq!(scene.metric("tidegate_site_forbidden", &forbidden).await, 1.0);
    scene.json(&["switch", "app", "dr", "--override", "apart-please", "--reason", "for an hour"]).await;
    assert_eq!(sites(&scene).await, ["dr", "dr"]);
    let history = scene.history().await;
    let switchover = history.iter().find(|event| event["kind"] == "switchover").expect("recorded");
    assert_eq!(switchover["overrides"], serde_json::json!(["apart-please"]));
    scene
        .eventually("the broken rule is counted", async || {
            scene.metric("tidegate_rule_broken", &[("rule", "apart-please")]).await == 2.0
        })
        .await;
    let explained = text(&scene.cli(&["explain", "app"]).await.stdout);
    assert!(
        explained.contains("safety rule `apart-please` would not let `app` go where it is"),
        "{explained}"
    );
}

#[tokio::test]
async fn a_site_is_closed_in_the_hours_of_a_rule_and_a_reload_opens_it() {
    let top = "[rule.month-end]\nnever = [\"dr\"]\nhours = [\"00:00-24:00\"]\nzone = \"Europe/London\"\n";
    let mut scene = Scene::play(Script { top, ..Script::default() }).await;
    scene.eventually("third is fit", async || scene.fitness("third").await == "fit").await;
    let (label, said) = refused(&scene, &["switch", "app", "dr"]).await;
    assert_eq!(label, "month-end", "{said}");
    assert!(said.contains("it says never 00:00-24:00 (Europe/London)"), "{said}");
    scene.kill("main1").await;
    scene.wait_active("third").await;
    scene.edit("never = [\"dr\"]", "never = [\"main\"]");
    scene.json(&["reload"]).await;
    scene.wait_fitness("dr", "fit").await;
    scene.json(&["switch", "app", "dr", "--reason", "open again"]).await;
}

#[tokio::test]
async fn a_planned_move_waits_for_as_many_fit_sites_as_a_rule_wants() {
    let top = "[rule.spare]\nsites_fit = 3\n";
    let mut scene = Scene::play(Script { top, ..Script::default() }).await;
    scene.kill("third1").await;
    scene.wait_fitness("third", "unfit").await;
    let (label, said) = refused(&scene, &["switch", "app", "dr"]).await;
    assert_eq!(label, "spare", "{said}");
    assert!(said.contains("2 of its sites are fit, and a planned move wants 3"), "{said}");
    scene.start_origin("third1").await;
    scene.wait_fitness("third", "fit").await;
    scene.json(&["switch", "app", "dr", "--reason", "all are there"]).await;
    scene.kill("third1").await;
    scene.wait_fitness("third", "unfit").await;
    scene.json(&["failback", "app", "--override", "spare", "--reason", "we know"]).await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
}

#[tokio::test]
async fn a_group_that_runs_without_what_it_wants_is_degraded_wherever_one_looks() {
    let group = "stateless = true\nfailover_after = \"0s\"\nwants = [\"email\"]\n";
    let top = "capabilities = [\"email\"]\n";
    let mut scene = Scene::set(Script { group, top, ..Script::default() }).await;
    scene.edit("front_door = [\"192.0.2.1\"]", "front_door = [\"192.0.2.1\"]\nprovides = [\"email\"]");
    scene.start_daemon().await;
    scene.wait_ready().await;
    let degraded = [("group", "app"), ("capability", "email")];
    assert_eq!(scene.metric("tidegate_group_degraded", &degraded).await, 0.0);
    assert_eq!(scene.get("/readyz").await.expect("it answers").1, "ready\n");
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    assert_eq!(scene.metric("tidegate_group_degraded", &degraded).await, 1.0);
    assert_eq!(scene.metric("tidegate_group_condition", &[("condition", "degraded")]).await, 1.0);
    assert_eq!(
        scene.get("/readyz").await.expect("it answers"),
        (200, "ready; degraded: app (email)\n".into())
    );
    let status = scene.json(&["status"]).await;
    assert_eq!(status["groups"][0]["condition"], "degraded");
    assert_eq!(status["groups"][0]["degraded"], serde_json::json!(["email"]));
    let explained = text(&scene.cli(&["explain", "app"]).await.stdout);
    assert!(explained.contains("degraded: `dr` does not provide `email`"), "{explained}");
}
