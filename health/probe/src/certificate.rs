//! Origins that speak TLS, whatever is spoken within it: the handshake, and how long the certificate lasts.
//!
//! A certificate that ends is the most predictable outage there is, and a common one all the same. So its end is told
//! with every probe, said aloud when it comes near, and taken for a failure where that is wanted.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::note::Note;
use crate::outcome::{Failure, Fault, Stage, TlsFailure};
use crate::tcp;
use crate::tls::{Handshake, TlsCheck, Trust};

/// A handshake, and a certificate that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateCheck {
    pub(crate) tls: TlsCheck,
    fail_below: Duration,
    warn_below: Duration,
}

const DAY_SECONDS: i64 = 86_400;

impl CertificateCheck {
    /// Passes if the handshake succeeds and the certificate lasts for `fail_below` or longer; warns if it lasts for less than
    /// `warn_below`. Zero turns either off.
    #[must_use]
    pub fn new(tls: TlsCheck, fail_below: Duration, warn_below: Duration) -> Self {
        Self { tls, fail_below, warn_below }
    }

    /// What is to be said of a certificate that ends in so many seconds.
    fn judge(&self, left: i64) -> (Result<(), Failure>, Option<String>) {
        let is_below = |bound: Duration| !bound.is_zero() && left < seconds(bound);
        if is_below(self.fail_below) {
            let wanted = seconds(self.fail_below).div_euclid(DAY_SECONDS);
            return (Err(Failure::Expires { days: left.div_euclid(DAY_SECONDS), wanted }), None);
        }
        let warning = || format!("the origin's certificate ends in {} days", left.div_euclid(DAY_SECONDS));
        (Ok(()), is_below(self.warn_below).then(warning))
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// One TLS check.
pub(crate) struct CertificateProbe {
    check: CertificateCheck,
    handshake: Handshake,
    /// The session of the last probe, until it is closed in peace.
    open: Option<TlsStream<TcpStream>>,
}

impl CertificateProbe {
    pub(crate) fn new(check: &CertificateCheck, trust: &Trust) -> Self {
        let handshake = Handshake::new(&check.tls, trust).without_alpn();
        Self { check: check.clone(), handshake, open: None }
    }

    /// Asks once. The deadline is the caller's.
    pub(crate) async fn probe(
        &mut self,
        addr: SocketAddr,
        stage: &mut Stage,
        note: &mut Note,
    ) -> Result<(), Fault> {
        self.open = None;
        *stage = Stage::Connect;
        let stream = tcp::connect(addr).await?;
        *stage = Stage::Tls;
        let session = self.handshake.perform(stream).await?;
        let end = session.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(|leaf| {
            let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
            Some(leaf.validity().not_after.timestamp())
        });
        self.open = Some(session);
        let end = end.ok_or(TlsFailure::BadCertificate)?;
        let (result, warning) = self.check.judge(end.saturating_sub(now()));
        *note = Note { certificate_ends: Some(end), warning: warning.map(Into::into) };
        Ok(result?)
    }

    pub(crate) fn forget(&mut self) {
        self.open = None;
    }

    /// Closes the session of the last probe.
    pub(crate) async fn part(&mut self) {
        if let Some(session) = self.open.take() {
            tcp::part(session).await;
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    seconds(since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Verify;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_end_is_judged_on_both_sides_of_each_bound() {
        let tls = TlsCheck::new("app.example.com", Verify::Off).unwrap();
        let check = CertificateCheck::new(tls.clone(), 7 * DAY, 21 * DAY);
        let week = 7 * DAY_SECONDS;
        let expires = |days| Err(Failure::Expires { days, wanted: 7 });
        assert_eq!(check.judge(3 * week), (Ok(()), None));
        let warning = "the origin's certificate ends in 20 days".to_owned();
        assert_eq!(check.judge(3 * week - 1), (Ok(()), Some(warning)));
        assert_eq!(check.judge(week).0, Ok(()));
        assert_eq!(check.judge(week - 1), (expires(6), None));
        assert_eq!(check.judge(-1), (expires(-1), None));
        let off = CertificateCheck::new(tls, Duration::ZERO, Duration::ZERO);
        assert_eq!(off.judge(-week), (Ok(()), None));
    }
}
