//! The one published World: what DNS and the proxy answer from, swapped as a whole.
//!
//! A reader loads it once per question or request and never looks again, so nobody sees half a switch, and DNS and
//! HTTP cannot disagree about where a group lives.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{Name, SiteId};

use crate::certs::Certificates;

/// One generation.
#[derive(Debug, Default)]
pub struct World {
    /// Grows with every change, from one at the start of the process.
    pub generation: u64,
    /// What the numbers of everything else count.
    pub fleet: Arc<Fleet>,
    pub dns: Arc<tidegate_dns::View>,
    pub proxy: Arc<tidegate_proxy::View>,
    /// By group: where it is active.
    pub active: Vec<Option<SiteId>>,
    /// Groups that are active nowhere.
    pub undecided: Vec<Name>,
    /// Groups that run without something they want, with what that is.
    pub degraded: Vec<(Name, Vec<Name>)>,
    pub settings: Arc<Settings>,
}

impl World {
    /// Where a group is active, by name.
    #[must_use]
    pub fn active_site(&self, group: &str) -> Option<Name> {
        let group = self.fleet.group_named(group)?;
        let site = self.active.get(group.index()).copied().flatten()?;
        Some(self.fleet.site(site).name.clone())
    }
}

/// What readers need of the configuration itself; only a reload changes it.
#[derive(Debug, Default)]
pub struct Settings {
    pub certificates: Arc<Certificates>,
}

/// Where the current World is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Worlds(Arc<ArcSwap<World>>);

impl Worlds {
    #[must_use]
    pub fn load(&self) -> Arc<World> {
        self.0.load_full()
    }

    /// Makes `world` what everybody sees from now on.
    pub fn publish(&self, world: World) {
        self.0.store(Arc::new(world));
    }

    /// The DNS side of it, for the DNS server.
    #[must_use]
    pub fn dns(&self) -> Arc<dyn Fn() -> Arc<tidegate_dns::View> + Send + Sync> {
        let worlds = self.clone();
        Arc::new(move || worlds.0.load().dns.clone())
    }

    /// The proxy's side of it.
    #[must_use]
    pub fn proxy(&self) -> tidegate_proxy::Views {
        let worlds = self.clone();
        Arc::new(move || worlds.0.load().proxy.clone())
    }
}
