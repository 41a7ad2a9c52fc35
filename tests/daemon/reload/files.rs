//! Files that change beside the configuration, or only in their content; and keys that do not change.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::{exchange, request};
use crate::scene::{FAST_CHECK, HOST, Scene, Script};
use crate::tls::{Secured, shake, shown};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("random numbers")).expect("a certificate")
}

/// An origin over TLS whose certificate is made out to `origin.test`.
async fn tls_origin(ca: &Authority) -> std::net::SocketAddr {
    let key = KeyPair::generate().expect("random numbers");
    let params = CertificateParams::new(vec!["origin.test".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, ca).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut read = [0; 4096];
                while stream.read(&mut read).await.is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    addr
}

/// The usual way to renew a certificate authority: the same path, another content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_origins_is_read_anew_at_the_same_path() {
    let (ca, stranger) = (authority(), authority());
    let mut scene = Scene::set(Script::default()).await;
    let addr = tls_origin(&ca).await;
    let service = format!(
        "[service.safe]\ngroup = \"app\"\nprotocol = \"http\"\nhosts = [\"safe.test\"]\ncritical = false\n{FAST_CHECK}\
         origins.main = [{{ url = \"https://{addr}\", tls = {{ verify = {{ ca = \"ca.pem\" }}, server_name = \"origin.test\" }} }}]\n[zone."
    );
    scene.edit("[zone.", &service);
    scene.write("ca.pem", &stranger.pem());
    scene.start_daemon().await;
    scene.wait_ready().await;
    let is_up = async || scene.metric("tidegate_origin_up", &[("service", "safe")]).await == 1.0;
    let visit = async || {
        let answer = exchange(scene.http, &request("GET", "safe.test", "/", &[], b"")).await;
        answer.expect("an answer").code
    };
    assert!(!is_up().await);
    assert_eq!(visit().await, 502);

    scene.write("ca.pem", &ca.pem());
    let reply = scene.json(&["reload"]).await;
    assert_eq!(reply["changes"]["origins"]["changed"], 1, "{reply}");
    scene.eventually("the origin is up", is_up).await;
    scene.eventually("requests trust it, too", async || visit().await == 200).await;

    // And the other way: what it trusted is trusted no more, kept connections included.
    scene.write("ca.pem", &stranger.pem());
    assert_eq!(scene.reload().await.0, 0);
    assert_eq!(visit().await, 502);
    assert!(!is_up().await, "nothing that was known before says anything now");

    scene.write("ca.pem", "no certificate");
    let (code, said) = scene.reload().await;
    assert!(code == 2 && said.contains("ca.pem"), "{code} {said}");
}

fn paths(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
    text.lines().map(|text| line(text)["path"].as_str().expect("a path").to_owned()).collect()
}

impl Scene {
    async fn ask_for(&self, path: &str) {
        let answer = exchange(self.http, &request("GET", HOST, path, &[], b"")).await.expect("an answer");
        assert_eq!(answer.code, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_is_begun_moved_and_ended_by_a_reload() {
    let scene = Scene::play(Script::default()).await;
    let (first, second) = (scene.path("first.log"), scene.path("second.log"));
    scene.ask_for("/unlogged").await;
    let change = async |from, to, path| {
        scene.edit(from, to);
        let reply = scene.json(&["reload"]).await;
        assert!(!reply["changes"]["settings"].is_null(), "{reply}");
        scene.ask_for(path).await;
    };
    change("[node]\n", "access_log = \"first.log\"\n[node]\n", "/one").await;
    scene.eventually("the first is written", async || paths(&first) == ["/one"]).await;
    change("first.log", "second.log", "/two").await;
    // What ended before the log did is in it, although it was not written yet.
    change("access_log = \"second.log\"\n", "", "/three").await;
    scene.eventually("the second is written", async || paths(&second) == ["/two"]).await;
    scene.edit("[node]\n", "access_log = \"second.log\"\n[node]\n");
    assert_eq!(scene.reload().await.0, 0);
    scene.ask_for("/four").await;
    scene.eventually("it is continued", async || paths(&second) == ["/two", "/four"]).await;
    assert_eq!(paths(&first), ["/one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_log_is_continued_in_a_new_file_also_where_the_configuration_is_broken() {
    let scene = Scene::set(Script { top: "access_log = \"access.log\"\n", ..Script::default() }).await;
    let mut scene = scene;
    scene.start_daemon().await;
    scene.wait_ready().await;
    let (log, old) = (scene.path("access.log"), scene.path("access.log.1"));
    scene.ask_for("/before").await;
    scene.eventually("it is written", async || paths(&log) == ["/before"]).await;
    std::fs::rename(&log, &old).expect("it can be renamed");
    scene.edit("failover_after", "failover_aftre");
    scene.hang_up_in_vain().await;
    scene.eventually("there is a new file", async || log.exists()).await;
    scene.ask_for("/after").await;
    scene
        .eventually("it is continued", async || paths(&log).last().is_some_and(|path| path == "/after"))
        .await;
    assert_eq!(paths(&old), ["/before"]);
}

/// certbot keeps the files of each renewal and moves two links, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_behind_links_that_are_moved_are_read_anew() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let scene = &secured.scene;
    let link = |what: &str, to: &str| {
        let new = scene.path("new-link");
        std::os::unix::fs::symlink(scene.path(to), &new).expect("a link");
        std::fs::rename(new, scene.path(what)).expect("it takes its place");
    };
    let ends =
        async |name| scene.metric("tidegate_certificate_expires_timestamp_seconds", &[("name", name)]).await;
    let der = secured.issue("renewal1", &["renewed.test", HOST]);
    link("www.crt", "renewal1.crt");
    // One link is moved, the other is not yet: refused, and the old one is served.
    let before = shown(&secured.shake(secured.https, HOST, b"http/1.1").await.expect("a session"));
    scene.hang_up_in_vain().await;
    let kept = shown(&secured.shake(secured.https, HOST, b"http/1.1").await.expect("a session"));
    assert_eq!(kept, before);
    assert!(ends(HOST).await > 0.0 && ends("renewed.test").await == 0.0);
    link("www.key", "renewal1.key");
    scene.hang_up().await;
    assert!(ends(HOST).await == 0.0 && ends("renewed.test").await > 0.0, "named by its first name");
    for (at, alpn) in [(secured.https, &b"http/1.1"[..]), (secured.dot, b"dot")] {
        assert_eq!(shown(&secured.shake(at, HOST, alpn).await.expect("a session")), der);
    }
}

/// Whoever holds a ticket of a session before the change is served, and by the certificate of today if it asks for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_across_a_change_of_the_certificate() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let mut config = rustls::ClientConfig::clone(secured.connector(b"http/1.1").config());
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let visit = async || {
        let mut session = shake(&connector, secured.https, HOST).await.expect("a session");
        session
            .write_all(&request("GET", HOST, "/", &[("Connection", "close")], b""))
            .await
            .expect("it is read");
        let mut answer = Vec::new();
        session.read_to_end(&mut answer).await.expect("an answer with its end");
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        session.get_ref().1.handshake_kind().expect("the handshake is done")
    };
    assert_eq!(visit().await, rustls::HandshakeKind::Full);
    let new = secured.issue("www", &[HOST]);
    secured.scene.hang_up().await;
    assert_eq!(visit().await, rustls::HandshakeKind::Resumed);
    let fresh = secured.shake(secured.https, HOST, b"http/1.1").await.expect("a session");
    assert_eq!(shown(&fresh), new);
    // Where the oldest version of TLS is another one, the sessions of before are not.
    secured.scene.edit("[listen]\n", "[listen]\ntls_version_min = \"1.3\"\n");
    secured.scene.hang_up().await;
    assert_eq!(visit().await, rustls::HandshakeKind::Full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_need_a_restart_are_named_and_keep_their_values() {
    let mut scene = Scene::set(Script { top: "probes_per_target_max = 3\n", ..Script::default() }).await;
    scene.start_daemon().await;
    scene.wait_ready().await;
    scene.edit("name = \"edge\"", "name = \"other\"");
    scene.edit("probes_per_target_max = 3", "probes_per_target_max = 4");
    let folder = scene.path("state").display().to_string();
    scene.edit(&format!("state_dir = \"{folder}\""), "state_dir = \"elsewhere\"");
    scene.edit("ttl = \"5s\"", "ttl = \"6s\"");
    let reply = scene.json(&["reload"]).await;
    let mut keys: Vec<_> = reply["restart"].as_array().expect("a list").iter().collect();
    keys.sort_by_key(|key| key["key"].to_string());
    let named: Vec<_> = keys.iter().map(|key| key["key"].as_str().expect("a name")).collect();
    // The socket's path follows from the folder.
    assert_eq!(named, ["listen.socket", "node.name", "probes_per_target_max", "state_dir"]);
    assert_eq!((&keys[2]["kept"], &keys[2]["configured"]), (&"3".into(), &"4".into()), "{reply}");
    assert_eq!(reply["changes"]["zones"]["changed"], 1, "the rest is taken: {reply}");
    assert_eq!(scene.json(&["status"]).await["node"], "edge");
    assert!(!scene.path("elsewhere").exists());
    // They are named again as long as it is so, to people, too.
    let (code, said) = scene.reload().await;
    assert_eq!(code, 0, "{said}");
    for name in named {
        assert!(said.contains(name), "`{name}` is not in: {said}");
        scene.wait_log(&format!("key=\"{name}\"")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_only_the_end_reads_are_taken_and_told() {
    let mut scene = Scene::play(Script { top: "drain_deadline = \"10m\"\n", ..Script::default() }).await;
    scene.edit("drain_deadline = \"10m\"", "drain_deadline = \"200ms\"");
    let reply = scene.json(&["reload"]).await;
    assert_eq!(reply["changes"]["settings"]["changed"], 1, "{reply}");
    scene.mode("main1", "hold").await;
    let mut held = TcpStream::connect(scene.http).await.expect("it is open");
    held.write_all(&request("GET", HOST, "/", &[("X-Id", "held")], b"")).await.expect("it is read");
    scene.eventually("the request is under way", async || scene.has_executed("held")).await;
    scene.signal_daemon(Signal::TERM);
    assert_eq!(scene.wait_daemon().await, Some(0), "it did not wait ten minutes");
}
