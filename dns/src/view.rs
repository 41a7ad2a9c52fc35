//! What is published: zones with their steered names and serials, immutable, built by the publisher, looked up by readers.
//!
//! A [`ZoneView`] holds the shared [`Zone`] and only the little that changes with a decision, so that publishing costs as
//! much as there are steered names, whatever the size of the zones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::encode::Encoded;
use crate::name::{self, Name};
use crate::rr::{RrSet, Rtype};
use crate::zone::{Node, SECONDS_MAX, Zone, soa_with_serial};

/// Upper bound in seconds of how long resolvers may believe that a steered name has no address of a family. The family may
/// come with the next decision.
pub const STEERED_NEGATIVE_TTL_MAX: u32 = 30;
/// Most addresses of one steered name.
pub const STEERED_ADDRESSES_MAX: usize = 64;

/// A name whose addresses follow a decision instead of the zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steered {
    /// Relative to the zone, `@` for its apex, or absolute with a final dot. May be a wildcard.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// What is answered for A and AAAA. Other types at the name come from the zone file.
    pub answer: SteeredAnswer,
}

/// See [`Steered::answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SteeredAnswer {
    /// The front doors of the active site, at least one. A family without an address is answered NODATA.
    Addresses(Vec<IpAddr>),
    /// There is no decision yet: SERVFAIL, so that resolvers ask the next server instead of believing a guess.
    Unavailable,
}

/// Why steered names can't be put onto a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("steered name `{name}`: {reason}")]
    BadName { name: String, reason: String },
    #[error("steered name {name} is outside the zone {zone}")]
    OutsideZone { name: String, zone: String },
    #[error("steered name {name} has a {rtype} record in the file of {zone}: remove one of them")]
    HasRecords { name: String, rtype: String, zone: String },
    #[error("steered name {name} is at or below the delegation of {cut}, where another server answers")]
    Delegated { name: String, cut: String },
    #[error("name {name} is steered twice")]
    Twice { name: String },
    #[error("steered name {name} has no address")]
    NoAddress { name: String },
    #[error("steered name {name} has {count} addresses, more than {STEERED_ADDRESSES_MAX}")]
    TooManyAddresses { name: String, count: usize },
    #[error("steered name {name}: a TTL of {ttl} s is more than {SECONDS_MAX} (RFC 2181 section 8)")]
    TtlTooLong { name: String, ttl: u32 },
}

/// One zone as published: its content, its serial, and the steered names of the current decisions, already encoded.
#[derive(Debug)]
pub struct ZoneView {
    zone: Arc<Zone>,
    serial: u32,
    soa: RrSet,
    /// Steered names, and as `None` the empty non-terminals that they create. Keyed by lower-case wire names.
    overlay: HashMap<Name, Option<SteeredNode>>,
}

#[derive(Debug)]
pub(crate) struct SteeredNode {
    pub(crate) a: Option<RrSet>,
    pub(crate) aaaa: Option<RrSet>,
    pub(crate) unavailable: bool,
    /// For A and AAAA; `None` for a wildcard, whose answers differ in length from name to name.
    encoded: Option<[Encoded; 2]>,
}

impl ZoneView {
    /// Puts `steered` onto `zone` under the given SOA serial. The serial of the file is not looked at: the caller keeps a
    /// durable one that grows with every change (RFC 1982).
    ///
    /// # Errors
    /// A steered name that is no name, is outside the zone, is given twice, has A, AAAA or CNAME records in the zone file, is
    /// at or below a delegation, or has no or too many addresses or too long a TTL.
    pub fn build(zone: Arc<Zone>, serial: u32, steered: &[Steered]) -> Result<Self, BuildError> {
        let soa = soa_with_serial(zone.soa(), serial);
        let mut view = Self { zone, serial, soa, overlay: HashMap::with_capacity(steered.len()) };
        for one in steered {
            let owner = view.owner(one)?;
            let node = steered_node(one, &owner)?;
            if let Some(Some(_)) = view.overlay.insert(name::lower(&owner), Some(node)) {
                return Err(BuildError::Twice { name: name::display(&owner) });
            }
        }
        view.add_empty_non_terminals();
        view.encode();
        Ok(view)
    }

    /// The zone under this view.
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// The SOA serial that is served.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    fn owner(&self, steered: &Steered) -> Result<Name, BuildError> {
        let origin = self.zone.origin_wire();
        let owner = name::parse(&steered.name, Some(origin))
            .map_err(|error| BuildError::BadName { name: steered.name.clone(), reason: error.to_string() })?;
        let key = name::lower(&owner);
        let name = name::display(&owner);
        let zone = self.zone.origin().to_owned();
        if !name::is_within(&key, origin) {
            return Err(BuildError::OutsideZone { name, zone });
        }
        let below_apex = name::suffixes(&key).take_while(|suffix| suffix.len() > origin.len());
        for suffix in below_apex {
            if self.zone.node(suffix).is_some_and(|node| node.set(Rtype::NS).is_some()) {
                return Err(BuildError::Delegated { name, cut: name::display(suffix) });
            }
        }
        let node = self.zone.node(&key);
        for rtype in [Rtype::A, Rtype::AAAA, Rtype::CNAME] {
            if node.is_some_and(|node| node.set(rtype).is_some()) {
                return Err(BuildError::HasRecords { name, rtype: rtype.to_string(), zone });
            }
        }
        Ok(owner)
    }

    fn add_empty_non_terminals(&mut self) {
        let apex_length = self.zone.origin_wire().len();
        let keys: Vec<Name> = self.overlay.keys().cloned().collect();
        for key in keys {
            for ancestor in name::suffixes(&key).skip(1).take_while(|name| name.len() > apex_length) {
                if self.zone.node(ancestor).is_none() && !self.overlay.contains_key(ancestor) {
                    self.overlay.insert(ancestor.into(), None);
                }
            }
        }
    }

    fn encode(&mut self) {
        let names: Vec<Name> = self
            .overlay
            .iter()
            .filter(|(name, node)| node.is_some() && !name::is_wildcard(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let encoded = [Rtype::A, Rtype::AAAA].map(|rtype| Encoded::new(self, &name, rtype));
            if let Some(Some(node)) = self.overlay.get_mut(&name) {
                node.encoded = Some(encoded);
            }
        }
    }

    /// The answer made at publish time, if there is one. `key` is a lower-case wire name.
    pub(crate) fn encoded(&self, key: &[u8], qtype: Rtype) -> Option<&Encoded> {
        let index = match qtype {
            Rtype::A => 0,
            Rtype::AAAA => 1,
            _ => return None,
        };
        let [a, aaaa] = self.overlay.get(key)?.as_ref()?.encoded.as_ref()?;
        Some(if index == 0 { a } else { aaaa })
    }

    /// Whatever is at a lower-case wire name; `None` if the name doesn't exist.
    pub(crate) fn at(&self, key: &[u8]) -> Option<Found<'_>> {
        let node = self.zone.node(key);
        let overlay = if self.overlay.is_empty() { None } else { self.overlay.get(key) };
        if node.is_none() && overlay.is_none() {
            return None;
        }
        let soa = (key == self.zone.origin_wire()).then_some(&self.soa);
        Some(Found { node, steered: overlay.and_then(Option::as_ref), soa })
    }

    pub(crate) fn soa(&self) -> &RrSet {
        &self.soa
    }

    pub(crate) fn negative_ttl(&self) -> u32 {
        self.zone.negative_ttl()
    }
}

fn steered_node(steered: &Steered, owner: &[u8]) -> Result<SteeredNode, BuildError> {
    let name = || name::display(owner);
    if steered.ttl > SECONDS_MAX {
        return Err(BuildError::TtlTooLong { name: name(), ttl: steered.ttl });
    }
    let addresses = match &steered.answer {
        SteeredAnswer::Unavailable => {
            return Ok(SteeredNode { a: None, aaaa: None, unavailable: true, encoded: None });
        }
        SteeredAnswer::Addresses(addresses) => addresses,
    };
    match addresses.len() {
        0 => return Err(BuildError::NoAddress { name: name() }),
        count if count > STEERED_ADDRESSES_MAX => {
            return Err(BuildError::TooManyAddresses { name: name(), count });
        }
        _ => {}
    }
    let set = |rtype| {
        let mut rdata: Vec<Box<[u8]>> = Vec::new();
        for address in addresses {
            let bytes: Box<[u8]> = match (rtype, address) {
                (Rtype::A, IpAddr::V4(address)) => Box::new(address.octets()),
                (Rtype::AAAA, IpAddr::V6(address)) => Box::new(address.octets()),
                _ => continue,
            };
            if !rdata.contains(&bytes) {
                rdata.push(bytes);
            }
        }
        (!rdata.is_empty()).then(|| RrSet { owner: owner.into(), rtype, ttl: steered.ttl, rdata })
    };
    Ok(SteeredNode { a: set(Rtype::A), aaaa: set(Rtype::AAAA), unavailable: false, encoded: None })
}

/// An existing name.
#[derive(Clone, Copy)]
pub(crate) struct Found<'v> {
    node: Option<&'v Node>,
    steered: Option<&'v SteeredNode>,
    soa: Option<&'v RrSet>,
}

impl<'v> Found<'v> {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&'v RrSet> {
        match (rtype, self.steered) {
            (Rtype::SOA, _) => self.soa,
            (Rtype::A, Some(steered)) => steered.a.as_ref(),
            (Rtype::AAAA, Some(steered)) => steered.aaaa.as_ref(),
            _ => self.node.and_then(|node| node.set(rtype)),
        }
    }

    /// One set of the name, for ANY: addresses if there are some, else the first of the file.
    pub(crate) fn any_set(&self) -> Option<&'v RrSet> {
        let first = || self.node.and_then(|node| node.sets().first());
        self.set(Rtype::A).or_else(|| self.set(Rtype::AAAA)).or(self.soa).or_else(first)
    }

    pub(crate) fn is_steered(&self) -> bool {
        self.steered.is_some()
    }

    /// Whether a question for `rtype` has to wait for a decision.
    pub(crate) fn is_unavailable(&self, rtype: Rtype) -> bool {
        self.steered.is_some_and(|steered| steered.unavailable)
            && matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::ANY)
    }
}

/// All zones, as one publication.
#[derive(Debug, Default)]
pub struct View {
    zones: HashMap<Name, Arc<ZoneView>>,
    /// Most labels of any zone's name: longer suffixes of a question need not be tried.
    labels_max: usize,
}

impl View {
    /// Of two views of the same zone the later one counts. Those that are shared may be in other publications, too.
    pub fn new(zones: Vec<impl Into<Arc<ZoneView>>>) -> Self {
        let zones: Vec<Arc<ZoneView>> = zones.into_iter().map(Into::into).collect();
        let labels_max =
            zones.iter().map(|view| name::label_count(view.zone.origin_wire())).max().unwrap_or(0);
        let zones = zones.into_iter().map(|view| (view.zone.origin_wire().into(), view)).collect();
        Self { zones, labels_max }
    }

    /// The zones in no particular order.
    pub fn zones(&self) -> impl Iterator<Item = &ZoneView> {
        self.zones.values().map(AsRef::as_ref)
    }

    /// The zone that answers for a lower-case wire name: the longest match, except that DS records of a zone's apex are
    /// its parent's (RFC 4035 section 3.1.4.1).
    pub(crate) fn find(&self, key: &[u8], qtype: Rtype) -> Option<&ZoneView> {
        let surplus = name::label_count(key).saturating_sub(self.labels_max);
        let mut matches =
            name::suffixes(key).skip(surplus).filter_map(|suffix| Some((suffix, &**self.zones.get(suffix)?)));
        let (suffix, longest) = matches.next()?;
        if qtype == Rtype::DS && suffix.len() == key.len() {
            return Some(matches.next().map_or(longest, |(_, parent)| parent));
        }
        Some(longest)
    }
}
