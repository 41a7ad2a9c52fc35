//! The node, where it listens, and its limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate_health::id::{Name, SiteId};

use super::{Directory, small, value_or};
use crate::domain::{Limits, Listen, Node, SOCKET_NAME};
use crate::source::{At, Place, Source};
use crate::spec::{ListenSpec, RootSpec};

/// Longest path of a Unix socket: `sun_path` with its closing zero has 108 bytes on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn state_dir(spec: &RootSpec) -> PathBuf {
    spec.state_dir.as_ref().map_or_else(|| PathBuf::from("/var/lib/tidegate"), |at| at.value.clone())
}

pub(super) fn node(source: &Source<'_>, spec: &RootSpec, sites: &Directory<'_>) -> Node {
    let node = spec.node.as_ref().map(|at| &at.value);
    let name = node.and_then(|node| node.name.as_ref()).map_or("edge", |at| at.value.as_str());
    let site = node.and_then(|node| node.site.as_ref()).and_then(|site| sites.find(source, site));
    Node { name: Name::from(name), site: site.map(SiteId) }
}

pub(super) fn listen(source: &Source<'_>, spec: &RootSpec, state_dir: &Path) -> Listen {
    let none = ListenSpec::default();
    let listen = spec.listen.as_ref().map_or(&none, |at| &at.value);
    deny_shared_addresses(source, listen);
    Listen {
        http: addresses(&listen.http),
        https: addresses(&listen.https),
        dns: addresses(&listen.dns),
        dot: addresses(&listen.dot),
        admin: listen.admin.as_ref().map(|at| at.value),
        socket: socket(source, spec, listen, state_dir),
    }
}

pub(super) fn limits(spec: &RootSpec) -> Limits {
    let Some(limits) = spec.limits.as_ref().map(|at| &at.value) else {
        return Limits::default();
    };
    let default = Limits::default();
    Limits {
        connections_max: small(&limits.connections_max, default.connections_max),
        requests_per_connection_max: small(
            &limits.requests_per_connection_max,
            default.requests_per_connection_max,
        ),
        header_timeout: value_or(&limits.header_timeout, default.header_timeout),
        header_bytes_max: small(&limits.header_bytes_max, default.header_bytes_max),
        headers_max: small(&limits.headers_max, default.headers_max),
        body_bytes_max: limits.body_bytes_max.as_ref().map(|at| at.value),
        idle_timeout: value_or(&limits.idle_timeout, default.idle_timeout),
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

/// Every listener binds TCP (DNS both), so that no address can serve two of them. Port 0 is another port each time.
fn deny_shared_addresses(source: &Source<'_>, listen: &ListenSpec) {
    let lists =
        [("http", &listen.http), ("https", &listen.https), ("dns", &listen.dns), ("dot", &listen.dot)];
    let listed = lists.into_iter().flat_map(|(key, list)| {
        list.iter().flat_map(|list| &list.value).map(move |at| (key, at.value, &at.place))
    });
    let all: Vec<(&str, SocketAddr, &Place)> =
        listed.chain(listen.admin.iter().map(|at| ("admin", at.value, &at.place))).collect();
    for (i, (key, address, place)) in all.iter().enumerate() {
        let taken = all[..i].iter().find(|(_, other, _)| other == address && address.port() != 0);
        if let Some((other, _, _)) = taken {
            let message = if other == key {
                format!("{address} is listed twice")
            } else {
                format!("{address} is taken by `listen.{other}`")
            };
            source.error(place, message);
        }
    }
}
