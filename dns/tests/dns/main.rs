//! The crate from outside: zone text in, real sockets, bytes compared.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on is to fail; clippy's own exception is for #[test] functions only"
)]

mod handler;
mod harness;
mod nsd;
mod properties;
mod questions;
mod steered;
mod streams;
mod tls;
mod zone_text;
