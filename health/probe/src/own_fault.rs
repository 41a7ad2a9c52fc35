//! Faults of our own machine: they say nothing about an origin.

use std::fmt;

use rustix::io::Errno;

/// Why a probe says nothing about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnFault {
    /// We were suspended or starved: the probe ended long after its timeout.
    Starved,
    /// No file descriptor was left (EMFILE, ENFILE).
    OutOfDescriptors,
    /// The kernel had no memory for the socket (ENOBUFS, ENOMEM).
    OutOfBuffers,
    /// No local address or port was left (EADDRNOTAVAIL).
    OutOfPorts,
    /// The check's program could not be started.
    CannotRun,
    /// The check's program came to no result.
    Undecided,
}

impl OwnFault {
    /// A word for metrics, out of a fixed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starved => "starved",
            Self::OutOfDescriptors => "out-of-descriptors",
            Self::OutOfBuffers => "out-of-buffers",
            Self::OutOfPorts => "out-of-ports",
            Self::CannotRun => "cannot-run",
            Self::Undecided => "undecided",
        }
    }

    /// The fault behind an error of the system, if it is ours.
    pub(crate) fn from_errno(code: i32) -> Option<Self> {
        match Errno::from_raw_os_error(code) {
            Errno::MFILE | Errno::NFILE => Some(Self::OutOfDescriptors),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::OutOfBuffers),
            Errno::ADDRNOTAVAIL => Some(Self::OutOfPorts),
            _ => None,
        }
    }
}

impl fmt::Display for OwnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starved => "this node was suspended or starved",
            Self::OutOfDescriptors => "this node is out of file descriptors",
            Self::OutOfBuffers => "this node is out of socket memory",
            Self::OutOfPorts => "this node has no local address or port left",
            Self::CannotRun => "the check's program cannot be started",
            Self::Undecided => "the check's program came to no result",
        })
    }
}
