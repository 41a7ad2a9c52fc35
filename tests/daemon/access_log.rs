//! The access log as an operator reads it, and what a disk that fails does to requests: nothing.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{exchange, request};
use crate::disk::Disk;
use crate::scene::{FAST_CHECK, HOST, Scene, Script};

const LOG: &str = "access_log = \"access.log\"\n";

/// One main site and another, one origin each; requests that are safe may spill.
fn script() -> Script {
    Script {
        sites: vec![("main", 1), ("dr", 1)],
        // The group stays where it is, so that what spills is seen to spill.
        group: "stateless = true\nfailover_after = \"10m\"\n",
        service: SPILLING,
        top: LOG,
    }
}

const SPILLING: &str = "spill = \"safe\"\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";

/// The lines of a log, every one of which must be whole.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(line).collect()
}

impl Scene {
    /// The only line about this path, once it is there.
    async fn logged(&self, path: &str) -> Value {
        let log = self.path("access.log");
        let found = || lines(&log).into_iter().filter(|line| line["path"] == path).collect::<Vec<_>>();
        self.eventually(&format!("{path} is logged"), async || !found().is_empty()).await;
        let mut found = found();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    async fn get_path(&self, path: &str) -> crate::client::Answer {
        exchange(self.http, &request("GET", HOST, path, &[], b"")).await.expect("the proxy answers")
    }

    async fn dropped_lines(&self) -> f64 {
        let of = async |reason| self.metric("tidegate_access_log_dropped_total", &[("reason", reason)]).await;
        of("failing").await + of("slow").await
    }
}

fn assert_fields(line: &Value, expected: &Value) {
    for (field, value) in expected.as_object().expect("fields") {
        assert_eq!(&line[field], value, "{field} in {line}");
    }
}

#[tokio::test]
async fn a_plain_request_has_every_field_right() {
    let scene = Scene::play(script()).await;
    let body = b"one order, please";
    let question = request("POST", HOST, "/orders?token=secret", &[("X-Request-Id", "abc-1")], body);
    let answer = exchange(scene.http, &question).await.expect("the proxy answers");
    let line = scene.logged("/orders").await;
    assert_fields(
        &line,
        &json!({
            "client": "127.0.0.1", "tls": false, "protocol": "HTTP/1.1", "method": "POST", "host": HOST,
            "path": "/orders", "service": "web", "site": "main", "epoch": 1, "tries": 1, "spilled": false,
            "code": 200, "bytes_in": body.len(), "bytes_out": answer.body.len(), "fault": null,
        }),
    );
    assert_eq!(line["origin"], format!("web/main/{}", scene.origins["main1"].addr));
    assert!(line["generation"].as_u64().is_some_and(|generation| generation > 0), "{line}");
    assert!(line["duration_ms"].as_f64() >= line["first_byte_ms"].as_f64(), "{line}");
    assert!(line["first_byte_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    let time = line["time"].as_str().expect("a time");
    assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{time}");
    let age = jiff::Timestamp::now().duration_since(time.parse().expect("RFC 3339"));
    assert!(age.as_secs().abs() < 60, "{time}");
    let text = std::fs::read_to_string(scene.path("access.log")).expect("the log");
    assert!(!text.contains("secret"), "queries hold secrets: {text}");
}

#[tokio::test]
async fn a_retried_request_tells_its_tries() {
    let mut scene = Scene::play(Script { sites: vec![("main", 2)], ..script() }).await;
    scene.kill("main1").await;
    // Until the first one finds the dead origin; after it the origin is out.
    let retried = |line: &Value| line["tries"].as_u64().is_some_and(|tries| tries > 1);
    scene
        .eventually("a request was retried", async || {
            scene.get_path("/again").await;
            lines(&scene.path("access.log")).iter().any(retried)
        })
        .await;
    let log = lines(&scene.path("access.log"));
    let line = log.iter().find(|line| retried(line)).expect("it was there");
    assert_fields(line, &json!({ "tries": 2, "code": 200, "site": "main", "spilled": false, "fault": null }));
    assert_eq!(line["origin"], format!("web/main/{}", scene.origins["main2"].addr));
}

#[tokio::test]
async fn a_spilled_request_tells_where_it_was_served() {
    let mut scene = Scene::play(script()).await;
    scene.wait_fitness("dr", "fit").await;
    scene.kill("main1").await;
    scene.eventually("requests spill", async || scene.get_path("/probe").await.body == "dr1").await;
    scene.get_path("/spilled").await;
    let line = scene.logged("/spilled").await;
    assert_fields(
        &line,
        &json!({ "service": "web", "site": "dr", "spilled": true, "code": 200, "epoch": 1, "fault": null }),
    );
}

#[tokio::test]
async fn refused_requests_and_clients_that_leave_are_logged_with_the_reason() {
    let scene = Scene::play(script()).await;
    let twice = format!("GET /twice HTTP/1.1\r\nHost: {HOST}\r\nHost: other\r\n\r\n");
    let answer = exchange(scene.http, twice.as_bytes()).await.expect("an answer");
    assert_eq!(answer.code, 400);
    let log = scene.path("access.log");
    scene
        .eventually("the refusal is logged", async || lines(&log).iter().any(|line| line["code"] == 400))
        .await;
    let line = lines(&log).into_iter().find(|line| line["code"] == 400).expect("it was there");
    assert_fields(
        &line,
        &json!({ "service": null, "site": null, "origin": null, "tries": 0, "client": "127.0.0.1" }),
    );
    assert!(line["fault"].is_string(), "{line}");

    let unknown = exchange(scene.http, &request("GET", "nowhere.test", "/unknown", &[], b"")).await;
    let line = scene.logged("/unknown").await;
    assert_fields(
        &line,
        &json!({ "code": unknown.expect("an answer").code, "service": null, "host": "nowhere.test" }),
    );

    let mut leaving = TcpStream::connect(scene.http).await.expect("the proxy listens");
    let unfinished = format!("POST /left HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nhalf");
    leaving.write_all(unfinished.as_bytes()).await.expect("it can be sent");
    drop(leaving);
    let line = scene.logged("/left").await;
    assert_fields(&line, &json!({ "code": 499, "service": "web", "bytes_out": 0 }));
    assert!(line["fault"].is_string(), "{line}");
}

#[tokio::test]
async fn a_renamed_log_is_continued_in_a_new_file_after_a_hangup() {
    let scene = Scene::play(script()).await;
    let (log, old) = (scene.path("access.log"), scene.path("access.log.1"));
    scene.get_path("/before").await;
    scene.logged("/before").await;
    std::fs::rename(&log, &old).expect("it can be renamed");
    scene.signal_daemon(rustix::process::Signal::HUP);
    scene.eventually("the new file is there", async || log.exists()).await;
    scene.get_path("/after").await;
    let line = scene.logged("/after").await;
    assert_eq!(line["code"], 200);
    assert!(lines(&old).iter().any(|line| line["path"] == "/before"));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&log).expect("the log").permissions().mode();
    assert_eq!(mode & 0o007, 0, "nobody else may read who asks for what: {mode:o}");
}

#[tokio::test]
async fn all_is_written_before_the_daemon_ends() {
    let mut scene = Scene::play(script()).await;
    for number in 0..50 {
        scene.get_path(&format!("/{number}")).await;
    }
    scene.signal_daemon(rustix::process::Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert_eq!(lines(&scene.path("access.log")).len(), 50);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_told_at_the_check_and_at_the_start() {
    let mut scene = Scene::set(script()).await;
    scene.edit(LOG, "access_log = \"gone/access.log\"\n");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("gone/access.log") && said.contains("make that folder"), "{said}");
    let output = scene.cli(&["check", "--config", &scene.path("tidegate.toml").display().to_string()]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_never_stops_a_request_and_the_log_goes_on_without_a_torn_line() {
    let mut scene = Scene::set(Script { service: FAST_CHECK, ..script() }).await;
    let disk = Disk::mount(&scene.path("logs"), "16m").await;
    scene.edit(LOG, "access_log = \"logs/access.log\"\n");
    let wrapper = disk.wrapper();
    scene.start_daemon_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>()).await;
    scene.wait_ready().await;
    scene.get_path("/first").await;
    let log = disk.path("access.log");
    let has = |path: &str| lines(&log).iter().any(|line| line["path"] == path);
    scene.eventually("the first line is there", async || has("/first")).await;

    disk.fill();
    let failing = async || scene.metric("tidegate_access_log_failing", &[]).await;
    let mut asked = 0;
    scene
        .eventually("the alarm is raised", async || {
            assert_eq!(scene.get_path(&format!("/{}", "x".repeat(1500))).await.code, 200);
            failing().await == 1.0
        })
        .await;
    // More than memory holds, every one answered; the disk has room for it once it is emptied.
    let mut connection = crate::client::Connection::open(scene.http).await.expect("the proxy listens");
    let question = request("GET", HOST, &format!("/{}", "y".repeat(2000)), &[], b"");
    while scene.dropped_lines().await == 0.0 {
        assert!(asked < 20_000, "the buffer has no end");
        for _ in 0..500 {
            assert_eq!(connection.exchange(&question).await.expect("an answer").code, 200);
            asked += 1;
        }
    }
    assert_eq!(
        scene.daemon_log().matches("the access log cannot be written").count(),
        1,
        "told once a minute"
    );

    disk.empty();
    scene.eventually("the alarm is called off", async || failing().await == 0.0).await;
    scene.get_path("/last").await;
    scene.eventually("the log goes on", async || has("/last")).await;
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_blocks_no_request() {
    let scene = Scene::set(script()).await;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, scene.path("access.log"), mode).expect("a pipe");
    let mut scene = scene;
    scene.start_daemon().await;
    scene.wait_ready().await;
    for _ in 0..20 {
        assert_eq!(scene.visit().await.code, 200);
    }
    scene
        .eventually("the alarm is raised", async || {
            scene.metric("tidegate_access_log_failing", &[]).await == 1.0
        })
        .await;
    scene.signal_daemon(rustix::process::Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0), "the end is bounded, too");
}
