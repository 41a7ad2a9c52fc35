//! The real daemon on real sockets, with real origins: processes that are killed, stopped and continued.

mod client;
mod failover;
mod scene;
mod stall;
mod switches;
