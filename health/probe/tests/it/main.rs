//! Probes and their scheduler against real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod command;
mod http;
mod http2;
mod reuse;
mod schedule;
mod support;
mod tcp;
mod tls;
