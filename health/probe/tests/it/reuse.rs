//! How long a connection is kept, and what its end means.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_probe::{FRESH_EVERY, Failure, Kind, Outcome};
use tokio::io::AsyncWriteExt;

use crate::support::{OK, Origin, get, head, prober};

async fn pass(prober: &mut tidegate_probe::Prober, times: usize) {
    for i in 0..times {
        assert_eq!(prober.probe().await.outcome, Outcome::Pass, "probe {i}");
    }
}

#[tokio::test]
async fn every_tenth_probe_opens_a_fresh_connection() {
    assert_eq!(FRESH_EVERY, 10);
    let origin = Origin::answering(OK).await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    for (probes, connections) in [(1, 1), (9, 1), (1, 2), (9, 2), (1, 3)] {
        pass(&mut prober, probes).await;
        assert_eq!(origin.seen.connections(), connections);
    }
    assert_eq!(origin.seen.requests(), 21);
}

#[tokio::test]
async fn a_stale_connection_is_not_a_failure() {
    let origin = Origin::closing(OK).await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    for probes in 1..=15 {
        pass(&mut prober, 1).await;
        // Its close has arrived before the next request leaves.
        origin.seen.until(|seen| seen.open() == 0).await;
        assert_eq!((origin.seen.connections(), origin.seen.requests()), (probes, probes));
    }
}

#[tokio::test]
async fn a_connection_that_ends_under_the_request_is_tried_afresh() {
    // The second request of a connection is read, then the connection is closed without a byte.
    let origin = Origin::raw(|mut stream, seen| async move {
        head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        if head(&mut stream).await.is_some() {
            seen.request();
        }
    })
    .await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    pass(&mut prober, 3).await;
    assert_eq!((origin.seen.connections(), origin.seen.requests()), (3, 2));
}

#[tokio::test]
async fn an_idle_connection_closed_with_a_408_is_stale() {
    let origin = Origin::raw(|mut stream, seen| async move {
        head(&mut stream).await;
        let goodbye = format!("{OK}HTTP/1.1 408 Too Idle\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        seen.request();
        stream.write_all(goodbye.as_bytes()).await.unwrap();
    })
    .await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    pass(&mut prober, 5).await;
    assert_eq!(origin.seen.requests(), 5);
}

#[tokio::test]
async fn a_408_that_meets_the_next_request_is_stale_too() {
    const IDLE: &str = "HTTP/1.1 408 Too Idle\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let origin = Origin::raw(|mut stream, _| async move {
        for text in [OK, IDLE] {
            if head(&mut stream).await.is_some() {
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut kept = prober(origin.addr, Kind::Http(get("/")));
    pass(&mut kept, 3).await;
    assert_eq!(origin.seen.connections(), 3);
    // On a fresh connection it is an answer like any other.
    let origin = Origin::answering(IDLE).await;
    let mut fresh = prober(origin.addr, Kind::Http(get("/")));
    assert_eq!(fresh.probe().await.outcome.label(), "status");
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_on_a_kept_connection_is_a_failure() {
    let origin = Origin::raw(|mut stream, _| async move {
        head(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 O").await.unwrap();
    })
    .await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    pass(&mut prober, 1).await;
    assert_eq!(prober.probe().await.outcome, Outcome::Fail(Failure::Cut));
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn a_fresh_connection_is_not_tried_twice() {
    let origin = Origin::closing("").await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    assert_eq!(prober.probe().await.outcome, Outcome::Fail(Failure::NoAnswer));
    assert_eq!(origin.seen.connections(), 1);
}

#[tokio::test]
async fn a_failure_closes_the_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::raw(move |mut stream, _| {
        let count = count.clone();
        async move {
            while head(&mut stream).await.is_some() {
                let bad = count.fetch_add(1, Ordering::SeqCst) == 1;
                let text = if bad { "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" } else { OK };
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut prober = prober(origin.addr, Kind::Http(get("/")));
    pass(&mut prober, 1).await;
    assert_eq!(prober.probe().await.outcome.label(), "status");
    origin.seen.until(|seen| seen.open() == 0).await;
    pass(&mut prober, 1).await;
    assert_eq!(origin.seen.connections(), 2);
}

#[tokio::test]
async fn an_origin_that_says_close_is_believed() {
    for text in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let origin = Origin::answering(text).await;
        let mut prober = prober(origin.addr, Kind::Http(get("/")));
        pass(&mut prober, 1).await;
        origin.seen.until(|seen| seen.open() == 0).await;
        pass(&mut prober, 1).await;
        assert_eq!(origin.seen.connections(), 2, "{text:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_passes() {
    let origin = Origin::closing("HTTP/1.1 200 OK\r\n\r\nall is well").await;
    let mut prober = prober(origin.addr, Kind::Http(get("/").with_body("is well").unwrap()));
    pass(&mut prober, 2).await;
    assert_eq!(origin.seen.connections(), 2);
}
