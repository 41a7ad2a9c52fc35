//! The immutable picture a request is answered from.
//!
//! The daemon builds one [`View`] per published generation; a request loads it once and never looks again, so no request
//! sees half a switch. Routing by host is a hash look-up per label at most.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::RetryBudget;
use crate::clock::now_ms;
use crate::limits::ServiceSettings;
use crate::observe::SignalKind;
use crate::target::Target;

/// Bytes of a name (RFC 1035, section 3.1, without the root's dot).
const NAME_MAX: usize = 253;

/// Whether a request may try a site other than the active one before the group has switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spill {
    /// Never.
    #[default]
    Never,
    /// A GET or HEAD without a body.
    Safe,
    /// Also others, as long as nothing of them was sent.
    Any,
}

/// One origin of a site, as decided.
#[derive(Clone, Debug)]
pub struct OriginView {
    /// Its live state.
    pub target: Arc<Target>,
    /// Its effective health.
    pub up: bool,
    /// Forced down or drained by a person: never picked, whatever else is broken.
    pub forced_down: bool,
}

/// One site of a service.
#[derive(Clone, Debug)]
pub struct SiteView {
    /// Its name.
    pub site: Arc<str>,
    /// Its origins of this service.
    pub origins: Vec<OriginView>,
    /// How long an origin that came up gets less than its share; zero for not at all.
    pub slow_start: Duration,
}

impl SiteView {
    /// Notes a failure of one of the site's origins, and ejects the origin if that is due and allowed.
    ///
    /// The cap counts origins that are up: ejecting takes one away from picking only if another one stays usable.
    pub(crate) fn note_failure(&self, target: &Target, kind: SignalKind) -> bool {
        let now = now_ms();
        if !target.note_failure(kind) || !self.may_eject(target, now) || !target.eject(now, kind) {
            return false;
        }
        // Two origins can be ejected in the same instant, each seeing the other one usable.
        if self.ejected(now) > self.ejected_max(target) {
            target.undo_ejection();
            return false;
        }
        true
    }

    fn may_eject(&self, target: &Target, now: u64) -> bool {
        self.ejected(now) < self.ejected_max(target)
    }

    fn usable(&self) -> impl Iterator<Item = &OriginView> {
        self.origins.iter().filter(|origin| origin.up && !origin.forced_down)
    }

    fn ejected(&self, now: u64) -> usize {
        self.usable().filter(|origin| origin.target.is_ejected_at(now)).count()
    }

    fn ejected_max(&self, target: &Target) -> usize {
        let usable = self.usable().count();
        let share = usable * target.share_percent().min(100) as usize / 100;
        share.max(1).min(usable.saturating_sub(1))
    }
}

/// One HTTP service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: Arc<str>,
    /// The group it moves with.
    pub group: Arc<str>,
    /// The hosts it serves: exact names, `*.example.com` for every name below, `*` for all others.
    pub hosts: Vec<Arc<str>>,
    /// The group's epoch. Idle connections made under another epoch are never used again.
    pub epoch: u64,
    /// The active site; `None` while undecided.
    pub active: Option<SiteView>,
    /// What may be tried elsewhere.
    pub spill: Spill,
    /// Other sites that are ready to be read from, in order of preference.
    pub spill_sites: Vec<SiteView>,
    /// Times and bounds.
    pub settings: ServiceSettings,
    /// The live retry budget, shared by every view of this service.
    pub budget: Arc<RetryBudget>,
}

/// All services of one generation, found by host.
#[derive(Debug, Default)]
pub struct View {
    /// The published generation this was built for.
    pub generation: u64,
    services: Vec<Arc<ServiceView>>,
    routes: Arc<Routes>,
}

/// Which hosts lead where; positions among the services. The same for all views of one configuration.
#[derive(Debug, Default)]
struct Routes {
    exact: HashMap<Box<str>, usize>,
    /// By suffix with its leading dot.
    wildcard: HashMap<Box<str>, usize>,
    any: Option<usize>,
}

impl View {
    /// Builds the routing table. Where two services claim one host, the first wins (a config refuses that earlier).
    #[must_use]
    pub fn build(generation: u64, services: Vec<ServiceView>) -> Self {
        let mut routes = Routes::default();
        for (position, service) in services.iter().enumerate() {
            for host in &service.hosts {
                let host = normal_host(host);
                if host == "*" {
                    routes.any.get_or_insert(position);
                } else if let Some(suffix) = host.strip_prefix('*') {
                    routes.wildcard.entry(suffix.into()).or_insert(position);
                } else {
                    routes.exact.entry(host.into()).or_insert(position);
                }
            }
        }
        let services = services.into_iter().map(Arc::new).collect();
        Self { generation, services, routes: Arc::new(routes) }
    }

    /// The next generation: the same but for these services, each at the place it was built in. Hosts stay as they were;
    /// all that did not change is shared.
    #[must_use]
    pub fn next(&self, generation: u64, changed: impl IntoIterator<Item = (usize, ServiceView)>) -> Self {
        let mut services = self.services.clone();
        for (position, service) in changed {
            debug_assert_eq!(services[position].hosts, service.hosts, "only a new table routes other hosts");
            services[position] = Arc::new(service);
        }
        Self { generation, services, routes: Arc::clone(&self.routes) }
    }

    /// The service of a host as a client wrote it: exact first, then the longest wildcard, then the catch-all.
    #[must_use]
    pub fn service(&self, host: &str) -> Option<&Arc<ServiceView>> {
        let host = normal_host(host);
        self.route(&host).map(|position| &self.services[position])
    }

    fn route(&self, host: &str) -> Option<usize> {
        let Routes { exact, wildcard, any } = &*self.routes;
        // Looking for every suffix of whatever fits into a head would take a second.
        if host.len() > NAME_MAX {
            return *any;
        }
        if let Some(position) = exact.get(host) {
            return Some(*position);
        }
        if !wildcard.is_empty() {
            let suffixes =
                host.char_indices().filter(|&(at, c)| c == '.' && at > 0).map(|(at, _)| &host[at..]);
            for suffix in suffixes {
                if let Some(position) = wildcard.get(suffix) {
                    return Some(*position);
                }
            }
        }
        *any
    }
}

/// Lower case, without port and without the trailing dot of an absolute name.
pub(crate) fn normal_host(host: &str) -> Cow<'_, str> {
    let host = if host.starts_with('[') {
        host.find(']').map_or(host, |end| &host[..=end])
    } else {
        host.rfind(':').map_or(host, |colon| &host[..colon])
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BudgetPolicy;
    use crate::target::EjectionPolicy;

    fn service(name: &str, hosts: &[&str]) -> ServiceView {
        ServiceView {
            name: name.into(),
            group: "g".into(),
            hosts: hosts.iter().map(|&h| h.into()).collect(),
            epoch: 1,
            active: None,
            spill: Spill::Never,
            spill_sites: Vec::new(),
            settings: ServiceSettings::default(),
            budget: Arc::new(RetryBudget::new(BudgetPolicy::default())),
        }
    }

    #[test]
    fn hosts_route_exact_then_longest_wildcard_then_any() {
        let view = View::build(
            7,
            vec![
                service("app", &["App.example.com"]),
                service("wild", &["*.example.com"]),
                service("deep", &["*.b.example.com"]),
            ],
        );
        let name = |host: &str| view.service(host).map(|s| s.name.to_string());
        for (host, expected) in [
            ("app.example.com", Some("app")),
            ("APP.Example.COM.:8080", Some("app")),
            ("x.example.com", Some("wild")),
            ("y.x.example.com", Some("wild")),
            ("a.b.example.com", Some("deep")),
            ("b.example.com", Some("wild")),
            ("example.com", None),
            (".example.com", None),
            ("notexample.com", None),
            ("", None),
            ("[::1]:80", None),
        ] {
            assert_eq!(name(host).as_deref(), expected, "{host}");
        }
        let view = View::build(8, vec![service("a", &["[::1]"]), service("rest", &["*"])]);
        let name = |host: &str| view.service(host).map(|s| s.name.to_string());
        assert_eq!(name("[::1]:80").as_deref(), Some("a"));
        assert_eq!(name("anything").as_deref(), Some("rest"));
        assert_eq!(name("").as_deref(), Some("rest"));
    }

    #[test]
    fn the_next_generation_shares_all_that_did_not_change() {
        let first = View::build(1, vec![service("one", &["one.test"]), service("two", &["two.test"])]);
        let changed = ServiceView { epoch: 2, ..service("two", &["two.test"]) };
        let second = first.next(2, [(1, changed)]);
        let epoch = |view: &View, host| view.service(host).map(|service| service.epoch);
        assert_eq!((epoch(&first, "two.test"), epoch(&second, "two.test")), (Some(1), Some(2)));
        assert_eq!(second.generation, 2);
        let (before, after) = (first.service("one.test").unwrap(), second.service("one.test").unwrap());
        assert!(Arc::ptr_eq(before, after));
    }

    #[test]
    fn a_name_longer_than_names_can_be_is_not_looked_for() {
        let view = View::build(1, vec![service("wild", &["*.test"]), service("rest", &["*"])]);
        for (len, expected) in [(253, "wild"), (254, "rest"), (60_000, "rest")] {
            let mut host = "a.".repeat((len - 4) / 2) + "test";
            host.insert_str(0, &"b".repeat(len - host.len()));
            assert_eq!(host.len(), len);
            assert_eq!(&*view.service(&host).expect("the catch-all").name, expected, "{len}");
        }
    }

    fn site(count: u32) -> SiteView {
        let origins = (0..count)
            .map(|n| OriginView {
                target: Target::new(
                    n.to_string().into(),
                    ([127, 0, 0, 1], 1).into(),
                    None,
                    EjectionPolicy::default(),
                )
                .expect("no TLS"),
                up: true,
                forced_down: false,
            })
            .collect();
        SiteView { site: "main".into(), origins, slow_start: Duration::ZERO }
    }

    #[test]
    fn the_ejected_share_is_capped_and_the_last_origin_stays() {
        for (count, cap) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
            let site = site(count);
            let ejected =
                site.origins.iter().filter(|o| site.note_failure(&o.target, SignalKind::Refused)).count();
            assert_eq!(ejected, cap, "of {count}");
        }
        let mut two = site(2);
        two.origins[1].up = false;
        assert!(!two.note_failure(&two.origins[0].target, SignalKind::Refused), "the only one that is up");
        two.origins[1].up = true;
        two.origins[1].forced_down = true;
        assert!(!two.note_failure(&two.origins[0].target, SignalKind::Refused));
    }
}
