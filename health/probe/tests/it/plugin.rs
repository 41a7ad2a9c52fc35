//! Programs that check, by the convention of Nagios.

use std::time::Duration;

use tidegate_probe::command::{Command, Slots};
use tidegate_probe::{CommandCheck, Failure, Kind, Outcome, OwnFault, Prober, Stage, Timing, Trust, Verdict};
use tokio::time::timeout;

use crate::support::{DEADLINE, HOUR, prober, spec};

fn check(script: &str, warning_passes: bool) -> Kind {
    Kind::Command(CommandCheck::new(Command::new(["/bin/sh", "-c", script]).unwrap(), warning_passes))
}

async fn ask(kind: Kind) -> Verdict {
    timeout(2 * DEADLINE, prober(([127, 0, 0, 1], 1).into(), kind).probe()).await.unwrap()
}

fn failed(text: &str) -> Outcome {
    Outcome::Fail(Failure::Command { text: text.into() })
}

fn warning(verdict: &Verdict) -> Option<&str> {
    verdict.note.as_ref()?.warning.as_deref()
}

#[tokio::test]
async fn the_exit_code_is_the_result_and_the_first_line_says_why() {
    let well = ask(check("echo OK", true)).await;
    assert_eq!((&well.outcome, warning(&well)), (&Outcome::Pass, None));
    let critical = ask(check("echo; echo 'DISK CRITICAL - 99% full'; echo more; exit 2", true)).await;
    assert_eq!(critical.outcome, failed("DISK CRITICAL - 99% full"));
    assert_eq!(critical.outcome.to_string(), "the check's program says: DISK CRITICAL - 99% full");
    assert_eq!(critical.outcome.label(), "command");
    assert_eq!(ask(check("exit 2", true)).await.outcome, failed("critical, without a word"));
}

#[tokio::test]
async fn a_warning_passes_or_fails_as_configured() {
    let passes = ask(check("echo 'DISK WARNING'; exit 1", true)).await;
    assert_eq!((&passes.outcome, warning(&passes)), (&Outcome::Pass, Some("DISK WARNING")));
    assert_eq!(ask(check("echo 'DISK WARNING'; exit 1", false)).await.outcome, failed("DISK WARNING"));
}

#[tokio::test]
async fn unknown_and_everything_else_decides_nothing_and_says_why() {
    for (script, why) in [
        ("echo 'no such disk'; exit 3", "exit code 3: no such disk"),
        ("exit 4", "exit code 4: without a word"),
        ("exit 127", "exit code 127"),
        ("kill -9 $$", "it was killed by signal 9"),
    ] {
        let verdict = ask(check(script, true)).await;
        assert_eq!(verdict.outcome, Outcome::Inconclusive(OwnFault::Undecided), "{script}");
        let said = warning(&verdict).expect("a warning");
        assert!(said.contains("/bin/sh") && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_program_that_is_missing_decides_nothing() {
    let missing = Command::new(["/nowhere/check"]).unwrap();
    let verdict = ask(Kind::Command(CommandCheck::new(missing, true))).await;
    assert_eq!(verdict.outcome, Outcome::Inconclusive(OwnFault::CannotRun));
    assert!(warning(&verdict).expect("a warning").contains("/nowhere/check"), "{verdict:?}");
}

#[tokio::test]
async fn a_program_that_takes_too_long_fails_and_its_slot_comes_back() {
    let after = Duration::from_millis(100);
    let timing = Timing { interval: HOUR, fast_interval: HOUR, timeout: after };
    let (slots, kind) = (Slots::new(1), check("trap '' TERM; sleep 3600", true));
    let mut prober =
        Prober::new(&spec(0, ([127, 0, 0, 1], 1).into(), kind, timing), &Trust::default(), &slots);
    let verdict = timeout(DEADLINE, prober.probe()).await.unwrap();
    // A machine that is starved says so instead.
    let expected = Outcome::Fail(Failure::TimedOut { after, stage: Stage::Command });
    assert!([expected, Outcome::Inconclusive(OwnFault::Starved)].contains(&verdict.outcome), "{verdict:?}");
    drop(timeout(DEADLINE, slots.take()).await.expect("the slot comes back"));
}

#[tokio::test]
async fn a_turn_is_waited_for_outside_the_probes_time() {
    let (slots, kind) = (Slots::new(1), check("exit 0", true));
    let timing = Timing { interval: HOUR, fast_interval: HOUR, timeout: DEADLINE };
    let mut prober =
        Prober::new(&spec(0, ([127, 0, 0, 1], 1).into(), kind, timing), &Trust::default(), &slots);
    let taken = slots.take().await;
    assert!(timeout(Duration::from_millis(20), prober.ready()).await.is_err(), "no slot is free");
    drop(taken);
    timeout(DEADLINE, prober.ready()).await.expect("a slot is free");
    assert_eq!(slots.free(), 0);
    assert_eq!(prober.probe().await.outcome, Outcome::Pass);
    drop(timeout(DEADLINE, slots.take()).await.expect("the slot comes back"));
}
