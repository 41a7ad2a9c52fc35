//! Building a World and making it what readers see, which happens with every change of any origin's health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use tidegate::control::{Plan, Publisher, Service, ZoneSource};
use tidegate::metrics::Metrics;
use tidegate::world::Worlds;
use tidegate_config::{Protocol, Spill, SteerSettings};
use tidegate_health::fleet::Fleet;
use tidegate_health::id::ServiceId;
use tidegate_proxy::{BudgetPolicy, RetryBudget, ServiceSettings};

use crate::fleet::{SIZES, fleet, settled};
use crate::{dns, targets};

/// Every service may spill, so both sites are in each view; every group has a steered name.
pub(crate) fn publishing(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    for origins in SIZES {
        let fleet = fleet(origins);
        let (state, _) = settled(&fleet);
        let targets = targets(origins).collect();
        let zones = vec![zone(&fleet)];
        let mut publisher = Publisher::new(Worlds::default(), &state);
        let services = services(&fleet);
        let settings = Arc::default();
        let plan = Plan {
            fleet: Arc::new(fleet),
            probes: Vec::new(),
            targets,
            services,
            zones,
            watches: Vec::new(),
            settings,
            history: Default::default(),
        };
        let serials = BTreeMap::new();
        group.bench_function(BenchmarkId::new("world", origins), |b| {
            b.iter(|| publisher.publish(&plan, &state, &serials));
        });
        let metrics = Metrics::new().expect("names are unique");
        let series = metrics.series(&plan.fleet);
        group.bench_function(BenchmarkId::new("metrics", origins), |b| {
            b.iter(|| metrics.published(&series, &plan.fleet, &state, 7));
        });
    }
    group.finish();
}

fn services(fleet: &Fleet) -> Vec<Service> {
    let services = (0..fleet.services.len() as u16).map(|number| Service {
        id: ServiceId(number),
        protocol: Protocol::Http,
        hosts: vec![format!("s{number}.example.test").into()],
        spill: Spill::Safe,
        slow_start: Duration::ZERO,
        settings: ServiceSettings::default(),
        budget: Arc::new(RetryBudget::new(BudgetPolicy::default())),
    });
    services.collect()
}

fn zone(fleet: &Fleet) -> ZoneSource {
    let steer = fleet.group_ids().map(|group| SteerSettings {
        name: format!("s{}.example.test", group.0).into(),
        group,
        ttl: Duration::from_secs(30),
    });
    ZoneSource { name: "example.test".into(), zone: dns::zone(), steer: steer.collect() }
}
