//! One stream of a client's HTTP/2 connection: a request and its answer.
//!
//! Back-pressure in both directions: what was read is credited to the client only when the next piece is asked for,
//! which happens once the origin has taken the last one; and a piece of the answer waits for the client's window, for
//! so long at most as a client may take nothing.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, timeout, timeout_at};

use super::trailers;
use crate::forward::Fault;

/// What a client has to take of an answer, before its time to do so begins anew.
const WRITE_STEP: usize = 16 * 1024;

/// How long a client may be silent within a body, and take one step of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// See the module.
pub(crate) struct Stream {
    head: RequestHeader,
    body: RecvStream,
    /// Bytes that were read and not credited to the client yet.
    uncredited: usize,
    body_done: bool,
    trailers: Option<HeaderMap>,
    respond: SendResponse<Bytes>,
    /// Once the final head has gone out.
    sending: Option<SendStream<Bytes>>,
    answered: Option<u16>,
    finished: bool,
    patience: Patience,
    received: u64,
    sent: u64,
}

impl Stream {
    pub(crate) fn new(
        head: RequestHeader,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        patience: Patience,
    ) -> Self {
        let body_done = body.is_end_stream();
        Self {
            head,
            body,
            uncredited: 0,
            body_done,
            trailers: None,
            respond,
            sending: None,
            answered: None,
            finished: false,
            patience,
            received: 0,
            sent: 0,
        }
    }

    pub(crate) fn head(&self) -> &RequestHeader {
        &self.head
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.body_done
    }

    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The status of the final answer, once its head has gone out.
    pub(crate) fn answered(&self) -> Option<u16> {
        self.answered
    }

    pub(crate) fn bytes_received(&self) -> u64 {
        self.received
    }

    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// See [`Downstream::read`](crate::forward::Downstream::read).
    pub(crate) async fn read(&mut self) -> std::result::Result<Option<Bytes>, Fault> {
        if self.body_done {
            return Ok(None);
        }
        self.credit();
        let Ok(piece) = timeout(self.patience.read, poll_fn(|cx| self.body.poll_data(cx))).await else {
            return Err(Fault::SlowClient);
        };
        match piece {
            Some(Ok(piece)) => {
                self.received += piece.len() as u64;
                self.uncredited += piece.len();
                // Whether the last one was read shows at once, so that it can be sent on together with the end.
                self.body_done = self.body.is_end_stream();
                if self.body_done {
                    self.credit();
                }
                Ok(Some(piece))
            }
            Some(Err(error)) => Err(blame(&error)),
            None => {
                let trailers = timeout(self.patience.read, poll_fn(|cx| self.body.poll_trailers(cx))).await;
                let trailers = trailers.map_err(|_| Fault::SlowClient)?.map_err(|error| blame(&error))?;
                self.trailers = trailers.map(trailers::passed_on);
                self.body_done = true;
                Ok(None)
            }
        }
    }

    /// What has been taken may be sent again. Fails only if more is given back than was taken.
    fn credit(&mut self) {
        let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.uncredited));
    }

    /// Ends when the client has reset the stream, or its connection is over.
    pub(crate) async fn gone(&mut self) {
        poll_fn(|cx| match &mut self.sending {
            Some(sending) => sending.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        })
        .await;
    }

    pub(crate) fn write_interim(&mut self, head: ResponseHeader) -> Result<()> {
        self.respond.send_informational(response(head)).or_err(ErrorType::WriteError, "interim answer")
    }

    pub(crate) fn write_head(&mut self, head: ResponseHeader, ends: bool) -> Result<()> {
        let status = head.status.as_u16();
        let sending = self.respond.send_response(response(head), ends);
        self.sending = Some(sending.or_err(ErrorType::WriteError, "answer's head")?);
        self.answered = Some(status);
        self.finished = ends;
        Ok(())
    }

    pub(crate) async fn write(&mut self, mut piece: Bytes) -> Result<()> {
        let Some(sending) = &mut self.sending else {
            return Error::e_explain(ErrorType::InternalError, "a body before its head");
        };
        let mut deadline = Instant::now() + self.patience.write;
        let mut taken = 0;
        while !piece.is_empty() {
            sending.reserve_capacity(piece.len());
            let room = match timeout_at(deadline, poll_fn(|cx| sending.poll_capacity(cx))).await {
                Ok(Some(room)) => room.or_err(ErrorType::WriteError, "the client left")?,
                Ok(None) => return Error::e_explain(ErrorType::WriteError, "the client left"),
                Err(_) => return Error::e_explain(ErrorType::WriteTimedout, "the client takes nothing"),
            };
            let part = piece.split_to(room.min(piece.len()));
            self.sent += part.len() as u64;
            taken += part.len();
            sending.send_data(part, false).or_err(ErrorType::WriteError, "answer's body")?;
            // Not with every byte: a client could open its window by one at a time.
            if taken >= WRITE_STEP {
                taken = 0;
                deadline = Instant::now() + self.patience.write;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<()> {
        let Some(sending) = self.sending.as_mut().filter(|_| !self.finished) else { return Ok(()) };
        let ended = match trailers {
            Some(trailers) => sending.send_trailers(trailers),
            None => sending.send_data(Bytes::new(), true),
        };
        self.finished = true;
        ended.or_err(ErrorType::WriteError, "answer's end")
    }

    /// Cuts an answer that cannot be completed, so that the client can tell.
    pub(crate) fn cut(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.finished, true) {
            self.respond.send_reset(reason);
        }
    }
}

fn response(head: ResponseHeader) -> Response<()> {
    Response::from_parts(head.into(), ())
}

/// Whose fault it is that a body cannot be read: the client's, or what it sends.
fn blame(error: &h2::Error) -> Fault {
    if error.is_library() { Fault::BadBody } else { Fault::Client }
}
