//! Connections: several questions on one, limits on both sides, and the end of service.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate_dns::tcp::TcpLimits;
use tidegate_dns::{DropReason, Protocol, udp};

use crate::harness::{
    DEADLINE, Seen, Server, ask_tcp, ask_udp, connect, framed, handler, question, read_framed, table_view,
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the server has closed (or reset) the connection, waiting for it if need be.
pub(crate) fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn pipelined_questions_are_answered_in_order() {
    let server = Server::start(table_view());
    let mut stream = connect(server.address);
    let names =
        ["www.example.test A", "nothing.example.test A", "big.example.test TXT", "alias.example.test AAAA"];
    let queries: Vec<Vec<u8>> = (0..200).map(|index| question(names[index % names.len()])).collect();
    let all: Vec<u8> = queries.iter().flat_map(|query| framed(query)).collect();
    // Written in pieces that end inside of frames, from another thread so that neither side can block the other for good.
    let mut writing = stream.try_clone().unwrap();
    let writer =
        std::thread::spawn(move || all.chunks(777).for_each(|piece| writing.write_all(piece).unwrap()));
    for query in &queries {
        let answer = read_framed(&mut stream).expect("an answer");
        assert_eq!(answer[..2], query[..2], "out of order");
        assert_eq!(
            Seen::decode(query, &answer),
            Seen::decode(query, &ask_tcp(server.address, query).unwrap())
        );
    }
    writer.join().unwrap();
}

#[test]
fn questions_one_after_the_other_share_a_connection() {
    let server = Server::start(table_view());
    let mut stream = connect(server.address);
    for _ in 0..20 {
        let query = question("www.example.test A rd");
        let frame = framed(&query);
        let (first, second) = frame.split_at(7);
        stream.write_all(first).unwrap();
        stream.write_all(second).unwrap();
        assert_eq!(Seen::decode(&query, &read_framed(&mut stream).unwrap()).answer.len(), 2);
    }
    let queries = server.counts.queries.lock().unwrap();
    assert_eq!(queries.iter().filter(|(protocol, ..)| *protocol == Protocol::Tcp).count(), 20);
    assert!(queries.iter().all(|(_, qtype, rcode)| qtype.as_str() == "A" && *rcode == 0));
}

#[test]
fn idle_connections_are_closed() {
    let server = Server::start_with(table_view(), TcpLimits::new(10, SHORT, LONG));
    let mut silent = connect(server.address);
    let mut served = connect(server.address);
    let query = question("www.example.test A");
    served.write_all(&framed(&query)).unwrap();
    assert!(read_framed(&mut served).is_some());
    assert!(is_closed(&mut silent) && is_closed(&mut served));
    wait_for("both are counted", || server.counts.drops(DropReason::TimedOut) == 2);
}

#[test]
fn a_message_that_trickles_is_cut_off_whatever_the_idle_timeout() {
    let server = Server::start_with(table_view(), TcpLimits::new(10, LONG, SHORT));
    let mut stream = connect(server.address);
    let frame = framed(&question("www.example.test A"));
    let started = Instant::now();
    // Each byte comes well within the time of a message; all of them together don't.
    for byte in frame.iter().cycle() {
        if stream.write_all(&[*byte]).is_err() || started.elapsed() > SHORT * 3 {
            break;
        }
        std::thread::sleep(SHORT / 10);
    }
    assert!(is_closed(&mut stream));
    assert_eq!(server.counts.queries.lock().unwrap().len(), 0);
}

/// The answer to a question, if the connection carries one.
fn ask(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.write_all(&framed(&question("www.example.test A"))).ok()?;
    read_framed(stream)
}

#[test]
fn surplus_connections_are_dropped_and_room_is_reused() {
    let server = Server::start_with(table_view(), TcpLimits::new(2, LONG, LONG));
    let (mut first, mut second) = (connect(server.address), connect(server.address));
    assert!(ask(&mut first).is_some() && ask(&mut second).is_some(), "the limit itself is served");
    let mut third = connect(server.address);
    assert!(is_closed(&mut third), "one more is dropped");
    assert_eq!(server.counts.drops(DropReason::TooManyConnections), 1);
    assert!(ask(&mut first).is_some(), "those served before still are");
    drop(second);
    wait_for("room after a close", || ask(&mut connect(server.address)).is_some());
}

#[test]
fn one_address_cannot_hold_all_connections() {
    let limits = TcpLimits::new(10, LONG, LONG).with_per_address_max(2);
    let server = Server::start_with(table_view(), limits);
    let (mut first, mut second) = (connect(server.address), connect(server.address));
    assert!(ask(&mut first).is_some() && ask(&mut second).is_some(), "the limit itself is served");
    assert!(is_closed(&mut connect(server.address)), "one more is dropped");
    assert_eq!(server.counts.drops(DropReason::TooManyFromAddress), 1);
    let mut other = connect_from("127.0.0.2", server.address);
    assert!(ask(&mut other).is_some(), "others have their own");
    drop(second);
    wait_for("room after a close", || ask(&mut connect(server.address)).is_some());
}

/// A connection from another address of the loopback.
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

#[test]
fn shutdown_answers_what_was_sent_then_closes() {
    let server = Server::start_with(table_view(), TcpLimits::new(10, LONG, LONG));
    let mut idle = connect(server.address);
    let mut busy = connect(server.address);
    let queries: Vec<Vec<u8>> = (0..50).map(|_| question("medium.example.test A")).collect();
    // Served once, so that the connection is known to be accepted.
    busy.write_all(&framed(&queries[0])).unwrap();
    assert!(read_framed(&mut busy).is_some());
    busy.write_all(&queries.iter().flat_map(|query| framed(query)).collect::<Vec<u8>>()).unwrap();
    let half = framed(&queries[0]);
    busy.write_all(&half[..10]).unwrap();
    let address = server.address;
    server.shut_down();
    for query in &queries {
        let answer = read_framed(&mut busy).expect("an answer to what was sent before the end");
        assert_eq!(answer[..2], query[..2]);
    }
    assert!(is_closed(&mut busy) && is_closed(&mut idle));
    assert!(TcpStream::connect_timeout(&address, DEADLINE).is_err(), "the listener is gone");
}

#[test]
fn a_stream_of_something_else_is_closed() {
    let server = Server::start(table_view());
    let mut stream = connect(server.address);
    stream.write_all(&framed(b"hello")).unwrap();
    assert!(is_closed(&mut stream));
    wait_for("it is counted", || server.counts.drops(DropReason::NoQuestion) == 1);
}

#[test]
fn questions_before_something_else_are_answered() {
    let server = Server::start(table_view());
    let mut stream = connect(server.address);
    let query = question("www.example.test A");
    // In one write, so that the server reads all of it at once.
    stream.write_all(&[framed(&query), framed(&query), framed(b"hello")].concat()).unwrap();
    for _ in 0..2 {
        assert_eq!(read_framed(&mut stream).expect("an answer")[..2], query[..2]);
    }
    assert!(is_closed(&mut stream));
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let server = Server::start_with(table_view(), TcpLimits::new(10, LONG, SHORT));
    let mut stream = connect(server.address);
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let frames: Vec<u8> = (0..100).flat_map(|_| framed(&question("big.example.test TXT"))).collect();
    // The answers are some forty times the questions: the buffers between fill, then the server stops reading, then it ends.
    let deadline = Instant::now() + DEADLINE;
    while stream.write_all(&frames).is_ok() {
        assert!(Instant::now() < deadline, "the server takes everything");
    }
    wait_for("it is counted", || server.counts.drops(DropReason::TimedOut) == 1);
}

#[test]
fn udp_and_tcp_bind_again_after_shutdown() {
    let server = Server::start(table_view());
    let query = question("www.example.test A");
    assert!(ask_udp(server.address, &query).is_some());
    let address = server.address;
    // A connection that the server closed first lingers; it must not keep the port.
    let mut stream = connect(address);
    server.shut_down();
    assert!(is_closed(&mut stream));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    tidegate_dns::tcp::bind(address).unwrap();
    udp::bind(address, false).unwrap();
}

/// A reload that removes a listener loses no question that came before it.
#[test]
fn what_waits_in_a_udp_socket_at_the_end_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (handler, _) = handler(table_view());
    let asker = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    asker.set_read_timeout(Some(DEADLINE)).unwrap();
    let query = question("www.example.test A");
    runtime.block_on(async {
        let socket = Arc::new(udp::bind("127.0.0.1:0".parse().unwrap(), false).unwrap());
        for _ in 0..3 {
            asker.send_to(&query, socket.local_addr().unwrap()).unwrap();
        }
        socket.readable().await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(true);
        udp::serve(socket, handler, stopped).await;
        drop(stop);
    });
    for _ in 0..3 {
        let mut answer = [0; 512];
        let length = asker.recv(&mut answer).expect("an answer");
        Seen::decode(&query, &answer[..length]);
    }
}

/// The other half of the test below: a server in a process of its own, so that its limit is no other test's.
#[test]
#[ignore = "started by running_out_of_descriptors_degrades_and_never_spins"]
fn server_with_few_descriptors() {
    let server = Server::start_with(table_view(), TcpLimits::new(1000, LONG, LONG));
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 3), maximum }).unwrap();
    println!("\nport {}", server.address.port());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("\nfailed {}", server.counts.drops(DropReason::AcceptFailed));
}

#[test]
fn running_out_of_descriptors_degrades_and_never_spins() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streams::server_with_few_descriptors", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut number = |name: &str| -> u64 {
        lines
            .find_map(|line| line.strip_prefix(name).map(|number| number.trim().parse().unwrap()))
            .expect(name)
    };
    let address = (std::net::Ipv4Addr::LOCALHOST, number("port ") as u16).into();
    let started = Instant::now();
    let connections: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    let query = question("www.example.test A");
    while started.elapsed() < SHORT * 4 {
        assert!(ask_udp(address, &query).is_some(), "UDP needs no new descriptor");
    }
    drop(connections);
    assert!(ask_tcp(address, &query).is_some(), "TCP is back once there are descriptors");
    drop(child.stdin.take());
    let failed = number("failed ");
    // Pauses double from 5 to 500 ms: some eight failures, then two a second. A loop that spins has thousands.
    let most = 12 + 2 * started.elapsed().as_secs();
    assert!((1..=most).contains(&failed), "{failed} failures, at most {most} expected");
    assert!(child.wait().unwrap().success());
}
