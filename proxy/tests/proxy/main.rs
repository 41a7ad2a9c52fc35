//! The proxy over real sockets: raw origins that record the exact bytes they got, raw clients.

#![allow(clippy::unwrap_used, reason = "helpers of tests: an unwrap that fails fails the test")]

mod bodies;
mod drain;
mod ends;
mod forwarding;
mod front;
mod garbage;
mod http2_abuse;
mod http2_client;
mod http2_front;
mod http2_kit;
mod http2_origins;
mod hygiene;
mod interim;
mod kit;
mod retries;
mod secure;
mod tls;
mod tunnels;
