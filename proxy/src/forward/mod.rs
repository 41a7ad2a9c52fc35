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
mod downstream;
mod fault;
mod headers;
mod https;
mod relay;
mod upload;
mod upstream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::LOCATION;
use http::{HeaderValue, Method};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_http::RequestHeader;
use tokio::sync::watch;

use crate::accept::Phase;
use crate::address::{Caller, Peer};
use crate::connection::linger;
use crate::head::{Facts, Framing};
use crate::observe::{Finished, Signal};
use crate::page::Refusal;
use crate::target::Target;
use crate::view::{ServiceView, SiteView, View};
use crate::{Settings, Shared, tunnel};

pub(crate) use course::{Course, Step};
pub(crate) use downstream::Downstream;
use downstream::Piece;
pub(crate) use fault::{Failed, Fault};
pub(crate) use headers::{RequestId, for_origin};
use relay::bounded;
pub(crate) use relay::run as relay;
pub(crate) use upload::Upload;
pub(crate) use upstream::Upstream;

/// What the connection knows about a request.
pub(crate) struct Client {
    pub(crate) caller: Caller,
    /// The bounds this request began under.
    pub(crate) settings: Arc<Settings>,
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
    pub(crate) begun: &'a Begun,
}

/// What a request is known by from its beginning, whoever serves it.
pub(crate) struct Begun {
    pub(crate) at: Instant,
    pub(crate) id: RequestId,
    generation: u64,
}

impl Begun {
    fn now(head: &RequestHeader, view: &View) -> Self {
        Self { at: Instant::now(), id: RequestId::of(head), generation: view.generation }
    }
}

/// How a request ended.
pub(crate) struct Outcome {
    pub(crate) code: u16,
    pub(crate) site: Option<Arc<str>>,
    pub(crate) spilled: bool,
    pub(crate) origin: Option<Arc<Target>>,
    pub(crate) tries: u32,
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) fault: Option<&'static str>,
    /// The client's connection is in a state that can carry another request, or at least be closed politely.
    pub(crate) intact: bool,
}

impl Outcome {
    /// The proxy answered by itself, without an origin.
    pub(crate) fn own(code: u16, intact: bool) -> Self {
        Self {
            code,
            site: None,
            spilled: false,
            origin: None,
            tries: 0,
            connect: None,
            first_byte: None,
            fault: None,
            intact,
        }
    }
}

/// Serves one request of an HTTP/1.x connection. Returns the connection and the bytes already read for the next
/// request, or nothing if the connection has ended.
pub(crate) async fn serve_http1(
    shared: &Shared,
    mut session: HttpSession,
    mut client: Client,
) -> Option<(Stream, BytesMut)> {
    if client.last {
        session.set_server_keepalive(None);
    }
    let behind = std::mem::take(&mut client.behind);
    let mut session = Downstream::Http1(session);
    let view = (shared.views)();
    let begun = Begun::now(session.head(), &view);
    let service = view.service(host(session.head())).map(|service| &**service);
    if let (Some(service), true) = (service, client.facts.upgrade)
        && !https::is_due(service, &client)
    {
        return tunnel::serve(&Request { shared, service, client: &client, begun: &begun }, session, behind)
            .await;
    }
    let intact = serve(shared, service, &client, &begun, &mut session).await;
    close_or_keep(session, behind, intact).await
}

/// Serves one stream of an HTTP/2 connection. False: the answer broke off.
pub(crate) async fn serve_http2(shared: &Shared, session: &mut Downstream, client: &Client) -> bool {
    let view = (shared.views)();
    let begun = Begun::now(session.head(), &view);
    let service = view.service(host(session.head())).map(|service| &**service);
    serve(shared, service, client, &begun, session).await
}

async fn serve(
    shared: &Shared,
    service: Option<&ServiceView>,
    client: &Client,
    begun: &Begun,
    session: &mut Downstream,
) -> bool {
    let is_due = service.is_some_and(|service| https::is_due(service, client));
    let location = if is_due { https::location(client, session.head()) } else { None };
    let refusal = match (service, is_due, &location) {
        (None, ..) => Some(Refusal::UNKNOWN_HOST),
        (_, true, Some(_)) => Some(Refusal::HTTPS),
        (_, true, None) => Some(Refusal::BAD_REQUEST),
        _ if is_too_large(client) => Some(Refusal::BODY_TOO_LARGE),
        _ => None,
    };
    let outcome = match (refusal, service) {
        (None, Some(service)) => {
            let request = Request { shared, service, client, begun };
            let mut phase = client.phase.clone();
            tokio::select! {
                biased;
                outcome = forward(&request, session) => outcome,
                _ = phase.wait_for(|&phase| phase == Phase::Stop) => stopped(session),
            }
        }
        (refusal, service) => {
            let refusal = refusal.unwrap_or(Refusal::UNKNOWN_HOST);
            if refusal == Refusal::BODY_TOO_LARGE {
                session.close_after();
            }
            let intact = answer(session, client, service, refusal, location, &begun.id).await;
            // A redirect is what the service asked for.
            let fault = (refusal != Refusal::HTTPS).then_some(refusal.reason);
            Outcome { fault, ..Outcome::own(refusal.status, intact) }
        }
    };
    finish(shared, service, client, begun, session, &outcome);
    outcome.intact
}

/// Everything stops: the client learns it by the end of its connection.
fn stopped(session: &Downstream) -> Outcome {
    Outcome { fault: Some("stopped"), ..Outcome::own(session.answered().unwrap_or(503), false) }
}

/// Whether the length of a body is said to be more than it may be.
fn is_too_large(client: &Client) -> bool {
    let max = client.settings.limits.body_bytes_max;
    matches!((client.facts.framing, max), (Framing::Length(length), Some(max)) if length > max)
}

fn host(head: &RequestHeader) -> &str {
    head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// Tells how a request ended.
fn finish(
    shared: &Shared,
    service: Option<&ServiceView>,
    client: &Client,
    begun: &Begun,
    session: &Downstream,
    outcome: &Outcome,
) {
    let head = session.head();
    shared.observer.request(&Finished {
        generation: begun.generation,
        service: service.map_or("none", |service| &service.name),
        epoch: service.map_or(0, |service| service.epoch),
        site: outcome.site.as_deref().unwrap_or("none"),
        origin: outcome.origin.as_ref().map(|target| &**target.name()),
        tries: outcome.tries,
        method: head.method.as_str(),
        host: host(head),
        path: head.uri.path(),
        protocol: client.facts.protocol(),
        tls: client.caller.peer.tls,
        client: client.caller.client,
        request_id: begun.id.as_str(),
        code: outcome.code,
        fault: outcome.fault,
        duration: begun.at.elapsed(),
        connect: outcome.connect,
        first_byte: outcome.first_byte,
        bytes_received: session.bytes_received(),
        bytes_sent: session.bytes_sent(),
        spilled: outcome.spilled,
    });
}

/// Tells of a request whose head was refused.
pub(crate) fn note_refused(shared: &Shared, peer: &Peer, protocol: &'static str, refusal: Refusal) {
    shared.observer.request(&Finished {
        generation: 0,
        service: "none",
        epoch: 0,
        site: "none",
        origin: None,
        tries: 0,
        method: "",
        host: "",
        path: "",
        protocol,
        tls: peer.tls,
        client: peer.addr.ip().to_canonical(),
        request_id: "",
        code: refusal.status,
        fault: Some(refusal.reason),
        duration: Duration::ZERO,
        connect: None,
        first_byte: None,
        bytes_received: 0,
        bytes_sent: 0,
        spilled: false,
    });
}

/// Hands the connection back for another request, or ends it so that the answer arrives.
pub(crate) async fn close_or_keep(
    session: Downstream,
    behind: BytesMut,
    intact: bool,
) -> Option<(Stream, BytesMut)> {
    let session = session.into_http1().filter(|_| intact)?;
    if !session.will_keepalive() {
        linger(session.into_inner()).await;
        return None;
    }
    let (stream, prefix) = session.reuse().await.ok()??.into_parts();
    let mut carry = behind;
    if let Some(prefix) = prefix {
        carry.unsplit(prefix);
    }
    Some((stream, carry))
}

/// Writes a page of our own, of a service if one was found. Returns whether the client's connection is still intact.
async fn answer(
    session: &mut Downstream,
    client: &Client,
    service: Option<&ServiceView>,
    refusal: Refusal,
    location: Option<HeaderValue>,
    id: &RequestId,
) -> bool {
    drain_soon(session, client);
    let body = refusal.body();
    let write = async {
        let mut head = refusal.head(body.len())?;
        id.mark(&mut head)?;
        if let Some(location) = location {
            head.insert_header(LOCATION, location)?;
        }
        if let Some(service) = service {
            https::mark(&mut head, service, client)?;
        }
        let ends = session.head().method == Method::HEAD;
        session.write_head(head, ends).await?;
        if !ends {
            session.write(Piece::Owned(body.into())).await?;
        }
        session.finish(None).await
    };
    bounded(client.settings.limits.write_stall, write).await.is_ok()
}

/// Tells the client to expect the end of the connection once the proxy drains.
pub(crate) fn drain_soon(session: &mut Downstream, client: &Client) {
    if *client.phase.borrow() != Phase::Running {
        session.close_after();
    }
}

impl Request<'_> {
    /// Tells how it ended.
    pub(crate) fn finish(&self, session: &Downstream, outcome: &Outcome) {
        finish(self.shared, Some(self.service), self.client, self.begun, session, outcome);
    }

    /// Writes a page of our own. Returns whether the client's connection is still intact.
    pub(crate) async fn answer(&self, session: &mut Downstream, refusal: Refusal) -> bool {
        answer(session, self.client, Some(self.service), refusal, None, &self.begun.id).await
    }

    /// Reports a failure and ejects the origin if it is due.
    pub(crate) fn note_failure(&self, site: &SiteView, target: &Target, fault: Fault) {
        if let Some(kind) = fault.signal() {
            let ejected = site.note_failure(target, kind);
            self.shared.signals.signal(Signal { origin: Arc::clone(target.name()), kind, ejected });
            if ejected {
                self.shared.observer.ejection(&self.service.name, &site.site);
                tracing::info!(origin = %target.name(), site = %site.site, kind = kind.as_str(), "origin ejected");
            }
        }
    }
}

/// Tries origins until one answers, and relays its answer.
async fn forward(request: &Request<'_>, session: &mut Downstream) -> Outcome {
    request.service.budget.deposit();
    let Some(active) = &request.service.active else {
        let refusal = Refusal::UNDECIDED;
        let intact = request.answer(session, refusal).await;
        return Outcome { fault: Some(refusal.reason), ..Outcome::own(refusal.status, intact) };
    };
    let mut course = Course::new(request.service, active);
    let mut upload = Upload::default();
    loop {
        let mut step = match course.next(request) {
            Ok(step) => step,
            Err(refusal) => return give_up(request, session, course, refusal).await,
        };
        upload.begin(session, &request.client.facts, step.target.http2().is_some());
        let mut failed = match attempt::ask(request, session, &mut step, &mut upload).await {
            Ok(origin) => {
                return relay(request, session, origin, upload, &step, &course).await;
            }
            Err(failed) => failed,
        };
        if failed.fault.is_clients() {
            let refusal = failed.fault.page();
            course.note(step, failed.fault);
            if failed.fault == Fault::Client {
                return course.given_up(499, refusal.reason);
            }
            // Where the next request would begin is not known any more, whatever pingora's reader thinks.
            session.close_after();
            return give_up(request, session, course, refusal).await;
        }
        // What cannot be given to another origin as a whole counts as sent.
        failed.sent |= !upload.is_whole();
        request.note_failure(course.site, &step.target, failed.fault);
        if let Err(refusal) = course.failed(request, step, &failed) {
            return give_up(request, session, course, refusal).await;
        }
    }
}

async fn give_up(
    request: &Request<'_>,
    session: &mut Downstream,
    mut course: Course<'_>,
    refusal: Refusal,
) -> Outcome {
    let intact = if session.answered().is_some() { false } else { request.answer(session, refusal).await };
    Outcome { intact, ..course.given_up(refusal.status, refusal.reason) }
}
