//! One try at one origin: connect, send, and wait for the head of the answer.
//!
//! A failure says exactly how far it got, because that decides whether the request may be tried again.

use std::io;
use std::sync::Arc;

use pingora_core::protocols::http::v1::client::HttpSession as OriginSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::relay::bounded;
use super::{Request, Step, headers};
use crate::head::{Facts, Framing};
use crate::limits::ServiceSettings;
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
    /// An answer that is not HTTP/1.x, or that switches protocols unasked.
    BadResponse,
    /// The client left while its request was being sent.
    Client,
    /// The client stopped sending its request's body.
    SlowClient,
    /// The client's chunks make no sense.
    BadBody,
}

impl Fault {
    pub(crate) fn signal(self) -> Option<SignalKind> {
        match self {
            Self::Refused => Some(SignalKind::Refused),
            Self::ConnectTimeout => Some(SignalKind::ConnectTimeout),
            Self::Reset | Self::BadResponse => Some(SignalKind::Reset),
            Self::Silent => Some(SignalKind::Silent),
            Self::Local | Self::Client | Self::SlowClient | Self::BadBody => None,
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
            Self::Client => "client-gone",
            Self::SlowClient => "body-timeout",
            Self::BadBody => "bad-body",
        }
    }

    /// Whether the client is to blame: no other origin can help.
    pub(crate) fn is_clients(self) -> bool {
        matches!(self, Self::Client | Self::SlowClient | Self::BadBody)
    }

    pub(crate) fn page(self) -> Refusal {
        match self {
            Self::Refused | Self::ConnectTimeout | Self::Local => Refusal::CONNECT_FAILED,
            Self::Reset => Refusal::RESET,
            Self::Silent => Refusal::SILENT,
            Self::BadResponse => Refusal::BAD_RESPONSE,
            Self::SlowClient => Refusal::BODY_TIMEOUT,
            Self::Client | Self::BadBody => Refusal::BAD_REQUEST,
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

/// The sending of a request's body.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) done: bool,
    /// The origin takes no more of it; the rest stays with the client.
    pub(crate) abandoned: bool,
}

impl Upload {
    pub(crate) fn new(session: &mut HttpSession, facts: &Facts) -> Self {
        let done = matches!(facts.framing, Framing::None | Framing::Length(0)) || session.is_body_done();
        Self { done, abandoned: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.done || self.abandoned
    }

    /// Passes one piece on, or the end of the body.
    pub(crate) async fn pass(
        &mut self,
        piece: pingora_core::Result<Option<bytes::Bytes>>,
        client: &mut HttpSession,
        origin: &mut OriginSession,
    ) -> Result<(), Fault> {
        let piece = piece.map_err(|error| match error.etype() {
            ErrorType::ReadTimedout => Fault::SlowClient,
            ErrorType::ReadError | ErrorType::ConnectionClosed => Fault::Client,
            _ => Fault::BadBody,
        })?;
        self.done = piece.is_none() || client.is_body_done();
        let mut written = match &piece {
            // Empty pieces come while a chunk's head is incomplete. An empty chunk would end the body.
            Some(bytes) if !bytes.is_empty() => origin.write_body(bytes).await,
            _ => Ok(None),
        };
        if self.done && written.is_ok() {
            written = origin.finish_body().await;
        }
        // The origin may have answered before it stopped listening: the answer is read before judging.
        self.abandoned = written.is_err();
        Ok(())
    }
}

/// Our own stream below an origin's session.
pub(crate) fn wire(origin: &OriginSession) -> Option<&Wire> {
    (**origin.stream()).as_any().downcast_ref()
}

fn received(origin: &OriginSession) -> bool {
    wire(origin).is_none_or(|wire| wire.received() > 0)
}

/// Sends the request to one origin and waits for the head of its answer. Interim answers are passed on.
pub(crate) async fn ask(
    request: &Request<'_>,
    session: &mut HttpSession,
    step: &mut Step,
    upload: &mut Upload,
) -> Result<OriginSession, Failed> {
    let pooled = if step.fresh { None } else { step.target.pool.take(request.service.epoch) };
    let reused = pooled.is_some();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => step.connect(&request.service.settings).await.map_err(Failed::unsent)?,
    };
    stream.restart();
    let head = headers::for_origin(session.req_header(), request, false)
        .map_err(|_| Failed::unsent(Fault::BadResponse))?;
    let mut origin = OriginSession::new(stream);
    let failed = |fault, answered| Failed { fault, sent: true, answered, reused };
    if origin.write_request_header(head).await.is_err() {
        let sent = wire(&origin).is_none_or(|wire| wire.sent() > 0);
        return Err(Failed { sent, ..failed(Fault::Reset, false) });
    }
    for _ in 0..INTERIM_MAX {
        let head = read_head(request, session, &mut origin, upload).await;
        if let Err(fault) = head {
            return Err(failed(fault, received(&origin)));
        }
        match origin.resp_header() {
            Some(head) if head.status.as_u16() == 101 => return Err(failed(Fault::BadResponse, true)),
            Some(head) if head.status.is_informational() => {
                if request.client.facts.http11 {
                    let interim = headers::interim(head).map_err(|_| failed(Fault::BadResponse, true))?;
                    pass_on(request, session, interim).await.map_err(|_| failed(Fault::Client, true))?;
                }
            }
            Some(head) if !headers::coding_is_known(head) => return Err(failed(Fault::BadResponse, true)),
            Some(_) => return Ok(origin),
            None => return Err(failed(Fault::BadResponse, true)),
        }
    }
    Err(failed(Fault::BadResponse, true))
}

/// Passes an interim answer on, at once. It ends nothing, so a body that has not come yet is no reason to close the
/// client's connection after this request.
async fn pass_on(
    request: &Request<'_>,
    session: &mut HttpSession,
    interim: Box<ResponseHeader>,
) -> pingora_core::Result<()> {
    session.set_close_on_response_before_downstream_finish(false);
    let written =
        bounded(request.client.settings.limits.write_stall, session.write_response_header(interim)).await;
    session.set_close_on_response_before_downstream_finish(true);
    written
}

/// Waits for the next response head, and sends the body of the request meanwhile.
async fn read_head(
    request: &Request<'_>,
    session: &mut HttpSession,
    origin: &mut OriginSession,
    upload: &mut Upload,
) -> Result<(), Fault> {
    let patience = request.service.settings.first_byte_timeout;
    let mut deadline = Instant::now() + patience;
    while !upload.is_over() {
        let Some((queued, drained)) = wire(origin).map(|wire| (wire.queued() > 0, wire.drained())) else {
            break;
        };
        tokio::select! {
            biased;
            head = origin.read_response() => return head.map(drop).map_err(|error| judge(&error)),
            piece = session.read_body_bytes(), if !queued => {
                deadline = Instant::now() + patience;
                upload.pass(piece, session, origin).await?;
            }
            () = drained.notified(), if queued => {
                deadline = Instant::now() + patience;
                upload.abandoned = wire(origin).is_none_or(Wire::is_broken);
            }
            // Only while the origin is the one to wait for: a slow client has its own timeout.
            () = tokio::time::sleep_until(deadline), if queued => return Err(Fault::Silent),
        }
    }
    match timeout_at(deadline, origin.read_response()).await {
        Ok(head) => head.map(drop).map_err(|error| judge(&error)),
        Err(_) => Err(Fault::Silent),
    }
}

fn judge(error: &Error) -> Fault {
    match error.etype() {
        ErrorType::InvalidHTTPHeader => Fault::BadResponse,
        _ => Fault::Reset,
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
