//! What comes before an answer is whole: interim answers (1xx), and a head whose body takes its time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_proxy::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;

use crate::kit::*;

#[tokio::test]
async fn expect_continue_is_passed_to_the_origin_and_back() {
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            while let Some(head) = read_head(&mut stream, &mut buf).await {
                let refused = head.starts_with("PUT /refused");
                log.heads.lock().unwrap().push(head);
                if refused {
                    let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
                    stream.write_all(answer).await.unwrap();
                    return;
                }
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                let mut body = [0; 4];
                stream.read_exact(&mut body).await.unwrap();
                stream.write_all(&ok(std::str::from_utf8(&body).unwrap())).await.unwrap();
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let put = |path| {
        format!("PUT {path} HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    };
    let mut client = edge.client().await;
    assert_eq!(client.ask(put("/")).await.status, 100);
    let answer = client.ask("body").await;
    assert_eq!((answer.text(), answer.field("connection")), ("body", Some("keep-alive")));
    assert_eq!(field(&origin.log.head(0), "expect"), Some("100-continue"));
    // The body came, so the connection goes on, on both sides.
    assert_eq!(client.ask(put("/")).await.status, 100);
    assert_eq!(client.ask("next").await.text(), "next");
    assert_eq!(origin.log.connections(), 1);
    assert_eq!(client.ask(put("/refused")).await.text(), "no");
    assert!(client.is_closed().await, "the body never came, so the connection cannot be kept");
}

#[tokio::test]
async fn interim_answers_are_passed_on_and_bounded() {
    let origin = Origin::replying(|head, _| {
        let count = if head.starts_with("GET /endless") { 100 } else { 2 };
        let mut answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(count).into_bytes();
        answer.extend(ok("final"));
        answer
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client.send(GET).await;
    for _ in 0..2 {
        let interim = client.response().await.unwrap();
        assert_eq!((interim.status, interim.field("link")), (103, Some("</a>")));
    }
    assert_eq!(client.response().await.unwrap().text(), "final");
    // A client of HTTP/1.0 does not know interim answers.
    assert_eq!(edge.ask("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await.text(), "final");
    let mut client = edge.client().await;
    client.send("GET /endless HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let last = loop {
        let answer = client.response().await.unwrap();
        if answer.status >= 200 {
            break answer;
        }
    };
    assert_eq!(last.reason(), (502, "bad-response"));
}

#[tokio::test]
async fn a_client_that_takes_no_interim_answer_is_cut_off() {
    // More than the buffers of the kernel hold.
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "a".repeat(300_000));
    let origin = Origin::replying(move |_, _| [hint.repeat(30).into_bytes(), ok("final")].concat()).await;
    let limits = Limits { write_stall: Duration::from_millis(200), ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = within(socket.connect(edge.addr)).await.unwrap();
    within(client.write_all(GET.as_bytes())).await.unwrap();
    until(|| edge.codes() == [499]).await;
    until(|| edge.told.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_head_does_not_wait_for_a_slow_body() {
    let go = Arc::new(Notify::new());
    let waiting = Arc::clone(&go);
    let origin = Origin::raw(move |mut stream, _| {
        let go = Arc::clone(&waiting);
        Box::pin(async move {
            let mut buf = Vec::new();
            while read_head(&mut stream, &mut buf).await.is_some() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
                go.notified().await;
                stream.write_all(b"slow").await.unwrap();
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200 "));
        go.notify_one();
        assert_eq!(client.read_exact(4).await, b"slow");
    }
}
