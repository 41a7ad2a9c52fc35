//! What stands between an accepted socket and the first request: who is there, and TLS.
//!
//! Everything here has a deadline of its own and costs the client more than us: a connection is counted before a byte
//! of it is read, and one that comes to nothing is closed and counted, not logged: anybody can make thousands.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::ResolvesServerCert;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::address::Peer;
use crate::admission::AddressPlace;
use crate::observe::{HandshakeFault, RefusedFor};
use crate::page::Refusal;
use crate::stream::{Side, Transport, Wire};
use crate::tls::TlsError;
use crate::{Settings, Shared, proxy_header};

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}

/// How TLS is spoken with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontTls {
    /// The oldest version.
    pub version_min: TlsVersion,
    /// HTTP/2 is offered.
    pub http2: bool,
}

impl Default for FrontTls {
    fn default() -> Self {
        Self { version_min: TlsVersion::Tls12, http2: true }
    }
}

/// TLS for listeners, with certificates from `resolver`. Sessions are resumed by tickets whose keys live in this value
/// only and change every six hours; 0-RTT is not accepted, because what it carries can be replayed.
///
/// # Errors
/// When no random bytes are to be had.
pub fn front_tls(
    resolver: Arc<dyn ResolvesServerCert>,
    settings: FrontTls,
) -> Result<Arc<ServerConfig>, TlsError> {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    let versions = match settings.version_min {
        TlsVersion::Tls12 => BOTH,
        TlsVersion::Tls13 => &BOTH[..1],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.ticketer = ring::Ticketer::new()?;
    // The strongest that both sides know, whatever order the client prefers.
    config.ignore_client_order = true;
    if settings.http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Arc::new(config))
}

/// What a listener does with a connection before the first request. Clones share it, so a listener that is served can
/// be given other TLS.
#[derive(Clone, Debug, Default)]
pub struct Front {
    tls: Option<Arc<ArcSwap<ServerConfig>>>,
}

impl Front {
    /// Plain HTTP.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// HTTPS.
    #[must_use]
    pub fn tls(config: Arc<ServerConfig>) -> Self {
        Self { tls: Some(Arc::new(ArcSwap::new(config))) }
    }

    /// Speaks TLS like this with connections that come from now on. A plain front stays plain.
    pub fn set_tls(&self, config: Arc<ServerConfig>) {
        if let Some(tls) = &self.tls {
            tls.store(config);
        }
    }
}

/// What is spoken on an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// As chosen by ALPN.
    Http2,
}

/// A connection that is ready for its first request.
pub(crate) struct Open {
    pub(crate) stream: Box<Wire>,
    pub(crate) peer: Peer,
    pub(crate) protocol: Protocol,
    /// Held until the connection ends.
    pub(crate) place: Option<AddressPlace>,
}

/// Finds out who is there and makes the connection ready for requests. `None`: it is over, and counted.
pub(crate) async fn open(
    shared: &Shared,
    front: &Front,
    mut tcp: TcpStream,
    socket: SocketAddr,
) -> Option<Open> {
    // One packet per answer; a connection that cannot be set up is gone already.
    tcp.set_nodelay(true).ok()?;
    let settings = shared.settings();
    let limits = &settings.limits;
    let patience = if front.tls.is_some() { limits.handshake_timeout } else { limits.header_deadline };
    let deadline = Instant::now() + patience;
    let named = match client_of(&settings, &mut tcp, socket, deadline).await {
        Ok(named) => named,
        Err(reason) => {
            turn_away(shared, front, &tcp, reason);
            return None;
        }
    };
    // A balancer that names nobody comes with its own address, for many.
    let Ok(place) = named.map_or(Ok(None), |addr| place(shared, &settings, addr.ip())) else {
        turn_away(shared, front, &tcp, RefusedFor::Address);
        return None;
    };
    let addr = named.unwrap_or(socket);
    let (transport, tls) = match &front.tls {
        None => (Transport::Tcp(tcp), false),
        Some(tls) => {
            let shaken = timeout_at(deadline, handshake(tls.load_full(), tcp)).await;
            match shaken.unwrap_or(Err(HandshakeFault::Timeout)) {
                Ok(stream) => (Transport::Tls(Box::new(stream.into())), true),
                Err(fault) => {
                    shared.observer.handshake_failed(fault);
                    return None;
                }
            }
        }
    };
    let stream = Wire::new(transport, Side::Client);
    let protocol = match stream.agreed_on() {
        Some(Some(b"h2")) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Some(Open { stream, peer: Peer::new(addr, tls), protocol, place })
}

/// The socket's other end, or whom the PROXY header names where one must be, if it names anybody.
async fn client_of(
    settings: &Settings,
    tcp: &mut TcpStream,
    socket: SocketAddr,
    deadline: Instant,
) -> Result<Option<SocketAddr>, RefusedFor> {
    if !settings.addresses.expects_proxy_header(socket.ip()) {
        return Ok(Some(socket));
    }
    match timeout_at(deadline, proxy_header::read(tcp)).await {
        Ok(Ok(named)) => Ok(named),
        Ok(Err(error)) => {
            tracing::debug!(%error, %socket, "no PROXY header");
            Err(RefusedFor::ProxyHeader)
        }
        Err(_) => Err(RefusedFor::ProxyHeader),
    }
}

/// Counts the connection for its address. Believed peers carry many clients and are not counted.
fn place(shared: &Shared, settings: &Settings, address: IpAddr) -> Result<Option<AddressPlace>, Full> {
    if settings.addresses.believes(address) {
        return Ok(None);
    }
    shared.admission.enter_from(address, settings.limits.connections_per_address_max).map(Some).ok_or(Full)
}

/// The address has as many connections as it may have.
struct Full;

/// The first byte of a TLS connection: the record type of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;

async fn handshake(
    config: Arc<ServerConfig>,
    tcp: TcpStream,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, HandshakeFault> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) => {}
        _ => return Err(HandshakeFault::Gone),
    }
    if first[0] != HANDSHAKE && first[0].is_ascii_uppercase() {
        // The socket's buffer is empty, so it takes a page; where it does not, the client learns by the end.
        let _ = tcp.try_write(&Refusal::PLAIN_HTTP.raw());
        return Err(HandshakeFault::PlainHttp);
    }
    TlsAcceptor::from(config).accept(tcp).await.map_err(|error| {
        tracing::debug!(%error, "TLS handshake failed");
        // rustls wraps its own errors into this kind; the others are the socket's.
        if error.kind() == io::ErrorKind::InvalidData {
            HandshakeFault::Protocol
        } else {
            HandshakeFault::Gone
        }
    })
}

/// Closes a connection that is too many, with a word if one can be said without waiting.
pub(crate) fn turn_away(shared: &Shared, front: &Front, tcp: &TcpStream, reason: RefusedFor) {
    shared.observer.connection_refused(reason);
    if front.tls.is_none() {
        let page = match reason {
            RefusedFor::Total => Refusal::TOO_MANY_CONNECTIONS,
            RefusedFor::Address => Refusal::TOO_MANY_FROM_ADDRESS,
            RefusedFor::ProxyHeader => return,
        };
        // The socket's buffer is empty, so it takes a page; where it does not, the client learns by the end.
        let _ = tcp.try_write(&page.raw());
    }
}
