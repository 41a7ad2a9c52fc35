//! What came of a simulation, for people and for machines.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::worst::Worst;

/// Entries of the timeline; beyond it they are counted.
const TIMELINE_MAX: usize = 2_000;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) until_ms: u64,
    pub(super) timeline: Vec<Moment>,
    /// Entries that there was no room for.
    pub(super) left_out: usize,
    pub(super) groups: Vec<GroupReport>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    pub(super) at_ms: u64,
    /// `script`, `answer`, or a kind of the history.
    pub(super) what: String,
    pub(super) group: Option<String>,
    pub(super) text: String,
}

/// What one group went through.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GroupReport {
    pub(super) group: String,
    /// Where it was at the start, and is at the end.
    pub(super) from: Option<String>,
    pub(super) active: Option<String>,
    pub(super) epoch: u64,
    /// How long nobody at its active site could serve it.
    pub(super) unserved_ms: u64,
    pub(super) outages: Vec<Outage>,
    /// Of losing the site it was at the start.
    pub(super) worst: Worst,
}

/// A time in which the active site could not serve.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outage {
    pub(super) site: String,
    pub(super) began_ms: u64,
    /// When it was over: by a switch or because the site was back. None: it lasted to the end.
    pub(super) ended_ms: Option<u64>,
    /// Where the group was moved to meanwhile.
    pub(super) moved_to: Option<String>,
    /// From its begin to the published switch.
    pub(super) gap_ms: Option<u64>,
    pub(super) worst_ms: Option<u64>,
    /// Whether the gap is no longer than the worst case, where both are known.
    pub(super) within_worst: Option<bool>,
    /// What stood in the way at its end, where the group did not move.
    pub(super) stopped_by: Vec<String>,
}

impl Report {
    pub(super) fn tell(&mut self, at: Duration, what: &str, group: Option<&str>, text: String) {
        if self.timeline.len() >= TIMELINE_MAX {
            self.left_out += 1;
            return;
        }
        let at_ms = at.as_millis() as u64;
        self.timeline.push(Moment { at_ms, what: what.to_owned(), group: group.map(str::to_owned), text });
    }
}

/// The timeline, and below it what it meant for each group.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    for Moment { at_ms, what, group, text } in &report.timeline {
        let group = group.as_deref().unwrap_or("-");
        let _ = writeln!(out, "{:>12}  {group:<10} {what:<14} {text}", span(*at_ms));
    }
    if report.left_out > 0 {
        let _ = writeln!(out, "{:>12}  and {} more, which are left out here", "", report.left_out);
    }
    for group in &report.groups {
        group_block(&mut out, group);
    }
    let _ = write!(out, "\nseed {}", report.seed);
    out
}

fn group_block(out: &mut String, group: &GroupReport) {
    let place = |site: &Option<String>| site.clone().unwrap_or_else(|| "nowhere".into());
    let (from, active) = (place(&group.from), place(&group.active));
    let _ = writeln!(
        out,
        "\n{}: from {from} to {active}, epoch {}; unserved for {} in all",
        group.group,
        group.epoch,
        span(group.unserved_ms)
    );
    for outage in &group.outages {
        let _ = write!(out, "  {} could not serve from {}", outage.site, span(outage.began_ms));
        let _ = match (outage.gap_ms, &outage.moved_to, outage.ended_ms) {
            (Some(gap), Some(to), _) => {
                let verdict = match (outage.within_worst, outage.worst_ms) {
                    (Some(true), Some(worst)) => format!(", at worst {}", span(worst)),
                    (Some(false), Some(worst)) => {
                        format!(", LONGER than {}: something stood in the way meanwhile", span(worst))
                    }
                    _ => String::new(),
                };
                writeln!(out, "; switched to {to} after {}{verdict}", span(gap))
            }
            (_, _, Some(ended)) => writeln!(out, "; it was back after {}", span(ended - outage.began_ms)),
            _ => writeln!(out, " to the end"),
        };
        for stop in &outage.stopped_by {
            let _ = writeln!(out, "      in the way: {stop}");
        }
    }
    match (&group.worst.total_ms, group.worst.why_not) {
        (Some(total), _) => {
            let _ = writeln!(
                out,
                "  the worst case of losing {from}, while another site is fit: {}",
                span(*total)
            );
            for term in &group.worst.terms {
                let _ = writeln!(out, "    {:>12}  {}: {}", span(term.ms), term.name, term.text);
            }
            let _ = writeln!(
                out,
                "    and after the switch up to {} in which resolvers keep the old answer (the TTL)",
                span(group.worst.dns_tail_ms)
            );
        }
        (None, why) => {
            let _ = writeln!(out, "  no worst case: {}", why.unwrap_or("it does not move by itself"));
        }
    }
}

/// Milliseconds as people read them.
fn span(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{:03} s", ms / 1000, ms % 1000),
        60_000..3_600_000 => format!("{} min {}.{:03} s", ms / 60_000, ms % 60_000 / 1000, ms % 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}
