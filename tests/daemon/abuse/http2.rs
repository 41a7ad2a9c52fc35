//! Attacks over HTTP/2, in frames written by hand. Here a request that makes no sense ends its stream (RFC 9113, section
//! 8.1.1) or its connection; towards the origin, which speaks HTTP/1.1, the rules are the same: nothing, or one
//! well-formed request.

use super::frames::{Client, DATA, END_HEADERS, END_STREAM, End, HEADERS, PROTOCOL_ERROR, block, frame};
use super::{Body, SMUGGLED, Stage, expected, without_id};
use crate::scene::HOST;

/// What comes of an attack. But for `One` the origin sees no whole request.
enum Verdict {
    /// This, and not a byte at the origin.
    Refused(End),
    /// The body betrays it: a reset, and the origin may have seen a beginning.
    Cut,
    /// The origin gets one request at most, which is over before what betrays it. What the client hears depends on which
    /// is first.
    Empty,
    One(&'static str, &'static [&'static str], Body),
}

/// The request is malformed (RFC 9113, section 8.1.1).
const RESET: Verdict = Verdict::Refused(End::Reset(PROTOCOL_ERROR));
/// It cannot even be taken apart.
const GOODBYE: Verdict = Verdict::Refused(End::Goodbye(PROTOCOL_ERROR));
/// Well-formed for HTTP/2, and refused as it is in HTTP/1.1.
const BAD: Verdict = Verdict::Refused(End::Answer(400));
const METHOD: Verdict = Verdict::Refused(End::Answer(405));

type Fields = Vec<(&'static [u8], &'static [u8])>;

/// Fields of a POST, with some replaced (by name) or added.
fn fields(with: &[(&'static [u8], &'static [u8])]) -> Fields {
    let mut fields: Fields = vec![
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", b"/"),
        (b":authority", HOST.as_bytes()),
    ];
    for field in with {
        match fields.iter_mut().find(|known| known.0 == field.0 && field.0.starts_with(b":")) {
            Some(known) => *known = *field,
            None => fields.push(*field),
        }
    }
    fields
}

/// The same without one of them.
fn without(name: &[u8]) -> Fields {
    fields(&[]).into_iter().filter(|field| field.0 != name).collect()
}

struct Attack {
    name: &'static str,
    verdict: Verdict,
    fields: Fields,
    body: Option<&'static [u8]>,
}

fn with_head(name: &'static str, verdict: Verdict, fields: Fields) -> Attack {
    Attack { name, verdict, fields, body: None }
}

fn with_body(name: &'static str, verdict: Verdict, fields: Fields, body: &'static [u8]) -> Attack {
    Attack { name, verdict, fields, body: Some(body) }
}

fn attacks() -> Vec<Attack> {
    [in_fields(), in_pseudo_fields(), in_lengths(), harmless(), in_bodies()].into_iter().flatten().collect()
}

fn in_fields() -> Vec<Attack> {
    let head = |name, verdict, field, value| with_head(name, verdict, fields(&[(field, value)]));
    vec![
        head("CR LF in a value", GOODBYE, b"x-a", b"b\r\nx-evil: 1"),
        head(
            "a request behind CR LF in a value",
            GOODBYE,
            b"x-a",
            b"b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        head("LF in a value", GOODBYE, b"x-a", b"b\nx-evil: 1"),
        head("CR in a value", GOODBYE, b"x-a", b"b\rx-evil: 1"),
        head("NUL in a value", GOODBYE, b"x-a", b"b\0c"),
        head("DEL in a value", GOODBYE, b"x-a", b"b\x7fc"),
        head("a blank before a value", BAD, b"x-a", b" b"),
        head("a tab behind a value", BAD, b"x-a", b"b\t"),
        head("CR LF in a name", GOODBYE, b"x-a: b\r\nx-evil", b"1"),
        head("LF in a name", GOODBYE, b"x-a\n", b"1"),
        head("NUL in a name", GOODBYE, b"x-a\0", b"1"),
        head("a space in a name", GOODBYE, b"x a", b"1"),
        head("a space behind a name", GOODBYE, b"transfer-encoding ", b"chunked"),
        head("a colon in a name", GOODBYE, b"transfer-encoding: chunked\r\nx", b"1"),
        head("a colon behind a name", GOODBYE, b"x-a:", b"1"),
        head("an upper-case name", GOODBYE, b"X-Upper", b"1"),
        head("a name beyond ASCII", GOODBYE, b"x-\xe4", b"1"),
        head("an empty name", GOODBYE, b"", b"1"),
        head("Connection", RESET, b"connection", b"close"),
        head("Keep-Alive", RESET, b"keep-alive", b"timeout=5"),
        head("Proxy-Connection", RESET, b"proxy-connection", b"close"),
        head("Upgrade", RESET, b"upgrade", b"h2c"),
        head("Transfer-Encoding", RESET, b"transfer-encoding", b"chunked"),
        head("Transfer-Encoding of something", RESET, b"transfer-encoding", b"identity"),
        head("TE for a coding", RESET, b"te", b"gzip"),
    ]
}

fn in_pseudo_fields() -> Vec<Attack> {
    let replaced = |name, verdict, field, value| with_head(name, verdict, fields(&[(field, value)]));
    let mut late = without(b":path");
    late.extend([(&b"x-a"[..], &b"1"[..]), (b":path", b"/")]);
    let twice = |field: (&'static [u8], &'static [u8])| [fields(&[]), vec![field]].concat();
    vec![
        replaced("CR LF in the method", GOODBYE, b":method", b"GET /smuggled HTTP/1.1\r\nx: y\r\n\r\nPOST"),
        replaced("a space in the method", GOODBYE, b":method", b"GET /smuggled HTTP/1.1"),
        replaced("an empty method", GOODBYE, b":method", b""),
        replaced("CR LF in the path", RESET, b":path", b"/ HTTP/1.1\r\nx-evil: 1"),
        replaced("a space in the path", RESET, b":path", b"/a HTTP/1.1"),
        replaced("NUL in the path", RESET, b":path", b"/\0"),
        replaced("an empty path", RESET, b":path", b""),
        replaced("a path without a slash", RESET, b":path", b"smuggled"),
        replaced("a whole URL for a path", RESET, b":path", b"http://evil.test/"),
        replaced("a star for a path", BAD, b":path", b"*"),
        replaced("CR LF in the authority", RESET, b":authority", b"www.scene.test\r\nx: y"),
        replaced("a path in the authority", RESET, b":authority", b"www.scene.test/evil"),
        replaced("user information", BAD, b":authority", b"evil@www.scene.test"),
        replaced("CR LF in the scheme", RESET, b":scheme", b"https\r\nx: y"),
        replaced("a URL for the scheme", RESET, b":scheme", b"http://evil.test/?"),
        replaced("another scheme", BAD, b":scheme", b"gopher"),
        with_head("no method", RESET, without(b":method")),
        with_head("no scheme", RESET, without(b":scheme")),
        with_head("no path", RESET, without(b":path")),
        with_head("no authority and no host", BAD, without(b":authority")),
        with_head("two methods", RESET, twice((b":method", b"GET"))),
        with_head("two paths", RESET, twice((b":path", b"/smuggled"))),
        with_head("two authorities", RESET, twice((b":authority", b"evil.test"))),
        with_head("an unknown pseudo-field", GOODBYE, twice((b":evil", b"1"))),
        with_head("a pseudo-field of answers", RESET, twice((b":status", b"200"))),
        with_head("a pseudo-field behind a field", RESET, late),
        with_head("another host beside the authority", BAD, fields(&[(b"host", b"evil.test")])),
        with_head("two hosts", BAD, fields(&[(b"host", HOST.as_bytes()), (b"host", HOST.as_bytes())])),
        with_head("CONNECT", METHOD, vec![(b":method", b"CONNECT"), (b":authority", b"www.scene.test:80")]),
        with_head("TRACE", METHOD, fields(&[(b":method", b"TRACE")])),
    ]
}

fn in_lengths() -> Vec<Attack> {
    let length = |name, verdict, length| with_head(name, verdict, fields(&[(b"content-length", length)]));
    vec![
        length("a length and no body", RESET, b"5"),
        length("a length with a plus", RESET, b"+5"),
        length("a length below zero", RESET, b"-5"),
        length("a list of lengths", RESET, b"0, 5"),
        length("a length of nothing", BAD, b""),
        length("a length beyond 64 bits", RESET, b"18446744073709551617"),
        with_head("two lengths", RESET, fields(&[(b"content-length", b"0"), (b"content-length", b"5")])),
    ]
}

fn harmless() -> Vec<Attack> {
    let chunked = &["transfer-encoding: chunked"][..];
    vec![
        with_body(
            "a request in a body",
            Verdict::One("POST / HTTP/1.1", chunked, Body::Smuggled),
            fields(&[]),
            SMUGGLED.as_bytes(),
        ),
        with_body(
            "a request in a body with its length",
            Verdict::One("POST / HTTP/1.1", &["content-length: 48"], Body::Smuggled),
            fields(&[(b"content-length", b"48")]),
            SMUGGLED.as_bytes(),
        ),
        with_body(
            "the end of a chunked body in a body",
            Verdict::One("POST / HTTP/1.1", chunked, Body::Text("0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")),
            fields(&[]),
            b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        ),
        with_head(
            "a host and no authority",
            Verdict::One("POST / HTTP/1.1", &[], Body::None),
            [without(b":authority"), vec![(&b"host"[..], HOST.as_bytes())]].concat(),
        ),
        with_head(
            "a host that is the authority",
            Verdict::One("POST / HTTP/1.1", &[], Body::None),
            fields(&[(b"host", HOST.as_bytes())]),
        ),
        with_head(
            "another one's address",
            Verdict::One("POST / HTTP/1.1", &[], Body::None),
            fields(&[
                (b"x-forwarded-for", b"192.0.2.1"),
                (b"forwarded", b"for=192.0.2.1"),
                (b"x-forwarded-proto", b"http"),
            ]),
        ),
        with_head(
            "a fragment in the path",
            Verdict::One("POST /a HTTP/1.1", &[], Body::None),
            fields(&[(b":path", b"/a#/smuggled")]),
        ),
        with_head(
            "a request in a value",
            Verdict::One("POST / HTTP/1.1", &["x-a: GET /smuggled HTTP/1.1"], Body::None),
            fields(&[(b"x-a", b"GET /smuggled HTTP/1.1")]),
        ),
    ]
}

/// Last, because what they leave at the origin may come late.
fn in_bodies() -> Vec<Attack> {
    vec![
        with_body(
            "H2.CL: more than a length of zero",
            Verdict::Empty,
            fields(&[(b"content-length", b"0")]),
            SMUGGLED.as_bytes(),
        ),
        with_body(
            "H2.CL: more than the length",
            Verdict::Cut,
            fields(&[(b"content-length", b"2")]),
            SMUGGLED.as_bytes(),
        ),
        with_body(
            "H2.CL: less than the length",
            Verdict::Cut,
            fields(&[(b"content-length", b"200")]),
            SMUGGLED.as_bytes(),
        ),
        with_body(
            "H2.TE",
            RESET,
            fields(&[(b"transfer-encoding", b"chunked")]),
            b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_over_http2_is_refused_or_is_exactly_one_request() {
    let stage = Stage::set().await;
    for attack in attacks() {
        let what = attack.name;
        let mut client = Client::connect(&stage).await;
        let end = client.ask(&attack.fields, attack.body).await;
        let record = stage.next_client(what).await;
        match attack.verdict {
            Verdict::Refused(expected) => {
                assert_eq!(end, expected, "{what}");
                assert_eq!((record.begun, record.requests.len()), (1, 0), "{what}: {record:?}");
            }
            Verdict::Cut => {
                assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{what}");
                assert_eq!(record.requests, [], "{what}");
            }
            Verdict::Empty => {
                assert!([End::Reset(PROTOCOL_ERROR), End::Answer(200)].contains(&end), "{what}: {end:?}");
                let whole = expected("POST / HTTP/1.1", &["content-length: 0"], Body::None, true);
                assert!(record.requests.into_iter().all(|request| without_id(request) == whole), "{what}");
            }
            Verdict::One(line, fields, body) => {
                assert_eq!(end, End::Answer(200), "{what}");
                let requests: Vec<_> = record.requests.into_iter().map(without_id).collect();
                assert_eq!(requests, [expected(line, fields, body, true)], "{what}");
                assert!(record.cut.is_empty(), "{what}: {:?}", record.cut);
            }
        }
    }
}

/// Trailers can spell no request either: they are not passed on to HTTP/1.1, or they end the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_over_http2_are_no_way_in() {
    let stage = Stage::set().await;
    for (name, value) in [
        (&b"x-a"[..], &b"b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"[..]),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"5"),
        (b"host", b"evil.test"),
        (b":path", b"/smuggled"),
        (b"x-a", b"b"),
    ] {
        let what = String::from_utf8_lossy(name);
        let mut client = Client::connect(&stage).await;
        client.send(&frame(HEADERS, END_HEADERS, &block(&fields(&[])))).await;
        client.send(&frame(DATA, 0, b"data")).await;
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, &block(&[(name, value)]))).await;
        client.end().await;
        let requests = stage.next_client(&what).await.requests;
        let whole = expected("POST / HTTP/1.1", &["transfer-encoding: chunked"], Body::Text("data"), true);
        for request in requests.into_iter().map(without_id) {
            assert_eq!(request, whole, "{what}");
        }
    }
}
