//! The decision core: pure functions of state, input and time.
//!
//! Nothing in this crate opens a socket, reads a file or asks a clock. [`step::step`] takes the state, one input
//! and the time, and returns what is to be done; the daemon does it. So every decision can be replayed, simulated
//! in virtual time, and explained by the same code that makes it.

pub mod chain;
pub mod cluster;
pub mod decide;
pub mod durable;
pub mod event;
pub mod explain;
pub mod facts;
pub mod fit;
pub mod fleet;
pub mod force;
pub mod gate;
pub mod hysteresis;
pub mod id;
pub mod order;
pub mod phase;
mod proof;
pub mod refit;
pub mod safety;
pub mod state;
pub mod status;
pub mod step;
mod switch;
pub mod time;
pub mod vantage;

pub use switch::SELF;
