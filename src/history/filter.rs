//! What a reader of the history asks for.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidegate_config::parse_duration;
use tidegate_health::event::{Class, Event, EventKind, UnknownKind};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;
use wildmatch::WildMatch;

/// One entry with its place in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Grows from entry to entry, over restarts, too, and is never used twice.
    pub id: u64,
    pub class: Class,
    #[serde(flatten)]
    pub event: Event,
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// None for all that was done and noticed; what was seen to change has to be asked for.
    pub classes: BTreeSet<Class>,
    pub group: Option<Name>,
    pub site: Option<Name>,
    pub service: Option<Name>,
    /// A pattern, in which `*` stands for any characters and `?` for one.
    pub origin: Option<WildMatch>,
    pub kinds: Vec<EventKind>,
    pub actor: Option<Name>,
    /// Not before this.
    pub since: Option<Wall>,
    /// Before this.
    pub until: Option<Wall>,
    /// Only entries before, or after, the one with this id; it need not be there any more.
    pub before: Option<u64>,
    pub after: Option<u64>,
}

/// Which entries come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A filter as it is written in the query of a URL.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    pub limit: Option<u16>,
    pub group: Option<String>,
    pub site: Option<String>,
    pub service: Option<String>,
    pub origin: Option<String>,
    /// Kinds with commas between them.
    pub kind: Option<String>,
    pub actor: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub before: Option<u64>,
    pub after: Option<u64>,
    /// Also what was seen to change.
    #[serde(default)]
    pub all: bool,
}

/// Why a query makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{0}")]
    Kind(#[from] UnknownKind),
    #[error("`{0}` is neither a time like 2026-11-25T03:10:00Z nor a time ago like 2h")]
    Moment(String),
}

/// A time as people say it: RFC 3339, or how long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Wall),
    Ago(std::time::Duration),
}

impl FromStr for Moment {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let wrong = || FilterError::Moment(text.to_owned());
        let stamp: Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(stamp.as_millisecond()).map(|ms| Self::At(Wall(ms))).map_err(|_| wrong())
    }
}

impl Moment {
    /// The moment, seen from `now`.
    #[must_use]
    pub fn wall(&self, now: Wall) -> Wall {
        match self {
            Self::At(at) => *at,
            Self::Ago(ago) => Wall(now.0.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}

impl Query {
    /// What it asks for, `now` being the present time.
    ///
    /// # Errors
    /// There is no such kind, or a time is none.
    pub fn filter(&self, now: Wall) -> Result<Filter, FilterError> {
        let kinds = self.kind.iter().flat_map(|list| list.split(',')).map(str::parse);
        let kinds: Vec<EventKind> = kinds.collect::<Result<_, _>>()?;
        let moment = |text: &Option<String>| match text {
            Some(text) => text.parse::<Moment>().map(|moment| Some(moment.wall(now))),
            None => Ok(None),
        };
        let name = |text: &Option<String>| text.as_deref().map(Name::from);
        // Origins and services are only spoken of where they are observed.
        let all = self.all || self.origin.is_some() || self.service.is_some();
        let classes = match (all, kinds.is_empty()) {
            (true, _) => Class::ALL.into(),
            (false, true) => BTreeSet::from([Class::Decision, Class::Note]),
            (false, false) => kinds.iter().map(|kind| kind.class()).collect(),
        };
        Ok(Filter {
            classes,
            group: name(&self.group),
            site: name(&self.site),
            service: name(&self.service),
            origin: self.origin.as_deref().map(WildMatch::new),
            kinds,
            actor: name(&self.actor),
            since: moment(&self.since)?,
            until: moment(&self.until)?,
            before: self.before,
            after: self.after,
        })
    }
}

impl Filter {
    /// Whether an entry is asked for; its class and its id are looked at before it is read.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let is = |wanted: &Option<Name>, found: &Option<Name>| wanted.is_none() || wanted == found;
        self.group.as_deref().is_none_or(|group| event.concerns(group))
            && self.site.as_deref().is_none_or(|site| event.is_at(site))
            && is(&self.service, &event.service)
            && self
                .origin
                .as_ref()
                .is_none_or(|pattern| event.origin.as_deref().is_some_and(|origin| pattern.matches(origin)))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.actor.as_ref().is_none_or(|actor| *actor == event.actor)
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
    }

    /// Whether an entry with this id is asked for.
    #[must_use]
    pub fn wants_id(&self, id: u64) -> bool {
        self.before.is_none_or(|before| id < before) && self.after.is_none_or(|after| id > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_time_ago() {
        let now = Wall(10_000_000);
        let wall = |text: &str| text.parse::<Moment>().map(|moment| moment.wall(now));
        assert_eq!(wall("1970-01-01T00:00:05Z"), Ok(Wall(5_000)));
        assert_eq!(wall("1970-01-01T01:00:05+01:00"), Ok(Wall(5_000)));
        assert_eq!(wall("2h"), Ok(Wall(10_000_000 - 7_200_000)));
        assert_eq!(wall("9999d"), Ok(Wall(0)), "before anything");
        for wrong in ["", "yesterday", "2", "2026-11-25", "1969-12-31T23:59:59Z", "2h ago"] {
            assert!(wall(wrong).is_err(), "`{wrong}`");
        }
    }

    #[test]
    fn observations_come_only_where_they_are_asked_for() {
        let classes = |query: Query| query.filter(Wall(0)).expect("a filter").classes;
        let told = BTreeSet::from([Class::Decision, Class::Note]);
        assert_eq!(classes(Query::default()), told);
        assert_eq!(classes(Query { group: Some("app".into()), ..Query::default() }), told);
        assert_eq!(classes(Query { all: true, ..Query::default() }), Class::ALL.into());
        assert_eq!(classes(Query { origin: Some("web/*".into()), ..Query::default() }), Class::ALL.into());
        let kinds = Query { kind: Some("failover,origin".into()), ..Query::default() };
        assert_eq!(classes(kinds), [Class::Decision, Class::Observation].into());
        let wrong = Query { kind: Some("failover,party".into()), ..Query::default() };
        let said = wrong.filter(Wall(0)).expect_err("no such kind").to_string();
        assert!(said.contains("`party`") && said.contains("switchover"), "{said}");
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let event = Event {
            group: Some("app".into()),
            site: Some("main".into()),
            service: Some("web".into()),
            origin: Some("web/main/192.0.2.1:80".into()),
            from: Some("up".into()),
            to: Some("down".into()),
            ..Event::new(Wall(1_000), EventKind::Origin, "tidegate".into(), "timeout")
        };
        let switch = Event {
            group: Some("app".into()),
            from: Some("main".into()),
            to: Some("dr".into()),
            ..Event::new(Wall(2_000), EventKind::Switchover, "naomi".into(), "upgrade")
        };
        let drain = Event {
            groups: vec!["app".into(), "mail".into()],
            ..Event::new(Wall(3_000), EventKind::Forced, "amos".into(), "new disks")
        };
        let found = |query: Query| {
            let filter = query.filter(Wall(10_000)).expect("a filter");
            [&event, &switch, &drain].map(|event| filter.wants(event))
        };
        let text = |text: &str| Some(text.to_owned());
        let plain = Query { all: true, ..Query::default() };
        assert_eq!(found(plain.clone()), [true, true, true]);
        assert_eq!(found(Query { group: text("app"), ..plain.clone() }), [true, true, true]);
        assert_eq!(found(Query { group: text("mail"), ..plain.clone() }), [false, false, true]);
        assert_eq!(found(Query { group: text("main"), ..plain.clone() }), [false, false, false]);
        assert_eq!(found(Query { site: text("main"), ..plain.clone() }), [true, true, false]);
        assert_eq!(found(Query { site: text("dr"), ..plain.clone() }), [false, true, false]);
        assert_eq!(found(Query { site: text("down"), ..plain.clone() }), [false, false, false]);
        assert_eq!(found(Query { service: text("web"), ..plain.clone() }), [true, false, false]);
        assert_eq!(found(Query { origin: text("web/main/*"), ..plain.clone() }), [true, false, false]);
        assert_eq!(found(Query { origin: text("web/dr/*"), ..plain.clone() }), [false, false, false]);
        assert_eq!(found(Query { actor: text("naomi"), ..plain.clone() }), [false, true, false]);
        assert_eq!(found(Query { kind: text("forced,origin"), ..plain.clone() }), [true, false, true]);
        // From a time on, and up to but without a time.
        let since = text("1970-01-01T00:00:02Z");
        assert_eq!(found(Query { since, ..plain.clone() }), [false, true, true]);
        let until = text("1970-01-01T00:00:02Z");
        assert_eq!(found(Query { until, ..plain.clone() }), [true, false, false]);
        assert_eq!(found(Query { since: text("8s"), ..plain }), [false, true, true]);
    }

    #[test]
    fn a_full_list_of_groups_concerns_every_group() {
        let mut event = Event::new(Wall(0), EventKind::Forced, "amos".into(), "new disks");
        event.groups = vec!["app".into(); tidegate_health::event::GROUPS_MAX - 1];
        assert!(!event.concerns("mail"));
        event.groups.push("app".into());
        assert!(event.concerns("mail"));
    }
}
