//! Origins that are given by name: their addresses come, change and stay, whatever becomes of the resolver.

mod name_server;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use name_server::{NameServer, Say};
use serde_json::Value;

use crate::client::Load;
use crate::scene::{Scene, Script, text};

const NAME: &str = "app.main.scene";

/// Two sites; the origin of the first is a name, which the resolver knows as `addresses`. No daemon yet.
async fn set(server: &NameServer, addresses: &[&str]) -> Scene {
    let scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    let addr = scene.origins["main1"].addr;
    scene.edit(&format!("http://{addr}"), &format!("http://{NAME}:{}", addr.port()));
    let resolver =
        format!("[resolver]\nservers = [\"{}\"]\nttl_min = \"1s\"\ntimeout = \"1s\"\n[node]", server.addr);
    scene.edit("[node]", &resolver);
    server.name(NAME, addresses);
    scene
}

/// The same with a daemon that serves.
async fn play(server: &NameServer, addresses: &[&str]) -> Scene {
    let mut scene = set(server, addresses).await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene
}

impl Scene {
    /// Starts one more origin on the port of the first, at another address.
    async fn neighbour(&mut self, name: &str, ip: &str) {
        let port = self.origins["main1"].addr.port();
        let addr = SocketAddr::new(ip.parse().expect("an address"), port);
        self.place_origin(name, addr).await;
    }

    /// What the service has at the first site: each origin with all that is known of it.
    async fn at_main(&self) -> Vec<Value> {
        let status = self.json(&["status"]).await;
        status["groups"][0]["sites"][0]["origins"].as_array().expect("a list").clone()
    }

    /// Waits until the origins at the first site are these addresses and no others, and all of them are up.
    async fn wait_up(&self, addresses: &[&str]) {
        let port = self.origins["main1"].addr.port();
        let wanted: BTreeSet<_> = addresses
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().expect("an address"), port))
            .map(|addr| (format!("web/main/{addr}"), "up".to_owned()))
            .collect();
        self.eventually(&format!("the origins are {addresses:?}"), async || {
            let known = self.at_main().await;
            let word = |origin: &Value, key: &str| origin[key].as_str().expect("a word").to_owned();
            let known: BTreeSet<_> = known.iter().map(|it| (word(it, "name"), word(it, "real"))).collect();
            known == wanted
        })
        .await;
    }

    /// What is known of the only name.
    async fn the_name(&self) -> Value {
        self.json(&["status"]).await["names"][0].clone()
    }

    async fn wait_state(&self, state: &str) {
        self.eventually(&format!("the name is {state}"), async || self.the_name().await["state"] == state)
            .await;
    }

    async fn reasons(&self, kind: &str) -> Vec<String> {
        let history = self.json(&["history", "-n", "1000"]).await;
        let entries = history.as_array().expect("a list").iter().filter(|entry| entry["kind"] == kind);
        entries.map(|entry| entry["reason"].as_str().expect("a reason").to_owned()).collect()
    }

    async fn wait_told(&self, kind: &str, words: &str) {
        self.eventually(&format!("`{words}` is told as {kind}"), async || {
            self.reasons(kind).await.iter().any(|reason| reason.contains(words))
        })
        .await;
    }
}

/// The origins that answered, by name.
fn by(log: &[crate::client::Entry]) -> BTreeSet<&str> {
    log.iter().map(crate::client::Entry::by).collect()
}

#[tokio::test]
async fn every_address_of_a_name_is_an_origin_and_traffic_follows_when_they_change() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.1", "127.0.0.2"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    scene.neighbour("main3", "127.0.0.3").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_up(&["127.0.0.1", "127.0.0.2"]).await;
    let before = scene.at_main().await;
    assert!(before.iter().all(|origin| origin["resolved_from"] == NAME), "{before:?}");
    assert_eq!(scene.metric("tidegate_name_addresses", &[("name", NAME)]).await, 2.0);

    let load = Load::start(scene.http, 2, &["GET", "POST"]);
    load.more(&scene, 100).await;
    // A TTL of zero is no reason to ask without end, nor to ask never again.
    let ips = ["127.0.0.3", "127.0.0.2"].map(|ip| ip.parse().expect("an address"));
    server.say(NAME, Say::Addresses(ips.to_vec(), 0));
    scene.wait_up(&["127.0.0.2", "127.0.0.3"]).await;
    load.more(&scene, 100).await;
    let log = load.end().await;
    let failed: Vec<_> = log.iter().filter(|entry| !entry.is_ok()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(by(&log), BTreeSet::from(["main1", "main2", "main3"]));
    let load = Load::start(scene.http, 2, &["GET"]);
    load.more(&scene, 100).await;
    assert_eq!(by(&load.end().await), BTreeSet::from(["main2", "main3"]));

    let since = |origins: &[Value]| {
        let stayed =
            origins.iter().find(|it| it["name"].as_str().is_some_and(|it| it.contains("127.0.0.2:")));
        stayed.expect("it is there")["since"].clone()
    };
    assert_eq!(since(&before), since(&scene.at_main().await), "what is known of it went on");
    assert!(scene.history().await.iter().all(|entry| entry["kind"] == "start"), "nothing moved");
    scene.wait_told("resolved", &format!("{NAME}: 127.0.0.3 new")).await;
    scene.wait_told("resolved", &format!("{NAME}: 127.0.0.1 gone")).await;
    assert!(scene.reasons("reloaded").await.is_empty(), "nobody has reloaded anything");
}

#[tokio::test]
async fn both_families_of_addresses_are_asked_for() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        assert!(std::env::var_os("CI").is_none(), "this machine has no IPv6 loopback");
        return;
    }
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.1", "::1"]).await;
    scene.neighbour("main2", "::1").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_up(&["127.0.0.1", "::1"]).await;
    // A server that knows no answer for one family takes nothing of the other.
    server.name(NAME, &["::1"]);
    scene.wait_up(&["::1"]).await;
    assert_eq!(scene.visit().await.body, "main2");
}

#[tokio::test]
async fn a_resolver_in_trouble_takes_no_origin_away() {
    let server = NameServer::start().await;
    let scene = play(&server, &["127.0.0.1"]).await;
    let troubles = [
        (Say::Code(ResponseCode::ServFail), "answers Server Failure"),
        (Say::Silent, "no resolver answers"),
        (Say::Code(ResponseCode::NXDomain), "it does not exist"),
        (Say::Code(ResponseCode::NoError), "it has no address"),
    ];
    for (trouble, why) in troubles {
        server.say(NAME, trouble);
        scene.wait_state("failing").await;
        scene
            .eventually("it is said why", async || {
                let name = scene.the_name().await;
                name["failure"].as_str().is_some_and(|failure| failure.contains(why))
            })
            .await;
        assert_eq!(scene.metric("tidegate_name_resolution_failed", &[("name", NAME)]).await, 1.0);
        scene.wait_up(&["127.0.0.1"]).await;
        assert_eq!(scene.visit().await.body, "main1");
        let said = text(&scene.cli(&["status"]).await.stdout);
        assert!(said.contains("NOT ANSWERED"), "{said}");
        server.name(NAME, &["127.0.0.1"]);
        scene.wait_state("resolved").await;
        assert_eq!(scene.metric("tidegate_name_resolution_failed", &[("name", NAME)]).await, 0.0);
    }
    server.say(NAME, Say::Code(ResponseCode::ServFail));
    scene.wait_told("unresolved", "its last good addresses stay: 127.0.0.1").await;
    server.name(NAME, &["127.0.0.1"]);
    scene.wait_told("resolved", "is resolved again").await;
    assert!(scene.history().await.iter().all(|entry| entry["kind"] == "start"), "nothing moved");
}

#[tokio::test]
async fn a_daemon_starts_without_a_resolver_and_serves_what_it_can() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &[]).await;
    server.say(NAME, Say::Silent);
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_active("dr").await;
    assert_eq!(scene.visit().await.body, "dr1");
    assert_eq!(scene.fitness("main").await, "unknown", "nothing is known against it");
    let name = scene.the_name().await;
    assert_eq!(
        (name["state"].as_str(), name["addresses"].as_array().map(Vec::len)),
        (Some("unresolved"), Some(0))
    );
    scene.wait_told("unresolved", "it stands for no origin until it is").await;
    let said = text(&scene.cli(&["status"]).await.stdout);
    assert!(said.contains(&format!("{NAME} is not resolved")), "{said}");
    // A reload does not wait for what is not answered.
    assert_eq!(scene.cli(&["reload"]).await.status.code(), Some(0));

    server.name(NAME, &["127.0.0.1"]);
    scene.wait_up(&["127.0.0.1"]).await;
    scene.wait_fitness("main", "fit").await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"), "an answer moves nothing");
    scene.post("switch", "{\"reason\": \"home\", \"to\": \"main\"}").await;
    assert_eq!(scene.visit().await.body, "main1");
}

#[tokio::test]
async fn a_restart_without_a_resolver_goes_on_with_the_last_good_addresses() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.2"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_up(&["127.0.0.2"]).await;
    server.name(NAME, &["127.0.0.1"]);
    scene.wait_up(&["127.0.0.1"]).await;
    scene.kill_daemon().await;
    server.say(NAME, Say::Silent);
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_up(&["127.0.0.1"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    assert_eq!(scene.visit().await.body, "main1");
    scene.wait_told("unresolved", "its addresses are those of an earlier run: 127.0.0.1").await;
    scene.wait_state("failing").await;
}

#[tokio::test]
async fn too_many_addresses_are_cut_and_it_is_said() {
    let server = NameServer::start().await;
    let many: Vec<_> = (0..65).map(|n| format!("127.0.7.{n}")).chain(["127.0.0.1".to_owned()]).collect();
    let scene = play(&server, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(scene.at_main().await.len(), 64);
    let name = scene.the_name().await;
    assert!(name["concerns"][0].as_str().is_some_and(|it| it.starts_with("it has 66 addresses")), "{name}");
    let said = text(&scene.cli(&["status"]).await.stdout);
    assert!(said.contains("it has 66 addresses; only the first 64"), "{said}");
    // In order of the addresses, whatever the order of the answer: the one that lives is among them.
    assert_eq!(scene.visit().await.body, "main1");
}

#[tokio::test]
async fn a_broken_configuration_does_not_stand_in_the_way_of_new_addresses() {
    let server = NameServer::start().await;
    let mut scene = play(&server, &["127.0.0.1"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    scene.write("tidegate.toml", "being edited");
    std::fs::remove_file(scene.path("scene.test.zone")).expect("it was there");
    server.name(NAME, &["127.0.0.2"]);
    scene.wait_up(&["127.0.0.2"]).await;
    assert_ne!(scene.cli(&["reload"]).await.status.code(), Some(0));
    assert_eq!(scene.visit().await.body, "main2");
    let (_, addresses) = scene.steered().await;
    assert_eq!(addresses, [scene.door("main")], "the zone is as it was read");
    scene.write("tidegate.toml", &config);
}

#[tokio::test]
async fn reloads_and_changes_of_addresses_do_not_disturb_each_other() {
    let server = NameServer::start().await;
    let mut scene = play(&server, &["127.0.0.1"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    let load = Load::start(scene.http, 2, &["GET"]);
    for round in 0..6 {
        server.name(NAME, if round % 2 == 0 { &["127.0.0.1", "127.0.0.2"] } else { &["127.0.0.2"] });
        scene.edit("hosts = [", &format!("hosts = [\"round{round}.scene.test\", "));
        for _ in 0..3 {
            let output = scene.cli(&["reload"]).await;
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }
    scene.wait_up(&["127.0.0.2"]).await;
    load.more(&scene, 50).await;
    let log = load.end().await;
    assert!(log.iter().all(crate::client::Entry::is_ok));
    // A name that comes with a reload is resolved before the reload is taken.
    let port = scene.origins["main1"].addr.port();
    server.name("more.scene", &["127.0.0.1"]);
    scene.edit(
        &format!("http://{NAME}:{port}\" }}"),
        &format!("http://{NAME}:{port}\" }}, {{ url = \"http://more.scene:{port}\" }}"),
    );
    assert_eq!(scene.cli(&["reload"]).await.status.code(), Some(0));
    assert_eq!(scene.at_main().await.len(), 2);
    scene.wait_up(&["127.0.0.1", "127.0.0.2"]).await;
    let asked = server.asked();
    scene.eventually("both are asked for", async || server.asked() > asked + 4).await;
    scene.edit(&format!(", {{ url = \"http://more.scene:{port}\" }}"), "");
    assert_eq!(scene.cli(&["reload"]).await.status.code(), Some(0));
    scene.wait_up(&["127.0.0.2"]).await;
    scene.eventually("the name is forgotten", async || !scene.metrics().await.contains("more.scene")).await;
}

#[tokio::test]
async fn a_new_address_of_a_drained_host_is_drained() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.1"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    let port = scene.origins["main1"].addr.port();
    scene.edit(&format!("{NAME}:{port}\""), &format!("{NAME}:{port}\", host = \"canterbury\""));
    scene.start_daemon().await;
    scene.wait_ready().await;
    let drain = ["drain", "host", "canterbury", "--reason", "new disks", "--override", "unfit"];
    assert_eq!(scene.cli(&drain).await.status.code(), Some(0));
    server.name(NAME, &["127.0.0.2"]);
    scene.wait_up(&["127.0.0.2"]).await;
    let origins = scene.at_main().await;
    assert_eq!(
        (origins[0]["force"].as_str(), origins[0]["effective"].as_str()),
        (Some("drain"), Some("down"))
    );
}

#[tokio::test]
async fn a_site_does_not_become_unfit_while_all_of_its_addresses_are_new() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.1"]).await;
    scene.neighbour("main2", "127.0.0.2").await;
    // Checks are so slow that the new address is unknown for a long time.
    scene.edit("interval = \"200ms\", fast_interval = \"50ms\"", "interval = \"2s\", fast_interval = \"2s\"");
    scene.start_daemon().await;
    scene.wait_ready().await;
    let load = Load::start(scene.http, 2, &["GET"]);
    server.name(NAME, &["127.0.0.2"]);
    scene.wait_up(&["127.0.0.2"]).await;
    load.more(&scene, 50).await;
    assert!(load.end().await.iter().all(crate::client::Entry::is_ok));
    let history = scene.history().await;
    assert!(history.iter().all(|entry| entry["kind"] == "start"), "{history:?}");
}

#[tokio::test]
async fn fewer_addresses_than_min_up_are_told_and_no_error() {
    let server = NameServer::start().await;
    let mut scene = set(&server, &["127.0.0.1"]).await;
    scene.edit("group = \"app\"\nprotocol", "group = \"app\"\nmin_up = 2\nprotocol");
    let port = scene.origins["dr1"].addr;
    scene.edit(
        &format!("origins.dr = [{{ url = \"http://{port}\" }}]"),
        &format!("origins.dr = [{{ url = \"http://{port}\" }}, {{ url = \"http://127.0.0.9:1\" }}]"),
    );
    scene.start_daemon().await;
    scene.wait_open().await;
    let name = scene.the_name().await;
    let concern = name["concerns"][0].as_str().expect("there is one");
    assert!(concern.contains("`min_up` of `web` is 2") && concern.contains("has only 1"), "{concern}");
    assert_eq!(scene.fitness("main").await, "unfit");
    scene.neighbour("main2", "127.0.0.2").await;
    server.name(NAME, &["127.0.0.1", "127.0.0.2"]);
    scene.wait_fitness("main", "fit").await;
    assert!(scene.the_name().await["concerns"].is_null());
}

#[tokio::test]
async fn the_file_of_hosts_is_asked_first_and_an_address_counts_once() {
    let server = NameServer::start().await;
    let scene = set(&server, &["127.0.0.1"]).await;
    let addr = scene.origins["main1"].addr;
    // Whatever the file says of it beside: localhost is 127.0.0.1.
    let both = format!("http://localhost:{}\" }}, {{ url = \"http://{addr}", addr.port());
    scene.edit(&format!("http://{NAME}:{}", addr.port()), &both);
    let mut scene = scene;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert_eq!(server.asked(), 0, "nobody is asked for it");
    let name = scene.the_name().await;
    assert_eq!(
        (name["name"].as_str(), name["addresses"][0].as_str()),
        (Some("localhost"), Some("127.0.0.1"))
    );
    let concern = format!("{addr} is an origin of `web` at `main` already");
    assert!(name["concerns"].to_string().contains(&concern), "{name}");
    let origins = scene.at_main().await;
    let own: Vec<_> = origins.iter().filter(|it| it["name"] == format!("web/main/{addr}")).collect();
    assert_eq!(own.len(), 1, "{origins:?}");
}

#[tokio::test]
async fn check_asks_nobody_and_warns_of_what_a_name_depends_on() {
    let server = NameServer::start().await;
    let scene = set(&server, &["127.0.0.1"]).await;
    let output = scene.cli(&["check", "--config", &scene.path("tidegate.toml").display().to_string()]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is a name") && said.contains("or give addresses"), "{said}");
    assert_eq!(server.asked(), 0);
}
