//! Gates, through the real daemon: programs, URLs and values that are sent, what they bar, and what overrides them.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::{Scene, Script, text};

/// A gate at the DR site whose program does what a file of the scene says.
const COMMAND: &str = r#"stateless = true
failover_after = "0s"
[group.app.gate.replica]
command = ["/bin/sh", "FOLDER/gate.sh"]
sites = ["dr"]
interval = "100ms"
timeout = "10s"
max_age = "30s"
"#;

impl Scene {
    /// A scene whose group has `FOLDER` for its own folder, with a program `gate.sh`.
    async fn gated(group: &'static str, program: &str) -> Self {
        let sites = vec![("main", 1), ("dr", 1)];
        let mut scene = Self::set(Script { group, sites, ..Script::default() }).await;
        if group.contains("FOLDER") {
            scene.edit("FOLDER", &scene.path("").display().to_string());
        }
        scene.program(program);
        scene.start_daemon().await;
        scene.wait_ready().await;
        scene
    }

    /// From now on the gate's program does this. A running one finishes what it has read.
    fn program(&self, text: &str) {
        self.write("new.sh", text);
        std::fs::rename(self.path("new.sh"), self.path("gate.sh")).expect("it can be renamed");
    }

    async fn site(&self, name: &str) -> Value {
        let status = self.json(&["status"]).await;
        let sites = status["groups"][0]["sites"].as_array().expect("a list").clone();
        sites.into_iter().find(|site| site["name"] == name).expect("the scene has this site")
    }

    /// Waits until a gate of the DR site says this.
    async fn wait_gate(&self, gate: &str, verdict: &str) {
        self.eventually(&format!("gate {gate} says {verdict}"), async || {
            let site = self.site("dr").await;
            let gates = site["gates"].as_array().expect("the site has gates").clone();
            gates.iter().any(|it| it["name"] == gate && it["verdict"] == verdict)
        })
        .await;
    }

    /// A switch that has to be refused; everything that was said.
    async fn refused_switch(&self, arguments: &[&str]) -> String {
        let output = self.cli(&[&["switch", "app"][..], arguments, &["--reason", "test"]].concat()).await;
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Sends something of a gate; the status and the answer.
    async fn push(&self, gate: &str, body: &str) -> (u16, Value) {
        let (code, answer) = self.api("POST", &format!("/api/v1/groups/app/gates/{gate}"), body).await;
        (code, serde_json::from_str(&answer).expect("the API answers in JSON"))
    }
}

#[tokio::test]
async fn a_command_gate_that_fails_bars_the_switch_and_is_overridden_by_its_name_on_record() {
    let program = "env > FOLDER/env; echo 'no replication'; exit 1\n";
    let scene = Scene::gated(COMMAND, "exit 0\n").await;
    scene.wait_gate("replica", "pass").await;
    scene.program(&program.replace("FOLDER", &scene.path("").display().to_string()));
    scene.wait_gate("replica", "fail").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `replica` fails (exit code 1: no replication)"), "{said}");
    assert!(said.contains("tidegate switch app dr --override gate --reason WHY"), "{said}");
    scene.refused_switch(&["dr", "--override", "unfit"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"));
    let status = text(&scene.cli(&["status"]).await.stdout);
    assert!(status.contains("gate replica fail: exit code 1: no replication"), "{status}");

    let env = std::fs::read_to_string(scene.path("env")).expect("the program has written it");
    for wanted in ["TIDEGATE_GROUP=app", "TIDEGATE_SITE=dr", "TIDEGATE_GATE=replica", "TIDEGATE_ACTIVE=main"]
    {
        assert!(env.lines().any(|line| line == wanted), "{wanted} is missing:\n{env}");
    }
    let failing = [("gate", "replica"), ("site", "dr")];
    scene
        .eventually("the gate is counted", async || {
            scene.metric("tidegate_gate_standby_failing", &failing).await == 1.0
                && scene.metric("tidegate_gate", &[("verdict", "fail"), ("site", "dr")]).await == 1.0
        })
        .await;

    scene.json(&["switch", "app", "dr", "--override", "gate", "--reason", "we know"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("dr"));
    let history = scene.history().await;
    let switchover = history.iter().find(|event| event["kind"] == "switchover").expect("recorded");
    assert_eq!(switchover["overrides"], serde_json::json!(["gate"]));
    assert_eq!(switchover["reason"], "we know");
    scene
        .eventually("a gate bars nothing at the active site", async || {
            scene.metric("tidegate_gate_standby_failing", &failing).await == 0.0
        })
        .await;
}

#[tokio::test]
async fn a_gate_whose_program_hangs_is_unknown_and_the_program_is_gone() {
    let group = COMMAND.replace("timeout = \"10s\"", "timeout = \"300ms\"");
    let scene = Scene::gated(Box::leak(group.into_boxed_str()), "exit 0\n").await;
    scene.wait_gate("replica", "pass").await;
    let pid = scene.path("pid");
    scene.program(&format!("echo $$ > {}; sleep 1000\n", pid.display()));
    scene.wait_gate("replica", "unknown").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `replica` is unknown (its program took longer than 300 ms)"), "{said}");
    scene.program("exit 0\n");
    scene.wait_gate("replica", "pass").await;
    let pid = std::fs::read_to_string(pid).expect("the program has written it").trim().to_owned();
    scene
        .eventually("the program is gone", async || !std::path::Path::new(&format!("/proc/{pid}")).exists())
        .await;
    scene.json(&["switch", "app", "dr", "--reason", "ready"]).await;
}

#[tokio::test]
async fn a_failover_goes_by_the_last_lag_before_the_loss_and_a_failing_standby_is_no_target() {
    let group = COMMAND.replace("sites = [\"dr\"]", "sites = [\"dr\"]\nmax_lag = \"5s\"");
    let group = group.replace("failover_after = \"0s\"", "failover_after = \"3s\"");
    let mut scene = Scene::gated(Box::leak(group.into_boxed_str()), "echo 12\n").await;
    scene.wait_gate("replica", "fail").await;
    assert_eq!(scene.site("dr").await["gates"][0]["why"], "12 s, wanted: at most 5 s");
    scene.kill("main1").await;
    scene.eventually("it is told", async || scene.stops().await == ["gate-failed"]).await;
    assert_eq!(scene.active().await.as_deref(), Some("main"), "too far behind");
    scene.start_origin("main1").await;
    scene.wait_fitness("main", "fit").await;

    scene.program("echo 0.5\n");
    scene.wait_gate("replica", "pass").await;
    scene.kill("main1").await;
    scene
        .eventually("main is lost", async || {
            scene.metric("tidegate_group_active_site_unfit", &[]).await == 1.0
        })
        .await;
    // Further and further behind, as a replica without its primary is.
    scene.program("echo 60\n");
    scene
        .eventually("it counts by its last sample", async || {
            let why = scene.site("dr").await["gates"][0]["why"].as_str().unwrap_or_default().to_owned();
            why == "by its last sample before the loss: 0.5 s, wanted: at most 5 s"
        })
        .await;
    scene.wait_active("dr").await;
}

/// Gates whose values are sent: a verdict with a short time to live, and a lag.
const PUSHED: &str = r#"stateless = true
failover_after = "0s"
[group.app.gate.capacity]
push = true
sites = ["dr"]
max_age = "3s"
[group.app.gate.lag]
push = true
sites = ["dr"]
max_lag = "5s"
max_age = "10m"
[group.app.gate.other]
command = ["/bin/true"]
sites = ["main"]
"#;

#[tokio::test]
async fn a_value_that_is_sent_counts_until_the_dead_man_time_is_over() {
    let scene = Scene::gated(PUSHED, "").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `capacity` is unknown (it has not been measured yet)"), "{said}");
    assert!(said.contains("gate `lag` is unknown"), "{said}");
    let lag = |value| {
        scene.push("lag", Box::leak(format!(r#"{{"site": "dr", "value": {value}}}"#).into_boxed_str()))
    };
    let (code, answer) = lag("5.5").await;
    assert_eq!(
        (code, &answer["verdict"], &answer["why"]),
        (200, &"fail".into(), &"5.5 s, wanted: at most 5 s".into())
    );
    assert_eq!(lag("5").await.1["verdict"], "pass");
    assert_eq!(lag("-1").await.1["verdict"], "unknown", "a negative lag is none that anybody measured");
    assert_eq!(lag("0.25").await.1["verdict"], "pass");
    let (code, answer) =
        scene.push("capacity", r#"{"site": "dr", "verdict": "fail", "detail": "2 of 8"}"#).await;
    assert_eq!((code, &answer["verdict"], &answer["why"]), (200, &"fail".into(), &"2 of 8".into()));
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `capacity` fails (2 of 8)"), "{said}");

    assert_eq!(scene.push("capacity", r#"{"site": "dr", "verdict": "pass"}"#).await.1["verdict"], "pass");
    scene.json(&["switch", "app", "dr", "--reason", "ready"]).await;
    scene.json(&["failback", "app", "--reason", "and back"]).await;
    // Nobody sends anything any more.
    scene.wait_gate("capacity", "unknown").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `capacity` is unknown (no measurement began in the last 3 s)"), "{said}");
    assert!(!said.contains("`lag`"), "its time is not over: {said}");
    let history = scene.json(&["history", "app", "--kind", "gate", "-n", "100"]).await;
    let told = history.as_array().expect("a list").iter().any(|event| {
        event["gate"] == "capacity"
            && event["reason"].as_str().is_some_and(|reason| reason.contains("last 3 s"))
    });
    assert!(told, "{history:?}");
}

#[tokio::test]
async fn what_is_no_value_of_a_gate_is_refused_with_the_next_step() {
    let scene = Scene::gated(PUSHED, "").await;
    let table = [
        ("nothing", r#"{"site": "dr", "value": 1}"#, 404, "no-such-gate", "capacity, lag, other"),
        ("lag", r#"{"site": "main", "value": 1}"#, 404, "no-such-site", "its sites are dr"),
        ("lag", r#"{"site": "dr", "verdict": "pass"}"#, 400, "bad-request", "wants a value"),
        ("capacity", r#"{"site": "dr", "value": 1}"#, 400, "bad-request", "wants a verdict"),
        ("capacity", r#"{"site": "dr", "verdict": "unknown"}"#, 400, "bad-request", "pass"),
        ("lag", r#"{"site": "dr"}"#, 400, "bad-request", "exactly one of"),
        ("lag", r#"{"site": "dr", "value": 1, "verdict": "pass"}"#, 400, "bad-request", "exactly one of"),
        ("lag", r#"{"site": "dr", "value": [1]}"#, 400, "bad-request", "send JSON"),
        ("lag", r#"{"site": "dr", "value": 1, "colour": 2}"#, 400, "bad-request", "colour"),
        ("lag", r#"{"site": "dr", "value": 1, "detail": "a\nb"}"#, 400, "bad-request", "detail"),
        ("other", r#"{"site": "main", "verdict": "pass"}"#, 409, "not-pushed", "push = true"),
    ];
    for (gate, body, code, label, told) in table {
        let (got, answer) = scene.push(gate, body).await;
        assert_eq!((got, &answer["label"]), (code, &label.into()), "{gate} {body}: {answer}");
        assert!(answer.to_string().contains(told), "{gate} {body}: {answer}");
    }
    // Nobody who is not known may send anything.
    let answer = scene.admin("POST", "/api/v1/groups/app/gates/lag", r#"{"site": "dr", "value": 1}"#).await;
    assert!([401, 403, 404, 405].contains(&answer.code), "{}", answer.code);
    assert_eq!(scene.site("dr").await["gates"][1]["verdict"], "unknown");
}

/// An HTTP server that answers every request with what it is told.
async fn serve(answer: Arc<Mutex<(u16, String)>>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (status, body) = answer.lock().expect("nothing panics with it").clone();
            let mut request = [0; 4096];
            // A gate that went away needs no answer.
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn an_http_gate_compares_the_value_where_its_pointer_leads() {
    const GROUP: &str = r#"stateless = true
failover_after = "0s"
[group.app.gate.role]
http = { dr = "http://ADDRESS/patroni" }
value = "/members/0/role"
equals = "replica"
interval = "100ms"
timeout = "5s"
max_age = "30s"
[group.app.gate.alive]
http = { dr = "http://ADDRESS/health" }
interval = "100ms"
timeout = "5s"
max_age = "30s"
"#;
    let answer = Arc::new(Mutex::new((200, r#"{"members": [{"role": "replica"}]}"#.to_owned())));
    let address = serve(answer.clone()).await;
    let sites = vec![("main", 1), ("dr", 1)];
    let mut scene = Scene::set(Script { group: GROUP, sites, ..Script::default() }).await;
    scene.edit("ADDRESS", &address.to_string());
    scene.start_daemon().await;
    scene.wait_ready().await;
    let say =
        |status, body: &str| *answer.lock().expect("nothing panics with it") = (status, body.to_owned());
    scene.wait_gate("role", "pass").await;
    scene.wait_gate("alive", "pass").await;
    say(200, r#"{"members": [{"role": "starting"}]}"#);
    scene.wait_gate("role", "fail").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("gate `role` fails (`starting`, wanted: `replica`)"), "{said}");
    say(200, r#"{"members": []}"#);
    scene.wait_gate("role", "unknown").await;
    let said = scene.refused_switch(&["dr"]).await;
    assert!(said.contains("the answer has nothing at `/members/0/role`"), "{said}");
    say(503, "");
    scene.wait_gate("alive", "fail").await;
    say(200, r#"{"members": [{"role": "replica"}]}"#);
    scene.wait_gate("role", "pass").await;
    scene.wait_gate("alive", "pass").await;
    scene.json(&["switch", "app", "dr", "--reason", "ready"]).await;
}

#[tokio::test]
async fn only_a_resynced_gate_clears_the_diverged_mark_and_it_outlives_a_restart() {
    const GROUP: &str = r#"[group.app.gate.whole]
command = ["/bin/sh", "FOLDER/gate.sh"]
sites = ["main"]
resynced = true
interval = "100ms"
timeout = "10s"
max_age = "30s"
"#;
    let sites = vec![("main", 1), ("dr", 1)];
    let mut scene = Scene::set(Script { group: GROUP, sites, ..Script::default() }).await;
    scene.edit("FOLDER", &scene.path("").display().to_string());
    scene.program("exit 1\n");
    scene.start_daemon().await;
    scene.wait_open().await;
    scene.wait_fitness("main", "fit").await;
    scene.wait_fitness("dr", "fit").await;
    scene.json(&["switch", "app", "main", "--reason", "here it lives"]).await;
    scene.json(&["switch", "app", "dr", "--override", "no-fence", "--reason", "drill"]).await;
    let diverged = async |scene: &Scene| {
        let status = scene.json(&["status"]).await;
        status["groups"][0]["durable"]["diverged"].as_array().is_some_and(|marks| !marks.is_empty())
    };
    assert!(diverged(&scene).await);
    scene.json(&["ack", "app", "--reason", "seen"]).await;
    assert!(diverged(&scene).await, "an acknowledgement does not clear it");
    let explained = text(&scene.cli(&["explain", "app"]).await.stdout);
    assert!(explained.contains("before gate `whole` passes there"), "{explained}");
    scene.kill_daemon().await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    assert!(diverged(&scene).await, "a restart does not clear it");

    scene.program("exit 0\n");
    scene.eventually("the mark is cleared", async || !diverged(&scene).await).await;
    let history = scene.history().await;
    let resynced = history.iter().find(|event| event["kind"] == "resynced").expect("recorded");
    assert_eq!(resynced["actor"], "tidegate");
    scene.json(&["failback", "app", "--override", "no-fence", "--reason", "home"]).await;
}

#[tokio::test]
async fn a_reload_takes_another_gate_over_at_once_and_forgets_what_the_old_one_said() {
    let scene = Scene::gated(COMMAND, "exit 0\n").await;
    scene.wait_gate("replica", "pass").await;
    scene.edit("/gate.sh\"]", "/other.sh\"]");
    scene.write("other.sh", "exit 2\n");
    scene.json(&["reload"]).await;
    // Whatever the old program said says nothing of the new one.
    let verdict = scene.site("dr").await["gates"][0]["verdict"].as_str().map(str::to_owned);
    assert_ne!(verdict.as_deref(), Some("pass"));
    scene.wait_gate("replica", "fail").await;
    scene.edit("[group.app.gate.replica]", "[group.app.gate.lag]");
    scene.json(&["reload"]).await;
    scene.wait_gate("lag", "fail").await;
    assert_eq!(scene.metric("tidegate_gate", &[("gate", "replica")]).await, 0.0, "its series are gone");
    assert!(!scene.metrics().await.contains("gate=\"replica\""));
}
