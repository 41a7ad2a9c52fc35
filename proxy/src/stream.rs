//! The one stream type under every session, on both sides.
//!
//! It exists for five reasons:
//! - *One send per answer.* pingora writes a head and the first piece of a body apart; towards a client the head waits
//!   here for the piece behind it, if that piece is there already.
//! - *No deadlock between two full pipes.* Towards an origin a write never blocks: what the socket does not take waits
//!   here, and reading the answer drives it out. The forwarder reads the next piece of the upload only when nothing
//!   waits, so one piece (64 KiB at most) is the bound. An origin that answers before it has read the upload is
//!   heard, instead of both sides waiting for each other.
//! - *Exact facts.* Whether a byte was sent or received decides about retries; the bytes are counted here.
//! - *Bytes read too far* (behind an upgrade's head) are given back.
//! - *A strict eye on chunked bodies*: what a client sends is judged before pingora's reader sees it.

mod session;

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::chunks::{Chunks, Malformed};
use crate::clock::now_ms;

/// What is below.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

/// How writes behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first write after a flush waits for the next; a full socket blocks.
    Client,
    /// Writes go out at once; what the socket does not take waits here and reading drives it out.
    Origin,
    /// Writes go out at once; a full socket blocks.
    Tunnel,
}

/// Towards a client, a write up to this size is held back for the next one.
const HOLD_MAX: usize = 8 * 1024;

/// See the module.
pub(crate) struct Wire {
    io: Transport,
    side: Side,
    /// Client side: judges the chunked body that is being read.
    chunks: Option<Chunks>,
    malformed: bool,
    /// Bytes to be read before the socket's.
    unread: BytesMut,
    /// Bytes the socket has not taken yet.
    out: BytesMut,
    /// Client side: the next write may be held back.
    hold: AtomicBool,
    /// Origin side: the transport below holds bytes of its own (TLS records) that a flush could not send yet.
    unflushed: bool,
    received: u64,
    sent: u64,
    /// Origin side: why the rest of the upload was given up.
    broken: Option<io::ErrorKind>,
    /// Told whenever `out` has become empty while reading.
    drained: Arc<Notify>,
    /// Time of the last byte either way, where someone watches for idleness.
    activity: Option<Arc<AtomicU64>>,
}

impl Wire {
    pub(crate) fn new(io: Transport, side: Side) -> Box<Self> {
        Box::new(Self {
            io,
            side,
            chunks: None,
            malformed: false,
            unread: BytesMut::new(),
            out: BytesMut::new(),
            hold: AtomicBool::new(true),
            unflushed: false,
            received: 0,
            sent: 0,
            broken: None,
            drained: Arc::new(Notify::new()),
            activity: None,
        })
    }

    /// Bytes received since the last [`Wire::restart`].
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes the socket took since the last [`Wire::restart`].
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that wait for the socket.
    pub(crate) fn queued(&self) -> usize {
        self.out.len() + usize::from(self.unflushed)
    }

    /// Whether the peer stopped taking what is sent.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn drained(&self) -> Arc<Notify> {
        Arc::clone(&self.drained)
    }

    /// Begins a new exchange on a kept connection.
    pub(crate) fn restart(&mut self) {
        self.received = 0;
        self.sent = 0;
    }

    /// Client side: the next write goes out at once. Works on a shared reference, as pingora's session lends no other.
    pub(crate) fn hurry(&self) {
        self.hold.store(false, Ordering::Relaxed);
    }

    /// Client side: a chunked body comes next, and `ahead` is what of it has been read already. Reading fails where it
    /// is malformed.
    pub(crate) fn watch_chunks(&mut self, ahead: &[u8]) -> Result<(), Malformed> {
        let mut chunks = Chunks::default();
        chunks.watch(ahead)?;
        self.chunks = Some(chunks).filter(|chunks| !chunks.is_over());
        Ok(())
    }

    /// Whether reading failed for a malformed body.
    pub(crate) fn is_malformed(&self) -> bool {
        self.malformed
    }

    fn judge(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(chunks) = &mut self.chunks else { return Ok(()) };
        if chunks.watch(bytes).is_err() {
            // What is read later is read to be thrown away.
            self.chunks = None;
            self.malformed = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        if chunks.is_over() {
            self.chunks = None;
        }
        Ok(())
    }

    /// Gives back bytes that were read too far.
    pub(crate) fn unread(&mut self, bytes: BytesMut) {
        if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            let rest = std::mem::replace(&mut self.unread, bytes);
            self.unread.extend_from_slice(&rest);
        }
    }

    /// Turns it into one end of a tunnel that notes every byte's time.
    pub(crate) fn into_tunnel(mut self: Box<Self>, activity: Arc<AtomicU64>) -> Box<Self> {
        self.side = Side::Tunnel;
        self.activity = Some(activity);
        self
    }

    /// For a protocol that frames and buffers by itself: writes go out as they come.
    pub(crate) fn into_plain(mut self: Box<Self>) -> Box<Self> {
        self.side = Side::Tunnel;
        self
    }

    /// The socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match &self.io {
            Transport::Tcp(tcp) => tcp,
            Transport::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Over TLS, the protocol that ALPN chose, if it chose one.
    pub(crate) fn agreed_on(&self) -> Option<Option<&[u8]>> {
        match &self.io {
            Transport::Tcp(_) => None,
            Transport::Tls(tls) => Some(tls.get_ref().1.alpn_protocol()),
        }
    }

    /// Whether an idle connection is usable: still open and nothing unexpected to read.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if !self.out.is_empty() || !self.unread.is_empty() || self.broken.is_some() {
            return false;
        }
        if !self.nothing_arrived() {
            return false;
        }
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_io_read(&mut cx, &mut buf).is_pending()
    }

    /// Asks the kernel itself. Tokio answers from the events it has fetched, and a busy or just woken runtime fetches an
    /// end of the connection late: a POST sent in between would fail for no reason.
    fn nothing_arrived(&self) -> bool {
        // Under TLS too: what comes on an idle connection is the notice of its end (session tickets come earlier).
        let peeked = SockRef::from(self.tcp()).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_io_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }

    fn poll_io_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.io {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        };
        self.note_sent(&result);
        result
    }

    fn note_sent(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = result {
            self.sent = self.sent.saturating_add(*n as u64);
            self.touch();
        }
    }

    fn poll_io_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            // A TCP stream has nothing to flush.
            Transport::Tcp(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    /// Sends what waits, as far as the socket takes it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let out = std::mem::take(&mut self.out);
            let result = self.poll_io_write(cx, &out);
            self.out = out;
            match ready!(result) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => self.out.advance(n),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // Keep the capacity of ordinary heads, not that of one large piece.
        if self.out.capacity() > 2 * HOLD_MAX {
            self.out = BytesMut::new();
        } else {
            self.out.clear();
        }
        self.poll_io_flush(cx)
    }

    /// Towards an origin: drives the upload out while the answer is awaited. An upload that fails does not hide an
    /// answer that is already on its way.
    fn drive_upload(&mut self, cx: &mut Context<'_>) {
        if self.side != Side::Origin || self.queued() == 0 {
            return;
        }
        match self.poll_drain(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                self.drained.notify_one();
            }
            Poll::Ready(Err(error)) => {
                self.broken = Some(error.kind());
                self.out = BytesMut::new();
                self.unflushed = false;
                self.drained.notify_one();
            }
        }
    }

    fn touch(&self) {
        if let Some(activity) = &self.activity {
            activity.store(now_ms(), Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let n = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread.split_to(n));
            return Poll::Ready(Ok(()));
        }
        this.drive_upload(cx);
        let before = buf.filled().len();
        let read = this.poll_io_read(cx, buf);
        // Ten thousand idle clients would hold as many buffers.
        if read.is_pending() && this.side == Side::Client && this.out.is_empty() {
            this.out = BytesMut::new();
        }
        ready!(read)?;
        let n = buf.filled().len() - before;
        if n > 0 {
            this.received = this.received.saturating_add(n as u64);
            this.touch();
            this.judge(&buf.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.side {
            Side::Client if this.out.len() + buf.len() <= HOLD_MAX => {
                this.out.extend_from_slice(buf);
                if !std::mem::take(this.hold.get_mut())
                    && let Poll::Ready(Err(error)) = this.poll_drain(cx)
                {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(buf.len()))
            }
            Side::Client | Side::Tunnel => {
                *this.hold.get_mut() = false;
                ready!(this.poll_drain(cx))?;
                this.poll_io_write(cx, buf)
            }
            Side::Origin => {
                if let Some(kind) = this.broken {
                    return Poll::Ready(Err(kind.into()));
                }
                if this.out.is_empty() {
                    match this.poll_io_write(cx, buf) {
                        Poll::Ready(result) => return Poll::Ready(result),
                        Poll::Pending => {}
                    }
                }
                this.out.extend_from_slice(buf);
                Poll::Ready(Ok(buf.len()))
            }
        }
    }

    /// Only where nothing is held back: then a frame's head and payload leave together.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.side != Side::Tunnel {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let result = match &mut this.io {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
        };
        this.note_sent(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.side == Side::Tunnel
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.poll_drain(cx) {
            Poll::Pending if this.side == Side::Origin => {
                this.unflushed = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => {
                *this.hold.get_mut() = true;
                Poll::Ready(result)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        match &mut this.io {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("io", &self.io).field("side", &self.side).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
