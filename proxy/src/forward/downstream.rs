//! The client's side of one request, whichever version of HTTP it speaks.
//!
//! Retries, spilling and relaying know only this; what differs between the versions stays behind it. Reading is safe to
//! cancel: a piece that was not returned comes with the next call.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::{ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use socket2::SockRef;

use super::Fault;
use crate::http2;
use crate::stream::Wire;

/// See the module.
#[allow(clippy::large_enum_variant, reason = "one per request in flight, and never moved while it is served")]
pub(crate) enum Downstream {
    Http1(HttpSession),
    Http2(http2::Stream),
}

/// A piece of a body: borrowed from the connection it came on, or its own.
pub(crate) enum Piece<'a> {
    Borrowed(&'a [u8]),
    Owned(Bytes),
}

impl Piece<'_> {
    pub(crate) fn len(&self) -> usize {
        self.as_ref().len()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Piece<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Downstream {
    pub(crate) fn into_http1(self) -> Option<HttpSession> {
        match self {
            Self::Http1(session) => Some(session),
            Self::Http2(_) => None,
        }
    }

    /// The request's head, in the shape of HTTP/1.1 (with `Host`).
    pub(crate) fn head(&self) -> &RequestHeader {
        match self {
            Self::Http1(session) => session.req_header(),
            Self::Http2(stream) => stream.head(),
        }
    }

    /// Whether all of the request's body has been read.
    pub(crate) fn is_body_done(&mut self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_done(),
            Self::Http2(stream) => stream.is_body_done(),
        }
    }

    /// The next piece of the request's body; `None` at its end. A piece can be empty.
    pub(crate) async fn read(&mut self) -> std::result::Result<Option<Bytes>, Fault> {
        match self {
            Self::Http1(session) => session.read_body_bytes().await.map_err(|error| match error.etype() {
                ErrorType::ReadTimedout => Fault::SlowClient,
                _ if wire(session).is_some_and(Wire::is_malformed) => Fault::BadBody,
                ErrorType::ReadError | ErrorType::ConnectionClosed => Fault::Client,
                _ => Fault::BadBody,
            }),
            Self::Http2(stream) => stream.read().await,
        }
    }

    /// What came behind the request's body. pingora's HTTP/1.1 session reads trailers and drops them.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => stream.trailers(),
        }
    }

    /// The next piece; without `reading`, the news that the client has given up.
    pub(crate) async fn read_or_gone(&mut self, reading: bool) -> std::result::Result<Option<Bytes>, Fault> {
        if reading {
            return self.read().await;
        }
        self.gone().await;
        Err(Fault::Client)
    }

    /// Ends when the client has given the request up. Over HTTP/1.1 that shows only in reading and writing.
    pub(crate) async fn gone(&mut self) {
        match self {
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(stream) => stream.gone().await,
        }
    }

    /// Passes an interim answer on, at once. It ends nothing, so a body that has not come yet is no reason to close the
    /// client's connection after this request.
    pub(crate) async fn write_interim(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        match self {
            Self::Http1(session) => {
                session.set_close_on_response_before_downstream_finish(false);
                let written = session.write_response_header(head).await;
                session.set_close_on_response_before_downstream_finish(true);
                written
            }
            Self::Http2(stream) => stream.write_interim(*head),
        }
    }

    /// Begins the answer. `ends`: nothing follows.
    pub(crate) async fn write_head(&mut self, head: Box<ResponseHeader>, ends: bool) -> Result<()> {
        match self {
            Self::Http1(session) => session.write_response_header(head).await,
            Self::Http2(stream) => stream.write_head(*head, ends),
        }
    }

    /// Passes a piece of the answer's body on. Empty pieces come while a chunk's head is incomplete; an empty chunk would
    /// end the body.
    pub(crate) async fn write(&mut self, piece: Piece<'_>) -> Result<()> {
        if piece.len() == 0 {
            return Ok(());
        }
        match self {
            Self::Http1(session) => session.write_body(piece.as_ref()).await.map(drop),
            Self::Http2(stream) => stream.write(piece.into_bytes()).await,
        }
    }

    /// Ends the answer. Over HTTP/1.1 the trailers are dropped: pingora's session writes none.
    pub(crate) async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<()> {
        match self {
            Self::Http1(session) => session.finish_body().await.map(drop),
            Self::Http2(stream) => stream.finish(trailers),
        }
    }

    /// The status of the final answer, once its head has gone out.
    pub(crate) fn answered(&self) -> Option<u16> {
        match self {
            Self::Http1(session) => {
                let status = session.response_written()?.status;
                (!status.is_informational()).then_some(status.as_u16())
            }
            Self::Http2(stream) => stream.answered(),
        }
    }

    /// Lets the client see that an answer ends too early where its framing does not show it: a body that ends with the
    /// connection ends with a reset instead. So does one whose client takes nothing (`stalled`): the kernel would keep
    /// what waits for it long after the connection is over for us. Streams of HTTP/2 are cut by their connection.
    pub(crate) fn spoil(&self, stalled: bool) {
        if let Self::Http1(session) = self
            && let Some(head) = session.response_written()
            && (stalled || !head.headers.contains_key(CONTENT_LENGTH))
            && (stalled || !head.headers.contains_key(TRANSFER_ENCODING))
            && let Some(wire) = wire(session)
        {
            // Where it cannot be set, the client is told the usual way.
            let _ = SockRef::from(wire.tcp()).set_linger(Some(Duration::ZERO));
        }
    }

    /// What was written so far goes out without waiting for more.
    pub(crate) fn hurry(&self) {
        if let Self::Http1(session) = self
            && let Some(wire) = wire(session)
        {
            wire.hurry();
        }
    }

    /// The connection carries no request after this one. An HTTP/2 connection is told to by other means.
    pub(crate) fn close_after(&mut self) {
        if let Self::Http1(session) = self {
            session.set_server_keepalive(None);
        }
    }

    /// Bytes of the request's body that were read.
    pub(crate) fn bytes_received(&self) -> u64 {
        match self {
            Self::Http1(session) => session.body_bytes_read() as u64,
            Self::Http2(stream) => stream.bytes_received(),
        }
    }

    /// Bytes of the answer's body that were written.
    pub(crate) fn bytes_sent(&self) -> u64 {
        match self {
            Self::Http1(session) => session.body_bytes_sent() as u64,
            Self::Http2(stream) => stream.bytes_sent(),
        }
    }
}

fn wire(session: &HttpSession) -> Option<&Wire> {
    (**session.stream()).as_any().downcast_ref()
}
