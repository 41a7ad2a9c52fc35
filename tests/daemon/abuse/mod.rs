//! Attacks through the real daemon, in front of an origin that records every byte.
//!
//! Every attack carries a second request that must never be executed. What may come of it is exact: a refusal and the
//! end of the connection with nothing at the origin, or one well-formed request there. After each attack another client
//! is served, over the same connection to the origin if there is one: what was left on it would show.

mod attacks;
mod frames;
mod http2;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{exchange, request};
use crate::recorder::{Record, Recorder, Request};
use crate::scene::{HOST, PATIENCE, Scene, Script, text};
use crate::secure::Secure;
use attacks::{Attack, Body, Verdict};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: www.scene.test\r\n\r\n";

/// A daemon before one recording origin.
struct Stage {
    scene: Scene,
    secure: Secure,
    recorder: Recorder,
}

impl Stage {
    async fn set() -> Self {
        let mut scene = Scene::set(Script { sites: vec![("main", 1)], ..Script::default() }).await;
        let recorder = Recorder::start().await;
        scene.edit(&scene.origins["main1"].addr.to_string(), &recorder.addr.to_string());
        let secure = Secure::add_to(&scene);
        scene.start_daemon().await;
        scene.wait_ready().await;
        Self { scene, secure, recorder }
    }

    async fn connect(&self, tls: bool) -> io::Result<Box<dyn Wire>> {
        if tls {
            return Ok(Box::new(self.secure.connect(b"http/1.1").await?));
        }
        let stream = TcpStream::connect(self.scene.http).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// Another client is served, and the origin sees its request and what is returned.
    async fn next_client(&self, what: &str) -> Record {
        let request = request("GET", HOST, "/another", &[], b"");
        let answer = exchange(self.scene.http, &request).await.expect("another client gets an answer");
        assert_eq!((answer.code, &*answer.body), (200, "recorded"), "behind {what}");
        let mut record = self.recorder.take();
        let own = record.requests.iter().position(|request| request.head[0] == "GET /another HTTP/1.1");
        record.requests.remove(own.unwrap_or_else(|| panic!("{what}: {record:?}")));
        assert!(record.odd.is_empty(), "{what}: {record:?}");
        record
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The bytes of an attack: its head and what follows.
fn spell(attack: &Attack) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = attack.bytes.to_vec();
    if !attack.bytes.windows(10).any(|window| window == b"<smuggled>") {
        bytes.extend_from_slice(b"<smuggled>");
    }
    for (word, meaning) in [
        ("<host>", format!("Host: {HOST}")),
        ("<smuggled>", SMUGGLED.to_owned()),
        ("<length>", SMUGGLED.len().to_string()),
        ("<hex>", format!("{:x}", SMUGGLED.len())),
        ("<64k>", "a".repeat(64 * 1024)),
    ] {
        while let Some(at) = bytes.windows(word.len()).position(|window| window == word.as_bytes()) {
            bytes.splice(at..at + word.len(), meaning.bytes());
        }
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    (bytes, body)
}

/// All that comes until the end of the connection, which must come.
async fn read_to_end(stream: &mut dyn Wire, what: &str) -> String {
    let mut read = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    end.unwrap_or_else(|_| panic!("{what}: the connection stays open behind {}", text(&read)))
        .unwrap_or_else(|error| panic!("{what}: {error} behind {}", text(&read)));
    text(&read)
}

/// One answer with this status, which says that the connection is closed, and nothing behind it.
fn assert_answer(answer: &str, status: u16, what: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nconnection: close"), "{what}: {answer}");
    assert!(
        head.contains(&format!("\r\ncontent-length: {}", body.len())),
        "{what}: more than one answer: {answer}"
    );
}

/// The request as it must reach the origin.
fn expected(line: &str, fields: &[&str], body: Body, tls: bool) -> Request {
    let mut head: Vec<_> = fields.iter().map(ToString::to_string).collect();
    head.extend([
        format!("host: {HOST}"),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("x-forwarded-host: {HOST}"),
        format!("x-forwarded-proto: {}", if tls { "https" } else { "http" }),
    ]);
    head.sort();
    head.insert(0, line.to_owned());
    let body = match body {
        Body::None => "",
        Body::Smuggled => SMUGGLED,
        Body::Text(text) => text,
    };
    Request { head, body: body.into() }
}

fn without_id(mut request: Request) -> Request {
    request.head.retain(|field| !field.starts_with("x-request-id: "));
    request
}

async fn attack(stage: &Stage, attack: &Attack, tls: bool) {
    let what = attack.name;
    let (head, body) = spell(attack);
    let mut client = stage.connect(tls).await.expect("the daemon accepts");
    // It may be refused before it has been sent.
    let _ = client.write_all(&[&*head, &*body].concat()).await;
    let _ = client.flush().await;
    let answer = read_to_end(&mut *client, what).await;
    let record = stage.next_client(what).await;
    match attack.verdict {
        Verdict::Refused(status) => {
            assert_answer(&answer, status, what);
            assert_eq!(
                (record.begun, record.requests.len(), record.cut.len()),
                (1, 0, 0),
                "{what}: {record:?}"
            );
        }
        Verdict::Cut => {
            assert_answer(&answer, 400, what);
            assert_eq!(record.requests, [], "{what}");
            cut_later(stage, what, &head, &body, tls).await;
        }
        Verdict::One(line, fields, body) => {
            assert_answer(&answer, 200, what);
            let requests: Vec<_> = record.requests.into_iter().map(without_id).collect();
            assert_eq!(requests, [expected(line, fields, body, tls)], "{what}");
            assert!(record.cut.is_empty(), "{what}: {:?}", record.cut);
        }
    }
}

/// The same with a body that comes when the origin has seen the head.
async fn cut_later(stage: &Stage, what: &str, head: &[u8], body: &[u8], tls: bool) {
    let mut client = stage.connect(tls).await.expect("the daemon accepts");
    client.write_all(head).await.expect("the head is well-formed");
    client.flush().await.expect("the head is well-formed");
    stage
        .scene
        .eventually("the origin has seen the head", async || stage.recorder.look(|record| record.begun > 0))
        .await;
    let _ = client.write_all(body).await;
    let _ = client.flush().await;
    assert_answer(&read_to_end(&mut *client, what).await, 400, what);
    stage
        .scene
        .eventually("the origin's connection ends", async || {
            stage.recorder.look(|record| !record.cut.is_empty())
        })
        .await;
    let record = stage.next_client(what).await;
    assert_eq!(record.requests, [], "{what}");
}

async fn attack_all(tls: bool) {
    let stage = Stage::set().await;
    let mut count = 0;
    for row in attacks::all() {
        attack(&stage, row, tls).await;
        count += 1;
    }
    assert!(count > 150, "the table is here: {count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_over_http_is_refused_or_is_exactly_one_request() {
    attack_all(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_over_https_is_refused_or_is_exactly_one_request() {
    attack_all(true).await;
}

/// The origin answers before it has the body, so the answer is a good one; behind a body that turns out to be malformed
/// nobody knows where the next request begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_body_behind_an_early_answer_ends_the_connection() {
    let stage = Stage::set().await;
    for (what, bytes) in
        attacks::all().filter(|row| matches!(row.verdict, Verdict::Cut)).map(|row| (row.name, spell(row)))
    {
        let (head, body) = bytes;
        let head = text(&head).replace("POST / ", "POST /early ");
        for tls in [false, true] {
            let mut client = stage.connect(tls).await.expect("the daemon accepts");
            client.write_all(head.as_bytes()).await.expect("the head is well-formed");
            client.flush().await.expect("the head is well-formed");
            let mut first = [0; 12];
            client.read_exact(&mut first).await.expect("the answer comes before the body");
            assert_eq!(&first, b"HTTP/1.1 200", "{what}");
            let _ = client.write_all(&body).await;
            let _ = client.flush().await;
            let rest = read_to_end(&mut *client, what).await;
            assert!(rest.ends_with("\r\n\r\nrecorded"), "{what}: one answer and the end: {rest}");
            assert_eq!(stage.next_client(what).await.requests, [], "{what}");
        }
    }
}
