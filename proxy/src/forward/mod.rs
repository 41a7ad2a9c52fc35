//! One request, from its checked head to its last byte.
//!
//! The rules of trying again, in one place:
//! - nothing sent (no connection could be made): any method, the next origin, no pause;
//! - sent, but the connection died before a byte of an answer: a GET or HEAD without body, once, elsewhere;
//! - anything else: no second try, the client is told what happened;
//! - when the active site has nothing left, `spill` may allow the next read-ready site;
//! - every second sending, at whichever site, is charged to the service's budget.

mod attempt;
mod course;
mod headers;
mod relay;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::sync::watch;

use crate::accept::Phase;
use crate::connection::linger;
use crate::head::{Facts, Framing};
use crate::observe::{Finished, Signal};
use crate::page::Refusal;
use crate::target::Target;
use crate::view::{ServiceView, SiteView};
use crate::{Shared, tunnel};

pub(crate) use attempt::{Failed, Fault, Upload, connect};
pub(crate) use course::{Course, Step};
pub(crate) use headers::{RequestId, for_origin};
use relay::bounded;
pub(crate) use relay::run as relay;

/// What the connection knows about a request.
pub(crate) struct Client {
    pub(crate) peer: IpAddr,
    pub(crate) facts: Facts,
    /// Bytes that followed the head of an upgrade.
    pub(crate) behind: BytesMut,
    /// The last request this connection may carry.
    pub(crate) last: bool,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// One request on its way.
pub(crate) struct Request<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) service: &'a ServiceView,
    pub(crate) client: &'a Client,
    pub(crate) id: RequestId,
}

/// How a request ended.
pub(crate) struct Outcome {
    code: u16,
    site: Option<Arc<str>>,
    spilled: bool,
    /// The client's connection is in a state that can carry another request, or at least be closed politely.
    pub(crate) intact: bool,
}

impl Outcome {
    /// The proxy answered by itself.
    pub(crate) fn own(code: u16, intact: bool) -> Self {
        Self { code, site: None, spilled: false, intact }
    }
}

/// Serves one request. Returns the connection and the bytes already read for the next request, or nothing if the
/// connection has ended.
pub(crate) async fn serve(
    shared: &Shared,
    mut session: HttpSession,
    mut client: Client,
) -> Option<(Stream, BytesMut)> {
    let started = Instant::now();
    if client.last {
        session.set_server_keepalive(None);
    }
    let behind = std::mem::take(&mut client.behind);
    let view = (shared.views)();
    let host = session.req_header().headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let Some(service) = view.service(host.unwrap_or("")) else {
        let id = RequestId::of(session.req_header());
        let intact = answer(shared, &mut session, &client, Refusal::UNKNOWN_HOST, &id).await;
        finish(shared, "none", started, &Outcome::own(404, intact));
        return close_or_keep(session, &client, behind, intact).await;
    };
    let request = Request { shared, service, client: &client, id: RequestId::of(session.req_header()) };
    if client.facts.upgrade {
        return tunnel::serve(&request, session, behind, started).await;
    }
    let outcome = forward(&request, &mut session).await;
    finish(shared, &service.name, started, &outcome);
    close_or_keep(session, &client, behind, outcome.intact).await
}

pub(crate) fn finish(shared: &Shared, service: &str, started: Instant, outcome: &Outcome) {
    shared.observer.request(&Finished {
        service,
        site: outcome.site.as_deref().unwrap_or("none"),
        code: outcome.code,
        duration: started.elapsed(),
        spilled: outcome.spilled,
    });
}

/// Hands the connection back for another request, or ends it so that the answer arrives.
pub(crate) async fn close_or_keep(
    mut session: HttpSession,
    client: &Client,
    behind: BytesMut,
    intact: bool,
) -> Option<(Stream, BytesMut)> {
    if !intact {
        return None;
    }
    let had_body = client.facts.framing != Framing::None;
    if !session.will_keepalive() {
        if had_body {
            linger(session.into_inner()).await;
        } else {
            session.shutdown().await;
        }
        return None;
    }
    let (stream, prefix) = session.reuse().await.ok()??.into_parts();
    let mut carry = behind;
    if let Some(prefix) = prefix {
        carry.unsplit(prefix);
    }
    Some((stream, carry))
}

/// Writes a page of our own. Returns whether the client's connection is still intact.
pub(crate) async fn answer(
    shared: &Shared,
    session: &mut HttpSession,
    client: &Client,
    refusal: Refusal,
    id: &RequestId,
) -> bool {
    drain_soon(session, client);
    let body = refusal.body();
    let write = async {
        let mut head = refusal.head(body.len())?;
        id.mark(&mut head)?;
        session.write_response_header(head).await?;
        session.write_body(body.as_bytes()).await?;
        session.finish_body().await
    };
    bounded(shared.limits.write_stall, write).await.is_ok()
}

/// Tells the client to expect the end of the connection once the proxy drains.
pub(crate) fn drain_soon(session: &mut HttpSession, client: &Client) {
    if *client.phase.borrow() != Phase::Running {
        session.set_server_keepalive(None);
    }
}

impl Request<'_> {
    /// Reports a failure and ejects the origin if it is due.
    pub(crate) fn note_failure(&self, site: &SiteView, target: &Target, fault: Fault) {
        if let Some(kind) = fault.signal() {
            let ejected = site.note_failure(target, kind);
            self.shared.signals.signal(Signal { origin: target.id(), kind, ejected });
            if ejected {
                self.shared.observer.ejection(target.id());
                tracing::info!(origin = %target.name(), site = %site.site, kind = kind.as_str(), "origin ejected");
            }
        }
    }
}

/// Tries origins until one answers, and relays its answer.
async fn forward(request: &Request<'_>, session: &mut HttpSession) -> Outcome {
    request.service.budget.deposit();
    let Some(active) = &request.service.active else {
        return give_up(request, session, Refusal::UNDECIDED).await;
    };
    let mut course = Course::new(request.service, active);
    loop {
        let step = match course.next(request) {
            Ok(step) => step,
            Err(refusal) => return give_up(request, session, refusal).await,
        };
        let _in_flight = step.target.begin();
        let mut upload = Upload::new(session, &request.client.facts);
        let failed = match attempt::ask(request, session, &step, &mut upload).await {
            Ok(origin) => {
                return relay(request, session, origin, upload, &step.target, &course).await;
            }
            Err(failed) => failed,
        };
        if failed.fault == Fault::Client {
            return Outcome::own(499, false);
        }
        if failed.fault.is_clients() {
            // Where the next request would begin is not known any more, whatever pingora's reader thinks.
            session.set_server_keepalive(None);
            return give_up(request, session, failed.fault.page()).await;
        }
        request.note_failure(course.site, &step.target, failed.fault);
        if let Err(refusal) = course.failed(request, &step, &failed) {
            return give_up(request, session, refusal).await;
        }
    }
}

async fn give_up(request: &Request<'_>, session: &mut HttpSession, refusal: Refusal) -> Outcome {
    let intact = if session.response_written().is_some_and(|head| !head.status.is_informational()) {
        false
    } else {
        answer(request.shared, session, request.client, refusal, &request.id).await
    };
    Outcome::own(refusal.status, intact)
}
