//! URLs of others that Tidegate calls. What is behind the host may be a secret, so it is never shown.

use std::fmt;

use crate::dns_name::domain_name;
use crate::reader::Field;

/// Longest URL.
const BYTES_MAX: usize = 2048;

/// An `http://` or `https://` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct WebUrl {
    pub is_https: bool,
    /// A name in lower case without a final dot, or an address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// With the query; begins with `/`.
    pub path: String,
}

/// Why a text is no URL that can be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebUrlError {
    #[error("the URL has to begin with http:// or https://")]
    Scheme,
    #[error("the URL has no host that can be asked")]
    Host,
    #[error("the URL has a user name; a secret belongs into a file")]
    User,
    #[error("the URL holds a character that belongs into no URL")]
    Character,
    #[error("the URL is longer than {BYTES_MAX} bytes")]
    Long,
}

impl WebUrl {
    /// Takes a URL apart. What follows a `#` is not sent to anybody, so it is an error.
    ///
    /// # Errors
    /// It is none, or none for this purpose.
    pub fn parse(text: &str) -> Result<Self, WebUrlError> {
        if text.len() > BYTES_MAX {
            return Err(WebUrlError::Long);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte)) {
            return Err(WebUrlError::Character);
        }
        let (is_https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(WebUrlError::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(WebUrlError::User);
        }
        let (host, port) = host_and_port(authority).ok_or(WebUrlError::Host)?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_https, host, port, path })
    }

    /// `host:port`, with brackets around an IPv6 address, and without the port where the scheme says it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.is_https { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    pub(crate) fn read(field: &Field<'_>) -> Option<Self> {
        match Self::parse(field.string()?) {
            Ok(url) => Some(url),
            Err(error) => {
                field.error(error.to_string());
                None
            }
        }
    }
}

/// Without the path: services that are called know their caller by it.
impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_https { "https" } else { "http" }, self.authority())
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebUrl({self}/...)")
    }
}

/// A name or an address, and a port where there is one.
pub(crate) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let is_v4 = host.parse::<std::net::Ipv4Addr>().is_ok();
            let host =
                if is_v4 { host.to_owned() } else { domain_name(host).ok().filter(|name| name != ".")? };
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parse = |text| WebUrl::parse(text).map(|url| (url.is_https, url.authority(), url.port, url.path));
        let ok = |https, authority: &str, port, path: &str| {
            Ok((https, authority.to_owned(), port, path.to_owned()))
        };
        assert_eq!(
            parse("https://Hooks.Example.com/a/b?c=d"),
            ok(true, "hooks.example.com", 443, "/a/b?c=d")
        );
        assert_eq!(parse("http://192.0.2.1:8080"), ok(false, "192.0.2.1:8080", 8080, "/"));
        assert_eq!(parse("https://[2001:db8::1]:8443?x"), ok(true, "[2001:db8::1]:8443", 8443, "/?x"));
        assert_eq!(parse("http://localhost:80/"), ok(false, "localhost", 80, "/"));
        assert_eq!(parse("ftp://a/"), Err(WebUrlError::Scheme));
        assert_eq!(parse("example.com/x"), Err(WebUrlError::Scheme));
        assert_eq!(parse("https://me:secret@example.com/"), Err(WebUrlError::User));
        assert_eq!(parse("https:///x"), Err(WebUrlError::Host));
        assert_eq!(parse("https://a:0/"), Err(WebUrlError::Host));
        assert_eq!(parse("https://a:65536/"), Err(WebUrlError::Host));
        assert_eq!(parse("https://[::1/"), Err(WebUrlError::Host));
        assert_eq!(parse("https://a/x y"), Err(WebUrlError::Character));
        assert_eq!(parse("https://a/x\r\nEvil: 1"), Err(WebUrlError::Character));
        assert_eq!(parse("https://a/#x"), Err(WebUrlError::Character));
        let long = |length: usize| format!("http://a/{}", "x".repeat(length - 9));
        assert!(WebUrl::parse(&long(BYTES_MAX)).is_ok());
        assert_eq!(WebUrl::parse(&long(BYTES_MAX + 1)), Err(WebUrlError::Long));
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let url = WebUrl::parse("https://hooks.example.com/services/T0/B0/xyzzy?key=xyzzy").expect("a URL");
        assert!(!format!("{url} {url:?}").contains("xyzzy"));
    }
}
