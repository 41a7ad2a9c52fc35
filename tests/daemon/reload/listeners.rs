//! Listeners that come and go with a reload, those that cannot, and what lives on at them.

use std::net::SocketAddr;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::kit::Tunnel;
use super::{ZONE_HEAD, talking};
use crate::client::request;
use crate::scene::{HOST, PATIENCE, Scene, Script, free_address};
use crate::talker::Talker;
use crate::tls::{Secured, resolve};

const TALK: &str = "talk.test";

/// HTTPS and DNS over TLS, and a service that talks for long.
async fn secured(talker: &Talker) -> Secured {
    let secured = Secured::set(&[("www", &[HOST, TALK])]).await;
    secured.scene.edit("[zone.", &talking(talker));
    assert_eq!(secured.scene.reload().await.0, 0);
    secured
        .scene
        .eventually("the talker is up", async || {
            secured.scene.metric("tidegate_origin_up", &[("service", "talk")]).await > 0.0
        })
        .await;
    secured
}

/// A download over HTTP/2 that has begun.
struct Download(h2::RecvStream);

impl Download {
    async fn begin(secured: &Secured, talker: &Talker) -> Self {
        let session = secured.shake(secured.https, TALK, b"h2").await.expect("a session");
        let (client, connection) = h2::client::handshake(session).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("room for a stream");
        let request = http::Request::get(format!("https://{TALK}/slow")).body(()).expect("a request");
        let (answer, _) = client.send_request(request, true).expect("it can be sent");
        talker.feed(1);
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut download = Self(answer.into_body());
        assert_eq!(download.read(1).await, "x");
        download
    }

    async fn read(&mut self, length: usize) -> String {
        let mut read = Vec::new();
        while read.len() < length {
            let data = tokio::time::timeout(PATIENCE, self.0.data()).await.expect("more in time");
            let data: Bytes = data.expect("it was not cut short").expect("it was not cut");
            self.0.flow_control().release_capacity(data.len()).expect("it was received");
            read.extend_from_slice(&data);
        }
        String::from_utf8(read).expect("letters")
    }
}

async fn https_tunnel(
    secured: &Secured,
) -> Tunnel<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> {
    let session = secured.shake(secured.https, TALK, b"http/1.1").await.expect("a session");
    let mut tunnel = Tunnel::over(session, TALK).await;
    tunnel.echoes().await;
    tunnel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_streams_and_https_tunnels_outlive_reloads() {
    let talker = Talker::start().await;
    let secured = secured(&talker).await;
    let mut tunnel = https_tunnel(&secured).await;
    let mut download = Download::begin(&secured, &talker).await;
    let mut dns = secured.shake(secured.dot, HOST, b"dot").await.expect("a session");
    for turn in 0..5 {
        secured.issue("www", &[HOST, TALK]);
        secured.scene.write("scene.test.zone", &format!("{ZONE_HEAD}n{turn} IN A 192.0.2.{turn}\n"));
        assert_eq!(secured.scene.reload().await.0, 0);
        tunnel.echoes().await;
        talker.feed(1);
        assert_eq!(download.read(1).await, "x");
        assert_eq!(resolve(&mut dns).await.expect("an answer")[7], 1);
    }
    talker.feed(4);
    assert_eq!(download.read(4).await, "xxxx");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_and_dot_listeners_go_and_come_while_what_is_under_way_at_them_ends_by_itself() {
    let talker = Talker::start().await;
    let secured = secured(&talker).await;
    let scene = &secured.scene;
    let mut tunnel = https_tunnel(&secured).await;
    let mut download = Download::begin(&secured, &talker).await;
    let mut dns = secured.shake(secured.dot, HOST, b"dot").await.expect("a session");
    resolve(&mut dns).await.expect("an answer");

    let listeners = format!("https = [\"{}\"]\ndot = [\"{}\"]\n", secured.https, secured.dot);
    scene.edit(&listeners, "");
    let reply = scene.json(&["reload"]).await;
    assert_eq!(reply["changes"]["listeners"]["removed"], 2, "{reply}");
    for at in [secured.https, secured.dot] {
        scene.eventually("it is gone", async || TcpStream::connect(at).await.is_err()).await;
    }
    // A clean end of the session (RFC 8446, section 6.1).
    assert_eq!(dns.read(&mut [0]).await.expect("closed, not cut"), 0);
    tunnel.echoes().await;
    talker.feed(9);
    assert_eq!(download.read(9).await, "xxxxxxxxx");
    tunnel.echoes().await;

    scene.edit("[listen]\n", &format!("[listen]\n{listeners}"));
    let reply = scene.json(&["reload"]).await;
    assert_eq!(reply["changes"]["listeners"]["added"], 2, "{reply}");
    // At once, without waiting for anything.
    https_tunnel(&secured).await;
    let mut dns = secured.shake(secured.dot, HOST, b"dot").await.expect("a session");
    assert_eq!(resolve(&mut dns).await.expect("an answer")[7], 1);
    tunnel.echoes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_cannot_be_had_refuses_all_of_it_and_nothing_stays_bound() {
    let scene = Scene::play(Script::default()).await;
    let (one, other) = (free_address(), free_address());
    let holder = std::net::TcpListener::bind(other).expect("it is free");
    let few = format!("http = [\"{}\"]", scene.http);
    scene.edit(&few, &format!("http = [\"{}\", \"{one}\", \"{other}\"]", scene.http));
    scene.edit("[node]\n", "access_log = \"new.log\"\n[node]\n");
    let generation = scene.generation().await;
    let (code, said) = scene.reload().await;
    assert!(code == 1 && said.contains(&format!("cannot listen on http {other}")), "{code} {said}");
    assert!(!said.contains("this daemon itself"), "{said}");
    assert_eq!(scene.generation().await, generation);
    std::net::TcpListener::bind(one).expect("the other new one was let go");
    assert!(!scene.path("new.log").exists(), "a log that was not taken");
    assert_eq!(scene.visit().await.code, 200);
    drop(holder);
    assert_eq!(scene.reload().await.0, 0);
    for at in [one, other] {
        TcpStream::connect(at).await.expect("it is served");
    }
    assert!(scene.path("new.log").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_in_the_way_of_another_of_this_daemon_is_named_as_such() {
    let scene = Scene::play(Script::default()).await;
    let http = format!("http = [\"{}\"]", scene.http);
    let everywhere = SocketAddr::from(([0, 0, 0, 0], scene.http.port()));
    // What was HTTP is to be DNS; and one address is to be all.
    let moves = [
        format!("http = [\"{}\"]\ndot = []\n", free_address())
            + &format!("dns = [\"{}\", \"{}\"]", scene.dns, scene.http),
        format!("http = [\"{everywhere}\"]\ndns = [\"{}\"]", scene.dns),
    ];
    let config = std::fs::read_to_string(scene.path("tidegate.toml")).expect("it is there");
    let without_dns = config.replace(&format!("dns = [\"{}\"]\n", scene.dns), "");
    for new in moves {
        scene.write("tidegate.toml", &without_dns.replace(&http, &new));
        let (code, said) = scene.reload().await;
        assert!(code == 1 && said.contains("this daemon itself has that address"), "{code} {said}");
        assert_eq!(scene.visit().await.code, 200);
        assert_eq!(scene.steered().await.1, [scene.door("main")]);
    }
    // As it says: one after the other.
    scene.write("tidegate.toml", &config.replace(&http, &format!("http = [\"{}\"]", free_address())));
    assert_eq!(scene.reload().await.0, 0);
    scene.write("tidegate.toml", &config.replace(&http, &format!("http = [\"{everywhere}\"]")));
    assert_eq!(scene.reload().await.0, 0);
    assert_eq!(scene.visit().await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_exclude_each_other_are_told_before_anything_is_probed() {
    let mut scene = Scene::set(Script::default()).await;
    let everywhere = SocketAddr::from(([0, 0, 0, 0], scene.http.port()));
    scene.edit(
        &format!("http = [\"{}\"]", scene.http),
        &format!("http = [\"{}\", \"{everywhere}\"]", scene.http),
    );
    let (code, said) = scene.run_daemon().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&format!("{everywhere} is taken by `listen.http`")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_dot_listener_takes_another_handshake_timeout() {
    let secured = Secured::set(&[("www", &[HOST])]).await;
    let scene = &secured.scene;
    scene.edit("[site.main]", "[limits]\nhandshake_timeout = \"10m\"\n[site.main]");
    assert_eq!(scene.reload().await.0, 0);
    let mut patient = TcpStream::connect(secured.dot).await.expect("it is open");
    scene.edit("handshake_timeout = \"10m\"", "handshake_timeout = \"200ms\"");
    scene.signal_daemon(Signal::HUP);
    scene.eventually("it is reloaded", async || scene.reloads() == 2).await;
    for at in [secured.dot, secured.https] {
        let mut silent = TcpStream::connect(at).await.expect("it is open");
        let read = tokio::time::timeout(PATIENCE, silent.read(&mut [0])).await;
        assert!(!matches!(read.expect("it is cut at its deadline"), Ok(1..)));
    }
    let waits = tokio::time::timeout(std::time::Duration::from_millis(100), patient.read(&mut [0])).await;
    assert!(waits.is_err(), "one that began before has the time it began with");
}

/// Connections of one client are counted over all listeners of plain DNS, those that a reload brought included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_connections_of_an_address_are_counted_over_all_listeners() {
    const PER_ADDRESS_MAX: usize = 128;
    let scene = Scene::play(Script::default()).await;
    let second = free_address();
    scene.edit(&format!("dns = [\"{}\"]", scene.dns), &format!("dns = [\"{}\", \"{second}\"]", scene.dns));
    assert_eq!(scene.reload().await.0, 0);
    let question = b"\0\x20\0\x2a\x01\0\0\x01\0\0\0\0\0\0\x03www\x05scene\x04test\0\0\x01\0\x01";
    let ask = async |stream: &mut TcpStream| {
        // One that is closed already says so when it is read.
        let _ = stream.write_all(question).await;
        let mut length = [0; 2];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut length)).await;
        let read = read.expect("an answer or the end").is_ok();
        if read {
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).await.expect("the rest");
        }
        read
    };
    let mut open = Vec::new();
    for number in 0..PER_ADDRESS_MAX {
        let at = if number % 2 == 0 { scene.dns } else { second };
        let mut stream = TcpStream::connect(at).await.expect("it is open");
        assert!(ask(&mut stream).await, "connection {number}");
        open.push(stream);
    }
    for at in [scene.dns, second] {
        let mut surplus = TcpStream::connect(at).await.expect("the kernel takes it");
        assert!(!ask(&mut surplus).await, "one too many at {at}");
    }
    let dropped = [("protocol", "tcp"), ("reason", "too_many_from_address")];
    assert_eq!(scene.metric("tidegate_dns_dropped_total", &dropped).await, 2.0);
    drop(open);
    scene
        .eventually("places are given back", async || {
            ask(&mut TcpStream::connect(second).await.expect("it is open")).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_keepalive_connections_of_a_listener_that_stays_are_not_closed() {
    let scene = Scene::play(Script::default()).await;
    let mut connection = crate::client::Connection::open(scene.http).await.expect("the proxy listens");
    let question = request("GET", HOST, "/", &[], b"");
    for _ in 0..5 {
        assert_eq!(connection.exchange(&question).await.expect("the same connection").code, 200);
        scene.hang_up().await;
    }
    assert_eq!(connection.exchange(&question).await.expect("the same connection").code, 200);
}

#[tokio::test]
async fn limits_hold_as_the_reload_says_for_connections_that_are_open_too() {
    let scene = Scene::play(Script::default()).await;
    let long = request("GET", HOST, "/", &[("X-Long", &"l".repeat(4000))], b"");
    let mut open = crate::client::Connection::open(scene.http).await.expect("the proxy listens");
    assert_eq!(open.exchange(&long).await.expect("an answer").code, 200);
    scene.edit("[site.main]", "[limits]\nheader_bytes_max = 2048\n[site.main]");
    assert_eq!(scene.reload().await.0, 0);
    // It waits for this one by the limits of before.
    let short = request("GET", HOST, "/", &[], b"");
    assert_eq!(open.exchange(&short).await.expect("an answer").code, 200);
    assert_eq!(open.exchange(&long).await.expect("an answer").code, 431);
    let refused = crate::client::exchange(scene.http, &long).await.expect("an answer");
    assert_eq!(refused.code, 431);
    scene.edit("header_bytes_max = 2048", "header_bytes_max = 8192");
    assert_eq!(scene.reload().await.0, 0);
    assert_eq!(crate::client::exchange(scene.http, &long).await.expect("an answer").code, 200);
}
