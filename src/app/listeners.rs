//! The listeners for traffic.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_dns::Handler;
use tidegate_dns::tcp::TcpLimits;
use tidegate_proxy::{ClientAddress, Front, Limits, Network, Phase, Shared};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::AppError;
use crate::traffic::Traffic;
use crate::world::Worlds;

/// What the listeners share with the rest of the daemon.
pub(super) struct TrafficParts {
    pub(super) worlds: Worlds,
    pub(super) traffic: Arc<Traffic>,
}

/// Open listeners.
pub(super) struct Listeners {
    phase: watch::Sender<Phase>,
    stop_dns: watch::Sender<bool>,
    http: JoinSet<()>,
    dns: JoinSet<()>,
}

impl Listeners {
    /// Opens all of them, or none.
    pub(super) fn open(config: &Config, parts: TrafficParts) -> Result<Self, AppError> {
        let bound = Bound::all(config)?;
        let (phase, phases) = watch::channel(Phase::Running);
        let (stop_dns, dns_stopped) = watch::channel(false);
        let mut open = Self { phase, stop_dns, http: JoinSet::new(), dns: JoinSet::new() };
        let traffic = parts.traffic;
        let shared = Shared::new(
            parts.worlds.proxy(),
            traffic.clone(),
            traffic.clone(),
            limits(config),
            addresses(config),
        );
        let handler = Arc::new(Handler::new(parts.worlds.dns(), traffic));

        for listener in bound.http {
            open.http.spawn(tidegate_proxy::serve(listener, Front::plain(), shared.clone(), phases.clone()));
        }
        let limits = TcpLimits::default();
        for (udp, tcp) in bound.dns {
            open.dns.spawn(tidegate_dns::udp::serve(Arc::new(udp), handler.clone(), dns_stopped.clone()));
            open.dns.spawn(tidegate_dns::tcp::serve(
                tcp,
                handler.clone(),
                limits.clone(),
                dns_stopped.clone(),
            ));
        }
        Ok(open)
    }

    /// Takes no new work and lets the old finish, for at most `deadline`. DNS answers until HTTP is done: whoever
    /// still asks is sent where the group lives.
    pub(super) async fn drain(mut self, deadline: Duration) {
        self.phase.send_replace(Phase::Draining);
        let http = async { while self.http.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, http).await.is_err() {
            tracing::warn!("requests still in flight after the drain deadline are cut");
            self.phase.send_replace(Phase::Stop);
            let rest = async { while self.http.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(super::STOP, rest).await;
        }
        self.stop_dns.send_replace(true);
        let dns = async { while self.dns.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(super::STOP, dns).await;
    }
}

/// Bound sockets that nobody serves yet.
struct Bound {
    http: Vec<TcpListener>,
    dns: Vec<(UdpSocket, TcpListener)>,
}

impl Bound {
    fn all(config: &Config) -> Result<Self, AppError> {
        let mut bound = Self { http: Vec::new(), dns: Vec::new() };
        for address in &config.listen.http {
            bound.http.push(tidegate_proxy::bind(*address).map_err(failed("http", address))?);
        }
        for address in &config.listen.dns {
            let udp = tidegate_dns::udp::bind(*address, false).map_err(failed("dns (UDP)", address))?;
            let tcp = tidegate_dns::tcp::bind(*address).map_err(failed("dns (TCP)", address))?;
            bound.dns.push((udp, tcp));
        }
        Ok(bound)
    }
}

/// Binds every address and lets go of it again: one that is taken is an error before anything is decided, not after.
/// Nothing is listened on before the first round, so this is as early as it can be told.
pub(super) fn try_all(config: &Config) -> Result<(), AppError> {
    Bound::all(config).map(drop)
}

fn failed(what: &'static str, at: &std::net::SocketAddr) -> impl FnOnce(std::io::Error) -> AppError + use<> {
    let at = at.to_string();
    move |source| AppError::Listen { what, at, source }
}

fn limits(config: &Config) -> Limits {
    let configured = &config.limits;
    Limits {
        connections_max: configured.connections_max as usize,
        connections_per_address_max: configured.connections_per_address_max.map(|max| max as usize),
        requests_per_connection_max: configured.requests_per_connection_max,
        handshake_timeout: configured.handshake_timeout,
        header_deadline: configured.header_timeout,
        header_bytes_max: configured.header_bytes_max as usize,
        header_count_max: configured.headers_max as usize,
        keepalive_idle: configured.idle_timeout,
        body_bytes_max: configured.body_bytes_max,
        body_timeout: configured.body_timeout,
        body_rate_min: configured.body_rate_min.into(),
        body_idle: configured.body_idle_timeout,
        write_stall: configured.write_timeout,
        http2_streams_max: configured.http2_streams_max,
        ..Limits::default()
    }
}

fn addresses(config: &Config) -> ClientAddress {
    let networks = |configured: &[tidegate_config::Network]| {
        configured.iter().map(|network| Network::new(network.address(), network.prefix())).collect()
    };
    ClientAddress {
        proxy_protocol_from: networks(&config.client_address.proxy_protocol_from),
        forwarded_from: networks(&config.client_address.forwarded_for_from),
    }
}
