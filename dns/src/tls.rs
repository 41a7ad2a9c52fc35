//! TLS as DNS speaks it (RFC 7858, RFC 9103 section 7.1).

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use rustls::{Error, ServerConfig, SupportedProtocolVersion};

/// The protocol's name in ALPN (IANA registry of TLS ALPN protocol IDs; RFC 7858 itself has none, so it is not demanded).
const ALPN: &[u8] = b"dot";

/// Where a listener gets its TLS from; called once per connection.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// How TLS is spoken: with certificates from `resolver`, asked in each handshake, in one of `versions`. Sessions are resumed by
/// tickets, so that they cost no memory here; early data is not taken.
///
/// # Errors
/// `versions` is empty, or the system gives no random numbers.
pub fn tls_config(
    resolver: Arc<dyn ResolvesServerCert>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_protocol_versions(versions)?.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    // The strongest that both sides know, whatever order the client prefers.
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}
