//! A server on loopback, questions from one line of text, answers in a form that can be compared and read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use rustls::ServerConfig;
use tidegate_dns::tcp::TcpLimits;
use tidegate_dns::{
    DropReason, Handler, Observer, Protocol, QtypeLabel, Steered, View, Zone, ZoneView, tcp, udp,
};
use tokio::sync::watch;

/// Far above what a healthy answer takes on a busy machine, far below a test runner's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) const ZONES: [(&str, &str); 3] = [
    ("example.test", include_str!("example.test.zone")),
    ("hosted.example.test", include_str!("hosted.example.test.zone")),
    ("other.test", include_str!("other.test.zone")),
];

pub(crate) fn zone(origin: &str, text: &str) -> Arc<Zone> {
    Arc::new(Zone::parse(origin, text, "test.zone").unwrap_or_else(|errors| panic!("{errors}")))
}

/// The zones of [`ZONES`] with the serials of their files.
pub(crate) fn table_view() -> View {
    let view = |(origin, text)| {
        let zone = zone(origin, text);
        let serial = zone.serial();
        ZoneView::build(zone, serial, &[]).unwrap()
    };
    View::new(ZONES.into_iter().map(view).collect())
}

/// example.test with steered names.
pub(crate) fn steered_view(steered: &[Steered]) -> View {
    View::new(vec![ZoneView::build(zone(ZONES[0].0, ZONES[0].1), 42, steered).unwrap()])
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) queries: Mutex<Vec<(Protocol, QtypeLabel, u8)>>,
    pub(crate) dropped: Mutex<Vec<(Protocol, DropReason)>>,
}

impl Counts {
    pub(crate) fn drops(&self, reason: DropReason) -> usize {
        self.dropped.lock().unwrap().iter().filter(|(_, other)| *other == reason).count()
    }
}

impl Observer for Counts {
    fn query(&self, protocol: Protocol, qtype: QtypeLabel, rcode: u8) {
        self.queries.lock().unwrap().push((protocol, qtype, rcode));
    }

    fn dropped(&self, protocol: Protocol, reason: DropReason) {
        self.dropped.lock().unwrap().push((protocol, reason));
    }
}

pub(crate) fn handler(view: View) -> (Arc<Handler>, Arc<Counts>) {
    let (view, counts) = (Arc::new(view), Arc::new(Counts::default()));
    (
        Arc::new(Handler::new(Arc::new(move || Arc::clone(&view)), Arc::clone(&counts) as Arc<dyn Observer>)),
        counts,
    )
}

/// UDP and TCP on one free port of loopback, TLS on another where there is a configuration for it, until dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// DNS over TLS; [`Server::address`] where there is none.
    pub(crate) tls: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(view: View) -> Self {
        Self::start_with(view, TcpLimits::default())
    }

    pub(crate) fn start_with(view: View, limits: TcpLimits) -> Self {
        Self::start_all(view, limits, None)
    }

    pub(crate) fn start_all(view: View, limits: TcpLimits, config: Option<Arc<ServerConfig>>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (handler, counts) = handler(view);
        let (stop, stopped) = watch::channel(false);
        let entered = runtime.enter();
        let (udp, tcp) = bind_both();
        drop(entered);
        let address = tcp.local_addr().unwrap();
        let mut tasks = vec![
            runtime.spawn(udp::serve(Arc::clone(&udp), Arc::clone(&handler), stopped.clone())),
            runtime.spawn(udp::serve(udp, Arc::clone(&handler), stopped.clone())),
            runtime.spawn(tcp::serve(tcp, Arc::clone(&handler), limits.clone(), stopped.clone())),
        ];
        let mut tls = address;
        if let Some(config) = config {
            let entered = runtime.enter();
            let listener = tcp::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            drop(entered);
            tls = listener.local_addr().unwrap();
            tasks.push(runtime.spawn(tcp::serve_tls(
                listener,
                handler,
                Arc::new(move || config.clone()),
                limits,
                stopped,
            )));
        }
        Self { address, tls, counts, stop, runtime: Some(runtime), tasks }
    }

    /// Stops serving and waits for all loops to end.
    pub(crate) fn shut_down(mut self) {
        self.stop.send(true).unwrap();
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(async {
            for task in self.tasks.drain(..) {
                tokio::time::timeout(DEADLINE, task)
                    .await
                    .expect("the loop ends in time")
                    .expect("the loop is well");
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The system picks the TCP port; the same UDP port is nearly always free too.
pub(crate) fn bind_both() -> (Arc<tokio::net::UdpSocket>, tokio::net::TcpListener) {
    for _ in 0..100 {
        let tcp = tcp::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        if let Ok(udp) = udp::bind(tcp.local_addr().unwrap(), true) {
            return (Arc::new(udp), tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A question from text: `name TYPE [edns=SIZE] [version=N] [do] [rd] [cd] [ad] [class=N] [opcode=N] [opts=N]
/// [questions=N] [cut=N] [extra=HEX]`.
pub(crate) fn question(line: &str) -> Vec<u8> {
    let mut words = line.split_whitespace();
    let (name, rtype) = (words.next().unwrap(), words.next().unwrap());
    let (mut flags, mut class, mut questions, mut opts) = (0_u16, 1_u16, 1_u16, 0_u16);
    let (mut size, mut version, mut dnssec_ok, mut cut, mut extra) = (1232_u16, 0_u8, false, 0, Vec::new());
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u16>().unwrap();
        match key {
            "edns" => (size, opts) = (number(), opts.max(1)),
            "version" => version = number() as u8,
            "opts" => opts = number(),
            "do" => dnssec_ok = true,
            "rd" => flags |= 0x0100,
            "cd" => flags |= 0x0010,
            "ad" => flags |= 0x0020,
            "tc" => flags |= 0x0200,
            "aa" => flags |= 0x0400,
            "qr" => flags |= 0x8000,
            "class" => class = number(),
            "opcode" => flags |= number() << 11,
            "questions" => questions = number(),
            "cut" => cut = usize::from(number()),
            "extra" => extra = vec![0; usize::from(number())],
            other => panic!("unknown word {other}"),
        }
    }
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed) as u16;
    let mut bytes = Vec::new();
    for word in [id, flags, questions, 0, 0, opts] {
        bytes.extend(word.to_be_bytes());
    }
    let rtype: u16 = match rtype.strip_prefix("TYPE") {
        Some(number) => number.parse().unwrap(),
        None => rtype.parse::<RecordType>().unwrap().into(),
    };
    for _ in 0..questions {
        bytes.extend(wire_name(name));
        bytes.extend(rtype.to_be_bytes());
        bytes.extend(class.to_be_bytes());
    }
    for _ in 0..opts {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, version, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    bytes.truncate(bytes.len() - cut);
    bytes.extend(extra);
    bytes
}

/// Labels of the text split at dots; `\.` is a dot in a label.
fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.replace("\\.", "\u{1}").split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend(label.bytes().map(|byte| if byte == 1 { b'.' } else { byte }));
    }
    wire.push(0);
    wire
}

pub(crate) fn ask_udp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    ask_udp_for(server, query, DEADLINE)
}

pub(crate) fn ask_udp_for(server: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.send(query).unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&server, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn framed(query: &[u8]) -> Vec<u8> {
    [&(query.len() as u16).to_be_bytes(), query].concat()
}

/// The next message of a stream; `None` at its end.
pub(crate) fn read_framed(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

pub(crate) fn ask_tcp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let mut stream = connect(server);
    stream.write_all(&framed(query)).unwrap();
    read_framed(&mut stream)
}

/// An answer, decoded, its sections as sets.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Seen {
    pub(crate) rcode: String,
    pub(crate) flags: String,
    /// The question section's bytes.
    pub(crate) question: Vec<u8>,
    pub(crate) answer: BTreeSet<String>,
    pub(crate) authority: BTreeSet<String>,
    pub(crate) additional: BTreeSet<String>,
    pub(crate) opt: Option<String>,
}

impl Seen {
    /// Decodes an answer and checks that it is to `query`.
    pub(crate) fn decode(query: &[u8], answer: &[u8]) -> Self {
        let message = Message::from_vec(answer).unwrap_or_else(|error| panic!("{error}: {answer:02x?}"));
        assert_eq!(answer[..2], query[..2], "the id is not echoed");
        assert_ne!(answer[2] & 0x80, 0, "QR is not set");
        let mut flags = String::new();
        let high = u16::from_be_bytes([answer[2], answer[3]]);
        for (bit, name) in [(10, "aa"), (9, "tc"), (8, "rd"), (7, "ra"), (6, "z"), (5, "ad"), (4, "cd")] {
            if high >> bit & 1 == 1 {
                flags.push_str(name);
                flags.push(' ');
            }
        }
        match high >> 11 & 15 {
            0 => {}
            opcode => write!(flags, "opcode{opcode} ").unwrap(),
        }
        let opt = message.edns.as_ref().map(|edns| {
            let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
            format!("version {} size {}{dnssec}", edns.version(), edns.max_payload())
        });
        Self {
            rcode: rcode(message.metadata.response_code),
            flags: flags.trim_end().to_owned(),
            question: question_bytes(answer),
            answer: texts(&message.answers),
            authority: texts(&message.authorities),
            additional: texts(&message.additionals),
            opt,
        }
    }

    /// For people and snapshots.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("  {}\n", format!("{} {}", self.rcode, self.flags).trim_end());
        if self.question.is_empty() {
            text.push_str("  (the question is not echoed)\n");
        }
        for (name, section) in
            [("answer", &self.answer), ("authority", &self.authority), ("additional", &self.additional)]
        {
            for record in section {
                writeln!(text, "  {name}: {record}").unwrap();
            }
        }
        if let Some(opt) = &self.opt {
            writeln!(text, "  opt: {opt}").unwrap();
        }
        text
    }
}

fn rcode(code: ResponseCode) -> String {
    match u16::from(code) {
        0 => "NOERROR".into(),
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        16 => "BADVERS".into(),
        other => format!("RCODE{other}"),
    }
}

fn question_bytes(answer: &[u8]) -> Vec<u8> {
    if answer[4..6] == [0, 0] {
        return Vec::new();
    }
    let name = answer[12..].iter().scan(0_usize, |left, byte| {
        // Counts down a label, then takes the next length; ends at the root.
        if *left > 0 {
            *left -= 1;
            return Some(());
        }
        *left = usize::from(*byte);
        (*byte != 0).then_some(())
    });
    let length = name.count() + 1;
    answer[12..12 + length + 4].to_vec()
}

/// Names in lower case: compression may give a name the case of its first appearance.
fn texts(records: &[Record]) -> BTreeSet<String> {
    let text = |record: &Record| {
        let data = record.data.to_string();
        let is_name = matches!(
            record.record_type(),
            RecordType::NS
                | RecordType::CNAME
                | RecordType::SOA
                | RecordType::MX
                | RecordType::SRV
                | RecordType::PTR
        );
        let data = if is_name { data.to_lowercase() } else { data };
        format!("{} {} {} {data}", record.name.to_lowercase(), record.ttl, record.record_type())
    };
    records.iter().map(text).collect()
}
