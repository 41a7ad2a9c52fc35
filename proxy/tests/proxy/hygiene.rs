//! What must not get through does not, and what must change on the way does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_proxy::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::kit::*;

#[tokio::test]
async fn pingora_945_cl_with_te_is_refused() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    let answer = client
        .ask("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG")
        .await;
    assert_eq!(answer.reason(), (400, "bad-request"));
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(client.is_closed().await);
    assert_eq!(origin.log.connections(), 0, "the origin saw nothing");
    assert_eq!(edge.codes(), [400]);
}

#[tokio::test]
async fn malformed_requests_never_reach_an_origin() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nX: a\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: app.test\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nX: a\nY: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nX : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n", 400),
        ("GET http://other.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: app.test\r\n\r\n", 505),
        ("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n", 405),
        ("\u{16}\u{3}\u{1} TLS by mistake\n", 400),
    ] {
        let mut client = edge.client().await;
        let answer = client.ask(request).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert!(client.is_closed().await, "{request:?}");
    }
    assert_eq!(origin.log.connections(), 0);
}

#[tokio::test]
async fn a_chunked_body_that_is_malformed_is_not_completed() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.unwrap().reason(), (400, "bad-request"));
    assert!(client.is_closed().await);
    assert!(origin.log.bodies.lock().unwrap().is_empty(), "the origin never saw a complete request");
}

#[tokio::test]
async fn request_headers_are_cleaned_and_added() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let request = "GET /p?q HTTP/1.1\r\nHost: App.Test:80\r\nConnection: keep-alive, X-Secret, Host, Content-Length, \
                   X-Forwarded-For, Cookie\r\nX-Secret: s\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\n\
                   Upgrade: h2c\r\nTrailer: X\r\nProxy-Authorization: p\r\nCookie: c=1\r\nX-Kept: k\r\n\
                   X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: evil.test\r\nX-Request-Id: abc-1\r\n\r\n";
    let answer = edge.ask(request).await;
    let head = origin.log.head(0);
    assert!(head.starts_with("GET /p?q HTTP/1.1\r\n"), "{head}");
    for (name, expected) in [
        ("host", Some("App.Test:80")),
        ("connection", None),
        ("x-secret", None),
        ("keep-alive", None),
        ("proxy-connection", None),
        ("te", None),
        ("upgrade", None),
        ("trailer", None),
        ("proxy-authorization", None),
        ("cookie", Some("c=1")),
        ("x-kept", Some("k")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("App.Test:80")),
        ("x-request-id", Some("abc-1")),
    ] {
        assert_eq!(field(&head, name), expected, "{name} in {head}");
    }
    assert_eq!(head.matches("orwarded-").count(), 3, "{head}");
    assert_eq!(answer.field("x-request-id"), Some("abc-1"));
}

#[tokio::test]
async fn fields_that_pass_for_guarded_ones_are_not_passed_on() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let request = "GET / HTTP/1.1\r\nHost: app.test\r\nX_Forwarded_For: 192.0.2.1\r\nX-Forwarded_Proto: https\r\n\
                   X.Forwarded.Host: evil.test\r\nX_Real-IP: 192.0.2.1\r\nContent_Length: 5\r\n\
                   Transfer_Encoding: chunked\r\nX_Request_Id: 1\r\nX_Kept: k\r\nX-Forwarded-Forth: too\r\n\r\n";
    assert_eq!(edge.ask(request).await.status, 200);
    let head = origin.log.head(0);
    let as_variables = head.to_ascii_uppercase().replace(['-', '.'], "_");
    for name in ["X_FORWARDED_FOR", "X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_REQUEST_ID"] {
        assert_eq!(as_variables.matches(&format!("{name}:")).count(), 1, "{name} in {head}");
    }
    for name in ["X_REAL_IP", "CONTENT_LENGTH", "TRANSFER_ENCODING"] {
        assert!(!as_variables.contains(name), "{name} in {head}");
    }
    assert_eq!((field(&head, "x_kept"), field(&head, "x-forwarded-forth")), (Some("k"), Some("too")));
    assert_eq!(field(&head, "x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn response_headers_are_cleaned() {
    let origin = Origin::replying(|_, _| {
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, Set-Cookie\r\nX-Hop: h\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
          Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Tidegate-Spilled: lie\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    })
    .await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let answer = edge.ask(GET).await;
    for name in ["x-hop", "keep-alive", "upgrade", "x-tidegate-spilled"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_eq!(answer.head.to_ascii_lowercase().matches("set-cookie").count(), 2);
}

#[tokio::test]
async fn request_ids_are_replaced_unless_sane() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let long = "x".repeat(129);
    for given in ["has space", "", long.as_str(), "\u{e4}"] {
        let request = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Request-Id: {given}\r\n\r\n");
        let answer = edge.ask(request).await;
        let id = answer.field("x-request-id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let head = origin.log.head(origin.log.requests() - 1);
        assert_eq!(field(&head, "x-request-id"), Some(id));
    }
    let longest = "x".repeat(128);
    let answer =
        edge.ask(format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Request-Id: {longest}\r\n\r\n")).await;
    assert_eq!(answer.field("x-request-id"), Some(longest.as_str()));
}

#[tokio::test]
async fn absolute_form_becomes_origin_form() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    for (n, (target, expected)) in
        [("http://app.test/x?y", "/x?y"), ("http://app.test", "/"), ("http://app.test?y", "/?y")]
            .into_iter()
            .enumerate()
    {
        edge.ask(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")).await;
        assert!(
            origin.log.head(n).starts_with(&format!("GET {expected} HTTP/1.1\r\n")),
            "{}",
            origin.log.head(n)
        );
    }
}

#[tokio::test]
async fn slow_heads_are_cut_while_others_are_served() {
    let origin = Origin::named("a").await;
    let limits = Limits { header_deadline: Duration::from_millis(400), ..Limits::default() };
    let edge = Edge::with(service(&[origin.addr]), limits).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut client = edge.client().await;
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nX: ").await;
        slow.push(client);
    }
    let started = tokio::time::Instant::now();
    let trickle = tokio::spawn(async move {
        // A byte now and then does not extend the deadline.
        while started.elapsed() < Duration::from_millis(300) {
            for client in &mut slow {
                client.send("y").await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for client in &mut slow {
            assert_eq!(client.response().await.unwrap().reason(), (408, "head-timeout"));
            assert!(client.is_closed().await);
        }
    });
    let mut others = 0;
    while !trickle.is_finished() {
        assert_eq!(edge.ask(GET).await.status, 200);
        others += 1;
    }
    trickle.await.unwrap();
    assert!(others > 10, "{others}");
}

#[tokio::test]
async fn large_heads_are_refused() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let with = |size: usize| format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", "y".repeat(size));
    assert_eq!(edge.ask(with(60 * 1024)).await.status, 200);
    assert_eq!(edge.ask(with(70 * 1024)).await.reason(), (431, "head-too-large"));
    let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(edge.ask(many(99)).await.status, 200);
    assert_eq!(edge.ask(many(100)).await.reason(), (431, "head-too-large"));
}

#[tokio::test]
async fn a_client_that_never_reads_the_proxys_own_pages_is_cut_off() {
    let limits = Limits {
        write_stall: Duration::from_millis(200),
        requests_per_connection_max: u32::MAX,
        ..Limits::default()
    };
    let edge = Edge::with(service(&[]), limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = within(socket.connect(edge.addr)).await.unwrap();
    // Heads alone: the writing of a body is bounded by pingora itself.
    let requests = "HEAD / HTTP/1.1\r\nHost: other.test\r\n\r\n".repeat(1_000);
    // The answers fill the buffers of the kernel, then the proxy reads no more, then it ends.
    within(async { while client.write_all(requests.as_bytes()).await.is_ok() {} }).await;
    until(|| edge.told.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn an_upgrade_to_another_http_is_not_tunnelled() {
    let origin = Origin::named("a").await;
    let edge = Edge::new(service(&[origin.addr])).await;
    let mut client = edge.client().await;
    for (n, upgrade) in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0"].into_iter().enumerate() {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        );
        assert_eq!(client.ask(request).await.text(), "a", "answered as any request: {upgrade}");
        let head = origin.log.head(n);
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(field(&head, name), None, "{head}");
        }
    }
    let twice = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n";
    client.ask(twice).await;
    assert_eq!(field(&origin.log.head(5), "upgrade"), None);
}

#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_502() {
    for coding in
        ["gzip, chunked", "gzip", "identity", "chunked, chunked", "chunked\r\nTransfer-Encoding: chunked"]
    {
        let origin = Origin::replying(move |_, _| {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n1\r\nx\r\n0\r\n\r\n").into_bytes()
        })
        .await;
        let edge = Edge::new(service(&[origin.addr])).await;
        assert_eq!(edge.ask(GET).await.reason(), (502, "bad-response"), "{coding}");
    }
}

#[tokio::test]
async fn an_answers_length_is_said_once() {
    for length in ["2, 2", "2\r\nContent-Length: 2", "2,2\r\nContent-Length: 2"] {
        let origin = Origin::replying(move |_, _| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok").into_bytes()
        })
        .await;
        let edge = Edge::new(service(&[origin.addr])).await;
        let mut client = edge.client().await;
        for _ in 0..2 {
            client.send(GET).await;
            let head = client.head().await.unwrap().to_ascii_lowercase();
            assert_eq!(head.matches("content-length").count(), 1, "{head}");
            assert_eq!(field(&head, "content-length"), Some("2"), "{head}");
            assert_eq!(client.read_exact(2).await, b"ok");
        }
    }
}
