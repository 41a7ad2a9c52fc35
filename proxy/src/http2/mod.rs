//! HTTP/2 (RFC 9113), in front and towards origins.
//!
//! ```text
//! connection (one client: limits, GOAWAY) -> head (strict checks) -> stream ---+
//!                                                                             forward (as for HTTP/1.1)
//! origin (its connections, by epoch) <- exchange (one request there) ---------+
//! ```
//!
//! The `h2` crate does frames, HPACK and flow control; what it leaves to its user is here: which requests are taken,
//! how much of what a peer may cost, and how far a request got.

mod connection;
mod exchange;
mod head;
mod meter;
mod origin;
mod stream;
mod trailers;

pub(crate) use connection::serve;
pub(crate) use exchange::{Exchange, Next, want_trailers};
pub(crate) use origin::{Connections, Lease};
pub(crate) use stream::Stream;
