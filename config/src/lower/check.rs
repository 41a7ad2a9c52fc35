//! Checks: what each kind asks for, and which keys it has.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_health::fleet::Thresholds;
use tidegate_health::id::Name;

use super::origin::refine;
use super::{small, value_or, value_or_default};
use crate::domain::{Check, Program, Scheme, Tls};
use crate::hint::alternatives;
use crate::reader::join;
use crate::source::{At, Place, Source};
use crate::spec::{CheckKind, CheckSpec, KINDS, RootSpec};

/// What a push check says of its silence while in doubt, at least this often.
const SILENCE_AGAIN: Duration = Duration::from_millis(250);
/// Below this a certificate is worth a warning, unless told otherwise.
const EXPIRY_WARN: Duration = Duration::from_secs(21 * 86_400);

/// The check of one origin. `host` is what its requests are for.
pub(super) fn check(scheme: &Scheme, tls: &Tls, host: Option<&Name>, spec: Option<&CheckSpec>) -> Check {
    let none = CheckSpec::default();
    let spec = spec.unwrap_or(&none);
    let tls = refine(tls, spec.tls.as_ref());
    let configured = spec.host.as_ref().map(|at| Name::from(at.value.as_str()));
    let host = configured.or_else(|| host.cloned());
    let speaks_tls = matches!(scheme, Scheme::Https(_)) || (*scheme == Scheme::Tcp && spec.tls.is_some());
    match kind_of(spec).unwrap_or(if *scheme == Scheme::Tcp { CheckKind::Tcp } else { CheckKind::Http }) {
        CheckKind::Http => Check::Http {
            path: text(&spec.path).unwrap_or_else(|| "/".to_owned()),
            host,
            expect_status: spec.expect_status.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
            expect_body: text(&spec.expect_body),
            tls: speaks_tls.then_some(tls),
        },
        CheckKind::Tcp => Check::Tcp,
        CheckKind::Tls => {
            let fail_below = value_or_default(&spec.expiry_fail);
            Check::Tls {
                tls,
                fail_below,
                warn_below: value_or(&spec.expiry_warn, EXPIRY_WARN.max(fail_below)),
            }
        }
        CheckKind::Grpc => Check::Grpc {
            service: text(&spec.grpc_service).unwrap_or_default(),
            host,
            tls: speaks_tls.then_some(tls),
        },
        CheckKind::Dns => Check::Dns {
            query: text(&spec.query).unwrap_or_default(),
            record_type: value_or(&spec.query_type, "SOA"),
            rcode: value_or_default(&spec.expect_rcode),
            answer: text(&spec.expect_answer),
            over_tcp: value_or_default(&spec.transport),
        },
        CheckKind::Command => Check::Command {
            argv: spec.command.iter().flat_map(|at| &at.value).map(|word| word.value.clone()).collect(),
            warning_passes: value_or(&spec.warning, true),
        },
        CheckKind::Push => Check::Push,
    }
}

/// When a service's origins are asked, and what the results mean. Refuses keys that do not go together.
pub(super) fn thresholds(source: &Source<'_>, at: Option<&At<CheckSpec>>) -> Thresholds {
    let none = CheckSpec::default();
    let check = at.map_or(&none, |at| &at.value);
    if let Some(at) = at {
        deny_foreign_keys(source, &at.value);
        demand_keys(source, at);
    }
    let (fall, rise) = (small(&check.fall, 3), small(&check.rise, 2));
    if kind_of(check) == Some(CheckKind::Push) {
        let silence = value_or(&check.dead_man, Duration::from_secs(1));
        let fast_interval = SILENCE_AGAIN.min(silence);
        return Thresholds { fall, rise, interval: silence, fast_interval, timeout: silence };
    }
    let is_command = kind_of(check) == Some(CheckKind::Command);
    let (interval, fast, timeout) = if is_command { (10_000, 2_000, 5_000) } else { (1_000, 250, 500) };
    let interval = value_or(&check.interval, Duration::from_millis(interval));
    if let Some(fast) = check.fast_interval.as_ref().filter(|fast| fast.value > interval) {
        source.error(&fast.place, "`fast_interval` is longer than `interval`");
    }
    Thresholds {
        fall,
        rise,
        interval,
        fast_interval: value_or(&check.fast_interval, Duration::from_millis(fast).min(interval)),
        timeout: value_or(&check.timeout, Duration::from_millis(timeout).min(interval / 2)),
    }
}

/// The programs of all checks, each once, with the place that names it first.
pub(super) fn programs(spec: &RootSpec) -> Vec<Program> {
    let services = spec.service.iter().flat_map(|at| &at.value);
    let commands = services.filter_map(|(_, service)| service.check.as_ref()?.value.command.as_ref());
    let mut seen = BTreeSet::new();
    let programs = commands.filter_map(|at| at.value.first()).filter(|program| seen.insert(&program.value));
    programs
        .map(|program| Program { path: program.value.as_str().into(), declared: program.place.clone() })
        .collect()
}

fn kind_of(spec: &CheckSpec) -> Option<CheckKind> {
    spec.kind.as_ref().map(|at| at.value)
}

fn text(at: &Option<At<String>>) -> Option<String> {
    at.as_ref().map(|at| at.value.clone())
}

/// A key that another kind has would be ignored, and whoever wrote it would not know.
fn deny_foreign_keys(source: &Source<'_>, spec: &CheckSpec) {
    // Whose kind could not be read has been told so.
    if spec.kind.is_none() && source.failed_below(&join(&spec.place.path, "kind")) {
        return;
    }
    use CheckKind::{Command, Dns, Grpc, Http, Push, Tcp, Tls};
    fn place<T>(at: &Option<At<T>>) -> Option<&Place> {
        at.as_ref().map(|at| &at.place)
    }
    let asked: &[CheckKind] = &[Http, Tcp, Tls, Grpc, Dns, Command];
    let keys: [(&str, Option<&Place>, &[CheckKind]); 20] = [
        ("path", place(&spec.path), &[Http]),
        ("method", place(&spec.method), &[Http]),
        ("host", place(&spec.host), &[Http, Grpc]),
        ("expect_status", place(&spec.expect_status), &[Http]),
        ("expect_body", place(&spec.expect_body), &[Http]),
        ("tls", place(&spec.tls), &[Http, Grpc, Tls]),
        ("expiry_fail", place(&spec.expiry_fail), &[Tls]),
        ("expiry_warn", place(&spec.expiry_warn), &[Tls]),
        ("grpc_service", place(&spec.grpc_service), &[Grpc]),
        ("query", place(&spec.query), &[Dns]),
        ("query_type", place(&spec.query_type), &[Dns]),
        ("expect_rcode", place(&spec.expect_rcode), &[Dns]),
        ("expect_answer", place(&spec.expect_answer), &[Dns]),
        ("transport", place(&spec.transport), &[Dns]),
        ("command", place(&spec.command), &[Command]),
        ("warning", place(&spec.warning), &[Command]),
        ("dead_man", place(&spec.dead_man), &[Push]),
        ("interval", place(&spec.interval), asked),
        ("fast_interval", place(&spec.fast_interval), asked),
        ("timeout", place(&spec.timeout), asked),
    ];
    for (key, place, kinds) in keys {
        let Some(place) = place else { continue };
        // By an origin's URL it is one of these.
        let fits = kind_of(spec).map_or(kinds.contains(&Http), |kind| kinds.contains(&kind));
        if !fits {
            let words: Vec<_> =
                KINDS.iter().filter(|(_, kind)| kinds.contains(kind)).map(|&(word, _)| word).collect();
            let message = format!("`{key}` is not a key of this kind of check");
            source.error_help(place, message, format!("it goes with `kind` {}", alternatives(&words)));
        }
    }
    if let (Some(fail), Some(warn)) = (&spec.expiry_fail, &spec.expiry_warn)
        && !warn.value.is_zero()
        && warn.value < fail.value
    {
        source.error(&warn.place, "`expiry_warn` is shorter than `expiry_fail`: it would never warn");
    }
}

/// What a kind cannot do without.
fn demand_keys(source: &Source<'_>, at: &At<CheckSpec>) {
    let spec = &at.value;
    let (key, is_there) = match kind_of(spec) {
        Some(CheckKind::Dns) => ("query", spec.query.is_some()),
        Some(CheckKind::Command) => ("command", spec.command.is_some()),
        Some(CheckKind::Push) => ("dead_man", spec.dead_man.is_some()),
        _ => return,
    };
    if !is_there && !source.failed_below(&join(&at.place.path, key)) {
        source.error(&at.place, format!("`{key}` is missing: this kind of check needs it"));
    }
}
