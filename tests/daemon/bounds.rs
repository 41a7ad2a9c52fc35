//! Bounds of bodies, the redirect to HTTPS and HSTS, as configured, over every version of HTTP that clients speak.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answer, exchange, request};
use crate::scene::{HOST, PATIENCE, Scene, Script, text};
use crate::secure::Secure;

const BODY_MAX: usize = 1000;

/// How a client speaks with the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Https,
    Http2,
}

const ALL: [Speaks; 3] = [Speaks::Http, Speaks::Https, Speaks::Http2];

async fn play(script: Script) -> (Scene, Secure) {
    let mut scene = Scene::set(Script { sites: vec![("main", 1)], ..script }).await;
    let secure = Secure::add_to(&scene);
    scene.start_daemon().await;
    scene.wait_ready().await;
    (scene, secure)
}

/// One request on a connection of its own; with `chunked`, the length of the body is not said.
async fn ask(scene: &Scene, secure: &Secure, speaks: Speaks, body: &[u8], chunked: bool) -> Answer {
    let method = if body.is_empty() { "GET" } else { "POST" };
    if speaks == Speaks::Http2 {
        return ask_http2(secure, method, body, chunked).await;
    }
    let mut bytes =
        request(method, HOST, "/a?b", &[("Connection", "close")], if chunked { b"" } else { body });
    if chunked {
        bytes.truncate(bytes.len() - 2);
        bytes.extend(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).bytes());
        bytes.extend_from_slice(body);
        bytes.extend(b"\r\n0\r\n\r\n");
    }
    if speaks == Speaks::Http {
        return exchange(scene.http, &bytes).await.expect("an answer");
    }
    let mut session = secure.connect(b"http/1.1").await.expect("a session");
    // The answer may come before all has been sent.
    let _ = session.write_all(&bytes).await;
    let _ = session.flush().await;
    let mut read = Vec::new();
    tokio::time::timeout(PATIENCE, session.read_to_end(&mut read))
        .await
        .expect("in time")
        .expect("an answer");
    let read = text(&read);
    let (head, body) = read.split_once("\r\n\r\n").expect("a whole answer");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}

async fn ask_http2(secure: &Secure, method: &str, body: &[u8], chunked: bool) -> Answer {
    let session = secure.connect(b"h2").await.expect("a session");
    let (sender, connection) = h2::client::handshake(session).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut head = http::Request::builder().method(method).uri(format!("https://{HOST}/a?b"));
    if !chunked && !body.is_empty() {
        head = head.header("content-length", body.len());
    }
    let mut sender = sender.ready().await.expect("a connection");
    let ends = body.is_empty();
    let (answer, mut sending) = sender.send_request(head.body(()).expect("a head"), ends).expect("a request");
    if !ends {
        let _ = sending.send_data(Bytes::copy_from_slice(body), true);
    }
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").expect("an answer");
    let (parts, mut reading) = answer.into_parts();
    let lines = parts.headers.iter().map(|(name, value)| format!("\r\n{name}: {}", text(value.as_bytes())));
    let head = format!("HTTP/2{}", lines.collect::<String>());
    let mut body = Vec::new();
    while let Some(piece) = reading.data().await {
        body.extend_from_slice(&piece.expect("a whole answer"));
    }
    Answer { code: parts.status.as_u16(), head, body: text(&body) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_the_largest_size_passes_and_a_larger_one_is_413() {
    let top = "limits = { body_bytes_max = 1000 }\n";
    let (scene, secure) = play(Script { top, ..Script::default() }).await;
    for speaks in ALL {
        for chunked in [false, true] {
            let what = format!("{speaks:?}, chunked: {chunked}");
            let largest = ask(&scene, &secure, speaks, &[b'x'; BODY_MAX], chunked).await;
            assert_eq!((largest.code, &*largest.body), (200, "main1"), "{what}");
            let refused = ask(&scene, &secure, speaks, &[b'x'; BODY_MAX + 1], chunked).await;
            assert_eq!(refused.code, 413, "{what}: {}", refused.head);
            assert_eq!(refused.header("x-tidegate-reason"), Some("body-too-large"), "{what}");
            let next = ask(&scene, &secure, speaks, b"", false).await;
            assert_eq!(next.code, 200, "{what}: the next client is served");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_requests_are_redirected_and_secure_ones_are_told_to_come_back_so() {
    let service = "redirect_https = true\nhsts = { max_age = \"365d\", include_subdomains = true }\ncheck = { path = \"/health\", interval = \"200ms\", fast_interval = \"50ms\", timeout = \"1s\", fall = 2, rise = 2 }\n";
    let (scene, secure) = play(Script { service, ..Script::default() }).await;
    for speaks in ALL {
        let answer = ask(&scene, &secure, speaks, b"", false).await;
        let (code, location, hsts) = match speaks {
            Speaks::Http => (308, Some(format!("https://{HOST}/a?b")), None),
            _ => (200, None, Some("max-age=31536000; includeSubDomains")),
        };
        assert_eq!(answer.code, code, "{speaks:?}: {}", answer.head);
        assert_eq!(answer.header("location"), location.as_deref(), "{speaks:?}");
        assert_eq!(answer.header("strict-transport-security"), hsts, "{speaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_these_keys_nothing_of_them_happens() {
    let (scene, secure) = play(Script::default()).await;
    for speaks in ALL {
        let answer = ask(&scene, &secure, speaks, &[b'x'; 100_000], true).await;
        assert_eq!((answer.code, &*answer.body), (200, "main1"), "{speaks:?}");
        assert_eq!(answer.header("strict-transport-security"), None, "{speaks:?}");
    }
}
