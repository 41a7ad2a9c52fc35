//! Origins: how one is reached, and how it is checked.

use std::net::SocketAddr;

use tidegate_health::fleet::Thresholds;
use tidegate_health::id::Name;

use super::{check, small, value_or_default};
use crate::domain::{
    ClientCertificate, HostPattern, OriginEndpoint, Protocol, Scheme, Tls, UNRESOLVED, Verify,
};
use crate::source::{At, Source};
use crate::spec::{
    CheckSpec, ClientCertificateSpec, OriginSpec, OriginUrl, ServiceSpec, TlsSpec, UrlHost, UrlScheme,
    VerifySpec,
};

/// What the origins of one service have in common.
pub(super) struct Template<'s> {
    pub(super) thresholds: Thresholds,
    protocol: Protocol,
    check: Option<&'s CheckSpec>,
    tls: Tls,
    /// Where requests and checks say they go unless told otherwise.
    host: Option<Name>,
}

/// What the fleet wants to know of an origin beside its place.
pub(super) struct Lowered {
    pub(super) host: Option<Name>,
}

impl<'s> Template<'s> {
    pub(super) fn new(source: &Source<'_>, spec: &'s ServiceSpec, hosts: &[HostPattern]) -> Self {
        let host = hosts.iter().find_map(|host| match host {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Wildcard(_) => None,
        });
        let check = spec.check.as_ref().map(|at| &at.value);
        let unverified = Tls { verify: Verify::System, server_name: host.clone(), client_certificate: None };
        deny_repeated_origins(source, spec);
        Self {
            thresholds: check::thresholds(source, spec.check.as_ref()),
            protocol: value_or_default(&spec.protocol),
            check,
            tls: refine(&unverified, spec.tls.as_ref()),
            host,
        }
    }
}

pub(super) fn lower(
    source: &Source<'_>,
    spec: &OriginSpec,
    url: &At<OriginUrl>,
    template: &Template<'_>,
) -> (Lowered, OriginEndpoint) {
    let mut tls = refine(&template.tls, spec.tls.as_ref());
    let (ip, name) = match &url.value.host {
        UrlHost::Address(ip) => (*ip, None),
        UrlHost::Name(name) => (UNRESOLVED, Some(name)),
    };
    let host = template.host.clone().or_else(|| name.map(|_| url.value.host_header().into()));
    tls.server_name = tls.server_name.or_else(|| name.map(|name| Name::from(name.as_str())));
    if let Some(at) = spec.tls.as_ref().filter(|_| url.value.scheme != UrlScheme::Https) {
        source.error(&at.place, "`tls` is for https:// origins");
    }
    deny_scheme_of_other_protocol(source, url, template.protocol);
    let scheme = match url.value.scheme {
        UrlScheme::Http => Scheme::Http,
        UrlScheme::Https => Scheme::Https(tls.clone()),
        UrlScheme::Tcp => Scheme::Tcp,
    };
    let host_header = spec.host_header.as_ref().map(|at| Name::from(at.value.as_str()));
    let endpoint = OriginEndpoint {
        addr: SocketAddr::new(ip, url.value.port),
        check: check::check(&scheme, &tls, host.as_ref(), template.check),
        scheme,
        host_header,
        weight: small(&spec.weight, 1),
        vantages: spec.vantages.iter().flat_map(|at| &at.value).map(|at| at.value.as_str().into()).collect(),
    };
    (Lowered { host: spec.host.as_ref().map(|at| Name::from(at.value.as_str())) }, endpoint)
}

/// The more special settings over the more general ones.
pub(super) fn refine(general: &Tls, special: Option<&At<TlsSpec>>) -> Tls {
    let Some(special) = special.map(|at| &at.value) else {
        return general.clone();
    };
    let verify = match special.verify.as_ref().map(|at| &at.value) {
        None => general.verify.clone(),
        Some(VerifySpec::System) => Verify::System,
        Some(VerifySpec::Off) => Verify::Off,
        Some(VerifySpec::Ca(path)) => Verify::Ca(path.clone()),
    };
    let server_name = special.server_name.as_ref().map(|at| Name::from(at.value.as_str()));
    let client_certificate = special.client_certificate.as_ref().and_then(client_certificate);
    Tls {
        verify,
        server_name: server_name.or_else(|| general.server_name.clone()),
        client_certificate: client_certificate.or_else(|| general.client_certificate.clone()),
    }
}

fn client_certificate(spec: &At<ClientCertificateSpec>) -> Option<ClientCertificate> {
    let (cert, key) = (spec.value.cert.as_ref()?, spec.value.key.as_ref()?);
    Some(ClientCertificate { cert: cert.value.clone(), key: key.value.clone() })
}

fn deny_scheme_of_other_protocol(source: &Source<'_>, url: &At<OriginUrl>, protocol: Protocol) {
    let is_tcp = url.value.scheme == UrlScheme::Tcp;
    let message = match protocol {
        Protocol::Http if is_tcp => "an http service needs http:// or https:// origins",
        Protocol::Tcp | Protocol::Tls if !is_tcp => "a tcp or tls service needs tcp:// origins",
        _ => return,
    };
    source.error(&url.place, message);
}

/// An address counts once per service: at two sites it would be up and down with both.
fn deny_repeated_origins(source: &Source<'_>, spec: &ServiceSpec) {
    let mut seen = std::collections::HashSet::new();
    for at in spec.origins.iter().flat_map(|at| &at.value).flat_map(|(_, listed)| listed) {
        let Some(url) = at.value.url.as_ref() else { continue };
        if !seen.insert((&url.value.host, url.value.port)) {
            source.error(&url.place, format!("{} is an origin of this service already", url.value));
        }
    }
}
