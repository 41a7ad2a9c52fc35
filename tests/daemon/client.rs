//! A client that only sees sockets: one-off exchanges, and a steady load with a log of what it saw.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::scene::{HOST, Scene};

/// A client waits this long for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub(crate) fn request(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// One request and its answer, which must have a Content-Length.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("not an answer: {head}")))?;
        let mut answer = Answer { code, head, body: String::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.read.len() < end + length {
            self.fill().await?;
        }
        answer.body = String::from_utf8_lossy(&self.read[end..end + length]).into_owned();
        self.read.drain(..end + length);
        Ok(answer)
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = tokio::time::timeout(TIMEOUT, self.stream.read_buf(&mut self.read)).await;
        match read.map_err(|_| io::Error::other("no answer in time"))?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn exchange(server: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    Connection::open(server).await?.exchange(request).await
}

/// The addresses and the code of one A question over UDP.
pub(crate) async fn resolve(server: SocketAddr, name: &str) -> io::Result<(ResponseCode, Vec<String>)> {
    let answer = ask(server, name, RecordType::A).await?;
    let addresses = answer.answers.iter().filter_map(|record| match record.data {
        RData::A(address) => Some(address.0.to_string()),
        _ => None,
    });
    Ok((answer.metadata.response_code, addresses.collect()))
}

/// The serial that the zone is served with.
pub(crate) async fn soa_serial(server: SocketAddr, zone: &str) -> io::Result<u32> {
    let answer = ask(server, zone, RecordType::SOA).await?;
    let serial = answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    });
    serial.ok_or_else(|| io::Error::other("no SOA in the answer"))
}

/// One question over UDP.
pub(crate) async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    let mut question = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_str(name).map_err(io::Error::other)?, kind));
    let question = question.to_vec().map_err(io::Error::other)?;
    let mut buffer = [0; 1232];
    // UDP may lose a packet even here; resolvers ask again, too.
    for _ in 0..5 {
        socket.send(&question).await?;
        if let Ok(length) = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await {
            return Message::from_vec(&buffer[..length?]).map_err(io::Error::other);
        }
    }
    Err(io::Error::other("no answer over UDP"))
}

/// One request of a load, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) began: Instant,
    pub(crate) result: Result<Answer, String>,
}

impl Entry {
    pub(crate) fn is_ok(&self) -> bool {
        self.result.as_ref().is_ok_and(|answer| answer.code == 200)
    }

    /// The origin that answered: its name.
    pub(crate) fn by(&self) -> &str {
        self.result.as_ref().map_or("", |answer| &answer.body)
    }
}

/// A closed loop of several kept-alive clients. Ends when [`Load::end`] is called.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    log: Arc<Mutex<Vec<Entry>>>,
    clients: JoinSet<()>,
}

impl Load {
    /// `clients` of them, each with `methods` in turn, a short pause between two requests.
    pub(crate) fn start(server: SocketAddr, clients: usize, methods: &'static [&'static str]) -> Self {
        let mut load = Self {
            stop: Arc::new(AtomicBool::new(false)),
            done: Arc::new(AtomicU64::new(0)),
            log: Arc::new(Mutex::new(Vec::new())),
            clients: JoinSet::new(),
        };
        for client in 0..clients {
            let (stop, done, log) = (load.stop.clone(), load.done.clone(), load.log.clone());
            load.clients.spawn(async move {
                let mut connection = None;
                for turn in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let method = methods[turn % methods.len()];
                    let entry = one(server, &mut connection, format!("c{client}-{turn}"), method).await;
                    log.lock().expect("no client panics with the log").push(entry);
                    done.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        load
    }

    /// Waits until `count` more requests have ended.
    pub(crate) async fn more(&self, scene: &Scene, count: u64) {
        let target = self.done.load(Ordering::SeqCst) + count;
        scene.eventually("the load goes on", async || self.done.load(Ordering::SeqCst) >= target).await;
    }

    /// Stops asking, waits for what is under way, and returns the log in order of begin.
    pub(crate) async fn end(mut self) -> Vec<Entry> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.expect("no client panics");
        }
        let mut log = std::mem::take(&mut *self.log.lock().expect("no client panics with the log"));
        log.sort_by_key(|entry| entry.began);
        log
    }
}

async fn one(server: SocketAddr, kept: &mut Option<Connection>, id: String, method: &'static str) -> Entry {
    let body: &[u8] = if method == "POST" { b"one order, please" } else { b"" };
    let request = request(method, HOST, "/", &[("X-Id", &id)], body);
    let began = Instant::now();
    let result = async {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(server).await?,
        };
        let answer = connection.exchange(&request).await?;
        if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            *kept = Some(connection);
        }
        io::Result::Ok(answer)
    };
    let result = result.await.map_err(|error| error.to_string());
    Entry { id, method, began, result }
}
