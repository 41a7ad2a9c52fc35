//! Whatever either side sends: nobody hangs, nothing panics, and no answer reaches the wrong request.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_proxy::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::*;

const PIECES: [&str; 27] = [
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\n",
    "\r",
    "0\r\n\r\n",
    "0\r\n",
    "4\r\nbody\r\n",
    "4;ext=\"a\"\r\nbody\r\n",
    "4\nbody\n",
    "a\r\n0123456789\r\n",
    "ffffffffffffffff\r\n",
    "7fffffffffffffff\r\n",
    "00000000000000000000004\r\nbody\r\n",
    "-1\r\n",
    "Trailer: x\r\n",
    "X-Trailer: y\r\n\r\n",
    "body",
    "\0",
    "\u{ff}",
    ":",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_of_a_client_end_in_an_answer_or_a_close() {
    let origin = Origin::named("a").await;
    let brief = Duration::from_millis(150);
    let limits =
        Limits { header_deadline: brief, keepalive_idle: brief, body_idle: brief, ..Limits::default() };
    let edge = Arc::new(Edge::with(service(&[origin.addr]), limits).await);
    let mut seeds = fastrand::Rng::with_seed(946);
    for _ in 0..8 {
        let talks: Vec<_> = (0..100)
            .map(|_| {
                let (edge, seed) = (Arc::clone(&edge), seeds.u64(..));
                tokio::spawn(async move {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let mut client = edge.client().await.stream;
                    for _ in 0..rng.usize(1..12) {
                        let piece = PIECES[rng.usize(..PIECES.len())].as_bytes();
                        let cut = rng.usize(..=piece.len());
                        for part in [&piece[..cut], &piece[cut..]] {
                            if client.write_all(part).await.is_err() {
                                return;
                            }
                            tokio::task::yield_now().await;
                        }
                    }
                    let mut rest = Vec::new();
                    let _ = within(client.read_to_end(&mut rest)).await;
                })
            })
            .collect();
        for talk in talks {
            within(talk).await.unwrap();
        }
    }
    // A task that panicked would never be counted out.
    until(|| edge.told.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(edge.ask(GET).await.text(), "a");
}

/// Answers with what breaks the rules of framing, and the number of the request within.
fn odd(kind: usize, number: &str) -> Vec<u8> {
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let text = match kind {
        0 => ok(number) + &ok("another"),
        1 => ok(number) + "trailing",
        2 => "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nanother".to_owned(),
        3 => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nanother".to_owned(),
        4 => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{:x}\r\n{number}\r\n0\r\n\r\n",
            number.len()
        ),
        5 => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{number}\r\n0\r\nT: x\r\n\r\n",
            number.len()
        ),
        6 => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{number}\r\n0\r\n\r\nanother",
            number.len()
        ),
        7 => format!("HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\n{}", ok(number)),
        8 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{number}\r\n0\r\n\r\n"),
        9 => {
            format!("HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: {}\r\n\r\n{number}", number.len())
        }
        _ => ok(number),
    };
    text.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_reaches_another_request_whatever_the_origin_sends() {
    let rng = Mutex::new(fastrand::Rng::with_seed(713));
    let origin = Origin::replying(move |head, _| {
        let number = field(head, "x-number").unwrap_or("none").to_owned();
        let kind = rng.lock().unwrap().usize(..14);
        odd(kind, &number)
    })
    .await;
    let edge = Arc::new(Edge::new(service(&[origin.addr])).await);
    let clients: Vec<_> = (0..4)
        .map(|c| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(c);
                let mut client = edge.client().await;
                for n in 0..300 {
                    let number = format!("{c}-{n}");
                    let method = ["GET", "HEAD", "POST"][rng.usize(..3)];
                    let request =
                        format!("{method} / HTTP/1.1\r\nHost: app.test\r\nX-Number: {number}\r\nX-Request-Id: {number}\r\n\r\n");
                    client.send(request).await;
                    let answer = loop {
                        let answer = if method == "HEAD" {
                            client.head().await.map(|head| {
                                let status = head[9..12].parse().unwrap();
                                Response { status, head, body: Vec::new() }
                            })
                        } else {
                            client.response().await
                        };
                        match answer {
                            Some(interim) if interim.status < 200 => {}
                            last => break last,
                        }
                    };
                    let Some(answer) = answer else {
                        client = edge.client().await;
                        continue;
                    };
                    assert_eq!(answer.field("x-request-id"), Some(&*number), "{}", answer.head);
                    if answer.status == 200 && method != "HEAD" {
                        assert_eq!(answer.text(), number, "{}", answer.head);
                    }
                    if answer.field("connection") == Some("close") {
                        client = edge.client().await;
                    }
                }
            })
        })
        .collect();
    for client in clients {
        within(client).await.unwrap();
    }
    until(|| edge.told.open.load(Ordering::SeqCst) == 0).await;
}
