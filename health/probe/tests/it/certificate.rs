//! How long certificates last, and what of it fails.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::CertificateParams;
use tidegate_probe::{CertificateCheck, Failure, Kind, Outcome, TlsCheck, TlsFailure, Verdict, Verify};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::support::{DEADLINE, Origin, prober};
use crate::tls::{Ca, NAME, acceptor, ca, only, params};

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate that ends this long after now, and half an hour.
fn lasting(days: i64) -> (CertificateParams, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut params = params(&[NAME]);
    let end = now + days * 86_400 + 1800;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = UNIX_EPOCH.into();
    params.not_after += Duration::from_secs(end as u64);
    (params, end)
}

/// Shows its certificate, and speaks a protocol nobody else does.
async fn origin(issuer: &Ca, params: &CertificateParams) -> Origin {
    let acceptor = acceptor(issuer, params, &[b"postgresql"]);
    Origin::raw(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            // Only close_notify ends a session in peace.
            if stream.read_to_end(&mut Vec::new()).await.is_ok() {
                seen.request();
            }
        }
    })
    .await
}

async fn ask(origin: &Origin, verify: Verify, fail_below: Duration, warn_below: Duration) -> Verdict {
    let check = CertificateCheck::new(TlsCheck::new(NAME, verify).unwrap(), fail_below, warn_below);
    let mut prober = prober(origin.addr, Kind::Tls(check));
    let verdict = timeout(DEADLINE, prober.probe()).await.unwrap();
    prober.rest().await;
    verdict
}

#[tokio::test]
async fn a_handshake_passes_and_tells_when_the_certificate_ends() {
    let ca = ca("ours");
    let (params, end) = lasting(30);
    let origin = origin(&ca, &params).await;
    let verdict = ask(&origin, only(&ca), 7 * DAY, 21 * DAY).await;
    assert_eq!(verdict.outcome, Outcome::Pass);
    let note = verdict.note.expect("a note");
    assert_eq!((note.certificate_ends, note.warning), (Some(end), None));
    origin.seen.until(|seen| seen.requests() == 1).await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_warns_and_then_fails() {
    let ca = ca("ours");
    let (params, end) = lasting(10);
    let origin = origin(&ca, &params).await;
    let soon = ask(&origin, only(&ca), 10 * DAY, 11 * DAY).await;
    assert_eq!(soon.outcome, Outcome::Pass, "it lasts for ten days and half an hour");
    let note = soon.note.expect("a note");
    assert_eq!(note.warning.as_deref(), Some("the origin's certificate ends in 10 days"));
    let late = ask(&origin, only(&ca), 11 * DAY, Duration::ZERO).await;
    assert_eq!(late.outcome, Outcome::Fail(Failure::Expires { days: 10, wanted: 11 }));
    assert_eq!(late.outcome.to_string(), "the certificate ends in 10 days, wanted at least 11");
    assert_eq!(late.outcome.label(), "expires");
    assert_eq!(late.note.and_then(|note| note.certificate_ends), Some(end), "told all the same");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_unverified_its_end_still_counts() {
    let ca = ca("ours");
    let origin = origin(&ca, &lasting(-3).0).await;
    let refused = ask(&origin, only(&ca), Duration::ZERO, Duration::ZERO).await;
    assert_eq!(refused.outcome, Outcome::Fail(Failure::Tls(TlsFailure::Expired)));
    let unverified = ask(&origin, Verify::Off, Duration::ZERO, Duration::ZERO).await;
    assert_eq!(unverified.outcome, Outcome::Pass);
    let bounded = ask(&origin, Verify::Off, DAY, Duration::ZERO).await;
    assert_eq!(bounded.outcome, Outcome::Fail(Failure::Expires { days: -3, wanted: 1 }));
}

#[tokio::test]
async fn what_is_not_tls_fails() {
    let plain = Origin::raw(|mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example.com ESMTP\r\n").await;
        let _ = stream.read_u8().await;
    })
    .await;
    let verdict = ask(&plain, Verify::Off, DAY, DAY).await;
    assert_eq!((verdict.outcome, verdict.note), (Outcome::Fail(Failure::Tls(TlsFailure::NotTls)), None));
}
