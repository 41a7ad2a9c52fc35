//! HTTPS and DNS over TLS through the daemon: one set of certificates, chosen by name, changed by a reload.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{exchange, request};
use crate::scene::{HOST, PATIENCE, Scene, Script, free_address, text};
use crate::secure::connector;

/// A scene with listeners for TLS and a CA of its own.
pub(crate) struct Secured {
    pub(crate) scene: Scene,
    ca: CertifiedIssuer<'static, KeyPair>,
    pub(crate) https: SocketAddr,
    pub(crate) dot: SocketAddr,
}

impl Secured {
    /// Certificates by file name, with their names, in this order.
    pub(crate) async fn set(certificates: &[(&str, &[&str])]) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random numbers");
        let ca = CertifiedIssuer::self_signed(authority, key).expect("a certificate");
        let scene = Scene::set(Script::default()).await;
        let (https, dot) = (free_address(), free_address());
        let listed: Vec<_> = certificates
            .iter()
            .map(|(file, _)| format!("{{ cert = \"{file}.crt\", key = \"{file}.key\" }}"))
            .collect();
        scene.edit("[node]\n", &format!("certificates = [{}]\n[node]\n", listed.join(", ")));
        scene.edit("[listen]\n", &format!("[listen]\nhttps = [\"{https}\"]\ndot = [\"{dot}\"]\n"));
        let secured = Self { scene, ca, https, dot };
        for (file, names) in certificates {
            secured.issue(file, names);
        }
        let Self { mut scene, ca, .. } = secured;
        scene.start_daemon().await;
        scene.wait_ready().await;
        Self { scene, ca, https, dot }
    }

    /// The certificate of its CA, in PEM.
    pub(crate) fn authority(&self) -> String {
        self.ca.as_ref().pem()
    }

    /// Writes a new certificate for these names, and its key.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("random numbers");
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, &self.ca).expect("a certificate");
        self.scene.write(&format!("{file}.key"), &key.serialize_pem());
        self.scene.write(&format!("{file}.crt"), &certificate.pem());
        certificate.der().clone()
    }

    pub(crate) fn connector(&self, alpn: &[u8]) -> TlsConnector {
        connector(self.ca.der(), alpn)
    }

    /// A session with a certificate that is verified for `name`.
    pub(crate) async fn shake(
        &self,
        at: SocketAddr,
        name: &str,
        alpn: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        shake(&self.connector(alpn), at, name).await
    }
}

pub(crate) async fn shake(
    connector: &TlsConnector,
    at: SocketAddr,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    connector.connect(name, stream).await
}

pub(crate) fn shown(session: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    session.get_ref().1.peer_certificates().expect("a certificate was shown")[0].clone().into_owned()
}

/// One request on a session, and the whole answer.
pub(crate) async fn visit(mut session: TlsStream<TcpStream>) -> io::Result<String> {
    session.write_all(&request("GET", HOST, "/", &[("Connection", "close")], b"")).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, session.read_to_end(&mut answer)).await.map_err(io::Error::other)??;
    Ok(text(&answer))
}

/// The answer to one question on a session of DNS over TLS.
pub(crate) async fn resolve(session: &mut TlsStream<TcpStream>) -> io::Result<Vec<u8>> {
    let question = b"\0\x2a\x01\0\0\x01\0\0\0\0\0\0\x03www\x05scene\x04test\0\0\x01\0\x01";
    session.write_all(&(question.len() as u16).to_be_bytes()).await?;
    session.write_all(question).await?;
    let mut answer = vec![0; usize::from(session.read_u16().await?)];
    session.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_of_every_listener() {
    let secured =
        Secured::set(&[("first", &["first.test"]), ("www", &[HOST]), ("star", &["*.star.test"])]).await;
    for (at, alpn) in [(secured.https, &b"http/1.1"[..]), (secured.dot, b"dot")] {
        for name in [HOST, "first.test", "a.star.test"] {
            secured.shake(at, name, alpn).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        // An unknown name gets the first certificate, which is not for it.
        let refused = secured.shake(at, "unknown.test", alpn).await.map(drop).expect_err("not its name");
        assert!(refused.to_string().contains("first.test"), "{refused}");
    }
    let session = secured.shake(secured.https, HOST, b"http/1.1").await.expect("a session");
    let answer = visit(session).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("main1"), "{answer}");
    let mut session = secured.shake(secured.dot, HOST, b"dot").await.expect("a session");
    for _ in 0..3 {
        let answer = resolve(&mut session).await.expect("an answer");
        assert_eq!((&answer[..2], answer[3] & 0x0f, answer[7]), (&b"\0\x2a"[..], 0, 1));
    }
    let count = secured.scene.metric("tidegate_dns_queries_total", &[("protocol", "tls")]).await;
    assert_eq!(count, 3.0);
    let ends = async |name| {
        secured.scene.metric("tidegate_certificate_expires_timestamp_seconds", &[("name", name)]).await
    };
    assert!(ends(HOST).await > 0.0 && ends("*.star.test").await > 0.0);
}

#[tokio::test]
async fn certificates_are_reloaded_under_load_without_a_failed_handshake() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = [secured.https, secured.dot]
        .into_iter()
        .map(|at| {
            let is_dns = at == secured.dot;
            let connector = secured.connector(if is_dns { b"dot" } else { b"http/1.1" });
            let (stop, done) = (stop.clone(), done.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let mut session = shake(&connector, at, HOST).await.expect("a handshake");
                    if is_dns {
                        resolve(&mut session).await.expect("an answer");
                    } else {
                        let answer = visit(session).await.expect("an answer");
                        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let scene = &secured.scene;
    for _ in 0..10 {
        let new = secured.issue("www", &[HOST]);
        scene.signal_daemon(Signal::HUP);
        let is_shown = async |at, alpn: &[u8]| {
            secured.shake(at, HOST, alpn).await.is_ok_and(|session| shown(&session) == new)
        };
        scene
            .eventually("both listeners show the new certificate", async || {
                is_shown(secured.https, b"http/1.1").await && is_shown(secured.dot, b"dot").await
            })
            .await;
        let before = done.load(Ordering::SeqCst);
        scene.eventually("the load goes on", async || done.load(Ordering::SeqCst) > before + 4).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in load {
        client.await.expect("no handshake failed");
    }
}

#[tokio::test]
async fn a_bad_certificate_keeps_the_old_one() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let scene = &secured.scene;
    let before = shown(&secured.shake(secured.https, HOST, b"http/1.1").await.expect("a session"));
    // A new certificate whose key has not been written yet: the usual accident.
    let old_key = std::fs::read_to_string(scene.path("www.key")).expect("the key");
    secured.issue("www", &[HOST]);
    scene.write("www.key", &old_key);
    let output = scene.cli(&["reload"]).await;
    assert_ne!(output.status.code(), Some(0));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("www.crt") && said.contains("www.key"), "{said}");
    for (at, alpn) in [(secured.https, &b"http/1.1"[..]), (secured.dot, b"dot")] {
        assert_eq!(shown(&secured.shake(at, HOST, alpn).await.expect("the old one")), before);
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_at_the_start_and_by_the_check() {
    let mut scene = Scene::set(Script::default()).await;
    scene.edit("[node]\n", "certificates = [{ cert = \"gone.crt\", key = \"gone.key\" }]\n[node]\n");
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot read") && said.contains("gone.crt"), "{said}");
    scene.write("gone.crt", "nothing");
    let output = scene.cli(&["check", "--config", &scene.path("tidegate.toml").display().to_string()]).await;
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("gone.crt") && said.contains("BEGIN CERTIFICATE"), "{said}");
}

#[tokio::test]
async fn plain_http_is_redirected_after_a_reload_and_a_redirect_is_no_failure() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let scene = &secured.scene;
    scene.edit("[service.web]\n", "[service.web]\nredirect_https = true\n");
    scene.edit("[node]\n", "access_log = \"access.log\"\n[node]\n");
    let output = scene.cli(&["reload"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let answer = exchange(scene.http, &request("GET", HOST, "/a?b", &[], b"")).await.expect("an answer");
    assert_eq!((answer.code, answer.header("location")), (308, Some(&*format!("https://{HOST}/a?b"))));
    let log = scene.path("access.log");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    scene.eventually("it is logged", async || read().ends_with('\n')).await;
    let line: serde_json::Value = serde_json::from_str(&read()).expect("one line");
    assert_eq!((&line["code"], &line["fault"]), (&308.into(), &serde_json::Value::Null), "{line}");
}
