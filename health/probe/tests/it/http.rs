//! What passes, what fails, and what an origin can do to a probe.

use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_probe::command::Slots;
use tidegate_probe::{
    BODY_BYTES_MAX, Failure, HttpCheck, Kind, Outcome, OwnFault, Prober, Stage, StatusSet, Timing, Trust,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::{HOUR, OK, Origin, ask, get, head, prober, refusing, spec, wait_out};

const MIB: usize = 1024 * 1024;

fn failed(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Fail(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn the_status_decides() {
    for (status, wanted, passes) in [
        (200, "200-299", true),
        (299, "200-299", true),
        (300, "200-299", false),
        (199 + 305, "200-299,504", true),
        (503, "200-299", false),
        (302, "200-299", false),
        (302, "302", true),
        (404, "200,404", true),
    ] {
        let origin = Origin::answering(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")).await;
        let wanted: StatusSet = wanted.parse().unwrap();
        let check = HttpCheck::new("/", "a", wanted.clone()).unwrap();
        let expected =
            if passes { Outcome::Pass } else { Outcome::Fail(Failure::Status { got: status, wanted }) };
        assert_eq!(ask(&origin, check).await, expected, "{status}");
    }
}

#[tokio::test]
async fn a_failed_status_says_what_was_wanted() {
    let origin = Origin::answering("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    let outcome = ask(&origin, get("/")).await;
    assert_eq!(outcome.to_string(), "status 503, wanted 200-299");
    assert_eq!(outcome.label(), "status");
}

#[tokio::test]
async fn the_request_is_a_plain_get() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell = Mutex::new(tell);
    let origin = Origin::raw(move |mut stream, _| {
        let tell = tell.lock().unwrap().clone();
        async move {
            tell.send(head(&mut stream).await.unwrap()).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let check = HttpCheck::new("/health?deep=1", "app.example.com:8080", StatusSet::success()).unwrap();
    assert_eq!(ask(&origin, check).await, Outcome::Pass);
    assert_eq!(
        told.recv().await.unwrap(),
        concat!(
            "GET /health?deep=1 HTTP/1.1\r\nhost: app.example.com:8080\r\nuser-agent: tidegate-probe/",
            env!("CARGO_PKG_VERSION"),
            "\r\naccept: */*\r\n\r\n"
        )
    );
}

#[tokio::test]
async fn the_body_is_matched_across_chunks() {
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nall i\r\n6\r\ns well\r\n0\r\n\r\n";
    let origin = Origin::answering(text).await;
    assert_eq!(ask(&origin, get("/").with_body("is well").unwrap()).await, Outcome::Pass);
    let outcome = ask(&origin, get("/").with_body("is bad").unwrap()).await;
    assert_eq!(outcome, Outcome::Fail(Failure::Body { wanted: "is bad".into() }));
    assert_eq!(outcome.to_string(), "body lacks \"is bad\"");
}

#[tokio::test]
async fn the_body_is_matched_up_to_its_bound() {
    for (before, passes) in [(BODY_BYTES_MAX - 4, true), (BODY_BYTES_MAX - 3, false)] {
        let body = format!("{}fine{}", " ".repeat(before), " ".repeat(MIB));
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let origin = Origin::answering(text).await;
        let outcome = ask(&origin, get("/").with_body("fine").unwrap()).await;
        assert_eq!(outcome == Outcome::Pass, passes, "{before} bytes before the text: {outcome}");
    }
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let (addr, _socket) = refusing();
    let outcome = prober(addr, Kind::Http(get("/"))).probe().await.outcome;
    assert_eq!(outcome, Outcome::Fail(Failure::Refused));
    assert_eq!(outcome.to_string(), "connect refused");
}

#[tokio::test]
async fn silence_times_out() {
    let origin = Origin::answering("").await;
    let after = Duration::from_secs(5);
    let verdict = wait_out(&origin, Kind::Http(get("/")), after, |seen| seen.requests() == 1).await;
    assert_eq!(verdict.outcome, Outcome::Fail(Failure::TimedOut { after, stage: Stage::Response }));
    assert!(verdict.finished - verdict.started >= after);
    assert_eq!(verdict.outcome.to_string(), "timed out after 5s waiting for the answer");
}

#[tokio::test]
async fn a_body_slower_than_the_timeout_fails() {
    // The rest never comes, yet the connection stays.
    let origin = Origin::raw(|mut stream, seen| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        seen.request();
        head(&mut stream).await;
    })
    .await;
    let after = Duration::from_secs(5);
    let verdict = wait_out(&origin, Kind::Http(get("/")), after, |seen| seen.requests() == 1).await;
    assert_eq!(verdict.outcome, Outcome::Fail(Failure::TimedOut { after, stage: Stage::Body }));
}

#[tokio::test]
async fn a_suspended_daemon_learns_nothing() {
    let (limit, starved) = (Duration::from_secs(10), Outcome::Inconclusive(OwnFault::Starved));
    let failed = Outcome::Fail(Failure::TimedOut { after: limit, stage: Stage::Response });
    for (slept, expected) in [(60, &starved), (16, &starved), (14, &failed), (10, &failed)] {
        let origin = Origin::answering("").await;
        let timing = Timing { interval: HOUR, fast_interval: HOUR, timeout: limit };
        let spec = spec(0, origin.addr, Kind::Http(get("/")), timing);
        let mut prober = Prober::new(&spec, &Trust::default(), &Slots::new(1));
        let suspension = async {
            origin.seen.until(|seen| seen.requests() == 1).await;
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(slept)).await;
        };
        let (verdict, ()) = tokio::join!(prober.probe(), suspension);
        tokio::time::resume();
        assert_eq!(verdict.outcome, *expected, "{slept} s");
    }
}

#[tokio::test]
async fn a_pass_found_after_a_suspension_is_not_believed() {
    for (slept, expected) in [(60, Outcome::Inconclusive(OwnFault::Starved)), (1, Outcome::Pass)] {
        let origin = Origin::raw(|mut stream, seen| async move {
            head(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            seen.request();
            head(&mut stream).await;
        })
        .await;
        let timing = Timing { interval: HOUR, fast_interval: HOUR, timeout: Duration::from_secs(10) };
        let spec = spec(0, origin.addr, Kind::Http(get("/")), timing);
        let mut prober = Prober::new(&spec, &Trust::default(), &Slots::new(1));
        let mut probe = pin!(prober.probe());
        // Once the answer is out, nobody looks at the probe until time has passed.
        tokio::select! {
            biased;
            () = origin.seen.until(|seen| seen.requests() == 1) => {}
            verdict = &mut probe => panic!("too early: {verdict:?}"),
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(slept)).await;
        let verdict = probe.await;
        tokio::time::resume();
        assert_eq!(verdict.outcome, expected, "{slept} s");
    }
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let chunk: &'static str = format!("400\r\n{}\r\n", "x".repeat(0x400)).leak();
    let (origin, sent) =
        Origin::flooding("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk).await;
    assert_eq!(ask(&origin, get("/")).await, Outcome::Pass);
    origin.seen.until(|seen| seen.open() == 0).await;
    assert!(sent.load(Ordering::SeqCst) < 16 * MIB, "the socket buffers bound what an origin can send");
    let missing = get("/").with_body("not there").unwrap();
    assert_eq!(failed(&ask(&origin, missing).await).label(), "body");
}

#[tokio::test]
async fn a_large_announced_body_is_not_read_at_all() {
    let (origin, _) = Origin::flooding("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "x").await;
    assert_eq!(ask(&origin, get("/")).await, Outcome::Pass);
    origin.seen.until(|seen| seen.open() == 0).await;
}

#[tokio::test]
async fn bombs_are_bounded() {
    for (name, start, more) in [
        ("headers", "HTTP/1.1 200 OK\r\n", "x-filler: 0123456789abcdef0123456789abcdef\r\n"),
        ("one header", "HTTP/1.1 200 OK\r\nx: ", "0123456789abcdef0123456789abcdef"),
        (
            "interim answers",
            "HTTP/1.1 103 Early\r\n\r\n",
            "HTTP/1.1 103 Early\r\nx: 0123456789abcdef\r\n\r\n",
        ),
        (
            "chunk extensions",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "1;0123456789abcdef0123456789abcdef0123456789abcdef\r\nx\r\n",
        ),
        (
            "trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            "x: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
        ),
    ] {
        let (origin, sent) = Origin::flooding(start, more).await;
        let outcome = ask(&origin, get("/")).await;
        let label = failed(&outcome).label();
        assert!(["too-large", "not-http"].contains(&label), "{name}: {outcome}");
        origin.seen.until(|seen| seen.open() == 0).await;
        assert!(sent.load(Ordering::SeqCst) < 16 * MIB, "{name}");
    }
}

#[tokio::test]
async fn the_head_is_bounded() {
    let filler = "x".repeat(60 * 1024);
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nx: {filler}\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(ask(&origin, get("/")).await, Outcome::Pass);
    let filler = "x".repeat(140 * 1024);
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nx: {filler}\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(ask(&origin, get("/")).await, Outcome::Fail(Failure::TooLarge));
}

#[tokio::test]
async fn garbage_is_not_http() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    ] {
        let origin = Origin::closing(garbage).await;
        let outcome = ask(&origin, get("/")).await;
        assert_eq!(outcome, Outcome::Fail(Failure::NotHttp), "{garbage:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_says_how_early() {
    for (text, failure) in [
        ("", Failure::NoAnswer),
        ("HTTP/1.1 200 OK\r\ncontent", Failure::Cut),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Failure::Cut),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", Failure::Cut),
    ] {
        let origin = Origin::closing(text).await;
        assert_eq!(ask(&origin, get("/")).await, Outcome::Fail(failure), "{text:?}");
    }
}
