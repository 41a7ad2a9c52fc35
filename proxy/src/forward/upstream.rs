//! The origin's side of one try, whichever version of HTTP it speaks.
//!
//! Sending never waits: what the origin does not take at once is held, one piece at most, and reading drives it out.
//! Waiting is safe to cancel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::v1::client::HttpSession as OriginSession;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use tokio::time::timeout;

use super::downstream::Piece;
use super::{Failed, Fault};
use crate::http2::{Exchange, Next};
use crate::pool::Pool;
use crate::stream::Wire;
use crate::target::Target;

/// See the module.
#[allow(
    clippy::large_enum_variant,
    reason = "to box it would cost every request over HTTP/1.1 an allocation"
)]
pub(crate) enum Upstream {
    Http1 {
        session: OriginSession,
        /// The connection had carried another request before.
        reused: bool,
    },
    Http2(Box<Exchange>),
}

/// What reading the answer's body brought.
pub(crate) enum Read<'a> {
    Piece(Piece<'a>),
    End,
    /// The origin has taken what was sent, or will take no more.
    Room,
}

/// Our own stream below an HTTP/1.1 session.
pub(super) fn wire(session: &OriginSession) -> Option<&Wire> {
    (**session.stream()).as_any().downcast_ref()
}

impl Upstream {
    pub(crate) fn http1(session: OriginSession, reused: bool) -> Self {
        Self::Http1 { session, reused }
    }

    /// The last head that came.
    pub(crate) fn head(&self) -> Option<&ResponseHeader> {
        match self {
            Self::Http1 { session, .. } => session.resp_header(),
            Self::Http2(exchange) => exchange.head(),
        }
    }

    /// How far the try got that ends with `fault` now.
    pub(crate) fn failed(&self, fault: Fault) -> Failed {
        let (answered, reused) = match self {
            Self::Http1 { session, reused } => {
                (wire(session).is_none_or(|wire| wire.received() > 0), *reused)
            }
            Self::Http2(exchange) => {
                if fault == Fault::Silent {
                    exchange.gave_up();
                }
                (exchange.has_answered(), exchange.was_used())
            }
        };
        Failed { fault, sent: true, answered, reused }
    }

    /// The origin has not taken all that was given.
    pub(crate) fn is_clogged(&self) -> bool {
        match self {
            Self::Http1 { session, .. } => wire(session).is_some_and(|wire| wire.queued() > 0),
            Self::Http2(exchange) => exchange.is_clogged(),
        }
    }

    /// The origin takes no more of the request.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Http1 { session, .. } => wire(session).is_none_or(Wire::is_broken),
            Self::Http2(exchange) => exchange.is_broken(),
        }
    }

    /// Gives a piece of the request's body, when nothing is clogged. False: it takes no more.
    pub(crate) async fn send(&mut self, piece: Bytes) -> bool {
        match self {
            Self::Http1 { session, .. } => session.write_body(&piece).await.is_ok(),
            Self::Http2(exchange) => {
                exchange.send(piece);
                !exchange.is_broken()
            }
        }
    }

    /// Ends the request's body. pingora's HTTP/1.1 session writes no trailers. False: it takes no more.
    pub(crate) async fn finish(&mut self, trailers: Option<HeaderMap>) -> bool {
        match self {
            Self::Http1 { session, .. } => session.finish_body().await.is_ok(),
            Self::Http2(exchange) => {
                exchange.finish(trailers);
                !exchange.is_broken()
            }
        }
    }

    /// Waits for the next head, and while something is clogged for room.
    pub(crate) async fn next(&mut self) -> std::result::Result<Next, Failed> {
        match self {
            Self::Http1 { session, .. } => {
                let drained = wire(session).filter(|wire| wire.queued() > 0).map(Wire::drained);
                let head = match drained {
                    None => session.read_response().await,
                    Some(drained) => tokio::select! {
                        biased;
                        head = session.read_response() => head,
                        () = drained.notified() => return Ok(Next::Room),
                    },
                };
                match head {
                    Ok(_) => Ok(Next::Head),
                    Err(error) => Err(self.failed(match error.etype() {
                        ErrorType::InvalidHTTPHeader => Fault::BadResponse,
                        _ => Fault::Reset,
                    })),
                }
            }
            Self::Http2(exchange) => exchange.next().await,
        }
    }

    /// Whether the answer's body is not at its end.
    pub(crate) fn has_more(&mut self) -> bool {
        match self {
            Self::Http1 { session, .. } => !session.is_body_done(),
            Self::Http2(exchange) => !exchange.is_body_done(),
        }
    }

    /// The longest silence within the answer's body.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        match self {
            Self::Http1 { session, .. } => session.read_timeout = Some(patience),
            Self::Http2(exchange) => exchange.patience = patience,
        }
    }

    /// The next piece of the answer's body. Once the request has been sent.
    pub(crate) async fn read(&mut self) -> Result<Read<'_>> {
        match self {
            Self::Http1 { session, .. } => Ok(session
                .read_body_ref()
                .await?
                .map_or(Read::End, |piece| Read::Piece(Piece::Borrowed(piece)))),
            Self::Http2(exchange) => read_http2(exchange).await,
        }
    }

    /// The next piece of the answer's body, or room for the request's.
    pub(crate) async fn read_or_room(&mut self) -> Result<Read<'static>> {
        match self {
            Self::Http1 { session, .. } => {
                let drained = wire(session).filter(|wire| wire.queued() > 0).map(Wire::drained);
                let room = async {
                    match &drained {
                        Some(drained) => drained.notified().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    piece = session.read_body_bytes() => {
                        Ok(piece?.map_or(Read::End, |piece| Read::Piece(Piece::Owned(piece))))
                    }
                    () = room => Ok(Read::Room),
                }
            }
            Self::Http2(exchange) => read_http2(exchange).await,
        }
    }

    /// What came behind the answer's body. pingora's HTTP/1.1 session reads trailers and drops them.
    pub(crate) async fn trailers(&mut self) -> Result<Option<HeaderMap>> {
        match self {
            Self::Http1 { .. } => Ok(None),
            Self::Http2(exchange) => {
                let patience = exchange.patience;
                match timeout(patience, exchange.trailers()).await {
                    Ok(trailers) => trailers.or_err(ErrorType::ReadError, "the answer's trailers"),
                    Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the answer's trailers"),
                }
            }
        }
    }

    /// Keeps the connection for the next request, if both messages are complete.
    pub(crate) async fn keep(self, target: &Arc<Target>, epoch: u64, idle_timeout: Duration) {
        // Connections of HTTP/2 are shared: nothing has to be given back.
        let Self::Http1 { mut session, .. } = self else { return };
        if wire(&session).is_none_or(|wire| wire.queued() > 0 || wire.is_broken()) {
            return;
        }
        session.respect_keepalive();
        if let Some(stream) = session.reuse().await
            && let Ok(wire) = stream.into_any().downcast::<Wire>()
        {
            Pool::put(target, wire, epoch, idle_timeout);
        }
    }
}

async fn read_http2(exchange: &mut Exchange) -> Result<Read<'static>> {
    match timeout(exchange.patience, exchange.read()).await {
        Ok(Ok(None)) => Ok(Read::Room),
        Ok(Ok(Some(None))) => Ok(Read::End),
        Ok(Ok(Some(Some(piece)))) => Ok(Read::Piece(Piece::Owned(piece))),
        Ok(Err(error)) => Err(error).or_err(ErrorType::ReadError, "the answer's body"),
        Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the answer's body"),
    }
}
