//! Bytes go through as they should: connections kept, bodies framed, memory bounded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_proxy::ServiceSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::*;

#[tokio::test]
async fn connections_are_kept_front_and_back() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..20 {
        assert_eq!(client.ask(GET).await.text(), "a");
    }
    assert_eq!((origin.log.requests(), origin.log.connections()), (20, 1));
    assert_eq!(edge.codes(), [200; 20]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::replying(|head, _| ok(head.split(' ').nth(1).unwrap())).await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.send([get("/1"), get("/2"), get("/3")].concat()).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.response().await.unwrap().text(), path);
    }
}

#[tokio::test]
async fn two_origins_share_the_load() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let edge = Edge::new(service(&[a.addr, b.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..200 {
        client.ask(GET).await;
    }
    let (a, b) = (a.log.requests(), b.log.requests());
    assert!(a + b == 200 && a > 50 && b > 50, "{a} and {b}");
}

#[tokio::test]
async fn old_epoch_connections_are_never_used_again() {
    let origin = Origin::named("a").await;
    let first = service(&[origin.addr]);
    let edge = Edge::new(first.clone()).await;
    let mut client = edge.client().await;
    client.ask(GET).await;
    client.ask(GET).await;
    assert_eq!(origin.log.connections(), 1);
    let mut second = first.clone();
    second.epoch = 2;
    edge.publish(second);
    client.ask(GET).await;
    assert_eq!(origin.log.connections(), 2);
    // Back to an epoch that has been before does not happen; even so its connections are gone.
    edge.publish(first);
    client.ask(GET).await;
    assert_eq!(origin.log.connections(), 3);
}

#[tokio::test]
async fn idle_origin_connections_are_closed_in_time() {
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            while read_head(&mut stream, &mut buf).await.is_some() {
                stream.write_all(&ok("a")).await.unwrap();
            }
            log.bytes.fetch_add(1, Ordering::SeqCst);
        })
    })
    .await;
    let mut short = service(&[origin.addr]);
    short.settings.pool_idle_timeout = Duration::from_millis(150);
    let edge = Edge::new(short).await;
    edge.ask(GET).await;
    until(|| origin.log.bytes.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn undecided_and_unknown_say_why() {
    let origin = Origin::named("a").await;
    let mut undecided = service(&[origin.addr]);
    undecided.active = None;
    let edge = Edge::new(undecided.clone()).await;
    let answer = edge.ask(GET).await;
    assert_eq!(answer.reason(), (503, "undecided"));
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let answer = edge.ask("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(answer.reason(), (404, "unknown-host"));
    undecided.active = Some(site("main", &[]));
    edge.publish(undecided);
    assert_eq!(edge.ask(GET).await.reason(), (503, "no-origin"));
    assert_eq!(origin.log.connections(), 0);
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let origin = Origin::replying(|_, body| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.chunks(3) {
            answer.extend(format!("{:x}\r\n", piece.len()).bytes());
            answer.extend(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..3 {
        let answer = client
            .ask("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n")
            .await;
        assert_eq!(answer.text(), "hello world");
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(origin.log.connections(), 1);
    assert_eq!(origin.log.bodies.lock().unwrap()[0], b"hello world");
}

/// pingora's body reader hands out empty pieces in the middle of a chunk's head, and its writer makes an empty piece the
/// end of the body: passed on, they would cut bodies short and desynchronise the connection.
#[tokio::test]
async fn chunks_cut_anywhere_stay_one_body() {
    const CHUNKS: &[u8] = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n";
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            stream.set_nodelay(true).unwrap();
            let mut buf = Vec::new();
            while let Some(head) = read_head(&mut stream, &mut buf).await {
                let body = read_body(&mut stream, &mut buf, &head).await.unwrap();
                log.bodies.lock().unwrap().push(body);
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
                for byte in CHUNKS {
                    stream.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for cut in 1..CHUNKS.len() {
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send(&CHUNKS[..cut]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        client.send(&CHUNKS[cut..]).await;
        assert_eq!(client.response().await.unwrap().text(), "hello world", "cut at {cut}");
    }
    let bodies = origin.log.bodies.lock().unwrap();
    assert_eq!(*bodies, vec![b"hello world".to_vec(); CHUNKS.len() - 1]);
    assert_eq!(origin.log.connections(), 1);
}

#[tokio::test]
async fn answers_without_body_keep_the_connection() {
    let origin = Origin::replying(|head, _| {
        match head.split(' ').nth(1).unwrap() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
        }
        .into()
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(field(&head, "content-length"), Some("12345"));
        for (path, status) in [("/204", 204), ("/304", 304)] {
            let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n")).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.field("transfer-encoding"), None);
        }
    }
    assert_eq!(origin.log.connections(), 1);
}

#[tokio::test]
async fn http10_clients_get_a_body_they_understand() {
    let origin = Origin::replying(|_, _| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let answer = edge.ask("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(origin.log.head(0).starts_with("GET / HTTP/1.1\r\n"));
    let kept = "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n";
    let answer = edge.ask(kept).await;
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("abc", Some("close")),
        "it ends with the connection"
    );
}

#[tokio::test]
async fn an_answer_delimited_by_its_end_becomes_chunks() {
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            read_head(&mut stream, &mut Vec::new()).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await.unwrap();
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for _ in 0..2 {
        assert_eq!(client.ask(GET).await.text(), "until the end");
    }
}

#[tokio::test]
async fn a_broken_answer_breaks_the_clients_connection() {
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            read_head(&mut stream, &mut Vec::new()).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client.send(GET).await;
    assert!(client.response().await.is_none(), "the body cannot be complete");
}

#[tokio::test]
async fn an_early_answer_ends_an_upload_that_nobody_reads() {
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            read_head(&mut stream, &mut Vec::new()).await;
            stream
                .write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
                .await
                .unwrap();
            // Open, but never read again.
            std::future::pending::<()>().await;
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let client = edge.client().await;
    let (read, mut write) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n";
        let _ = write.write_all(head.as_bytes()).await;
        // Far more than all buffers on the way hold; fails when the proxy closes.
        for _ in 0..1000 {
            if write.write_all(&[b'x'; 65536]).await.is_err() {
                break;
            }
        }
        write
    });
    let mut read = read;
    let mut seen = Vec::new();
    within(async {
        while !seen.ends_with(b"\r\n\r\nbig") {
            assert_ne!(read.read_buf(&mut seen).await.unwrap(), 0);
        }
    })
    .await;
    assert!(seen.starts_with(b"HTTP/1.1 413"));
    within(upload).await.unwrap();
}

#[tokio::test]
async fn an_echo_streams_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    let origin = Origin::raw(|stream, _| {
        Box::pin(async move {
            let mut stream = stream;
            let mut buf = Vec::new();
            read_head(&mut stream, &mut buf).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&buf).await.unwrap();
            let mut piece = vec![0; 16384];
            loop {
                let n = stream.read(&mut piece).await.unwrap();
                if n == 0 || stream.write_all(&piece[..n]).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let (mut read, mut write) = edge.client().await.stream.into_split();
    let body: Vec<u8> = (0..SIZE).map(|n| (n / 7 % 251) as u8).collect();
    let sent = body.clone();
    tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {SIZE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&sent).await.unwrap();
        // Kept open until the answer is complete.
        std::future::pending::<()>().await;
    });
    let mut seen = Vec::new();
    within(read.read_to_end(&mut seen)).await.unwrap();
    let start = seen.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(seen[start..] == body[..], "{} bytes came back", seen.len() - start);
}

#[tokio::test]
async fn huge_bodies_pass_and_a_stalled_reader_stalls_the_writer() {
    const SIZE: usize = 16 << 20;
    let origin = Origin::raw(|mut stream, log| {
        Box::pin(async move {
            let mut buf = Vec::new();
            let Some(head) = read_head(&mut stream, &mut buf).await else { return };
            let mut left: usize = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
            left -= buf.len();
            let mut piece = vec![0; 65536];
            while left > 0 {
                left -= stream.read(&mut piece).await.unwrap();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..SIZE / piece.len() {
                stream.write_all(&piece).await.unwrap();
                log.bytes.fetch_add(piece.len(), Ordering::SeqCst);
            }
        })
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    client.send(vec![b'u'; SIZE]).await;
    // The client reads nothing: the origin must get stuck long before everything is written, because nothing between
    // them may hold more than the sockets' buffers do.
    let written = || origin.log.bytes.load(Ordering::SeqCst);
    until(|| written() > 0).await;
    let mut last = 0;
    within(async {
        while last != written() || last == 0 {
            last = written();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert!(last < SIZE * 3 / 4, "{last} bytes went somewhere");
    assert_eq!(client.response().await.unwrap().body.len(), SIZE);
}

#[tokio::test]
async fn a_silent_origin_is_504_within_its_time() {
    let origin = Origin::raw(|mut stream, _| {
        Box::pin(async move {
            read_head(&mut stream, &mut Vec::new()).await;
            std::future::pending::<()>().await;
        })
    })
    .await;
    let mut impatient = service(&[origin.addr]);
    impatient.settings =
        ServiceSettings { first_byte_timeout: Duration::from_millis(200), ..ServiceSettings::default() };
    let edge = Edge::new(impatient).await;
    let mut client = edge.client().await;
    assert_eq!(client.ask(GET).await.reason(), (504, "silent"));
    assert_eq!(client.ask(post("x")).await.reason(), (504, "silent"));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let origin = Origin::replying(|head, _| {
        if head.starts_with("GET /101") {
            "HTTP/1.1 101 Switching Protocols\r\n\r\n"
        } else {
            "SSH-2.0-x\r\n\r\n"
        }
        .into()
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    assert_eq!(edge.ask(GET).await.reason(), (502, "bad-response"));
    let unasked = "GET /101 HTTP/1.1\r\nHost: app.test\r\n\r\n";
    assert_eq!(edge.ask(unasked).await.reason(), (502, "bad-response"));
}
