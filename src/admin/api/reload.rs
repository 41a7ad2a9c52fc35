//! Another configuration: `POST /api/v1/reload`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::problem::{problem, stopping};
use super::table::Routes;
use super::{Admin, Answer};
use crate::admin::caller::{Caller, Role};
use crate::admin::readiness::Stage;
use crate::admin::shape::ReloadReply;
use crate::reload;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/reload", Role::Admin, reload_now)
}

/// Takes the files as they are now. Ends when every reader sees them, or none of them.
async fn reload_now(State(admin): State<Admin>, caller: Caller) -> Answer<ReloadReply> {
    let later =
        |label, message| problem(StatusCode::SERVICE_UNAVAILABLE, label, message, Some("ask again".into()));
    if admin.readiness.stage() == Stage::Starting {
        return Err(later(
            "starting",
            "the daemon is starting: its first round of probes is not complete".into(),
        ));
    }
    let (answer, outcome) = oneshot::channel();
    let request = reload::Request { by: caller.actor, answer };
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
