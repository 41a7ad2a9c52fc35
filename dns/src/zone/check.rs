//! Records to nodes, and what they must mean together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::parse::Record;
use super::{Findings, Node};
use crate::name::{self, Name};
use crate::rr::{RrSet, Rtype};

/// Most records of one set: more would not fit into one message anyway (RFC 1035 section 4.2.2).
const SET_RECORDS_MAX: usize = 2048;

/// The parts of a zone that records give.
pub(crate) struct Built {
    pub(crate) soa: RrSet,
    pub(crate) nodes: HashMap<Name, Node>,
    pub(crate) content_hash: u64,
}

/// Sorts records into sets. `None` without an SOA, which is then among the errors.
pub(crate) fn build(origin: &[u8], records: Vec<Record>, findings: &mut Findings<'_>) -> Option<Built> {
    let apex = name::lower(origin);
    let mut lines = HashMap::new();
    let mut nodes: HashMap<Name, Node> = HashMap::from([(apex.clone(), Node::default())]);
    for record in records {
        let key = name::lower(&record.owner);
        if !name::is_within(&key, &apex) {
            let (owner, zone) = (name::display(&record.owner), name::display(origin));
            findings.error(record.line, format!("{owner} is outside the zone {zone}"));
            continue;
        }
        if let Err(reason) = placement(&record, key == apex) {
            findings.error(record.line, reason);
            continue;
        }
        lines.entry((key.clone(), record.rtype)).or_insert(record.line);
        insert(nodes.entry(key).or_default(), record, findings);
    }
    add_empty_non_terminals(&apex, &mut nodes);
    check_nodes(&apex, &nodes, &lines, findings);
    let content_hash = hash(&apex, &nodes);
    let soa = nodes.get_mut(&apex).and_then(|node| {
        let at = node.sets.iter().position(|set| set.rtype == Rtype::SOA)?;
        Some(node.sets.remove(at))
    });
    if soa.is_none() {
        findings.error(0, format!("there is no SOA record at {}", name::display(origin)));
    }
    Some(Built { soa: soa?, nodes, content_hash })
}

/// What may not be where it is.
fn placement(record: &Record, at_apex: bool) -> Result<(), String> {
    let owner = || name::display(&record.owner);
    match record.rtype {
        Rtype::SOA if !at_apex => {
            Err(format!("an SOA record belongs at the zone's apex, not at {}", owner()))
        }
        Rtype::CNAME if at_apex => Err("the zone's apex can't be a CNAME: it has an SOA".into()),
        Rtype::NS if name::is_wildcard(&record.owner) => {
            Err(format!("{} can't be delegated: RFC 4592 section 4.2 leaves its meaning open", owner()))
        }
        Rtype::DS if at_apex => Err("DS records of a zone belong in its parent".into()),
        _ => Ok(()),
    }
}

fn insert(node: &mut Node, record: Record, findings: &mut Findings<'_>) {
    let Record { line, owner, rtype, ttl, rdata } = record;
    let Some(set) = node.sets.iter_mut().find(|set| set.rtype == rtype) else {
        node.sets.push(RrSet { owner, rtype, ttl, rdata: vec![rdata] });
        return;
    };
    if set.rdata.contains(&rdata) {
        findings.warning(line, &format!("this {rtype} record of {} is there twice", name::display(&owner)));
        return;
    }
    if matches!(rtype, Rtype::SOA | Rtype::CNAME) {
        findings.error(line, format!("{} has more than one {rtype} record", name::display(&owner)));
        return;
    }
    if set.rdata.len() == SET_RECORDS_MAX {
        findings.error(
            line,
            format!("{} has more than {SET_RECORDS_MAX} {rtype} records", name::display(&owner)),
        );
        return;
    }
    if set.ttl != ttl {
        set.ttl = set.ttl.min(ttl);
        let owner = name::display(&owner);
        findings.warning(
            line,
            &format!("the {rtype} records of {owner} differ in TTL; all get the smallest (RFC 2181)"),
        );
    }
    set.rdata.push(rdata);
}

/// Every name between a record and the apex exists, if only as an empty non-terminal (RFC 4592 section 2.2.2).
fn add_empty_non_terminals(apex: &[u8], nodes: &mut HashMap<Name, Node>) {
    let keys: Vec<Name> = nodes.keys().cloned().collect();
    for key in keys {
        for ancestor in name::suffixes(&key).skip(1).take_while(|ancestor| ancestor.len() > apex.len()) {
            match nodes.entry(ancestor.into()) {
                // Its own ancestors are added on its own account, or already were.
                Entry::Occupied(_) => break,
                Entry::Vacant(vacant) => vacant.insert(Node::default()),
            };
        }
    }
}

fn check_nodes(
    apex: &[u8],
    nodes: &HashMap<Name, Node>,
    lines: &HashMap<(Name, Rtype), usize>,
    findings: &mut Findings<'_>,
) {
    let line_of = |key: &[u8], rtype| lines.get(&(Box::from(key), rtype)).copied().unwrap_or(0);
    if nodes.get(apex).is_none_or(|node| node.set(Rtype::NS).is_none()) {
        findings.error(0, format!("there is no NS record at {}", name::display(apex)));
    }
    let mut keys: Vec<&Name> = nodes.keys().collect();
    keys.sort();
    for key in keys {
        let node = &nodes[key];
        let cut = cut_above(apex, key, nodes);
        if let Some(set) = node.sets.iter().find(|set| set.rtype != Rtype::CNAME)
            && node.set(Rtype::CNAME).is_some()
        {
            let line = line_of(key, Rtype::CNAME).max(line_of(key, set.rtype));
            let owner = name::display(key);
            findings.error(
                line,
                format!("{owner} has a CNAME record and also {} (RFC 1034 section 3.6.2)", set.rtype),
            );
        }
        for set in &node.sets {
            let line = line_of(key, set.rtype);
            if let Some(cut) = cut
                && !matches!(set.rtype, Rtype::A | Rtype::AAAA)
            {
                let (owner, cut) = (name::display(key), name::display(cut));
                findings.warning(
                    line,
                    &format!("{owner} {} is below the delegation of {cut} and never served", set.rtype),
                );
            }
            if set.rtype == Rtype::NS && **key != *apex {
                check_delegation(key, set, node, nodes, line, findings);
            }
            if matches!(set.rtype, Rtype::NS | Rtype::MX | Rtype::SRV) {
                warn_of_aliases(set, nodes, line, findings);
            }
        }
    }
}

/// A delegation answers for its name alone; in-bailiwick servers can only be found by glue.
fn check_delegation(
    key: &[u8],
    set: &RrSet,
    node: &Node,
    nodes: &HashMap<Name, Node>,
    line: usize,
    findings: &mut Findings<'_>,
) {
    let owner = name::display(key);
    for other in node
        .sets
        .iter()
        .filter(|other| !matches!(other.rtype, Rtype::NS | Rtype::DS | Rtype::A | Rtype::AAAA))
    {
        findings
            .warning(line, &format!("{owner} is delegated, so its {} record is never served", other.rtype));
    }
    for target in set.targets().filter(|target| name::is_within(target, key)) {
        let has_glue = nodes
            .get(&name::lower(target))
            .is_some_and(|node| node.set(Rtype::A).is_some() || node.set(Rtype::AAAA).is_some());
        if !has_glue {
            let target = name::display(target);
            findings.warning(
                line,
                &format!("{owner} is delegated to {target}, which has no address (glue) here"),
            );
        }
    }
}

/// RFC 2181 section 10.3: a name in NS or MX data must not be an alias.
fn warn_of_aliases(set: &RrSet, nodes: &HashMap<Name, Node>, line: usize, findings: &mut Findings<'_>) {
    for target in set.targets() {
        if nodes.get(&name::lower(target)).is_some_and(|node| node.set(Rtype::CNAME).is_some()) {
            let target = name::display(target);
            findings.warning(
                line,
                &format!("{} points to {target}, which is a CNAME (RFC 2181 section 10.3)", set.rtype),
            );
        }
    }
}

/// The delegated name strictly above `key`, if any.
fn cut_above<'a>(apex: &[u8], key: &'a [u8], nodes: &HashMap<Name, Node>) -> Option<&'a [u8]> {
    name::suffixes(key)
        .skip(1)
        .take_while(|name| name.len() > apex.len())
        .find(|name| nodes.get(*name).is_some_and(|node| node.set(Rtype::NS).is_some()))
}

/// FNV-1a, 64 bits: stable by definition, unlike std's hasher. It tells changes apart; it is no defence against forgery.
fn hash(apex: &[u8], nodes: &HashMap<Name, Node>) -> u64 {
    let mut records: Vec<(&Name, Rtype, u32, &[u8])> = Vec::new();
    for (key, node) in nodes {
        for set in &node.sets {
            records.extend(set.rdata.iter().map(|rdata| (key, set.rtype, set.ttl, &**rdata)));
        }
    }
    records.sort();
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(apex);
    for (key, rtype, ttl, rdata) in records {
        hash.write(key);
        hash.write(&rtype.0.to_be_bytes());
        hash.write(&ttl.to_be_bytes());
        hash.write(&(rdata.len() as u64).to_be_bytes());
        if rtype == Rtype::SOA && rdata.len() >= 20 {
            let serial_at = rdata.len() - 20;
            hash.write(&rdata[..serial_at]);
            hash.write(&rdata[serial_at + 4..]);
        } else {
            hash.write(rdata);
        }
    }
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
