//! What must hold for any run of results and any thresholds.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_health::fleet::Thresholds;
use tidegate_health::hysteresis::{Health, Hysteresis};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Pass,
    Fail,
    Stall,
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    (1..6_u32, 1..6_u32).prop_map(|(fall, rise)| Thresholds {
        fall,
        rise,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        timeout: Duration::from_millis(500),
    })
}

fn results() -> impl Strategy<Value = Vec<Seen>> {
    let one = prop_oneof![8 => Just(Seen::Pass), 8 => Just(Seen::Fail), 1 => Just(Seen::Stall)];
    prop::collection::vec(one, 0..200)
}

/// Plays results; returns the health and the evidence after each.
fn play(results: &[Seen], thresholds: &Thresholds) -> Vec<(Health, Health)> {
    let mut hysteresis = Hysteresis::default();
    let mut seen = Vec::new();
    for result in results {
        match result {
            Seen::Stall => hysteresis.start_over(),
            other => {
                hysteresis.observe(*other == Seen::Pass, thresholds);
            }
        }
        seen.push((hysteresis.health(), hysteresis.evidence()));
    }
    seen
}

/// How many of `wanted` end the results, without any other between.
fn run_at_end(results: &[Seen], wanted: Seen) -> usize {
    results.iter().rev().take_while(|result| **result == wanted).count()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn down_and_up_need_an_unbroken_run(results in results(), thresholds in thresholds()) {
        let mut before = Health::Unknown;
        for (i, (health, _)) in play(&results, &thresholds).into_iter().enumerate() {
            let so_far = &results[..=i];
            match (before, health) {
                (Health::Unknown | Health::Up, Health::Down) => {
                    prop_assert!(run_at_end(so_far, Seen::Fail) >= thresholds.fall as usize);
                }
                (Health::Down, Health::Up) => {
                    prop_assert!(run_at_end(so_far, Seen::Pass) >= thresholds.rise as usize);
                }
                (Health::Unknown, Health::Up) => prop_assert_eq!(results[i], Seen::Pass),
                (before, after) => prop_assert_eq!(before, after, "nothing else changes"),
            }
            before = health;
        }
    }

    #[test]
    fn an_unbroken_run_always_suffices(results in results(), thresholds in thresholds()) {
        for (wanted, length, expected) in
            [(Seen::Fail, thresholds.fall, Health::Down), (Seen::Pass, thresholds.rise, Health::Up)]
        {
            let run = std::iter::repeat_n(wanted, length as usize);
            let all: Vec<_> = results.iter().copied().chain(run).collect();
            let last = play(&all, &thresholds).pop().expect("not empty");
            prop_assert_eq!(last, (expected, expected), "health and evidence after {} of {:?}", length, wanted);
        }
    }

    #[test]
    fn evidence_is_health_or_doubt_and_doubt_follows_only_a_stall(results in results(), thresholds in thresholds()) {
        for (i, (health, evidence)) in play(&results, &thresholds).into_iter().enumerate() {
            if evidence != health {
                prop_assert_eq!((health, evidence), (Health::Down, Health::Unknown));
                prop_assert!(results[..=i].contains(&Seen::Stall));
            }
        }
    }

    #[test]
    fn a_down_in_evidence_was_seen_to_fail_since_the_latest_stall(results in results(), thresholds in thresholds()) {
        for (i, (_, evidence)) in play(&results, &thresholds).into_iter().enumerate() {
            if evidence == Health::Down {
                let since = results[..=i].iter().rposition(|result| *result == Seen::Stall).map_or(0, |stall| stall + 1);
                let runs = results[since..=i].split(|result| *result != Seen::Fail).map(<[_]>::len);
                prop_assert!(runs.max().unwrap_or(0) >= thresholds.fall as usize);
            }
        }
    }

    #[test]
    fn what_observe_returns_is_whether_something_changed(results in results(), thresholds in thresholds()) {
        let mut hysteresis = Hysteresis::default();
        for result in results {
            let before = (hysteresis.health(), hysteresis.evidence());
            let changed = match result {
                Seen::Stall => { hysteresis.start_over(); continue }
                other => hysteresis.observe(other == Seen::Pass, &thresholds),
            };
            prop_assert_eq!(changed, before != (hysteresis.health(), hysteresis.evidence()));
        }
    }

    #[test]
    fn without_doubt_no_single_result_changes_anything_unless_the_threshold_is_one(
        results in results(), thresholds in thresholds(), next in any::<bool>(),
    ) {
        let mut hysteresis = Hysteresis::default();
        for result in results {
            match result {
                Seen::Stall => hysteresis.start_over(),
                other => { hysteresis.observe(other == Seen::Pass, &thresholds); }
            }
        }
        prop_assume!(!hysteresis.in_doubt() && thresholds.fall > 1 && thresholds.rise > 1);
        prop_assert!(!hysteresis.observe(next, &thresholds));
    }
}
