//! Certificates that are accepted and those that are not.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{HandshakeKind, ServerConfig, crypto::ring};
use tidegate_probe::{
    CaBundle, CaError, Failure, Kind, Outcome, SpecError, Stage, TlsCheck, TlsFailure, Verify,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::{OK, Origin, ask, get, head, prober, serve, wait_out};

pub(crate) const NAME: &str = "app.example.com";

pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

fn expired() -> CertificateParams {
    let mut params = params(&[NAME]);
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 1);
    params
}

fn future() -> CertificateParams {
    let mut params = params(&[NAME]);
    params.not_before = date_time_ymd(3000, 1, 1);
    params
}

/// What an origin needs to show a certificate of this issuer, for these protocols.
pub(crate) fn acceptor(issuer: &Ca, params: &CertificateParams, alpn: &[&[u8]]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// An origin that answers over TLS with a certificate of this issuer.
async fn origin(issuer: &Ca, params: CertificateParams) -> Origin {
    let acceptor = acceptor(issuer, &params, &[]);
    Origin::raw(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            // A resumed session shows no certificate; such a probe gets no answer here.
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Full) {
                serve(stream, seen, OK).await;
            }
        }
    })
    .await
}

async fn outcome(origin: &Origin, name: &str, verify: Verify) -> Outcome {
    ask(origin, get("/").with_tls(TlsCheck::new(name, verify).unwrap())).await
}

pub(crate) fn only(ca: &Ca) -> Verify {
    Verify::Ca(CaBundle::from_pem(ca.pem().as_bytes()).unwrap())
}

fn failure(failure: TlsFailure) -> Outcome {
    Outcome::Fail(Failure::Tls(failure))
}

#[tokio::test]
async fn a_certificate_of_the_authority_passes() {
    let ca = ca("ours");
    let origin = origin(&ca, params(&[NAME])).await;
    assert_eq!(outcome(&origin, NAME, only(&ca)).await, Outcome::Pass);
}

#[tokio::test]
async fn an_address_can_be_what_is_certified() {
    let ca = ca("ours");
    let origin = origin(&ca, params(&["127.0.0.1"])).await;
    assert_eq!(outcome(&origin, "127.0.0.1", only(&ca)).await, Outcome::Pass);
    assert_eq!(outcome(&origin, "127.0.0.2", only(&ca)).await, failure(TlsFailure::WrongName));
}

#[tokio::test]
async fn another_authority_is_refused() {
    let (theirs, ours) = (ca("theirs"), ca("ours"));
    let origin = origin(&theirs, params(&[NAME])).await;
    assert_eq!(outcome(&origin, NAME, only(&ours)).await, failure(TlsFailure::UnknownIssuer));
    let both = [theirs.pem(), ours.pem()].concat();
    let both = Verify::Ca(CaBundle::from_pem(both.as_bytes()).unwrap());
    assert_eq!(outcome(&origin, NAME, both).await, Outcome::Pass);
}

#[tokio::test]
async fn the_system_does_not_know_a_private_authority() {
    let ca = ca("ours");
    let origin = origin(&ca, params(&[NAME])).await;
    let refused = outcome(&origin, NAME, Verify::System).await;
    // A machine without a trust store says so instead.
    let expected = [failure(TlsFailure::UnknownIssuer), failure(TlsFailure::NoRoots)];
    assert!(expected.contains(&refused), "{refused:?}");
}

#[tokio::test]
async fn another_name_is_refused() {
    let ca = ca("ours");
    let origin = origin(&ca, params(&["other.example.com"])).await;
    assert_eq!(outcome(&origin, NAME, only(&ca)).await, failure(TlsFailure::WrongName));
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused() {
    let ca = ca("ours");
    let expired = outcome(&origin(&ca, expired()).await, NAME, only(&ca)).await;
    assert_eq!(expired, failure(TlsFailure::Expired));
    assert_eq!(expired.to_string(), "TLS: certificate expired");
    assert_eq!(expired.label(), "tls");
    let future = outcome(&origin(&ca, future()).await, NAME, only(&ca)).await;
    assert_eq!(future, failure(TlsFailure::NotYetValid));
}

#[tokio::test]
async fn without_verification_anything_passes() {
    let ca = ca("ours");
    for params in [params(&["other.example.com"]), expired(), future()] {
        assert_eq!(outcome(&origin(&ca, params).await, NAME, Verify::Off).await, Outcome::Pass);
    }
}

#[tokio::test]
async fn sessions_are_kept_like_plain_connections_and_never_resumed() {
    let ca = ca("ours");
    let origin = origin(&ca, params(&[NAME])).await;
    let check = get("/").with_tls(TlsCheck::new(NAME, only(&ca)).unwrap());
    let mut prober = prober(origin.addr, Kind::Http(check));
    for _ in 0..11 {
        assert_eq!(prober.probe().await.outcome, Outcome::Pass);
    }
    assert_eq!((origin.seen.connections(), origin.seen.requests()), (2, 11));
}

#[tokio::test]
async fn plain_text_is_not_tls() {
    let origin = Origin::raw(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
        head(&mut stream).await;
    })
    .await;
    assert_eq!(outcome(&origin, NAME, Verify::Off).await, failure(TlsFailure::NotTls));
}

#[tokio::test]
async fn a_silent_handshake_times_out() {
    let origin = Origin::raw(|mut stream, seen| async move {
        // The first byte of our greeting says that the connection is made.
        stream.read_u8().await.unwrap();
        seen.request();
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let check = get("/").with_tls(TlsCheck::new(NAME, Verify::Off).unwrap());
    let after = Duration::from_secs(5);
    let verdict = wait_out(&origin, Kind::Http(check), after, |seen| seen.requests() == 1).await;
    assert_eq!(verdict.outcome, Outcome::Fail(Failure::TimedOut { after, stage: Stage::Tls }));
}

#[test]
fn what_cannot_be_used_is_refused_beforehand() {
    assert_eq!(TlsCheck::new("not a name", Verify::Off), Err(SpecError::Sni("not a name".into())));
    assert_eq!(TlsCheck::new("", Verify::Off), Err(SpecError::Sni(String::new())));
    assert_eq!(CaBundle::from_pem(b"nothing").err(), Some(CaError::Empty));
    let broken = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(matches!(CaBundle::from_pem(broken), Err(CaError::Unreadable { place: 1, .. })));
}
