//! The demo's client: it asks at a steady rate, whatever the answers, and writes down what it sees.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::stage::{FRONT_DOORS, HOST};

/// From one question to the next, of each kind.
const PACE: Duration = Duration::from_millis(10);
/// An answer that takes longer is a failure.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Questions of one kind without an answer; beyond it the client skips turns and says so by its silence.
const OPEN_MAX: usize = 512;
/// Largest answer that is read.
const ANSWER_MAX: usize = 16 * 1024;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Http,
    Dns,
}

/// One question and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) asked: Asked,
    pub(super) at: Instant,
    pub(super) took: Duration,
    /// The site that answered, or that DNS named; none for a failure.
    pub(super) site: Option<String>,
    /// The answer came from another site than the active one, ahead of the switch.
    pub(super) spilled: bool,
}

/// The running client. Dropping it ends it.
pub(super) struct Visitor {
    log: Arc<Mutex<Vec<Entry>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Visitor {
    pub(super) fn start(http: SocketAddr, dns: SocketAddr) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let tasks = [
            tokio::spawn(ask_steadily(Asked::Http, http, log.clone())),
            tokio::spawn(ask_steadily(Asked::Dns, dns, log.clone())),
        ];
        Self { log, tasks }
    }

    /// What was asked at `since` or later and has been answered, or has failed.
    pub(super) fn log_since(&self, since: Instant) -> Vec<Entry> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|entry| entry.at >= since).cloned().collect()
    }

    /// Waits until both HTTP and DNS have named `site` in questions asked after `since`.
    pub(super) async fn wait_settled(&self, site: &str, since: Instant, deadline: Instant) -> bool {
        loop {
            let log = self.log_since(since);
            let seen = |asked| {
                log.iter().any(|entry| {
                    entry.asked == asked && entry.site.as_deref() == Some(site) && !entry.spilled
                })
            };
            if seen(Asked::Http) && seen(Asked::Dns) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn ask_steadily(asked: Asked, server: SocketAddr, log: Arc<Mutex<Vec<Entry>>>) {
    let open = Arc::new(tokio::sync::Semaphore::new(OPEN_MAX));
    let mut turns = tokio::time::interval(PACE);
    loop {
        turns.tick().await;
        let Ok(permit) = open.clone().try_acquire_owned() else { continue };
        let log = log.clone();
        tokio::spawn(async move {
            let at = Instant::now();
            let answer = tokio::time::timeout(TIMEOUT, async {
                match asked {
                    Asked::Http => http(server).await,
                    Asked::Dns => dns(server).await.map(|site| (site, false)),
                }
            });
            let (site, spilled) =
                answer.await.ok().flatten().map_or((None, false), |(site, spilled)| (Some(site), spilled));
            let entry = Entry { asked, at, took: at.elapsed(), site, spilled };
            log.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            drop(permit);
        });
    }
}

/// One GET on a new connection; the site's name is the body.
async fn http(server: SocketAddr) -> Option<(String, bool)> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX as u64).read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let spilled = head.to_ascii_lowercase().contains("\r\nx-tidegate-spilled:");
    head.starts_with("HTTP/1.1 200 ").then(|| (body.trim().to_owned(), spilled))
}

/// One A question; the site is the one whose front door is answered.
async fn dns(server: SocketAddr) -> Option<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
    socket.connect(server).await.ok()?;
    let mut question = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_str(HOST).ok()?, RecordType::A));
    socket.send(&question.to_vec().ok()?).await.ok()?;
    let mut buffer = [0; 1232];
    let length = socket.recv(&mut buffer).await.ok()?;
    let answer = Message::from_vec(&buffer[..length]).ok()?;
    let door = answer.answers.iter().find_map(|record| match record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    })?;
    FRONT_DOORS.iter().find(|(_, address)| *address == door.to_string()).map(|(site, _)| (*site).to_owned())
}
