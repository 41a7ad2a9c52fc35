//! The real daemon on real sockets, with real origins: processes that are killed, stopped and continued.

mod abuse;
mod access_log;
mod admin;
mod client;
mod commands;
mod demo;
mod descriptors;
mod disk;
mod drains;
mod failover;
mod http2;
mod metrics;
mod notify;
mod recorder;
mod refusals;
mod regression;
mod reload;
mod scene;
mod secure;
mod stall;
mod start;
mod stop;
mod store;
mod switches;
mod talker;
mod tls;
