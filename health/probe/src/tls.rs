//! Whom to trust, and sessions over TLS.
//!
//! One client configuration per way of verifying and showing oneself is made and shared by all probes. Sessions are never resumed: a
//! resumed handshake shows no certificate, so an expired one would go unnoticed for as long as tickets are renewed.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::outcome::{Fault, TlsFailure};
use crate::spec::SpecError;

/// TLS towards an origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsCheck {
    name: ServerName<'static>,
    way: Way,
}

/// What two checks must have in common to share a client configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    verify: Verify,
    identity: Option<Identity>,
}

/// What is shown to origins that ask for a certificate. Two are equal if their certificates are: the key belongs to the
/// certificate.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// Which certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Those that the system's trust store leads to.
    System,
    /// Those that these roots lead to, and no others.
    Ca(CaBundle),
    /// Any certificate at all, whoever made it, for whatever name, valid or not. The origin is then not
    /// authenticated: this only says that something speaks TLS and answers as wanted.
    Off,
}

/// Parsed root certificates. Bundles are equal if their texts are.
#[derive(Clone)]
pub struct CaBundle {
    pem: Arc<[u8]>,
    roots: Arc<RootCertStore>,
}

/// Why a text is not a bundle of root certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    #[error("no certificate in PEM form")]
    Empty,
    #[error("certificate {place} cannot be read: {reason}")]
    Unreadable {
        /// Counted from one.
        place: usize,
        reason: String,
    },
}

/// The client configurations, each made when it is first needed. One per daemon: the system's store is read once.
#[derive(Default)]
pub struct Trust {
    system: OnceLock<Result<Arc<RootCertStore>, TlsFailure>>,
    /// At most one per check: those that no check uses any more are forgotten.
    ways: Mutex<HashMap<Way, Result<Arc<ClientConfig>, TlsFailure>>>,
}

impl TlsCheck {
    /// TLS for `sni`, a DNS name (sent, and held against the certificate) or an IP address (only held against it).
    ///
    /// # Errors
    /// When `sni` is neither.
    pub fn new(sni: &str, verify: Verify) -> Result<Self, SpecError> {
        let name = ServerName::try_from(sni.to_owned()).map_err(|_| SpecError::Sni(sni.to_owned()))?;
        Ok(Self { name, way: Way { verify, identity: None } })
    }

    /// Shows this to an origin that asks who is there.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.way.identity = Some(identity);
        self
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }
}

impl Identity {
    /// A certificate chain and its key.
    #[must_use]
    pub fn new(key: Arc<CertifiedKey>) -> Self {
        Self(key)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.cert.hash(state);
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} certificates)", self.0.cert.len())
    }
}

impl CaBundle {
    /// # Errors
    /// When there is no certificate, or one that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaError> {
        let mut roots = RootCertStore::empty();
        for (i, cert) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let unreadable = |reason: String| CaError::Unreadable { place: i + 1, reason };
            let cert = cert.map_err(|error| unreadable(error.to_string()))?;
            roots.add(cert).map_err(|error| unreadable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(CaError::Empty);
        }
        Ok(Self { pem: pem.into(), roots: Arc::new(roots) })
    }
}

impl PartialEq for CaBundle {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for CaBundle {}

impl Hash for CaBundle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pem.hash(state);
    }
}

impl std::fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CaBundle({} roots)", self.roots.len())
    }
}

impl Trust {
    /// The configuration for a way. Reads the system's trust store the first time it is asked for it.
    fn config(&self, way: &Way) -> Result<Arc<ClientConfig>, TlsFailure> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.entry(way.clone())
            .or_insert_with(|| client(self.verifier(&way.verify)?, way.identity.as_ref()))
            .clone()
    }

    fn verifier(&self, verify: &Verify) -> Result<Arc<dyn ServerCertVerifier>, TlsFailure> {
        match verify {
            Verify::System => authority(self.system.get_or_init(system).clone()?),
            Verify::Off => Ok(Arc::new(Anyone::default())),
            Verify::Ca(bundle) => authority(bundle.roots.clone()),
        }
    }

    /// Forgets the ways that are not among these.
    pub(crate) fn keep(&self, used: &HashSet<&Way>) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.retain(|way, _| used.contains(way));
    }
}

/// Opens sessions with one origin.
pub(crate) struct Handshake {
    name: ServerName<'static>,
    config: Result<Arc<ClientConfig>, TlsFailure>,
}

impl Handshake {
    pub(crate) fn new(check: &TlsCheck, trust: &Trust) -> Self {
        Self { name: check.name.clone(), config: trust.config(&check.way) }
    }

    /// Offers HTTP/2 and nothing else.
    pub(crate) fn with_http2(mut self) -> Self {
        self.config = self.config.map(|config| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        self
    }

    /// Offers no protocol: what is spoken within the session plays no part.
    pub(crate) fn without_alpn(mut self) -> Self {
        self.config = self.config.map(|config| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols.clear();
            Arc::new(config)
        });
        self
    }

    pub(crate) async fn perform(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
        let config = self.config.clone()?;
        let session = TlsConnector::from(config).connect(self.name.clone(), stream).await;
        session.map_err(|error| match tls_failure(&error) {
            Some(failure) => failure.into(),
            None => Fault::from_io(&error),
        })
    }
}

/// What TLS has to say about an error of its stream; nothing if the error comes from below.
pub(crate) fn tls_failure(error: &io::Error) -> Option<TlsFailure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFailure::NotYetValid
            }
            CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::WrongName
            }
            CertificateError::Revoked => TlsFailure::Revoked,
            _ => TlsFailure::BadCertificate,
        },
        rustls::Error::AlertReceived(_) => TlsFailure::Alert,
        rustls::Error::InvalidMessage(_) => TlsFailure::NotTls,
        _ => TlsFailure::Protocol,
    })
}

fn system() -> Result<Arc<RootCertStore>, TlsFailure> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "part of the system's trust store cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsFailure::NoRoots) } else { Ok(Arc::new(roots)) }
}

fn authority(roots: Arc<RootCertStore>) -> Result<Arc<dyn ServerCertVerifier>, TlsFailure> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()));
    Ok(verifier.build().map_err(|_| TlsFailure::NoRoots)?)
}

fn client(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, TlsFailure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| TlsFailure::Protocol)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.0.clone())))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The verifier of [`Verify::Off`]: accepts every certificate and every signature. It exists because origins on a
/// private network are often behind certificates nobody can verify, and a health check is still worth having.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl Default for Anyone {
    fn default() -> Self {
        Self(ring::default_provider())
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
