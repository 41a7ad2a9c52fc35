//! Answers to bytes: name compression, size limits, OPT; and the answers of steered names, encoded once at publish time.

use crate::answer::{self, Answer, Entry};
use crate::name;
use crate::query::{CLASS_IN, Echo, FLAG_AA, FLAG_TC, HEADER_BYTES, rcode};
use crate::rr::Rtype;
use crate::view::ZoneView;

/// Largest answer over UDP, and the size we say we accept: what crosses today's networks unfragmented (RFC 9715).
pub const UDP_BYTES_MAX: usize = 1232;
/// Largest answer over UDP to a question without EDNS (RFC 1035 section 2.3.4).
pub const UDP_BYTES_MAX_PLAIN: usize = 512;
/// Largest message over a stream (RFC 1035 section 4.2.2).
pub const STREAM_BYTES_MAX: usize = 65_535;

const OPT_BYTES: usize = 11;
/// Names that later ones can point to. Past them names are written in full, which is larger but right.
const POINTERS_MAX: usize = 64;
/// The largest offset a compression pointer can hold (RFC 1035 section 4.1.4).
const POINTER_OFFSET_MAX: usize = 0x3fff;

/// The largest answer that may be sent over UDP to this sender.
pub(crate) fn udp_limit(echo: &Echo<'_>) -> usize {
    echo.edns.map_or(UDP_BYTES_MAX_PLAIN, |edns| {
        usize::from(edns.udp_bytes_max).clamp(UDP_BYTES_MAX_PLAIN, UDP_BYTES_MAX)
    })
}

/// What became of an answer under its size limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// The sections were left out and TC is set (RFC 2181 section 9).
    pub(crate) truncated: bool,
    /// How many entries of the additional section were sent.
    pub(crate) additional: usize,
}

/// Writes the whole message into `out`, which is cleared first. It never exceeds `limit`, which is at least 512.
pub(crate) fn message(echo: &Echo<'_>, answer: &Answer<'_>, limit: usize, out: &mut Vec<u8>) -> Fit {
    let reserved = if echo.edns.is_some() { OPT_BYTES } else { 0 };
    let mut writer = Writer::new(out, echo.question, limit.saturating_sub(reserved));
    let written = writer.sections(answer);
    let (counts, fit) = match written {
        Some((counts, additional)) => (counts, Fit { truncated: false, additional }),
        None => {
            writer.reset(echo.question.len());
            ([0; 3], Fit { truncated: true, additional: 0 })
        }
    };
    finish(echo, answer.rcode, answer.authoritative, fit.truncated, counts, out);
    fit
}

/// Fills in the header and appends OPT.
fn finish(
    echo: &Echo<'_>,
    rcode: u8,
    authoritative: bool,
    truncated: bool,
    counts: [u16; 3],
    out: &mut Vec<u8>,
) {
    let mut flags = echo.flags() | u16::from(rcode & 0x0f);
    if authoritative {
        flags |= FLAG_AA;
    }
    if truncated {
        flags |= FLAG_TC;
    }
    let [answers, authority, additional] = counts;
    let questions = u16::from(!echo.question.is_empty());
    let additional = additional + u16::from(echo.edns.is_some());
    for (index, word) in [echo.id, flags, questions, answers, authority, additional].into_iter().enumerate() {
        out[index * 2..index * 2 + 2].copy_from_slice(&word.to_be_bytes());
    }
    if let Some(edns) = echo.edns {
        // Root owner, type, our size as class, then as TTL: upper bits of the code, version 0, DO as it was sent.
        out.push(0);
        out.extend(Rtype::OPT.0.to_be_bytes());
        out.extend((UDP_BYTES_MAX as u16).to_be_bytes());
        out.extend([rcode >> 4, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
        out.extend(0_u16.to_be_bytes());
    }
}

/// An answer of a steered name, all but header, question and OPT. Its pointers lead into the question, whose length is that
/// of the steered name, so the bytes hold for whatever case it is asked in.
#[derive(Debug)]
pub(crate) struct Encoded {
    rcode: u8,
    authoritative: bool,
    counts: [u16; 3],
    body: Box<[u8]>,
}

impl Encoded {
    /// Encodes what `view` answers for `owner`, a lower-case wire name.
    pub(crate) fn new(view: &ZoneView, owner: &[u8], rtype: Rtype) -> Self {
        let answer = answer::resolve_in(view, owner, rtype);
        let question = [owner, &rtype.0.to_be_bytes(), &CLASS_IN.to_be_bytes()].concat();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, &question, STREAM_BYTES_MAX);
        // The bound on addresses keeps a steered answer far below the limit.
        let (rcode, counts) = match writer.sections(&answer) {
            Some((counts, _)) => (answer.rcode, counts),
            None => {
                writer.reset(question.len());
                (rcode::SERVFAIL, [0; 3])
            }
        };
        let body = out.split_off(HEADER_BYTES + question.len()).into_boxed_slice();
        Self { rcode, authoritative: answer.authoritative, counts, body }
    }

    /// Response code, for counting.
    pub(crate) fn rcode(&self) -> u8 {
        self.rcode
    }

    /// Writes the whole message into `out`, which is cleared first.
    pub(crate) fn patch(&self, echo: &Echo<'_>, limit: usize, out: &mut Vec<u8>) -> Fit {
        let reserved = if echo.edns.is_some() { OPT_BYTES } else { 0 };
        let truncated = HEADER_BYTES + echo.question.len() + self.body.len() + reserved > limit;
        out.clear();
        out.extend([0; HEADER_BYTES]);
        out.extend_from_slice(echo.question);
        let counts = if truncated {
            [0; 3]
        } else {
            out.extend_from_slice(&self.body);
            self.counts
        };
        finish(echo, self.rcode, self.authoritative, truncated, counts, out);
        Fit { truncated, additional: usize::from(counts[2]) }
    }
}

/// Writes records behind a question, within a limit.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    limit: usize,
    /// Where labels start that later names can point to.
    pointers: [u16; POINTERS_MAX],
    pointers_used: usize,
}

impl<'o> Writer<'o> {
    /// Starts a message: room for the header, then the question.
    fn new(out: &'o mut Vec<u8>, question: &[u8], limit: usize) -> Self {
        out.clear();
        out.extend([0; HEADER_BYTES]);
        out.extend_from_slice(question);
        let mut writer = Self { out, limit, pointers: [0; POINTERS_MAX], pointers_used: 0 };
        if let Some(qname) = question.len().checked_sub(4).map(|length| &question[..length]) {
            for suffix in name::suffixes(qname).filter(|suffix| suffix.len() > 1) {
                writer.remember(HEADER_BYTES + qname.len() - suffix.len());
            }
        }
        writer
    }

    /// Back to header and question.
    fn reset(&mut self, question_length: usize) {
        self.out.truncate(HEADER_BYTES + question_length);
    }

    /// All sections: their record counts and how many additional entries fitted. `None` if something that must be sent
    /// doesn't fit.
    fn sections(&mut self, answer: &Answer<'_>) -> Option<([u16; 3], usize)> {
        let mut counts = [0; 3];
        for (section, entries) in [&answer.answers, &answer.authority].into_iter().enumerate() {
            for entry in entries {
                counts[section] += self.entry(entry)?;
            }
        }
        for (index, entry) in answer.additional.iter().enumerate() {
            match self.entry(entry) {
                Some(count) => counts[2] += count,
                None if index < answer.required => return None,
                None => return Some((counts, index)),
            }
        }
        Some((counts, answer.additional.len()))
    }

    /// A whole set, or nothing of it.
    fn entry(&mut self, entry: &Entry<'_>) -> Option<u16> {
        let (start, pointers_used) = (self.out.len(), self.pointers_used);
        for rdata in &entry.set.rdata {
            self.record(entry, rdata);
            if self.out.len() > self.limit {
                self.out.truncate(start);
                self.pointers_used = pointers_used;
                return None;
            }
        }
        u16::try_from(entry.set.rdata.len()).ok()
    }

    fn record(&mut self, entry: &Entry<'_>, rdata: &[u8]) {
        self.name(entry.owner);
        self.out.extend(entry.set.rtype.0.to_be_bytes());
        self.out.extend(CLASS_IN.to_be_bytes());
        self.out.extend(entry.ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend([0; 2]);
        self.rdata(entry.set.rtype, rdata);
        // Compression only shortens data, which is at most 65535 bytes.
        let length = (self.out.len() - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Names are compressed in the types of RFC 1035 alone (RFC 3597 section 4).
    fn rdata(&mut self, rtype: Rtype, rdata: &[u8]) {
        match rtype {
            Rtype::NS | Rtype::CNAME | Rtype::PTR => self.name(rdata),
            Rtype::MX if rdata.len() > 2 => {
                self.out.extend_from_slice(&rdata[..2]);
                self.name(&rdata[2..]);
            }
            Rtype::SOA => match crate::zone::name_length(rdata).map(|first| rdata.split_at(first)) {
                Some((first, tail)) if tail.len() > 20 => {
                    self.name(first);
                    let (second, numbers) = tail.split_at(tail.len() - 20);
                    self.name(second);
                    self.out.extend_from_slice(numbers);
                }
                _ => self.out.extend_from_slice(rdata),
            },
            _ => self.out.extend_from_slice(rdata),
        }
    }

    /// Writes a name, its longest known suffix as a pointer.
    fn name(&mut self, wire: &[u8]) {
        for suffix in name::suffixes(wire) {
            if suffix.len() == 1 {
                break;
            }
            let known = self.pointers[..self.pointers_used].iter().copied();
            if let Some(offset) = known.into_iter().find(|offset| self.is_at(usize::from(*offset), suffix)) {
                self.out.extend((0xc000 | offset).to_be_bytes());
                return;
            }
            self.remember(self.out.len());
            self.out.extend_from_slice(&suffix[..=usize::from(suffix[0])]);
        }
        self.out.push(0);
    }

    fn remember(&mut self, offset: usize) {
        if self.pointers_used < POINTERS_MAX && offset <= POINTER_OFFSET_MAX {
            self.pointers[self.pointers_used] = offset as u16;
            self.pointers_used += 1;
        }
    }

    /// Whether the name written at `offset` is `wire`, whatever the case.
    fn is_at(&self, mut offset: usize, wire: &[u8]) -> bool {
        let mut rest = wire;
        while let Some(&length) = rest.first() {
            // Pointers lead backwards only, and are followed at most once per label of `wire`.
            while let Some([high, low]) = self.out.get(offset..).and_then(<[u8]>::first_chunk)
                && *high >= 0xc0
            {
                offset = usize::from(u16::from_be_bytes([*high & 0x3f, *low]));
            }
            let label = usize::from(length) + 1;
            let (Some(written), Some(wanted)) = (self.out.get(offset..offset + label), rest.get(..label))
            else {
                return false;
            };
            if !written.eq_ignore_ascii_case(wanted) {
                return false;
            }
            offset += label;
            rest = &rest[label..];
        }
        true
    }
}
