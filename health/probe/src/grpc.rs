//! Origins that speak gRPC, asked by its health checking protocol (`grpc.health.v1.Health/Check`).
//!
//! Each probe opens a connection of its own: that others can open one, too, is part of what is asked.

mod message;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, TE, USER_AGENT};
use ::http::uri::{Authority, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, split};
use tokio::time::timeout;

use crate::outcome::{Failure, Fault, Stage};
use crate::spec::SpecError;
use crate::statuses::StatusSet;
use crate::tcp;
use crate::tls::{Handshake, TlsCheck, Trust, tls_failure};

/// The health of a service, asked over gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCheck {
    service: Arc<str>,
    authority: Authority,
    pub(crate) tls: Option<TlsCheck>,
}

/// Why an answer over gRPC is not a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcFailure {
    /// A serving status other than SERVING (1): 0 UNKNOWN, 2 NOT_SERVING, 3 SERVICE_UNKNOWN.
    NotServing(u64),
    /// A `grpc-status` other than OK (0).
    Status(u32),
    /// The connection or the answer is not gRPC.
    NotGrpc,
}

/// The method that is called.
const PATH: &str = "/grpc.health.v1.Health/Check";
const SERVING: u64 = 1;
const SERVICE_BYTES_MAX: usize = 256;
/// What an origin may send for one probe, in all.
const RECEIVED_BYTES_MAX: u64 = 256 * 1024;
/// The answer has two bytes; nobody needs this many.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// How long the goodbye may take, after the result is out.
const PARTING_MAX: Duration = Duration::from_millis(100);

impl GrpcCheck {
    /// Asks for `service`, or for the server as a whole if it is empty; `host` is the name that the request is for.
    ///
    /// # Errors
    /// When either could not be sent.
    pub fn new(service: &str, host: &str) -> Result<Self, SpecError> {
        if service.len() > SERVICE_BYTES_MAX || service.chars().any(char::is_control) {
            return Err(SpecError::GrpcService(service.to_owned()));
        }
        let authority: Result<Authority, _> = host.parse();
        let authority = authority.ok().filter(|it| !it.host().is_empty() && !host.contains('@'));
        let authority = authority.ok_or_else(|| SpecError::Host(host.to_owned()))?;
        Ok(Self { service: service.into(), authority, tls: None })
    }

    /// Over TLS; HTTP/2 must be agreed on there (RFC 9113, section 3.2).
    #[must_use]
    pub fn with_tls(mut self, tls: TlsCheck) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// One gRPC check.
pub(crate) struct GrpcProbe {
    request: Request<()>,
    message: Bytes,
    tls: Option<Handshake>,
    /// The connection of the last probe, until it is closed in peace.
    parting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl GrpcProbe {
    pub(crate) fn new(check: &GrpcCheck, trust: &Trust) -> Self {
        let scheme = if check.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(check.authority.clone()).path_and_query(PATH);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.build().expect("a scheme, an authority and a path make a target");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let agent = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let tls = check.tls.as_ref().map(|tls| Handshake::new(tls, trust).with_http2());
        Self { request, message: message::request(&check.service), tls, parting: None }
    }

    /// Asks once. The deadline is the caller's: dropping the future closes the connection.
    pub(crate) async fn probe(&mut self, addr: SocketAddr, stage: &mut Stage) -> Result<(), Fault> {
        self.parting = None;
        *stage = Stage::Connect;
        let stream = tcp::connect(addr).await?;
        match &self.tls {
            None => self.talk(stream, stage).await,
            Some(tls) => {
                *stage = Stage::Tls;
                let stream = tls.perform(stream).await?;
                self.talk(stream, stage).await
            }
        }
    }

    /// Says goodbye on the connection of the last probe, so that the origin's log has no broken ones.
    pub(crate) async fn part(&mut self) {
        if let Some(parting) = self.parting.take() {
            drop(timeout(PARTING_MAX, parting).await);
        }
    }

    async fn talk<S>(&mut self, stream: S, stage: &mut Stage) -> Result<(), Fault>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        *stage = Stage::Response;
        let (reading, writing) = split(stream);
        let bounded = tokio::io::join(reading.take(RECEIVED_BYTES_MAX), writing);
        let mut builder = h2::client::Builder::new();
        builder.max_header_list_size(HEADERS_BYTES_MAX).enable_push(false);
        let (sender, mut connection) = builder.handshake(bounded).await.map_err(|error| fault(&error))?;
        let result = {
            let mut asked = pin!(ask(sender, self.request.clone(), self.message.clone()));
            let mut over = false;
            poll_fn(|cx| {
                if let Poll::Ready(result) = asked.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                if over {
                    return Poll::Ready(Err(Failure::NoAnswer.into()));
                }
                // Its errors reach whoever waits for the answer, too, and there it is known what they interrupted.
                over = Pin::new(&mut connection).poll(cx).is_ready();
                asked.as_mut().poll(cx)
            })
            .await
        };
        self.parting = Some(Box::pin(async {
            let _ = connection.await;
        }));
        result
    }
}

/// One call and its answer (gRPC over HTTP/2, "Requests" and "Responses").
async fn ask(sender: SendRequest<Bytes>, request: Request<()>, message: Bytes) -> Result<(), Fault> {
    let mut sender = sender.ready().await.map_err(|error| fault(&error))?;
    let (answer, mut sending) = sender.send_request(request, false).map_err(|error| fault(&error))?;
    sending.send_data(message, true).map_err(|error| fault(&error))?;
    let (head, mut body) = answer.await.map_err(|error| fault(&error))?.into_parts();
    if head.status != 200 {
        let wanted = StatusSet::new([200..=200]).map_err(|_| GrpcFailure::NotGrpc)?;
        return Err(Failure::Status { got: head.status.as_u16(), wanted }.into());
    }
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Err(GrpcFailure::NotGrpc.into());
    }
    // An answer without a message has its status among the headers.
    if let Some(code) = code(&head.headers) {
        return Err(if code == 0 { GrpcFailure::NotGrpc } else { GrpcFailure::Status(code) }.into());
    }
    let answer = read(&mut body).await?;
    let trailers = body.trailers().await.map_err(|error| fault(&error))?;
    match trailers.as_ref().and_then(code) {
        None => return Err(GrpcFailure::NotGrpc.into()),
        Some(0) => {}
        Some(code) => return Err(GrpcFailure::Status(code).into()),
    }
    match message::status(&answer) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(GrpcFailure::NotServing(other).into()),
        None => Err(GrpcFailure::NotGrpc.into()),
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, Fault> {
    let mut answer = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|error| fault(&error))?;
        // What is bounded this far below the window needs no more of it.
        answer.extend_from_slice(&chunk);
        let announced = message::framed_len(&answer).unwrap_or_default();
        if answer.len().max(announced) > MESSAGE_BYTES_MAX {
            return Err(Failure::TooLarge.into());
        }
    }
    Ok(answer)
}

fn code(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn fault(error: &h2::Error) -> Fault {
    if let Some(error) = error.get_io() {
        return match tls_failure(error) {
            Some(failure) => failure.into(),
            // The library's word for a connection that ends amid an exchange.
            None if error.kind() == io::ErrorKind::BrokenPipe => Failure::NoAnswer.into(),
            None => Fault::from_io(error),
        };
    }
    if error.is_remote() { Failure::Reset.into() } else { GrpcFailure::NotGrpc.into() }
}

impl GrpcFailure {
    /// A word for metrics, out of a fixed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotServing(_) => "not-serving",
            Self::Status(_) => "grpc-status",
            Self::NotGrpc => "not-grpc",
        }
    }
}

impl fmt::Display for GrpcFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServing(0) => f.write_str("gRPC health UNKNOWN, wanted SERVING"),
            Self::NotServing(2) => f.write_str("gRPC health NOT_SERVING"),
            Self::NotServing(3) => f.write_str("gRPC health SERVICE_UNKNOWN"),
            Self::NotServing(other) => write!(f, "gRPC health {other}, wanted SERVING (1)"),
            Self::Status(5) => f.write_str("gRPC status 5 (NOT_FOUND): the origin does not know the service"),
            Self::Status(12) => {
                f.write_str("gRPC status 12 (UNIMPLEMENTED): the origin has no health service")
            }
            Self::Status(other) => write!(f, "gRPC status {other}"),
            Self::NotGrpc => f.write_str("the answer is not gRPC"),
        }
    }
}
