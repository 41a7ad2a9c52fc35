//! An origin that records what reaches it and reads it as strictly as RFC 9112 can be read: whatever could be
//! understood in two ways is noted as odd, and fails the test that caused it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::text;

/// One whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The request line, then the fields in alphabetical order, their names in lower case.
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What came, except health checks.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Heads that were whole, whatever became of the body.
    pub(crate) begun: usize,
    pub(crate) requests: Vec<Request>,
    /// Bytes that are no request, and connections that ended behind a request and before the next.
    pub(crate) odd: Vec<String>,
    /// Requests whose connection ended before they did: nothing that an origin would act on.
    pub(crate) cut: Vec<String>,
}

pub(crate) struct Recorder {
    pub(crate) addr: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    /// Answers every request with 200, `/early` before it has read the body, `/large` with 16 MiB.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let record = Arc::new(Mutex::new(Record::default()));
        let shared = Arc::clone(&record);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A head and its body are two writes.
                let _ = stream.set_nodelay(true);
                tokio::spawn(listen(stream, Arc::clone(&shared)));
            }
        });
        Self { addr, record }
    }

    /// Looks at what has come so far.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Record) -> T) -> T {
        at(&self.record.lock().expect("no test panics with it"))
    }

    /// All that has come since the last time this was asked.
    pub(crate) fn take(&self) -> Record {
        std::mem::take(&mut *self.record.lock().expect("no test panics with it"))
    }
}

async fn listen(mut stream: TcpStream, record: Arc<Mutex<Record>>) {
    let note = |note: &dyn Fn(&mut Record)| note(&mut record.lock().expect("no test panics with it"));
    let mut read = Vec::new();
    let mut counted = false;
    let mut answered = false;
    loop {
        let (head, body_at) = match head(&read) {
            Ok(Some(head)) => head,
            Ok(None) => match stream.read_buf(&mut read).await {
                Ok(more) if more > 0 => continue,
                _ if read.is_empty() => return,
                _ => return note(&|record| record.cut.push(text(&read))),
            },
            Err(why) => return note(&|record| record.odd.push(format!("{why}: {}", text(&read)))),
        };
        let is_check = head[0].starts_with("GET /health ");
        if !std::mem::replace(&mut counted, true) && !is_check {
            note(&|record| record.begun += 1);
        }
        if head[0].contains(" /early")
            && !std::mem::replace(&mut answered, true)
            && !answer(&mut stream, &head).await
        {
            return;
        }
        match body(&head, &read[body_at..]) {
            Ok(Some((body, length))) => {
                read.drain(..body_at + length);
                let request = Request { head: head.clone(), body };
                if !is_check {
                    note(&|record| record.requests.push(request.clone()));
                }
                if !answered && !answer(&mut stream, &head).await {
                    return;
                }
                (counted, answered) = (false, false);
            }
            Ok(None) => match stream.read_buf(&mut read).await {
                Ok(more) if more > 0 => {}
                _ => return note(&|record| record.cut.push(text(&read))),
            },
            Err(why) => return note(&|record| record.odd.push(format!("{why}: {}", text(&read)))),
        }
    }
}

async fn answer(stream: &mut TcpStream, head: &[String]) -> bool {
    let times = if head[0].contains(" /large ") { 16 << 20 >> 3 } else { 1 };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 * times);
    let mut sent = stream.write_all(answer.as_bytes()).await.is_ok();
    if head[0].starts_with("HEAD ") {
        return sent;
    }
    let piece = "recorded".repeat(times.min(4096));
    for _ in 0..times / (piece.len() / 8) {
        sent = sent && stream.write_all(piece.as_bytes()).await.is_ok();
    }
    sent
}

type Head = (Vec<String>, usize);

/// The lines of a head and where the body begins, once it is whole.
fn head(read: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&read[..end]).map_err(|_| "not ASCII")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let parts: Vec<_> = first.split(' ').collect();
    if parts.len() != 3 || parts[2] != "HTTP/1.1" || !parts[1].starts_with(['/', '*']) || !is_token(parts[0])
    {
        return Err("not a request line");
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        if !is_token(name) || value.chars().any(|c| c != '\t' && !(' '..='~').contains(&c)) {
            return Err("not a field");
        }
        fields.push(format!("{}: {value}", name.to_ascii_lowercase()));
    }
    let count = |name: &str| fields.iter().filter(|field| field.starts_with(name)).count();
    if count("host: ") != 1 || count("content-length: ") + count("transfer-encoding: ") > 1 {
        return Err("two ways to read it");
    }
    fields.sort();
    fields.insert(0, first);
    Ok(Some((fields, end + 4)))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The body and how many bytes it takes, once it is whole.
fn body(head: &[String], read: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let value = |name: &str| head.iter().find_map(|field| field.strip_prefix(name));
    if let Some(length) = value("content-length: ") {
        if !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err("not a length");
        }
        let length: usize = length.parse().map_err(|_| "not a length")?;
        return Ok(read.get(..length).map(|body| (body.to_vec(), length)));
    }
    match value("transfer-encoding: ") {
        None => Ok(Some((Vec::new(), 0))),
        Some("chunked") => chunks(read),
        Some(_) => Err("an unknown coding"),
    }
}

/// Chunks without extensions and trailers, neither of which is passed on.
fn chunks(read: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = read[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&read[at..at + line]).map_err(|_| "not a size")?;
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("not a size");
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "not a size")?;
        at += line + 2;
        let Some(data) = read.get(at..at.saturating_add(size).saturating_add(2)) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("no end of a chunk");
        }
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&data[..size]);
    }
}
