//! What a person asks for, and when the answer is no.
//!
//! A person may do what the core would not do by itself, but never by accident: where a rule stands in the way, the
//! order is refused with the rule's name, and only an order that names the rule goes through, on record.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decide::{self, Outlook};
use crate::durable::{Durable, Freeze, FreezeCause, SwitchKind};
use crate::event::{Event, EventKind};
use crate::facts::Isolation;
use crate::fit::Obstacle;
use crate::fleet::Fleet;
use crate::id::{GroupId, Name, SiteId};
use crate::safety;
use crate::state::State;
use crate::switch;
use crate::time::Now;

/// An operator's order.
#[derive(Clone, Debug)]
pub struct Order {
    /// The caller's handle for the answer.
    pub id: u64,
    pub group: GroupId,
    pub actor: Name,
    pub reason: Name,
    pub verb: Verb,
    /// Rules the operator overrides by name.
    pub overrides: BTreeSet<Rule>,
}

/// What an operator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Switch {
        to: SiteId,
    },
    /// To the most preferred site.
    Failback,
    /// Lifts the return latch.
    Ack,
    Freeze,
    Unfreeze,
    /// Agrees to the move that confirm mode proposes.
    Confirm,
}

impl Verb {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Switch { .. } => "switch",
            Self::Failback => "failback",
            Self::Ack => "ack",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Confirm => "confirm",
        }
    }
}

/// A rule that can be overridden by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Rule {
    /// The target is not fit, or not known to be.
    Unfit,
    /// A readiness gate of the target fails or is unknown.
    Gate,
    /// The safety rule of this name.
    Safety(Name),
    /// The target's data may have forked.
    Diverged,
    /// The group shares data and nothing fences the old site.
    NoFence,
    /// This edge may be cut off.
    Isolated,
}

impl Rule {
    /// The rules that hold without being configured.
    pub const BUILT_IN: [Self; 5] = [Self::Unfit, Self::Gate, Self::Diverged, Self::NoFence, Self::Isolated];

    /// The name that an order has to say.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Unfit => "unfit",
            Self::Gate => "gate",
            Self::Safety(name) => name,
            Self::Diverged => "diverged",
            Self::NoFence => "no-fence",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// No rule can have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of a rule; the rules are unfit, gate, diverged, no-fence, isolated, and the safety rules of the \
     configuration"
)]
pub struct UnknownRule(String);

impl FromStr for Rule {
    type Err = UnknownRule;

    /// Any name that is not built in is that of a safety rule; whether there is one, the fleet knows.
    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_name = !text.is_empty() && text.len() <= RULE_NAME_MAX && text.chars().all(allowed);
        let built_in = Self::BUILT_IN.into_iter().find(|rule| rule.label() == text);
        built_in
            .or_else(|| is_name.then(|| Self::Safety(text.into())))
            .ok_or_else(|| UnknownRule(text.to_owned()))
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.label().to_owned()
    }
}

impl TryFrom<String> for Rule {
    type Error = UnknownRule;

    fn try_from(text: String) -> Result<Self, UnknownRule> {
        text.parse()
    }
}

/// The longest name of a safety rule, in bytes.
pub const RULE_NAME_MAX: usize = 64;

/// An order that was carried out, or found already done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub group: Name,
    /// Where the group is active now.
    pub site: Option<Name>,
    pub epoch: u64,
    /// False: it was so already.
    pub changed: bool,
}

/// An order that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A short, stable word; the rule's name where one can be overridden.
    pub label: Name,
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Refusal {
    pub(crate) fn new(label: &str, message: impl Into<String>, next: impl Into<Option<String>>) -> Self {
        Self { label: label.into(), message: message.into(), next: next.into() }
    }

    pub(crate) fn not_leading() -> Self {
        let message = "this edge does not lead its cluster, so it decides nothing";
        Self::new("not-leading", message, "give the order to the edge that leads".to_owned())
    }

    pub(crate) fn not_stored(detail: &str) -> Self {
        let message = format!("the change could not be made durable, so nothing was changed: {detail}");
        let next = "look at the disk that holds state_dir, then repeat the order";
        Self::new("store", message, next.to_owned())
    }
}

/// What an order leads to.
pub(crate) enum Verdict {
    Already,
    Refused(Refusal),
    Change(Box<(Durable, Event)>),
}

/// Judges an order; changes nothing.
pub(crate) fn judge(fleet: &Fleet, state: &State, order: &Order, now: Now) -> Verdict {
    let own = state.group(order.group);
    if let Some(refusal) = no_such_rule(fleet, &order.overrides) {
        return Verdict::Refused(refusal);
    }
    if !state.may_decide(now) {
        return Verdict::Refused(Refusal::not_leading());
    }
    if own.pending.is_some() {
        let message = "another change of this group is being written";
        return Verdict::Refused(Refusal::new("busy", message, "repeat the order".to_owned()));
    }
    let moves = matches!(order.verb, Verb::Switch { .. } | Verb::Failback | Verb::Confirm);
    if moves && state.forces_pending.is_some() {
        let message = "a force is being written, which may change which sites are fit";
        return Verdict::Refused(Refusal::new("busy", message, "repeat the order".to_owned()));
    }
    match order.verb {
        Verb::Switch { to } => switch_to(fleet, state, order, to, SwitchKind::Switchover, now),
        Verb::Failback => failback(fleet, state, order, now),
        Verb::Confirm => confirm(fleet, state, order, now),
        Verb::Ack if own.durable.latched.is_empty() => Verdict::Already,
        Verb::Ack => plain(fleet, state, order, EventKind::Acknowledged, now, |next| next.latched.clear()),
        Verb::Freeze if own.durable.freeze.is_some() => Verdict::Already,
        Verb::Freeze => plain(fleet, state, order, EventKind::Frozen, now, |next| {
            let (actor, reason) = (order.actor.clone(), order.reason.clone());
            next.freeze = Some(Freeze { cause: FreezeCause::Operator, since: now.wall, actor, reason });
        }),
        Verb::Unfreeze if own.durable.freeze.is_none() => Verdict::Already,
        Verb::Unfreeze => plain(fleet, state, order, EventKind::Unfrozen, now, |next| {
            next.freeze = None;
            // A window that stayed full would freeze the group again at once.
            next.automatic.clear();
        }),
    }
}

/// A misspelt rule is not overridden silently: the order would be refused anyway, or worse, go through without it.
pub(crate) fn no_such_rule(fleet: &Fleet, overrides: &BTreeSet<Rule>) -> Option<Refusal> {
    let known = |rule: &Rule| match rule {
        Rule::Safety(name) => fleet.rules.iter().any(|rule| rule.name == *name),
        _ => true,
    };
    let unknown = overrides.iter().find(|rule| !known(rule))?;
    let built_in = Rule::BUILT_IN.iter().map(|rule| rule.label().to_owned());
    let all: Vec<_> = built_in.chain(fleet.rules.iter().map(|rule| rule.name.to_string())).collect();
    let message = format!("there is no rule `{unknown}` to override");
    Some(Refusal::new("no-such-rule", message, format!("the rules are {}", all.join(", "))))
}

/// A change of the durable part that moves nothing.
fn plain(
    fleet: &Fleet,
    state: &State,
    order: &Order,
    kind: EventKind,
    now: Now,
    change: impl FnOnce(&mut Durable),
) -> Verdict {
    let mut next = state.group(order.group).durable.clone();
    change(&mut next);
    let event = Event {
        group: Some(fleet.group(order.group).name.clone()),
        epoch: Some(next.epoch()),
        ..Event::new(now.wall, kind, order.actor.clone(), order.reason.clone())
    };
    Verdict::Change(Box::new((next, event)))
}

fn failback(fleet: &Fleet, state: &State, order: &Order, now: Now) -> Verdict {
    let home = fleet.group(order.group).sites[0];
    if state.group(order.group).active.is_none() {
        let name = &fleet.group(order.group).name;
        let message = format!("group `{name}` has never been anywhere, so there is no way back");
        let next = format!("tidegate switch {name} SITE --reason WHY");
        return Verdict::Refused(Refusal::new("undecided", message, next));
    }
    switch_to(fleet, state, order, home, SwitchKind::Failback, now)
}

fn confirm(fleet: &Fleet, state: &State, order: &Order, now: Now) -> Verdict {
    match decide::outlook(fleet, state, order.group, now) {
        Outlook::Propose { to } => {
            switch_to(fleet, state, order, to, proposed_kind(fleet, state, order.group, to), now)
        }
        _ => Verdict::Refused(Refusal::new(
            "nothing-proposed",
            "no move of this group waits for a confirmation now",
            format!("tidegate explain {}", fleet.group(order.group).name),
        )),
    }
}

/// A proposal leads away from a lost site, or home from a site that serves.
fn proposed_kind(fleet: &Fleet, state: &State, group: GroupId, to: SiteId) -> SwitchKind {
    let sites = &fleet.group(group).sites;
    let rank = |site| sites.iter().position(|candidate| *candidate == site);
    let own = state.group(group);
    let home = own.unfit_since.is_none() && own.active.is_some_and(|active| rank(to) < rank(active));
    if home { SwitchKind::Failback } else { SwitchKind::Failover }
}

fn switch_to(fleet: &Fleet, state: &State, order: &Order, to: SiteId, kind: SwitchKind, now: Now) -> Verdict {
    let (group, own) = (fleet.group(order.group), state.group(order.group));
    let site = fleet.site(to);
    if !group.sites.contains(&to) {
        let names: Vec<_> = group.sites.iter().map(|site| &*fleet.site(*site).name).collect();
        let message = format!("site `{}` is not one of group `{}`'s", site.name, group.name);
        return Verdict::Refused(Refusal::new(
            "no-such-site",
            message,
            format!("its sites are {}", names.join(", ")),
        ));
    }
    if own.active == Some(to) {
        return Verdict::Already;
    }
    let against = rules_against(fleet, state, order.group, to);
    let missing: Vec<_> = against.iter().filter(|(rule, _)| !order.overrides.contains(rule)).collect();
    if !missing.is_empty() {
        return Verdict::Refused(overridable(&group.name, &site.name, order, &missing));
    }
    let kind = if own.active.is_none() { SwitchKind::Start } else { kind };
    let (mut next, mut event) =
        switch::switched(fleet, state, order.group, to, kind, &order.actor, &order.reason, now);
    let overridden: BTreeSet<_> = against.iter().map(|(rule, _)| rule.clone()).collect();
    if overridden.contains(&Rule::Unfit) {
        // Else the next failover would undo at once what a person insisted on.
        let reason = format!("moved to `{}` although it is unfit: {}", site.name, order.reason).into();
        let (cause, actor) = (FreezeCause::Operator, order.actor.clone());
        next.freeze.get_or_insert(Freeze { cause, since: now.wall, actor, reason });
    }
    event.overrides = overridden.iter().map(|rule| rule.label().into()).collect();
    Verdict::Change(Box::new((next, event)))
}

/// Every rule that stands against a person's move of `group` to `to`.
pub(crate) fn rules_against(fleet: &Fleet, state: &State, group: GroupId, to: SiteId) -> Vec<(Rule, String)> {
    let own = state.group(group);
    let mut against: Vec<_> = own
        .fitness_at(fleet.group(group), to)
        .obstacles()
        .iter()
        .map(|obstacle| (rule_of(obstacle), obstacle.to_string()))
        .collect();
    if own.active.is_some() && !fleet.group(group).is_stateless() {
        let message = "the group shares data and nothing can fence the old site, so both could be written to";
        against.push((Rule::NoFence, message.to_owned()));
    }
    // Away from a lost site no move is planned.
    if own.active.is_some() && own.unfit_since.is_none() {
        let holding = safety::holding(fleet, state, group).into_iter();
        against.extend(holding.map(|by| {
            let message = format!("safety rule `{}` holds planned moves back ({})", by.rule, by.why);
            (Rule::Safety(by.rule), message)
        }));
    }
    if !matches!(state.facts.isolation, None | Some(Isolation::Connected)) {
        against.push((Rule::Isolated, "the witnesses do not confirm that this edge is connected".to_owned()));
    }
    against
}

fn rule_of(obstacle: &Obstacle) -> Rule {
    match obstacle {
        Obstacle::OriginsDown { .. }
        | Obstacle::OriginsUnknown { .. }
        | Obstacle::NamesUnresolved { .. }
        | Obstacle::CapabilityMissing(_)
        | Obstacle::FrontDoorLost
        | Obstacle::FrontDoorUnknown => Rule::Unfit,
        Obstacle::GateFailed { .. } | Obstacle::GateUnknown { .. } => Rule::Gate,
        Obstacle::Forbidden(by) => Rule::Safety(by.rule.clone()),
        Obstacle::Diverged => Rule::Diverged,
    }
}

/// Names every rule at once, so that the order has to be repeated only once; the first one labels the refusal.
fn overridable(group: &str, site: &str, order: &Order, missing: &[&(Rule, String)]) -> Refusal {
    let messages: Vec<_> = missing.iter().map(|(_, message)| message.as_str()).collect();
    let mut overrides = order.overrides.clone();
    overrides.extend(missing.iter().map(|(rule, _)| rule.clone()));
    let command = match order.verb {
        Verb::Failback => format!("failback {group}"),
        Verb::Confirm => format!("confirm {group}"),
        _ => format!("switch {group} {site}"),
    };
    let next = format!("to do it all the same: tidegate {command}{} --reason WHY", flags(&overrides));
    let message = format!("`{site}`: {}", messages.join("; "));
    Refusal::new(missing[0].0.label(), message, next)
}

/// Rules as they are overridden on the command line.
pub(crate) fn flags(rules: &BTreeSet<Rule>) -> String {
    rules.iter().map(|rule| format!(" --override {rule}")).collect()
}
