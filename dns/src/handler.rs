//! Question bytes to answer bytes, whatever they travelled on.

use std::fmt;
use std::sync::Arc;

use crate::answer::{self, Answer};
use crate::encode::{self, STREAM_BYTES_MAX};
use crate::observe::{DropReason, Observer, Protocol, QtypeLabel};
use crate::query::{self, Echo, Query, Refusal, rcode};
use crate::view::View;

/// Where a handler gets the current view from; called once per question.
pub type ViewSource = Arc<dyn Fn() -> Arc<View> + Send + Sync>;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is in the output, with this response code (16 for BADVERS).
    Answered {
        /// RFC 1035 section 4.1.1, RFC 6891 section 9.
        rcode: u8,
    },
    /// No answer is due, and the output is empty.
    Dropped,
}

/// Answers questions from the current view. Clones share the view and the observer, so that one of them can be given away to
/// a hickory server.
#[derive(Clone)]
pub struct Handler {
    views: ViewSource,
    pub(crate) observer: Arc<dyn Observer>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").finish_non_exhaustive()
    }
}

impl Handler {
    /// `views` gives the current publication, `metrics` is told of every question.
    pub fn new(views: ViewSource, metrics: Arc<dyn Observer>) -> Self {
        Self { views, observer: metrics }
    }

    /// Answers one message. `out` is cleared, and then holds the answer: at most 512 bytes over UDP without EDNS, at most
    /// [`UDP_BYTES_MAX`](crate::UDP_BYTES_MAX) with, at most [`STREAM_BYTES_MAX`] otherwise. Any bytes at all may be given.
    pub fn answer(&self, query: &[u8], protocol: Protocol, out: &mut Vec<u8>) -> Outcome {
        out.clear();
        let (qtype, rcode) = match query::parse(query) {
            Ok(query) => (Some(query.qtype), self.answer_query(&query, protocol, out)),
            Err(Refusal::Answer { echo, rcode, qtype }) => {
                encode::message(&echo, &Answer::empty(rcode), limit(&echo, protocol), out);
                (qtype, rcode)
            }
            Err(Refusal::Drop) => {
                self.observer.dropped(protocol, DropReason::NoQuestion);
                return Outcome::Dropped;
            }
        };
        self.observer.query(protocol, QtypeLabel::new(qtype), rcode);
        Outcome::Answered { rcode }
    }

    fn answer_query(&self, query: &Query<'_>, protocol: Protocol, out: &mut Vec<u8>) -> u8 {
        let view = self.view();
        let limit = limit(&query.echo, protocol);
        let key = query.lower.as_slice();
        if let Some(encoded) = view.find(key, query.qtype).and_then(|zone| zone.encoded(key, query.qtype)) {
            encoded.patch(&query.echo, limit, out);
            return encoded.rcode();
        }
        let answer = answer::resolve(&view, query);
        let fit = encode::message(&query.echo, &answer, limit, out);
        if fit.truncated && limit == STREAM_BYTES_MAX {
            // There is no larger transport to send the asker to.
            encode::message(&query.echo, &Answer::empty(rcode::SERVFAIL), limit, out);
            return rcode::SERVFAIL;
        }
        answer.rcode
    }

    pub(crate) fn view(&self) -> Arc<View> {
        (self.views)()
    }
}

/// Largest answer in bytes.
pub(crate) fn limit(echo: &Echo<'_>, protocol: Protocol) -> usize {
    match protocol {
        Protocol::Udp => encode::udp_limit(echo),
        Protocol::Tcp | Protocol::Tls | Protocol::Https | Protocol::Quic => STREAM_BYTES_MAX,
    }
}
