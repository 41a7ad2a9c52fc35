//! DNS over TLS: the answers of TCP in a session, the bounds on handshakes and sessions, and the end of service.

use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ClientConnection;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ALL_VERSIONS, ClientConfig, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tidegate_dns::tcp::TcpLimits;
use tidegate_dns::{DropReason, Protocol, tls_config};

use crate::harness::{
    DEADLINE, Seen, Server, ask_tcp, ask_udp, connect, framed, question, read_framed, table_view,
};
use crate::streams::{is_closed, wait_for};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);
const NAME: &str = "dns.example.test";

type Session = StreamOwned<ClientConnection, TcpStream>;

/// Certificates that can be replaced, as in a reload.
#[derive(Debug)]
struct Current(Mutex<Arc<CertifiedKey>>);

impl Current {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(certificate())))
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.lock().unwrap().cert[0].clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }
}

fn certificate() -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = ring::default_provider();
    Arc::new(CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider).unwrap())
}

fn start(limits: TcpLimits) -> (Server, Arc<Current>) {
    let current = Current::new();
    let config = tls_config(current.clone(), ALL_VERSIONS).unwrap();
    (Server::start_all(table_view(), limits, Some(config)), current)
}

fn client(
    trusted: CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    Arc::new(config)
}

/// A session whose handshake is done, or why there is none.
fn open(server: &Server, config: Arc<ClientConfig>) -> std::io::Result<Session> {
    let connection = ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap();
    let mut session = StreamOwned::new(connection, connect(server.tls));
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    Ok(session)
}

fn ask(session: &mut Session, query: &[u8]) -> Option<Vec<u8>> {
    session.write_all(&framed(query)).ok()?;
    read_framed(session)
}

#[test]
fn answers_over_tls_are_those_of_tcp_byte_for_byte_in_both_versions() {
    let (server, current) = start(TcpLimits::default());
    let names = [
        "www.example.test A",
        "nothing.example.test A",
        "big.example.test TXT",
        "www.other.test A edns=4096",
    ];
    for (version, number) in [(&TLS12, 0x0303), (&TLS13, 0x0304)] {
        let mut session = open(&server, client(current.der(), &[version])).unwrap();
        assert_eq!(u16::from(session.conn.protocol_version().unwrap()), number);
        assert_eq!(session.conn.alpn_protocol(), Some(&b"dot"[..]));
        for name in names {
            let query = question(name);
            assert_eq!(ask(&mut session, &query), ask_tcp(server.address, &query), "{name}");
        }
    }
    let queries = server.counts.queries.lock().unwrap();
    assert_eq!(queries.iter().filter(|(protocol, ..)| *protocol == Protocol::Tls).count(), 2 * names.len());
}

#[test]
fn pipelined_questions_are_answered_in_order_over_tls() {
    let (server, current) = start(TcpLimits::default());
    let mut session = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    let names = ["www.example.test A", "big.example.test TXT", "nothing.example.test A"];
    let queries: Vec<Vec<u8>> = (0..60).map(|index| question(names[index % names.len()])).collect();
    let all: Vec<u8> = queries.iter().flat_map(|query| framed(query)).collect();
    all.chunks(777).for_each(|piece| session.write_all(piece).unwrap());
    for query in &queries {
        let answer = read_framed(&mut session).expect("an answer");
        assert_eq!(answer[..2], query[..2], "out of order");
        Seen::decode(query, &answer);
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions_and_disturbs_no_old_one() {
    let (server, current) = start(TcpLimits::default());
    let (query, before) = (question("www.example.test A"), current.der());
    let mut old = open(&server, client(before.clone(), ALL_VERSIONS)).unwrap();
    assert!(ask(&mut old, &query).is_some());
    *current.0.lock().unwrap() = certificate();
    assert!(open(&server, client(before, ALL_VERSIONS)).is_err(), "the old one is not shown any more");
    let mut new = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    assert!(ask(&mut new, &query).is_some());
    assert!(ask(&mut old, &query).is_some());
}

#[test]
fn sessions_are_resumed() {
    let (server, current) = start(TcpLimits::default());
    let query = question("www.example.test A");
    let config = client(current.der(), ALL_VERSIONS);
    let kind = |session: &Session| session.conn.handshake_kind();
    // The tickets come with the first answer.
    let mut first = open(&server, config.clone()).unwrap();
    assert!(ask(&mut first, &query).is_some());
    assert_eq!(kind(&first), Some(HandshakeKind::Full));
    let mut second = open(&server, config).unwrap();
    assert!(ask(&mut second, &query).is_some());
    assert_eq!(kind(&second), Some(HandshakeKind::Resumed));
}

#[test]
fn a_client_that_speaks_another_protocol_or_version_is_refused() {
    let current = Current::new();
    let config = tls_config(current.clone(), &[&TLS13]).unwrap();
    let server = Server::start_all(table_view(), TcpLimits::default(), Some(config));
    assert!(open(&server, client(current.der(), &[&TLS12])).is_err());
    let mut other = (*client(current.der(), ALL_VERSIONS)).clone();
    other.alpn_protocols = vec![b"h2".to_vec()];
    assert!(open(&server, Arc::new(other)).is_err());
    let mut none = (*client(current.der(), ALL_VERSIONS)).clone();
    none.alpn_protocols.clear();
    assert!(open(&server, Arc::new(none)).is_ok(), "who names no protocol is not asked for one");
    let mut plain = connect(server.tls);
    plain.write_all(&framed(&question("www.example.test A"))).unwrap();
    // An alert, then the end.
    let _ = plain.read_to_end(&mut Vec::new());
    wait_for("they are counted", || server.counts.drops(DropReason::HandshakeFailed) >= 3);
    assert!(server.counts.queries.lock().unwrap().is_empty());
}

#[test]
fn slow_handshakes_are_cut_and_others_are_served_meanwhile() {
    let limits = TcpLimits::new(10, LONG, LONG);
    let (server, current) = start(limits.clone());
    // As a reload does: the listener is served already.
    limits.set_handshake_timeout(SHORT * 4);
    let mut silent = connect(server.tls);
    let mut trickling = connect(server.tls);
    let started = Instant::now();
    // The begin of a record of a handshake, then a byte now and then: each comes soon, all of them together do not.
    let mut hello = vec![0x16, 3, 1, 2, 0];
    hello.resize(1000, 1);
    for byte in hello {
        if trickling.write_all(&[byte]).is_err() || started.elapsed() > DEADLINE {
            break;
        }
        std::thread::sleep(SHORT / 10);
    }
    assert!(started.elapsed() < DEADLINE, "it was never cut");
    assert!(is_closed(&mut silent));
    wait_for("both are counted", || server.counts.drops(DropReason::TimedOut) == 2);
    let mut session = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    assert!(ask(&mut session, &question("www.example.test A")).is_some());
}

#[test]
fn idle_sessions_and_trickling_messages_are_closed() {
    let (server, current) = start(TcpLimits::new(10, SHORT, LONG));
    let mut idle = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    // With close_notify (RFC 8446 section 6.1); the client would report a session without as cut.
    assert_eq!(idle.read(&mut [0]).expect("closed, not cut"), 0);
    wait_for("it is counted", || server.counts.drops(DropReason::TimedOut) == 1);

    let (server, current) = start(TcpLimits::new(10, LONG, SHORT));
    let mut session = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    let started = Instant::now();
    for byte in framed(&question("www.example.test A")).iter().cycle() {
        if session.write_all(&[*byte]).is_err() || started.elapsed() > SHORT * 3 {
            break;
        }
        std::thread::sleep(SHORT / 10);
    }
    wait_for("the trickling one is counted", || server.counts.drops(DropReason::TimedOut) == 1);
    assert!(server.counts.queries.lock().unwrap().is_empty());
}

#[test]
fn surplus_sessions_are_dropped_before_their_handshake() {
    let (server, current) = start(TcpLimits::new(10, LONG, LONG).with_per_address_max(1));
    let query = question("www.example.test A");
    let mut first = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    assert!(ask(&mut first, &query).is_some());
    let refused = open(&server, client(current.der(), ALL_VERSIONS)).map(drop).unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{refused}"
    );
    assert_eq!(server.counts.drops(DropReason::TooManyFromAddress), 1);
    assert!(ask(&mut first, &query).is_some());
}

#[test]
fn shutdown_answers_what_was_sent_over_tls_then_closes_it_properly() {
    let (server, current) = start(TcpLimits::new(10, LONG, LONG));
    let mut session = open(&server, client(current.der(), ALL_VERSIONS)).unwrap();
    let mut shaking = connect(server.tls);
    let queries: Vec<Vec<u8>> = (0..50).map(|_| question("medium.example.test A")).collect();
    assert!(ask(&mut session, &queries[0]).is_some());
    session.write_all(&queries.iter().flat_map(|query| framed(query)).collect::<Vec<u8>>()).unwrap();
    server.shut_down();
    for query in &queries {
        let answer = read_framed(&mut session).expect("an answer to what was sent before the end");
        assert_eq!(answer[..2], query[..2]);
    }
    // A clean end: with close_notify, so that the client knows that nothing is missing.
    assert_eq!(session.read(&mut [0]).expect("closed, not cut"), 0);
    assert!(is_closed(&mut shaking));
}

#[test]
fn kdig_gets_the_same_over_tls_as_over_tcp() {
    let (server, _) = start(TcpLimits::default());
    let kdig = |address: std::net::SocketAddr, transport: &str| {
        let out = std::process::Command::new("kdig")
            .args(["@127.0.0.1", "-p", &address.port().to_string(), transport, "+noall", "+answer"])
            .args(["www.example.test", "A", "medium.example.test", "A"])
            .output()
            .expect("kdig (package knot-dnsutils) runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let over_tls = kdig(server.tls, "+tls");
    assert!(over_tls.iter().any(|line| line.starts_with("www.example.test.")), "{over_tls:?}");
    assert_eq!(over_tls, kdig(server.address, "+tcp"));
    assert!(ask_udp(server.address, &question("www.example.test A")).is_some());
}
