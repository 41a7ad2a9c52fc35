//! One GET over HTTP/2 and its answer, each time on a new connection.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use ::http::header::{ACCEPT, USER_AGENT};
use ::http::uri::Scheme;
use ::http::{HeaderValue, Request, Uri, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::outcome::{Failure, Fault, Stage};
use crate::spec::HttpCheck;
use crate::statuses::StatusSet;
use crate::wire::{Metered, Wire, io_fault};
use crate::{AGENT, BODY_BYTES_MAX};

/// Bytes of a response's head.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// The request of a check and what is wanted of the answer.
pub(crate) struct Exchange {
    request: Request<Empty<Bytes>>,
    statuses: StatusSet,
    body: Option<Arc<str>>,
}

/// What moves the frames of one connection; gone once the library is done with it.
type Connection = Option<http2::Connection<TokioIo<Metered>, Empty<Bytes>, TokioExecutor>>;

impl Exchange {
    pub(crate) fn new(check: &HttpCheck) -> Self {
        let mut request = Request::new(Empty::new());
        // The host is part of the target (RFC 9113, section 8.3.1).
        let scheme = if check.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let path = check.target.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(scheme).authority(check.host.as_bytes()).path_and_query(path).build();
        // A check's host and path are valid parts of a target.
        *request.uri_mut() = uri.unwrap_or_else(|_| check.target.clone());
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Self { request, statuses: check.statuses.clone(), body: check.body.clone() }
    }

    /// Asks once; `stage` follows how far it came.
    pub(crate) async fn run(&self, wire: Wire, stage: &mut Stage) -> Result<(), Fault> {
        let wire = Metered::new(wire);
        let meter = wire.meter();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let opened = builder.max_header_list_size(HEAD_BYTES_MAX).handshake(TokioIo::new(wire)).await;
        let (mut sender, connection) = opened.map_err(|error| fault(&error, false))?;
        let mut connection = Some(connection);
        let asked = async {
            sender.ready().await?;
            sender.send_request(self.request.clone()).await
        };
        let response = drive(&mut connection, asked).await.map_err(|error| fault(&error, meter.heard()))?;
        let got = response.status().as_u16();
        if !self.statuses.contains(got) {
            return Err(Failure::Status { got, wanted: self.statuses.clone() }.into());
        }
        *stage = Stage::Body;
        drive(&mut connection, read(response.into_body(), self.body.as_ref())).await
    }
}

/// Runs `work` while driving the connection it depends on.
async fn drive<F: Future>(connection: &mut Connection, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let Some(running) = connection else { return Poll::Pending };
        // Its errors reach `work` too, which knows what they interrupted.
        if Pin::new(running).poll(cx).is_ready() {
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Reads the body as far as a check cares and looks for the wanted text.
async fn read(mut body: Incoming, wanted: Option<&Arc<str>>) -> Result<(), Fault> {
    if wanted.is_none() && body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Ok(());
    }
    let (mut text, mut read) = (Vec::new(), 0);
    while read < BODY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| fault(&error, true))?;
        let Ok(data) = frame.into_data() else { continue };
        let data = &data[..data.len().min(BODY_BYTES_MAX - read)];
        read += data.len();
        if wanted.is_some() {
            text.extend_from_slice(data);
        }
    }
    match wanted {
        Some(wanted) if !text.windows(wanted.len()).any(|window| window == wanted.as_bytes()) => {
            Err(Failure::Body { wanted: wanted.clone() }.into())
        }
        _ => Ok(()),
    }
}

/// Says in our words what the library found. `heard` says whether a byte of the answer had come.
fn fault(error: &hyper::Error, heard: bool) -> Fault {
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
