//! Origins that are given by name: what they have in common, and what comes of the addresses of the name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate_health::fleet::{Origin, Thresholds};
use tidegate_health::id::{Name, OriginId, ServiceId, SiteId};

use super::{Config, OriginEndpoint, Scheme};
use crate::network::is_public;

/// Stands in an endpoint until the name is resolved.
pub(crate) const UNRESOLVED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What names stand for at present. A name that is not here, or has none, has never been resolved.
pub type Addresses = BTreeMap<Name, Vec<IpAddr>>;

/// An origin that is given by name: each address of the name is an origin.
#[derive(Clone, Debug)]
pub struct NamedOrigin {
    /// Lower case, without a trailing dot.
    pub name: Name,
    pub service: ServiceId,
    pub site: SiteId,
    /// The machine, where one is configured: all of its addresses are of this machine.
    pub host: Option<Name>,
    pub thresholds: Thresholds,
    /// The address in it is a place holder.
    pub(crate) endpoint: OriginEndpoint,
}

/// Who is asked for the addresses of names, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// The system's where there are none.
    pub servers: Vec<SocketAddr>,
    /// Bounds of every TTL; the first is at most the second.
    pub ttl_min: Duration,
    pub ttl_max: Duration,
    /// For one question, all tries included.
    pub timeout: Duration,
}

/// Something about a name that a person should know; nothing fails because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub name: Name,
    pub message: String,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(3_600),
            timeout: Duration::from_secs(5),
        }
    }
}

impl NamedOrigin {
    /// Addresses of one name that become origins; the rest of a longer answer is left out.
    pub const ADDRESSES_MAX: usize = 64;

    #[must_use]
    pub fn port(&self) -> u16 {
        self.endpoint.addr.port()
    }

    /// How the origin at one address of the name is reached.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> OriginEndpoint {
        OriginEndpoint { addr: SocketAddr::new(ip, self.port()), ..self.endpoint.clone() }
    }
}

impl Config {
    /// The names that stand for origins.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        self.named.iter().map(|named| named.name.clone()).collect()
    }

    /// The same with the origins that its names stand for, in place of those that came of earlier addresses. Origins are in
    /// the order of the addresses.
    ///
    /// An address counts once per service, as in a configuration: one that is an origin of the service already is left out.
    /// Where nothing is left of a name its place is not known, as before it was resolved.
    #[must_use]
    pub fn resolve(&self, addresses: &Addresses) -> (Self, Vec<Concern>) {
        let mut new = self.clone();
        new.forget_resolved();
        let mut concerns = Vec::new();
        let literals = new.fleet.origins.iter().zip(&new.origins);
        let mut taken: HashMap<(ServiceId, SocketAddr), SiteId> =
            literals.map(|(origin, endpoint)| ((origin.service, endpoint.addr), origin.site)).collect();
        for named in &self.named {
            let known = addresses.get(&named.name).map_or(&[][..], Vec::as_slice);
            let mut is_known = false;
            for ip in known {
                let endpoint = named.at(*ip);
                match taken.get(&(named.service, endpoint.addr)) {
                    None => {}
                    Some(site) => {
                        let service = &self.fleet.service(named.service).name;
                        let site = &self.fleet.site(*site).name;
                        let message = format!(
                            "{} is an origin of `{service}` at `{site}` already, and is left out here",
                            endpoint.addr
                        );
                        concerns.push(Concern { name: named.name.clone(), message });
                        continue;
                    }
                }
                taken.insert((named.service, endpoint.addr), named.site);
                concerns.extend(plain_in_public(named, *ip));
                new.add(named, endpoint);
                is_known = true;
            }
            if !is_known {
                let unresolved = new.fleet.unresolved.entry((named.service, named.site)).or_default();
                unresolved.push(named.name.clone());
                unresolved.dedup();
            }
        }
        concerns.extend(new.too_few());
        (new, concerns)
    }

    /// As it was before names were resolved.
    fn forget_resolved(&mut self) {
        let literals = self.fleet.origins.iter().take_while(|origin| origin.resolved_from.is_none()).count();
        self.fleet.origins.truncate(literals);
        self.origins.truncate(literals);
        for service in &mut self.fleet.services {
            for ids in service.origins.values_mut() {
                ids.retain(|id| id.index() < literals);
            }
            service.origins.retain(|_, ids| !ids.is_empty());
        }
        self.fleet.unresolved.clear();
    }

    fn add(&mut self, named: &NamedOrigin, endpoint: OriginEndpoint) {
        let id = OriginId(u32::try_from(self.origins.len()).expect("bounded by ORIGINS_MAX"));
        let service = &mut self.fleet.services[named.service.index()];
        let site = &self.fleet.sites[named.site.index()].name;
        self.fleet.origins.push(Origin {
            name: format!("{}/{site}/{}", service.name, endpoint.addr).into(),
            service: named.service,
            site: named.site,
            host: named.host.clone(),
            resolved_from: Some(named.name.clone()),
            thresholds: named.thresholds,
        });
        service.origins.entry(named.site).or_default().push(id);
        self.origins.push(endpoint);
    }

    /// Names whose addresses are all known, and too few for the site ever to be fit.
    fn too_few(&self) -> Vec<Concern> {
        let concern = |named: &NamedOrigin| {
            let service = self.fleet.service(named.service);
            let count = service.origins_at(named.site).len();
            let is_known = !self.fleet.unresolved.contains_key(&(named.service, named.site));
            let is_concern = is_known && service.critical && count < service.min_up as usize;
            is_concern.then(|| Concern {
                name: named.name.clone(),
                message: format!(
                    "`min_up` of `{}` is {}, but with the addresses of the name the site `{}` has only {count}: it cannot \
                     be fit",
                    service.name,
                    service.min_up,
                    self.fleet.site(named.site).name
                ),
            })
        };
        self.named.iter().filter_map(concern).collect()
    }
}

/// What `check` says of an address that is written down can be said of this one only now.
fn plain_in_public(named: &NamedOrigin, ip: IpAddr) -> Option<Concern> {
    let is_plain = matches!(named.endpoint.scheme, Scheme::Http);
    (is_plain && is_public(ip)).then(|| Concern {
        name: named.name.clone(),
        message: format!("plain http to {ip}, a public address: anyone on the way can read and change it"),
    })
}
