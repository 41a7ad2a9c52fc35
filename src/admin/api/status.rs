//! Where everything is, and why.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use tidegate_health::explain::Explanation;

use super::problem::{LOOKING, bad, stopping};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::Role;
use crate::admin::shape::StatusReply;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/api/v1/status", Role::View, status).get(
        "/api/v1/groups/{group}/explain",
        Role::View,
        explain,
    )
}

async fn status(State(admin): State<Admin>) -> Answer<StatusReply> {
    let status = admin.control.status().await.ok_or_else(stopping)?;
    Ok(Json(StatusReply {
        version: env!("CARGO_PKG_VERSION").into(),
        node: admin.node.to_string(),
        generation: admin.worlds.load().generation,
        started: admin.started,
        names: admin.names.status(),
        status,
    }))
}

/// The same for anybody: without names of people, and without their words.
pub(super) async fn without_people(state: State<Admin>) -> Answer<StatusReply> {
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
