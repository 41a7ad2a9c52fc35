//! Configuration: TOML text to domain types that cannot be wrong.
//!
//! ```text
//! text -> tree (reader) -> raw shape, version 1 (spec) -> domain (lower) -> dangers (warn)
//! ```
//!
//! A person who edits a configuration wants to hear everything that is wrong with it at once, and where. So no step
//! stops at its first error: each records what it finds at its place in the text and goes on, and a [`Config`] comes
//! out only if nothing was wrong. Nothing here opens a file; paths are handed on as written.

mod diagnostic;
mod dns_name;
mod domain;
mod duration;
mod hint;
mod lower;
mod network;
mod reader;
mod render;
mod source;
mod spec;
mod status_set;
mod warn;
mod web_url;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use domain::{
    Addresses, Certificate, Check, ClientAddress, ClientCertificate, Concern, Config, Ejection, Filter,
    FrontDoorProbe, FrontDoorSettings, GateSettings, GateSource, Heartbeat, HeartbeatMethod, History,
    HostPattern, Hsts, Limits, Listen, LongLived, NamedOrigin, Node, OriginEndpoint, OriginHttp, Program,
    Protocol, Receiver, Resolver, Retry, SOCKET_NAME, Scheme, ServiceSettings, Smtp, SmtpTls, Spill,
    SteerSettings, Timeouts, Tls, TlsVersion, UrlSource, Verify, Way, Webhook, WitnessSettings, ZoneSettings,
};
pub use duration::{DurationError, format_duration, parse_duration};
pub use network::{Network, NetworkError, exclude};
pub use reader::{Key, Use};
pub use render::render;
pub use source::Place;
pub use spec::{Section, reference};
pub use status_set::{StatusSet, StatusSetError};
pub use warn::check_name_servers;
pub use web_url::{WebUrl, WebUrlError};

use crate::reader::Field;
use crate::source::Source;
use crate::spec::RootSpec;

/// Longest text that is read; a configuration of ten thousand origins has about one megabyte.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// A configuration that can be used, and what a person should know about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub config: Config,
    /// In the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a configuration. `file` is only named in messages.
///
/// # Errors
/// Everything that is wrong with the text, each with its place.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Diagnostics> {
    let source = Source::new(text);
    match read(&source, text) {
        Some(config) => Ok(Parsed { config, warnings: source.into_found(Severity::Warning) }),
        None => Err(Diagnostics::new(file, text, source.into_found(Severity::Error))),
    }
}

/// The configuration, or none if `source` now has an error.
fn read(source: &Source<'_>, text: &str) -> Option<Config> {
    if text.len() > TEXT_BYTES_MAX {
        source.error(&Place::default(), format!("the text has more than {} MiB", TEXT_BYTES_MAX >> 20));
        return None;
    }
    let tree = reader::tree(source, text);
    // Half a tree would be full of consequences.
    if source.failed() {
        return None;
    }
    let spec = RootSpec::read(&Field::root(source, &tree))?;
    let config = lower::lower(source, &spec);
    if source.failed() {
        return None;
    }
    warn::warn(source, &spec, &config);
    Some(config)
}
