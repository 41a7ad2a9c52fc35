//! Every kind of check through the real daemon: what it says moves the group, and what it says can be read.

mod servers;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::scene::{Scene, Script};
use servers::{Certificates, GrpcServer, NameServer};

/// How often a check that is fast is made; it goes with every kind that asks.
const FAST: &str = "interval = \"200ms\", fast_interval = \"50ms\", timeout = \"10s\", fall = 2, rise = 1";

/// A scene whose group needs another service, `db`, beside the web: at each site one origin, checked like this.
async fn scene(check: &str, main: SocketAddr, dr: SocketAddr) -> Scene {
    let scene = Scene::set(Script { sites: vec![("main", 1), ("dr", 1)], ..Script::default() }).await;
    scene.edit(
        "[node]",
        &format!(
            "[service.db]\ngroup = \"app\"\nprotocol = \"tcp\"\ncheck = {{ {check} }}\norigins.main = [{{ url = \
             \"tcp://{main}\", host = \"canterbury\" }}]\norigins.dr = [{{ url = \"tcp://{dr}\" }}]\n[node]"
        ),
    );
    scene
}

async fn play(check: &str, main: SocketAddr, dr: SocketAddr) -> Scene {
    let mut scene = scene(check, main, dr).await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_active("main").await;
    scene
}

/// The latest failure of an origin, as the status tells it.
async fn failure(scene: &Scene, origin: &str) -> Option<String> {
    let (_, status) = scene.get("/api/v1/status").await.expect("the admin listener answers");
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    let mut rest = vec![&status];
    // Wherever the status has its origins.
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(map) if map.get("name").and_then(Value::as_str) == Some(origin) => {
                return map.get("failure").and_then(Value::as_str).map(str::to_owned);
            }
            Value::Object(map) => rest.extend(map.values()),
            Value::Array(list) => rest.extend(list),
            _ => {}
        }
    }
    panic!("no origin {origin} in {status:#}");
}

async fn wait_failure(scene: &Scene, origin: &str, text: &str) {
    scene
        .eventually(&format!("{origin} fails with `{text}`"), async || {
            failure(scene, origin).await.is_some_and(|failure| failure.contains(text))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_service_that_no_longer_serves_moves_the_group() {
    let (main, dr) = (GrpcServer::start().await, GrpcServer::start().await);
    let check = format!("kind = \"grpc\", grpc_service = \"db.Main\", {FAST}");
    let scene = play(&check, main.addr, dr.addr).await;
    main.serve(2);
    scene.wait_active("dr").await;
    wait_failure(&scene, &format!("db/main/{}", main.addr), "gRPC health NOT_SERVING").await;
    assert!(main.was_asked_for("db.Main"));
    assert!(
        scene.metric("tidegate_probes_total", &[("service", "db"), ("outcome", "not-serving")]).await >= 2.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_refuses_moves_the_group() {
    let (main, dr) = (NameServer::start().await, NameServer::start().await);
    let check = format!(
        "kind = \"dns\", query = \"app.example\", query_type = \"A\", expect_answer = \"192.0.2.7\", {FAST}"
    );
    let scene = play(&check, main.addr, dr.addr).await;
    main.answer(5);
    scene.wait_active("dr").await;
    wait_failure(&scene, &format!("db/main/{}", main.addr), "DNS says REFUSED, wanted NOERROR").await;
    // A reload makes it another check, over TCP.
    scene.edit("query_type = \"A\"", "query_type = \"A\", transport = \"tcp\"");
    main.answer(0);
    scene.json(&["reload"]).await;
    scene.wait_fitness("main", "fit").await;
    scene.eventually("it asks over TCP", async || main.was_asked_over_tcp()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_soon_warns_then_fails_and_its_end_is_a_metric() {
    let certificates = Certificates::new();
    let (main, dr) = (certificates.serve(40).await, certificates.serve(400).await);
    let mut scene = scene(
        &format!(
            "kind = \"tls\", tls = {{ verify = {{ ca = \"ca.pem\" }}, server_name = \"db.example\" }}, expiry_fail = \
             \"7d\", {FAST}"
        ),
        main.addr,
        dr.addr,
    )
    .await;
    scene.write("ca.pem", &certificates.pem());
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_active("main").await;
    let origin = format!("db/main/{}", main.addr);
    let labels = [("service", "db"), ("site", "main"), ("origin", origin.as_str())];
    let expires = "tidegate_origin_certificate_expires_timestamp_seconds";
    assert_eq!(scene.metric(expires, &labels).await as i64, main.end());
    assert_eq!(scene.metric("tidegate_origin_check_warns", &labels).await, 0.0);
    main.show(14);
    scene.wait_log("a check warns: the origin's certificate ends in 14 days").await;
    scene
        .eventually("the metrics tell", async || {
            scene.metric("tidegate_origin_check_warns", &labels).await == 1.0
                && scene.metric(expires, &labels).await as i64 == main.end()
        })
        .await;
    assert_eq!(scene.active().await.as_deref(), Some("main"), "a warning moves nothing");
    main.show(3);
    scene.wait_active("dr").await;
    wait_failure(&scene, &origin, "the certificate ends in 3 days, wanted at least 7").await;
}

/// A check that does what the scene's folder tells it, and writes down how it was called.
const CHECK: &str = "#!/bin/sh
cd FOLDER || exit 3
env | sort >\"$TIDEGATE_SITE.env.new\" && mv \"$TIDEGATE_SITE.env.new\" \"$TIDEGATE_SITE.env\"
for fd in /proc/$$/fd/*; do readlink \"$fd\"; done >\"$TIDEGATE_SITE.fds\"
read -r code text <\"$TIDEGATE_SITE.says\"
[ \"$code\" = hang ] && { trap '' TERM; echo $$ >hanging; sleep 3600; }
echo \"$text\"
exit \"$code\"
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_programs_exit_code_moves_the_group_and_a_program_that_hangs_is_killed() {
    let addresses = [([127, 0, 0, 1], 5432).into(), ([127, 0, 0, 1], 5433).into()];
    let mut scene = scene("CHECK", addresses[0], addresses[1]).await;
    let program = scene.path("check-db");
    scene.write("check-db", &CHECK.replace("FOLDER", &scene.path("").display().to_string()));
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it can be made executable");
    scene.edit(
        "CHECK",
        &format!("kind = \"command\", command = [\"{}\", \"x y\"], {FAST}", program.display()),
    );
    scene.write("main.says", "1 DISK WARNING\n");
    scene.write("dr.says", "0 OK\n");
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.wait_active("main").await;
    scene.wait_log("a check warns: DISK WARNING").await;
    let environment = std::fs::read_to_string(scene.path("main.env")).expect("the program ran");
    for line in [
        "TIDEGATE_ADDRESS=127.0.0.1:5432",
        "TIDEGATE_GROUP=app",
        "TIDEGATE_HOST=canterbury",
        "TIDEGATE_IP=127.0.0.1",
        "TIDEGATE_ORIGIN=db/main/127.0.0.1:5432",
        "TIDEGATE_PORT=5432",
        "TIDEGATE_SERVICE=db",
        "TIDEGATE_SITE=main",
    ] {
        assert!(environment.lines().any(|it| it == line), "{line} is not in\n{environment}");
    }
    let open = std::fs::read_to_string(scene.path("main.fds")).expect("the program ran");
    assert!(!open.contains("socket:"), "nothing of ours is inherited:\n{open}");

    // Unknown decides nothing; a failure moves the group.
    scene.write("main.says", "3 no such disk\n");
    scene.wait_log("exit code 3: no such disk").await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    scene.write("main.says", "2 DISK CRITICAL\n");
    scene.wait_active("dr").await;
    wait_failure(&scene, "db/main/127.0.0.1:5432", "the check's program says: DISK CRITICAL").await;

    // One that hangs is killed with what it started.
    scene.edit("timeout = \"10s\"", "timeout = \"2s\"");
    scene.write("main.says", "hang\n");
    scene.json(&["reload"]).await;
    wait_failure(&scene, "db/main/127.0.0.1:5432", "timed out after 2s while the check's program ran").await;
    scene.write("main.says", "0 OK\n");
    scene.wait_fitness("main", "fit").await;
    let hanging = std::fs::read_to_string(scene.path("hanging")).expect("it hung");
    let process = format!("/proc/{}/status", hanging.trim());
    scene.eventually("the program is gone", async || std::fs::metadata(&process).is_err()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_of_a_program_that_is_missing() {
    let addr = ([127, 0, 0, 1], 5432).into();
    let scene =
        scene("kind = \"command\", command = [\"/nowhere/check-db\"]", addr, ([127, 0, 0, 1], 5433).into())
            .await;
    let config = scene.path("tidegate.toml").display().to_string();
    let checked = scene.json(&["check", "--config", &config]).await;
    let findings = checked["findings"].as_array().expect("findings");
    let found =
        findings.iter().find(|it| it["message"].as_str().is_some_and(|it| it.contains("/nowhere/check-db")));
    let found = found.unwrap_or_else(|| panic!("no warning of the program in {checked:#}"));
    assert_eq!(
        (&found["severity"], &found["key"]),
        (&json!("warning"), &json!("service.db.check.command[0]"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_and_their_silence_move_the_group() {
    let (main, dr) = ("db/main/127.0.0.1:5432", "db/dr/127.0.0.1:5433");
    let mut scene = scene(
        "kind = \"push\", dead_man = \"3s\", fall = 2, rise = 1",
        ([127, 0, 0, 1], 5432).into(),
        ([127, 0, 0, 1], 5433).into(),
    )
    .await;
    scene.start_daemon().await;
    scene.eventually("the API answers", async || scene.socket().exists()).await;
    let say = async |observations: Value| {
        let body = json!({ "observations": observations }).to_string();
        let (code, text) = scene.api("POST", "/api/v1/observations", &body).await;
        (code, serde_json::from_str::<Value>(&text).unwrap_or_else(|_| panic!("{text}")))
    };
    let pass = |origin: &str| json!({ "origin": origin, "result": "pass" });
    let fail = |origin: &str| json!({ "origin": origin, "result": "fail", "reason": "replica stopped\n" });
    assert_eq!(say(json!([pass(main), pass(dr)])).await, (200, json!({ "taken": 2 })));
    scene.wait_ready().await;
    scene.wait_active("main").await;

    // What cannot be taken is refused as a whole, with a reason.
    let (code, told) = say(json!([fail(main), fail(main), pass("db/main/127.0.0.1:1")])).await;
    assert_eq!((code, &told["label"]), (404, &json!("no-such-origin")), "{told:#}");
    let web = format!("web/main/{}", scene.origins["main1"].addr);
    let (code, told) = say(json!([pass(&web)])).await;
    assert_eq!((code, &told["label"]), (409, &json!("not-pushed")), "{told:#}");
    let many: Vec<_> = (0..30).map(|_| pass(dr)).collect();
    let (code, told) = say(json!(many)).await;
    assert_eq!((code, &told["label"]), (429, &json!("too-many")), "{told:#}");
    let more: Vec<_> = (0..101).map(|_| pass(dr)).collect();
    for wrong in [json!([]), json!(more), json!([{ "origin": main, "result": "maybe" }])] {
        assert_eq!(say(wrong).await.0, 400);
    }

    // Two reports of failure are a failure; the standby goes on being reported.
    let reports = async || {
        say(json!([fail(main), pass(dr)])).await;
        scene.active().await.as_deref() == Some("dr")
    };
    scene.eventually("the group moves", reports).await;
    wait_failure(&scene, main, "reported: replica stopped").await;
    // Then nobody says anything any more.
    wait_failure(&scene, dr, "no report for 3s").await;
}
