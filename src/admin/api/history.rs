//! What was done, by whom, when and why: `GET /api/v1/history`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tidegate_health::event::Event;
use tidegate_health::id::Name;

use super::problem::{LOOKING, bad, problem};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::Role;

pub(super) fn routes(routes: Routes) -> Routes {
    // Reasons and names of people are for those who may steer, so they are not on the open listener.
    routes.get("/api/v1/history", Role::View, history)
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
