//! What there is to look at beside the origins, and how.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_config::{Config, FrontDoorProbe, FrontDoorSettings, GateSettings, GateSource};
use tidegate_health::id::OriginId;
use tidegate_probe::command::Command;
use tidegate_probe::{HttpCheck, Kind, ProbeSpec, StatusSet, Timing, TlsCheck, Verify};

use super::LoadError;
use crate::watchers::{Subject, Watch, Way};

/// The watches of a configuration; what cannot be used is added to `errors`, and then they are not all.
pub(super) fn load(config: &Config, errors: &mut Vec<LoadError>) -> Vec<Watch> {
    let mut watches = Vec::new();
    let mut add = |made: Result<Vec<Watch>, LoadError>| match made {
        Ok(made) => watches.extend(made),
        Err(error) => errors.push(error),
    };
    for settings in &config.gates {
        add(gate(config, settings));
    }
    for settings in &config.front_doors {
        add(front_door(config, settings));
    }
    add(witnesses(config));
    watches
}

fn gate(config: &Config, settings: &GateSettings) -> Result<Vec<Watch>, LoadError> {
    let group = config.fleet.group(settings.group);
    let Some(gate) = group.gate(&settings.gate) else { return Ok(Vec::new()) };
    let watch = |site, way| Watch {
        subject: Subject::Gate {
            group: group.name.clone(),
            site: config.fleet.site(site).name.clone(),
            gate: gate.name.clone(),
        },
        way,
        check: gate.check,
        interval: settings.interval,
        fast_interval: settings.interval,
        timeout: settings.timeout,
    };
    match &settings.source {
        GateSource::Push => Ok(Vec::new()),
        GateSource::Command(words) => {
            let command = Command::new(words).map_err(|error| LoadError::Watch {
                what: format!("gate `{}` of group `{}`", gate.name, group.name),
                detail: error.to_string(),
            })?;
            let wants_value = gate.limit.is_some();
            let way = |_: &_| Way::Command { command: command.clone(), wants_value };
            Ok(gate.sites.iter().map(|site| watch(*site, way(site))).collect())
        }
        GateSource::Http { urls, pointer } => {
            let way =
                |url: &tidegate_config::WebUrl| Way::Fetch { url: url.clone(), pointer: pointer.clone() };
            Ok(urls.iter().map(|(site, url)| watch(*site, way(url))).collect())
        }
    }
}

fn front_door(config: &Config, settings: &FrontDoorSettings) -> Result<Vec<Watch>, LoadError> {
    let site = config.fleet.site(settings.site);
    let Some(check) = &site.front_door_check else { return Ok(Vec::new()) };
    let Timing { interval, fast_interval, timeout } = Timing {
        interval: check.thresholds.interval,
        fast_interval: check.thresholds.fast_interval,
        timeout: check.thresholds.timeout,
    };
    let failed = |error: tidegate_probe::SpecError| LoadError::Watch {
        what: format!("the front door check of site `{}`", site.name),
        detail: error.to_string(),
    };
    let watches = site.front_door.iter().map(|address| {
        let (port, kind) = match &settings.check {
            FrontDoorProbe::Tcp { port } => (*port, Kind::Tcp),
            FrontDoorProbe::Http { url, expect_status } => {
                let statuses = StatusSet::new(expect_status.ranges())
                    .expect("the configuration's set is one of the probe's");
                let mut http = HttpCheck::new(&url.path, &url.authority(), statuses)?;
                if url.is_https {
                    http = http.with_tls(TlsCheck::new(&url.host, Verify::System)?);
                }
                (url.port, Kind::Http(http))
            }
        };
        let timing = Timing { interval, fast_interval, timeout };
        let probe = ProbeSpec::new(OriginId(0), SocketAddr::new(*address, port), kind, timing)?;
        Ok(Watch {
            subject: Subject::FrontDoor { site: site.name.clone(), address: *address },
            way: Way::Probe(probe),
            check: check.check,
            interval,
            fast_interval,
            timeout,
        })
    });
    watches.collect::<Result<_, _>>().map_err(failed)
}

fn witnesses(config: &Config) -> Result<Vec<Watch>, LoadError> {
    let settings = &config.witnesses;
    let (interval, timeout) = (settings.interval, settings.timeout);
    let known = config.fleet.witnesses.addresses.iter().zip(&settings.addresses);
    let watches = known.map(|(name, address)| {
        // What our own machine has failed to do is tried again soon.
        let fast_interval = interval.min(Duration::from_millis(500));
        let timing = Timing { interval, fast_interval, timeout };
        let probe = ProbeSpec::new(OriginId(0), *address, Kind::Tcp, timing)?;
        let subject = Subject::Witness { address: name.clone() };
        Ok(Watch { subject, way: Way::Probe(probe), check: 0, interval, fast_interval, timeout })
    });
    watches.collect::<Result<_, _>>().map_err(|error: tidegate_probe::SpecError| LoadError::Watch {
        what: "witnesses".into(),
        detail: error.to_string(),
    })
}
