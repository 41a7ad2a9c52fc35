//! The answer to a question: the algorithm of RFC 1034 section 4.3.2 with wildcards as RFC 4592 has them, on borrowed
//! record sets. Both our own loops and hickory's transports send what this returns.

use crate::name::{self, LowerName};
use crate::query::{Query, rcode};
use crate::rr::{RrSet, Rtype};
use crate::view::{Found, STEERED_NEGATIVE_TTL_MAX, View, ZoneView};

/// Most CNAMEs that are followed for one question.
const CHAIN_MAX: usize = 16;
/// Most names whose addresses are looked up for the additional section of one answer.
const TARGETS_MAX: usize = 32;

/// A record set under the owner and TTL it is sent with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Wire form: the question's own spelling where it is the question's name.
    pub(crate) owner: &'a [u8],
    pub(crate) ttl: u32,
    pub(crate) set: &'a RrSet,
}

impl<'a> Entry<'a> {
    fn of(set: &'a RrSet) -> Self {
        Self { owner: &set.owner, ttl: set.ttl, set }
    }
}

/// The sections of an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) rcode: u8,
    pub(crate) authoritative: bool,
    pub(crate) answers: Vec<Entry<'a>>,
    pub(crate) authority: Vec<Entry<'a>>,
    /// Those that must be sent first (see `required`), then those that may be left out.
    pub(crate) additional: Vec<Entry<'a>>,
    /// How many of `additional` must not be left out: glue without which the referral leads nowhere (RFC 9471).
    pub(crate) required: usize,
}

impl Answer<'_> {
    pub(crate) fn empty(rcode: u8) -> Self {
        Self { rcode, ..Self::default() }
    }
}

/// Answers `query` from `view`.
pub(crate) fn resolve<'a>(view: &'a View, query: &Query<'a>) -> Answer<'a> {
    match view.find(query.lower.as_slice(), query.qtype) {
        Some(zone) => resolve_in(zone, query.qname, query.qtype),
        None => Answer::empty(rcode::REFUSED),
    }
}

/// Answers from one zone, which `qname` must be in. CNAMEs are followed as long as they stay in the zone.
pub(crate) fn resolve_in<'a>(zone: &'a ZoneView, qname: &'a [u8], qtype: Rtype) -> Answer<'a> {
    let mut answer = Answer { authoritative: true, ..Answer::default() };
    let mut name = qname;
    for _ in 0..=CHAIN_MAX {
        let found = match place(zone, LowerName::new(name).as_slice(), qtype) {
            Place::Found(found) => found,
            Place::Delegated(servers) => {
                refer(zone, servers, &mut answer);
                return answer;
            }
            Place::Missing => {
                answer.rcode = rcode::NXDOMAIN;
                answer.authority.push(negative(zone, false));
                return answer;
            }
        };
        if found.is_unavailable(qtype) {
            return Answer::empty(rcode::SERVFAIL);
        }
        let alias = found.set(Rtype::CNAME).filter(|_| !matches!(qtype, Rtype::CNAME | Rtype::ANY));
        let Some((alias, target)) = alias.and_then(|set| Some((set, set.cname_target()?))) else {
            give(zone, found, name, qtype, &mut answer);
            return answer;
        };
        answer.answers.push(Entry { owner: name, ttl: alias.ttl, set: alias });
        let seen = answer.answers.iter().any(|entry| entry.owner.eq_ignore_ascii_case(target));
        if seen || !name::is_within(target, zone.zone().origin_wire()) {
            return answer;
        }
        name = target;
    }
    answer
}

/// What a zone has for a name.
enum Place<'v> {
    /// The name itself, or the wildcard that stands in for it.
    Found(Found<'v>),
    Delegated(&'v RrSet),
    Missing,
}

/// Walks from the apex down to `key`, so that a delegation on the way is met before anything below it, and the last name
/// met is the closest encloser.
fn place<'v>(zone: &'v ZoneView, key: &[u8], qtype: Rtype) -> Place<'v> {
    let apex_length = zone.zone().origin_wire().len();
    // A wire name of 255 bytes has at most 127 labels.
    let mut starts = [0_usize; 128];
    let mut depth = 0;
    for suffix in name::suffixes(key).take_while(|suffix| suffix.len() >= apex_length) {
        starts[depth % 128] = key.len() - suffix.len();
        depth += 1;
    }
    let mut encloser = None;
    for &start in starts[..depth.min(128)].iter().rev() {
        let Some(found) = zone.at(&key[start..]) else { break };
        let is_apex = key.len() - start == apex_length;
        if let Some(servers) = found.set(Rtype::NS).filter(|_| !is_apex && (start != 0 || qtype != Rtype::DS))
        {
            return Place::Delegated(servers);
        }
        if start == 0 {
            return Place::Found(found);
        }
        encloser = Some(start);
    }
    let wildcard = encloser.and_then(|start| zone.at(&name::wildcard_of(&key[start..])?));
    wildcard.map_or(Place::Missing, Place::Found)
}

/// The records of an existing name that is no alias for this question, or NODATA.
fn give<'a>(zone: &'a ZoneView, found: Found<'a>, owner: &'a [u8], qtype: Rtype, answer: &mut Answer<'a>) {
    // RFC 8482 section 4.1: one of the sets is enough for ANY, and is no use for amplification.
    let set = if qtype == Rtype::ANY { found.any_set() } else { found.set(qtype) };
    match set {
        Some(set) => {
            answer.answers.push(Entry { owner, ttl: set.ttl, set });
            add_hosts(zone, set, answer);
        }
        None => answer.authority.push(negative(zone, found.is_steered())),
    }
}

/// The SOA that says how long "no" may be believed (RFC 2308 section 3).
fn negative(zone: &ZoneView, steered: bool) -> Entry<'_> {
    let ttl = zone.negative_ttl();
    let ttl = if steered { ttl.min(STEERED_NEGATIVE_TTL_MAX) } else { ttl };
    Entry { ttl, ..Entry::of(zone.soa()) }
}

/// A referral. It is not authoritative, unless CNAMEs of this zone led to it (RFC 1034 section 4.3.1: AA is about the first
/// owner).
fn refer<'a>(zone: &'a ZoneView, servers: &'a RrSet, answer: &mut Answer<'a>) {
    answer.authoritative = !answer.answers.is_empty();
    answer.authority.push(Entry::of(servers));
    let apex = zone.zone().origin_wire();
    for in_domain in [true, false] {
        let hosts = servers.targets().take(TARGETS_MAX);
        let hosts = hosts.filter(|host| name::is_within(host, &servers.owner) == in_domain);
        // Glue is what the file has at the host's own name, on either side of the delegation.
        add_addresses(hosts, |key| name::is_within(key, apex).then(|| zone.at(key))?, answer);
        if in_domain {
            answer.required = answer.additional.len();
        }
    }
}

/// Addresses of the hosts that a set names, where this zone is the authority for them.
fn add_hosts<'a>(zone: &'a ZoneView, set: &'a RrSet, answer: &mut Answer<'a>) {
    let apex = zone.zone().origin_wire();
    let at = |key: &[u8]| match name::is_within(key, apex).then(|| place(zone, key, Rtype::A)) {
        Some(Place::Found(found)) => Some(found),
        _ => None,
    };
    add_addresses(set.targets().take(TARGETS_MAX), at, answer);
}

/// Adds each address set once: all IPv4 first, because one address of each host is worth more than two of the first few.
fn add_addresses<'a>(
    hosts: impl Iterator<Item = &'a [u8]>,
    at: impl Fn(&[u8]) -> Option<Found<'a>>,
    answer: &mut Answer<'a>,
) {
    let hosts = hosts.filter_map(|host| Some((host, at(LowerName::new(host).as_slice())?)));
    let hosts: Vec<(&[u8], Found<'_>)> = hosts.collect();
    for rtype in [Rtype::A, Rtype::AAAA] {
        for (owner, found) in &hosts {
            let Some(set) = found.set(rtype) else { continue };
            let mut sent = answer.answers.iter().chain(&answer.additional);
            if !sent.any(|entry| std::ptr::eq(entry.set, set) && entry.owner.eq_ignore_ascii_case(owner)) {
                answer.additional.push(Entry { owner, ttl: set.ttl, set });
            }
        }
    }
}
