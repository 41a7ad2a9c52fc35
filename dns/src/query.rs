//! A question as it arrives: bytes to a [`Query`], or to the refusal that they deserve.

use crate::name::{self, LowerName};
use crate::rr::Rtype;
use crate::zone::name_length;

/// Size of a message's header (RFC 1035 section 4.1.1).
pub(crate) const HEADER_BYTES: usize = 12;
pub(crate) const CLASS_IN: u16 = 1;

pub(crate) const FLAG_QR: u16 = 0x8000;
pub(crate) const FLAG_AA: u16 = 0x0400;
pub(crate) const FLAG_TC: u16 = 0x0200;
pub(crate) const FLAG_RD: u16 = 0x0100;
const OPCODE_MASK: u16 = 0x7800;

/// Response codes this crate uses (RFC 1035 section 4.1.1, RFC 6891 section 9).
pub(crate) mod rcode {
    pub(crate) const FORMERR: u8 = 1;
    pub(crate) const SERVFAIL: u8 = 2;
    pub(crate) const NXDOMAIN: u8 = 3;
    pub(crate) const NOTIMP: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    /// Its upper bits travel in the OPT record.
    pub(crate) const BADVERS: u8 = 16;
}

/// What an answer repeats of its question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo<'q> {
    pub(crate) id: u16,
    flags: u16,
    /// Name, type and class exactly as asked; empty if they could not be read.
    pub(crate) question: &'q [u8],
    pub(crate) edns: Option<Edns>,
}

impl Echo<'_> {
    /// QR set, opcode and RD copied, all else clear: RA because nothing is resolved for anyone, CD as RFC 4035 section
    /// 3.1.6 asks of an authoritative server.
    pub(crate) fn flags(&self) -> u16 {
        FLAG_QR | self.flags & (OPCODE_MASK | FLAG_RD)
    }

    pub(crate) fn recursion_desired(&self) -> bool {
        self.flags & FLAG_RD != 0
    }
}

/// The sender's OPT record (RFC 6891 section 6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// As sent, not clamped.
    pub(crate) udp_bytes_max: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
}

/// One well-formed question of class IN with opcode QUERY.
pub(crate) struct Query<'q> {
    pub(crate) echo: Echo<'q>,
    /// Wire form in the case it was asked in.
    pub(crate) qname: &'q [u8],
    pub(crate) lower: LowerName,
    pub(crate) qtype: Rtype,
}

/// Why there is no [`Query`].
pub(crate) enum Refusal<'q> {
    /// Too short, or itself a response: an answer could start a loop between two servers.
    Drop,
    Answer {
        echo: Echo<'q>,
        rcode: u8,
        /// Type asked for, where it could be read.
        qtype: Option<Rtype>,
    },
}

/// Reads a message.
pub(crate) fn parse(bytes: &[u8]) -> Result<Query<'_>, Refusal<'_>> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Refusal::Drop)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut echo = Echo { id: word(0), flags: word(2), question: &[], edns: None };
    if echo.flags & FLAG_QR != 0 {
        return Err(Refusal::Drop);
    }
    let question = (word(4) == 1).then(|| question(&bytes[HEADER_BYTES..])).flatten();
    let qtype = question.map(|question| question.qtype);
    if let Some(question) = question {
        echo.question = question.bytes;
    }
    if echo.flags & OPCODE_MASK != 0 {
        return Err(Refusal::Answer { echo, rcode: rcode::NOTIMP, qtype });
    }
    let Some(question) = question else {
        return Err(Refusal::Answer { echo, rcode: rcode::FORMERR, qtype });
    };
    let plain = usize::from(word(6)) + usize::from(word(8));
    let rest = &bytes[HEADER_BYTES + question.bytes.len()..];
    match edns(rest, plain, usize::from(word(10))) {
        Ok(edns) => echo.edns = edns,
        Err(Malformed) => return Err(Refusal::Answer { echo, rcode: rcode::FORMERR, qtype }),
    }
    if echo.edns.is_some_and(|edns| edns.version != 0) {
        return Err(Refusal::Answer { echo, rcode: rcode::BADVERS, qtype });
    }
    if question.class != CLASS_IN || matches!(question.qtype, Rtype::AXFR | Rtype::IXFR) {
        return Err(Refusal::Answer { echo, rcode: rcode::REFUSED, qtype });
    }
    let qname = question.name;
    Ok(Query { echo, qname, lower: LowerName::new(qname), qtype: question.qtype })
}

#[derive(Clone, Copy)]
struct Question<'q> {
    bytes: &'q [u8],
    name: &'q [u8],
    qtype: Rtype,
    class: u16,
}

/// A question's name can't be compressed: there is nothing before it to point to.
fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let length = name_length(bytes)?;
    let tail: &[u8; 4] = bytes.get(length..)?.first_chunk()?;
    Some(Question {
        bytes: &bytes[..length + 4],
        name: &bytes[..length],
        qtype: Rtype(u16::from_be_bytes([tail[0], tail[1]])),
        class: u16::from_be_bytes([tail[2], tail[3]]),
    })
}

struct Malformed;

/// Walks the records after the question, to find the OPT record and to see that the message is whole. `plain` records come
/// first, in which OPT has no place.
fn edns(mut rest: &[u8], plain: usize, additional: usize) -> Result<Option<Edns>, Malformed> {
    let mut found = None;
    for index in 0..plain + additional {
        // Each record takes at least eleven bytes, so the message's length bounds this loop whatever the counts say.
        let (record, after) = record(rest).ok_or(Malformed)?;
        rest = after;
        if record.rtype == Rtype::OPT {
            if index < plain || found.is_some() || !record.owner_is_root || !options_are_whole(record.rdata) {
                return Err(Malformed);
            }
            found = Some(Edns {
                udp_bytes_max: record.class,
                version: (record.ttl >> 16) as u8,
                dnssec_ok: record.ttl & 0x8000 != 0,
            });
        }
    }
    if rest.is_empty() { Ok(found) } else { Err(Malformed) }
}

struct Record<'q> {
    owner_is_root: bool,
    rtype: Rtype,
    class: u16,
    ttl: u32,
    rdata: &'q [u8],
}

fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let owner = skip_name(bytes)?;
    let fixed: &[u8; 10] = bytes.get(owner..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let rdata_at = owner + fixed.len();
    let record = Record {
        owner_is_root: owner == 1,
        rtype: Rtype(u16::from_be_bytes([fixed[0], fixed[1]])),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
        ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        rdata: bytes.get(rdata_at..rdata_at + length)?,
    };
    Some((record, &bytes[rdata_at + length..]))
}

/// Length of a name that may end in a compression pointer; the pointer is not followed, as nothing here needs the name.
fn skip_name(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=name::LABEL_BYTES_MAX => at += length + 1,
            0xc0.. => return (at + 2 <= bytes.len()).then_some(at + 2),
            _ => return None,
        }
        if at > name::NAME_BYTES_MAX {
            return None;
        }
    }
}

/// The options of an OPT record: code, length, data, one after the other (RFC 6891 section 6.1.2).
fn options_are_whole(mut rdata: &[u8]) -> bool {
    while let Some(head) = rdata.first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        match rdata.get(4 + length..) {
            Some(after) => rdata = after,
            None => return false,
        }
    }
    rdata.is_empty()
}
