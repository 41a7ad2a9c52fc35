//! The question table: asked over UDP and TCP and held against a reviewed snapshot here, against NSD in `nsd`.

use std::fmt::Write as _;

use crate::harness::{Seen, Server, ask_tcp, ask_udp, question, table_view};

/// One question a line; see [`question`].
pub(crate) const QUESTIONS: &str = include_str!("questions.txt");

pub(crate) fn lines() -> impl Iterator<Item = &'static str> {
    QUESTIONS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn every_question_has_exactly_this_answer_over_udp_and_tcp() {
    let server = Server::start(table_view());
    let mut text = String::new();
    for line in lines() {
        let query = question(line);
        let udp = Seen::decode(&query, &ask_udp(server.address, &query).expect("an answer over UDP"));
        let tcp = Seen::decode(&query, &ask_tcp(server.address, &query).expect("an answer over TCP"));
        if udp == tcp {
            write!(text, "{line}\n{}", udp.render()).unwrap();
        } else {
            write!(text, "{line} (UDP)\n{}{line} (TCP)\n{}", udp.render(), tcp.render()).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn questions_are_echoed_in_their_own_case() {
    let server = Server::start(table_view());
    for name in ["wWw.ExAmPlE.tEsT", "NOTHING.example.TEST", "aNy.WILD.example.test", "A.Other.Invalid"] {
        let query = question(&format!("{name} A edns=1232"));
        for answer in [ask_udp(server.address, &query), ask_tcp(server.address, &query)] {
            let seen = Seen::decode(&query, &answer.unwrap());
            assert_eq!(seen.question, query[12..12 + name.len() + 6], "{name}");
        }
    }
}

#[test]
fn responses_and_scraps_get_no_answer() {
    let server = Server::start(table_view());
    let response = question("www.example.test A qr");
    let scrap = &question("www.example.test A")[..11];
    for silent in [&response[..], scrap, &[]] {
        // A question behind it on the same path: once that is answered, the silent one has been dealt with.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
        socket.send_to(silent, server.address).unwrap();
        let query = question("www.example.test A");
        socket.send_to(&query, server.address).unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..2], query[..2], "{silent:02x?} was answered: {:02x?}", &buffer[..length]);
    }
}
