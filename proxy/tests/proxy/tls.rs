//! TLS to origins: verified against what the origin's settings name, or not at all when they say so.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use tidegate_proxy::{EjectionPolicy, SignalKind, Target, TlsError, TlsTarget, Verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::kit::*;

/// An origin with a certificate of its own for these names. Answers every request with its length; returns its address
/// and certificate.
async fn tls_origin(names: &[&str]) -> (SocketAddr, CertificateDer<'static>) {
    demanding_origin(names, None).await
}

/// One that, where a verifier is given, wants to know who asks.
async fn demanding_origin(
    names: &[&str],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> (SocketAddr, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let mut buf = Vec::new();
                while let Ok(n) = stream.read_buf(&mut buf).await {
                    if n == 0 {
                        return;
                    }
                    let Some(end) = buf.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8(buf[..end + 4].to_vec()).unwrap();
                    let length: usize = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
                    if buf.len() < end + 4 + length {
                        continue;
                    }
                    buf.drain(..end + 4 + length);
                    if stream.write_all(&ok(&length.to_string())).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, certificate)
}

fn tls_target(addr: SocketAddr, sni: Option<&str>, verify: Verify) -> Result<Arc<Target>, TlsError> {
    let tls = TlsTarget { sni: sni.map(Into::into), verify, identity: None };
    Target::new("tls".into(), addr, Some(tls), EjectionPolicy::default())
}

async fn edge_to(target: &Arc<Target>) -> Edge {
    let mut over_tls = service(&[]);
    over_tls.active = Some(site("main", &[target]));
    Edge::new(over_tls).await
}

#[tokio::test]
async fn certificates_are_verified_as_the_origin_says() {
    let (addr, certificate) = tls_origin(&["origin.test", "127.0.0.1"]).await;
    let (_, stranger) = tls_origin(&["origin.test"]).await;
    let ca = |certificate: &CertificateDer<'static>| Verify::Ca(Arc::new([certificate.clone()]));
    for (sni, verify, status) in [
        (Some("origin.test"), ca(&certificate), 200),
        (None, ca(&certificate), 200),
        (Some("other.test"), ca(&certificate), 502),
        (Some("origin.test"), ca(&stranger), 502),
        (Some("other.test"), Verify::Off, 200),
        (None, Verify::Off, 200),
    ] {
        let edge = edge_to(&tls_target(addr, sni, verify.clone()).unwrap()).await;
        let mut client = edge.client().await;
        assert_eq!(client.ask(GET).await.status, status, "{sni:?} {verify:?}");
        assert_eq!(client.ask(GET).await.status, status, "{sni:?} {verify:?}, a second time");
        let signals = edge.told.signals.lock().unwrap();
        assert_eq!(
            signals.iter().filter(|s| s.kind == SignalKind::Refused).count(),
            if status == 200 { 0 } else { 2 }
        );
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_an_origin_that_demands_one() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["edge.test".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let (addr, _) = demanding_origin(&["origin.test"], Some(verifier)).await;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let own = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
    for (identity, status) in [(Some(Arc::new(own)), 200), (None, 502)] {
        let tls = TlsTarget { sni: Some("origin.test".into()), verify: Verify::Off, identity };
        let target = Target::new("tls".into(), addr, Some(tls), EjectionPolicy::default()).unwrap();
        assert_eq!(edge_to(&target).await.ask(GET).await.status, status);
    }
}

#[tokio::test]
async fn uploads_pass_over_tls() {
    const SIZE: usize = 4 << 20;
    let (addr, _) = tls_origin(&["origin.test"]).await;
    let edge = edge_to(&tls_target(addr, Some("origin.test"), Verify::Off).unwrap()).await;
    let mut client = edge.client().await;
    client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    client.send(vec![b'u'; SIZE]).await;
    assert_eq!(client.response().await.unwrap().text(), SIZE.to_string());
}

#[test]
fn settings_that_cannot_work_are_refused_early() {
    let addr = ([127, 0, 0, 1], 1).into();
    let broken = Verify::Ca(Arc::new([CertificateDer::from(vec![1, 2, 3])]));
    assert!(matches!(tls_target(addr, None, broken), Err(TlsError::Ca(_))));
    assert!(matches!(tls_target(addr, None, Verify::Ca(Arc::new([]))), Err(TlsError::EmptyStore)));
    assert!(matches!(tls_target(addr, Some("not a name"), Verify::Off), Err(TlsError::Name(_))));
}
