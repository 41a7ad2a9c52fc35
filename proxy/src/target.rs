//! Live state of one origin: what no published view can hold, because it changes with every request.
//!
//! A view is immutable and says what was decided; a [`Target`] outlives views and says what traffic sees right now. It
//! holds the number of requests in flight, whether live failures have ejected it from picking, and its idle
//! connections. Everything is atomic; only the short list of idle connections has a lock of its own.
//!
//! ```text
//!            refused, connect timeout: at once                    time is over, or `reinstate`
//!   usable --------------------------------------------> ejected ----------------------------> usable
//!            reset, silent: after `transport_max` in a row        time is over
//!            5xx: after `status_max` in a row                     (the next ejection lasts twice as long)
//! ```
//!
//! A probe that passes contradicts that nobody can connect. It says nothing about requests that were connected and then
//! failed: a health page is often the last thing that breaks, and would call the origin usable after every error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::now_ms;
use crate::http2::Connections;
use crate::observe::SignalKind;
use crate::pool::Pool;
use crate::tls::{TlsClient, TlsError, TlsTarget};

/// When live failures eject an origin, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionPolicy {
    /// Consecutive resets or silences that eject. Refused and timed out connections always eject at once.
    pub transport_max: u32,
    /// Consecutive 5xx answers that eject; 0 never ejects for a status.
    pub status_max: u32,
    /// The first ejection lasts this long; each further one twice as long as the last.
    pub base: Duration,
    /// No ejection lasts longer.
    pub max: Duration,
    /// At most this share of a site's up origins is ejected at once (one is always allowed, if another stays usable).
    pub share_percent: u32,
}

impl Default for EjectionPolicy {
    fn default() -> Self {
        Self {
            transport_max: 3,
            status_max: 5,
            base: Duration::from_secs(2),
            max: Duration::from_secs(60),
            share_percent: 50,
        }
    }
}

/// The live state of one origin, shared by every view it appears in.
///
/// Make a new one when the address or the TLS settings change: idle connections belong to it.
#[derive(Debug)]
pub struct Target {
    name: Arc<str>,
    addr: SocketAddr,
    tls: Option<TlsClient>,
    /// What `tls` was made of.
    tls_settings: Option<TlsTarget>,
    policy: EjectionPolicy,
    in_flight: AtomicU32,
    /// Taken out by a person: nothing new is sent, and no connection is kept for later.
    out: AtomicBool,
    /// Milliseconds of [`now_ms`] when it came up; 0 while it is not.
    up_since_ms: AtomicU64,
    /// Failures of the transport in a row, and 5xx answers in a row.
    transport_failures: AtomicU32,
    status_failures: AtomicU32,
    /// Milliseconds of [`now_ms`] until which picking avoids it; 0 for never ejected or reinstated.
    ejected_until_ms: AtomicU64,
    /// Whether a passing probe can end the ejection.
    probe_ends_it: AtomicBool,
    /// Ejections since it last proved itself: the exponent of the next one's length.
    ejections: AtomicU32,
    pub(crate) pool: Pool,
    /// Where HTTP/2 is spoken, in place of `pool`.
    http2: Option<Arc<Connections>>,
}

impl Target {
    /// An origin without traffic yet.
    ///
    /// # Errors
    /// When the TLS settings cannot work: a certificate that does not parse, an empty trust store, a bad name.
    pub fn new(
        name: Arc<str>,
        addr: SocketAddr,
        tls: Option<TlsTarget>,
        policy: EjectionPolicy,
    ) -> Result<Arc<Self>, TlsError> {
        Self::speaking(false, name, addr, tls, policy)
    }

    /// An origin that speaks HTTP/2: over TLS as agreed on by ALPN, without TLS because both sides know (RFC 9113,
    /// section 3.3).
    ///
    /// # Errors
    /// As [`Target::new`].
    pub fn new_http2(
        name: Arc<str>,
        addr: SocketAddr,
        tls: Option<TlsTarget>,
        policy: EjectionPolicy,
    ) -> Result<Arc<Self>, TlsError> {
        Self::speaking(true, name, addr, tls, policy)
    }

    fn speaking(
        http2: bool,
        name: Arc<str>,
        addr: SocketAddr,
        tls: Option<TlsTarget>,
        policy: EjectionPolicy,
    ) -> Result<Arc<Self>, TlsError> {
        let tls_settings = tls;
        let tls = tls_settings.as_ref().map(|tls| TlsClient::new(tls, addr, http2)).transpose()?;
        Ok(Arc::new(Self {
            name,
            addr,
            tls,
            tls_settings,
            policy,
            in_flight: AtomicU32::new(0),
            out: AtomicBool::new(false),
            up_since_ms: AtomicU64::new(0),
            transport_failures: AtomicU32::new(0),
            status_failures: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            probe_ends_it: AtomicBool::new(false),
            ejections: AtomicU32::new(0),
            pool: Pool::default(),
            http2: http2.then(Arc::default),
        }))
    }

    /// Its name, unique among the targets of one configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether `other` is reached and judged in the same way, so that either can stand for both.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.name == other.name
            && self.addr == other.addr
            && match (&self.tls_settings, &other.tls_settings) {
                (None, None) => true,
                (Some(own), Some(other)) => own.is_like(other),
                _ => false,
            }
            && self.http2.is_some() == other.http2.is_some()
            && self.policy == other.policy
    }

    /// Where connections go.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests and tunnels it is working on for this proxy.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether nothing is open to it any more: no request, no tunnel, no idle connection.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
            && self.pool.is_empty()
            && self.http2.as_ref().is_none_or(|it| it.is_empty())
    }

    /// Takes it out, or lets it in again. Views say that it gets nothing new; this lets its idle connections go, and those
    /// that become idle.
    pub fn set_out(&self, out: bool) {
        // Most targets stay as they are with most publications, and this line is shared with every request.
        if self.is_out() == out {
            return;
        }
        self.out.store(out, Ordering::SeqCst);
        if out {
            self.pool.clear();
            if let Some(connections) = &self.http2 {
                connections.clear();
            }
        }
    }

    /// Whether it was taken out: set once readers see the view that says so.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::SeqCst)
    }

    /// Tells whether views say that it is up, and nobody has taken it out: slow start counts from when it came to that.
    pub fn set_up(&self, up: bool) {
        // All targets are told with every publication, and few of them news.
        if (self.up_since_ms.load(Ordering::Relaxed) != 0) != up {
            self.set_up_at(up, now_ms());
        }
    }

    pub(crate) fn set_up_at(&self, up: bool, now_ms: u64) {
        if (self.up_since_ms.load(Ordering::Relaxed) != 0) != up {
            self.up_since_ms.store(if up { now_ms } else { 0 }, Ordering::Relaxed);
        }
    }

    /// For how long it has been up; as good as for ever where nobody has told.
    pub(crate) fn up_for_at(&self, now_ms: u64) -> Duration {
        match self.up_since_ms.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            since => Duration::from_millis(now_ms.saturating_sub(since)),
        }
    }

    /// Whether picking avoids it at the moment.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.is_ejected_at(now_ms())
    }

    /// A fresh probe passed: ends an ejection for refused connections or for connect timeouts. Others run out by
    /// themselves.
    pub fn reinstate(&self) {
        if self.probe_ends_it.swap(false, Ordering::Relaxed) {
            self.ejected_until_ms.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }

    pub(crate) fn http2(&self) -> Option<&Arc<Connections>> {
        self.http2.as_ref()
    }

    pub(crate) fn share_percent(&self) -> u32 {
        self.policy.share_percent
    }

    pub(crate) fn is_ejected_at(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// Counts a request in until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        // In one order with `out`: who counts itself in and then finds it not out is seen by who takes it out.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(Arc::clone(self))
    }

    /// An answer that does not count as a failure: it works.
    pub(crate) fn note_success(&self, now_ms: u64) {
        // Written only when there is something to clear: this runs for every request and the line is shared.
        for counter in [&self.transport_failures, &self.status_failures] {
            if counter.load(Ordering::Relaxed) != 0 {
                counter.store(0, Ordering::Relaxed);
            }
        }
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        let proven = until.saturating_add(u64::try_from(self.policy.max.as_millis()).unwrap_or(u64::MAX));
        if until != 0 && now_ms > proven {
            self.ejected_until_ms.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure; true if it is enough to eject.
    pub(crate) fn note_failure(&self, kind: SignalKind) -> bool {
        match kind {
            SignalKind::Refused | SignalKind::ConnectTimeout => true,
            SignalKind::Reset | SignalKind::Silent => {
                self.transport_failures.fetch_add(1, Ordering::Relaxed) + 1
                    >= self.policy.transport_max.max(1)
            }
            SignalKind::Status5xx => {
                // It answers: the transport works.
                self.transport_failures.store(0, Ordering::Relaxed);
                let seen = self.status_failures.fetch_add(1, Ordering::Relaxed) + 1;
                self.policy.status_max != 0 && seen >= self.policy.status_max
            }
        }
    }

    /// Ejects it, unless it already is. Returns true for the one caller that did.
    pub(crate) fn eject(&self, now_ms: u64, kind: SignalKind) -> bool {
        let seen = self.ejected_until_ms.load(Ordering::Relaxed);
        if seen > now_ms {
            return false;
        }
        let power = self.ejections.load(Ordering::Relaxed).min(16);
        let length = self.policy.base.saturating_mul(1 << power).min(self.policy.max);
        let until = now_ms.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)).max(1);
        let won =
            self.ejected_until_ms.compare_exchange(seen, until, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            let unconnected = matches!(kind, SignalKind::Refused | SignalKind::ConnectTimeout);
            self.probe_ends_it.store(unconnected, Ordering::Relaxed);
            self.ejections.fetch_add(1, Ordering::Relaxed);
            self.transport_failures.store(0, Ordering::Relaxed);
            self.status_failures.store(0, Ordering::Relaxed);
        }
        won
    }

    /// Takes back an ejection that turned out to break the site's cap.
    pub(crate) fn undo_ejection(&self) {
        self.ejected_until_ms.store(0, Ordering::Relaxed);
        let _ = self.ejections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }
}

/// One request in flight at a target, for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Target>);

impl InFlight {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        Target::new("a".into(), ([127, 0, 0, 1], 1).into(), None, EjectionPolicy::default()).expect("no TLS")
    }

    #[test]
    fn ejections_grow_are_bounded_and_expire() {
        let target = target();
        let mut now = 1_000;
        let mut lengths = Vec::new();
        for _ in 0..8 {
            assert!(target.eject(now, SignalKind::Refused));
            assert!(!target.eject(now + 1, SignalKind::Refused), "already ejected");
            let mut end = now;
            while target.is_ejected_at(end) {
                end += 500;
            }
            lengths.push((end - now) / 1000);
            now = end;
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_long_success_forgets_and_a_probe_reinstates() {
        let target = target();
        assert!(target.eject(1_000, SignalKind::Refused));
        target.note_success(3_001);
        assert!(target.eject(3_001, SignalKind::Refused), "expired");
        assert!(target.is_ejected_at(6_900), "a success soon after does not shorten the next ejection");
        target.reinstate();
        assert!(!target.is_ejected_at(3_002));
        assert!(target.eject(10_000, SignalKind::Refused));
        assert!(!target.is_ejected_at(12_000), "back to the base length");
        target.note_success(12_000 + 60_001);
        assert!(target.eject(80_000, SignalKind::Refused));
        assert!(!target.is_ejected_at(82_000));
    }

    #[test]
    fn a_probe_ends_only_what_it_contradicts() {
        for (kind, ended) in [
            (SignalKind::Refused, true),
            (SignalKind::ConnectTimeout, true),
            (SignalKind::Reset, false),
            (SignalKind::Silent, false),
            (SignalKind::Status5xx, false),
        ] {
            let target = target();
            // What an earlier ejection was for does not count.
            assert!(target.eject(1_000, SignalKind::Refused) && target.eject(4_000, kind));
            target.reinstate();
            assert_eq!(!target.is_ejected_at(4_001), ended, "{kind:?}");
        }
        let target = target();
        assert!(target.eject(1_000, SignalKind::Refused));
        assert!((0..4).all(|_| !target.note_failure(SignalKind::Status5xx)));
        target.reinstate();
        assert!(target.note_failure(SignalKind::Status5xx), "nor does it forget what traffic has counted");
    }

    #[test]
    fn statuses_and_resets_need_several_in_a_row() {
        let target = target();
        assert!(target.note_failure(SignalKind::Refused));
        assert!((0..4).all(|_| !target.note_failure(SignalKind::Status5xx)));
        target.note_success(1);
        assert!((0..4).all(|_| !target.note_failure(SignalKind::Status5xx)));
        assert!(target.note_failure(SignalKind::Status5xx));
        assert!(!target.note_failure(SignalKind::Reset));
        assert!(!target.note_failure(SignalKind::Silent));
        assert!(target.note_failure(SignalKind::Reset));
    }

    #[test]
    fn in_flight_follows_the_guard() {
        let target = target();
        let (a, b) = (target.begin(), target.begin());
        assert_eq!(target.in_flight(), 2);
        drop((a, b));
        assert_eq!(target.in_flight(), 0);
    }
}
