//! The answer on its way back to the client, and what it says about the origin.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use pingora_core::protocols::http::v1::client::HttpSession as OriginSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::{Error, ErrorType};
use tokio::time::timeout;

use super::attempt::{Upload, wire};
use super::{Course, Outcome, Request, Step, drain_soon, headers};
use crate::clock::now_ms;
use crate::observe::{Signal, SignalKind};
use crate::pool::Pool;
use crate::stream::Wire;
use crate::target::Target;

/// Relays a complete answer. From here on nothing is tried again: a body that breaks off breaks the client's
/// connection too, so that the client can tell.
pub(crate) async fn run(
    request: &Request<'_>,
    session: &mut HttpSession,
    mut origin: OriginSession,
    mut upload: Upload,
    step: &Step,
    course: &Course<'_>,
) -> Outcome {
    let target = &step.target;
    let code = origin.get_status().map_or(502, |status| status.as_u16());
    let mut outcome = course.answered(request, step, code);
    note_status(request, target, course, code);
    origin.read_timeout = Some(request.service.settings.body_idle_timeout);
    let spilled_to = course.spilled().then_some(&*course.site.site);
    match copy(request, session, &mut origin, &mut upload, spilled_to).await {
        Ok(()) => outcome.intact = true,
        Err(error) => {
            tracing::debug!(origin = %target.name(), %error, "an answer broke off");
            outcome.fault = Some(broken_off(&error));
            return outcome;
        }
    }
    keep(request, origin, &upload, target).await;
    outcome
}

/// On which side an answer broke off, for logs.
fn broken_off(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::WriteError | ErrorType::WriteTimedout => "client-gone",
        ErrorType::ReadTimedout => "answer-stalled",
        _ => "answer-cut",
    }
}

fn note_status(request: &Request<'_>, target: &Target, course: &Course<'_>, code: u16) {
    // 501 and 505 are about the method and the version, which the client chose: it could eject origins with them.
    if code < 500 || matches!(code, 501 | 505) {
        target.note_success(now_ms());
        return;
    }
    let kind = SignalKind::Status5xx;
    let ejected = course.site.note_failure(target, kind);
    request.shared.signals.signal(Signal { origin: Arc::clone(target.name()), kind, ejected });
    if ejected {
        request.shared.observer.ejection(&request.service.name, &course.site.site);
    }
}

async fn copy(
    request: &Request<'_>,
    session: &mut HttpSession,
    origin: &mut OriginSession,
    upload: &mut Upload,
    spilled_to: Option<&str>,
) -> pingora_core::Result<()> {
    let has_body = !origin.is_body_done();
    let Some(head) = origin.resp_header() else {
        return Error::e_explain(ErrorType::InternalError, "no response head");
    };
    let head = headers::for_client(head, request, has_body, spilled_to)?;
    drain_soon(session, request.client);
    if has_body && !request.client.facts.http11 && !head.headers.contains_key(CONTENT_LENGTH) {
        // The body ends with the connection, and the head must not promise to keep it.
        session.set_server_keepalive(None);
    }
    let stall = request.client.settings.limits.write_stall;
    if has_body {
        // A head waits for what can go out with it, never for an origin that takes its time.
        let first = at_once(origin.read_body_ref()).await;
        if first.is_pending()
            && let Some(wire) = (**session.stream()).as_any().downcast_ref::<Wire>()
        {
            wire.hurry();
        }
        bounded(stall, session.write_response_header(head)).await?;
        if let Poll::Ready(piece) = first {
            pass(session, piece?.unwrap_or_default()).await?;
        }
        copy_body(session, origin, upload).await?;
    } else {
        bounded(stall, session.write_response_header(head)).await?;
    }
    bounded(stall, session.finish_body()).await.map(drop)
}

/// What a reading has to give without waiting. One that would wait is dropped, which loses nothing: pingora reads bodies
/// in single steps.
async fn at_once<T>(reading: impl Future<Output = T>) -> Poll<T> {
    let mut reading = pin!(reading);
    poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await
}

/// Empty pieces come while a chunk's head is incomplete. An empty chunk would end the body.
async fn pass(session: &mut HttpSession, piece: &[u8]) -> pingora_core::Result<()> {
    if piece.is_empty() { Ok(()) } else { session.write_body(piece).await.map(drop) }
}

/// pingora bounds the writing of a body by itself, but neither of a head nor of the last flush.
pub(crate) async fn bounded<T>(
    limit: Duration,
    write: impl Future<Output = pingora_core::Result<T>>,
) -> pingora_core::Result<T> {
    match timeout(limit, write).await {
        Ok(result) => result,
        Err(_) => Error::e_explain(ErrorType::WriteTimedout, "the client takes nothing"),
    }
}

async fn copy_body(
    session: &mut HttpSession,
    origin: &mut OriginSession,
    upload: &mut Upload,
) -> pingora_core::Result<()> {
    while !upload.is_over() {
        if !duplex(session, origin, upload).await? {
            return Ok(());
        }
    }
    while let Some(piece) = origin.read_body_ref().await? {
        pass(session, piece).await?;
    }
    Ok(())
}

/// One step of an answer that began before the request had been sent: whichever side has something. False at the end
/// of the answer.
async fn duplex(
    session: &mut HttpSession,
    origin: &mut OriginSession,
    upload: &mut Upload,
) -> pingora_core::Result<bool> {
    let Some((queued, drained)) = wire(origin).map(|wire| (wire.queued() > 0, wire.drained())) else {
        upload.abandoned = true;
        return Ok(true);
    };
    tokio::select! {
        biased;
        piece = origin.read_body_bytes() => match piece? {
            Some(piece) => pass(session, &piece).await?,
            None => return Ok(false),
        },
        piece = session.read_body_bytes(), if !queued => {
            // A client that stops sending may still want the answer.
            if upload.pass(piece, session, origin).await.is_err() {
                upload.abandoned = true;
            }
        }
        () = drained.notified(), if queued => {
            upload.abandoned = wire(origin).is_none_or(Wire::is_broken);
        }
    }
    Ok(true)
}

/// Keeps the origin's connection for the next request, if both messages are complete.
async fn keep(request: &Request<'_>, mut origin: OriginSession, upload: &Upload, target: &Arc<Target>) {
    let drained = wire(&origin).is_some_and(|wire| wire.queued() == 0 && !wire.is_broken());
    if !upload.done || upload.abandoned || !drained {
        return;
    }
    origin.respect_keepalive();
    if let Some(stream) = origin.reuse().await
        && let Ok(wire) = stream.into_any().downcast::<Wire>()
    {
        Pool::put(target, wire, request.service.epoch, request.service.settings.pool_idle_timeout);
    }
}
