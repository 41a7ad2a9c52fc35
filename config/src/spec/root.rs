//! The top of a configuration: the node, its cluster, whom it obeys and whom it tells.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_health::fleet::FirstStart;

use super::front::{CertificateSpec, ClientAddressSpec, LimitsSpec, ListenSpec};
use super::notify::{HeartbeatSpec, NotifySpec};
use super::value::{DAY, HOUR, MINUTE, days, machine, ms, name, names, path, servers, witnesses};
use super::{GroupSpec, RuleSpec, ServiceSpec, SiteSpec, ZoneSpec, spec};
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
        /// Concurrent checks of one address. Default 4, 1 to 1024. A change needs a restart.
        optional probes_per_target_max: u64 = |field| field.integer(1..=1024),
        /// Programs of checks that run at a time; others wait for their turn. Default 16, 1 to 256. A change needs a
        /// restart.
        optional check_commands_max: u64 = |field| field.integer(1..=256),
        /// This edge.
        optional node: NodeSpec = NodeSpec::read,
        /// Where it listens.
        optional listen: ListenSpec = ListenSpec::read,
        /// Certificates of HTTPS, DNS over TLS and the API, chosen by server name. The first one serves clients that send no
        /// name, or one that no certificate has. Default none; `listen.https`, `listen.dot` and `listen.api` need at
        /// least one.
        optional certificates: Vec<At<CertificateSpec>> = |field| field.list(CertificateSpec::read),
        /// Whose word about a client's address counts.
        optional client_address: ClientAddressSpec = ClientAddressSpec::read,
        /// Bounds on what clients may ask.
        optional limits: LimitsSpec = LimitsSpec::read,
        /// File of the [access log](access-log.md), one JSON object per line; a relative path starts at the configuration
        /// file's folder. Default none.
        optional access_log: PathBuf = path,
        /// How much of the history is kept.
        optional history: HistorySpec = HistorySpec::read,
        /// Who is asked for the addresses of origins that are given by name.
        optional resolver: ResolverSpec = ResolverSpec::read,
        /// Places that can serve.
        optional site: Named<SiteSpec> = |field| field.named(SiteSpec::read),
        /// Services that move together.
        optional group: Named<GroupSpec> = |field| field.named(GroupSpec::read),
        /// What is served.
        optional service: Named<ServiceSpec> = |field| field.named(ServiceSpec::read),
        /// What is answered.
        optional zone: Named<ZoneSpec> = |field| field.named(ZoneSpec::read),
        /// What must never happen, whatever the checks say.
        optional rule: Named<RuleSpec> = |field| field.named(RuleSpec::read),
        /// Addresses outside all sites, with a port or at 443, that show whether this edge itself is cut off: every two seconds a
        /// connection to each is tried, and one that is refused has been reached, too. Unless a majority of them is reached,
        /// nothing moves by itself. Best three or more, of different providers; at most 16. Default none: nobody is asked.
        optional witnesses: Vec<At<SocketAddr>> = witnesses,
        /// What an edge without its cluster does for groups that share data: `"refuse"` or `"serve"`. Default
        /// `"refuse"`.
        pending isolated: bool = |field| field.one_of(&[("refuse", false), ("serve", true)]),
        /// The cluster of edges. Default none: this edge decides alone.
        pending etcd: EtcdSpec = EtcdSpec::read,
        /// Whom to tell what happens. Default nobody.
        optional notify: Named<NotifySpec> = |field| field.named(NotifySpec::read),
        /// A sign of life for somebody outside. Default none.
        optional heartbeat: HeartbeatSpec = HeartbeatSpec::read,
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
    /// How much of the [history](history.md) is kept. What was decided, what was noticed and what was seen to change have
    /// bounds of their own: none displaces the others.
    struct HistorySpec in "history" {
        /// Entries of what was decided and done. Default 10000, 100 to 200000.
        optional decisions_max: u64 = |field| field.integer(100..=200_000),
        /// Entries of what was noticed and refused. Default 2000, 100 to 200000.
        optional notes_max: u64 = |field| field.integer(100..=200_000),
        /// Entries of what was seen to change: health, fitness, gates. Default 20000, 100 to 200000.
        optional observations_max: u64 = |field| field.integer(100..=200_000),
        /// What is older goes, whatever it is. Default `"400d"`, `"1d"` to `"3650d"`.
        optional max_age: Duration = |field| field.duration(DAY..=days(3650)),
    }
}

spec! {
    /// Who is asked for the addresses of origins that are given by name. `/etc/hosts` comes first. An answer that cannot be
    /// had, or is empty, takes no address away: the last good ones stay.
    struct ResolverSpec in "resolver" {
        /// Addresses of DNS resolvers, with a port where it is not 53. Default those of `/etc/resolv.conf`, which is read
        /// again when it changes.
        optional servers: Vec<At<SocketAddr>> = servers,
        /// A name is not asked for more often than this, whatever its TTL. Default `"5s"`, `"1s"` to `"1h"`.
        optional ttl_min: Duration = |field| field.duration(ms(1000)..=HOUR),
        /// Nor more rarely than this. Default `"1h"`, `"1s"` to `"1d"`.
        optional ttl_max: Duration = |field| field.duration(ms(1000)..=DAY),
        /// How long an answer may take, all tries included. Default `"5s"`, `"100ms"` to `"1m"`.
        optional timeout: Duration = |field| field.duration(ms(100)..=MINUTE),
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
