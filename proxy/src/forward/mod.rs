//! One request, from its checked head to its last byte.
//!
//! The rules of trying again, in one place:
//! - nothing sent (no connection could be made): any method, the next origin, no pause;
//! - sent, but the connection died before a byte of an answer: a GET or HEAD without body, once, elsewhere;
//! - anything else: no second try, the client is told what happened;
//! - when the active site has nothing left, `spill` may allow the next read-ready site.

mod attempt;
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
use crate::clock::now_ms;
use crate::connection::linger;
use crate::head::{Facts, Framing};
use crate::observe::{Finished, RetryReason, Signal};
use crate::page::Refusal;
use crate::select::{Tried, pick};
use crate::target::Target;
use crate::view::{ServiceView, SiteView, Spill};
use crate::{Shared, tunnel};

pub(crate) use attempt::{Failed, Fault, Upload, connect};
pub(crate) use headers::{RequestId, for_origin};
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
        let intact = answer(&mut session, &client, Refusal::UNKNOWN_HOST, &id).await;
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
    write.await.is_ok()
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

    /// Whether `spill` allows this request at another site now.
    fn may_spill(&self, nothing_sent: bool) -> bool {
        match self.service.spill {
            Spill::Never => false,
            Spill::Safe => self.client.facts.is_safe(),
            Spill::Any => self.client.facts.is_safe() || nothing_sent,
        }
    }
}

/// Where a request is in its tries. Shared by plain requests and upgrades.
pub(crate) struct Course<'a> {
    active: &'a SiteView,
    /// The site tried now.
    pub(crate) site: &'a SiteView,
    pub(crate) tried: Tried,
    attempts_left: u32,
    died_once: bool,
    nothing_sent: bool,
    /// The origin whose reused connection turned out to be dead: a fresh one is worth a try if nothing else is left.
    stale: Option<Arc<Target>>,
    stale_used: bool,
    /// Why the next try is a retry.
    retry: Option<RetryReason>,
    last: Refusal,
}

/// The next try.
pub(crate) struct Step {
    pub(crate) target: Arc<Target>,
    /// Only a new connection will do.
    pub(crate) fresh: bool,
}

impl<'a> Course<'a> {
    pub(crate) fn new(service: &ServiceView, active: &'a SiteView) -> Self {
        Self {
            active,
            site: active,
            tried: Tried::default(),
            attempts_left: service.settings.attempts_max.clamp(1, 7),
            died_once: false,
            nothing_sent: true,
            stale: None,
            stale_used: false,
            retry: None,
            last: Refusal::NO_ORIGIN,
        }
    }

    pub(crate) fn spilled(&self) -> bool {
        !std::ptr::eq(self.site, self.active)
    }

    /// The next origin to try, or why there is none.
    pub(crate) fn next(&mut self, request: &Request<'a>) -> Result<Step, Refusal> {
        let step = self.within_site();
        if step.is_some()
            && let Some(reason) = self.retry.take()
        {
            request.shared.observer.retry(&request.service.name, reason);
        }
        step.or_else(|| self.spill(request)).ok_or(self.last)
    }

    fn within_site(&mut self) -> Option<Step> {
        if self.attempts_left > 0
            && !self.tried.is_full()
            && let Some(target) = self.pick(self.site)
        {
            self.attempts_left -= 1;
            return Some(Step { target, fresh: false });
        }
        if self.stale.is_none() || std::mem::replace(&mut self.stale_used, true) {
            return None;
        }
        if self.retry.is_some() {
            self.retry = Some(RetryReason::Stale);
        }
        self.stale.take().map(|target| Step { target, fresh: true })
    }

    /// An origin agreed to leave HTTP: the request is over, its tunnel begins.
    pub(crate) fn switched(&self, request: &Request<'_>, target: &Target, started: Instant) {
        target.note_success(now_ms());
        let outcome = Outcome {
            code: 101,
            site: Some(Arc::clone(&self.site.site)),
            spilled: self.spilled(),
            intact: true,
        };
        finish(request.shared, &request.service.name, started, &outcome);
    }

    fn pick(&mut self, site: &SiteView) -> Option<Arc<Target>> {
        let index = pick(site, &self.tried, now_ms(), |n| fastrand::usize(..n))?;
        let target = Arc::clone(&site.origins[index].target);
        self.tried.add(target.id());
        Some(target)
    }

    /// One try at the next site that may be read from.
    fn spill(&mut self, request: &Request<'a>) -> Option<Step> {
        if self.spilled() || !request.may_spill(self.nothing_sent) {
            return None;
        }
        for site in &request.service.spill_sites {
            if let Some(target) = self.pick(site) {
                request.shared.observer.spill(&request.service.name, &self.active.site, &site.site);
                self.site = site;
                self.attempts_left = 0;
                return Some(Step { target, fresh: false });
            }
        }
        None
    }

    /// Takes a failure in. Fails with the page for the client when no other try is allowed.
    pub(crate) fn failed(
        &mut self,
        request: &Request<'_>,
        step: &Step,
        failed: &Failed,
    ) -> Result<(), Refusal> {
        self.last = failed.fault.page();
        self.retry = None;
        if failed.reused {
            self.stale = Some(Arc::clone(&step.target));
        }
        if !failed.sent {
            self.retry = Some(RetryReason::Connect);
            return Ok(());
        }
        self.nothing_sent = false;
        if failed.answered || !request.client.facts.is_safe() {
            return Err(self.last);
        }
        if failed.fault == Fault::Silent {
            // It may still be at work: within the site nobody is asked twice, another site may be.
            self.attempts_left = 0;
            self.stale = None;
            return Ok(());
        }
        if self.died_once || !request.service.budget.withdraw() {
            self.attempts_left = 0;
            self.stale = None;
            return Ok(());
        }
        self.died_once = true;
        self.retry = Some(RetryReason::Died);
        Ok(())
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
        answer(session, request.client, refusal, &request.id).await
    };
    Outcome::own(refusal.status, intact)
}
