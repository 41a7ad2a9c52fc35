//! Dangers of what is told to others.

use std::net::IpAddr;

use super::{RootSpec, Source, named};
use crate::source::At;
use crate::spec::SmtpTls;
use crate::web_url::WebUrl;

pub(super) fn warn(source: &Source<'_>, spec: &RootSpec) {
    for (_, receiver) in named(&spec.notify) {
        if let Some(webhook) = receiver.webhook.as_ref().map(|at| &at.value) {
            plain_http(source, webhook.url.as_ref());
        }
        if let Some(smtp) = receiver.smtp.as_ref().map(|at| &at.value)
            && let Some(tls) = smtp.tls.as_ref().filter(|tls| tls.value == SmtpTls::None)
            && smtp.relay.as_ref().is_some_and(|relay| !is_local(&relay.value.host))
        {
            let message = "anyone on the way to the relay can read the messages and change them";
            source.warn_help(
                &tls.place,
                message,
                "use \"starttls\" or \"implicit\", or a relay on this machine",
            );
        }
    }
    if let Some(heartbeat) = spec.heartbeat.as_ref().map(|at| &at.value) {
        plain_http(source, heartbeat.url.as_ref());
    }
}

fn plain_http(source: &Source<'_>, url: Option<&At<WebUrl>>) {
    if let Some(url) = url.filter(|url| !url.value.is_https && !is_local(&url.value.host)) {
        let message =
            format!("plain http to {}: anyone on the way can read it and change it", url.value.host);
        source.warn_help(&url.place, message, "use https://");
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
