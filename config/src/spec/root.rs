//! The top of a configuration: the node, where it listens, its limits, its peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::fleet::FirstStart;

use super::value::{HOUR, MINUTE, command, days, ips, machine, ms, name, names, path, socket, sockets};
use super::{GroupSpec, ServiceSpec, SiteSpec, ZoneSpec, spec};
use crate::reader::{Field, Named};
use crate::source::At;

spec! {
    /// The whole file.
    struct RootSpec in "" {
        /// Folder of the store: decisions and their history. Default `/var/lib/tidegate`. A change needs a restart.
        optional state_dir: PathBuf = path,
        /// Every capability that a site may provide and a group may require or want. Default none.
        optional capabilities: Vec<At<String>> = names,
        /// What an empty store means: `"preferred"` starts stateless groups at the first fit site, `"undecided"`
        /// waits for a person. Groups that share data always wait. Default `"preferred"`.
        optional first_start: FirstStart = |field| {
            field.one_of(&[("preferred", FirstStart::Preferred), ("undecided", FirstStart::Undecided)])
        },
        /// Listeners open after the first complete round of checks, at the latest after this. Default `"5s"`, up
        /// to `"10m"`.
        optional startup_deadline: Duration = |field| field.duration(ms(0)..=10 * MINUTE),
        /// How long a stopping daemon lets requests in flight finish. Default `"30s"`, up to `"1h"`.
        optional drain_deadline: Duration = |field| field.duration(ms(0)..=HOUR),
        /// Concurrent checks of one address. Default 4, 1 to 1024.
        optional probes_per_target_max: u64 = |field| field.integer(1..=1024),
        /// This edge.
        optional node: NodeSpec = NodeSpec::read,
        /// Where it listens.
        optional listen: ListenSpec = ListenSpec::read,
        /// Bounds on what clients may ask.
        optional limits: LimitsSpec = LimitsSpec::read,
        /// Places that can serve.
        optional site: Named<SiteSpec> = |field| field.named(SiteSpec::read),
        /// Services that move together.
        optional group: Named<GroupSpec> = |field| field.named(GroupSpec::read),
        /// What is served.
        optional service: Named<ServiceSpec> = |field| field.named(ServiceSpec::read),
        /// What is answered.
        optional zone: Named<ZoneSpec> = |field| field.named(ZoneSpec::read),
        /// Addresses outside all sites that show whether the edge itself is isolated. Default none.
        pending witnesses: Vec<At<std::net::IpAddr>> = ips,
        /// What an edge without its cluster does for groups that share data: `"refuse"` or `"serve"`. Default
        /// `"refuse"`.
        pending isolated: bool = |field| field.one_of(&[("refuse", false), ("serve", true)]),
        /// The cluster of edges. Default none: this edge decides alone.
        pending etcd: EtcdSpec = EtcdSpec::read,
        /// Who may use the API over the network.
        pending token: Named<TokenSpec> = |field| field.named(TokenSpec::read),
        /// Whom to tell.
        pending notify: Named<NotifySpec> = |field| field.named(NotifySpec::read),
        /// Certificates of HTTPS and DNS over TLS, chosen by server name.
        pending certificates: Vec<At<CertificateSpec>> = |field| field.list(CertificateSpec::read),
        /// File of the access log, JSON lines. Default none.
        pending access_log: PathBuf = path,
    }
}

spec! {
    /// This edge.
    struct NodeSpec in "node" {
        /// Its name, in the history and in the cluster. Default `"edge"`. A change needs a restart.
        optional name: String = machine,
        /// The site it stands at. Default none: at none of them.
        optional site: String = name,
    }
}

spec! {
    /// Where the edge listens: IP addresses with ports; port 0 lets the system choose.
    struct ListenSpec in "listen" {
        /// HTTP. Default none.
        optional http: Vec<At<SocketAddr>> = sockets,
        /// HTTPS. Default none.
        pending https: Vec<At<SocketAddr>> = sockets,
        /// DNS over UDP and TCP. Default none.
        optional dns: Vec<At<SocketAddr>> = sockets,
        /// DNS over TLS. Default none.
        pending dot: Vec<At<SocketAddr>> = sockets,
        /// Metrics, health and read-only status over HTTP. Default none.
        optional admin: SocketAddr = socket,
        /// The Unix socket that the command line talks to. Default `tidegate.sock` in `state_dir`.
        optional socket: PathBuf = path,
    }
}

spec! {
    /// Bounds on what clients may ask of this edge.
    struct LimitsSpec in "limits" {
        /// Client connections in total. Default 10000, 1 to 1000000.
        optional connections_max: u64 = |field| field.integer(1..=1_000_000),
        /// Client connections of one address. Default none, 1 to 1000000.
        pending connections_per_address_max: u64 = |field| field.integer(1..=1_000_000),
        /// Requests on one connection, after which it is closed. Default 10000, 1 to 1000000000.
        optional requests_per_connection_max: u64 = |field| field.integer(1..=1_000_000_000),
        /// From a connection's first byte to the end of a request's header. Default `"10s"`, `"10ms"` to `"10m"`.
        optional header_timeout: Duration = |field| field.duration(ms(10)..=10 * MINUTE),
        /// Bytes of a request's header. Default 65536, 1024 to 1048576.
        optional header_bytes_max: u64 = |field| field.integer(1024..=1 << 20),
        /// Fields of a request's header. Default 100, 1 to 256.
        optional headers_max: u64 = |field| field.integer(1..=256),
        /// Bytes of a request's body. Default none, up to 1 TiB.
        pending body_bytes_max: u64 = |field| field.integer(0..=1 << 40),
        /// A kept-alive connection without a request. Default `"75s"`, `"10ms"` to `"1d"`.
        optional idle_timeout: Duration = |field| field.duration(ms(10)..=days(1)),
    }
}

spec! {
    /// The cluster of edges.
    struct EtcdSpec in "etcd" {
        /// Its members.
        required members: Vec<At<EtcdMemberSpec>> = |field| field.list(EtcdMemberSpec::read),
        /// Before every key. Default `"/tidegate/"`.
        optional prefix: String = Field::text,
        /// How long an edge counts as alive without news. Default `"10s"`, `"1s"` to `"5m"`.
        optional lease: Duration = |field| field.duration(ms(1000)..=5 * MINUTE),
    }
}

spec! {
    /// One member of the cluster.
    struct EtcdMemberSpec in "etcd.members[]" {
        /// Where it is reached.
        required url: String = Field::text,
        /// The failure domain it stands in, mostly a site.
        required site: String = name,
    }
}

spec! {
    /// One who may use the API over the network.
    struct TokenSpec in "token.NAME" {
        /// `"view"`, `"operate"` or `"admin"`.
        required role: u8 = |field| field.one_of(&[("view", 0), ("operate", 1), ("admin", 2)]),
        /// The token's hash, as the command that made it printed it.
        required hash: String = Field::text,
    }
}

spec! {
    /// One who is told of switches, freezes and refused actions.
    struct NotifySpec in "notify.NAME" {
        /// Called with a JSON body.
        optional webhook: String = Field::text,
        /// Started with a JSON text on its standard input.
        optional command: Vec<At<String>> = command,
    }
}

spec! {
    /// A certificate and its key.
    struct CertificateSpec in "certificates[]" {
        /// PEM file of the certificate and those above it.
        required cert: PathBuf = path,
        /// PEM file of the key.
        required key: PathBuf = path,
    }
}
