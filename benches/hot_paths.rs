//! What runs per request, per question, per probe result and per publication.
//!
//! `cargo bench --bench hot_paths`. Read the figures as ratios between runs on one machine, not as absolute times.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_dns::{
    DropReason, Handler, Observer, Protocol, QtypeLabel, Steered, SteeredAnswer, View, Zone, ZoneView,
};
use tidegate_health::fleet::{
    Data, Failback, Fleet, Group, Mode, Origin, Service, Site, SwitchLimit, Thresholds,
};
use tidegate_health::id::{GroupId, OriginId, ServiceId, SiteId};
use tidegate_health::state::State;
use tidegate_health::step::{Input, step};
use tidegate_health::time::Now;
use tidegate_proxy::select::{Tried, pick};
use tidegate_proxy::{EjectionPolicy, OriginView, SiteView, Target};

const FLEETS: [u32; 3] = [12, 1_200, 12_000];
const ORIGINS_PER_SITE: u32 = 4;
const SITES: u16 = 3;

/// Services of three sites with four origins each, one group per service.
fn fleet(origins: u32) -> Fleet {
    let mut fleet = Fleet::default();
    for site in 0..SITES {
        fleet.sites.push(Site {
            name: format!("site{site}").into(),
            label: format!("site {site}").into(),
            provides: Default::default(),
            front_door: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, site as u8 + 1))],
        });
    }
    for number in 0..origins / (ORIGINS_PER_SITE * u32::from(SITES)) {
        add_service(&mut fleet, number as u16);
    }
    fleet
}

fn add_service(fleet: &mut Fleet, number: u16) {
    let thresholds = Thresholds {
        fall: 3,
        rise: 2,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        timeout: Duration::from_millis(500),
    };
    let mut origins = BTreeMap::new();
    for site in (0..SITES).map(SiteId) {
        for place in 0..ORIGINS_PER_SITE {
            let id = OriginId(fleet.origins.len() as u32);
            let name = format!("service{number}/site{}/{place}", site.0).into();
            fleet.origins.push(Origin { name, service: ServiceId(number), site, host: None, thresholds });
            origins.entry(site).or_insert_with(Vec::new).push(id);
        }
    }
    let name = format!("service{number}").into();
    fleet.services.push(Service { name, group: GroupId(number), critical: true, min_up: 1, origins });
    fleet.groups.push(Group {
        name: format!("group{number}").into(),
        sites: (0..SITES).map(SiteId).collect(),
        services: vec![ServiceId(number)],
        data: Data::Stateless { failback: Failback::Manual },
        mode: Mode::Automatic,
        failover_after: Duration::from_secs(10),
        minimum_stay: Duration::ZERO,
        switch_limit: SwitchLimit { count: 3, window: Duration::from_secs(3600) },
        requires: Default::default(),
        wants: Default::default(),
    });
}

/// One passing result of an origin that is up: by far the most frequent input. And a tick, which looks at every group.
fn core(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for origins in FLEETS {
        let fleet = fleet(origins);
        let mut now = Now::default();
        let mut state = State::new(&fleet, &BTreeMap::new(), now).expect("nothing is stored");
        let pass = |origin, now: Now| Input::Observation { origin, started: now.mono, failure: None };
        for origin in fleet.origin_ids() {
            black_box(step(&fleet, &mut state, pass(origin, now), now));
        }
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("pass", origins), |b| {
            b.iter(|| {
                turn = (turn + 1) % origins;
                now = now.plus(Duration::from_micros(80));
                step(&fleet, &mut state, pass(OriginId(turn), now), now)
            });
        });
        group.bench_function(BenchmarkId::new("tick", origins), |b| {
            b.iter(|| {
                now = now.plus(Duration::from_millis(25));
                step(&fleet, &mut state, Input::Tick, now)
            });
        });
    }
    group.finish();
}

struct Nobody;

impl Observer for Nobody {
    fn query(&self, _protocol: Protocol, _qtype: QtypeLabel, _rcode: u8) {}
    fn dropped(&self, _protocol: Protocol, _reason: DropReason) {}
}

/// Question bytes to answer bytes, for a steered name, a static one, and one that does not exist.
fn dns(c: &mut Criterion) {
    let mut text =
        String::from("$TTL 60\n@ IN SOA ns1 h 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 192.0.2.53\n");
    for host in 0..1000 {
        text.push_str(&format!("h{host} IN A 192.0.2.{}\n", host % 250 + 1));
    }
    let zone = Arc::new(Zone::parse("example.test", &text, "bench").expect("the zone is sound"));
    let steered = Steered {
        name: "www.example.test.".into(),
        ttl: 30,
        answer: SteeredAnswer::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]),
    };
    let build =
        || ZoneView::build(zone.clone(), 7, std::slice::from_ref(&steered)).expect("no name collides");
    let view = Arc::new(View::new(vec![build()]));
    let handler = Handler::new(Arc::new(move || view.clone()), Arc::new(Nobody));
    let mut group = c.benchmark_group("dns");
    for name in ["www", "h500", "missing"] {
        let question = question(&[name, "example", "test"]);
        let mut out = Vec::with_capacity(1232);
        group.bench_function(BenchmarkId::new("answer", name), |b| {
            b.iter(|| handler.answer(black_box(&question), Protocol::Udp, &mut out));
        });
    }
    group.bench_function("build a view of one zone", |b| b.iter(|| View::new(vec![build()])));
    group.finish();
}

/// A question for an A record, with recursion desired, as a resolver sends it (RFC 1035, section 4.1).
fn question(labels: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

fn picking(c: &mut Criterion) {
    let origins = (0..ORIGINS_PER_SITE).map(|place| OriginView {
        target: Target::new(
            place.to_string().into(),
            ([127, 0, 0, 1], 1).into(),
            None,
            EjectionPolicy::default(),
        )
        .expect("without TLS nothing can be wrong"),
        up: true,
        forced_down: false,
    });
    let site = SiteView { site: "main".into(), origins: origins.collect() };
    let tried = Tried::default();
    c.bench_function("pick of four", |b| {
        b.iter(|| pick(black_box(&site), &tried, 0, |below| fastrand::usize(..below)));
    });
}

criterion_group!(benches, core, dns, picking);
criterion_main!(benches);
