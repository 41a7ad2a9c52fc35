//! The decision core: pure functions of state, input and time.

pub mod id;
