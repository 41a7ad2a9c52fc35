//! TLS to origins.
//!
//! Built once per target, not per connection: the trust store, the name and a session cache. Verification can be the
//! system's trust store, a CA of one's own, or off (for a private network that has none; `check` warns).

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

/// How an origin's certificate is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Against the system's trust store.
    #[default]
    System,
    /// Against these CA certificates only.
    Ca(Arc<[CertificateDer<'static>]>),
    /// Not at all.
    Off,
}

/// TLS settings of an origin.
#[derive(Clone, Debug, Default)]
pub struct TlsTarget {
    /// The name sent as SNI and verified; an IP address is verified and not sent. `None` uses the origin's address.
    pub sni: Option<Arc<str>>,
    /// How its certificate is verified.
    pub verify: Verify,
    /// Shown to an origin that asks who is there.
    pub identity: Option<Arc<CertifiedKey>>,
}

impl TlsTarget {
    /// Whether both reach an origin in the same way. One certificate has one key, so the certificates tell.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let chain = |target: &Self| target.identity.as_ref().map(|identity| identity.cert.clone());
        self.sni == other.sni && self.verify == other.verify && chain(self) == chain(other)
    }
}

/// Why TLS settings cannot work.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A CA certificate does not parse.
    #[error("a CA certificate cannot be used: {0}")]
    Ca(rustls::Error),
    /// No certificate to verify against.
    #[error("the trust store is empty: install ca-certificates, or set a CA for the origin")]
    EmptyStore,
    /// The name is neither a DNS name nor an address.
    #[error("`{0}` is not a name that TLS can verify")]
    Name(Arc<str>),
    /// rustls refuses the settings.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Ready to connect.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(crate) connector: tokio_rustls::TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl TlsClient {
    /// With `http2`, that protocol is offered and no other.
    pub(crate) fn new(settings: &TlsTarget, addr: SocketAddr, http2: bool) -> Result<Self, TlsError> {
        let name = match &settings.sni {
            Some(sni) => {
                ServerName::try_from(sni.to_string()).map_err(|_| TlsError::Name(Arc::clone(sni)))?
            }
            None => ServerName::from(addr.ip()),
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &settings.verify {
            Verify::Off => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
            }
            Verify::System => builder.with_root_certificates(system_store()?),
            Verify::Ca(certificates) => {
                let mut store = RootCertStore::empty();
                for certificate in certificates.iter() {
                    store.add(certificate.clone()).map_err(TlsError::Ca)?;
                }
                if store.is_empty() {
                    return Err(TlsError::EmptyStore);
                }
                builder.with_root_certificates(store)
            }
        };
        let mut config = match &settings.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))))
            }
            None => builder.with_no_client_auth(),
        };
        if http2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Ok(Self { connector: Arc::new(config).into(), name })
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The system's certificates, read once: it is some hundred of them.
fn system_store() -> Result<Arc<RootCertStore>, TlsError> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let store = STORE.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if store.is_empty() { Err(TlsError::EmptyStore) } else { Ok(Arc::clone(store)) }
}

/// Believes every certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
