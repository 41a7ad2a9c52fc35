//! Many checks at once: when they start, how many run, and when they end.

use std::sync::Arc;
use std::time::Duration;

use tidegate_health::id::OriginId;
use tidegate_probe::{Failure, Kind, Observation, Outcome, Pace, ProbeSpec, Scheduler, Settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, timeout};

use crate::support::{DEADLINE, HOUR, OK, Origin, get, head, refusing, spec, timing};

const QUICK: Duration = Duration::from_millis(5);
/// Long enough for a probe that should not be there to show up.
const QUIET: Duration = Duration::from_millis(100);
const SETTINGS: Settings = Settings { per_target_max: 8, commands_max: 4, seed: 1 };
const ONE: OriginId = OriginId(1);
const TWO: OriginId = OriginId(2);

fn http(origin: OriginId, server: &Origin, path: &str, interval: Duration) -> ProbeSpec {
    spec(origin.0, server.addr, Kind::Http(get(path)), timing(interval, QUICK))
}

async fn next(results: &mut Receiver<Observation>) -> Observation {
    timeout(DEADLINE, results.recv()).await.expect("no observation came").expect("the scheduler ended")
}

async fn quiet(results: &mut Receiver<Observation>) -> bool {
    timeout(QUIET, results.recv()).await.is_err()
}

#[tokio::test]
async fn envoy_10498_no_check_storm_at_start() {
    const ORIGINS: u32 = 300;
    let origin = Origin::answering(OK).await;
    let (sender, mut results) = channel(16);
    let specs = (0..ORIGINS).map(|id| http(OriginId(id), &origin, "/", HOUR)).collect();
    let began = Instant::now();
    let scheduler = Scheduler::start(specs, sender, SETTINGS);
    let mut round = Vec::new();
    for _ in 0..ORIGINS {
        round.push(next(&mut results).await);
    }
    let complete = began.elapsed();
    let mut origins: Vec<u32> = round.iter().map(|observation| observation.origin.0).collect();
    origins.sort_unstable();
    assert_eq!(origins, (0..ORIGINS).collect::<Vec<_>>(), "each origin once");
    // Spread at a millisecond each: the k-th start is never earlier than k milliseconds after the beginning.
    let mut starts: Vec<Duration> = round.iter().map(|observation| observation.started - began).collect();
    starts.sort_unstable();
    for (k, start) in starts.iter().enumerate() {
        assert!(*start >= Duration::from_millis(k as u64), "start {k} came after {start:?}");
    }
    assert!(complete < Duration::from_secs(10), "a first round takes {complete:?}");
    assert_eq!(origin.seen.requests(), ORIGINS as usize);
    scheduler.stop().await;
}

/// An origin that answers as often as the gate lets it.
async fn gated(gate: Arc<Semaphore>) -> Origin {
    Origin::raw(move |mut stream, seen| {
        let gate = gate.clone();
        async move {
            while head(&mut stream).await.is_some() {
                seen.request();
                gate.acquire().await.unwrap().forget();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn probes_of_one_address_are_capped() {
    const CAP: usize = 5;
    let gate = Arc::new(Semaphore::new(0));
    let (one, other) = (gated(gate.clone()).await, gated(gate.clone()).await);
    let (sender, mut results) = channel(64);
    // Two ports, one address.
    let specs = (0..50).map(|id| http(OriginId(id), [&one, &other][id as usize % 2], "/", HOUR)).collect();
    let scheduler =
        Scheduler::start(specs, sender, Settings { per_target_max: CAP, commands_max: 4, seed: 7 });
    let asked = || one.seen.requests() + other.seen.requests();
    for answered in 0..50 {
        let due = (answered + CAP).min(50);
        let reached = async {
            while asked() < due {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, reached).await.expect("the cap is used");
        if answered % 10 == 0 {
            assert!(quiet(&mut results).await);
        }
        assert_eq!(asked(), due, "after {answered} answers");
        gate.add_permits(1);
        assert_eq!(next(&mut results).await.outcome, Outcome::Pass);
    }
    scheduler.stop().await;
}

#[tokio::test]
async fn the_wait_for_a_turn_is_not_probe_time() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = gated(gate.clone()).await;
    let (sender, mut results) = channel(16);
    let specs = vec![http(ONE, &origin, "/", HOUR), http(TWO, &origin, "/", HOUR)];
    let scheduler = Scheduler::start(specs, sender, Settings { per_target_max: 1, commands_max: 4, seed: 1 });
    origin.seen.until(|seen| seen.requests() == 1).await;
    gate.add_permits(2);
    let (first, second) = (next(&mut results).await, next(&mut results).await);
    assert!(second.started >= first.finished);
    scheduler.stop().await;
}

/// Live traffic that is refused asks for a probe. One on a kept connection would pass and call the origin usable again.
#[tokio::test]
async fn probe_now_asks_whether_anyone_can_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, mut results) = channel(16);
    let specs = vec![spec(ONE.0, addr, Kind::Http(get("/")), timing(HOUR, HOUR))];
    let scheduler = Scheduler::start(specs, sender, SETTINGS);
    let (mut stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    drop(listener);
    let answering = tokio::spawn(async move {
        while head(&mut stream).await.is_some() {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(next(&mut results).await.outcome, Outcome::Pass);
    scheduler.probe_now(ONE);
    assert_eq!(next(&mut results).await.outcome, Outcome::Fail(Failure::Refused));
    scheduler.stop().await;
    timeout(DEADLINE, answering).await.expect("the old connection is closed").unwrap();
}

#[tokio::test]
async fn probe_now_asks_at_once_and_once() {
    let gate = Arc::new(Semaphore::new(1));
    let origin = gated(gate.clone()).await;
    let (sender, mut results) = channel(16);
    let scheduler = Scheduler::start(vec![http(ONE, &origin, "/", HOUR)], sender, SETTINGS);
    next(&mut results).await;
    scheduler.probe_now(ONE);
    origin.seen.until(|seen| seen.requests() == 2).await;
    // While that one runs, any number of wishes are one more probe, right after it.
    for _ in 0..100 {
        scheduler.probe_now(ONE);
    }
    gate.add_permits(100);
    let (second, third) = (next(&mut results).await, next(&mut results).await);
    assert!(third.started >= second.finished);
    assert!(quiet(&mut results).await);
    assert_eq!(origin.seen.requests(), 3);
    scheduler.probe_now(OriginId(99));
    scheduler.stop().await;
}

#[tokio::test]
async fn the_fast_pace_is_taken_up_and_left_at_once() {
    let origin = Origin::answering(OK).await;
    let (sender, mut results) = channel(1);
    let scheduler = Scheduler::start(vec![http(ONE, &origin, "/", HOUR)], sender, SETTINGS);
    let mut last = next(&mut results).await;
    scheduler.pace(ONE, Pace::Fast);
    let mut gaps = Vec::new();
    for _ in 0..10 {
        let now = next(&mut results).await;
        gaps.push(now.started - last.started);
        last = now;
    }
    // Nothing shortens the sum of the gaps by more than the two jitters at its ends.
    assert!(gaps.iter().sum::<Duration>() >= QUICK * 9, "{gaps:?}");
    scheduler.pace(ONE, Pace::Normal);
    let mut left = 0;
    while !quiet(&mut results).await {
        left += 1;
    }
    assert!(left <= 3, "{left} probes after the return to an hour");
    scheduler.stop().await;
}

#[tokio::test]
async fn powerdns_7988_checks_end_with_their_record() {
    let (gone, kept) = (Origin::answering(OK).await, Origin::answering(OK).await);
    let (sender, mut results) = channel(16);
    let specs = vec![http(ONE, &gone, "/", QUICK), http(TWO, &kept, "/", QUICK)];
    let mut scheduler = Scheduler::start(specs, sender, SETTINGS);
    gone.seen.until(|seen| seen.requests() >= 3).await;
    let generation = scheduler.replace(vec![http(TWO, &kept, "/", QUICK)]);
    assert_eq!(generation, 1);
    // Its connection is closed as well.
    let drained = async { while next(&mut results).await.generation < generation {} };
    drained.await;
    gone.seen.until(|seen| seen.open() == 0).await;
    let (requests, connections) = (gone.seen.requests(), gone.seen.connections());
    for _ in 0..20 {
        let observation = next(&mut results).await;
        assert_eq!((observation.origin, observation.generation), (TWO, generation));
    }
    assert_eq!((gone.seen.requests(), gone.seen.connections()), (requests, connections));
    scheduler.stop().await;
}

#[tokio::test]
async fn what_a_reload_leaves_alone_goes_on_even_under_another_number() {
    let (first, second) = (Origin::answering(OK).await, Origin::answering(OK).await);
    let (sender, mut results) = channel(16);
    let hourly = |origin: OriginId, server: &Origin| {
        spec(origin.0, server.addr, Kind::Http(get("/")), timing(HOUR, Duration::from_millis(300)))
    };
    let specs = vec![hourly(ONE, &first), hourly(TWO, &second)];
    let mut scheduler = Scheduler::start(specs, sender, SETTINGS);
    next(&mut results).await;
    next(&mut results).await;
    // The first is gone, so the second is now the first; a third is new.
    let third = Origin::answering(OK).await;
    scheduler.replace(vec![hourly(ONE, &second), hourly(TWO, &third)]);
    let new = next(&mut results).await;
    assert_eq!((new.origin, new.generation), (TWO, 1));
    assert!(quiet(&mut results).await, "a kept check does not start over");
    scheduler.pace(ONE, Pace::Fast);
    let renumbered = next(&mut results).await;
    assert_eq!((renumbered.origin, renumbered.generation), (ONE, 1));
    assert_eq!(second.seen.connections(), 1, "nor does it lose its connection");
    first.seen.until(|seen| seen.open() == 0).await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_changed_check_starts_over() {
    let (origin, (refused, _socket)) = (Origin::answering(OK).await, refusing());
    let (sender, mut results) = channel(16);
    let mut scheduler = Scheduler::start(vec![http(ONE, &origin, "/", HOUR)], sender, SETTINGS);
    assert_eq!(next(&mut results).await.outcome, Outcome::Pass);
    scheduler.replace(vec![spec(ONE.0, refused, Kind::Tcp, timing(HOUR, HOUR))]);
    assert_eq!(next(&mut results).await.outcome, Outcome::Fail(Failure::Refused));
    origin.seen.until(|seen| seen.open() == 0).await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_second_check_of_one_origin_is_ignored() {
    let (one, other) = (Origin::answering(OK).await, Origin::answering(OK).await);
    let (sender, mut results) = channel(16);
    let mut scheduler = Scheduler::start(Vec::new(), sender, SETTINGS);
    scheduler.replace(vec![http(ONE, &one, "/", HOUR)]);
    next(&mut results).await;
    scheduler.replace(vec![http(ONE, &one, "/", HOUR), http(ONE, &other, "/", HOUR)]);
    assert!(quiet(&mut results).await);
    assert_eq!((one.seen.requests(), other.seen.requests()), (1, 0));
    scheduler.stop().await;
}

#[tokio::test]
async fn a_full_channel_holds_the_probes_back() {
    let origin = Origin::answering(OK).await;
    let (sender, mut results) = channel(1);
    let scheduler = Scheduler::start(vec![http(ONE, &origin, "/", QUICK)], sender, SETTINGS);
    // One result waits in the channel, one for room; then nothing more is asked.
    origin.seen.until(|seen| seen.requests() == 2).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(origin.seen.requests(), 2);
    for _ in 0..5 {
        next(&mut results).await;
    }
    assert!(origin.seen.requests() >= 5, "every result was of a request of its own");
    scheduler.stop().await;
}

#[tokio::test]
async fn checks_end_when_nobody_listens() {
    let origin = Origin::answering(OK).await;
    let (sender, results) = channel(1);
    let _scheduler = Scheduler::start(vec![http(ONE, &origin, "/", QUICK)], sender, SETTINGS);
    origin.seen.until(|seen| seen.requests() >= 1).await;
    drop(results);
    origin.seen.until(|seen| seen.open() == 0).await;
}

#[tokio::test]
async fn stop_and_drop_end_all_checks() {
    for graceful in [true, false] {
        let origin = Origin::answering(OK).await;
        let (sender, mut results) = channel(1);
        let specs = (0..20).map(|id| http(OriginId(id), &origin, "/", QUICK)).collect();
        let scheduler = Scheduler::start(specs, sender, SETTINGS);
        next(&mut results).await;
        if graceful {
            scheduler.stop().await;
        } else {
            drop(scheduler);
        }
        origin.seen.until(|seen| seen.open() == 0).await;
        while results.recv().await.is_some() {}
    }
}
