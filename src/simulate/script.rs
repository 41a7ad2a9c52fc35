//! What happens in a simulation, as a person writes it: one thing per line.
//!
//! ```text
//! # comments and empty lines are skipped
//! at 30s  site main lost              # or: up, down, silent, slow 800ms, flapping 2s
//! at 40s  host canterbury down        # likewise: origin PATTERN, service NAME
//! at 1m   gate app linode replica fail    # or: pass, silent
//! at 1m   edge isolated               # or: connected
//! at 1m   store stalls                # or: fails, works
//! at 5m   switch app linode override no-fence
//! at 6m   drain host canterbury for 2h
//! until 10m
//! ```

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use tidegate_config::{Diagnostic, Severity, parse_duration};
use tidegate_health::fleet::Fleet;
use tidegate_health::force::{ForceKind, ForceVerb, Scope, Selector};
use tidegate_health::gate::Verdict;
use tidegate_health::id::{GroupId, Name, OriginId, SiteId};
use tidegate_health::order::{Rule, Verb};
use wildmatch::WildMatch;

/// Things that happen in one script, and the longest time it may take.
const ACTIONS_MAX: usize = 10_000;
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// A script that fits a fleet.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// In the order of their times.
    pub(super) actions: Vec<(Duration, Action, String)>,
    pub(super) until: Duration,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Origins(Vec<OriginId>, Condition),
    /// All of a site: its origins and its front door.
    Site(SiteId, Condition, bool),
    FrontDoor(SiteId, bool),
    /// None: it cannot be measured.
    Gate(GroupId, SiteId, Name, Option<Verdict>),
    Edge {
        connected: bool,
    },
    Store(Disk),
    Order(GroupId, Verb, BTreeSet<Rule>),
    Force(Selector, ForceVerb, BTreeSet<Rule>),
}

/// How an origin answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Up,
    /// It refuses.
    Down,
    /// It does not answer.
    Silent,
    /// It answers after this.
    Slow(Duration),
    /// It is up for this long, then down for as long, and so on.
    Flapping(Duration),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Disk {
    #[default]
    Works,
    Stalls,
    Fails,
}

/// A word and where it stands in the text.
#[derive(Clone, Debug)]
struct Word<'t> {
    text: &'t str,
    span: Range<usize>,
}

type Read<T> = Result<T, (Range<usize>, String, Option<String>)>;

/// Reads a script for a fleet.
///
/// # Errors
/// Every line that makes no sense, with its place.
pub(super) fn parse(fleet: &Fleet, text: &str) -> Result<Script, Vec<Diagnostic>> {
    let (mut actions, mut until, mut errors) = (Vec::new(), None, Vec::new());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words = words(line, start);
        start += line.len();
        let Some(first) = words.first() else { continue };
        let read = match first.text {
            "at" => {
                Line { fleet, rest: &words[1..], end: first.span.end }.action().map(|it| actions.push(it))
            }
            "until" if until.is_some() => wrong(first, "the end is said twice"),
            "until" => {
                let mut line = Line { fleet, rest: &words[1..], end: first.span.end };
                line.time("the end").and_then(|at| line.done().map(|()| until = Some(at)))
            }
            _ => wrong(first, "a line begins with `at TIME` or `until TIME`"),
        };
        errors.extend(read.err().map(|(span, message, help)| diagnostic(text, span, message, help)));
    }
    if actions.len() > ACTIONS_MAX {
        errors.push(diagnostic(text, 0..0, format!("a script has at most {ACTIONS_MAX} actions"), None));
    }
    actions.sort_by_key(|(at, ..)| *at);
    match until {
        None if errors.is_empty() => {
            let help = Some("add a last line, as `until 10m`".to_owned());
            errors.push(diagnostic(text, text.len()..text.len(), "the script has no end".into(), help));
        }
        Some(until) if actions.last().is_some_and(|(at, ..)| *at > until) && errors.is_empty() => {
            errors.push(diagnostic(text, 0..0, "something happens after the end".into(), None));
        }
        _ => {}
    }
    match (until, errors.is_empty()) {
        (Some(until), true) => Ok(Script { actions, until }),
        _ => Err(errors),
    }
}

/// The words of a line; what follows a `#` that begins one is a comment.
fn words(line: &str, start: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            return words;
        }
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let from = start + line.len() - rest.len();
        words.push(Word { text: &rest[..length], span: from..from + length });
        rest = &rest[length..];
    }
}

fn wrong<T>(word: &Word<'_>, message: impl Into<String>) -> Read<T> {
    Err((word.span.clone(), message.into(), None))
}

fn diagnostic(text: &str, span: Range<usize>, message: String, help: Option<String>) -> Diagnostic {
    let before = &text[..span.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    Diagnostic { severity: Severity::Error, line, column, span, path: String::new(), message, help }
}

/// One line on its way from left to right.
struct Line<'w, 't> {
    fleet: &'w Fleet,
    rest: &'w [Word<'t>],
    end: usize,
}

impl<'w, 't> Line<'w, 't> {
    fn action(mut self) -> Read<(Duration, Action, String)> {
        let at = self.time("the time")?;
        let told: Vec<_> = self.rest.iter().map(|word| word.text).collect();
        let told = told.join(" ");
        let what = self.next("what happens")?;
        let action = match what.text {
            "site" => self.site()?,
            "host" | "origin" | "service" => self.origins(what.text)?,
            "front-door" => {
                Action::FrontDoor(self.site_name()?, self.one_of(&[("up", true), ("lost", false)])?)
            }
            "gate" => self.gate()?,
            "edge" => Action::Edge { connected: self.one_of(&[("connected", true), ("isolated", false)])? },
            "store" => Action::Store(self.one_of(&[
                ("works", Disk::Works),
                ("stalls", Disk::Stalls),
                ("fails", Disk::Fails),
            ])?),
            "switch" => {
                let (group, to) = (self.group()?, self.site_name()?);
                Action::Order(group, Verb::Switch { to }, self.overrides()?)
            }
            "failback" | "ack" | "freeze" | "unfreeze" | "confirm" => {
                let verb = match what.text {
                    "failback" => Verb::Failback,
                    "ack" => Verb::Ack,
                    "freeze" => Verb::Freeze,
                    "unfreeze" => Verb::Unfreeze,
                    _ => Verb::Confirm,
                };
                Action::Order(self.group()?, verb, self.overrides()?)
            }
            "drain" | "undrain" | "force" | "unforce" => self.force(what.text)?,
            _ => {
                let help = "site, host, origin, service, front-door, gate, edge, store, switch, failback, ack, freeze, unfreeze, \
                            confirm, drain, undrain, force, unforce";
                return Err((what.span.clone(), format!("`{}` cannot happen", what.text), Some(help.into())));
            }
        };
        self.done()?;
        Ok((at, action, told))
    }

    fn next(&mut self, what: &str) -> Read<&'w Word<'t>> {
        let Some((first, rest)) = self.rest.split_first() else {
            return Err((self.end..self.end, format!("{what} is missing"), None));
        };
        (self.rest, self.end) = (rest, first.span.end);
        Ok(first)
    }

    fn done(&self) -> Read<()> {
        self.rest.first().map_or(Ok(()), |word| wrong(word, format!("`{}` is too much", word.text)))
    }

    fn time(&mut self, what: &str) -> Read<Duration> {
        let word = self.next(what)?;
        match parse_duration(word.text) {
            Ok(at) if at <= SPAN_MAX => Ok(at),
            Ok(_) => wrong(word, "a simulation takes at most 24h"),
            Err(error) => wrong(word, error.to_string()),
        }
    }

    fn one_of<T: Copy>(&mut self, known: &[(&str, T)]) -> Read<T> {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        let word = self.next(&format!("one of {words}"))?;
        let found = known.iter().find(|(known, _)| *known == word.text);
        found.map_or_else(
            || wrong(word, format!("`{}` is none of {words}", word.text)),
            |(_, value)| Ok(*value),
        )
    }

    fn named<T>(
        &mut self,
        what: &str,
        names: impl Iterator<Item = Name>,
        find: impl Fn(&str) -> Option<T>,
    ) -> Read<T> {
        let word = self.next(&format!("the {what}"))?;
        find(word.text).map_or_else(
            || {
                let names: Vec<_> = names.take(20).map(|name| name.to_string()).collect();
                let help = Some(format!("there are {}", names.join(", ")));
                Err((word.span.clone(), format!("there is no {what} `{}`", word.text), help))
            },
            Ok,
        )
    }

    fn group(&mut self) -> Read<GroupId> {
        let fleet = self.fleet;
        let names = fleet.groups.iter().map(|group| group.name.clone());
        self.named("group", names, |name| fleet.group_named(name))
    }

    fn site_name(&mut self) -> Read<SiteId> {
        let fleet = self.fleet;
        let names = fleet.sites.iter().map(|site| site.name.clone());
        self.named("site", names, |name| fleet.site_named(name))
    }

    fn condition(&mut self) -> Read<Condition> {
        let word = self.next("how it is")?;
        Ok(match word.text {
            "up" => Condition::Up,
            "down" => Condition::Down,
            "silent" => Condition::Silent,
            "slow" => Condition::Slow(self.time("how slow")?),
            "flapping" => match self.time("how long it is up, and then down")? {
                half if half < Duration::from_millis(10) => {
                    return wrong(word, "it flaps no faster than every 10ms");
                }
                half => Condition::Flapping(half),
            },
            _ => {
                return wrong(
                    word,
                    format!("`{}` is none of up, down, silent, slow TIME, flapping TIME", word.text),
                );
            }
        })
    }

    fn site(&mut self) -> Read<Action> {
        let site = self.site_name()?;
        if self.rest.first().is_some_and(|word| word.text == "lost") {
            self.next("lost")?;
            return Ok(Action::Site(site, Condition::Silent, false));
        }
        Ok(Action::Site(site, self.condition()?, true))
    }

    fn origins(&mut self, scope: &str) -> Read<Action> {
        let fleet = self.fleet;
        let word = self.next("the name")?;
        let pattern = WildMatch::new(word.text);
        let is_meant = |id: &OriginId| {
            let origin = fleet.origin(*id);
            match scope {
                "host" => origin.host.as_deref().is_some_and(|host| pattern.matches(host)),
                "service" => pattern.matches(&fleet.service(origin.service).name),
                _ => pattern.matches(&origin.name),
            }
        };
        let origins: Vec<_> = fleet.origin_ids().filter(is_meant).collect();
        if origins.is_empty() {
            return wrong(word, format!("no origin matches {scope} `{}`", word.text));
        }
        Ok(Action::Origins(origins, self.condition()?))
    }

    fn gate(&mut self) -> Read<Action> {
        let (group, site) = (self.group()?, self.site_name()?);
        let gates = &self.fleet.group(group).gates;
        let found = |name: &str| gates.iter().find(|gate| &*gate.name == name && gate.sites.contains(&site));
        let gate = self.named("gate", gates.iter().map(|gate| gate.name.clone()), found)?.name.clone();
        let verdicts = [("pass", Some(Verdict::Pass)), ("fail", Some(Verdict::Fail)), ("silent", None)];
        Ok(Action::Gate(group, site, gate, self.one_of(&verdicts)?))
    }

    fn force(&mut self, verb: &str) -> Read<Action> {
        let scope =
            self.one_of(&[("origin", Scope::Origin), ("host", Scope::Host), ("site", Scope::Site)])?;
        let word = self.next("the pattern")?;
        let selector = Selector { scope, pattern: word.text.into() };
        if selector.origins(self.fleet).is_empty() {
            return wrong(word, format!("no origin matches {selector}"));
        }
        let kind = match verb {
            "drain" => Some(ForceKind::Drain),
            "force" => Some(self.one_of(&[("up", ForceKind::Up), ("down", ForceKind::Down)])?),
            _ => None,
        };
        let verb = match kind {
            None => ForceVerb::Lift { drain: verb == "undrain" },
            Some(kind) => ForceVerb::Set { kind, length: self.length()? },
        };
        Ok(Action::Force(selector, verb, self.overrides()?))
    }

    fn length(&mut self) -> Read<Option<Duration>> {
        if self.rest.first().is_none_or(|word| word.text != "for") {
            return Ok(None);
        }
        self.next("for")?;
        self.time("how long").map(Some)
    }

    fn overrides(&mut self) -> Read<BTreeSet<Rule>> {
        let mut rules = BTreeSet::new();
        while self.rest.first().is_some_and(|word| word.text == "override") {
            self.next("override")?;
            let word = self.next("the rule")?;
            match word.text.parse::<Rule>() {
                Ok(rule) => drop(rules.insert(rule)),
                Err(error) => return wrong(word, error.to_string()),
            }
        }
        Ok(rules)
    }
}
