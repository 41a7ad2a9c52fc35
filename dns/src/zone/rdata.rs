//! Record data from text fields to wire form, one small rule per type.
//!
//! Every rule consumes all its fields: a surplus or missing one is an error with the field's name in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::lex::Token;
use super::{rdata_text, svcb};
use crate::name::{self, Name};
use crate::rr::Rtype;

/// The fields of one record's data, read from left to right.
pub(crate) struct Fields<'a> {
    tokens: std::slice::Iter<'a, Token<'a>>,
    origin: &'a [u8],
}

type Parsed<T> = Result<T, String>;

impl<'a> Fields<'a> {
    pub(crate) fn new(tokens: &'a [Token<'a>], origin: &'a [u8]) -> Self {
        Self { tokens: tokens.iter(), origin }
    }

    pub(crate) fn next(&mut self, what: &str) -> Parsed<Token<'a>> {
        self.tokens.next().copied().ok_or_else(|| format!("the {what} is missing"))
    }

    pub(crate) fn next_if_any(&mut self) -> Option<Token<'a>> {
        self.tokens.next().copied()
    }

    pub(crate) fn next_if_quoted(&mut self) -> Option<Token<'a>> {
        if self.tokens.as_slice().first().is_some_and(|token| token.quoted) {
            self.next_if_any()
        } else {
            None
        }
    }

    fn u8(&mut self, what: &str) -> Parsed<u8> {
        self.number(what, u64::from(u8::MAX)).map(|number| number as u8)
    }

    pub(crate) fn u16(&mut self, what: &str) -> Parsed<u16> {
        self.number(what, u64::from(u16::MAX)).map(|number| number as u16)
    }

    fn u32(&mut self, what: &str) -> Parsed<u32> {
        self.number(what, u64::from(u32::MAX)).map(|number| number as u32)
    }

    fn number(&mut self, what: &str, max: u64) -> Parsed<u64> {
        let text = self.next(what)?.text;
        let number =
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        number
            .filter(|number| *number <= max)
            .ok_or_else(|| format!("the {what} must be a number up to {max}, not `{text}`"))
    }

    fn seconds(&mut self, what: &str) -> Parsed<u32> {
        let text = self.next(what)?.text;
        rdata_text::seconds(text)
            .ok_or_else(|| format!("the {what} must be seconds or a time like 1h30m, not `{text}`"))
    }

    pub(crate) fn name(&mut self, what: &str) -> Parsed<Name> {
        let text = self.next(what)?.text;
        name::parse(text, Some(self.origin)).map_err(|error| format!("the {what} `{text}`: {error}"))
    }

    /// A length byte and up to 255 bytes (RFC 1035 section 3.3).
    fn string(&mut self, what: &str) -> Parsed<Vec<u8>> {
        let bytes = rdata_text::unescape(self.next(what)?.text)?;
        let length = u8::try_from(bytes.len()).map_err(|_| {
            format!(
                "the {what} is {} bytes long; a string may have 255, longer text is written as several",
                bytes.len()
            )
        })?;
        Ok([&[length], bytes.as_slice()].concat())
    }

    /// All fields left, joined: hexadecimal and base64 data may be split over several.
    fn joined(&mut self, what: &str) -> Parsed<String> {
        let text: String = self.tokens.by_ref().map(|token| token.text).collect();
        if text.is_empty() { Err(format!("the {what} is missing")) } else { Ok(text) }
    }

    fn hex(&mut self, what: &str) -> Parsed<Vec<u8>> {
        let text = self.joined(what)?;
        rdata_text::hex(&text).ok_or_else(|| format!("the {what} is not hexadecimal"))
    }

    fn base64(&mut self, what: &str) -> Parsed<Vec<u8>> {
        let text = self.joined(what)?;
        rdata_text::base64(&text).ok_or_else(|| format!("the {what} is not base64"))
    }

    fn end(&mut self) -> Parsed<()> {
        match self.tokens.next() {
            Some(token) => Err(format!("there is a field too many: `{}`", token.text)),
            None => Ok(()),
        }
    }
}

/// The wire form of record data given as text.
pub(crate) fn parse(rtype: Rtype, tokens: &[Token<'_>], origin: &[u8]) -> Parsed<Box<[u8]>> {
    let mut fields = Fields::new(tokens, origin);
    let generic = tokens.first().is_some_and(|token| token.text == "\\#" && !token.quoted);
    let wire = if generic { unknown(&mut fields)? } else { known(rtype, &mut fields)? };
    fields.end()?;
    if wire.len() > usize::from(u16::MAX) {
        return Err("the data is longer than 65535 bytes".into());
    }
    if generic {
        check_generic(rtype, &wire)?;
    }
    Ok(wire.into_boxed_slice())
}

fn known(rtype: Rtype, fields: &mut Fields<'_>) -> Parsed<Vec<u8>> {
    let mut wire = Vec::new();
    match rtype {
        Rtype::A => {
            let text = fields.next("address")?.text;
            let address: Ipv4Addr = text.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))?;
            wire.extend(address.octets());
        }
        Rtype::AAAA => {
            let text = fields.next("address")?.text;
            let address: Ipv6Addr = text.parse().map_err(|_| format!("`{text}` is not an IPv6 address"))?;
            wire.extend(address.octets());
        }
        Rtype::NS | Rtype::CNAME | Rtype::PTR => wire.extend(fields.name("target")?),
        Rtype::SOA => soa(fields, &mut wire)?,
        Rtype::MX | Rtype::AFSDB | Rtype::KX => {
            wire.extend(fields.u16("preference")?.to_be_bytes());
            wire.extend(fields.name("host")?);
        }
        Rtype::RP => {
            wire.extend(fields.name("mailbox")?);
            wire.extend(fields.name("text name")?);
        }
        Rtype::SRV => {
            for what in ["priority", "weight", "port"] {
                wire.extend(fields.u16(what)?.to_be_bytes());
            }
            wire.extend(fields.name("target")?);
        }
        Rtype::NAPTR => {
            wire.extend(fields.u16("order")?.to_be_bytes());
            wire.extend(fields.u16("preference")?.to_be_bytes());
            for what in ["flags", "services", "regular expression"] {
                wire.extend(fields.string(what)?);
            }
            wire.extend(fields.name("replacement")?);
        }
        Rtype::TXT | Rtype::SPF => {
            wire.extend(fields.string("text")?);
            while fields.tokens.len() > 0 {
                wire.extend(fields.string("text")?);
            }
        }
        Rtype::HINFO => {
            wire.extend(fields.string("cpu")?);
            wire.extend(fields.string("operating system")?);
        }
        Rtype::CAA => caa(fields, &mut wire)?,
        Rtype::URI => {
            wire.extend(fields.u16("priority")?.to_be_bytes());
            wire.extend(fields.u16("weight")?.to_be_bytes());
            wire.extend(rdata_text::unescape(fields.next("target")?.text)?);
        }
        Rtype::SSHFP => {
            wire.extend([fields.u8("algorithm")?, fields.u8("fingerprint type")?]);
            wire.extend(fields.hex("fingerprint")?);
        }
        Rtype::DS => {
            wire.extend(fields.u16("key tag")?.to_be_bytes());
            wire.extend([fields.u8("algorithm")?, fields.u8("digest type")?]);
            wire.extend(fields.hex("digest")?);
        }
        Rtype::TLSA | Rtype::SMIMEA => {
            wire.extend([fields.u8("usage")?, fields.u8("selector")?, fields.u8("matching type")?]);
            wire.extend(fields.hex("certificate data")?);
        }
        Rtype::CERT => {
            wire.extend(fields.u16("type")?.to_be_bytes());
            wire.extend(fields.u16("key tag")?.to_be_bytes());
            wire.extend([fields.u8("algorithm")?]);
            wire.extend(fields.base64("certificate")?);
        }
        Rtype::OPENPGPKEY => wire.extend(fields.base64("key")?),
        Rtype::SVCB | Rtype::HTTPS => svcb::parse(fields, &mut wire)?,
        other => {
            return Err(format!(
                "{other} has no text form here; write its data as `\\# length hex` (RFC 3597)"
            ));
        }
    }
    Ok(wire)
}

fn soa(fields: &mut Fields<'_>, wire: &mut Vec<u8>) -> Parsed<()> {
    wire.extend(fields.name("primary server")?);
    wire.extend(fields.name("mailbox")?);
    wire.extend(fields.u32("serial")?.to_be_bytes());
    for what in ["refresh", "retry", "expire", "minimum"] {
        wire.extend(fields.seconds(what)?.to_be_bytes());
    }
    Ok(())
}

/// RFC 8659 section 4.1.
fn caa(fields: &mut Fields<'_>, wire: &mut Vec<u8>) -> Parsed<()> {
    wire.push(fields.u8("flags")?);
    let tag = fields.next("tag")?.text;
    if tag.is_empty() || tag.len() > 255 || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("the tag must be letters and digits, not `{tag}`"));
    }
    wire.push(tag.len() as u8);
    wire.extend(tag.bytes());
    wire.extend(rdata_text::unescape(fields.next("value")?.text)?);
    Ok(())
}

/// `\# length hex` (RFC 3597 section 5).
fn unknown(fields: &mut Fields<'_>) -> Parsed<Vec<u8>> {
    fields.next("mark")?;
    let length = usize::from(fields.u16("length")?);
    let wire = if length == 0 { Vec::new() } else { fields.hex("data")? };
    if wire.len() == length {
        Ok(wire)
    } else {
        Err(format!("{} bytes are given, {length} were announced", wire.len()))
    }
}

/// Data given as bytes for a type whose names the server follows or compresses must have those names whole.
fn check_generic(rtype: Rtype, wire: &[u8]) -> Parsed<()> {
    let whole = match rtype {
        Rtype::A => wire.len() == 4,
        Rtype::AAAA => wire.len() == 16,
        Rtype::NS | Rtype::CNAME | Rtype::PTR => name_length(wire) == Some(wire.len()),
        Rtype::MX | Rtype::AFSDB | Rtype::KX => {
            wire.get(2..).is_some_and(|name| name_length(name) == Some(name.len()))
        }
        Rtype::SRV => wire.get(6..).is_some_and(|name| name_length(name) == Some(name.len())),
        Rtype::SOA => soa_is_whole(wire),
        _ => true,
    };
    if whole { Ok(()) } else { Err(format!("the bytes are no {rtype} data")) }
}

fn soa_is_whole(wire: &[u8]) -> bool {
    let tail = name_length(wire).and_then(|first| wire.get(first..));
    tail.and_then(|tail| name_length(tail).map(|second| tail.len() - second)) == Some(20)
}

/// Length of the uncompressed name at the start of `wire`.
pub(crate) fn name_length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        at += length + 1;
        if length > name::LABEL_BYTES_MAX || at > name::NAME_BYTES_MAX {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}
