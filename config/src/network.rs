//! Networks as people write them: `10.0.0.0/8`, `2001:db8::/32`; an address alone is the network of that address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP network. Bits beyond the prefix are zero, and IPv4 is never written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("`{0}` is not a network")]
    Address(String),
    #[error("`{text}` needs a prefix length of 0 to {max}")]
    Prefix { text: String, max: u8 },
    #[error("`{text}` has bits beyond its prefix")]
    Beyond { text: String, meant: Network },
}

impl Network {
    /// Parses an address with or without a prefix length.
    ///
    /// # Errors
    /// Names what is no address, no prefix, or an address inside a network where the network itself is meant.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(front, back)| (front, Some(back)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address(text.to_owned()))?;
        let max = bits(address);
        let prefix = match prefix {
            None => max,
            // `parse` would take a plus sign.
            Some(digits) => Some(digits)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|&prefix| prefix <= max)
                .ok_or_else(|| NetworkError::Prefix { text: text.to_owned(), max })?,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address != address {
            return Err(NetworkError::Beyond { text: text.to_owned(), meant: network });
        }
        Ok(network.canonical())
    }

    /// The network's first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits that all addresses of the network share: 0..=32 or 0..=128.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is in the network. IPv4 written as IPv6 (RFC 4291, section 2.5.5.2) counts as IPv4.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && masked(ip, self.prefix) == self.address
    }

    /// IPv4 networks written as IPv6 are the IPv4 networks they mean.
    fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (IpAddr::V4(address), Some(prefix)) if self.address.is_ipv6() => {
                Self { address: IpAddr::V4(address), prefix }
            }
            _ => self,
        }
    }
}

impl NetworkError {
    /// What to write instead.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Beyond { meant, text } => {
                let host = text.split('/').next().unwrap_or(text);
                format!("write \"{meant}\" for the network, or \"{host}\" for the one address")
            }
            _ => "write it as \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits beyond the prefix cleared; `prefix` is at most the address's bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// Whether the system gives one of two addresses to listen at and not the other as well: they are the same, or one of them
/// is every address of its kind. IPv6 sockets take no IPv4, and port 0 is another port each time.
#[must_use]
pub fn exclude(one: SocketAddr, other: SocketAddr) -> bool {
    let is_everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.is_ipv4() == other.is_ipv4() && is_everywhere)
}

/// Whether packets to an address may cross networks of others.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // RFC 6598
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_are_read_as_written() {
        let table = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ];
        for (text, shown) in table {
            assert_eq!(
                Network::parse(text).map(|network| network.to_string()).as_deref(),
                Ok(shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        let table = [
            ("", "`` is not a network"),
            ("10.0.0", "`10.0.0` is not a network"),
            ("ten/8", "`ten/8` is not a network"),
            ("10.0.0.0/", "`10.0.0.0/` needs a prefix length of 0 to 32"),
            ("10.0.0.0/33", "`10.0.0.0/33` needs a prefix length of 0 to 32"),
            ("10.0.0.0/+8", "`10.0.0.0/+8` needs a prefix length of 0 to 32"),
            ("10.0.0.0/8/8", "`10.0.0.0/8/8` needs a prefix length of 0 to 32"),
            ("2001:db8::/129", "`2001:db8::/129` needs a prefix length of 0 to 128"),
            ("10.1.0.0/8", "`10.1.0.0/8` has bits beyond its prefix"),
        ];
        for (text, message) in table {
            let found = Network::parse(text).map_err(|error| error.to_string());
            assert_eq!(found, Err(message.to_owned()), "{text}");
        }
        let help = Network::parse("10.1.0.0/8").expect_err("just refused").help();
        assert_eq!(help, "write \"10.0.0.0/8\" for the network, or \"10.1.0.0\" for the one address");
    }

    #[test]
    fn a_network_ends_where_its_prefix_says() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff:ffff::", true),
            ("2001:db8::/33", "2001:db8:8000::", false),
        ];
        for (network, ip, inside) in table {
            let network = Network::parse(network).expect("the table's networks are valid");
            let ip = ip.parse().expect("the table's addresses are valid");
            assert_eq!(network.contains(ip), inside, "{network} {ip}");
        }
    }

    #[test]
    fn private_networks_end_where_the_standards_say() {
        let table = [
            ("10.255.255.255", false),
            ("11.0.0.0", true),
            ("172.15.255.255", true),
            ("172.16.0.0", false),
            ("172.31.255.255", false),
            ("172.32.0.0", true),
            ("192.168.0.1", false),
            ("192.169.0.1", true),
            ("100.63.255.255", true),
            ("100.64.0.0", false),
            ("100.127.255.255", false),
            ("100.128.0.0", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("203.0.113.1", true),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("2001:db8::1", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:203.0.113.1", true),
        ];
        for (ip, public) in table {
            assert_eq!(is_public(ip.parse().expect("the table's addresses are valid")), public, "{ip}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_holds_its_address(bits: u128, v4: bool, prefix in 0..=128_u8) {
            let address = if v4 {
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).expect("32 bits are left")))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            };
            let prefix = prefix.min(super::bits(address));
            let network = Network { address: masked(address, prefix), prefix }.canonical();
            prop_assert_eq!(Network::parse(&network.to_string()), Ok(network));
            prop_assert!(network.contains(address) || address.to_canonical() != address);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:./+ ]{0,24}|\\PC{0,12}") {
            let _ = Network::parse(&text);
        }
    }
}
