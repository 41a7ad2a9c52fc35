//! The API's answers as a tired person reads them.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidegate_health::chain::Link;
use tidegate_health::explain::Explanation;
use tidegate_health::force::{ForceKind, ForceStatus, Forced, SitePreview};
use tidegate_health::gate::{Purpose, Verdict};
use tidegate_health::status::{GateStatus, GroupStatus, SiteStatus, Status};
use tidegate_health::time::Wall;

use crate::admin::shape::{DoneReply, ForceBody, ReloadReply, StatusReply, TokenShape};
use crate::history::Entry;
use crate::names::{NameState, NameStatus};
use crate::reload::RestartKey;

/// Where every group is, site by site, worst news in plain sight.
pub(super) fn status(reply: &StatusReply, all: bool, now: Wall) -> String {
    let mut out = format!(
        "tidegate {} on {}, generation {}, up {}\n",
        reply.version,
        reply.node,
        reply.generation,
        age(reply.started, now)
    );
    if !reply.status.round_complete {
        out.push_str("The first complete round of probes is not in yet.\n");
    }
    edge_lines(&mut out, &reply.status, all);
    for group in &reply.status.groups {
        out.push('\n');
        group_block(&mut out, group, all, now);
    }
    names(&mut out, &reply.names, all, now);
    if !reply.status.forces.is_empty() {
        out.push('\n');
    }
    for force in &reply.status.forces {
        force_line(&mut out, force, now);
    }
    out
}

/// Whether this edge is cut off, and published addresses that do not work.
fn edge_lines(out: &mut String, status: &Status, all: bool) {
    if let Some(isolation) = &status.isolation {
        let reached = status.witnesses.iter().filter(|witness| witness.reachable == Some(true)).count();
        let count = status.witnesses.len();
        match &**isolation {
            "connected" if !all => {}
            "connected" => drop(writeln!(out, "connected: {reached} of {count} witnesses are reached")),
            _ => drop(writeln!(
                out,
                "  ! ISOLATED ({isolation}): {reached} of {count} witnesses are reached; nothing moves by itself"
            )),
        }
        for witness in status.witnesses.iter().filter(|it| all || it.reachable != Some(true)) {
            let state = match witness.reachable {
                Some(true) => "reached",
                Some(false) => "not reached",
                None => "not known",
            };
            let _ = writeln!(out, "      witness {} {state}", witness.address);
        }
    }
    for door in status.front_doors.iter().filter(|door| all || &*door.state != "reachable") {
        let mark = if &*door.state == "lost" { "  ! " } else { "    " };
        let _ = writeln!(out, "{mark}front door of {}: {}", door.site, door.state);
        for address in &door.addresses {
            let failure =
                address.failure.as_deref().map(|failure| format!(": {failure}")).unwrap_or_default();
            let _ = writeln!(out, "      {} {}{failure}", address.address, address.health);
        }
    }
}

/// One force, as `status` tells it.
pub(super) fn force(status: &ForceStatus, now: Wall) -> String {
    let mut out = String::new();
    force_line(&mut out, status, now);
    out
}

/// Names that do not stand for what they should, or all of them.
fn names(out: &mut String, names: &[NameStatus], all: bool, now: Wall) {
    let is_told = |name: &&NameStatus| all || name.state != NameState::Resolved || !name.concerns.is_empty();
    let told: Vec<_> = names.iter().filter(is_told).collect();
    if !told.is_empty() {
        out.push('\n');
    }
    for status in told {
        let NameStatus { name, addresses, .. } = status;
        let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let resolved =
            status.resolved_at.map(|at| format!(", resolved {} ago", age(at, now))).unwrap_or_default();
        let _ = match status.state {
            NameState::Unresolved => writeln!(out, "{name} is not resolved: it stands for no origin yet"),
            _ => writeln!(out, "{name} is {}{resolved}", list.join(", ")),
        };
        if let (Some(since), Some(why)) = (status.failing_since, &status.failure) {
            let lasts = age(since, now);
            let so = if addresses.is_empty() { "" } else { "; its last good addresses stay" };
            let _ = writeln!(out, "  ! NOT ANSWERED for {lasts}: {why}{so}");
        }
        for concern in &status.concerns {
            let _ = writeln!(out, "  ! {concern}");
        }
    }
}

/// Who took what out, why, and whether it may be switched off.
fn force_line(out: &mut String, status: &ForceStatus, now: Wall) {
    let ForceStatus { force, count, in_flight, .. } = status;
    let what = force.kind.done();
    let (actor, since, reason) = (&force.actor, age(force.since, now), &force.reason);
    let _ = writeln!(out, "{} {what} by {actor} {since} ago: {reason}", force.selector);
    let state = match (force.kind.is_out(), status.safe) {
        (false, _) => "their checks are not heeded".to_owned(),
        (true, true) => "nothing is open to them from here: safe to power off".to_owned(),
        (true, false) if *count == 0 => "the configuration has none of them any more".to_owned(),
        (true, false) if status.unseen => {
            "not all of their traffic passes here: look at the machines before you power off".to_owned()
        }
        (true, false) if *in_flight == 0 => {
            "their last connections are closing: not safe to power off yet".to_owned()
        }
        (true, false) => {
            format!("{in_flight} requests and tunnels are still open: not safe to power off yet")
        }
    };
    let _ = writeln!(out, "    {count} origin{}; {state}", if *count == 1 { "" } else { "s" });
    let _ = writeln!(out, "    lifted by: {}", force.lifted_by());
    if status.overdue {
        let _ =
            writeln!(out, "  ! OVERDUE: it should have ended {} ago", age(force.until.unwrap_or(now), now));
    } else if let Some(until) = force.until {
        let end = if force.kind == ForceKind::Drain { "should be over" } else { "ends by itself" };
        let _ = writeln!(out, "    {end} in {}", age(now, until));
    }
}

/// What came of a drain or a force, or would.
pub(super) fn forced(reply: &Forced, asked: &ForceBody) -> String {
    let Forced { changed, preview } = reply;
    let action = asked.action.label();
    let state = match (asked.preview, changed) {
        (true, _) => "would concern",
        (false, true) => "done:",
        (false, false) => "nothing to do:",
    };
    let count = preview.count;
    let s = if count == 1 { "" } else { "s" };
    let mut out = format!("{action} {}: {state} {count} origin{s}\n", preview.selector);
    for site in &preview.sites {
        let mark = if site.active { '>' } else { ' ' };
        let _ = write!(out, "  {mark} {} at {}: ", site.group, site.site);
        let left = site.services.iter().map(|it| format!("{} of {} {} left", it.then, it.of, it.service));
        let _ = write!(out, "{}", left.collect::<Vec<_>>().join(", "));
        if site.now == site.then {
            let _ = writeln!(out, "; {} as before", site.then);
        } else {
            let _ = writeln!(out, "; {} -> {}: {}", site.now, site.then, site.why.join("; "));
        }
    }
    if asked.preview {
        for loss in preview.sites.iter().filter_map(SitePreview::loss) {
            let _ = writeln!(out, "  ! {loss}; it would be refused without --override unfit");
        }
    }
    if *changed && asked.action.kind().is_some_and(ForceKind::is_out) {
        out.push_str("`tidegate status` says when it is safe to power off\n");
    }
    out
}

fn group_block(out: &mut String, group: &GroupStatus, all: bool, now: Wall) {
    let place = place(group.active.as_deref());
    let _ = write!(out, "{}  {}  active {place}", group.name, group.condition.label());
    if let (Some(kind), Some(since)) = (group.kind, group.since) {
        let _ = write!(out, "  epoch {}, {} {} ago", group.epoch, kind.label(), age(since, now));
    }
    out.push('\n');
    for site in &group.sites {
        site_lines(out, site, all, now);
    }
    let flag = |out: &mut String, text: String| {
        let _ = writeln!(out, "  ! {text}");
    };
    if let Some(freeze) = &group.durable.freeze {
        let (cause, name) = (freeze.cause.label(), &group.name);
        flag(out, format!("frozen ({cause}) by {}: {}", freeze.actor, freeze.reason));
        flag(out, format!("  lifted by: tidegate unfreeze {name} --reason WHY"));
    }
    if let Some(site) = &group.proposal {
        flag(out, format!("a move to {site} waits for: tidegate confirm {} --reason WHY", group.name));
    }
    for name in &group.durable.latched {
        flag(
            out,
            format!("no automatic failover to {name} before: tidegate ack {} --reason WHY", group.name),
        );
    }
    for name in &group.durable.diverged {
        flag(
            out,
            format!("{name} is diverged: its data may have forked; more: tidegate explain {}", group.name),
        );
    }
    for name in &group.rules_broken {
        flag(
            out,
            format!("safety rule {name} would not let it go {place}; why: tidegate explain {}", group.name),
        );
    }
    for name in &group.degraded {
        flag(out, format!("degraded: {name} is not provided {place}"));
    }
    if group.active.is_none() {
        flag(out, format!("nothing is served; why: tidegate explain {}", group.name));
    }
}

fn site_lines(out: &mut String, site: &SiteStatus, all: bool, now: Wall) {
    let mark = if site.active { '>' } else { ' ' };
    let up = site.origins.iter().filter(|origin| &*origin.effective == "up").count();
    let _ = writeln!(
        out,
        "  {mark} {:<12} {:<8} {up}/{} origins up{}",
        site.name,
        site.fitness,
        site.origins.len(),
        site.why.first().map(|why| format!("  ({why})")).unwrap_or_default()
    );
    // At the active site a gate bars nothing.
    for gate in site.gates.iter().filter(|gate| all || (!site.active && gate.verdict != Verdict::Pass)) {
        let GateStatus { name, verdict, why, age_ms, purpose } = gate;
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let age = age_ms.map(|ms| format!(", {} s ago", ms / 1000)).unwrap_or_default();
        let purpose = match purpose {
            Purpose::Ready => String::new(),
            other => format!(" ({})", other.label()),
        };
        let _ = writeln!(out, "      gate {name}{purpose} {}{why}{age}", verdict.label());
    }
    for origin in
        site.origins.iter().filter(|origin| all || &*origin.effective != "up" || origin.force.is_some())
    {
        let failure = origin.failure.as_deref().map(|failure| format!(": {failure}")).unwrap_or_default();
        let host = origin.host.as_deref().map(|host| format!(" on {host}")).unwrap_or_default();
        let host = match &origin.resolved_from {
            Some(name) => format!("{host} of {name}"),
            None => host,
        };
        let force = match origin.force {
            None => String::new(),
            Some(ForceKind::Drain) => format!(", drained; its checks say {}", origin.real),
            Some(_) => format!(", forced; its checks say {}", origin.real),
        };
        let _ = writeln!(
            out,
            "      {}{host} {}{force} for {}{failure}",
            origin.name,
            origin.effective,
            age(origin.since, now)
        );
    }
}

/// Why, what would change it, and the next command.
pub(super) fn explanation(reply: &Explanation) -> String {
    let mut out = format!("{}\n", reply.headline);
    chain(&mut out, "How it came there:", &reply.decided);
    chain(&mut out, "What is wrong now:", &reply.present);
    out.push_str("\nSites, in order of preference:\n");
    for site in &reply.sites {
        let mark = if site.active { '>' } else { ' ' };
        let _ = writeln!(out, "  {mark} {:<12} {}", site.site, site.fitness);
        for why in &site.why {
            let _ = writeln!(out, "      {why}");
        }
    }
    if reply.stops.is_empty() {
        let _ = writeln!(out, "\nNothing stops a move; the group is {}.", reply.outlook);
    } else {
        out.push_str("\nWhat keeps it from moving by itself:\n");
        for stop in &reply.stops {
            let _ = writeln!(out, "  {}: {}", stop.label, stop.text);
            if let Some(next) = &stop.next {
                let _ = writeln!(out, "      next: {next}");
            }
        }
    }
    if !reply.ways.is_empty() {
        out.push_str("\nWhat would change where it is:\n");
    }
    for way in &reply.ways {
        let left =
            way.left_ms.filter(|left| *left > 0).map(|left| format!(" ({} left)", age(Wall(0), Wall(left))));
        let _ = writeln!(out, "  {}: {}{}", way.label, way.text, left.unwrap_or_default());
        if let Some(next) = &way.next {
            let _ = writeln!(out, "      {next}");
        }
    }
    if !reply.notes.is_empty() {
        out.push_str("\nTo know:\n");
        for note in &reply.notes {
            let _ = writeln!(out, "  {note}");
        }
    }
    let _ = writeln!(out, "\nNext: {}", reply.next.as_deref().unwrap_or("nothing has to be done"));
    out
}

/// From the cause down, each with its time.
fn chain(out: &mut String, title: &str, links: &[Link]) {
    if links.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for (position, link) in links.iter().enumerate() {
        let arrow = if position == 0 { "  " } else { "->" };
        let at = link.at.map(time).unwrap_or_default();
        let _ = writeln!(out, "  {at:<26} {arrow} {}", link.text);
    }
}

/// One line for each entry, in this order.
pub(super) fn history(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "there is nothing".into();
    }
    let mut out = String::new();
    for Entry { event, .. } in entries {
        let group = match (&event.group, event.groups.as_slice()) {
            (Some(group), _) => group.to_string(),
            (None, []) => "-".into(),
            (None, groups) if groups.len() > 3 => format!("{},... ({} groups)", groups[0], groups.len()),
            (None, groups) => groups.join(","),
        };
        let _ = write!(out, "{}  {group}  {}", time(event.at), event.kind.label());
        for of in [event.origin.as_ref().or(event.site.as_ref()), event.gate.as_ref()].into_iter().flatten() {
            let _ = write!(out, " {of}");
        }
        match (&event.from, &event.to) {
            (Some(from), Some(to)) => drop(write!(out, " {from} -> {to}")),
            (None, Some(to)) => drop(write!(out, " -> {to}")),
            _ => {}
        }
        if let Some(epoch) = event.epoch {
            let _ = write!(out, "  epoch {epoch}");
        }
        let _ = write!(out, "  by {}: {}", event.actor, event.reason);
        if !event.overrides.is_empty() {
            let _ = write!(out, "  (overriding {})", event.overrides.join(", "));
        }
        if event.left_out > 0 {
            let _ = write!(out, "  ({} changes before it are left out)", event.left_out);
        }
        out.push('\n');
    }
    out
}

/// Who may call over the network.
pub(super) fn tokens(tokens: &[TokenShape], now: Wall) -> String {
    if tokens.is_empty() {
        return "there are no tokens; `tidegate token create NAME --role ROLE` makes one".into();
    }
    let mut out = String::new();
    for token in tokens {
        let used = token.last_used.map_or_else(
            || "not used since the daemon's start".into(),
            |used| format!("last used {} ago", age(used, now)),
        );
        let end = match token.expires {
            None => "no end".into(),
            Some(end) if token.expired => format!("EXPIRED {} ago", age(end, now)),
            Some(end) => format!("ends in {}", age(now, end)),
        };
        let (name, role, made) = (&token.name, token.role.label(), age(token.made, now));
        let _ = writeln!(out, "{name:<20} {role:<8} {end}; {used}; made {made} ago by {}", token.made_by);
    }
    out
}

/// What a reload changed, and what it could not.
pub(super) fn reloaded(reply: &ReloadReply) -> String {
    let mut out = String::new();
    for warning in &reply.warnings {
        let _ = writeln!(out, "{}", warning.trim_end());
    }
    for RestartKey { key, kept, configured } in &reply.restart {
        let _ = writeln!(out, "{key} is `{configured}` in the file and stays `{kept}` until a restart");
    }
    let _ = write!(out, "reloaded: {}; generation {}", crate::reload::line(&reply.changes), reply.generation);
    out
}

/// What came of an order.
pub(super) fn done(reply: &DoneReply, verb: &str) -> String {
    let place = place(reply.done.site.as_deref());
    let state = if reply.done.changed { "done" } else { "nothing to do" };
    format!("{verb} {}: {state}; active {place}, epoch {}", reply.done.group, reply.done.epoch)
}

/// Where a group is active.
fn place(site: Option<&str>) -> String {
    site.map_or_else(|| "nowhere".into(), |site| format!("at {site}"))
}

fn time(at: Wall) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let local = stamp.map(|stamp| stamp.to_zoned_datetime(TimeZone::system()));
    local.map_or_else(|| at.0.to_string(), |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string())
}

/// The time since `at`, in at most two units.
fn age(at: Wall, now: Wall) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
