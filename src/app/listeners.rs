//! The listeners: each one opens, stays and leaves by itself, so that a reload touches none but those that change.

mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_dns::Handler;
use tidegate_dns::tcp::TcpLimits;
use tidegate_proxy::{ClientAddress, Front, Limits, Network, Phase, Shared};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::AppError;
use crate::admin::{self, Admin};
use crate::traffic::Traffic;
use crate::world::Worlds;
use tls::Tls;

/// The port of a listener that is just leaving may be taken for this much longer.
const LEAVING: Duration = Duration::from_secs(2);
const LEAVING_PAUSE: Duration = Duration::from_millis(20);

/// What is served at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Admin,
    Api,
    Http,
    Https,
    /// UDP and TCP.
    Dns,
    /// DNS over TLS.
    Dot,
}

impl Kind {
    /// What of it is bound over TCP, by its key in the configuration.
    fn what(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Api => "api",
            Self::Http => "http",
            Self::Https => "https",
            Self::Dns => "dns (TCP)",
            Self::Dot => "dot",
        }
    }

    /// Whether it opens at once: a daemon that is starting can be asked why it waits.
    pub(super) fn is_early(self) -> bool {
        matches!(self, Self::Admin | Self::Api)
    }
}

const HTTP: [Kind; 2] = [Kind::Http, Kind::Https];
const DNS: [Kind; 2] = [Kind::Dns, Kind::Dot];

/// One listener: what it serves, and where.
pub(crate) type Door = (Kind, SocketAddr);

/// The listeners that are open, and those on their way out.
pub(crate) struct Listeners {
    shared: Arc<Shared>,
    handler: Arc<Handler>,
    /// Over all listeners of plain DNS.
    dns_limits: TcpLimits,
    tls: Tls,
    admin: Admin,
    open: BTreeMap<Door, Open>,
    /// They take nothing new; what is under way at them ends by itself.
    leaving: Vec<(Door, Open)>,
}

/// Bound sockets that nobody serves yet. Dropping them lets go of the addresses.
#[derive(Default)]
pub(crate) struct Bound(Vec<(Door, Socket)>);

enum Socket {
    Tcp(TcpListener),
    Both(UdpSocket, TcpListener),
}

/// One listener that is served.
struct Open {
    phase: watch::Sender<Phase>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// The listeners that a configuration asks for.
pub(crate) fn doors(config: &Config) -> BTreeSet<Door> {
    let listen = &config.listen;
    let all =
        |kind, addresses: &[SocketAddr]| addresses.iter().map(|address| (kind, *address)).collect::<Vec<_>>();
    let http = all(Kind::Http, &listen.http).into_iter().chain(all(Kind::Https, &listen.https));
    let dns = all(Kind::Dns, &listen.dns).into_iter().chain(all(Kind::Dot, &listen.dot));
    http.chain(dns)
        .chain(all(Kind::Api, &listen.api))
        .chain(listen.admin.map(|address| (Kind::Admin, address)))
        .collect()
}

/// Looks whether every address for traffic can be had: one that is taken is an error before anything is decided, not
/// after. Nothing is listened on before the first round, so this is as early as it can be told.
pub(super) fn try_all(config: &Config) -> Result<(), AppError> {
    let traffic = doors(config).into_iter().filter(|(kind, _)| !kind.is_early());
    for (kind, address) in traffic {
        if kind == Kind::Dns {
            bind_udp(address)?;
        }
        tidegate_proxy::try_bind(address).map_err(refused(kind.what(), address))?;
    }
    Ok(())
}

impl Listeners {
    /// None is open yet.
    pub(super) fn new(
        config: &Config,
        worlds: &Worlds,
        traffic: &Arc<Traffic>,
        admin: Admin,
    ) -> Result<Self, AppError> {
        let shared =
            Shared::new(worlds.proxy(), traffic.clone(), traffic.clone(), limits(config), addresses(config));
        let handler = Arc::new(Handler::new(worlds.dns(), traffic.clone()));
        Ok(Self {
            shared,
            handler,
            dns_limits: TcpLimits::default(),
            tls: Tls::new(config, worlds)?,
            admin,
            open: BTreeMap::new(),
            leaving: Vec::new(),
        })
    }

    /// Binds what of `wanted` is not open: all of it, or nothing.
    pub(crate) async fn bind(&self, wanted: impl IntoIterator<Item = Door>) -> Result<Bound, AppError> {
        let mut bound = Bound::default();
        for door in wanted.into_iter().filter(|door| !self.open.contains_key(door)) {
            let deadline = Instant::now() + LEAVING;
            let may_wait = self.leaving.iter().any(|((_, address), _)| address.port() == door.1.port());
            let socket = loop {
                match bind(door) {
                    Err(AppError::Listen { source, .. })
                        if source.kind() == ErrorKind::AddrInUse && may_wait && Instant::now() < deadline =>
                    {
                        tokio::time::sleep(LEAVING_PAUSE).await;
                    }
                    other => break other?,
                }
            };
            bound.0.push((door, socket));
        }
        Ok(bound)
    }

    /// Begins to serve.
    pub(crate) fn serve(&mut self, bound: Bound) {
        for (door, socket) in bound.0 {
            let (phase, phases) = watch::channel(Phase::Running);
            let (stop, stopped) = watch::channel(false);
            let tasks = match socket {
                Socket::Tcp(listener) if door.0 == Kind::Admin => {
                    vec![tokio::spawn(admin::serve_tcp(listener, self.admin.clone(), stopped))]
                }
                Socket::Tcp(listener) if door.0 == Kind::Api => {
                    let (admin, tls) = (self.admin.clone(), self.tls.for_api());
                    vec![tokio::spawn(admin::serve_api(listener, admin, tls, stopped))]
                }
                Socket::Tcp(listener) if door.0 == Kind::Dot => {
                    let (handler, tls) = (self.handler.clone(), self.tls.for_dns());
                    let limits = self.tls.dns_limits.clone();
                    vec![tokio::spawn(tidegate_dns::tcp::serve_tls(listener, handler, tls, limits, stopped))]
                }
                Socket::Tcp(listener) => {
                    let front = if door.0 == Kind::Https { self.tls.front.clone() } else { Front::plain() };
                    vec![tokio::spawn(tidegate_proxy::serve(listener, front, self.shared.clone(), phases))]
                }
                Socket::Both(udp, tcp) => {
                    let (handler, limits) = (self.handler.clone(), self.dns_limits.clone());
                    vec![
                        tokio::spawn(tidegate_dns::udp::serve(
                            Arc::new(udp),
                            handler.clone(),
                            stopped.clone(),
                        )),
                        tokio::spawn(tidegate_dns::tcp::serve(tcp, handler, limits, stopped)),
                    ]
                }
            };
            self.open.insert(door, Open { phase, stop, tasks });
        }
    }

    /// Takes the limits, the trusted networks and the TLS settings of another configuration.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        self.shared.reconfigure(limits(config), addresses(config));
        self.tls.reconfigure(config);
    }

    /// Lets go of every listener that is not among `wanted`: nothing new is taken there, requests in flight are
    /// answered, tunnels live on.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<Door>) {
        self.leaving.retain(|(_, open)| !open.is_over());
        let gone: Vec<_> = self.open.keys().filter(|door| !wanted.contains(door)).copied().collect();
        for door in gone {
            if let Some(open) = self.open.remove(&door) {
                open.leave(Phase::Draining);
                self.leaving.push((door, open));
            }
        }
    }

    /// Whether one of the listeners stands in the way of another at this address: it is there, or one of the two is at
    /// every address of the machine.
    pub(crate) fn hold(&self, address: SocketAddr) -> bool {
        self.open.keys().any(|(_, own)| tidegate_config::exclude(*own, address))
    }

    /// Takes no new work and lets the old finish, for at most `deadline`. DNS answers until HTTP is done: whoever
    /// still asks is sent where the group lives. The admin and the API listener stay.
    pub(super) async fn drain(&mut self, deadline: Duration) {
        self.tell(HTTP, Phase::Draining);
        if tokio::time::timeout(deadline, self.ended(HTTP)).await.is_err() {
            tracing::warn!("requests still in flight after the drain deadline are cut");
            self.tell(HTTP, Phase::Stop);
            let _ = tokio::time::timeout(super::STOP, self.ended(HTTP)).await;
        }
        self.tell(DNS, Phase::Stop);
        let _ = tokio::time::timeout(super::STOP, self.ended(DNS)).await;
    }

    fn all(&mut self) -> impl Iterator<Item = (Kind, &mut Open)> {
        let open = self.open.iter_mut().map(|((kind, _), open)| (*kind, open));
        open.chain(self.leaving.iter_mut().map(|((kind, _), open)| (*kind, open)))
    }

    fn tell(&mut self, kinds: [Kind; 2], phase: Phase) {
        self.all().filter(|(kind, _)| kinds.contains(kind)).for_each(|(_, open)| open.leave(phase));
    }

    /// Waits until every listener of these kinds has ended.
    async fn ended(&mut self, kinds: [Kind; 2]) {
        for (_, open) in self.all().filter(|(kind, _)| kinds.contains(kind)) {
            for task in open.tasks.iter_mut().filter(|task| !task.is_finished()) {
                let _ = task.await;
            }
        }
    }
}

impl Open {
    /// What serves listens to one of the two.
    fn leave(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.stop.send_replace(true);
    }

    fn is_over(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn bind((kind, address): Door) -> Result<Socket, AppError> {
    let udp = (kind == Kind::Dns).then(|| bind_udp(address)).transpose()?;
    let tcp = match kind {
        Kind::Admin | Kind::Api => admin::bind_tcp(address),
        Kind::Http | Kind::Https => tidegate_proxy::bind(address),
        Kind::Dns | Kind::Dot => tidegate_dns::tcp::bind(address),
    };
    let tcp = tcp.map_err(refused(kind.what(), address))?;
    Ok(match udp {
        Some(udp) => Socket::Both(udp, tcp),
        None => Socket::Tcp(tcp),
    })
}

fn bind_udp(address: SocketAddr) -> Result<UdpSocket, AppError> {
    tidegate_dns::udp::bind(address, false).map_err(refused("dns (UDP)", address))
}

fn refused(what: &'static str, address: SocketAddr) -> impl FnOnce(io::Error) -> AppError {
    move |source| AppError::Listen { what, at: address.to_string(), source }
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
