//! The edge proxy: HTTP/1.1 forwarding, picking, tunnels.
//!
//! Decisions are made elsewhere and arrive as an immutable [`View`]; a request loads it once and follows it to its end.
//! What only live traffic knows (requests in flight, failures seen, idle connections) lives in the [`Target`]s a view
//! points to. The crate never decides where a group lives, it only says what it saw ([`Signals`]) and counts
//! ([`Observer`]).
//!
//! ```text
//! accept -> connection -> head (strict checks) -> forward -> select -> attempt -> origin
//!                                                    |  (retry, spill)   |
//!                                                    +-> tunnel          +-> Signals, ejection
//! ```
//!
//! pingora's HTTP/1.1 sessions do the framing of bodies on both sides; sockets, pools, TLS to origins, request heads
//! and retries are this crate's own, because one request may use several origins, and because a connection must say
//! exactly whether a byte was sent or received.

mod accept;
mod budget;
mod clock;
mod connection;
mod forward;
mod head;
mod limits;
mod observe;
mod page;
mod pool;
pub mod select;
mod stream;
mod target;
mod tls;
mod tunnel;
mod view;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use accept::{Phase, bind, serve};
pub use budget::{BudgetPolicy, RetryBudget};
pub use limits::{Limits, ServiceSettings};
pub use observe::{Finished, Observer, RetryReason, Signal, SignalKind, Signals};
pub use page::{REASON_HEADER, SPILLED_HEADER};
pub use target::{EjectionPolicy, Target};
pub use tls::{TlsError, TlsTarget, Verify};
pub use view::{OriginView, ServiceView, SiteView, Spill, View};

/// Loads the current view; called once per request, must be cheap and must not block.
pub type Views = Arc<dyn Fn() -> Arc<View> + Send + Sync>;

/// What all listeners of one process share.
pub struct Shared {
    pub(crate) views: Views,
    pub(crate) signals: Arc<dyn Signals>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) limits: Limits,
    /// One permit per client connection.
    pub(crate) connections: Arc<Semaphore>,
}

impl Shared {
    /// Ties the proxy to the daemon.
    #[must_use]
    pub fn new(
        views: Views,
        signals: Arc<dyn Signals>,
        observer: Arc<dyn Observer>,
        limits: Limits,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { views, signals, observer, limits, connections })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}
