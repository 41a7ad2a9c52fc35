//! The crate from outside: zone text in, real sockets, bytes compared.

mod handler;
mod harness;
mod nsd;
mod properties;
mod questions;
mod steered;
mod streams;
mod zone_text;
