//! One GET over HTTP/1.1 and its answer, on a connection that keeps nothing between two of them but its socket.
//!
//! An HTTP library holds buffers and a state machine for every connection. Of a fleet of checks nearly all connections
//! wait for their next probe at any moment, so that would be most of the memory; and a check knows its request
//! beforehand, wants next to nothing of the answer, and never has two under way. So the socket is driven by the probe
//! itself: no task per connection, no wake-up while nothing is asked. The price is that a close by the origin is
//! noticed only by the next probe, which then opens a fresh connection within its own timeout.

mod answer;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::outcome::{Failure, Fault, Stage};
use crate::spec::HttpCheck;
use crate::statuses::StatusSet;
use crate::wire::{PROBE_BYTES_MAX, Wire, io_fault};
use crate::{AGENT, BODY_BYTES_MAX};
use answer::{Body, Framing, Head, Read, head};

/// Bytes of an answer's head, with the interim answers before it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Room for what is read at first; nearly every answer of a health check fits.
const FIRST_READ: usize = 2 * 1024;
/// Room for each time more has to be read.
const NEXT_READ: usize = 16 * 1024;

/// The request of a check, as it is sent, and what is wanted of the answer.
pub(crate) struct Exchange {
    request: Box<[u8]>,
    statuses: StatusSet,
    body: Option<Arc<str>>,
}

/// How an exchange failed.
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    /// Nothing was heard of this request: on a kept connection that means the origin had closed it.
    pub(crate) silent: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self { fault: failure.into(), silent: false }
    }
}

impl Exchange {
    pub(crate) fn new(check: &HttpCheck) -> Self {
        let mut request = Vec::new();
        let path = check.target.path_and_query().map_or("/", |path| path.as_str());
        for part in [b"GET ", path.as_bytes(), b" HTTP/1.1\r\nhost: ", check.host.as_bytes()] {
            request.extend_from_slice(part);
        }
        request.extend_from_slice(format!("\r\nuser-agent: {AGENT}\r\naccept: */*\r\n\r\n").as_bytes());
        Self { request: request.into(), statuses: check.statuses.clone(), body: check.body.clone() }
    }

    /// Asks once; `stage` follows how far it came. Says whether the connection may carry another request.
    pub(crate) async fn run(&self, wire: &mut Wire, stage: &mut Stage) -> Result<bool, Broken> {
        let mut incoming = Incoming { wire, bytes: Vec::new(), at: 0, came: 0 };
        let asked = incoming.ask(&self.request).await;
        let head = asked.map_err(|fault| Broken { fault, silent: incoming.came == 0 })?;
        if !self.statuses.contains(head.status) {
            let failure = Failure::Status { got: head.status, wanted: self.statuses.clone() };
            return Err(failure.into());
        }
        *stage = Stage::Body;
        let whole = incoming.body(head.body, self.body.as_ref()).await;
        let whole = whole.map_err(|fault| Broken { fault, silent: false })?;
        // What comes after the answer was not asked for.
        Ok(whole && head.stays_open && incoming.left().is_empty())
    }
}

/// Whether an origin has neither said anything nor gone since its last answer: what is there before a request is no
/// answer to it.
pub(crate) async fn is_quiet(wire: &mut Wire) -> bool {
    let mut byte = [0];
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *wire).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()))
        .await
}

/// What an origin sends.
struct Incoming<'a> {
    wire: &'a mut Wire,
    bytes: Vec<u8>,
    /// Up to here they are dealt with.
    at: usize,
    /// In all.
    came: usize,
}

impl Incoming<'_> {
    async fn ask(&mut self, request: &[u8]) -> Result<Head, Fault> {
        let sent = async {
            self.wire.write_all(request).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| io_fault(&error, false))?;
        loop {
            if !self.more().await? {
                return Err(if self.came == 0 { Failure::NoAnswer } else { Failure::Cut }.into());
            }
            if let Read::Whole(len, head) = head(self.left())? {
                self.at += len;
                return Ok(head);
            }
            if self.bytes.len() > HEAD_BYTES_MAX {
                return Err(Failure::TooLarge.into());
            }
        }
    }

    /// Reads the body as far as a check cares and looks for the wanted text; says whether that was all of it.
    async fn body(&mut self, framing: Framing, wanted: Option<&Arc<str>>) -> Result<bool, Fault> {
        if wanted.is_none() && matches!(framing, Framing::Length(length) if length > BODY_BYTES_MAX as u64) {
            return Ok(false);
        }
        let (mut body, mut text, mut read) = (Body::new(framing), Vec::new(), 0);
        while !body.is_done() && read < BODY_BYTES_MAX {
            let (len, data) = body.take(&self.bytes[self.at..])?;
            let data = &data[..data.len().min(BODY_BYTES_MAX - read)];
            read += data.len();
            if wanted.is_some() {
                text.extend_from_slice(data);
            }
            self.at += len;
            if len == 0 && !body.is_done() && !self.more().await? {
                if !body.may_end_here() {
                    return Err(Failure::Cut.into());
                }
                break;
            }
        }
        match wanted {
            Some(wanted) if !text.windows(wanted.len()).any(|window| window == wanted.as_bytes()) => {
                Err(Failure::Body { wanted: wanted.clone() }.into())
            }
            _ => Ok(body.is_done()),
        }
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Waits for more; false at the end of the connection.
    async fn more(&mut self) -> Result<bool, Fault> {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.reserve(if self.came == 0 { FIRST_READ } else { NEXT_READ });
        let read = self.wire.read_buf(&mut self.bytes).await;
        let read = read.map_err(|error| io_fault(&error, self.came > 0))?;
        self.came += read;
        if self.came > PROBE_BYTES_MAX {
            return Err(Failure::TooLarge.into());
        }
        Ok(read > 0)
    }
}
