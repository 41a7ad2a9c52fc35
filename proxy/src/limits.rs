//! The bounds of the client's side and the times of a service.
//!
//! Everything a client or an origin can make grow has a bound here, so that a reader finds them in one place.

use std::time::Duration;

use http::HeaderValue;

/// Bounds of the client's side, shared by all listeners that share one [`Shared`](crate::Shared).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections open at once; further ones are closed.
    pub connections_max: usize,
    /// Client connections open at once from one IPv4 address or IPv6 /64; further ones are closed. Peers whose
    /// `X-Forwarded-For` is believed carry many clients and are not counted.
    pub connections_per_address_max: Option<usize>,
    /// Requests on one client connection, after which it is closed.
    pub requests_per_connection_max: u32,
    /// The TLS handshake as a whole, a PROXY header before it included: bytes that trickle do not extend it.
    pub handshake_timeout: Duration,
    /// From a request's first byte to the end of its head, absolute: bytes that trickle do not extend it. Without
    /// TLS, a PROXY header before it has as much time again.
    pub header_deadline: Duration,
    /// Bytes of a request head, request line included.
    pub header_bytes_max: usize,
    /// Header fields in a request head. At most 256 are possible whatever is set here.
    pub header_count_max: usize,
    /// How long a kept-alive client connection may wait for its next request.
    pub keepalive_idle: Duration,
    /// Bytes of a request body.
    pub body_bytes_max: Option<u64>,
    /// How long the proxy waits for a request body as a whole, before what `body_rate_min` adds. Time in which the
    /// origin takes nothing does not count.
    pub body_timeout: Duration,
    /// Bytes a second that a client is expected to send at least: what has come extends `body_timeout` accordingly.
    pub body_rate_min: u64,
    /// Longest silence of a client within a request body.
    pub body_idle: Duration,
    /// Longest time one piece of an answer (at most 64 KiB, over HTTP/2 at most 16 KiB) may wait for the client to take
    /// all of it.
    pub write_stall: Duration,
    /// Streams open at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Longest pause of accepting after running out of descriptors.
    pub accept_pause_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: None,
            handshake_timeout: Duration::from_secs(10),
            requests_per_connection_max: 10_000,
            header_deadline: Duration::from_secs(10),
            header_bytes_max: 64 * 1024,
            header_count_max: 100,
            keepalive_idle: Duration::from_secs(75),
            body_bytes_max: None,
            body_timeout: Duration::from_secs(30),
            body_rate_min: 500,
            body_idle: Duration::from_secs(60),
            write_stall: Duration::from_secs(60),
            http2_streams_max: 100,
            accept_pause_max: Duration::from_secs(1),
        }
    }
}

/// How one service is served: its times and bounds, and what is said of HTTPS.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Making a connection to an origin, TLS included.
    pub connect_timeout: Duration,
    /// From the request being sent (its last byte the origin took) to the head of the answer; then 504.
    pub first_byte_timeout: Duration,
    /// Longest silence of an origin within an answer's body.
    pub body_idle_timeout: Duration,
    /// How long an unused connection to an origin is kept.
    pub pool_idle_timeout: Duration,
    /// Longest silence of an upgraded connection, both ways together.
    pub tunnel_idle_timeout: Duration,
    /// Tries of one request at the active site; clamped to 1..=7. A spilled try comes on top.
    pub attempts_max: u32,
    /// A request that came as plain HTTP is sent to HTTPS with a 308.
    pub redirect_https: bool,
    /// `Strict-Transport-Security` (RFC 6797) for answers over HTTPS; an origin's own stays.
    pub hsts: Option<HeaderValue>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(60),
            pool_idle_timeout: Duration::from_secs(30),
            tunnel_idle_timeout: Duration::from_secs(3600),
            attempts_max: 3,
            redirect_https: false,
            hsts: None,
        }
    }
}
