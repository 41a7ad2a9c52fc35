//! Configuration: TOML text to domain types that cannot be wrong.

mod diagnostic;
mod domain;
mod render;
mod status_set;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use domain::{
    Check, Config, Ejection, HostPattern, Limits, Listen, LongLived, Node, OriginEndpoint, Protocol, Retry,
    Scheme, ServiceSettings, Spill, SteerSettings, Timeouts, Tls, Verify, ZoneSettings,
};
pub use render::render;
pub use status_set::{StatusSet, StatusSetError};

/// A configuration that can be used, and what a person should know about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub config: Config,
    /// In the order of the text.
    pub warnings: Vec<Diagnostic>,
}
