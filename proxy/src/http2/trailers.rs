//! What may follow a body (RFC 9110, section 6.5.1).

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::address;

/// Fields that decide about framing, routing or who is asking have no business behind a body: whoever merges trailers
/// into the head would take them for what was checked there.
const NEVER: [HeaderName; 20] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
    header::EXPECT,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("x-request-id"),
];

/// The trailers as they travel on.
pub(super) fn passed_on(trailers: HeaderMap) -> HeaderMap {
    let refused =
        |name: &HeaderName| NEVER.contains(name) || address::is_claim(name) || address::is_lookalike(name);
    if !trailers.keys().any(refused) {
        return trailers;
    }
    let mut passed = HeaderMap::with_capacity(trailers.len());
    for name in trailers.keys().filter(|name| !refused(name)) {
        for value in trailers.get_all(name) {
            passed.append(name, value.clone());
        }
    }
    passed
}
