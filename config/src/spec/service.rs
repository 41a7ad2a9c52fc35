//! What is served, how its origins are checked, and how requests reach them.

use std::net::IpAddr;
use std::time::Duration;

use super::origin::split_port;
use super::value::{DAY, HOUR, MINUTE, days, ms, name};
use super::{CheckSpec, OriginSpec, TlsSpec, spec};
use crate::dns_name::domain_name;
use crate::domain::{LongLived, OriginHttp, Protocol, Spill};
use crate::reader::{Field, Named};
use crate::source::At;

spec! {
    /// What is served: HTTP hosts, a TCP port, a TLS name.
    struct ServiceSpec in "service.NAME" {
        /// The group it moves with.
        required group: String = name,
        /// `"http"`, `"tcp"` or `"tls"` (passed through by server name). Only `"http"` has an effect yet. Default
        /// `"http"`.
        optional protocol: Protocol = |field| {
            field.one_of(&[("http", Protocol::Http), ("tcp", Protocol::Tcp), ("tls", Protocol::Tls)])
        },
        /// Host names, each of one service only; `*.example.com` stands for every name below `example.com`.
        /// Required for HTTP.
        optional hosts: Vec<At<String>> = |field| field.list(Field::text),
        /// Whether a site is unfit without this service. Default `true`.
        optional critical: bool = Field::boolean,
        /// Origins that must be up at a site. Default 1, 1 to 1000; at most as many as every site has.
        optional min_up: u64 = |field| field.integer(1..=1000),
        /// Which requests may try the next read-ready site before the group has switched: `"never"`, `"safe"` (GET
        /// and HEAD) or `"any"` (stateless groups only). Default `"never"`.
        optional spill: Spill = |field| {
            field.one_of(&[("never", Spill::Never), ("safe", Spill::Safe), ("any", Spill::Any)])
        },
        /// What happens to WebSockets and the like at a switch: `"drain"`, `"close"` or `"keep"` (stateless groups
        /// only). Default `"drain"`.
        pending long_lived: LongLived = |field| {
            field.one_of(&[("drain", LongLived::Drain), ("close", LongLived::Close), ("keep", LongLived::Keep)])
        },
        /// Whether plain HTTP requests are answered with a redirect to the same address over HTTPS. Default `false`.
        optional redirect_https: bool = Field::boolean,
        /// Tells browsers to come over HTTPS only (RFC 6797); sent over HTTPS. Default none.
        optional hsts: HstsSpec = HstsSpec::read,
        /// The HTTP that origins speak, for requests and checks: `"1.1"` or `"2"` (over TLS agreed on by ALPN, else known
        /// to both; without WebSockets). Default `"1.1"`.
        optional origin_http: OriginHttp = |field| {
            field.one_of(&[("1.1", OriginHttp::Http1), ("2", OriginHttp::Http2)])
        },
        /// How origins are checked.
        optional check: CheckSpec = CheckSpec::read,
        /// How long to wait for origins.
        optional timeouts: TimeoutsSpec = TimeoutsSpec::read,
        /// How often to try.
        optional retry: RetrySpec = RetrySpec::read,
        /// When live traffic takes an origin out of picking.
        optional ejection: EjectionSpec = EjectionSpec::read,
        /// TLS towards the origins, unless an origin says otherwise.
        optional tls: TlsSpec = TlsSpec::read,
        /// Origins by site, which must be one of the group's.
        required origins: Named<Vec<At<OriginSpec>>> = |field| field.named(|site| site.list(origin)),
        /// Whether a client stays with its origin: `"none"`, `"cookie"` or `"source"`. Default `"none"`.
        pending affinity: u8 = |field| field.one_of(&[("none", 0), ("cookie", 1), ("source", 2)]),
        /// How long an origin that came up gets less than its share: a tenth at first, then more and more. Default `"0s"`, up
        /// to `"1h"`.
        optional slow_start: Duration = |field| field.duration(ms(0)..=HOUR),
    }
}

spec! {
    /// What browsers are told about HTTPS (RFC 6797). They keep to it for all of `max_age`, whatever is configured
    /// meanwhile.
    struct HstsSpec in "service.NAME.hsts" {
        /// How long browsers keep to it, in whole seconds; `"0s"` makes them forget. Default `"365d"`, `"0s"` to
        /// `"3650d"`.
        optional max_age: Duration = |field| field.seconds(ms(0)..=days(3650)),
        /// Whether every name below the host is meant too. Default `false`.
        optional include_subdomains: bool = Field::boolean,
        /// Whether browser makers may put the host on their built-in lists. Default `false`.
        optional preload: bool = Field::boolean,
    }
}

spec! {
    /// How long to wait for origins.
    struct TimeoutsSpec in "service.NAME.timeouts" {
        /// One attempt to connect, TLS included. Default `"2s"`, `"1ms"` to `"1m"`.
        optional connect: Duration = |field| field.duration(ms(1)..=MINUTE),
        /// From a request's end to the first byte of its response. Default `"60s"`, `"1ms"` to `"1d"`.
        optional response: Duration = |field| field.duration(ms(1)..=DAY),
        /// Silence of an origin within a body. Default `"60s"`, `"1ms"` to `"1d"`.
        optional body_idle: Duration = |field| field.duration(ms(1)..=DAY),
        /// How long an unused connection to an origin is kept. Default `"30s"`, `"1ms"` to `"1d"`.
        optional pool_idle: Duration = |field| field.duration(ms(1)..=DAY),
        /// Silence of a WebSocket or another upgraded connection, both ways together. Default `"1h"`, `"1ms"` to
        /// `"7d"`.
        optional tunnel_idle: Duration = |field| field.duration(ms(1)..=days(7)),
    }
}

spec! {
    /// How often to try.
    struct RetrySpec in "service.NAME.retry" {
        /// Origins of the active site tried for one request, the first included. Default 3, 1 to 7.
        optional attempts: u64 = |field| field.integer(1..=7),
    }
}

spec! {
    /// When live traffic takes an origin out of picking. The last origin is never taken out.
    struct EjectionSpec in "service.NAME.ejection" {
        /// Consecutive resets and silences; what refuses connections is taken out at once. Default 3, 1 to 1000.
        optional failures: u64 = |field| field.integer(1..=1000),
        /// Consecutive 5xx answers; 0 never counts them. Default 5, 0 to 1000.
        optional status_failures: u64 = |field| field.integer(0..=1000),
        /// How long the first ejection lasts; repeated ones grow. Default `"2s"`, or `max` where that is shorter;
        /// `"10ms"` to `"1h"`.
        optional base: Duration = |field| field.duration(ms(10)..=HOUR),
        /// The longest ejection. Default `"60s"`, or `base` where that is longer; `base` to `"1d"`.
        optional max: Duration = |field| field.duration(ms(10)..=DAY),
        /// Per cent of a site's usable origins that may be out at once; one always may. Default 50, 1 to 100.
        optional share_percent_max: u64 = |field| field.integer(1..=100),
    }
}

/// A host, with a port where needed, as a `Host` header carries it.
pub(super) fn host_and_port(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let valid = split_port(text).is_some_and(|(host, port)| {
        let is_host = host.parse::<IpAddr>().is_ok() || domain_name(host).is_ok_and(|name| name != ".");
        is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
    });
    if !valid {
        field.error_help(
            format!("`{text}` is not a host"),
            "write a name or an address, with or without a port",
        );
        return None;
    }
    Some(text.to_owned())
}

fn origin(field: &Field<'_>) -> Option<OriginSpec> {
    field.deny_text_for_table("url")?;
    OriginSpec::read(field)
}
