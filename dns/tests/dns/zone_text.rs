//! Zone text: what is read, what is refused, and how that is said.

use tidegate_dns::{View, Zone, ZoneView};

use crate::harness::{Seen, ask_udp, question, zone};

const HEAD: &str = "$TTL 60\n@ IN SOA ns hostmaster 7 1h 10m 1d 30\n@ IN NS ns\nns IN A 192.0.2.1\n";

/// The errors of [`HEAD`] with more lines, the first of which is line 5.
fn errors(more: &str) -> Vec<String> {
    match Zone::parse("example.test", &format!("{HEAD}{more}"), "z") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_error_is_reported_with_file_and_line() {
    let got = errors(
        "www A 192.0.2.256\nmail MX mail\nok A 192.0.2.9\nlate AA 192.0.2.1\n\"open\nx.other.test. A 192.0.2.1\n",
    );
    insta::assert_snapshot!(got.join("\n"));
}

#[test]
fn typing_errors_are_refused_instead_of_served_in_part() {
    let refused = [
        ("www A 192.0.2.1 192.0.2.2", "a field too many: `192.0.2.2`"),
        ("www A", "the address is missing"),
        ("www A 192.0.2", "not an IPv4 address"),
        ("www AAAA 192.0.2.1", "not an IPv6 address"),
        ("www MX mail", "must be a number up to 65535"),
        ("www MX 65536 mail", "must be a number up to 65535"),
        ("www MX 10 mail 20", "a field too many"),
        ("www CNAME", "the target is missing"),
        ("www SRV 1 2 3", "the target is missing"),
        ("www TXT", "the text is missing"),
        ("www CAA 256 issue ca", "up to 255"),
        ("www CAA 0 is-sue ca", "letters and digits"),
        ("www DS 1 2 3 0", "not hexadecimal"),
        ("www TLSA 3 1 1", "the certificate data is missing"),
        ("www CERT 1 2 3 a===", "not base64"),
        ("www HTTPS 1 . alpn", "needs a value"),
        ("www HTTPS 1 . apln=h2", "unknown parameter `apln`"),
        ("www HTTPS 1 . port=1 port=2", "given twice"),
        ("www HTTPS 1 . mandatory=port", "not given"),
        ("www HTTPS 0 svc port=1", "no parameters"),
        ("www TYPE65280 \\# 3 00", "1 bytes are given, 3 were announced"),
        ("www TYPE1 \\# 3 000000", "no A data"),
        ("www NS \\# 3 050000", "no NS data"),
        ("www TYPE65280 x", "RFC 3597"),
        ("www", "the record type is missing"),
        ("www 60", "the record type is missing"),
        ("www IN 1h", "the record type is missing"),
        ("www 5x A 192.0.2.1", "no TTL"),
        ("www 2147483648 A 192.0.2.1", "no TTL"),
        ("www CH A 192.0.2.1", "only IN"),
        ("www BOGUS x", "neither a TTL, a class nor a record type"),
        ("www DNAME other.test.", "DNAME is not supported yet"),
        ("www RRSIG x", "not supported yet"),
        ("www ANY x", "can't be in a zone"),
        ("a..b A 192.0.2.1", "empty label"),
        ("a\\25 A 192.0.2.1", "backslash"),
        ("www A 192.0.2.1 (", "parenthesis is not closed"),
        ("www A 192.0.2.1 )", "never opened"),
        ("www TXT \"a", "quote is not closed"),
        ("$INCLUDE other", "not supported"),
        ("$GENERATE 1-5 a A 192.0.2.$", "not supported"),
        ("$TTL", "exactly one value"),
        ("$BOGUS 1", "unknown directive"),
        ("www.other.test. A 192.0.2.1", "outside the zone"),
        ("www SOA ns h 1 1 1 1 1", "belongs at the zone's apex"),
        ("@ SOA ns h 1 1 1 1 1", "more than one SOA"),
        ("@ CNAME www", "can't be a CNAME"),
        ("@ DS 1 13 2 00", "belong in its parent"),
        ("*.w NS ns", "RFC 4592"),
        ("ns CNAME www", "has a CNAME record and also A"),
        ("c CNAME www\nc CNAME ns", "more than one CNAME"),
    ];
    for (line, reason) in refused {
        let got = errors(line);
        assert!(got.len() == 1 && got[0].contains(reason), "{line}: {got:?}");
        let expected = if line.contains('\n') { "z:6: " } else { "z:5: " };
        assert!(got[0].starts_with(expected), "{line}: {got:?}");
    }
    let long = "x".repeat(255);
    assert_eq!(errors(&format!("www TXT {long}")), Vec::<String>::new());
    assert!(errors(&format!("www TXT {long}x"))[0].contains("may have 255"));
}

#[test]
fn a_zone_needs_one_soa_and_a_name_server() {
    let fails = |text: &str| Zone::parse("example.test", text, "z").unwrap_err().to_string();
    assert!(fails("").contains("no SOA"));
    assert!(fails("").contains("no NS"));
    assert!(fails("@ 60 SOA ns h 1 1 1 1 1\n").contains("z: there is no NS record at example.test."));
    assert!(fails("@ NS ns.other.test.\n").contains("no TTL"));
    assert!(Zone::parse("a..b", "", "z").unwrap_err().to_string().contains("zone name"));
}

#[test]
fn an_error_in_an_owner_does_not_give_its_records_to_another() {
    let got = errors("bad..name A 192.0.2.1\n A 192.0.2.2\n");
    assert!(got.len() == 2 && got[1].contains("needs a record with a (valid) owner"), "{got:?}");
}

#[test]
fn legal_oddities_are_warnings() {
    let text = format!(
        "{HEAD}w 60 A 192.0.2.1\nw 90 A 192.0.2.2\nw A 192.0.2.1\nchild NS ns.child\nx.child TXT x\nm MX 1 c\nc CNAME w\n"
    );
    let zone = zone("example.test", &text);
    insta::assert_snapshot!(zone.warnings().join("\n"));
}

#[test]
fn ttls_origins_and_owners_are_inherited() {
    let text = "@ 2m IN SOA ns h 1 1 1 1 5\n IN NS ns.other.test.\n$ORIGIN sub.example.test.\na 7 A 192.0.2.1\n A 192.0.2.2\n\
                $TTL 1h\nb A 192.0.2.3\n$ORIGIN deep\nc 1d2h IN A 192.0.2.4\nd IN 3 A 192.0.2.5\n\"e\" A 192.0.2.6\n";
    let view = ZoneView::build(zone("Example.TEST.", text), 1, &[]).unwrap();
    let (handler, _) = crate::harness::handler(View::new(vec![view]));
    for (name, expected) in [
        ("example.test NS", "example.test. 120 NS ns.other.test."),
        ("a.sub.example.test A", "a.sub.example.test. 7 A 192.0.2.1"),
        ("b.sub.example.test A", "b.sub.example.test. 3600 A 192.0.2.3"),
        ("c.deep.sub.example.test A", "c.deep.sub.example.test. 93600 A 192.0.2.4"),
        ("d.deep.sub.example.test A", "d.deep.sub.example.test. 3 A 192.0.2.5"),
        ("e.deep.sub.example.test A", "e.deep.sub.example.test. 3600 A 192.0.2.6"),
    ] {
        let query = question(name);
        let mut out = Vec::new();
        handler.answer(&query, tidegate_dns::Protocol::Udp, &mut out);
        assert_eq!(Seen::decode(&query, &out).answer.first().map(String::as_str), Some(expected));
    }
}

#[test]
fn the_content_hash_sees_content_and_nothing_else() {
    let hash = |text: &str| zone("example.test", text).content_hash();
    let base = hash(HEAD);
    // This number may never change: stored serials are compared by it over versions.
    assert_eq!(base, 0x189a_922e_92d9_9ed4, "{base:#x}");
    assert_eq!(base, hash(&HEAD.replace(" 7 ", " 8 ")), "the serial is not content");
    let reordered = "; words\nns.example.test. 1m A 192.0.2.1\n@ 60 NS ns\n@ 60 SOA ns hostmaster ( 1 3600\n600 86400 30 )\n";
    assert_eq!(base, hash(reordered));
    for changed in [
        HEAD.replace("192.0.2.1", "192.0.2.2"),
        HEAD.replace("TTL 60", "TTL 61"),
        HEAD.replace(" 30\n", " 31\n"),
        format!("{HEAD}a A 192.0.2.1\n"),
    ] {
        assert_ne!(base, hash(&changed), "{changed}");
    }
    assert_eq!(zone("example.test", HEAD).serial(), 7);
    assert_eq!(zone("Example.test", HEAD).origin(), "Example.test.");
}

#[test]
fn the_number_of_records_is_bounded() {
    let text = format!("{HEAD}a A 192.0.2.1\n");
    assert!(Zone::parse_bounded("example.test", &text, "z", 4).is_ok());
    let error = Zone::parse_bounded("example.test", &text, "z", 3).unwrap_err();
    assert_eq!(error.to_string(), "z:5: the zone has more than 3 records");
}

#[test]
fn the_root_can_be_a_zone() {
    let view = ZoneView::build(zone(".", "$TTL 60\n@ SOA ns h 1 1 1 1 5\n@ NS ns\nns A 192.0.2.1\n"), 1, &[])
        .unwrap();
    let server = crate::harness::Server::start(View::new(vec![view]));
    for (line, rcode) in
        [(". NS", "NOERROR"), ("ns A", "NOERROR"), ("a.b.c A", "NXDOMAIN"), (". DS", "NOERROR")]
    {
        let query = question(line);
        assert_eq!(Seen::decode(&query, &ask_udp(server.address, &query).unwrap()).rcode, rcode, "{line}");
    }
}
