//! Origins that speak gRPC's health checking protocol, and origins that do not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tidegate_probe::{
    Failure, GrpcCheck, GrpcFailure, Kind, Outcome, SpecError, Stage, TlsCheck, TlsFailure,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::support::{DEADLINE, OK, Origin, prober, wait_out};
use crate::tls::{NAME, acceptor, ca, only, params};

/// What a server answers.
#[derive(Clone, Copy)]
struct Script {
    http: u16,
    kind: &'static str,
    message: &'static [u8],
    /// Among the headers, without a message or trailers.
    at_once: Option<&'static str>,
    trailer: Option<&'static str>,
}

const SERVING: Script = Script {
    http: 200,
    kind: "application/grpc+proto",
    message: &[0, 0, 0, 0, 2, 8, 1],
    at_once: None,
    trailer: Some("0"),
};

type Asked = Arc<Mutex<Vec<(http::request::Parts, Vec<u8>)>>>;

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, script: Script, asked: Asked) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (parts, mut body) = request.into_parts();
        let asked = asked.clone();
        // The connection has to be driven for the body to come.
        let answer = async move {
            let mut bytes = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                bytes.extend_from_slice(&chunk);
            }
            asked.lock().unwrap().push((parts, bytes));
            let head = Response::builder().status(script.http).header("content-type", script.kind);
            if let Some(code) = script.at_once {
                let _ = respond.send_response(head.header("grpc-status", code).body(()).unwrap(), true);
                return;
            }
            let mut sending = respond.send_response(head.body(()).unwrap(), false).unwrap();
            let ends = script.trailer.is_none();
            let _ = sending.send_data(Bytes::from_static(script.message), ends);
            if let Some(code) = script.trailer {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(code));
                let _ = sending.send_trailers(trailers);
            }
        };
        tokio::spawn(answer);
    }
}

async fn origin(script: Script) -> (Origin, Asked) {
    let asked = Asked::default();
    let told = asked.clone();
    (Origin::raw(move |stream, _| serve(stream, script, told.clone())).await, asked)
}

fn check() -> GrpcCheck {
    GrpcCheck::new("db.Main", "app.example.com:50051").unwrap()
}

async fn ask(origin: &Origin, check: GrpcCheck) -> Outcome {
    timeout(DEADLINE, prober(origin.addr, Kind::Grpc(check)).probe()).await.unwrap().outcome
}

async fn outcome(script: Script) -> Outcome {
    let (origin, _) = origin(script).await;
    ask(&origin, check()).await
}

fn failed(failure: GrpcFailure) -> Outcome {
    Outcome::Fail(Failure::Grpc(failure))
}

#[tokio::test]
async fn a_service_that_serves_passes_and_is_asked_by_name() {
    let (origin, asked) = origin(SERVING).await;
    assert_eq!(ask(&origin, check()).await, Outcome::Pass);
    assert_eq!(ask(&origin, GrpcCheck::new("", "app.example.com").unwrap()).await, Outcome::Pass);
    let asked = asked.lock().unwrap();
    let (head, body) = &asked[0];
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri.to_string(), "http://app.example.com:50051/grpc.health.v1.Health/Check");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(&body[..], b"\0\0\0\0\x09\x0a\x07db.Main");
    assert_eq!(&asked[1].1[..], b"\0\0\0\0\0", "the server as a whole");
}

#[tokio::test]
async fn every_other_health_fails_with_its_name() {
    for (message, status, text) in [
        (&[0, 0, 0, 0, 0][..], 0, "gRPC health UNKNOWN, wanted SERVING"),
        (&[0, 0, 0, 0, 2, 8, 2], 2, "gRPC health NOT_SERVING"),
        (&[0, 0, 0, 0, 2, 8, 3], 3, "gRPC health SERVICE_UNKNOWN"),
        (&[0, 0, 0, 0, 2, 8, 9], 9, "gRPC health 9, wanted SERVING (1)"),
    ] {
        let outcome = outcome(Script { message, ..SERVING }).await;
        assert_eq!(outcome, failed(GrpcFailure::NotServing(status)));
        assert_eq!((outcome.to_string().as_str(), outcome.label()), (text, "not-serving"));
    }
}

#[tokio::test]
async fn a_status_other_than_ok_fails_wherever_it_stands() {
    for (code, number) in [("5", 5), ("12", 12), ("14", 14)] {
        let expected = failed(GrpcFailure::Status(number));
        assert_eq!(outcome(Script { trailer: Some(code), ..SERVING }).await, expected);
        assert_eq!(outcome(Script { at_once: Some(code), ..SERVING }).await, expected);
    }
}

#[tokio::test]
async fn what_is_no_grpc_says_so() {
    let not_grpc = failed(GrpcFailure::NotGrpc);
    // OK without a message, a message without a status, and a status that is none.
    assert_eq!(outcome(Script { at_once: Some("0"), ..SERVING }).await, not_grpc);
    assert_eq!(outcome(Script { trailer: None, ..SERVING }).await, not_grpc);
    assert_eq!(outcome(Script { trailer: Some("ok"), ..SERVING }).await, not_grpc);
    assert_eq!(outcome(Script { kind: "text/html", ..SERVING }).await, not_grpc);
    assert_eq!(outcome(Script { message: &[1, 0, 0, 0, 2, 8, 1], ..SERVING }).await, not_grpc);
    assert_eq!(outcome(Script { message: &[0, 0, 0, 0, 1, 8], ..SERVING }).await, not_grpc);
    let status = outcome(Script { http: 503, ..SERVING }).await;
    assert!(matches!(status, Outcome::Fail(Failure::Status { got: 503, .. })), "{status}");
    let origin = Origin::answering(OK).await;
    let plain = ask(&origin, check()).await;
    assert!([not_grpc, Outcome::Fail(Failure::NoAnswer)].contains(&plain), "{plain}");
}

#[tokio::test]
async fn a_message_that_announces_or_sends_too_much_is_too_large() {
    let announces = Script { message: &[0, 0, 1, 0, 0, 8, 1], ..SERVING };
    assert_eq!(outcome(announces).await, Outcome::Fail(Failure::TooLarge));
    static LARGE: [u8; 5000] = [0; 5000];
    assert_eq!(outcome(Script { message: &LARGE, ..SERVING }).await, Outcome::Fail(Failure::TooLarge));
}

#[tokio::test]
async fn over_tls_http2_is_agreed_on_and_the_certificate_counts() {
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    for (alpn, issuer, expected) in [
        (&[&b"h2"[..]][..], &ours, Ok(())),
        (&[&b"http/1.1"[..]][..], &ours, Err(TlsFailure::Alert)),
        (&[&b"h2"[..]][..], &theirs, Err(TlsFailure::UnknownIssuer)),
    ] {
        let acceptor = acceptor(issuer, &params(&[NAME]), alpn);
        let origin = Origin::raw(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                serve(stream, SERVING, Asked::default()).await;
            }
        })
        .await;
        let outcome = ask(&origin, check().with_tls(TlsCheck::new(NAME, only(&ours)).unwrap())).await;
        let expected =
            expected.map_or_else(|failure| Outcome::Fail(Failure::Tls(failure)), |()| Outcome::Pass);
        assert_eq!(outcome, expected, "{alpn:?}");
    }
}

#[tokio::test]
async fn each_probe_opens_a_connection_and_closes_it_in_peace() {
    let (origin, asked) = origin(SERVING).await;
    let mut prober = prober(origin.addr, Kind::Grpc(check()));
    for connections in 1..=3 {
        assert_eq!(prober.probe().await.outcome, Outcome::Pass);
        prober.rest().await;
        origin.seen.until(|seen| seen.connections() == connections && seen.open() == 0).await;
    }
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_silent_origin_times_out() {
    let origin = Origin::raw(|stream, seen| async move {
        seen.request();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        // Requests are taken and never answered.
        let mut taken = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            seen.request();
            taken.push(request);
        }
    })
    .await;
    let after = Duration::from_secs(5);
    let verdict = wait_out(&origin, Kind::Grpc(check()), after, |seen| seen.requests() == 2).await;
    assert_eq!(verdict.outcome, Outcome::Fail(Failure::TimedOut { after, stage: Stage::Response }));
}

#[test]
fn what_cannot_be_sent_is_refused_beforehand() {
    assert!(GrpcCheck::new(&"x".repeat(256), "a").is_ok());
    for service in ["x".repeat(257), "a\nb".to_owned()] {
        assert_eq!(GrpcCheck::new(&service, "a"), Err(SpecError::GrpcService(service)));
    }
    for host in ["", "a b", "user@a", "a/b"] {
        assert_eq!(GrpcCheck::new("", host), Err(SpecError::Host(host.to_owned())), "{host:?}");
    }
}
