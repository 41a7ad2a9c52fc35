//! Clients that abuse HTTP/2: each is cut or refused, the others are served, and no origin sees a malformed request.

use std::time::Duration;

use tidegate_proxy::Limits;

use crate::http2_client::*;
use crate::http2_kit::*;
use crate::kit::*;

const ENHANCE_YOUR_CALM: u32 = 11;

/// The next client is served as if nothing had happened.
async fn others_are_served(edge: &SecureEdge) {
    assert_eq!(edge.http2().await.ask(request("GET", "/"), None).await.unwrap().status, 200);
}

#[tokio::test]
async fn malformed_requests_never_reach_an_origin() {
    let origin = Origin::named("one").await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let fields = |name: &[u8], value: &[u8]| [get_fields(), literal(name, value)].concat();
    let (method, scheme) = (literal(b":method", b"GET"), literal(b":scheme", b"https"));
    let (path, host) = (literal(b":path", b"/"), literal(b":authority", b"app.test"));
    for (what, block) in [
        ("CR LF in a value", fields(b"x-a", b"b\r\nx-evil: 1")),
        ("LF in a value", fields(b"x-a", b"b\nx-evil: 1")),
        ("NUL in a value", fields(b"x-a", b"b\0c")),
        (
            "CR LF in the path",
            [&*method, &scheme, &literal(b":path", b"/ HTTP/1.1\r\nx-evil: 1"), &host].concat(),
        ),
        ("a space in the path", [&*method, &scheme, &literal(b":path", b"/a b"), &host].concat()),
        (
            "CR LF in the method",
            [&*literal(b":method", b"GET / HTTP/1.1\r\n"), &scheme, &path, &host].concat(),
        ),
        (
            "CR LF in the authority",
            [&*method, &scheme, &path, &literal(b":authority", b"app.test\r\nx: y")].concat(),
        ),
        ("an upper-case name", fields(b"X-Upper", b"1")),
        ("CR LF in a name", fields(b"x-a: b\r\nx-evil", b"1")),
        ("a space in a name", fields(b"x a", b"1")),
        ("an empty name", fields(b"", b"1")),
        ("Connection", fields(b"connection", b"close")),
        ("Transfer-Encoding", fields(b"transfer-encoding", b"chunked")),
        ("Upgrade", fields(b"upgrade", b"h2c")),
        ("TE", fields(b"te", b"gzip")),
        ("another host", fields(b"host", b"evil.test")),
        ("two hosts", [fields(b"host", b"app.test"), literal(b"host", b"app.test")].concat()),
        ("a blank before the value", fields(b"x-a", b" b")),
        ("a length and no body", fields(b"content-length", b"5")),
        ("two lengths", [fields(b"content-length", b"0"), literal(b"content-length", b"5")].concat()),
        ("a pseudo-field behind a field", [&*method, &scheme, &path, &literal(b"x-a", b"1"), &host].concat()),
        ("a pseudo-field twice", [get_fields(), path.clone()].concat()),
        ("an unknown pseudo-field", [get_fields(), literal(b":evil", b"1")].concat()),
        ("no path", [&*method, &scheme, &host].concat()),
        ("an empty path", [&*method, &scheme, &literal(b":path", b""), &host].concat()),
        ("no method", [&*scheme, &path, &host].concat()),
        ("no host at all", [&*method, &scheme, &path].concat()),
        ("user information", [&*method, &scheme, &path, &literal(b":authority", b"me@app.test")].concat()),
        ("a status", [get_fields(), literal(b":status", b"200")].concat()),
    ] {
        let mut raw = edge.raw().await;
        raw.send(&frame(1, 5, 1, &block)).await;
        // An answer, a reset, or a goodbye that names an error.
        let reply = raw.until(|frame| matches!(frame.kind, 1 | 3 | 7)).await;
        if let Some(frame) = reply.filter(|frame| frame.kind == 1) {
            // 400 is not in the static table's first statuses by chance: index 12 (RFC 7541, appendix A).
            assert_eq!(frame.payload[0], 0x80 | 12, "{what}: answered with something else than 400");
        }
        assert_eq!(origin.log.requests(), 0, "{what} reached the origin: {:?}", origin.log.heads.lock());
    }
    // Less of a body than its length says, and more.
    for (length, body) in [(&b"9"[..], &b"short"[..]), (b"2", b"too long")] {
        let mut raw = edge.raw().await;
        let head = [
            literal(b":method", b"POST"),
            scheme.clone(),
            path.clone(),
            host.clone(),
            literal(b"content-length", length),
        ]
        .concat();
        raw.send(&[frame(1, 4, 1, &head), frame(0, 1, 1, body)].concat()).await;
        raw.until(|frame| matches!(frame.kind, 1 | 3 | 7)).await;
    }
    assert!(origin.log.bodies.lock().unwrap().is_empty(), "no origin got a whole body of a wrong length");
    others_are_served(&edge).await;
}

#[tokio::test]
async fn rapid_resets_are_cut_and_others_served() {
    let origin = Origin::named("one").await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut raw = edge.raw().await;
    for n in 0..2_000u32 {
        let id = n * 2 + 1;
        raw.flood(1, &[frame(1, 5, id, &get_fields()), frame(3, 0, id, &8u32.to_be_bytes())].concat()).await;
    }
    assert_eq!(raw.is_cut().await, Some(ENHANCE_YOUR_CALM));
    assert!(origin.log.requests() < 400, "{} requests got through", origin.log.requests());
    others_are_served(&edge).await;
}

#[tokio::test]
async fn continuation_floods_are_cut_and_others_served() {
    let origin = Origin::named("one").await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    for piece in [vec![], literal(b"x-a", &[b'a'; 200])] {
        let mut raw = edge.raw().await;
        raw.send(&frame(1, 1, 1, &get_fields())).await;
        raw.flood(20_000, &frame(9, 0, 1, &piece)).await;
        raw.is_cut().await;
    }
    assert_eq!(origin.log.requests(), 0);
    others_are_served(&edge).await;
}

#[tokio::test]
async fn header_bombs_are_refused_and_others_served() {
    let origin = Origin::named("one").await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    let mut raw = edge.raw().await;
    // One field of 3 KiB goes into the dynamic table (RFC 7541, section 6.2.1), then each byte names it again.
    let mut bomb = get_fields();
    bomb.push(0x40);
    bomb.extend([3, b'x', b'-', b'a']);
    bomb.extend([127, 0x81, 0x17]);
    bomb.extend([b'a'; 127 + 1 + 0x17 * 128]);
    bomb.extend([0x80 | 62; 8_000]);
    raw.send(&frame(1, 5, 1, &bomb)).await;
    raw.until(|frame| matches!(frame.kind, 1 | 3 | 7)).await;
    // So many small ones that only their number is large.
    let mut raw = edge.raw().await;
    let many = [get_fields(), literal(b"x-a", b"b").repeat(101)].concat();
    raw.send(&frame(1, 5, 1, &many)).await;
    let refused = raw.until(|frame| frame.kind == 1).await.expect("an answer");
    assert_ne!(refused.payload[0], 0x88, "not 200");
    assert_eq!(origin.log.requests(), 0);
    assert_eq!(edge.codes().last(), Some(&431));
    others_are_served(&edge).await;
}

#[tokio::test]
async fn floods_of_control_frames_are_cut_and_others_served() {
    let origin = Origin::named("one").await;
    let edge = secure(service(&[origin.addr]), Limits::default()).await;
    for (what, flood) in [
        ("PING", frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("an unknown frame", frame(0x42, 0, 1, &[0; 3])),
        ("WINDOW_UPDATE", frame(8, 0, 0, &[0, 0, 0, 1])),
    ] {
        let mut raw = edge.raw().await;
        raw.flood(3_000, &flood).await;
        assert_eq!(raw.is_cut().await, Some(ENHANCE_YOUR_CALM), "{what}");
    }
    others_are_served(&edge).await;
}

#[tokio::test]
async fn heads_that_never_end_are_cut_at_their_deadline() {
    let origin = Origin::named("one").await;
    let limits = Limits { header_deadline: Duration::from_millis(300), ..Limits::default() };
    let edge = secure(service(&[origin.addr]), limits).await;
    // No preface, no request, and a request whose fields do not end.
    let mut silent = edge.connect(b"h2").await;
    let mut bytes = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut bytes)).await;
    edge.raw().await.is_cut().await;
    let mut raw = edge.raw().await;
    raw.send(&frame(1, 5, 1, &get_fields())).await;
    raw.until(|frame| frame.kind == 0).await.expect("an answer");
    raw.send(&frame(1, 1, 3, &get_fields())).await;
    assert_eq!(raw.is_cut().await, Some(ENHANCE_YOUR_CALM));
    assert_eq!(origin.log.requests(), 1);
}

#[tokio::test]
async fn a_window_that_never_opens_ends_its_stream() {
    let origin = Origin::replying(|_, _| ok(&"x".repeat(200_000))).await;
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let edge = secure(service(&[origin.addr]), limits).await;
    let mut raw = edge.raw().await;
    raw.send(&frame(1, 5, 1, &get_fields())).await;
    let reset = raw.until(|frame| frame.kind == 3).await.expect("a reset");
    assert_eq!(reset.stream, 1);
    // The connection itself is fine.
    raw.send(&frame(6, 0, 0, &[1; 8])).await;
    raw.until(|frame| frame.kind == 6).await.expect("a pong");
    others_are_served(&edge).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_its_time() {
    let origin = Origin::named("one").await;
    let limits = Limits { keepalive_idle: Duration::from_millis(200), ..Limits::default() };
    let edge = secure(service(&[origin.addr]), limits).await;
    let mut client = edge.http2().await;
    assert_eq!(client.ask(request("GET", "/"), None).await.unwrap().status, 200);
    client.over().await;
    // Also if it does not follow the goodbye.
    let mut raw = edge.raw().await;
    raw.send(&frame(1, 5, 1, &get_fields())).await;
    assert_eq!(raw.is_cut().await, Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_leave_is_cut() {
    let origin = Origin::named("one").await;
    let limits = Limits { requests_per_connection_max: 3, http2_streams_max: 2, ..Limits::default() };
    let edge = secure(service(&[origin.addr]), limits).await;
    let mut raw = edge.raw().await;
    // It never confirms that it has heard the goodbye (by answering the PING behind it).
    for id in (1..200).step_by(2) {
        if !raw.send(&frame(1, 5, id, &get_fields())).await
            || raw.until(|frame| frame.kind == 0).await.is_none()
        {
            break;
        }
    }
    assert_eq!(raw.is_cut().await, None, "it was read to the end already");
    assert_eq!(origin.log.requests(), 3 + 2 * 2);
    others_are_served(&edge).await;
}
