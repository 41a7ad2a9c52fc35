//! Judging a request's head as HTTP/1.1's are judged, and giving it the shape of one.
//!
//! The `h2` crate has refused what cannot be a head at all (RFC 9113, section 8: pseudo-fields that are missing, doubled
//! or late, upper-case names, control characters, connection-specific fields). Here is judged what it lets pass, so
//! that an origin, also one that speaks HTTP/1.1, gets one well-formed request or none.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use pingora_http::RequestHeader;

use crate::head::{Facts, Framing, is_authority_byte, length};
use crate::page::Refusal;

/// Meant for one connection, which in HTTP/2 has other means (RFC 9113, section 8.2.2).
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request in the shape of HTTP/1.1, and what forwarding needs to know of it. `ends`: it has no body.
pub(super) fn check(
    parts: Parts,
    ends: bool,
    header_count_max: usize,
) -> Result<(RequestHeader, Facts), Refusal> {
    let Parts { method, uri, headers, .. } = parts;
    // Also CONNECT as RFC 8441 extends it: clients see in our settings that it is not spoken here.
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Refusal::METHOD);
    }
    if headers.len() > header_count_max {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Refusal::BAD_REQUEST);
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    check_path(&method, path)?;
    for (name, value) in &headers {
        check_field(name, value)?;
    }
    let host = host(uri.authority().map(http::uri::Authority::as_str), &headers)?;
    let facts = Facts {
        len: 0,
        get_or_head: method == Method::GET || method == Method::HEAD,
        http11: true,
        http2: true,
        framing: framing(&headers, ends)?,
        upgrade: false,
        absolute: None,
    };
    let head = build(method, path, host, headers).ok_or(Refusal::BAD_REQUEST)?;
    Ok((head, facts))
}

fn check_path(method: &Method, path: &str) -> Result<(), Refusal> {
    let known = path.starts_with('/') || (path == "*" && method == Method::OPTIONS);
    if known && path.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#') {
        Ok(())
    } else {
        Err(Refusal::BAD_REQUEST)
    }
}

fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
    let bytes = value.as_bytes();
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if CONNECTION_SPECIFIC.contains(name)
        || (name == header::TE && !bytes.eq_ignore_ascii_case(b"trailers"))
        || bytes.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f)
        // RFC 9113, section 8.2.1.
        || blank(bytes.first())
        || blank(bytes.last())
    {
        return Err(Refusal::BAD_REQUEST);
    }
    if name == header::EXPECT && !bytes.eq_ignore_ascii_case(b"100-continue") {
        return Err(Refusal::EXPECTATION);
    }
    Ok(())
}

/// The one host that `:authority` and `Host` name (RFC 9113, section 8.3.1).
fn host(authority: Option<&str>, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut given = headers.get_all(header::HOST).iter();
    let host = match (authority, given.next(), given.next()) {
        (Some(authority), None, None) => {
            HeaderValue::from_str(authority).map_err(|_| Refusal::BAD_REQUEST)?
        }
        (None, Some(host), None) => host.clone(),
        (Some(authority), Some(host), None) if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            host.clone()
        }
        _ => return Err(Refusal::BAD_REQUEST),
    };
    if host.is_empty() || !host.as_bytes().iter().copied().all(is_authority_byte) {
        return Err(Refusal::BAD_REQUEST);
    }
    Ok(host)
}

fn framing(headers: &HeaderMap, ends: bool) -> Result<Framing, Refusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) if ends => Ok(Framing::None),
        (None, _) => Ok(Framing::Chunked),
        (Some(value), None) => match length(value.as_bytes())? {
            declared if ends && declared > 0 => Err(Refusal::BAD_REQUEST),
            declared => Ok(Framing::Length(declared)),
        },
        (Some(_), Some(_)) => Err(Refusal::BAD_REQUEST),
    }
}

fn build(method: Method, path: &str, host: HeaderValue, mut headers: HeaderMap) -> Option<RequestHeader> {
    join_cookies(&mut headers);
    headers.insert(header::HOST, host);
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = method;
    parts.uri = path.parse().ok()?;
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    Some(parts.into())
}

/// Cookies may come in crumbs; what is not HTTP/2 takes them whole only (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Valid values with `; ` between them are a valid value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
