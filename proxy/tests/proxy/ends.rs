//! How answers and connections end early: the client can tell, nobody can hold one up, and everything is counted out.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tidegate_proxy::{ClientAddress, Front, Limits, Phase, Shared, View, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::http2_client::*;
use crate::http2_kit::*;
use crate::kit::*;

/// What ends a connection on which nothing more is awaited.
async fn end(client: &mut Client) -> std::io::Result<usize> {
    let mut rest = Vec::new();
    within(client.stream.read_to_end(&mut rest)).await
}

#[tokio::test]
async fn the_last_answer_is_not_overtaken_by_a_reset() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    let last = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    // More than is read along with the head.
    client.send([last.as_bytes(), &[b'x'; 100_000]].concat()).await;
    assert_eq!(client.response().await.unwrap().text(), "a");
    assert!(matches!(end(&mut client).await, Ok(0)));
    until(|| edge.told.open.load(Ordering::SeqCst) == 0).await;
    assert!(client.stream.take_error().unwrap().is_none(), "closed, not reset");
}

#[tokio::test]
async fn an_origin_that_answered_before_it_had_the_request_gets_no_other_on_that_connection() {
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            while let Some(head) = read_head(&mut stream, &mut buf).await {
                log.heads.lock().unwrap().push(head);
                stream.write_all(&ok("early")).await.unwrap();
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    let answer = client.ask("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!((answer.text(), answer.field("connection")), ("early", Some("close")));
    assert_eq!(edge.ask(GET).await.text(), "early");
    assert_eq!(origin.log.connections(), 2);
    assert!(origin.log.head(1).starts_with("GET / "), "{}", origin.log.head(1));
}

/// Says the head of an answer and some of it, then closes or says no more.
async fn half(closes: bool) -> Origin {
    Origin::raw(move |mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            let head = read_head(&mut stream, &mut buf).await.unwrap();
            log.heads.lock().unwrap().push(head);
            let some = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            stream.write_all(some).await.unwrap();
            if !closes {
                std::future::pending::<()>().await;
            }
        })
    })
    .await
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_ends_with_a_reset_when_it_broke_off() {
    let origin = half(true).await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    let ended = end(&mut client).await;
    assert_eq!(
        ended.unwrap_err().kind(),
        ErrorKind::ConnectionReset,
        "an orderly end would mean that it is whole"
    );
}

#[tokio::test]
async fn what_a_stop_cuts_is_counted_with_its_status() {
    let (silent, slow) = (
        Origin::raw(|stream, log| {
            Box::pin(async move {
                let mut stream = stream;
                let head = read_head(&mut stream, &mut Vec::new()).await.unwrap();
                log.heads.lock().unwrap().push(head);
                std::future::pending::<()>().await;
            })
        })
        .await,
        half(false).await,
    );
    for (origin, code) in [(silent, 503), (slow, 200)] {
        let edge = secure(service(&[origin.addr]), Limits::default()).await;
        let mut client = edge.http2().await;
        let (mut one, _) = client.sender.send_request(request("GET", "/"), true).unwrap();
        let mut two = edge.connect(b"http/1.1").await;
        two.write_all(GET.as_bytes()).await.unwrap();
        until(|| origin.log.requests() == 2).await;
        if code == 200 {
            within(&mut one).await.unwrap();
            within(two.read_u8()).await.unwrap();
        }
        edge.phase.send(Phase::Stop).unwrap();
        until(|| edge.edge.serving.is_finished()).await;
        assert_eq!(edge.codes(), [code; 2]);
    }
}

#[tokio::test]
async fn a_connection_whose_task_panics_is_counted_out() {
    let told = Arc::new(Told::default());
    let panicked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&panicked);
    let views = move || -> Arc<View> {
        seen.store(true, Ordering::SeqCst);
        panic!("on purpose")
    };
    let observer = Arc::clone(&told);
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let shared = Shared::new(Arc::new(views), Arc::new(()), observer, limits, ClientAddress::default());
    let listener = tidegate_proxy::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let (_phase, watched) = watch::channel(Phase::Running);
    tokio::spawn(serve(listener, Front::plain(), shared, watched));
    for _ in 0..3 {
        let mut client = Client::connect(addr).await;
        client.send(GET).await;
        assert!(client.response().await.is_none());
        assert!(panicked.swap(false, Ordering::SeqCst));
        until(|| told.open.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_taken_byte_by_byte_is_cut() {
    let origin = Http2Origin::serving(100, |_, _, mut respond, _| {
        Box::pin(async move {
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            let _ = send_all(&mut sending, Bytes::from_static(&[b'x'; 60_000]), true).await;
        })
    })
    .await;
    let mut service = service(&[]);
    service.active = Some(site("main", &[&origin.target()]));
    let limits = Limits { write_stall: Duration::from_millis(400), ..Limits::default() };
    let edge = secure(service, limits).await;
    let mut raw = edge.raw().await;
    // SETTINGS_INITIAL_WINDOW_SIZE of 1 (RFC 9113, section 6.5.2).
    raw.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 1])).await;
    raw.send(&frame(1, 5, 1, &get_fields())).await;
    let mut taken = 0;
    while let Some(frame) = raw.until(|frame| frame.stream == 1 && frame.kind != 1).await {
        if frame.kind == 3 {
            break;
        }
        taken += frame.payload.len();
        assert!(taken < 1_000, "it goes on and on");
        tokio::time::sleep(Duration::from_millis(20)).await;
        raw.send(&super::http2_kit::frame(8, 0, 1, &1u32.to_be_bytes())).await;
    }
    assert!(taken > 1 && taken < 1_000, "{taken}");
    until(|| edge.codes().len() == 1).await;
}
