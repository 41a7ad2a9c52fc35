//! Dangers of how clients reach the edge.

use std::time::Duration;

use super::{Config, RootSpec, ServiceSpec, Source, named};
use crate::network::Network;
use crate::source::At;
use crate::spec::HstsSpec;

/// What the makers of browsers ask for before they put a host on their lists.
const PRELOAD_AGE_MIN: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn warn(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    unused_certificates(source, spec, config);
    if let Some(client_address) = spec.client_address.as_ref().map(|at| &at.value) {
        let proxied =
            "anyone may begin with a PROXY header and be whoever they say; plain connections are refused";
        everyone(source, client_address.proxy_protocol_from.as_ref(), proxied);
        let forwarded = "anyone may say in X-Forwarded-For who they are";
        everyone(source, client_address.forwarded_for_from.as_ref(), forwarded);
    }
    for (_, service) in named(&spec.service) {
        hsts(source, service, config);
    }
}

fn unused_certificates(source: &Source<'_>, spec: &RootSpec, config: &Config) {
    let listen = &config.listen;
    if let Some(at) = spec.certificates.as_ref().filter(|at| !at.value.is_empty())
        && listen.https.is_empty()
        && listen.dot.is_empty()
        && (listen.api.is_empty() || !listen.api_tls)
    {
        let message = "nothing uses the certificates";
        source.warn_help(&at.place, message, "set `listen.https` or `listen.dot`");
    }
}

fn everyone(source: &Source<'_>, networks: Option<&At<Vec<At<Network>>>>, message: &str) {
    for network in networks.iter().flat_map(|at| &at.value).filter(|at| at.value.prefix() == 0) {
        source.warn_help(&network.place, message, "name only the networks of your own load balancers");
    }
}

fn hsts(source: &Source<'_>, service: &ServiceSpec, config: &Config) {
    let Some(at) = service.hsts.as_ref() else { return };
    if config.listen.https.is_empty() {
        let message = "browsers heed `hsts` only over HTTPS, and nothing listens for it";
        source.warn_help(&at.place, message, "set `listen.https`");
    }
    let HstsSpec { max_age, include_subdomains, preload, .. } = &at.value;
    let is_long = max_age.as_ref().is_none_or(|at| at.value >= PRELOAD_AGE_MIN);
    let is_wide = include_subdomains.as_ref().is_some_and(|at| at.value);
    if let Some(preload) = preload.as_ref().filter(|at| at.value && !(is_long && is_wide)) {
        let message = "browser makers list no host without `include_subdomains` and a `max_age` of a year";
        source.warn(&preload.place, message);
    }
}
