//! What is answered over DNS.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::spec;
use super::value::{days, ips, ms, name, path};
use crate::reader::{Field, Named};
use crate::source::At;

spec! {
    /// What is answered for one zone.
    struct ZoneSpec in "zone.NAME" {
        /// The zone file; a relative path starts at the configuration file's folder.
        required file: PathBuf = path,
        /// Names that answer with the front doors of a group's active site: relative to the zone, `@` for the zone
        /// itself, or absolute with a dot at the end.
        optional steer: Named<SteerSpec> = |field| field.named(SteerSpec::read),
        /// Servers that copy the zone and are told of changes. Default none.
        pending secondaries: Vec<At<IpAddr>> = ips,
        /// Whether the zone is signed. Default `false`.
        pending dnssec: bool = Field::boolean,
    }
}

spec! {
    /// A name that answers with the front doors of a group's active site.
    struct SteerSpec in "zone.NAME.steer.NAME" {
        /// The group.
        required group: String = name,
        /// Whole seconds. Default `"30s"`, `"0s"` to `"7d"`.
        optional ttl: Duration = |field| field.seconds(ms(0)..=days(7)),
    }
}
