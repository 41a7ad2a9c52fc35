//! Upgraded connections (WebSocket and others): the head is forwarded, and after a 101 the bytes are copied both ways.
//!
//! pingora's own path loses upgrades whose 101 comes fast (its issue #946) and ends idle ones after a minute, so the
//! answer's head is read here, and whatever came in the same packet is passed on first. An origin that refuses the
//! upgrade has its answer relayed like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::client::{HttpSession as OriginSession, http_req_header_to_wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use crate::clock::now_ms;
use crate::forward::{self, Course, Downstream, Failed, Fault, Outcome, Request, Step, Upload, Upstream};
use crate::page::Refusal;
use crate::stream::Wire;

/// Bytes of an answer's head.
const HEAD_MAX: usize = 64 * 1024;

/// Header fields of an answer.
const FIELDS_MAX: usize = 128;

/// An origin's complete answer to an upgrade.
struct Answer {
    code: u16,
    origin: Box<Wire>,
    /// Everything read: the head, and what came behind it.
    read: BytesMut,
    head_len: usize,
}

/// Serves an upgrade. Returns the connection if it stayed plain HTTP and can carry another request.
pub(crate) async fn serve(
    request: &Request<'_>,
    mut session: Downstream,
    behind: BytesMut,
) -> Option<(Stream, BytesMut)> {
    request.service.budget.deposit();
    let (outcome, refused) = match &request.service.active {
        None => {
            let refused = Refusal::UNDECIDED;
            (Outcome { fault: Some(refused.reason), ..Outcome::own(refused.status, false) }, refused)
        }
        Some(active) => {
            let mut course = Course::new(request.service, active);
            match ask(request, &session, &mut course).await {
                Ok((answer, step)) if answer.code == 101 => {
                    step.target.note_success(now_ms());
                    // The request is over, its tunnel begins.
                    request.finish(&session, &course.answered(request, &step, 101));
                    run(request, session, behind, answer, &course.site.site).await;
                    return None;
                }
                Ok((answer, step)) => {
                    return relay(request, session, behind, answer, &step, &course).await;
                }
                Err(refused) => (course.given_up(refused.status, refused.reason), refused),
            }
        }
    };
    let intact = request.answer(&mut session, refused).await;
    request.finish(&session, &outcome);
    forward::close_or_keep(session, behind, intact).await
}

/// Tries origins until one answers.
async fn ask<'a>(
    request: &Request<'a>,
    session: &Downstream,
    course: &mut Course<'a>,
) -> Result<(Answer, Step), Refusal> {
    loop {
        let mut step = course.next(request)?;
        match attempt(request, session, &mut step).await {
            Ok(answer) => return Ok((answer, step)),
            Err(failed) => {
                request.note_failure(course.site, &step.target, failed.fault);
                course.failed(request, step, &failed)?;
            }
        }
    }
}

async fn attempt(request: &Request<'_>, session: &Downstream, step: &mut Step) -> Result<Answer, Failed> {
    if step.target.http2().is_some() {
        return Err(Failed::unsent(Fault::NoUpgrade));
    }
    let settings = &request.service.settings;
    let unsent = |fault| Failed::unsent(fault);
    let mut origin = step.connect(settings).await.map_err(unsent)?;
    let head = forward::for_origin(session.head(), request, true)
        .ok()
        .and_then(|head| http_req_header_to_wire(&head))
        .ok_or(unsent(Fault::BadResponse))?;
    let sent = |fault, answered| Failed { fault, sent: true, answered, reused: false };
    let write = async {
        origin.write_all(&head).await?;
        origin.flush().await
    };
    write.await.map_err(|_| sent(Fault::Reset, false))?;
    let mut read = BytesMut::with_capacity(4096);
    // What was received, not what is left of it: an interim answer that was dropped is the beginning of an answer too.
    match timeout(settings.first_byte_timeout, read_head(&mut origin, &mut read)).await {
        Ok(Ok((code, head_len))) => Ok(Answer { code, origin, read, head_len }),
        Ok(Err(fault)) => Err(sent(fault, origin.received() > 0)),
        Err(_) => Err(sent(Fault::Silent, origin.received() > 0)),
    }
}

/// Reads the final head; interim ones (100, 103) are dropped. Returns its status and length.
async fn read_head(origin: &mut Wire, read: &mut BytesMut) -> Result<(u16, usize), Fault> {
    loop {
        match parse(read)? {
            Some((code @ (100 | 102..=199), len)) => {
                tracing::trace!(code, "interim answer to an upgrade dropped");
                let _ = read.split_to(len);
            }
            Some(found) => return Ok(found),
            None if read.len() >= HEAD_MAX => return Err(Fault::BadResponse),
            None => {
                read.reserve(4096);
                match origin.read_buf(read).await {
                    Ok(n) if n > 0 => {}
                    _ => return Err(Fault::Reset),
                }
            }
        }
    }
}

fn parse(read: &[u8]) -> Result<Option<(u16, usize)>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(read) {
        Ok(httparse::Status::Complete(len)) => Ok(head.code.map(|code| (code, len))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Fault::BadResponse),
    }
}

/// The origin stays with HTTP: its answer is relayed as to any request.
async fn relay(
    request: &Request<'_>,
    mut session: Downstream,
    behind: BytesMut,
    answer: Answer,
    step: &Step,
    course: &Course<'_>,
) -> Option<(Stream, BytesMut)> {
    let Answer { mut origin, read, .. } = answer;
    origin.unread(read);
    let mut origin = OriginSession::new(origin);
    let outcome = match timeout(request.service.settings.first_byte_timeout, origin.read_response()).await {
        Ok(Ok(_)) => {
            let origin = Upstream::http1(origin, false);
            let mut upload = Upload::default();
            upload.begin(&mut session, &request.client.facts, false);
            forward::relay(request, &mut session, origin, upload, step, course).await
        }
        _ => {
            let refusal = Refusal::BAD_RESPONSE;
            let intact = request.answer(&mut session, refusal).await;
            let fault = Some(refusal.reason);
            Outcome { fault, intact, ..course.answered(request, step, refusal.status) }
        }
    };
    request.finish(&session, &outcome);
    forward::close_or_keep(session, behind, outcome.intact).await
}

/// Copies until one side ends, or both are silent for too long. The phase `Stop` cuts it from outside.
async fn run(request: &Request<'_>, session: Downstream, behind: BytesMut, answer: Answer, site: &str) {
    let Some(session) = session.into_http1() else { return };
    let Ok(client) = session.into_inner().into_any().downcast::<Wire>() else { return };
    let activity = Arc::new(AtomicU64::new(now_ms()));
    let mut client = client.into_tunnel(Arc::clone(&activity));
    let mut origin = answer.origin.into_tunnel(Arc::clone(&activity));
    client.unread(behind);
    // The head goes out as it came, then the bytes that came in the same packet.
    let mut first = BytesMut::with_capacity(answer.read.len());
    first.put_slice(&answer.read);
    tracing::trace!(head = answer.head_len, with_it = answer.read.len() - answer.head_len, "tunnel opens");
    let _open = Open::new(request, site);
    let copying = async {
        client.write_all(&first).await?;
        client.flush().await?;
        copy_bidirectional(&mut client, &mut origin).await
    };
    tokio::select! {
        _ = copying => {}
        () = silence(&activity, request.service.settings.tunnel_idle_timeout) => {}
    }
}

/// Ends when nothing has moved for `limit`.
async fn silence(activity: &AtomicU64, limit: Duration) {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    loop {
        let quiet = now_ms().saturating_sub(activity.load(Ordering::Relaxed));
        if quiet >= limit_ms {
            return;
        }
        tokio::time::sleep(Duration::from_millis(limit_ms - quiet)).await;
    }
}

/// Counts a tunnel in and, however it ends, out.
struct Open<'a> {
    request: &'a Request<'a>,
    site: &'a str,
}

impl<'a> Open<'a> {
    fn new(request: &'a Request<'a>, site: &'a str) -> Self {
        request.shared.observer.tunnel_opened(&request.service.name, site);
        Self { request, site }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.request.shared.observer.tunnel_closed(&self.request.service.name, self.site);
    }
}
