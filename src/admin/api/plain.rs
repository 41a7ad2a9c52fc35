//! The daemon as machines watch it: metrics, alive, ready.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::table::Routes;
use crate::admin::caller::Role;
use crate::admin::readiness::Stage;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/metrics", Role::View, metrics).get("/healthz", Role::View, healthz).get(
        "/readyz",
        Role::View,
        readyz,
    )
}

pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Alive: the control task answers, and the store can be written.
pub(super) async fn healthz(State(admin): State<Admin>) -> Response {
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
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
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
    let degraded = world.degraded.iter().map(|(group, wanted)| format!("{group} ({})", wanted.join(", ")));
    let degraded: Vec<_> = degraded.collect();
    let degraded =
        if degraded.is_empty() { String::new() } else { format!("degraded: {}\n", degraded.join(", ")) };
    if undecided.is_empty() {
        return if degraded.is_empty() { "ready\n".into() } else { format!("ready; {degraded}") }
            .into_response();
    }
    let text = format!("undecided: {}\n{degraded}", undecided.join(", "));
    if undecided.len() == world.fleet.groups.len() {
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    // The others are served; one group that waits for a person must not take them off a balancer.
    format!("ready; {text}").into_response()
}
