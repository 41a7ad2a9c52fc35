//! A daemon without file descriptors must not take its origins down. A process of its own: the limit is its.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_health::id::OriginId;
use tidegate_probe::command::Slots;
use tidegate_probe::{Kind, Outcome, OwnFault, ProbeSpec, Prober, Timing, Trust};
use tokio::net::TcpListener;

#[tokio::test]
async fn without_descriptors_nothing_is_learnt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Duration::from_secs(1);
    let timing = Timing { interval: second, fast_interval: second, timeout: second * 10 };
    let spec = ProbeSpec::new(OriginId(0), listener.local_addr().unwrap(), Kind::Tcp, timing).unwrap();
    let mut prober = Prober::new(&spec, &Trust::default(), &Slots::new(1));
    assert_eq!(prober.probe().await.outcome, Outcome::Pass);
    prober.rest().await;

    let usual = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").unwrap();
    let limit = Rlimit { current: Some(next.as_raw_fd() as u64), maximum: usual.maximum };
    drop(next);
    setrlimit(Resource::Nofile, limit).unwrap();
    let starved = prober.probe().await.outcome;
    setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(starved, Outcome::Inconclusive(OwnFault::OutOfDescriptors));
    assert_eq!(prober.probe().await.outcome, Outcome::Pass);
}
