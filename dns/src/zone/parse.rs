//! Entries of a zone file to records: directives, owners, TTLs, classes, types.

use super::Findings;
use super::lex::{Entry, Lexer, Token};
use super::rdata;
use super::rdata_text::{self, SECONDS_MAX};
use crate::name::{self, Name};
use crate::rr::Rtype;

/// A record as written, with the line it starts at.
pub(crate) struct Record {
    pub(crate) line: usize,
    pub(crate) owner: Name,
    pub(crate) rtype: Rtype,
    pub(crate) ttl: u32,
    pub(crate) rdata: Box<[u8]>,
}

/// What later lines inherit from earlier ones.
struct Context {
    origin: Name,
    owner: Option<Name>,
    /// From `$TTL` (RFC 2308 section 4).
    ttl_default: Option<u32>,
    /// From the last record that named one (RFC 1035 section 5.1).
    ttl_last: Option<u32>,
}

/// All records of the text; what is wrong goes to `findings`.
pub(crate) fn records(
    zone: &[u8],
    text: &str,
    records_max: usize,
    findings: &mut Findings<'_>,
) -> Vec<Record> {
    let mut context = Context { origin: zone.into(), owner: None, ttl_default: None, ttl_last: None };
    let mut records = Vec::new();
    for entry in Lexer::new(text) {
        let (line, result) = match &entry {
            Ok(entry) => (entry.line, context.entry(entry)),
            Err(error) => (error.line, Err(error.reason.to_owned())),
        };
        match result {
            Ok(None) => {}
            Ok(Some(_)) if records.len() >= records_max => {
                findings.error(line, format!("the zone has more than {records_max} records"));
                break;
            }
            Ok(Some(record)) => records.push(record),
            Err(reason) => findings.error(line, reason),
        }
        if findings.is_full() {
            break;
        }
    }
    records
}

impl Context {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<Option<Record>, String> {
        match entry.tokens.as_slice() {
            [first, rest @ ..] if !entry.indented && !first.quoted && first.text.starts_with('$') => {
                self.directive(first.text, rest).map(|()| None)
            }
            tokens => self.record(entry, tokens).map(Some),
        }
    }

    fn directive(&mut self, word: &str, arguments: &[Token<'_>]) -> Result<(), String> {
        match (word.to_ascii_uppercase().as_str(), arguments) {
            ("$ORIGIN", [origin]) => {
                self.origin = name::parse(origin.text, Some(&self.origin))
                    .map_err(|error| format!("$ORIGIN `{}`: {error}", origin.text))?;
                Ok(())
            }
            ("$TTL", [ttl]) => {
                self.ttl_default = Some(parse_ttl(ttl.text)?);
                Ok(())
            }
            ("$ORIGIN" | "$TTL", _) => Err(format!("{word} takes exactly one value")),
            ("$INCLUDE" | "$GENERATE", _) => {
                Err(format!("{word} is not supported: write its records into this file"))
            }
            _ => Err(format!("unknown directive `{word}`")),
        }
    }

    fn record(&mut self, entry: &Entry<'_>, tokens: &[Token<'_>]) -> Result<Record, String> {
        let mut rest = tokens;
        if !entry.indented
            && let [owner, tail @ ..] = tokens
        {
            // The last owner is forgotten first, so that after an error indented lines are not taken for another name's.
            self.owner = None;
            let parsed = name::parse(owner.text, Some(&self.origin));
            self.owner = Some(parsed.map_err(|error| format!("the owner `{}`: {error}", owner.text))?);
            rest = tail;
        }
        let owner =
            self.owner.clone().ok_or("an indented record needs a record with a (valid) owner before it")?;
        let (ttl, rtype, fields) = ttl_and_type(rest)?;
        refuse_unservable(rtype)?;
        let rdata =
            rdata::parse(rtype, fields, &self.origin).map_err(|reason| format!("{rtype}: {reason}"))?;
        if ttl.is_some() {
            self.ttl_last = ttl;
        }
        let soa_minimum =
            || rdata.last_chunk().map(|bytes| u32::from_be_bytes(*bytes)).filter(|_| rtype == Rtype::SOA);
        let ttl = ttl.or(self.ttl_default).or(self.ttl_last).or_else(soa_minimum);
        let ttl = ttl.ok_or("no TTL: write one, or $TTL above")?;
        if rtype == Rtype::SOA && self.ttl_last.is_none() {
            self.ttl_last = Some(ttl);
        }
        Ok(Record { line: entry.line, owner, rtype, ttl, rdata })
    }
}

/// `[ttl] [class] type` or `[class] [ttl] type`, then the data.
fn ttl_and_type<'a, 'b>(
    mut tokens: &'a [Token<'b>],
) -> Result<(Option<u32>, Rtype, &'a [Token<'b>]), String> {
    let mut ttl = None;
    let mut class_seen = false;
    while let [token, rest @ ..] = tokens {
        tokens = rest;
        let text = token.text;
        if text.starts_with(|first: char| first.is_ascii_digit()) && ttl.is_none() {
            ttl = Some(parse_ttl(text)?);
        } else if !class_seen && (text.eq_ignore_ascii_case("IN") || text.eq_ignore_ascii_case("CLASS1")) {
            class_seen = true;
        } else if ["CH", "HS", "CS"].iter().any(|class| text.eq_ignore_ascii_case(class)) {
            return Err(format!("class {text} is not served, only IN"));
        } else if let Some(rtype) = Rtype::parse(text) {
            return Ok((ttl, rtype, rest));
        } else {
            return Err(format!("`{text}` is neither a TTL, a class nor a record type"));
        }
    }
    Err("the record type is missing".into())
}

fn parse_ttl(text: &str) -> Result<u32, String> {
    rdata_text::seconds(text)
        .ok_or_else(|| format!("`{text}` is no TTL: seconds up to {SECONDS_MAX}, or a time like 1h30m"))
}

/// Types that would be served wrongly if they were accepted.
fn refuse_unservable(rtype: Rtype) -> Result<(), String> {
    match rtype {
        Rtype::DNAME => Err("DNAME is not supported yet".into()),
        Rtype::RRSIG
        | Rtype::NSEC
        | Rtype::NSEC3
        | Rtype::NSEC3PARAM
        | Rtype::DNSKEY
        | Rtype::SIG
        | Rtype::KEY
        | Rtype::ZONEMD => Err(format!("{rtype}: signed zone files are not supported yet")),
        rtype if rtype.is_meta() => Err(format!("{rtype} can't be in a zone")),
        _ => Ok(()),
    }
}
