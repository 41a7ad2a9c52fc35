//! The routes.

mod forces;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use tidegate_health::event::Event;
use tidegate_health::explain::Explanation;
use tidegate_health::fleet::Fleet;
use tidegate_health::id::{GroupId, Name};
use tidegate_health::order::{Order, Rule, Verb};
use tidegate_health::time::Wall;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::listen::Peer;
use super::readiness::{Readiness, Stage};
use super::shape::{ApiError, DoneReply, OrderBody, ReloadReply, StatusReply};
use crate::control::Handle;
use crate::metrics::Metrics;
use crate::reload;
use crate::store::Store;
use crate::world::Worlds;

/// The longest reason and the longest name of a person, in characters.
const REASON_MAX: usize = 500;
const ACTOR_MAX: usize = 64;

/// What to do next, for calls that make no sense.
const BODY: &str = "send JSON: {\"reason\": \"WHY\"}, with \"to\": \"SITE\" for a switch and \"overrides\": [\"RULE\"] where one is in the way";
const LOOKING: &str =
    "read /api/v1/status, /api/v1/groups/GROUP/explain or /api/v1/history?limit=N&group=GROUP";

/// What the routes need of the daemon.
#[derive(Clone)]
pub struct Admin {
    pub node: Name,
    pub started: Wall,
    pub control: Handle,
    pub store: Store,
    pub worlds: Worlds,
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub reloads: mpsc::Sender<reload::Request>,
}

type Answer<T> = Result<Json<T>, Problem>;

/// An error with its status.
pub(super) struct Problem(StatusCode, ApiError);

impl Admin {
    /// Everything, for the Unix socket.
    pub(super) fn whole(self) -> axum::Router {
        // Reasons and names of people are for those who may steer, so they are not on the TCP listener.
        let telling = axum::Router::new()
            .route("/api/v1/groups/{group}/explain", get(explain))
            .route("/api/v1/history", get(history))
            .method_not_allowed_fallback(not_allowed);
        let orders = axum::Router::new()
            .route("/api/v1/groups/{group}/{verb}", post(order))
            .route("/api/v1/forces", post(forces::force))
            .route("/api/v1/reload", post(reload_now))
            .method_not_allowed_fallback(not_allowed)
            .route_layer(middleware::from_fn(only_owner));
        self.clone().common(get(status)).merge(telling.merge(orders).with_state(self))
    }

    /// What anybody who can reach the listener may see.
    pub(super) fn read_only(self) -> axum::Router {
        self.common(get(status_without_people))
    }

    fn common(self, status: MethodRouter<Self>) -> axum::Router {
        axum::Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/api/v1/status", status)
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_allowed)
            .with_state(self)
    }

    /// A group by name, in the fleet that its number is one of.
    fn group(&self, name: &str) -> Result<(GroupId, Arc<Fleet>), Problem> {
        let fleet = self.worlds.load().fleet.clone();
        let group = fleet.group_named(name).ok_or_else(|| {
            let names: Vec<_> = fleet.groups.iter().map(|group| &*group.name).collect();
            let message = format!("there is no group `{name}`");
            problem(
                StatusCode::NOT_FOUND,
                "no-such-group",
                message,
                Some(format!("the groups are {}", names.join(", "))),
            )
        })?;
        Ok((group, fleet))
    }
}

async fn status(State(admin): State<Admin>) -> Answer<StatusReply> {
    let status = admin.control.status().await.ok_or_else(stopping)?;
    Ok(Json(StatusReply {
        version: env!("CARGO_PKG_VERSION").into(),
        node: admin.node.to_string(),
        generation: admin.worlds.load().generation,
        started: admin.started,
        status,
    }))
}

/// The same for anybody: without names of people, and without their words.
async fn status_without_people(state: State<Admin>) -> Answer<StatusReply> {
    let Json(mut reply) = status(state).await?;
    reply.status.forget_people();
    Ok(Json(reply))
}

async fn explain(
    State(admin): State<Admin>,
    group: Result<Path<String>, PathRejection>,
) -> Answer<Explanation> {
    let Path(group) = group.map_err(|error| bad(error.body_text(), LOOKING))?;
    let (group, fleet) = admin.group(&group)?;
    Ok(Json(admin.control.explain(fleet, group).await.ok_or_else(stopping)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    #[serde(default = "history_limit")]
    limit: u16,
    group: Option<String>,
}

fn history_limit() -> u16 {
    50
}

async fn history(
    State(admin): State<Admin>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<Vec<Event>> {
    let Query(query) = query.map_err(|error| bad(error.body_text(), LOOKING))?;
    if let Some(group) = &query.group {
        admin.group(group)?;
    }
    let events = admin.store.history(usize::from(query.limit), query.group.map(Name::from)).await;
    events
        .map(Json)
        .map_err(|error| problem(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string(), None))
}

async fn order(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Answer<DoneReply> {
    let Path((group, verb)) = path.map_err(|error| bad(error.body_text(), LOOKING))?;
    let (group, fleet) = admin.group(&group)?;
    let Json(body) = body.map_err(|error| bad(error.body_text(), BODY))?;
    let verb = verb_of(&fleet, &verb, &body)?;
    let order = Order {
        id: 0,
        group,
        actor: actor(&peer, body.actor.as_deref())?,
        reason: reason(&body.reason)?,
        verb,
        overrides: body.overrides.into_iter().collect::<std::collections::BTreeSet<Rule>>(),
    };
    match admin.control.order(fleet, order).await.ok_or_else(stopping)? {
        Ok(done) => Ok(Json(DoneReply { done })),
        Err(refusal) => Err(Problem(StatusCode::CONFLICT, refusal.into())),
    }
}

/// Takes the files as they are now. Ends when every reader sees them, or none of them.
async fn reload_now(State(admin): State<Admin>, ConnectInfo(peer): ConnectInfo<Peer>) -> Answer<ReloadReply> {
    let later =
        |label, message| problem(StatusCode::SERVICE_UNAVAILABLE, label, message, Some("ask again".into()));
    if admin.readiness.stage() == Stage::Starting {
        return Err(later(
            "starting",
            "the daemon is starting: its first round of probes is not complete".into(),
        ));
    }
    let (answer, outcome) = oneshot::channel();
    let request = reload::Request { by: peer.account, answer };
    admin.reloads.try_send(request).map_err(|error| match error {
        TrySendError::Full(_) => later("busy", format!("{} reloads wait already", reload::QUEUE_MAX)),
        TrySendError::Closed(_) => stopping(),
    })?;
    match outcome.await.map_err(|_| stopping())? {
        Ok(report) => Ok(Json(report.into())),
        Err(failure) => {
            let next = match failure.label() {
                "busy" => "ask again",
                _ => "nothing has changed; mend it, look with `tidegate check`, and reload again",
            };
            Err(problem(StatusCode::CONFLICT, failure.label(), failure.to_string(), Some(next.into())))
        }
    }
}

fn verb_of(fleet: &Fleet, verb: &str, body: &OrderBody) -> Result<Verb, Problem> {
    if verb == "switch" {
        let to = body.to.as_deref().ok_or_else(|| bad("a switch needs `to`: the site".into(), BODY))?;
        let to = fleet.site_named(to).ok_or_else(|| {
            let names: Vec<_> = fleet.sites.iter().map(|site| &*site.name).collect();
            let next = format!("the sites are {}", names.join(", "));
            problem(StatusCode::NOT_FOUND, "no-such-site", format!("there is no site `{to}`"), Some(next))
        })?;
        return Ok(Verb::Switch { to });
    }
    if body.to.is_some() {
        return Err(bad("only a switch takes `to`".into(), BODY));
    }
    match verb {
        "failback" => Ok(Verb::Failback),
        "ack" => Ok(Verb::Ack),
        "freeze" => Ok(Verb::Freeze),
        "unfreeze" => Ok(Verb::Unfreeze),
        "confirm" => Ok(Verb::Confirm),
        other => Err(problem(
            StatusCode::NOT_FOUND,
            "no-such-action",
            format!("there is no action `{other}`"),
            Some("the actions are switch, failback, ack, freeze, unfreeze, confirm".into()),
        )),
    }
}

/// A reason that may stand in the history.
fn reason(given: &str) -> Result<Name, Problem> {
    let reason = given.trim();
    // A line break would forge a line of the history, an escape would reach a terminal.
    if reason.is_empty() || reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control) {
        let message =
            format!("a reason of 1 to {REASON_MAX} printable characters is needed, for the history");
        return Err(bad(message, "say why, in a sentence"));
    }
    Ok(reason.into())
}

/// The account the kernel names, and in front of it the person who says so.
fn actor(peer: &Peer, claimed: Option<&str>) -> Result<Name, Problem> {
    match claimed {
        None => Ok(peer.account.clone()),
        Some(person)
            if person.is_empty()
                || person.chars().count() > ACTOR_MAX
                || person.chars().any(char::is_control) =>
        {
            let message = format!("an actor has 1 to {ACTOR_MAX} printable characters");
            Err(bad(message, "leave it out: the account that calls is on record"))
        }
        Some(person) => Ok(format!("{person} as {}", peer.account).into()),
    }
}

/// Nothing that changes state is done for an account that does not own the daemon.
async fn only_owner(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.clone());
    match peer {
        Some(peer) if peer.owner => next.run(request).await,
        Some(peer) => {
            let message = format!("`{}` may look, but not steer", peer.account);
            let next = Some("call as root or as the daemon's user".into());
            problem(StatusCode::FORBIDDEN, "forbidden", message, next).into_response()
        }
        None => problem(StatusCode::FORBIDDEN, "forbidden", "the caller is not known".into(), None)
            .into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Alive: the control task answers, and the store can be written.
async fn healthz(State(admin): State<Admin>) -> Response {
    let trouble = if !admin.control.alive().await {
        "the control task does not answer\n"
    } else if !admin.store.is_alive() {
        "the store's thread has ended: nothing can be decided before a restart\n"
    } else {
        return "ok\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, trouble).into_response()
}

/// Ready: the listeners for traffic are open, and at least one group has a place.
async fn readyz(State(admin): State<Admin>) -> Response {
    let not_open = match admin.readiness.stage() {
        Stage::Starting => Some("starting: the first round of probes is not complete\n"),
        Stage::Draining => Some("draining: the daemon is stopping\n"),
        Stage::Open => None,
    };
    if let Some(not_open) = not_open {
        return (StatusCode::SERVICE_UNAVAILABLE, not_open).into_response();
    }
    let world = admin.worlds.load();
    let undecided: Vec<_> = world.undecided.iter().map(|name| &**name).collect();
    if undecided.is_empty() {
        return "ready\n".into_response();
    }
    let text = format!("undecided: {}\n", undecided.join(", "));
    if undecided.len() == world.fleet.groups.len() {
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    // The others are served; one group that waits for a person must not take them off a balancer.
    format!("ready; {text}").into_response()
}

async fn nothing_here() -> Problem {
    problem(StatusCode::NOT_FOUND, "not-found", "there is nothing here".into(), Some(LOOKING.into()))
}

async fn not_allowed() -> Problem {
    let next = Some("actions are taken over the Unix socket, with POST".into());
    problem(StatusCode::METHOD_NOT_ALLOWED, "method", "this cannot be done here".into(), next)
}

fn problem(status: StatusCode, label: &str, message: String, next: Option<String>) -> Problem {
    Problem(status, ApiError { label: label.into(), message, next })
}

fn bad(message: String, next: &str) -> Problem {
    problem(StatusCode::BAD_REQUEST, "bad-request", message, Some(next.into()))
}

fn stopping() -> Problem {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "the daemon is stopping, or has just taken another configuration".into(),
        Some("ask again".into()),
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
