//! Active health checks: the I/O around the pure core.
//!
//! The core decides from results; this crate makes them. A [`Scheduler`] runs one loop per origin, each loop asks
//! its origin again and again through a [`Prober`], and every answer leaves as an [`Observation`]. No hysteresis
//! lives here: one probe, one result, and what is our own machine's fault is called
//! [inconclusive](Outcome::Inconclusive), never a failure of the origin.
//!
//! ```text
//! ProbeSpec -> Scheduler -> one loop per origin { cadence -> permit of the address -> Prober } -> Observation
//! ```

mod cadence;
mod certificate;
pub mod command;
mod dns;
mod grpc;
mod http;
mod http1;
mod http2;
mod note;
mod outcome;
mod own_fault;
mod plugin;
mod prober;
mod push;
mod schedule;
mod spec;
mod statuses;
mod tcp;
mod tls;
mod wire;

pub use cadence::Pace;
pub use certificate::CertificateCheck;
pub use dns::{DnsCheck, DnsFailure};
pub use grpc::{GrpcCheck, GrpcFailure};
pub use note::Note;
pub use outcome::{Failure, Observation, Outcome, Stage, TlsFailure};
pub use own_fault::OwnFault;
pub use plugin::CommandCheck;
pub use prober::{Prober, Verdict};
pub use push::{BURST, NotHeard, PER_SECOND, Report};
pub use schedule::{Scheduler, Settings};
pub use spec::{HttpCheck, Kind, ProbeSpec, SpecError, Timing};
pub use statuses::{StatusSet, StatusSetError};
pub use tls::{CaBundle, CaError, Identity, TlsCheck, Trust, Verify};

/// A connection carries this many probes, then the next one opens a fresh one: a health check that only ever
/// reuses a connection does not notice that nobody else can connect any more.
pub const FRESH_EVERY: u32 = 10;

/// Bytes of a body that are looked at, in all.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What HTTP checks call themselves.
const AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));
