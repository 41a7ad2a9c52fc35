//! A zone as its file says: immutable, checked, ready to be looked up. Built once per change of the file and shared by
//! every publication until the next change.

mod check;
mod lex;
mod parse;
mod rdata;
mod rdata_text;
mod svcb;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use crate::name::{self, Name};
use crate::rr::{RrSet, Rtype};

pub(crate) use rdata::name_length;
pub(crate) use rdata_text::SECONDS_MAX;

/// Most records of one zone, unless the caller says otherwise. Beyond it parsing stops with an error.
pub const RECORDS_MAX: usize = 1_000_000;
/// Most errors that are reported for one zone; parsing stops at the last.
pub const ERRORS_MAX: usize = 50;
/// Most warnings that are kept for one zone.
pub const WARNINGS_MAX: usize = 50;

/// A name of the zone with its record sets. An empty non-terminal (RFC 4592 section 2.2.2) is a node without sets.
#[derive(Debug, Default)]
pub(crate) struct Node {
    sets: Vec<RrSet>,
}

impl Node {
    pub(crate) fn set(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// In the order of the file.
    pub(crate) fn sets(&self) -> &[RrSet] {
        &self.sets
    }
}

/// An authoritative zone (class IN) from zone-file text.
pub struct Zone {
    origin: Name,
    origin_text: String,
    /// With the serial of the file; the apex node does not have it, so that this serial is never sent by mistake.
    soa: RrSet,
    nodes: HashMap<Name, Node>,
    content_hash: u64,
    warnings: Vec<String>,
}

impl Zone {
    /// Parses zone text (RFC 1035 section 5.1, `$ORIGIN`, `$TTL`, and `\#` of RFC 3597) and checks its meaning.
    /// `origin` is the zone's name, with or without the final dot; `file` is only used in messages.
    ///
    /// # Errors
    /// All that is wrong, up to [`ERRORS_MAX`], each with its line: syntax, data that does not fit its type, records outside
    /// the zone, not exactly one SOA or no NS at the apex, data beside a CNAME, types that can't be served yet (DNAME
    /// and signatures), `$INCLUDE` and `$GENERATE`, or more than [`RECORDS_MAX`] records.
    pub fn parse(origin: &str, text: &str, file: &str) -> Result<Self, ZoneErrors> {
        Self::parse_bounded(origin, text, file, RECORDS_MAX)
    }

    /// [`Zone::parse`] with another bound on the number of records.
    ///
    /// # Errors
    /// As [`Zone::parse`].
    pub fn parse_bounded(
        origin: &str,
        text: &str,
        file: &str,
        records_max: usize,
    ) -> Result<Self, ZoneErrors> {
        let fail = |reason: String| ZoneErrors(vec![ZoneError { file: file.to_owned(), line: 0, reason }]);
        let origin = name::parse(origin, Some(b"\0"))
            .map_err(|error| fail(format!("zone name `{origin}`: {error}")))?;
        let mut findings = Findings { file, errors: Vec::new(), warnings: Vec::new() };
        let records = parse::records(&origin, text, records_max, &mut findings);
        let built = check::build(&origin, records, &mut findings);
        match built {
            Some(built) if findings.errors.is_empty() => Ok(Self {
                origin_text: name::display(&origin),
                origin: name::lower(&origin),
                soa: built.soa,
                nodes: built.nodes,
                content_hash: built.content_hash,
                warnings: findings.warnings,
            }),
            _ => Err(ZoneErrors(findings.errors)),
        }
    }

    /// The zone's name with a final dot, in the case it was given in.
    pub fn origin(&self) -> &str {
        &self.origin_text
    }

    /// The SOA serial that the file gives.
    pub fn serial(&self) -> u32 {
        soa_field(&self.soa, 20)
    }

    /// A hash of everything the zone says except the SOA serial: equal for equal content whatever the order, comments or
    /// layout of the file, and stable over runs, machines and versions (FNV-1a over canonical records).
    pub fn content_hash(&self) -> u64 {
        self.content_hash
    }

    /// What is legal but probably not meant, each with file and line.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The names of the zone's name servers with their addresses, as far as this zone knows them.
    pub fn name_servers(&self) -> Vec<(String, Vec<IpAddr>)> {
        let servers = self.node(&self.origin).and_then(|apex| apex.set(Rtype::NS));
        let servers = servers.into_iter().flat_map(|set| &set.rdata);
        servers.map(|server| (name::display(server), self.addresses(server))).collect()
    }

    fn addresses(&self, name: &[u8]) -> Vec<IpAddr> {
        let sets = self.node(&name::lower(name)).map_or(&[][..], Node::sets);
        let data =
            sets.iter().filter(|set| matches!(set.rtype, Rtype::A | Rtype::AAAA)).flat_map(|set| &set.rdata);
        data.filter_map(|data| {
            let four = <[u8; 4]>::try_from(&data[..]).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(&data[..]).map(IpAddr::from)).ok()
        })
        .collect()
    }

    /// Lower-case wire form of the zone's name.
    pub(crate) fn origin_wire(&self) -> &[u8] {
        &self.origin
    }

    pub(crate) fn soa(&self) -> &RrSet {
        &self.soa
    }

    /// `key` is a lower-case wire name.
    pub(crate) fn node(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key)
    }

    /// TTL of a negative answer: the smaller of the SOA's own TTL and its minimum (RFC 2308 section 5).
    pub(crate) fn negative_ttl(&self) -> u32 {
        self.soa.ttl.min(soa_field(&self.soa, 4))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone").field("origin", &self.origin_text).field("names", &self.nodes.len()).finish()
    }
}

/// One of the five numbers at the end of SOA data, by its distance from the end. Zero if the data is too short, which
/// parsing rules out.
fn soa_field(soa: &RrSet, from_end: usize) -> u32 {
    let number = || {
        let rdata = soa.rdata.first()?;
        let at = rdata.len().checked_sub(from_end)?;
        Some(u32::from_be_bytes(rdata.get(at..at + 4)?.try_into().ok()?))
    };
    number().unwrap_or(0)
}

/// SOA data with another serial.
pub(crate) fn soa_with_serial(soa: &RrSet, serial: u32) -> RrSet {
    let mut soa = soa.clone();
    if let Some(rdata) = soa.rdata.first_mut() {
        let at = rdata.len().saturating_sub(20);
        if let Some(field) = rdata.get_mut(at..at + 4) {
            field.copy_from_slice(&serial.to_be_bytes());
        }
    }
    soa
}

/// Collects errors and warnings, bounded, while a zone is read.
pub(crate) struct Findings<'a> {
    file: &'a str,
    errors: Vec<ZoneError>,
    warnings: Vec<String>,
}

impl Findings<'_> {
    /// `line` 0 means the file as a whole.
    pub(crate) fn error(&mut self, line: usize, reason: impl Into<String>) {
        if !self.is_full() {
            self.errors.push(ZoneError { file: self.file.to_owned(), line, reason: reason.into() });
        }
    }

    pub(crate) fn warning(&mut self, line: usize, reason: &str) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(format!("{}:{line}: {reason}", self.file));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }
}

/// What is wrong at one place of a zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneError {
    /// As it was given to [`Zone::parse`].
    pub file: String,
    /// From 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// A sentence for a person.
    pub reason: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.reason),
            line => write!(f, "{}:{line}: {}", self.file, self.reason),
        }
    }
}

/// Everything that is wrong with a zone's text, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneErrors(pub Vec<ZoneError>);

impl fmt::Display for ZoneErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ZoneErrors {}
