//! What others are told: webhooks, programs and mail, that fail, hang and are flooded; and the sign of life.

mod hook;
mod relay;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio_rustls::TlsAcceptor;

use crate::scene::{Scene, Script, free_address, text};
use crate::store::{on_a_small_disk, switch_until_refused};
use hook::{Hook, Reply};
use relay::Relay;

const SECRET: &str = "a secret of the tests";

/// A scene with these tables in its configuration; the secret is in `secret`.
async fn play(tables: &str) -> Scene {
    let mut scene = Scene::set(Script::default()).await;
    scene.write("secret", &format!("{SECRET}\n"));
    scene.edit("[node]\n", &format!("{tables}\n[node]\n"));
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene
}

fn webhook(name: &str, hook: &Hook, keys: &str) -> String {
    format!(
        "[notify.{name}]\nwebhook = {{ url = \"http://{}/told?by=tidegate\", secret_file = \"secret\" }}\n{keys}\n",
        hook.addr
    )
}

async fn act(scene: &Scene, words: &[&str]) {
    scene.json(&[words, &["--reason", "because"]].concat()).await;
}

fn kinds(texts: &[Value]) -> Vec<&str> {
    texts.iter().map(|text| text["kind"].as_str().expect("a kind is text")).collect()
}

/// A certificate authority of the tests, in PEM, and a certificate of it for 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("random numbers")).expect("a CA");
    let key = KeyPair::generate().expect("random numbers");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("they belong together");
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_told_once_and_signed_and_the_secret_is_shown_nowhere() {
    let hook = Hook::start().await;
    let scene = play(&webhook("ops", &hook, "")).await;
    act(&scene, &["switch", "app", "dr"]).await;
    scene.eventually("the switch is told", async || kinds(&hook.taken()).contains(&"switchover")).await;
    let calls = hook.calls();
    let call = calls.iter().find(|call| call.json()["kind"] == "switchover").expect("it was told");
    let told = call.json();
    assert_eq!(call.line, "POST /told?by=tidegate HTTP/1.1");
    assert_eq!((&told["group"], &told["from"], &told["to"]), (&"app".into(), &"main".into(), &"dr".into()));
    assert_eq!(
        (&told["node"], &told["severity"], &told["count"]),
        (&"edge".into(), &"notice".into(), &1.into())
    );
    assert_eq!(told["reason"], "because");
    assert!(told["text"].as_str().is_some_and(|text| text.contains("tidegate explain app")), "{told}");
    assert_eq!(call.headers["tidegate-event-id"], told["id"]);
    assert_eq!(call.headers["content-type"], "application/json");

    let timestamp = &call.headers["tidegate-timestamp"];
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = format!("{timestamp}.{}", call.body);
    let signature = call.headers["tidegate-signature"].strip_prefix("v1=").expect("its version");
    let bytes: Vec<_> = (0..signature.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&signature[at..at + 2], 16).expect("hex"))
        .collect();
    ring::hmac::verify(&key, signed.as_bytes(), &bytes).expect("the signature is good");
    assert!(
        ring::hmac::verify(&key, format!("0.{}", call.body).as_bytes(), &bytes).is_err(),
        "the time is signed"
    );

    let told: Vec<_> = hook.taken().iter().filter(|told| told["kind"] == "switchover").cloned().collect();
    assert_eq!(told.len(), 1, "once");
    let check =
        scene.command(&["check", "--json"]).arg("--config").arg(scene.path("tidegate.toml")).output().await;
    let check = check.expect("the command runs");
    let shown = [
        scene.daemon_log(),
        text(&check.stdout),
        text(&check.stderr),
        scene.metrics().await,
        format!("{calls:?}"),
    ];
    assert!(shown.iter().all(|text| !text.contains(SECRET)), "the secret is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_tried_again_in_order_and_each_message_is_taken_once() {
    let hook = Hook::start().await;
    hook.script(&[
        Reply::Status(500),
        Reply::Status(503),
        Reply::Silence,
        Reply::Status(200),
        Reply::Status(429),
    ]);
    let scene =
        play(&webhook("ops", &hook, "on = [\"frozen\", \"unfrozen\", \"switchover\"]\ntimeout = \"300ms\""))
            .await;
    act(&scene, &["freeze", "app"]).await;
    act(&scene, &["unfreeze", "app"]).await;
    act(&scene, &["switch", "app", "dr"]).await;
    scene.eventually("all of it is told", async || hook.taken().len() == 3).await;
    assert_eq!(kinds(&hook.taken()), ["frozen", "unfrozen", "switchover"]);
    let tried: Vec<_> =
        hook.calls().iter().map(|call| (call.json()["kind"].clone(), call.json()["id"].clone())).collect();
    assert_eq!(tried.len(), 7, "{tried:?}");
    assert!(tried[..4].iter().all(|call| *call == tried[0]), "the same id with each try: {tried:?}");
    assert!(tried[4..6].iter().all(|call| call.0 == "unfrozen"), "{tried:?}");
    let of = [("receiver", "ops")];
    assert_eq!(scene.metric("tidegate_notifications_sent_total", &of).await, 3.0);
    assert_eq!(scene.metric("tidegate_notification_failures_total", &of).await, 4.0);
    assert_eq!(scene.metric("tidegate_notifications_dropped_total", &of).await, 0.0);
    assert_eq!(scene.metric("tidegate_notifications_failing", &of).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_are_slow_dead_or_nonsense_delay_neither_control_nor_others() {
    let (hook, silent) = (Hook::start().await, Hook::start().await);
    silent.otherwise(Reply::Silence);
    let dead = format!("[notify.dead]\nwebhook = {{ url = \"http://{}/\" }}\n", free_address());
    let nowhere = "[notify.nowhere]\nwebhook = { url = \"http://no-such-host.invalid/\" }\n";
    let hanging = "[notify.hanging]\ncommand = [\"/bin/sleep\", \"600\"]\ntimeout = \"1m\"\n";
    let silent_table = webhook("silent", &silent, "timeout = \"1m\"");
    let mut scene =
        play(&[webhook("good", &hook, ""), silent_table, dead, nowhere.into(), hanging.into()].concat())
            .await;
    scene.wait_fitness("dr", "fit").await;
    scene.kill("main1").await;
    scene.wait_active("dr").await;
    scene.eventually("the failover is told", async || kinds(&hook.taken()).contains(&"failover")).await;
    for name in ["dead", "nowhere"] {
        let failing = async || scene.metric("tidegate_notifications_failing", &[("receiver", name)]).await;
        scene.eventually(&format!("{name} fails"), async || failing().await == 1.0).await;
    }
    assert_eq!(scene.metric("tidegate_control_stalls_total", &[]).await, 0.0);
    assert_eq!(scene.metric("tidegate_notifications_sent_total", &[("receiver", "silent")]).await, 0.0);
    assert_eq!(scene.visit().await.body, "dr1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_and_what_is_left_out_is_counted() {
    let (bounded, merged) = (Hook::start().await, Hook::start().await);
    bounded.otherwise(Reply::Status(500));
    let on = "on = [\"refused\", \"frozen\"]";
    let tables = [
        webhook("bounded", &bounded, &format!("{on}\nqueue_max = 3\ncoalesce = \"0s\"")),
        webhook("merged", &merged, &format!("{on}\ncoalesce = \"3s\"")),
    ];
    let scene = play(&tables.concat()).await;
    let refuse = async || {
        let (code, _) = scene.api("POST", "/api/v1/groups/app/confirm", "{\"reason\":\"because\"}").await;
        assert_eq!(code, 409);
    };
    refuse().await;
    scene.eventually("the first is tried", async || !bounded.calls().is_empty()).await;
    for _ in 0..20 {
        refuse().await;
    }
    act(&scene, &["freeze", "app"]).await;
    refuse().await;
    let of = [("receiver", "bounded")];
    assert!(scene.metric("tidegate_notifications_waiting", &of).await <= 3.0);
    assert_eq!(
        scene.metric("tidegate_notifications_dropped_total", &[of[0], ("reason", "full")]).await,
        19.0
    );
    bounded.otherwise(Reply::Status(200));
    scene.eventually("what waited is told", async || bounded.taken().len() == 4).await;
    let told = bounded.taken();
    assert_eq!(kinds(&told), ["refused", "refused", "frozen", "refused"]);
    let left_out: Vec<_> = told.iter().map(|told| told["left_out"].as_u64().expect("a number")).collect();
    assert_eq!(left_out, [0, 19, 0, 0], "the next message says it");

    // The others were told at once, and once more when the time was over.
    let total = || {
        merged
            .taken()
            .iter()
            .filter(|told| told["kind"] == "refused")
            .map(|told| told["count"].as_u64().expect("a number"))
            .sum::<u64>()
    };
    scene.eventually("all are counted", async || total() == 22).await;
    assert!(merged.taken().len() < 10, "{:?}", kinds(&merged.taken()));
    assert!(kinds(&merged.taken()).contains(&"frozen"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gets_the_text_on_its_standard_input() {
    let mut scene = Scene::set(Script::default()).await;
    let told = scene.path("told");
    let line = format!("cat >> '{0}' && echo >> '{0}'", told.display());
    scene.edit("[node]\n", &format!("[notify.pager]\ncommand = [\"/bin/sh\", \"-c\", {line:?}]\n[node]\n"));
    scene.start_daemon().await;
    scene.wait_ready().await;
    act(&scene, &["freeze", "app"]).await;
    let texts = || -> Vec<Value> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    scene.eventually("the program was run", async || kinds(&texts()).contains(&"frozen")).await;
    assert_eq!(scene.json(&["notify", "test", "pager"]).await["delivered"], true);
    assert!(kinds(&texts()).contains(&"test"));

    scene.edit("cat >>", "echo 'no paper' >&2; exit 3; cat >>");
    scene.json(&["reload"]).await;
    let failed = scene.cli(&["notify", "test", "pager"]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("ended with 3: no paper"), "{}", text(&failed.stderr));
    let unknown = scene.cli(&["notify", "test", "pagre"]).await;
    assert!(unknown.status.code() == Some(1) && text(&unknown.stderr).contains("the receivers are pager"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_over_tls_with_a_login_and_never_without() {
    let (ca, acceptor) = authority();
    let (relay, open) = (Relay::start(Some(acceptor)).await, Relay::start(None).await);
    let table = |name: &str, relay: &Relay, keys: &str| {
        format!(
            "[notify.{name}]\nsmtp = {{ relay = \"{}\", from = \"tidegate@example.com\", to = [\"ops@example.com\", \"boss@example.com\"]{keys} }}\n",
            relay.addr
        )
    };
    let login = ", ca = \"ca.pem\", user = \"tidegate\", password_file = \"secret\"";
    let tables = [
        table("mail", &relay, login),
        table("stripped", &open, login),
        table("other-ca", &relay, ""),
        table("clear", &open, ", tls = \"none\""),
    ];
    let mut scene = Scene::set(Script::default()).await;
    scene.write("ca.pem", &ca);
    scene.write("secret", SECRET);
    scene.edit("[node]\n", &format!("{}\n[node]\n", tables.concat()));
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.json(&["notify", "test", "mail"]).await;
    let heard = relay.heard();
    assert!(heard.clear.iter().all(|line| line.starts_with("EHLO ") || line == "STARTTLS"), "{heard:?}");
    assert!(heard.encrypted.iter().any(|line| line.starts_with("AUTH ")), "{heard:?}");
    assert!(heard.encrypted.contains(&"RCPT TO:<boss@example.com>".to_owned()), "{heard:?}");
    let mail = &heard.mails[0];
    for words in [
        "Subject: [tidegate edge] info: this is a test",
        "From: tidegate@example.com",
        "Auto-Submitted: auto-generated",
        "Message-ID: <",
        "This is a test.",
    ] {
        assert!(mail.contains(words), "no `{words}` in:\n{mail}");
    }
    // A relay that offers no TLS, or with another's certificate, gets neither the message nor the password.
    for name in ["stripped", "other-ca"] {
        let failed = scene.cli(&["notify", "test", name]).await;
        assert_eq!(failed.status.code(), Some(1), "{name}: {}", text(&failed.stdout));
    }
    assert!(open.heard().mails.is_empty() && open.heard().clear.iter().all(|line| !line.starts_with("AUTH")));
    scene.json(&["notify", "test", "clear"]).await;
    assert_eq!(open.heard().mails.len(), 1);

    act(&scene, &["freeze", "app"]).await;
    scene
        .eventually("the freeze is mailed", async || {
            relay.heard().mails.iter().any(|mail| mail.contains("frozen"))
        })
        .await;
    assert!(!scene.daemon_log().contains(SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_over_tls_is_called_only_where_its_certificate_is_trusted() {
    let (ca, acceptor) = authority();
    let hook = Hook::start_tls(acceptor).await;
    let mut scene = Scene::set(Script::default()).await;
    scene.write("ca.pem", &ca);
    scene.write("url", &format!("https://{}/a-secret-path\n", hook.addr));
    let tables = "[notify.own]\nwebhook = { url_file = \"url\", ca = \"ca.pem\" }\n[notify.system]\nwebhook = { url_file = \"url\" }\n";
    scene.edit("[node]\n", &format!("{tables}\n[node]\n"));
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.json(&["notify", "test", "own"]).await;
    assert_eq!(hook.calls()[0].line, "POST /a-secret-path HTTP/1.1");
    let failed = scene.cli(&["notify", "test", "system"]).await;
    let said = text(&failed.stderr);
    assert!(failed.status.code() == Some(1) && said.contains("TLS with https://127.0.0.1"), "{said}");
    assert_eq!(hook.taken().iter().filter(|told| told["kind"] == "test").count(), 1);
    assert!(!said.contains("a-secret-path") && !scene.daemon_log().contains("a-secret-path"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_receivers_and_loses_nothing_that_waits() {
    let hook = Hook::start().await;
    let dead = free_address();
    let scene =
        play(&format!("[notify.ops]\non = [\"frozen\", \"unfrozen\", \"reloaded\"]\nwebhook = {{ url = \"http://{dead}/\" }}\n")).await;
    act(&scene, &["freeze", "app"]).await;
    act(&scene, &["unfreeze", "app"]).await;
    let failing = async || scene.metric("tidegate_notifications_failing", &[("receiver", "ops")]).await;
    scene.eventually("it fails", async || failing().await == 1.0).await;
    scene.edit(&format!("http://{dead}/"), &format!("http://{}/", hook.addr));
    scene.json(&["reload"]).await;
    scene.eventually("all of it is told", async || kinds(&hook.taken()).contains(&"reloaded")).await;
    let told = hook.taken();
    assert_eq!(kinds(&told), ["frozen", "unfrozen", "reloaded"]);

    scene.edit("[notify.ops]", "[notify.others]");
    scene.json(&["reload"]).await;
    let metrics = scene.metrics().await;
    assert!(
        !metrics.contains("receiver=\"ops\"") && metrics.contains("receiver=\"others\""),
        "series go with a receiver"
    );
    act(&scene, &["freeze", "app"]).await;
    scene.eventually("the new one is told", async || kinds(&hook.taken()).last() == Some(&"frozen")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_tells_what_waits_and_does_not_wait_for_the_dead() {
    let (hook, silent) = (Hook::start().await, Hook::start().await);
    hook.script(&[Reply::Status(500)]);
    silent.otherwise(Reply::Silence);
    let on = "on = [\"frozen\", \"unfrozen\"]";
    let tables = [webhook("ops", &hook, on), webhook("silent", &silent, &format!("{on}\ntimeout = \"1m\""))];
    let mut scene = play(&tables.concat()).await;
    act(&scene, &["freeze", "app"]).await;
    act(&scene, &["unfreeze", "app"]).await;
    scene
        .eventually("both are called", async || !hook.calls().is_empty() && !silent.calls().is_empty())
        .await;
    scene.signal_daemon(Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0));
    assert_eq!(kinds(&hook.taken()), ["frozen", "unfrozen"]);
    assert!(scene.daemon_log().contains("stopping although messages wait"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sign_of_life_stays_out_while_the_store_cannot_be_written() {
    let hook = Hook::start().await;
    let (scene, disk) = on_a_small_disk().await;
    scene.edit(
        "[node]\n",
        &format!("[heartbeat]\nurl = \"http://{}/alive\"\ninterval = \"1s\"\n[node]\n", hook.addr),
    );
    scene.json(&["reload"]).await;
    scene.eventually("there is a sign of life", async || hook.calls().len() >= 2).await;
    assert_eq!(hook.calls()[0].line, "GET /alive HTTP/1.1");

    disk.fill();
    switch_until_refused(&scene).await;
    let held_back =
        async || scene.metric("tidegate_heartbeats_held_back_total", &[("reason", "store")]).await;
    scene.eventually("it is held back", async || held_back().await >= 1.0).await;
    let (given, before) = (hook.calls().len(), held_back().await);
    scene.eventually("it stays out", async || held_back().await >= before + 2.0).await;
    assert_eq!(hook.calls().len(), given);
    assert_eq!(scene.metric("tidegate_heartbeat_failing", &[]).await, 1.0);
    assert_eq!(scene.visit().await.code, 200, "it serves all the while");

    disk.empty();
    scene.eventually("it is there again", async || hook.calls().len() > given).await;
    scene
        .eventually("all is well", async || scene.metric("tidegate_heartbeat_failing", &[]).await == 0.0)
        .await;
}
