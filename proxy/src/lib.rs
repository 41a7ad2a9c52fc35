//! The edge proxy: forwarding over HTTP/1.1 and HTTP/2, picking, tunnels.
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
//! Both versions of HTTP share one forwarding path: it sees a client's side and an origin's side, and the four
//! combinations of versions follow the same rules of trying again.
//!
//! pingora's HTTP/1.1 sessions do the framing of bodies on both sides; sockets, pools, TLS to origins, request heads
//! and retries are this crate's own, because one request may use several origins, and because a connection must say
//! exactly whether a byte was sent or received.

mod accept;
mod address;
mod admission;
mod budget;
mod chunks;
mod clock;
mod connection;
mod forward;
mod front;
mod head;
mod http2;
mod limits;
mod observe;
mod page;
mod pool;
mod proxy_header;
pub mod select;
mod stream;
mod target;
mod tls;
mod tunnel;
mod view;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use admission::Admission;

pub use accept::{Phase, bind, serve, try_bind};
pub use address::{ClientAddress, Network};
pub use budget::{BudgetPolicy, RetryBudget};
pub use front::{Front, FrontTls, TlsVersion, front_tls};
pub use limits::{Limits, ServiceSettings};
pub use observe::{Finished, HandshakeFault, Observer, RefusedFor, RetryReason, Signal, SignalKind, Signals};
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
    pub(crate) admission: Arc<Admission>,
    settings: ArcSwap<Settings>,
}

/// What a reload may change. A request loads it once; a connection's own bounds are those of its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) addresses: ClientAddress,
}

impl Shared {
    /// Ties the proxy to the daemon.
    #[must_use]
    pub fn new(
        views: Views,
        signals: Arc<dyn Signals>,
        observer: Arc<dyn Observer>,
        limits: Limits,
        addresses: ClientAddress,
    ) -> Arc<Self> {
        let settings = ArcSwap::from_pointee(Settings { limits, addresses });
        Arc::new(Self { views, signals, observer, admission: Arc::default(), settings })
    }

    /// Takes other bounds from now on. Connections that are open stay, even beyond a lower bound; requests in flight
    /// end under the bounds they began with.
    pub fn reconfigure(&self, limits: Limits, addresses: ClientAddress) {
        self.settings.store(Arc::new(Settings { limits, addresses }));
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}
