//! The decision core: pure functions of state, input and time.

pub mod fleet;
pub mod id;
