//! The answer on its way back to the client, and what it says about the origin.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use pingora_core::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::downstream::Downstream;
use super::upstream::{Read, Upstream};
use super::{Course, Outcome, Request, Step, Upload, drain_soon, headers};
use crate::clock::now_ms;
use crate::limits::Limits;
use crate::observe::{Signal, SignalKind};
use crate::target::Target;

/// Relays a complete answer. From here on nothing is tried again: a body that breaks off breaks the client's
/// connection (or stream) too, so that the client can tell.
pub(crate) async fn run(
    request: &Request<'_>,
    session: &mut Downstream,
    mut origin: Upstream,
    mut upload: Upload,
    step: &Step,
    course: &Course<'_>,
) -> Outcome {
    let target = &step.target;
    let code = origin.head().map_or(502, |head| head.status.as_u16());
    let mut outcome = course.answered(request, step, code);
    note_status(request, target, course, code);
    let settings = &request.service.settings;
    origin.set_patience(settings.body_idle_timeout);
    let spilled_to = course.spilled().then_some(&*course.site.site);
    match copy(request, session, &mut origin, &mut upload, spilled_to).await {
        Ok(()) => outcome.intact = true,
        Err(error) => {
            tracing::debug!(origin = %target.name(), %error, "an answer broke off");
            outcome.fault = Some(broken_off(&error));
            session.spoil(*error.etype() == ErrorType::WriteTimedout);
            return outcome;
        }
    }
    if upload.done && !upload.abandoned {
        origin.keep(target, request.service.epoch, settings.pool_idle_timeout).await;
    }
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
    session: &mut Downstream,
    origin: &mut Upstream,
    upload: &mut Upload,
    spilled_to: Option<&str>,
) -> Result<()> {
    let has_body = origin.has_more();
    let Some(head) = origin.head() else {
        return Error::e_explain(ErrorType::InternalError, "no response head");
    };
    let head = headers::for_client(head, request, has_body, spilled_to)?;
    drain_soon(session, request.client);
    if has_body && !request.client.facts.http11 && !head.headers.contains_key(CONTENT_LENGTH) {
        // The body ends with the connection, and the head must not promise to keep it.
        session.close_after();
    }
    let stall = request.client.settings.limits.write_stall;
    if !has_body {
        bounded(stall, session.write_head(head, true)).await?;
        return bounded(stall, session.finish(None)).await;
    }
    // A head waits for what can go out with it, never for an origin that takes its time.
    let first = at_once(origin.read()).await;
    if first.is_pending() {
        session.hurry();
    }
    bounded(stall, session.write_head(head, false)).await?;
    if let Poll::Ready(read) = first
        && let Read::Piece(piece) = read?
    {
        session.write(piece).await?;
    }
    copy_body(session, origin, upload, &request.client.settings.limits).await?;
    let trailers = origin.trailers().await?;
    bounded(stall, session.finish(trailers)).await
}

/// What a reading has to give without waiting. One that would wait is dropped, which loses nothing: bodies are read in
/// single steps.
async fn at_once<T>(reading: impl Future<Output = T>) -> Poll<T> {
    let mut reading = pin!(reading);
    poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await
}

/// pingora bounds the writing of a body by itself, but neither of a head nor of the last flush.
pub(crate) async fn bounded<T>(limit: Duration, write: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(limit, write).await {
        Ok(result) => result,
        Err(_) => Error::e_explain(ErrorType::WriteTimedout, "the client takes nothing"),
    }
}

async fn copy_body(
    session: &mut Downstream,
    origin: &mut Upstream,
    upload: &mut Upload,
    limits: &Limits,
) -> Result<()> {
    while !upload.is_over() {
        if !duplex(session, origin, upload, limits).await? {
            return Ok(());
        }
    }
    loop {
        let read = tokio::select! {
            biased;
            read = origin.read() => read?,
            () = session.gone() => return Error::e_explain(ErrorType::WriteError, "the client left"),
        };
        match read {
            Read::Piece(piece) => session.write(piece).await?,
            Read::End => return Ok(()),
            Read::Room => {}
        }
    }
}

/// One step of an answer that began before the request had been sent: whichever side has something. False at the end
/// of the answer.
async fn duplex(
    session: &mut Downstream,
    origin: &mut Upstream,
    upload: &mut Upload,
    limits: &Limits,
) -> Result<bool> {
    let clogged = origin.is_clogged();
    tokio::select! {
        biased;
        read = origin.read_or_room() => match read? {
            Read::Piece(piece) => session.write(piece).await?,
            Read::End => return Ok(false),
            Read::Room => upload.abandoned |= origin.is_broken(),
        },
        piece = upload.next(session, !clogged, limits) => {
            // A client that stops sending may still want the answer. Where its next request would begin is not known.
            if upload.pass(piece, session, origin).await.is_err() {
                upload.abandoned = true;
                session.close_after();
            }
        }
    }
    Ok(true)
}
