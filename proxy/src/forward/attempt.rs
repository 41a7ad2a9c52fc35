//! One try at one origin: connect, send, and wait for the head of the answer.
//!
//! A failure says exactly how far it got, because that decides whether the request may be tried again.

use std::io;
use std::sync::Arc;

use pingora_core::protocols::http::v1::client::HttpSession as OriginSession;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::downstream::Downstream;
use super::relay::bounded;
use super::upstream::{Upstream, wire as origin_wire};
use super::{Failed, Fault, Request, Step, Upload, headers};
use crate::http2::{self, Connections, Exchange, Lease, Next};
use crate::limits::ServiceSettings;
use crate::stream::{Side, Transport, Wire};
use crate::target::Target;

/// Interim answers (100, 102, 103) to one request, beyond which an origin is taken to be broken.
const INTERIM_MAX: usize = 32;

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
            let lease = connections.open(wire, epoch, settings.pool_idle_timeout).await?;
            // As with the idle ones of HTTP/1.1: taken out meanwhile, it serves this request and none after it.
            if self.target.is_out() {
                connections.clear();
            }
            Ok(lease)
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
