//! Reading and judging a request head before anything else looks at it.
//!
//! Request smuggling lives where two parsers read one message differently. pingora's parser is lenient (it drops a
//! Content-Length beside a Transfer-Encoding, takes bare line feeds, escapes odd request lines), and origins may be
//! lenient in other ways. So the head is checked here, byte by byte and strictly, and what RFC 9112 does not allow is
//! answered with 400 and never forwarded. What passes can be read in one way only.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::Limits;
use crate::page::Refusal;

/// How the body of a request is framed (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What forwarding needs to know of a head, found in the one pass that checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes up to and including the empty line.
    pub(crate) len: usize,
    /// GET or HEAD.
    pub(crate) get_or_head: bool,
    /// The client knows chunks and interim answers.
    pub(crate) http11: bool,
    pub(crate) http2: bool,
    pub(crate) framing: Framing,
    /// A GET that asks to leave HTTP (`Connection: upgrade` with `Upgrade`) for something else than another HTTP.
    pub(crate) upgrade: bool,
    /// The path and query within an absolute-form target; `None` for the ordinary form.
    pub(crate) absolute: Option<Range<usize>>,
}

impl Facts {
    /// As logs name it.
    pub(crate) fn protocol(&self) -> &'static str {
        match (self.http2, self.http11) {
            (true, _) => "HTTP/2.0",
            (false, true) => "HTTP/1.1",
            (false, false) => "HTTP/1.0",
        }
    }

    /// Whether the request may be sent a second time (RFC 9110, section 9.2.1, and nothing to be replayed).
    pub(crate) fn is_safe(&self) -> bool {
        self.get_or_head && matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

/// Why there is no head to work on.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The client closed, failed or stayed idle before a first byte, or left in the middle: nobody to answer.
    Gone,
    /// Answer with this page and close.
    Refused(Refusal),
}

/// Reads until the head is complete, starting with what is in `buf`. The caller bounds the wait for the first byte;
/// the deadline here runs for the head as a whole.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    limits: &Limits,
) -> Result<Facts, NoHead> {
    match tokio::time::timeout(limits.header_deadline, read_undisturbed(stream, buf, limits)).await {
        Ok(result) => result,
        Err(_) => Err(NoHead::Refused(Refusal::HEAD_TIMEOUT)),
    }
}

async fn read_undisturbed(
    stream: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    limits: &Limits,
) -> Result<Facts, NoHead> {
    let mut scanned = 0;
    loop {
        if scanned == 0 {
            skip_empty_lines(buf);
        }
        // Half of an empty line must not be taken for the beginning of a request line.
        if buf[..] != b"\r"[..]
            && let Some(len) = find_end(buf, &mut scanned).map_err(NoHead::Refused)?
        {
            if len > limits.header_bytes_max {
                return Err(NoHead::Refused(Refusal::HEAD_TOO_LARGE));
            }
            return check(&buf[..len], limits.header_count_max).map_err(NoHead::Refused);
        }
        if buf.len() >= limits.header_bytes_max {
            return Err(NoHead::Refused(Refusal::HEAD_TOO_LARGE));
        }
        buf.reserve(4096);
        match stream.read_buf(buf).await {
            Ok(n) if n > 0 => {}
            _ => return Err(NoHead::Gone),
        }
    }
}

/// A client may send an empty line before a request (RFC 9112, section 2.2).
fn skip_empty_lines(buf: &mut BytesMut) {
    while buf.starts_with(b"\r\n") {
        buf.advance(2);
    }
}

/// The length of the head once its empty line is there. A line feed without its carriage return is refused as soon as
/// it is seen, so that it cannot keep a connection waiting for an end that never comes.
fn find_end(buf: &[u8], scanned: &mut usize) -> Result<Option<usize>, Refusal> {
    let mut from = *scanned;
    while let Some(offset) = buf[from..].iter().position(|&b| b == b'\n') {
        let at = from + offset;
        if at == 0 || buf[at - 1] != b'\r' {
            return Err(Refusal::BAD_REQUEST);
        }
        if at >= 3 && buf[at - 3..at] == *b"\r\n\r" {
            *scanned = at + 1;
            return Ok(Some(at + 1));
        }
        from = at + 1;
    }
    *scanned = buf.len();
    Ok(None)
}

/// Judges a complete head.
pub(crate) fn check(head: &[u8], header_count_max: usize) -> Result<Facts, Refusal> {
    let (line, mut rest) = split_line(head)?;
    let (mut facts, authority) = check_request_line(line)?;
    facts.len = head.len();
    let mut seen = Seen::default();
    let mut count = 0;
    loop {
        let (line, behind) = split_line(rest)?;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > header_count_max {
            return Err(Refusal::HEAD_TOO_LARGE);
        }
        let (name, value) = split_field(line)?;
        seen.note(name, value)?;
        rest = behind;
    }
    seen.judge(&mut facts, authority.map(|range| &head[range]), is_get(head))?;
    Ok(facts)
}

/// The first line without its end, and what is behind it.
fn split_line(head: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let feed = head.iter().position(|&b| b == b'\n').ok_or(Refusal::BAD_REQUEST)?;
    let line = head[..feed].strip_suffix(b"\r").ok_or(Refusal::BAD_REQUEST)?;
    Ok((line, &head[feed + 1..]))
}

fn is_get(head: &[u8]) -> bool {
    head.starts_with(b"GET ")
}

type RequestLine = (Facts, Option<Range<usize>>);

/// Method, target and version, each separated by exactly one space. The second value is the authority of an
/// absolute-form target.
fn check_request_line(line: &[u8]) -> Result<RequestLine, Refusal> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::BAD_REQUEST);
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Refusal::BAD_REQUEST);
    }
    let http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::VERSION);
        }
        _ => return Err(Refusal::BAD_REQUEST),
    };
    // A tunnel to anywhere is not offered, and an echo of the request would show headers meant for origins.
    if method == b"CONNECT" || method == b"TRACE" {
        return Err(Refusal::METHOD);
    }
    if target.is_empty() || !target.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#') {
        return Err(Refusal::BAD_REQUEST);
    }
    let mut facts = Facts {
        len: 0,
        get_or_head: method == b"GET" || method == b"HEAD",
        http11,
        http2: false,
        framing: Framing::None,
        upgrade: false,
        absolute: None,
    };
    if target[0] == b'/' || (target == b"*" && method == b"OPTIONS") {
        return Ok((facts, None));
    }
    let scheme = scheme_len(target).ok_or(Refusal::BAD_REQUEST)?;
    let start = method.len() + 1;
    let authority_len =
        target[scheme..].iter().position(|&b| b == b'/' || b == b'?').unwrap_or(target.len() - scheme);
    let authority = start + scheme..start + scheme + authority_len;
    facts.absolute = Some(authority.end..start + target.len());
    Ok((facts, Some(authority)))
}

/// The length of `http://` or `https://`.
fn scheme_len(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme))
        .map(<[u8]>::len)
}

/// Name and trimmed value. Refuses folded lines, spaces around the name and control characters.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let colon = line.iter().position(|&b| b == b':').ok_or(Refusal::BAD_REQUEST)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Refusal::BAD_REQUEST);
    }
    if value.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(Refusal::BAD_REQUEST);
    }
    // Only after the check: trimming takes control characters off as well.
    Ok((name, value.trim_ascii()))
}

/// RFC 9110, section 5.6.2.
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Options of a connection (RFC 9110, section 7.6.1): each names a field that is looked for.
const OPTIONS_MAX: usize = 64;

/// The fields that decide about framing, routing and upgrades.
#[derive(Default)]
struct Seen<'a> {
    options: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    coding: Option<&'a [u8]>,
    upgrade: bool,
    another_http: bool,
    connection_upgrade: bool,
}

impl<'a> Seen<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.replace(value).is_some() {
                return Err(Refusal::BAD_REQUEST);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // Even equal repetitions are refused (RFC 9110, section 8.6 allows both).
            if self.length.replace(length(value)?).is_some() {
                return Err(Refusal::BAD_REQUEST);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.coding.replace(value).is_some() {
                return Err(Refusal::BAD_REQUEST);
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
            self.another_http |= value.split(|&b| b == b',').any(is_another_http);
        } else if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|&b| b == b',') {
                self.options += 1;
                self.connection_upgrade |= option.trim_ascii().eq_ignore_ascii_case(b"upgrade");
            }
            if self.options > OPTIONS_MAX {
                return Err(Refusal::HEAD_TOO_LARGE);
            }
        } else if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::EXPECTATION);
        }
        Ok(())
    }

    fn judge(self, facts: &mut Facts, authority: Option<&[u8]>, get: bool) -> Result<(), Refusal> {
        if facts.http11 && self.host.is_none() {
            return Err(Refusal::BAD_REQUEST);
        }
        if self.host.is_some_and(|host| !host.iter().copied().all(is_authority_byte)) {
            return Err(Refusal::BAD_REQUEST);
        }
        if let Some(authority) = authority
            && !self.host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        {
            return Err(Refusal::BAD_REQUEST);
        }
        facts.framing = match (self.coding, self.length) {
            (Some(_), Some(_)) => return Err(Refusal::BAD_REQUEST),
            (Some(_), None) if !facts.http11 => return Err(Refusal::BAD_REQUEST),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            (Some(_), None) => return Err(Refusal::CODING),
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::None,
        };
        facts.upgrade = get
            && facts.http11
            && self.upgrade
            && !self.another_http
            && self.connection_upgrade
            && matches!(facts.framing, Framing::None | Framing::Length(0));
        Ok(())
    }
}

/// Protocols that carry requests again. In a tunnel they would reach the origin unseen: not checked, not marked with whom
/// they come from, and not bound to this host. RFC 9110, section 7.8, lets a server ignore any upgrade.
fn is_another_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|&b| b == b'/').next().unwrap_or_default().trim_ascii();
    [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Digits only: no sign, no list, nothing a size of 64 bits cannot hold.
pub(crate) fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BAD_REQUEST);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// What a host and port can consist of; no user information, no path.
pub(crate) fn is_authority_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&b)
}

#[cfg(test)]
mod tests;
