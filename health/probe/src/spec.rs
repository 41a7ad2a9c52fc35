//! What to probe and how often, checked once.
//!
//! A spec that exists can be run: all that could be refused by a header, a URI, a TLS name or the clock has been
//! refused by a constructor, so that a running probe has nothing to panic about.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderValue, Uri};
use tidegate_health::id::OriginId;

use crate::certificate::CertificateCheck;
use crate::dns::DnsCheck;
use crate::grpc::GrpcCheck;
use crate::plugin::CommandCheck;
use crate::push;
use crate::statuses::StatusSet;
use crate::tls::TlsCheck;

/// One origin and how to ask it. Two specs that are equal are the same check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    pub(crate) origin: OriginId,
    pub(crate) target: Arc<Target>,
}

/// A check without the identity of its origin, which changes with every renumbering.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) timing: Timing,
}

/// When to ask, and how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From start to start.
    pub interval: Duration,
    /// The same at [`Pace::Fast`](crate::Pace::Fast).
    pub fast_interval: Duration,
    /// For the whole probe: connect, handshake, request, head and body.
    pub timeout: Duration,
}

/// What counts as a pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A GET over HTTP/1.1 that is answered as wanted. Redirects are not followed.
    Http(HttpCheck),
    /// A connection that is accepted.
    Tcp,
    /// A TLS handshake, and a certificate that lasts.
    Tls(CertificateCheck),
    /// gRPC's health checking protocol.
    Grpc(GrpcCheck),
    /// A question that is answered as wanted.
    Dns(DnsCheck),
    /// A program's exit code.
    Command(CommandCheck),
    /// Nothing: somebody reports, and the interval is the longest silence.
    Push,
}

/// A GET and the answer that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    pub(crate) target: Uri,
    pub(crate) host: HeaderValue,
    pub(crate) statuses: StatusSet,
    pub(crate) body: Option<Arc<str>>,
    pub(crate) tls: Option<TlsCheck>,
    pub(crate) http2: bool,
}

/// Why a check cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the path must begin with '/' and hold only what a request line may: {0:?}")]
    Path(String),
    #[error("not a host name, address or host:port: {0:?}")]
    Host(String),
    #[error("neither a DNS name nor an IP address: {0:?}")]
    Sni(String),
    #[error("a gRPC service has a name of at most 256 bytes, without control characters: {0:?}")]
    GrpcService(String),
    #[error("not a name and a type that can be asked for: {0:?}")]
    DnsQuestion(String),
    #[error("the wanted text must have 1 to {BODY_TEXT_MAX} bytes, this one has {0}")]
    Body(usize),
    #[error("{name} must lie between 1 ms and one day, this is {value:?}")]
    Timing { name: &'static str, value: Duration },
}

/// Longest text that may be looked for in a body.
const BODY_TEXT_MAX: usize = 1024;
const PATH_BYTES_MAX: usize = 4096;
const DURATION_MIN: Duration = Duration::from_millis(1);
const DURATION_MAX: Duration = Duration::from_secs(86_400);

impl ProbeSpec {
    /// # Errors
    /// When a duration is zero or absurd.
    pub fn new(origin: OriginId, addr: SocketAddr, kind: Kind, timing: Timing) -> Result<Self, SpecError> {
        let Timing { interval, fast_interval, timeout } = timing;
        for (name, value) in [("interval", interval), ("fast_interval", fast_interval), ("timeout", timeout)]
        {
            if !(DURATION_MIN..=DURATION_MAX).contains(&value) {
                return Err(SpecError::Timing { name, value });
            }
        }
        Ok(Self { origin, target: Arc::new(Target { addr, kind, timing }) })
    }

    /// An origin that somebody reports about. Silence fails after `dead_man`.
    ///
    /// # Errors
    /// When the duration is zero or absurd.
    pub fn pushed(origin: OriginId, addr: SocketAddr, dead_man: Duration) -> Result<Self, SpecError> {
        Self::new(origin, addr, Kind::Push, push::timing(dead_man))
    }

    /// Whether a pass of one means a pass of the other: the same address and the same check, however often it is made.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.target.addr == other.target.addr && self.target.kind == other.target.kind
    }

    /// A digest of the address, the check and its timing, with the certificates it trusts; the same for equal ones
    /// within one process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.target.hash(&mut hasher);
        hasher.finish()
    }

    #[must_use]
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.target.addr
    }

    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.target.kind
    }

    #[must_use]
    pub fn timing(&self) -> Timing {
        self.target.timing
    }
}

impl Kind {
    /// TLS of the check, if any.
    pub(crate) fn tls(&self) -> Option<&TlsCheck> {
        match self {
            Self::Http(check) => check.tls.as_ref(),
            Self::Grpc(check) => check.tls.as_ref(),
            Self::Tls(check) => Some(&check.tls),
            Self::Tcp | Self::Dns(_) | Self::Command(_) | Self::Push => None,
        }
    }
}

impl HttpCheck {
    /// A GET of `path` (with a query, if any) with `host` as the Host header, that passes with one of `statuses`.
    ///
    /// # Errors
    /// When `path` or `host` could not be sent.
    pub fn new(path: &str, host: &str, statuses: StatusSet) -> Result<Self, SpecError> {
        // A fragment never leaves a client: http would drop it without a word.
        let sendable = path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains('#');
        let target = sendable.then(|| path.parse::<PathAndQuery>().ok()).flatten();
        let target = target.ok_or_else(|| SpecError::Path(path.to_owned()))?;
        let wrong = || SpecError::Host(host.to_owned());
        let authority: Authority = host.parse().map_err(|_| wrong())?;
        if authority.host().is_empty() || host.contains('@') {
            return Err(wrong());
        }
        let host = HeaderValue::from_str(host).map_err(|_| wrong())?;
        Ok(Self { target: target.into(), host, statuses, body: None, tls: None, http2: false })
    }

    /// Passes only if `text` occurs within the first [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX) bytes of the body.
    ///
    /// # Errors
    /// When `text` is empty or longer than 1 KiB.
    pub fn with_body(mut self, text: &str) -> Result<Self, SpecError> {
        if text.is_empty() || text.len() > BODY_TEXT_MAX {
            return Err(SpecError::Body(text.len()));
        }
        self.body = Some(text.into());
        Ok(self)
    }

    /// Over HTTP/2: agreed on by ALPN where there is TLS, with prior knowledge (RFC 9113, section 3.3) where there is none.
    #[must_use]
    pub fn with_http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Over TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsCheck) -> Self {
        self.tls = Some(tls);
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::Verify;

    proptest! {
        #[test]
        fn no_text_is_too_much(text in any::<String>()) {
            drop(HttpCheck::new(&format!("/{text}"), &text, StatusSet::success()));
            drop(TlsCheck::new(&text, Verify::Off));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_beforehand() {
        let check = |path, host| HttpCheck::new(path, host, StatusSet::success()).map(|_| ());
        for path in ["", "health", "http://a/", "/a b", "/a\r\nx: y", "/a#b", "*", "/\0"] {
            assert_eq!(check(path, "a"), Err(SpecError::Path(path.to_owned())), "{path:?}");
        }
        for host in ["", "a b", "a\r\nx: y", "user@a", "a/b", ":80", "ä"] {
            assert_eq!(check("/", host), Err(SpecError::Host(host.to_owned())), "{host:?}");
        }
        for host in ["a", "app.example.com:8443", "192.0.2.1", "[2001:db8::1]:80"] {
            assert_eq!(check("/a?b=c&d=%20", host), Ok(()), "{host:?}");
        }
        let check = HttpCheck::new("/", "a", StatusSet::success()).unwrap();
        assert!(check.clone().with_body(&"x".repeat(1024)).is_ok());
        assert_eq!(check.clone().with_body(&"x".repeat(1025)), Err(SpecError::Body(1025)));
        assert_eq!(check.with_body(""), Err(SpecError::Body(0)));
    }

    #[test]
    fn durations_are_within_reason() {
        let second = Duration::from_secs(1);
        let spec = |interval, fast_interval, timeout| {
            let timing = Timing { interval, fast_interval, timeout };
            ProbeSpec::new(OriginId(0), ([127, 0, 0, 1], 1).into(), Kind::Tcp, timing).map(|_| ())
        };
        assert_eq!(spec(second, second, second), Ok(()));
        assert_eq!(spec(DURATION_MAX, DURATION_MIN, second), Ok(()));
        let zero = Duration::ZERO;
        for (refused, name) in [
            (spec(zero, second, second), "interval"),
            (spec(second, zero, second), "fast_interval"),
            (spec(second, second, zero), "timeout"),
        ] {
            assert_eq!(refused, Err(SpecError::Timing { name, value: zero }));
        }
        assert!(spec(Duration::MAX, second, second).is_err());
    }
}
