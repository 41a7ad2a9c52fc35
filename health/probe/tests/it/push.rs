//! Reports of others, and their silence.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_health::id::OriginId;
use tidegate_probe::{
    BURST, Failure, Kind, NotHeard, Observation, Outcome, PER_SECOND, Pace, ProbeSpec, Report, Scheduler,
    Settings,
};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, advance, timeout};

use crate::support::{HOUR, spec, timing};

const DEAD_MAN: Duration = Duration::from_secs(30);
const ORIGIN: OriginId = OriginId(0);

fn addr() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

fn pushed(origin: OriginId) -> ProbeSpec {
    ProbeSpec::pushed(origin, addr(), DEAD_MAN).unwrap()
}

fn start(specs: Vec<ProbeSpec>) -> (Scheduler, Receiver<Observation>) {
    let (sender, results) = channel(100);
    let settings = Settings { per_target_max: 1, commands_max: 1, seed: 1 };
    (Scheduler::start(specs, sender, settings), results)
}

async fn next(results: &mut Receiver<Observation>) -> Observation {
    timeout(HOUR, results.recv()).await.expect("an observation in time").expect("the loop goes on")
}

fn silent() -> Outcome {
    Outcome::Fail(Failure::Silent { after: DEAD_MAN })
}

#[tokio::test(start_paused = true)]
async fn reports_are_observations() {
    let (mut scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    scheduler
        .report(vec![(ORIGIN, Report::Pass), (ORIGIN, Report::fail("\n replica stopped\x07 \nmore"))])
        .unwrap();
    assert_eq!(next(&mut results).await.outcome, Outcome::Pass);
    let failed = next(&mut results).await.outcome;
    assert_eq!(failed.to_string(), "reported: replica stopped");
    assert_eq!(failed.label(), "reported");
    assert_eq!(Report::fail(" \n"), Report::Fail("without a word".into()));
}

#[tokio::test(start_paused = true)]
async fn silence_fails_after_the_dead_man_time_and_not_before() {
    let began = Instant::now();
    let (mut scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    let first = next(&mut results).await;
    assert_eq!((first.outcome, first.started - began), (silent(), DEAD_MAN));
    // A report begins the time anew.
    scheduler.report(vec![(ORIGIN, Report::Pass)]).unwrap();
    let heard = next(&mut results).await;
    assert_eq!(heard.outcome, Outcome::Pass);
    advance(DEAD_MAN - Duration::from_millis(1)).await;
    scheduler.report(vec![(ORIGIN, Report::fail("down"))]).unwrap();
    assert_eq!(next(&mut results).await.outcome.label(), "reported", "just in time");
    let began = Instant::now();
    let late = next(&mut results).await;
    assert_eq!((late.outcome.to_string().as_str(), late.started - began), ("no report for 30s", DEAD_MAN));
}

#[tokio::test(start_paused = true)]
async fn silence_fails_again_at_the_pace_that_is_asked_for() {
    let (scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    let first = next(&mut results).await;
    scheduler.pace(ORIGIN, Pace::Fast);
    let second = next(&mut results).await;
    assert_eq!(second.started - first.started, Duration::from_millis(250));
    scheduler.pace(ORIGIN, Pace::Normal);
    let third = next(&mut results).await;
    assert_eq!((third.outcome, third.started - second.started), (silent(), DEAD_MAN));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stood_still_is_not_silence() {
    let (_scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    tokio::task::yield_now().await;
    advance(DEAD_MAN * 2).await;
    let starved = next(&mut results).await;
    assert!(matches!(starved.outcome, Outcome::Inconclusive(_)), "{:?}", starved.outcome);
    let silent_since = next(&mut results).await;
    assert_eq!((silent_since.outcome, silent_since.started - starved.started), (silent(), DEAD_MAN));
}

#[tokio::test(start_paused = true)]
async fn more_reports_than_allowed_are_refused_and_none_of_them_counts() {
    let (mut scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    let many = |count: u32| (0..count).map(|_| (ORIGIN, Report::Pass)).collect::<Vec<_>>();
    assert_eq!(scheduler.report(many(BURST + 1)), Err((ORIGIN, NotHeard::TooMany)));
    scheduler.report(many(BURST)).unwrap();
    for _ in 0..BURST {
        assert_eq!(next(&mut results).await.outcome, Outcome::Pass);
    }
    assert_eq!(scheduler.report(many(1)), Err((ORIGIN, NotHeard::TooMany)));
    advance(Duration::from_secs(1)).await;
    assert_eq!(scheduler.report(many(PER_SECOND + 1)), Err((ORIGIN, NotHeard::TooMany)));
    scheduler.report(many(PER_SECOND)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_origins_that_wait_for_reports_take_them() {
    let tcp = spec(1, addr(), Kind::Tcp, timing(HOUR, HOUR));
    let (mut scheduler, _results) = start(vec![pushed(ORIGIN), tcp]);
    for other in [OriginId(1), OriginId(7)] {
        let refused = scheduler.report(vec![(ORIGIN, Report::Pass), (other, Report::Pass)]);
        assert_eq!(refused, Err((other, NotHeard::NotPushed)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_leaves_the_time_of_an_unchanged_origin_alone() {
    let began = Instant::now();
    let (mut scheduler, mut results) = start(vec![pushed(ORIGIN)]);
    tokio::task::yield_now().await;
    advance(DEAD_MAN / 2).await;
    let generation = scheduler.replace(vec![pushed(OriginId(5))]);
    let silence = next(&mut results).await;
    assert_eq!((silence.origin, silence.generation), (OriginId(5), generation));
    assert_eq!((silence.outcome, silence.started - began), (silent(), DEAD_MAN));
    scheduler.replace(vec![ProbeSpec::pushed(OriginId(5), addr(), 2 * DEAD_MAN).unwrap()]);
    let began = Instant::now();
    assert_eq!(next(&mut results).await.started - began, 2 * DEAD_MAN, "another time is another check");
}
