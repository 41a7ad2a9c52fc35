//! Where decisions become durable and known to others: this node's own store, or a cluster that many nodes share.
//!
//! ```text
//!  control --commit--> [ Coordinator ] --> durable, guarded by lead and epoch
//!     ^  \--publish--------> |                what this node sees, under its lease
//!     |                      v
//!     +----------news--------+                lease and lead, decisions of others, what all see together
//! ```
//!
//! The control task is the same with either. What a cluster's news mean is the core's business
//! ([`tidegate_health::cluster`]); what is promised about commits and the order of news is said there, too, and held
//! against a simulated network of nodes in `health/tests/cluster`. What a cluster says is also for its coordinator to keep in this
//! node's own store: a node that starts without its cluster knows the last decisions.

mod local;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tidegate_health::cluster::News;
use tidegate_health::vantage::View;

use crate::store::{Before, Change, StoreError};
pub use local::Local;

/// What is under way somewhere else.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the control task needs of whatever decisions are shared through.
pub trait Coordinator: Send + Sync + 'static {
    /// Makes a change durable, and visible to all who share it: all of it, or nothing. It is guarded: a cluster takes it only
    /// from the node that leads, and only if what it has is what `before` says. An error means that it counts as not made; if it
    /// was made after all, it is taken back, or comes as news.
    fn commit(&self, change: Change, before: Before) -> Pending<Result<(), StoreError>>;

    /// What is new, in order; waits until there is something. Control has one such wait at a time and may give it up without
    /// losing any.
    fn news(&self) -> Pending<News>;

    /// Whether others decide with this node, and so want to know what it sees.
    fn is_shared(&self) -> bool;

    /// Tells the others what this node sees, in place of what it told before. Never waits. Its view's `until` is for whoever
    /// reads it to set: it is the end of this node's lease.
    fn publish(&self, view: View);
}

/// A shared one.
pub type Shared = Arc<dyn Coordinator>;
