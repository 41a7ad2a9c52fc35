//! What to probe and how often, checked once.
//!
//! A spec that exists can be run: all that could be refused by a header, a URI, a TLS name or the clock has been
//! refused by a constructor, so that a running probe has nothing to panic about.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
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

/// A set of status codes: sorted ranges that neither overlap nor touch. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusSet(Arc<[(u16, u16)]>);

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

/// Why a text is not a set of status codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusSetError {
    #[error("the set is empty")]
    Empty,
    #[error("more than {STATUS_RANGES_MAX} ranges")]
    TooMany,
    #[error("not a status or a range of statuses from 100 to 599: {0:?}")]
    Range(String),
}

/// Longest text that may be looked for in a body.
const BODY_TEXT_MAX: usize = 1024;
const PATH_BYTES_MAX: usize = 4096;
const STATUS_RANGES_MAX: usize = 64;
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

impl StatusSet {
    /// # Errors
    /// When there is no range, too many, or one that is not within 100 to 599.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Result<Self, StatusSetError> {
        let mut sorted = Vec::new();
        for range in ranges {
            let (from, to) = range.into_inner();
            if !(100..=to).contains(&from) || to > 599 {
                return Err(StatusSetError::Range(format!("{from}-{to}")));
            }
            if sorted.len() == STATUS_RANGES_MAX {
                return Err(StatusSetError::TooMany);
            }
            sorted.push((from, to));
        }
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match merged.last_mut() {
                Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        if merged.is_empty() {
            return Err(StatusSetError::Empty);
        }
        Ok(Self(merged.into()))
    }

    /// 200 to 299.
    #[must_use]
    pub fn success() -> Self {
        Self(Arc::new([(200, 299)]))
    }

    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(from, to)| (from..=to).contains(&status))
    }
}

/// Statuses and ranges between commas: `200-299, 304`.
impl FromStr for StatusSet {
    type Err = StatusSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(StatusSetError::Empty);
        }
        let mut ranges = Vec::new();
        for part in text.split(',') {
            if ranges.len() == STATUS_RANGES_MAX {
                return Err(StatusSetError::TooMany);
            }
            let part = part.trim();
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = status(from).zip(status(to)).filter(|(from, to)| from <= to);
            let (from, to) = range.ok_or_else(|| StatusSetError::Range(part.to_owned()))?;
            ranges.push(from..=to);
        }
        Self::new(ranges)
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if from == to { write!(f, "{comma}{from}")? } else { write!(f, "{comma}{from}-{to}")? }
        }
        Ok(())
    }
}

fn status(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tls::Verify;

    #[test]
    fn status_sets_are_read_sorted_and_merged() {
        for (text, shown) in [
            ("200-299", "200-299"),
            ("204", "204"),
            (" 304 , 200 - 204,205", "200-205,304"),
            ("200,200-210,205-299,404", "200-299,404"),
            ("100-599", "100-599"),
        ] {
            let set: StatusSet = text.parse().unwrap();
            assert_eq!(set.to_string(), shown);
            assert_eq!(shown.parse(), Ok(set));
        }
        assert_eq!("200-299".parse(), Ok(StatusSet::success()));
    }

    #[test]
    fn status_sets_that_mean_nothing_are_refused() {
        for text in ["", " ", ",", "2xx", "299-200", "99", "600", "+20", "200-", "-200", "200--299", "0200"] {
            assert!(text.parse::<StatusSet>().is_err(), "{text:?}");
        }
        assert_eq!(StatusSet::new([]), Err(StatusSetError::Empty));
        assert!(StatusSet::new([200..=u16::MAX]).is_err());
        let ranges = |count| vec!["200"; count].join(",").parse::<StatusSet>();
        assert!(ranges(64).is_ok());
        assert_eq!(ranges(65), Err(StatusSetError::TooMany));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_ranges_hold(ranges in vec((100_u16..600, 0_u16..40), 1..20)) {
            let ranges: Vec<_> = ranges.into_iter().map(|(from, more)| from..=(from + more).min(599)).collect();
            let set = StatusSet::new(ranges.clone()).unwrap();
            for status in 0..=700 {
                prop_assert_eq!(set.contains(status), ranges.iter().any(|range| range.contains(&status)));
            }
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }

        #[test]
        fn no_text_is_too_much(status in "[0-9, -]{0,40}", text in any::<String>()) {
            drop(status.parse::<StatusSet>());
            drop(text.parse::<StatusSet>());
            drop(HttpCheck::new(&format!("/{text}"), &text, StatusSet::success()));
            drop(TlsCheck::new(&text, Verify::Off));
        }
    }

    #[test]
    fn membership_is_exact_at_the_edges() {
        let set: StatusSet = "200-299,404".parse().unwrap();
        for (status, contained) in [(199, false), (200, true), (299, true), (300, false), (404, true)] {
            assert_eq!(set.contains(status), contained, "{status}");
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
