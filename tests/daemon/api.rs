//! The API over the network: who gets in, how far, and what happens to those who should not.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Answer, Connection, exchange, request};
use crate::scene::{HOST, PATIENCE, Scene, Script, free_address, text};
use crate::tls::Secured;

/// A scene whose API is on the loopback, without TLS.
pub(crate) struct Remote {
    scene: Scene,
    api: SocketAddr,
}

impl Remote {
    pub(crate) async fn play() -> Self {
        let mut scene = Scene::set(Script::default()).await;
        let api = free_address();
        scene.edit("[listen]\n", &format!("[listen]\napi = [\"{api}\"]\napi_tls = false\n"));
        scene.start_daemon().await;
        scene.wait_ready().await;
        Self { scene, api }
    }

    pub(crate) fn scene(&self) -> &Scene {
        &self.scene
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Makes a token; its text.
    pub(crate) async fn token(&self, name: &str, role: &str) -> String {
        let made = self.scene.json(&["token", "create", name, "--role", role]).await;
        made["secret"].as_str().expect("the token").to_owned()
    }

    pub(crate) async fn call(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        exchange(self.api, &ask(token, method, path, body, &[])).await.expect("the API answers")
    }

    async fn status_code(&self, token: &str) -> u16 {
        self.call(token, "GET", "/api/v1/status", "").await.code
    }
}

fn ask(token: &str, method: &str, path: &str, body: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let own = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    request(method, "edge", path, &[&own, more].concat(), body.as_bytes())
}

fn label(answer: &Answer) -> String {
    let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    told["label"].as_str().unwrap_or_default().to_owned()
}

/// Something of every kind, with the role it takes.
fn calls() -> Vec<(&'static str, &'static str, &'static str, String)> {
    let because = json!({ "reason": "to see whether it may" }).to_string();
    let preview = json!({ "action": "drain", "scope": "site", "pattern": "dr", "preview": true }).to_string();
    vec![
        ("view", "GET", "/api/v1/status", String::new()),
        ("view", "GET", "/api/v1/groups/app/explain", String::new()),
        ("view", "GET", "/api/v1/history", String::new()),
        ("view", "GET", "/metrics", String::new()),
        ("operate", "POST", "/api/v1/groups/app/freeze", because.clone()),
        ("operate", "POST", "/api/v1/groups/app/unfreeze", because),
        ("operate", "POST", "/api/v1/forces", preview),
        ("admin", "GET", "/api/v1/tokens", String::new()),
        ("admin", "POST", "/api/v1/tokens", json!({ "name": "other", "role": "view" }).to_string()),
        ("admin", "DELETE", "/api/v1/tokens/other", String::new()),
        ("admin", "POST", "/api/v1/reload", String::new()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_it_may_and_no_more() {
    let remote = Remote::play().await;
    let ranks = ["push", "view", "operate", "admin"];
    for role in ranks {
        let token = remote.token(role, role).await;
        for (demanded, method, path, body) in calls() {
            let rank = |role| ranks.iter().position(|known| *known == role);
            let may = rank(role) >= rank(demanded);
            let answer = remote.call(&token, method, path, &body).await;
            let what = format!("{role}: {method} {path}: {} {}", answer.head, answer.body);
            if may {
                assert!([200, 201].contains(&answer.code), "{what}");
            } else {
                assert_eq!((answer.code, label(&answer).as_str()), (403, "forbidden"), "{what}");
                assert!(answer.body.contains(demanded), "the role is named: {what}");
            }
        }
    }
    let history = remote.scene.history().await;
    let actors: Vec<_> = history.iter().filter_map(|event| event["actor"].as_str()).collect();
    assert_eq!(&actors[..4], ["token admin", "token admin", "token operate", "token operate"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reached_without_a_token() {
    let remote = Remote::play().await;
    let before = remote.scene.json(&["status"]).await["groups"][0]["durable"].clone();
    let json = [("Content-Type", "application/json")];
    let body = json!({ "to": "dr", "reason": "from afar" }).to_string();
    let calls = [
        ("POST", "/api/v1/groups/app/switch"),
        ("POST", "/api/v1/forces"),
        ("POST", "/api/v1/reload"),
        ("POST", "/api/v1/tokens"),
        ("GET", "/api/v1/status"),
        ("GET", "/nowhere"),
        ("DELETE", "/metrics"),
    ];
    for (method, path) in calls {
        let question = request(method, "edge", path, &json, body.as_bytes());
        let answer = exchange(remote.api, &question).await.expect("an answer");
        assert_eq!((answer.code, label(&answer).as_str()), (401, "no-token"), "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tidegate\""));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let answer = remote.call(&format!("tgt_{}", "0".repeat(72)), "POST", "/api/v1/reload", "").await;
    assert_eq!((answer.code, label(&answer).as_str()), (401, "malformed-token"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tidegate\", error=\"invalid_token\""));
    assert_eq!(remote.scene.json(&["status"]).await["groups"][0]["durable"], before);
    assert_eq!(remote.scene.history().await.len(), 1, "there is the start, and nothing else");
    let refused = remote.scene.metric("tidegate_api_refused_total", &[("reason", "no-token")]).await;
    assert_eq!(refused, calls.len() as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_stops_at_once_also_on_a_connection_that_is_kept_alive() {
    let mut remote = Remote::play().await;
    let token = remote.token("ci", "view").await;
    let mut kept = Connection::open(remote.api).await.expect("a connection");
    let question = ask(&token, "GET", "/api/v1/status", "", &[]);
    for _ in 0..2 {
        assert_eq!(kept.exchange(&question).await.expect("an answer").code, 200);
    }
    let listed = remote.scene.json(&["token", "list"]).await;
    assert_eq!((listed[0]["name"].as_str(), listed[0]["role"].as_str()), (Some("ci"), Some("view")));
    assert!(listed[0]["last_used"].is_u64() && listed[0]["made_by"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(&token[4..68]), "a token is not shown again");

    let revoked = remote.scene.cli(&["token", "revoke", "ci"]).await;
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    let answer = kept.exchange(&question).await.expect("an answer");
    assert_eq!((answer.code, label(&answer).as_str()), (401, "unknown-token"));
    assert_eq!(remote.scene.cli(&["token", "revoke", "ci"]).await.status.code(), Some(1));

    // The others, and what is revoked, are the same after a restart.
    let other = remote.token("cd", "view").await;
    remote.scene.kill_daemon().await;
    remote.scene.start_daemon().await;
    remote.scene.wait_ready().await;
    assert_eq!(remote.status_code(&other).await, 200);
    assert_eq!(remote.status_code(&token).await, 401);
    let all = remote.scene.json(&["history"]).await.to_string();
    assert!(all.contains("token-made") && all.contains("token-revoked"), "{all}");
    for token in [&token, &other] {
        assert!(!all.contains(token.as_str()) && !remote.scene.daemon_log().contains(token.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_when_its_time_is_over() {
    let remote = Remote::play().await;
    let made = remote.scene.json(&["token", "create", "brief", "--role", "view", "--expires", "3s"]).await;
    let token = made["secret"].as_str().expect("the token").to_owned();
    remote
        .scene
        .eventually("the token has expired", async || {
            let answer = remote.call(&token, "GET", "/api/v1/status", "").await;
            assert!(answer.code == 200 || label(&answer) == "expired-token", "{}", answer.body);
            answer.code == 401
        })
        .await;
    let listed = remote.scene.cli(&["token", "list"]).await;
    assert!(text(&listed.stdout).contains("EXPIRED"), "{}", text(&listed.stdout));
    let wrong = remote.scene.cli(&["token", "create", "never", "--role", "view", "--expires", "0s"]).await;
    assert_eq!(wrong.status.code(), Some(1));
}

/// A call from another address of this machine.
async fn call_from(source: [u8; 4], api: SocketAddr, question: &[u8]) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((source, 0))).expect("all of 127.0.0.0/8 is ours");
    let mut stream = socket.connect(api).await.expect("a connection");
    stream.write_all(question).await.expect("it is read");
    let mut answer = String::new();
    // Where the connection is kept alive the answer does not end with it.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_string(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_limited_by_address_and_others_are_heard() {
    let remote = Remote::play().await;
    let good = remote.token("ci", "view").await;
    let wrong = remote.token("gone", "view").await;
    assert!(remote.scene.cli(&["token", "revoke", "gone"]).await.status.success());
    let mut refused = 0;
    let last = loop {
        let answer = remote.call(&wrong, "GET", "/api/v1/status", "").await;
        if answer.code != 401 {
            break answer;
        }
        refused += 1;
        assert!(refused < 100, "it is never throttled");
    };
    assert!(refused >= 10, "only {refused} failures are allowed");
    assert_eq!((last.code, label(&last).as_str()), (429, "throttled"));
    let wait: u64 = last.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((1..=6).contains(&wait), "{wait}");
    let question = ask(&good, "GET", "/api/v1/status", "", &[("Connection", "close")]);
    assert!(call_from([127, 0, 0, 1], remote.api, &question).await.starts_with("HTTP/1.1 429"));
    let elsewhere = call_from([127, 0, 0, 2], remote.api, &question).await;
    assert!(elsewhere.starts_with("HTTP/1.1 200"), "{elsewhere}");

    let count = async |reason| remote.scene.metric("tidegate_api_refused_total", &[("reason", reason)]).await;
    assert_eq!(count("unknown-token").await, f64::from(refused));
    assert!(count("throttled").await >= 2.0);
    let log = remote.scene.daemon_log();
    assert_eq!(log.matches("a call of the API was refused").count(), refused as usize);
    assert!(log.contains("127.0.0.1") && !log.contains(&wrong[4..]));
    // After the wait it is heard again.
    remote
        .scene
        .eventually("the address is heard again", async || {
            call_from([127, 0, 0, 1], remote.api, &question).await.starts_with("HTTP/1.1 200")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_key_is_carried_out_once_however_often_it_is_sent() {
    let remote = Remote::play().await;
    remote.scene.wait_fitness("dr", "fit").await;
    let token = remote.token("ops", "operate").await;
    let switch = |to: &str, key: &str| {
        let body = json!({ "to": to, "reason": "exercise" }).to_string();
        ask(&token, "POST", "/api/v1/groups/app/switch", &body, &[("Idempotency-Key", key)])
    };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (api, question) = (remote.api, switch("dr", "\"one\""));
        calls.spawn(async move { exchange(api, &question).await.expect("an answer") });
    }
    let mut done = 0;
    while let Some(answer) = calls.join_next().await {
        let answer = answer.expect("it does not panic");
        match answer.code {
            200 => {
                let reply: Value = serde_json::from_str(&answer.body).expect("JSON");
                // Not "nothing to do", which a second execution would have said.
                assert_eq!((reply["changed"].as_bool(), reply["site"].as_str()), (Some(true), Some("dr")));
                done += usize::from(answer.header("idempotency-replayed").is_none());
            }
            _ => assert_eq!((answer.code, label(&answer).as_str()), (409, "under-way")),
        }
    }
    assert_eq!(done, 1, "one of them is the first");
    let again = exchange(remote.api, &switch("dr", "one")).await.expect("an answer");
    assert_eq!((again.code, again.header("idempotency-replayed")), (200, Some("true")));
    let other = exchange(remote.api, &switch("third", "one")).await.expect("an answer");
    assert_eq!((other.code, label(&other).as_str()), (422, "key-reused"));
    let wrong = exchange(remote.api, &switch("third", "")).await.expect("an answer");
    assert_eq!(wrong.code, 400);
    // Another caller's key is another key; this one has it done, and finds it done already.
    let others = remote.token("others", "operate").await;
    let body = json!({ "to": "dr", "reason": "exercise" }).to_string();
    let theirs = ask(&others, "POST", "/api/v1/groups/app/switch", &body, &[("Idempotency-Key", "one")]);
    let theirs = exchange(remote.api, &theirs).await.expect("an answer");
    assert!(theirs.code == 200 && theirs.body.contains("\"changed\":false"), "{}", theirs.body);
    let history = remote.scene.history().await;
    let switches = history.iter().filter(|event| event["kind"] == "switchover").count();
    assert_eq!(switches, 1, "{history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_calls_are_told_so_in_the_words_of_http() {
    let remote = Remote::play().await;
    let token = remote.token("root", "admin").await;
    let call = async |method, path, body: &str, more: &[(&str, &str)]| {
        let bearer = format!("Bearer {token}");
        let own = [("Authorization", bearer.as_str())];
        let question = request(method, "edge", path, &[&own, more].concat(), body.as_bytes());
        exchange(remote.api, &question).await.expect("an answer")
    };
    let json = [("Content-Type", "application/json")];
    let answer = call("POST", "/api/v1/status", "{}", &json).await;
    assert_eq!((answer.code, answer.header("allow")), (405, Some("GET,HEAD")), "{}", answer.head);
    let answer = call("GET", "/api/v1/groups/app/switch", "", &[]).await;
    assert_eq!((answer.code, answer.header("allow")), (405, Some("POST")), "{}", answer.head);
    let freeze = "/api/v1/groups/app/freeze";
    assert_eq!(call("POST", freeze, "{\"reason\":\"why\"}", &[]).await.code, 415);
    let long = json!({ "reason": "x".repeat(256 * 1024) }).to_string();
    let answer = call("POST", freeze, &long, &json).await;
    assert_eq!((answer.code, label(&answer).as_str()), (413, "too-large"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let endless = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
    let question = request(
        "POST",
        "edge",
        freeze,
        &[&[("Authorization", format!("Bearer {token}").as_str())], &endless[..]].concat(),
        b"",
    );
    let mut stream = TcpStream::connect(remote.api).await.expect("a connection");
    stream.write_all(&question).await.expect("it is read");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..5 {
        // The daemon may have had enough before.
        let _ = stream.write_all(&chunk).await;
    }
    let mut answer = String::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it ends");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_idle_clients_lose_their_connection() {
    let remote = Remote::play().await;
    let token = remote.token("ci", "operate").await;
    let (whole, half) = (ask(&token, "GET", "/api/v1/status", "", &[]), b"GET /api/v1/status HTTP/1.1\r\nHo");
    let body = "POST /api/v1/groups/app/freeze HTTP/1.1\r\nHost: edge\r\nContent-Type: application/json\r\nContent-Length: 100";
    let trickle = format!("{body}\r\nAuthorization: Bearer {token}\r\n\r\n{{");
    let ends = async |question: &[u8]| {
        let mut stream = TcpStream::connect(remote.api).await.expect("a connection");
        stream.write_all(question).await.expect("it is read");
        let mut answer = Vec::new();
        // Ended or reset: both will do.
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "still open after {PATIENCE:?}");
        text(&answer)
    };
    let (idle, partial, kept, slow) =
        tokio::join!(ends(b""), ends(half), ends(&whole), ends(trickle.as_bytes()));
    assert!(!idle.contains("200") && !partial.contains("200"), "{idle}{partial}");
    assert!(kept.starts_with("HTTP/1.1 200"), "{kept}");
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_works_over_tls_with_a_token_and_only_for_the_right_daemon() {
    let secured = Secured::set(&[("www", &[HOST, "localhost"])]).await;
    let (scene, api) = (&secured.scene, free_address());
    scene.edit("[listen]\n", &format!("[listen]\napi = [\"{api}\"]\n"));
    assert!(scene.cli(&["reload"]).await.status.success());
    let ca = scene.path("ca.crt");
    scene.write("ca.crt", &secured.authority());
    let made = scene.cli(&["token", "create", "ops", "--role", "operate"]).await;
    let token = text(&made.stdout).trim().to_owned();
    assert!(token.starts_with("tgt_") && token.len() == 76, "only the token is printed: {token}");
    assert!(text(&made.stderr).contains("not shown again"));
    scene.write("token", &format!("{token}\n"));

    let url = format!("https://localhost:{}", api.port());
    let ca = ca.display().to_string();
    let call = async |arguments: &[&str], url: &str, token: Option<&str>| {
        let mut command = scene.command(arguments);
        command.env_remove("TIDEGATE_SOCKET").env("TIDEGATE_URL", url).env("TIDEGATE_CA", &ca);
        if let Some(token) = token {
            command.env("TIDEGATE_TOKEN", token);
        }
        let output = command.output().await.expect("the command line runs");
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, said) = call(&["status"], &url, Some(&token)).await;
    assert!(code == Some(0) && said.contains("active at main"), "{said}");
    let (code, said) = call(&["freeze", "app", "--reason", "from afar"], &url, Some(&token)).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(scene.history().await[0]["actor"], "token ops");
    let file = scene.path("token").display().to_string();
    let (code, said) = call(&["explain", "app", "--token-file", &file], &url, None).await;
    assert!(code == Some(0) && said.contains("frozen"), "{said}");
    let (code, said) = call(&["token", "list"], &url, Some(&token)).await;
    assert!(code == Some(1) && said.contains("admin") && said.contains("tidegate token create"), "{said}");
    let (code, said) = call(&["reload", "--json"], &url, Some(&token)).await;
    assert!(code == Some(1) && said.contains("\"forbidden\""), "{said}");

    // Not the one it should be, not heard by anybody else, not what it should be.
    let (code, said) = call(&["status"], &format!("https://127.0.0.1:{}", api.port()), Some(&token)).await;
    assert!(code == Some(1) && said.contains("--ca"), "{said}");
    let (code, said) = call(&["status"], &format!("http://localhost:{}", api.port()), Some(&token)).await;
    assert_eq!(code, Some(1), "{said}");
    for (url, token, why) in [
        ("http://192.0.2.1:9443", Some(token.as_str()), "in the clear"),
        ("ftp://localhost", Some(&token), "https"),
        (&format!("{url}/api"), Some(&token), "address of a daemon"),
        (&url, None, "TIDEGATE_TOKEN"),
        (&url, Some(&token[..75]), "no token"),
        (&url, Some("hunter2"), "no token"),
    ] {
        let (code, said) = call(&["status"], url, token).await;
        assert!(code == Some(2) && said.contains(why), "{url}: {code:?} {said}");
        assert!(!said.contains("hunter2") && !said.contains(&made_text(token)), "{said}");
    }
}

/// Something that would give a token away.
fn made_text(token: Option<&str>) -> String {
    token.and_then(|token| token.get(4..40)).unwrap_or("never said").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_must_speak_tls_off_loopback() {
    let scene = Scene::set(Script::default()).await;
    let port = free_address().port();
    scene.edit("[listen]\n", &format!("[listen]\napi = [\"0.0.0.0:{port}\"]\napi_tls = false\n"));
    let config = scene.path("tidegate.toml").display().to_string();
    let output = scene.cli(&["check", "--config", &config]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("in the clear"), "{}", text(&output.stdout));
    scene.edit("api_tls = false\n", "");
    let output = scene.cli(&["check", "--config", &config]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("`listen.api` needs a certificate"), "{}", text(&output.stdout));
    scene.edit(&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{port}"));
    scene.edit("[listen]\n", "[listen]\napi_tls = false\n");
    let output = scene.cli(&["check", "--config", &config]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_moves_the_api_and_answers_what_is_under_way() {
    let remote = Remote::play().await;
    let token = remote.token("root", "admin").await;
    let there = free_address();
    let config = |from: SocketAddr, to: SocketAddr| {
        remote.scene.edit(&format!("api = [\"{from}\"]"), &format!("api = [\"{to}\"]"));
    };
    config(remote.api, there);
    // Asked for where it is, it is answered from there, and the listener is gone.
    let answer = remote.call(&token, "POST", "/api/v1/reload", "").await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    remote
        .scene
        .eventually("the old listener is closed", async || TcpStream::connect(remote.api).await.is_err())
        .await;
    let moved = exchange(there, &ask(&token, "GET", "/api/v1/status", "", &[])).await.expect("an answer");
    assert_eq!(moved.code, 200);
    // A reload that is refused leaves it alone.
    remote.scene.edit("[listen]\n", "[listen]\nnonsense = 1\n");
    let refused = exchange(there, &ask(&token, "POST", "/api/v1/reload", "", &[])).await.expect("an answer");
    assert_eq!((refused.code, label(&refused).as_str()), (409, "config"));
    let same = exchange(there, &ask(&token, "GET", "/api/v1/status", "", &[])).await.expect("an answer");
    assert_eq!(same.code, 200);
}
