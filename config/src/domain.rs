//! The lowered configuration: what the daemon runs on.
//!
//! Everything here has been checked: names are resolved to indices, bounds hold, and the vectors that say so are
//! parallel to those of the [`Fleet`].

mod check;
mod front;
mod named;
mod notify;
mod ready;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, SiteId};

pub use self::check::{Check, Program};
pub use self::front::{Certificate, ClientAddress, Limits, Listen, TlsVersion};
pub(crate) use self::named::UNRESOLVED;
pub use self::named::{Addresses, Concern, NamedOrigin, Resolver};
pub use self::notify::{
    Filter, Heartbeat, HeartbeatMethod, Receiver, Smtp, SmtpTls, UrlSource, Way, Webhook,
};
pub(crate) use self::ready::WantedValue;
pub use self::ready::{FrontDoorProbe, FrontDoorSettings, GateSettings, GateSource, WitnessSettings};
use crate::source::Place;

/// The file of the control socket in `state_dir`, unless the configuration names another.
pub const SOCKET_NAME: &str = "tidegate.sock";

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the store lives.
    pub state_dir: PathBuf,
    /// Every capability a site may provide and a group may ask for.
    pub capabilities: BTreeSet<Name>,
    pub node: Node,
    pub listen: Listen,
    /// What is checked and decided about.
    pub fleet: Fleet,
    /// How each origin is reached; parallel to `fleet.origins`.
    pub origins: Vec<OriginEndpoint>,
    /// Origins that are given by name. Those that their names stand for come with [`resolve`](Self::resolve), after those
    /// that are given by address.
    pub named: Vec<NamedOrigin>,
    /// Who is asked what the names stand for.
    pub resolver: Resolver,
    /// How each service is proxied; parallel to `fleet.services`.
    pub services: Vec<ServiceSettings>,
    pub zones: Vec<ZoneSettings>,
    /// How each gate of the fleet is measured.
    pub gates: Vec<GateSettings>,
    /// How the published addresses of sites are checked, where they are.
    pub front_doors: Vec<FrontDoorSettings>,
    pub witnesses: WitnessSettings,
    /// Listeners open at the latest this long after the start, complete round of probes or not.
    pub startup_deadline: Duration,
    /// How long a stopping daemon lets requests in flight finish.
    pub drain_deadline: Duration,
    /// Concurrent probes per target address, at least one.
    pub probes_per_target_max: u32,
    /// Programs of checks that may run at a time, at least one.
    pub check_commands_max: u32,
    /// Programs that checks run, each once.
    pub programs: Vec<Program>,
    /// Of HTTPS and DNS over TLS. The first one serves clients that send no name or an unknown one; never empty where
    /// there is a listener that needs one.
    pub certificates: Vec<Certificate>,
    pub client_address: ClientAddress,
    pub limits: Limits,
    /// Who is told what happens, in the order of the text.
    pub receivers: Vec<Receiver>,
    pub heartbeat: Option<Heartbeat>,
    /// As written: a relative path is relative to the configuration file.
    pub access_log: Option<PathBuf>,
    pub history: History,
}

/// How much of the history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Entries of what was decided and done, of what was noticed and refused, and of what was seen to change.
    pub decisions_max: u64,
    pub notes_max: u64,
    pub observations_max: u64,
    /// What is older goes.
    pub max_age: Duration,
}

/// This edge.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: Name,
    /// The site the edge stands at.
    pub site: Option<SiteId>,
}

/// How one origin is reached and checked.
#[derive(Clone, Debug)]
pub struct OriginEndpoint {
    pub addr: SocketAddr,
    pub scheme: Scheme,
    /// The `Host` of forwarded requests; the client's own passes through where there is none.
    pub host_header: Option<Name>,
    /// Share of requests relative to the other origins of the same site, 1..=256.
    pub weight: u16,
    pub check: Check,
    /// Nodes that can reach the origin; empty means all.
    pub vantages: Vec<Name>,
}

/// What an origin speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https(Tls),
    Tcp,
}

/// How TLS towards an origin is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub verify: Verify,
    /// Sent as SNI and matched with the certificate; without one the certificate must name the IP address.
    pub server_name: Option<Name>,
    /// Shown to origins that ask for one.
    pub client_certificate: Option<ClientCertificate>,
}

/// Who the edge is to its origins. Paths as written: relative ones are relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM, the certificate first, then those above it.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Which certificates of origins are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Those the system trusts.
    System,
    /// Those signed by a certificate of this PEM file.
    Ca(PathBuf),
    /// Every one.
    Off,
}

/// How a service is proxied.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    pub protocol: Protocol,
    /// Unique across services; never empty for HTTP.
    pub hosts: Vec<HostPattern>,
    /// Plain HTTP is answered with a redirect to HTTPS; only where HTTPS is listened on.
    pub redirect_https: bool,
    /// Sent over HTTPS.
    pub hsts: Option<Hsts>,
    pub origin_http: OriginHttp,
    pub spill: Spill,
    pub long_lived: LongLived,
    pub timeouts: Timeouts,
    pub retry: Retry,
    pub ejection: Ejection,
    /// How long an origin that came up gets less than its share; zero for not at all.
    pub slow_start: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Tcp,
    /// TLS passed through by server name.
    Tls,
}

/// What browsers are told about HTTPS (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// Whole seconds.
    pub max_age: Duration,
    pub include_subdomains: bool,
    pub preload: bool,
}

/// What origins speak, for requests and checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginHttp {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// A host name as requests are routed by: lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Exactly this name.
    Exact(Name),
    /// `*.name`: one or more labels before this name. The name is without the `*.`.
    Wildcard(Name),
}

/// Which requests may try the next read-ready site before the group has switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spill {
    #[default]
    Never,
    /// GET and HEAD.
    Safe,
    /// Any method; stateless groups only.
    Any,
}

/// What happens to WebSockets and other long-lived connections at a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongLived {
    /// Left to end by themselves for a while, then closed.
    #[default]
    Drain,
    /// Closed, spread over a window.
    Close,
    /// Left alone; stateless groups only.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One connection attempt to an origin, TLS included.
    pub connect: Duration,
    /// From the request's last byte to the response's first.
    pub response: Duration,
    /// Silence of an origin within a body.
    pub body_idle: Duration,
    /// How long an unused connection to an origin is kept.
    pub pool_idle: Duration,
    /// Silence of a WebSocket or another upgraded connection, both ways together.
    pub tunnel_idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Origins tried for one request, the first included; at least one.
    pub attempts: u32,
}

/// When live traffic takes an origin out of picking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Consecutive resets and silences; at least one. What refuses connections is ejected at once.
    pub failures: u32,
    /// Consecutive 5xx answers; zero never ejects for a status.
    pub status_failures: u32,
    /// How long the first ejection lasts; repeated ones grow.
    pub base: Duration,
    /// The longest ejection, at least `base`.
    pub max: Duration,
    /// Share of a site's usable origins that may be ejected at once, 1..=100; one always, the last never.
    pub share_percent_max: u8,
}

#[derive(Clone, Debug)]
pub struct ZoneSettings {
    /// Lower case, without a trailing dot (`example.com`); the root is `.`.
    pub origin: Name,
    /// As written: relative paths are relative to the configuration file.
    pub file: PathBuf,
    pub steer: Vec<SteerSettings>,
    /// Where the configuration names the zone, for what is found once its file is read.
    pub declared: Place,
}

/// A name that answers with the front doors of a group's active site.
#[derive(Clone, Debug)]
pub struct SteerSettings {
    /// Absolute, lower case, without a trailing dot, inside the zone.
    pub name: Name,
    pub group: GroupId,
    /// Whole seconds.
    pub ttl: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            response: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            pool_idle: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(3_600),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3 }
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(365 * 86_400), include_subdomains: false, preload: false }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 3,
            status_failures: 5,
            base: Duration::from_secs(2),
            max: Duration::from_secs(60),
            share_percent_max: 50,
        }
    }
}

impl HostPattern {
    /// Whether a host (lower case, without port and trailing dot) is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
        }
    }
}
