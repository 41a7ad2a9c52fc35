//! Getting clients to HTTPS, and keeping them there.

use http::header::{HeaderValue, STRICT_TRANSPORT_SECURITY};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Client, host};
use crate::view::{ServiceView, normal_host};

/// Whether a request came as plain HTTP to a service that is served over HTTPS.
pub(super) fn is_due(service: &ServiceView, client: &Client) -> bool {
    service.settings.redirect_https && !client.caller.secure
}

/// Where such a request is sent. The method and the body are kept by a 308 (RFC 9110, section 15.4.9). `None`: it names
/// no host, and without one the path would be taken for it.
pub(super) fn location(client: &Client, head: &RequestHeader) -> Option<HeaderValue> {
    let host = normal_host(host(head));
    if host.is_empty() {
        return None;
    }
    let raw = head.raw_path();
    let path = match &client.facts.absolute {
        Some(path) => &raw[raw.len().saturating_sub(path.len())..],
        None => raw,
    };
    // `*` asks about the server as a whole; an absolute form may have a query and no path.
    let path = if path == b"*" { b"/" } else { path };
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    HeaderValue::from_bytes(&[b"https://", host.as_bytes(), slash, path].concat()).ok()
}

/// Says that the host is to be asked over HTTPS only, where the answer goes out over HTTPS (RFC 6797, section 7.2) and
/// the origin says nothing itself.
pub(super) fn mark(head: &mut ResponseHeader, service: &ServiceView, client: &Client) -> Result<()> {
    match &service.settings.hsts {
        Some(hsts) if client.caller.secure && !head.headers.contains_key(STRICT_TRANSPORT_SECURITY) => {
            head.insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())
        }
        _ => Ok(()),
    }
}
