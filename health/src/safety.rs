//! Safety rules: what people have said must never happen, whatever the checks say.
//!
//! A rule has a name, and only an order that says this name overrides it. It bars what would be new: a group that is
//! already where a rule would not let it go is not evicted by it.
//!
//! Hours are those of the clocks on the wall in the rule's time zone. Where clocks are set back, the hour that comes twice
//! counts both times; the hour that is left out when they are set forward counts for nothing, so a span over it is shorter.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::fleet::Fleet;
use crate::id::{GroupId, Name, SiteId};
use crate::state::State;
use crate::time::Wall;

/// One rule.
#[derive(Clone, Debug)]
pub struct SafetyRule {
    pub name: Name,
    pub demand: Demand,
}

/// What a rule demands.
#[derive(Clone, Debug)]
pub enum Demand {
    /// Never two of these groups at one site.
    Apart { groups: BTreeSet<GroupId> },
    /// Never one of these groups to one of these sites in these hours; without hours, never.
    Closed { groups: BTreeSet<GroupId>, sites: BTreeSet<SiteId>, hours: Option<Hours> },
    /// No planned move of these groups while fewer of a group's sites are fit.
    SitesFit { groups: BTreeSet<GroupId>, at_least: usize },
}

/// Spans of the week in a time zone.
#[derive(Clone, Debug)]
pub struct Hours {
    pub zone: TimeZone,
    /// As people wrote it.
    pub text: Name,
    pub spans: Vec<Span>,
}

/// A span on some days of the week, in minutes since midnight. One that ends no later than it begins goes on into the
/// next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From Monday.
    pub days: [bool; 7],
    /// Below 1440.
    pub from: u16,
    /// Up to 1440, and not part of the span.
    pub to: u16,
}

impl Demand {
    /// Whether it concerns a group at all.
    #[must_use]
    pub fn is_about(&self, group: GroupId) -> bool {
        let (Self::Apart { groups } | Self::Closed { groups, .. } | Self::SitesFit { groups, .. }) = self;
        groups.contains(&group)
    }
}

/// A rule that forbids a site to a group now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidding {
    pub rule: Name,
    pub why: Name,
}

/// Rules that let no group go to `site` now.
pub(crate) fn forbidding(fleet: &Fleet, state: &State, group: GroupId, site: SiteId) -> Vec<Forbidding> {
    let found = fleet.rules.iter().filter_map(|rule| {
        let why = match &rule.demand {
            Demand::Apart { groups } if groups.contains(&group) => {
                let other =
                    groups.iter().find(|other| **other != group && is_at(fleet, state, **other, site))?;
                format!("`{}` is there, and the rule keeps them apart", fleet.group(*other).name)
            }
            Demand::Closed { groups, sites, hours } if groups.contains(&group) && sites.contains(&site) => {
                match hours {
                    None => "it says never".into(),
                    Some(hours) if hours.hold(state.facts.wall) => format!("it says never {hours}"),
                    Some(_) => return None,
                }
            }
            _ => return None,
        };
        Some(Forbidding { rule: rule.name.clone(), why: why.into() })
    });
    found.collect()
}

/// Rules that let a group make no planned move now, and why.
pub(crate) fn holding(fleet: &Fleet, state: &State, group: GroupId) -> Vec<Forbidding> {
    let fit = state.group(group).fitness.iter().filter(|it| it.is_fit()).count();
    let found = fleet.rules.iter().filter_map(|rule| match &rule.demand {
        Demand::SitesFit { groups, at_least } if groups.contains(&group) && fit < *at_least => {
            let why = format!("{fit} of its sites are fit, and a planned move wants {at_least}");
            Some(Forbidding { rule: rule.name.clone(), why: why.into() })
        }
        _ => None,
    });
    found.collect()
}

/// Rules that would not let a group go where it is: they were made, or overridden, when it was there already.
#[must_use]
pub fn broken(fleet: &Fleet, state: &State, group: GroupId) -> Vec<Forbidding> {
    let active = state.group(group).active;
    active.map(|site| forbidding(fleet, state, group, site)).unwrap_or_default()
}

/// Groups whose sites have to be weighed anew when `group` goes somewhere.
pub(crate) fn kept_apart(fleet: &Fleet, group: GroupId) -> BTreeSet<GroupId> {
    let sets = fleet.rules.iter().filter_map(|rule| match &rule.demand {
        Demand::Apart { groups } if groups.contains(&group) => Some(groups),
        _ => None,
    });
    sets.flatten().copied().filter(|other| *other != group).collect()
}

/// Groups whose sites have to be weighed anew when the time has changed.
pub(crate) fn by_the_clock(fleet: &Fleet) -> BTreeSet<GroupId> {
    let sets = fleet.rules.iter().filter_map(|rule| match &rule.demand {
        Demand::Closed { groups, hours: Some(_), .. } => Some(groups),
        _ => None,
    });
    sets.flatten().copied().collect()
}

/// Whether a group is at a site, or on its way there.
fn is_at(fleet: &Fleet, state: &State, group: GroupId, site: SiteId) -> bool {
    let own = state.group(group);
    let going = own.pending.as_ref().and_then(|pending| pending.next.site());
    own.active == Some(site) || going == Some(&fleet.site(site).name)
}

impl Hours {
    /// Whether one of the spans holds at `now`.
    #[must_use]
    pub fn hold(&self, now: Wall) -> bool {
        // A time that no calendar knows forbids: nobody can say that the rule does not hold.
        let Some(at) = i64::try_from(now.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
            return true;
        };
        let local = self.zone.to_datetime(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.spans.iter().any(|span| span.holds(local.weekday(), minute))
    }
}

impl Span {
    fn holds(&self, day: Weekday, minute: u16) -> bool {
        let on = |day: Weekday| self.days[usize::from(day.to_monday_zero_offset().unsigned_abs())];
        if self.from < self.to {
            on(day) && (self.from..self.to).contains(&minute)
        } else {
            (on(day) && minute >= self.from) || (on(day.previous()) && minute < self.to)
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEKDAYS: [bool; 7] = [true, true, true, true, true, false, false];

    fn hours(zone: &str, spans: &[Span]) -> Hours {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        Hours { zone, text: "".into(), spans: spans.to_vec() }
    }

    fn at(text: &str) -> Wall {
        Wall(text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap())
    }

    #[test]
    fn a_span_holds_from_its_first_minute_and_not_in_its_last() {
        let office = hours("UTC", &[Span { days: WEEKDAYS, from: 8 * 60, to: 18 * 60 }]);
        // 2026-11-27 is a Friday.
        let table = [
            ("2026-11-27T07:59:59Z", false),
            ("2026-11-27T08:00:00Z", true),
            ("2026-11-27T17:59:59Z", true),
            ("2026-11-27T18:00:00Z", false),
            ("2026-11-28T12:00:00Z", false),
        ];
        for (text, expected) in table {
            assert_eq!(office.hold(at(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_span_over_midnight_belongs_to_the_day_it_begins_on() {
        let friday = [false, false, false, false, true, false, false];
        let night = hours("UTC", &[Span { days: friday, from: 22 * 60, to: 6 * 60 }]);
        let table = [
            ("2026-11-27T21:59:00Z", false),
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T05:59:00Z", true),
            ("2026-11-28T06:00:00Z", false),
            ("2026-11-27T05:00:00Z", false),
            ("2026-11-28T23:00:00Z", false),
        ];
        for (text, expected) in table {
            assert_eq!(night.hold(at(text)), expected, "{text}");
        }
        let all_day = hours("UTC", &[Span { days: friday, from: 0, to: 1440 }]);
        assert!(all_day.hold(at("2026-11-27T00:00:00Z")) && all_day.hold(at("2026-11-27T23:59:59Z")));
        assert!(!all_day.hold(at("2026-11-28T00:00:00Z")) && !all_day.hold(at("2026-11-26T23:59:59Z")));
    }

    #[test]
    fn hours_follow_the_clocks_of_their_zone() {
        let all = [true; 7];
        let morning = hours("Europe/London", &[Span { days: all, from: 8 * 60, to: 9 * 60 }]);
        assert!(morning.hold(at("2026-01-15T08:30:00Z")) && !morning.hold(at("2026-01-15T07:30:00Z")));
        assert!(morning.hold(at("2026-07-15T07:30:00Z")) && !morning.hold(at("2026-07-15T08:30:00Z")));
        // Clocks go back on 2026-10-25 at 02:00: 01:30 comes twice, and both count.
        let early = hours("Europe/London", &[Span { days: all, from: 60, to: 120 }]);
        assert!(early.hold(at("2026-10-25T00:30:00Z")) && early.hold(at("2026-10-25T01:30:00Z")));
        assert!(!early.hold(at("2026-10-25T02:00:00Z")));
        // They go forward on 2026-03-29 at 01:00: that hour does not come at all.
        assert!(!early.hold(at("2026-03-29T00:59:59Z")) && !early.hold(at("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn a_time_that_no_calendar_knows_forbids() {
        assert!(hours("UTC", &[]).hold(Wall(u64::MAX)));
        assert!(!hours("UTC", &[]).hold(at("2026-01-01T00:00:00Z")));
    }
}
