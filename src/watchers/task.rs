//! One thing, looked at in its rhythm.

use std::sync::Arc;
use std::time::Duration;

use tidegate_probe::Prober;
use tokio::time::{Instant, sleep, sleep_until};

use super::sighting::{Seen, Sighting};
use super::{Shared, Subject, Watch, Way, fetch, gate, reach};

/// Not everything is looked at in the same moment after a start.
const FIRST_WITHIN: Duration = Duration::from_millis(200);

/// Looks until nobody listens any more.
pub(super) async fn look(watch: Watch, shared: Arc<Shared>) {
    let mut prober = match &watch.way {
        Way::Probe(spec) => Some(Prober::new(spec, &shared.trust, &shared.commands)),
        Way::Command { .. } | Way::Fetch { .. } => None,
    };
    let mut doubt = Doubt::default();
    sleep(FIRST_WITHIN.min(watch.interval).mul_f64(fastrand::f64())).await;
    loop {
        let began = Instant::now();
        let (measured, seen) = once(&watch, &shared, prober.as_mut()).await;
        if let Some(seen) = seen {
            let is_in_doubt = doubt.hear(&seen);
            let sighting = Sighting {
                subject: watch.subject.clone(),
                check: watch.check,
                measured: measured.into_std(),
                seen,
            };
            if shared.seen.send(sighting).await.is_err() {
                return;
            }
            let pause = if is_in_doubt { watch.fast_interval } else { watch.interval };
            sleep_until(began + pause).await;
        } else {
            // The fault is our own, and may be over soon.
            sleep_until(began + watch.fast_interval).await;
        }
    }
}

/// Looks once. The turn is waited for first, so that the wait counts neither as age nor against the timeout.
async fn once(watch: &Watch, shared: &Shared, prober: Option<&mut Prober>) -> (Instant, Option<Seen>) {
    match (&watch.way, prober) {
        (Way::Command { command, wants_value }, _) => {
            let slot = shared.commands.take().await;
            let measured = Instant::now();
            let command = gate::with_surroundings(command, &watch.subject, &shared.worlds);
            let ran = command.run(slot, watch.timeout).await;
            (measured, Some(gate::judge(&ran, *wants_value, watch.timeout)))
        }
        (Way::Fetch { url, pointer }, _) => {
            let _turn = shared.asking.acquire().await;
            let measured = Instant::now();
            let answer = tokio::time::timeout(watch.timeout, fetch::fetch(url)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(format!("no answer in {} ms", watch.timeout.as_millis())));
            (measured, Some(gate::judge_answer(answer, pointer.as_deref())))
        }
        (Way::Probe(_), Some(prober)) => {
            let _turn = shared.asking.acquire().await;
            let verdict = prober.probe().await;
            prober.rest().await;
            // A new connection each time: a kept one says little of whether anybody else gets through.
            prober.forget();
            let seen = match watch.subject {
                Subject::Witness { .. } => reach::witness(&verdict.outcome),
                _ => reach::front_door(&verdict.outcome),
            };
            (verdict.started, seen)
        }
        (Way::Probe(_), None) => (Instant::now(), None),
    }
}

/// Whether the result has changed lately: then the next ones come sooner. Gates are not asked faster, they have a limit in
/// time instead of a number of results.
#[derive(Default)]
struct Doubt {
    was_well: Option<bool>,
    alike: u32,
}

/// As many equal results as it takes by default to change what is believed.
const SETTLED_AFTER: u32 = 3;

impl Doubt {
    fn hear(&mut self, seen: &Seen) -> bool {
        let Seen::FrontDoor(failure) = seen else { return false };
        let is_well = failure.is_none();
        self.alike = if self.was_well == Some(is_well) { self.alike.saturating_add(1) } else { 1 };
        // The first one of all, if it is good, leaves nothing open.
        let is_first = self.was_well.is_none() && is_well;
        self.was_well = Some(is_well);
        self.alike < SETTLED_AFTER && !is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_front_door_that_has_changed_lately_is_asked_faster() {
        let mut doubt = Doubt::default();
        let mut heard = |text: &str| -> String {
            let hear = |result| {
                let failure = (result == '-').then(|| "refused".into());
                if doubt.hear(&Seen::FrontDoor(failure)) { 'f' } else { '.' }
            };
            text.chars().map(hear).collect()
        };
        assert_eq!(heard("++"), ".f");
        assert_eq!(heard("+++---+-----++++"), "...ff.fff...ff..".replace(' ', ""));
        assert!(!doubt.hear(&Seen::unknown("nothing")) && !doubt.hear(&Seen::Reached(false)));
    }
}
