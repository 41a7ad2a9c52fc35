//! An origin in the test's own process, for what the other one cannot do: it changes to another protocol, and answers
//! as slowly as it is told.
//!
//! - `/health`: well; counted
//! - `/ws`: 101, and then echoes
//! - `/slow`: one byte for every [`Talker::feed`], ten in all
//! - anything else: its name

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(crate) struct Talker {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    checks: AtomicUsize,
    others: AtomicUsize,
    connections: AtomicUsize,
    bytes: Semaphore,
}

impl Talker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(State {
            checks: AtomicUsize::new(0),
            others: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            bytes: Semaphore::new(0),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    // A client that goes ends its connection, and nothing else.
                    let _ = talk(stream, &state).await;
                });
            }
        });
        Self { addr, state }
    }

    /// Checks answered so far.
    pub(crate) fn checks(&self) -> usize {
        self.state.checks.load(Ordering::SeqCst)
    }

    /// Requests answered that were no checks.
    pub(crate) fn others(&self) -> usize {
        self.state.others.load(Ordering::SeqCst)
    }

    /// Connections that carried anything but checks.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Lets `/slow` send this many more bytes.
    pub(crate) fn feed(&self, bytes: usize) {
        self.state.bytes.add_permits(bytes);
    }
}

async fn talk(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let (mut read, mut is_counted) = (Vec::new(), false);
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end);
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path != "/health" {
            state.others.fetch_add(1, Ordering::SeqCst);
            state.connections.fetch_add(usize::from(!is_counted), Ordering::SeqCst);
            is_counted = true;
        }
        match path {
            "/health" => {
                state.checks.fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").await?;
            }
            "/ws" => {
                let head =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(head).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                return Ok(());
            }
            "/slow" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await?;
                for _ in 0..10 {
                    state.bytes.acquire().await.map_err(std::io::Error::other)?.forget();
                    stream.write_all(b"x").await?;
                }
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntalker").await?,
        }
    }
}
