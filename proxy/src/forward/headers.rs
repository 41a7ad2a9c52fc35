//! What is added, kept and stripped on the way to an origin and back (RFC 9110, section 7.6).

use std::fmt::Write as _;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Request, https};
use crate::address::{self, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::head::Framing;
use crate::page::SPILLED_HEADER;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Meant for one connection only, whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Never stripped although a `Connection` field names them: a client could otherwise take from an origin what it relies
/// on (its framing, who is asking, for which host).
const NEVER_NAMED: [HeaderName; 14] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CACHE_CONTROL,
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::EXPECT,
    header::FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_REQUEST_ID,
];

/// The identity of a request in everybody's logs.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

const REQUEST_ID_MAX: usize = 128;

impl RequestId {
    /// The client's own, if it is a single short visible word; else a new one.
    pub(crate) fn of(head: &RequestHeader) -> Self {
        let mut given = head.headers.get_all(X_REQUEST_ID).iter();
        if let (Some(value), None) = (given.next(), given.next())
            && (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return Self(value.clone());
        }
        let mut text = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:032x}", fastrand::u128(..));
        Self(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("none")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }

    /// Shows it to the client.
    pub(crate) fn mark(&self, head: &mut ResponseHeader) -> Result<()> {
        head.insert_header(X_REQUEST_ID, self.0.clone())
    }
}

/// The request as it goes to an origin. With `upgrade`, the connection's own fields are set anew.
///
/// The case of names is not kept: clients that speak HTTP/2 give none either, and to carry it costs as much as all the
/// rest.
pub(crate) fn for_origin(
    from: &RequestHeader,
    request: &Request<'_>,
    upgrade: bool,
) -> Result<Box<RequestHeader>> {
    let facts = &request.client.facts;
    let mut parts = from.as_owned_parts();
    let headers = &mut parts.headers;
    parts.version = Version::HTTP_11;
    strip(&from.headers, |name| {
        headers.remove(name);
    });
    let believed = request.client.caller.believed;
    let is_false = |name: &HeaderName| address::is_lookalike(name) || (!believed && address::is_claim(name));
    for name in from.headers.keys().filter(|&name| is_false(name)) {
        headers.remove(name);
    }
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_static(""));
    }
    if facts.framing == Framing::Chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if !facts.http11 {
        headers.remove(header::EXPECT);
    }
    if upgrade && let Some(wanted) = from.headers.get(header::UPGRADE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, wanted.clone());
    }
    address::mark(headers, &request.client.caller);
    headers.insert(X_REQUEST_ID, request.begun.id.0.clone());
    let mut head = Box::new(RequestHeader::from(parts));
    if let Some(path) = &facts.absolute {
        head.set_raw_path(&origin_form(from.raw_path(), path.len()))?;
    }
    Ok(head)
}

/// Turns `http://host/path` into `/path`; `path_len` bytes at its end are the path and query.
fn origin_form(raw: &[u8], path_len: usize) -> Vec<u8> {
    let path = &raw[raw.len().saturating_sub(path_len)..];
    if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() }
}

/// Names everything that must not travel further.
fn strip(headers: &HeaderMap, mut remove: impl FnMut(&HeaderName)) {
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|&b| b == b',') {
            if let Ok(name) = HeaderName::from_bytes(token.trim_ascii())
                && !NEVER_NAMED.contains(&name)
            {
                remove(&name);
            }
        }
    }
    for name in headers.keys().filter(|&name| HOP_BY_HOP.contains(name)) {
        remove(name);
    }
}

/// An interim answer (100, 103) as it goes to the client.
pub(crate) fn interim(from: &ResponseHeader) -> Result<Box<ResponseHeader>> {
    let mut head = Box::new(from.clone());
    strip(&from.headers, |name| {
        head.remove_header(name);
    });
    head.remove_header(&header::CONTENT_LENGTH);
    head.set_version(Version::HTTP_11);
    Ok(head)
}

/// Whether the client would understand trailers.
pub(crate) fn wants_trailers(from: &RequestHeader) -> bool {
    from.headers.get_all(header::TE).iter().any(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

/// Whether the body can be taken out of its transfer coding. No other coding was offered (TE is never sent), and to pass
/// on a body whose coding has been stripped from the head would hand out garbage.
pub(crate) fn coding_is_known(head: &ResponseHeader) -> bool {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// A length that is said more than once, as one (RFC 9110, section 8.6): pingora has found all of them equal.
fn repeated_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = values.next()?.as_bytes();
    let single = values.next().is_none() && !first.contains(&b',');
    let length = first.split(|&b| b == b',').next()?.trim_ascii();
    if single { None } else { HeaderValue::from_bytes(length).ok() }
}

/// The answer as it goes to the client. Its framing is chosen anew: the origin's length if it gave one, chunks for a
/// client that knows them, and the end of the connection for one that does not.
pub(crate) fn for_client(
    from: &ResponseHeader,
    request: &Request<'_>,
    has_body: bool,
    spilled_to: Option<&str>,
) -> Result<Box<ResponseHeader>> {
    let mut head = Box::new(from.clone());
    strip(&from.headers, |name| {
        head.remove_header(name);
    });
    head.set_version(Version::HTTP_11);
    if from.status == StatusCode::NO_CONTENT {
        head.remove_header(&header::CONTENT_LENGTH);
    } else if let Some(length) = repeated_length(&from.headers) {
        head.insert_header(header::CONTENT_LENGTH, length)?;
    }
    let facts = &request.client.facts;
    if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) && facts.http11 && !facts.http2 {
        head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    request.begun.id.mark(&mut head)?;
    https::mark(&mut head, request.service, request.client)?;
    head.remove_header(SPILLED_HEADER);
    if let Some(site) = spilled_to.and_then(|site| HeaderValue::from_str(site).ok()) {
        head.insert_header(SPILLED_HEADER, site)?;
    }
    Ok(head)
}
