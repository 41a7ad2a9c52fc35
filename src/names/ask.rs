//! One name, asked for: `/etc/hosts` first, then the resolvers.
//!
//! A and AAAA are asked for and judged apart: that one of them fails says nothing of the other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tidegate_config::Resolver;

/// The system's files.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// What stands in a file has no TTL; the file itself is looked at more often.
const HOSTS_TTL: Duration = Duration::from_secs(60);
/// A server that is silent is given up after this part of the time, so that there is time for another.
const TRIES: u32 = 3;

/// What came of a question about the addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Never empty.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// There are none: the name does not exist, or not with such addresses.
    Nothing {
        exists: bool,
    },
    Failed(String),
}

/// For IPv4 and IPv6.
pub(super) type Answers = [Answer; 2];

/// Whom to ask. Cheap to ask many things at once.
pub(super) struct Asker {
    /// Or why nobody can be asked.
    resolver: Result<TokioResolver, String>,
    hosts: Hosts,
    timeout: Duration,
}

/// What tells whether the system's files have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<(std::time::SystemTime, u64, u64)>>);

impl Stamp {
    /// Looks at the files; blocks.
    pub(super) fn now() -> Self {
        use std::os::unix::fs::MetadataExt;
        let stamp = |path: &&str| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len(), found.ino()))
        };
        Self([RESOLV_CONF, HOSTS].iter().map(stamp).collect())
    }
}

impl Asker {
    /// Reads the system's files; blocks.
    pub(super) fn new(settings: &Resolver) -> Self {
        let hosts = Hosts::from_system().unwrap_or_default();
        Self { resolver: resolver(settings), hosts, timeout: settings.timeout }
    }

    /// Ends within the configured time.
    pub(super) async fn ask(&self, name: &str) -> Answers {
        let mut dns_name = match DnsName::from_ascii(name) {
            Ok(dns_name) => dns_name,
            Err(error) => return both(&error.to_string()),
        };
        // The system's search list is for names of one label.
        dns_name.set_fqdn(name.contains('.'));
        // A name that the file knows is not asked for, as with the system's own resolver.
        let in_file = [RecordType::A, RecordType::AAAA].map(|kind| self.in_file(&dns_name, kind));
        if in_file.iter().any(|answer| matches!(answer, Answer::Addresses { .. })) {
            return in_file;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(why) => return both(why),
        };
        // The TTL is kept by whoever asks; an answer from a cache would hide that nobody answers.
        resolver.clear_cache();
        let ask = async |kind| {
            let answer = tokio::time::timeout(self.timeout, resolver.lookup(dns_name.clone(), kind)).await;
            let Ok(answer) = answer else {
                return Answer::Failed(format!("no answer within {} ms", self.timeout.as_millis()));
            };
            match answer {
                Ok(lookup) => {
                    let addresses = lookup.answers().iter().filter(|record| record.record_type() == kind);
                    let addresses: Vec<_> = addresses.filter_map(|record| record.data.ip_addr()).collect();
                    if addresses.is_empty() {
                        return Answer::Nothing { exists: true };
                    }
                    // Of a chain of aliases the shortest TTL counts.
                    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                    Answer::Addresses { addresses, ttl: Duration::from_secs(ttl.into()) }
                }
                Err(error) => refused(&error),
            }
        };
        let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
        [v4, v6]
    }

    fn in_file(&self, name: &DnsName, kind: RecordType) -> Answer {
        let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let addresses = found.iter().flat_map(Lookup::answers);
        let addresses: Vec<_> = addresses.filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() {
            Answer::Nothing { exists: true }
        } else {
            Answer::Addresses { addresses, ttl: HOSTS_TTL }
        }
    }
}

fn both(why: &str) -> Answers {
    [Answer::Failed(why.to_owned()), Answer::Failed(why.to_owned())]
}

fn refused(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => Answer::Nothing { exists: true },
            ResponseCode::NXDomain => Answer::Nothing { exists: false },
            code => Answer::Failed(format!("the resolver answers {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Answer::Failed(format!("the resolver answers {code}")),
        NetError::Timeout => Answer::Failed("no resolver answers".to_owned()),
        other => Answer::Failed(other.to_string()),
    }
}

fn resolver(settings: &Resolver) -> Result<TokioResolver, String> {
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| format!("{RESOLV_CONF} cannot be used: {error}"))?
    } else {
        let servers = settings.servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.ndots = 1;
    options.timeout = settings.timeout / TRIES;
    options.attempts = 1;
    builder.build().map_err(|error| format!("no resolver can be set up: {error}"))
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    server.connections = server.connections.into_iter().map(on_port).collect();
    server
}
