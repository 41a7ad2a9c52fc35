//! One client's HTTP/2 connection: what it may open, how long it may take, and how it ends.
//!
//! The connection and its requests are one task: whatever a request writes is sent in the same turn, nothing is locked
//! across threads, and when everything must stop, dropping the task drops them all. A request that has begun is served
//! to its end also when the connection takes no more of them (GOAWAY).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, timeout};

use super::head;
use super::meter::{Gauge, Metered};
use super::stream::{Patience, Stream};
use crate::Shared;
use crate::accept::Phase;
use crate::address::{Caller, Peer};
use crate::clock::now_ms;
use crate::forward::{self, Client, Downstream};
use crate::limits::Limits;
use crate::page::Refusal;
use crate::stream::Wire;

/// What a client may send ahead of the origin, per stream and per connection: the memory that uploads can take.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of an answer waits for the socket, per stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset before they were looked at.
const PENDING_RESETS_MAX: usize = 20;
/// Streams the client made us reset, in the life of a connection.
const OUR_RESETS_MAX: usize = 128;

/// How long a client may take to see that the connection ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection whose client has agreed on HTTP/2.
pub(crate) async fn serve(shared: &Shared, wire: Box<Wire>, peer: &Peer, mut phase: watch::Receiver<Phase>) {
    let settings = shared.settings();
    let limits = &settings.limits;
    let (io, gauge) = Metered::new(wire.into_plain());
    let handshake = builder(limits).handshake::<_, Bytes>(io);
    let Ok(Ok(mut connection)) = timeout(limits.header_deadline, handshake).await else { return };
    let mut requests = FuturesUnordered::new();
    let mut pace = Pace::new(limits);
    let mut served = 0;
    let mut leaving = false;
    // Requests that were under way when the client was asked to leave; one that goes on sending them is cut.
    let mut late = 0;
    let reason = loop {
        let turn = poll_fn(|cx| {
            while let Poll::Ready(Some(())) = requests.poll_next_unpin(cx) {
                pace.rests_since = Instant::now();
            }
            let accepted = connection.poll_accept(cx);
            if gauge.is_flooded() {
                return Poll::Ready(Turn::Flooded);
            }
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => Poll::Ready(Turn::Request(request, respond)),
                Poll::Ready(_) => Poll::Ready(Turn::Ended),
                Poll::Pending => pace.poll(cx, &gauge, requests.is_empty(), leaving),
            }
        });
        let turn = tokio::select! {
            biased;
            turn = turn => turn,
            _ = phase.wait_for(|&phase| phase != Phase::Running), if !leaving => Turn::Leave,
        };
        match turn {
            Turn::Request(..) if leaving && late >= 2 * limits.http2_streams_max => {
                break Some(Reason::ENHANCE_YOUR_CALM);
            }
            Turn::Request(request, respond) => {
                late += u32::from(leaving);
                served += 1;
                pace.first = false;
                requests.push(answer(shared, peer, phase.clone(), request, respond));
                if served == limits.requests_per_connection_max {
                    leaving = true;
                    connection.graceful_shutdown();
                }
            }
            // The client is asked to go elsewhere; what it has begun is finished.
            Turn::Leave | Turn::Late(Late::Idle) if !leaving => {
                leaving = true;
                pace.rests_since = Instant::now();
                connection.graceful_shutdown();
            }
            Turn::Leave | Turn::Late(Late::Idle) => break Some(Reason::NO_ERROR),
            Turn::Late(Late::Head) => {
                forward::note_refused(shared, peer, "HTTP/2.0", Refusal::HEAD_TIMEOUT);
                break Some(Reason::ENHANCE_YOUR_CALM);
            }
            Turn::Flooded => {
                tracing::debug!(client = %peer.addr, "HTTP/2 frames that lead nowhere: connection closed");
                break Some(Reason::ENHANCE_YOUR_CALM);
            }
            Turn::Ended => break None,
        }
    };
    if let Some(reason) = reason {
        say_goodbye(&mut connection, reason).await;
    }
    // Their streams are over, which each of them sees at its next step; so that they are counted, they take it.
    drop(connection);
    while requests.next().await.is_some() {}
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(OUR_RESETS_MAX));
    builder
}

/// Sends a GOAWAY, as far as the client takes it.
async fn say_goodbye(connection: &mut Connection<Metered, Bytes>, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let _ = timeout(GOODBYE, poll_fn(|cx| connection.poll_closed(cx))).await;
}

#[allow(clippy::large_enum_variant, reason = "taken apart where it is made")]
enum Turn {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    Leave,
    Late(Late),
    Flooded,
    Ended,
}

/// What has taken too long.
enum Late {
    /// A head: the first one to begin, or any to end.
    Head,
    /// The next request.
    Idle,
}

/// The times of a connection, with one timer for all of them.
struct Pace {
    header_deadline: Duration,
    keepalive_idle: Duration,
    began: Instant,
    /// No request has come yet.
    first: bool,
    /// When the last request ended.
    rests_since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            header_deadline: limits.header_deadline,
            keepalive_idle: limits.keepalive_idle,
            began: now,
            first: true,
            rests_since: now,
            timer: Box::pin(tokio::time::sleep_until(now + limits.header_deadline)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, gauge: &Gauge, resting: bool, leaving: bool) -> Poll<Turn> {
        let (deadline, late) = if let Some(since_ms) = gauge.block_since_ms() {
            let open = Duration::from_millis(now_ms().saturating_sub(since_ms));
            (Instant::now() + self.header_deadline.saturating_sub(open), Late::Head)
        } else if self.first && !leaving {
            (self.began + self.header_deadline, Late::Head)
        } else if resting {
            let patience = if leaving { GOODBYE } else { self.keepalive_idle };
            (self.rests_since + patience, Late::Idle)
        } else {
            return Poll::Pending;
        };
        // A deadline that moved by less than a millisecond is the same one.
        let armed = self.timer.deadline();
        if armed.max(deadline) - armed.min(deadline) > Duration::from_millis(2) {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).map(|()| Turn::Late(late))
    }
}

/// One request, from its head to its end.
async fn answer(
    shared: &Shared,
    peer: &Peer,
    phase: watch::Receiver<Phase>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let settings = shared.settings();
    let (parts, body) = request.into_parts();
    let bodiless = parts.method == Method::HEAD;
    let (head, facts) = match head::check(parts, body.is_end_stream(), settings.limits.header_count_max) {
        Ok(judged) => judged,
        Err(refusal) => return refuse(shared, peer, refusal, bodiless, respond),
    };
    let patience = Patience { read: settings.limits.body_idle, write: settings.limits.write_stall };
    let caller = Caller::of(peer, &head.headers, &settings.addresses);
    let client = Client { caller, settings, facts, behind: BytesMut::new(), last: false, phase };
    let mut downstream = Downstream::Http2(Stream::new(head, body, respond, patience));
    let intact = forward::serve_http2(shared, &mut downstream, &client).await;
    if let (false, Downstream::Http2(stream)) = (intact, &mut downstream) {
        stream.cut(Reason::INTERNAL_ERROR);
    }
}

/// Answers a request that is none. What else belongs to it is not read.
fn refuse(shared: &Shared, peer: &Peer, refusal: Refusal, bodiless: bool, mut respond: SendResponse<Bytes>) {
    tracing::debug!(status = refusal.status, reason = refusal.reason, "request refused");
    forward::note_refused(shared, peer, "HTTP/2.0", refusal);
    let page = refusal.body();
    let Ok(head) = refusal.head(page.len()) else { return };
    // A client that has gone needs no answer.
    let head = http::Response::from_parts((*head).into(), ());
    if let Ok(mut sending) = respond.send_response(head, bodiless)
        && !bodiless
    {
        let _ = sending.send_data(page.into(), true);
    }
}
