//! Named scenarios, exact in virtual time: what a group does by itself, what it does when told, and what it refuses.

#[path = "../world/mod.rs"]
mod world;

mod cluster;
mod cut_off;
mod durable;
mod facts;
mod failback;
mod failover;
mod forces;
mod frozen;
mod gates;
mod lasting;
mod names;
mod orders;
mod reload;
mod safety;
mod stall;
mod start;
