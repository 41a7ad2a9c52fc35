use proptest::prelude::*;

use super::*;

fn addr(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

#[test]
fn the_first_version_is_read_strictly() {
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443", Ok(addr("192.0.2.1:56324"))),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535", Ok(addr("[2001:db8::1]:1"))),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", Ok(addr("255.255.255.255:65535"))),
        ("PROXY UNKNOWN", Ok(None)),
        ("PROXY UNKNOWN ffff::1 whatever", Ok(None)),
        ("PROXY UNKNOWNS", Err(Malformed)),
        ("PROXY", Err(Malformed)),
        ("proxy TCP4 192.0.2.1 198.51.100.1 1 2", Err(Malformed)),
        ("PROXY  TCP4 192.0.2.1 198.51.100.1 1 2", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 ", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 65536 2", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 2", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 01 2", Err(Malformed)),
        ("PROXY TCP4 192.0.2.1 198.51.100.1  2", Err(Malformed)),
        ("PROXY TCP4 2001:db8::1 198.51.100.1 1 2", Err(Malformed)),
        ("PROXY TCP6 192.0.2.1 2001:db8::2 1 2", Err(Malformed)),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 1 2", Err(Malformed)),
        ("PROXY UDP4 192.0.2.1 198.51.100.1 1 2", Err(Malformed)),
    ] {
        assert_eq!(parse_v1(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn the_second_version_is_read_strictly() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
    let mut v6 = [0; 36];
    v6[0] = 0x20;
    v6[1] = 1;
    v6[15] = 9;
    v6[33] = 7;
    let with_additions = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
    for (command, family, payload, expected) in [
        (0x21, 0x11, &v4[..], Ok(addr("192.0.2.1:56324"))),
        (0x21, 0x11, &with_additions, Ok(addr("192.0.2.1:56324"))),
        (0x21, 0x21, &v6, Ok(addr("[2001::9]:7"))),
        (0x20, 0x00, &[], Ok(None)),
        (0x20, 0x11, &v4, Ok(None)),
        (0x21, 0x00, &[1, 2, 3], Ok(None)),
        (0x21, 0x31, &[0; 216], Ok(None)),
        (0x21, 0x11, &v4[..11], Err(Malformed)),
        (0x21, 0x21, &v6[..35], Err(Malformed)),
        (0x21, 0x12, &v4, Err(Malformed)),
        (0x21, 0x41, &v6, Err(Malformed)),
        (0x22, 0x11, &v4, Err(Malformed)),
        (0x11, 0x11, &v4, Err(Malformed)),
    ] {
        assert_eq!(parse_v2(command, family, payload), expected, "{command:x} {family:x} {payload:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in any::<([u8; 4], u16)>(), destination in any::<([u8; 4], u16)>()) {
        let expected = Ok(Some(SocketAddr::from(source)));
        let (from, to) = (Ipv4Addr::from(source.0), Ipv4Addr::from(destination.0));
        let line = format!("PROXY TCP4 {from} {to} {} {}", source.1, destination.1);
        prop_assert_eq!(parse_v1(line.as_bytes()), expected);
        let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
        let payload = [&source.0[..], &destination.0, &ports].concat();
        prop_assert_eq!(parse_v2(0x21, 0x11, &payload), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..120), command: u8, family: u8) {
        let _ = parse_v1(&line);
        let _ = parse_v1(&[b"PROXY ", &line[..]].concat());
        let _ = parse_v2(command, family, &line);
        let _ = parse_v2(0x21, 0x11, &line);
    }
}
