//! One client connection: request after request until either side has enough.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Shared;
use crate::accept::Phase;
use crate::address::{Caller, Peer};
use crate::forward::{self, Client};
use crate::front::{self, Front, Protocol};
use crate::head::{self, Framing, NoHead};
use crate::http2;
use crate::limits::Limits;
use crate::page::Refusal;
use crate::stream::Wire;

/// Room for an ordinary request head, read in one call.
const FIRST_READ: usize = 4096;

/// How long and how much a client may go on sending after its last answer, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Serves a connection to its end, or until everything must stop.
pub(crate) async fn run(
    shared: &Shared,
    front: &Front,
    tcp: TcpStream,
    socket: SocketAddr,
    phase: watch::Receiver<Phase>,
) {
    let mut stop = phase.clone();
    let stopped = async move {
        let _ = stop.wait_for(|&phase| phase == Phase::Stop).await;
    };
    let served = async {
        let Some(open) = Box::pin(front::open(shared, front, tcp, socket)).await else { return };
        match open.protocol {
            Protocol::Http2 => Box::pin(http2::serve(shared, open.stream, &open.peer, phase)).await,
            Protocol::Http1 => serve(shared, open.stream, &open.peer, phase).await,
        }
        drop(open.place);
    };
    tokio::select! {
        biased;
        () = served => {}
        () = stopped => {}
    }
}

async fn serve(shared: &Shared, mut stream: Stream, peer: &Peer, mut phase: watch::Receiver<Phase>) {
    let mut carry = BytesMut::new();
    let requests_max = shared.settings().limits.requests_per_connection_max;
    for served in 1..=requests_max {
        let settings = shared.settings();
        let limits = &settings.limits;
        // A new connection has nothing to think about; a kept one may wait for its user.
        let patience = if served == 1 { limits.header_deadline } else { limits.keepalive_idle };
        if carry.is_empty() && !first_bytes(&mut stream, &mut carry, &mut phase, patience).await {
            return;
        }
        let facts = match head::read(&mut stream, &mut carry, limits).await {
            Ok(facts) => facts,
            Err(NoHead::Gone) => return,
            Err(NoHead::Refused(refusal)) => return refuse(shared, limits, stream, peer, refusal).await,
        };
        if facts.framing == Framing::Chunked {
            let Ok(mut wire) = stream.into_any().downcast::<Wire>() else { return };
            let watched = wire.watch_chunks(&carry[facts.len..]);
            stream = wire;
            if watched.is_err() {
                return refuse(shared, limits, stream, peer, Refusal::BAD_REQUEST).await;
            }
        }
        // What follows an upgrade's head belongs to the tunnel, not to the session.
        let behind = if facts.upgrade { carry.split_off(facts.len) } else { BytesMut::new() };
        let mut session = HttpSession::new(stream);
        session.set_read_timeout(Some(limits.body_idle));
        session.set_write_timeout(Some(limits.write_stall));
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(carry);
        // The head is complete, so this parses and does not wait.
        match session.read_request().await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(_) => return refuse(shared, limits, session.into_inner(), peer, Refusal::BAD_REQUEST).await,
        }
        let caller = Caller::of(peer, &session.req_header().headers, &settings.addresses);
        let last = served == requests_max;
        let client = Client { caller, settings, facts, behind, last, phase: phase.clone() };
        // Apart, so that a connection that waits does not hold the room that serving a request takes.
        let served = Box::pin(forward::serve_http1(shared, session, client)).await;
        let Some((next, prefix)) = served else { return };
        stream = next;
        carry = prefix;
    }
}

/// Waits for the first bytes of the next request; false when the connection ends instead.
async fn first_bytes(
    stream: &mut Stream,
    carry: &mut BytesMut,
    phase: &mut watch::Receiver<Phase>,
    patience: Duration,
) -> bool {
    let leaving = async {
        let _ = phase.wait_for(|&phase| phase != Phase::Running).await;
    };
    tokio::select! {
        // Reading first: a request that has arrived is served even while draining.
        biased;
        arrived = arrival(stream, carry) => arrived,
        () = leaving => false,
        () = tokio::time::sleep(patience) => false,
    }
}

/// Waits for bytes without holding a buffer for them: most connections wait, most of the time.
async fn arrival(stream: &mut Stream, carry: &mut BytesMut) -> bool {
    // Whatever room an earlier request had.
    *carry = BytesMut::new();
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); FIRST_READ];
        let mut room = ReadBuf::uninit(&mut room);
        match Pin::new(&mut *stream).poll_read(cx, &mut room) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => {
                carry.extend_from_slice(room.filled());
                Poll::Ready(read.is_ok() && !carry.is_empty())
            }
        }
    })
    .await
}

/// Answers a request that never became one, and closes.
async fn refuse(shared: &Shared, limits: &Limits, mut stream: Stream, peer: &Peer, refusal: Refusal) {
    tracing::debug!(status = refusal.status, reason = refusal.reason, "request refused");
    forward::note_refused(shared, peer, "", refusal);
    let answer = async {
        stream.write_all(&refusal.raw()).await?;
        stream.flush().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(limits.write_stall, answer).await {
        linger(stream).await;
    }
}

/// Closes after the last answer. Closing at once would make the kernel reset a connection on which the client is still
/// sending, and the reset could overtake the answer. Over TLS a goodbye is sent, for which a client that takes nothing
/// would have us wait.
pub(crate) async fn linger(mut stream: Stream) {
    let drained = async {
        let _ = AsyncWriteExt::shutdown(&mut stream).await;
        let mut sink = [0u8; 4096];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(n) = stream.read(&mut sink).await {
            if n == 0 || n > left {
                return;
            }
            left -= n;
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
