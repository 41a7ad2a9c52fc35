//! Checks of origins that speak HTTP/2.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Response};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto::ring};
use tidegate_probe::{Failure, HttpCheck, Outcome, StatusSet, TlsCheck, Verify};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::support::{OK, Origin, ask, get, serve};

/// Answers with a status and a text, and tells for what it was asked.
async fn answer(
    io: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    asked: Arc<Mutex<Vec<http::request::Parts>>>,
) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        asked.lock().unwrap().push(request.into_parts().0);
        let head = Response::builder().status(status).body(()).unwrap();
        if let Ok(mut sending) = respond.send_response(head, false) {
            let _ = sending.send_data(Bytes::from_static(b"all is well"), true);
        }
    }
}

fn check() -> HttpCheck {
    HttpCheck::new("/health?deep=1", "app.test:8080", StatusSet::success()).unwrap().with_http2()
}

#[tokio::test]
async fn the_status_and_the_text_decide() {
    let asked = Arc::<Mutex<Vec<_>>>::default();
    for (status, text, passes) in [(200, "well", true), (200, "unwell", false), (503, "well", false)] {
        let told = Arc::clone(&asked);
        let origin = Origin::raw(move |stream, _| answer(stream, status, Arc::clone(&told))).await;
        let outcome = ask(&origin, check().with_body(text).unwrap()).await;
        assert_eq!(outcome == Outcome::Pass, passes, "{status} {text}: {outcome}");
    }
    let asked = asked.lock().unwrap();
    assert_eq!(
        (&asked[0].method, asked[0].uri.to_string().as_str()),
        (&Method::GET, "http://app.test:8080/health?deep=1")
    );
    assert!(!asked[0].headers.contains_key("host"), "the target says it");
}

#[tokio::test]
async fn a_probe_leaves_no_connection_behind() {
    let origin = Origin::raw(|stream, _| answer(stream, 200, Arc::default())).await;
    assert_eq!(ask(&origin, check()).await, Outcome::Pass);
    origin.seen.until(|seen| seen.open() == 0).await;
}

#[tokio::test]
async fn an_origin_that_speaks_http11_only_fails() {
    let origin = Origin::answering(OK).await;
    assert!(matches!(ask(&origin, check()).await, Outcome::Fail(_)));
    assert_eq!(ask(&origin, get("/")).await, Outcome::Pass);
}

#[tokio::test]
async fn over_tls_both_have_to_agree_on_it() {
    let made = rcgen::generate_simple_self_signed(vec!["app.test".to_owned()]).unwrap();
    for (alpn, passes) in [(&[&b"h2"[..], b"http/1.1"][..], true), (&[b"http/1.1"], false), (&[], false)] {
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let origin = Origin::raw(move |stream, seen| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    answer(stream, 200, Arc::default()).await;
                } else {
                    serve(stream, seen, OK).await;
                }
            }
        })
        .await;
        let tls = TlsCheck::new("app.test", Verify::Off).unwrap();
        let outcome = ask(&origin, check().with_tls(tls)).await;
        assert_eq!(outcome == Outcome::Pass, passes, "{alpn:?}: {outcome}");
        assert!(
            passes
                || matches!(outcome, Outcome::Fail(Failure::Tls(_) | Failure::NotHttp | Failure::NoAnswer)),
            "{outcome:?}"
        );
    }
}
