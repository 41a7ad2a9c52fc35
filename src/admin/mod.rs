//! How people and machines look at the daemon and steer it.
//!
//! Three listeners. The Unix socket carries the whole API and is for root and the daemon's own user: the kernel says
//! who is calling. The API listener carries it too, for callers who show a token. The admin listener asks for no
//! credentials, so nothing behind it changes anything.

mod api;
mod caller;
mod failures;
mod idempotency;
mod listen;
mod readiness;
mod remote;
mod secret;
mod serve;
pub mod shape;
mod tokens;

pub use api::Admin;
pub use caller::Role;
pub use idempotency::Answers;
pub use listen::{SocketFile, bind_socket, bind_tcp, serve_socket, serve_tcp};
pub use readiness::{Readiness, Stage};
pub use remote::Door;
pub use secret::is_token;
pub use serve::{ApiTls, serve_api};
pub use tokens::Tokens;
