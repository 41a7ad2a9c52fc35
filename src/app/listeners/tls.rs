//! How TLS is spoken at the listeners, and what a reload may change of it.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion};
use tidegate_config::{Config, TlsVersion};
use tidegate_dns::tcp::TcpLimits;
use tidegate_proxy::{Front, FrontTls};

use crate::admin::ApiTls;
use crate::app::AppError;
use crate::certs::Resolver;
use crate::world::Worlds;

/// How TLS is spoken, with the certificates of the current World.
pub(super) struct Tls {
    resolver: Arc<Resolver>,
    wanted: Wanted,
    /// HTTPS.
    pub(super) front: Front,
    /// DNS over TLS.
    dns: Arc<ArcSwap<ServerConfig>>,
    /// The API; none where it does without.
    api: Arc<ArcSwapOption<ServerConfig>>,
    /// Counted apart from those of plain TCP: whoever opens many sessions takes no place of those that come for long
    /// answers.
    pub(super) dns_limits: TcpLimits,
}

/// What of the configuration it depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wanted {
    version_min: TlsVersion,
    http2: bool,
    api: bool,
}

/// One for each kind of listener.
struct Made {
    front: Arc<ServerConfig>,
    dns: Arc<ServerConfig>,
    api: Option<Arc<ServerConfig>>,
}

impl Tls {
    pub(super) fn new(config: &Config, worlds: &Worlds) -> Result<Self, AppError> {
        let (wanted, resolver) = (Wanted::of(config), Resolver::new(worlds.clone()));
        let made = make(&resolver, wanted)?;
        let dns_limits = TcpLimits::default();
        dns_limits.set_handshake_timeout(config.limits.handshake_timeout);
        Ok(Self {
            front: Front::tls(made.front),
            dns: Arc::new(ArcSwap::new(made.dns)),
            api: Arc::new(ArcSwapOption::new(made.api)),
            dns_limits,
            resolver,
            wanted,
        })
    }

    pub(super) fn for_dns(&self) -> tidegate_dns::TlsSource {
        let dns = self.dns.clone();
        Arc::new(move || dns.load_full())
    }

    pub(super) fn for_api(&self) -> ApiTls {
        let api = self.api.clone();
        Arc::new(move || api.load_full())
    }

    /// Leaves what is as before alone, so that clients can resume their sessions.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.dns_limits.set_handshake_timeout(config.limits.handshake_timeout);
        let wanted = Wanted::of(config);
        if wanted == self.wanted {
            return;
        }
        match make(&self.resolver, wanted) {
            Ok(made) => {
                self.front.set_tls(made.front);
                self.dns.store(made.dns);
                self.api.store(made.api);
                self.wanted = wanted;
            }
            // Only a system without random numbers leads here.
            Err(error) => tracing::error!(%error, "TLS goes on as before"),
        }
    }
}

impl Wanted {
    fn of(config: &Config) -> Self {
        let listen = &config.listen;
        Self { version_min: listen.tls_version_min, http2: listen.http2, api: listen.api_tls }
    }
}

fn make(resolver: &Arc<Resolver>, wanted: Wanted) -> Result<Made, AppError> {
    let api = wanted.api.then(|| front_tls(resolver, wanted.version_min, false)).transpose()?;
    Ok(Made {
        front: front_tls(resolver, wanted.version_min, wanted.http2)?,
        dns: dns_tls(resolver, wanted.version_min)?,
        api,
    })
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
