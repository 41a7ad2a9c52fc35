//! The body of a request on its way to the origin, over all tries.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, timeout};

use super::Fault;
use super::downstream::Downstream;
use super::upstream::Upstream;
use crate::head::{Facts, Framing};
use crate::limits::Limits;

/// Bytes of a request's body that are kept for another try, and the pieces they may come in: a piece of one byte holds
/// many times as much.
const KEPT_MAX: usize = 64 * 1024;
const KEPT_PIECES_MAX: usize = 64;

/// The sending of a request's body, over all tries.
///
/// An origin that speaks HTTP/2 can turn a request away after some of its body was read from the client; so what such an
/// origin is given is kept, up to a bound, and given to the next one first.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) done: bool,
    /// The origin takes no more of it; the rest stays with the client.
    pub(crate) abandoned: bool,
    kept: Vec<Bytes>,
    kept_len: usize,
    /// How many kept pieces this try has sent.
    resent: usize,
    trailers: Option<HeaderMap>,
    keeps: bool,
    /// Something was read that is not kept: no other origin can be given the whole.
    lost: bool,
    /// How long the client was waited for.
    waited: Duration,
}

/// Adds the time it lives to what was waited, also where the waiting is given up for another event.
struct Waiting<'a> {
    since: Instant,
    waited: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
    }
}

impl Upload {
    /// Begins a try.
    pub(crate) fn begin(&mut self, session: &mut Downstream, facts: &Facts, keeps: bool) {
        let bodiless = matches!(facts.framing, Framing::None | Framing::Length(0));
        self.done = bodiless || (self.kept.is_empty() && session.is_body_done());
        self.abandoned = false;
        self.resent = 0;
        self.keeps = keeps;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.done || self.abandoned
    }

    /// Whether another origin can be given all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lost
    }

    /// The next piece; without `reading`, the news that the client has given up. Bounds how much comes.
    pub(crate) async fn next(
        &mut self,
        session: &mut Downstream,
        reading: bool,
        limits: &Limits,
    ) -> Result<Option<Bytes>, Fault> {
        if reading && let Some(piece) = self.kept.get(self.resent) {
            return Ok(Some(piece.clone()));
        }
        read(session, reading, limits).await
    }

    /// The next piece while no answer has begun, when the body as a whole has a deadline, too. Only time in which the
    /// client is the one to wait for counts. After an answer has begun, an exchange may be a dialogue of any length.
    pub(crate) async fn next_in_time(
        &mut self,
        session: &mut Downstream,
        reading: bool,
        limits: &Limits,
    ) -> Result<Option<Bytes>, Fault> {
        if !reading || self.resent < self.kept.len() {
            return self.next(session, reading, limits).await;
        }
        let earned = session.bytes_received().saturating_mul(1000) / limits.body_rate_min.max(1);
        let allowed = limits.body_timeout.saturating_add(Duration::from_millis(earned));
        let left = allowed.saturating_sub(self.waited);
        let _waiting = Waiting { since: Instant::now(), waited: &mut self.waited };
        timeout(left, read(session, true, limits)).await.unwrap_or(Err(Fault::SlowClient))
    }

    /// Passes one piece on, or the end of the body.
    pub(crate) async fn pass(
        &mut self,
        piece: Result<Option<Bytes>, Fault>,
        client: &mut Downstream,
        origin: &mut Upstream,
    ) -> Result<(), Fault> {
        let piece = piece?;
        if let Some(piece) = &piece {
            self.keep(piece);
        }
        self.done = piece.is_none() || (self.resent == self.kept.len() && client.is_body_done());
        let mut taken = match piece {
            // Empty pieces come while a chunk's head is incomplete. An empty chunk would end the body.
            Some(piece) if !piece.is_empty() => origin.send(piece).await,
            _ => true,
        };
        if self.done && taken {
            self.trailers = self.trailers.take().or_else(|| client.trailers());
            taken = origin.finish(self.trailers.clone()).await;
        }
        // The origin may have answered before it stopped listening: the answer is read before judging.
        self.abandoned = !taken;
        Ok(())
    }

    fn keep(&mut self, piece: &Bytes) {
        if self.resent < self.kept.len() {
            self.resent += 1;
        } else if self.keeps
            && !self.lost
            && self.kept_len + piece.len() <= KEPT_MAX
            && self.kept.len() < KEPT_PIECES_MAX
        {
            self.kept_len += piece.len();
            self.kept.push(piece.clone());
            self.resent += 1;
        } else {
            self.lost = true;
            // Once it cannot be whole, nothing of it is needed.
            self.kept = Vec::new();
            self.resent = 0;
        }
    }
}

/// A piece from the client, as long as its body is not too large.
async fn read(session: &mut Downstream, reading: bool, limits: &Limits) -> Result<Option<Bytes>, Fault> {
    let piece = session.read_or_gone(reading).await;
    if limits.body_bytes_max.is_some_and(|max| session.bytes_received() > max) {
        return Err(Fault::LargeBody);
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_another_try_is_bounded_in_bytes_and_in_pieces() {
        for (piece, held) in [(16 * 1024, 4), (1, KEPT_PIECES_MAX)] {
            let mut upload = Upload { keeps: true, ..Upload::default() };
            let piece = Bytes::from(vec![0; piece]);
            for n in 1..=held {
                upload.keep(&piece);
                assert_eq!((upload.kept.len(), upload.is_whole()), (n, true));
            }
            upload.keep(&piece);
            assert_eq!((upload.kept.len(), upload.is_whole()), (0, false), "one more is too many");
        }
    }
}
