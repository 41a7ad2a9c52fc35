//! A place that can serve.

use std::net::IpAddr;
use std::time::Duration;

use super::check::status_set;
use super::spec;
use super::value::{HOUR, ips, ms, names};
use crate::reader::Field;
use crate::source::At;
use crate::status_set::StatusSet;
use crate::web_url::WebUrl;

spec! {
    /// A place that can serve.
    struct SiteSpec in "site.NAME" {
        /// For people. Default the name.
        optional label: String = Field::text,
        /// What a group may require or want here; each one declared under `capabilities`. Default none.
        optional provides: Vec<At<String>> = names,
        /// The published addresses: what steered names answer with. Default none.
        optional front_door: Vec<At<IpAddr>> = ips,
        /// Whether the published addresses work. Default: nobody asks.
        optional front_door_check: FrontDoorCheckSpec = FrontDoorCheckSpec::read,
    }
}

spec! {
    /// How the published addresses are checked, each of them from this edge: by exactly one of `url` and `tcp`. A site of which
    /// none works is unfit, whatever its origins say.
    struct FrontDoorCheckSpec in "site.NAME.front_door_check" {
        /// What is asked at each front door: the host of the URL is only what the request and the TLS handshake name.
        optional url: WebUrl = WebUrl::read,
        /// A port that has to accept connections.
        optional tcp: u64 = |field| field.integer(1..=65_535),
        /// What an answer to `url` has to be. Default `"200-399"`.
        optional expect_status: StatusSet = status_set,
        /// Time between checks; a second at most while in doubt. Default `"5s"`, `"10ms"` to `"1h"`.
        optional interval: Duration = |field| field.duration(ms(10)..=HOUR),
        /// Default `"2s"`, `"1ms"` to `"1h"`.
        optional timeout: Duration = |field| field.duration(ms(1)..=HOUR),
        /// Consecutive failures after which an address does not work. Default 3, 1 to 1000.
        optional fall: u64 = |field| field.integer(1..=1000),
        /// Consecutive passes after which it works again. Default 2, 1 to 1000.
        optional rise: u64 = |field| field.integer(1..=1000),
    }
}
