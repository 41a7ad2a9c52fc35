//! How clients reach the edge: listeners, certificates, trusted networks, limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::service::host_pattern;
use super::{small, value_or, value_or_default};
use crate::domain::{Certificate, ClientAddress, HostPattern, Limits, Listen, SOCKET_NAME};
use crate::network::{Network, exclude};
use crate::source::{At, Place, Source};
use crate::spec::{CertificateSpec, ListenSpec, RootSpec};

/// Longest path of a Unix socket: `sun_path` with its closing zero has 108 bytes on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn listen(source: &Source<'_>, spec: &RootSpec, state_dir: &Path) -> Listen {
    let none = ListenSpec::default();
    let listen = spec.listen.as_ref().map_or(&none, |at| &at.value);
    deny_shared_addresses(source, listen);
    deny_tls_without_certificates(source, spec, listen);
    deny_tokens_in_the_clear(source, listen);
    Listen {
        http: addresses(&listen.http),
        https: addresses(&listen.https),
        dns: addresses(&listen.dns),
        dot: addresses(&listen.dot),
        api: addresses(&listen.api),
        api_tls: value_or(&listen.api_tls, true),
        http2: value_or(&listen.http2, true),
        tls_version_min: value_or_default(&listen.tls_version_min),
        admin: listen.admin.as_ref().map(|at| at.value),
        socket: socket(source, spec, listen, state_dir),
    }
}

pub(super) fn certificates(source: &Source<'_>, spec: &RootSpec) -> Vec<Certificate> {
    let listed = spec.certificates.iter().flat_map(|at| &at.value);
    let lowered = listed.filter_map(|at| {
        let names = names(source, &at.value);
        let (cert, key) = (at.value.cert.as_ref()?.value.clone(), at.value.key.as_ref()?.value.clone());
        Some(Certificate { cert, key, names, declared: at.place.clone() })
    });
    lowered.collect()
}

/// Without HTTPS a redirect would send every client to a closed port.
pub(super) fn deny_redirect_to_nowhere(source: &Source<'_>, spec: &RootSpec) {
    let https = spec.listen.as_ref().and_then(|at| at.value.https.as_ref());
    if https.is_some_and(|at| !at.value.is_empty()) || source.failed_below("listen") {
        return;
    }
    let services = spec.service.iter().flat_map(|at| &at.value);
    for at in services.filter_map(|(_, service)| service.redirect_https.as_ref()).filter(|at| at.value) {
        source.error_help(&at.place, "nothing listens for HTTPS", "set `listen.https`, or leave this out");
    }
}

pub(super) fn client_address(spec: &RootSpec) -> ClientAddress {
    let networks = |list: &Option<At<Vec<At<Network>>>>| {
        list.iter().flat_map(|list| &list.value).map(|at| at.value).collect()
    };
    spec.client_address.as_ref().map_or_else(ClientAddress::default, |at| ClientAddress {
        proxy_protocol_from: networks(&at.value.proxy_protocol_from),
        forwarded_for_from: networks(&at.value.forwarded_for_from),
    })
}

pub(super) fn limits(spec: &RootSpec) -> Limits {
    let default = Limits::default();
    let Some(limits) = spec.limits.as_ref().map(|at| &at.value) else {
        return default;
    };
    let per_connection = &limits.requests_per_connection_max;
    Limits {
        connections_max: small(&limits.connections_max, default.connections_max),
        connections_per_address_max: limits
            .connections_per_address_max
            .as_ref()
            .map(|_| small(&limits.connections_per_address_max, u32::MAX)),
        requests_per_connection_max: small(per_connection, default.requests_per_connection_max),
        handshake_timeout: value_or(&limits.handshake_timeout, default.handshake_timeout),
        header_timeout: value_or(&limits.header_timeout, default.header_timeout),
        header_bytes_max: small(&limits.header_bytes_max, default.header_bytes_max),
        headers_max: small(&limits.headers_max, default.headers_max),
        body_bytes_max: limits.body_bytes_max.as_ref().map(|at| at.value),
        body_timeout: value_or(&limits.body_timeout, default.body_timeout),
        body_rate_min: small(&limits.body_rate_min, default.body_rate_min),
        body_idle_timeout: value_or(&limits.body_idle_timeout, default.body_idle_timeout),
        write_timeout: value_or(&limits.write_timeout, default.write_timeout),
        idle_timeout: value_or(&limits.idle_timeout, default.idle_timeout),
        http2_streams_max: small(&limits.http2_streams_max, default.http2_streams_max),
    }
}

/// A certificate's names in one form. Two certificates may have the same name: one for each kind of key.
fn names(source: &Source<'_>, spec: &CertificateSpec) -> Vec<HostPattern> {
    let Some(listed) = spec.names.as_ref() else {
        return Vec::new();
    };
    if listed.value.is_empty() && !source.failed_below(&listed.place.path) {
        source.error_help(
            &listed.place,
            "a certificate for no name is never used",
            "leave `names` out to take them from the certificate",
        );
    }
    let mut names = Vec::with_capacity(listed.value.len());
    for name in &listed.value {
        match host_pattern(&name.value) {
            Ok(pattern) if names.contains(&pattern) => {
                source.error(&name.place, format!("`{}` is listed twice", name.value));
            }
            Ok(pattern) => names.push(pattern),
            Err(fault) => source.error(&name.place, fault),
        }
    }
    names
}

/// Without a certificate no handshake can succeed.
fn deny_tls_without_certificates(source: &Source<'_>, spec: &RootSpec, listen: &ListenSpec) {
    let listed = spec.certificates.as_ref();
    let is_empty = listed.is_none_or(|at| at.value.is_empty());
    if !is_empty || source.failed_below("certificates") {
        return;
    }
    let api = if value_or(&listen.api_tls, true) { &listen.api } else { &None };
    for (key, list) in [("https", &listen.https), ("dot", &listen.dot), ("api", api)] {
        if let Some(at) = list.as_ref().filter(|at| !at.value.is_empty()) {
            source.error_help(
                &at.place,
                format!("`listen.{key}` needs a certificate"),
                "add certificates = [{ cert = \"FILE\", key = \"FILE\" }] at the top of the file",
            );
        }
    }
}

/// Whoever can listen to a network could take a token from it.
fn deny_tokens_in_the_clear(source: &Source<'_>, listen: &ListenSpec) {
    if value_or(&listen.api_tls, true) {
        return;
    }
    for at in listen.api.iter().flat_map(|list| &list.value) {
        if !at.value.ip().to_canonical().is_loopback() {
            let message = format!("tokens would travel to {} in the clear", at.value);
            source.error_help(
                &at.place,
                message,
                "leave `listen.api_tls` out, or listen on a loopback address",
            );
        }
    }
}

fn socket(source: &Source<'_>, spec: &RootSpec, listen: &ListenSpec, state_dir: &Path) -> PathBuf {
    let configured = listen.socket.as_ref();
    let path = configured.map_or_else(|| state_dir.join(SOCKET_NAME), |at| at.value.clone());
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let place = configured.map(|at| &at.place).or_else(|| spec.state_dir.as_ref().map(|at| &at.place));
        let message = format!("the control socket's path would have more than {SOCKET_PATH_BYTES_MAX} bytes");
        source.error_help(place.unwrap_or(&spec.place), message, "set `listen.socket` to a shorter path");
    }
    path
}

fn addresses(list: &Option<At<Vec<At<SocketAddr>>>>) -> Vec<SocketAddr> {
    list.iter().flat_map(|list| &list.value).map(|at| at.value).collect()
}

/// Every listener binds TCP (DNS both), so that no address can serve two of them, and the one of all zeros shares its
/// port with no other of its kind. Port 0 is another port each time.
fn deny_shared_addresses(source: &Source<'_>, listen: &ListenSpec) {
    let lists = [
        ("http", &listen.http),
        ("https", &listen.https),
        ("dns", &listen.dns),
        ("dot", &listen.dot),
        ("api", &listen.api),
    ];
    let listed = lists.into_iter().flat_map(|(key, list)| {
        list.iter().flat_map(|list| &list.value).map(move |at| (key, at.value, &at.place))
    });
    let all: Vec<(&str, SocketAddr, &Place)> =
        listed.chain(listen.admin.iter().map(|at| ("admin", at.value, &at.place))).collect();
    for (i, (key, address, place)) in all.iter().enumerate() {
        match all[..i].iter().find(|(_, other, _)| exclude(*other, *address)) {
            Some((other, at, _)) if at != address => source.error_help(
                place,
                format!("{address} is taken by `listen.{other}`, which has {at}"),
                "an address of all zeros takes its port at every address: list that one, or the others",
            ),
            Some((other, ..)) if other == key => source.error(place, format!("{address} is listed twice")),
            Some((other, ..)) => source.error(place, format!("{address} is taken by `listen.{other}`")),
            None => {}
        }
    }
}
