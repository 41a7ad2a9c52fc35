//! What runs per request, per question, per probe result and per publication, for fleets of different sizes.
//!
//! `cargo bench --bench hot_paths`. Read the figures as ratios between runs on one machine, not as absolute times.

mod dns;
mod fleet;
mod publish;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_health::id::OriginId;
use tidegate_health::step::{Input, step};
use tidegate_proxy::select::{Tried, pick};
use tidegate_proxy::{EjectionPolicy, OriginView, SiteView, Target};

use fleet::SIZES;

/// One passing result of an origin that is up: by far the most frequent input. And a tick, which looks at every group.
fn core(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    for origins in SIZES {
        let fleet = fleet::fleet(origins);
        let (mut state, mut now) = fleet::settled(&fleet);
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("pass", origins), |b| {
            b.iter(|| {
                turn = (turn + 1) % origins;
                now = now.plus(Duration::from_micros(80));
                let input = Input::Observation { origin: OriginId(turn), started: now.mono, failure: None };
                step(&fleet, &mut state, input, now)
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

/// One of so many origins of one site: all of them are looked at, so that the pick is fair.
fn picking(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for origins in [4].into_iter().chain(SIZES) {
        let views = targets(origins).map(|target| OriginView { target, up: true, forced_down: false });
        let site = SiteView { site: "main".into(), origins: views.collect(), slow_start: Duration::ZERO };
        let tried = Tried::default();
        group.bench_function(BenchmarkId::from_parameter(origins), |b| {
            b.iter(|| pick(black_box(&site), &tried, 0, |below| fastrand::usize(..below)));
        });
    }
    group.finish();
}

fn targets(count: u32) -> impl Iterator<Item = Arc<Target>> {
    (0..count).map(|number| {
        let address = ([127, 0, 0, 1], 1).into();
        Target::new(number.to_string().into(), address, None, EjectionPolicy::default())
            .expect("without TLS nothing can be wrong")
    })
}

/// Enough for medians that agree to some per cent, and all of it in less than three minutes.
fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}

criterion_group! {
    name = benches;
    config = settings();
    targets = core, dns::answering, picking, publish::publishing
}
criterion_main!(benches);
