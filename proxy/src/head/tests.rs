use proptest::prelude::*;

use super::*;

fn judge(head: &str) -> Result<Facts, u16> {
    check(head.as_bytes(), 100).map_err(|refusal| refusal.status)
}

/// A request with these header lines behind its host.
fn get(lines: &str) -> Result<Facts, u16> {
    judge(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn framing_is_read_in_one_way_only() {
    for (lines, expected) in [
        ("", Ok(Framing::None)),
        ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
        ("content-length:   007  \r\n", Ok(Framing::Length(7))),
        ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("Transfer-Encoding: CHUNKED\r\n", Ok(Framing::Chunked)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(400)),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(400)),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(400)),
        ("Content-Length: 5, 5\r\n", Err(400)),
        ("Content-Length: +5\r\n", Err(400)),
        ("Content-Length: -1\r\n", Err(400)),
        ("Content-Length: 0x5\r\n", Err(400)),
        ("Content-Length:\r\n", Err(400)),
        ("Content-Length: 99999999999999999999\r\n", Err(400)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
        ("Transfer-Encoding: xchunked\r\n", Err(501)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("Transfer-Encoding: chunked, identity\r\n", Err(501)),
        ("Transfer-Encoding : chunked\r\n", Err(400)),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", Err(400)),
        ("X: a\r\n\tfolded\r\n", Err(400)),
        (": empty\r\n", Err(400)),
        ("no colon\r\n", Err(400)),
        ("X: nul\0\r\n", Err(400)),
        ("X: cr\rLF: x\r\n", Err(400)),
        ("X: cr at the end\r\r\n", Err(400)),
        ("X\x0b: vt\r\n", Err(400)),
        ("X: \u{e4} obs-text\r\n", Ok(Framing::None)),
        ("X:\r\n", Ok(Framing::None)),
        ("Expect: 100-Continue\r\n", Ok(Framing::None)),
        ("Expect: a-miracle\r\n", Err(417)),
        ("Host: b\r\n", Err(400)),
    ] {
        assert_eq!(get(lines).map(|facts| facts.framing), expected, "{lines:?}");
    }
}

#[test]
fn options_of_a_connection_are_bounded_over_all_its_fields() {
    let lines = |first: usize, second: usize| {
        let list = |count| vec!["x"; count].join(",");
        format!("Connection: {}\r\nConnection: {}\r\n", list(first), list(second))
    };
    assert!(get(&lines(63, 1)).is_ok());
    assert_eq!(get(&lines(63, 2)), Err(431));
    assert_eq!(get(&lines(1, 64)), Err(431));
}

#[test]
fn request_lines_are_read_in_one_way_only() {
    for (line, expected) in [
        ("GET / HTTP/1.1", Ok(())),
        ("OPTIONS * HTTP/1.1", Ok(())),
        ("GET * HTTP/1.1", Err(400)),
        ("GET  / HTTP/1.1", Err(400)),
        ("GET / HTTP/1.1 ", Err(400)),
        ("GET /a b HTTP/1.1", Err(400)),
        ("GET\t/ HTTP/1.1", Err(400)),
        (" GET / HTTP/1.1", Err(400)),
        ("GET /\u{e4} HTTP/1.1", Err(400)),
        ("GET /\0 HTTP/1.1", Err(400)),
        ("GET /#f HTTP/1.1", Err(400)),
        ("GET / HTTP/2.0", Err(505)),
        ("GET / HTTP/0.9", Err(505)),
        ("GET / HTTP/1.2", Err(505)),
        ("GET / http/1.1", Err(400)),
        ("GET / HTTP/1.10", Err(400)),
        ("GET /", Err(400)),
        ("G(T / HTTP/1.1", Err(400)),
        ("CONNECT a:443 HTTP/1.1", Err(405)),
        ("TRACE / HTTP/1.1", Err(405)),
        ("GET a HTTP/1.1", Err(400)),
        ("GET http://a/x HTTP/1.1", Ok(())),
        ("GET http://a HTTP/1.1", Ok(())),
        ("GET HTTP://A/x HTTP/1.1", Ok(())),
        ("GET http://b/x HTTP/1.1", Err(400)),
        ("GET http://user@a/x HTTP/1.1", Err(400)),
        ("GET ftp://a/x HTTP/1.1", Err(400)),
        ("GET http:// HTTP/1.1", Err(400)),
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(judge(&head).map(drop), expected, "{line:?}");
    }
    let head = "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n";
    let absolute = judge(head).expect("fine").absolute.expect("absolute");
    assert_eq!(&head[absolute], "/x?y");
    assert_eq!(judge("GET / HTTP/1.1\r\n\r\n"), Err(400), "1.1 needs a host");
    assert!(judge("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert_eq!(judge("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(400));
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), Err(400));
    assert_eq!(judge("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), Err(400));
}

#[test]
fn upgrades_and_safety_are_recognised() {
    let upgrade = get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").expect("fine");
    assert!(upgrade.upgrade && upgrade.is_safe());
    assert!(!get("Upgrade: websocket\r\n").expect("fine").upgrade, "not named in Connection");
    assert!(!get("Connection: upgrade\r\n").expect("fine").upgrade, "nothing to upgrade to");
    assert!(!get("Content-Length: 3\r\n").expect("fine").is_safe());
    assert!(get("Content-Length: 0\r\n").expect("fine").is_safe());
    assert!(!judge("POST / HTTP/1.1\r\nHost: a\r\n\r\n").expect("fine").is_safe());
}

#[test]
fn the_field_count_is_bounded() {
    let head = |n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert!(judge(&head(99)).is_ok());
    assert_eq!(judge(&head(100)), Err(431));
}

#[tokio::test]
async fn heads_are_read_whole_in_any_pieces_and_bounded() {
    let limits = Limits { header_bytes_max: 200, ..Limits::default() };
    let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    for cut in 0..head.len() - 4 {
        let mut buf = BytesMut::from(&head[..cut]);
        let facts = read(&mut &head[cut..], &mut buf, &limits).await.expect("complete");
        assert_eq!(&buf[facts.len..], b"body", "cut at {cut}");
    }
    let status = |result: Result<Facts, NoHead>| match result {
        Ok(_) => 200,
        Err(NoHead::Refused(refusal)) => refusal.status,
        Err(NoHead::Gone) => 0,
    };
    let filled = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(n)).into_bytes();
    let base = filled(0).len();
    for (n, expected) in [(200 - base, 200), (201 - base, 431), (4_000, 431)] {
        assert_eq!(status(read(&mut &filled(n)[..], &mut BytesMut::new(), &limits).await), expected);
    }
    assert_eq!(
        status(read(&mut &b"GET / HTTP/1.1\nHost: a\n\n"[..], &mut BytesMut::new(), &limits).await),
        400
    );
    assert_eq!(status(read(&mut &b"GET / HT"[..], &mut BytesMut::new(), &limits).await), 0);
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = find_end(&bytes, &mut 0);
        let _ = check(&bytes, 10);
    }

    /// Whatever passes is read the same way by an independent parser.
    #[test]
    fn what_passes_parses_the_same_elsewhere(
        name in "[A-Za-z: \t\r\n\0-]{1,12}",
        value in "[ -~\t\r\n\0]{0,20}",
        target in "[!-~ ]{1,10}",
    ) {
        let head = format!("GET /{target} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n");
        let mut scanned = 0;
        if let Ok(Some(len)) = find_end(head.as_bytes(), &mut scanned)
            && let Ok(facts) = check(&head.as_bytes()[..len], 100)
        {
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(head.as_bytes()).expect("ours is the stricter parser");
            prop_assert_eq!(parsed, httparse::Status::Complete(facts.len));
        }
    }
}
