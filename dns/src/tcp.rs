//! DNS over TCP (RFC 1035 section 4.2.2, RFC 7766): length-framed messages, several per connection, answered in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use crate::encode::STREAM_BYTES_MAX;
use crate::handler::{Handler, Outcome};
use crate::observe::{DropReason, Protocol};
use crate::pause::{Pause, stopped};

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 4096;
/// Answers gathered before they are written: a client that pipelines but doesn't read holds no more than this and one answer.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the length in front of each message.
const FRAME_BYTES: usize = 2;

/// Bounds on TCP connections. Clones share the count of connections, so give clones to all listeners.
#[derive(Clone, Debug)]
pub struct TcpLimits {
    connections: Arc<Semaphore>,
    /// How long a connection may stay open with no part of a question on the way.
    pub idle_timeout: Duration,
    /// How long one question may take from its first byte to its last, and one write of answers.
    pub message_timeout: Duration,
}

impl TcpLimits {
    /// At most `connections_max` connections at a time over all clones; more are closed at once.
    pub fn new(connections_max: usize, idle_timeout: Duration, message_timeout: Duration) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Self { connections: Arc::new(Semaphore::new(connections_max)), idle_timeout, message_timeout }
    }
}

impl Default for TcpLimits {
    /// 1024 connections, 10 s idle (RFC 7766 section 6.2.3), 5 s per message.
    fn default() -> Self {
        Self::new(1024, Duration::from_secs(10), Duration::from_secs(5))
    }
}

/// Binds a listener, taking over an address whose old connections linger.
///
/// # Errors
/// As the system says: address in use or not ours, no permission for the port, no file descriptor.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts and answers until `shutdown` becomes true or its sender is gone; then answers what has been read on each
/// connection, closes all and returns. That takes at most one `message_timeout`.
pub async fn serve(
    listener: TcpListener,
    handler: Arc<Handler>,
    limits: TcpLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pause.reset();
                let Ok(permit) = Arc::clone(&limits.connections).try_acquire_owned() else {
                    handler.observer.dropped(Protocol::Tcp, DropReason::TooManyConnections);
                    continue;
                };
                let connection = connection(stream, Arc::clone(&handler), limits.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                handler.observer.dropped(Protocol::Tcp, DropReason::AcceptFailed);
                warn!(%error, "accepting DNS connections failed");
                tokio::select! {
                    () = stopped(&mut shutdown) => break,
                    () = tokio::time::sleep(pause.next()) => {}
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    handler: Arc<Handler>,
    limits: TcpLimits,
    mut shutdown: watch::Receiver<bool>,
) {
    // Without it the second of two small answers waits for the acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    if converse(stream, &handler, &limits, &mut shutdown).await == End::TimedOut {
        handler.observer.dropped(Protocol::Tcp, DropReason::TimedOut);
    }
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    TimedOut,
    ShutDown,
}

/// Reads, answers, writes, until either side has had enough.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    handler: &Handler,
    limits: &TcpLimits,
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    let mut input: Vec<u8> = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    let mut deadline = Instant::now() + limits.idle_timeout;
    loop {
        let read = tokio::select! {
            biased;
            () = stopped(shutdown) => return drain(&mut stream, &mut input, handler, limits).await,
            read = timeout_at(deadline, stream.read(&mut chunk)) => read,
        };
        let length = match read {
            Err(_) => return End::TimedOut,
            Ok(Ok(0) | Err(_)) => return End::Closed,
            Ok(Ok(length)) => length,
        };
        let was_idle = input.is_empty();
        input.extend_from_slice(&chunk[..length]);
        let answered = match answer_whole(&mut stream, &mut input, handler, limits).await {
            Ok(answered) => answered,
            Err(end) => return end,
        };
        // The deadline of a message stands until the message is whole: a byte now and then doesn't move it.
        if input.is_empty() {
            deadline = Instant::now() + limits.idle_timeout;
        } else if was_idle || answered {
            deadline = Instant::now() + limits.message_timeout;
        }
    }
}

/// Answers what has already arrived, then closes. Closing with unread bytes would reset the connection, and with it answers
/// that are still on their way.
async fn drain<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
    handler: &Handler,
    limits: &TcpLimits,
) -> End {
    let mut chunk = vec![0; STREAM_BYTES_MAX];
    if let Ok(Ok(length)) = timeout(Duration::ZERO, stream.read(&mut chunk)).await {
        input.extend_from_slice(&chunk[..length]);
        if let Err(end) = answer_whole(stream, input, handler, limits).await {
            return end;
        }
    }
    let _ = timeout(limits.message_timeout, stream.shutdown()).await;
    End::ShutDown
}

/// Answers all whole messages at the front of `input`, and says whether there was one.
async fn answer_whole<S: AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
    handler: &Handler,
    limits: &TcpLimits,
) -> Result<bool, End> {
    let mut used = 0;
    let mut answer = Vec::new();
    let mut gathered = Vec::new();
    while let Some(message) = whole_message(&input[used..]) {
        used += FRAME_BYTES + message.len();
        if handler.answer(message, Protocol::Tcp, &mut answer) == Outcome::Dropped {
            // Who sends no questions is no DNS client. Those that came before are answered.
            write(stream, &mut gathered, limits).await?;
            return Err(End::Closed);
        }
        // An answer is bounded by `STREAM_BYTES_MAX`, which is what the length field holds.
        gathered.extend((answer.len() as u16).to_be_bytes());
        gathered.extend_from_slice(&answer);
        if gathered.len() >= GATHERED_BYTES_MAX {
            write(stream, &mut gathered, limits).await?;
        }
    }
    write(stream, &mut gathered, limits).await?;
    input.drain(..used);
    Ok(used > 0)
}

async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
    limits: &TcpLimits,
) -> Result<(), End> {
    let written = timeout(limits.message_timeout, stream.write_all(bytes)).await;
    bytes.clear();
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Closed),
        Err(_) => Err(End::TimedOut),
    }
}

/// The first message of `input` if all of it is there. A message is at most 65535 bytes, which bounds `input`.
fn whole_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<FRAME_BYTES>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}
