//! The byte stream under a probe, plain or TLS, and what its errors say of the origin.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::outcome::{Failure, Fault};
use crate::tls::tls_failure;

/// Bytes one probe may receive: a head, a body, and what is read ahead.
pub(crate) const PROBE_BYTES_MAX: usize = 256 * 1024;

/// A connection to an origin.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection for a library that says neither whether a single byte of an answer came nor whether the origin sends
/// more than a health check is worth, in whatever part of a message.
pub(crate) struct Metered {
    wire: Wire,
    meter: Meter,
}

/// Counts the bytes received.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

/// The origin sent more than a probe may receive.
#[derive(Debug, thiserror::Error)]
#[error("more than {PROBE_BYTES_MAX} bytes for one probe")]
struct Flood;

impl Wire {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Metered {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, meter: Meter::default() }
    }

    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

impl Meter {
    /// Whether anything came.
    pub(crate) fn heard(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// What an error of reading or writing says of the origin. `heard` says whether a byte of the answer had come.
pub(crate) fn io_fault(error: &io::Error, heard: bool) -> Fault {
    if let Some(failure) = tls_failure(error) {
        return failure.into();
    }
    if error.get_ref().and_then(|cause| cause.downcast_ref::<Flood>()).is_some() {
        return Failure::TooLarge.into();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof if heard => Failure::Cut.into(),
        _ => Fault::from_io(error),
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.wire).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 && self.meter.0.fetch_add(came, Ordering::Relaxed) + came > PROBE_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
