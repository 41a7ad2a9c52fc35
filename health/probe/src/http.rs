//! GET over HTTP/1.1, on a connection that is kept for a while, or over HTTP/2, each time on a new one.
//!
//! The connection of the HTTP library is driven by the probe itself and sleeps between probes: no task per
//! connection, no wake-up while nothing is asked. The price is that a close by the origin is noticed only by the
//! next probe, which then opens a fresh connection within its own timeout.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use ::http::uri::Scheme;
use ::http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::outcome::{Failure, Fault, Stage};
use crate::spec::HttpCheck;
use crate::statuses::StatusSet;
use crate::tls::{Handshake, Trust, tls_failure};
use crate::wire::{Flood, Meter, Wire};
use crate::{BODY_BYTES_MAX, FRESH_EVERY, tcp};

/// Bytes of a response's head. The library looks after it has read, so up to twice as much may be taken in.
const HEAD_BYTES_MAX: usize = 64 * 1024;

type Io = TokioIo<Wire>;

/// What moves the frames of one connection.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are HTTP/1.1, and there is one per check")]
enum Connection {
    Http1(http1::Connection<Io, Empty<Bytes>>),
    Http2(http2::Connection<Io, Empty<Bytes>, TokioExecutor>),
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        match self {
            Self::Http1(connection) => Pin::new(connection).poll(cx),
            Self::Http2(connection) => Pin::new(connection).poll(cx),
        }
    }
}

impl Sender {
    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// One HTTP check and the connection it keeps.
pub(crate) struct HttpProbe {
    request: Request<Empty<Bytes>>,
    statuses: StatusSet,
    body: Option<Arc<str>>,
    tls: Option<Handshake>,
    http2: bool,
    kept: Option<Kept>,
}

/// A connection between two probes.
struct Kept {
    sender: Sender,
    /// Gone once the library is done with it.
    connection: Option<Connection>,
    meter: Meter,
    /// Probes it has carried.
    carried: u32,
}

/// How an exchange failed.
struct Broken {
    fault: Fault,
    /// Nothing was heard of this request: on a kept connection that means the origin had closed it.
    silent: bool,
}

impl HttpProbe {
    pub(crate) fn new(check: &HttpCheck, trust: &Trust) -> Self {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = check.target.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, check.host.clone());
        let agent = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let mut tls = check.tls.as_ref().map(|tls| Handshake::new(tls, trust));
        if check.http2 {
            absolute(&mut request, tls.is_some());
            tls = tls.map(Handshake::with_http2);
        }
        let (statuses, body) = (check.statuses.clone(), check.body.clone());
        Self { request, statuses, body, tls, http2: check.http2, kept: None }
    }

    /// Asks once; `stage` follows how far it came. The deadline is the caller's: dropping the future closes the
    /// connection.
    pub(crate) async fn probe(&mut self, addr: SocketAddr, stage: &mut Stage) -> Result<(), Fault> {
        if let Some(kept) = self.kept.take() {
            *stage = Stage::Response;
            match self.exchange(kept, stage).await {
                Err(Broken { silent: true, .. }) => {}
                result => return result.map_err(|broken| broken.fault),
            }
        }
        let fresh = self.open(addr, stage).await?;
        self.exchange(fresh, stage).await.map_err(|broken| broken.fault)
    }

    pub(crate) fn forget(&mut self) {
        self.kept = None;
    }

    async fn open(&self, addr: SocketAddr, stage: &mut Stage) -> Result<Kept, Fault> {
        *stage = Stage::Connect;
        let stream = tcp::connect(addr).await?;
        let wire = match &self.tls {
            None => Wire::plain(stream),
            Some(tls) => {
                *stage = Stage::Tls;
                Wire::tls(tls.perform(stream).await?)
            }
        };
        *stage = Stage::Response;
        let meter = wire.meter();
        let io = TokioIo::new(wire);
        let (sender, connection) = if self.http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let opened = builder.max_header_list_size(HEAD_BYTES_MAX as u32).handshake(io).await;
            let (sender, connection) = opened.map_err(|error| fault(&error, false))?;
            (Sender::Http2(sender), Connection::Http2(connection))
        } else {
            let opened = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(io).await;
            let (sender, connection) = opened.map_err(|error| fault(&error, false))?;
            (Sender::Http1(sender), Connection::Http1(connection))
        };
        Ok(Kept { sender, connection: Some(connection), meter, carried: 0 })
    }

    /// One request and its answer. The connection is kept if it may be; every failure closes it.
    async fn exchange(&mut self, mut kept: Kept, stage: &mut Stage) -> Result<(), Broken> {
        kept.meter.reset();
        kept.carried += 1;
        let response = kept.ask(self.request.clone()).await?;
        let got = response.status().as_u16();
        if !self.statuses.contains(got) {
            let wanted = self.statuses.clone();
            // A 408 on a kept connection closes it for having been idle (RFC 9110, 15.5.9).
            let silent = got == 408 && kept.carried > 1;
            return Err(Broken { fault: Failure::Status { got, wanted }.into(), silent });
        }
        let reusable =
            !self.http2 && stays_open(response.version(), response.headers()) && kept.carried < FRESH_EVERY;
        *stage = Stage::Body;
        let body = response.into_body();
        let whole = drive(&mut kept.connection, read(body, self.body.as_ref())).await;
        let whole = whole.map_err(|fault| Broken { fault, silent: false })?;
        if whole && reusable && kept.connection.is_some() {
            self.kept = Some(kept);
        }
        Ok(())
    }
}

impl Kept {
    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Broken> {
        let sender = &mut self.sender;
        let answer = drive(&mut self.connection, sender.ask(request));
        answer.await.map_err(|error| {
            let heard = self.meter.heard();
            // Cancelled means that the request was never sent, whatever the origin said before (some announce that
            // they close an idle connection with a 408).
            Broken { fault: fault(&error, heard), silent: !heard || error.is_canceled() }
        })
    }
}

/// Gives the request the shape of HTTP/2: the host is part of the target (RFC 9113, section 8.3.1).
fn absolute(request: &mut Request<Empty<Bytes>>, https: bool) {
    let host = request.headers_mut().remove(HOST);
    let path = request.uri().path_and_query().cloned();
    let (Some(host), Some(path)) = (host, path) else { return };
    let scheme = if https { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build();
    // A check's host and path are valid parts of a target.
    if let Ok(uri) = uri {
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
    }
}

/// Runs `work` while driving the connection it depends on.
async fn drive<F: Future>(connection: &mut Option<Connection>, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(running) = connection else { return Poll::Pending };
        // Its errors reach `work` too, which knows what they interrupted.
        if running.poll(cx).is_ready() {
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Reads the body as far as a check cares and looks for the wanted text; says whether that was all of it.
async fn read(mut body: Incoming, wanted: Option<&Arc<str>>) -> Result<bool, Fault> {
    if wanted.is_none() && body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Ok(false);
    }
    let mut text = Vec::new();
    let mut read = 0;
    let whole = loop {
        let Some(frame) = body.frame().await else { break true };
        let frame = frame.map_err(|error| fault(&error, true))?;
        let Ok(data) = frame.into_data() else { continue };
        let taken = data.len().min(BODY_BYTES_MAX - read);
        read += taken;
        if wanted.is_some() {
            text.extend_from_slice(&data[..taken]);
        }
        if taken < data.len() || (read == BODY_BYTES_MAX && !body.is_end_stream()) {
            break false;
        }
    };
    match wanted {
        Some(wanted) if !text.windows(wanted.len()).any(|window| window == wanted.as_bytes()) => {
            Err(Failure::Body { wanted: wanted.clone() }.into())
        }
        _ => Ok(whole),
    }
}

/// Whether the origin will take another request on this connection (RFC 9112, 9.3).
fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(option))
    };
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

/// Says in our words what the library found. `heard` says whether a byte of the answer had come.
fn fault(error: &hyper::Error, heard: bool) -> Fault {
    if error.is_parse_too_large() {
        return Failure::TooLarge.into();
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return io_fault(cause, heard);
        }
        source = cause.source();
    }
    if error.is_incomplete_message() && heard {
        return Failure::Cut.into();
    }
    if heard { Failure::NotHttp.into() } else { Failure::NoAnswer.into() }
}

fn io_fault(error: &io::Error, heard: bool) -> Fault {
    if let Some(failure) = tls_failure(error) {
        return failure.into();
    }
    if error.get_ref().and_then(|cause| cause.downcast_ref::<Flood>()).is_some() {
        return Failure::TooLarge.into();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof if heard => Failure::Cut.into(),
        // So the library calls a bad chunk.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Failure::NotHttp.into(),
        _ => Fault::from_io(error),
    }
}
