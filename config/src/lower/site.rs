//! Sites.

use tidegate_health::fleet::Site;
use tidegate_health::id::Name;

use super::Capabilities;
use crate::reader::Named;
use crate::source::Source;
use crate::spec::SiteSpec;

pub(super) fn lower(source: &Source<'_>, specs: &Named<SiteSpec>, capabilities: &Capabilities) -> Vec<Site> {
    specs
        .iter()
        .map(|(name, spec)| Site {
            name: Name::from(name.value.as_str()),
            label: Name::from(spec.label.as_ref().map_or(name.value.as_str(), |label| label.value.as_str())),
            provides: capabilities.find(source, spec.provides.as_ref()),
            front_door: front_door(source, spec),
            front_door_check: None,
        })
        .collect()
}

fn front_door(source: &Source<'_>, spec: &SiteSpec) -> Vec<std::net::IpAddr> {
    let addresses = spec.front_door.as_ref().map_or(&[][..], |at| &at.value);
    for address in addresses.iter().filter(|at| at.value.is_unspecified() || at.value.is_multicast()) {
        source.error(&address.place, format!("nobody can reach {}", address.value));
    }
    addresses.iter().map(|at| at.value).collect()
}
