//! Origins that speak DNS, over UDP and over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, TXT};
use hickory_proto::rr::{Name, RData, Record};
use tidegate_probe::{DnsCheck, DnsFailure, Failure, Kind, Outcome, SpecError, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{DEADLINE, Origin, prober, wait_out};

/// A name server on one port, over both transports.
struct Server {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

type Answer = fn(&mut Message);

impl Server {
    async fn start(udp: Answer, tcp: Answer) -> Self {
        // A port that is free for one transport is nearly always free for the other.
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                // A stray first: an answer to somebody else.
                let answer = answer(&bytes[..length], udp);
                let mut stray = answer.clone();
                stray[0] ^= 0xff;
                socket.send_to(&stray, from).await.unwrap();
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let answer = answer(&bytes, tcp);
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { addr, _tasks: tasks }
    }

    async fn ask(&self, check: DnsCheck) -> Outcome {
        timeout(DEADLINE, prober(self.addr, Kind::Dns(check)).probe()).await.unwrap().outcome
    }
}

fn answer(question: &[u8], shape: Answer) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    shape(&mut message);
    message.to_vec().unwrap()
}

fn add(message: &mut Message, data: RData) {
    let name = message.queries[0].name().clone();
    message.answers.push(Record::from_rdata(name, 60, data));
}

fn well(message: &mut Message) {
    assert_eq!(message.queries[0].name().to_ascii(), "app.example.com.");
    add(message, RData::A(A::new(192, 0, 2, 1)));
    add(message, RData::MX(MX::new(10, Name::from_ascii("mail.example.com.").unwrap())));
    add(message, RData::TXT(TXT::new(vec!["v=1 all is well".to_owned()])));
}

fn cut(message: &mut Message) {
    message.metadata.truncation = true;
}

fn check(record_type: &str) -> DnsCheck {
    DnsCheck::new("app.example.com", record_type, 0).unwrap()
}

fn failed(failure: DnsFailure) -> Outcome {
    Outcome::Fail(Failure::Dns(failure))
}

#[tokio::test]
async fn an_answer_with_the_wanted_code_passes_over_both() {
    let server = Server::start(well, well).await;
    assert_eq!(server.ask(check("A")).await, Outcome::Pass);
    assert_eq!(server.ask(check("A").over_tcp()).await, Outcome::Pass);
}

#[tokio::test]
async fn another_code_fails_and_a_code_can_be_wanted() {
    fn refused(message: &mut Message) {
        message.metadata.response_code = ResponseCode::Refused;
        // Some servers leave out what they refuse.
        message.queries.clear();
    }
    let server = Server::start(refused, refused).await;
    let outcome = server.ask(check("A")).await;
    assert_eq!(outcome, failed(DnsFailure::Rcode { got: 5, wanted: 0 }));
    assert_eq!(
        (outcome.to_string().as_str(), outcome.label()),
        ("DNS says REFUSED, wanted NOERROR", "dns-rcode")
    );
    assert_eq!(server.ask(DnsCheck::new("app.example.com.", "SOA", 5).unwrap()).await, Outcome::Pass);
}

#[tokio::test]
async fn a_wanted_record_must_be_among_the_answers_and_of_the_type() {
    let server = Server::start(well, well).await;
    for (record_type, text, passes) in [
        ("A", "192.0.2.1", true),
        ("A", "192.0.2.2", false),
        ("MX", "10 MAIL.example.com", true),
        ("MX", "20 mail.example.com.", false),
        ("TXT", "v=1 all is well", true),
        // There, but of another type.
        ("AAAA", "192.0.2.1", false),
    ] {
        let outcome = server.ask(check(record_type).with_answer(text).unwrap()).await;
        let expected = if passes { Outcome::Pass } else { failed(DnsFailure::NoSuchAnswer) };
        assert_eq!(outcome, expected, "{record_type} {text}");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_is_asked_for_again_where_its_content_counts() {
    fn not_here(message: &mut Message) {
        message.metadata.response_code = ResponseCode::ServFail;
    }
    let server = Server::start(cut, well).await;
    assert_eq!(server.ask(check("A").with_answer("192.0.2.1").unwrap()).await, Outcome::Pass);
    let server = Server::start(cut, not_here).await;
    assert_eq!(server.ask(check("A")).await, Outcome::Pass, "the code says enough");
    let outcome = server.ask(check("A").with_answer("192.0.2.1").unwrap()).await;
    assert_eq!(outcome, failed(DnsFailure::Rcode { got: 2, wanted: 0 }));
}

#[tokio::test]
async fn a_closed_port_is_refused_and_an_answer_that_breaks_off_is_cut() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = timeout(DEADLINE, prober(closed, Kind::Dns(check("A"))).probe()).await.unwrap().outcome;
    assert_eq!(outcome, Outcome::Fail(Failure::Refused));
    let origin = Origin::raw(|mut stream, _| async move {
        let _ = stream.read_u16().await;
        let _ = stream.write_all(&[0, 40, 1, 2, 3]).await;
        let _ = stream.shutdown().await;
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let probe = async |check| prober(origin.addr, Kind::Dns(check)).probe().await.outcome;
    assert_eq!(probe(check("A").over_tcp()).await, Outcome::Fail(Failure::Cut));
}

#[tokio::test]
async fn what_is_not_dns_says_so() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let mut bytes = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
            for _ in 0..10 {
                socket.send_to(&bytes[..length], from).await.unwrap();
            }
        }
    });
    let outcome = timeout(DEADLINE, prober(addr, Kind::Dns(check("A"))).probe()).await.unwrap().outcome;
    assert_eq!(outcome, failed(DnsFailure::NotDns), "questions are no answers");
    echo.abort();
}

#[tokio::test]
async fn a_silent_origin_times_out() {
    let origin = Origin::raw(|mut stream, seen| async move {
        stream.read_u16().await.unwrap();
        seen.request();
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let after = Duration::from_secs(5);
    let kind = Kind::Dns(check("A").over_tcp());
    let verdict = wait_out(&origin, kind, after, |seen| seen.requests() == 1).await;
    assert_eq!(verdict.outcome, Outcome::Fail(Failure::TimedOut { after, stage: Stage::Response }));
}

#[test]
fn what_cannot_be_asked_is_refused_beforehand() {
    for (name, record_type) in
        [("a b", "A"), ("app.example.com", "AXFR"), ("app.example.com", "nonsense"), ("..", "A")]
    {
        let refused = DnsCheck::new(name, record_type, 0);
        assert!(matches!(refused, Err(SpecError::DnsQuestion(_))), "{name} {record_type}");
    }
    assert!(check("A").with_answer(" ").is_err());
    assert!(check("A").with_answer(&"x".repeat(1025)).is_err());
    assert!(check("A").with_answer(&"x".repeat(1024)).is_ok());
}
