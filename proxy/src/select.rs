//! Which origin gets a request: a pure function of the site, what was tried, the time and random numbers.
//!
//! Least-loaded of two random picks spreads load nearly as well as looking at all origins, without the herd that runs to
//! the one that looks idle. An origin that has just come up is idle, and cold: in slow start it stands for election only
//! as often as its time allows, so that it gets that part of its share and at most twice as much, never a herd.

use std::sync::Arc;
use std::time::Duration;

use crate::target::Target;
use crate::view::{OriginView, SiteView};

/// The most origins one request can try.
pub(crate) const TRIES_MAX: usize = 8;

/// The origins one request has tried.
///
/// Told apart by where their targets lie in memory: the view that a request holds keeps them where they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    places: [usize; TRIES_MAX],
    len: usize,
}

impl Tried {
    /// Adds one; beyond eight the request must end, see [`Tried::is_full`].
    pub fn add(&mut self, target: &Arc<Target>) {
        if let Some(slot) = self.places.get_mut(self.len) {
            *slot = place(target);
            self.len += 1;
        }
    }

    /// Whether no further try is possible.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len >= TRIES_MAX
    }

    /// How many were tried.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn contains(&self, target: &Arc<Target>) -> bool {
        self.places[..self.len].contains(&place(target))
    }
}

fn place(target: &Arc<Target>) -> usize {
    Arc::as_ptr(target).addr()
}

/// Of a thousand elections an origin in slow start stands for at least this many: else nothing would warm it.
const SHARE_MIN: usize = 100;
const WHOLE: usize = 1000;
/// From origin to origin, so that they do not all stand for the same elections; without a common factor with `WHOLE`.
const STRIDE: usize = 617;

/// Picks the index of an origin of `site` that was not tried.
///
/// In order: up and not ejected, those in slow start less often; up but ejected; and if *none* of the site is up, any
/// (fail static). An origin forced down by a person is never picked. `random(n)` returns a number below `n`.
pub fn pick(
    site: &SiteView,
    tried: &Tried,
    now_ms: u64,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    let origins = &site.origins;
    // A request may live by a view that is older than the word of a person.
    let open = |o: &OriginView| !o.forced_down && !o.target.is_out() && !tried.contains(&o.target);
    let healthy = |o: &OriginView| open(o) && o.up && !o.target.is_ejected_at(now_ms);
    if !site.slow_start.is_zero() {
        // One number for all: an origin must be judged alike each time it is looked at.
        let draw = random(WHOLE);
        let stands = |i: usize, o: &OriginView| {
            (draw + i * STRIDE) % WHOLE < share(o.target.up_for_at(now_ms), site.slow_start)
        };
        if let Some(index) = two_picks(origins, |i, o| healthy(o) && stands(i, o), &mut random) {
            return Some(index);
        }
    }
    if let Some(index) = two_picks(origins, |_, o| healthy(o), &mut random) {
        return Some(index);
    }
    if let Some(index) = two_picks(origins, |_, o| open(o) && o.up, &mut random) {
        return Some(index);
    }
    if origins.iter().any(|o| o.up && !o.forced_down && !o.target.is_out()) {
        return None;
    }
    two_picks(origins, |_, o| open(o), &mut random)
}

/// Of a thousand elections, how many an origin stands for that has been up for so long.
fn share(up_for: Duration, slow_start: Duration) -> usize {
    if up_for >= slow_start {
        return WHOLE;
    }
    let part = up_for.as_millis() * WHOLE as u128 / slow_start.as_millis().max(1);
    (part as usize).clamp(SHARE_MIN, WHOLE)
}

fn two_picks(
    origins: &[OriginView],
    eligible: impl Fn(usize, &OriginView) -> bool,
    random: &mut impl FnMut(usize) -> usize,
) -> Option<usize> {
    let all = || origins.iter().enumerate().filter(|(index, o)| eligible(*index, o)).map(|(index, _)| index);
    let nth = |n: usize| all().nth(n);
    let count = all().count();
    if count < 2 {
        return nth(0);
    }
    let first = random(count);
    // A different one: the second number is drawn from the rest.
    let second = (first + 1 + random(count - 1)) % count;
    // Eligibility can change between counting and taking (an ejection expires): then the other pick stands.
    match (nth(first), nth(second)) {
        (Some(a), Some(b)) => {
            Some(if origins[b].target.in_flight() < origins[a].target.in_flight() { b } else { a })
        }
        (a, b) => a.or(b).or_else(|| nth(0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::SignalKind;
    use crate::target::EjectionPolicy;

    #[derive(Clone, Copy, Debug)]
    struct Case {
        up: bool,
        forced_down: bool,
        ejected: bool,
        tried: bool,
        load: u8,
    }

    fn site(cases: &[Case]) -> (SiteView, Tried, Vec<impl Drop + use<>>) {
        let mut tried = Tried::default();
        let mut guards = Vec::new();
        let origins = cases
            .iter()
            .map(|case| {
                let addr = ([127, 0, 0, 1], 1).into();
                let target = Target::new("o".into(), addr, None, EjectionPolicy::default()).expect("no TLS");
                if case.ejected {
                    assert!(target.eject(1, SignalKind::Status5xx));
                }
                if case.tried {
                    tried.add(&target);
                }
                guards.extend((0..case.load).map(|_| target.begin()));
                OriginView { target: Arc::clone(&target), up: case.up, forced_down: case.forced_down }
            })
            .collect();
        (SiteView { site: "main".into(), origins, slow_start: Duration::ZERO }, tried, guards)
    }

    fn cases() -> impl Strategy<Value = Vec<Case>> {
        let case = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0u8..4).prop_map(
            |(up, forced_down, ejected, tried, load)| Case { up, forced_down, ejected, tried, load },
        );
        prop::collection::vec(case, 0..TRIES_MAX)
    }

    proptest! {
        #[test]
        fn picks_the_best_tier_and_never_a_forced_down_or_tried_one(cases in cases(), seed: u64) {
            let (site, tried, _guards) = site(&cases);
            let mut rng = fastrand::Rng::with_seed(seed);
            let picked = pick(&site, &tried, 2, |n| rng.usize(..n));
            let open = |c: &&Case| !c.forced_down && !c.tried;
            let healthy = cases.iter().filter(open).any(|c| c.up && !c.ejected);
            let up = cases.iter().filter(open).any(|c| c.up);
            let site_has_up = cases.iter().any(|c| c.up && !c.forced_down);
            match picked.map(|index| cases[index]) {
                Some(case) => {
                    prop_assert!(!case.forced_down && !case.tried);
                    prop_assert!(!healthy || (case.up && !case.ejected));
                    prop_assert!(!up || case.up);
                    prop_assert!(case.up || !site_has_up, "fail static only when none is up");
                }
                None => prop_assert!(!up && (site_has_up || !cases.iter().any(|c| open(&c)))),
            }
        }

        #[test]
        fn the_less_loaded_of_the_two_wins(a in 0u8..5, b in 0u8..5, seed: u64) {
            let case = |load| Case { up: true, forced_down: false, ejected: false, tried: false, load };
            let (site, tried, _guards) = site(&[case(a), case(b)]);
            let mut rng = fastrand::Rng::with_seed(seed);
            let picked = pick(&site, &tried, 2, |n| rng.usize(..n)).expect("both are open");
            if a != b {
                prop_assert_eq!(picked, usize::from(b < a));
            }
        }
    }

    #[test]
    fn equal_loads_are_spread() {
        let case = Case { up: true, forced_down: false, ejected: false, tried: false, load: 0 };
        let (site, tried, _guards) = site(&[case; 4]);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = [0u32; 4];
        for _ in 0..4_000 {
            seen[pick(&site, &tried, 2, |n| rng.usize(..n)).expect("open")] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
    }

    /// How many of `picks` each of four origins gets, the last of which has been up for `up_for` of a minute.
    fn shares(up_for: Duration, picks: u32) -> [u32; 4] {
        let case = Case { up: true, forced_down: false, ejected: false, tried: false, load: 0 };
        let (mut site, tried, _guards) = site(&[case; 4]);
        site.slow_start = Duration::from_secs(60);
        site.origins[3].target.set_up_at(true, 1_000);
        let now_ms = 1_000 + u64::try_from(up_for.as_millis()).expect("short");
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seen = [0; 4];
        for _ in 0..picks {
            seen[pick(&site, &tried, now_ms, |n| rng.usize(..n)).expect("open")] += 1;
        }
        seen
    }

    #[test]
    fn slow_start_grows_from_a_tenth_to_a_whole_share() {
        for (seconds, wanted) in
            [(0, 250.0), (3, 250.0), (30, 1250.0), (59, 2460.0), (60, 2500.0), (600, 2500.0)]
        {
            let seen = shares(Duration::from_secs(seconds), 10_000);
            let got = f64::from(seen[3]);
            assert!((got - wanted).abs() < wanted * 0.2, "after {seconds} s: {seen:?}, wanted {wanted}");
        }
    }

    #[test]
    fn slow_start_begins_anew_each_time_it_comes_up_and_not_with_each_publication() {
        let case = Case { up: true, forced_down: false, ejected: false, tried: false, load: 0 };
        let (site, _, _guards) = site(&[case]);
        let target = &site.origins[0].target;
        assert_eq!(target.up_for_at(5_000), Duration::MAX, "nobody has told");
        target.set_up_at(true, 5_000);
        target.set_up_at(true, 7_000);
        assert_eq!(target.up_for_at(8_000), Duration::from_secs(3));
        target.set_up_at(false, 9_000);
        target.set_up_at(true, 10_000);
        assert_eq!(target.up_for_at(10_000), Duration::ZERO);
    }

    #[test]
    fn an_idle_newcomer_among_busy_origins_gets_no_herd() {
        let case = |load| Case { up: true, forced_down: false, ejected: false, tried: false, load };
        let (mut site, tried, _guards) = site(&[case(9), case(9), case(9), case(0)]);
        site.slow_start = Duration::from_secs(60);
        site.origins[3].target.set_up_at(true, 1_000);
        let mut rng = fastrand::Rng::with_seed(11);
        let picks = (0..10_000).map(|_| pick(&site, &tried, 1_000, |n| rng.usize(..n)).expect("open"));
        // Twice its share of a tenth at most; without slow start it would get half of everything.
        let got = picks.filter(|index| *index == 3).count();
        assert!((300..600).contains(&got), "{got}");
    }

    #[test]
    fn slow_start_never_leaves_a_request_without_an_origin() {
        let case = Case { up: true, forced_down: false, ejected: false, tried: false, load: 0 };
        let (mut site, tried, _guards) = site(&[case; 2]);
        site.slow_start = Duration::from_secs(60);
        site.origins.iter().for_each(|origin| origin.target.set_up_at(true, 1_000));
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seen = [0; 2];
        for _ in 0..2_000 {
            seen[pick(&site, &tried, 1_000, |n| rng.usize(..n)).expect("all are new, and all are there")] +=
                1;
        }
        assert!(seen.iter().all(|&n| n > 800), "{seen:?}");
    }
}
