//! DNS over TCP (RFC 7766) and over TLS (RFC 7858): accepting within bounds, and the end of service.
//!
//! TLS connections go through this loop and not through hickory's: theirs has no bound on connections, lets a message
//! trickle in for ever, cannot send encoded answers, and cuts what is under way when it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::connection::{Connection, End};
use crate::handler::Handler;
use crate::observe::{DropReason, Protocol};
use crate::pause::{Pause, stopped};
use crate::per_address::{Held, PerAddress};
use crate::tls::TlsSource;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 1024;

/// Bounds on connections. Clones share the counts and the deadline of handshakes, so give clones to all listeners of one kind.
#[derive(Clone, Debug)]
pub struct TcpLimits {
    connections: Arc<Semaphore>,
    addresses: Arc<PerAddress>,
    /// How long a connection may stay open with no part of a question on the way.
    pub idle_timeout: Duration,
    /// How long one question may take from its first byte to its last, and one write of answers.
    pub message_timeout: Duration,
    handshake_timeout_ms: Arc<AtomicU64>,
}

const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;

impl TcpLimits {
    /// At most `connections_max` connections at a time over all clones; more are closed at once. TLS handshakes get 10 s.
    pub fn new(connections_max: usize, idle_timeout: Duration, message_timeout: Duration) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            addresses: Arc::new(PerAddress::new(usize::MAX)),
            idle_timeout,
            message_timeout,
            handshake_timeout_ms: Arc::new(HANDSHAKE_TIMEOUT_MS.into()),
        }
    }

    /// At most `per_address_max` of the connections from one address. The addresses of an IPv6 network of 64 bits are one: a
    /// single host often has all of them.
    #[must_use]
    pub fn with_per_address_max(self, per_address_max: usize) -> Self {
        Self { addresses: Arc::new(PerAddress::new(per_address_max)), ..self }
    }

    /// Gives TLS handshakes that begin from now on this long, at the listeners of all clones.
    pub fn set_handshake_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.handshake_timeout_ms.store(ms, Ordering::Relaxed);
    }

    fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms.load(Ordering::Relaxed))
    }

    /// Room for one more connection.
    fn admit(&self, from: SocketAddr) -> Result<Admission, DropReason> {
        let connections = Arc::clone(&self.connections);
        let total = connections.try_acquire_owned().map_err(|_| DropReason::TooManyConnections)?;
        let address = self.addresses.hold(from.ip()).ok_or(DropReason::TooManyFromAddress)?;
        Ok(Admission { _total: total, _address: address })
    }
}

impl Default for TcpLimits {
    /// 1024 connections, an eighth of them from one address; 10 s idle (RFC 7766 section 6.2.3), 5 s per message.
    fn default() -> Self {
        Self::new(1024, Duration::from_secs(10), Duration::from_secs(5)).with_per_address_max(128)
    }
}

/// What a connection holds while it is open.
struct Admission {
    _total: OwnedSemaphorePermit,
    _address: Held,
}

/// Binds a listener, taking over an address whose old connections linger.
///
/// # Errors
/// As the system says: address in use or not ours, no permission for the port, no file descriptor.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts and answers until `shutdown` becomes true or its sender is gone; then answers what has been read on each
/// connection, closes all and returns. That takes at most one `message_timeout` and a second.
pub async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    limits: TcpLimits,
    shutdown: watch::Receiver<bool>,
) {
    accept(listener, handler, limits, shutdown, Carrier::Plain).await;
}

/// As [`serve`], over TLS: what `tls` gives is best made by [`tls_config`](crate::tls_config). Handshakes under way at the end
/// are cut: they have asked nothing yet.
pub async fn serve_tls(
    listener: TcpListener,
    handler: Arc<Handler>,
    tls: TlsSource,
    limits: TcpLimits,
    shutdown: watch::Receiver<bool>,
) {
    accept(listener, handler, limits, shutdown, Carrier::Tls(tls)).await;
}

/// What carries the messages of one listener.
#[derive(Clone)]
enum Carrier {
    Plain,
    Tls(TlsSource),
}

impl Carrier {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Plain => Protocol::Tcp,
            Self::Tls(_) => Protocol::Tls,
        }
    }
}

async fn accept(
    listener: TcpListener,
    handler: Arc<Handler>,
    limits: TcpLimits,
    mut shutdown: watch::Receiver<bool>,
    carrier: Carrier,
) {
    let protocol = carrier.protocol();
    let mut connections = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                pause.reset();
                let admission = match limits.admit(from) {
                    Ok(admission) => admission,
                    Err(reason) => {
                        handler.observer.dropped(protocol, reason);
                        continue;
                    }
                };
                let (handler, limits) = (Arc::clone(&handler), limits.clone());
                let connection = connection(stream, handler, limits, shutdown.clone(), carrier.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(admission);
                });
            }
            Err(error) => {
                handler.observer.dropped(protocol, DropReason::AcceptFailed);
                warn!(%error, protocol = protocol.as_str(), "accepting DNS connections failed");
                tokio::select! {
                    () = stopped(&mut shutdown) => break,
                    () = tokio::time::sleep(pause.next()) => {}
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    handler: Arc<Handler>,
    limits: TcpLimits,
    mut shutdown: watch::Receiver<bool>,
    carrier: Carrier,
) {
    // Without it the second of two small answers waits for the acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let protocol = carrier.protocol();
    let (handler, limits) = (&*handler, &limits);
    let end = match carrier {
        Carrier::Plain => Connection { stream, handler, limits, protocol }.converse(&mut shutdown).await,
        Carrier::Tls(tls) => {
            let acceptor = TlsAcceptor::from(tls());
            let shaken = tokio::select! {
                biased;
                () = stopped(&mut shutdown) => return,
                shaken = timeout(limits.handshake_timeout(), acceptor.accept(stream)) => shaken,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    // On the heap: the state of a session is large, and most connections wait most of the time.
                    let stream = Box::new(stream);
                    Connection { stream, handler, limits, protocol }.converse(&mut shutdown).await
                }
                Ok(Err(error)) => {
                    debug!(%error, "TLS handshake failed");
                    handler.observer.dropped(protocol, DropReason::HandshakeFailed);
                    return;
                }
                Err(_) => End::TimedOut,
            }
        }
    };
    if end == End::TimedOut {
        handler.observer.dropped(protocol, DropReason::TimedOut);
    }
}
