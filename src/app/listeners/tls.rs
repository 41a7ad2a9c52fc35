//! How TLS is spoken at the listeners, and what a reload may change of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};
use tidegate_config::{Config, TlsVersion};
use tidegate_dns::tcp::TcpLimits;
use tidegate_proxy::{Front, FrontTls};

use crate::app::AppError;
use crate::certs::Resolver;
use crate::world::Worlds;

/// How TLS is spoken, with the certificates of the current World.
pub(super) struct Tls {
    resolver: Arc<Resolver>,
    version_min: TlsVersion,
    http2: bool,
    /// HTTPS.
    pub(super) front: Front,
    /// DNS over TLS.
    dns: Arc<ArcSwap<ServerConfig>>,
    /// Counted apart from those of plain TCP: whoever opens many sessions takes no place of those that come for long
    /// answers.
    pub(super) dns_limits: TcpLimits,
}

impl Tls {
    pub(super) fn new(config: &Config, worlds: &Worlds) -> Result<Self, AppError> {
        let (version_min, http2) = (config.listen.tls_version_min, config.listen.http2);
        let resolver = Resolver::new(worlds.clone());
        let dns_limits = TcpLimits::default();
        dns_limits.set_handshake_timeout(config.limits.handshake_timeout);
        Ok(Self {
            front: Front::tls(front_tls(&resolver, version_min, http2)?),
            dns: Arc::new(ArcSwap::new(dns_tls(&resolver, version_min)?)),
            dns_limits,
            resolver,
            version_min,
            http2,
        })
    }

    pub(super) fn for_dns(&self) -> tidegate_dns::TlsSource {
        let dns = self.dns.clone();
        Arc::new(move || dns.load_full())
    }

    /// Leaves what is as before alone, so that clients can resume their sessions.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.dns_limits.set_handshake_timeout(config.limits.handshake_timeout);
        let (version_min, http2) = (config.listen.tls_version_min, config.listen.http2);
        if (version_min, http2) == (self.version_min, self.http2) {
            return;
        }
        match (front_tls(&self.resolver, version_min, http2), dns_tls(&self.resolver, version_min)) {
            (Ok(front), Ok(dns)) => {
                self.front.set_tls(front);
                self.dns.store(dns);
                (self.version_min, self.http2) = (version_min, http2);
            }
            // Only a system without random numbers leads here.
            (front, dns) => {
                let error = front.err().map(AppError::from).or(dns.err().map(AppError::from));
                tracing::error!(error = error.map(tracing::field::display), "TLS goes on as before");
            }
        }
    }
}

fn front_tls(
    resolver: &Arc<Resolver>,
    version_min: TlsVersion,
    http2: bool,
) -> Result<Arc<ServerConfig>, tidegate_proxy::TlsError> {
    let version_min = match version_min {
        TlsVersion::V1_2 => tidegate_proxy::TlsVersion::Tls12,
        TlsVersion::V1_3 => tidegate_proxy::TlsVersion::Tls13,
    };
    tidegate_proxy::front_tls(resolver.clone(), FrontTls { version_min, http2 })
}

fn dns_tls(resolver: &Arc<Resolver>, version_min: TlsVersion) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[&'static SupportedProtocolVersion] = match version_min {
        TlsVersion::V1_2 => ALL_VERSIONS,
        TlsVersion::V1_3 => &[&TLS13],
    };
    tidegate_dns::tls_config(resolver.clone(), versions)
}
