//! What can be counted, with bounded labels: nothing a stranger sends can make a new time series.

use crate::rr::{MNEMONICS, Rtype};

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 1035 section 4.2.1; the only one whose answers may be truncated.
    Udp,
    /// RFC 7766.
    Tcp,
    /// DNS over TLS, RFC 7858.
    Tls,
    /// DNS over HTTPS, RFC 8484.
    Https,
    /// DNS over QUIC, RFC 9250.
    Quic,
}

impl Protocol {
    /// All of them, for registering metrics.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https, Self::Quic];

    /// Its place in [`Protocol::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// A metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Quic => "quic",
        }
    }
}

/// The type asked for, as a metric label: the mnemonic of a known type, or `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QtypeLabel(u8);

impl QtypeLabel {
    /// For questions whose type is unknown or could not be read.
    pub const OTHER: Self = Self(MNEMONICS.len() as u8);
    /// How many there are.
    pub const COUNT: usize = MNEMONICS.len() + 1;

    pub(crate) fn new(rtype: Option<Rtype>) -> Self {
        rtype.and_then(Rtype::position).map_or(Self::OTHER, Self)
    }

    /// A number of its own below [`QtypeLabel::COUNT`], so that counters can be kept in a table.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// A metric label.
    pub fn as_str(self) -> &'static str {
        MNEMONICS.get(self.index()).copied().unwrap_or("other")
    }
}

/// Why something got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Shorter than a header, or itself a response.
    NoQuestion,
    /// The kernel would not take the answer.
    SendFailed,
    /// The socket could not be read.
    ReceiveFailed,
    /// A connection could not be accepted, out of file descriptors for instance.
    AcceptFailed,
    /// A connection beyond the maximum.
    TooManyConnections,
    /// A connection beyond the maximum of one address.
    TooManyFromAddress,
    /// A TLS handshake that could not be completed.
    HandshakeFailed,
    /// A connection that was closed because nothing came, or a message that did not come or go in time.
    TimedOut,
}

impl DropReason {
    /// All of them, for registering metrics.
    pub const ALL: [Self; 8] = [
        Self::NoQuestion,
        Self::SendFailed,
        Self::ReceiveFailed,
        Self::AcceptFailed,
        Self::TooManyConnections,
        Self::TooManyFromAddress,
        Self::HandshakeFailed,
        Self::TimedOut,
    ];

    /// A metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoQuestion => "no_question",
            Self::SendFailed => "send_failed",
            Self::ReceiveFailed => "receive_failed",
            Self::AcceptFailed => "accept_failed",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyFromAddress => "too_many_from_address",
            Self::HandshakeFailed => "handshake_failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Told of every question. Called on the path of every answer: count and return.
pub trait Observer: Send + Sync {
    /// A question was answered. `rcode` is the whole code, so up to 16 (BADVERS).
    fn query(&self, protocol: Protocol, qtype: QtypeLabel, rcode: u8);
    /// Something was left without an answer.
    fn dropped(&self, protocol: Protocol, reason: DropReason);
}
