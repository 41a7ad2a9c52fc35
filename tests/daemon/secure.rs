//! TLS in front of a scene, with a certificate that nobody has to believe.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scene::{HOST, Scene, free_address};

/// Listeners for TLS beside the plain ones.
pub(crate) struct Secure {
    pub(crate) https: SocketAddr,
    pub(crate) dot: SocketAddr,
    certificate: CertificateDer<'static>,
}

impl Secure {
    /// Adds them to the configuration of a daemon that has not been started yet.
    pub(crate) fn add_to(scene: &Scene) -> Self {
        let (https, dot) = (free_address(), free_address());
        let key = KeyPair::generate().expect("random numbers");
        let mut params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
        // As long as certificates of today may live.
        let day = Duration::from_secs(24 * 3600);
        let now = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
        params.not_before = date_time_ymd(1970, 1, 1) + now - day;
        params.not_after = params.not_before + 90 * day;
        let certificate = params.self_signed(&key).expect("a certificate");
        scene.write("edge.crt", &certificate.pem());
        scene.write("edge.key", &key.serialize_pem());
        scene.edit("[node]\n", "certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]\n[node]\n");
        scene.edit("[listen]\n", &format!("[listen]\nhttps = [\"{https}\"]\ndot = [\"{dot}\"]\n"));
        Self { https, dot, certificate: certificate.der().clone() }
    }

    /// Clients that trust the certificate, offer this protocol and make a whole handshake each time.
    pub(crate) fn connector(&self, alpn: &[u8]) -> TlsConnector {
        connector(&self.certificate, alpn)
    }

    /// A session with the HTTPS listener.
    pub(crate) async fn connect(&self, alpn: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        self.connect_to(self.https, alpn).await
    }

    pub(crate) async fn connect_to(&self, at: SocketAddr, alpn: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).expect("a name");
        self.connector(alpn).connect(name, stream).await
    }
}

/// Clients that trust `root`, offer this protocol and make a whole handshake each time.
pub(crate) fn connector(root: &CertificateDer<'static>, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("it is well-formed");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}
