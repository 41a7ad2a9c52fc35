//! Who is asking: the address of a connection's other end, and of the client behind it.
//!
//! A proxy in front of this one may say for whom it asks, in a PROXY header before anything else or in
//! `X-Forwarded-For`. Anybody can write these, so they are believed from configured networks only; from others they
//! are worth nothing and are not passed on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Other fields in which a proxy speaks of its client. Origins may believe them, so a client's own are not passed on.
const CLAIMS: [HeaderName; 6] = [
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-ssl"),
];

/// Fields that decide about framing, or that only a proxy sets: what passes for one of these is not passed on.
const GUARDED: [HeaderName; 6] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-request-id"),
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// A network in CIDR notation. An IPv4 network also holds its addresses as mapped into IPv6 (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The addresses that share the first `bits` bits; more bits than an address has are all of them.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) if address.is_ipv6() => {
                Self { address: v4, bits: bits.saturating_sub(96).min(32) }
            }
            v4 @ IpAddr::V4(_) => Self { address: v4, bits: bits.min(32) },
            v6 @ IpAddr::V6(_) => Self { address: v6, bits: bits.min(128) },
        }
    }

    /// Whether it holds this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.bits)
    }
}

/// Whose word about a client's address is taken. By default nobody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// Connections from here begin with a PROXY header, or are closed.
    pub proxy_protocol_from: Vec<Network>,
    /// What peers from here say in `X-Forwarded-*` is believed, and passed on. A peer is what the PROXY header names,
    /// where there is one.
    pub forwarded_from: Vec<Network>,
}

impl ClientAddress {
    pub(crate) fn expects_proxy_header(&self, socket: IpAddr) -> bool {
        self.proxy_protocol_from.iter().any(|network| network.contains(socket))
    }

    pub(crate) fn believes(&self, peer: IpAddr) -> bool {
        self.forwarded_from.iter().any(|network| network.contains(peer))
    }
}

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The socket's address, or what the PROXY header of a trusted network names.
    pub(crate) addr: SocketAddr,
    /// The connection is encrypted.
    pub(crate) tls: bool,
    /// The address as origins are told, written once for all requests.
    written: HeaderValue,
}

impl Peer {
    pub(crate) fn new(addr: SocketAddr, tls: bool) -> Self {
        let written = addr.ip().to_canonical().to_string();
        // An address has nothing in it that a value cannot have.
        let written = HeaderValue::try_from(written).unwrap_or(HeaderValue::from_static("unknown"));
        Self { addr, tls, written }
    }
}

/// Whom one request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who is connected here.
    pub(crate) peer: Peer,
    /// The client itself: the right-most address of the chain that is not one of the believed proxies.
    pub(crate) client: IpAddr,
    /// What the peer says of others is believed.
    pub(crate) believed: bool,
    /// The client speaks HTTPS, to us or to the believed proxy before us.
    pub(crate) secure: bool,
}

impl Caller {
    pub(crate) fn of(peer: &Peer, headers: &HeaderMap, addresses: &ClientAddress) -> Self {
        let direct = peer.addr.ip().to_canonical();
        let believed = addresses.believes(direct);
        let mut caller = Self { peer: peer.clone(), client: direct, believed, secure: peer.tls };
        if believed {
            caller.client = client(direct, headers, addresses);
            caller.secure = said_scheme(headers).map_or(peer.tls, |scheme| scheme == "https");
        }
        caller
    }
}

/// Whether a field speaks of the client, as a proxy would.
pub(crate) fn is_claim(name: &HeaderName) -> bool {
    CLAIMS.contains(name) || [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST].contains(name)
}

/// Whether a field can pass for one that is guarded or a claim. Where fields become variables (CGI, WSGI), whatever is
/// neither letter nor digit becomes `_`, and `X_Forwarded_For` cannot be told from `X-Forwarded-For`.
pub(crate) fn is_lookalike(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let odd = |b: u8| !b.is_ascii_alphanumeric() && b != b'-';
    let plain = |b: u8| if odd(b) { b'-' } else { b };
    let alike = |known: &HeaderName| name.iter().map(|&b| plain(b)).eq(known.as_str().bytes());
    name.iter().any(|&b| odd(b)) && GUARDED.iter().chain(&CLAIMS).any(alike)
}

/// Tells an origin whom a request comes from. `headers` holds the client's own fields.
pub(crate) fn mark(headers: &mut HeaderMap, caller: &Caller) {
    let chain = if caller.believed { chain(headers, caller) } else { caller.peer.written.clone() };
    headers.insert(X_FORWARDED_FOR, chain);
    let scheme = if caller.secure { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    if caller.believed && headers.get_all(X_FORWARDED_HOST).iter().count() == 1 {
        return;
    }
    match headers.get(header::HOST).filter(|host| !host.is_empty()).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// The chain of a believed peer, with the peer itself at its end.
fn chain(headers: &HeaderMap, caller: &Caller) -> HeaderValue {
    let mut chain = Vec::with_capacity(48);
    for earlier in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(caller.peer.written.as_bytes());
    // Valid values with `, ` between them are a valid value.
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| caller.peer.written.clone())
}

/// What a believed peer says about the client's scheme, if it says one thing.
fn said_scheme(headers: &HeaderMap) -> Option<&'static str> {
    let mut said = headers.get_all(X_FORWARDED_PROTO).iter();
    let (Some(scheme), None) = (said.next(), said.next()) else { return None };
    ["https", "http"].into_iter().find(|known| scheme.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
}

/// Walks the chain from here to the client, over believed proxies. A word that is no address ends the walk: what is
/// before it cannot be vouched for by anybody.
fn client(direct: IpAddr, headers: &HeaderMap, addresses: &ClientAddress) -> IpAddr {
    let mut nearest = direct;
    let fields: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    for word in fields.iter().rev().flat_map(|field| field.as_bytes().rsplit(|&b| b == b',')) {
        let Some(address) = parse(word.trim_ascii()) else { return nearest };
        nearest = address;
        if !addresses.believes(address) {
            return address;
        }
    }
    nearest
}

/// An address, with or without a port.
fn parse(word: &[u8]) -> Option<IpAddr> {
    let word = std::str::from_utf8(word).ok()?;
    let bracketed = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed
        .map(|inner| inner.parse::<Ipv6Addr>().map(IpAddr::V6))
        .unwrap_or_else(|| word.parse::<IpAddr>())
        .or_else(|_| word.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
