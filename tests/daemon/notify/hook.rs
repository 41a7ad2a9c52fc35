//! Somebody who is called: over HTTP or HTTPS, answering as a script says, and writing down every call.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::scene::text;

/// One whole request, and what it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) answered: u16,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body is JSON")
    }
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    /// Not at all; the connection stays open.
    Silence,
}

#[derive(Default)]
struct Shared {
    calls: Vec<Call>,
    next: VecDeque<Reply>,
    default: Option<Reply>,
}

#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Hook {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    pub(crate) async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::listen(Some(acceptor)).await
    }

    async fn listen(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let hook = Self { addr, shared };
        let served = hook.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hook, acceptor) = (served.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => hook.serve(stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                hook.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        hook
    }

    /// What the next calls are answered, in this order; those after them as before.
    pub(crate) fn script(&self, replies: &[Reply]) {
        self.shared.lock().expect("no test panics with it").next.extend(replies);
    }

    /// What calls are answered of which no script speaks.
    pub(crate) fn otherwise(&self, reply: Reply) {
        self.shared.lock().expect("no test panics with it").default = Some(reply);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.lock().expect("no test panics with it").calls.clone()
    }

    /// The texts that were taken, in the order in which they came.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.calls().iter().filter(|call| call.answered == 200).map(Call::json).collect()
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut read = Vec::new();
        let (line, headers, at) = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = text(&read[..at]);
                let mut lines = head.split("\r\n").map(str::to_owned);
                let line = lines.next().expect("a request line");
                let headers = lines.filter_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    Some((name.to_ascii_lowercase(), value.to_owned()))
                });
                break (line, headers.collect::<BTreeMap<_, _>>(), at + 4);
            }
            if stream.read_buf(&mut read).await.is_ok_and(|more| more > 0) {
                continue;
            }
            return;
        };
        let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while read.len() < at + length {
            if !stream.read_buf(&mut read).await.is_ok_and(|more| more > 0) {
                return;
            }
        }
        let reply = {
            let mut shared = self.shared.lock().expect("no test panics with it");
            let reply = shared.next.pop_front().or(shared.default).unwrap_or(Reply::Status(200));
            let answered = if let Reply::Status(status) = reply { status } else { 0 };
            shared.calls.push(Call { line, headers, body: text(&read[at..at + length]), answered });
            reply
        };
        match reply {
            Reply::Status(status) => {
                let answer =
                    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}
