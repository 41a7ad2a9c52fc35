//! What the proxy tells the rest of the daemon.
//!
//! Two kinds of listeners, both called from the request path and therefore never allowed to block: [`Signals`] turns
//! what live traffic saw into observations, [`Observer`] counts. Labels are bounded: services, sites and origins are
//! configured, reasons are enums; nothing a client sends becomes a label.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What live traffic saw go wrong at an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// The connection was refused, or the address cannot be reached.
    Refused,
    /// No connection (TLS included) within the connect timeout.
    ConnectTimeout,
    /// The connection died, or its TLS handshake or answer made no sense, before a complete response head.
    Reset,
    /// The request was sent and no response head came within the first-byte timeout.
    Silent,
    /// A complete answer with a status of 500 to 599, other than 501 and 505: those are about the request's method and
    /// version, which the client chose.
    Status5xx,
}

impl SignalKind {
    /// The word used in labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::Status5xx => "status-5xx",
        }
    }
}

/// One passive observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The name of the target it was seen at.
    pub origin: Arc<str>,
    /// What was seen.
    pub kind: SignalKind,
    /// Whether this very signal ejected the origin from picking (a probe should start at once).
    pub ejected: bool,
}

/// Receives passive observations. Called on the request path: must not block.
pub trait Signals: Send + Sync {
    /// Takes one observation; dropping it under pressure is allowed.
    fn signal(&self, signal: Signal);
}

/// Why a request was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// Nothing had been sent: no connection could be made.
    Connect,
    /// A safe request whose connection died before any byte of an answer.
    Died,
    /// A safe request whose reused connection was already dead, tried on a fresh one to the same origin.
    Stale,
}

impl RetryReason {
    /// The word used in labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Died => "died",
            Self::Stale => "stale",
        }
    }
}

/// One finished request, as it is counted and logged. Borrowed as a whole: whoever keeps something copies it.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The published generation it was answered from; 0 for a request whose head was refused.
    pub generation: u64,
    /// The service, or `"none"` where no service was found.
    pub service: &'a str,
    /// The epoch of the service's group; 0 without a service.
    pub epoch: u64,
    /// The site whose origin answered, or `"none"` where the proxy answered by itself.
    pub site: &'a str,
    /// The name of the origin that answered, or that was tried last.
    pub origin: Option<&'a str>,
    /// How many times an origin was tried.
    pub tries: u32,
    /// The request's method; empty where the head was refused.
    pub method: &'a str,
    /// The host as the client wrote it; empty where there was none or the head was refused.
    pub host: &'a str,
    /// The path without its query, because queries hold secrets; empty where the head was refused.
    pub path: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`; empty where the head was refused before it said so.
    pub protocol: &'static str,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// Whom the client is taken for.
    pub client: IpAddr,
    /// What the origin and the client were told as `X-Request-Id`; empty where the head was refused.
    pub request_id: &'a str,
    /// The status sent to the client; 499 when the client left before an answer.
    pub code: u16,
    /// Why it failed, in a word; `None` if an origin's answer was passed on to its end.
    pub fault: Option<&'static str>,
    /// From the complete request head to the last byte of the answer handed to the socket.
    pub duration: Duration,
    /// How long the last try took to connect, TLS included; `None` if it used a kept connection or did not connect.
    pub connect: Option<Duration>,
    /// From the complete request head to the complete head of the origin's answer, all tries included.
    pub first_byte: Option<Duration>,
    /// Bytes of the request's body that were read from the client, framing not counted.
    pub bytes_received: u64,
    /// Bytes of the answer's body that were written to the client, framing not counted. Tunnels count as 0.
    pub bytes_sent: u64,
    /// Whether a site other than the active one answered.
    pub spilled: bool,
}

/// Why a client connection was closed before it could say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedFor {
    /// As many are open as may be.
    Total,
    /// Its address has as many as it may have.
    Address,
    /// It comes from where a PROXY header is required, and began with none that makes sense, or not in time.
    ProxyHeader,
}

impl RefusedFor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Total, Self::Address, Self::ProxyHeader];

    /// The word used in labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
            Self::ProxyHeader => "proxy-header",
        }
    }
}

/// Why a TLS handshake with a client came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFault {
    /// It took too long.
    Timeout,
    /// The client spoke plain HTTP.
    PlainHttp,
    /// The client left.
    Gone,
    /// No common version or cipher, no certificate to offer, or no sense.
    Protocol,
}

impl HandshakeFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::PlainHttp, Self::Gone, Self::Protocol];

    /// The word used in labels and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain-http",
            Self::Gone => "gone",
            Self::Protocol => "protocol",
        }
    }
}

/// Counts. Called on the request path: must not block. Every method does nothing by default.
pub trait Observer: Send + Sync {
    /// A request was answered (or given up).
    fn request(&self, _finished: &Finished<'_>) {}
    /// A request of `service` is tried again.
    fn retry(&self, _service: &str, _reason: RetryReason) {}
    /// A request of `service` is about to be tried at `to`, although `from` is its active site.
    fn spill(&self, _service: &str, _from: &str, _to: &str) {}
    /// An origin of `service` at `site` was ejected from picking.
    fn ejection(&self, _service: &str, _site: &str) {}
    /// A client connection was accepted.
    fn connection_opened(&self) {}
    /// A client connection ended.
    fn connection_closed(&self) {}
    /// A client connection was closed before it could say anything.
    fn connection_refused(&self, _reason: RefusedFor) {}
    /// A TLS handshake with a client came to nothing.
    fn handshake_failed(&self, _fault: HandshakeFault) {}
    /// Accepting failed for want of descriptors or memory, and pauses.
    fn accept_paused(&self) {}
    /// An upgraded connection of `service` starts at `site`.
    fn tunnel_opened(&self, _service: &str, _site: &str) {}
    /// An upgraded connection ended.
    fn tunnel_closed(&self, _service: &str, _site: &str) {}
}

/// Ignores every signal.
impl Signals for () {
    fn signal(&self, _signal: Signal) {}
}

/// Counts nothing.
impl Observer for () {}
