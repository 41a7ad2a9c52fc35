//! What a client sends behind its head is bounded in size and time, and so is the time it takes to read.

use std::time::{Duration, Instant};

use tidegate_proxy::Limits;
use tokio::io::AsyncWriteExt;

use crate::kit::*;

#[tokio::test]
async fn a_body_may_have_as_many_bytes_as_allowed_and_no_more() {
    let origin = Origin::replying(|_, body| ok(&body.len().to_string())).await;
    let limits = Limits { body_bytes_max: Some(1000), ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let chunked = |size: usize| {
        let body = "x".repeat(size);
        format!(
            "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    let mut client = edge.client().await;
    assert_eq!(client.ask(post(&"x".repeat(1000))).await.text(), "1000");
    assert_eq!(client.ask(chunked(1000)).await.text(), "1000");
    let before = origin.log.requests();
    let refused = client.ask(post(&"x".repeat(1001))).await;
    assert_eq!(refused.reason(), (413, "body-too-large"));
    assert_eq!(refused.field("connection"), Some("close"));
    assert!(client.is_closed().await);
    assert_eq!(origin.log.requests(), before, "a length that is too large is refused up front");
    let mut client = edge.client().await;
    assert_eq!(client.ask(chunked(1001)).await.reason(), (413, "body-too-large"));
    assert!(client.is_closed().await);
    assert_eq!(origin.log.bodies.lock().unwrap().len(), 2, "no origin took it for whole");
}

fn slow_limits() -> Limits {
    Limits { body_timeout: Duration::from_millis(500), body_rate_min: 1000, ..Limits::default() }
}

/// Sends a head that announces `length` bytes, then `pieces` pieces of `size` bytes, one every 100 ms.
async fn trickle(edge: &Edge, length: usize, pieces: usize, size: usize) -> (Option<Response>, Duration) {
    let mut client = edge.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n\r\n")).await;
    let began = Instant::now();
    for _ in 0..pieces {
        if client.stream.write_all(&vec![b'x'; size]).await.is_err() {
            break;
        }
        tokio::select! {
            answer = client.response() => return (answer, began.elapsed()),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    (client.response().await, began.elapsed())
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_at_its_deadline_while_others_are_served() {
    let origin = Origin::named("a").await;
    let edge = Edge::with(service(&[origin.addr]), slow_limits()).await;
    // 10 bytes every 100 ms earn a tenth of the time they take.
    let (answer, lasted) = trickle(&edge, 1000, 1000, 10).await;
    assert_eq!(answer.unwrap().reason(), (408, "body-timeout"));
    assert!(lasted >= Duration::from_millis(500), "{lasted:?}");
    assert_eq!(edge.ask(GET).await.text(), "a");
}

#[tokio::test]
async fn a_body_that_keeps_the_rate_may_take_longer() {
    let origin = Origin::named("a").await;
    let edge = Edge::with(service(&[origin.addr]), slow_limits()).await;
    // 1000 bytes every 100 ms earn ten times the time they take.
    let (answer, lasted) = trickle(&edge, 12_000, 12, 1000).await;
    assert_eq!(answer.unwrap().text(), "a");
    assert!(lasted >= Duration::from_millis(1000), "longer than the timeout alone");
}

#[tokio::test]
async fn a_client_that_takes_its_time_is_not_held_against_the_origin() {
    let origin = Origin::named("a").await;
    let mut service = service(&[origin.addr]);
    service.settings.first_byte_timeout = Duration::from_secs(1);
    let edge = Edge::new(service).await;
    let mut client = edge.client().await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nha").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send("lf").await;
    let answer = client.response().await.expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "a"), "the client was the one to wait for");
}

#[tokio::test]
async fn time_in_which_the_origin_takes_nothing_does_not_count() {
    const SIZE: usize = 16 << 20;
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            let mut buf = Vec::new();
            let head = read_head(&mut stream, &mut buf).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1200)).await;
            read_body(&mut stream, &mut buf, &head).await.unwrap();
            stream.write_all(&ok("late")).await.unwrap();
        })
    })
    .await;
    let limits = Limits { body_rate_min: u64::MAX, ..slow_limits() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let mut client = edge.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    client.send(vec![b'x'; SIZE]).await;
    assert_eq!(client.response().await.unwrap().text(), "late");
}

#[tokio::test]
async fn once_an_answer_has_begun_the_body_may_take_its_time() {
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            let mut buf = Vec::new();
            let head = read_head(&mut stream, &mut buf).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
            read_body(&mut stream, &mut buf, &head).await.unwrap();
            stream.write_all(b"echo").await.unwrap();
        })
    })
    .await;
    let edge = Edge::with(service(&[origin.addr]), slow_limits()).await;
    let mut client = edge.client().await;
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\n").await;
    client.head().await.unwrap();
    for _ in 0..10 {
        client.send("x").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.read_exact(4).await, b"echo");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_cut_off_and_a_slow_one_is_not() {
    const SIZE: usize = 32 << 20;
    let origin = Origin::replying(|_, _| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + SIZE, b'x');
        answer
    })
    .await;
    let limits = Limits { write_stall: Duration::from_millis(700), ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let mut stalled = edge.client().await;
    stalled.send(GET).await;
    let mut slow = edge.client().await;
    slow.send(GET).await;
    slow.head().await.unwrap();
    let mut taken = 0;
    while taken < SIZE {
        let piece = (SIZE - taken).min(2 << 20);
        slow.read_exact(piece).await;
        taken += piece;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until(|| edge.told.open.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    assert_eq!(slow.read_exact(0).await, b"");
}
