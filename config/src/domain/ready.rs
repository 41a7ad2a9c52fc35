//! How it is learned what the core asks of the world beside the origins: gates, witnesses, published addresses.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_health::id::{GroupId, Name, SiteId};

use crate::status_set::StatusSet;
use crate::web_url::WebUrl;

/// How one gate of the fleet is measured. What its samples mean is in the fleet.
#[derive(Clone, Debug)]
pub struct GateSettings {
    pub group: GroupId,
    pub gate: Name,
    pub source: GateSource,
    /// From start to start, at each site.
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub enum GateSource {
    /// A program and its arguments, started once for each site.
    Command(Vec<String>),
    Http {
        urls: BTreeMap<SiteId, WebUrl>,
        /// Where the value is in the JSON answer (RFC 6901); none: the status says it.
        pointer: Option<Name>,
    },
    /// Sent to the API.
    Push,
}

impl GateSource {
    /// The same for what measures the same, within this process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Command(words) => words.hash(&mut hasher),
            // Not the sites: their numbers change, and a gate is known at each of them by itself.
            Self::Http { urls, pointer } => {
                pointer.hash(&mut hasher);
                urls.values().for_each(|url| hash(url, &mut hasher));
            }
            Self::Push => {}
        }
        std::mem::discriminant(self).hash(&mut hasher);
        hasher.finish()
    }
}

impl FrontDoorProbe {
    /// The same for what asks the same, within this process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Http { url, expect_status } => {
                hash(url, &mut hasher);
                expect_status.ranges().for_each(|range| range.hash(&mut hasher));
            }
            Self::Tcp { port } => port.hash(&mut hasher),
        }
        hasher.finish()
    }
}

fn hash(url: &WebUrl, hasher: &mut DefaultHasher) {
    (url.is_https, &url.host, url.port, &url.path).hash(hasher);
}

/// What a gate's value has to be equal to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WantedValue {
    Number(f64),
    /// Text, and `true` and `false`.
    Word(String),
}

/// How the published addresses of a site are checked. What the results mean is in the fleet.
#[derive(Clone, Debug)]
pub struct FrontDoorSettings {
    pub site: SiteId,
    pub check: FrontDoorProbe,
}

#[derive(Clone, Debug)]
pub enum FrontDoorProbe {
    /// A GET, sent to the address instead of to what the host of the URL resolves to.
    Http { url: WebUrl, expect_status: StatusSet },
    /// A connection to this port.
    Tcp { port: u16 },
}

/// Who is asked whether this edge is cut off. Who they are is in the fleet, under these addresses as text.
#[derive(Clone, Debug, Default)]
pub struct WitnessSettings {
    pub addresses: Vec<SocketAddr>,
    pub interval: Duration,
    pub timeout: Duration,
}
