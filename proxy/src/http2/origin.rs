//! HTTP/2 connections to one origin.
//!
//! Many requests share a connection, up to a bound of ours and the origin's own; then there is another connection. As in
//! the pool of HTTP/1.1, each belongs to the epoch it was made under: an older one takes no new requests and ends with
//! those it has. One that failed, was silent, or said GOAWAY is retired in the same way. The kernel notices peers that
//! are gone (keep-alive); an end that has arrived is asked for before a request is put on a resting connection.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::clock::now_ms;
use crate::forward::Fault;
use crate::stream::Wire;

/// Requests at once on one connection, whatever the origin allows.
const STREAMS_MAX: usize = 100;

/// Connections of one epoch to one origin.
const CONNECTIONS_MAX: usize = 64;

/// What an origin may send ahead of the clients. All streams together fit into the connection's window, so that clients
/// that read slowly do not hold up the others.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;
const SEND_BUFFER: usize = 64 * 1024;
const HEADER_LIST_MAX: u32 = 64 * 1024;

/// When the kernel begins to ask whether a silent peer is still there, and how often before it gives up.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// One connection.
#[derive(Debug)]
struct Line {
    epoch: u64,
    sender: SendRequest<Bytes>,
    /// A second handle of the socket, to ask the kernel about it.
    socket: Option<OwnedFd>,
    active: AtomicUsize,
    used: AtomicBool,
    retired: AtomicBool,
    rests_since_ms: AtomicU64,
}

impl Line {
    fn has_room(&self) -> bool {
        let room = self.sender.current_max_send_streams().min(STREAMS_MAX);
        self.active.load(Ordering::Relaxed) < room
    }

    /// Whether the origin has ended it, although the runtime may not have heard of it yet.
    fn has_ended(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// A place for one request on a connection.
#[derive(Debug)]
pub(crate) struct Lease {
    line: Arc<Line>,
    used: bool,
}

impl Lease {
    fn of(line: &Arc<Line>) -> Self {
        line.active.fetch_add(1, Ordering::Relaxed);
        Self { line: Arc::clone(line), used: line.used.swap(true, Ordering::Relaxed) }
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.line.sender.clone()
    }

    /// The connection takes no further requests.
    pub(super) fn retire(&self) {
        self.line.retired.store(true, Ordering::Relaxed);
    }

    /// Whether the connection had carried another request before.
    pub(crate) fn was_used(&self) -> bool {
        self.used
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.line.rests_since_ms.store(now_ms(), Ordering::Relaxed);
        self.line.active.fetch_sub(1, Ordering::Release);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    lines: Mutex<Vec<Arc<Line>>>,
    /// Connections whose sockets are open, whether a request may still use them or not.
    open: AtomicUsize,
    /// Held while a connection is made, so that requests that come together share it.
    pub(crate) connecting: tokio::sync::Mutex<()>,
}

impl Connections {
    /// A place on a connection made under `epoch`. Older ones are let go of; newer ones are left to newer requests.
    pub(crate) fn take(&self, epoch: u64) -> Option<Lease> {
        let mut lines = self.lock();
        lines.retain(|line| line.epoch >= epoch && !line.retired.load(Ordering::Relaxed));
        loop {
            let at = lines.iter().position(|line| line.epoch == epoch && line.has_room())?;
            let line = &lines[at];
            // Asking costs a system call; on a busy connection the runtime hears of the end anyway.
            if line.active.load(Ordering::Acquire) > 0 || !line.has_ended() {
                return Some(Lease::of(line));
            }
            lines.swap_remove(at);
        }
    }

    /// Speaks HTTP/2 on a new connection.
    pub(crate) async fn open(
        self: &Arc<Self>,
        wire: Box<Wire>,
        epoch: u64,
        idle_timeout: Duration,
    ) -> Result<Lease, Fault> {
        if self.lock().iter().filter(|line| line.epoch == epoch).count() >= CONNECTIONS_MAX {
            return Err(Fault::Local);
        }
        watch_over(wire.tcp());
        let socket = wire.tcp().as_fd().try_clone_to_owned().ok();
        let handshake = builder().handshake(wire.into_plain()).await;
        let (sender, connection) = handshake.map_err(|_| Fault::Refused)?;
        let line = Arc::new(Line {
            epoch,
            sender,
            socket,
            active: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            rests_since_ms: AtomicU64::new(now_ms()),
        });
        let lease = Lease::of(&line);
        let open = Open::count(self);
        tokio::spawn(drive(connection, open, Arc::downgrade(&line), idle_timeout));
        self.lock().push(line);
        Ok(lease)
    }

    /// Lets all of them go: those that rest at once, the others when their last request ends.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
    }

    /// Lets a connection go that has rested for too long; true if there is nothing more to watch.
    fn sweep(&self, line: &Weak<Line>, idle_ms: u64) -> bool {
        let mut lines = self.lock();
        let Some(line) = line.upgrade() else { return true };
        let rested = now_ms().saturating_sub(line.rests_since_ms.load(Ordering::Relaxed)) >= idle_ms;
        // Places are given under the lock, so nobody takes one in between.
        if line.active.load(Ordering::Acquire) > 0 || !rested {
            return false;
        }
        lines.retain(|other| !Arc::ptr_eq(other, &line));
        true
    }

    /// A panic while the list was locked leaves a usable list.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection of an origin.
struct Open {
    connections: Weak<Connections>,
}

impl Open {
    fn count(connections: &Arc<Connections>) -> Self {
        connections.open.fetch_add(1, Ordering::SeqCst);
        Self { connections: Arc::downgrade(connections) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST_MAX);
    builder
}

/// Peers that vanish without a word are noticed by the kernel. What cannot be set is not worth a failed request.
fn watch_over(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
}

/// Moves a connection's frames until it ends: when the origin ends it, or when nobody holds a place on it and it is not in
/// the list any more.
async fn drive(
    mut connection: Connection<Box<Wire>, Bytes>,
    open: Open,
    line: Weak<Line>,
    idle_timeout: Duration,
) {
    let idle_ms = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
    let mut watched = true;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection to an origin ended");
                }
                if let Some(line) = line.upgrade() {
                    line.retired.store(true, Ordering::Relaxed);
                    if let Some(connections) = open.connections.upgrade() {
                        connections.lock().retain(|other| !Arc::ptr_eq(other, &line));
                    }
                }
                return;
            }
            () = tokio::time::sleep(idle_timeout.max(Duration::from_millis(100))), if watched => {
                watched = open.connections.upgrade().is_some_and(|connections| !connections.sweep(&line, idle_ms));
            }
        }
    }
}
