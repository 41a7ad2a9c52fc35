//! Authoritative DNS: zones, steered names, UDP, TCP and TLS.
//!
//! A [`Zone`] is what a zone file says. A [`ZoneView`] puts steered names and a serial onto it, with the steered answers
//! already encoded; a [`View`] is all of them as one publication. A [`Handler`] turns question bytes into answer bytes from
//! one load of the current view, under the loops of [`udp`] and [`tcp`], or as a [`hickory_server::server::RequestHandler`]
//! under hickory's transports.
//!
//! No file, no clock, no recursion: the caller reads zone files, keeps serials and says what is current.

mod answer;
mod connection;
mod encode;
mod handler;
mod hickory;
mod name;
mod observe;
mod pause;
mod per_address;
mod query;
mod rr;
pub mod tcp;
mod tls;
pub mod udp;
mod view;
mod zone;

pub use encode::{STREAM_BYTES_MAX, UDP_BYTES_MAX, UDP_BYTES_MAX_PLAIN};
pub use handler::{Handler, Outcome, ViewSource};
pub use observe::{DropReason, Observer, Protocol, QtypeLabel};
pub use tls::{TlsSource, tls_config};
pub use view::{
    BuildError, STEERED_ADDRESSES_MAX, STEERED_NEGATIVE_TTL_MAX, Steered, SteeredAnswer, View, ZoneView,
};
pub use zone::{ERRORS_MAX, RECORDS_MAX, WARNINGS_MAX, Zone, ZoneError, ZoneErrors};
