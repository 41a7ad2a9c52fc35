//! What a step cost, from the client's log alone.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{Asked, Entry};

/// What the client should see in a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expectation {
    /// Traffic comes to be at this site.
    Moves(&'static str),
    /// Traffic is at this site all the time.
    Stays(&'static str),
    /// What had to come before the step did not happen.
    Impossible,
}

/// One step and its cost.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    #[serde(skip)]
    what: &'static str,
    pub(super) happened: bool,
    /// From the event to the end of the first answer from the new site after the switch.
    switch_ms: Option<u64>,
    /// From the event to the first DNS answer that names the new site.
    dns_switch_ms: Option<u64>,
    /// HTTP requests made in the step.
    requests: usize,
    failed: usize,
    /// Answered by another site ahead of the switch.
    spilled: usize,
    /// The slowest request.
    worst_ms: u64,
    dns_queries: usize,
    dns_failed: usize,
}

/// The whole demo.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) steps: Vec<Step>,
}

impl Step {
    pub(super) fn add_up(
        name: &'static str,
        what: &'static str,
        begun: Instant,
        expected: Expectation,
        seen: bool,
        log: &[Entry],
    ) -> Self {
        let of = |asked| log.iter().filter(move |entry| entry.asked == asked);
        let first = |asked, site: &str| {
            let ends = of(asked).filter(|entry| entry.site.as_deref() == Some(site) && !entry.spilled);
            ends.map(|entry| entry.at + entry.took).min().map(|end| millis(end - begun))
        };
        let (switch_ms, dns_switch_ms, happened) = match expected {
            Expectation::Moves(site) => (first(Asked::Http, site), first(Asked::Dns, site), seen),
            Expectation::Stays(site) => {
                let elsewhere =
                    log.iter().any(|entry| entry.site.as_deref().is_some_and(|seen| seen != site));
                (None, None, seen && !elsewhere && of(Asked::Http).next().is_some())
            }
            Expectation::Impossible => (None, None, false),
        };
        Self {
            name,
            what,
            happened,
            switch_ms,
            dns_switch_ms,
            requests: of(Asked::Http).count(),
            failed: of(Asked::Http).filter(|entry| entry.site.is_none()).count(),
            spilled: of(Asked::Http).filter(|entry| entry.spilled).count(),
            worst_ms: of(Asked::Http).map(|entry| millis(entry.took)).max().unwrap_or(0),
            dns_queries: of(Asked::Dns).count(),
            dns_failed: of(Asked::Dns).filter(|entry| entry.site.is_none()).count(),
        }
    }

    /// The step as it is told while the demo runs.
    pub(super) fn line(&self) -> String {
        let verdict = if self.happened { "ok" } else { "DID NOT HAPPEN" };
        let moved = match (self.switch_ms, self.dns_switch_ms) {
            (Some(http), Some(dns)) => format!("HTTP there after {http} ms, DNS after {dns} ms; "),
            _ => String::new(),
        };
        let spilled = if self.spilled > 0 {
            format!(", {} spilled ahead of the switch", self.spilled)
        } else {
            String::new()
        };
        format!(
            "  {verdict}: {}\n      {moved}{} requests, {} failed{spilled}, slowest {} ms; {} DNS queries, {} failed",
            self.what, self.requests, self.failed, self.worst_ms, self.dns_queries, self.dns_failed
        )
    }
}

impl Report {
    pub(super) fn all_happened(&self) -> bool {
        self.steps.len() == 4 && self.steps.iter().all(|step| step.happened)
    }

    pub(super) fn summary(&self) -> String {
        let failed: usize = self.steps.iter().map(|step| step.failed).sum();
        let requests: usize = self.steps.iter().map(|step| step.requests).sum();
        let verdict = if self.all_happened() { "There and back again." } else { "Not every step happened." };
        format!("\n{verdict} {requests} requests, {failed} failed.")
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
