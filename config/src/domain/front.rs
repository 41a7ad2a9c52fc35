//! How clients reach the edge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::HostPattern;
use crate::network::Network;
use crate::source::Place;

/// Where the daemon listens. No address appears twice for the same transport.
#[derive(Clone, Debug)]
pub struct Listen {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    /// UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS.
    pub dot: Vec<SocketAddr>,
    /// The API with tokens.
    pub api: Vec<SocketAddr>,
    /// Whether it speaks TLS; if not, every one of its addresses is a loopback one.
    pub api_tls: bool,
    /// Whether HTTPS clients may speak HTTP/2.
    pub http2: bool,
    /// The oldest TLS that clients may speak.
    pub tls_version_min: TlsVersion,
    /// Metrics, health and read-only status.
    pub admin: Option<SocketAddr>,
    /// The Unix control socket; `<state_dir>/tidegate.sock` unless configured.
    pub socket: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A certificate and its key. Paths as written: relative ones are relative to the configuration file.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM, the certificate first, then those above it.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Server names it is for, each once; empty means the DNS names in the certificate. A wildcard
    /// stands for one label here (RFC 6125, section 6.4.3).
    pub names: Vec<HostPattern>,
    /// Where the configuration names it, for what is found once its files are read.
    pub declared: Place,
}

/// Whose word about a client's address counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// Connections from there begin with a PROXY header, others never.
    pub proxy_protocol_from: Vec<Network>,
    /// Peers whose `X-Forwarded-For` is believed; that of others is replaced.
    pub forwarded_for_from: Vec<Network>,
}

/// Bounds on what clients may ask of this edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections in total.
    pub connections_max: u32,
    /// Client connections of one IPv4 address or one IPv6 /64; none is no bound.
    pub connections_per_address_max: Option<u32>,
    /// Requests on one connection, after which it is closed.
    pub requests_per_connection_max: u32,
    /// A TLS handshake as a whole.
    pub handshake_timeout: Duration,
    /// From a request's first byte to the end of its header; a PROXY header has as long.
    pub header_timeout: Duration,
    /// Bytes of one request header.
    pub header_bytes_max: u32,
    /// Fields of one request header.
    pub headers_max: u32,
    /// Bytes of one request body; none is no bound.
    pub body_bytes_max: Option<u64>,
    /// How long to wait for a request's body: this, and a second for each `body_rate_min` bytes received.
    pub body_timeout: Duration,
    /// Bytes per second, at least one.
    pub body_rate_min: u32,
    /// Silence of a client within a body.
    pub body_idle_timeout: Duration,
    /// How long a client may take none of an answer.
    pub write_timeout: Duration,
    /// A kept-alive connection without a request.
    pub idle_timeout: Duration,
    /// Requests at once on one HTTP/2 connection, at least one.
    pub http2_streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: None,
            requests_per_connection_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            header_bytes_max: 64 * 1024,
            headers_max: 100,
            body_bytes_max: None,
            body_timeout: Duration::from_secs(30),
            body_rate_min: 500,
            body_idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            http2_streams_max: 100,
        }
    }
}
