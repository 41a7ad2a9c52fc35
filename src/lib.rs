//! The daemon behind the `tidegate` command.
//!
//! Data flows one way: probes and live traffic -> observations -> [`control`] (one task) -> the pure core in
//! `tidegate-health` -> the [`store`] -> one [`world::World`] that DNS and the proxy read.

pub mod access_log;
pub mod admin;
pub mod app;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod control;
pub mod coord;
pub mod demo;
pub mod heartbeat;
pub mod history;
pub mod load;
pub mod metrics;
pub mod names;
pub mod notify;
mod outbound;
pub mod reload;
pub mod serial;
pub mod service_manager;
pub mod simulate;
pub mod store;
pub mod traffic;
pub mod watchers;
pub mod world;
