//! Before the first request: TLS, the PROXY protocol, whom to believe, and how many may come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tidegate_proxy::{
    ClientAddress, Front, FrontTls, HandshakeFault, Limits, Network, RefusedFor, TlsVersion, front_tls,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::kit::*;

/// A front with a certificate for `app.test`, and that certificate.
fn tls(settings: FrontTls) -> (Front, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["app.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = rustls::crypto::ring::default_provider();
    let pair = CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap();
    let resolver = Arc::new(SingleCertAndKey::from(pair));
    (Front::tls(front_tls(resolver, settings).unwrap()), certificate)
}

fn https() -> (Front, CertificateDer<'static>) {
    tls(FrontTls { http2: false, ..FrontTls::default() })
}

fn client_config(
    certificate: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn shake(tcp: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    within(connector.connect(ServerName::try_from("app.test").unwrap(), tcp)).await
}

/// One request on a TLS stream; its answer, which has a body of this text.
async fn ask_over(stream: &mut TlsStream<TcpStream>, request: &str, body: &str) -> String {
    within(async {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(body.as_bytes()) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
        String::from_utf8(answer).unwrap()
    })
    .await
}

async fn edge(addrs: &[SocketAddr], limits: Limits, addresses: ClientAddress, front: Front) -> Edge {
    Edge::fronted(service(addrs), limits, addresses, front).await
}

fn loopback() -> Vec<Network> {
    vec![Network::new([127, 0, 0, 0].into(), 8)]
}

#[tokio::test]
async fn https_serves_keeps_resumes_and_says_so_to_the_origin() {
    let origin = Origin::named("a").await;
    let (front, certificate) = https();
    let edge = edge(&[origin.addr], Limits::default(), ClientAddress::default(), front).await;
    for version in [&TLS12, &TLS13] {
        let config = client_config(&certificate, &[version]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let tcp = TcpStream::connect(edge.addr).await.unwrap();
            let mut stream = shake(tcp, &config).await.unwrap();
            for _ in 0..3 {
                let answer = ask_over(&mut stream, GET, "\r\n\r\na").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
        }
    }
    assert_eq!(origin.log.requests(), 12);
    for n in 0..12 {
        assert_eq!(field(&origin.log.head(n), "x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test]
async fn the_oldest_version_is_as_configured() {
    let origin = Origin::named("a").await;
    let (front, certificate) = tls(FrontTls { version_min: TlsVersion::Tls13, http2: false });
    let edge = edge(&[origin.addr], Limits::default(), ClientAddress::default(), front).await;
    let connect = || TcpStream::connect(edge.addr);
    assert!(shake(connect().await.unwrap(), &client_config(&certificate, &[&TLS12])).await.is_err());
    assert!(shake(connect().await.unwrap(), &client_config(&certificate, &[&TLS13])).await.is_ok());
    until(|| edge.told.handshakes.lock().unwrap()[..] == [HandshakeFault::Protocol]).await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_a_400_and_nothing_more() {
    let origin = Origin::named("a").await;
    let (front, _) = https();
    let edge = edge(&[origin.addr], Limits::default(), ClientAddress::default(), front).await;
    let mut client = edge.client().await;
    assert_eq!(client.ask(GET).await.reason(), (400, "plain-http"));
    assert!(client.is_closed().await);
    assert_eq!(edge.told.handshakes.lock().unwrap()[..], [HandshakeFault::PlainHttp]);
    assert_eq!(origin.log.connections(), 0);
}

#[tokio::test]
async fn a_handshake_has_one_deadline_that_trickling_does_not_extend() {
    let origin = Origin::named("a").await;
    let (front, certificate) = https();
    let limits = Limits { handshake_timeout: Duration::from_millis(600), ..Limits::default() };
    let edge = edge(&[origin.addr], limits, ClientAddress::default(), front).await;
    let began = Instant::now();
    let mut slow = edge.client().await;
    let trickle = async {
        // The head of a handshake record of 512 bytes, then a byte at a time.
        let mut bytes = vec![0x16, 3, 1, 2, 0];
        loop {
            if slow.stream.write_all(&bytes).await.is_err() {
                return;
            }
            bytes = vec![1];
            tokio::time::sleep(Duration::from_millis(20)).await;
            if slow.stream.try_read(&mut [0; 64]).is_ok_and(|n| n == 0) {
                return;
            }
        }
    };
    let others = async {
        let tcp = TcpStream::connect(edge.addr).await.unwrap();
        let mut stream = shake(tcp, &client_config(&certificate, &[&TLS13])).await.unwrap();
        ask_over(&mut stream, GET, "\r\n\r\na").await;
    };
    within(async { tokio::join!(trickle, others) }).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "not before its time");
    assert!(edge.told.handshakes.lock().unwrap().contains(&HandshakeFault::Timeout));
}

fn v2(source: [u8; 4], port: u16) -> Vec<u8> {
    let addresses = [&source[..], &[198, 51, 100, 1], &port.to_be_bytes(), &[1, 187]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

#[tokio::test]
async fn a_trusted_networks_proxy_header_names_the_client() {
    let origin = Origin::named("a").await;
    let addresses = ClientAddress { proxy_protocol_from: loopback(), ..ClientAddress::default() };
    let plain = edge(&[origin.addr], Limits::default(), addresses.clone(), Front::plain()).await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (header, expected) in [
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2([203, 0, 113, 8], 4711), "203.0.113.8"),
        (local, "127.0.0.1"),
    ] {
        let mut client = plain.client().await;
        // The request comes in the same packet: nothing of it may be lost.
        client.send([&header[..], GET.as_bytes()].concat()).await;
        assert_eq!(client.response().await.unwrap().text(), "a");
        let head = origin.log.head(origin.log.requests() - 1);
        assert_eq!(field(&head, "x-forwarded-for"), Some(expected));
        assert_eq!(client.ask(GET).await.text(), "a", "the connection is kept");
    }

    let (front, certificate) = https();
    let secure = edge(&[origin.addr], Limits::default(), addresses, front).await;
    let mut tcp = TcpStream::connect(secure.addr).await.unwrap();
    tcp.write_all(&v2([203, 0, 113, 9], 1)).await.unwrap();
    let mut stream = shake(tcp, &client_config(&certificate, &[&TLS13])).await.unwrap();
    ask_over(&mut stream, GET, "\r\n\r\na").await;
    let head = origin.log.head(origin.log.requests() - 1);
    assert_eq!(field(&head, "x-forwarded-for"), Some("203.0.113.9"));
}

#[tokio::test]
async fn without_a_sound_proxy_header_a_trusted_networks_connection_is_closed() {
    let origin = Origin::named("a").await;
    let addresses = ClientAddress { proxy_protocol_from: loopback(), ..ClientAddress::default() };
    let limits = Limits { header_deadline: Duration::from_millis(500), ..Limits::default() };
    let edge = edge(&[origin.addr], limits, addresses, Front::plain()).await;
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107));
    let huge = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    let broken: [&[u8]; 6] = [
        GET.as_bytes(),
        b"PROXY TCP4 203.0.113.7 198.51.100.1 56324\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\nGET / HTTP/1.1\r\n",
        long.as_bytes(),
        &huge,
        // Never complete: the deadline ends it.
        b"PROXY TCP4 203.0.",
    ];
    for header in broken {
        let mut client = edge.client().await;
        client.send(header).await;
        assert!(client.is_closed().await, "{header:?}");
    }
    assert_eq!(edge.told.refused.lock().unwrap()[..], [RefusedFor::ProxyHeader; 6]);
    assert_eq!(origin.log.connections(), 0);
}

#[tokio::test]
async fn elsewhere_a_proxy_header_is_a_malformed_request() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let v1 = format!("PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n{GET}").into_bytes();
    for header in [v1, [v2([203, 0, 113, 8], 4711), GET.into()].concat()] {
        let answer = edge.ask(header).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(origin.log.connections(), 0);
}

const FORWARDED: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: shop.test\r\nForwarded: for=203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n\r\n";

#[tokio::test]
async fn x_forwarded_is_kept_from_believed_peers_and_replaced_from_others() {
    let origin = Origin::named("a").await;
    let stranger = Edge::new(service(&[origin.addr])).await;
    stranger.ask(FORWARDED).await;
    let addresses = ClientAddress { forwarded_from: loopback(), ..ClientAddress::default() };
    let believing = edge(&[origin.addr], Limits::default(), addresses, Front::plain()).await;
    believing.ask(FORWARDED).await;
    for (n, name, expected) in [
        (0, "x-forwarded-for", Some("127.0.0.1")),
        (0, "x-forwarded-proto", Some("http")),
        (0, "x-forwarded-host", Some("app.test")),
        (0, "forwarded", None),
        (0, "x-real-ip", None),
        (1, "x-forwarded-for", Some("203.0.113.7, 127.0.0.1")),
        (1, "x-forwarded-proto", Some("https")),
        (1, "x-forwarded-host", Some("shop.test")),
        (1, "forwarded", Some("for=203.0.113.7")),
        (1, "x-real-ip", Some("203.0.113.7")),
    ] {
        assert_eq!(field(&origin.log.head(n), name), expected, "{name} of request {n}");
    }
}

#[tokio::test]
async fn connections_beyond_the_total_are_closed_until_one_has_left_or_the_bound_is_raised() {
    let origin = Origin::named("a").await;
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits.clone()).await;
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask(GET).await;
    second.ask(GET).await;
    let mut third = edge.client().await;
    assert_eq!(third.response().await.unwrap().reason(), (503, "too-many-connections"));
    assert!(third.is_closed().await);
    assert_eq!(second.ask(GET).await.text(), "a", "the others are served");

    edge.shared.reconfigure(Limits { connections_max: 3, ..limits.clone() }, ClientAddress::default());
    let mut third = edge.client().await;
    assert_eq!(third.ask(GET).await.text(), "a");
    edge.shared.reconfigure(limits, ClientAddress::default());
    assert_eq!(third.ask(GET).await.text(), "a", "a lower bound closes nobody");
    assert_eq!(edge.client().await.response().await.unwrap().status, 503);
    drop((first, second));
    until(|| edge.told.open.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    assert_eq!(edge.ask(GET).await.text(), "a");
    assert_eq!(edge.told.refused.lock().unwrap()[..], [RefusedFor::Total; 2]);
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_by_what_the_proxy_header_says() {
    let origin = Origin::named("a").await;
    let addresses = ClientAddress { proxy_protocol_from: loopback(), ..ClientAddress::default() };
    let limits = Limits { connections_per_address_max: Some(2), ..Limits::default() };
    let edge = edge(&[origin.addr], limits, addresses, Front::plain()).await;
    let connect = async |last: u8| {
        let mut client = edge.client().await;
        client.send(v2([203, 0, 113, last], 1)).await;
        client
    };
    let mut mine = [connect(1).await, connect(1).await];
    for client in &mut mine {
        assert_eq!(client.ask(GET).await.text(), "a");
    }
    let mut third = connect(1).await;
    assert_eq!(third.response().await.unwrap().reason(), (429, "too-many-connections"));
    assert!(third.is_closed().await);
    assert_eq!(connect(2).await.ask(GET).await.text(), "a", "others are not concerned");
    drop(mine);
    until(|| edge.told.open.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
    assert_eq!(connect(1).await.ask(GET).await.text(), "a");
    assert_eq!(edge.told.refused.lock().unwrap()[..], [RefusedFor::Address]);
}

#[tokio::test]
async fn a_balancer_that_names_nobody_is_not_bounded_as_one_client() {
    let origin = Origin::named("a").await;
    let addresses = ClientAddress { proxy_protocol_from: loopback(), ..ClientAddress::default() };
    let limits = Limits { connections_per_address_max: Some(1), ..Limits::default() };
    let edge = edge(&[origin.addr], limits, addresses, Front::plain()).await;
    let mut clients = [edge.client().await, edge.client().await];
    for client in &mut clients {
        client.send("PROXY UNKNOWN\r\n").await;
        assert_eq!(client.ask(GET).await.text(), "a");
    }
}

#[tokio::test]
async fn believed_proxies_are_not_bounded_per_address() {
    let origin = Origin::named("a").await;
    let addresses = ClientAddress { forwarded_from: loopback(), ..ClientAddress::default() };
    let limits = Limits { connections_per_address_max: Some(1), ..Limits::default() };
    let edge = edge(&[origin.addr], limits, addresses, Front::plain()).await;
    let mut clients = [edge.client().await, edge.client().await, edge.client().await];
    for client in &mut clients {
        assert_eq!(client.ask(GET).await.text(), "a");
    }
}
