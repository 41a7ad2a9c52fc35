use std::time::Duration;

use tidegate_health::step::{Effect, Input, step};
use tidegate_health::time::Now;

use super::*;
use crate::load;
use crate::world::Settings;

const CONFIG: &str = r#"
state_dir = "state"
[site.main]
front_door = ["192.0.2.1"]
[site.dr]
front_door = ["192.0.2.2"]
[group.one]
sites = ["main", "dr"]
stateless = true
failover_after = "1s"
[group.two]
sites = ["dr", "main"]
stateless = true
failover_after = "1s"
[service.a]
group = "one"
hosts = ["a.example.test"]
spill = "safe"
origins.main = [{ url = "http://10.0.0.1:80" }, { url = "http://10.0.0.2:80" }]
origins.dr = [{ url = "http://10.0.1.1:80" }]
[service.b]
group = "two"
hosts = ["b.example.test", "*.b.example.test"]
origins.main = [{ url = "http://10.0.0.3:80" }]
origins.dr = [{ url = "http://10.0.1.3:80" }]
[service.c]
group = "one"
hosts = ["c.example.test"]
origins.main = [{ url = "http://10.0.0.4:80" }]
origins.dr = [{ url = "http://10.0.1.4:80" }]
[zone."example.test"]
file = "zone"
steer.a = { group = "one" }
[zone."example.org"]
file = "zone"
steer.b = { group = "two" }
"#;
const ZONE: &str = "$TTL 60\n@ SOA ns1 host 7 1 1 1 5\n@ NS ns1\nns1 A 192.0.2.53\n";

fn plan() -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.toml");
    std::fs::write(folder.path().join("zone"), ZONE).expect("writable");
    std::fs::write(&path, CONFIG).expect("writable");
    let loaded = load::load(&path).expect("a sound configuration");
    let settings = Arc::new(Settings { certificates: loaded.certificates });
    Plan::new(&loaded.config, loaded.zones, loaded.probes, loaded.targets, loaded.watches, settings)
}

/// Everything of a World that readers look at, as text.
fn shown(worlds: &Worlds) -> String {
    let world = worlds.load();
    let mut zones: Vec<_> = world.dns.zones().map(|zone| format!("{zone:?}")).collect();
    // The order of what a hash table shows is that table's own.
    zones.iter_mut().for_each(|zone| *zone = sorted(zone));
    zones.sort_unstable();
    let hosts = ["a.example.test", "b.example.test", "x.b.example.test", "c.example.test"];
    let services: Vec<_> = hosts.iter().map(|host| format!("{:?}", world.proxy.service(host))).collect();
    format!("{zones:#?} {services:#?} {:?}", world.undecided)
}

fn sorted(text: &str) -> String {
    let mut parts: Vec<_> = text.split(' ').collect();
    parts.sort_unstable();
    parts.join(" ")
}

/// Whatever happens, what is used again of the last World is what would be built anew.
#[test]
fn what_is_used_again_is_what_would_be_built() {
    let plan = plan();
    let fleet = &plan.fleet;
    let mut rng = fastrand::Rng::with_seed(17);
    let mut now = Now::default();
    let mut state = State::new(fleet, &BTreeMap::new(), now).expect("nothing is stored");
    let (lasting, mut serials) = (Worlds::default(), BTreeMap::new());
    let mut publisher = Publisher::new(lasting.clone(), &state);
    let (mut switches, mut seen) = (0, std::collections::HashSet::new());
    for turn in 0..600 {
        now = now.plus(Duration::from_millis(100));
        // Long enough runs of failures that sites are lost, long enough runs of passes that others are fit.
        let site = SiteId(turn / 40 % 3);
        let origins: Vec<_> = fleet.origin_ids().filter(|_| rng.bool()).collect();
        let mut inputs: Vec<Input> = origins
            .into_iter()
            .map(|origin| {
                let failure = (fleet.origin(origin).site == site || rng.u8(..) < 20).then(|| "lost".into());
                Input::Observation { origin, started: now.mono, failure }
            })
            .collect();
        inputs.push(Input::Tick);
        while let Some(input) = inputs.pop() {
            for effect in step(fleet, &mut state, input, now) {
                if let Effect::Persist { group, ticket, .. } = effect {
                    inputs.push(Input::Stored { group, ticket });
                }
            }
        }
        if rng.u8(..) < 10 {
            let record = crate::store::ZoneRecord { serial: u32::from(turn), content: 0 };
            let zone = Zone { record, serial_max: record.serial, groups: Vec::new() };
            serials.insert("example.org".into(), zone);
        }
        switches += publisher.publish(&plan, &state, &serials).len();
        let fresh = Worlds::default();
        Publisher::new(fresh.clone(), &state).publish(&plan, &state, &serials);
        assert_eq!(shown(&lasting), shown(&fresh), "after turn {turn}");
        seen.insert(shown(&fresh));
    }
    assert!(
        switches >= 2 && seen.len() > 20,
        "{switches} switches, {} Worlds: too little happened",
        seen.len()
    );
}

#[test]
fn a_publication_shares_what_its_change_does_not_touch() {
    let plan = plan();
    let state = State::new(&plan.fleet, &BTreeMap::new(), Now::default()).expect("nothing is stored");
    let (worlds, mut serials) = (Worlds::default(), BTreeMap::new());
    let mut publisher = Publisher::new(worlds.clone(), &state);
    publisher.publish(&plan, &state, &serials);
    let before = worlds.load();
    let record = crate::store::ZoneRecord { serial: 8, content: 0 };
    serials.insert("example.org".into(), Zone { record, serial_max: 8, groups: Vec::new() });
    let mut after = state.clone();
    after.groups[0].active = Some(SiteId(1));
    publisher.publish(&plan, &after, &serials);
    let world = worlds.load();
    let same =
        |host| Arc::ptr_eq(before.proxy.service(host).expect(host), world.proxy.service(host).expect(host));
    assert_eq!(["a.example.test", "b.example.test", "c.example.test"].map(same), [false, true, false]);
    assert_eq!(world.generation, 2);
}
