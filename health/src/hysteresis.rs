//! From single results to health: only an unbroken run of contrary results changes what is believed.
//!
//! ```text
//!              pass                      fall consecutive failures
//!   Unknown ----------> Up  ------------------------------------------> Down
//!      |                 ^                                               |
//!      |                 +-----------------------------------------------+
//!      |                            rise consecutive passes
//!      +-- fall consecutive failures --> Down
//! ```
//!
//! After a stall of the control loop a `Down` is *stale*: it is still not used for traffic, but it is no evidence
//! for a switch until it has been seen to fail anew. So is that of an origin that a person let in again.

use serde::Serialize;

use crate::fleet::Thresholds;

/// What is believed of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not enough results since the daemon started.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Health with the run of equal results that may change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hysteresis {
    health: Health,
    /// What the latest results were, and how many of them in a row; zero after a start or a stall.
    passing: bool,
    run: u32,
    stale: bool,
}

impl Hysteresis {
    /// What readers are told.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// What a decision may build on: a stale `Down` is no evidence.
    #[must_use]
    pub fn evidence(&self) -> Health {
        if self.stale { Health::Unknown } else { self.health }
    }

    /// How many of the latest results failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        if self.passing { 0 } else { self.run }
    }

    /// Whether the latest result since a start or a stall was a pass.
    #[must_use]
    pub fn passing(&self) -> bool {
        self.passing && self.run > 0
    }

    /// Whether the next result may change something, so that it is worth asking soon.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        let contrary = match self.health {
            Health::Unknown => true,
            Health::Up => !self.passing,
            Health::Down => self.passing,
        };
        self.health == Health::Unknown || self.stale || (contrary && self.run > 0)
    }

    /// Takes one result in. Returns true if [`health`](Self::health) or [`evidence`](Self::evidence) changed.
    pub fn observe(&mut self, pass: bool, thresholds: &Thresholds) -> bool {
        let before = (self.health, self.stale);
        self.run = if pass == self.passing { self.run.saturating_add(1) } else { 1 };
        self.passing = pass;
        match (self.health, pass) {
            (Health::Unknown, true) => self.health = Health::Up,
            (Health::Unknown | Health::Up, false) if self.run >= thresholds.fall => {
                self.health = Health::Down;
            }
            (Health::Down, false) if self.run >= thresholds.fall => self.stale = false,
            (Health::Down, true) if self.run >= thresholds.rise => {
                self.health = Health::Up;
                self.stale = false;
            }
            _ => {}
        }
        before != (self.health, self.stale)
    }

    /// Out of traffic until `rise` passes from here on say otherwise; that is no evidence against it.
    pub fn prove_again(&mut self) {
        if self.health != Health::Unknown {
            *self = Self { health: Health::Down, stale: true, ..Self::default() };
        }
    }

    /// Forgets the run in progress: its results may be artefacts of our own sleep.
    pub fn start_over(&mut self) {
        self.run = 0;
        self.stale = self.health == Health::Down;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        fall: 3,
        rise: 2,
        interval: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        timeout: Duration::from_millis(500),
    };

    /// Feeds a string of results, `+` and `-`, and returns the health after each: `?`, `U`, `D`, lower-case if stale.
    fn run(hysteresis: &mut Hysteresis, results: &str) -> String {
        let mut seen = String::new();
        for result in results.chars() {
            if result == '!' {
                hysteresis.start_over();
            } else {
                hysteresis.observe(result == '+', &THRESHOLDS);
            }
            seen.push(match (hysteresis.health(), hysteresis.evidence()) {
                (Health::Unknown, _) => '?',
                (Health::Up, _) => 'U',
                (Health::Down, Health::Unknown) => 'd',
                (Health::Down, _) => 'D',
            });
        }
        seen
    }

    #[test]
    fn runs_of_results_change_health_and_nothing_else_does() {
        let table = [
            ("+", "U"),
            ("---", "??D"),
            ("--+", "??U"),
            ("+---", "UUUD"),
            // Failures that are not consecutive never add up.
            ("+--+--+--+", "UUUUUUUUUU"),
            ("+---+-++", "UUUDDDDU"),
            // A stall discards the run on either side of the threshold.
            ("+--!--", "UUUUUU"),
            ("+--!---", "UUUUUUD"),
            // What was down stays out of traffic, but has to fail anew to count.
            ("+---!--", "UUUDddd"),
            ("+---!---", "UUUDdddD"),
            ("+---!--+---", "UUUDddddddD"),
            ("+---!++", "UUUDddU"),
        ];
        for (results, expected) in table {
            assert_eq!(run(&mut Hysteresis::default(), results), expected, "results {results}");
        }
    }

    #[test]
    fn what_is_let_in_again_proves_itself_and_is_no_evidence_meanwhile() {
        let mut hysteresis = Hysteresis::default();
        run(&mut hysteresis, "+");
        hysteresis.prove_again();
        assert_eq!((hysteresis.health(), hysteresis.evidence()), (Health::Down, Health::Unknown));
        assert!(hysteresis.in_doubt());
        assert_eq!(run(&mut hysteresis, "+-++"), "dddU");
        hysteresis.prove_again();
        assert_eq!(run(&mut hysteresis, "---"), "ddD");
        // What was down anyway starts over, too; what is not known is not known.
        run(&mut hysteresis, "+");
        hysteresis.prove_again();
        assert_eq!(hysteresis.evidence(), Health::Unknown);
        assert_eq!(run(&mut hysteresis, "++"), "dU");
        let mut unknown = Hysteresis::default();
        unknown.prove_again();
        assert_eq!(unknown, Hysteresis::default());
    }

    #[test]
    fn doubt_is_unknown_stale_or_contrary() {
        let doubt = |results| {
            let mut hysteresis = Hysteresis::default();
            run(&mut hysteresis, results);
            hysteresis.in_doubt()
        };
        assert!(doubt("") && doubt("-") && doubt("+-") && doubt("+---+") && doubt("+---!"));
        assert!(!doubt("+") && !doubt("+-+") && !doubt("+---") && !doubt("+----") && !doubt("+---!---"));
    }

    #[test]
    fn caddy_7625_failures_that_are_not_consecutive_never_add_up() {
        let mut hysteresis = Hysteresis::default();
        run(&mut hysteresis, "+");
        for _ in 0..10_000 {
            run(&mut hysteresis, "-+");
            assert_eq!(hysteresis.health(), Health::Up);
        }
    }
}
