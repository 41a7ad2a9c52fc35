use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn net(text: &str) -> Network {
    let (address, bits) = text.split_once('/').expect("CIDR");
    Network::new(address.parse().expect("an address"), bits.parse().expect("bits"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_network_ends_at_its_last_bit() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
        ("192.0.2.0/25", "192.0.2.127", "192.0.2.128"),
        ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"),
        ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("::/0", "2001:db8::1", "192.0.2.1"),
        ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
        ("::ffff:192.0.2.0/120", "192.0.2.255", "192.0.3.0"),
    ] {
        assert!(net(network).contains(ip(inside)), "{inside} in {network}");
        assert!(!net(network).contains(ip(outside)), "{outside} not in {network}");
    }
}

fn caller(peer: &str, tls: bool, headers: &[(HeaderName, &str)]) -> Caller {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let trusted = vec![net("10.0.0.0/8"), net("2001:db8::/32")];
    let addresses = ClientAddress { forwarded_from: trusted, ..ClientAddress::default() };
    let addr = SocketAddr::new(ip(peer), 4711);
    Caller::of(&Peer::new(addr, tls), &map, &addresses)
}

#[test]
fn the_client_is_the_right_most_address_that_is_not_believed() {
    for (peer, chain, client) in [
        ("198.51.100.9", &["203.0.113.1"][..], "198.51.100.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", &["1.1.1.1, 203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", &["1.1.1.1, 203.0.113.1 ,10.9.9.9"], "203.0.113.1"),
        ("10.0.0.1", &["203.0.113.1", "10.9.9.9"], "203.0.113.1"),
        ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", &["203.0.113.1, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", &["203.0.113.1, "], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.1:4711"], "203.0.113.1"),
        ("10.0.0.1", &["[2001:db9::7]:4711"], "2001:db9::7"),
        ("10.0.0.1", &["[2001:db9::7]"], "2001:db9::7"),
        ("10.0.0.1", &["2001:db9::7, 2001:db8::1"], "2001:db9::7"),
        ("::ffff:10.0.0.1", &["::ffff:203.0.113.1"], "203.0.113.1"),
    ] {
        let headers: Vec<_> = chain.iter().map(|value| (X_FORWARDED_FOR, *value)).collect();
        assert_eq!(caller(peer, false, &headers).client, ip(client), "{peer} with {chain:?}");
    }
}

#[test]
fn only_a_believed_peer_says_what_the_client_speaks() {
    let said = |value| [(X_FORWARDED_PROTO, value)];
    assert!(caller("10.0.0.1", false, &said("https")).secure);
    assert!(!caller("10.0.0.1", true, &said("http")).secure);
    assert!(caller("10.0.0.1", true, &said("gopher")).secure, "nonsense says nothing");
    assert!(!caller("198.51.100.9", false, &said("https")).secure);
    assert!(caller("198.51.100.9", true, &said("http")).secure);
    let twice = [(X_FORWARDED_PROTO, "https"), (X_FORWARDED_PROTO, "http")];
    assert!(!caller("10.0.0.1", false, &twice).secure, "two things are nothing");
}

proptest! {
    #[test]
    fn no_chain_makes_a_believed_proxy_vouch_for_what_is_before_it(forged in "[ -~]{0,60}", client in any::<[u8; 4]>()) {
        let client = IpAddr::from(client);
        prop_assume!(!net("10.0.0.0/8").contains(client));
        let chain = format!("{forged}, {client}, 10.3.3.3");
        prop_assert_eq!(caller("10.0.0.1", false, &[(X_FORWARDED_FOR, &chain)]).client, client);
    }
}
