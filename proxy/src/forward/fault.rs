//! How a try can fail, and what that means for whom.

use crate::observe::SignalKind;
use crate::page::Refusal;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: refused, unreachable, or its TLS handshake failed.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// The proxy itself ran out of something (descriptors, ports); not the origin's fault.
    Local,
    /// The connection died.
    Reset,
    /// No answer in time.
    Silent,
    /// An answer that is not HTTP, or that switches protocols unasked.
    BadResponse,
    /// The origin took the connection but not the request, and says that nothing of it was processed.
    TurnedAway,
    /// The origin was to speak HTTP/2 and did not agree to (ALPN).
    NoHttp2,
    /// The origin speaks HTTP/2, where a connection cannot leave HTTP.
    NoUpgrade,
    /// The client left while its request was being sent, or while the answer was awaited.
    Client,
    /// The client stopped sending its request's body.
    SlowClient,
    /// The client's chunks make no sense.
    BadBody,
    /// The client sent more than a body may have.
    LargeBody,
    /// The client's target has no form in HTTP/2.
    BadTarget,
}

impl Fault {
    pub(crate) fn signal(self) -> Option<SignalKind> {
        match self {
            Self::Refused | Self::NoHttp2 => Some(SignalKind::Refused),
            Self::ConnectTimeout => Some(SignalKind::ConnectTimeout),
            Self::Reset | Self::BadResponse => Some(SignalKind::Reset),
            Self::Silent => Some(SignalKind::Silent),
            Self::Local
            | Self::TurnedAway
            | Self::NoUpgrade
            | Self::Client
            | Self::SlowClient
            | Self::BadBody
            | Self::LargeBody
            | Self::BadTarget => None,
        }
    }

    /// The word used in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Local => "local",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::BadResponse => "bad-response",
            Self::TurnedAway => "turned-away",
            Self::NoHttp2 => "no-http2",
            Self::NoUpgrade => "no-upgrade",
            Self::Client => "client-gone",
            Self::SlowClient => "body-timeout",
            Self::BadBody => "bad-body",
            Self::LargeBody => "body-too-large",
            Self::BadTarget => "bad-target",
        }
    }

    /// Whether the client is to blame: no other origin can help.
    pub(crate) fn is_clients(self) -> bool {
        matches!(self, Self::Client | Self::SlowClient | Self::BadBody | Self::LargeBody | Self::BadTarget)
    }

    pub(crate) fn page(self) -> Refusal {
        match self {
            Self::Refused | Self::ConnectTimeout | Self::Local | Self::TurnedAway => Refusal::CONNECT_FAILED,
            Self::NoHttp2 => Refusal::NO_HTTP2,
            Self::NoUpgrade => Refusal::NO_UPGRADE,
            Self::Reset => Refusal::RESET,
            Self::Silent => Refusal::SILENT,
            Self::BadResponse => Refusal::BAD_RESPONSE,
            Self::SlowClient => Refusal::BODY_TIMEOUT,
            Self::LargeBody => Refusal::BODY_TOO_LARGE,
            Self::Client | Self::BadBody | Self::BadTarget => Refusal::BAD_REQUEST,
        }
    }
}

/// A failed try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// Some of the request may have reached the origin.
    pub(crate) sent: bool,
    /// Some of an answer was received.
    pub(crate) answered: bool,
    /// The connection had carried another request before.
    pub(crate) reused: bool,
}

impl Failed {
    pub(crate) fn unsent(fault: Fault) -> Self {
        Self { fault, sent: false, answered: false, reused: false }
    }
}
