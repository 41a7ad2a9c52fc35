//! The proxy over real sockets: raw origins that record the exact bytes they got, raw clients.

mod drain;
mod forwarding;
mod hygiene;
mod kit;
mod retries;
mod tls;
mod tunnels;
