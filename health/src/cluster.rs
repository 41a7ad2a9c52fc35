//! Many nodes, one decision: what the core knows of its place among others, and what it makes of it.
//!
//! A cluster is a store that all nodes share, which gives each node a lease and at most one of them the lead. The core
//! neither sees it nor waits for it: what it has to say comes as news, and every rule that hangs on it is here.
//!
//! ```text
//!                     lease and lead                       lease and lead
//!      +----------+ <----------------- +--------------+ -----------------> +----------+
//!      |  node a  |                    |   cluster    |                    |  node b  |
//!      |  leads   | -----------------> | group: epoch | -----------------> | follows  |
//!      +----------+  commit, guarded   +--------------+   what was         +----------+
//!        step()      by lead and epoch                    committed          step()
//! ```
//!
//! - Only who leads decides, obeys orders and lets forces end, and only while its lease lasts by its *own* clock, from which
//!   whoever brings the news has taken off what clocks may differ. So a node stops before the cluster gives its lead away.
//! - A follower takes over what was committed, as it was committed. A decision with a lower epoch than its own is no news.
//! - A node that lost the cluster goes on serving groups that share no data by the last decision it knows. Those that do it serves
//!   until its lease ends: after that another node may have moved them, and two sites would be written to.
//! - A node that decides alone is in no cluster, and nothing of this holds for it.
//!
//! Whoever commits promises two things. What fails to be committed is told as not stored, also where its fate is unknown; if it
//! was committed after all, it comes as news. And news come in the cluster's order: the outcome of a commit of one's own comes
//! before every decision that was built on it.

use crate::durable::Durable;
use crate::fleet::Group;
use crate::force::Force;
use crate::hysteresis::Health;
use crate::id::{GroupId, OriginId};
use crate::time::{Mono, Now};

/// A node's place in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Until when, by this node's own clock, the cluster counts it as alive; its zero is never.
    pub until: Mono,
    /// Whether it leads, for as long.
    pub leads: bool,
}

/// What a cluster has to say.
#[derive(Clone, Debug)]
pub enum News {
    /// The lease was renewed, or the lead has changed.
    Membership(Membership),
    /// What the cluster has of a group.
    Group { group: GroupId, durable: Box<Durable> },
    /// What it has of forces, all of them.
    Forces(Vec<Force>),
    /// What the vantages say of an origin together.
    Merged { origin: OriginId, health: Health },
}

/// What a node keeps of the cluster that it is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) membership: Membership,
    /// Whether groups that share data are served without a lease, too.
    pub(crate) serves_isolated: bool,
}

impl Cluster {
    pub(crate) fn is_live(&self, now: Now) -> bool {
        now.mono < self.membership.until
    }

    pub(crate) fn leads(&self, now: Now) -> bool {
        self.membership.leads && self.is_live(now)
    }

    /// Whether a group is not to be served here at present.
    pub(crate) fn withholds(&self, group: &Group, now: Now) -> bool {
        !group.is_stateless() && !self.serves_isolated && !self.is_live(now)
    }
}
