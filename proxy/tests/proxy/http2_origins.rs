//! HTTP/2 to origins: connections are shared, and a request is sent twice only if nothing of it was processed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tidegate_proxy::{ServiceSettings, ServiceView, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::http2_kit::*;
use crate::kit::*;

fn service_of(targets: &[&Arc<Target>]) -> ServiceView {
    let mut service = service(&[]);
    service.active = Some(site("main", targets));
    service
}

#[tokio::test]
async fn requests_share_a_connection_and_keep_their_shape() {
    let origin = Http2Origin::named("two").await;
    let edge = Edge::new(service_of(&[&origin.target()])).await;
    let mut client = edge.client().await;
    let asked =
        "GET /a?b=c HTTP/1.1\r\nHost: app.test\r\nConnection: x-secret\r\nX-Secret: 1\r\nX-Kept: 2\r\n\r\n";
    let response = client.ask(asked).await;
    assert_eq!((response.status, response.text()), (200, "two"));
    assert_eq!(
        response.field("transfer-encoding"),
        Some("chunked"),
        "no length, so chunks: {}",
        response.head
    );
    let response = client.ask(post("some data")).await;
    assert_eq!((response.status, response.text()), (200, "two"));
    assert_eq!(origin.got.connections(), 1);
    let requests = origin.got.requests.lock().unwrap();
    assert_eq!(requests[0].uri, "http://app.test/a?b=c");
    assert_eq!(requests[0].headers["x-kept"], "2");
    assert_eq!(requests[0].headers["x-forwarded-for"], "127.0.0.1");
    for absent in ["x-secret", "connection", "host", "transfer-encoding", "te"] {
        assert!(!requests[0].headers.contains_key(absent), "{absent}");
    }
    assert_eq!(requests[1].headers["content-length"], "9");
    assert_eq!(origin.got.bodies.lock().unwrap()[1].0, b"some data");
}

#[tokio::test]
async fn bodies_flow_both_ways_beyond_every_window() {
    let size = 3 << 20;
    let origin = Http2Origin::serving(100, |_, mut body, mut respond, _| {
        Box::pin(async move {
            // Back again while it comes.
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                send_all(&mut sending, piece, false).await;
            }
            let _ = sending.send_data(Bytes::new(), true);
        })
    })
    .await;
    let edge = Edge::new(service_of(&[&origin.target()])).await;
    let body = "0123456789abcdef".repeat(size / 16);
    let (mut reading, mut writing) = edge.client().await.stream.into_split();
    let sent = post(&body);
    let upload = tokio::spawn(async move { writing.write_all(sent.as_bytes()).await.map(|()| writing) });
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(b"0\r\n\r\n") {
            assert_ne!(reading.read_buf(&mut answer).await.unwrap(), 0);
        }
    })
    .await;
    assert!(answer.len() > size, "all of it came back");
    within(upload).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_stream_is_sent_elsewhere_whatever_its_method() {
    let refusing =
        Http2Origin::serving(100, |_, _, respond, _| Box::pin(async move { refuse(respond) })).await;
    let good = Http2Origin::named("good").await;
    let edge = Edge::new(service_of(&[&refusing.target(), &good.target()])).await;
    for n in 0..20 {
        let response = edge.ask(post(&format!("order {n}"))).await;
        assert_eq!((response.status, response.text()), (200, "good"));
    }
    assert_eq!(good.got.requests(), 20, "each order once");
    let bodies: Vec<_> = good.got.bodies.lock().unwrap().iter().map(|(body, _)| body.clone()).collect();
    assert!((0..20).all(|n| bodies[n] == format!("order {n}").into_bytes()), "with all of its body");
    // A body that was read beyond what is kept cannot be sent again.
    let refusing = Http2Origin::serving(100, |_, mut body, respond, _| {
        Box::pin(async move {
            let mut read = 0;
            while let (true, Some(Ok(piece))) = (read < 200_000, body.data().await) {
                read += piece.len();
                let _ = body.flow_control().release_capacity(piece.len());
            }
            refuse(respond);
        })
    })
    .await;
    let edge = Edge::new(service_of(&[&refusing.target(), &good.target()])).await;
    let big = post(&"x".repeat(300_000));
    let mut statuses = Vec::new();
    while !statuses.contains(&502) {
        statuses.push(edge.ask(&big).await.status);
    }
    assert_eq!(good.got.requests(), 20 + statuses.len() - 1, "not even a part of it");
    assert!(refusing.got.requests() > 0, "it was asked");
    assert!(edge.told.signals.lock().unwrap().is_empty(), "an origin that says no politely is not broken");
}

#[tokio::test]
async fn a_goodbye_moves_unprocessed_requests_to_a_new_connection() {
    // Every connection answers one request and says goodbye to the second: last stream 1.
    let origin = Http2Origin::raw(|mut stream, got| {
        Box::pin(async move {
            let mut seen = vec![0; 24];
            stream.read_exact(&mut seen).await.unwrap();
            stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            let mut buf = Vec::new();
            let mut heads = 0;
            while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                while buf.len() >= 9 {
                    let length = usize::from(buf[1]) << 8 | usize::from(buf[2]);
                    if buf.len() < 9 + length {
                        break;
                    }
                    let (kind, flags) = (buf[3], buf[4]);
                    let id = u32::from_be_bytes([buf[5], buf[6], buf[7], buf[8]]);
                    buf.drain(..9 + length);
                    if kind == 4 && flags == 0 {
                        stream.write_all(&frame(4, 1, 0, &[])).await.unwrap();
                    }
                    if kind != 1 {
                        continue;
                    }
                    heads += 1;
                    let (parts, ()) = http::Request::new(()).into_parts();
                    got.requests.lock().unwrap().push(parts);
                    let reply = match heads {
                        1 => frame(1, 5, id, &[0x88]),
                        _ => frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
                    };
                    stream.write_all(&reply).await.unwrap();
                }
            }
        })
    })
    .await;
    let edge = Edge::new(service_of(&[&origin.target()])).await;
    for _ in 0..3 {
        assert_eq!(edge.ask(post("order")).await.status, 200);
    }
    assert_eq!(origin.got.connections(), 3, "one for every answer");
    assert_eq!(origin.got.requests(), 5, "the second and the third were turned away once");
}

#[tokio::test]
async fn a_post_is_not_repeated_after_an_answer_that_makes_no_sense() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let broken =
        move |stream: tokio::net::TcpStream, _| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            let asked = Arc::clone(&counted);
            let mut stream = stream;
            Box::pin(async move {
                let mut seen = vec![0; 64 * 1024];
                let _ = stream.read(&mut seen).await;
                // Headers that decode to nothing a stream can begin with.
                let _ = stream.write_all(&[frame(4, 0, 0, &[]), frame(1, 5, 1, &[0xff; 20])].concat()).await;
                asked.fetch_add(1, Ordering::SeqCst);
                while stream.read(&mut seen).await.is_ok_and(|n| n > 0) {}
            })
        };
    let first = Http2Origin::raw(broken.clone()).await;
    let second = Http2Origin::raw(broken).await;
    let edge = Edge::new(service_of(&[&first.target(), &second.target()])).await;
    let response = edge.ask(post("order")).await;
    assert_eq!(response.reason(), (502, "bad-response"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_older_epoch_takes_no_new_requests_and_finishes_those_it_has() {
    let released = Arc::new(Notify::new());
    let release = Arc::clone(&released);
    let origin = Http2Origin::serving(100, move |parts, _, mut respond, _| {
        let released = Arc::clone(&released);
        Box::pin(async move {
            if parts.uri.path() == "/slow" {
                released.notified().await;
            }
            let _ = answer(&mut respond, "done", None);
        })
    })
    .await;
    let target = origin.target();
    let edge = Edge::new(service_of(&[&target])).await;
    let mut slow = edge.client().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    until(|| origin.got.requests() == 1).await;
    assert_eq!(edge.ask(GET).await.status, 200);
    assert_eq!(origin.got.connections(), 1);
    edge.publish(ServiceView { epoch: 2, ..service_of(&[&target]) });
    assert_eq!(edge.ask(GET).await.status, 200);
    assert_eq!(origin.got.connections(), 2, "the new epoch has its own");
    release.notify_one();
    let response = slow.response().await.expect("an answer");
    assert_eq!((response.status, response.text()), (200, "done"));
}

#[tokio::test]
async fn a_full_connection_gets_another_beside_it() {
    let released = Arc::new(Notify::new());
    let release = Arc::clone(&released);
    let origin = Http2Origin::serving(2, move |_, _, mut respond, _| {
        let released = Arc::clone(&released);
        Box::pin(async move {
            released.notified().await;
            let _ = answer(&mut respond, "done", None);
        })
    })
    .await;
    let edge = Edge::new(service_of(&[&origin.target()])).await;
    let mut clients = Vec::new();
    for n in 1..=5 {
        let mut client = edge.client().await;
        client.send(GET).await;
        clients.push(client);
        until(|| origin.got.requests() == n).await;
    }
    assert_eq!(origin.got.connections(), 3, "two, two and one");
    for client in &mut clients {
        release.notify_one();
        release.notify_one();
        assert_eq!(client.response().await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_its_time() {
    let closed = Arc::new(Notify::new());
    let told = Arc::clone(&closed);
    let origin = Http2Origin::raw(move |stream, _| {
        let closed = Arc::clone(&closed);
        Box::pin(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let _: Result<(), _> = answer(&mut respond, "done", None);
            }
            closed.notify_one();
        })
    })
    .await;
    let mut service = service_of(&[&origin.target()]);
    service.settings =
        ServiceSettings { pool_idle_timeout: Duration::from_millis(100), ..ServiceSettings::default() };
    let edge = Edge::new(service).await;
    assert_eq!(edge.ask(GET).await.status, 200);
    within(told.notified()).await;
    assert_eq!(edge.ask(GET).await.status, 200, "the next request makes a new one");
}

#[tokio::test]
async fn a_silent_origin_is_not_asked_twice() {
    let origin = Http2Origin::serving(100, |_, body, respond, _| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop((body, respond));
        })
    })
    .await;
    let mut service = service_of(&[&origin.target(), &Http2Origin::named("other").await.target()]);
    service.active.as_mut().unwrap().origins[1].forced_down = true;
    service.settings =
        ServiceSettings { first_byte_timeout: Duration::from_millis(200), ..ServiceSettings::default() };
    let edge = Edge::new(service).await;
    assert_eq!(edge.ask(post("order")).await.reason(), (504, "silent"));
    assert_eq!(origin.got.requests(), 1);
}

#[tokio::test]
async fn an_origin_that_speaks_http11_only_is_said_so() {
    // Without TLS nobody is asked: the answer makes no sense.
    let plain = Origin::replying(|_, _| ok("one")).await;
    let edge = Edge::new(service_of(&[&http2_target(plain.addr)])).await;
    assert_eq!(edge.ask(post("order")).await.status, 502);
    assert_eq!(edge.told.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_upgrade_is_refused_where_the_origin_speaks_http2() {
    let origin = Http2Origin::named("two").await;
    let edge = Edge::new(service_of(&[&origin.target()])).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = edge.client().await;
    assert_eq!(client.ask(upgrade).await.reason(), (501, "no-upgrade"));
    assert_eq!(client.ask(GET).await.status, 200, "the connection goes on");
    assert_eq!(origin.got.requests(), 1);
}

#[tokio::test]
async fn a_hundred_requests_at_once_reach_the_origin_on_few_connections() {
    let origin = Http2Origin::named("two").await;
    let edge = Arc::new(Edge::new(service_of(&[&origin.target()])).await);
    let asking: Vec<_> = (0..100)
        .map(|n| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { edge.ask(post(&format!("order {n}"))).await.status })
        })
        .collect();
    for asked in asking {
        assert_eq!(within(asked).await.unwrap(), 200);
    }
    assert_eq!(origin.got.requests(), 100);
    assert!(origin.got.connections() <= 2, "{} connections", origin.got.connections());
}
