//! What must hold for any bytes, any text and any steered name.

use std::net::IpAddr;
use std::sync::LazyLock;

use hickory_proto::op::Message;
use proptest::prelude::*;
use tidegate_dns::{Handler, Outcome, Protocol, Steered, SteeredAnswer, View, Zone, ZoneView};

use crate::harness::{Seen, ZONES, handler, question, steered_view, table_view, zone};
use crate::questions;
use crate::steered::steered;

static TABLE: LazyLock<std::sync::Arc<Handler>> = LazyLock::new(|| {
    let names =
        [steered("app", 30, &["203.0.113.10", "2001:db8::10"]), steered("*.any", 30, &["203.0.113.11"])];
    handler(steered_view(&names)).0
});

fn answer(handler: &Handler, query: &[u8], protocol: Protocol) -> Option<Vec<u8>> {
    let mut out = vec![0xaa; 7];
    match handler.answer(query, protocol, &mut out) {
        Outcome::Answered { .. } => Some(out),
        Outcome::Dropped => {
            assert!(out.is_empty());
            None
        }
    }
}

/// Whole questions of the table with some bytes replaced: most of them are still nearly right, which random bytes never are.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<&'static str> =
        questions::lines().chain(["app.example.test A edns=1232", "x.any.example.test A"]).collect();
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (proptest::sample::select(lines), damage, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(line, damage, cut, is_cut)| {
            let mut bytes = question(line);
            for (index, byte) in damage {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

fn check_any_answer(query: &[u8]) -> Result<(), TestCaseError> {
    for (protocol, limit) in [(Protocol::Udp, 1232), (Protocol::Tcp, 65_535)] {
        let Some(answer) = answer(&TABLE, query, protocol) else {
            prop_assert!(
                query.len() < 12 || query[2] & 0x80 != 0,
                "only scraps and responses stay without an answer"
            );
            continue;
        };
        let message = Message::from_vec(&answer);
        prop_assert!(message.is_ok(), "{message:?}: {answer:02x?}");
        prop_assert!(answer.len() <= limit);
        prop_assert_eq!(&answer[..2], &query[..2]);
        prop_assert_eq!(answer[2] & 0x80, 0x80);
        prop_assert_eq!(answer[3] & 0x80, 0, "RA is never set");
        if answer[4..6] == [0, 1] {
            let asked = &query[12..];
            prop_assert!(answer[12..].starts_with(&asked[..asked.len().min(answer.len() - 12).min(6)]));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic_and_answers_are_well_formed(query in proptest::collection::vec(any::<u8>(), 0..600)) {
        check_any_answer(&query)?;
    }

    #[test]
    fn damaged_questions_never_panic_and_answers_are_well_formed(query in damaged()) {
        check_any_answer(&query)?;
    }

    #[test]
    fn random_text_never_panics_the_zone_parser(text in "\\PC{0,400}") {
        let _ = Zone::parse("example.test", &text, "random");
    }

    #[test]
    fn zone_like_text_never_panics_the_zone_parser(
        words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..60),
        soa in any::<bool>(),
    ) {
        let head = if soa { "@ 60 IN SOA ns h 1 1 1 1 1\n@ 60 NS ns.other.test.\n" } else { "" };
        let text = head.to_owned() + &words.join("");
        if let Ok(zone) = Zone::parse("example.test", &text, "words") {
            // What parses can also be served.
            let view = ZoneView::build(std::sync::Arc::new(zone), 1, &[]);
            prop_assert!(view.is_ok());
            let (handler, _) = handler(View::new(vec![view.unwrap()]));
            for line in ["example.test ANY", "a.example.test A", "a.example.test MX edns=1232", "example.test SOA"] {
                let query = question(line);
                let answer = answer(&handler, &query, Protocol::Udp).unwrap();
                prop_assert!(Message::from_vec(&answer).is_ok(), "{line}: {answer:02x?}\n{text}");
            }
        }
    }

    #[test]
    fn damaged_zones_never_panic(at in any::<prop::sample::Index>(), length in 0_usize..40, with in "\\PC{0,8}") {
        let text: Vec<char> = ZONES[0].1.chars().collect();
        let at = at.index(text.len());
        let tail = text.iter().skip(at + length).collect::<String>();
        let text = text[..at].iter().collect::<String>() + &with + &tail;
        let _ = Zone::parse("example.test", &text, "damaged");
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// The same addresses in the zone file go through the encoder at question time; the steered ones were encoded at build.
    #[test]
    fn steered_bytes_say_what_the_zone_file_would(
        labels in proptest::collection::vec("[a-zA-Z0-9]{1,20}", 1..4),
        upper in proptest::collection::vec(any::<bool>(), 80),
        four in proptest::collection::btree_set(any::<u32>(), 0..40),
        six in proptest::collection::btree_set(any::<u128>(), 0..20),
        ttl in 0_u32..100_000,
        size in prop_oneof![Just(None), (0_u16..5000).prop_map(Some)],
        flags in "( rd)?( cd)?( ad)?",
    ) {
        prop_assume!(!four.is_empty() || !six.is_empty());
        let name = format!("s.{}.steer", labels.join("."));
        let four = four.into_iter().map(|address| IpAddr::from(address.to_be_bytes()));
        let addresses: Vec<IpAddr> = four.chain(six.into_iter().map(|address| IpAddr::from(address.to_be_bytes()))).collect();
        // A minimum of 30 makes the negative TTL of the zone that of steered names.
        let mut text = ZONES[0].1.replace("1d 60", "1d 30");
        for address in &addresses {
            let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
            text += &format!("{name} {ttl} {rtype} {address}\n");
        }
        let slow = ZoneView::build(zone("example.test", &text), 9, &[]).unwrap();
        let steered = Steered { name: name.clone(), ttl, answer: SteeredAnswer::Addresses(addresses) };
        let fast = ZoneView::build(zone("example.test", &ZONES[0].1.replace("1d 60", "1d 30")), 9, &[steered]).unwrap();
        let (slow, _) = handler(View::new(vec![slow]));
        let (fast, _) = handler(View::new(vec![fast]));
        let asked = format!("{name}.example.test");
        let asked: String = asked.chars().zip(upper.iter().cycle())
            .map(|(letter, upper)| if *upper { letter.to_ascii_uppercase() } else { letter }).collect();
        for rtype in ["A", "AAAA", "TXT", "ANY"] {
            let edns = size.map_or(String::new(), |size| format!(" edns={size} do"));
            let query = question(&format!("{asked} {rtype}{edns}{flags}"));
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                let slow = answer(&slow, &query, protocol).unwrap();
                let fast = answer(&fast, &query, protocol).unwrap();
                let seen = Seen::decode(&query, &fast);
                prop_assert_eq!(&seen, &Seen::decode(&query, &slow));
                prop_assert_eq!(&seen.question, &query[12..12 + asked.len() + 6]);
                prop_assert_eq!(fast.len(), slow.len());
            }
        }
    }
}

const WORDS: [&str; 44] = [
    "\n",
    "\n",
    "\n",
    " ",
    " ",
    " ",
    "\t",
    "(",
    ")",
    ";",
    "\"",
    "\\",
    "\\000",
    "\\#",
    "@",
    "a",
    "b.a",
    "*",
    "*.a",
    ".",
    "..",
    "example.test.",
    "$ORIGIN ",
    "$TTL ",
    "$INCLUDE ",
    "60 ",
    "0 ",
    "4 DEADBEEF",
    "IN ",
    "CH ",
    "A ",
    "AAAA ",
    "NS ",
    "CNAME ",
    "MX ",
    "SOA ",
    "TXT ",
    "SRV ",
    "HTTPS ",
    "TYPE1 ",
    "192.0.2.1",
    "::1",
    "alpn=h2",
    "\u{e9}",
];

#[test]
fn the_table_is_answered_within_its_limits() {
    let (handler, _) = handler(table_view());
    for line in questions::lines() {
        let query = question(line);
        let limit = line
            .split("edns=")
            .nth(1)
            .map_or(512, |size| size.split(' ').next().unwrap().parse::<usize>().unwrap().clamp(512, 1232));
        let answer = answer(&handler, &query, Protocol::Udp).unwrap();
        assert!(answer.len() <= limit, "{line}: {} bytes", answer.len());
    }
}
