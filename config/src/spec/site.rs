//! A place that can serve.

use std::net::IpAddr;
use std::time::Duration;

use super::spec;
use super::value::{HOUR, ips, ms, names};
use crate::reader::Field;
use crate::source::At;

spec! {
    /// A place that can serve.
    struct SiteSpec in "site.NAME" {
        /// For people. Default the name.
        optional label: String = Field::text,
        /// What a group may require or want here; each one declared under `capabilities`. Default none.
        optional provides: Vec<At<String>> = names,
        /// The published addresses: what steered names answer with. Default none.
        optional front_door: Vec<At<IpAddr>> = ips,
        /// Whether the published addresses work.
        pending front_door_check: FrontDoorCheckSpec = FrontDoorCheckSpec::read,
    }
}

spec! {
    /// How the published addresses are checked.
    struct FrontDoorCheckSpec in "site.NAME.front_door_check" {
        /// URL asked at each front door.
        required url: String = Field::text,
        /// Time between checks. Default `"10s"`, `"10ms"` to `"1h"`.
        optional interval: Duration = |field| field.duration(ms(10)..=HOUR),
        /// Default `"2s"`, `"1ms"` to `"1h"`.
        optional timeout: Duration = |field| field.duration(ms(1)..=HOUR),
    }
}
