//! Probes and their scheduler against real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod certificate;
mod command;
mod dns;
mod grpc;
mod http;
mod http2;
mod plugin;
mod push;
mod reuse;
mod same;
mod schedule;
mod support;
mod tcp;
mod tls;
