//! What may follow a body (RFC 9110, section 6.5.1).

use http::HeaderMap;
use http::header::{self, HeaderName};

/// Fields that decide about framing, routing or who is asking have no business behind a body: whoever merges trailers
/// into the head would take them for what was checked there.
const NEVER: [HeaderName; 18] = [
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
    header::AUTHORIZATION,
    header::COOKIE,
    header::SET_COOKIE,
    header::CACHE_CONTROL,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];

/// The trailers as they travel on.
pub(super) fn passed_on(mut trailers: HeaderMap) -> HeaderMap {
    for name in &NEVER {
        trailers.remove(name);
    }
    trailers
}
