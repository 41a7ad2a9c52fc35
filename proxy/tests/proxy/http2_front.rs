//! HTTP/2 in front: requests keep their meaning, connections end without dropping any, bodies flow under pressure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use tidegate_proxy::{Limits, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::http2_client::*;
use crate::http2_kit::*;
use crate::kit::*;

#[tokio::test]
async fn a_request_reaches_an_http11_origin_in_its_own_shape() {
    let origin = Origin::replying(|_, body| ok(&format!("{} bytes", body.len()))).await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let asked = Request::get("https://app.test/a?b=c").header("cookie", "a=1").header("cookie", "b=2");
    let answer = client.ask(asked.body(()).unwrap(), None).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"0 bytes"[..]));
    let answer = client.ask(request("POST", "/"), Some(b"some data")).await.unwrap();
    assert_eq!(&answer.body[..], b"9 bytes");
    let sized = Request::post("https://app.test/").header("content-length", "9").body(()).unwrap();
    assert_eq!(client.ask(sized, Some(b"some data")).await.unwrap().status, 200);
    // More than the windows of a stream and of the connection hold.
    let large: &[u8] = vec![b'x'; 3 << 20].leak();
    let answer = client.ask(request("POST", "/"), Some(large)).await.unwrap();
    assert_eq!(&answer.body[..], b"3145728 bytes");
    let head = origin.log.head(0);
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("app.test"));
    assert_eq!(field(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(field(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(field(&origin.log.head(1), "transfer-encoding"), Some("chunked"));
    assert_eq!(field(&origin.log.head(2), "content-length"), Some("9"));
    assert_eq!(origin.log.connections(), 1);
}

#[tokio::test]
async fn pages_of_our_own_and_answers_without_a_body_end_their_streams() {
    let origin = Origin::replying(|head, _| {
        if head.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\n".to_vec()
        }
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let answer = client.ask(request("HEAD", "/"), None).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.headers["content-length"], "7");
    let answer = client.ask(request("GET", "/"), None).await.unwrap();
    assert_eq!(answer.status, 204);
    assert!(!answer.headers.contains_key("connection") && !answer.headers.contains_key("keep-alive"));
    for method in ["GET", "HEAD"] {
        let elsewhere = Request::builder().method(method).uri("https://elsewhere.test/").body(()).unwrap();
        let answer = client.ask(elsewhere, None).await.unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.headers["x-tidegate-reason"], "unknown-host");
        assert_eq!(answer.body.is_empty(), method == "HEAD");
    }
    let refused = Request::head("https://app.test/").header("expect", "a-miracle").body(()).unwrap();
    let answer = client.ask(refused, None).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (417, 0));
    let connect = Request::builder().method("CONNECT").uri("app.test:443").body(()).unwrap();
    assert_eq!(client.ask(connect, None).await.unwrap().status, 405);
}

#[tokio::test]
async fn trailers_travel_both_ways_between_http2_sides() {
    let origin = Http2Origin::serving(100, |_, body, mut respond, got| {
        Box::pin(async move {
            let Some(read) = read_all(body).await else { return };
            got.bodies.lock().unwrap().push(read);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("content-length", "9".parse().unwrap());
            let _ = answer(&mut respond, "message", Some(trailers));
        })
    })
    .await;
    let mut service = service(&[]);
    service.active = Some(site("main", &[&origin.target()]));
    let edge = secure(service, Limits::default()).await;
    let mut client = edge.http2().await;
    let call = Request::post("https://app.test/call").header("te", "trailers").body(()).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().unwrap());
    for never in ["host", "x-forwarded-proto", "x-real-ip", "x_forwarded_for", "strict-transport-security"] {
        trailers.insert(never, "evil.test".parse().unwrap());
    }
    let answer = client.ask_with(call, Some(b"message"), Some(trailers)).await.unwrap();
    assert_eq!(&answer.body[..], b"message");
    let got = answer.trailers.expect("trailers");
    assert_eq!(got["grpc-status"], "0");
    assert_eq!(got.len(), 1, "nothing that belongs into a head: {got:?}");
    let sent = origin.got.bodies.lock().unwrap()[0].1.clone().expect("trailers");
    assert_eq!((&sent["x-checksum"], sent.len()), (&"abc".parse().unwrap(), 1));
    assert_eq!(origin.got.requests.lock().unwrap()[0].headers["te"], "trailers");
}

#[tokio::test]
async fn interim_answers_are_passed_on() {
    let origin = Origin::replying(|_, _| {
        [&b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"[..], &ok("done")].concat()
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let (mut response, _) = client.sender.send_request(request("GET", "/"), true).unwrap();
    let interim = within(std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(interim.status(), 103);
    assert_eq!(within(response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn failures_are_tried_again_by_the_same_rules_and_no_post_is_doubled() {
    // Takes the request and dies.
    let dying = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            if let Some(head) = read_head(&mut stream, &mut buf).await {
                log.heads.lock().unwrap().push(head);
            }
        })
    })
    .await;
    let good = Origin::named("good").await;
    let edge = secure(service(&[dying.addr, good.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let mut failed = 0;
    for _ in 0..20 {
        let answer = client.ask(request("POST", "/"), Some(b"order")).await.unwrap();
        failed += usize::from(answer.status != 200);
    }
    assert_eq!(dying.log.requests(), failed, "each order that one has seen has failed");
    assert_eq!(good.log.requests() + dying.log.requests(), 20, "each order was sent once");
    for _ in 0..20 {
        assert_eq!(client.ask(request("GET", "/"), None).await.unwrap().status, 200);
    }
    let edge = secure(service(&[closed_port().await, good.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    for _ in 0..10 {
        assert_eq!(client.ask(request("POST", "/"), Some(b"order")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn draining_finishes_streams_and_takes_no_new_connection() {
    let released = Arc::new(Notify::new());
    let release = Arc::clone(&released);
    let origin = Origin::raw(move |mut stream, log| {
        let released = Arc::clone(&released);
        Box::pin(async move {
            let mut buf = Vec::new();
            while let Some(head) = read_head(&mut stream, &mut buf).await {
                log.heads.lock().unwrap().push(head);
                released.notified().await;
                let _ = stream.write_all(&ok("finished")).await;
            }
        })
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let idle = edge.http2().await;
    assert!(!idle.is_over());
    let (response, _) = client.sender.send_request(request("GET", "/"), true).unwrap();
    until(|| origin.log.requests() == 1).await;
    edge.phase.send_replace(Phase::Draining);
    idle.over().await;
    assert!(!client.is_over(), "a stream is in flight");
    release.notify_one();
    let response = within(response).await.expect("the stream is not dropped");
    assert_eq!(response.status(), 200);
    let (body, _) = within(read_all(response.into_body())).await.expect("whole");
    assert_eq!(body, b"finished");
    client.over().await;
    within(edge.edge.serving).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_has_carried_its_requests_says_goodbye() {
    let origin = Origin::named("one").await;
    let limits = Limits { requests_per_connection_max: 3, ..Limits::default() };
    let edge = secure(service(&[origin.addr]), limits).await;
    let mut client = edge.http2().await;
    for _ in 0..3 {
        assert_eq!(client.ask(request("GET", "/"), None).await.unwrap().status, 200);
    }
    client.over().await;
    assert_eq!(edge.http2().await.ask(request("GET", "/"), None).await.unwrap().status, 200);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let released = Arc::new(Notify::new());
    let release = Arc::clone(&released);
    let origin = Http2Origin::serving(100, move |_, _, mut respond, _| {
        let released = Arc::clone(&released);
        Box::pin(async move {
            released.notified().await;
            let _ = answer(&mut respond, "done", None);
        })
    })
    .await;
    let mut service = service(&[]);
    service.active = Some(site("main", &[&origin.target()]));
    let edge = secure(service, Limits { http2_streams_max: 2, ..Limits::default() }).await;
    let mut raw = edge.raw().await;
    for id in [1, 3, 5] {
        raw.send(&frame(1, 5, id, &get_fields())).await;
    }
    let refused = raw.until(|frame| frame.kind == 3).await.expect("a refusal");
    assert_eq!((refused.stream, &refused.payload[..]), (5, &7u32.to_be_bytes()[..]));
    until(|| origin.got.requests() == 2).await;
    release.notify_one();
    release.notify_one();
    raw.until(|frame| frame.kind == 1).await.expect("an answer");
    assert_eq!(origin.got.requests(), 2);
}

#[tokio::test]
async fn an_upload_waits_for_its_origin() {
    // Reads the head and nothing else.
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = [0; 1];
            let _ = stream.read(&mut buf).await;
            log.heads.lock().unwrap().push(String::new());
            std::future::pending::<()>().await;
        })
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let (_response, mut sending) = client.sender.send_request(request("POST", "/"), false).unwrap();
    let mut sent = 0;
    let piece = Bytes::from(vec![7; 64 * 1024]);
    loop {
        let wave = tokio::time::timeout(Duration::from_secs(2), send_all(&mut sending, piece.clone(), false));
        match wave.await {
            Ok(taken) => {
                taken.expect("the stream lives");
                sent += piece.len();
            }
            Err(_) => break,
        }
        assert!(sent < 64 << 20, "the kernel's buffers and ours are bounded");
    }
    // Others are served meanwhile, on the same connection.
    let other = Request::get("https://elsewhere.test/").body(()).unwrap();
    assert_eq!(client.ask(other, None).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_client_that_gives_up_ends_the_request_at_the_origin() {
    let ended = Arc::new(Notify::new());
    let told = Arc::clone(&ended);
    let origin = Origin::raw(move |mut stream, log| {
        let ended = Arc::clone(&ended);
        Box::pin(async move {
            let mut buf = Vec::new();
            let head = read_head(&mut stream, &mut buf).await.unwrap();
            log.heads.lock().unwrap().push(head);
            // Silent until the proxy hangs up.
            let _ = stream.read(&mut [0; 1]).await;
            ended.notify_one();
        })
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let (response, mut sending) = client.sender.send_request(request("GET", "/"), true).unwrap();
    until(|| origin.log.requests() == 1).await;
    sending.send_reset(Reason::CANCEL);
    within(told.notified()).await;
    drop(response);
    until(|| edge.codes() == [499]).await;
    // The same when the connection breaks.
    let mut client = edge.http2().await;
    let _response = client.sender.send_request(request("GET", "/"), true).unwrap();
    until(|| origin.log.requests() == 2).await;
    client.kill();
    within(told.notified()).await;
    until(|| edge.codes() == [499, 499]).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_only() {
    let origin = Origin::replying(|head, _| {
        if head.starts_with("GET /cut") {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nX".to_vec()
        } else {
            ok("whole")
        }
    })
    .await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut client = edge.http2().await;
    let (response, _) = client.sender.send_request(request("GET", "/cut"), true).unwrap();
    // The reset may overtake what was read of it.
    if let Ok(response) = within(response).await {
        let response: Response<_> = response;
        assert!(within(read_all(response.into_body())).await.is_none(), "not taken for a complete one");
    }
    assert_eq!(client.ask(request("GET", "/"), None).await.unwrap().status, 200);
}
