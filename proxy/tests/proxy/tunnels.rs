//! Upgrades become tunnels, whole and at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_proxy::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::*;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: x\r\n\r\n";

/// Switches, sends a frame in the same packet, then echoes.
async fn switching() -> Origin {
    Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            let Some(head) = read_head(&mut stream, &mut buf).await else { return };
            log.heads.lock().unwrap().push(head);
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nFRAME";
            stream.write_all(answer).await.unwrap();
            stream.write_all(&buf).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            log.bytes.fetch_add(1, Ordering::SeqCst);
        })
    })
    .await
}

#[tokio::test]
async fn pingora_946_fast_101() {
    let origin = switching().await;
    let edge = Edge::new(service(&[origin.addr])).await;
    for n in 0..300 {
        let mut client = edge.client().await;
        client.send(UPGRADE).await;
        let answer = client.head().await.expect("switched");
        assert!(answer.starts_with("HTTP/1.1 101"), "{n}: {answer}");
        assert_eq!(client.read_exact(5).await, b"FRAME", "{n}");
        client.send("ping").await;
        assert_eq!(client.read_exact(4).await, b"ping", "{n}");
    }
    let head = origin.log.head(0);
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "x")] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    assert_eq!(field(&head, "x-forwarded-for"), Some("127.0.0.1"));
    // The client's end closes the origin's, and nothing stays behind.
    until(|| origin.log.bytes.load(Ordering::SeqCst) == 300 && edge.told.open.load(Ordering::SeqCst) == 0)
        .await;
    assert_eq!(edge.told.tunnels.load(Ordering::SeqCst), 0);
    assert_eq!(edge.codes(), [101; 300]);
}

#[tokio::test]
async fn frames_sent_with_the_request_arrive() {
    let origin = switching().await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client.send(format!("{UPGRADE}early")).await;
    client.head().await.expect("switched");
    assert_eq!(client.read_exact(10).await, b"FRAMEearly");
}

#[tokio::test]
async fn refused_upgrades_are_ordinary_answers() {
    let origin = Origin::replying(|head, _| {
        if head.starts_with("GET /ws") {
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope".to_vec()
        } else {
            ok("fine")
        }
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        let answer = client.ask(UPGRADE).await;
        assert_eq!((answer.status, answer.text()), (403, "nope"));
        assert_eq!(client.ask(GET).await.text(), "fine", "the connection goes on");
    }
}

#[tokio::test]
async fn upgrades_retry_like_gets() {
    let origin = switching().await;
    let edge = Edge::new(service(&[closed_port().await, origin.addr])).await;
    for _ in 0..5 {
        let mut client = edge.client().await;
        client.send(UPGRADE).await;
        assert!(client.head().await.unwrap().starts_with("HTTP/1.1 101"));
    }
    let edge = Edge::new(service(&[closed_port().await])).await;
    assert_eq!(edge.ask(UPGRADE).await.reason(), (502, "connect-failed"));
}

#[tokio::test]
async fn an_upgrade_whose_answer_has_begun_is_not_tried_again() {
    let dying = || {
        Origin::raw(|mut stream, log| {
            Box::pin(async move {
                if let Some(head) = read_head(&mut stream, &mut Vec::new()).await {
                    log.heads.lock().unwrap().push(head);
                    stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
                }
            })
        })
    };
    let (a, b) = (dying().await, dying().await);
    let edge = Edge::new(service(&[a.addr, b.addr])).await;
    assert_eq!(edge.ask(UPGRADE).await.reason(), (502, "reset"));
    assert_eq!(a.log.requests() + b.log.requests(), 1);
}

#[tokio::test]
async fn idle_tunnels_end_after_their_own_time_only() {
    let origin = switching().await;
    let mut impatient = service(&[origin.addr]);
    impatient.settings.tunnel_idle_timeout = Duration::from_secs(1);
    let edge = Edge::new(impatient).await;
    let mut client = edge.client().await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    client.read_exact(5).await;
    // Traffic keeps it alive well beyond the limit.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.send("x").await;
        client.read_exact(1).await;
    }
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn tunnels_outlive_a_drain_and_end_with_stop() {
    let origin = switching().await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = edge.client().await;
        client.send(UPGRADE).await;
        client.head().await.unwrap();
        client.read_exact(5).await;
        clients.push(client);
    }
    edge.phase.send(Phase::Draining).unwrap();
    for client in &mut clients {
        client.send("still").await;
        assert_eq!(client.read_exact(5).await, b"still");
    }
    assert!(!edge.serving.is_finished());
    edge.phase.send(Phase::Stop).unwrap();
    for client in &mut clients {
        assert!(matches!(within(client.stream.read(&mut [0; 8])).await, Ok(0) | Err(_)));
    }
    within(edge.serving).await.unwrap();
}
