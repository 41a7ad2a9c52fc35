//! One try at one origin: connect, send, and wait for the head of the answer.
//!
//! A failure says exactly how far it got, because that decides whether the request may be tried again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::v1::client::HttpSession as OriginSession;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::downstream::Downstream;
use super::relay::bounded;
use super::upstream::{Upstream, wire as origin_wire};
use super::{Request, Step, headers};
use crate::head::{Facts, Framing};
use crate::http2::{self, Connections, Exchange, Lease, Next};
use crate::limits::{Limits, ServiceSettings};
use crate::observe::SignalKind;
use crate::page::Refusal;
use crate::stream::{Side, Transport, Wire};
use crate::target::Target;

/// Interim answers (100, 102, 103) to one request, beyond which an origin is taken to be broken.
const INTERIM_MAX: usize = 32;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: refused, unreachable, or its TLS handshake failed.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// The proxy itself ran out of something (descriptors, ports); not the origin's fault.
    Local,
    /// The connection died.
    Reset,
    /// No answer in time.
    Silent,
    /// An answer that is not HTTP, or that switches protocols unasked.
    BadResponse,
    /// The origin took the connection but not the request, and says that nothing of it was processed.
    TurnedAway,
    /// The origin was to speak HTTP/2 and did not agree to (ALPN).
    NoHttp2,
    /// The origin speaks HTTP/2, where a connection cannot leave HTTP.
    NoUpgrade,
    /// The client left while its request was being sent, or while the answer was awaited.
    Client,
    /// The client stopped sending its request's body.
    SlowClient,
    /// The client's chunks make no sense.
    BadBody,
    /// The client sent more than a body may have.
    LargeBody,
    /// The client's target has no form in HTTP/2.
    BadTarget,
}

impl Fault {
    pub(crate) fn signal(self) -> Option<SignalKind> {
        match self {
            Self::Refused | Self::NoHttp2 => Some(SignalKind::Refused),
            Self::ConnectTimeout => Some(SignalKind::ConnectTimeout),
            Self::Reset | Self::BadResponse => Some(SignalKind::Reset),
            Self::Silent => Some(SignalKind::Silent),
            Self::Local
            | Self::TurnedAway
            | Self::NoUpgrade
            | Self::Client
            | Self::SlowClient
            | Self::BadBody
            | Self::LargeBody
            | Self::BadTarget => None,
        }
    }

    /// The word used in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::Local => "local",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::BadResponse => "bad-response",
            Self::TurnedAway => "turned-away",
            Self::NoHttp2 => "no-http2",
            Self::NoUpgrade => "no-upgrade",
            Self::Client => "client-gone",
            Self::SlowClient => "body-timeout",
            Self::BadBody => "bad-body",
            Self::LargeBody => "body-too-large",
            Self::BadTarget => "bad-target",
        }
    }

    /// Whether the client is to blame: no other origin can help.
    pub(crate) fn is_clients(self) -> bool {
        matches!(self, Self::Client | Self::SlowClient | Self::BadBody | Self::LargeBody | Self::BadTarget)
    }

    pub(crate) fn page(self) -> Refusal {
        match self {
            Self::Refused | Self::ConnectTimeout | Self::Local | Self::TurnedAway => Refusal::CONNECT_FAILED,
            Self::NoHttp2 => Refusal::NO_HTTP2,
            Self::NoUpgrade => Refusal::NO_UPGRADE,
            Self::Reset => Refusal::RESET,
            Self::Silent => Refusal::SILENT,
            Self::BadResponse => Refusal::BAD_RESPONSE,
            Self::SlowClient => Refusal::BODY_TIMEOUT,
            Self::LargeBody => Refusal::BODY_TOO_LARGE,
            Self::Client | Self::BadBody | Self::BadTarget => Refusal::BAD_REQUEST,
        }
    }
}

/// A failed try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// Some of the request may have reached the origin.
    pub(crate) sent: bool,
    /// Some of an answer was received.
    pub(crate) answered: bool,
    /// The connection had carried another request before.
    pub(crate) reused: bool,
}

impl Failed {
    pub(crate) fn unsent(fault: Fault) -> Self {
        Self { fault, sent: false, answered: false, reused: false }
    }
}

/// Bytes of a request's body that are kept for another try, and the pieces they may come in: a piece of one byte holds
/// many times as much.
const KEPT_MAX: usize = 64 * 1024;
const KEPT_PIECES_MAX: usize = 64;

/// The sending of a request's body, over all tries.
///
/// An origin that speaks HTTP/2 can turn a request away after some of its body was read from the client; so what such an
/// origin is given is kept, up to a bound, and given to the next one first.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) done: bool,
    /// The origin takes no more of it; the rest stays with the client.
    pub(crate) abandoned: bool,
    kept: Vec<Bytes>,
    kept_len: usize,
    /// How many kept pieces this try has sent.
    resent: usize,
    trailers: Option<HeaderMap>,
    keeps: bool,
    /// Something was read that is not kept: no other origin can be given the whole.
    lost: bool,
    /// How long the client was waited for.
    waited: Duration,
}

/// Adds the time it lives to what was waited, also where the waiting is given up for another event.
struct Waiting<'a> {
    since: Instant,
    waited: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
    }
}

impl Upload {
    /// Begins a try.
    pub(crate) fn begin(&mut self, session: &mut Downstream, facts: &Facts, keeps: bool) {
        let bodiless = matches!(facts.framing, Framing::None | Framing::Length(0));
        self.done = bodiless || (self.kept.is_empty() && session.is_body_done());
        self.abandoned = false;
        self.resent = 0;
        self.keeps = keeps;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.done || self.abandoned
    }

    /// Whether another origin can be given all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lost
    }

    /// The next piece; without `reading`, the news that the client has given up. Bounds how much comes.
    pub(crate) async fn next(
        &mut self,
        session: &mut Downstream,
        reading: bool,
        limits: &Limits,
    ) -> Result<Option<Bytes>, Fault> {
        if reading && let Some(piece) = self.kept.get(self.resent) {
            return Ok(Some(piece.clone()));
        }
        read(session, reading, limits).await
    }

    /// The next piece while no answer has begun, when the body as a whole has a deadline, too. Only time in which the
    /// client is the one to wait for counts. After an answer has begun, an exchange may be a dialogue of any length.
    pub(crate) async fn next_in_time(
        &mut self,
        session: &mut Downstream,
        reading: bool,
        limits: &Limits,
    ) -> Result<Option<Bytes>, Fault> {
        if !reading || self.resent < self.kept.len() {
            return self.next(session, reading, limits).await;
        }
        let earned = session.bytes_received().saturating_mul(1000) / limits.body_rate_min.max(1);
        let allowed = limits.body_timeout.saturating_add(Duration::from_millis(earned));
        let left = allowed.saturating_sub(self.waited);
        let _waiting = Waiting { since: Instant::now(), waited: &mut self.waited };
        timeout(left, read(session, true, limits)).await.unwrap_or(Err(Fault::SlowClient))
    }

    /// Passes one piece on, or the end of the body.
    pub(crate) async fn pass(
        &mut self,
        piece: Result<Option<Bytes>, Fault>,
        client: &mut Downstream,
        origin: &mut Upstream,
    ) -> Result<(), Fault> {
        let piece = piece?;
        if let Some(piece) = &piece {
            self.keep(piece);
        }
        self.done = piece.is_none() || (self.resent == self.kept.len() && client.is_body_done());
        let mut taken = match piece {
            // Empty pieces come while a chunk's head is incomplete. An empty chunk would end the body.
            Some(piece) if !piece.is_empty() => origin.send(piece).await,
            _ => true,
        };
        if self.done && taken {
            self.trailers = self.trailers.take().or_else(|| client.trailers());
            taken = origin.finish(self.trailers.clone()).await;
        }
        // The origin may have answered before it stopped listening: the answer is read before judging.
        self.abandoned = !taken;
        Ok(())
    }

    fn keep(&mut self, piece: &Bytes) {
        if self.resent < self.kept.len() {
            self.resent += 1;
        } else if self.keeps
            && !self.lost
            && self.kept_len + piece.len() <= KEPT_MAX
            && self.kept.len() < KEPT_PIECES_MAX
        {
            self.kept_len += piece.len();
            self.kept.push(piece.clone());
            self.resent += 1;
        } else {
            self.lost = true;
            // Once it cannot be whole, nothing of it is needed.
            self.kept = Vec::new();
            self.resent = 0;
        }
    }
}

/// A piece from the client, as long as its body is not too large.
async fn read(session: &mut Downstream, reading: bool, limits: &Limits) -> Result<Option<Bytes>, Fault> {
    let piece = session.read_or_gone(reading).await;
    if limits.body_bytes_max.is_some_and(|max| session.bytes_received() > max) {
        return Err(Fault::LargeBody);
    }
    piece
}

/// Sends the request to one origin and waits for the head of its answer. Interim answers are passed on.
pub(crate) async fn ask(
    request: &Request<'_>,
    session: &mut Downstream,
    step: &mut Step,
    upload: &mut Upload,
) -> Result<Upstream, Failed> {
    let mut origin = match step.target.http2().cloned() {
        None => open_http1(request, session, step).await?,
        Some(connections) => open_http2(request, session, step, connections, upload).await?,
    };
    for _ in 0..INTERIM_MAX {
        await_head(request, session, &mut origin, upload).await?;
        match origin.head() {
            Some(head) if head.status.as_u16() == 101 => break,
            Some(head) if head.status.is_informational() => {
                if request.client.facts.http11 {
                    let interim = headers::interim(head).map_err(|_| origin.failed(Fault::BadResponse))?;
                    let stall = request.client.settings.limits.write_stall;
                    let written = bounded(stall, session.write_interim(interim)).await;
                    written.map_err(|_| origin.failed(Fault::Client))?;
                }
            }
            Some(head) if !headers::coding_is_known(head) => break,
            Some(_) => return Ok(origin),
            None => break,
        }
    }
    Err(origin.failed(Fault::BadResponse))
}

async fn open_http1(
    request: &Request<'_>,
    session: &Downstream,
    step: &mut Step,
) -> Result<Upstream, Failed> {
    let pooled = if step.fresh { None } else { step.target.pool.take(request.service.epoch) };
    let reused = pooled.is_some();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => step.connect(&request.service.settings).await.map_err(Failed::unsent)?,
    };
    stream.restart();
    let head = headers::for_origin(session.head(), request, false)
        .map_err(|_| Failed::unsent(Fault::BadResponse))?;
    let mut origin = OriginSession::new(stream);
    let written = origin.write_request_header(head).await;
    let sent = written.is_ok() || origin_wire(&origin).is_none_or(|wire| wire.sent() > 0);
    let origin = Upstream::http1(origin, reused);
    match written {
        Ok(_) => Ok(origin),
        Err(_) => Err(Failed { sent, answered: false, ..origin.failed(Fault::Reset) }),
    }
}

async fn open_http2(
    request: &Request<'_>,
    session: &Downstream,
    step: &mut Step,
    connections: Arc<Connections>,
    upload: &Upload,
) -> Result<Upstream, Failed> {
    let epoch = request.service.epoch;
    let pooled = if step.fresh { None } else { connections.take(epoch) };
    let lease = match pooled {
        Some(lease) => lease,
        None => step.connect_http2(request, &connections).await.map_err(Failed::unsent)?,
    };
    let mut head = headers::for_origin(session.head(), request, false)
        .map_err(|_| Failed::unsent(Fault::BadResponse))?;
    if headers::wants_trailers(session.head()) {
        http2::want_trailers(&mut head).map_err(|_| Failed::unsent(Fault::BadResponse))?;
    }
    let limit = request.service.settings.connect_timeout;
    match timeout(limit, Exchange::begin(lease, *head, step.target.tls().is_some(), upload.done)).await {
        Ok(exchange) => exchange.map(|exchange| Upstream::Http2(Box::new(exchange))),
        Err(_) => Err(Failed::unsent(Fault::ConnectTimeout)),
    }
}

/// Waits for the next response head, and sends the body of the request meanwhile.
async fn await_head(
    request: &Request<'_>,
    session: &mut Downstream,
    origin: &mut Upstream,
    upload: &mut Upload,
) -> Result<(), Failed> {
    let patience = request.service.settings.first_byte_timeout;
    let limits = &request.client.settings.limits;
    let mut deadline = Instant::now() + patience;
    loop {
        let (over, clogged) = (upload.is_over(), origin.is_clogged());
        tokio::select! {
            biased;
            next = origin.next() => match next? {
                Next::Head => return Ok(()),
                Next::Room => {
                    deadline = Instant::now() + patience;
                    upload.abandoned |= origin.is_broken();
                }
            },
            piece = upload.next_in_time(session, !over && !clogged, limits) => {
                deadline = Instant::now() + patience;
                upload.pass(piece, session, origin).await.map_err(|fault| origin.failed(fault))?;
            }
            // Only while the origin is the one to wait for: a slow client has its own timeout.
            () = tokio::time::sleep_until(deadline), if over || clogged => {
                return Err(origin.failed(Fault::Silent));
            }
        }
    }
}

impl Step {
    /// A new connection to the origin, and how long it took.
    pub(crate) async fn connect(&mut self, settings: &ServiceSettings) -> Result<Box<Wire>, Fault> {
        let began = Instant::now();
        let wire = connect(&self.target, settings).await?;
        self.connected_in = Some(began.elapsed());
        Ok(wire)
    }

    /// A place on a connection of HTTP/2: a new one, unless somebody else has made one meanwhile.
    async fn connect_http2(
        &mut self,
        request: &Request<'_>,
        connections: &Arc<Connections>,
    ) -> Result<Lease, Fault> {
        let (settings, epoch) = (&request.service.settings, request.service.epoch);
        let connecting = async {
            let _turn = connections.connecting.lock().await;
            if !self.fresh
                && let Some(lease) = connections.take(epoch)
            {
                return Ok(lease);
            }
            let wire = self.connect(settings).await?;
            if wire.agreed_on().is_some_and(|protocol| protocol != Some(b"h2")) {
                tracing::debug!(origin = %self.target.name(), "the origin does not agree on HTTP/2 (ALPN)");
                return Err(Fault::NoHttp2);
            }
            connections.open(wire, epoch, settings.pool_idle_timeout).await
        };
        timeout(settings.connect_timeout, connecting).await.unwrap_or(Err(Fault::ConnectTimeout))
    }
}

/// A new connection to an origin, TLS included, within the connect timeout.
async fn connect(target: &Arc<Target>, settings: &ServiceSettings) -> Result<Box<Wire>, Fault> {
    let connecting = async {
        let tcp = TcpStream::connect(target.addr()).await?;
        tcp.set_nodelay(true)?;
        Ok(match target.tls() {
            None => Transport::Tcp(tcp),
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), tcp).await?;
                Transport::Tls(Box::new(stream.into()))
            }
        })
    };
    match timeout(settings.connect_timeout, connecting).await {
        Ok(Ok(transport)) => Ok(Wire::new(transport, Side::Origin)),
        Ok(Err(error)) => {
            tracing::debug!(origin = %target.name(), %error, "cannot connect");
            Err(if is_local(&error) { Fault::Local } else { Fault::Refused })
        }
        Err(_) => Err(Fault::ConnectTimeout),
    }
}

/// Failures that say nothing about the origin: no descriptor, no memory, no free port.
fn is_local(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | EADDRNOTAVAIL | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_another_try_is_bounded_in_bytes_and_in_pieces() {
        for (piece, held) in [(16 * 1024, 4), (1, KEPT_PIECES_MAX)] {
            let mut upload = Upload { keeps: true, ..Upload::default() };
            let piece = Bytes::from(vec![0; piece]);
            for n in 1..=held {
                upload.keep(&piece);
                assert_eq!((upload.kept.len(), upload.is_whole()), (n, true));
            }
            upload.keep(&piece);
            assert_eq!((upload.kept.len(), upload.is_whole()), (0, false), "one more is too many");
        }
    }
}
