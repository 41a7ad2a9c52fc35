//! Question bytes to answer bytes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use tidegate_dns::{
    DropReason, Handler, Observer, Protocol, QtypeLabel, Steered, SteeredAnswer, View, Zone, ZoneView,
};

use crate::fleet::{ORIGINS_PER_SERVICE, SIZES};

struct Nobody;

impl Observer for Nobody {
    fn query(&self, _protocol: Protocol, _qtype: QtypeLabel, _rcode: u8) {}
    fn dropped(&self, _protocol: Protocol, _reason: DropReason) {}
}

/// A zone of a thousand static names, and nothing at `s0`, `s1` and so on, which are steered.
pub(crate) fn zone() -> Arc<Zone> {
    let mut text =
        String::from("$TTL 60\n@ IN SOA ns1 h 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 192.0.2.53\n");
    for host in 0..1000 {
        text.push_str(&format!("h{host} IN A 192.0.2.{}\n", host % 250 + 1));
    }
    Arc::new(Zone::parse("example.test", &text, "bench").expect("the zone is sound"))
}

/// Each service has a steered name. Asked for: one of those, a static name, and one that does not exist.
pub(crate) fn answering(c: &mut Criterion) {
    let mut group = c.benchmark_group("answer");
    for origins in SIZES {
        let steered = (0..origins / ORIGINS_PER_SERVICE).map(|number| Steered {
            name: format!("s{number}"),
            ttl: 30,
            answer: SteeredAnswer::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]),
        });
        let steered: Vec<Steered> = steered.collect();
        let zone = ZoneView::build(zone(), 7, &steered).expect("no name collides");
        let view = Arc::new(View::new(vec![zone]));
        let handler = Handler::new(Arc::new(move || view.clone()), Arc::new(Nobody));
        for (what, name) in [("steered", "s0"), ("static", "h500"), ("missing", "missing")] {
            let question = question(&[name, "example", "test"]);
            let mut out = Vec::with_capacity(1232);
            group.bench_function(BenchmarkId::new(what, origins), |b| {
                b.iter(|| handler.answer(black_box(&question), Protocol::Udp, &mut out));
            });
        }
    }
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
