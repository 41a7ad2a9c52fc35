//! How origins are checked.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::id::Name;

use super::Tls;
use crate::source::Place;
use crate::status_set::StatusSet;

/// How an origin is probed. When, and what the results mean, is in the fleet's `Thresholds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A GET passes with an expected status and, where wanted, an expected body.
    Http {
        /// Path and query, starting with `/`.
        path: String,
        /// The `Host` header; the origin's address where there is none.
        host: Option<Name>,
        expect_status: StatusSet,
        /// Text the body must contain.
        expect_body: Option<String>,
        /// Present where the origin speaks HTTPS.
        tls: Option<Tls>,
    },
    /// Connecting is enough.
    Tcp,
    /// A handshake, and a certificate that lasts.
    Tls {
        tls: Tls,
        /// A certificate that ends sooner fails; zero is off, here and below.
        fail_below: Duration,
        warn_below: Duration,
    },
    /// gRPC's health checking protocol.
    Grpc {
        /// Empty means the server as a whole.
        service: String,
        /// What stands for a `Host` header; the origin's address where there is none.
        host: Option<Name>,
        /// Present where the origin speaks TLS.
        tls: Option<Tls>,
    },
    /// A question.
    Dns {
        /// With a final dot.
        query: String,
        /// As zone files write it.
        record_type: &'static str,
        /// The response code that passes.
        rcode: u16,
        /// What one record of the answer must hold.
        answer: Option<String>,
        over_tcp: bool,
    },
    /// A program's exit code.
    Command {
        /// The program, as an absolute path, and its arguments.
        argv: Vec<String>,
        warning_passes: bool,
    },
    /// Somebody reports. The longest silence is the interval of the origin's thresholds.
    Push,
}

/// A program that the daemon is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Absolute.
    pub path: PathBuf,
    /// Where the configuration names it, for what is found once it is looked for.
    pub declared: Place,
}
