//! Connections are bounded, and end when they are asked to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_proxy::{Limits, Phase};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::kit::*;

/// Answers when told.
async fn waiting(go: Arc<Notify>) -> Origin {
    Origin::raw(move |mut stream, log| {
        let go = Arc::clone(&go);
        Box::pin(async move {
            let mut buf = Vec::new();
            while let Some(head) = read_head(&mut stream, &mut buf).await {
                log.heads.lock().unwrap().push(head);
                go.notified().await;
                stream.write_all(&ok("late")).await.unwrap();
            }
        })
    })
    .await
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight() {
    let go = Arc::new(Notify::new());
    let origin = waiting(Arc::clone(&go)).await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut idle = edge.client().await;
    let mut busy = edge.client().await;
    idle.send(GET).await;
    until(|| origin.log.requests() == 1).await;
    go.notify_one();
    assert_eq!(idle.response().await.unwrap().field("connection"), Some("keep-alive"));
    busy.send(GET).await;
    until(|| origin.log.requests() == 2).await;
    edge.phase.send(Phase::Draining).unwrap();
    assert!(idle.is_closed().await, "an idle connection ends at once");
    until(|| edge.told.open.load(Ordering::SeqCst) == 1).await;
    assert!(!edge.serving.is_finished());
    go.notify_one();
    let answer = busy.response().await.expect("the answer still comes");
    assert_eq!((answer.text(), answer.field("connection")), ("late", Some("close")));
    assert!(busy.is_closed().await);
    within(edge.serving).await.unwrap();
    assert!(TcpStream::connect(edge.addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn stop_cuts_what_is_in_flight() {
    let origin = waiting(Arc::new(Notify::new())).await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut busy = edge.client().await;
    busy.send(GET).await;
    until(|| origin.log.requests() == 1).await;
    edge.phase.send(Phase::Stop).unwrap();
    within(edge.serving).await.unwrap();
    assert!(busy.response().await.is_none());
}

#[tokio::test]
async fn a_connection_carries_a_bounded_number_of_requests() {
    let origin = Origin::named("a").await;
    let limits = Limits { requests_per_connection_max: 3, ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let mut client = edge.client().await;
    for expected in ["keep-alive", "keep-alive", "close"] {
        assert_eq!(client.ask(GET).await.field("connection"), Some(expected));
    }
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_switch_moves_the_next_request_and_lets_the_last_one_finish() {
    let go = Arc::new(Notify::new());
    let old = waiting(Arc::clone(&go)).await;
    let new = Origin::named("new").await;
    let before = service(&[old.addr]);
    let edge = Edge::new(before.clone()).await;
    let mut busy = edge.client().await;
    busy.send(GET).await;
    until(|| old.log.requests() == 1).await;
    let mut after = before;
    after.epoch = 2;
    after.active = Some(site("linode", &[&target(new.addr)]));
    edge.publish(after);
    for _ in 0..20 {
        assert_eq!(edge.ask(GET).await.text(), "new");
    }
    go.notify_one();
    assert_eq!(busy.response().await.unwrap().text(), "late");
    assert_eq!(busy.ask(GET).await.text(), "new");
    assert_eq!(old.log.requests(), 1);
}
