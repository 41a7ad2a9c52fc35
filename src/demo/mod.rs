//! A failover and the way back, on this machine, in half a minute: no configuration, no privileges.
//!
//! Everything in it is real: the daemon and the three sites are processes of their own, the main site is killed with
//! SIGKILL, and what each step cost is read from the log of a client that only sees HTTP and DNS.

mod client;
mod report;
pub mod site;
mod stage;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{DONE, FAILED, complain, show};
use client::Visitor;
use report::{Expectation, Report, Step};
use stage::{Stage, StageError};

/// A step that takes longer did not happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the client keeps on after a step, to see that it lasts.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Runs the demo; returns the exit code: 1 if a step did not happen.
#[must_use]
pub fn run(as_json: bool) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("the demo cannot start: {error}")),
    };
    let played = runtime.block_on(async {
        // Whoever stops the demo stops all of it: dropping the stage kills its processes and removes its folder.
        tokio::select! {
            played = play(as_json) => played,
            () = stopped() => Err(StageError::Stopped),
        }
    });
    match played {
        Ok(report) => {
            show(&if as_json { report.json() } else { report.summary() });
            if report.all_happened() { DONE } else { FAILED }
        }
        Err(error) => complain(&format!("the demo cannot go on: {error}")),
    }
}

/// Waits for a signal to stop; for ever where signals cannot be caught.
async fn stopped() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn play(quiet: bool) -> Result<Report, StageError> {
    let say = |text: &str| {
        if !quiet {
            show(text);
        }
    };
    say("Three sites (main, dr, backup), one tidegate, one client; all on this machine's loopback.");
    let mut stage = Stage::set().await?;
    let visitor = Visitor::start(stage.http, stage.dns);
    let mut report = Report::default();
    let mut keep = |step: Step| {
        say(&step.line());
        report.steps.push(step);
    };

    say("\nThe client asks 100 times a second over HTTP and 100 times a second over DNS.");
    let begun = Instant::now();
    keep(finish(&visitor, "start", "the group starts at main", begun, Expectation::Moves("main")).await);

    say("\nThe main site is killed (SIGKILL).");
    let begun = Instant::now();
    stage.kill("main");
    keep(
        finish(&visitor, "failover", "requests and DNS answers move to dr", begun, Expectation::Moves("dr"))
            .await,
    );

    say("\nThe main site comes back. Nothing may move by itself: the return latch holds.");
    let begun = Instant::now();
    stage.start_site("main").await?;
    let fit = stage.wait_fit("main", PATIENCE).await;
    let stays = if fit { Expectation::Stays("dr") } else { Expectation::Impossible };
    keep(finish(&visitor, "return", "main is fit again and the group stays at dr", begun, stays).await);

    say("\nA person says: tidegate failback web --reason \"main is repaired\"");
    let begun = Instant::now();
    stage.order("failback", &json!({ "reason": "main is repaired" })).await?;
    keep(
        finish(
            &visitor,
            "failback",
            "requests and DNS answers are back at main",
            begun,
            Expectation::Moves("main"),
        )
        .await,
    );

    stage.end().await;
    Ok(report)
}

/// Waits until the client has seen what is expected, or patience ends, and adds up what that cost.
async fn finish(
    visitor: &Visitor,
    name: &'static str,
    what: &'static str,
    begun: Instant,
    expected: Expectation,
) -> Step {
    let deadline = begun + PATIENCE;
    let seen = match expected {
        Expectation::Moves(site) => visitor.wait_settled(site, begun, deadline).await,
        Expectation::Stays(_) => true,
        Expectation::Impossible => false,
    };
    tokio::time::sleep(AFTERWARDS).await;
    Step::add_up(name, what, begun, expected, seen, &visitor.log_since(begun))
}
