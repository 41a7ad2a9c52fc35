//! Steered names: what they answer, what they forbid, and that their bytes made at publish time are the right ones.

use std::net::IpAddr;
use std::sync::Arc;

use tidegate_dns::{BuildError, STEERED_ADDRESSES_MAX, Steered, SteeredAnswer, View, ZoneView};

use crate::harness::{Seen, Server, ZONES, ask_tcp, ask_udp, question, steered_view, zone};

pub(crate) fn steered(name: &str, ttl: u32, addresses: &[&str]) -> Steered {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Steered { name: name.into(), ttl, answer: SteeredAnswer::Addresses(addresses) }
}

fn unavailable(name: &str) -> Steered {
    Steered { name: name.into(), ttl: 30, answer: SteeredAnswer::Unavailable }
}

/// The answer to a question, the same over UDP and TCP.
fn seen(server: &Server, line: &str) -> Seen {
    let query = question(line);
    let udp = Seen::decode(&query, &ask_udp(server.address, &query).expect("an answer over UDP"));
    let tcp = Seen::decode(&query, &ask_tcp(server.address, &query).expect("an answer over TCP"));
    assert_eq!(udp, tcp, "{line}");
    udp
}

fn check(server: &Server, line: &str, expected: &str) {
    let got = seen(server, line).render();
    let lines =
        |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    let (got, expected): (Vec<String>, Vec<String>) = (lines(&got), lines(expected));
    assert_eq!(got, expected, "{line}");
}

const SOA: &str = "SOA ns1.example.test. hostmaster.example.test. 42 3600 600 86400 60";

#[test]
fn steered_names_answer_with_their_addresses() {
    let server = Server::start(steered_view(&[
        steered("app", 30, &["203.0.113.10", "2001:db8::10", "203.0.113.11", "203.0.113.10"]),
        steered("Deep.Down.example.test.", 20, &["203.0.113.12"]),
        steered("*.any", 10, &["203.0.113.13"]),
    ]));
    check(
        &server,
        "app.example.test A rd",
        "NOERROR aa rd
         answer: app.example.test. 30 A 203.0.113.10
         answer: app.example.test. 30 A 203.0.113.11",
    );
    check(&server, "APP.example.TEST AAAA", "NOERROR aa\n answer: app.example.test. 30 AAAA 2001:db8::10");
    check(&server, "app.example.test TXT", &format!("NOERROR aa\n authority: example.test. 30 {SOA}"));
    check(
        &server,
        "deep.down.example.test A",
        "NOERROR aa\n answer: deep.down.example.test. 20 A 203.0.113.12",
    );
    check(&server, "x.any.example.test A", "NOERROR aa\n answer: x.any.example.test. 10 A 203.0.113.13");
    check(&server, "x.any.example.test AAAA", &format!("NOERROR aa\n authority: example.test. 30 {SOA}"));
    check(
        &server,
        "app.example.test ANY",
        "NOERROR aa\n answer: app.example.test. 30 A 203.0.113.10\n answer: app.example.test. 30 A 203.0.113.11",
    );
}

#[test]
fn steered_absent_family_is_nodata_with_a_short_ttl() {
    let server = Server::start(steered_view(&[steered("app", 3600, &["203.0.113.10"])]));
    let nodata = format!("NOERROR aa\n authority: example.test. 30 {SOA}");
    check(&server, "app.example.test AAAA", &nodata);
    check(&server, "aPp.ExAmPle.test AAAA edns=1232 do", &format!("{nodata}\n opt: version 0 size 1232 do"));
    // The zone's own negative TTL stays what it is for other names, and a shorter one wins.
    check(&server, "v4only.example.test AAAA", &format!("NOERROR aa\n authority: example.test. 60 {SOA}"));
    let short = "$TTL 60\n@ SOA ns h 1 1 1 1 5\n@ NS ns.other.test.\n";
    let view = ZoneView::build(zone("short.test", short), 1, &[steered("@", 60, &["2001:db8::1"])]).unwrap();
    let server = Server::start(View::new(vec![view]));
    check(
        &server,
        "short.test A",
        "NOERROR aa\n authority: short.test. 5 SOA ns.short.test. h.short.test. 1 1 1 1 5",
    );
}

#[test]
fn steered_unavailable_is_servfail() {
    let server = Server::start(steered_view(&[unavailable("app"), unavailable("*.any")]));
    for line in
        ["app.example.test A", "app.example.test AAAA", "app.example.test ANY", "x.any.example.test A"]
    {
        check(&server, line, "SERVFAIL");
    }
    check(&server, "app.example.test A rd edns=4096 do", "SERVFAIL rd\n opt: version 0 size 1232 do");
    // The name exists and the rest of the zone is served.
    check(&server, "app.example.test TXT", &format!("NOERROR aa\n authority: example.test. 30 {SOA}"));
    check(&server, "v4only.example.test A", "NOERROR aa\n answer: v4only.example.test. 300 A 192.0.2.12");
}

#[test]
fn aliases_and_mail_lead_to_steered_names() {
    let text = format!(
        "{}\nto-app CNAME app\n*.w CNAME app\nmx MX 5 app\nto-none CNAME none\nmx-none MX 5 none\n",
        ZONES[0].1
    );
    let names = [steered("app", 30, &["203.0.113.10", "2001:db8::10"]), unavailable("none")];
    let view = ZoneView::build(zone("example.test", &text), 42, &names).unwrap();
    let server = Server::start(View::new(vec![view]));
    check(
        &server,
        "to-app.example.test A",
        "NOERROR aa
         answer: app.example.test. 30 A 203.0.113.10
         answer: to-app.example.test. 300 CNAME app.example.test.",
    );
    check(
        &server,
        "x.w.example.test AAAA",
        "NOERROR aa
         answer: app.example.test. 30 AAAA 2001:db8::10
         answer: x.w.example.test. 300 CNAME app.example.test.",
    );
    check(
        &server,
        "mx.example.test MX",
        "NOERROR aa
         answer: mx.example.test. 300 MX 5 app.example.test.
         additional: app.example.test. 30 A 203.0.113.10
         additional: app.example.test. 30 AAAA 2001:db8::10",
    );
    check(&server, "to-none.example.test A", "SERVFAIL");
    check(
        &server,
        "mx-none.example.test MX",
        "NOERROR aa\n answer: mx-none.example.test. 300 MX 5 none.example.test.",
    );
}

#[test]
fn steered_names_make_empty_non_terminals() {
    let server = Server::start(steered_view(&[steered("a.b.wild", 30, &["203.0.113.10"])]));
    check(&server, "b.wild.example.test A", &format!("NOERROR aa\n authority: example.test. 60 {SOA}"));
    // The wildcard no longer covers what is below the new name (RFC 4592 section 2.2.2).
    check(&server, "z.b.wild.example.test A", &format!("NXDOMAIN aa\n authority: example.test. 60 {SOA}"));
}

#[test]
fn a_new_build_changes_answers_and_serial_but_shares_the_zone() {
    let zone = zone(ZONES[0].0, ZONES[0].1);
    let old = ZoneView::build(Arc::clone(&zone), 1, &[steered("app", 30, &["203.0.113.10"])]).unwrap();
    let new = ZoneView::build(Arc::clone(&zone), 2, &[steered("app", 30, &["203.0.113.20"])]).unwrap();
    assert!(Arc::ptr_eq(old.zone(), new.zone()));
    assert_eq!((old.serial(), new.serial()), (1, 2));
    for (view, serial, address) in [(old, 1, "203.0.113.10"), (new, 2, "203.0.113.20")] {
        let server = Server::start(View::new(vec![view]));
        check(
            &server,
            "app.example.test A",
            &format!("NOERROR aa\n answer: app.example.test. 30 A {address}"),
        );
        let soa = seen(&server, "example.test SOA").answer.pop_first().unwrap();
        assert!(soa.contains(&format!(" {serial} 3600")), "{soa}");
    }
}

#[test]
fn many_addresses_are_truncated_over_udp_without_edns() {
    let addresses: Vec<String> = (1..=40).map(|last| format!("203.0.113.{last}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let server = Server::start(steered_view(&[steered("app", 30, &addresses)]));
    let query = question("app.example.test A");
    let answer = ask_udp(server.address, &query).unwrap();
    assert_eq!((answer.len(), Seen::decode(&query, &answer).render().trim()), (query.len(), "NOERROR aa tc"));
    assert_eq!(Seen::decode(&query, &ask_tcp(server.address, &query).unwrap()).answer.len(), 40);
    let query = question("app.example.test A edns=1232");
    assert_eq!(Seen::decode(&query, &ask_udp(server.address, &query).unwrap()).answer.len(), 40);
}

#[test]
fn steered_names_that_can_not_be_are_refused() {
    let zone = zone(ZONES[0].0, ZONES[0].1);
    let refusal = |steered: &[Steered]| ZoneView::build(Arc::clone(&zone), 1, steered).unwrap_err();
    let one = |name: &str| refusal(&[steered(name, 30, &["203.0.113.1"])]);
    assert!(matches!(one("www"), BuildError::HasRecords { rtype, .. } if rtype == "A"));
    assert!(matches!(one("alias"), BuildError::HasRecords { rtype, .. } if rtype == "CNAME"));
    assert!(matches!(one("@"), BuildError::HasRecords { .. }));
    assert!(matches!(one("child"), BuildError::Delegated { .. }));
    assert!(matches!(one("a.b.child"), BuildError::Delegated { .. }));
    assert!(matches!(one("app.elsewhere.test."), BuildError::OutsideZone { .. }));
    assert!(matches!(one("a..b"), BuildError::BadName { .. }));
    assert!(matches!(refusal(&[steered("app", 30, &[])]), BuildError::NoAddress { .. }));
    let twice = [steered("app", 30, &["203.0.113.1"]), unavailable("APP.example.test.")];
    assert!(matches!(refusal(&twice), BuildError::Twice { .. }));
    assert!(matches!(refusal(&[steered("app", 1 << 31, &["203.0.113.1"])]), BuildError::TtlTooLong { .. }));
    let addresses = |count: u8| (0..count).map(|last| IpAddr::from([203, 0, 113, last])).collect();
    let many = |count| Steered { answer: SteeredAnswer::Addresses(addresses(count)), ..unavailable("app") };
    let max = STEERED_ADDRESSES_MAX as u8;
    assert!(ZoneView::build(Arc::clone(&zone), 1, &[many(max)]).is_ok());
    assert!(matches!(refusal(&[many(max + 1)]), BuildError::TooManyAddresses { .. }));
    // Mail and text may stand beside steered addresses.
    let text = "$TTL 60\n@ SOA ns h 1 1 1 1 5\n@ NS ns.other.test.\n@ MX 5 mail.other.test.\n";
    assert!(ZoneView::build(crate::harness::zone("apex.test", text), 1, &[unavailable("@")]).is_ok());
}
