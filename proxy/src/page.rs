//! The proxy's own answers: small, never cached, with the reason in a header that a person or a log can read.

use bytes::Bytes;
use pingora_http::ResponseHeader;

/// Says on the proxy's own pages why there is no other answer.
pub const REASON_HEADER: &str = "x-tidegate-reason";

/// Names the site that answered in place of the active one.
pub const SPILLED_HEADER: &str = "x-tidegate-spilled";

/// An answer of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    text: &'static str,
}

const fn refusal(status: u16, reason: &'static str, text: &'static str) -> Refusal {
    Refusal { status, reason, text }
}

impl Refusal {
    pub(crate) const HTTPS: Self = refusal(308, "https", "This is served over HTTPS.");
    pub(crate) const BAD_REQUEST: Self = refusal(400, "bad-request", "The request is malformed.");
    pub(crate) const PLAIN_HTTP: Self =
        refusal(400, "plain-http", "This is an HTTPS port, and the request came as plain HTTP.");
    pub(crate) const UNKNOWN_HOST: Self = refusal(404, "unknown-host", "This host is not served here.");
    pub(crate) const METHOD: Self = refusal(405, "method-not-allowed", "This method is not allowed here.");
    pub(crate) const HEAD_TIMEOUT: Self =
        refusal(408, "head-timeout", "The request took too long to arrive.");
    pub(crate) const BODY_TIMEOUT: Self =
        refusal(408, "body-timeout", "The request took too long to arrive.");
    pub(crate) const BODY_TOO_LARGE: Self = refusal(413, "body-too-large", "The request is too large.");
    pub(crate) const EXPECTATION: Self = refusal(417, "expectation-failed", "The expectation cannot be met.");
    pub(crate) const TOO_MANY_FROM_ADDRESS: Self =
        refusal(429, "too-many-connections", "This address has too many connections open.");
    pub(crate) const HEAD_TOO_LARGE: Self = refusal(431, "head-too-large", "The request head is too large.");
    pub(crate) const CODING: Self = refusal(501, "unknown-coding", "The transfer coding is not known.");
    pub(crate) const VERSION: Self = refusal(505, "http-version", "This version of HTTP is not spoken here.");
    pub(crate) const CONNECT_FAILED: Self =
        refusal(502, "connect-failed", "The server could not be reached.");
    pub(crate) const RESET: Self = refusal(502, "reset", "The server closed the connection.");
    pub(crate) const BAD_RESPONSE: Self = refusal(502, "bad-response", "The server's answer makes no sense.");
    pub(crate) const NO_HTTP2: Self = refusal(502, "no-http2", "The server does not speak HTTP/2.");
    pub(crate) const NO_UPGRADE: Self =
        refusal(501, "no-upgrade", "The server takes no upgraded connections.");
    pub(crate) const NO_ORIGIN: Self = refusal(503, "no-origin", "No server is available.");
    pub(crate) const TOO_MANY_CONNECTIONS: Self =
        refusal(503, "too-many-connections", "Too many connections are open.");
    pub(crate) const UNDECIDED: Self =
        refusal(503, "undecided", "It is not decided yet where this service runs.");
    pub(crate) const SILENT: Self = refusal(504, "silent", "The server did not answer in time.");

    fn title(self) -> &'static str {
        http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error")
    }

    /// The page's body.
    pub(crate) fn body(self) -> String {
        let (status, title, text) = (self.status, self.title(), self.text);
        format!(
            "<!doctype html>\n<html lang=\"en\"><title>{status} {title}</title>\n<h1>{status} {title}</h1>\n<p>{text}</p></html>\n"
        )
    }

    fn fields(self, length: usize) -> impl Iterator<Item = (&'static str, String)> {
        let retry_after = (self.status == 503).then(|| ("retry-after", "1".to_owned()));
        [
            ("content-type", "text/html; charset=utf-8".to_owned()),
            ("content-length", length.to_string()),
            ("cache-control", "no-store".to_owned()),
            (REASON_HEADER, self.reason.to_owned()),
        ]
        .into_iter()
        .chain(retry_after)
    }

    /// The page's head for a session.
    pub(crate) fn head(self, length: usize) -> pingora_core::Result<Box<ResponseHeader>> {
        let mut head = ResponseHeader::build_no_case(self.status, Some(8))?;
        for (name, value) in self.fields(length) {
            head.insert_header(name, value)?;
        }
        Ok(Box::new(head))
    }

    /// The whole answer as bytes, for a request that never became one. Closes the connection.
    pub(crate) fn raw(self) -> Bytes {
        let body = self.body();
        let mut answer = format!("HTTP/1.1 {} {}\r\n", self.status, self.title());
        for (name, value) in self.fields(body.len()) {
            answer.push_str(name);
            answer.push_str(": ");
            answer.push_str(&value);
            answer.push_str("\r\n");
        }
        answer.push_str("connection: close\r\n\r\n");
        answer.push_str(&body);
        answer.into()
    }
}
