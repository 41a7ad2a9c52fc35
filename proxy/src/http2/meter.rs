//! Counts a client's frames against what they bring, below the `h2` crate.
//!
//! Some frames cost the sender nothing and lead nowhere: PING and SETTINGS want answers, a stream that is reset at once
//! has been set up for nothing (CVE-2023-44487), empty CONTINUATIONs and WINDOW_UPDATEs have to be looked at. A client
//! has a credit for them, which requests, transferred bytes and time raise. When it is used up, no more is read; the
//! owner of the connection sees that and says goodbye (ENHANCE_YOUR_CALM). The meter also sees when a block of header fields
//! has begun that does not end: nothing else can happen on the connection meanwhile.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::now_ms;
use crate::stream::Wire;

/// What a new connection may send for nothing, and the most it can save up.
const CREDIT_MIN: i64 = 1_000;
const CREDIT_MAX: i64 = 10_000;
/// What a request, and a KiB either way, is worth.
const CREDIT_REQUEST: i64 = 8;
const CREDIT_KIB: i64 = 4;
/// What a second is worth, up to `CREDIT_MIN`: a connection that asks now and then whether we are there, or that is told
/// little at a time, may live for days.
const CREDIT_SECOND: i64 = 10;

/// Streams a client may give up without further ado; beyond, half of its requests. Each second forgives one.
const RESETS_MIN: u64 = 100;

/// RFC 9113, section 3.4.
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What the owner of the connection sees.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    flooded: AtomicBool,
    /// When the open block of header fields began; 0 for none.
    block_since_ms: AtomicU64,
}

impl Gauge {
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    pub(super) fn block_since_ms(&self) -> Option<u64> {
        Some(self.block_since_ms.load(Ordering::Relaxed)).filter(|&since| since != 0)
    }
}

/// The frames themselves, without the socket.
#[derive(Debug)]
struct Ledger {
    /// Bytes to skip: the preface, then payloads.
    skip: usize,
    head: [u8; FRAME_HEAD],
    head_len: usize,
    credit: i64,
    requests: u64,
    resets: u64,
    in_block: bool,
    /// Bytes not yet credited, as less than a KiB.
    moved: usize,
    /// Up to when time has been credited.
    seen_ms: u64,
}

impl Ledger {
    fn new(now_ms: u64) -> Self {
        Self {
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            head_len: 0,
            credit: CREDIT_MIN,
            requests: 0,
            resets: 0,
            in_block: false,
            moved: 0,
            seen_ms: now_ms,
        }
    }

    /// Credits the time that has passed.
    fn wait(&mut self, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.seen_ms) / 1000;
        if seconds > 0 {
            self.seen_ms += seconds * 1000;
            self.resets = self.resets.saturating_sub(seconds);
            let worth = i64::try_from(seconds).unwrap_or(CREDIT_MIN).saturating_mul(CREDIT_SECOND);
            self.credit = self.credit.max(self.credit.saturating_add(worth).min(CREDIT_MIN));
        }
    }

    /// Takes received bytes in, wherever they are cut. False when the credit is used up.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEAD - self.head_len).min(bytes.len());
            self.head[self.head_len..self.head_len + wanted].copy_from_slice(&bytes[..wanted]);
            self.head_len += wanted;
            bytes = &bytes[wanted..];
            if self.head_len == FRAME_HEAD {
                self.head_len = 0;
                if !self.frame() {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = len;
        match kind {
            DATA if len > 0 || flags & END_STREAM != 0 => self.moved(len),
            HEADERS => {
                self.requests += 1;
                self.earn(CREDIT_REQUEST);
                self.in_block = flags & END_HEADERS == 0;
            }
            RST_STREAM => {
                self.resets += 1;
                self.credit -= 1;
            }
            _ => {
                self.credit -= 1;
                if kind == CONTINUATION && flags & END_HEADERS != 0 {
                    self.in_block = false;
                }
            }
        }
        self.credit >= 0 && self.resets <= RESETS_MIN + self.requests / 2
    }

    fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        let kib = i64::try_from(self.moved / 1024).unwrap_or(CREDIT_MAX);
        self.moved %= 1024;
        self.earn(kib.saturating_mul(CREDIT_KIB));
    }

    fn earn(&mut self, credit: i64) {
        self.credit = self.credit.saturating_add(credit).min(CREDIT_MAX);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Metered {
    wire: Box<Wire>,
    ledger: Ledger,
    gauge: Arc<Gauge>,
}

impl Metered {
    pub(super) fn new(wire: Box<Wire>) -> (Self, Arc<Gauge>) {
        let gauge = Arc::<Gauge>::default();
        (Self { wire, ledger: Ledger::new(now_ms()), gauge: Arc::clone(&gauge) }, gauge)
    }

    fn note(&mut self, received: &[u8]) {
        let was_in_block = self.ledger.in_block;
        self.ledger.wait(now_ms());
        if !self.ledger.take(received) {
            self.gauge.flooded.store(true, Ordering::Relaxed);
        }
        if self.ledger.in_block != was_in_block {
            let since = if self.ledger.in_block { now_ms().max(1) } else { 0 };
            self.gauge.block_since_ms.store(since, Ordering::Relaxed);
        }
    }

    fn written(&mut self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(n)) = result {
            self.ledger.moved(*n);
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Nobody is woken: whoever polls the connection looks at the gauge.
        if this.gauge.is_flooded() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(this.wire.as_mut()).poll_read(cx, buf))?;
        this.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(this.wire.as_mut()).poll_write(cx, buf);
        this.written(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(this.wire.as_mut()).poll_write_vectored(cx, bufs);
        this.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().wire.as_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().wire.as_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
