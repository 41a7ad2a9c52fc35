//! Who is told what happens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_health::event::{EventKind, Severity};
use tidegate_health::id::Name;

use super::{Directory, small, value_or, value_or_default};
use crate::domain::{Filter, Heartbeat, Receiver, Smtp, SmtpTls, UrlSource, Way, Webhook};
use crate::hint::{alternatives, did_you_mean};
use crate::reader::Named;
use crate::source::{At, Place, Source};
use crate::spec::{HeartbeatSpec, NotifySpec, SmtpSpec, WebhookSpec, name_fault};
use crate::web_url::WebUrl;

/// Each has a task and a queue of its own.
const RECEIVERS_MAX: usize = 64;

pub(super) fn receivers(
    source: &Source<'_>,
    specs: &Named<NotifySpec>,
    groups: &Directory<'_>,
) -> Vec<Receiver> {
    if let Some((beyond, _)) = specs.get(RECEIVERS_MAX) {
        source.error(&beyond.place, format!("more than {RECEIVERS_MAX} receivers of notifications"));
    }
    specs.iter().filter_map(|(name, spec)| receiver(source, name, spec, groups)).collect()
}

fn receiver(
    source: &Source<'_>,
    name: &At<String>,
    spec: &NotifySpec,
    groups: &Directory<'_>,
) -> Option<Receiver> {
    if let Some(fault) = name_fault(&name.value) {
        source.error(&name.place, fault);
    }
    let filter = Filter { groups: only(source, spec, groups), ..filter(source, spec.on.as_ref()) };
    Some(Receiver {
        name: Name::from(name.value.as_str()),
        way: way(source, name, spec)?,
        filter,
        timeout: value_or(&spec.timeout, Duration::from_secs(10)),
        give_up_after: value_or(&spec.give_up_after, Duration::from_secs(3_600)),
        queue_max: small(&spec.queue_max, 100),
        coalesce: value_or(&spec.coalesce, Duration::from_secs(60)),
    })
}

fn way(source: &Source<'_>, name: &At<String>, spec: &NotifySpec) -> Option<Way> {
    match (&spec.webhook, &spec.command, &spec.smtp) {
        (Some(at), None, None) => webhook(source, at).map(Way::Webhook),
        (None, Some(at), None) => command(source, at).map(Way::Command),
        (None, None, Some(at)) => smtp(source, at).map(Way::Smtp),
        _ => {
            // What could not be read is named, and an error already.
            if !source.failed_below(&name.place.path) {
                let message = "a receiver needs exactly one of `webhook`, `command` and `smtp`";
                source.error(&name.place, message);
            }
            None
        }
    }
}

fn webhook(source: &Source<'_>, at: &At<WebhookSpec>) -> Option<Webhook> {
    let WebhookSpec { url, url_file, secret_file, ca, .. } = &at.value;
    Some(Webhook {
        url: url_source(source, &at.place, url.as_ref(), url_file.as_ref())?,
        secret: secret_file.as_ref().map(|at| at.value.clone()),
        ca: ca.as_ref().map(|at| at.value.clone()),
    })
}

fn url_source(
    source: &Source<'_>,
    place: &Place,
    url: Option<&At<WebUrl>>,
    file: Option<&At<PathBuf>>,
) -> Option<UrlSource> {
    match (url, file) {
        (Some(url), None) => Some(UrlSource::Here(url.value.clone())),
        (None, Some(file)) => Some(UrlSource::File(file.value.clone())),
        _ => {
            if !source.failed_below(&place.path) {
                source.error(place, "exactly one of `url` and `url_file` is needed");
            }
            None
        }
    }
}

fn command(source: &Source<'_>, at: &At<Vec<At<String>>>) -> Option<Vec<String>> {
    let program = at.value.first()?;
    if !Path::new(&program.value).is_absolute() {
        let help = "who starts the daemon decides where a name is looked for; write the whole path";
        source.error_help(&program.place, format!("`{}` is no absolute path", program.value), help);
        return None;
    }
    Some(at.value.iter().map(|word| word.value.clone()).collect())
}

fn smtp(source: &Source<'_>, at: &At<SmtpSpec>) -> Option<Smtp> {
    let spec = &at.value;
    let (relay, from, to) = (spec.relay.as_ref()?, spec.from.as_ref()?, spec.to.as_ref()?);
    if to.value.is_empty() && !source.failed_below(&to.place.path) {
        source.error(&to.place, "nobody gets the messages");
    }
    let tls = value_or_default(&spec.tls);
    let login = match (&spec.user, &spec.password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => {
            if tls == SmtpTls::None {
                let help = "use \"starttls\" or \"implicit\"";
                source.error_help(
                    &file.place,
                    "a password is not sent over a connection that is not encrypted",
                    help,
                );
            }
            Some((user.value.clone(), file.value.clone()))
        }
        (Some(at), None) => {
            source.error(&at.place, "`user` needs `password_file`");
            None
        }
        (None, Some(at)) => {
            source.error(&at.place, "`password_file` needs `user`");
            None
        }
    };
    let port = match tls {
        SmtpTls::StartTls => 587,
        SmtpTls::Implicit => 465,
        SmtpTls::None => 25,
    };
    Some(Smtp {
        host: relay.value.host.clone(),
        port: relay.value.port.unwrap_or(port),
        tls,
        ca: spec.ca.as_ref().map(|at| at.value.clone()),
        from: from.value.clone(),
        to: to.value.iter().map(|at| at.value.clone()).collect(),
        login,
    })
}

fn filter(source: &Source<'_>, on: Option<&At<Vec<At<String>>>>) -> Filter {
    let Some(on) = on else {
        return Filter { severity_min: Some(Severity::Notice), ..Filter::default() };
    };
    if on.value.is_empty() && !source.failed_below(&on.place.path) {
        source.error(&on.place, "nothing is told; leave the receiver out instead");
    }
    let mut filter = Filter::default();
    for word in &on.value {
        let severity = Severity::ALL.into_iter().find(|severity| severity.label() == word.value);
        let kind = EventKind::ALL.into_iter().find(|kind| kind.label() == word.value);
        match (severity, kind) {
            (Some(severity), _) => {
                filter.severity_min = Some(filter.severity_min.map_or(severity, |min| min.min(severity)));
            }
            (None, Some(kind)) => {
                filter.kinds.insert(kind);
            }
            (None, None) => {
                let severities = Severity::ALL.map(Severity::label);
                let known: Vec<_> =
                    severities.into_iter().chain(EventKind::ALL.map(EventKind::label)).collect();
                let help = did_you_mean(&word.value, &known).unwrap_or_else(|| {
                    format!(
                        "a severity ({}), or a kind of event: {}",
                        alternatives(&severities),
                        known[4..].join(", ")
                    )
                });
                source.error_help(
                    &word.place,
                    format!("nothing happens that is called `{}`", word.value),
                    help,
                );
            }
        }
    }
    filter
}

fn only(source: &Source<'_>, spec: &NotifySpec, groups: &Directory<'_>) -> Option<BTreeSet<Name>> {
    let named = spec.groups.as_ref()?;
    let known = named.value.iter().filter(|group| groups.find(source, group).is_some());
    Some(known.map(|group| Name::from(group.value.as_str())).collect())
}

pub(super) fn heartbeat(source: &Source<'_>, spec: Option<&At<HeartbeatSpec>>) -> Option<Heartbeat> {
    let at = spec?;
    let spec = &at.value;
    Some(Heartbeat {
        url: url_source(source, &at.place, spec.url.as_ref(), spec.url_file.as_ref())?,
        method: value_or_default(&spec.method),
        interval: value_or(&spec.interval, Duration::from_secs(60)),
        timeout: value_or(&spec.timeout, Duration::from_secs(10)),
        ca: spec.ca.as_ref().map(|at| at.value.clone()),
    })
}
