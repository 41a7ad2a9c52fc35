//! One request to an origin over HTTP/2, and its answer.
//!
//! Sending never waits: a piece that the origin's window does not take stays here, and whatever waits for the answer
//! drives it out. So one piece is the bound of what is held, and an origin that answers before it has taken the upload
//! is heard.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version};
use pingora_http::{RequestHeader, ResponseHeader};

use super::origin::Lease;
use super::trailers;
use crate::forward::{Failed, Fault};

/// What an origin does next.
pub(crate) enum Next {
    /// A head is there: an interim one, or that of the answer.
    Head,
    /// It has taken what was sent, or will take no more.
    Room,
}

/// See the module.
pub(crate) struct Exchange {
    response: ResponseFuture,
    sending: SendStream<Bytes>,
    /// A piece that the origin's window has not taken yet.
    waiting: Bytes,
    /// The end of the request follows `waiting`.
    ending: Option<Option<HeaderMap>>,
    /// The origin takes no more of the request.
    broken: bool,
    head: Option<Box<ResponseHeader>>,
    body: Option<RecvStream>,
    answered: bool,
    /// The longest silence within the answer's body.
    pub(crate) patience: Duration,
    lease: Lease,
}

impl Exchange {
    /// Sends a request's head on a connection that has room for it. `ends`: nothing follows.
    pub(crate) async fn begin(
        lease: Lease,
        head: RequestHeader,
        https: bool,
        ends: bool,
    ) -> Result<Self, Failed> {
        let Some(request) = request(head, https) else {
            return Err(Failed::unsent(Fault::BadTarget));
        };
        // The connection may have ended just now: then nothing was sent.
        let turned_away = |_| {
            lease.retire();
            Failed { reused: true, ..Failed::unsent(Fault::TurnedAway) }
        };
        let mut sender = lease.sender().ready().await.map_err(turned_away)?;
        let (response, sending) = sender.send_request(request, ends).map_err(turned_away)?;
        Ok(Self {
            response,
            sending,
            waiting: Bytes::new(),
            ending: None,
            broken: false,
            head: None,
            body: None,
            answered: false,
            patience: Duration::MAX,
            lease,
        })
    }

    /// The origin has not taken all that was given.
    pub(crate) fn is_clogged(&self) -> bool {
        !self.broken && (!self.waiting.is_empty() || self.ending.is_some())
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The last head that came.
    pub(crate) fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    /// Gives a piece of the request's body. Only when nothing is clogged.
    pub(crate) fn send(&mut self, piece: Bytes) {
        self.waiting = piece;
        self.push();
    }

    /// Ends the request's body.
    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.ending = Some(trailers);
        self.push();
    }

    /// Drives out what goes at once; the rest waits for whoever reads.
    fn push(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.poll_send(&mut cx);
    }

    /// Ready when nothing waits any more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut sent = Ok(());
        while !self.waiting.is_empty() && !self.broken && sent.is_ok() {
            self.sending.reserve_capacity(self.waiting.len());
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(room)) => {
                    let part = self.waiting.split_to(room.min(self.waiting.len()));
                    let last = self.waiting.is_empty() && matches!(self.ending, Some(None));
                    sent = self.sending.send_data(part, last);
                    if last {
                        self.ending = None;
                    }
                }
                _ => self.broken = true,
            }
        }
        if let (false, Some(trailers)) = (self.broken, self.ending.take()) {
            sent = match trailers {
                Some(trailers) => self.sending.send_trailers(trailers),
                None => self.sending.send_data(Bytes::new(), true),
            };
        }
        self.broken |= sent.is_err();
        if self.broken {
            self.waiting = Bytes::new();
            self.ending = None;
        }
        Poll::Ready(())
    }

    /// Sends, and waits for the next head or for room.
    pub(crate) async fn next(&mut self) -> Result<Next, Failed> {
        let clogged = self.is_clogged();
        poll_fn(|cx| {
            if clogged && self.poll_send(cx).is_ready() {
                return Poll::Ready(Ok(Next::Room));
            }
            self.poll_head(cx).map(|head| head.map(|()| Next::Head).map_err(|error| self.judge(&error)))
        })
        .await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if let Some(interim) = ready!(self.response.poll_informational(cx)) {
            self.take_head(interim?.into_parts().0);
            return Poll::Ready(Ok(()));
        }
        let (parts, body) = ready!(Pin::new(&mut self.response).poll(cx))?.into_parts();
        self.take_head(parts);
        self.body = Some(body);
        Poll::Ready(Ok(()))
    }

    fn take_head(&mut self, parts: http::response::Parts) {
        self.answered = true;
        let mut head = ResponseHeader::from(parts);
        head.set_version(Version::HTTP_11);
        self.head = Some(Box::new(head));
    }

    /// What a failure means. A stream that was refused, or that is above the last one of a GOAWAY, was not processed in
    /// any way (RFC 9113, sections 6.8 and 8.7).
    fn judge(&self, error: &h2::Error) -> Failed {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && (refused || error.is_go_away()) && !self.answered {
            self.lease.retire();
            return Failed { reused: true, ..Failed::unsent(Fault::TurnedAway) };
        }
        if !error.is_reset() {
            self.lease.retire();
        }
        let fault = if error.is_library() { Fault::BadResponse } else { Fault::Reset };
        let answered = self.answered || error.is_library();
        Failed { fault, sent: true, answered, reused: self.lease.was_used() }
    }

    /// Nothing came in time: what follows goes elsewhere.
    pub(crate) fn gave_up(&self) {
        self.lease.retire();
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    pub(crate) fn was_used(&self) -> bool {
        self.lease.was_used()
    }

    /// Whether all of the answer has been read.
    pub(crate) fn is_body_done(&self) -> bool {
        self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    /// The next piece of the answer, or room for the request. `None` at the end.
    pub(crate) async fn read(&mut self) -> Result<Option<Option<Bytes>>, h2::Error> {
        let clogged = self.is_clogged();
        poll_fn(|cx| {
            if clogged && self.poll_send(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(Some(None))) };
            match ready!(body.poll_data(cx)).transpose()? {
                // Credited when it is handed out. The next one is read when the client has taken it, so what is
                // held is a window and one piece at most.
                Some(piece) => {
                    body.flow_control().release_capacity(piece.len())?;
                    Poll::Ready(Ok(Some(Some(piece))))
                }
                None => Poll::Ready(Ok(Some(None))),
            }
        })
        .await
    }

    /// What came behind the answer's body.
    pub(crate) async fn trailers(&mut self) -> Result<Option<HeaderMap>, h2::Error> {
        let Some(body) = &mut self.body else { return Ok(None) };
        Ok(poll_fn(|cx| body.poll_trailers(cx)).await?.map(trailers::passed_on))
    }
}

/// The head in the shape of HTTP/2 (RFC 9113, section 8.3.1). `None` for a target no origin could be asked for.
fn request(head: RequestHeader, https: bool) -> Option<Request<()>> {
    let path = path(head.raw_path())?;
    let mut parts: Parts = head.into();
    let host = parts.headers.remove(header::HOST)?;
    // Without a host HTTP/1.0 may ask; in HTTP/2 nobody may.
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    parts.headers.remove(header::TRANSFER_ENCODING);
    let scheme = if https { Scheme::HTTPS } else { Scheme::HTTP };
    parts.uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()?;
    parts.version = Version::HTTP_2;
    Some(Request::from_parts(parts, ()))
}

/// Characters that an URI cannot hold but HTTP/1.1 clients send are escaped.
fn path(raw: &[u8]) -> Option<PathAndQuery> {
    PathAndQuery::try_from(raw).ok().or_else(|| {
        let mut escaped = Vec::with_capacity(raw.len() + 16);
        for &b in raw {
            if b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b) {
                escaped.push(b);
            } else {
                escaped.extend_from_slice(format!("%{b:02X}").as_bytes());
            }
        }
        PathAndQuery::try_from(escaped).ok()
    })
}

/// Asks for trailers, where the client has asked for them.
pub(crate) fn want_trailers(head: &mut RequestHeader) -> pingora_core::Result<()> {
    head.insert_header(header::TE, HeaderValue::from_static("trailers"))
}
