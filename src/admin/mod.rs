//! How people and machines look at the daemon and steer it.
//!
//! Two listeners. The Unix socket carries the whole API and is for root and the daemon's own user: the kernel says
//! who is calling. The TCP listener carries no credentials, so nothing behind it changes anything.

mod api;
mod caller;
mod listen;
mod readiness;
pub mod shape;

pub use api::Admin;
pub use caller::Role;
pub use listen::{SocketFile, bind_socket, bind_tcp, serve_socket, serve_tcp};
pub use readiness::{Readiness, Stage};
