//! One address at a site that serves one service.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::service::host_and_port;
use super::spec;
use super::value::{machine, path};
use crate::dns_name::domain_name;
use crate::reader::Field;
use crate::source::At;

spec! {
    /// One address at a site that serves one service.
    struct OriginSpec in "service.NAME.origins.SITE[]" {
        /// `http://`, `https://` or `tcp://` with an IP address or a name, and a port; without a port 80 and 443 are
        /// meant. Every address of a name is an origin; it is asked for again when its TTL is over (`resolver`).
        required url: OriginUrl = origin_url,
        /// The machine it runs on: draining a machine drains its origins in every service. Default none.
        optional host: String = machine,
        /// Share of requests relative to the site's other origins. Default 1, 1 to 256.
        pending weight: u64 = |field| field.integer(1..=256),
        /// The `Host` of forwarded requests. Default what the client sent.
        pending host_header: String = host_and_port,
        /// TLS towards the origin. Default the service's, key by key.
        optional tls: TlsSpec = TlsSpec::read,
        /// Nodes that can reach the origin. Default all.
        pending vantages: Vec<At<String>> = |field| field.list(machine),
    }
}

spec! {
    /// TLS towards origins. `tls` of a check and of an origin are the same kind of table.
    struct TlsSpec in "service.NAME.tls" {
        /// `"system"` trusts what the system trusts, `{ ca = "FILE" }` what that PEM file's certificates signed,
        /// `"off"` everyone. Default `"system"`.
        optional verify: VerifySpec = VerifySpec::read,
        /// The name sent, and looked for in the certificate. Default the first of `hosts` without a `*`; without one,
        /// the name in the origin's `url`.
        optional server_name: String = server_name,
        /// Shown to origins that ask for one. Default none.
        optional client_certificate: ClientCertificateSpec = ClientCertificateSpec::read,
    }
}

#[derive(Clone, Debug)]
pub(crate) enum VerifySpec {
    System,
    Off,
    Ca(PathBuf),
}

spec! {
    /// Own trust.
    struct CaSpec in "service.NAME.tls.verify" {
        /// PEM file of the certificates that are trusted.
        required ca: PathBuf = path,
    }
}

spec! {
    /// Who the edge is to its origins. Relative paths start at the configuration file's folder.
    struct ClientCertificateSpec in "service.NAME.tls.client_certificate" {
        /// PEM file of the certificate and those above it, in that order.
        required cert: PathBuf = path,
        /// PEM file of the key.
        required key: PathBuf = path,
    }
}

/// The scheme of an origin's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UrlScheme {
    Http,
    Https,
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginUrl {
    pub(crate) scheme: UrlScheme,
    pub(crate) host: UrlHost,
    pub(crate) port: u16,
}

/// Where an origin is, or who knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UrlHost {
    Address(IpAddr),
    /// Lower case, without a trailing dot.
    Name(String),
}

impl OriginUrl {
    /// As requests name it: without the port that the scheme means anyway (RFC 9110, section 4.2.3).
    pub(crate) fn host_header(&self) -> String {
        match &self.host {
            UrlHost::Name(name) if self.scheme.port_default() == Some(self.port) => name.clone(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            UrlHost::Address(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            UrlHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl UrlScheme {
    fn port_default(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }
}

impl VerifySpec {
    fn read(field: &Field<'_>) -> Option<Self> {
        if field.is_table() {
            return CaSpec::read(field)?.ca.map(|ca| Self::Ca(ca.value));
        }
        if !field.is_string() {
            field.wrong_type("`\"system\"`, `\"off\"` or `{ ca = \"FILE\" }`");
            return None;
        }
        field
            .one_of(&[("system", false), ("off", true)])
            .map(|off| if off { Self::Off } else { Self::System })
    }
}

fn server_name(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    match domain_name(text) {
        Ok(name) if name != "." => Some(name),
        Ok(_) => {
            field.error("the root is no server's name");
            None
        }
        Err(fault) => {
            field.error(fault);
            None
        }
    }
}

fn origin_url(field: &Field<'_>) -> Option<OriginUrl> {
    let text = field.string()?;
    match parse_url(text) {
        Ok(url) => Some(url),
        Err((message, help)) => {
            field.source.error_hint(&field.place, message, help);
            None
        }
    }
}

type UrlFault = (String, Option<&'static str>);

fn parse_url(text: &str) -> Result<OriginUrl, UrlFault> {
    let example = Some("write it as \"http://192.0.2.1:8080\"");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| (format!("`{text}` is not a URL"), example))?;
    let scheme = match scheme {
        "http" => UrlScheme::Http,
        "https" => UrlScheme::Https,
        "tcp" => UrlScheme::Tcp,
        other => {
            let message = format!("`{other}` is not a scheme of origins");
            return Err((message, Some("the scheme is http, https or tcp")));
        }
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !matches!(tail, "" | "/") {
        let help = Some("a check's path is the service's `check.path`");
        return Err((format!("an origin is an address, without a path (`{tail}`)"), help));
    }
    if authority.contains('@') {
        return Err(("an origin's URL has no user name".to_owned(), None));
    }
    let (host, port) =
        split_port(authority).ok_or_else(|| (format!("`{authority}` is not an address"), example))?;
    let host = url_host(host)?;
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|&port| port != 0),
        None if scheme.port_default().is_none() => {
            return Err(("a tcp origin needs a port".to_owned(), None));
        }
        None => scheme.port_default(),
    };
    let port = port.ok_or_else(|| (format!("`{authority}` has no port of 1..=65535"), None))?;
    Ok(OriginUrl { scheme, host, port })
}

fn url_host(text: &str) -> Result<UrlHost, UrlFault> {
    let example = Some("write it as \"http://192.0.2.1:8080\"");
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            return Err((format!("nothing can be reached at {ip}"), None));
        }
        Ok(ip) => return Ok(UrlHost::Address(ip)),
        Err(_) if text.is_empty() => return Err(("the address is missing".to_owned(), example)),
        Err(_) => {}
    }
    // A name whose last label is a number is taken for an address by others (WHATWG URL, "ends in a number").
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
        return Err((format!("`{text}` is not an IP address"), example));
    }
    domain_name(text).map(UrlHost::Name).map_err(|fault| (format!("`{text}`: {fault}"), None))
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        // Brackets are for IPv6 only (RFC 3986, section 3.2.2).
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match after {
            "" => Some((host, None)),
            _ => after.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match authority.split_once(':') {
        Some((_, after)) if after.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_as_scheme_and_address() {
        let table = [
            ("http://10.0.0.1:8080", UrlScheme::Http, "10.0.0.1:8080"),
            ("http://10.0.0.1", UrlScheme::Http, "10.0.0.1:80"),
            ("https://10.0.0.1/", UrlScheme::Https, "10.0.0.1:443"),
            ("https://[2001:db8::1]:8443", UrlScheme::Https, "[2001:db8::1]:8443"),
            ("http://[::1]", UrlScheme::Http, "[::1]:80"),
            ("tcp://127.0.0.1:5432", UrlScheme::Tcp, "127.0.0.1:5432"),
            ("tcp://127.0.0.1:65535", UrlScheme::Tcp, "127.0.0.1:65535"),
        ];
        for (text, scheme, addr) in table {
            let addr = addr.parse().expect("the table's addresses are valid");
            let addr: SocketAddr = addr;
            let host = UrlHost::Address(addr.ip());
            assert_eq!(parse_url(text), Ok(OriginUrl { scheme, host, port: addr.port() }), "{text}");
        }
    }

    #[test]
    fn names_are_read_in_one_form() {
        let table = [
            ("http://App.Example.com:8080", "app.example.com:8080"),
            ("https://app.example.com.", "app.example.com:443"),
            ("http://localhost/", "localhost:80"),
            ("tcp://db_1.example:5432", "db_1.example:5432"),
            ("http://10.example:1", "10.example:1"),
        ];
        for (text, meant) in table {
            let url = parse_url(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert!(matches!(url.host, UrlHost::Name(_)), "{text}");
            assert_eq!(url.to_string(), meant);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        let table = [
            ("10.0.0.1:8080", "`10.0.0.1:8080` is not a URL"),
            ("ftp://10.0.0.1", "`ftp` is not a scheme of origins"),
            ("http://app..example", "`app..example`: a label of the name is empty"),
            ("http://app-.example", "`app-.example`: `app-` begins or ends with `-`"),
            ("http://app.7", "`app.7` is not an IP address"),
            ("http://1.", "`1.` is not an IP address"),
            ("http://.", "`.` is not an IP address"),
            ("tcp://app.example", "a tcp origin needs a port"),
            ("http://10.0.0.1/app", "an origin is an address, without a path (`/app`)"),
            ("http://10.0.0.1?a", "an origin is an address, without a path (`?a`)"),
            ("http://user@10.0.0.1", "an origin's URL has no user name"),
            ("http://10.0.0.1.2", "`10.0.0.1.2` is not an IP address"),
            ("http://2001:db8::1", "`2001:db8::1` is not an address"),
            ("http://[10.0.0.1]", "`[10.0.0.1]` is not an address"),
            ("http://[::1", "`[::1` is not an address"),
            ("http://[::1]x", "`[::1]x` is not an address"),
            ("http://0.0.0.0", "nothing can be reached at 0.0.0.0"),
            ("http://", "the address is missing"),
            ("http://10.0.0.1:0", "`10.0.0.1:0` has no port of 1..=65535"),
            ("http://10.0.0.1:65536", "`10.0.0.1:65536` has no port of 1..=65535"),
            ("http://10.0.0.1:", "`10.0.0.1:` has no port of 1..=65535"),
            ("tcp://10.0.0.1", "a tcp origin needs a port"),
        ];
        for (text, message) in table {
            assert_eq!(parse_url(text).map_err(|(message, _)| message), Err(message.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(https?|tcp)://[\\[\\]0-9a-f.:/@é]{0,24}|\\PC{0,24}") {
            let _ = parse_url(&text);
        }
    }
}
