//! The real daemon on real sockets, with real origins: processes that are killed, stopped and continued.

mod access_log;
mod admin;
mod client;
mod commands;
mod demo;
mod descriptors;
mod disk;
mod failover;
mod http2;
mod metrics;
mod notify;
mod refusals;
mod regression;
mod reload;
mod scene;
mod stall;
mod start;
mod stop;
mod store;
mod switches;
mod talker;
mod tls;
