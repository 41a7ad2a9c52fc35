//! Origins of the tests' own, that count what they see and answer what they are told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_health::id::OriginId;
use tidegate_probe::command::Slots;
use tidegate_probe::{HttpCheck, Kind, Outcome, ProbeSpec, Prober, StatusSet, Timing, Trust, Verdict};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far beyond what anything here takes: reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server on loopback.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What an origin saw. Each count is announced.
#[derive(Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    open: AtomicUsize,
    changed: watch::Sender<()>,
}

impl Seen {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn request(&self) -> usize {
        let before = self.requests.fetch_add(1, Ordering::SeqCst);
        self.changed.send_replace(());
        before
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        let so = async {
            while !what(self) {
                changes.changed().await.unwrap();
            }
        };
        timeout(DEADLINE, so).await.expect("the origin never saw it");
    }
}

impl Origin {
    /// Does as it likes with every connection; a connection is open until its future ends.
    pub(crate) async fn raw<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<Seen>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counts = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                counts.connections.fetch_add(1, Ordering::SeqCst);
                counts.open.fetch_add(1, Ordering::SeqCst);
                counts.changed.send_replace(());
                let (served, counts) = (serve(stream, counts.clone()), counts.clone());
                tokio::spawn(async move {
                    served.await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                    counts.changed.send_replace(());
                });
            }
        });
        Self { addr, seen, task }
    }

    /// Answers every request with the same text and keeps the connection.
    pub(crate) async fn answering(text: impl Into<Vec<u8>>) -> Self {
        let text: Arc<[u8]> = text.into().into();
        Self::raw(move |mut stream, seen| {
            let text = text.clone();
            async move {
                while let Some(_head) = head(&mut stream).await {
                    seen.request();
                    if stream.write_all(&text).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers the first request of a connection, then closes.
    pub(crate) async fn closing(text: impl Into<Vec<u8>>) -> Self {
        let text: Arc<[u8]> = text.into().into();
        Self::raw(move |mut stream, seen| {
            let text = text.clone();
            async move {
                if head(&mut stream).await.is_some() {
                    seen.request();
                    let _ = stream.write_all(&text).await;
                }
            }
        })
        .await
    }

    /// Answers a request and then sends the same bytes for as long as it can; says how many went out.
    pub(crate) async fn flooding(start: &'static str, more: &'static str) -> (Self, Arc<AtomicUsize>) {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let origin = Self::raw(move |mut stream, seen| {
            let count = count.clone();
            async move {
                if head(&mut stream).await.is_none() {
                    return;
                }
                seen.request();
                let mut next = start.as_bytes();
                while stream.write_all(next).await.is_ok() {
                    count.fetch_add(next.len(), Ordering::SeqCst);
                    next = more.as_bytes();
                }
            }
        })
        .await;
        (origin, sent)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads up to the end of a request's head; nothing if the connection ends before.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Serves one answer over any stream, again and again.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Seen>, text: &str) {
    while let Some(_head) = head(&mut stream).await {
        seen.request();
        let answered = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        if answered.await.is_err() {
            return;
        }
    }
}

/// A port that refuses, and stays ours for as long as the socket lives.
pub(crate) fn refusing() -> (SocketAddr, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

pub(crate) fn timing(interval: Duration, fast_interval: Duration) -> Timing {
    Timing { interval, fast_interval, timeout: DEADLINE }
}

pub(crate) fn get(path: &str) -> HttpCheck {
    HttpCheck::new(path, "app.example.com", StatusSet::success()).unwrap()
}

pub(crate) fn spec(origin: u32, addr: SocketAddr, kind: Kind, timing: Timing) -> ProbeSpec {
    ProbeSpec::new(OriginId(origin), addr, kind, timing).unwrap()
}

/// A check on its own, with a timeout that plays no part.
pub(crate) fn prober(addr: SocketAddr, kind: Kind) -> Prober {
    Prober::new(&spec(0, addr, kind, timing(HOUR, HOUR)), &Trust::default(), &Slots::new(1))
}

/// One probe of an origin that will not say any more once it has seen `what`: from then on time is virtual and
/// jumps to the timeout, so that no stall of the machine can change the result.
pub(crate) async fn wait_out(
    origin: &Origin,
    kind: Kind,
    limit: Duration,
    what: impl Fn(&Seen) -> bool,
) -> Verdict {
    let timing = Timing { interval: HOUR, fast_interval: HOUR, timeout: limit };
    let mut prober = Prober::new(&spec(0, origin.addr, kind, timing), &Trust::default(), &Slots::new(1));
    let pause = async {
        origin.seen.until(what).await;
        tokio::time::pause();
    };
    let (verdict, ()) = tokio::join!(prober.probe(), pause);
    tokio::time::resume();
    verdict
}

/// One probe of an HTTP check.
pub(crate) async fn ask(origin: &Origin, check: HttpCheck) -> Outcome {
    timeout(DEADLINE, prober(origin.addr, Kind::Http(check)).probe()).await.unwrap().outcome
}
