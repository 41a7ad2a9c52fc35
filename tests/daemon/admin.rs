//! Who may do what: the control socket and the admin listener.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::scene::{Scene, Script, text, tidegate};

const VERBS: [&str; 6] = ["switch", "failback", "ack", "freeze", "unfreeze", "confirm"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_shows_the_state_and_changes_nothing() {
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let before = scene.json(&["status"]).await["groups"][0]["durable"].clone();
    let body = json!({ "to": "dr", "reason": "from afar" }).to_string();
    for verb in VERBS {
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
            let answer = scene.admin(method, &format!("/api/v1/groups/app/{verb}"), &body).await;
            assert!([404, 405].contains(&answer.code), "{method} {verb}: {}", answer.head);
        }
    }
    for path in ["/api/v1/status", "/metrics", "/healthz", "/readyz"] {
        let answer = scene.admin("POST", path, &body).await;
        assert_eq!(answer.code, 405, "{path}: {}", answer.head);
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert!(told["next"].as_str().is_some_and(|next| next.contains("Unix socket")), "{told}");
    }
    assert_eq!(scene.json(&["status"]).await["groups"][0]["durable"], before);
    assert_eq!(scene.history().await.len(), 1, "there is the start, and no trace of those calls");

    let metrics = scene.admin("GET", "/metrics", "").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.body.contains("tidegate_build_info{"));
    assert_eq!(scene.get("/healthz").await, Some((200, "ok\n".into())));
    assert_eq!(scene.get("/readyz").await, Some((200, "ready\n".into())));
    let read = async |path: &str| -> Value {
        let answer = scene.admin("GET", path, "").await;
        assert_eq!((answer.code, answer.header("content-type")), (200, Some("application/json")), "{path}");
        serde_json::from_str(&answer.body).expect("JSON")
    };
    assert_eq!(read("/api/v1/status").await["groups"][0]["active"], "main");
    // Who did what and why is told to those who may do it.
    for path in ["/api/v1/groups/app/explain", "/api/v1/history"] {
        assert_eq!(scene.admin("GET", path, "").await.code, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_socket_is_its_owners_alone() {
    let scene = Scene::play(Script::default()).await;
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(scene.socket()), 0o600);
    assert_eq!(mode(&scene.path("state")), 0o750);
    // Reasons and names of people are nobody else's business.
    assert_eq!(mode(&scene.path("state").join("tidegate.redb")), 0o600);
}

/// Who is neither root nor the daemon's user may look, where the file's mode lets them, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_look_but_not_steer() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: there is no second account to call from, so nothing was tested");
        return;
    }
    let scene = Scene::play(Script::default()).await;
    scene.wait_fitness("dr", "fit").await;
    let socket = scene.socket().to_owned();
    for (path, mode) in [(scene.path(""), 0o755), (scene.path("state"), 0o755), (socket, 0o666)] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("root may");
    }
    let call = async |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(tidegate());
        command.args(arguments).env("TIDEGATE_SOCKET", scene.socket()).env("SUDO_USER", "root");
        command.output().await.expect("setpriv (package util-linux) runs")
    };
    for arguments in [&["status", "--json"][..], &["explain", "app", "--json"], &["history", "--json"]] {
        let output = call(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON");
    }
    for arguments in [
        &["switch", "app", "dr"][..],
        &["failback", "app"],
        &["ack", "app"],
        &["freeze", "app"],
        &["unfreeze", "app"],
        &["confirm", "app"],
    ] {
        let output = call(&[arguments, &["--reason", "mischief", "--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let refusal: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(refusal["label"], "forbidden", "{refusal}");
        assert!(refusal["message"].as_str().is_some_and(|text| text.contains("may look")), "{refusal}");
        assert!(refusal["next"].as_str().is_some_and(|text| text.contains("root")), "{refusal}");
    }
    assert_eq!(scene.history().await.len(), 1, "nothing was done");
    assert_eq!(scene.active().await.as_deref(), Some("main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_call_is_told_what_is_wrong_and_what_to_do() {
    let scene = Scene::play(Script::default()).await;
    let long = "x".repeat(501);
    let bodies = [
        ("switch", json!({ "to": "dr" }), 400, "bad-request"),
        ("switch", json!({ "reason": "where to?" }), 400, "bad-request"),
        ("switch", json!({ "to": "nowhere", "reason": "why" }), 404, "no-such-site"),
        ("switch", json!({ "to": "dr", "reason": "" }), 400, "bad-request"),
        ("switch", json!({ "to": "dr", "reason": " \t\n" }), 400, "bad-request"),
        ("switch", json!({ "to": "dr", "reason": long }), 400, "bad-request"),
        ("switch", json!({ "to": "dr", "reason": 1 }), 400, "bad-request"),
        ("switch", json!({ "to": "dr", "reason": "why", "force": true }), 400, "bad-request"),
        ("switch", json!({ "to": "dr", "reason": "why", "overrides": ["every rule"] }), 400, "bad-request"),
        ("freeze", json!({ "to": "dr", "reason": "why" }), 400, "bad-request"),
        ("freeze", json!({ "reason": "why", "actor": "" }), 400, "bad-request"),
        ("freeze", json!({ "reason": "why", "actor": "a\u{1b}[2J" }), 400, "bad-request"),
        ("freeze", json!({ "reason": "why", "actor": "x".repeat(65) }), 400, "bad-request"),
        ("explode", json!({ "reason": "why" }), 404, "not-found"),
        ("confirm", json!({ "reason": "why" }), 409, "nothing-proposed"),
        ("freeze", json!([]), 400, "bad-request"),
    ];
    let bodies = bodies.map(|(verb, body, code, label)| {
        ("POST", format!("/api/v1/groups/app/{verb}"), body.to_string(), code, label)
    });
    let calls = [
        ("POST", "/api/v1/groups/app/freeze", "reason=why", 400, "bad-request"),
        ("POST", "/api/v1/groups/app/freeze", "", 400, "bad-request"),
        ("POST", "/api/v1/groups/nobody/freeze", r#"{"reason":"why"}"#, 404, "no-such-group"),
        ("POST", "/api/v1/groups/%ff/freeze", r#"{"reason":"why"}"#, 400, "bad-request"),
        ("GET", "/api/v1/groups/nobody/explain", "", 404, "no-such-group"),
        ("GET", "/api/v1/groups/%ff/explain", "", 400, "bad-request"),
        ("GET", "/api/v1/history?limit=many", "", 400, "bad-request"),
        ("GET", "/api/v1/history?limit=70000", "", 400, "bad-request"),
        ("GET", "/api/v1/history?group=nobody", "", 404, "no-such-group"),
        ("GET", "/api/v1/history?colour=red", "", 400, "bad-request"),
        ("GET", "/api/v1/groups/app/freeze", "", 405, "method"),
        ("DELETE", "/api/v1/status", "", 405, "method"),
        ("GET", "/api/v2/status", "", 404, "not-found"),
    ];
    let calls =
        calls.map(|(method, path, body, code, label)| (method, path.into(), body.into(), code, label));
    for (method, path, body, code, label) in bodies.into_iter().chain(calls) {
        let (got, text) = scene.api(method, &path, &body).await;
        let what = format!("{method} {path} {body}: {got} {text}");
        let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {what}"));
        assert_eq!((got, told["label"].as_str()), (code, Some(label)), "{what}");
        for part in ["message", "next"] {
            assert!(told[part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {what}");
        }
    }
    scene.eventually("the refusal is on record", async || scene.history().await.len() > 1).await;
    let history = scene.history().await;
    let kinds: Vec<_> = history.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["refused", "start"], "only what the core refused is on record");

    // Just inside the limits.
    let body = json!({ "reason": "é".repeat(500), "actor": "é".repeat(64) }).to_string();
    let (code, text) = scene.api("POST", "/api/v1/groups/app/freeze", &body).await;
    assert_eq!(code, 200, "{text}");
}
