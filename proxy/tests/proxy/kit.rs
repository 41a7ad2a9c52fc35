//! Raw origins that record every byte, an edge with a view that can be swapped, and a raw client.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_proxy::{
    BudgetPolicy, ClientAddress, EjectionPolicy, Finished, Front, HandshakeFault, Limits, Observer,
    OriginView, Phase, RefusedFor, RetryBudget, RetryReason, ServiceSettings, ServiceView, Shared, Signal,
    Signals, SiteView, Spill, Target, View, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Everything a test waits for comes within this time.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

/// Waits until something observable from outside has happened.
pub(crate) async fn until(mut happened: impl FnMut() -> bool) {
    within(async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// What an origin got.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) connections: AtomicUsize,
    pub(crate) heads: Mutex<Vec<String>>,
    pub(crate) bodies: Mutex<Vec<Vec<u8>>>,
    pub(crate) bytes: AtomicUsize,
}

impl Log {
    pub(crate) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub(crate) fn head(&self, n: usize) -> String {
        self.heads.lock().unwrap()[n].clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A raw origin on loopback.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    pub(crate) log: Arc<Log>,
    accepting: JoinHandle<()>,
}

impl Origin {
    /// One talk per connection.
    pub(crate) async fn raw(talk: impl Fn(TcpStream, Arc<Log>) -> Talk + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, which closes every connection: the whole origin can be killed at once.
            let mut talks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                talks.spawn(talk(stream, Arc::clone(&shared)));
                while talks.try_join_next().is_some() {}
            }
        });
        Self { addr, log, accepting }
    }

    /// Answers every well-formed request with what `reply` says.
    pub(crate) async fn replying(reply: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::raw(move |mut stream, log| {
            let reply = Arc::clone(&reply);
            Box::pin(async move {
                let mut buf = Vec::new();
                while let Some(head) = read_head(&mut stream, &mut buf).await {
                    log.heads.lock().unwrap().push(head.clone());
                    let Some(body) = read_body(&mut stream, &mut buf, &head).await else { return };
                    let answer = reply(&head, &body);
                    log.bytes.fetch_add(body.len(), Ordering::SeqCst);
                    log.bodies.lock().unwrap().push(body);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            })
        })
        .await
    }

    /// Answers 200 with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::replying(move |_, _| ok(name)).await
    }

    /// Closes its listener and every connection at once.
    pub(crate) async fn kill(self) -> Arc<Log> {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.log
    }
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An address where nothing listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(crate) async fn read_head(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = buf.drain(..end + 4).collect();
            return Some(String::from_utf8(head).unwrap());
        }
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
}

/// The value of a field, lower case names.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub(crate) async fn read_body(stream: &mut TcpStream, buf: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
    if field(head, "transfer-encoding").is_some() {
        return read_chunks(stream, buf).await;
    }
    let length = field(head, "content-length").map_or(0, |length| length.parse().unwrap());
    while buf.len() < length {
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
    Some(buf.drain(..length).collect())
}

async fn read_chunks(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = buf.windows(2).position(|w| w == b"\r\n") {
                break buf.drain(..end + 2).collect::<Vec<u8>>();
            }
            if stream.read_buf(buf).await.ok()? == 0 {
                return None;
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        while buf.len() < size + 2 {
            if stream.read_buf(buf).await.ok()? == 0 {
                return None;
            }
        }
        body.extend(buf.drain(..size));
        assert_eq!(buf.drain(..2).collect::<Vec<u8>>(), b"\r\n");
        if size == 0 {
            return Some(body);
        }
    }
}

/// A client that says exactly what it is told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buf: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn reason(&self) -> (u16, &str) {
        (self.status, self.field("x-tidegate-reason").unwrap_or(""))
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buf: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// The next answer to a request that was not HEAD; `None` when the connection ends first.
    pub(crate) async fn response(&mut self) -> Option<Response> {
        within(async {
            let head = read_head(&mut self.stream, &mut self.buf).await?;
            let status: u16 = head[9..12].parse().unwrap();
            let empty = status < 200 || status == 204 || status == 304;
            let framed = field(&head, "content-length").or(field(&head, "transfer-encoding")).is_some();
            let body = if empty {
                Vec::new()
            } else if framed {
                read_body(&mut self.stream, &mut self.buf, &head).await?
            } else {
                self.stream.read_to_end(&mut self.buf).await.ok()?;
                std::mem::take(&mut self.buf)
            };
            Some(Response { status, head, body })
        })
        .await
    }

    /// A head alone, as HEAD is answered.
    pub(crate) async fn head(&mut self) -> Option<String> {
        within(read_head(&mut self.stream, &mut self.buf)).await
    }

    pub(crate) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes).await;
        self.response().await.expect("an answer")
    }

    /// Whether the proxy closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buf.is_empty() && matches!(within(self.stream.read(&mut [0; 64])).await, Ok(0) | Err(_))
    }

    pub(crate) async fn read_exact(&mut self, n: usize) -> Vec<u8> {
        within(async {
            while self.buf.len() < n {
                assert_ne!(self.stream.read_buf(&mut self.buf).await.unwrap(), 0, "closed");
            }
        })
        .await;
        self.buf.drain(..n).collect()
    }
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

pub(crate) fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What the proxy told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) signals: Mutex<Vec<Signal>>,
    pub(crate) requests: Mutex<Vec<(String, u16, bool)>>,
    pub(crate) retries: Mutex<HashMap<&'static str, usize>>,
    pub(crate) spills: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) tunnels: AtomicUsize,
    pub(crate) pauses: AtomicUsize,
    pub(crate) refused: Mutex<Vec<RefusedFor>>,
    pub(crate) handshakes: Mutex<Vec<HandshakeFault>>,
}

impl Signals for Told {
    fn signal(&self, signal: Signal) {
        self.signals.lock().unwrap().push(signal);
    }
}

impl Observer for Told {
    fn request(&self, finished: &Finished<'_>) {
        self.requests.lock().unwrap().push((finished.site.to_owned(), finished.code, finished.spilled));
    }

    fn retry(&self, _service: &str, reason: RetryReason) {
        *self.retries.lock().unwrap().entry(reason.as_str()).or_default() += 1;
    }

    fn spill(&self, _service: &str, _from: &str, _to: &str) {
        self.spills.fetch_add(1, Ordering::SeqCst);
    }

    fn connection_opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn connection_closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn connection_refused(&self, reason: RefusedFor) {
        self.refused.lock().unwrap().push(reason);
    }

    fn handshake_failed(&self, fault: HandshakeFault) {
        self.handshakes.lock().unwrap().push(fault);
    }

    fn accept_paused(&self) {
        self.pauses.fetch_add(1, Ordering::SeqCst);
    }

    fn tunnel_opened(&self, _service: &str, _site: &str) {
        self.tunnels.fetch_add(1, Ordering::SeqCst);
    }

    fn tunnel_closed(&self, _service: &str, _site: &str) {
        self.tunnels.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn target(addr: SocketAddr) -> Arc<Target> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    Target::new(format!("o{number}").into(), addr, None, EjectionPolicy::default()).unwrap()
}

pub(crate) fn site(name: &str, targets: &[&Arc<Target>]) -> SiteView {
    let origin = |t: &&Arc<Target>| OriginView { target: Arc::clone(t), up: true, forced_down: false };
    SiteView { site: name.into(), origins: targets.iter().map(origin).collect(), slow_start: Duration::ZERO }
}

/// A service for `app.test`, active at `main` with these origins.
pub(crate) fn service(addrs: &[SocketAddr]) -> ServiceView {
    let targets: Vec<_> = addrs.iter().map(|&addr| target(addr)).collect();
    ServiceView {
        name: "web".into(),
        group: "app".into(),
        hosts: vec!["app.test".into()],
        epoch: 1,
        active: Some(site("main", &targets.iter().collect::<Vec<_>>())),
        spill: Spill::Never,
        spill_sites: Vec::new(),
        settings: ServiceSettings::default(),
        budget: Arc::new(RetryBudget::new(BudgetPolicy::default())),
    }
}

/// A running proxy.
pub(crate) struct Edge {
    pub(crate) addr: SocketAddr,
    pub(crate) told: Arc<Told>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) shared: Arc<Shared>,
    view: Arc<ArcSwap<View>>,
}

impl Edge {
    pub(crate) async fn new(service: ServiceView) -> Self {
        Self::with(service, Limits::default()).await
    }

    pub(crate) async fn with(service: ServiceView, limits: Limits) -> Self {
        Self::fronted(service, limits, ClientAddress::default(), Front::plain()).await
    }

    pub(crate) async fn fronted(
        service: ServiceView,
        limits: Limits,
        addresses: ClientAddress,
        front: Front,
    ) -> Self {
        let view = Arc::new(ArcSwap::from_pointee(View::build(1, vec![service])));
        let told = Arc::new(Told::default());
        let views = Arc::clone(&view);
        let shared = Shared::new(
            Arc::new(move || views.load_full()),
            Arc::clone(&told) as _,
            Arc::clone(&told) as _,
            limits,
            addresses,
        );
        let listener = tidegate_proxy::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (phase, watched) = watch::channel(Phase::Running);
        let serving = tokio::spawn(serve(listener, front, Arc::clone(&shared), watched));
        Self { addr, told, phase, serving, shared, view }
    }

    pub(crate) fn publish(&self, service: ServiceView) {
        self.view.store(Arc::new(View::build(2, vec![service])));
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    pub(crate) async fn ask(&self, bytes: impl AsRef<[u8]>) -> Response {
        self.client().await.ask(bytes).await
    }

    pub(crate) fn codes(&self) -> Vec<u16> {
        self.told.requests.lock().unwrap().iter().map(|(_, code, _)| *code).collect()
    }
}
