use http::Request;
use proptest::prelude::*;

use super::*;

const COUNT_MAX: usize = 100;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn judged(
    method: &str,
    uri: &str,
    fields: &[(&str, &str)],
    ends: bool,
) -> Result<(RequestHeader, Facts), u16> {
    check(parts(method, uri, fields), ends, COUNT_MAX).map_err(|refusal| refusal.status)
}

const URI: &str = "https://app.example.com/a?b=c";

#[test]
fn an_ordinary_request_takes_the_shape_of_http11() {
    let (head, facts) = judged("GET", URI, &[("accept", "*/*")], true).expect("well-formed");
    assert_eq!(head.raw_path(), b"/a?b=c");
    assert_eq!(head.headers[header::HOST], "app.example.com");
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!((facts.framing, facts.protocol()), (Framing::None, "HTTP/2.0"));
    assert!(facts.is_safe());
    let (_, facts) = judged("POST", URI, &[], false).expect("well-formed");
    assert_eq!(facts.framing, Framing::Chunked, "a body without a length");
    let (_, facts) = judged("POST", URI, &[("content-length", "7")], false).expect("well-formed");
    assert_eq!(facts.framing, Framing::Length(7));
    let (head, _) = judged("OPTIONS", "/", &[("host", "a.example")], true).expect("well-formed");
    assert_eq!(head.headers[header::HOST], "a.example", "no authority, but a host");
}

#[test]
fn what_rfc_9113_forbids_is_refused() {
    for (fields, status) in [
        (&[("connection", "close")][..], 400),
        (&[("keep-alive", "1")], 400),
        (&[("proxy-connection", "close")], 400),
        (&[("transfer-encoding", "chunked")], 400),
        (&[("upgrade", "websocket")], 400),
        (&[("te", "gzip")], 400),
        (&[("te", "trailers, deflate")], 400),
        (&[("host", "other.example.com")], 400),
        (&[("host", "app.example.com"), ("host", "app.example.com")], 400),
        (&[("content-length", "3"), ("content-length", "3")], 400),
        (&[("content-length", "+3")], 400),
        (&[("content-length", "3")], 400),
        (&[("x-blank", " a")], 400),
        (&[("x-blank", "a\t")], 400),
        (&[("expect", "tea")], 417),
    ] {
        assert_eq!(judged("GET", URI, fields, true).err(), Some(status), "{fields:?}");
    }
    for fields in
        [&[("te", "trailers")][..], &[("host", "APP.example.com")], &[("x-tab", "a\tb")], &[("x-empty", "")]]
    {
        assert!(judged("GET", URI, fields, true).is_ok(), "{fields:?}");
    }
    for (method, uri, status) in [
        ("CONNECT", "app.example.com:443", 405),
        ("TRACE", URI, 405),
        ("GET", "ftp://app.example.com/", 400),
        ("GET", "https://user@app.example.com/", 400),
        ("GET", "/no-host", 400),
        ("GET", "*", 400),
    ] {
        assert_eq!(judged(method, uri, &[], true).err(), Some(status), "{method} {uri}");
    }
}

#[test]
fn the_number_of_fields_is_bounded() {
    let fields = |n: usize| vec![("x-a", "b"); n];
    assert!(judged("GET", URI, &fields(COUNT_MAX), true).is_ok());
    assert_eq!(judged("GET", URI, &fields(COUNT_MAX + 1), true).err(), Some(431));
}

#[test]
fn crumbs_of_cookies_are_joined() {
    let (head, _) =
        judged("GET", URI, &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], true).expect("fine");
    let cookies: Vec<_> = head.headers.get_all(header::COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

proptest! {
    /// Whatever passes is, written as HTTP/1.1, a head that the strict check of HTTP/1.1 takes for the same request.
    #[test]
    fn what_passes_is_one_strict_http11_request(
        method in "(GET|HEAD|POST|PUT|OPTIONS|M-SEARCH)",
        path in "/[!-~]{0,12}",
        authority in prop::option::of("[a-z.:@]{1,8}"),
        host in prop::option::of("[ -~]{0,8}"),
        fields in prop::collection::vec(("(x-a|te|cookie|content-length|connection|expect)", "[\t -~\u{80}-\u{ff}]{0,6}"), 0..5),
        ends: bool,
    ) {
        let uri = authority.map_or(path.clone(), |authority| format!("https://{authority}{path}"));
        let mut builder = Request::builder().method(method.as_str()).uri(uri);
        for (name, value) in host.iter().map(|host| ("host", host)).chain(fields.iter().map(|(n, v)| (n.as_str(), v))) {
            builder = builder.header(name, value.as_bytes());
        }
        let Ok(request) = builder.body(()) else { return Ok(()) };
        let Ok((head, facts)) = check(request.into_parts().0, ends, COUNT_MAX) else { return Ok(()) };
        let mut text = format!("{method} ").into_bytes();
        text.extend_from_slice(head.raw_path());
        text.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in &head.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        if facts.framing == Framing::Chunked {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let strict = crate::head::check(&text, COUNT_MAX + 2);
        prop_assert!(strict.is_ok(), "{:?}: {strict:?}", String::from_utf8_lossy(&text));
        prop_assert_eq!(strict.map(|facts| facts.framing).ok(), Some(facts.framing));
    }
}
