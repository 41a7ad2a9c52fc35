//! Zones and the names in them that follow a group.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name};

use super::{Directory, value_or};
use crate::dns_name::{domain_name, is_inside, name_in_zone};
use crate::domain::{SteerSettings, ZoneSettings};
use crate::reader::Named;
use crate::source::{At, Source};
use crate::spec::ZoneSpec;

pub(super) fn lower(
    source: &Source<'_>,
    specs: &Named<ZoneSpec>,
    groups: &Directory<'_>,
    fleet: &Fleet,
) -> Vec<ZoneSettings> {
    let mut seen = HashSet::new();
    let mut zones = Vec::with_capacity(specs.len());
    for (name, spec) in specs {
        let origin = match domain_name(&name.value) {
            Ok(origin) => origin,
            Err(fault) => {
                source.error_help(&name.place, fault, "a zone with dots is quoted: [zone.\"example.com\"]");
                continue;
            }
        };
        // `[zone.example.com]` is the key `com` of the zone `example`.
        if spec.file.is_none() && source.failed_below(&spec.place.path) && !origin.contains('.') {
            let help = "a zone with dots is quoted: [zone.\"example.com\"]";
            source.error_help(&name.place, format!("`{origin}` is not a whole zone"), help);
        }
        if !seen.insert(origin.clone()) {
            source.error(&name.place, format!("the zone `{origin}` is there twice"));
        }
        zones.push(ZoneSettings {
            steer: steers(source, &origin, spec, groups, fleet),
            origin: Name::from(origin),
            file: spec.file.as_ref().map_or_else(PathBuf::new, |at| at.value.clone()),
            declared: name.place.clone(),
        });
    }
    zones
}

fn steers(
    source: &Source<'_>,
    origin: &str,
    spec: &ZoneSpec,
    groups: &Directory<'_>,
    fleet: &Fleet,
) -> Vec<SteerSettings> {
    let mut steers = Vec::new();
    let mut seen = HashSet::new();
    for (name, spec) in spec.steer.iter().flat_map(|at| &at.value) {
        let group = spec.group.as_ref().and_then(|group| groups.find(source, group)).map(GroupId);
        if let (Some(group), Some(at)) = (group, spec.group.as_ref()) {
            deny_missing_front_doors(source, at, group, fleet);
        }
        let Some(absolute) = steer_name(source, name, origin) else { continue };
        if !seen.insert(absolute.clone()) {
            source.error(&name.place, format!("the name `{absolute}` is steered twice"));
        }
        steers.push(SteerSettings {
            name: Name::from(absolute),
            group: group.unwrap_or(GroupId(0)),
            ttl: value_or(&spec.ttl, Duration::from_secs(30)),
        });
    }
    steers
}

fn steer_name(source: &Source<'_>, name: &At<String>, origin: &str) -> Option<String> {
    let relative = !name.value.ends_with('.');
    if relative && domain_name(&name.value).is_ok_and(|alone| is_inside(&alone, origin) && origin != ".") {
        let message = format!("`{0}` is relative: it means `{0}.{origin}`", name.value);
        source.warn_help(&name.place, message, format!("end it with a dot: \"{}.\"", name.value));
    }
    match name_in_zone(&name.value, origin) {
        Ok(absolute) => Some(absolute),
        Err(fault) => {
            source.error(&name.place, fault);
            None
        }
    }
}

fn deny_missing_front_doors(source: &Source<'_>, at: &At<String>, group: GroupId, fleet: &Fleet) {
    for &site in &fleet.group(group).sites {
        let site = fleet.site(site);
        if site.front_door.is_empty() {
            let message = format!("the site `{}` of the group `{}` has no front door", site.name, at.value);
            source.error_help(&at.place, message, format!("set `site.{}.front_door`", site.name));
        }
    }
}
