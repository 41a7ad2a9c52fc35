//! From the raw shape to domain types: names become indices, defaults are filled in, and what belongs together is
//! held against each other.
//!
//! After an error the lowering goes on with a placeholder, to find the other errors too; the result is then thrown
//! away.

mod check;
mod front;
mod group;
mod notify;
mod origin;
mod ready;
mod rule;
mod service;
mod site;
mod top;
mod zone;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name, SiteId};

use crate::domain::{Config, FrontDoorSettings, GateSettings};
use crate::hint::did_you_mean;
use crate::reader::Named;
use crate::source::{At, Source};
use crate::spec::{GroupSpec, RootSpec, SiteSpec, name_fault};

/// A decision looks at every site of a group; more are a mistake.
pub(crate) const SITES_MAX: usize = 256;
pub(crate) const GROUPS_MAX: usize = 4_096;
pub(crate) const SERVICES_MAX: usize = 16_384;
pub(crate) const ORIGINS_MAX: usize = 1_000_000;
/// Each is asked for again and again.
pub(crate) const NAMES_MAX: usize = 1_024;

/// Lowers a whole configuration. It is only good if `source` has no errors afterwards.
pub(crate) fn lower(source: &Source<'_>, spec: &RootSpec) -> Config {
    let (no_sites, no_groups, no_services) = (Named::default(), Named::default(), Named::default());
    let site_specs = spec.site.as_ref().map_or(&no_sites, |at| &at.value);
    let group_specs = spec.group.as_ref().map_or(&no_groups, |at| &at.value);
    let service_specs = spec.service.as_ref().map_or(&no_services, |at| &at.value);
    let capabilities = Capabilities::new(spec.capabilities.as_ref());
    let site_names = Directory::new(source, "site", site_specs, SITES_MAX);
    let group_names = Directory::new(source, "group", group_specs, GROUPS_MAX);
    // Services are not referred to by name; only their own names are checked.
    Directory::new(source, "service", service_specs, SERVICES_MAX);

    let mut fleet = Fleet {
        sites: site::lower(source, site_specs, &capabilities),
        groups: group::lower(source, group_specs, &site_names, &capabilities),
        first_start: value_or_default(&spec.first_start),
        ..Fleet::default()
    };
    let gates = gates(source, group_specs, &site_names, &mut fleet);
    let front_doors = front_doors(source, site_specs, &mut fleet);
    let (witnesses, witness_settings) = ready::witnesses(source, spec);
    fleet.witnesses = witnesses;
    let rules = spec.rule.as_ref().map_or(&[][..], |at| &at.value);
    fleet.rules = rule::lower(source, rules, &group_names, &site_names, fleet.groups.len());
    let service::Lowered { origins, named, services } =
        service::lower(source, service_specs, &site_names, &group_names, &mut fleet);
    let zones = spec
        .zone
        .as_ref()
        .map_or_else(Vec::new, |zones| zone::lower(source, &zones.value, &group_names, &fleet));

    let no_receivers = Named::default();
    let notify_specs = spec.notify.as_ref().map_or(&no_receivers, |at| &at.value);
    front::deny_redirect_to_nowhere(source, spec);
    let state_dir = top::state_dir(spec);
    Config {
        node: top::node(source, spec, &site_names),
        listen: front::listen(source, spec, &state_dir),
        state_dir,
        capabilities: capabilities.0,
        fleet,
        origins,
        named,
        resolver: top::resolver(source, spec),
        services,
        zones,
        gates,
        front_doors,
        witnesses: witness_settings,
        startup_deadline: value_or(&spec.startup_deadline, Duration::from_secs(5)),
        drain_deadline: value_or(&spec.drain_deadline, Duration::from_secs(30)),
        probes_per_target_max: small(&spec.probes_per_target_max, 4),
        check_commands_max: small(&spec.check_commands_max, 16),
        programs: check::programs(spec),
        certificates: front::certificates(source, spec),
        client_address: front::client_address(spec),
        limits: front::limits(spec),
        receivers: notify::receivers(source, notify_specs, &group_names),
        heartbeat: notify::heartbeat(source, spec.heartbeat.as_ref()),
        access_log: spec.access_log.as_ref().map(|at| at.value.clone()),
        history: top::history(spec),
    }
}

fn gates(
    source: &Source<'_>,
    specs: &Named<GroupSpec>,
    sites: &Directory<'_>,
    fleet: &mut Fleet,
) -> Vec<GateSettings> {
    let mut gates = Vec::new();
    for (position, ((_, spec), group)) in specs.iter().zip(&mut fleet.groups).enumerate() {
        gates.extend(ready::gates(source, spec, GroupId(position as u16), group, sites));
    }
    gates
}

fn front_doors(source: &Source<'_>, specs: &Named<SiteSpec>, fleet: &mut Fleet) -> Vec<FrontDoorSettings> {
    let mut front_doors = Vec::new();
    for (position, ((_, spec), site)) in specs.iter().zip(&mut fleet.sites).enumerate() {
        let Some(spec) = &spec.front_door_check else { continue };
        let id = SiteId(position as u16);
        let Some((check, settings)) = ready::front_door(source, &spec.value, id, &site.front_door) else {
            continue;
        };
        site.front_door_check = Some(check);
        front_doors.push(settings);
    }
    front_doors
}

/// The names of one kind, by which they are referred to.
pub(crate) struct Directory<'s> {
    what: &'static str,
    by_name: HashMap<&'s str, u16>,
}

impl<'s> Directory<'s> {
    fn new<T>(source: &Source<'_>, what: &'static str, named: &'s Named<T>, count_max: usize) -> Self {
        for (name, _) in named {
            if let Some(fault) = name_fault(&name.value) {
                source.error(&name.place, fault);
            }
        }
        if let Some((beyond, _)) = named.get(count_max) {
            source.error(&beyond.place, format!("more than {count_max} {what}s"));
        }
        // What does not fit is an error already.
        let by_name = (0..=u16::MAX).zip(named).map(|(i, (name, _))| (name.value.as_str(), i)).collect();
        Self { what, by_name }
    }

    /// The index a name stands for; an unknown name is an error.
    fn find(&self, source: &Source<'_>, name: &At<String>) -> Option<u16> {
        let found = self.by_name.get(name.value.as_str()).copied();
        if found.is_none() {
            let mut known: Vec<_> = self.by_name.keys().copied().collect();
            known.sort_unstable();
            let message = format!("there is no {} `{}`", self.what, name.value);
            source.error_hint(&name.place, message, did_you_mean(&name.value, &known).as_deref());
        }
        found
    }
}

/// The capabilities that are declared.
pub(crate) struct Capabilities(BTreeSet<Name>);

impl Capabilities {
    fn new(declared: Option<&At<Vec<At<String>>>>) -> Self {
        let declared = declared.map_or(&[][..], |at| &at.value);
        Self(declared.iter().map(|at| Name::from(at.value.as_str())).collect())
    }

    /// The named ones; one that is not declared is an error.
    fn find(&self, source: &Source<'_>, named: Option<&At<Vec<At<String>>>>) -> BTreeSet<Name> {
        let named = named.map_or(&[][..], |at| &at.value);
        for capability in named.iter().filter(|at| !self.0.contains(at.value.as_str())) {
            let message = format!("the capability `{}` is not declared", capability.value);
            let known: Vec<_> = self.0.iter().map(|name| &**name).collect();
            let help = did_you_mean(&capability.value, &known)
                .unwrap_or_else(|| format!("add \"{}\" to `capabilities`", capability.value));
            source.error_help(&capability.place, message, help);
        }
        named.iter().map(|at| Name::from(at.value.as_str())).collect()
    }
}

fn value_or<T: Copy>(at: &Option<At<T>>, default: T) -> T {
    at.as_ref().map_or(default, |at| at.value)
}

fn value_or_default<T: Copy + Default>(at: &Option<At<T>>) -> T {
    value_or(at, T::default())
}

/// A number whose bounds were checked when it was read.
fn small<T: TryFrom<u64>>(at: &Option<At<u64>>, default: T) -> T {
    at.as_ref().and_then(|at| T::try_from(at.value).ok()).unwrap_or(default)
}
