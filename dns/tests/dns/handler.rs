//! The handler by itself, and under hickory's own server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_server::server::Server as HickoryServer;
use tidegate_dns::{Handler, Observer, Outcome, Protocol, View, ZoneView};

use crate::harness::{Counts, Seen, Server, ZONES, ask_tcp, ask_udp, question, steered_view, zone};
use crate::questions;
use crate::steered::steered;

fn view() -> View {
    let names =
        [steered("app", 30, &["203.0.113.10", "2001:db8::10"]), steered("*.any", 30, &["203.0.113.11"])];
    let [first, rest @ ..] = ZONES;
    let rest = rest.map(|(origin, text)| ZoneView::build(zone(origin, text), 7, &[]).unwrap());
    let first = ZoneView::build(zone(first.0, first.1), 42, &names).unwrap();
    View::new([first].into_iter().chain(rest).collect())
}

/// Questions that hickory's server rejects or ignores by itself, before any handler sees them.
const NEVER_HANDED_OVER: &[&str] = &[
    "www.example.test A opts=2",
    "www.example.test A questions=0",
    "www.example.test A questions=2",
    "www.example.test A cut=1",
    "www.example.test A cut=5",
    "www.example.test A edns=1232 cut=2",
    "www.example.test A opcode=15 edns=1232",
];

#[test]
fn hickory_transports_send_the_same_answers() {
    let ours = Server::start(view());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (handler, _) = crate::harness::handler(view());
    let entered = runtime.enter();
    let (udp, tcp) = crate::harness::bind_both();
    let address = tcp.local_addr().unwrap();
    let mut server = HickoryServer::new(Handler::clone(&handler));
    server.register_socket(Arc::try_unwrap(udp).expect("not shared"));
    server.register_listener(tcp, Duration::from_secs(5), 16);
    drop(entered);
    let more = [
        "app.example.test A",
        "app.example.test AAAA edns=1232 do",
        "App.Example.test TXT",
        "x.any.example.test A",
    ];
    let mut compared = 0;
    for line in questions::lines().chain(more).filter(|line| !NEVER_HANDED_OVER.contains(line)) {
        let query = question(line);
        let decoded = |bytes: Option<Vec<u8>>| Seen::decode(&query, &bytes.expect("an answer"));
        assert_eq!(
            decoded(ask_tcp(address, &query)),
            decoded(ask_tcp(ours.address, &query)),
            "{line} over TCP"
        );
        // Over hickory's UDP only the additional records that must be sent are: glue inside the delegated name.
        let [mut theirs, ours] = [address, ours.address].map(|address| decoded(ask_udp(address, &query)));
        let must = line.contains("child.") && !line.contains("mx") || line.starts_with("fat.");
        assert!(
            theirs.additional == ours.additional || !must && theirs.additional.is_empty(),
            "{line}: {theirs:?}"
        );
        theirs.additional.clone_from(&ours.additional);
        assert_eq!(theirs, ours, "{line} over UDP");
        compared += 2;
    }
    assert!(compared > 200, "{compared}");
    runtime.block_on(server.shutdown_gracefully()).unwrap();
}

#[test]
fn the_view_is_loaded_once_per_question_and_a_new_one_is_seen_at_once() {
    let views = [["203.0.113.1"], ["203.0.113.2"]]
        .map(|addresses| Arc::new(steered_view(&[steered("app", 30, &addresses)])));
    let loads = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&loads);
    let source = move || Arc::clone(&views[counting.fetch_add(1, Ordering::Relaxed) % 2]);
    let handler = Handler::new(Arc::new(source), Arc::new(Counts::default()) as Arc<dyn Observer>);
    let query = question("app.example.test A");
    let mut out = Vec::new();
    for turn in 0..10 {
        assert_eq!(handler.answer(&query, Protocol::Udp, &mut out), Outcome::Answered { rcode: 0 });
        let last = out.last().copied();
        assert_eq!(last, Some(1 + turn % 2), "each question sees the view that is current");
        assert_eq!(loads.load(Ordering::Relaxed), usize::from(turn) + 1);
    }
}

#[test]
fn questions_are_counted_under_bounded_labels() {
    let (handler, counts) = crate::harness::handler(view());
    let mut out = Vec::new();
    for line in [
        "app.example.test A",
        "app.example.test TYPE65280",
        "x.invalid HTTPS",
        "example.test A version=1 edns=512",
    ] {
        handler.answer(&question(line), Protocol::Https, &mut out);
    }
    handler.answer(&question("example.test A cut=5"), Protocol::Udp, &mut out);
    let counted: Vec<(Protocol, &str, u8)> = counts
        .queries
        .lock()
        .unwrap()
        .iter()
        .map(|(protocol, qtype, rcode)| (*protocol, qtype.as_str(), *rcode))
        .collect();
    let https = Protocol::Https;
    let expected = [
        (https, "A", 0),
        (https, "other", 0),
        (https, "HTTPS", 5),
        (https, "A", 16),
        (Protocol::Udp, "other", 1),
    ];
    assert_eq!(counted[1].2, 0);
    assert_eq!(counted, expected);
}

#[test]
fn an_answer_too_large_for_any_transport_is_servfail() {
    let mut text = "$TTL 60\n@ SOA ns h 1 1 1 1 5\n@ NS ns.other.test.\n".to_owned();
    for index in 0..400 {
        text += &format!("big TXT \"{index}\" \"{}\"\n", "x".repeat(250));
    }
    let (handler, _) =
        crate::harness::handler(View::new(vec![ZoneView::build(zone("big.test", &text), 1, &[]).unwrap()]));
    let query = question("big.big.test TXT");
    let mut out = Vec::new();
    assert_eq!(handler.answer(&query, Protocol::Tcp, &mut out), Outcome::Answered { rcode: 2 });
    assert_eq!(Seen::decode(&query, &out).flags, "");
    assert_eq!(handler.answer(&query, Protocol::Udp, &mut out), Outcome::Answered { rcode: 0 });
    assert_eq!(Seen::decode(&query, &out).flags, "aa tc");
}
