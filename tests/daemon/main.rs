//! The real daemon on real sockets, with real origins: processes that are killed, stopped and continued.

mod client;
mod descriptors;
mod failover;
mod refusals;
mod scene;
mod stall;
mod start;
mod stop;
mod switches;
