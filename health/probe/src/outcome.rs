//! What one probe found.
//!
//! Failures are few, small and comparable, so that they can be counted under bounded labels, shown to a person and
//! held in a history without a string per probe. Faults of our own machine have a type of their own: an edge that
//! ran out of descriptors must not take its origins down.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tidegate_health::id::OriginId;
use tokio::time::Instant;

use crate::dns::DnsFailure;
use crate::grpc::GrpcFailure;
use crate::note::Note;
use crate::own_fault::OwnFault;
use crate::statuses::StatusSet;

/// One result of one probe of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub origin: OriginId,
    /// Which list of specs [`origin`](Self::origin) belongs to: 0 after the start, one more with every
    /// [`Scheduler::replace`](crate::Scheduler::replace). Identities of origins are indices and may mean something
    /// else after a reload, and a result may still be in the channel: discard those of earlier generations.
    pub generation: u32,
    /// When the probe really began: after its turn at the address came.
    pub started: Instant,
    pub finished: Instant,
    pub outcome: Outcome,
    pub note: Option<Box<Note>>,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail(Failure),
    /// Nothing was learnt about the origin: the fault is on our side.
    Inconclusive(OwnFault),
}

/// Why an origin failed a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Refused,
    Reset,
    Unreachable,
    /// The whole probe did not end in time; `stage` is how far it came.
    TimedOut {
        after: Duration,
        stage: Stage,
    },
    Tls(TlsFailure),
    /// The connection ended before a byte of the answer.
    NoAnswer,
    /// What came is not an HTTP/1.x response.
    NotHttp,
    /// The head, or what surrounds the body, is larger than a health check may be.
    TooLarge,
    /// The answer broke off.
    Cut,
    Status {
        got: u16,
        wanted: StatusSet,
    },
    /// The wanted text is not in the first [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX) bytes.
    Body {
        wanted: Arc<str>,
    },
    /// The certificate ends within fewer days than are wanted; negative where it has ended.
    Expires {
        days: i64,
        wanted: i64,
    },
    Grpc(GrpcFailure),
    Dns(DnsFailure),
    /// A program said so, with this line.
    Command {
        text: Arc<str>,
    },
    /// Somebody reported it, with this line.
    Reported {
        text: Arc<str>,
    },
    /// Nobody reported anything for so long.
    Silent {
        after: Duration,
    },
    /// Any other error of the connection.
    Io(io::ErrorKind),
}

/// Why there is no trustworthy TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    Expired,
    NotYetValid,
    UnknownIssuer,
    WrongName,
    Revoked,
    BadCertificate,
    /// The origin refused our handshake with an alert.
    Alert,
    /// What came is not TLS.
    NotTls,
    /// This machine's trust store has no usable root.
    NoRoots,
    /// Any other breach of the protocol.
    Protocol,
}

/// How far a probe came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connect,
    Tls,
    Response,
    Body,
    /// While a program runs.
    Command,
}

/// A probe that did not pass, whoever's fault it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Origin(Failure),
    Own(OwnFault),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Origin(failure)
    }
}

impl From<TlsFailure> for Fault {
    fn from(failure: TlsFailure) -> Self {
        Self::Origin(Failure::Tls(failure))
    }
}

impl From<GrpcFailure> for Fault {
    fn from(failure: GrpcFailure) -> Self {
        Self::Origin(Failure::Grpc(failure))
    }
}

impl From<DnsFailure> for Fault {
    fn from(failure: DnsFailure) -> Self {
        Self::Origin(Failure::Dns(failure))
    }
}

impl From<Result<(), Fault>> for Outcome {
    fn from(result: Result<(), Fault>) -> Self {
        match result {
            Ok(()) => Self::Pass,
            Err(Fault::Origin(failure)) => Self::Fail(failure),
            Err(Fault::Own(fault)) => Self::Inconclusive(fault),
        }
    }
}

impl Observation {
    /// How long the probe took, without the wait for its turn.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.finished.saturating_duration_since(self.started)
    }
}

impl Outcome {
    /// A word for metrics, out of a fixed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(failure) => failure.label(),
            Self::Inconclusive(fault) => fault.label(),
        }
    }
}

impl Failure {
    /// A word for metrics, out of a fixed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::Tls(_) => "tls",
            Self::NoAnswer => "no-answer",
            Self::NotHttp => "not-http",
            Self::TooLarge => "too-large",
            Self::Cut => "cut",
            Self::Status { .. } => "status",
            Self::Body { .. } => "body",
            Self::Expires { .. } => "expires",
            Self::Grpc(failure) => failure.label(),
            Self::Dns(failure) => failure.label(),
            Self::Command { .. } => "command",
            Self::Reported { .. } => "reported",
            Self::Silent { .. } => "silent",
            Self::Io(_) => "io",
        }
    }
}

impl Fault {
    /// Says whose fault an error of a socket is.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        if let Some(own) = error.raw_os_error().and_then(OwnFault::from_errno) {
            return Self::Own(own);
        }
        Self::Origin(match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Failure::Reset,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
            io::ErrorKind::UnexpectedEof => Failure::NoAnswer,
            kind => Failure::Io(kind),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(failure) => failure.fmt(f),
            Self::Inconclusive(fault) => write!(f, "inconclusive: {fault}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connect refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Unreachable => f.write_str("address unreachable"),
            Self::TimedOut { after, stage } => write!(f, "timed out after {after:?} {stage}"),
            Self::Tls(failure) => write!(f, "TLS: {failure}"),
            Self::NoAnswer => f.write_str("connection closed without an answer"),
            Self::NotHttp => f.write_str("the answer is not HTTP/1.1"),
            Self::TooLarge => f.write_str("the answer's head is too large"),
            Self::Cut => f.write_str("the answer broke off"),
            Self::Status { got, wanted } => write!(f, "status {got}, wanted {wanted}"),
            Self::Body { wanted } => write!(f, "body lacks {:?}", Excerpt(wanted)),
            Self::Expires { days, wanted } => {
                write!(f, "the certificate ends in {days} days, wanted at least {wanted}")
            }
            Self::Grpc(failure) => failure.fmt(f),
            Self::Dns(failure) => failure.fmt(f),
            Self::Command { text } => write!(f, "the check's program says: {text}"),
            Self::Reported { text } => write!(f, "reported: {text}"),
            Self::Silent { after } => write!(f, "no report for {after:?}"),
            Self::Io(kind) => kind.fmt(f),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "certificate expired",
            Self::NotYetValid => "certificate not yet valid",
            Self::UnknownIssuer => "certificate of an unknown issuer",
            Self::WrongName => "certificate for another name",
            Self::Revoked => "certificate revoked",
            Self::BadCertificate => "certificate not acceptable",
            Self::Alert => "handshake refused by the origin",
            Self::NotTls => "the origin does not speak TLS here",
            Self::NoRoots => "no root certificates in the system's trust store",
            Self::Protocol => "protocol error",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "while connecting",
            Self::Tls => "in the TLS handshake",
            Self::Response => "waiting for the answer",
            Self::Body => "reading the body",
            Self::Command => "while the check's program ran",
        })
    }
}

/// The first characters of a long text, for a line that people read.
struct Excerpt<'a>(&'a str);

impl fmt::Debug for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(60) {
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_our_own_machine_lacks_is_not_the_origins_fault() {
        for (code, fault) in [
            (Errno::MFILE, OwnFault::OutOfDescriptors),
            (Errno::NFILE, OwnFault::OutOfDescriptors),
            (Errno::NOBUFS, OwnFault::OutOfBuffers),
            (Errno::NOMEM, OwnFault::OutOfBuffers),
            (Errno::ADDRNOTAVAIL, OwnFault::OutOfPorts),
        ] {
            let error = io::Error::from_raw_os_error(code.raw_os_error());
            assert_eq!(Fault::from_io(&error), Fault::Own(fault));
        }
    }

    #[test]
    fn errors_of_the_network_are_failures() {
        for (code, failure) in [
            (Errno::CONNREFUSED, Failure::Refused),
            (Errno::CONNRESET, Failure::Reset),
            (Errno::PIPE, Failure::Reset),
            (Errno::HOSTUNREACH, Failure::Unreachable),
            (Errno::NETUNREACH, Failure::Unreachable),
            (Errno::TIMEDOUT, Failure::Io(io::ErrorKind::TimedOut)),
        ] {
            let error = io::Error::from_raw_os_error(code.raw_os_error());
            assert_eq!(Fault::from_io(&error), Fault::Origin(failure));
        }
    }

    #[test]
    fn failures_stay_small() {
        assert!(size_of::<Outcome>() <= 32, "{}", size_of::<Outcome>());
    }

    #[test]
    fn a_long_text_is_shown_in_part() {
        let failure = Failure::Body { wanted: "ä".repeat(500).into() };
        assert_eq!(failure.to_string(), format!("body lacks \"{}\"...", "ä".repeat(60)));
    }
}
