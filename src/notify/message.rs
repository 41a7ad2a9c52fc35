//! One text for people and one for machines, of one event.

use serde::Serialize;
use tidegate_health::event::{Event, EventKind, Severity};
use tidegate_health::id::Name;
use tidegate_health::time::Wall;

/// The shape of the text for machines; it grows when the meaning of a field changes.
const VERSION: u32 = 1;

/// What is told of one event, whoever is told.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) event: Event,
    /// A kind's label, or `test`.
    kind: &'static str,
    pub(super) severity: Severity,
    node: Name,
    /// The same for the same event, however often and by whichever way it arrives.
    pub(super) id: String,
    headline: String,
    next: String,
}

/// A message on its way to one receiver.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) message: std::sync::Arc<Message>,
    /// How many events that are alike it stands for.
    pub(super) count: u64,
    /// How many events before it were left out, for want of room or because they could not be delivered.
    pub(super) left_out: u64,
}

/// The text for machines. `docs/notifications.md` describes each field.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    id: &'a str,
    kind: &'a str,
    severity: Severity,
    at: String,
    node: &'a str,
    group: Option<&'a str>,
    site: Option<&'a str>,
    origin: Option<&'a str>,
    gate: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    epoch: Option<u64>,
    actor: &'a str,
    reason: &'a str,
    overrides: &'a [Name],
    count: u64,
    left_out: u64,
    subject: String,
    text: String,
    next: &'a str,
}

impl Message {
    pub(super) fn new(event: &Event, node: &Name) -> Self {
        Self {
            kind: event.kind.label(),
            severity: event.severity(),
            id: id(event, node),
            headline: headline(event),
            next: next(event),
            node: node.clone(),
            event: event.clone(),
        }
    }

    /// What is sent to try a receiver out.
    pub(super) fn test(node: &Name, actor: &Name, at: Wall) -> Self {
        // The kind is never shown: the message says `test`.
        let reason = "somebody wanted to see whether this arrives";
        let event = Event::new(at, EventKind::Start, actor.clone(), reason);
        Self {
            kind: "test",
            severity: Severity::Info,
            id: id(&event, node),
            headline: "this is a test".into(),
            next: "nothing: what you read has arrived".into(),
            node: node.clone(),
            event,
        }
    }

    /// Whether two events are so much alike that one message is enough: the same but for numbers and the time.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (&self.event, &other.event);
        let key = |event: &Event| (event.kind, event.epoch);
        key(a) == key(b)
            && (&a.group, &a.actor, &a.from, &a.to) == (&b.group, &b.actor, &b.from, &b.to)
            && (&a.site, &a.origin, &a.gate) == (&b.site, &b.origin, &b.gate)
            && without_digits(&a.reason).eq(without_digits(&b.reason))
    }
}

fn without_digits(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|char| !char.is_ascii_digit())
}

impl Letter {
    /// One line, without line breaks.
    pub(super) fn subject(&self) -> String {
        let Message { node, severity, headline, .. } = &*self.message;
        let more = if self.count > 1 { format!(" ({} times)", self.count) } else { String::new() };
        let subject = format!("[tidegate {node}] {}: {headline}{more}", severity.label());
        subject.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
    }

    /// Plain sentences: what, where, when, who, why, and what to do next.
    pub(super) fn text(&self) -> String {
        let Message { node, severity, headline, next, event, .. } = &*self.message;
        let mut lines = vec![capital(headline) + ".", String::new()];
        let mut say = |word: &str, what: String| lines.push(format!("{:<10} {what}", format!("{word}:")));
        say("When", time(event.at));
        say("Edge", node.to_string());
        if let Some(group) = &event.group {
            say("Group", group.to_string());
        }
        for (word, name) in [("Site", &event.site), ("Origin", &event.origin), ("Gate", &event.gate)] {
            if let Some(name) = name {
                say(word, name.to_string());
            }
        }
        match (&event.from, &event.to) {
            (Some(from), Some(to)) => say("Change", format!("{from} -> {to}")),
            (None, Some(to)) => say("Now", to.to_string()),
            _ => {}
        }
        say("Why", event.reason.to_string());
        say("Who", event.actor.to_string());
        if let Some(epoch) = event.epoch {
            say("Epoch", epoch.to_string());
        }
        if !event.overrides.is_empty() {
            say("Overruled", event.overrides.join(", "));
        }
        say("Severity", severity.label().to_owned());
        say("Next", next.clone());
        if self.count > 1 {
            lines
                .extend([String::new(), format!("This happened {} times; the latest is shown.", self.count)]);
        }
        if self.left_out > 0 {
            let left_out = self.left_out;
            let were = if left_out == 1 { "event was" } else { "events were" };
            let text =
                format!("{left_out} {were} left out before this message; `tidegate history` has them.");
            lines.extend([String::new(), text]);
        }
        lines.join("\n") + "\n"
    }

    pub(super) fn json(&self) -> String {
        let Message { event, kind, severity, node, id, next, .. } = &*self.message;
        let body = Body {
            version: VERSION,
            id,
            kind,
            severity: *severity,
            at: time(event.at),
            node,
            group: event.group.as_deref(),
            site: event.site.as_deref(),
            origin: event.origin.as_deref(),
            gate: event.gate.as_deref(),
            from: event.from.as_deref(),
            to: event.to.as_deref(),
            epoch: event.epoch,
            actor: &event.actor,
            reason: &event.reason,
            overrides: &event.overrides,
            count: self.count,
            left_out: self.left_out,
            subject: self.subject(),
            text: self.text(),
            next,
        };
        serde_json::to_string(&body).expect("texts, numbers and lists of them make JSON")
    }
}

/// RFC 3339, in UTC, with milliseconds.
fn time(at: Wall) -> String {
    let millisecond = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    millisecond.map_or_else(|| format!("{} ms after 1970", at.0), |at| format!("{at:.3}"))
}

fn id(event: &Event, node: &Name) -> String {
    let text = serde_json::to_string(&(node, event)).expect("names and numbers make JSON");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    super::hex(&digest.as_ref()[..16])
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What happened, without a full stop.
fn headline(event: &Event) -> String {
    let named = event.group.as_deref().map(|group| format!("group {group}"));
    let of = named.as_ref().map_or_else(String::new, |group| format!(" of {group}"));
    let group = named.as_deref().unwrap_or("a group");
    let site = |site: &Option<Name>| site.as_deref().unwrap_or("nowhere").to_owned();
    let (from, to) = (site(&event.from), site(&event.to));
    match event.kind {
        EventKind::Start => format!("{group} begins at {to}"),
        EventKind::Failover => format!("{group} failed over from {from} to {to}"),
        EventKind::Switchover => format!("{group} was switched from {from} to {to}"),
        EventKind::Failback => format!("{group} went back from {from} to {to}"),
        EventKind::Acknowledged => format!("the loss of a site{of} was acknowledged"),
        EventKind::Frozen => format!("{group} is frozen: nothing moves it by itself"),
        EventKind::Unfrozen => format!("{group} is no longer frozen"),
        EventKind::Proposed => format!("a move{of} waits for a person to confirm it"),
        EventKind::Unfit => format!("the active site{of} is unfit"),
        EventKind::FailStatic => format!("no site{of} is fit: traffic stays where it is"),
        EventKind::Recovered => format!("the active site{of} is no longer unfit"),
        EventKind::Stalled => "the daemon was stopped for a while".into(),
        EventKind::NotStored => format!("a change{of} could not be written: nothing can move"),
        EventKind::Refused => match named {
            Some(group) => format!("an order about {group} was refused"),
            None => "an order was refused".into(),
        },
        EventKind::Reloaded => "another configuration was taken".into(),
        EventKind::Resolved => "a name that stands for origins is resolved".into(),
        EventKind::Unresolved => "a name that stands for origins cannot be resolved".into(),
        EventKind::Forced => "origins were drained or forced".into(),
        EventKind::Unforced => "a force on origins has ended".into(),
        EventKind::Overdue => "a drain should be over and is not".into(),
        EventKind::StandbyUnfit => format!("a standby site{of} has not been fit for a while"),
        EventKind::StandbyFit => format!("a standby site{of} is fit again"),
        EventKind::Isolated => "this edge may be cut off: nothing moves by itself".into(),
        EventKind::Connected => "this edge is connected again".into(),
        EventKind::Diverged => format!("the data of a site{of} may have forked"),
        EventKind::Resynced => format!("the data of a site{of} is whole again"),
        EventKind::Gate => format!("a gate{of} says something else than before"),
        EventKind::FrontDoorLost => "no published address of a site works".into(),
        EventKind::Round => "the first complete round of checks is in".into(),
        EventKind::Origin => format!("an origin{of} is {to}"),
        EventKind::Fitness => format!("a site{of} is {to}"),
        EventKind::Isolation => format!("what the witnesses say of this edge: {to}"),
        EventKind::FrontDoorBack => "a published address of a site works again".into(),
        EventKind::TokenMade => "a token for the API was made".into(),
        EventKind::TokenRevoked => "a token for the API was revoked".into(),
    }
}

/// The command to type next, on the edge.
fn next(event: &Event) -> String {
    let group = event.group.as_deref().unwrap_or("GROUP");
    let explain = format!("tidegate explain {group}");
    match event.kind {
        EventKind::Failover => {
            format!("{explain}; once the lost site is repaired: tidegate ack {group} --reason WHY")
        }
        EventKind::Frozen => format!("{explain}; then: tidegate unfreeze {group} --reason WHY"),
        EventKind::Proposed => format!("{explain}; then: tidegate confirm {group} --reason WHY"),
        EventKind::Unfit
        | EventKind::FailStatic
        | EventKind::Recovered
        | EventKind::Start
        | EventKind::Switchover
        | EventKind::Failback
        | EventKind::Gate
        | EventKind::Resynced
        | EventKind::Diverged => explain,
        EventKind::NotStored => {
            "look at the disk that holds state_dir: df, then journalctl -u tidegate -e".into()
        }
        EventKind::Isolated => "look at this machine's network: ip route; then: tidegate status".into(),
        EventKind::Stalled => "journalctl -u tidegate -e".into(),
        EventKind::Unresolved => "getent hosts NAME; then: tidegate status --all".into(),
        EventKind::StandbyUnfit
        | EventKind::StandbyFit
        | EventKind::FrontDoorLost
        | EventKind::FrontDoorBack
        | EventKind::Round
        | EventKind::Origin
        | EventKind::Fitness
        | EventKind::Isolation => "tidegate status --all".into(),
        EventKind::Overdue => "tidegate status; then: tidegate undrain SCOPE NAME --reason WHY".into(),
        EventKind::Acknowledged
        | EventKind::Unfrozen
        | EventKind::Refused
        | EventKind::Reloaded
        | EventKind::Resolved
        | EventKind::Forced
        | EventKind::Unforced
        | EventKind::Connected => "tidegate history".into(),
        EventKind::TokenMade | EventKind::TokenRevoked => "tidegate token list".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn event(kind: EventKind) -> Event {
        let reason = "`main` is unfit; `dr` is proven fit";
        Event {
            group: Some("app".into()),
            from: Some("main".into()),
            to: Some("dr".into()),
            epoch: Some(7),
            overrides: vec!["no-fence".into()],
            ..Event::new(Wall(1_700_000_000_123), kind, "tidegate".into(), reason)
        }
    }

    fn letter(event: &Event) -> Letter {
        Letter { message: Arc::new(Message::new(event, &"edge-1".into())), count: 1, left_out: 0 }
    }

    #[test]
    fn a_failover_reads_like_this() {
        let letter = Letter { count: 3, left_out: 2, ..letter(&event(EventKind::Failover)) };
        assert_eq!(
            letter.subject(),
            "[tidegate edge-1] warning: group app failed over from main to dr (3 times)"
        );
        let wanted = "\
Group app failed over from main to dr.

When:      2023-11-14T22:13:20.123Z
Edge:      edge-1
Group:     app
Change:    main -> dr
Why:       `main` is unfit; `dr` is proven fit
Who:       tidegate
Epoch:     7
Overruled: no-fence
Severity:  warning
Next:      tidegate explain app; once the lost site is repaired: tidegate ack app --reason WHY

This happened 3 times; the latest is shown.

2 events were left out before this message; `tidegate history` has them.
";
        assert_eq!(letter.text(), wanted);
    }

    #[test]
    fn every_kind_has_a_subject_of_one_line_and_a_next_command() {
        for kind in EventKind::ALL {
            for group in [Some("app".into()), None] {
                let letter = letter(&Event { group, reason: "a\nb".into(), ..event(kind) });
                let subject = letter.subject();
                assert!(
                    !subject.contains('\n') && subject.len() > 20 && !subject.contains("  "),
                    "{subject}"
                );
                assert!(letter.message.next.len() > 5, "{kind:?}");
            }
        }
    }

    #[test]
    fn an_event_keeps_its_id_and_another_has_another() {
        let id = |event: &Event, node: &str| Message::new(event, &node.into()).id;
        let one = event(EventKind::Failover);
        assert_eq!(id(&one, "a"), id(&one.clone(), "a"));
        assert_ne!(id(&one, "a"), id(&one, "b"));
        assert_ne!(id(&one, "a"), id(&Event { at: Wall(1), ..one.clone() }, "a"));
        assert_eq!(id(&one, "a").len(), 32);
    }

    #[test]
    fn events_are_alike_but_for_numbers_and_time_and_switches_never_are() {
        let message = |event: Event| Message::new(&event, &"edge".into());
        let one = Event { reason: "stopped for 1200 ms".into(), ..event(EventKind::Stalled) };
        let two = Event { at: Wall(5), reason: "stopped for 77 ms".into(), ..one.clone() };
        assert!(message(one.clone()).is_like(&message(two.clone())));
        assert!(!message(one.clone()).is_like(&message(Event { epoch: Some(8), ..two.clone() })));
        assert!(!message(one.clone()).is_like(&message(Event { group: None, ..two.clone() })));
        assert!(!message(one).is_like(&message(Event { reason: "stopped for 77 s".into(), ..two })));
    }
}
