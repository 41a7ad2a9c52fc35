//! How clients reach the edge: where it listens, with which certificates, whose word about an address counts, and the
//! bounds on what they may ask.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::spec;
use super::value::{DAY, MINUTE, ms, networks, path, socket, sockets};
use crate::domain::TlsVersion;
use crate::network::Network;
use crate::reader::Field;
use crate::source::At;

spec! {
    /// Where the edge listens: IP addresses with ports; port 0 lets the system choose.
    struct ListenSpec in "listen" {
        /// HTTP. Default none.
        optional http: Vec<At<SocketAddr>> = sockets,
        /// HTTPS, with the `certificates`. Default none.
        optional https: Vec<At<SocketAddr>> = sockets,
        /// DNS over UDP and TCP. Default none.
        optional dns: Vec<At<SocketAddr>> = sockets,
        /// DNS over TLS (RFC 7858), with the same certificates. Default none.
        optional dot: Vec<At<SocketAddr>> = sockets,
        /// The [API](security.md#the-api-over-the-network) for people and machines that have a token, over TLS with the
        /// same certificates. Default none.
        optional api: Vec<At<SocketAddr>> = sockets,
        /// Whether the API speaks TLS; only where every address of `api` is a loopback one may it do without. Default
        /// `true`.
        optional api_tls: bool = Field::boolean,
        /// Whether HTTPS clients may speak HTTP/2. Default `true`.
        optional http2: bool = Field::boolean,
        /// The oldest TLS that clients may speak: `"1.2"` or `"1.3"`. Default `"1.2"`.
        optional tls_version_min: TlsVersion = |field| {
            field.one_of(&[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)])
        },
        /// Metrics, health and read-only status over HTTP. Default none.
        optional admin: SocketAddr = socket,
        /// The Unix socket that the command line talks to. Default `tidegate.sock` in `state_dir`. A change needs a
        /// restart.
        optional socket: PathBuf = path,
    }
}

spec! {
    /// A certificate and its key. Relative paths start at the configuration file's folder.
    struct CertificateSpec in "certificates[]" {
        /// PEM file of the certificate and those above it, in that order.
        required cert: PathBuf = path,
        /// PEM file of the key.
        required key: PathBuf = path,
        /// Server names it is for; `*.example.com` stands for one label before `example.com`. Default the DNS names in
        /// the certificate.
        optional names: Vec<At<String>> = |field| field.list(Field::text),
    }
}

spec! {
    /// Whose word about a client's address counts. A network is written `10.0.0.0/8`; an address alone is that address.
    struct ClientAddressSpec in "client_address" {
        /// Networks of load balancers that begin each HTTP and HTTPS connection with a PROXY header, version 1 or 2:
        /// from there it must come, from elsewhere none is accepted. Default none.
        optional proxy_protocol_from: Vec<At<Network>> = networks,
        /// Networks of proxies whose `X-Forwarded-For` is believed; from elsewhere it is replaced. Default none.
        optional forwarded_for_from: Vec<At<Network>> = networks,
    }
}

spec! {
    /// Bounds on what clients may ask of this edge.
    struct LimitsSpec in "limits" {
        /// HTTP and HTTPS connections in total; those of DNS have [bounds of their own](security.md#bounds).
        /// Default 10000, 1 to 1000000.
        optional connections_max: u64 = |field| field.integer(1..=1_000_000),
        /// HTTP and HTTPS connections of one IPv4 address or one IPv6 /64; those of `forwarded_for_from` are not counted.
        /// Default none, 1 to 1000000.
        optional connections_per_address_max: u64 = |field| field.integer(1..=1_000_000),
        /// Requests on one connection, after which it is closed. Default 10000, 1 to 1000000000.
        optional requests_per_connection_max: u64 = |field| field.integer(1..=1_000_000_000),
        /// A TLS handshake as a whole, with a PROXY header before it. Default `"10s"`, `"10ms"` to `"10m"`.
        optional handshake_timeout: Duration = |field| field.duration(ms(10)..=10 * MINUTE),
        /// From a request's first byte to the end of its header, whatever trickles meanwhile; a new connection's first
        /// byte, and a PROXY header without TLS, have as long. Default `"10s"`, `"10ms"` to `"10m"`.
        optional header_timeout: Duration = |field| field.duration(ms(10)..=10 * MINUTE),
        /// Bytes of a request's header. Default 65536, 1024 to 1048576.
        optional header_bytes_max: u64 = |field| field.integer(1024..=1 << 20),
        /// Fields of a request's header. Default 100, 1 to 256.
        optional headers_max: u64 = |field| field.integer(1..=256),
        /// Bytes of a request's body. Default none, up to 1 TiB.
        optional body_bytes_max: u64 = |field| field.integer(0..=1 << 40),
        /// How long to wait for a request's body as a whole, until an answer begins, beside what its bytes are worth by
        /// `body_rate_min`; time in which the origin takes nothing does not count. Default `"30s"`, `"10ms"` to `"1d"`.
        optional body_timeout: Duration = |field| field.duration(ms(10)..=DAY),
        /// Bytes that prolong `body_timeout` by a second each time they have come. Default 500, 1 to 1000000000.
        optional body_rate_min: u64 = |field| field.integer(1..=1_000_000_000),
        /// Silence of a client within a body. Default `"60s"`, `"10ms"` to `"1d"`.
        optional body_idle_timeout: Duration = |field| field.duration(ms(10)..=DAY),
        /// How long a client may take for each piece of an answer, of at most 64 KiB. Default `"60s"`, `"10ms"` to `"1d"`.
        optional write_timeout: Duration = |field| field.duration(ms(10)..=DAY),
        /// A kept-alive connection without a request. Default `"75s"`, `"10ms"` to `"1d"`.
        optional idle_timeout: Duration = |field| field.duration(ms(10)..=DAY),
        /// Requests at once on one HTTP/2 connection. Default 100, 1 to 1000.
        optional http2_streams_max: u64 = |field| field.integer(1..=1000),
    }
}
