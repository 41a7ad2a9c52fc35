//! Safety rules: names become indices, and spans of the week are read.

use std::collections::BTreeSet;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tidegate_health::id::{GroupId, Name, SiteId};
use tidegate_health::order::Rule;
use tidegate_health::safety::{Demand, Hours, SafetyRule, Span};

use super::{Directory, small};
use crate::hint::did_you_mean;
use crate::source::{At, Source};
use crate::spec::{RuleSpec, name_fault};

/// Each is weighed for each site of each group it is about.
const RULES_MAX: usize = 256;
const SPANS_MAX: usize = 64;
/// Names that a later version may give to rules of its own.
const RESERVED: [&str; 4] = ["forbidden", "data-loss", "max-loss", "all"];

pub(super) fn lower(
    source: &Source<'_>,
    specs: &[(At<String>, RuleSpec)],
    groups: &Directory<'_>,
    sites: &Directory<'_>,
    group_count: usize,
) -> Vec<SafetyRule> {
    if let Some((beyond, _)) = specs.get(RULES_MAX) {
        source.error(&beyond.place, format!("more than {RULES_MAX} rules"));
    }
    let all = || (0..group_count).map(|position| GroupId(position as u16)).collect();
    let lower = |(name, spec): &(At<String>, RuleSpec)| {
        check_name(source, name);
        let demand = demand(source, spec, groups, sites, all)?;
        Some(SafetyRule { name: Name::from(name.value.as_str()), demand })
    };
    specs.iter().take(RULES_MAX).filter_map(lower).collect()
}

fn check_name(source: &Source<'_>, name: &At<String>) {
    if let Some(fault) = name_fault(&name.value) {
        source.error(&name.place, fault);
    }
    let built_in = Rule::BUILT_IN.iter().any(|rule| rule.label() == name.value);
    if built_in || RESERVED.contains(&name.value.as_str()) {
        let help = "an order overrides a rule by its name, so the name has to mean this one only";
        source.error_help(&name.place, format!("`{}` is the name of a built-in rule", name.value), help);
    }
}

fn demand(
    source: &Source<'_>,
    spec: &RuleSpec,
    groups: &Directory<'_>,
    sites: &Directory<'_>,
    all: impl Fn() -> BTreeSet<GroupId>,
) -> Option<Demand> {
    let ways = [spec.apart.is_some(), spec.never.is_some(), spec.sites_fit.is_some()];
    if ways.into_iter().filter(|is_set| *is_set).count() != 1 {
        if !source.failed_below(&spec.place.path) {
            source.error(&spec.place, "a rule needs exactly one of `apart`, `never` and `sites_fit`");
        }
        return None;
    }
    let find = |at: &At<Vec<At<String>>>| -> BTreeSet<GroupId> {
        at.value.iter().filter_map(|name| groups.find(source, name)).map(GroupId).collect()
    };
    if let Some(at) = spec.hours.as_ref().filter(|_| spec.never.is_none()) {
        source.error(&at.place, "only `never` has `hours`");
    }
    if let Some(at) = spec.zone.as_ref().filter(|_| spec.hours.is_none()) {
        source.error(&at.place, "`zone` is about `hours`, and there are none");
    }
    if let Some(at) = &spec.apart {
        if let Some(groups) = &spec.groups {
            source.error(&groups.place, "`apart` names its groups itself");
        }
        if at.value.len() < 2 {
            source.error(&at.place, "it takes two groups to be kept apart");
        }
        return Some(Demand::Apart { groups: find(at) });
    }
    if let Some(at) = spec.groups.as_ref().filter(|at| at.value.is_empty()) {
        source.error(&at.place, "a rule that is about no group says nothing");
    }
    let about = spec.groups.as_ref().map_or_else(all, find);
    let Some(never) = &spec.never else {
        return Some(Demand::SitesFit { groups: about, at_least: small(&spec.sites_fit, 2) });
    };
    if never.value.is_empty() {
        source.error(&never.place, "a rule that is about no site says nothing");
    }
    let closed = never.value.iter().filter_map(|name| sites.find(source, name)).map(SiteId).collect();
    Some(Demand::Closed { groups: about, sites: closed, hours: hours(source, spec) })
}

fn hours(source: &Source<'_>, spec: &RuleSpec) -> Option<Hours> {
    let at = spec.hours.as_ref()?;
    if at.value.is_empty() || at.value.len() > SPANS_MAX {
        source.error(&at.place, format!("1 to {SPANS_MAX} spans, or none at all"));
    }
    let span = |text: &At<String>| match text.value.parse::<Written>() {
        Ok(Written(span)) => Some(span),
        Err(fault) => {
            let help = "write it as \"Mon-Fri 08:00-18:00\", \"Sat,Sun 22:00-06:00\" or \"02:00-04:00\"";
            source.error_help(&text.place, format!("`{}`: {fault}", text.value), help);
            None
        }
    };
    let spans = at.value.iter().take(SPANS_MAX).filter_map(span).collect();
    let name = spec.zone.as_ref().map_or("UTC", |at| at.value.as_str());
    let zone = TimeZoneDatabase::bundled().get(name).unwrap_or_else(|_| {
        if let Some(at) = &spec.zone {
            let known: Vec<_> = TimeZoneDatabase::bundled().available().map(|it| it.to_string()).collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let help = did_you_mean(name, &known);
            source.error_hint(&at.place, format!("there is no time zone `{name}`"), help.as_deref());
        }
        TimeZone::UTC
    });
    let written: Vec<_> = at.value.iter().map(|at| at.value.as_str()).collect();
    Some(Hours { zone, text: format!("{} ({name})", written.join(", ")).into(), spans })
}

/// A span as it is written: days, if not all of them, and from when to when.
struct Written(Span);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl std::str::FromStr for Written {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let (days, times) = match words.as_slice() {
            [times] => ([true; 7], times),
            [days, times] => (self::days(days)?, times),
            _ => return Err("not days and a time"),
        };
        let (from, to) = times.split_once('-').ok_or("not from when to when")?;
        let (from, to) = (minute(from)?, minute(to)?);
        if from >= 1440 {
            return Err("a day ends at 24:00");
        }
        // The same time twice would be a day or nothing, and nobody could say which.
        if from == to {
            return Err("the span is empty; a whole day is 00:00-24:00");
        }
        Ok(Self(Span { days, from, to }))
    }
}

fn days(text: &str) -> Result<[bool; 7], &'static str> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `Sat-Mon` goes over the end of the week.
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|step| days[(first + step) % 7] = true);
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, &'static str> {
    let text = text.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == text).ok_or("days are Mon, Tue, Wed, Thu, Fri, Sat, Sun")
}

/// `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Result<u16, &'static str> {
    let wrong = "a time is written as 08:00, up to 24:00";
    let (hours, minutes) = text.split_once(':').ok_or(wrong)?;
    let number = |text: &str| -> Option<u16> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (hours, minutes) = (number(hours).ok_or(wrong)?, number(minutes).ok_or(wrong)?);
    if minutes > 59 || hours * 60 + minutes > 1440 {
        return Err(wrong);
    }
    Ok(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, u16, u16), &'static str> {
        let Written(span) = text.parse()?;
        let days = span.days.iter().map(|day| if *day { 'x' } else { '.' }).collect();
        Ok((days, span.from, span.to))
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        let table = [
            ("Mon-Fri 08:00-18:00", "xxxxx..", 480, 1080),
            ("sat,SUN 22:00-06:00", ".....xx", 1320, 360),
            ("Sat-Mon 00:00-24:00", "x....xx", 0, 1440),
            ("Mon,Wed-Thu 09:30-09:31", "x.xx...", 570, 571),
            ("02:00-04:00", "xxxxxxx", 120, 240),
            ("Wed 23:59-24:00", "..x....", 1439, 1440),
        ];
        for (text, days, from, to) in table {
            assert_eq!(read(text), Ok((days.to_owned(), from, to)), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        let table = [
            "",
            "Mon",
            "Mon-Fri",
            "8:00-18:00",
            "08:00",
            "08:00-24:01",
            "24:00-02:00",
            "08:60-09:00",
            "08:00-08:00",
            "Mo 08:00-09:00",
            "Mon- 08:00-09:00",
            "Mon-Fri 08:00-18:00 x",
            "08:00-+9:00",
            "é 1:00-2:00",
        ];
        for text in table {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
